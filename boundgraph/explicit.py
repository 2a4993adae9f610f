"""Running a coefficient walk with the graph of its own gradient, in chunks of examples."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from boundgraph.declared import through_autograd
from boundgraph.leaves import joined, leaves, separated
from boundgraph.values import Interval, examples_of, node_numel

CHUNK = 32 * 2**20
"""Bytes that the largest coefficient tensor of a chunk may take: it bounds memory. Smaller chunks are not faster."""


class ExplicitWalk(nn.Module):
    """A walk from rows to their distance below the centres, as two graphs.

    forward_graph: (*captured) -> (distances, residuals). backward_graph: (upstream, *captured, *residuals) -> gradients
    of what is captured. per_example: for each captured value whether it has a dimension of examples; None where that
    is not known. The first captured value are the rows.
    """

    def __init__(
        self,
        plain_graph: fx.GraphModule,
        forward_graph: fx.GraphModule,
        backward_graph: fx.GraphModule,
        per_example: tuple[bool | None, ...],
    ) -> None:
        super().__init__()
        self.plain_graph, self.forward_graph, self.backward_graph = plain_graph, forward_graph, backward_graph
        self.per_example = per_example

    def examples(self, captured: Sequence[Any]) -> int:
        """How many examples there are, perhaps none; a leading dimension of 1 may stand for all of them."""
        values = [value for value, each in zip(captured, self.per_example, strict=True) if each]
        return next((size for leaf in leaves(values) if (size := _leading(leaf)) not in (None, 1)), 1)

    def chunks(self, captured: Sequence[Any], batch: int) -> Iterator[tuple[slice, list[Any]]]:
        """The captured values of some examples at a time."""
        size = self._examples_at_once(captured, batch)
        if size >= batch:
            yield slice(0, batch), list(captured)
            return
        for start in range(0, batch, size):
            part = slice(start, min(start + size, batch))
            pairs = zip(captured, self.per_example, strict=True)
            yield part, [examples_of(value, part, batch) if each else value for value, each in pairs]

    def _examples_at_once(self, captured: Sequence[Any], batch: int) -> int:
        unknown = [value for value, each in zip(captured, self.per_example, strict=True) if each is None]
        if any(isinstance(leaf, Tensor) for leaf in leaves(unknown)):
            return max(1, batch)
        most = self.most_rows(captured) // max(1, captured[0].shape[1])
        count = max(1, -(-batch // max(1, most)))
        return max(1, -(-batch // count))

    def most_rows(self, captured: Sequence[Any]) -> int:
        """How many rows, of all examples of a chunk, may walk at once; on accelerators there is no limit."""
        rows = captured[0]
        if rows.device.type != "cpu":
            return sys.maxsize
        nodes = [node_numel(value) for value in captured if isinstance(value, Interval)]
        each = max(rows.element_size(), 4)  # what is kept in less is computed in float32
        return CHUNK // (max(1, rows[:1, :1].numel(), *nodes) * each)


def _leading(leaf: Any) -> int | None:
    return leaf.shape[0] if isinstance(leaf, Tensor | Interval) else None


def run(walk: ExplicitWalk, captured: Sequence[Any]) -> Tensor:
    """The walk's distances, (batch, rows), differentiable in what is captured.

    In traced graphs and under torch.func the walk runs as it stands; what differentiates those is not this module's.
    """
    batch = walk.examples(captured)
    captured = [captured[0].expand(batch, *captured[0].shape[1:]), *captured[1:]]
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return walk.plain_graph(*captured)[0]
    given, structure = separated(captured)
    if torch.is_grad_enabled() and any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in given):
        return cast(Tensor, _Differentiable.apply(walk, structure, batch, *given))
    parts = [_distances(walk, part) for _, part in walk.chunks(captured, batch)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _distances(walk: ExplicitWalk, captured: list[Any]) -> Tensor:
    """Without a gradient the rows of an example may be divided, too: a thousand classes are a thousand rows."""
    rows, *others = captured
    several = rows.split(max(1, walk.most_rows(captured) // max(1, len(rows))), dim=1)
    parts = [walk.plain_graph(part, *others)[0] for part in several]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, walk: ExplicitWalk, structure: Any, batch: int, *given: Any) -> Tensor:
        distances, kept = [], []
        for _, part in walk.chunks(joined(given, structure), batch):
            distance, residuals = walk.forward_graph(*part)
            distances.append(distance)
            kept.append(residuals)
        residual_leaves, ctx.residual_structure = separated(kept)
        everything = (*given, *residual_leaves)
        ctx.save_for_backward(*(leaf for leaf in everything if isinstance(leaf, Tensor)))
        ctx.others = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in everything]
        ctx.walk, ctx.structure, ctx.batch, ctx.count = walk, structure, batch, len(given)
        return distances[0] if len(distances) == 1 else torch.cat(distances)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        saved = iter(ctx.saved_tensors)
        everything = [next(saved) if other is None else other[0] for other in ctx.others]
        given, residual_leaves = everything[: ctx.count], everything[ctx.count :]
        captured = joined(given, ctx.structure)
        if torch.is_grad_enabled():  # somebody wants second derivatives
            distances = ctx.walk.plain_graph(*captured)[0]
            return None, None, None, *through_autograd([distances], given, [upstream])
        # a step tells by this what gradients to find; the walk needs those of all coefficients it made
        residuals = joined([leaf.detach().requires_grad_() for leaf in residual_leaves], ctx.residual_structure)
        totals: list[list[Tensor]] = [[] for _ in given]
        for (examples, part), kept in zip(ctx.walk.chunks(captured, ctx.batch), residuals, strict=True):
            gradients = ctx.walk.backward_graph(upstream[examples], *part, *kept)
            flat = [g for gradient, value in zip(gradients, captured, strict=True) for g in _leaves(gradient, value)]
            for found, gradient in zip(totals, flat, strict=True):
                if gradient is not None:
                    found.append(gradient)
        sums = (
            _summed(found, leaf) if found and leaf.requires_grad else None
            for found, leaf in zip(totals, given, strict=True)
        )
        return None, None, None, *sums


def _leaves(gradient: Any, value: Any) -> list[Any]:
    """The gradient of each leaf of a captured value; None all through where there is none."""
    return [None] * len(leaves(value)) if gradient is None else leaves(gradient)


def _summed(gradients: list[Tensor], leaf: Tensor) -> Tensor:
    """Gradients of the chunks as one: next to each other for what has examples, summed for what they share."""
    if len(gradients) == 1:
        return gradients[0]
    if gradients[0].shape != leaf.shape:
        return torch.cat(gradients)
    total = gradients[0].clone()
    for gradient in gradients[1:]:
        total += gradient
    return total
