"""Models that return tuples, lists, dicts and the like: bounds in the same structure."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import boundgraph
from boundgraph.testing import check_sound
from passes.graphs import kind

METHODS = ("ibp", "crown-ibp", "crown")


class Pair(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclasses.dataclass
class Output:
    """As libraries of language models return it."""

    logits: Tensor
    loss: Tensor | None = None


@dataclasses.dataclass
class Unknown:
    logits: Tensor


torch.export.register_dataclass(Output)


class Heads(nn.Module):
    def __init__(self, arranged: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.deep = nn.Linear(4, 6), nn.Linear(6, 6)
        self.one, self.other = nn.Linear(6, 3), nn.Linear(6, 2)
        self.arranged = arranged

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.deep(torch.relu(self.trunk(x))))
        return self.arranged(self, x, hidden, self.one(hidden), self.other(hidden))


def _is_bounds(value: Any) -> bool:
    return isinstance(value, boundgraph.Bounds)


def _shapes(value: Any) -> Any:
    return tree_map(lambda leaf: tuple(leaf.lower.shape) if _is_bounds(leaf) else leaf, value, is_leaf=_is_bounds)


STRUCTURES: dict[str, tuple[Callable[..., Any], Any]] = {
    "tuple": (lambda m, x, h, y, z: (y, z), ((2, 3), (2, 2))),
    "list of one": (lambda m, x, h, y, z: [y], [(2, 3)]),
    "dict": (lambda m, x, h, y, z: {"y": y, "no": None, "more": [z, 3, "name"]},
             {"y": (2, 3), "no": None, "more": [(2, 2), 3, "name"]}),
    "named tuple": (lambda m, x, h, y, z: Pair(y, h), Pair((2, 3), (2, 6))),  # type: ignore[arg-type]
    "dataclass": (lambda m, x, h, y, z: Output(y), Output((2, 3))),  # type: ignore[arg-type]
    "ordered dict": (lambda m, x, h, y, z: collections.OrderedDict(z=z, y=y),
                     collections.OrderedDict(z=(2, 2), y=(2, 3))),
    "the same twice": (lambda m, x, h, y, z: (y, y), ((2, 3), (2, 3))),
    "the input": (lambda m, x, h, y, z: (x, y), ((2, 4), (2, 3))),
    "a hidden value": (lambda m, x, h, y, z: (y, h), ((2, 3), (2, 6))),
    "parts": (lambda m, x, h, y, z: h.chunk(2, 1), ((2, 3), (2, 3))),
    "parts within": (lambda m, x, h, y, z: (h.split([1, 5], 1), y), (((2, 1), (2, 5)), (2, 3))),
    "a weight": (lambda m, x, h, y, z: (y, m.one.weight), ((2, 3), (3, 6))),
    "a constant": (lambda m, x, h, y, z: (y, torch.ones(3, dtype=x.dtype)), ((2, 3), (3,))),
    "a shape": (lambda m, x, h, y, z: (y, x.shape[1], x.new_zeros(x.shape)), ((2, 3), 4, (2, 4))),
}  # fmt: skip


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_kept(name: str, method: str, exported: bool) -> None:
    arranged, expected = STRUCTURES[name]
    x = torch.rand(2, 4)
    bounded = boundgraph.compile(Heads(arranged), method, example_inputs=(x,) if exported else None)
    found = bounded(x, eps=0.1)
    assert _shapes(found) == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_all_outputs_are_sound(name: str, method: str) -> None:
    check_sound(Heads(STRUCTURES[name][0]), boundgraph.LpBall(torch.rand(2, 4), eps=0.2), method=method)
    check_sound(Heads(STRUCTURES[name][0]), boundgraph.LpBall(torch.rand(2, 4), eps=0.2, norm=2), method=method)


class Sized(nn.Module):
    """Decides on a shape, so it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return Output(self.fc(x).relu(), None) if x.shape[1] == 4 else x


