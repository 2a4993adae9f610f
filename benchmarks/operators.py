"""Holds the bounds of every operator against the values it takes: `python -m benchmarks.operators`.

Each case of `benchmarks/cases.py` is compiled as a model and bounded on random boxes. The same boxes are searched for
the least and the largest value of each output, and of random combinations of outputs: by samples and corners, then by
an attack that starts at the best of them. No value may lie outside its bounds, and the width of the bounds over the
width that was reached tells how tight they are at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor, nn

import boundgraph
from benchmarks.cases import CASES, Case
from benchmarks.run import RESULTS, Row, machine
from boundgraph.linear_forms import per_example

METHODS = ("ibp", "crown")
RADII = (0.05, 0.25, 1.0)
ROUNDING = 2**20 * torch.finfo(torch.float64).eps
"""What rounding may do to a number of size 1: no case sums up more than 2^20 products on a path."""


class Effort(NamedTuple):
    """boxes: per radius. rows: combinations of outputs. samples, steps: points tried in each box, by chance and by the
    attack, which takes its steps for each output and each side."""

    boxes: int = 8
    rows: int = 4
    samples: int = 10_000
    steps: int = 30
    seed: int = 0


class Reached(NamedTuple):
    """The least and the largest value found, (outputs,), each."""

    lower: Tensor
    upper: Tensor


def measure(case: Case, effort: Effort) -> Iterator[Row]:
    """One row per radius."""
    generator = torch.Generator().manual_seed(effort.seed)
    model = case.model()
    bounded = [boundgraph.compile(model, method) for method in METHODS]
    centers = [case.near + case.spread * (2 * _random(generator, effort.boxes, *shape) - 1) for shape in case.shapes]
    with torch.no_grad():
        value = per_example(model(*centers))
    spec = torch.randn(effort.boxes, effort.rows, value.shape[1], generator=generator, dtype=torch.float64)
    exact = torch.cat((value, _combined(spec, value)), 1)
    error = max(_error(side, exact) for module in bounded for side in _bounds(module, centers, 0.0, spec))
    for radius in RADII:
        bounds = [_bounds(module, centers, radius, spec) for module in bounded]
        reached = [
            search(model, [center[i] for center in centers], radius, spec[i], effort, generator)
            for i in range(effort.boxes)
        ]
        low, high = (torch.stack(sides) for sides in zip(*reached, strict=True))
        row: Row = {"operator": case.operator, "code": case.code, "radius": radius, "error_at_0": error}
        row["claims"] = sum(lower.numel() + upper.numel() for lower, upper in bounds)
        row["violations"] = sum(_violations(*pair, low, high) for pair in bounds)
        for method, (lower, upper) in zip(METHODS, bounds, strict=True):
            parts = (upper - lower).tensor_split([value.shape[1]], 1), (high - low).tensor_split([value.shape[1]], 1)
            row[method], row[f"{method}_rows"] = (_ratio(*pair) for pair in zip(*parts, strict=True))
        yield row


def _bounds(module: nn.Module, centers: Sequence[Tensor], radius: float, spec: Tensor) -> tuple[Tensor, Tensor]:
    """Of the outputs and of the rows of the specification, beside each other."""
    regions = [boundgraph.LpBall(center, radius) for center in centers]
    with torch.no_grad():
        both = module(*regions), module(*regions, spec=spec)
    lower, upper = (torch.cat([per_example(bounds[side]) for bounds in both], 1) for side in (0, 1))
    return lower, upper


def search(
    model: nn.Module, centers: Sequence[Tensor], radius: float, spec: Tensor, effort: Effort, generator: torch.Generator
) -> Reached:
    """The values of outputs and rows in one box: what samples reach, then what signs of gradients make of the best."""

    def values(points: Sequence[Tensor]) -> Tensor:
        flat = per_example(model(*points))
        return torch.cat((flat, flat @ spec.mT), 1)

    with torch.no_grad():
        points = [center + radius * _offsets(generator, effort.samples, center) for center in centers]
        found = values(points)
    outputs = found.shape[1]
    start = torch.cat((found.argmin(0), found.argmax(0)))
    output = torch.arange(outputs).repeat(2)
    sign = torch.ones(2 * outputs, dtype=torch.float64).index_fill(0, torch.arange(outputs), -1.0)
    best, points = found[start, output], [part[start] for part in points]
    for step in range(effort.steps + 1):
        leaves = [part.detach().requires_grad_() for part in points]
        own = values(leaves)[torch.arange(2 * outputs), output]
        best = torch.where(sign * own.detach() > sign * best, own.detach(), best)
        gradients = torch.autograd.grad((sign * own).sum(), leaves, allow_unused=True, materialize_grads=True)
        size = radius * 2 / (step + 2)
        points = [
            torch.clamp(leaf.detach() + size * gradient.sign(), center - radius, center + radius)
            for leaf, gradient, center in zip(leaves, gradients, centers, strict=True)
        ]
    lower, upper = best.chunk(2)
    return Reached(lower, upper)


def _offsets(generator: torch.Generator, samples: int, like: Tensor) -> Tensor:
    """Points of the unit box: three quarters of them anywhere, a quarter corners."""
    points = 2 * _random(generator, samples, *like.shape) - 1
    return torch.cat((points[samples // 4 :], points[: samples // 4].sign()))


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _combined(spec: Tensor, value: Tensor) -> Tensor:
    return torch.einsum("bro,bo->br", spec, value)


def _error(side: Tensor, exact: Tensor) -> float:
    """Of a bound at radius 0, relative to its size."""
    return ((side - exact).abs() / (1 + exact.abs())).max().item()


def _violations(lower: Tensor, upper: Tensor, low: Tensor, high: Tensor) -> int:
    """How many ends of bounds a value exceeds, or are NaN."""
    below, above = lower - ROUNDING * (1 + lower.abs()), upper + ROUNDING * (1 + upper.abs())
    return int((~(low >= below)).sum() + (~(high <= above)).sum())


def _ratio(width: Tensor, reached: Tensor) -> float:
    """The width of bounds, summed up, over that of the values; 1 where there is nothing to bound."""
    total, most = width.sum().item(), reached.sum().item()
    return total / most if most > 0 else 1.0 if total == 0 else float("inf")


def everything(cases: Iterable[Case], effort: Effort) -> dict[str, Any]:
    began, rows = time.perf_counter(), []
    for case in cases:
        new = list(measure(case, effort))
        rows += new
        bad = sum(row["violations"] for row in new)
        ratios = "  ".join(f"{row['ibp']:.2f} / {row['crown']:.2f}" for row in new)
        typer.echo(f"{case.operator:20} {case.code:60} {ratios}{f'  VIOLATED {bad} times' if bad else ''}")
    return {
        "machine": machine(),
        "settings": {**effort._asdict(), "radii": RADII, "methods": METHODS, "threads": torch.get_num_threads()},
        "seconds": round(time.perf_counter() - began),
        "rows": rows,
    }


def main(
    operator: Annotated[list[str], typer.Option(help="Those alone, and nothing is written.")] = [],  # noqa: B006
    samples: Annotated[int, typer.Option(help="Points per box.")] = Effort().samples,
    seed: Annotated[int, typer.Option(help="Of boxes, samples and combinations of outputs.")] = 0,
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
) -> None:
    """Writes operators.json; `python -m benchmarks.catalogue` makes a page of it."""
    torch.set_num_threads(1)
    cases = [case for case in CASES if not operator or case.operator in operator]
    found = everything(cases, Effort(samples=samples, seed=seed))
    if not operator:
        (results / "operators.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if any(row["violations"] for row in found["rows"]):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
