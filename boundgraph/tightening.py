"""Running a nested CROWN walk in chunks of rows, for the neurons that need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.linear_forms import inner, per_example, read_sides, select_sides
from boundgraph.regions import readable
from boundgraph.values import Interval, intersect, node_numel

MEMORY = 64 * 2**20
"""Bytes that the largest coefficient tensor of a chunk may take."""


def tighten_rows(
    walk: Callable[..., Tensor], interval: Interval, unstable: Tensor | None, captured: Sequence[Any], memory: int
) -> Interval:
    """Intersect an interval with CROWN bounds of its elements, walked in chunks.

    walk: (rows, *captured) -> how far the rows fall below their centres. unstable: (batch, *shape), the elements to
    improve; None for all. Choosing rows needs their number on the host, which stalls an accelerator and breaks traced
    graphs; there all rows are walked and the result is used where `unstable` says. The bounds are the same.
    """
    if unstable is None:
        return _all_rows(walk, interval, captured, memory)
    if readable(unstable):
        return _unstable_rows(walk, interval, unstable, captured, memory)
    tighter = _all_rows(walk, interval, captured, memory)
    return Interval(*(torch.where(unstable, new, old) for new, old in zip(tighter, interval, strict=True)))


def _all_rows(walk: Callable[..., Tensor], interval: Interval, captured: Sequence[Any], memory: int) -> Interval:
    numel, shape = node_numel(interval), interval.shape
    parts = []
    for rows in _chunks(torch.arange(numel, device=interval.device).unsqueeze(0), interval, captured, memory):
        parts.append(_bounds_of_rows(walk, rows, interval, captured))
    bounds = [torch.cat(side, 1).reshape(shape) for side in zip(*parts, strict=True)]
    return intersect(interval, Interval(*bounds))


def _unstable_rows(
    walk: Callable[..., Tensor], interval: Interval, unstable: Tensor, captured: Sequence[Any], memory: int
) -> Interval:
    """Per example its unstable elements; examples with fewer are filled up, and what fills up is not used."""
    wanted = per_example(unstable)
    if wanted.numel() == 0:
        return interval
    most = int(wanted.sum(1).max())
    if most == 0:
        return interval
    chosen = wanted.to(torch.uint8).topk(most, dim=1, sorted=False).indices
    used = wanted.gather(1, chosen)
    sides = []
    parts = [_bounds_of_rows(walk, rows, interval, captured) for rows in _chunks(chosen, interval, captured, memory)]
    for old, new in zip(interval, zip(*parts, strict=True), strict=True):
        flat = per_example(old)
        kept = flat.gather(1, chosen)
        sides.append(flat.scatter(1, chosen, torch.where(used, torch.cat(new, 1), kept)).view_as(old))
    return intersect(interval, Interval(*sides))


def _bounds_of_rows(
    walk: Callable[..., Tensor], rows: Tensor, interval: Interval, captured: Sequence[Any]
) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of the elements `rows`, (batch | 1, chunk), as (batch, chunk)."""
    coefficients = F.one_hot(rows, node_numel(interval)).to(interval.dtype)
    coefficients = coefficients.reshape(*rows.shape, *interval.shape[1:])
    distances = walk(select_sides(coefficients, "both"), *captured)
    lower, upper, _ = read_sides(distances, inner(coefficients, interval.center), "both")
    assert lower is not None
    assert upper is not None
    return lower, upper


def _chunks(rows: Tensor, interval: Interval, captured: Sequence[Any], memory: int) -> Iterator[Tensor]:
    """Split so that no coefficient tensor, of both sides and all examples, is larger than `memory` bytes."""
    intervals = [interval, *(value for value in captured if isinstance(value, Interval))]
    per_row = 2 * interval.shape[0] * max(node_numel(value) for value in intervals) * interval.dtype.itemsize
    return iter(rows.split(max(1, memory // max(1, per_row)), dim=1))
