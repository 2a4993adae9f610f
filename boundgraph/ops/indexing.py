"""Elements taken from each example: slices, numbers and constant index tensors in brackets, select, narrow, gather."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from boundgraph.batch import require_inner_dims
from boundgraph.capture import reads_metadata_only
from boundgraph.errors import GraphError
from boundgraph.linear_forms import transposed
from boundgraph.operator import Refused
from boundgraph.rearranging import placed, rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def index(x: Tensor, at: Any) -> Tensor:
    """x[at]."""
    return x[at]


def index_requires(shape: torch.Size, at: Any) -> None:
    """Dimension 0 stays where it is, whole.

    # sound: the result of an index tensor takes the place of the dimension that it indexes. Several of them have one
    # result, in the place of the first, if nothing but numbers stands between them; else it comes first.
    """
    parts = at if isinstance(at, tuple) else (at,)
    first, *others = parts or (...,)
    if first is Ellipsis:
        whole = sum(map(_dims_taken, others)) < len(shape)
    else:
        whole = isinstance(first, slice) and range(shape[0])[first] == range(shape[0])
    if not whole:
        raise GraphError(
            f"x[{_written(at)}] takes from dimension 0 of a value of shape {tuple(shape)}, which must stay the batch, "
            "because bounds are computed per example; index the dimensions after it, e.g. x[:, 0], or, with an index "
            "for each example, x.gather(1, index)"
        )
    places = [i for i, part in enumerate(parts) if _is_index_tensor(part)]
    between = parts[places[0] : places[-1]] if places else ()
    if not all(_is_index_tensor(part) or isinstance(part, int) for part in between):
        raise GraphError(
            f"x[{_written(at)}] has index tensors apart from each other, whose result comes first, where the batch "
            "must stay; index one dimension after the other, e.g. x[:, i][:, :, j]"
        )


def _is_index_tensor(part: Any) -> bool:
    if isinstance(part, bool):
        raise GraphError("indexing with True or False has no bound rule; use unsqueeze")
    return isinstance(part, Tensor | list | tuple)


def _dims_taken(part: Any) -> int:
    if isinstance(part, list | tuple):
        part = torch.tensor(part)
    if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
        return part.dim()
    return int(part is not None)


def _written(at: Any) -> str:
    def part(value: Any) -> str:
        if isinstance(value, slice):
            ends = ["" if end is None else str(end) for end in (value.start, value.stop, value.step)]
            return ":".join(ends[: 2 if value.step is None else 3])
        if isinstance(value, Tensor):
            return f"<index of shape {tuple(value.shape)}>"
        return "..." if value is Ellipsis else str(value)

    return ", ".join(map(part, at)) if isinstance(at, tuple) else part(at)


def index_backward(coefficients: Tensor, x: Interval, at: Any) -> Tensor:
    first, *others = at if isinstance(at, tuple) else (at,)
    kept = (slice(None) if isinstance(first, slice) else first, *others)  # there are more examples than in x
    if any(_is_index_tensor(part) for part in others):  # it may take an element twice
        return transposed(index, coefficients, x, kept)
    pulled = coefficients.new_zeros(*coefficients.shape[:2], *x.shape[1:])
    pulled[kept if first is Ellipsis else (slice(None), *kept)] = coefficients
    return pulled


def _brackets(x: Any, at: Any) -> tuple:
    if isinstance(x, fx.Node) and reads_metadata_only(x):
        raise Refused("a size is no tensor")  # nor can it be perturbed: the call stays as it is
    return x, at


def at_dim(dim: int, part: Any) -> tuple:
    """The index of one dimension, counted from either end."""
    return (slice(None),) * dim + (part,) if dim >= 0 else (..., part) + (slice(None),) * (-dim - 1)


def _select(input: Any, dim: int, index: Any) -> tuple:
    return input, at_dim(dim, index)


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> tuple:
    return x, at_dim(dim, slice(start, end, step))


def _several(x: Any, indices: Any) -> tuple:
    """ATen's list of index tensors, None where a dimension is taken whole."""
    places = [place for place, part in enumerate(indices) if part is not None]
    if places and places[-1] - places[0] >= len(places):
        raise Refused("index tensors apart from each other have a result that comes first, where the batch must stay")
    return x, tuple(slice(None) if part is None else part for part in indices)


