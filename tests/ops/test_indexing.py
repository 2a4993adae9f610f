"""Elements taken by brackets, select, narrow and gather; the batch stays where it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import boundgraph
from boundgraph.errors import GraphError
from boundgraph.ops.indexing import GATHER, INDEX, INDEX_SELECT, NARROW, TAKE_ALONG_DIM
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten
ALL = slice(None)
MASK = torch.tensor([[True, False, True], [False, False, True]])
TWICE = torch.tensor([0, 0, 1])

INDICES = [
    (ALL, 1),
    (ALL, -1),
    (ALL, slice(1, None), slice(None, None, 2)),
    ALL,
    ...,
    (..., 0),
    (..., None),
    (ALL, None, ..., slice(0, 2)),
    (slice(0, 2), 1),
    (slice(0, 2**63 - 1), ALL, 0),
    (ALL, TWICE),
    (ALL, ALL, torch.tensor([True, False, True])),
    (ALL, MASK),
    (ALL, [1, 1], 0),
    (ALL, 0, [1, 1]),
    (ALL, [0, 1], [1, 1]),
    (ALL, torch.tensor([[0, 1], [1, 1]])),
    (ALL, None, TWICE),
]

# others are exported as other operators, or as none
EXPORTED = [(ALL, 1), (ALL, slice(1, None), slice(None, None, 2)), (ALL, TWICE), (ALL, [0, 1], [1, 1])]


class Taken(nn.Module):
    def __init__(self, at: Any) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        return x[self.at]


def test_index_laws() -> None:
    calls = [
        *(lambda x, at=at: x[at] for at in INDICES),
        *map(Taken, EXPORTED),
        lambda x: x.select(-1, 0),
        lambda x: torch.select(x, 1, index=1),
        lambda x: aten.slice.Tensor(x, 1, 0, 1),
        lambda x: aten.index.Tensor(x, [None, TWICE]),
    ]
    check_operator(INDEX, cases=[(Perturbed(2, 2, 3), at) for at in INDICES], calls=calls)


def test_other_laws() -> None:
    x, index = Perturbed(2, 5, 3), torch.tensor([[[0], [4], [4]], [[1], [0], [2]]])
    check_operator(NARROW, cases=[(x, 1, 1, 3), (x, -1, -2, 2)])
    check_operator(INDEX_SELECT, cases=[(x, 1, TWICE), (x, -1, TWICE)])
    cases = [(x, 1, index), (x, 1, index.expand(-1, -1, 3)), (x, -1, index % 3)]
    check_operator(
        GATHER,
        cases=cases,
        calls=[
            lambda x: x.gather(dim=1, index=index),
            lambda x: torch.gather(x, 1, index),
            lambda x: aten.gather.default(x, 1, index),
        ],
    )
    cases = [(x, index, 1), (x, index[:1], -2), (Perturbed(2, 5, 1), index.expand(-1, -1, 2), 1)]
    calls = [
        lambda x: torch.take_along_dim(x, index, dim=1),
        lambda x: x.take_along_dim(index, 1),
        lambda x: aten.take_along_dim.default(x, index, 1),
    ]
    check_operator(TAKE_ALONG_DIM, cases=cases, calls=calls)


def test_an_index_for_each_example(bound, tensor) -> None:
    """Of examples that share a radius each has its own afterwards."""
    x, index = tensor(2, 3), torch.tensor([[0], [2]])
    weight = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    for method in ("ibp", "crown"):
        bounds = bound(lambda x: (x @ weight).gather(1, index), x, method)
        torch.testing.assert_close(bounds.upper - bounds.lower, torch.tensor([[1.0], [3.0]], dtype=torch.float64))


class Halves(nn.Module):
    """Ends of slices that the graph works out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        half = h.shape[1] // 2
        left, right = h[: x.shape[0], :half], h.narrow(1, half, half)
        return self.fc2(torch.relu(left) - torch.relu(right)[:, [2, 0, 0]])


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(method: str) -> None:
    torch.manual_seed(0)
    check_sound(Halves(), boundgraph.LpBall(torch.rand(3, 4), eps=0.2), method=method)


