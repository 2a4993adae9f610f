"""Elements moved within their example."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.flip import FLIP, ROLL, ROT90
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_flip_laws() -> None:
    cases = [(Perturbed(2, 2, 3), (1,)), (Perturbed(2, 2, 3), (1, -1)), (Perturbed(2, 2, 3), [2])]
    calls = [lambda x: x.flip(1, 2), lambda x: x.flip(1), lambda x: x.flip(dims=(1,)), torch.fliplr]
    calls += [lambda x: x.fliplr(), lambda x: aten.fliplr.default(x), torch.flipud, lambda x: x.flipud()]
    check_operator(FLIP, cases=cases, calls=[*calls, lambda x: aten.flipud.default(x)])


def test_roll_laws() -> None:
    cases = [(Perturbed(2, 2, 3), 1, 2), (Perturbed(2, 2, 3), (1, -2), (1, 2))]
    calls = [lambda x: x.roll(1, -1), lambda x: torch.roll(x, shifts=1, dims=1)]
    check_operator(ROLL, cases=cases, calls=[*calls, lambda x: aten.roll.default(x, [1], [1])])


def test_rot90_laws() -> None:
    check_operator(ROT90, cases=[(Perturbed(2, 2, 3), 1, (1, 2)), (Perturbed(2, 2, 3), 3, [-1, -2])])


REFUSED = {
    "flip": lambda x: x.flip(0, 1),
    "flipud": torch.flipud,
    "roll": lambda x: x.roll(1, 0),
    "rot90": torch.rot90,
}


@pytest.mark.parametrize("name", REFUSED)
def test_moving_examples_is_refused(bound, tensor, name: str) -> None:
    with pytest.raises(boundgraph.GraphError, match="over dimension 0 mixes examples"):
        bound(REFUSED[name], tensor(2, 2))


@pytest.mark.parametrize("call", [lambda x: x.roll(1), lambda x: torch.roll(x, 1, dims=())])
def test_rolling_over_examples_is_refused(bound, tensor, call) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="moves elements from one example to the next"):
        bound(call, tensor(2, 2))
