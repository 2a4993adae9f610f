"""Elements regrouped within their example: reshape, view, flatten, squeeze, unsqueeze."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.reshape import FLATTEN, RESHAPE, SQUEEZE, UNFLATTEN, UNSQUEEZE
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_reshape_laws() -> None:
    cases = [
        (Perturbed(2, 3, 4), (2, 12)),
        (Perturbed(2, 3, 4), (-1, 2, 6)),
        (Perturbed(2, 3, 4), [2, -1]),
        (Perturbed(2, 1), (2,)),
    ]
    calls = [
        lambda x: x.view(2, -1),
        lambda x: x.view((2, 12)),
        lambda x: x.reshape(x.shape[0], 4, 3),
        lambda x: x.view(size=(2, 12)),
        lambda x: x.reshape(shape=(2, 12)),
        lambda x: x.view(x.size(0), -1),
        lambda x: aten.view.default(x, [2, 12]),
        lambda x: aten._unsafe_view.default(x, [2, 12]),
    ]
    check_operator(RESHAPE, cases=cases, calls=calls)


def test_flatten_laws() -> None:
    cases = [(Perturbed(2, 3, 4), 1), (Perturbed(2, 3, 4, 2), 1, 2), (Perturbed(2, 3, 4, 2), -2), (Perturbed(2, 3), 1)]
    check_operator(FLATTEN, cases=cases, calls=[nn.Flatten(), lambda x: x.flatten(start_dim=1, end_dim=-1)])


def test_squeeze_laws() -> None:
    cases = [
        (Perturbed(2, 1, 4), 1),
        (Perturbed(2, 3, 1), -1),
        (Perturbed(2, 3, 4), 1),
        (Perturbed(2, 1, 4, 1), (1, 3)),
    ]
    calls = [lambda x: torch.squeeze(x, 1), lambda x: x.squeeze(dim=1), lambda x: torch.squeeze(input=x, dim=1)]
    check_operator(SQUEEZE, cases=cases, calls=calls)


def test_unsqueeze_laws() -> None:
    cases = [
        (Perturbed(2, 3), 1),
        (Perturbed(2, 3), -1),
        (
            Perturbed(
                2,
            ),
            1,
        ),
    ]
    check_operator(UNSQUEEZE, cases=cases, calls=[lambda x: x.unsqueeze(dim=2)])


def test_unflatten_laws() -> None:
    cases = [(Perturbed(2, 6), 1, (2, 3)), (Perturbed(2, 6, 2), -2, (-1, 2)), (Perturbed(2, 3), 0, (2, 1))]
    check_operator(UNFLATTEN, cases=cases, calls=[nn.Unflatten(1, (2, 3)), lambda x: x.unflatten(dim=1, sizes=(3, 2))])


@pytest.mark.parametrize("name", ["view_as", "reshape_as"])
def test_the_shape_of_another(bound, tensor, name: str) -> None:
    x = tensor(2, 6)
    for like in (lambda x: x.unflatten(1, (2, 3)), lambda _: torch.zeros(2, 2, 3)):
        bounds = bound(lambda x, like=like: getattr(x, name)(like(x)), x)
        torch.testing.assert_close(bounds.upper, x.reshape(2, 2, 3) + 0.5)


def test_squeeze_without_dimension_is_refused(bound, tensor) -> None:
    for call in (lambda x: x.squeeze(), torch.squeeze):
        with pytest.raises(boundgraph.UnsupportedOperatorError, match="also drops a batch of one example; name it"):
            bound(call, tensor(2, 1, 3))


def test_view_as_another_dtype_is_refused(bound, tensor) -> None:
    for call in (lambda x: x.view(torch.int64), lambda x: x.view(dtype=torch.int64)):
        with pytest.raises(boundgraph.UnsupportedOperatorError, match="view as another dtype has no bounds"):
            bound(call, tensor(2, 3))


REFUSED = {
    "reshape": lambda x: x.reshape(-1, 2),
    "flatten": lambda x: x.flatten(),
    "squeeze": lambda x: x.transpose(1, 2).unsqueeze(0).squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_regrouping_examples_is_refused(bound, tensor, name: str) -> None:
    with pytest.raises(
        boundgraph.GraphError, match="dimension 0 must stay the batch, because bounds are computed per example"
    ):
        bound(REFUSED[name], tensor(2, 3, 4))


def test_one_compile_serves_a_batch_of_one(tensor) -> None:
    bounded = boundgraph.compile(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).double())
    for batch in (1, 2, 5):
        x = tensor(batch, 2, 3)
        torch.testing.assert_close(bounded(x, eps=0.0).lower, bounded.model(x))
