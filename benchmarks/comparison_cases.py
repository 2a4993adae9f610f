"""One operator at a time: modules around it, and the part of its domain on which bounds are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Applied(nn.Module):
    """A function as a module; layers that it needs are handed to it after the value."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class Case(NamedTuple):
    """make: the operator as a module of one tensor. shape: of its operand, without the batch. domain: of operands that
    may be asked for. theirs: how it must be written for auto_LiRPA, where that differs."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (6,)
    domain: tuple[float, float] = (-math.inf, math.inf)
    theirs: Callable[[], nn.Module] | None = None


def _of(function: Callable[..., Any], *shape: int, domain: tuple[float, float] = (-math.inf, math.inf)) -> Case:
    return Case(lambda: Applied(function), shape or (6,), domain)


def _layer(layer: Callable[..., nn.Module], *args: Any, shape: tuple[int, ...] = (6,), **options: Any) -> Case:
    return Case(lambda: layer(*args, **options), shape)


def _pair(function: Callable[..., Any], domain: tuple[float, float] = (-math.inf, math.inf)) -> Case:
    """Both operands carry bounds: the halves of one vector."""
    return Case(lambda: Applied(lambda x: function(x[:, :4], x[:, 4:])), (8,), domain)


def _weighted(function: Callable[..., Any]) -> Case:
    """With a layer whose weight, (3, 4), is the constant."""
    return Case(lambda: Applied(function, nn.Linear(4, 3)), (3, 4))


def _with_statistics(layer: Callable[..., nn.Module], channels: int) -> Callable[[], nn.Module]:
    """A batch normalisation with statistics of its own, as after training."""

    def make() -> nn.Module:
        made: Any = layer(channels)
        for mean in (made.running_mean, made.bias):
            nn.init.normal_(mean)
        for scale in (made.running_var, made.weight):
            nn.init.uniform_(scale, 0.5, 2.0)
        return made.eval()

    return make


def _gelu_of_theirs() -> nn.Module:
    from auto_LiRPA.operators.gelu import GELU  # type: ignore[import-not-found]

    return GELU()


def _halves(function: Callable[..., Any], x: Tensor) -> Tensor:
    first = x[:, :6].reshape(-1, 2, 3)
    second = x[:, 6:].reshape(-1, 3, 2)
    return function(first, second)


IMAGE = (2, 6, 6)
_POSITIVE = (0.05, 6.0)

LINEAR = {
    "linear": _layer(nn.Linear, 6, 5),
    "conv1d": _layer(nn.Conv1d, 2, 3, 3, padding=1, shape=(2, 8)),
    "conv2d": _layer(nn.Conv2d, 2, 3, 3, stride=2, padding=1, shape=IMAGE),
    "conv2d, groups": _layer(nn.Conv2d, 2, 4, 3, groups=2, shape=IMAGE),
    "conv2d, dilation": _layer(nn.Conv2d, 2, 3, 2, dilation=2, shape=IMAGE),
    "conv2d, padding same": _layer(nn.Conv2d, 2, 3, 3, padding="same", shape=IMAGE),
    "conv3d": _layer(nn.Conv3d, 1, 2, 2, shape=(1, 3, 4, 4)),
    "conv_transpose1d": _layer(nn.ConvTranspose1d, 2, 3, 3, shape=(2, 6)),
    "conv_transpose2d": _layer(nn.ConvTranspose2d, 2, 3, 3, stride=2, padding=1, shape=(2, 4, 4)),
    "conv_transpose2d, groups": _layer(nn.ConvTranspose2d, 2, 2, 3, groups=2, shape=(2, 4, 4)),
    "batch_norm1d, eval": Case(_with_statistics(nn.BatchNorm1d, 6)),
    "batch_norm2d, eval": Case(_with_statistics(nn.BatchNorm2d, 2), IMAGE),
    "avg_pool2d": _layer(nn.AvgPool2d, 2, shape=IMAGE),
    "adaptive_avg_pool2d, to 1": _layer(nn.AdaptiveAvgPool2d, 1, shape=IMAGE),
    "adaptive_avg_pool2d, to 4": _layer(nn.AdaptiveAvgPool2d, 4, shape=IMAGE),
    "sum": _of(lambda x: x.sum(2), 3, 4),
    "mean": _of(lambda x: x.mean(2), 3, 4),
    "cumsum": _of(lambda x: torch.cumsum(x, 1)),
    "add, sub": _pair(lambda x, y: 2 * x - y),
    "mul by constant": _of(lambda x: x * torch.linspace(-1, 1, 6, dtype=x.dtype)),
    "cat": _of(lambda x: torch.cat([x, -x], 1)),
    "stack": _of(lambda x: torch.stack([x, -x], 1)),
    "pad, zeros": _of(lambda x: F.pad(x, (1, 2, 0, 1)), *IMAGE),
    "pad, reflect": _of(lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"), *IMAGE),
    "reshape": _of(lambda x: x.reshape(x.shape[0], 12, 6), *IMAGE),
    "flatten": _of(lambda x: x.flatten(1), *IMAGE),
    "transpose": _of(lambda x: x.transpose(1, 2), 3, 4),
    "permute": _of(lambda x: x.permute(0, 3, 1, 2), *IMAGE),
    "squeeze, unsqueeze": _of(lambda x: x.unsqueeze(2).squeeze(2)),
    "expand": _of(lambda x: x.unsqueeze(1).expand(-1, 3, -1)),
    "slice": _of(lambda x: x[:, 1:4]),
    "index by list": _of(lambda x: x[:, [0, 2, 2]]),
    "gather": _of(lambda x: torch.gather(x, 1, torch.zeros(x.shape[0], 2, dtype=torch.long))),
    "split": _of(lambda x: torch.split(x, 3, 1)[1]),
    "chunk": _of(lambda x: torch.chunk(x, 2, 1)[0] - torch.chunk(x, 2, 1)[1]),
    "flip": _of(lambda x: torch.flip(x, [1])),
    "roll": _of(lambda x: torch.roll(x, 1, 1)),
    "repeat": _of(lambda x: x.repeat(1, 2)),
    "upsample, nearest": _layer(nn.Upsample, scale_factor=2, shape=IMAGE),
    "upsample, bilinear": _layer(nn.Upsample, scale_factor=2, mode="bilinear", shape=IMAGE),
    "pixel_shuffle": _layer(nn.PixelShuffle, 2, shape=(4, 3, 3)),
    "unfold": _layer(nn.Unfold, 2, shape=IMAGE),
    "einsum with constant": _weighted(lambda x, w: torch.einsum("bij,kj->bik", x, w.weight)),
    "matmul with constant": _weighted(lambda x, w: x @ w.weight.t()),
    "where, constant": _of(lambda x: torch.where(torch.arange(6) > 2, x, -x)),
    "masked_fill": _of(lambda x: x.masked_fill(torch.arange(6) > 2, 0.0)),
    "tril": _of(lambda x: torch.tril(x), 4, 4),
    "diagonal": _of(lambda x: torch.diagonal(x, dim1=1, dim2=2), 4, 4),
}  # fmt: skip

KINKED = {
    "relu": _layer(nn.ReLU),
    "leaky_relu": _layer(nn.LeakyReLU, 0.1),
    "prelu": _layer(nn.PReLU),
    "abs": _of(torch.abs),
    "hardtanh": _layer(nn.Hardtanh),
    "relu6": _layer(nn.ReLU6),
    "clamp": _of(lambda x: torch.clamp(x, -0.5, 1.0)),
    "clamp, min": _of(lambda x: torch.clamp(x, min=0.25)),
    "hardsigmoid": _layer(nn.Hardsigmoid),
    "softshrink": _layer(nn.Softshrink),
    "hardshrink": _layer(nn.Hardshrink),
    "threshold": _layer(nn.Threshold, 0.5, 0.2),
    "sign": _of(torch.sign),
    "maximum": _pair(torch.maximum),
    "minimum": _pair(torch.minimum),
    "max over dimension": _of(lambda x: x.max(2)[0], 3, 4),
    "amax": _of(lambda x: torch.amax(x, 2), 3, 4),
    "max_pool1d": _layer(nn.MaxPool1d, 2, shape=(2, 8)),
    "max_pool2d": _layer(nn.MaxPool2d, 2, shape=IMAGE),
    "max_pool2d, overlapping": _layer(nn.MaxPool2d, 3, 2, 1, shape=IMAGE),
    "adaptive_max_pool2d": _layer(nn.AdaptiveMaxPool2d, 2, shape=IMAGE),
}  # fmt: skip

CURVED = {
    "sigmoid": _layer(nn.Sigmoid),
    "tanh": _layer(nn.Tanh),
    "atan": _of(torch.atan),
    "sin": _of(torch.sin),
    "cos": _of(torch.cos),
    "tan": _of(torch.tan, domain=(-1.4, 1.4)),
    "exp": _of(torch.exp),
    "log": _of(torch.log, domain=_POSITIVE),
    "sqrt": _of(torch.sqrt, domain=_POSITIVE),
    "rsqrt": _of(torch.rsqrt, domain=_POSITIVE),
    "reciprocal": _of(torch.reciprocal, domain=_POSITIVE),
    "reciprocal, 1 / x": _of(lambda x: 1 / x, domain=_POSITIVE),
    "square": _of(torch.square),
    "pow 2": _of(lambda x: x**2),
    "pow 3": _of(lambda x: x**3),
    "pow 4": _of(lambda x: x**4),
    "pow -1": _of(lambda x: x**-1, domain=_POSITIVE),
    "pow 1.5": _of(lambda x: x**1.5, domain=_POSITIVE),
    "softplus": _layer(nn.Softplus),
    "gelu": Case(nn.GELU, theirs=_gelu_of_theirs),
    "gelu, nn.GELU": _layer(nn.GELU),
    "gelu, tanh": _layer(nn.GELU, approximate="tanh"),
    "silu": _layer(nn.SiLU),
    "silu, x * sigmoid(x)": _of(lambda x: x * torch.sigmoid(x)),
    "mish": _layer(nn.Mish),
    "hardswish": _layer(nn.Hardswish),
    "elu": _layer(nn.ELU),
    "celu": _layer(nn.CELU),
    "selu": _layer(nn.SELU),
    "logsigmoid": _layer(nn.LogSigmoid),
    "softsign": _layer(nn.Softsign),
    "tanhshrink": _layer(nn.Tanhshrink),
    "erf": _of(torch.erf),
    "asinh": _of(torch.asinh),
    "sinh": _of(torch.sinh),
    "cosh": _of(torch.cosh),
    "exp2": _of(torch.exp2),
    "expm1": _of(torch.expm1),
    "log1p": _of(torch.log1p, domain=_POSITIVE),
    "log2": _of(torch.log2, domain=_POSITIVE),
    "glu": _layer(nn.GLU, shape=(8,)),
}  # fmt: skip

JOINT = {
    "mul": _pair(torch.mul),
    "div": _pair(torch.div, domain=(0.2, 4.0)),
    "matmul": _of(lambda x: _halves(torch.matmul, x), 12),
    "einsum": _of(lambda x: _halves(lambda a, b: torch.einsum("bij,bjk->bik", a, b), x), 12),
    "softmax": _layer(nn.Softmax, dim=-1),
    "log_softmax": _layer(nn.LogSoftmax, dim=-1),
    "logsumexp": _of(lambda x: torch.logsumexp(x, 2), 3, 4),
    "prod": _of(lambda x: torch.prod(x, 2), 3, 3),
    "layer_norm": _layer(nn.LayerNorm, 6),
    "group_norm": _layer(nn.GroupNorm, 2, 4, shape=(4, 3)),
    "instance_norm": _layer(nn.InstanceNorm1d, 3, shape=(3, 4)),
    "rms_norm": _layer(nn.RMSNorm, 6),
    "normalize": _of(lambda x: F.normalize(x, dim=1)),
    "norm": _of(lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
    "var": _of(lambda x: torch.var(x, 1, keepdim=True)),
    "std": _of(lambda x: torch.std(x, 1, keepdim=True)),
    "cosine_similarity": Case(lambda: Applied(lambda x: F.cosine_similarity(x[:, :4], x[:, 4:], 1).unsqueeze(1)), (8,)),
    "lp_pool2d": _layer(nn.LPPool2d, 2, 2, shape=IMAGE),
    "attention": _of(lambda x: F.scaled_dot_product_attention(x, 2 * x, -x), 3, 4),
    "attention, written out": _of(lambda x: torch.softmax(x @ (2 * x).transpose(1, 2) / 2, -1) @ -x, 3, 4),
}  # fmt: skip

OPERATORS: dict[str, Case] = {**LINEAR, **KINKED, **CURVED, **JOINT}
