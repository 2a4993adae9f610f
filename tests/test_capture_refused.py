"""What no graph can hold is refused, with the user's line and what to do instead."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph


class Decides(nn.Module):
    """Control flow on values."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.fc(x)
        return x


def _line_of(source: type, statement: str) -> str:
    lines, start = inspect.getsourcelines(source)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if statement in line)} ({statement})"


def test_control_flow_on_values_without_examples() -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Decides())
    assert str(caught.value) == (
        "Decides cannot be traced symbolically: symbolically traced variables cannot be used as inputs to control flow\n"
        f"  at {_line_of(Decides, 'if x.sum() > 0:')}\n"
        "  The code decides on something that is only known when the model runs. A decision on tensor *values* has no "
        "bounds;\n  write it with torch.where on a constant condition, or register it as an operator.\n"
        "  If it depends on shapes only, pass example_inputs=(x, ...) to boundgraph.compile: torch.export then traces with "
        "real shapes."
    )


def test_control_flow_on_values_with_examples() -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Decides(), example_inputs=(torch.ones(1, 3),))
    message = str(caught.value)
    assert message.startswith("Decides can be captured neither by tracing (")
    assert "A decision on tensor values has no bounds" in message
    assert _line_of(Decides, "if x.sum() > 0:") in message


def item(self: Any, x: Tensor) -> Tensor:
    return self.fc1(x) * float(x.max())


def loop_until(self: Any, x: Tensor) -> Tensor:
    while x.norm() > 1:
        x = self.fc1(x)
    return x


def loop_over(self: Any, x: Tensor) -> Tensor:
    return sum(self.fc1(row) for row in x)


def assertion(self: Any, x: Tensor) -> Tensor:
    assert (x >= 0).all()
    return self.fc1(x)


def numpy_detour(self: Any, x: Tensor) -> Tensor:
    return self.fc1(torch.from_numpy(x.detach().numpy()))


@pytest.mark.parametrize("body", [item, loop_until, loop_over, assertion, numpy_detour])
@pytest.mark.parametrize("with_examples", [False, True])
def test_other_looks_at_values_are_refused(networks: ModuleType, body: Callable, with_examples: bool) -> None:
    model, x = networks.net(body), torch.rand(2, 3, dtype=torch.double)
    with pytest.raises(boundgraph.BoundgraphError):
        boundgraph.compile(model, example_inputs=(x,) if with_examples else None)(x, eps=0.1)


RANDOM: dict[str, Callable] = {
    "randn": lambda self, x: self.fc1(x) + torch.randn(3),
    "rand_like": lambda self, x: self.fc1(x) + torch.rand_like(x),
    "randint": lambda self, x: self.fc1(x) + torch.randint(0, 2, (3,)),
    "bernoulli": lambda self, x: self.fc1(x) * torch.bernoulli(torch.full((3,), 0.5)),
    "normal_": lambda self, x: self.fc1(x) + torch.empty(3).normal_(),
    "uniform_ of a new tensor": lambda self, x: self.fc1(x) + x.new_zeros(3).uniform_(),
    "nn.init": lambda self, x: self.fc1(x) + nn.init.trunc_normal_(torch.empty(3)),
    "a distribution": lambda self, x: self.fc1(x) + torch.distributions.Normal(0.0, 1.0).sample((3,)),
    "exponential_": lambda self, x: self.fc1(x) + torch.empty(3).exponential_(),
    "gumbel": lambda self, x: F.gumbel_softmax(self.fc1(x)),
    "rrelu in train mode": lambda self, x: F.rrelu(self.fc1(x), training=True),
    "dropout, always": lambda self, x: F.dropout(self.fc1(x), 0.5),
    "python's random": lambda self, x: self.fc1(x) * random.random(),
    "numpy's random": lambda self, x: self.fc1(x) * float(numpy.random.rand()),
    "a generator of its own": lambda self, x: self.fc1(x) + torch.rand(3, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("with_examples", [False, True])
def test_random_numbers_are_refused(networks: ModuleType, name: str, with_examples: bool) -> None:
    """A draw would be frozen into the graph, and the bounds would hold for that draw alone."""
    model, x = networks.net(RANDOM[name]), torch.rand(2, 3, dtype=torch.double)
    before = torch.get_rng_state()
    with pytest.raises(boundgraph.BoundgraphError):
        boundgraph.compile(model, example_inputs=(x,) if with_examples else None)
    assert torch.equal(before, torch.get_rng_state())


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(3)


def test_randomness_message() -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Noisy())
    message = str(caught.value)
    assert "forward draws random numbers (randn); bounds need a fixed function: call .eval(), or pass the" in message
    assert _line_of(Noisy, "return x + torch.randn(3)") in message
    assert "example_inputs" not in message, "example inputs cannot cure randomness"


class Trap(nn.Module):
    """Tracing passes a stand-in, which is no Tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).relu() if isinstance(x, Tensor) else self.fc(x)


@pytest.mark.parametrize("training", [False, True])
def test_the_isinstance_trap_is_seen_with_examples(training: bool) -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Trap().train(training), example_inputs=(torch.randn(2, 3),))
    assert str(caught.value) == (
        "the captured graph of Trap does not compute what the model computes on example_inputs (shapes (2, 3) and (2, 3)). "
        "Tracing follows `isinstance(x, torch.Tensor)` and similar tests down the wrong branch; move such tests out of "
        "forward."
    )


def test_keywords_are_refused() -> None:
    class KeywordOnly(nn.Module):
        def forward(self, x: Tensor, *, y: Tensor) -> Tensor:
            return x

    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(KeywordOnly())
    message = "KeywordOnly.forward takes required keyword arguments; give its inputs by position"
    assert str(caught.value) == message


class Variadic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        return torch.relu(self.fc(first + sum(others)))


def test_as_many_inputs_as_there_are_examples() -> None:
    x = torch.randn(2, 3)
    bounded = boundgraph.compile(Variadic(), "crown", example_inputs=(x, x, x))
    assert bounded.input_names == ("first", "others_0", "others_1")
    bounds = bounded(boundgraph.LpBall(x, 0.1), x, boundgraph.LpBall(x, 0.2))
    model = boundgraph.compile(nn.Sequential(bounded.model.fc, nn.ReLU()), "crown")
    same = model(boundgraph.LpBall(3 * x, 0.1 + 0.2))
    torch.testing.assert_close(bounds.lower, same.lower)
    torch.testing.assert_close(bounds.upper, same.upper)


def test_how_many_inputs_must_be_said() -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(Variadic())
    message = (
        "Variadic.forward takes *others; say how many inputs there are by "
        "boundgraph.compile(model, example_inputs=(x, ...))"
    )
    assert str(caught.value) == message
    with pytest.raises(boundgraph.CaptureError, match=r"takes 1 input\(s\), but example_inputs has 0"):
        boundgraph.compile(Variadic(), example_inputs=())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_examples_must_fit(networks: ModuleType, count: int) -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(networks.build("two-inputs"), example_inputs=(torch.ones(1, 3),) * count)
    assert f"TwoInputs takes 2 input(s), but example_inputs has {count}" in str(caught.value)
