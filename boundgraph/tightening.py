"""Running a nested CROWN walk in chunks of rows, for the neurons that need it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from boundgraph.linear_forms import per_example, read_sides, select_sides
from boundgraph.memory import free_bytes
from boundgraph.regions import readable
from boundgraph.values import Interval, examples_of, intersect, node_numel
from boundgraph.windows import Windows, at_tiles, tiles_of


class Rows(NamedTuple):
    """How the rows of a nested walk may be divided. The bounds do not depend on it.

    windows: whether each step of the walk takes windows. memory: bytes that a chunk may take; None for half of what is
    free, on a CPU 256 MiB at most.
    """

    windows: bool
    memory: int | None


def tighten_rows(
    walk: fx.GraphModule,
    interval: Interval,
    unstable: Tensor | None,
    each: Sequence[Any],
    shared: Sequence[Any],
    rows: Rows,
) -> Interval:
    """Intersect an interval with CROWN bounds of its elements, walked in chunks.

    walk: (rows, *each, *shared) -> how far the rows fall below their centres. each: what has a dimension of examples,
    and may be divided among them; if that is not known, nothing. unstable: (batch, *shape), the elements to improve;
    None for all. Choosing rows needs their number on the host, which stalls an accelerator and breaks traced graphs;
    there all rows are walked and the result is used where `unstable` says. The bounds are the same.
    """
    wanted = unstable if unstable is not None and readable(unstable) else None
    ends, middles = [_grouped(end, rows) for end in interval], _grouped(interval.center, rows)
    found = []
    at_once = _rows_at_once(walk, interval, (each, shared), rows)
    for chunk in _chunks(interval, wanted, at_once, rows, bool(each)):
        coefficients = select_sides(F.one_hot(chunk.elements, middles.shape[1]).to(middles.dtype), "both")
        distances = walk(*_arguments(coefficients, chunk.groups, interval, each, rows), *shared)
        elements = chunk.elements.expand(len(chunk.groups), -1)
        lower, upper, _ = read_sides(distances, middles[chunk.groups].gather(1, elements), "both")
        assert lower is not None
        assert upper is not None
        place = chunk.groups.unsqueeze(1) * middles.shape[1] + elements
        found.append([part.flatten() if chunk.used is None else part[chunk.used] for part in (place, lower, upper)])
    if not found:
        return interval
    places, *sides = (torch.cat(parts) for parts in zip(*found, strict=True))
    walked = [end.flatten().index_put((places,), side).view_as(end) for end, side in zip(ends, sides, strict=True)]
    tighter = intersect(interval, Interval(*(_ungrouped(end, interval, rows) for end in walked)))
    if unstable is None or wanted is not None:
        return tighter
    return Interval(*(torch.where(unstable, new, old) for new, old in zip(tighter, interval, strict=True)))


# ---------------------------------------------------------------------- where rows start
# The rows of a group walk together: those of one example, or, over windows, of one position of one example.


def _grouped(value: Tensor, rows: Rows) -> Tensor:
    """(batch, *shape) -> (groups, elements)."""
    return value.movedim(1, -1).reshape(-1, value.shape[1]) if rows.windows else per_example(value)


def _ungrouped(groups: Tensor, interval: Interval, rows: Rows) -> Tensor:
    if not rows.windows:
        return groups.reshape(interval.shape)
    batch, channels, *grid = interval.shape
    return groups.reshape(batch, *grid, channels).movedim(-1, 1)


def _arguments(
    coefficients: Tensor, groups: Tensor, interval: Interval, each: Sequence[Any], rows: Rows
) -> tuple[Any, ...]:
    """Of the walk: its first form, from coefficients (groups | 1, rows, elements), and what has examples."""
    batch, *shape = interval.shape
    if rows.windows:
        return at_tiles(coefficients, tiles_of(groups, tuple(shape[1:]))), *each
    form = coefficients.reshape(*coefficients.shape[:2], *shape)
    if len(groups) < batch:
        each = [examples_of(value, groups, batch) for value in each]
    return form, *each


# ---------------------------------------------------------------------- chunks


class _Chunk(NamedTuple):
    groups: Tensor  # (groups,)
    elements: Tensor  # (groups | 1, rows): which elements of each group walk
    used: Tensor | None  # (groups, rows): which of these were asked for; None for all


_TENSORS = 8  # at most as many tensors as large as the coefficients are alive at once, those inside a convolution too
_ENOUGH = 256 * 2**20  # bytes on a CPU, where larger chunks are not faster
_FEW_ROWS = 16


def _chunks(interval: Interval, wanted: Tensor | None, at_once: int, rows: Rows, divisible: bool) -> Iterator[_Chunk]:
    """All elements or the wanted ones, so many at once as fit: groups with few of them are filled up, and go last."""
    number, size = _grouped(interval.center, rows).shape
    if wanted is None:
        chosen, order, counts = None, torch.arange(number, device=interval.device), [size] * number
    else:
        chosen = _grouped(wanted, rows)
        sizes, order = chosen.sum(1).sort(descending=True, stable=True)
        counts = [count for count in sizes.tolist() if count]
    if not counts:
        return
    # some rows of all examples go together if these cannot be divided, or need not be
    together = not rows.windows and (not divisible or at_once >= number * min(counts[0], _FEW_ROWS))
    first = 0
    while first < len(counts):
        fitting = counts[first : first + max(1, at_once // counts[first])]
        alike = sum(4 * count >= 3 * counts[first] for count in fitting)  # few are filled up, and by no more than that
        last = number if together else first + alike
        groups = order[first:last].sort().values
        yield from _parts(groups, chosen, counts[first], size, max(1, at_once // len(groups)))
        first = last


def _parts(groups: Tensor, chosen: Tensor | None, most: int, size: int, at_once: int) -> Iterator[_Chunk]:
    if chosen is None:
        for elements in torch.arange(size, device=groups.device)[None].split(at_once, 1):
            yield _Chunk(groups, elements, None)
        return
    among = chosen[groups]
    for elements in among.to(torch.uint8).topk(most, dim=1).indices.split(at_once, 1):
        yield _Chunk(groups, elements, among.gather(1, elements))


Captured = tuple[Sequence[Any], Sequence[Any]]


def _rows_at_once(walk: fx.GraphModule, interval: Interval, captured: Captured, rows: Rows) -> int:
    """How many rows, each of them with its negative, fit into memory together."""
    largest = (_usual_memory(interval.device) if rows.memory is None else rows.memory) // _TENSORS
    nodes = [interval, *(value for part in captured for value in part if isinstance(value, Interval))]
    per_row = max(map(node_numel, nodes)) * interval.dtype.itemsize * 2
    everything = math.prod(interval.shape) * per_row
    # windows are smaller than images; how much smaller is worth finding out where it decides on the chunks, and only
    # where a walk may run for that
    if rows.windows and everything > largest and not torch.compiler.is_compiling():
        per_row = _Probe(walk).most_bytes(interval, captured, rows)
    return max(1, largest // max(1, per_row))


def _usual_memory(device: torch.device) -> int:
    half = free_bytes(device) // 2
    return min(half, _ENOUGH) if device.type == "cpu" else half


class _Probe(fx.Interpreter):
    """Runs a walk for one element, to see how large windows become."""

    most = 0

    def most_bytes(self, interval: Interval, captured: Captured, rows: Rows) -> int:
        one = torch.zeros(1, dtype=torch.long, device=interval.device)
        coefficients = select_sides(F.one_hot(one[None], interval.shape[1]).to(interval.dtype), "both")
        each, shared = captured
        with torch.no_grad():
            self.run(*_arguments(coefficients, one, interval, each, rows), *shared)
        return self.most

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        for part in result if type(result) is tuple else (result,):
            if isinstance(part, Windows):
                self.most = max(self.most, part.values.nbytes)
        return result
