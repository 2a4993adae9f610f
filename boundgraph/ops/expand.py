"""Elements repeated within their example: expand, repeat, tile, repeat_interleave."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.broadcasting import sum_to
from boundgraph.errors import GraphError
from boundgraph.operator import Expansion, Refused, register_rewrite
from boundgraph.rearranging import given_as_arguments, rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def _require_first(shape: torch.Size, sizes: Any, what: str) -> None:
    if len(sizes) != len(shape):
        raise GraphError(
            f"{what} of a bounded value of shape {tuple(shape)} moves its batch dimension; unsqueeze it where the new "
            "dimension belongs"
        )


def expand(x: Tensor, size: Any) -> Tensor:
    return x.expand(size)


def expand_requires(shape: torch.Size, size: Any) -> None:
    _require_first(shape, size, f"expand to {tuple(size)}")


def expand_backward(coefficients: Tensor, x: Interval, size: Any) -> Tensor:
    return sum_to(coefficients, x.shape)


def _sizes(x: Any, *size: Any, implicit: bool = False, **keywords: Any) -> tuple:
    """Sizes one by one, as a sequence, or as the shape of another tensor."""
    size = size or (keywords["size"],)
    return x, size[0] if len(size) == 1 and not isinstance(size[0], int) else size


EXPAND = rearrangement(
    expand,
    (
        ("expand", _sizes),
        torch.broadcast_to,
        ("broadcast_to", _sizes),
        aten.broadcast_to.default,
        (aten.expand.default, _sizes),
    ),
    requires=expand_requires,
    backward=expand_backward,
)
EXPAND_AS = register_rewrite(
    Expansion(
        name="expand_as",
        adapters=dict.fromkeys(("expand_as", aten.expand_as.default), lambda x, other: x.expand(other.shape)),
    ),
)


def repeat(x: Tensor, repeats: Any) -> Tensor:
    return x.repeat(repeats)


def repeat_requires(shape: torch.Size, repeats: Any) -> None:
    _require_first(shape, repeats, f"repeat{tuple(repeats)}")


REPEAT = rearrangement(repeat, (("repeat", given_as_arguments), aten.repeat.default), requires=repeat_requires)


def tile(x: Tensor, dims: Any) -> Tensor:
    return x.tile(dims)


def tile_requires(shape: torch.Size, dims: Any) -> None:
    if len(dims) > len(shape):
        _require_first(shape, dims, f"tile{tuple(dims)}")


TILE = rearrangement(tile, (torch.tile, ("tile", given_as_arguments), aten.tile.default), requires=tile_requires)


def repeat_interleave(x: Tensor, repeats: Any, dim: int) -> Tensor:
    """repeats: a number, or one for each place along the dimension."""
    return x.repeat_interleave(repeats, dim)


def repeat_interleave_requires(shape: torch.Size, repeats: Any, dim: int) -> None:
    require_inner_dims(dim, len(shape), f"repeat_interleave(dim={dim})")


def _along_a_dimension(input: Any, repeats: Any, dim: int | None = None, *, output_size: Any = None) -> tuple:
    if dim is None:
        raise Refused("repeat_interleave without a dimension flattens the batch; name one, e.g. dim=1")
    return input, repeats, dim


REPEAT_INTERLEAVE = rearrangement(
    repeat_interleave,
    (
        (torch.repeat_interleave, _along_a_dimension),
        ("repeat_interleave", lambda x, *args, **keywords: _along_a_dimension(x, *args, **keywords)),
        (aten.repeat_interleave.self_int, _along_a_dimension),
        (aten.repeat_interleave.self_Tensor, _along_a_dimension),
    ),
    requires=repeat_interleave_requires,
)
