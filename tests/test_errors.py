"""Every error says what was found, where, and what to do: the wording is part of the API."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.errors import BoundgraphError, CaptureError, GraphError, RegionError, UnsupportedOperatorError

X = torch.zeros(2, 3)


@pytest.fixture(scope="module")
def bounded(networks: ModuleType) -> boundgraph.BoundedModule:
    return boundgraph.compile(networks.build("five", dtype=torch.float))


@pytest.fixture(scope="module")
def pair(networks: ModuleType) -> boundgraph.BoundedModule:
    return boundgraph.compile(networks.build("two-inputs", dtype=torch.float))


def test_one_family() -> None:
    for error in (CaptureError, GraphError, RegionError, UnsupportedOperatorError):
        assert issubclass(error, BoundgraphError)
        assert getattr(boundgraph, error.__name__) is error
    assert issubclass(RegionError, ValueError)


REGIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "negative eps": (lambda: boundgraph.LpBall(X, -0.1), "eps must be a finite number >= 0, not -0.1"),
    "infinite eps": (lambda: boundgraph.LpBall(X, math.inf), "eps must be a finite number >= 0, not inf"),
    "nan eps": (lambda: boundgraph.LpBall(X, math.nan), "eps must be a finite number >= 0, not nan"),
    "negative eps of an example": (
        lambda: boundgraph.LpBall(X, torch.tensor([0.1, -0.1])), "eps must be finite and >= 0 for every example"),
    "eps of a wrong shape": (
        lambda: boundgraph.LpBall(X, torch.zeros(3)),
        "eps has shape (3,); for x of shape (2, 3) give a number or a tensor of shape (2,)"),
    "eps that does not broadcast": (
        lambda: boundgraph.LpBall(X, torch.zeros(5, 1)),
        "eps has shape (5, 1); for x of shape (2, 3) give a number or a tensor of shape (2,)"),
    "eps with more examples than x": (
        lambda: boundgraph.LpBall(X[:1], torch.zeros(4, 1)),
        "eps has shape (4, 1); for x of shape (1, 3) give a number or a tensor of shape (1,)"),
    "norm below 1": (lambda: boundgraph.LpBall(X, 0.1, norm=0.5), "LpBall: norm must lie in [1, inf], not 0.5"),
    "integers": (
        lambda: boundgraph.LpBall(torch.zeros(2, 3, dtype=torch.long), 0.1),
        "LpBall(x, eps) needs floating-point tensors, not torch.int64"),
    "no tensor": (lambda: boundgraph.LpBall([0.0], 0.1), "LpBall(x, eps) needs floating-point tensors, not list"),
    "clip of three": (lambda: boundgraph.LpBall(X, 0.1, clip=(0, 1, 2)), "clip must be a pair (low, high), not 3 values"),
    "clip far from x": (
        lambda: boundgraph.LpBall(X, 0.1, clip=(1.0, 2.0)),
        "LpBall: some x lies further than eps outside `clip`, so nothing is left of the ball; are x and clip in the same "
        "units?"),
    "box of two shapes": (
        lambda: boundgraph.Box(X, torch.zeros(2, 4)),
        "Box: lower has shape (2, 3) and torch.float32, but upper has shape (2, 4) and torch.float32; give both one shape "
        "and dtype"),
    "empty box": (lambda: boundgraph.Box(X + 0.5, X), "Box: lower exceeds upper by up to 0.5; the region is empty"),
    "labels with a fraction": (
        lambda: boundgraph.margin_spec(torch.zeros(2), 3),
        "labels must be integers of shape (batch,), not torch.float32 of shape (2,)"),
    "labels of a wrong shape": (
        lambda: boundgraph.margin_spec(torch.zeros(2, 1, dtype=torch.long), 3),
        "labels must be integers of shape (batch,), not torch.int64 of shape (2, 1)"),
    "labels outside": (
        lambda: boundgraph.margin_spec(torch.tensor([0, 7]), 3), "labels range from 0 to 7, but there are 3 classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REGIONS)
def test_regions(name: str) -> None:
    make, message = REGIONS[name]
    with pytest.raises(RegionError) as caught:
        make()
    assert str(caught.value) == message


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing perturbed": (
        lambda f: f(X), "nothing is perturbed: give eps=..., or an LpBall or Box for at least one input"),
    "two inputs for one": (lambda f: f(X, X, eps=0.1), "the model takes 1 input(s) (x), but 2 were given"),
    "eps and a region": (lambda f: f(boundgraph.LpBall(X, 0.1), eps=0.1), "give either a region or eps, not both"),
    "norm beside a region": (
        lambda f: f(boundgraph.LpBall(X, 0.1), norm=2), "norm and clip belong to eps; give them to the region instead"),
    "clip beside a region": (
        lambda f: f(boundgraph.LpBall(X, 0.1), clip=(0, 1)),
        "norm and clip belong to eps; give them to the region instead"),
    "an open clip": (
        lambda f: f(X, eps=0.1, clip=(0, None)),
        "clip must hold two numbers or tensors, not None; use math.inf for an open end"),
    "clip that is no pair": (lambda f: f(X, eps=0.1, clip=1.0), "clip must be a pair (low, high), not 1.0"),
    "clip with more examples": (
        lambda f: f(X[:1], eps=0.1, clip=(torch.zeros(5, 3), 1.0)),
        "clip has a tensor of shape (5, 3), which does not fit x of (1, 3)"),
    "clip with more dimensions": (
        lambda f: f(X, eps=0.1, clip=(torch.zeros(4, 2, 3), 1.0)),
        "clip has a tensor of shape (4, 2, 3), which does not fit x of (2, 3)"),
    "eps that is no number": (
        lambda f: f(X, eps="0.1"), "eps must be a finite number >= 0, not '0.1'"),
    "norm that is no number": (
        lambda f: f(X, eps=0.1, norm="inf"), "LpBall: norm must lie in [1, inf], not 'inf'"),
    "labels that are no tensor": (
        lambda f: f.margins(X, [0, 1], eps=0.1),
        "labels must be a tensor of integers of shape (batch,), not a list"),
    "sides": (lambda f: f(X, eps=0.1, sides="top"), "sides must be one of both, lower, upper, not 'top'"),
    "spec with one dimension": (
        lambda f: f(X, eps=0.1, spec=torch.ones(3)),
        "spec must have shape (rows, outputs) or (batch, rows, outputs), not (3,)"),
    "spec that is no tensor": (
        lambda f: f(X, eps=0.1, spec=[[1, 0, 0]]), "spec must have shape (rows, outputs) or (batch, rows, outputs), not list"),
    "spec for another batch": (
        lambda f: f(X, eps=0.1, spec=torch.ones(5, 1, 3)), "spec is for 5 examples, but the input has 2"),
    "spec for another number of outputs": (
        lambda f: f(X, eps=0.1, spec=torch.ones(1, 4)), "spec has 4 columns, but the model has 3 outputs per example"),
    "labels for another batch": (
        lambda f: f.margins(X, torch.tensor([0, 1, 2]), eps=0.1), "there are 3 label(s) for an input of shape (2, 3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_calls(bounded: boundgraph.BoundedModule, name: str, method: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(RegionError) as caught:
        call(bounded.using(method))
    assert str(caught.value) == message


def test_eps_with_two_inputs(pair: boundgraph.BoundedModule) -> None:
    with pytest.raises(RegionError) as caught:
        pair(X, torch.zeros(2, 2), eps=0.1)
    assert str(caught.value) == "eps is short for a model with one input; give LpBall(x, eps) for the perturbed ones"


def test_too_few_inputs(pair: boundgraph.BoundedModule) -> None:
    with pytest.raises(RegionError) as caught:
        pair(boundgraph.LpBall(X, 0.1))
    assert str(caught.value) == "the model takes 2 input(s) (x, y), but 1 were given"


ENDINGS: dict[str, Callable] = {
    "matrix product": lambda self, x: x @ self.fc1.weight.t(),
    "scaled logits": lambda self, x: self.fc1(x) * self.scale.sum(),
    "activation": lambda self, x: self.fc1(x).relu(),
    "sum of two layers": lambda self, x: self.fc1(x) + self.fc2(x),
    "shifted logits": lambda self, x: self.fc1(x) + self.scale,
    "buffer as weight": lambda self, x: nn.functional.linear(x, self.offset.expand(3, 3)),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_margins_without_a_last_linear_layer(networks: ModuleType, name: str) -> None:
    """Either the number of classes is known and right, or the message says how to give it."""
    model = networks.net(ENDINGS[name], dtype=torch.float)
    bounded = boundgraph.compile(model)
    try:
        margins = bounded.margins(X, torch.tensor([0, 2]), eps=0.1)
    except RegionError as error:
        assert str(error) == (
            "the model does not end in a linear layer; say how many classes there are: num_classes=..."
        )
        margins = bounded.margins(X, torch.tensor([0, 2]), eps=0.1, num_classes=3)
    assert margins.shape == (2, 2)


class ScaledLogits(nn.Module):
    """Ends in a product with one number: its shape says nothing about classes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 5)
        self.temperature = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.temperature


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_margins_are_not_fooled_by_a_scale(shape: tuple[int, ...]) -> None:
    with pytest.raises(RegionError, match=r"does not end in a linear layer; .*num_classes=\.\.\."):
        boundgraph.compile(ScaledLogits(shape)).margins(X, torch.tensor([0, 4]), eps=0.1)


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_margins_of_a_matrix_product_are_not_fooled() -> None:
    bounded = boundgraph.compile(Transposed())
    try:
        margins = bounded.margins(X, torch.tensor([0, 4]), eps=0.1)
    except RegionError as error:
        assert "num_classes=..." in str(error)
        margins = bounded.margins(X, torch.tensor([0, 4]), eps=0.1, num_classes=5)
    assert margins.shape == (2, 4)


