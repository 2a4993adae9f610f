"""Coefficients in bfloat16: how far they may be off, what they are refused for, and that they train."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import boundgraph
from boundgraph import explicit, linear_forms, precision
from boundgraph.training import robust_cross_entropy
from boundgraph.values import Line, Relaxation
from passes.graphs import kind

BF16 = boundgraph.method("crown-ibp", precision="bf16")
UNIT = 2.0**-8
"""The largest relative error of rounding to 8 significant bits."""

NAMES = ("five", "deep", "residual", "shared", "normalised", "conv", "any-size", "residual-cnn", "smooth")


class Wide(nn.Module):
    """Layers on which the fast kernels run: channels last, sub-pixels, and products of some size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)
        self.norm = nn.BatchNorm2d(32)
        self.fc1, self.fc2 = nn.Linear(32 * 16, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.norm(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def _build(networks: ModuleType, name: str) -> tuple[nn.Module, Tensor]:
    if name == "wide":
        return Wide(), torch.rand(8, 1, 16, 16)
    base = name.removesuffix(", train")
    model = networks.build(base, seed=1, dtype=torch.float).train(name.endswith("train"))
    (x,) = networks.inputs(base, batch=4, dtype=torch.float)
    return model, x


class Absolute(fx.Interpreter):
    """A walk with every factor replaced by its size. It adds up the size of all that a distance is the sum of."""

    steps = 0
    largest = 1
    size: Tensor

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if kind(node) == "form" and isinstance(value, Tensor):
            value = value.abs()
            self.largest = max(self.largest, value[0, 0].numel())
        self.steps += kind(node) == "form" or node.target is precision.narrowed
        if node.target is linear_forms.total:
            self.size = value
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is precision.narrowed:
            return args[0].abs()
        if target is precision.widened or target is precision.for_training:
            return args[0]
        if target is precision.minimum_on_box:
            return linear_forms.inner(*args)
        if target is not precision.lower_through:
            return super().call_function(target, args, kwargs)
        coefficients, (lower, upper) = args
        slope, intercept = (
            torch.maximum(*(part.abs() if part is not None else torch.zeros(()) for part in parts))
            for parts in zip(lower, upper, strict=True)
        )
        return coefficients * slope.unsqueeze(1), linear_forms.inner(coefficients, intercept.expand_as(slope))


@pytest.mark.parametrize("name", [*NAMES, "normalised, train", "wide"])
def test_margins_are_within_the_rounding_of_coefficients(networks: ModuleType, name: str) -> None:
    """A distance is a sum of products along paths of the walk, and every factor and every partial sum is rounded.

    With relative errors of at most u in each of k roundings along a path, a product is off by (1 + u)^k - 1 <= e^(ku) - 1
    of its size. The step through lines is no product, but moves by no more than its argument times the steeper line. So
    a distance is off by that part of the sum of sizes, for which the walk is run in absolute values. A sum of n float32
    terms adds n 2^-24 of it per step.
    """
    model, x = _build(networks, name)
    spec = boundgraph.margin_spec(torch.zeros(len(x), dtype=torch.long), model(x).shape[1])
    bounded = boundgraph.compile(model, BF16)
    found = bounded(x, eps=0.05, spec=spec, sides="lower").lower
    expected = bounded.using("crown-ibp")(x, eps=0.05, spec=spec, sides="lower").lower
    walk = Absolute(bounded.plan(spec=True, sides="lower").module)
    with torch.no_grad():
        walk.run(boundgraph.LpBall(x, 0.05), spec)
    allowed = walk.size * math.expm1(walk.steps * (UNIT + 2 * walk.largest * 2**-24))
    error = (found - expected).abs()
    assert (error <= allowed).all()
    assert found.dtype == torch.float32
    assert error.max() > 1e-5 * expected.abs().max()  # or it was not bfloat16


def _gradients(bounded: boundgraph.BoundedModule, x: Tensor) -> list[Tensor]:
    loss = robust_cross_entropy(bounded.margins(x, torch.arange(len(x)) % 3, eps=0.05))
    return list(torch.autograd.grad(loss, list(bounded.model.parameters())))


def _apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """The distance of two gradients of all parameters, in norms of the second."""
    one, other = (torch.cat([part.flatten() for part in parts]) for parts in (found, expected))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", [*NAMES, "normalised, train", "residual-cnn, train", "max-pool", "wide"])
def test_gradients_are_within_the_rounding_of_coefficients(networks: ModuleType, name: str) -> None:
    """A gradient passes each step of the walk twice, down with the coefficients and up with what is upstream; each time
    a result and perhaps a weight are rounded, by at most u. The errors have either sign, so where no large terms cancel
    the sum of their sizes is not reached. The explicit gradient and autograd's round at different places."""
    model, x = _build(networks, name)
    bounded = boundgraph.compile(model, BF16)
    graph = bounded.plan(spec=True, sides="lower").graph
    allowed = 2 * UNIT * sum(kind(node) == "form" or node.target is precision.narrowed for node in graph.nodes)
    expected, found = _gradients(bounded.using("crown-ibp"), x), _gradients(bounded, x)
    assert {gradient.dtype for gradient in found} == {torch.float32}
    assert _apart(found, expected) <= allowed
    for key, plan in bounded._planner.kept.items():
        bounded._planner.kept[key] = plan._replace(run=plan.module)
    assert _apart(_gradients(bounded, x), found) <= allowed


def _lines(*shape: int) -> Relaxation:
    slopes = torch.rand(2, *shape)
    return Relaxation(Line(slopes[0], -torch.rand(shape)), Line(slopes[1], None))


def test_steps_compute_in_float32_and_round_once() -> None:
    coefficients, relaxation = torch.randn(4, 3, 50).to(torch.bfloat16), _lines(4, 50)
    wide, offset = linear_forms.lower_through(coefficients.float(), relaxation)
    pulled, found = precision.lower_through(coefficients, relaxation)
    assert torch.equal(pulled, wide.to(torch.bfloat16))
    assert torch.equal(found, offset)
    assert found.dtype == torch.float32
    upstream = torch.randn(4, 3, 50).to(torch.bfloat16), torch.randn(4, 3)
    for line in relaxation:
        line.slope.requires_grad_()
    expected = linear_forms.lower_through_gradient((upstream[0].float(), upstream[1]), coefficients.float(), relaxation)
    gradient, lines = precision.lower_through_gradient(upstream, coefficients, relaxation)
    assert torch.equal(gradient, expected[0].to(torch.bfloat16))
    assert torch.equal(lines.upper.slope, expected[1].upper.slope)
    assert lines.upper.slope.dtype == torch.float32


def test_chunks_of_examples(networks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples do not meet, and the gradient of a weight is a sum over chunks, each rounded once, as is their sum."""
    model, x = _build(networks, "wide")
    bounded = boundgraph.compile(model.eval(), BF16)
    whole, margins = _gradients(bounded, x), bounded.margins(x, torch.zeros(8, dtype=torch.long), eps=0.05)
    monkeypatch.setattr(explicit, "CHUNK", 9 * 16 * 8 * 8 * 4 * 3)  # three examples of 9 rows
    assert _apart(_gradients(bounded, x), whole) <= 4 * UNIT
    found = bounded.margins(x, torch.zeros(8, dtype=torch.long), eps=0.05)
    assert (found - margins).abs().max() <= 4 * UNIT * margins.abs().max()


# ---------------------------------------------------------------------- what it is not for


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "ask",
    [
        lambda bounded, x: bounded.margins(x, torch.tensor([0, 1, 2, 0]), eps=0.1),
        lambda bounded, x: bounded.margins(x, torch.tensor([0, 1, 2, 0]), eps=0.1, norm=2, clip=(0, 1)),
        lambda bounded, x: bounded(x, eps=0.1),
        lambda bounded, x: bounded(boundgraph.Box(x - 0.1, x), sides="upper"),
        lambda bounded, x: bounded.fused_cross_entropy(x, torch.tensor([0, 1, 2, 0]), eps=0.1),
    ],
)
def test_estimates_are_no_bounds(
    networks: ModuleType, ask: Callable[..., Any], mode: Callable[[], AbstractContextManager[None]]
) -> None:
    model, x = _build(networks, "conv")
    bounded = boundgraph.compile(model, BF16)
    with mode(), pytest.raises(boundgraph.PrecisionError, match="To verify, compile the model with the default"):
        ask(bounded, x)
    ask(bounded, x)  # to train


def test_a_frozen_model_is_not_trained(networks: ModuleType) -> None:
    model, x = _build(networks, "five")
    bounded = boundgraph.compile(model.requires_grad_(False), BF16)
    with pytest.raises(ValueError, match="frozen weights"):
        bounded(x, eps=0.1)
    bounded(x.requires_grad_(), eps=0.1)  # asks for the gradient of the input


def test_intervals_are_bounds(networks: ModuleType) -> None:
    model, x = _build(networks, "conv")
    bounded = boundgraph.compile(model, BF16)
    with torch.no_grad():
        found, expected = (b.intermediate_bounds(x, eps=0.1) for b in (bounded, bounded.using("ibp")))
        assert all(torch.equal(found[name].lower, expected[name].lower) for name in expected)
    assert torch.equal(bounded(x, eps=0.1).interval.upper, bounded.using("ibp")(x, eps=0.1).upper)


@pytest.mark.parametrize(("dtype", "why"), [(torch.double, "undo its 53"), (torch.half, "as coarse as")])
def test_models_in_other_precisions(networks: ModuleType, dtype: torch.dtype, why: str) -> None:
    model, x = _build(networks, "five")
    bounded = boundgraph.compile(model, BF16).to(dtype)
    with pytest.raises(boundgraph.PrecisionError, match=why):
        bounded(x.to(dtype), eps=0.1)
    with pytest.raises(boundgraph.PrecisionError, match=r"for models in float32.*model\.float\(\)"):
        boundgraph.compile(model, BF16)


def test_options() -> None:
    with pytest.raises(ValueError, match="unknown precision 'fp8'; choose one of model, bf16"):
        boundgraph.method("crown-ibp", precision="fp8")
    for name in ("ibp", "crown"):  # no walk; walks whose results are intervals
        with pytest.raises(ValueError, match=f"method '{name}' has no option precision"):
            boundgraph.method(name, precision="bf16")


# ---------------------------------------------------------------------- what it is for


@pytest.mark.parametrize("name", ["conv", "residual-cnn, train", "max-pool", "wide"])
def test_two_steps_of_training(networks: ModuleType, name: str) -> None:
    model, x = _build(networks, name)
    bounded, optimizer = boundgraph.compile(model, BF16), torch.optim.SGD(model.parameters(), lr=1e-3)
    labels, losses = torch.arange(len(x)) % 3, []
    for _ in range(3):
        losses.append(robust_cross_entropy(bounded.margins(x, labels, eps=0.02)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with torch.no_grad():
        assert bounded.using("crown-ibp").margins(x, labels, eps=0.02).isfinite().all()


def test_copies(networks: ModuleType) -> None:
    model, x = _build(networks, "residual")
    bounded = boundgraph.compile(model, BF16)
    for other in (copy.deepcopy(bounded), pickle.loads(pickle.dumps(bounded))):
        assert torch.equal(other(x, eps=0.1).lower, bounded(x, eps=0.1).lower)
        with torch.no_grad(), pytest.raises(boundgraph.PrecisionError):
            other(x, eps=0.1)


def test_compiled(networks: ModuleType) -> None:
    model, x = _build(networks, "residual-cnn")
    bounded = boundgraph.compile(model, BF16)
    torch._dynamo.reset()
    expected = bounded(x, eps=0.1).lower
    for other in (torch.compile(bounded, fullgraph=True, backend="eager"),
                  boundgraph.compile(model, BF16, backend="aot_eager")):  # fmt: skip
        assert (other(x, eps=0.1).lower - expected).abs().max() <= UNIT * expected.abs().max()
    torch._dynamo.reset()


@pytest.mark.slow
def test_inductor(networks: ModuleType) -> None:
    model, x = _build(networks, "wide")
    torch._dynamo.reset()
    found, expected = (
        _gradients(boundgraph.compile(model, BF16, backend=backend), x) for backend in ("inductor", "eager")
    )
    torch._dynamo.reset()
    assert _apart(found, expected) <= 4 * UNIT


def test_estimates_certify_nothing() -> None:
    """At once, and not only where a cheaper method has left something to prove."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    bounded = boundgraph.compile(model, boundgraph.method("crown-ibp", precision="bf16"))
    with pytest.raises(boundgraph.PrecisionError, match="proves nothing; to certify, compile"):
        bounded.certified(torch.rand(3, 4), torch.zeros(3, dtype=torch.long), eps=0.0)
