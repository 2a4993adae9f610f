"""Errors that name something in the user's model: operators refused, shapes that mix examples, writes in place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.errors import CaptureError, GraphError, RegionError, UnsupportedOperatorError

X = torch.zeros(2, 3)

REFUSED: dict[str, tuple[Callable, str]] = {
    "perturbed condition": (
        lambda self, x: torch.where(self.scale > 0, x, x) + torch.where(torch.relu(x), x, x),
        "a condition on a perturbed value has no bounds; where it can be said by a maximum, a clamp or a ReLU, that has"),
    "perturbed weight": (
        lambda self, x: F.linear(self.scale, x.view(3, -1)),
        "linear has bounds in x only, but `weight` is perturbed here"),
    "rounding": (
        lambda self, x: torch.div(x, 2, rounding_mode="floor"), "division with rounding_mode='floor' has no bound rule"),
    "squeeze without a dimension": (
        lambda self, x: self.fc1(x).squeeze(),
        "squeeze() without a dimension also drops a batch of one example; name it, e.g. x.squeeze(-1)"),
    "sum in another dtype": (
        lambda self, x: x.sum(1, dtype=torch.double),
        "a sum or mean in another dtype has no bound rule; convert the model instead"),
    "average that is none": (
        lambda self, x: F.avg_pool2d(x.view(-1, 1, 3, 1), 1, divisor_override=-1),
        "average pooling with divisor_override=-1 is not a mean"),
    "an operator nobody knows": (lambda self, x: torch.frac(x), "no bound rule for this operator"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_operators(networks: ModuleType, name: str) -> None:
    body, reason = REFUSED[name]
    with pytest.raises(UnsupportedOperatorError) as caught:
        boundgraph.compile(networks.net(body, dtype=torch.float))
    first, listed, *_, last = str(caught.value).splitlines()
    assert first.startswith("Net uses ")
    assert first.endswith(" operator(s) that cannot be bounded:")
    assert listed.endswith(f": {reason}")
    assert f"{__file__}:" in listed
    assert last.startswith("An operator can be added from your own package with boundgraph.register(Operator(...))")


SHAPES: dict[str, tuple[Callable, str]] = {
    "a value that grows a dimension in front": (
        lambda self, x: self.fc1(x) + torch.ones(4, 1, 3),
        "a bounded value of shape (2, 3) is broadcast to (4, 2, 3), which moves its batch dimension; unsqueeze it where the "
        "new dimension belongs"),
    "permuted batch": (
        lambda self, x: self.fc1(x).permute(1, 0), "permute(1, 0) moves dimension 0, which must stay the batch"),
    "convolution of one example": (
        lambda self, x: F.conv1d(self.fc1(x), torch.ones(2, 2, 1)),
        "convolution with weight (2, 2, 1) needs an input of 3 dimensions with the batch first, not shape (2, 3); use "
        "x.unsqueeze(0) for a single example"),
    "pooling of one example": (
        lambda self, x: F.max_pool1d(self.fc1(x), 1),
        "max-pooling over 1 dimension(s) needs shape (batch, channels, ...) with 3 dimensions, not (2, 3)"),
    "matrix from the left": (
        lambda self, x: torch.ones(4, 2) @ self.fc1(x),
        "matrix product of (4, 2) and (2, 3) has no per-example bounds: the bounded operand needs the batch as dimension 0 "
        "beside its matrix dimensions, and the constant must be a matrix"),
}  # fmt: skip


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_without_bounds(networks: ModuleType, name: str, method: str) -> None:
    body, message = SHAPES[name]
    bounded = boundgraph.compile(networks.net(body, dtype=torch.float), method)
    with pytest.raises(GraphError) as caught:
        bounded(X, eps=0.1)
    told, where = str(caught.value).split("\n  at node `")
    assert told == message
    assert f"{__file__}:" in where
    assert caught.value.__cause__ is None


class Transposes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.inner = nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.ones(4, 2) @ self.fc1(x))


class Logs(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor] = torch.log) -> None:
        super().__init__()
        self.fc1, self.function = nn.Linear(3, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc1(x))


def test_errors_of_rules_name_node_layer_and_line() -> None:
    with pytest.raises(GraphError) as caught:
        boundgraph.compile(nn.Sequential(nn.ReLU(), Transposes()))(X, eps=0.1)
    where = str(caught.value).splitlines()[1]
    assert where.startswith(f"  at node `matmul`, layer 1, {__file__}:")
    assert where.endswith("(return self.inner(torch.ones(4, 2) @ self.fc1(x)))")


DOMAINS: dict[str, tuple[Callable, str]] = {
    "log": (torch.log, "log has real values for x >= 0, but the bounds of its operand range from -1.1 to 3.1. "),
    "sqrt": (torch.sqrt, "sqrt has real values for x >= 0, but "),
    "rsqrt": (torch.rsqrt, "rsqrt has real values for x >= 0, but "),
    "log1p": (torch.log1p, "log1p has real values for x >= -1, but "),
    "a root": (lambda x: x**1.5, "pow has real values for x >= 0, but "),
}


def _around(function: Callable[[Tensor], Tensor], value: float, **options: Any) -> boundgraph.BoundedModule:
    model = Logs(function)
    with torch.no_grad():
        model.fc1.weight.copy_(torch.eye(3))
        model.fc1.bias.fill_(value)
    return boundgraph.compile(model, **options)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", DOMAINS)
def test_regions_that_leave_the_domain(name: str, method: str) -> None:
    function, message = DOMAINS[name]
    with pytest.raises(boundgraph.DomainError) as caught:
        _around(function, 1.0, method=method)(X, eps=2.1)
    told, where = str(caught.value).splitlines()
    assert told.startswith(message)
    assert told.endswith("Where the operand itself stays inside, clamp it or use a tighter method")
    assert f"{__file__}:" in where
    assert isinstance(caught.value, GraphError)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", DOMAINS)
def test_where_numbers_are_not_looked_at_such_bounds_are_no_numbers(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boundgraph.scalar.lines.readable", lambda tensor: False)
    bounds = _around(DOMAINS[name][0], 1.0, method=method)(X, eps=2.1)
    for side in (bounds.lower, bounds.upper, *bounds.interval):
        assert bool(side.isnan().all())


class After(nn.Module):
    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> Tensor:
        for function in self.functions:
            x = function(x)
        return x


POLES: dict[str, tuple[Callable, float]] = {
    "log": (torch.log, 0.0), "rsqrt": (torch.rsqrt, 0.0), "a root": (lambda x: x**-0.5, 0.0),
    "reciprocal from 0": (torch.reciprocal, 0.0), "reciprocal across 0": (torch.reciprocal, -0.5),
    "x**-2": (lambda x: x**-2, -0.5), "x**-3": (lambda x: x**-3, 0.0), "division": (lambda x: x / (x * x), -0.5),
    "tan": (torch.tan, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", POLES)
def test_poles_prove_nothing(name: str, zero: float, method: str) -> None:
    """Also not behind a function that turns infinities into numbers again."""
    function, start = POLES[name]
    low = torch.full((1, 3), start if start else zero)
    region = boundgraph.Box(low, low + 1)
    inside = torch.cat([torch.lerp(low, low + 1, part) for part in (0.0, 1e-6, 0.3, 0.5 + 1e-6, 1.0)])
    inside = torch.cat([inside, torch.zeros(1, 3), -torch.zeros(1, 3)]) if start <= 0 else inside
    for after in (torch.sigmoid, torch.neg, torch.relu, torch.tanh):
        model = After(function, after)
        bounds, values = boundgraph.compile(model, method)(region), model(inside)
        for lower, upper in (bounds[:2], bounds.interval):
            assert not bool(((values < lower - 1e-6) | (values > upper + 1e-6)).any())
        if after is torch.neg:
            assert not bool((bounds.lower.isfinite() & bounds.upper.isfinite()).any())


class Accumulates(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(2, 3)
        total += x
        return total


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x + self.count


WRITES: dict[str, tuple[nn.Module, str]] = {
    "constant": (
        Accumulates(),
        "(total += x) writes to a tensor that forward has just made; code that reads it later is not followed. Use the form "
        "that returns a new tensor, e.g. total = total + y"),
    "state": (
        Counts(),
        "(self.count += 1)); bounds are a pure function of weights and inputs, so do this outside forward"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_writes_that_cannot_be_followed(name: str) -> None:
    model, message = WRITES[name]
    with pytest.raises(CaptureError) as caught:
        boundgraph.compile(model)
    assert str(caught.value).endswith(message)
    assert f"{__file__}:" in str(caught.value)
    if name == "state":
        assert str(caught.value).startswith("the model overwrites its own state and reads it again (node `")


class SizedOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).relu() if x.shape[1] == 3 and x.shape[0] == 4 else x


def test_sizes_that_an_exported_graph_does_not_cover() -> None:
    bounded = boundgraph.compile(SizedOnly().eval(), example_inputs=(torch.zeros(4, 3),))
    for call in (bounded, bounded.intermediate_bounds):
        with pytest.raises(RegionError) as caught:
            call(torch.zeros(5, 3), eps=0.1)
        assert str(caught.value) == (
            "an input has shape (5, 3), but the model was captured for sizes (4, 3): it decides on shapes, and "
            "example_inputs showed torch.export these alone. Compile again with such an example."
        )


def test_operators_need_one_kind_of_rule() -> None:
    def forward(x: Tensor) -> Tensor:
        return x

    with pytest.raises(ValueError, match="either") as caught:
        boundgraph.Operator(name="odd", forward=forward, interval=forward, relax=forward, backward=forward)
    assert str(caught.value) == "operator 'odd' is either non-linear (`relax`) or linear (`backward`), not both"


def test_drawing_without_the_package(networks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError) as caught:
        boundgraph.compile(networks.build("five")).draw("never.svg")
    assert str(caught.value) == "drawing needs the graphviz package: pip install 'boundgraph[draw]'"


def test_specifications_beside_a_last_layer_at_every_position() -> None:
    """The last layer runs at four positions, so a specification has eight columns."""

    def columns(count: int) -> Any:
        bounded = boundgraph.compile(nn.Linear(3, 2))
        return bounded(torch.zeros(5, 4, 3), eps=0.1, spec=torch.ones(1, count))

    assert columns(8).lower.shape == (5, 1)
    for wrong in (2, 7, 9, 16):
        with pytest.raises(RegionError, match=r"^spec has .* columns.* the model has .*outputs per example$"):
            columns(wrong)


def test_specifications_of_a_non_linear_end() -> None:
    bounded = boundgraph.compile(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    with pytest.raises(RegionError) as caught:
        bounded(X, eps=0.1, spec=torch.ones(1, 3))
    assert str(caught.value) == "spec has 3 columns, but the model has 2 outputs per example"
