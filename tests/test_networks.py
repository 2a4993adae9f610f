"""Whole networks: bounds hold against samples and attacks, gradients are right, and how a bound is computed changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

import boundgraph
from boundgraph import regions

METHODS = ("ibp", "crown-ibp", "crown")
NAMES = ("residual-cnn", "max-pool", "shared", "two-inputs", "smooth", "residual", "conv")
SAMPLES, ROUNDING = 10_000, 1e-9


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def _balls(inputs: tuple[Tensor, ...], eps: float, norm: float) -> tuple[boundgraph.LpBall, ...]:
    return tuple(boundgraph.LpBall(x, eps, norm) for x in inputs)


def _project(moves: Tensor, eps: float, norm: float) -> Tensor:
    """Moves (samples, batch, *shape) into the ball."""
    if norm == 2:
        size = moves.flatten(2).norm(dim=2).clamp(min=eps) / eps
        return moves / size.view(*size.shape, *[1] * (moves.dim() - 2))
    return moves.clamp(-eps, eps)


def _samples(inputs: tuple[Tensor, ...], eps: float, norm: float, count: int) -> list[Tensor]:
    """Half inside, half on the boundary, where bounds are touched: (count, batch, *shape) per input."""
    generator = torch.Generator().manual_seed(11)
    found = []
    for x in inputs:
        moves = torch.randn(count, *x.shape, dtype=x.dtype, generator=generator) * eps
        corners = moves.sign() * eps if norm != 2 else moves * 1e3
        found.append(
            x + _project(torch.where(torch.arange(count).view(-1, *[1] * x.dim()) % 2 == 0, moves, corners), eps, norm)
        )
    return found


def _rows(model: Callable[..., Tensor], points: list[Tensor], spec: Tensor) -> Tensor:
    """spec @ output of every sample: (samples, batch, rows)."""
    output = model(*(p.flatten(0, 1) for p in points)).unflatten(0, points[0].shape[:2])
    return torch.einsum("brk,sbk->sbr", spec, output.flatten(2))


def _attacked(
    model: Callable[..., Tensor], inputs: tuple[Tensor, ...], eps: float, norm: float, spec: Tensor
) -> Tensor:
    """The smallest value of each row that projected gradient descent finds, one attack per row: (batch, rows)."""
    rows = spec.shape[1]
    moves = [torch.zeros(rows, *x.shape, dtype=x.dtype) for x in inputs]
    best = torch.full(spec.shape[:2], torch.inf, dtype=spec.dtype)
    for _ in range(30):
        points = [(x + move).requires_grad_() for x, move in zip(inputs, moves, strict=True)]
        values = _rows(model, points, spec).diagonal(dim1=0, dim2=2)  # attack i looks at row i
        best = torch.minimum(best, values.detach())
        gradients = torch.autograd.grad(values.sum(), points)
        steps = [
            g.sign()
            if norm != 2
            else g / g.flatten(2).norm(dim=2).clamp(min=1e-12).view(*g.shape[:2], *[1] * (g.dim() - 2))
            for g in gradients
        ]
        moves = [_project(m - 0.25 * eps * s, eps, norm) for m, s in zip(moves, steps, strict=True)]
    return best


@pytest.mark.parametrize("norm", [torch.inf, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold(networks: ModuleType, name: str, norm: float) -> None:
    model, inputs, eps = networks.build(name), networks.inputs(name), 0.15 if norm != 2 else 0.4
    spec = torch.cat((torch.eye(3), torch.tensor([[1.0, -1.0, 0.0], [0.3, 0.5, -2.0]]))).double().expand(2, 5, 3)
    with torch.no_grad():
        values = _rows(model, _samples(inputs, eps, norm, SAMPLES), spec)
    lowest = torch.minimum(values.amin(0), _attacked(model, inputs, eps, norm, spec))
    highest = torch.maximum(values.amax(0), -_attacked(model, inputs, eps, norm, -spec))
    for method in METHODS:
        bounded = boundgraph.compile(model, method)
        specified, plain = (bounded(*_balls(inputs, eps, norm), spec=rows) for rows in (spec, None))
        for found, low, high in ((specified, lowest, highest), (plain, lowest[:, :3], highest[:, :3])):
            assert (found.lower <= low + ROUNDING).all(), method
            assert (found.upper >= high - ROUNDING).all(), method
            assert (found.interval.lower <= low + ROUNDING).all(), method
            assert (found.interval.upper >= high - ROUNDING).all(), method


@pytest.mark.parametrize("name", NAMES)
def test_tighter_methods_are_tighter_where_that_is_a_theorem(networks: ModuleType, name: str) -> None:
    """CROWN's intervals are intersections, so they lie in those of IBP; both shrink with eps."""
    model, inputs = networks.build(name), networks.inputs(name)
    ibp, crown = boundgraph.compile(model, "ibp"), boundgraph.compile(model, "crown")
    for eps in (0.02, 0.15):
        outer, inner = ibp(*_balls(inputs, eps, torch.inf)).interval, crown(*_balls(inputs, eps, torch.inf)).interval
        assert (inner.lower >= outer.lower - ROUNDING).all()
        assert (inner.upper <= outer.upper + ROUNDING).all()
    small, large = (ibp(*_balls(inputs, eps, torch.inf)) for eps in (0.02, 0.15))
    assert (small.lower >= large.lower).all()


