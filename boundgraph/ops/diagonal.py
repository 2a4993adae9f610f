"""Matrices within each example: their diagonals, their triangles, and matrices made of diagonals."""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.rearranging import rearrangement

aten = torch.ops.aten


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    return x.diagonal(offset, dim1, dim2)


def diagonal_requires(shape: torch.Size, offset: int = 0, dim1: int = 0, dim2: int = 1) -> None:
    require_inner_dims((dim1, dim2), len(shape), f"diagonal(dim1={dim1}, dim2={dim2})")


DIAGONAL = rearrangement(diagonal, (torch.diagonal, "diagonal", aten.diagonal.default), requires=diagonal_requires)


def diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    return x.diag_embed(offset, dim1, dim2)


def diag_embed_requires(shape: torch.Size, offset: int = 0, dim1: int = -2, dim2: int = -1) -> None:
    require_inner_dims((-1,), len(shape), "diag_embed of the last dimension")
    require_inner_dims((dim1, dim2), len(shape) + 1, f"diag_embed(dim1={dim1}, dim2={dim2})")


DIAG_EMBED = rearrangement(
    diag_embed, (torch.diag_embed, "diag_embed", aten.diag_embed.default), requires=diag_embed_requires
)


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    return x.tril(diagonal)


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    return x.triu(diagonal)


def triangle_requires(shape: torch.Size, diagonal: int = 0) -> None:
    require_inner_dims((-2, -1), len(shape), "a triangle of the last two dimensions")


TRIL = rearrangement(tril, (torch.tril, "tril", aten.tril.default), requires=triangle_requires)
TRIU = rearrangement(triu, (torch.triu, "triu", aten.triu.default), requires=triangle_requires)
