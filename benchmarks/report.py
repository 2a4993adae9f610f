"""Writes docs/performance.md, and its figure, from the stored results: `python -m benchmarks.report`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import growth
from benchmarks.cell import BACKENDS
from benchmarks.pages import joined, markdown, prose, taken
from benchmarks.run import RESULTS, ROOT, Row, load

PREAMBLE = """# Performance

<!-- written by `python -m benchmarks.report`; edit benchmarks/report.py instead -->

What bounds cost, in the unit that matters to someone who trains: one *natural step*, which is forward, cross-entropy,
backward and SGD step of the same network on the same batch in ordinary PyTorch. A verification is told in clean forward
passes of the same examples.

Each cell is a process of its own, and the processes of one row take turns, so that all of them see the same machine. A
ratio is the median, over the rounds, of two median times in the same round; times of single steps are medians too. A
certified step computes lower bounds of all margins at an l_inf radius, their cross-entropy, its gradient, and an SGD
step. `boundgraph` is `boundgraph.compile` as it comes, `-inductor` means `backend="inductor"`, and `-bf16` the method
with `precision="bf16"`: estimates of the margins, for training alone. auto_LiRPA is asked by its public interface for
the same margins. Weights are random, as a framework makes them.

boundgraph asks the C library to keep freed memory (`boundgraph/memory.py`; BOUNDGRAPH_KEEP_FREED_MEMORY=0 prevents it).
The other processes run as they come, so the first tables include what that gains. In a second set of tables all
processes keep it, which makes ordinary steps faster, and the lead over auto_LiRPA smaller.

To repeat it, with auto_LiRPA importable or left out:

```bash
pip install -e '.[benchmarks]' && python -m benchmarks.run all && python -m benchmarks.report
```
"""

TRAINING = {
    "train-ibp": ("IBP", "Interval bounds of the margins."),
    "train-crown-ibp": ("CROWN-IBP", "One row per margin walks back to the input."),
    "train-fused": ("CROWN-IBP, fused loss", "One row per example: the loss itself is bounded."),
}

LIMIT = """*Limit* is the work of the step if products and convolutions are done densely and nothing twice, over that of
a natural step, from counted FLOPs of the layers (`benchmarks/work.py`). It is a yardstick and no bound in time:
element-wise work comes on top, and large products can run faster per FLOP than small ones.
"""


def page(results: Path) -> str:
    """The whole page, of those parts that were measured."""
    files = {name: results / f"{name}.json" for name in ("performance", "kept-memory", "ablation", "growth")}
    found = {name: load(path) for name, path in files.items() if path.exists()}
    parts = [PREAMBLE]
    if "performance" in found:
        parts += _performance(found["performance"])
    if "kept-memory" in found:
        parts += ["## Train steps where all processes keep freed memory\n", *_training(found["kept-memory"])]
    if "ablation" in found:
        parts += _ablation(found["ablation"])
    if "growth" in found:
        parts += _growth(found["growth"])
    parts += ["## Where and when\n", "\n".join(_machine(name, document) for name, document in found.items())]
    return joined(parts)


def _performance(document: dict[str, Any]) -> list[str]:
    rows, limits = document["rows"], document["limits"]
    parts = ["## Train steps, in natural steps\n", LIMIT, *_training(document)]
    if chosen := _of(rows, "verify-crown"):
        examples = document["settings"]["verified"]
        parts += [
            f"## Verification by CROWN, {examples} examples, in clean forward passes\n",
            prose(
                "Lower bounds of the margins, with a walk for every pre-activation. *All rows* is the work if every "
                "neuron is walked, in FLOPs of a forward pass; neurons that cannot change sign need no walk."
            ),
            _ratios(chosen, limits, "clean forward", "all rows"),
        ]
    if chosen := _of(rows, "compile"):
        parts += ["## Compiling\n", "From a model to its bounded module, for CROWN-IBP; first steps are in the files.",
                  _table(chosen, lambda row: _milliseconds(row["step_s"]))]  # fmt: skip
    measured = {"train-crown-ibp": "a CROWN-IBP step", "verify-crown": "a verification"}
    for task, what in measured.items():
        if chosen := _of(rows, task):
            parts += [f"## Peak memory of {what}\n", "Resident megabytes above those after the imports.",
                      _table(chosen, lambda row: f"{row['peak_mb'] - row['base_mb']:.0f}")]  # fmt: skip
    return [*parts, _notes(rows)]


def _training(document: dict[str, Any]) -> list[str]:
    rows, limits, parts = document["rows"], document["limits"], []
    for task, (title, what) in TRAINING.items():
        if chosen := _of(rows, task):
            parts += [f"### {title}\n", what, _ratios(chosen, limits, "natural step", "limit")]
    return parts


def _notes(rows: Iterable[Row]) -> str:
    """Why there is no figure, once for all networks."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if "note" in row:
            found.setdefault((row["task"], row["backend"], row["note"]), []).append(row["network"])
    lines = [
        prose(f"- {', '.join(names)}, {task}, {backend}: {note}", "  ")
        for (task, backend, note), names in found.items()
    ]
    return "Cells without a figure:\n\n" + "\n".join(lines) if lines else ""


