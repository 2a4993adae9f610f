"""How time and memory of a CROWN-IBP train step grow with the batch and with each dimension of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BASE = {"batch": 32, "width": 16, "depth": 4, "classes": 10, "size": 32}
"""A stack of `depth` convolutions of `width` channels on images of `size` x `size` pixels; the first two halve it."""

AXES = {
    "batch": (8, 16, 32, 64, 128),
    "width": (8, 16, 32, 64),
    "depth": (2, 4, 8, 16),
    "classes": (2, 5, 10, 20, 50),
    "size": (16, 24, 32, 48, 64),
}


class Point(NamedTuple):
    network: str
    batch: int


def point(**sizes: int) -> Point:
    """The base with other sizes."""
    both = {**BASE, **sizes}
    batch = both.pop("batch")
    return Point("grown:" + ",".join(f"{name}={value}" for name, value in both.items()), batch)


def points(axes: Sequence[str], smallest: int = 0) -> Iterator[Point]:
    """What is measured, each point once."""
    sizes = ((axis, size) for axis in axes for size in AXES[axis][: smallest or None])
    return iter(dict.fromkeys(point(**{axis: size}) for axis, size in sizes))


def series(rows: Sequence[dict[str, Any]], axis: str, backend: str) -> list[tuple[int, float, float]]:
    """(size, seconds, MB above the imports) along an axis, as far as it was measured."""
    found = {(row["network"], row["batch"]): row for row in rows if row["backend"] == backend and "step_s" in row}
    measured = ((size, found.get(point(**{axis: size}))) for size in AXES[axis])
    return [(size, row["step_s"], row["peak_mb"] - row["base_mb"]) for size, row in measured if row is not None]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time above, memory below, a column per axis.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the figure needs matplotlib: pip install 'boundgraph[benchmarks]'") from error
    backends = list(dict.fromkeys(row["backend"] for row in rows if "step_s" in row))
    with matplotlib.rc_context({"svg.hashsalt": "boundgraph", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        axes = figure.subplots(2, len(AXES), sharex="col", sharey="row")
        for column, axis in enumerate(AXES):
            for backend in backends:
                measured = series(rows, axis, backend)
                for row, scale in ((0, 1e3), (1, 1.0)):
                    heights = [scale * entry[1 + row] for entry in measured]
                    axes[row][column].plot([entry[0] for entry in measured], heights, "o-", ms=3, lw=1, label=backend)
            for plot in (axes[0][column], axes[1][column]):
                plot.set(xscale="log", yscale="log")
                plot.grid(alpha=0.3)
            axes[1][column].set_xlabel("image size" if axis == "size" else axis)
            axes[1][column].set_xticks(AXES[axis], map(str, AXES[axis]), minor=False)
            axes[1][column].minorticks_off()
        axes[0][0].set_ylabel("ms per train step")
        axes[1][0].set_ylabel("peak MB above the imports")
        axes[0][0].legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
