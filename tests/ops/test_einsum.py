"""Einstein sums: constant and perturbed operands, one to three of them, ellipses, broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops import product
from boundgraph.ops.einsum import EINSUM, EINSUM_OF_BOUNDED, bounded_interval, relax, through
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval


def test_laws_with_a_constant(tensor) -> None:
    cases = [
        ("bi,ij->bj", Perturbed(2, 3), tensor(3, 4)),
        ("ij,bjk->bik", tensor(3, 4), Perturbed(2, 4, 2)),
        ("bik,bkj->bij", Perturbed(2, 2, 3), tensor(2, 3, 2)),
        ("bij,j->bij", Perturbed(2, 2, 3), tensor(3)),
        ("b...d,de->b...e", Perturbed(2, 1, 2, 3), tensor(3, 2)),
        ("...d,ed->...e", Perturbed(2, 2, 3), tensor(2, 3)),
        ("...ij,...jk->...ik", Perturbed(2, 2, 1, 3), tensor(2, 3, 2)),
        ("bij,bj->bi", Perturbed(2, 3, 1), tensor(2, 4)),
        ("bij,bj->bi", Perturbed(2, 3, 4), tensor(2, 1)),
    ]
    check_operator(EINSUM, cases=cases, calls=None)


def test_laws_with_two_perturbed() -> None:
    cases = [
        ("bik,bkj->bij", Perturbed(2, 2, 3), Perturbed(2, 3, 2)),
        ("bi,bj->bij", Perturbed(2, 2), Perturbed(2, 3)),
        ("bi,bi->b", Perturbed(2, 3), Perturbed(2, 3)),
        ("bhqd,bhkd->bhqk", Perturbed(2, 2, 1, 3), Perturbed(2, 2, 2, 3)),
        ("b...d,b...d->b...", Perturbed(2, 1, 3), Perturbed(2, 2, 3)),
        ("bij,bj->bi", Perturbed(2, 2, 3), Perturbed(2, 1)),
    ]
    check_operator(EINSUM_OF_BOUNDED, cases=cases, calls=None)


def test_outer_products_are_products(tensor) -> None:
    x, y = (Interval(end, end + end.abs()) for end in (tensor(2, 3), tensor(2, 4)))
    rows = tensor(2, 5, 3, 4)
    spread, across = (Interval(*(end.unsqueeze(dim) for end in box)) for box, dim in ((x, 2), (y, 1)))
    for found, expected in zip(bounded_interval("bi,bj->bij", x, y), product.interval(spread, across), strict=True):
        assert ((found - expected).abs() <= 0.2 * (x.radius.unsqueeze(2) + 1) * (y.radius.unsqueeze(1) + 1)).all()
    (of_x, of_y), offset = product.through(rows, product.relax(spread, across))
    found, found_offset = through(rows, relax("bi,bj->bij", x, y))
    for one, other in zip((*found, found_offset), (of_x.squeeze(3), of_y.squeeze(2), offset), strict=True):
        torch.testing.assert_close(one, other)


X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
W = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

W3 = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": lambda x: torch.einsum("bij,jk->bik", x, W),
    "constant first": lambda x: torch.einsum("jk,bij->bki", W, x),
    "list": lambda x: torch.einsum("bij,jk->bik", [x, W]),
    "spaces": lambda x: torch.einsum(" b i j , j k -> b i k ", x, W),
    "implied result": lambda x: torch.einsum("bij,jk", x, W),
    "one operand": lambda x: torch.einsum("bij->bji", x),
    "one operand, summed": lambda x: torch.einsum("bij->bj", x),
    "ellipsis": lambda x: torch.einsum("...j,jk->...k", x, W),
    "a sum before": lambda x: torch.einsum("bij,kl->bi", x, W),
    "a sum before, with an ellipsis": lambda x: torch.einsum("b...j,jk->b...", x, W),
    "attention": lambda x: torch.einsum("bid,bjd->bij", x, x),
    "outer": lambda x: torch.einsum("bi,bj->bij", x.flatten(1), torch.relu(x).flatten(1)),
    "three": lambda x: torch.einsum("bid,de,bje->bij", x, W, torch.einsum("bij,jk->bik", x, W)),
    "three, constants first": lambda x: torch.einsum("dk,ek,bie->bid", W, W, x),
    "bilinear": lambda x: torch.einsum("...i,oij,...j->...o", x, W3, torch.relu(x)),
}


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(torch.tanh(x))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str, method: str) -> None:
    check_sound(Function(CALLS[name]), boundgraph.LpBall(X, eps=0.1), method=method, samples=8, steps=3)


REFUSED = {
    "a diagonal": ("takes a diagonal", lambda x: torch.einsum("bii->bi", x.transpose(1, 2) @ x)),
    "nameless sum": ("give them letters", lambda x: torch.einsum("b...,b...->b", x, x)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(bound, name: str) -> None:
    reason, function = REFUSED[name]
    with pytest.raises(boundgraph.UnsupportedOperatorError, match=reason):
        bound(function, X)


@pytest.mark.parametrize("equation", ["bij,jk->ibk", "bij,jk->ik"])
def test_moving_the_batch_is_refused(bound, equation: str) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"dimension 0"):
        bound(lambda x: torch.einsum(equation, x, W), X)