def turned_index(x: Any, at: Any) -> tuple[tuple, bool] | None:
    """Of whole sequences: one position, or a slice of them."""
    first, second, *others = (*at, slice(None)) if isinstance(at, tuple) else (at, slice(None))
    plain = all(isinstance(part, slice) for part in others)
    if second != slice(None) or not plain or isinstance(first, bool) or not isinstance(first, int | slice):
        return None
    return (x, (slice(None), first, *others)), isinstance(first, slice)


INDEX = rearrangement(
    index,
    (
        (operator.getitem, _brackets),
        (torch.select, _select),
        ("select", _select),
        (aten.select.int, _select),
        (aten.slice.Tensor, _slice),
        (aten.index.Tensor, _several),
    ),
    requires=index_requires,
    backward=index_backward,
    turned=turned_index,
)


def narrow(x: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    return x.narrow(dim, start, length)


def narrow_requires(shape: torch.Size, dim: int, start: Any, length: Any) -> None:
    require_inner_dims(dim, len(shape), f"narrow(dim={dim})")


def narrow_backward(coefficients: Tensor, x: Interval, dim: int, start: Any, length: Any) -> Tensor:
    return placed(coefficients, x, dim, start if start >= 0 else start + x.shape[dim])


NARROW = rearrangement(
    narrow, (torch.narrow, "narrow", aten.narrow.default), requires=narrow_requires, backward=narrow_backward
)


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return x.index_select(dim, index)


def index_select_requires(shape: torch.Size, dim: int, index: Tensor) -> None:
    require_inner_dims(dim, len(shape), f"index_select(dim={dim})")


INDEX_SELECT = rearrangement(
    index_select, (torch.index_select, "index_select", aten.index_select.default), requires=index_select_requires
)


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """index: (batch, ...), into one dimension of each example; it may be smaller than x in the others."""
    return x.gather(dim, index)


def gather_requires(shape: torch.Size, dim: int, index: Tensor) -> None:
    require_inner_dims(dim, len(shape), f"gather(dim={dim})")


def gather_backward(coefficients: Tensor, x: Interval, dim: int, index: Tensor) -> Tensor:
    batch, rows = len(index), coefficients.shape[1]
    index = index.unsqueeze(1).expand(-1, rows, *[-1] * (index.dim() - 1))
    pulled = coefficients.new_zeros(batch, rows, *x.shape[1:])
    return pulled.scatter_add(dim % len(x.shape) + 1, index, coefficients.expand(batch, *coefficients.shape[1:]))


def _of_dim(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> tuple:
    return input, dim, index


GATHER = rearrangement(
    gather,
    ((torch.gather, _of_dim), ("gather", _of_dim), (aten.gather.default, _of_dim)),
    requires=gather_requires,
    backward=gather_backward,
    alike=False,
)


def take_along_dim(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """indices: (batch | 1, ...), broadcast against x in all dimensions but the one that they index."""
    return x.take_along_dim(indices, dim)


def take_along_dim_requires(shape: torch.Size, indices: Tensor, dim: int) -> None:
    require_inner_dims(dim, len(shape), f"take_along_dim(dim={dim})")


def take_along_dim_backward(coefficients: Tensor, x: Interval, indices: Tensor, dim: int) -> Tensor:
    batch, rows = max(len(indices), len(coefficients)), coefficients.shape[1]
    coefficients = coefficients.expand(batch, *coefficients.shape[1:])
    indices = indices.expand(batch, *indices.shape[1:]).repeat_interleave(rows, 0)
    return transposed(take_along_dim, coefficients, x, indices, dim)


def _with_dim(input: Any, indices: Any, dim: int | None = None) -> tuple:
    if dim is None:
        raise Refused("take_along_dim without a dimension flattens the batch; name one, e.g. dim=1")
    return input, indices, dim


TAKE_ALONG_DIM = rearrangement(
    take_along_dim,
    ((torch.take_along_dim, _with_dim), ("take_along_dim", _with_dim), (aten.take_along_dim.default, _with_dim)),
    requires=take_along_dim_requires,
    backward=take_along_dim_backward,
    alike=False,
)