class Unsupported(nn.Module):
    """Four things without bounds, in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.inner = UnsupportedPart()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.frac(self.first(x))
        z = nn.functional.linear(y, self.first(x))
        return self.inner(z).sort(1)[0]


class UnsupportedPart(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fmod(x, 2.0)


def _at(source: type, statement: str) -> str:
    lines, start = inspect.getsourcelines(source)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if statement in line)} ({statement})"


def test_all_missing_operators_are_listed_at_once() -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        boundgraph.compile(Unsupported())
    first, *listed, last = str(caught.value).splitlines()
    assert first == f"Unsupported uses {len(listed)} operator(s) that cannot be bounded:"
    no_rule = "no bound rule for this operator"
    assert listed[0] == f"  - torch.frac (node `frac`, {_at(Unsupported, 'y = torch.frac(self.first(x))')}): {no_rule}"
    product = _at(Unsupported, "z = nn.functional.linear(y, self.first(x))")
    wrong = "linear has bounds in x only, but `weight` is perturbed here"
    assert listed[1] == f"  - F.linear (node `linear_2`, {product}): {wrong}"
    part = _at(UnsupportedPart, "return torch.fmod(x, 2.0)")
    assert listed[2] == f"  - torch.fmod (node `fmod`, layer inner, {part}): {no_rule}"
    assert listed[3] == f"  - x.sort() (node `sort`, {_at(Unsupported, 'return self.inner(z).sort(1)[0]')}): {no_rule}"
    assert last == (
        "An operator can be added from your own package with boundgraph.register(Operator(...)); see boundgraph/ops/relu.py "
        "for a room to imitate."
    )


def test_compile_takes_modules() -> None:
    with pytest.raises(TypeError) as caught:
        boundgraph.compile(torch.relu)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "compile takes a torch.nn.Module, not builtin_function_or_method; wrap a function in a module"
    )


GEOMETRY: dict[str, tuple[Callable, str]] = {
    "sum over the batch": (
        lambda self, x: self.fc1(x).sum(),
        "sum over dimension 0 mixes examples of the batch, so it has no per-example bounds; name the dimensions to use, "
        "among 1..1"),
    "flattened batch": (
        lambda self, x: self.fc1(x).flatten(0),
        "flatten turns shape (2, 3) into (6,): dimension 0 must stay the batch, because bounds are computed per example. "
        "Keep x.shape[0] first, e.g. x.flatten(1)."),
    "transposed batch": (
        lambda self, x: self.fc1(x).transpose(0, 1),
        "transposing a value of shape (2, 3) moves dimension 0, which must stay the batch: bounds are computed per "
        "example, and it has no third dimension to treat alike before and after"),
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRY)
def test_mixing_examples(networks: ModuleType, name: str) -> None:
    body, message = GEOMETRY[name]
    bounded = boundgraph.compile(networks.net(body, dtype=torch.float))
    with pytest.raises(GraphError) as caught:
        bounded(X, eps=0.1)
    told, where = str(caught.value).split("\n  at node `")
    assert told == message
    assert f"{__file__}:" in where
