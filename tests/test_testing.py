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
from boundgraph.gradients import undeclared_gradient
from boundgraph.operator import Operator, X, register
from boundgraph.ops import linear, max_pool, relu, specification
from boundgraph.regions import Box, LpBall, Region
from boundgraph.testing import Perturbed, Soundness, boxes_around, check_operator, check_sound
from boundgraph.testing.laws import LAWS
from boundgraph.values import Interval, Line, Relaxation

RELU, LINEAR, MAX_POOL, SPECIFICATION = relu.RELU, linear.LINEAR, max_pool.MAX_POOL, specification.SPECIFICATION
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


class Lopsided(Interval):
    """With the ends of another interval, but not its centre."""

    @property
    def center(self) -> Tensor:
        return self.lower + 0.4 * (self.upper - self.lower)


def lopsided(x: Interval) -> Interval:
    return Lopsided(x.lower, x.upper)


def in_halves(x: Interval) -> Interval:
    """The centre is right, its number of bits is not."""
    return Interval.around(x.center.double(), x.radius.half())


def copied_twice(x: Interval, weight: Tensor, bias: Tensor) -> Interval:
    """Takes a radius that all examples share for one that has been halved."""
    shared = x.radius.shape[0] < x.shape[0]
    return linear.interval(Interval.around(x.center, 2 * x.radius if shared else x.radius), weight, bias)


def raised(lines: Relaxation) -> Relaxation:
    return Relaxation(Line(lines.lower.slope, lines.lower.intercept + 1e-3), lines.upper)


def tilted(lines: Relaxation) -> Relaxation:
    return Relaxation(lines.lower, Line(lines.upper.slope * 0.999, lines.upper.intercept))


def gradient_of_sums(upstream: Tensor, rows: Tensor, *arguments: Any) -> tuple[Any, ...]:
    """Sums over the examples although they have coefficients of their own."""
    found = linear.gradient(upstream, rows, *arguments)
    return (found[0].sum(0, keepdim=True).expand_as(found[0]), *found[1:])


def gradient_without_weight(*arguments: Any) -> tuple[Any, ...]:
    return (linear.gradient(*arguments)[0], None, None, None)


def gradient_that_ends_early(*arguments: Any) -> tuple[Any, ...]:
    return linear.gradient(*arguments)[:2]


def doubled_gradient(upstream: Any, rows: Tensor, *arguments: Any) -> tuple[Any, ...]:
    found = undeclared_gradient(max_pool.through)(upstream, rows, *arguments)
    return (2 * found[0], *found[1:])


def mixing(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x - x.mean(0), weight, bias)


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
    "adjoint": ("backward is the adjoint", LINEAR, {"backward": changed(lambda a: a * 1.001, LINEAR.backward)}),
    "centres": ("centres are consistent", LINEAR, {"interval": changed(lopsided, LINEAR.interval)}),
    "shared radius": ("shared radius changes nothing", LINEAR, {"interval": copied_twice}),
    "dtype of the radius": ("dtype is kept", LINEAR, {"interval": changed(in_halves, LINEAR.interval)}),
    "centred lower line": ("centred lines are the lines", RELU, {"centred": changed(raised, RELU.centred)}),
    "centred upper line": ("centred lines are the lines", RELU, {"centred": changed(tilted, RELU.centred)}),
    "examples": ("examples are independent", LINEAR, {"forward": mixing}),
    "start": ("start is the operator", SPECIFICATION, {"start": changed(lambda a: a + 1e-3, SPECIFICATION.start)}),
    "declared gradient of rows": ("declared gradient", LINEAR, {"gradient": gradient_of_sums}),
    "declared gradient of nothing": ("declared gradient", LINEAR, {"gradient": gradient_without_weight}),
    "declared gradient, cut": ("declared gradient", LINEAR, {"gradient": gradient_that_ends_early}),
    "declared gradient of through": ("declared gradient", MAX_POOL, {"gradient": doubled_gradient}),
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
    for table in ("_BY_SPELLING", "_BY_FORWARD", "_GRADIENTS"):
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


def test_a_declared_gradient_is_held_to_what_autograd_finds() -> None:
    """Of `through` as well, where the second argument is a relaxation."""
    declared = dataclasses.replace(MAX_POOL, gradient=undeclared_gradient(max_pool.through))
    check_operator(declared, cases=[CASES["max_pool"]], calls=None)


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


def test_regions_are_taken_to_double() -> None:
    """With their boxes: what is left of rounding in single precision would count as a violation."""
    x = torch.rand(2, 4)
    for region in (LpBall(x, 0.1), LpBall(x, 0.1, norm=2), LpBall(x, 0.1, clip=(0, 1)), Box(x, x + 0.1)):
        report = check_sound(nn.Linear(4, 3), region, samples=0, steps=1, rows=3)
        assert abs(report.margin) < 1e-12
        assert {end.dtype for end in region.interval()} == {torch.float32}


def test_model_and_numbers_of_the_caller_are_left_alone() -> None:
    model, region = network(), LpBall(torch.rand(2, 4), 0.1)
    random_state = torch.get_rng_state()
    first, second = (check_sound(model, region, samples=4, steps=2, rows=1, seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(random_state, torch.get_rng_state())
    assert model[0].weight.dtype == region.center.dtype == torch.float32
    assert boundgraph.compile(model)(region).lower.dtype == torch.float32
