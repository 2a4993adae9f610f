"""Products of two perturbed values: element by element, broadcast against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.product import PRODUCT, interval, relax, through
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

CASES = [
    (Perturbed(2, 3), Perturbed(2, 3)),
    (Perturbed(2, 3), Perturbed(2, 1)),
    (Perturbed(2, 1, 4), Perturbed(2, 3, 1)),
    (Perturbed(1, 2), Perturbed(1, 2)),
]


def test_laws() -> None:
    check_operator(PRODUCT, cases=CASES, calls=None)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ((1, 2), (3, 4), (3, 8)),
        ((-2, -1), (3, 4), (-8, -3)),
        ((-1, 2), (3, 4), (-4, 8)),
        ((-1, 2), (-3, 4), (-6, 8)),
        ((0, 0), (-3, 4), (0, 0)),
        ((2, 2), (-3, 4), (-6, 8)),
    ],
)
def test_one_step_gives_the_range(x: tuple, y: tuple, expected: tuple) -> None:
    """The least value of the lower plane, the largest of the upper one, is that of the product."""
    boxes = [Interval(*torch.tensor(ends, dtype=torch.float64).reshape(2, 1, 1)) for ends in (x, y)]
    assert [end.item() for end in interval(*boxes)] == list(expected)
    (of_x, of_y), offset = through(torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64), relax(*boxes))
    at_centers = of_x[..., 0] * boxes[0].center + of_y[..., 0] * boxes[1].center + offset
    least = at_centers - of_x[..., 0].abs() * boxes[0].radius - of_y[..., 0].abs() * boxes[1].radius
    torch.testing.assert_close(least, torch.tensor([[expected[0], -expected[1]]], dtype=torch.float64))


class Gated(nn.Module):
    """A product of two branches of one input."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate, self.out = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.value(x)) * torch.sigmoid(self.gate(x)))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("eps", [0.05, 0.5])
def test_gate(method: str, eps: float) -> None:
    check_sound(Gated(), boundgraph.LpBall(torch.randn(3, 4), eps=eps), method=method)


def test_lines_beat_intervals() -> None:
    x = torch.randn(8, 4)
    widths = {}
    for method in ("ibp", "crown"):
        bounds = boundgraph.compile(Gated(), method)(x, eps=0.1)
        widths[method] = (bounds.upper - bounds.lower).mean()
    assert widths["crown"] < 0.8 * widths["ibp"]


def test_a_product_with_itself_is_a_square(bound) -> None:
    x = torch.tensor([[0.0, 1.0, -2.0]])
    for square in (lambda x: x * x, torch.square, lambda x: torch.mul(x, x)):
        for method in ("ibp", "crown"):
            bounds = bound(square, x, method, eps=1.0)
            assert (bounds.lower >= -1e-6).all() or method == "crown"
            torch.testing.assert_close(bounds.upper, torch.tensor([[1.0, 4.0, 9.0]]))


def test_moving_the_batch_is_refused(bound) -> None:
    with pytest.raises(boundgraph.GraphError, match="which moves its batch dimension"):
        bound(lambda x: x * x.unsqueeze(1).flatten(1).unsqueeze(1), torch.ones(3, 3))


def test_training_reaches_both_factors() -> None:
    model, x = Gated(), torch.randn(3, 4)
    for method in ("ibp", "crown-ibp"):
        model.zero_grad()
        bounds = boundgraph.compile(model, method)(x, eps=0.1)
        (bounds.upper - bounds.lower).sum().backward()
        for parameter in (model.value.weight, model.gate.weight):
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0


class Squeeze(nn.Module):
    """Channels weighed by gates that see the whole image (Hu et al. 2018), and the larger of that and another image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 3, padding=1)
        self.gate, self.out = nn.Linear(2, 2), nn.Linear(2 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        gates = torch.sigmoid(self.gate(y.mean((2, 3))))
        y = torch.maximum(y * gates.unsqueeze(2).unsqueeze(3), self.second(x))
        return self.out(y.flatten(1))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("norm", [float("inf"), 2.0])
def test_images(method: str, norm: float) -> None:
    check_sound(Squeeze(), boundgraph.LpBall(torch.rand(2, 1, 4, 4), eps=0.1, norm=norm), method=method)
