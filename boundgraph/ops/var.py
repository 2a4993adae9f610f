"""Variance and standard deviation over dimensions of each example.

Of n elements they are Q / (n - correction) and its root, with Q the sum of squares about the mean.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from boundgraph import planes, squares
from boundgraph.operator import Expansion, Operator, register, register_rewrite
from boundgraph.ops.norm import root_planes
from boundgraph.planes import Planes, gathered_ends, inner_dims
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dim: Any, correction: float = 1, keepdim: bool = False) -> Tensor:
    return torch.var(x, dim, correction=correction, keepdim=keepdim)


def interval(x: Interval, dim: Any, correction: float = 1, keepdim: bool = False) -> Interval:
    dims = inner_dims(dim, len(x.shape), "variance")
    lower, upper = (size.square() for size in _sizes(x, dims, keepdim))
    divisor = _divisor(x, dims, correction)
    return Interval(lower / divisor, upper / divisor)


def relax(x: Interval, dim: Any, correction: float = 1, keepdim: bool = False) -> Planes:
    dims = inner_dims(dim, len(x.shape), "variance")
    ends, divisor = gathered_ends(x, dims), _divisor(x, dims, correction)
    below, above = squares.tangent(ends.center, centred=True), squares.chords(ends, centred=True)
    return Planes(below.over(divisor), above.over(divisor), dims, x.shape)


def deviation(x: Tensor, dim: Any, correction: float = 1, keepdim: bool = False) -> Tensor:
    return torch.std(x, dim, correction=correction, keepdim=keepdim)


def deviation_interval(x: Interval, dim: Any, correction: float = 1, keepdim: bool = False) -> Interval:
    dims = inner_dims(dim, len(x.shape), "standard deviation")
    divisor = _divisor(x, dims, correction).sqrt()
    return Interval(*(size / divisor for size in _sizes(x, dims, keepdim)))


def deviation_relax(x: Interval, dim: Any, correction: float = 1, keepdim: bool = False) -> Planes:
    dims = inner_dims(dim, len(x.shape), "standard deviation")
    below, above = root_planes(gathered_ends(x, dims), centred=True)
    divisor = _divisor(x, dims, correction).sqrt()
    return Planes(below.over(divisor), above.over(divisor), dims, x.shape)


def _sizes(x: Interval, dims: tuple[int, ...], keepdim: bool) -> tuple[Tensor, Tensor]:
    """Roots of the least Q and of a bound on the largest, in the shape of the result."""
    ends = gathered_ends(x, dims)
    found = (squares.least(ends, centred=True), squares.most(ends, centred=True))
    shape = [1 if i in dims else size for i, size in enumerate(x.shape) if keepdim or i not in dims]
    lower, upper = (torch.linalg.vector_norm(away, dim=-1).reshape(shape) for away in found)
    return lower, upper


def _divisor(x: Interval, dims: tuple[int, ...], correction: float) -> Tensor:
    """n - correction, as a tensor, which may be divided by where it is 0."""
    count = math.prod(x.shape[dim] for dim in dims)
    return torch.full((), max(count - correction, 0), dtype=x.dtype, device=x.device)


def _arguments(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple:
    if isinstance(dim, bool):  # x.var(unbiased), over all dimensions
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return input, dim, correction, keepdim


def _spellings(name: str) -> tuple:
    kernel = getattr(aten, name)
    return tuple((s, _arguments) for s in (getattr(torch, name), name, kernel.default, kernel.dim, kernel.correction))


VAR = register(
    Operator(
        name="var",
        forward=forward,
        interval=interval,
        relax=relax,
        through=planes.through,
        exact=False,
        spellings=_spellings("var"),
    )
)
STD = register(
    Operator(
        name="std",
        forward=deviation,
        interval=deviation_interval,
        relax=deviation_relax,
        through=planes.through,
        exact=False,
        spellings=_spellings("std"),
    )
)


def _with_mean(operator: Operator) -> Any:
    def adapter(*args: Any, **keywords: Any) -> tuple:
        x, dim, correction, keepdim = _arguments(*args, **keywords)
        spread = getattr(torch, operator.name)(x, dim, correction=correction, keepdim=keepdim)
        return spread, torch.mean(x, dim, keepdim)

    return adapter


for _operator, _function, _kernel in (
    (VAR, torch.var_mean, aten.var_mean),
    (STD, torch.std_mean, aten.std_mean),
):
    _spelled = (_function, _kernel.default, _kernel.dim, _kernel.correction)
    register_rewrite(Expansion(_function.__name__, dict.fromkeys(_spelled, _with_mean(_operator))))