def _ablation(document: dict[str, Any]) -> list[str]:
    rows = [row for row in document["rows"] if row["backend"] == "boundgraph"]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    names = list(dict.fromkeys((row["network"], row["batch"]) for row in rows))
    found = {(row["network"], row["batch"], row["variant"]): row for row in rows}

    def cell(name: tuple[str, int], variant: str) -> str:
        whole, row = found.get((*name, ""), {}), found.get((*name, variant), {})
        if "ratio" not in row:
            return "-"
        against = f" (x{row['ratio'] / whole['ratio']:.2f})" if variant and "ratio" in whole else ""
        return f"{row['ratio']:.2f}{against}"

    body = [[f"without {variant}" if variant else "everything on", *(cell(name, variant) for name in names)]
            for variant in variants]  # fmt: skip
    what = (
        "CROWN-IBP train steps in natural steps, with one part switched off, and in brackets that over everything on. "
        "A pass is listed where the graph without it is another one with the same bounds."
    )
    return ["## What each part is worth\n", prose(what), markdown(["", *(_named(*name) for name in names)], body)]


def _growth(document: dict[str, Any]) -> list[str]:
    base = ", ".join(f"{name} {value}" for name, value in growth.BASE.items())
    what = (
        "A CROWN-IBP train step of a stack of convolutions, time and memory, one dimension at a time; the others stay "
        f"at {base}."
    )
    picture = "![Time and memory against batch, width, depth, classes and image size](images/growth.svg)"
    return ["## Growth\n", prose(what), picture]


def _of(rows: Iterable[Row], task: str) -> list[Row]:
    return [row for row in rows if row["task"] == task]


def _ratios(rows: Sequence[Row], limits: dict[str, dict[str, float]], unit: str, limit: str) -> str:
    """Networks down; natural's time, what is least, and each backend's ratio across."""
    found, backends = _by_cell(rows)
    others = [backend for backend in backends if backend != "natural"]
    body = []
    for name in dict.fromkeys((row["network"], row["batch"]) for row in rows):
        natural, least = found.get((*name, "natural"), {}), limits.get(name[0], {}).get(rows[0]["task"])
        figures = (found.get((*name, backend), {}).get("ratio") for backend in others)
        cells = (_figure(value) for value in (least, *figures))
        body.append([_named(*name), _milliseconds(natural.get("step_s")), *cells])
    return markdown(["network, batch", unit, limit, *others], body)


def _table(rows: Sequence[Row], text: Any) -> str:
    found, backends = _by_cell(rows)
    backends = [backend for backend in backends if any(row["backend"] == backend and "step_s" in row for row in rows)]
    body = []
    for name in dict.fromkeys((row["network"], row["batch"]) for row in rows):
        cells = (found.get((*name, backend), {}) for backend in backends)
        body.append([_named(*name), *(text(row) if "step_s" in row else "-" for row in cells)])
    return markdown(["network, batch", *backends], body)


def _by_cell(rows: Sequence[Row]) -> tuple[dict[tuple[str, int, str], Row], list[str]]:
    found = {(row["network"], row["batch"], row["backend"]): row for row in rows}
    return found, sorted({row["backend"] for row in rows}, key=BACKENDS.index)


def _named(network: str, batch: int) -> str:
    return f"{network}, {batch}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3g} ms"


def _machine(name: str, document: dict[str, Any]) -> str:
    settings = document["settings"]
    how = (
        f"{settings['threads']} threads; {{}}; seed {settings['seed']}; {_rounds(document['rows'])} of "
        f"{settings['seconds']:g} s per cell"
    )
    return taken(name, document["machine"], how)


def _rounds(rows: Iterable[Row]) -> str:
    """As many as there were: slow steps make fewer."""
    counts = {len(row["rounds"]) for row in rows if "rounds" in row} or {0}
    return f"{min(counts)} rounds" if len(counts) == 1 else f"{min(counts)} to {max(counts)} rounds"


def write(results: Path, docs: Path) -> None:
    """The page, and the figure if growth was measured."""
    (docs / "performance.md").write_text(page(results), encoding="utf-8")
    if (results / "growth.json").exists():
        growth.draw(load(results / "growth.json")["rows"], docs / "images" / "growth.svg")


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Where performance.md goes.")] = ROOT / "docs",
) -> None:
    """Write the page anew."""
    write(results, docs)
    typer.echo(f"wrote {docs / 'performance.md'}")


if __name__ == "__main__":
    typer.run(main)
