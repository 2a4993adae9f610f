"""Average pooling with every flag, and to a fixed output size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.avg_pool import ADAPTIVE_AVG_POOL, AVG_POOL
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


@st.composite
def windows(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of average pooling with windows of any overlap."""
    dims = draw(st.sampled_from((1, 2, 2, 3)))
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    stride = [draw(st.integers(1, 4)) for _ in range(dims)]
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    sizes = [k + draw(st.integers(0, 3 if dims < 3 else 1)) for k in kernel]
    flags = [draw(st.booleans()), draw(st.booleans())]  # ceil_mode, count_include_pad
    divisor = () if dims == 1 else (draw(st.sampled_from((None, 1, 5))),)
    return Perturbed(2, 2, *sizes), dims, kernel, stride, padding, *flags, *divisor


@settings(deadline=None, max_examples=30, derandomize=True)
@given(windows())
def test_laws(arguments: tuple[Any, ...]) -> None:
    check_operator(AVG_POOL, cases=[arguments], calls=None)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3))
def test_adaptive_laws(sizes: list[tuple[int, int]]) -> None:
    inputs, outputs = zip(*sizes, strict=True)
    check_operator(ADAPTIVE_AVG_POOL, cases=[(Perturbed(2, 1, *inputs), len(sizes), outputs)], calls=None)


AVERAGES = [
    (1, nn.AvgPool1d(2)),
    (1, nn.AvgPool1d(3, 1, 1, ceil_mode=True, count_include_pad=False)),
    (1, lambda x: F.avg_pool1d(input=x, kernel_size=2, stride=1)),
    (1, lambda x: aten.avg_pool1d.default(x, [2], [])),
    (2, nn.AvgPool2d(2)),
    (2, nn.AvgPool2d((3, 2), 1, (1, 0), divisor_override=2)),
    (2, lambda x: aten.avg_pool2d.default(x, [2, 2])),
    (3, nn.AvgPool3d(2)),
    (3, lambda x: F.avg_pool3d(x, (2, 1, 2))),
    (3, lambda x: aten.avg_pool3d.default(x, [2, 2, 2], [1, 1, 1])),
]
ADAPTIVE = [
    (1, nn.AdaptiveAvgPool1d(2)),
    (1, lambda x: F.adaptive_avg_pool1d(x, output_size=1)),
    (2, nn.AdaptiveAvgPool2d((None, 2))),
    (2, lambda x: F.adaptive_avg_pool2d(x, 1)),
    (3, nn.AdaptiveAvgPool3d(1)),
]


@pytest.mark.parametrize(
    ("operator", "calls"), [(AVG_POOL, AVERAGES), (ADAPTIVE_AVG_POOL, ADAPTIVE)], ids=["avg", "adaptive"]
)
def test_spellings(operator: boundgraph.Operator, calls: list[tuple[int, Any]]) -> None:
    def on_flat(call: Any, dims: int) -> Any:
        """The call on the last `dims` dimensions of a volume."""
        if isinstance(call, nn.Module):
            return nn.Sequential(nn.Flatten(1, 4 - dims), call)
        return lambda x: call(x.flatten(1, 4 - dims))

    placed = [on_flat(call, dims) for dims, call in calls]
    check_operator(operator, cases=[(Perturbed(2, 1, 3, 4, 4), 3, [2, 2, 2])], calls=placed)


def test_by_hand(bound) -> None:
    """Zeros of the padding count as members, or do not."""
    x = torch.tensor([[[1.0, 3.0]]])
    with_padding = bound(lambda x: F.avg_pool1d(x, 2, 2, 1), x)
    assert with_padding.lower.tolist() == [[[0.25, 1.25]]]
    without = bound(lambda x: F.avg_pool1d(x, 2, 2, 1, count_include_pad=False), x)
    assert without.lower.tolist() == [[[0.5, 2.5]]]


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="divisor_override=-1 is not a mean"):
        bound(lambda x: F.avg_pool2d(x, 2, divisor_override=-1), tensor(1, 1, 4, 4))
    for function in (lambda x: F.avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 2)):
        with pytest.raises(boundgraph.GraphError, match=r"average pooling over 2 dimension\(s\) needs shape"):
            bound(function, tensor(1, 4, 4))
