"""Parts of a value along a dimension other than the batch: chunk, split, tensor_split, unbind.

Each part is a call of its own, made when it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.errors import GraphError
from boundgraph.operator import Parts, Several, register_rewrite
from boundgraph.ops.indexing import at_dim, index
from boundgraph.rearranging import placed, rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def chunk(x: Tensor, chunks: int, dim: int, index: int) -> Tensor:
    """There may be fewer than `chunks`."""
    parts = x.chunk(chunks, dim)
    if index >= len(parts):
        raise GraphError(
            f"chunk({chunks}, dim={dim}) of shape {tuple(x.shape)} has {len(parts)} parts, and part {index} is taken; "
            "tensor_split makes as many as it is asked for"
        )
    return parts[index]


def chunk_backward(coefficients: Tensor, x: Interval, chunks: int, dim: int, index: int) -> Tensor:
    size = x.shape[dim]
    return placed(coefficients, x, dim, range(0, size, -(-size // chunks))[index])


def split(x: Tensor, sizes: Any, dim: int, index: int) -> Tensor:
    """sizes: of each part, or of all of them but the last, which may be smaller."""
    return x.split(sizes, dim)[index]


def split_backward(coefficients: Tensor, x: Interval, sizes: Any, dim: int, index: int) -> Tensor:
    if isinstance(sizes, int):
        return placed(coefficients, x, dim, range(0, x.shape[dim], sizes)[index])
    return placed(coefficients, x, dim, sum(sizes[: index % len(sizes)]))


def tensor_split(x: Tensor, where: Any, dim: int, index: int) -> Tensor:
    """where: how many parts, or where the parts after the first one begin."""
    return x.tensor_split(where, dim)[index]


def splitting_requires(shape: torch.Size, _: Any, dim: int, index: int) -> None:
    require_inner_dims(dim, len(shape), f"splitting (dim={dim})")


CHUNK = rearrangement(chunk, requires=splitting_requires, backward=chunk_backward)
SPLIT = rearrangement(split, requires=splitting_requires, backward=split_backward)
TENSOR_SPLIT = rearrangement(tensor_split, requires=splitting_requires)


def _parts(forward: Callable[..., Tensor], *arguments: Any, count: int | None = None) -> Parts:
    return Parts(lambda index: (forward, (*arguments, index)), count=count)


def _number(count: Any) -> int | None:
    return count if isinstance(count, int) else None


def _length(sizes: Any) -> int | None:
    return len(sizes) if isinstance(sizes, list | tuple) else None


def _chunks(input: Any, chunks: int, dim: int = 0) -> Parts:
    return _parts(chunk, input, chunks, dim, count=_number(chunks))


def _pieces(tensor: Any, split_size_or_sections: Any = None, dim: int = 0, split_size: Any = None) -> Parts:
    sizes = split_size if split_size_or_sections is None else split_size_or_sections
    return _parts(split, tensor, sizes, dim, count=_length(sizes))


def _sections(
    input: Any, indices_or_sections: Any = None, dim: int = 0, *, sections: Any = None, indices: Any = None
) -> Parts:
    where = next(given for given in (indices_or_sections, sections, indices) if given is not None)
    cuts = _length(where)
    return _parts(tensor_split, input, where, dim, count=cuts + 1 if cuts is not None else _number(where))


def _slices(input: Any, dim: int = 0) -> Parts:
    return Parts(lambda number: (index, (input, at_dim(dim, number))))


PARTS = register_rewrite(
    Several(
        name="parts",
        adapters={
            **dict.fromkeys(
                (torch.chunk, "chunk", torch.unsafe_chunk, "unsafe_chunk", aten.chunk.default,
                 aten.unsafe_chunk.default),
                _chunks,
            ),
            **dict.fromkeys(
                (torch.split, "split", torch.split_with_sizes, "split_with_sizes", torch.unsafe_split, "unsafe_split",
                 aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.unsafe_split.Tensor),
                _pieces,
            ),
            **dict.fromkeys(
                (torch.tensor_split, "tensor_split", aten.tensor_split.sections, aten.tensor_split.indices), _sections
            ),
            **dict.fromkeys((torch.unbind, "unbind", aten.unbind.int), _slices),
        },
    )
)  # fmt: skip
