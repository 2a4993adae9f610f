"""Matrix products of two perturbed values: attention, stacks of matrices, broadcasting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops import product
from boundgraph.ops.matrix_product import MATRIX_PRODUCT, interval, relax, through
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval


def test_laws() -> None:
    cases = [
        (Perturbed(2, 3, 4), Perturbed(2, 4, 2)),
        (Perturbed(2, 2, 1, 3), Perturbed(2, 2, 3, 2)),
        # stacks that are broadcast
        (Perturbed(2, 1, 2, 3), Perturbed(2, 2, 3, 1)),
        (Perturbed(2, 3, 2, 2), Perturbed(2, 1, 2, 3)),
        (Perturbed(1, 2, 1), Perturbed(1, 1, 2)),
    ]
    check_operator(MATRIX_PRODUCT, cases=cases, calls=None)


def boxes(*shapes: tuple[int, ...], widest: float = 3.0) -> list[Interval]:
    """Random boxes, some of them of width 0, some of them next to 0, many of them around it."""
    result = []
    for shape in shapes:
        center = torch.randn(shape, dtype=torch.float64) * torch.randint(0, 2, shape)
        result.append(Interval.around(center, widest * (torch.rand(shape, dtype=torch.float64) - 0.2).clamp(min=0)))
    return result


def range_of_sum(x: Interval, y: Interval) -> Interval:
    """Sum of the exact ranges of all products, by way of a tensor of all of them."""
    spread = Interval.around(x.center.unsqueeze(-1), x.radius.unsqueeze(-1))
    across = Interval.around(y.center.unsqueeze(-3), y.radius.unsqueeze(-3))
    return Interval(*(end.sum(-2) for end in product.interval(spread, across)))


def test_interval_is_the_range_unless_both_factors_straddle_zero() -> None:
    x, y = boxes((4, 5, 1), (4, 1, 6))
    found, exact = interval(x, y), range_of_sum(x, y)
    ratio = found.radius / exact.radius.clamp(min=1e-9)
    assert ((found.lower <= exact.lower + 1e-12) & (found.upper >= exact.upper - 1e-12)).all()
    assert ratio.max() <= 4 - 2 * math.sqrt(2) + 1e-9
    assert ratio.max() > 1.05
    positive, negative = (
        Interval(sign + box.upper.abs(), sign + box.upper.abs() + box.radius) for sign, box in ((0.0, x), (-9.0, x))
    )
    for factor in (positive, negative):
        for end, other in zip(interval(factor, y), range_of_sum(factor, y), strict=True):
            torch.testing.assert_close(end, other)


def test_planes_are_those_of_the_products() -> None:
    """Without a tensor of all products the walk gives what it gives with one."""
    x, y = boxes((2, 3, 4), (2, 4, 5))
    rows = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    spread = Interval.around(x.center.unsqueeze(-1), x.radius.unsqueeze(-1))  # (batch, i, k, 1)
    across = Interval.around(y.center.unsqueeze(-3), y.radius.unsqueeze(-3))  # (batch, 1, k, j)
    (of_x, of_y), offset = product.through(rows.unsqueeze(-2).expand(-1, -1, -1, 4, -1), product.relax(spread, across))
    found, found_offset = through(rows, relax(x, y))
    torch.testing.assert_close(found[0], of_x.squeeze(-1))
    torch.testing.assert_close(found[1], of_y.squeeze(-3))
    torch.testing.assert_close(found_offset, offset)


def test_one_step_gives_the_range() -> None:
    """Entries of the product use other entries of the factors, so one walk of each is exact."""
    x, y = boxes((2, 3, 4), (2, 4, 5))
    rows = torch.eye(15, dtype=torch.float64).reshape(1, 15, 3, 5)
    exact = range_of_sum(x, y)
    for sign, expected in ((1, exact.lower), (-1, -exact.upper)):
        (of_x, of_y), offset = through(sign * rows, relax(x, y))
        least = offset
        for part, box in ((of_x, x), (of_y, y)):
            least = least + (part * box.center.unsqueeze(1) - part.abs() * box.radius.unsqueeze(1)).sum((2, 3))
        torch.testing.assert_close(least, expected.flatten(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], 2, 2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(part(x)) for part in (self.q, self.k, self.v))
        weights = torch.sigmoid(q @ k.transpose(-2, -1) / math.sqrt(2))
        return self.out((weights @ v).transpose(1, 2).reshape(x.shape[0], x.shape[1], 4))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("eps", [0.05, 0.5])
def test_attention(method: str, eps: float) -> None:
    check_sound(Attention(), boundgraph.LpBall(torch.randn(2, 3, 4), eps=eps), method=method)


SPELLINGS = {
    "matmul": torch.matmul,
    "operator": lambda x, y: x @ y,
    "method": lambda x, y: x.matmul(y),
    "bmm": torch.bmm,
    "x.bmm": lambda x, y: x.bmm(y),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(bound, tensor, name: str) -> None:
    x, call = tensor(2, 3, 3), SPELLINGS[name]
    bounds = bound(lambda x: call(x, x.transpose(1, 2)), x, eps=0.0)
    torch.testing.assert_close(bounds.lower, x @ x.mT)


def test_mixing_examples_is_refused(bound) -> None:
    with pytest.raises(boundgraph.GraphError, match="both need the batch as dimension 0 before their matrix dim"):
        bound(lambda x: x @ x, torch.ones(3, 3))
    with pytest.raises(boundgraph.GraphError, match="unsqueeze what has fewer"):
        bound(lambda x: x @ x.unsqueeze(1), torch.ones(3, 3, 3))


def test_training_reaches_both_factors() -> None:
    model, x = Attention(), torch.randn(2, 3, 4)
    for method in ("ibp", "crown-ibp"):
        model.zero_grad()
        bounds = boundgraph.compile(model, method)(x, eps=0.1)
        (bounds.upper - bounds.lower).sum().backward()
        for layer in (model.q, model.k, model.v):
            assert layer.weight.grad.isfinite().all()
            assert layer.weight.grad.abs().sum() > 0
