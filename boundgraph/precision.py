"""Coefficients in bfloat16, for training: half the memory, and products twice as fast where processors know the format.

A bfloat16 has the range of a float32 and 8 bits of its precision, so bounds made with it are estimates, good for a
gradient and no certificate. What becomes an offset is computed in float32: relaxations, regions and the sums over rows
times constants. Steps whose coefficients are large convert as they go, where a compiled kernel does it in registers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from boundgraph import linear_forms, regions
from boundgraph.errors import PrecisionError
from boundgraph.operator import of_upstream_alone
from boundgraph.values import Relaxation


def narrowed(value: Any) -> Any:
    """Coefficients, or a weight they meet, in bfloat16; what holds no fractions stays as it is.

    Raises:
        PrecisionError: a tensor of another precision than float32.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    _require_single(value)
    return value.to(torch.bfloat16)


@of_upstream_alone
def narrowed_gradient(upstream: Tensor, _: None) -> tuple[Tensor]:
    return (upstream.float(),)


def widened(coefficients: Tensor) -> Tensor:
    """Coefficients in float32, for a step that makes offsets of them."""
    return coefficients.float()


@of_upstream_alone
def widened_gradient(upstream: Tensor, _: None) -> tuple[Tensor]:
    return (upstream.to(torch.bfloat16),)


def lower_through(coefficients: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """`linear_forms.lower_through` between bfloat16 coefficients, computed in float32."""
    pulled, offset = linear_forms.lower_through(coefficients.float(), relaxation)
    return pulled.to(torch.bfloat16), offset


def lower_through_gradient(
    upstream: tuple[Tensor, Tensor], coefficients: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Relaxation]:
    pulled, offset = upstream
    gradient, lines = linear_forms.lower_through_gradient((pulled.float(), offset), coefficients.float(), relaxation)
    return gradient.to(torch.bfloat16), lines


def minimum_on_box(coefficients: Tensor, radius: Tensor) -> Tensor:
    """`regions.minimum_on_box` of bfloat16 coefficients."""
    return regions.minimum_on_box(coefficients.float(), radius)


def minimum_on_box_gradient(upstream: Tensor, coefficients: Tensor, radius: Tensor) -> tuple[Tensor, Tensor | None]:
    gradient, of_radius = regions.minimum_on_box_gradient(upstream, coefficients.float(), radius)
    return gradient.to(torch.bfloat16), of_radius


def for_training(distances: Tensor) -> Tensor:
    """The distances, if they can be differentiated.

    Raises:
        PrecisionError: nothing can be trained with them, so they would be read as bounds.
    """
    if not distances.requires_grad:
        raise PrecisionError(
            "precision='bf16' gives estimates of bounds for training, but nothing here asks for a gradient (no_grad, "
            "inference mode, or frozen weights). To verify, compile the model with the default precision: "
            "boundgraph.compile(model, method='crown-ibp')."
        )
    return distances


CONVERTING = {linear_forms.lower_through: lower_through, regions.minimum_on_box: minimum_on_box}
"""Steps that take bfloat16 coefficients, in place of those that take what they are computed in."""


def require_single(model: nn.Module) -> None:
    """Refuse a model for which bfloat16 coefficients make no sense.

    Raises:
        PrecisionError: some parameter is not in float32; says why.
    """
    for parameter in model.parameters():
        _require_single(parameter)


def _require_single(tensor: Tensor) -> None:
    if tensor.dtype == torch.float32 or not tensor.is_floating_point():
        return
    coarse = tensor.dtype.itemsize < 4
    why = "its offsets would be as coarse as its coefficients" if coarse else "rounding to 8 bits would undo its 53"
    dtype = str(tensor.dtype).removeprefix("torch.")
    raise PrecisionError(
        f"precision='bf16' is for models in float32, and this one is in {dtype}: {why}. Convert it, model.float(), or "
        "compile it with the default precision, which is the model's own."
    )
