"""Images per second of the zoo's training loop, every method beside natural training on the same images.

`python -m benchmarks.throughput` prints the table; rounds alternate between the methods, and medians are reported.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from zoo import config, loop, state
from zoo.data import Dataset, Split
from zoo.models import INPUT_SHAPES
from zoo.terminal import NoDisplay, Table, console

MODELS = ("cnn_4layer_linear_256_width_1", "cnn_4layer_linear_512_width_4")  # a small and a medium one of the paper
BATCHES = 6

# name: settings; crown-ibp as in the middle of its ramp, where both bounds count
METHODS: dict[str, dict[str, Any]] = {
    "natural": {"method": "natural"},
    "ibp": {"method": "ibp"},
    "crown-ibp": {"method": "crown-ibp", "beta_start": 0.5, "beta_final": 0.5},
    "crown-ibp, fused": {"method": "crown-ibp", "beta_start": 0.5, "beta_final": 0.5, "fused": True},
}


def main(
    rounds: Annotated[int, typer.Option(help="Rounds over all methods.")] = 7,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
) -> None:
    """Measure, and print a table."""
    state.set_threads(threads)
    table = Table(box=None, pad_edge=False)
    for title in ("model", "method", "images/s", "times natural"):
        table.add_column(title, justify="left" if title in ("model", "method") else "right", no_wrap=True)
    for model in MODELS:
        speeds = measure(model, rounds)
        for name, speed in speeds.items():
            table.add_row(model, name, f"{speed:,.0f}", f"{speeds['natural'] / speed:.1f}")
    console.print(table)


def measure(model: str, rounds: int) -> dict[str, float]:
    """Median images per second of each method, of `rounds` rounds after one that warms up."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: _run(model, settings, Path(folder) / name) for name, settings in METHODS.items()}
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds + 1):
            for name, run in runs.items():
                speeds[name].append(loop.train_epoch(run, NoDisplay())["images_per_second"])
    return {name: statistics.median(found[1:]) for name, found in speeds.items()}


def _run(model: str, settings: dict[str, Any], out: Path) -> state.Run:
    """A run at full radius from its first step, on random images."""
    chosen = {"dataset": "mnist", "model": model, "epochs": 1, "warmup": 0, "ramp": 0, "kappa_start": 0.0}
    resolved = config.resolve(chosen | settings | {"out": str(out)})
    torch.manual_seed(0)
    images = torch.rand(BATCHES * resolved.batch_size, *INPUT_SHAPES["mnist"])
    split = Split(images, torch.arange(len(images)) % 10)
    return state.begin(resolved, Dataset(split, split))


if __name__ == "__main__":
    typer.run(main)