def test_structures_of_exported_models() -> None:
    x = torch.rand(2, 4)
    found = boundgraph.compile(Sized(), example_inputs=(x,))(x, eps=0.1)
    assert isinstance(found, Output)
    assert found.loss is None
    assert bool((found.logits.lower <= found.logits.upper).all())


@pytest.mark.parametrize("method", METHODS)
def test_the_bounds_are_those_of_models_with_one_output(method: str) -> None:
    """Several outputs share the intervals and the walks of what they have in common."""
    x = torch.rand(2, 4)
    both = boundgraph.compile(Heads(lambda m, x, h, y, z: (y, z)), method)
    for number in (0, 1):
        alone = boundgraph.compile(Heads(lambda m, x, h, y, z, n=number: (y, z)[n]), method)
        for sides in ("both", "lower", "upper"):
            found, expected = both(x, eps=0.1, sides=sides)[number], alone(x, eps=0.1, sides=sides)
            for one, other in zip((*found[:2], *found.interval), (*expected[:2], *expected.interval), strict=True):
                torch.testing.assert_close(one, other)
    walks = [node.name for node in both.graph.nodes if kind(node) == "walk"]
    assert len(walks) == (method == "crown")


def test_an_output_that_nothing_reaches_is_its_own_bound() -> None:
    model = Heads(lambda m, x, h, y, z: {"y": y, "w": m.one.bias})
    found = boundgraph.compile(model)(torch.rand(2, 4), eps=0.1, sides="lower")["w"]
    assert found.lower is model.one.bias
    assert found.upper is None
    assert found.interval.upper is model.one.bias


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_gradients_reach_the_weights_through_every_output(method: str, backend: str) -> None:
    model, x = Heads(lambda m, x, h, y, z: (y, z)), torch.rand(2, 4)
    bounded = boundgraph.compile(model, method, backend=backend)
    one, other = bounded(x, eps=0.1)
    (one.lower.sum() - other.upper.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    expected = []
    for number, sign in ((0, 1), (1, -1)):
        alone = boundgraph.compile(Heads(lambda m, x, h, y, z, n=number: (y, z)[n]), method)
        side = alone(x, eps=0.1)[number]
        found = torch.autograd.grad(sign * side.sum(), list(alone.parameters()), allow_unused=True)
        expected.append(
            [torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), found, strict=True)]
        )
    for gradient, *parts in zip(gradients, *expected, strict=True):
        torch.testing.assert_close(gradient, sum(parts))


def test_one_tensor_within_a_structure_has_margins() -> None:
    x, labels = torch.rand(2, 4), torch.tensor([0, 2])
    bounded = boundgraph.compile(Heads(lambda m, x, h, y, z: Output(y)))
    alone = boundgraph.compile(Heads(lambda m, x, h, y, z: y))
    torch.testing.assert_close(bounded.margins(x, labels, eps=0.1), alone.margins(x, labels, eps=0.1))
    assert torch.equal(bounded.certified(x, labels, eps=0.01), alone.certified(x, labels, eps=0.01))
    torch.testing.assert_close(
        bounded.fused_cross_entropy(x, labels, eps=0.1), alone.fused_cross_entropy(x, labels, eps=0.1)
    )
    spec = boundgraph.margin_spec(labels, 3)
    assert bounded(x, eps=0.1, spec=spec).logits.lower.shape == (2, 2)


def test_specifications_of_several_outputs_are_refused() -> None:
    x, labels = torch.rand(2, 4), torch.tensor([0, 2])
    bounded = boundgraph.compile(Heads(lambda m, x, h, y, z: (y, z)))
    calls: list[Callable[[], Any]] = [
        lambda: bounded(x, eps=0.1, spec=torch.ones(1, 3)),
        lambda: bounded.margins(x, labels, eps=0.1, num_classes=3),
        lambda: bounded.certified(x, labels, eps=0.1, num_classes=3),
        lambda: bounded.fused_cross_entropy(x, labels, eps=0.1, num_classes=3),
    ]
    for call in calls:
        with pytest.raises(boundgraph.RegionError) as caught:
            call()
        assert str(caught.value) == (
            "a specification is about one tensor, but Heads returns 2; wrap the model in a module that returns the tensor "
            "you mean"
        )


