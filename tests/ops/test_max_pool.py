"""Max-pooling with every geometry: strides, padding, overlap, dilation, ceil_mode, ties and windows of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.max_pool import ADAPTIVE_MAX_POOL, MAX_POOL, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten


@st.composite
def windows(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of max-pooling in which every window holds an input."""
    dims = draw(st.sampled_from((1, 2, 2, 3)))
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    stride = [draw(st.integers(1, 4)) for _ in range(dims)]
    dilation = [draw(st.integers(1, 3)) for _ in range(dims)]
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    sizes = [
        d * (k - 1) + 1 + draw(st.integers(0, 3 if dims < 3 else 1)) for k, d in zip(kernel, dilation, strict=True)
    ]
    return Perturbed(2, 2, *sizes), dims, kernel, stride, padding, dilation, draw(st.booleans())


@settings(deadline=None, max_examples=50, derandomize=True)
@given(windows())
def test_laws(arguments: tuple[Any, ...]) -> None:
    check_operator(MAX_POOL, cases=[arguments], calls=None)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3))
def test_adaptive_laws(sizes: list[tuple[int, int]]) -> None:
    inputs, outputs = zip(*sizes, strict=True)
    check_operator(ADAPTIVE_MAX_POOL, cases=[(Perturbed(2, 1, *inputs), len(sizes), outputs)], calls=None)


def on_flat(call: Any, dims: int) -> Any:
    """The call on the last `dims` dimensions of a volume."""
    if isinstance(call, nn.Module):
        return nn.Sequential(nn.Flatten(1, 4 - dims), call)
    return lambda x: call(x.flatten(1, 4 - dims))


class Values(nn.Module):
    """The values of a layer that gives indices too."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


ADAPTIVE = [
    (1, nn.AdaptiveMaxPool1d(2)),
    (1, lambda x: F.adaptive_max_pool1d(x, output_size=1)),
    (1, lambda x: torch.adaptive_max_pool1d(x, 2)[0]),
    (2, nn.AdaptiveMaxPool2d((None, 2))),
    (3, nn.AdaptiveMaxPool3d(2)),
    *((dims, Values(getattr(nn, f"AdaptiveMaxPool{dims}d")(2, return_indices=True))) for dims in (1, 2, 3)),
]


def test_adaptive_spellings() -> None:
    placed = [on_flat(call, dims) for dims, call in ADAPTIVE]
    check_operator(ADAPTIVE_MAX_POOL, cases=[(Perturbed(2, 1, 3, 4, 4), 3, (2, 2, 2))], calls=placed)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_adaptive_in_a_network(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveMaxPool2d((2, 3)), nn.Flatten(), nn.Linear(18, 4), nn.ReLU())
    check_sound(model, boundgraph.LpBall(torch.rand(2, 1, 6, 7), eps=0.05), method=method)


def test_spellings() -> None:
    calls = [
        (1, nn.MaxPool1d(2)),
        (1, nn.MaxPool1d(3, 1, 1, ceil_mode=True)),
        (1, Values(nn.MaxPool1d(2, return_indices=True))),
        (2, Values(nn.MaxPool2d(3, 2, 1, ceil_mode=True, return_indices=True))),
        (3, Values(nn.MaxPool3d(2, return_indices=True))),
        (1, lambda x: torch.max_pool1d(x, 2)),
        (1, lambda x: F.max_pool1d(input=x, kernel_size=2, dilation=2, stride=1)),
        (1, lambda x: aten.max_pool1d.default(x, [2], [])),
        (2, nn.MaxPool2d((3, 2), 1, (1, 0))),
        (2, lambda x: torch.max_pool2d(x, 2)),
        (2, lambda x: aten.max_pool2d.default(x, [2, 2])),
        (3, nn.MaxPool3d(2)),
        (3, lambda x: torch.max_pool3d(x, 2)),
        (3, lambda x: aten.max_pool3d.default(x, [2, 2, 2], [1, 1, 1])),
    ]
    check_operator(
        MAX_POOL, cases=[(Perturbed(2, 1, 3, 4, 4), 3, 2, 2)], calls=[on_flat(call, dims) for dims, call in calls]
    )


def box(lower: list[float], upper: list[float]) -> Interval:
    return Interval(torch.tensor([[lower]]), torch.tensor([[upper]]))


@pytest.mark.parametrize(
    ("lower", "upper", "lines", "selected"),
    [
        ([0.0, 3.0], [2.0, 5.0], (1.0, 0.0), (1, 1)),  # the second wins whatever happens
        ([0.0, 1.0], [2.0, 5.0], (0.75, 1.25), (1, 1)),  # chord of max(x, 2) on [1, 5]
        ([4.0, 1.0], [4.5, 5.0], (0.125, 4.375), (0, 1)),  # largest lower and largest upper bound differ
        ([1.0, 1.0], [1.0, 1.0], (1.0, 0.0), (0, 0)),  # a tie of points
    ],
)
def test_by_hand(lower: list[float], upper: list[float], lines: tuple[float, ...], selected: tuple[int, int]) -> None:
    selection = relax(box(lower, upper), 1, 2, 2)
    assert tuple(part.item() for part in selection.lines.upper) == lines
    assert tuple(part.item() for part in selection.lines.lower) == (1.0, 0.0)
    assert (selection.lower_index.item(), selection.upper_index.item()) == selected


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_a_window_in_the_padding_alone(bound, method: str) -> None:
    """Its maximum is -inf, which no number may bound from below."""
    bounds = bound(lambda x: F.max_pool1d(x, 2, 1, 1, dilation=2), torch.tensor([[[5.0]]]), method)
    assert not bounds.lower.isfinite().any()


def test_ends_of_windows_meet_the_values(tensor) -> None:
    """Overlapping windows share inputs: at radius 0 the bounds are the values, for any number of examples."""
    bounded = boundgraph.compile(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(18, 3)).double(), "crown")
    for batch in (0, 1, 3):
        x = tensor(batch, 2, 5, 6)
        torch.testing.assert_close(bounded(x, eps=0.0).lower, bounded.model(x))


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"max-pooling over 2 dimension\(s\) needs shape"):
        bound(lambda x: F.max_pool2d(x, 2), tensor(1, 4, 4))
    for function in (F.max_pool2d, F.adaptive_max_pool2d):
        with pytest.raises(boundgraph.UnsupportedOperatorError, match="which member of a window is largest has no"):
            bound(lambda x, f=function: f(x, 2, return_indices=True)[1] * 1.0, tensor(1, 1, 4, 4))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="fractional max-pooling draws its windows"):
        bound(lambda x: F.fractional_max_pool2d(x, 2, 2), tensor(1, 1, 4, 4))
