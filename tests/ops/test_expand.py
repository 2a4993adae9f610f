"""Elements repeated within their example, in every spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import boundgraph
from boundgraph.ops.expand import EXPAND, REPEAT, REPEAT_INTERLEAVE, TILE
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_expand_laws() -> None:
    cases = [(Perturbed(2, 1, 3), (2, 4, 3)), (Perturbed(2, 1, 3), [-1, 2, -1]), (Perturbed(2, 1), (2, 1))]
    calls = [
        lambda x: x.expand(-1, 4, -1),
        lambda x: x.expand(x.shape[0], 4, 3),
        lambda x: x.expand(size=(2, 4, 3)),
        lambda x: x.broadcast_to((2, 4, 3)),
        lambda x: aten.expand.default(x, [2, 4, 3]),
    ]
    check_operator(EXPAND, cases=cases, calls=calls)


@pytest.mark.parametrize("call", [lambda x, y: x.expand_as(y), lambda x, y: aten.expand_as.default(x, y)])
def test_the_shape_of_another(bound, tensor, call: Callable[..., Tensor]) -> None:
    x = tensor(2, 3)
    bounds = bound(lambda x: call(x[:, :1], x), x)
    torch.testing.assert_close(bounds.lower, x[:, :1].expand(2, 3) - 0.5)


def test_repeat_laws() -> None:
    cases = [(Perturbed(2, 2, 3), (1, 3, 2)), (Perturbed(2, 2), [1, 1])]
    calls = [lambda x: x.repeat(1, 3, 2), lambda x: x.repeat(repeats=(1, 3, 2)), lambda x: x.repeat([1, 3, 2])]
    check_operator(REPEAT, cases=cases, calls=calls)


def test_tile_laws() -> None:
    cases = [(Perturbed(2, 2, 3), (1, 3, 2)), (Perturbed(2, 2, 3), (2,)), (Perturbed(2, 2), ())]
    check_operator(TILE, cases=cases, calls=[lambda x: x.tile(3, 2), lambda x: torch.tile(x, (2, 1))])


def test_repeat_interleave_laws() -> None:
    cases = [(Perturbed(2, 2, 3), 2, 1), (Perturbed(2, 2, 3), torch.tensor([2, 0, 1]), -1)]
    calls = [
        lambda x: x.repeat_interleave(2, dim=1),
        lambda x: torch.repeat_interleave(x, 2, -1),
        lambda x: aten.repeat_interleave.self_int(x, 2, 1),
        lambda x: aten.repeat_interleave.self_Tensor(x, torch.tensor([1, 2]), 1),
    ]
    check_operator(REPEAT_INTERLEAVE, cases=cases, calls=calls)


REFUSED = {
    "expand": (lambda x: x.expand(2, 2, 3), r"expand to \(2, 2, 3\) of a bounded value .* moves its batch dimension"),
    "repeat": (lambda x: x.repeat(1, 1, 2), r"repeat\(1, 1, 2\) of a bounded value of shape \(2, 3\) moves its batch"),
    "repeat the batch": (lambda x: x.repeat(2, 1), r"repeat turns shape \(2, 3\) into \(4, 3\)"),
    "tile": (lambda x: x.tile(1, 1, 2), r"tile\(1, 1, 2\) of a bounded value of shape \(2, 3\) moves its batch"),
    "tile the batch": (lambda x: x.tile(2, 1), r"tile turns shape \(2, 3\) into \(4, 3\)"),
    "interleave": (lambda x: x.repeat_interleave(2, 0), r"repeat_interleave\(dim=0\) over dimension 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_moving_the_batch_is_refused(bound, tensor, name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(boundgraph.GraphError, match=message):
        bound(function, tensor(2, 3))


def test_flattening_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="flattens the batch; name one, e.g. dim=1"):
        bound(lambda x: x.repeat_interleave(2), tensor(2, 3))