REFUSED = {
    "x[0]": (lambda x: x[0], r"x\[0\] takes from dimension 0 of a value of shape \(3, 4, 5\)"),
    "x[None]": (lambda x: x[None], r"x\[None\] takes from dimension 0"),
    "x[1:]": (lambda x: x[1:], r"x\[1:\] takes from dimension 0"),
    "x[::2]": (lambda x: x[::2, 0], r"x\[::2, 0\] takes from dimension 0"),
    "x[[2, 1, 0]]": (lambda x: x[[2, 1, 0]], r"x\[\[2, 1, 0\]\] takes from dimension 0"),
    "x[index]": (lambda x: x[torch.tensor([2, 1, 0])], r"x\[<index of shape \(3,\)>\] takes from dimension 0"),
    "x[i, j]": (lambda x: x[torch.arange(3), torch.arange(3)], r"with an index for each example, x.gather"),
    "x[..., 0, 0, 0]": (lambda x: x[..., 0, 0, 0], r"x\[..., 0, 0, 0\] takes from dimension 0"),
    "x[:, i, None, j]": (lambda x: x[:, [0, 1, 2], None, [0, 1, 2]], "index tensors apart from each other"),
    "x[:, True]": (lambda x: x[:, True], "indexing with True or False has no bound rule"),
    "select": (lambda x: x.select(0, 1), r"x\[1\] takes from dimension 0"),
    "narrow": (lambda x: x.narrow(0, 0, 2), r"narrow\(dim=0\) over dimension 0 mixes examples"),
    "gather": (lambda x: x.gather(0, torch.zeros(3, 4, 5).long()), r"gather\(dim=0\) over dimension 0"),
    "index_select": (lambda x: x.index_select(-3, torch.tensor([1])), r"index_select\(dim=-3\) over dimension 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_taking_from_the_batch_is_refused(bound, tensor, name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(boundgraph.GraphError, match=message):
        bound(function, tensor(3, 4, 5))


def parts() -> st.SearchStrategy[Any]:
    """What may stand in brackets, all of it of length 3 where it has one, so that a moved batch has the right size."""
    numbers = st.lists(st.integers(0, 2), min_size=3, max_size=3)
    slices = st.builds(
        slice, st.sampled_from((None, 0, 1)), st.sampled_from((None, 2, 3)), st.sampled_from((None, 1, 2))
    )
    masks = st.sampled_from((torch.tensor([True, False, True]), torch.eye(3) > 0))
    tensors = st.one_of(numbers.map(torch.tensor), masks, st.just(torch.tensor(1)), st.just(torch.tensor([[1], [2]])))
    return st.one_of(st.just(ALL), slices, st.integers(-3, 2), st.sampled_from((None, ...)), tensors, numbers)


@settings(deadline=None, max_examples=1000, derandomize=True)
@given(st.lists(parts(), min_size=1, max_size=5).map(tuple))
def test_what_is_accepted_keeps_the_batch(at: tuple[Any, ...]) -> None:
    x = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 3, 3)
    try:
        INDEX.interval(Interval(x, x), at)
    except (GraphError, IndexError, RuntimeError, ValueError, TypeError):
        return
    y = x[at]
    assert y.shape[0] == 3
    assert (y == torch.arange(3.0).reshape(3, *[1] * (y.dim() - 1))).all(), at


def test_without_a_dimension_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="take_along_dim without a dimension flattens"):
        bound(lambda x: torch.take_along_dim(x, torch.tensor([1])), tensor(2, 3))
    with pytest.raises(boundgraph.GraphError, match="must stay the batch"):
        bound(lambda x: x.gather(1, torch.tensor([[1]])), tensor(2, 3))


def test_sizes_stay_sizes(bound, tensor) -> None:
    """Brackets after a shape take no elements of tensors."""
    bounded = boundgraph.compile(nn.Sequential(Halves()))
    assert sum("index" in node.name for node in bounded.primal.graph.nodes) <= 3
    assert "getitem" in str(bounded.primal.graph)
