"""The clipped ReLU: the laws for ceilings of all kinds, its lines by hand, and training of the ceiling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.ramp import RAMP, centred, interval, ramp, relax
from boundgraph.relaxations import LOWER_SLOPES
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

CEILINGS = torch.tensor([-0.5, 0.05, 0.3, 1.0, 7.0])  # at 0 the function has a kink in the ceiling


@pytest.mark.parametrize("ceiling", [*CEILINGS.split(1)], ids=str)
def test_laws(ceiling: Tensor) -> None:
    check_operator(RAMP, cases=[(Perturbed(3, 2), ceiling)], calls=None)


def test_laws_of_ceilings_per_element() -> None:
    cases = [(Perturbed(3, 5), CEILINGS), (Perturbed(2, 5, 3), CEILINGS.reshape(5, 1))]
    check_operator(RAMP, cases=cases, calls=[lambda x: ramp(x, torch.tensor(0.4))])


def test_by_hand() -> None:
    """min(max(x, 0), 1) where the interval contains no kink, one of them, or both, and either side is the longer."""
    low = torch.tensor([[-2.0, 0.2, 2.0, -1.0, -2.0, 0.5, -1.0, -4.0, 0.0]]).double()
    high = torch.tensor([[-1.0, 0.8, 3.0, 0.5, 0.5, 3.0, 2.0, 2.0, 1.25]]).double()
    lower, upper = interval(Interval(low, high), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(lower[0], torch.tensor([0, 0.2, 1, 0, 0, 0.5, 0, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(upper[0], torch.tensor([0, 0.8, 1, 0.5, 0.5, 1, 1, 1, 1], dtype=torch.float64))
    below, above = relax(Interval(low, high), torch.ones((), dtype=torch.float64))
    expected_below = [(0, 0), (1, 0), (0, 1), (0, 0), (0, 0), (0.2, 0.4), (0.5, 0), (0, 0), (0.8, 0)]
    expected_above = [(0, 0), (1, 0), (0, 1), (1 / 3, 1 / 3), (0.2, 0.4), (0, 1), (0.5, 0.5), (0.2, 0.8), (1, 0)]
    for line, expected in ((below, expected_below), (above, expected_above)):
        assert line.intercept is not None
        found = torch.stack((line.slope[0], line.intercept[0]), 1)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("slope", "expected"),
    [
        ("adaptive", (0.25, -0.125, 0.0, 0.5)),
        ("zero", (0.0, -0.5, 0.0, 0.5)),
        ("one", (0.25, -0.125, 0.5, 0.75)),
        ("same", (0.2, -0.2, 0.2, 0.6)),
    ],
)
def test_centred_lines_by_hand(slope: str, expected: tuple[float, ...]) -> None:
    """On [-1, 4] with the ceiling 1, x = 3/2 + d and the value 1/2 + e: 1 below 0, a rise of 1, 3 above the ceiling.
    Lines below pass through (-3/2, -1/2), but that from 0 to the right end; those above through (5/2, 1/2), but that
    from the left end to the ceiling."""
    box = Interval(torch.tensor([[-1.0]]).double(), torch.tensor([[4.0]]).double())
    ceiling = torch.ones((), dtype=torch.float64)
    found = [part.item() for line in centred(interval(box, ceiling), box, ceiling, slope) for part in line]
    assert found == pytest.approx(expected, abs=1e-12)


def test_unknown_slope() -> None:
    box = Interval(torch.tensor([[-1.0]]), torch.tensor([[4.0]]))
    for lines in (relax, lambda x, ceiling, slope: centred(interval(x, ceiling), x, ceiling, slope)):
        with pytest.raises(ValueError, match="unknown lower slope 'two'; choose one of adaptive, zero, one, same"):
            lines(box, torch.ones(()), "two")


@pytest.mark.parametrize("slope", LOWER_SLOPES)
def test_lines_of_every_choice_enclose(slope: str) -> None:
    ends = torch.randn(2, 400, dtype=torch.float64) * 3
    ceiling = (torch.randn(400, dtype=torch.float64) * 2).round(decimals=0)
    box = Interval(ends.amin(0), ends.amax(0))
    points = box.lower + (box.upper - box.lower) * torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(1)
    values = ramp(points, ceiling)
    below, above = relax(box, ceiling, slope)
    assert bool((below.slope * points + below.intercept <= values + 1e-12).all())
    assert bool((above.slope * points + above.intercept >= values - 1e-12).all())


def test_slope_zero_is_never_worse_than_the_interval() -> None:
    ends = torch.randn(2, 400, dtype=torch.float64) * 3
    ceiling = torch.rand(400, dtype=torch.float64) * 2
    box = Interval(ends.amin(0), ends.amax(0))
    below, above = relax(box, ceiling, "zero")
    lower, upper = interval(box, ceiling)
    assert bool((below.slope * box.lower + below.intercept >= lower - 1e-12).all())
    assert bool((above.slope * box.upper + above.intercept <= upper + 1e-12).all())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv2d(1, 3, 2), nn.Linear(27, 6), nn.Linear(6, 3)
        nn.init.normal_(self.fc.weight)
        self.ceilings = nn.ParameterList([torch.full((3, 3, 3), 0.05), torch.full((6,), 0.05)])

    def forward(self, x: Tensor) -> Tensor:
        hidden = ramp(self.conv(x), self.ceilings[0]).flatten(1)
        return self.last(ramp(self.fc(hidden), self.ceilings[1]))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_networks(method: str) -> None:
    model, x = Net(), torch.rand(2, 1, 4, 4)
    check_sound(model, boundgraph.LpBall(x, eps=0.2), method=method)
    bounds = boundgraph.compile(model, method)(x, eps=0.2)
    (bounds.upper - bounds.lower).sum().backward()
    for ceiling in model.ceilings:
        assert ceiling.grad is not None
        assert bool((ceiling.grad != 0).any())


def test_by_the_name_that_the_package_exports() -> None:
    class Clipped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return boundgraph.ramp(x, torch.full((4,), 0.3))

    bounded = boundgraph.compile(Clipped(), "crown")
    assert "ramp" in [node.meta["operator"].name for node in bounded.graph.nodes if node.meta.get("operator")]
    check_sound(Clipped(), boundgraph.LpBall(torch.randn(3, 4), eps=0.5), method="crown")


def test_a_ceiling_that_is_a_number_is_refused_by_name() -> None:
    class Six(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return boundgraph.ramp(x, 6.0)

    with pytest.raises(boundgraph.UnsupportedOperatorError, match=r"write torch\.clamp\(x, 0, ceiling\)"):
        boundgraph.compile(Six(), "ibp")
    with pytest.raises(TypeError, match="the ceiling of a ramp is a tensor"):
        Six()(torch.zeros(1, 2))


def test_a_ceiling_with_bounds_of_its_own() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ramp(x, x * 0.5 + 0.2)

    check_sound(Two(), boundgraph.LpBall(torch.randn(3, 4), eps=0.5), method="crown")
