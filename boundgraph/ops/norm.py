"""The Euclidean norm over dimensions of each example; those of order 1 and infinity are written out.

It is convex, so a tangent lies below. Its square lies below the chords of the squares, C(x), and its root below that
of C, which is concave, and so below the tangent of that.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from boundgraph import planes, squares
from boundgraph.operator import Expansion, Operator, Refused, applied, register, register_rewrite
from boundgraph.planes import Plane, Planes, gathered_ends, inner_dims
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    return torch.linalg.vector_norm(x, 2, dim, keepdim)


def interval(x: Interval, dim: Any, keepdim: bool = False) -> Interval:
    inner_dims(dim, len(x.shape), "norm")
    lower, upper = x
    nearest = lower.clamp(min=0) + upper.clamp(max=0)  # to 0; the ends are no smaller and no larger than that
    return Interval(forward(nearest, dim, keepdim), forward(torch.maximum(lower.abs(), upper.abs()), dim, keepdim))


def relax(x: Interval, dim: Any, keepdim: bool = False) -> Planes:
    dims = inner_dims(dim, len(x.shape), "norm")
    return Planes(*root_planes(gathered_ends(x, dims), centred=False), dims, x.shape)


def root_planes(x: Interval, centred: bool) -> tuple[Plane, Plane]:
    """Planes around the root of a sum of squares along the last dimension."""
    away = squares.deviations(x.center, centred)
    size = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
    # sound: |c| >= <c, unit> for every unit, and <x - mean, away> = <x, away>; a unit of length 0 gives 0
    below = Plane((away / torch.where(size > 0, size, 1.0)).unsqueeze(-2), torch.zeros_like(size))
    chords = squares.chords(x, centred)
    total = chords.at(x.center)
    root = torch.where(total > 0, total, 1.0).sqrt()
    # sound: root(C) <= (C / t + t) / 2 for every t > 0; t is the root of C at the centre, and 1 where C is 0 there, as
    # it then is in the whole box
    intercept = torch.where(total > 0, (chords.intercept / root + root) / 2, 0.0)
    return below, Plane(chords.coefficients / (2 * root.unsqueeze(-1)), intercept)


NORM = register(
    Operator(
        name="norm",
        forward=forward,
        interval=interval,
        relax=relax,
        through=planes.through,
    )
)


def _vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dtype is not None:
        raise Refused("a norm in another dtype has no bound rule; convert the model instead")
    dim = () if dim is None else dim
    if ord in (math.inf, "inf"):
        return torch.amax(torch.abs(x), dim, keepdim)
    if ord == 1:
        return torch.sum(torch.abs(x), dim, keepdim)
    if ord == 2:
        return applied(forward, x, dim, keepdim)
    raise Refused(f"the norm of order {ord!r} has no bound rule; there are those of order 1, 2 and infinity")


def _of_tensor(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: None = None, dtype: Any = None
) -> Any:
    if p == "nuc":
        raise Refused("the nuclear norm has no bound rule")
    return _vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def _linalg_norm(x: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if ord is not None and not (isinstance(dim, int) or ord == "fro"):
        raise Refused("a norm of matrices has no bound rule, but ord='fro'; name one dimension for a norm of vectors")
    return _vector_norm(x, 2 if ord in (None, "fro") else ord, dim, keepdim, dtype=dtype)


register_rewrite(
    Expansion(
        "norm",
        {
            torch.linalg.vector_norm: _vector_norm,
            aten.linalg_vector_norm.default: lambda self, *args, **keywords: _vector_norm(self, *args, **keywords),
            torch.linalg.norm: _linalg_norm,
            **dict.fromkeys((torch.norm, "norm", aten.norm.ScalarOpt_dim, aten.norm.Scalar), _of_tensor),
        },
    )
)
