"""An activation that nobody has written a rule for, from its formula alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sympy
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph import operator
from boundgraph.testing import check_operator, check_sound

x = sympy.Symbol("x")


def wavelet(value: Tensor) -> Tensor:
    """Made up: a bump with two tails of the other sign."""
    return (1 - value**2) * torch.exp(-(value**2) / 2)


class Wavelet(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return wavelet(value)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    saved = [(table, dict(table)) for table in (operator._BY_SPELLING, operator._BY_FORWARD)]
    yield
    for table, content in saved:
        table.clear()
        table.update(content)


@pytest.fixture
def activation() -> operator.Operator:
    return boundgraph.activation("wavelet", wavelet, (1 - x**2) * sympy.exp(-(x**2) / 2), spellings=[Wavelet])


class Model(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.fc1, self.fc2, self.function = nn.Linear(3, 8), nn.Linear(8, 2), function

    def forward(self, value: Tensor) -> Tensor:
        return self.fc2(self.function(self.fc1(value)))


class ByGlobal(Model):
    def forward(self, value: Tensor) -> Tensor:
        return self.fc2(wavelet(self.fc1(value)))


def applied(model: nn.Module) -> list[str]:
    graph = boundgraph.compile(model).primal.graph
    return [op.name for node in graph.nodes if (op := operator.of(node.target)) is not None]


def test_laws(activation: operator.Operator) -> None:
    bends = [float(root) for root in sympy.Poly(x**4 - 6 * x**2 + 3, x).nroots()]
    check_operator(activation, points=[*bends, 0.0, 3**0.5, -(3**0.5)], calls=[Wavelet()], cancels=True)


def test_the_function_is_one_call_wherever_it_is(activation: operator.Operator) -> None:
    local = wavelet

    class ByClosure(Model):
        def forward(self, value: Tensor) -> Tensor:
            return self.fc2(local(self.fc1(value)))

    for model in (Model(wavelet), Model(Wavelet()), ByGlobal(None), ByClosure(None)):
        assert applied(model) == ["linear", "wavelet", "linear"]
        assert local is wavelet
        assert model.function in (wavelet, None) or isinstance(model.function, Wavelet)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_networks(activation: operator.Operator, method: str) -> None:
    torch.manual_seed(0)
    check_sound(Model(wavelet), boundgraph.LpBall(torch.randn(2, 3), eps=0.3), method=method)


def test_a_layer_with_a_hook_is_traced_through(activation: operator.Operator) -> None:
    layer = Wavelet()
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    assert "mul" in applied(Model(layer))


def test_parameters() -> None:
    def swish(value: Tensor, beta: float = 1.0) -> Tensor:
        return value * torch.sigmoid(beta * value)

    beta = sympy.Symbol("beta")
    op = boundgraph.activation("swish", swish, x / (1 + sympy.exp(-beta * x)), parameters={"beta": 1.0})
    assert applied(Model(lambda value: swish(value, beta=2.0))) == ["linear", "swish", "linear"]
    for value, tangent in ((1.0, -1.27846), (2.0, -0.63923)):
        box = boundgraph.Interval(torch.tensor([[-3.0]]), torch.tensor([[0.5]]))
        assert float(op.interval(box, value).lower) == pytest.approx(float(swish(torch.tensor(tangent), value)))


REFUSED = {
    "another variable": (x * sympy.Symbol("y"), "has several variables"),
    "a root that is not exact": (sympy.Max(sympy.tanh(x), x / 2), "as an exact number"),
    "infinitely many pieces": (sympy.floor(x), "infinitely often"),
    "a function without enclosure": (sympy.gamma(x) * x, "no bounds can be derived"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_derived_is_said_at_once(name: str) -> None:
    formula, message = REFUSED[name]
    with pytest.raises(boundgraph.ActivationError, match=message):
        boundgraph.activation("odd", torch.tanh, formula)


FALLING = {
    "negative tanh": (lambda z: -torch.tanh(z), -sympy.tanh(x)),
    "steeper": (lambda z: 1 - torch.tanh(2 * z), 1 - sympy.tanh(2 * x)),
    "error function": (lambda z: torch.special.erfc(z), 1 - sympy.erf(x)),
}


@pytest.mark.parametrize("name", FALLING)
def test_falling_functions_that_saturate(name: str) -> None:
    """Their slope is 0 to all digits far out, which says nothing about its sign."""
    function, formula = FALLING[name]
    op = boundgraph.activation("falling", function, formula)
    box = boundgraph.Interval(torch.tensor([[-1.0]]), torch.tensor([[1.0]]))
    lower, upper = op.interval(box)
    assert float(lower) == float(function(torch.tensor(1.0)))
    assert float(upper) == float(function(torch.tensor(-1.0)))


@pytest.mark.parametrize(
    "formula",
    [
        sympy.Piecewise((5, sympy.Eq(x, sympy.Rational(1, 4))), (x, True)),
        sympy.Piecewise((-1, x < 0), (1, x > 0), (3, True)),
    ],
)
def test_a_value_of_its_own_at_a_single_point_is_refused(formula: sympy.Expr) -> None:
    with pytest.raises(boundgraph.ActivationError, match="which is not between its limits there"):
        boundgraph.activation("spike", torch.tanh, formula)


def test_kinks_at_any_exact_number() -> None:
    for at in (sympy.Rational(1, 3), sympy.pi, sympy.sqrt(2)):
        op = boundgraph.activation("late", lambda z, at=float(at): torch.clamp(z, min=at), sympy.Max(x, at))
        assert float(op.interval(boundgraph.Interval(torch.zeros(1, 1), torch.ones(1, 1) * 4)).upper) == 4


@pytest.mark.parametrize("formula", [sympy.asin(x), sympy.atanh(x)])
def test_functions_of_unknown_domain_are_refused(formula: sympy.Expr) -> None:
    with pytest.raises(boundgraph.ActivationError, match="not among the functions whose domain is known"):
        boundgraph.activation("inverse", torch.asin, formula)
