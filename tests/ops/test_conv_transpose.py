"""Transposed convolutions with every geometry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.conv_transpose import CONV_TRANSPOSE
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of a transposed convolution whose output is not empty."""
    dims, groups = draw(st.sampled_from((1, 2, 2, 3))), draw(st.sampled_from((1, 1, 2)))
    per_dim = st.lists(st.integers(1, 3), min_size=dims, max_size=dims)
    kernel, dilation, stride = draw(per_dim), draw(per_dim), draw(per_dim)
    sizes = draw(per_dim)
    more = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    reached = [
        (n - 1) * s + d * (k - 1) + o + 1 for n, s, d, k, o in zip(sizes, stride, dilation, kernel, more, strict=True)
    ]
    padding = [draw(st.integers(0, min(2, (size - 1) // 2))) for size in reached]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    weight = torch.randn(2 * groups, draw(st.integers(1, 2)), *kernel, generator=generator)
    bias = draw(st.sampled_from((None, torch.randn(weight.shape[1] * groups, generator=generator))))
    return Perturbed(2, 2 * groups, *sizes), weight, bias, stride, padding, more, groups, dilation


@settings(deadline=None, max_examples=30, derandomize=True)
@given(geometries())
def test_laws(arguments: tuple[Any, ...]) -> None:
    check_operator(CONV_TRANSPOSE, cases=[arguments], calls=None)


def test_spellings(tensor) -> None:
    weights = [tensor(2, 3, 2), tensor(2, 3, 2, 2), tensor(2, 3, 2, 2, 2)]
    inputs = [Perturbed(2, 2, 4), Perturbed(2, 2, 4, 3), Perturbed(2, 2, 3, 3, 3)]
    cases = [(x, weight, tensor(3)) for x, weight in zip(inputs, weights, strict=True)]
    kernel = weights[0].float()
    calls = [
        nn.ConvTranspose1d(2, 4, 3, 2, 1, output_padding=1, groups=2),
        lambda x: F.conv_transpose1d(x, kernel, stride=2, dilation=2),
        lambda x: aten.convolution.default(x, kernel, None, [2], [1], [1], True, [1], 1),
    ]
    check_operator(CONV_TRANSPOSE, cases=cases, calls=calls)


def test_by_hand(bound) -> None:
    """Each input writes (1, -1) at its own two places."""
    weight = torch.tensor([[[1.0, -1.0]]])
    bounds = bound(lambda x: F.conv_transpose1d(x, weight, stride=1), torch.full((1, 1, 2), 0.5))
    assert bounds.lower.tolist() == [[[0.0, -1.0, -1.0]]]
    assert bounds.upper.tolist() == [[[1.0, 1.0, 0.0]]]


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_a_decoder(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 3)
    )
    check_sound(model, boundgraph.LpBall(torch.rand(2, 1, 6, 6), eps=0.05), method=method)


def test_unbatched_input_is_refused(bound, tensor) -> None:
    weight = tensor(2, 3, 2)
    with pytest.raises(
        boundgraph.GraphError, match=r"transposed convolution .* with the batch first, not shape \(2, 4\)"
    ):
        bound(lambda x: F.conv_transpose1d(x, weight), tensor(2, 4))