@pytest.mark.parametrize("name", ["residual-cnn", "conv", "max-pool", "residual"])
def test_walking_all_rows_or_the_unstable_ones(
    networks: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU only rows of unstable neurons are walked; elsewhere all, with the same bounds."""
    bounded, inputs = boundgraph.compile(networks.build(name), "crown"), networks.inputs(name, batch=3)
    for options in ({"eps": 0.2}, {"eps": 0.5, "norm": 2}):
        chosen = bounded(*inputs, **options)
        with monkeypatch.context() as patch:
            patch.setattr("boundgraph.tightening.readable", lambda tensor: False)
            everything = bounded(*inputs, **options)
        for one, other in zip((*chosen[:2], *chosen.interval), (*everything[:2], *everything.interval), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["residual-cnn", "smooth", "max-pool"])
@pytest.mark.parametrize("memory", [1, 5_000])
def test_chunks_change_nothing(networks: ModuleType, name: str, memory: int) -> None:
    model, inputs = networks.build(name), networks.inputs(name, batch=3)
    whole, pieces = (boundgraph.compile(model, boundgraph.method("crown", memory_budget=m)) for m in (2**30, memory))
    for options in ({"eps": 0.2}, {"eps": 0.5, "norm": 2, "clip": (0.0, 1.0)}):
        for one, other in zip(whole(*inputs, **options)[:2], pieces(*inputs, **options)[:2], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["deep", "residual", "shared", "normalised", "smooth", "max-pool", "two-inputs"])
def test_gradients_by_finite_differences(networks: ModuleType, name: str, method: str) -> None:
    """Of both sides, with respect to every parameter, the input and eps."""
    model, inputs = networks.build(name), networks.inputs(name)
    bounded = boundgraph.compile(model, method)
    names, values = zip(*bounded.named_parameters(), strict=True)
    eps = torch.tensor([0.11, 0.07], dtype=torch.double)

    def bounds(x: Tensor, eps: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        region = (boundgraph.LpBall(x, eps), *inputs[1:])
        found = torch.func.functional_call(bounded, dict(zip(names, parameters, strict=True)), region)
        return found.lower, found.upper

    points = [value.detach().clone().requires_grad_() for value in (inputs[0], eps, *values)]
    assert torch.autograd.gradcheck(bounds, points, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
def test_gradients_of_balls(networks: ModuleType, method: str, norm: float) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("deep"), method), networks.inputs("deep")
    for clip in (None, (0.0, 1.0)):

        def lower(x: Tensor, clip: tuple | None = clip) -> Tensor:
            return bounded(boundgraph.LpBall(x, 0.3, norm, clip)).lower

        assert torch.autograd.gradcheck(lower, (x.clone().requires_grad_(),), eps=1e-6, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"norm": 2}, {"norm": 2, "clip": (0.0, 1.0)}, {"clip": (0.0, 1.0)}])
def test_gradients_at_radius_zero_are_finite(networks: ModuleType, method: str, options: dict) -> None:
    """The first epochs of a schedule have eps = 0."""
    for name in ("residual-cnn", "max-pool", "smooth"):
        bounded, (x,) = boundgraph.compile(networks.build(name), method), networks.inputs(name)
        radius = torch.zeros(2, dtype=torch.double)
        bounded(x, eps=radius, **options).lower.sum().backward()
        reference = networks.build(name)
        reference(x).sum().backward()
        for (parameter, one), other in zip(bounded.named_parameters(), reference.parameters(), strict=True):
            assert one.grad.isfinite().all(), (name, parameter)
            if name == "residual-cnn":  # no ties: the bound is the output, so the gradient is the output's
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-9, msg=parameter)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["residual-cnn", "max-pool", "smooth", "conv"])
def test_poison_gives_no_certificate(networks: ModuleType, name: str, bad: float, method: str) -> None:
    """A bad number in the input or a weight: NaN or an infinite bound on the safe side, or an error."""
    for where in ("input", "weight"):
        model, (x,) = networks.build(name), networks.inputs(name)
        target = x[0] if where == "input" else next(model.parameters()).detach()
        target.view(-1)[0] = bad
        try:
            found = boundgraph.compile(model, method)(x, eps=0.1)
        except boundgraph.RegionError:
            continue
        assert not (found.lower[0] > -torch.inf).any(), where
        assert not (found.upper[0] < torch.inf).any(), where


def test_row_selection_is_in_use(networks: ModuleType) -> None:
    """What the tests above compare are two paths indeed."""
    assert regions.readable(torch.zeros(1))
    assert not regions.readable(torch.zeros(1, device="meta"))
