"""Intervals by their ends and by centre and radius, and what they say about gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.values import Interval, center_of, intersect, lower_of, node_numel, radius_of, upper_of


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_both_forms_say_the_same() -> None:
    center, radius = random(3, 2), random(3, 2, seed=1).abs()
    by_center, by_ends = Interval.around(center, radius), Interval(center - radius, center + radius)
    for name in ("lower", "upper", "center", "radius"):
        torch.testing.assert_close(getattr(by_center, name), getattr(by_ends, name))
    lower, upper = by_ends
    assert lower is by_ends.lower
    assert upper is by_ends.upper
    assert by_center.shape == by_ends.shape == (3, 2)
    assert by_center.dtype == by_ends.dtype == torch.float64
    assert by_center.device == by_ends.device == center.device
    assert node_numel(by_center) == 2
    assert repr(by_ends) == f"Interval(lower={lower}, upper={upper})"


def test_what_was_worked_out_once_is_kept() -> None:
    for interval in (Interval.around(random(3, 2), random(1, 2).abs()), Interval(random(3, 2), random(3, 2) + 1)):
        for name in ("lower", "upper", "center", "radius"):
            assert getattr(interval, name) is getattr(interval, name)


def test_one_radius_for_all_examples() -> None:
    center, radius = random(3, 2, 4), random(1, 2, 4, seed=1).abs()
    interval = Interval.around(center, radius)
    assert interval.shape == interval.lower.shape == interval.upper.shape == (3, 2, 4)
    assert interval.radius is radius

    def rule(value: Tensor) -> Tensor:  # asks for all examples
        return value.reshape(3, 8).cumsum(1)

    image = interval.through(rule)
    assert image.radius.shape == (1, 8)
    torch.testing.assert_close(image.lower, rule(interval.lower))
    torch.testing.assert_close(image.upper, rule(interval.upper))
    by_ends = Interval(*interval).through(rule)
    torch.testing.assert_close(by_ends.lower, image.lower)
    torch.testing.assert_close(by_ends.upper, image.upper)


@pytest.mark.parametrize("name", ["lower", "upper", "center", "radius"])
def test_a_look_without_gradient_cuts_none_off(name: str) -> None:
    """What is worked out under no_grad, to choose rows or to print, must not be what gradients flow through later."""
    for make in (Interval.around, lambda center, radius: Interval(center - radius, center + radius)):
        center, radius = random(3, 2).requires_grad_(), random(3, 2, seed=1).abs().requires_grad_()
        interval = make(center, radius)
        with torch.no_grad():
            assert getattr(interval, name).isfinite().all()
        found = torch.autograd.grad(getattr(interval, name).sum(), (center, radius), allow_unused=True)
        expected = {"lower": (1.0, -1.0), "upper": (1.0, 1.0), "center": (1.0, 0.0), "radius": (0.0, 1.0)}[name]
        for gradient, size in zip(found, expected, strict=True):
            assert (0.0 if gradient is None else gradient.unique().tolist()) in (size, [size])


def test_exact_operands() -> None:
    interval, exact = Interval.around(random(3, 2), random(1, 2).abs()), random(2)
    assert lower_of(exact) is upper_of(exact) is center_of(exact) is exact
    assert radius_of(exact) is None
    assert radius_of(2.0, 3) is None
    assert (lower_of(interval), upper_of(interval)) == (interval.lower, interval.upper)
    assert center_of(interval) is interval.center
    assert radius_of(interval) is interval.radius
    torch.testing.assert_close(radius_of(interval, 3), 3 * interval.radius)


def test_intersect() -> None:
    """The common part; of two that rounding has parted, what lies between them."""
    one = Interval(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[2.0, 2.0, 1.0]]))
    other = Interval(torch.tensor([[1.0, -1.0, 1.5]]), torch.tensor([[3.0, 3.0, 2.0]]))
    for both in (intersect(one, other), intersect(other, one)):
        assert both.lower.tolist() == [[1.0, 0.0, 1.0]]
        assert both.upper.tolist() == [[2.0, 2.0, 1.5]]


def test_a_region_seen_in_inference_mode_can_be_trained_on() -> None:
    """What a region works out then may not be saved for backward."""
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    bounded, region = boundgraph.compile(model), boundgraph.LpBall(torch.randn(5, 4), 0.1)
    with torch.inference_mode():
        seen = bounded(region).lower
    bounds = bounded(region).lower
    bounds.sum().backward()
    torch.testing.assert_close(seen.clone(), bounds.detach())
    assert model[1].weight.grad is not None
