"""Derived activations: the laws, for every one of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops import activations
from boundgraph.scalar.activation import is_derived, rules_of
from boundgraph.testing import Perturbed, check_operator

X = Perturbed(3, 2)


class Calls(nn.Module):
    """A call in a module, which is exported too."""

    def __init__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.call, self.args, self.kwargs = call, args, kwargs

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x.clone(), *self.args, **self.kwargs)


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


class Case(NamedTuple):
    """The arguments in question, calls that use the operator, and where it can be evaluated."""

    cases: list[tuple[Any, ...]] = [(X,)]  # noqa: RUF012 - read only
    calls: list[Callable[..., Any]] = []  # noqa: RUF012
    domain: tuple[float, float] = (-math.inf, math.inf)
    cancels: bool = False


SMALL, POSITIVE = (-40.0, 40.0), (0.05, math.inf)
CASES = {
    "SILU": Case(calls=[nn.SiLU()]),
    "MISH": Case(calls=[nn.Mish()]),
    "LOGSIGMOID": Case(calls=[nn.LogSigmoid()]),
    "TANHSHRINK": Case(calls=[F.tanhshrink], cancels=True),
    "SOFTSIGN": Case(calls=[F.softsign]),
    "HARDSWISH": Case(calls=[nn.Hardswish()]),
    "HARDSIGMOID": Case(calls=[nn.Hardsigmoid()]),
    "GELU": Case([(X, "none"), (X, "tanh")], [nn.GELU()], cancels=True),
    "SOFTPLUS": Case([(X,), (X, 2.0, 3.0)], [nn.Softplus()]),
    "ELU": Case([(X,), (X, 0.5), (X, 2.5)], [nn.ELU()]),
    "CELU": Case([(X,), (X, 0.5), (X, 2.5)], [nn.CELU()]),
    "SELU": Case(calls=[nn.SELU()]),
    "HARDTANH": Case([(X,), (X, -2.0, 0.5), (X, 0.0, 6.0)], [nn.Hardtanh(), nn.ReLU6(), F.relu6]),
    "SOFTSHRINK": Case([(X,), (X, 1.5)], [nn.Softshrink()]),
    "HARDSHRINK": Case([(X,), (X, 1.5)], [nn.Hardshrink()]),
    "THRESHOLD": Case(
        [(X,), (X, 1.0, 5.0), (X, -1.0, -1.0)],
        [nn.Threshold(0.0, 0.0), nn.Threshold(0.0, 0.0, True), Calls(torch.threshold, 0.0, 0.0)],
    ),
    "SIGN": Case(),
    "CLAMP": Case(
        [(X, -1.0, 2.0), (X, None, 1.5), (X, 0.5, None)],
        [
            *(Calls(clamp, -1.0, max=2.0) for clamp in (torch.clamp, torch.clip, torch.clamp_, torch.clip_)),
            *(Calls(_method(name), -1.0, max=2.0) for name in ("clamp", "clip", "clamp_", "clip_")),
            *(Calls(clamp, min=-1.0) for clamp in (torch.clamp_min, _method("clamp_min"))),
            *(Calls(clamp, max=-1.0) for clamp in (torch.clamp_max, _method("clamp_max"))),
        ],
    ),
    "EXP": Case(domain=SMALL),
    "EXP2": Case(domain=SMALL),
    "EXPM1": Case(domain=SMALL),
    "LOG": Case(domain=POSITIVE),
    "LOG2": Case(domain=POSITIVE),
    "LOG10": Case(domain=POSITIVE),
    "LOG1P": Case(domain=(-0.95, math.inf)),
    "SQRT": Case(domain=POSITIVE),
    "RSQRT": Case(domain=POSITIVE),
    "RECIPROCAL": Case(domain=POSITIVE),
    "ATAN": Case(),
    "ASINH": Case(),
    "SINH": Case(domain=SMALL),
    "COSH": Case(domain=SMALL),
    "ERF": Case(),
    "POW": Case(
        [(X, 2), (X, 3), (X, 4)],
        [
            *(Calls(power, 2) for power in (torch.pow, operator.pow, _method("pow"), _method("pow_"))),
            *(Calls(square) for square in (torch.square, _method("square"), _method("square_"))),
        ],
    ),
    "SIN": Case(domain=(-100, 100)),
    "COS": Case(domain=(-100, 100)),
    "TAN": Case(domain=(-1.5, 1.5)),
}
# the same operators elsewhere
OTHERS = {
    "reciprocal below 0": ("RECIPROCAL", Case(domain=(-math.inf, -1e-3))),
    "powers of positive numbers": ("POW", Case([(X, 1.5), (X, 0.5), (X, -0.5), (X, -1), (X, -2)], domain=(1e-3, 1e4))),
    "powers of negative numbers": ("POW", Case([(X, -1), (X, -2), (X, -3)], domain=(-1e4, -1e-3))),
    "another branch of the tangent": ("TAN", Case(domain=(7.9, 10.9))),
}


def _points(op: Any, values: tuple[Any, ...]) -> tuple[float, ...]:
    shape = rules_of(op, *values).shape
    found = {point for change in shape.mixed for point in change}
    found |= {*shape.minima, *shape.maxima, *shape.ridges, *shape.valleys, *(jump.at for jump in shape.jumps)}
    return tuple(sorted(found)[:6]) or (0.0,)


@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_laws(name: str) -> None:
    known, case = OTHERS.get(name, (name, CASES.get(name)))
    op = getattr(activations, known)
    for arguments in case.cases:
        check_operator(
            op,
            cases=[arguments],
            points=_points(op, arguments[1:]),
            calls=case.calls if arguments is case.cases[0] and name in CASES else None,
            domain=case.domain,
            cancels=case.cancels,
        )


def test_every_activation_has_its_laws() -> None:
    derived = {key for key, value in vars(activations).items() if isinstance(value, activations.Operator)}
    assert all(is_derived(getattr(activations, key)) for key in derived)
    assert derived == set(CASES)


@pytest.mark.parametrize("method", ["crown-ibp", "crown"])
def test_roots_at_the_end_of_their_domain(bound, method: str) -> None:
    """Infinitely steep there, and yet exact at radius 0, with numbers for gradients where the model has them."""
    x = torch.tensor([[0.0, 1.0, -1.0]])
    for side in bound(lambda z: z.relu().sqrt(), x, method, eps=0.0)[:2]:
        torch.testing.assert_close(side, x.relu().sqrt())
    inputs = torch.tensor([[1.0, -1.0, 0.5]], requires_grad=True)
    found = bound(lambda z: z.relu() ** 1.5, inputs, method, eps=0.1)
    (gradient,) = torch.autograd.grad(found.lower.sum() + found.upper.sum(), inputs)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("method", ["ibp", "crown"])
@pytest.mark.parametrize("scale", [1e4, 1e6, 1e7])
def test_waves_far_out(bound, method: str, scale: float) -> None:
    """In float32 the place of a period gets lost; then the whole range is the answer."""
    generator = torch.Generator().manual_seed(0)
    center, width = (
        scale * (2 * torch.rand(300, 1, generator=generator) - 1),
        4 * torch.rand(300, 1, generator=generator),
    )
    low, high = center - width, center + width
    found = bound(torch.sin, boundgraph.Box(low, high), method)
    values = torch.sin(torch.lerp(low.double(), high.double(), torch.linspace(0, 1, 200, dtype=torch.float64)))
    # of the centre of the box, nearer than where the whole range is the answer
    rounding = 4 * torch.finfo(torch.float32).eps * scale if scale < 1e6 else 1e-6
    assert bool((found.lower <= values + rounding).all())
    assert bool((found.upper >= values - rounding).all())


def test_powers_of_constants(bound) -> None:
    x = torch.zeros(1, 2)
    found = bound(lambda z: 2**z + torch.pow(3.0, z), x, "crown", eps=0.0)
    torch.testing.assert_close(found.lower, torch.full((1, 2), 2.0))
