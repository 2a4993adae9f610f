"""The law book catches what it is for: every law has an operator that breaks it, every check of a model a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph import operator as registry
from boundgraph.operator import Operator, X, register
from boundgraph.ops import linear, max_pool, relu, specification
from boundgraph.regions import Box, LpBall, Region
from boundgraph.testing import Perturbed, Soundness, boxes_around, check_operator, check_sound
from boundgraph.testing.laws import LAWS
from boundgraph.values import Interval, Line, LinearForm, Relaxation

RELU, LINEAR, MAX_POOL = relu.RELU, linear.LINEAR, max_pool.MAX_POOL
WEIGHTS = (torch.tensor([[1.0, -2.0, 0.5], [0.25, 1.0, -1.0]]), torch.tensor([0.5, -1.0]))


def changed(change: Callable[[Any], Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: change(rule(*arguments, **options))


def widened(x: Interval) -> Interval:
    return Interval(x.lower - 0.1, x.upper + 0.1)


def narrowed(x: Interval) -> Interval:
    return Interval(x.lower + 1e-3 * (x.upper - x.lower), x.upper)


def wide_when_narrow(x: Interval) -> Interval:
    room = 1 / (1 + x.upper - x.lower) - 1 / (1 + 1e9)
    return Interval(torch.relu(x.lower) - room, torch.relu(x.upper) + room)


def lower_chord(lines: Relaxation) -> Relaxation:
    return Relaxation(lines.lower, Line(lines.upper.slope, lines.upper.intercept * 0.999))


def steeper(selection: max_pool.Selection) -> max_pool.Selection:
    return selection._replace(lines=lower_chord(selection.lines))


def rooted(x: Interval) -> Interval:
    """Right, but its derivative at width 0 is 0 times infinity."""
    return Interval(torch.relu(x.lower) + 0 * (x.upper - x.lower).sqrt(), torch.relu(x.upper))


def forgetful(x: Interval) -> Interval:
    return Interval(torch.relu(x.lower).nan_to_num(), torch.relu(x.upper).nan_to_num(1e9))


def pessimistic(form: LinearForm) -> LinearForm:
    return LinearForm(form.coefficients, form.bias - 0.1)


def doubled(form: LinearForm) -> LinearForm:
    """Far below, so it is sound, and not the adjoint."""
    return LinearForm(2 * form.coefficients, form.bias - 1e3)


def mixing(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x - x.mean(0), weight, bias)


def fused_without_bias(form: LinearForm, lines: Relaxation, x: Interval, weight: Tensor, bias: Tensor) -> LinearForm:
    return linear.fused(form, lines, x, weight)


def shifted_start(x: Interval, spec: Tensor) -> LinearForm:
    coefficients, bias = specification.start(x, spec)
    return LinearForm(coefficients, bias + 1e-3)


BROKEN: dict[str, tuple[str, Operator, dict[str, Any]]] = {
    "definition": ("forward is the definition", RELU, {"definition": X}),
    "dtype": ("dtype is kept", RELU, {"interval": changed(lambda x: Interval(*(s.float() for s in x)), RELU.interval)}),
    "shape": ("shape is kept", RELU, {"interval": changed(lambda x: Interval(*(s[:, :1] for s in x)), RELU.interval)}),
    "enclosure": ("interval encloses samples", RELU, {"interval": changed(narrowed, RELU.interval)}),
    "exactness": ("interval is exact", LINEAR, {"interval": changed(widened, LINEAR.interval)}),
    "inclusion": ("a smaller box gives a smaller interval", RELU, {"interval": wide_when_narrow}),
    "width 0": ("zero width is exact", RELU, {"interval": changed(widened, RELU.interval)}),
    "lines": ("lines enclose", RELU, {"relax": changed(lower_chord, RELU.relax)}),
    "forms": ("forms stay below", MAX_POOL, {"relax": changed(steeper, MAX_POOL.relax)}),
    "adjoint": ("backward is the adjoint", LINEAR, {"backward": changed(doubled, LINEAR.backward)}),
    "bias": ("the bias is A c", LINEAR, {"backward": changed(pessimistic, LINEAR.backward)}),
    "examples": ("examples are independent", LINEAR, {"forward": mixing}),
    "fused": ("fused is backward after lines", LINEAR, {"fused": fused_without_bias}),
    "start": ("start is the operator", specification.SPECIFICATION, {"start": shifted_start}),
    "gradients": ("gradients are finite", RELU, {"interval": rooted}),
    "nan": ("NaN stays NaN", RELU, {"interval": forgetful}),
    "spelling": ("spellings canonicalise", RELU, {"spellings": (torch.relu, (F.elu, lambda input: (input,)))}),
    "untried": ("spellings are tried", RELU, {"spellings": (torch.relu, (F.elu, lambda input: (input,)))}),
}
CASES: dict[str, tuple[Any, ...]] = {
    "linear": (Perturbed(2, 3), *WEIGHTS),
    "max_pool": (Perturbed(2, 1, 4), 1, 2, 1),
    "specification": (Perturbed(2, 3), torch.tensor([[[1.0, -1.0, 0.0]]])),
    "relu": (Perturbed(2, 3),),
}


@pytest.fixture
def registering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Operator], Operator]:
    """Registration for the length of one test."""
    for table in ("_BY_SPELLING", "_BY_FORWARD", "_FUSED"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    return register


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_operator_is_caught(name: str, registering: Callable[[Operator], Operator]) -> None:
    law, sound, changes = BROKEN[name]
    broken = registering(dataclasses.replace(sound, **changes))
    calls = [F.elu] if name == "spelling" else []
    with pytest.raises(AssertionError, match=f"operator '{sound.name}' breaks the law '{law}' in torch.float"):
        check_operator(broken, cases=[CASES[sound.name]], calls=calls)


def test_wrong_derivatives_are_caught() -> None:
    def interval(x: Interval) -> Interval:
        return Interval(torch.relu(x.lower.detach()), torch.relu(x.upper))

    law = "gradients agree with differences"
    with pytest.raises(
        AssertionError, match=f"operator 'relu' breaks the law '{law}' in torch.float64 .* Jacobian mismatch"
    ):
        check_operator(dataclasses.replace(RELU, interval=interval))


def test_every_law_has_a_breaker() -> None:
    broken = {law for law, *_ in BROKEN.values()}
    assert len(LAWS) <= len(broken)


def test_boxes() -> None:
    boxes = boxes_around(0.0, 2.0)
    width = boxes.upper - boxes.lower
    assert (width >= 0).all()
    assert width.min() == 0
    for end in boxes:
        assert {0.0, 2.0} <= set(end.flatten().tolist())
    assert boxes.upper.max() >= 2e4


# ---------------------------------------------------------------------- models

METHODS = ("ibp", "crown-ibp", "crown")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).eval()


def regions(x: Tensor) -> dict[str, Region]:
    return {
        "linf": LpBall(x, 0.2),
        "linf, clipped, per example": LpBall(x, torch.tensor([0.0, 0.2, 0.6]), clip=(0, 1)),
        "l2": LpBall(x, 0.5, norm=2),
        "l2, clipped": LpBall(x, 0.5, norm=2, clip=(0, 1)),
        "l2, centre outside": LpBall(x - 0.5, 1.2, norm=2, clip=(0, 1)),
        "l1": LpBall(x, 0.8, norm=1),
        "l1, clipped": LpBall(x, 0.8, norm=1, clip=(0, 1)),
        "l3": LpBall(x, torch.tensor([0.1, 0.5, 0.0]), norm=3),
        "box": Box(x - torch.rand(3, 4), x + torch.rand(3, 4)),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", regions(torch.zeros(3, 4) + 0.5))
def test_sound(name: str, method: str) -> None:
    report = check_sound(network(), regions(torch.rand(3, 4))[name], method=method, samples=8, steps=5, rows=1)
    assert isinstance(report, Soundness)
    assert report.points == 8 + 2 * 2 * 5
    assert report.margin > -1e-12
    assert report.width > 0


@pytest.mark.parametrize("name", ["linf", "l2", "l1", "l3", "box"])
def test_the_attack_reaches_exact_bounds(name: str) -> None:
    """The bounds of an affine model are attained, and the attack finds where: it leaves no room and no region."""
    model, region = nn.Linear(4, 3), regions(torch.rand(3, 4))[name]
    report = check_sound(model, region, samples=0, steps=1, rows=3)
    assert abs(report.margin) < 1e-12
    assert check_sound(model, region, samples=64, steps=0).margin >= report.margin


def test_several_inputs() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.relu(self.fc(x) + y)

    x, y = torch.rand(2, 4), torch.rand(2, 3)
    for inputs in ((LpBall(x, 0.1), y), (x, Box(y, y + 0.5)), (LpBall(x, 0.2, norm=2), LpBall(y, 0.1, norm=1))):
        check_sound(Sum(), *inputs, samples=8, steps=4, rows=1)


def at_the_ends(x: Interval) -> Interval:
    """The range of a monotone function, which sinc is not."""
    first, second = torch.sinc(x.lower), torch.sinc(x.upper)
    return Interval(torch.minimum(first, second), torch.maximum(first, second))


def level_lines(x: Interval) -> Relaxation:
    lower, upper = at_the_ends(x)
    return Relaxation(Line(torch.zeros_like(lower), lower), Line(torch.zeros_like(upper), upper))


class Sinc(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sinc(x)


@pytest.mark.parametrize("method", METHODS)
def test_an_unsound_operator_is_caught(method: str, registering: Callable[[Operator], Operator]) -> None:
    def forward(x: Tensor) -> Tensor:
        return torch.sinc(x)

    spellings = ((torch.sinc, lambda input: (input,)),)
    registering(Operator(name="ends", forward=forward, interval=at_the_ends, relax=level_lines, spellings=spellings))
    check_sound(Sinc(), LpBall(torch.full((2, 2), 0.5), 0.1), method=method)
    region = LpBall(torch.tensor([[0.5, 0.5], [0.5, 0.05]]), 0.1)
    with pytest.raises(AssertionError, match=rf"Sinc, {method}: output 1 of example 1 is .*, outside its bounds \["):
        check_sound(Sinc(), region, method=method)


def test_broken_models_and_regions_are_told() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    with pytest.raises(AssertionError, match=r"at radius 0, output \d of example \d is nan, outside its bounds"):
        check_sound(model, LpBall(torch.rand(2, 4), 0.1))
    with pytest.raises(TypeError, match="check_sound draws points of LpBall and Box, not of Region"):
        check_sound(network(), Region())


def test_model_and_numbers_of_the_caller_are_left_alone() -> None:
    model, region = network(), LpBall(torch.rand(2, 4), 0.1)
    random_state = torch.get_rng_state()
    first, second = (check_sound(model, region, samples=4, steps=2, rows=1, seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(random_state, torch.get_rng_state())
    assert model[0].weight.dtype == region.center.dtype == torch.float32
    assert boundgraph.compile(model)(region).lower.dtype == torch.float32
