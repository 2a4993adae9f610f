"""Composite functions written out, results of several tensors, and rules that take over from others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph import operator
from boundgraph.operator import Expansion, Operator, Parts, Several, register, register_rewrite
from boundgraph.ops.linear import LINEAR
from boundgraph.ops.relu import RELU
from boundgraph.testing import check_sound
from boundgraph.values import Interval

# functions that nothing else in these tests knows, in the place of somebody's own
shifted, halves = torch.fmod, torch.frexp


def cosine(x: Tensor) -> Tensor:
    return torch.cos(x)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    saved = [(table, dict(table)) for table in (operator._BY_SPELLING, operator._BY_FORWARD)]
    yield
    for table, content in saved:
        table.clear()
        table.update(content)


class Model(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.fc = function, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc(x))


def operators(bounded: boundgraph.BoundedModule) -> list[str]:
    found = (operator.of(node.target) for node in bounded.primal.graph.nodes)
    return [op.name for op in found if op is not None]


def test_expansions_nest() -> None:
    register_rewrite(Expansion("halves", {halves: lambda x: (torch.relu(x), {"rest": shifted(x, 1.0)})}))
    register_rewrite(Expansion("shifted", {shifted: lambda x, by: torch.tanh(x + by) * 2}))
    bounded = boundgraph.compile(Model(lambda x: halves(x)[1]["rest"]), "crown")
    assert operators(bounded) == ["linear", "relu", "add", "tanh", "mul"]
    assert operators(boundgraph.compile(Model(lambda x: halves(x)[0]))) == ["linear", "relu", "add", "tanh", "mul"]
    check_sound(Model(lambda x: 2 * torch.tanh(x + 1)), boundgraph.LpBall(torch.rand(2, 4), eps=0.1), method="crown")


def test_parts_are_calls_of_their_own() -> None:
    def part(x: Tensor) -> Parts:
        return Parts(lambda i: ((LINEAR, RELU)[i].forward, (x, torch.eye(4)) if i == 0 else (x,)), names=("a", "b"))

    register_rewrite(Several("halves", {halves: part}))
    assert operators(boundgraph.compile(Model(lambda x: halves(x)[1]))) == ["linear", "relu"]
    assert operators(boundgraph.compile(Model(lambda x: halves(x).b))) == ["linear", "relu"]
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="take them by number"):
        boundgraph.compile(Model(lambda x: torch.relu(halves(x)) + x))


class Constant(nn.Module):
    """Parts of weights that nothing bounds."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.rand(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


EXACT = {
    "a part that has no bounds": lambda x, w: x.gather(1, nn.functional.max_pool1d(w, 2, return_indices=True)[1]),
    "some parts of unknown number": lambda x, w: x * w.split(1)[1:][0],
    "all parts of unknown number": lambda x, w: x @ torch.cat(w.split(3), 0),
    "parts of the first dimension": lambda x, w: x @ w.chunk(2)[1].mT,
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_parts_are_what_they_are(name: str) -> None:
    model = Constant(EXACT[name])
    check_sound(model, boundgraph.LpBall(torch.rand(4, 4), eps=0.1), method="crown")


def test_interval_alone_is_two_constants() -> None:
    register(
        Operator(
            name="cosine",
            forward=cosine,
            interval=lambda x: Interval.around(torch.cos(x.center), x.radius),  # its slope is 1 at most
            spellings=(cosine, torch.cos),
        )
    )
    torch.manual_seed(0)
    model, x = Model(lambda x: torch.cos(x) + torch.relu(x)), torch.rand(3, 4)
    for method in ("ibp", "crown-ibp", "crown"):
        check_sound(model, boundgraph.LpBall(x, eps=0.1), method=method)
    model = Model(torch.cos)
    found, expected = (boundgraph.compile(model, method)(x, eps=0.1) for method in ("crown", "ibp"))
    for side in ("lower", "upper"):
        torch.testing.assert_close(getattr(found, side), getattr(expected, side))


def test_another_rule_takes_over_where_both_operands_are_perturbed() -> None:
    def larger(x: Tensor, y: Tensor) -> Tensor:
        return y + torch.relu(x - y)

    def scaled(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    register(
        Operator(
            name="scaled",
            forward=scaled,
            interval=lambda x, y: Interval.around(x.center * y, x.radius * abs(y)),
            backward=lambda coefficients, x, y: coefficients * y,
            spellings=(shifted,),
            otherwise=larger,
        )
    )
    assert operators(boundgraph.compile(Model(lambda x: shifted(x, 2.0)))) == ["linear", "scaled"]
    both = boundgraph.compile(Model(lambda x: shifted(x, x)))
    stages = dict(both.stages)
    marked = [operator.of(node.target) for node in stages["primal.mark_perturbed"].graph.nodes]
    assert [op.name for op in marked if op is not None] == ["linear", "sub", "relu", "add"]
