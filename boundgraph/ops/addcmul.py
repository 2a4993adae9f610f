"""Sums with products in them, written out: addcmul, addcdiv, lerp, addmm, baddbmm."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from boundgraph.operator import Expansion, register_rewrite

aten = torch.ops.aten


def _addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return input + _times(value, tensor1 * tensor2)


def _addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return input + _times(value, tensor1 / tensor2)


def _lerp(input: Any, end: Any, weight: Any) -> Any:
    # each operand once, so that intervals of a constant weight are exact
    return input * (1 - weight) + end * weight


def _addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    # a linear layer: mat1 has the examples in its rows, and mat2 is a matrix of weights
    return _sum(beta, input, alpha, F.linear(mat1, mat2.t()))


def _baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return _sum(beta, input, alpha, torch.matmul(batch1, batch2))


def _sum(beta: float, input: Any, alpha: float, product: Any) -> Any:
    return _times(alpha, product) if beta == 0 else _times(beta, input) + _times(alpha, product)


def _times(factor: float, value: Any) -> Any:
    return value if factor == 1 else factor * value


register_rewrite(
    Expansion("addcmul", dict.fromkeys((torch.addcmul, "addcmul", "addcmul_", aten.addcmul.default), _addcmul))
)
register_rewrite(
    Expansion("addcdiv", dict.fromkeys((torch.addcdiv, "addcdiv", "addcdiv_", aten.addcdiv.default), _addcdiv))
)
register_rewrite(
    Expansion("lerp", dict.fromkeys((torch.lerp, "lerp", "lerp_", aten.lerp.Scalar, aten.lerp.Tensor), _lerp))
)
register_rewrite(Expansion("addmm", dict.fromkeys((torch.addmm, "addmm", "addmm_", aten.addmm.default), _addmm)))
register_rewrite(
    Expansion("baddbmm", dict.fromkeys((torch.baddbmm, "baddbmm", "baddbmm_", aten.baddbmm.default), _baddbmm))
)