@pytest.mark.parametrize("method", METHODS)
def test_everything_else_goes_on_working(method: str) -> None:
    x = torch.rand(2, 4)
    bounded = boundgraph.compile(Heads(lambda m, x, h, y, z: {"y": y, "z": (z, None)}), method)
    expected = bounded(x, eps=0.1)
    assert {"one", "other"} <= set(bounded.intermediate_bounds(x, eps=0.1))
    assert bounded.cost(x, eps=0.1).flops != 0
    assert len(bounded.plan().backward_graphs) == (0 if method == "ibp" else 2)
    torch.testing.assert_close(bounded.primal(x), (bounded.model(x)["y"], bounded.model(x)["z"][0]))
    bounded.train()
    copies = [copy.deepcopy(bounded), torch.compile(bounded, backend="aot_eager", fullgraph=True), bounded]
    for other in copies:
        found = other(x, eps=0.1)
        assert found["z"][1] is None
        for one, wanted in zip(tree_leaves(found)[:5], tree_leaves(expected)[:5], strict=True):
            if isinstance(one, Tensor):
                torch.testing.assert_close(one, wanted)


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Any:
        return self.fc(x).relu().chunk(2, 1)


def test_pickled() -> None:
    x = torch.rand(2, 4)
    bounded = boundgraph.compile(Split())
    found, expected = pickle.loads(pickle.dumps(bounded))(x, eps=0.1), bounded(x, eps=0.1)
    torch.testing.assert_close(found[1].lower, expected[1].lower)


def test_the_mode_may_change_the_structure() -> None:
    model = Heads(lambda m, x, h, y, z: (y, z) if m.training else y)
    bounded, x = boundgraph.compile(model), torch.rand(2, 4)
    assert _shapes(bounded.train()(x, eps=0.1)) == ((2, 3), (2, 2))
    assert _shapes(bounded.eval()(x, eps=0.1)) == (2, 3)


def test_captures_are_compared_in_every_output() -> None:
    def trap(m: Any, x: Any, h: Any, y: Any, z: Any) -> Any:
        return y, (z if isinstance(x, Tensor) else h)

    with pytest.raises(boundgraph.CaptureError, match=r"shapes \(2, 6\) and \(2, 2\)"):
        boundgraph.compile(Heads(trap), example_inputs=(torch.rand(2, 4),))


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "unknown class": (
        lambda m, x, h, y, z: (y, Unknown(z)),
        "Heads returns a Unknown, whose tensors are not known; register the class with torch.export.register_dataclass or "
        "torch.utils._pytree.register_pytree_node"),
    "nothing": (lambda m, x, h, y, z: None, "Heads returns None, and no tensor"),
    "a number": (lambda m, x, h, y, z: 1.0, "Heads returns a float, and no tensor"),
    "numbers": (lambda m, x, h, y, z: [1.0, None], "Heads returns a list, and no tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    arranged, message = REFUSED[name]
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Heads(arranged))
    assert str(caught.value) == message


def test_parts_of_unknown_number_are_refused() -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Heads(lambda m, x, h, y, z: (y, h.split(2, 1))))
    assert str(caught.value) == (
        "Heads returns a result whose parts have no bounds: the number of its parts is not known before the graph runs; "
        "take them by number, parts[0]"
    )


def test_outputs_that_depend_on_nothing_are_refused() -> None:
    with pytest.raises(boundgraph.GraphError, match="the output of Heads does not depend on the perturbed input"):
        boundgraph.compile(Heads(lambda m, x, h, y, z: (m.one.bias, m.other.bias)))
