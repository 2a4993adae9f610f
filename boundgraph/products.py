"""Matrix products of coefficients, in full precision, by the faster of two libraries."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def matrix_product(first: Tensor, second: Tensor) -> Tensor:
    """first @ second for a matrix `second`, (inner, outer).

    On processors without the kernels that MKL prefers, oneDNN's product is twice as fast at the same precision. It has
    no derivative of its own, so it serves only where none is recorded.
    """
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        return first @ second
    if not _worth_onednn(first, second):
        return first @ second
    return torch.ops.mkldnn._linear_pointwise(first, second.mT, None, "none", [], "")


def _worth_onednn(first: Tensor, second: Tensor) -> bool:
    large = first.numel() * second.shape[-1] > 2**20
    plain = first.dtype == torch.float32 and first.device.type == "cpu" and type(first) is Tensor
    return large and plain and not torch.compiler.is_compiling() and onednn_is_exact()


@functools.cache
def onednn_is_exact() -> bool:
    """Whether the operator, which torch keeps private, is there and rounds as float32 does."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 64, 64, generator=generator)
    try:
        found = torch.ops.mkldnn._linear_pointwise(first, second.mT, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(found.double(), first.double() @ second.double(), rtol=0, atol=64 * 1e-6)
