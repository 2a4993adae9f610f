"""The documentation runs as printed: every Python block, every output shown, every picture, every link.

Blocks of one page share a namespace and run in order. A ```text block right after a ```python block is what it prints.
`python tests/test_docs.py` writes outputs and pictures anew; read the difference before you commit it.
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


def run(page: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each Python block of a page with what it prints. Tracebacks and errors call a block `example.py`."""
    torch.manual_seed(0)
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in BLOCK.finditer(read(page)):
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
def on_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """In an empty folder, on one thread; operators that a page registers are forgotten."""
    for registry in ("_BY_SPELLING", "_BY_FORWARD", "_ALIASES", "_FUSED"):
        monkeypatch.setattr(operator, registry, dict(getattr(operator, registry)))
    (tmp_path / "docs" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    page: str, pictures: dict[str, fx.Graph], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "BOUNDGRAPH_DATA" in "".join(block["code"] for block in BLOCK.finditer(read(page))):
        monkeypatch.setenv("BOUNDGRAPH_DATA", str(request.getfixturevalue("little_mnist")))
    for block, printed in run(page):
        line = read(page)[: block.start()].count("\n") + 1
        if block["shown"] is not None:
            advice = f"{page}:{line} prints something else than it shows; see the top of {Path(__file__).name}"
            assert printed == block["shown"], advice
    for path, graph in pictures.items():
        assert shown_in(ROOT / path) == shapes_and_arrows(graph), f"{path} is not what {page} draws"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [match["target"] for match in LINK.finditer(BLOCK.sub("", read(page)))]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_every_picture_is_shown_and_drawn() -> None:
    text = "".join(map(read, PAGES))
    for picture in (ROOT / "docs" / "images").iterdir():
        assert text.count(f"images/{picture.name}") >= 2, f"{picture.name} needs a page that draws it and one that shows it"


def test_readme_names_every_operator() -> None:
    internal = {"specification", "merged_specification", "channel_affine"}
    missing = {op.name for op in operator.registered()} - internal - set(re.findall(r"`(\w+)`", read("README.md")))
    assert missing == set(), "README.md lists the supported operators"


def test_equations_stand_beside_nodes_of_the_graph() -> None:
    """Every node that the tables of equations explain is printed on the same page."""
    page = read("docs/inspecting.md")
    explained = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    printed = set(re.findall(r"\w+", "".join(block["shown"] or "" for block in BLOCK.finditer(page))))
    assert explained
    assert explained <= printed


def refresh(page: str) -> None:
    """Write a page anew with what its blocks print now. Pictures are drawn by the blocks themselves."""
    text, end = "", 0
    for block, printed in run(page):
        if block["shown"] is not None:
            start, stop = block.span("shown")
            text, end = text + read(page)[end:start] + printed, stop
    (ROOT / page).write_text(text + read(page)[end:], encoding="utf-8")


if __name__ == "__main__":
    os.chdir(ROOT)
    for name in PAGES:
        if "BOUNDGRAPH_DATA" not in read(name):
            refresh(name)
