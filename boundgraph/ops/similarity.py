"""Products of two vectors per example, written out: vecdot, cosine_similarity, bilinear."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from boundgraph.operator import Expansion, register_rewrite

aten = torch.ops.aten


def _vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    return (x * y).sum(dim)


def _cosine(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    # vectors of length 1 lie within known bounds, lengths by themselves may come near 0
    cosine = (F.normalize(x1, 2.0, dim, eps) * F.normalize(x2, 2.0, dim, eps)).sum(dim)
    # the value itself, since it lies between -1 and 1; its bounds do so too only after this
    return 1 - torch.relu(2 - torch.relu(1 + cosine))


def _bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    # from left to right, so that x W is exact before it meets the other operand
    product = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


register_rewrite(Expansion("vecdot", dict.fromkeys((torch.linalg.vecdot, aten.linalg_vecdot.default), _vecdot)))
register_rewrite(
    Expansion(
        "cosine_similarity",
        dict.fromkeys((F.cosine_similarity, torch.cosine_similarity, aten.cosine_similarity.default), _cosine),
    )
)
register_rewrite(Expansion("bilinear", dict.fromkeys((F.bilinear, torch.bilinear, aten.bilinear.default), _bilinear)))
