"""ReLU: the laws, and lines worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.relu import RELU, centred, interval, relax, unstable
from boundgraph.testing import check_operator
from boundgraph.values import Interval


def test_laws() -> None:
    check_operator(RELU, calls=[nn.ReLU(), nn.ReLU(inplace=True)])


def at(lower: float, upper: float) -> Interval:
    return Interval(torch.tensor([[lower]], dtype=torch.float64), torch.tensor([[upper]], dtype=torch.float64))


def line(x: Interval, slope: str = "adaptive") -> list[float]:
    return [0.0 if part is None else round(part.item(), 12) for pair in relax(x, slope) for part in pair]


@pytest.mark.parametrize(
    ("slope", "lower_slopes"),
    [("adaptive", (1.0, 0.0, 0.0)), ("zero", (0.0, 0.0, 0.0)), ("one", (1.0, 1.0, 1.0)), ("same", (0.75, 0.25, 0.5))],
)
def test_lines_by_hand(slope: str, lower_slopes: tuple[float, ...]) -> None:
    """On [-1, 3], [-3, 1] and [-2, 2]: the chord from (l, 0) to (u, u), and a line through 0."""
    chords = [(0.75, 0.75), (0.25, 0.75), (0.5, 1.0)]
    for box, chord, lower in zip((at(-1, 3), at(-3, 1), at(-2, 2)), chords, lower_slopes, strict=True):
        assert line(box, slope) == [lower, 0.0, *chord]


@pytest.mark.parametrize(
    ("slope", "below"),
    [("adaptive", (1.0, -0.5)), ("zero", (0.0, -1.5)), ("one", (1.0, -0.5)), ("same", (0.75, -0.75))],
)
def test_centred_lines_by_hand(slope: str, below: tuple[float, float]) -> None:
    """On [-1, 3], with x = 1 + d and max(x, 0) = 3/2 + e: the chord is e = 3/4 d, and the lower line s x is at d = 0 as
    far below it as s falls short of 3/2."""
    box = at(-1, 3)
    lower, upper = centred(interval(box), box, slope)
    assert (lower.slope.item(), lower.intercept.item()) == below
    assert (upper.slope.item(), upper.intercept) == (0.75, None)


@pytest.mark.parametrize("slope", ["adaptive", "zero", "one", "same"])
def test_stable_neurons_are_exact(slope: str) -> None:
    assert line(at(1, 2), slope) == line(at(0, 2), slope) == [1.0, 0.0, 1.0, 0.0]
    assert line(at(-2, -1), slope) == line(at(-2, 0), slope) == [0.0, 0.0, 0.0, 0.0]
    assert unstable(at(-1, 1)).item()
    assert not unstable(at(0, 1)).item()
    assert not unstable(at(-1, 0)).item()


def test_unknown_slope() -> None:
    with pytest.raises(ValueError, match="unknown lower slope 'two'; choose one of adaptive, zero, one, same"):
        relax(at(-1, 1), "two")


def test_two_neurons_by_hand() -> None:
    """relu(x1 + x2) - relu(x1 - x2) on [-1, 1]^2.

    Both pre-activations lie in [-2, 2]: lower lines 0 (adaptive takes the left piece in a tie), upper lines x / 2 + 1.
    So lower bound: 0 - (x1 - x2) / 2 - 1 >= -2, and upper bound by symmetry 2, where intervals give the same.
    """
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    first.weight.data, second.weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, -1.0]])
    bounded = boundgraph.compile(nn.Sequential(first, nn.ReLU(), second), "crown")
    bounds = bounded(torch.zeros(1, 2), eps=1.0)
    torch.testing.assert_close(bounds.lower, torch.tensor([[-2.0]]))
    torch.testing.assert_close(bounds.upper, torch.tensor([[2.0]]))


def test_crown_cancels_what_intervals_cannot(bound, tensor) -> None:
    """x - relu(x) on [1, 2] is 0: lines see it, intervals do not."""
    x = torch.full((1, 1), 1.5, dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return x - torch.relu(x)

    bounds = bound(function, x)
    assert bounds.lower.item() == bounds.upper.item() == 0
    assert bounds.interval.lower.item() == -1
