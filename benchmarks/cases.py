"""One or more small functions per operator, for `python -m benchmarks.operators`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boundgraph import ramp

Shape = tuple[int, ...]

VECTOR, MATRIX, SIGNAL, IMAGE, VOLUME = (6,), (3, 4), (2, 8), (2, 4, 4), (1, 2, 4, 4)


class Case(NamedTuple):
    """code: what the model computes, an expression in its inputs x and y. shapes: of one example of each. Centres of
    boxes are drawn from near - spread to near + spread."""

    operator: str
    code: str
    shapes: tuple[Shape, ...] = (VECTOR,)
    near: float = 0.0
    spread: float = 2.0

    def model(self) -> nn.Module:
        """The function as a module, in float64 because its constants are."""
        names = "x, y" if len(self.shapes) == 2 else "x"
        function = eval(f"lambda {names}: {self.code}", _NAMES)
        return _OfTwo(function) if len(self.shapes) == 2 else _OfOne(function)


class _OfOne(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _OfTwo(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.function(x, y)


def fixed(*shape: int) -> Tensor:
    """Numbers for weights, the same in every run."""
    return torch.from_numpy(numpy.random.default_rng(0).standard_normal(shape))


def chosen(*shape: int) -> Tensor:
    """A mask, the same in every run."""
    return fixed(*shape) > 0


_NAMES = {"torch": torch, "F": F, "ramp": ramp, "fixed": fixed, "chosen": chosen}


def _case(operator: str, code: str, *shapes: Shape, near: float = 0.0, spread: float = 2.0) -> Case:
    return Case(operator, code, shapes or (VECTOR,), near, spread)


_SCALAR = [
    *((name, f"torch.{name}(x)") for name in ("relu", "sigmoid", "tanh", "abs", "sign", "exp", "exp2", "expm1", "atan",
                                              "asinh", "sinh", "cosh", "erf", "sin", "cos")),
    *((name, f"F.{name}(x)") for name in ("leaky_relu", "silu", "mish", "gelu", "logsigmoid", "tanhshrink", "softsign",
                                          "hardswish", "hardsigmoid", "softplus", "elu", "celu", "selu", "hardtanh",
                                          "softshrink", "hardshrink")),
    ("gelu", "F.gelu(x, approximate='tanh')"),
    ("hardtanh", "F.relu6(x)"),
    ("prelu", "F.prelu(x, fixed(6))"),
    ("ramp", "ramp(x, fixed(6).abs())"),
    ("threshold", "F.threshold(x, 0.5, 0.25)"),
    ("clamp", "x.clamp(-0.5, 1.0)"),
    ("pow", "x ** 2"),
    ("pow", "x ** 3"),
]  # fmt: skip

_POSITIVE = [
    *((name, f"torch.{name}(x)") for name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal")),
    ("pow", "x ** 1.5"),
    ("pow", "x ** -2"),
]

_LINEAR = [
    _case("neg", "-x"),
    _case("add", "x + y", VECTOR, VECTOR),
    _case("sub", "x - 2 * y", VECTOR, VECTOR),
    _case("mul", "x * fixed(6)"),
    _case("div", "x / 3"),
    _case("linear", "F.linear(x, fixed(4, 6), fixed(4))"),
    _case("matmul", "fixed(3, 3) @ x", MATRIX),
    _case("einsum", "torch.einsum('bij,kj->bik', x, fixed(2, 4))", MATRIX),
    _case("conv", "F.conv1d(x, fixed(3, 2, 3), stride=2)", SIGNAL),
    _case("conv", "F.conv2d(x, fixed(3, 2, 3, 3), fixed(3), padding=1)", IMAGE),
    _case("conv_transpose", "F.conv_transpose2d(x, fixed(2, 1, 2, 2), stride=2)", IMAGE),
    _case("batch_norm", "F.batch_norm(x, fixed(2), fixed(2).abs(), fixed(2), fixed(2))", IMAGE),
    _case("channel_affine", "F.batch_norm(x, fixed(2), fixed(2).abs())", IMAGE),
    _case("avg_pool", "F.avg_pool2d(x, 3, 1, 1)", IMAGE),
    _case("adaptive_avg_pool", "F.adaptive_avg_pool2d(x, 3)", IMAGE),
    _case("sum", "x.sum(-1)", MATRIX),
    _case("mean", "x.mean((1, 2))", MATRIX),
    _case("cumsum", "x.cumsum(1)"),
    _case("where", "torch.where(chosen(6), x, 2 * y)", VECTOR, VECTOR),
    _case("interpolate", "F.interpolate(x, scale_factor=1.5, mode='bilinear')", IMAGE),
    _case(
        "grid_sample",
        "F.grid_sample(x, fixed(1, 3, 3, 2).tanh() + torch.zeros_like(x[:, :1, :3, :1]), align_corners=True)",
        IMAGE,
    ),
    _case("specification", "torch.relu(x)"),
    _case("merged_specification", "F.linear(torch.relu(x), fixed(4, 6), fixed(4))"),
]

_SHAPE = [
    _case("reshape", "x.reshape(x.shape[0], 2, -1)", MATRIX),
    _case("flatten", "x.flatten(1)", MATRIX),
    _case("unflatten", "x.unflatten(1, (2, 3))"),
    _case("squeeze", "x.squeeze(1)", (1, 6)),
    _case("unsqueeze", "x.unsqueeze(1)"),
    _case("permute", "x.permute(0, 2, 1)", MATRIX),
    _case("transpose", "x.transpose(1, 2)", MATRIX),
    _case("movedim", "x.movedim(1, -1)", MATRIX),
    _case("cat", "torch.cat((x, 2 * y), 1)", VECTOR, VECTOR),
    _case("hstack", "torch.hstack((x, 2 * y))", VECTOR, VECTOR),
    _case("stack", "torch.stack((x, 2 * y), 1)", VECTOR, VECTOR),
    _case("chunk", "x.chunk(2, 1)[0]"),
    _case("split", "x.split((2, 4), 1)[1]"),
    _case("tensor_split", "x.tensor_split(4, 1)[0]"),
    _case("index", "x[:, ::2]"),
    _case("narrow", "x.narrow(1, 1, 3)"),
    _case("index_select", "x.index_select(1, torch.tensor([0, 3, 3]))"),
    _case("gather", "x.gather(1, torch.tensor([[0, 3, 3]]) + torch.zeros_like(x[:, :3], dtype=torch.long))"),
    _case("take_along_dim", "x.take_along_dim(torch.tensor([[0, 3, 3]]), 1)"),
    _case("expand", "x.unsqueeze(1).expand(-1, 2, -1)"),
    _case("repeat", "x.repeat(1, 2)"),
    _case("tile", "x.tile(1, 2)"),
    _case("repeat_interleave", "x.repeat_interleave(2, 1)"),
    _case("flip", "x.flip(1)"),
    _case("roll", "x.roll(2, 1)"),
    _case("rot90", "x.rot90(1, (1, 2))", MATRIX),
    _case("pad", "F.pad(x, (1, 1, 0, 1), mode='reflect')", IMAGE),
    _case("diagonal", "x.diagonal(0, 1, 2)", MATRIX),
    _case("diag_embed", "x.diag_embed()"),
    _case("tril", "x.tril()", MATRIX),
    _case("triu", "x.triu()", MATRIX),
    _case("pixel_shuffle", "F.pixel_shuffle(x, 2)", (4, 2, 2)),
    _case("pixel_unshuffle", "F.pixel_unshuffle(x, 2)", (1, 4, 4)),
    _case("channel_shuffle", "F.channel_shuffle(x, 2)", (4, 2, 2)),
    _case("unfold", "F.unfold(x, 2)", (1, 3, 3)),
    _case("fold", "F.fold(x, (3, 3), 2)", (4, 4)),
    _case("windows", "x.unfold(1, 3, 1)"),
    _case("convert", "x.to(torch.float64)"),
    _case("sequence", "F.linear(x.transpose(0, 1), fixed(2, 4)).transpose(0, 1)", MATRIX),
    _case("rows", "F.linear(x.reshape(-1, 4), fixed(2, 4)).reshape(-1, 3, 2)", MATRIX),
]

_SEVERAL = [
    _case("product", "x * y", VECTOR, VECTOR),
    _case("matrix_product", "x @ y", (2, 3), (3, 2)),
    _case("einsum_of_bounded", "torch.einsum('bi,bj->bij', x, y)", (3,), (2,)),
    _case("maximum", "torch.maximum(x, y)", VECTOR, VECTOR),
    _case("max_pool", "F.max_pool2d(x, 2, 1)", IMAGE),
    _case("adaptive_max_pool", "F.adaptive_max_pool2d(x, 2)", IMAGE),
    _case("amax", "x.amax(-1)", MATRIX),
    _case("amin", "x.amin(-1)", MATRIX),
    _case("softmax", "F.softmax(x, -1)"),
    _case("log_softmax", "F.log_softmax(x, -1)"),
    _case("masked_softmax", "F.softmax(x.masked_fill(chosen(6), -torch.inf), -1)"),
    _case("logsumexp", "x.logsumexp(-1)", MATRIX),
    _case("prod", "x.prod(-1)", (3, 3)),
    _case("norm", "torch.linalg.vector_norm(x, dim=-1)", MATRIX),
    _case("normalize", "F.normalize(x)"),
    _case("normalize", "F.layer_norm(x, (6,))"),
    _case("var", "x.var(-1)", MATRIX),
    _case("std", "x.std(-1)", MATRIX),
]

_WRITTEN_OUT = [
    _case("attention", "F.scaled_dot_product_attention(x, x, x)", (3, 2)),
    _case("bilinear", "F.bilinear(x, y, fixed(2, 3, 3))", (3,), (3,)),
    _case("cosine_similarity", "F.cosine_similarity(x, y)", (3,), (3,)),
    _case("glu", "F.glu(x)"),
    _case("group_norm", "F.group_norm(x, 2)", (4, 3)),
    _case("lp_pool", "F.lp_pool2d(x, 2.0, 2)", IMAGE),
    _case("rms_norm", "F.rms_norm(x, (6,))"),
]

CASES: tuple[Case, ...] = (
    *(Case(*pair) for pair in _SCALAR),
    *(Case(*pair, near=3.0, spread=1.0) for pair in _POSITIVE),
    Case("tan", "torch.tan(x)", spread=0.5),
    *_LINEAR,
    *_SHAPE,
    *_SEVERAL,
    *_WRITTEN_OUT,
)

ELSEWHERE = {"exp_sum": "in the fused loss alone: tests/ops/test_exp_sum.py and tests/test_training.py"}
"""Operators that no model computes, and where their bounds are held against values."""
