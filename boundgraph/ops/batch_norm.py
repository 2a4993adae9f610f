"""Batch normalisation, and the per-channel affine map it becomes once its statistics are fixed.

The pass `primal.batch_norm_to_affine` rewrites the first into the second: with running statistics in eval mode, with
the statistics of a clean forward pass of the same batch in train mode (Shi et al. 2021).
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.declared import differentiated_by
from boundgraph.errors import GraphError
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval
from boundgraph.windows import on_values

aten = torch.ops.aten


def forward(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale * x + shift per channel: x (batch, channels, ...), scale and shift (channels,)."""
    return torch.addcmul(_per_channel(shift, x), x, _per_channel(scale, x))


def interval(x: Interval, scale: Tensor, shift: Tensor) -> Interval:
    # a negative scale swaps the ends, hence |scale| on the radius
    return Interval.around(forward(x.center, scale, shift), x.radius * _per_channel(scale.abs(), x.center))


@on_values
def backward(coefficients: Tensor, x: Interval, scale: Tensor, shift: Tensor) -> Tensor:
    return coefficients * _per_channel(scale, x.center)


def gradient(
    upstream: Tensor, coefficients: Tensor, x: Interval, scale: Tensor, shift: Tensor
) -> tuple[Tensor, None, Tensor | None, None]:
    """Of A s: G s for A, and the sums of A G over all but the channels for s."""
    of_scale = None
    if scale.requires_grad:
        of_scale = (coefficients * upstream).sum([dim for dim in range(upstream.dim()) if dim != 2])
    return upstream * _per_channel(scale, x.center), None, of_scale, None


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.dim() - 2))


def running_scale_and_shift(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def batch_scale_and_shift(
    clean: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Scale and shift from the clean batch; biased variance, as in training."""
    mean, variance = _statistics(clean)
    return running_scale_and_shift(mean, variance, weight, bias, eps)


def scaled_weight(weight: Tensor, scale: Tensor) -> Tensor:
    """The weight of a convolution whose channels are scaled afterwards."""
    return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))


def shifted_bias(bias: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    return shift if bias is None else bias * scale + shift


def _statistics_gradient(upstream: list[Tensor], results: tuple[Tensor, ...], clean: Tensor) -> tuple[Tensor]:
    """Of n examples and positions each moves the mean by 1 / n, and the variance by 2 (x - mean) / n."""
    (of_mean, of_variance), (mean, _) = upstream, results
    count = clean.numel() // max(1, clean.shape[1])
    slope = of_variance * (2 / count)
    return (torch.addcmul(_per_channel(of_mean / count - slope * mean, clean), clean, _per_channel(slope, clean)),)


@differentiated_by(_statistics_gradient)
def _statistics(clean: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel. torch.var_mean passes over the data once, and takes ten times longer."""
    others = [dim for dim in range(clean.dim()) if dim != 1]
    mean = clean.mean(others)
    return mean, (clean - _per_channel(mean, clean)).square().mean(others)


CHANNEL_AFFINE = register(
    Operator(
        name="channel_affine",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        gradient=gradient,
    )
)


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    # running statistics are only read: bounds keep no state, the user's own forward pass updates them
    mean, variance = (None, None) if training else (running_mean, running_var)
    return F.batch_norm(x, mean, variance, weight, bias, training, 0.0, eps)


def _not_rewritten(*_: Any) -> NoReturn:
    raise GraphError("batch_norm has no bounds of its own; the method needs the pass primal.batch_norm_to_affine")


def _aten_batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, _: bool = False
) -> tuple:
    return x, mean, var, weight, bias, training, momentum, eps


def _constant_mode(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple:
    if not isinstance(training, bool):
        raise Refused("batch_norm needs `training` as True or False, known before any data")
    return x, running_mean, running_var, weight, bias, training, momentum, eps


BATCH_NORM = register(
    Operator(
        name="batch_norm",
        forward=batch_norm,
        interval=_not_rewritten,
        backward=_not_rewritten,
        spellings=((F.batch_norm, _constant_mode), (torch.batch_norm, _aten_batch_norm),
                   (aten.batch_norm.default, _aten_batch_norm)),
    )
)  # fmt: skip
