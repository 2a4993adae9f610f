"""Convolutions in 1, 2 and 3 dimensions with every geometry; sizes that the stride does not divide."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops import conv
from boundgraph.ops.conv import CONV
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # slower, not wrong


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of a convolution whose output is not empty."""
    dims, groups = draw(st.sampled_from((1, 2, 2, 3))), draw(st.sampled_from((1, 1, 2)))
    per_dim = st.lists(st.integers(1, 3), min_size=dims, max_size=dims)
    kernel, dilation = draw(per_dim), draw(per_dim)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = draw(
        st.one_of(st.sampled_from(("same", "valid")), st.lists(st.integers(0, 3), min_size=dims, max_size=dims))
    )
    stride = [1] * dims if padding == "same" else draw(per_dim)
    pads = [0] * dims if isinstance(padding, str) else padding
    least = [max(1, r + 1 - 2 * p) for r, p in zip(reach, pads, strict=True)]
    sizes = [low + draw(st.integers(0, 3 if dims < 3 else 1)) for low in least]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    weight = torch.randn(2 * groups, draw(st.integers(1, 2)), *kernel, generator=generator)
    bias = draw(st.sampled_from((None, torch.randn(2 * groups, generator=generator))))
    return Perturbed(2, weight.shape[1] * groups, *sizes), weight, bias, stride, padding, dilation, groups


@settings(deadline=None, max_examples=40, derandomize=True)
@given(geometries())
def test_laws(arguments: tuple[Any, ...]) -> None:
    check_operator(CONV, cases=[arguments], calls=None)


def test_spellings(tensor) -> None:
    weights = [tensor(3, 2, 2), tensor(3, 2, 2, 2), tensor(3, 2, 2, 2, 2)]
    inputs = [Perturbed(2, 2, 4), Perturbed(2, 2, 4, 3), Perturbed(2, 2, 3, 3, 3)]
    cases = [
        (x, weight, tensor(3), [1] * dims, padding, [1] * dims)
        for dims, (x, weight) in enumerate(zip(inputs, weights, strict=True), 1)
        for padding in ([1] * dims, "same")
    ]
    kernel = weights[0].float()
    calls = [
        nn.Conv1d(2, 3, 3, stride=2, padding="valid"),
        nn.Conv1d(2, 3, 2, padding="same", bias=False),
        lambda x: aten.convolution.default(x, kernel, None, [2], [1], [1], False, [0], 1),
    ]
    check_operator(CONV, cases=cases, calls=calls)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(2, 3, 3, 2, (1, 2)), nn.Conv2d(2, 4, (2, 3), padding="same", groups=2)], ids=str
)
def test_sizes(layer: nn.Module) -> None:
    bounded = boundgraph.compile(layer, "crown")
    for size in (5, 6, 8):
        x = torch.rand(2, 2, size, size + 1)
        torch.testing.assert_close(bounded(x, eps=0.0).lower, layer(x))


def test_by_hand(bound) -> None:
    """A difference of neighbours over [0, 1]^3, stride 2: the last input is skipped and bounded by nobody."""
    weight = torch.tensor([[[1.0, -1.0]]])
    bounds = bound(lambda x: F.conv1d(x, weight, stride=2), torch.full((1, 1, 3), 0.5))
    assert (bounds.lower.item(), bounds.upper.item()) == (-1.0, 1.0)


def test_unbatched_input_is_refused(bound, tensor) -> None:
    weight = tensor(3, 2, 2)
    with pytest.raises(
        boundgraph.GraphError, match=r"needs an input of 3 dimensions with the batch first, not shape \(2, 4\)"
    ):
        bound(lambda x: F.conv1d(x, weight), tensor(2, 4))


@pytest.mark.parametrize("channels", [1, 2, 3, 16])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
def test_sub_pixels_are_the_transposed_convolution(channels: int, stride: tuple[int, int]) -> None:
    """For kernels, paddings and sizes that divide evenly into blocks, and for others."""
    generator = torch.Generator().manual_seed(0)
    for kernel, padding, size in itertools.product((1, 2, 3, 4, 5), (0, 1, 2), (7, 8, 9, 10)):
        weight = torch.randn(8, channels, kernel, kernel, generator=generator, dtype=torch.float64)
        geometry = conv._Geometry.of(weight, stride, padding)
        image = torch.randn(2, channels, size, size + 1, generator=generator, dtype=torch.float64)
        folded = torch.randn_like(F.conv2d(image, weight, stride=stride, padding=padding))
        expected = conv._transposed(folded, weight, geometry, image.shape[2:])
        found = conv._sub_pixel(folded, weight, geometry, image.shape[2:])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
