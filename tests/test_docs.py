"""The documentation runs as printed: every Python block, every output shown, every picture, every link.

Blocks of one page share a namespace and run in order. A ```text block right after a ```python block is what it prints.
`pytest tests/test_docs.py --refresh-golden` writes outputs and pictures anew; read the difference before you commit it.
"""

import contextlib
import gzip
import io
import linecache
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx

from boundgraph import drawing, operator
from passes.graphs import to_networkx

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n\n?```text\n(?P<shown>.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?:\]\(|src=\")(?!https?:|#)(?P<target>[^)#\"]+)")
SVG = "{http://www.w3.org/2000/svg}"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def run(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each Python block of a page with what it prints. Tracebacks and errors call a block `example.py`."""
    torch.manual_seed(0)
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in BLOCK.finditer(text):
        code = block["code"]
        linecache.cache["example.py"] = (len(code), None, code.splitlines(keepends=True), "example.py")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "example.py", "exec"), namespace)
        yield block, "".join(f"{line.rstrip()}\n" for line in printed.getvalue().strip("\n").splitlines())


def shapes_and_arrows(graph: fx.Graph) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """What a picture of the graph must show: nodes with the lines of their labels, and arrows."""
    shapes = {}
    for node in graph.nodes:
        rule = [] if node.op in ("output", "get_attr") else [drawing.rule_name(node)]
        shapes[node.name] = [node.name, *rule]
    return shapes, set(to_networkx(graph).edges)


def shown_in(picture: Path) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    shapes, arrows = {}, set()
    for group in ElementTree.parse(picture).iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title") or ""
        if group.get("class") == "node":
            shapes[title] = [text.text or "" for text in group.iter(f"{SVG}text")]
        elif group.get("class") == "edge":
            source, target = title.split("->")
            arrows.add((source, target))
    return shapes, arrows


@pytest.fixture
def refresh(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--refresh-golden"))


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> dict[str, fx.Graph]:
    """The graphs that were drawn, by path; without Graphviz's `dot` nothing else happens."""
    drawn: dict[str, fx.Graph] = {}
    draw = drawing.draw

    def record(graph: fx.Graph, path: str) -> str:
        drawn[path] = graph
        return draw(graph, path) if shutil.which("dot") else path

    monkeypatch.setattr(drawing, "draw", record)
    return drawn


@pytest.fixture(autouse=True)
def on_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refresh: bool) -> None:
    """In an empty folder, unless pictures are to be made anew; operators that a page registers are forgotten."""
    for registry in ("_BY_SPELLING", "_BY_FORWARD", "_GRADIENTS"):
        monkeypatch.setattr(operator, registry, dict(getattr(operator, registry)))
    (tmp_path / "docs" / "images").mkdir(parents=True)
    monkeypatch.chdir(ROOT if refresh else tmp_path)


@pytest.fixture
def little_mnist(tmp_path: Path) -> Path:
    """A folder with the first examples of the real MNIST, in the files' own format."""
    data = Path(os.environ.get("BOUNDGRAPH_DATA", ROOT.parent / "shared" / "data"))
    source, target = data / "MNIST" / "raw", tmp_path / "data" / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip(f"no MNIST at {source}; set BOUNDGRAPH_DATA to a folder that holds MNIST/raw")
    target.mkdir(parents=True)
    for name, header in (("images-idx3", 16), ("labels-idx1", 8)):
        for split in ("train", "t10k"):
            file = f"{split}-{name}-ubyte"
            packed = source / f"{file}.gz"
            content = gzip.decompress(packed.read_bytes()) if packed.is_file() else (source / file).read_bytes()
            size = 128 * (784 if header == 16 else 1)
            few = content[:4] + (128).to_bytes(4, "big") + content[8 : header + size]
            (target / f"{file}.gz").write_bytes(gzip.compress(few))
    return tmp_path / "data"


@pytest.mark.parametrize("page", PAGES)
def test_page_runs_as_printed(
    page: str,
    refresh: bool,
    pictures: dict[str, fx.Graph],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = read(page)
    if "BOUNDGRAPH_DATA" in "".join(block["code"] for block in BLOCK.finditer(text)):
        monkeypatch.setenv("BOUNDGRAPH_DATA", str(request.getfixturevalue("little_mnist")))
    rewritten, copied = "", 0
    for block, printed in run(text):
        if block["shown"] is not None and not refresh:
            line = text[: block.start()].count("\n") + 1
            assert printed == block["shown"], f"{page}:{line} prints something else than it shows"
        if block["shown"] is not None:
            start, end = block.span("shown")
            rewritten, copied = rewritten + text[copied:start] + printed, end
    if refresh:
        (ROOT / page).write_text(rewritten + text[copied:], encoding="utf-8")
    for path, graph in pictures.items():
        assert shown_in(ROOT / path) == shapes_and_arrows(graph), f"{path} is not what {page} draws"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [match["target"] for match in LINK.finditer(BLOCK.sub("", read(page)))]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_every_picture_is_shown() -> None:
    shown = set(re.findall(r"(?:src=\"|\]\()(?:docs/)?images/([\w.-]+)", "".join(map(read, PAGES))))
    assert {picture.name for picture in (ROOT / "docs" / "images").iterdir()} == shown


def test_equations_stand_beside_nodes_of_the_graph() -> None:
    """Every node that the tables of equations explain is printed on the same page."""
    page = read("docs/inspecting.md")
    explained = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    printed = set(re.findall(r"\w+", "".join(block["shown"] or "" for block in BLOCK.finditer(page))))
    assert explained
    assert explained <= printed


def test_architecture_names_every_file() -> None:
    page = read("docs/architecture.md")
    files = {path.name for folder in ("boundgraph", "passes") for path in (ROOT / folder).glob("[!_]*.py")}
    assert {name for name in files if name not in page} == set()
