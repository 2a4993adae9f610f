"""Parts of a value: each spelling, unpacked or taken by number, from either end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.splitting import CHUNK, SPLIT, TENSOR_SPLIT
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


class Part(nn.Module):
    """One part of what a function returns."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]], number: int = 1) -> None:
        super().__init__()
        self.function, self.number = function, number

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)[self.number]


def unpacked(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return second - first


X = Perturbed(2, 5, 3)
LAWS = [
    (CHUNK, [(X, 2, 1, 1), (X, 2, -1, 0)], [lambda x: torch.chunk(x, 2, 1), lambda x: x.chunk(chunks=2, dim=1)]),
    (CHUNK, [(X, 3, 1, -1)], [lambda x: torch.unsafe_chunk(x, 3, 1), lambda x: aten.chunk.default(x, 3, 1)]),
    (SPLIT, [(X, 2, 1, 1)], [lambda x: torch.split(x, 2, 1), lambda x: x.split(split_size=2, dim=1)]),
    (SPLIT, [(X, [1, 4], 1, -1)], [lambda x: x.split([1, 4], 1), lambda x: torch.split_with_sizes(x, [1, 4], 1)]),
    (SPLIT, [(X, 2, 1, 2)], [lambda x: aten.split.Tensor(x, 2, 1), lambda x: aten.split.sizes(x, [2, 3], 1)]),
    (TENSOR_SPLIT, [(X, 3, 1, 1)], [lambda x: x.tensor_split(3, 1), lambda x: x.tensor_split(sections=3, dim=1)]),
    (
        TENSOR_SPLIT,
        [(X, (1, 2), 1, 2)],
        [lambda x: x.tensor_split((1, 2), dim=1), lambda x: torch.tensor_split(x, 2, 1)],
    ),
]


@pytest.mark.parametrize(("operator", "cases", "calls"), LAWS, ids=lambda value: getattr(value, "name", ""))
def test_laws(operator: boundgraph.Operator, cases: list, calls: list) -> None:
    check_operator(operator, cases=cases, calls=[*map(Part, calls)])
    for call in calls:
        for number in (0, 1, -1):
            module = Part(call, number)
            bounded = boundgraph.compile(module, "crown")
            x = torch.randn(2, 5, 3)
            for side, way in zip(bounded(x, eps=0.5), (-0.5, 0.5), strict=False):
                torch.testing.assert_close(side, module(x) + way)


@pytest.mark.parametrize(
    "call", [lambda x: x.unbind(-1), lambda x: torch.unbind(x, dim=1), lambda x: aten.unbind.int(x, 1)]
)
def test_unbinding_is_indexing(call: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    for number in (0, -1):
        module, x = Part(call, number), torch.randn(2, 5, 3)
        bounds = boundgraph.compile(module, "crown")(x, eps=0.5)
        torch.testing.assert_close(bounds.lower, module(x) - 0.5)


class Gated(nn.Module):
    """A gated unit, two branches that are added, and a part of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 12), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = torch.split(self.fc1(x), [3, 3, 6], -1)
        d, e = c.chunk(2, dim=-1)
        return F.relu(self.fc2(F.relu(a) - b)) + torch.sigmoid(d) * 2 + torch.stack((d, e), 1).unbind(1)[-1]


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(method: str) -> None:
    torch.manual_seed(0)
    check_sound(Gated(), boundgraph.LpBall(torch.rand(3, 4), eps=0.2), method=method)


def test_unpacking(bound, tensor) -> None:
    x = tensor(2, 4)
    bounds = bound(unpacked, x)
    torch.testing.assert_close(bounds.lower, x[:, 2:] - x[:, :2] - 1)


@pytest.mark.parametrize("function", [lambda x: x.chunk(2), lambda x: x.split(1), lambda x: x.tensor_split(2)])
def test_parts_of_the_batch_are_refused(bound, tensor, function) -> None:
    with pytest.raises(boundgraph.GraphError, match="over dimension 0 mixes examples"):
        bound(lambda x: function(x)[0], tensor(2, 4))
    with pytest.raises(boundgraph.GraphError, match=r"x\[0\] takes from dimension 0"):
        bound(lambda x: x.unbind()[0], tensor(2, 4))


def test_all_parts_at_once_are_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="take them by number"):
        bound(lambda x: torch.cat(x.split(2, 1), 1), tensor(2, 4))


TOGETHER = {
    "loop": lambda x: torch.cat([part * k for k, part in enumerate(x.chunk(2, 1))], 1),
    "loop over sizes": lambda x: sum(part.sum(1) for part in x.split([1, 3], 1)),
    "all": lambda x: torch.cat(x.tensor_split(3, dim=1), 1),
    "reversed": lambda x: torch.cat(x.tensor_split([1, 2], 1)[1:], 1),
    "stacked": lambda x: torch.stack(torch.chunk(x, 2, dim=-1), 1),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_parts_of_known_number(bound, tensor, name: str) -> None:
    """They may be looped over, cut, and used together."""
    x, function = tensor(2, 4), TOGETHER[name]
    bounds = bound(function, x)
    torch.testing.assert_close(bounds.lower, function(x - 0.5))
    torch.testing.assert_close(bounds.upper, function(x + 0.5))


def test_fewer_chunks_than_asked_for(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"chunk\(4, dim=1\) of shape \(2, 5\) has 3 parts, and part 3 is"):
        bound(lambda x: torch.cat(x.chunk(4, 1), 1), tensor(2, 5))
