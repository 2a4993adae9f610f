"""Regions: the minimum of a linear function against closed forms and numerical optima, and what makes no region."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import boundgraph
from boundgraph.errors import RegionError
from boundgraph.gradients import undeclared_gradient
from boundgraph.regions import Box, LpBall, Region, minimum_on_box, minimum_on_box_gradient

NORMS = (1.0, 1.5, 2.0, 3.0, math.inf)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_over(shape: tuple[int, ...], batch: int, rows: int = 4, seed: int = 1) -> Tensor:
    return random(batch, rows, *shape, seed=seed)


def value(rows: Tensor, x: Tensor) -> Tensor:
    """<A, x> for x (batch, *shape): (batch, rows)."""
    return (rows * x.unsqueeze(1)).flatten(2).sum(2)


def least(region: Region, rows: Tensor) -> Tensor:
    """The minimum of <A, x>. Regions are asked about x - center of their box, as walks do."""
    return region.minimum(rows) + value(rows, region.interval().center)


# ---------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_dual_norms(norm: float, batch: int) -> None:
    """min <A, x'> over ||x' - x||_p <= eps is <A, x> - eps ||A||_q with 1/p + 1/q = 1; eps may vary."""
    x, rows = random(3, 2, 5), rows_over((2, 5), batch)
    dual = {1.0: math.inf, 1.5: 3.0, 2.0: 2.0, 3.0: 1.5, math.inf: 1.0}[norm]
    size = torch.linalg.vector_norm(rows.flatten(2), ord=dual, dim=2)
    for eps in (0.3, torch.tensor(0.3), torch.tensor([0.0, 0.2, 0.7]), torch.tensor([[[0.3]]])):
        expected = value(rows, x) - (eps.reshape(-1, 1) if isinstance(eps, Tensor) else eps) * size
        torch.testing.assert_close(least(LpBall(x, eps, norm), rows), expected)


def test_box() -> None:
    lower, rows = random(3, 4), rows_over((4,), 3)
    upper = lower + random(3, 4, seed=5).abs()
    corner = torch.where(rows > 0, lower.unsqueeze(1), upper.unsqueeze(1))
    torch.testing.assert_close(least(Box(lower, upper), rows), (rows * corner).sum(2))
    assert torch.equal(Box(lower, upper).center, (lower + upper) / 2)


def test_intervals() -> None:
    x = torch.tensor([[0.1, 0.5, 1.0]], dtype=torch.float64)
    for norm in NORMS:
        interval = LpBall(x, 0.25, norm, clip=(0.0, 1.0)).interval()
        torch.testing.assert_close(interval.lower, torch.tensor([[0.0, 0.25, 0.75]], dtype=torch.float64))
        torch.testing.assert_close(interval.upper, torch.tensor([[0.35, 0.75, 1.0]], dtype=torch.float64))
    per_feature = LpBall(x, torch.tensor([[0.0, 0.1, 0.2]]), clip=(torch.zeros(3), torch.tensor([1.0, 0.55, 2.0])))
    torch.testing.assert_close(per_feature.interval().upper, torch.tensor([[0.1, 0.55, 1.2]], dtype=torch.float64))


@pytest.mark.parametrize("norm", NORMS)
def test_radius_zero_is_the_point(norm: float) -> None:
    x, rows = random(3, 4).clamp(0, 1), rows_over((4,), 1)
    for clip in (None, (0.0, 1.0)):
        for eps in (0.0, torch.zeros(3)):
            torch.testing.assert_close(least(LpBall(x, eps, norm, clip), rows), value(rows, x))


# ---------------------------------------------------------------------- balls cut by the valid range


def exact_minimum_in_l1(a: Tensor, x: Tensor, eps: float) -> float:
    """Linear programming, with x' - x split into its positive and negative part."""
    optimize = pytest.importorskip("scipy.optimize")
    bounds = [(0, 1 - v) for v in x.tolist()] + [(0, v) for v in x.tolist()]
    result = optimize.linprog(torch.cat((a, -a)).numpy(), A_ub=[[1.0] * 2 * len(x)], b_ub=[eps], bounds=bounds)
    return result.fun + (a @ x).item()


def exact_minimum(a: Tensor, x: Tensor, eps: float, norm: float) -> float:
    """The dual function, concave in one multiplier, maximised on a fine grid that is refined around its best point."""
    low, high = -10.0, 10.0
    best = -(a.clamp(min=0) @ x - a.clamp(max=0) @ (1 - x)).item()  # without the ball
    for _ in range(12):
        m = torch.logspace(low, high, 2001, dtype=torch.float64).unsqueeze(1)
        d = -a.sign() * (a.abs() / m) ** (1 / (norm - 1))
        d = torch.minimum(torch.maximum(d, -x), 1 - x)
        dual = (a * d).sum(1) + m.squeeze(1) / norm * (d.abs().pow(norm).sum(1) - eps**norm)
        top = int(dual.argmax())
        best = max(best, dual[top].item())
        low, high = m[max(top - 2, 0)].log10().item(), m[min(top + 2, 2000)].log10().item()
    return best + (a @ x).item()


@pytest.mark.parametrize("norm", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("eps", [0.05, 0.4, 1.0, 3.0])
def test_clipped_balls_meet_the_optimum(norm: float, eps: float) -> None:
    """For norm 1 the multiplier is exact; else it is off by at most 2^-24 of its range, and the bound by its square."""
    x, rows = torch.rand(2, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64), rows_over((6,), 2)
    found = least(LpBall(x, eps, norm, clip=(0.0, 1.0)), rows)
    for i in range(2):
        for row in range(4):
            a = rows[i, row]
            exact = exact_minimum_in_l1(a, x[i], eps) if norm == 1 else exact_minimum(a, x[i], eps, norm)
            assert found[i, row].item() == pytest.approx(exact, abs=1e-9)


def test_two_dimensions_by_hand() -> None:
    """x = (0, 1/2), eps = 1/2, clip (0, 1), l_2: along (1, 1) only the second coordinate may fall: to 0, so 0."""
    ball = LpBall(torch.tensor([[0.0, 0.5]]), 0.5, norm=2, clip=(0, 1))
    rows = torch.tensor([[[1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]]])
    expected = torch.tensor([[0.0, -0.5 - 0.5 * 2**0.5, 0.5 - 0.5 * 2**0.5]])
    torch.testing.assert_close(least(ball, rows), expected)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(NORMS), st.floats(0, 3), st.sampled_from((torch.float32, torch.float64)))
def test_no_point_of_the_region_lies_below(seed: int, norm: float, eps: float, dtype: torch.dtype) -> None:
    """And the bound is no looser than that of the ball and of the box. Centres may lie outside the valid range."""
    x = (random(2, 5, seed=seed) * 0.8).to(dtype)
    rows = rows_over((5,), 2, seed=seed).to(dtype)
    try:
        ball = LpBall(x, eps, norm, clip=(0.0, 1.0))
    except RegionError:
        return  # nothing is left of it
    found, center = ball.minimum(rows).double(), ball.interval().center.double()
    # six products per row; the multiplier's terms are no larger than the reach of the ball
    size = value(rows.abs(), x.abs() + eps).double()
    slack = 16 * torch.finfo(dtype).eps * size
    for i in range(200):
        point = torch.rand(2, 5, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        point = point.round() if i % 2 else point
        outside = torch.linalg.vector_norm(point - x.double(), norm, dim=1) > eps
        values = value(rows.double(), point - center)
        assert ((values >= found - slack) | outside.unsqueeze(1)).all()
    for looser in (LpBall(x, eps, norm), Box(*ball.interval())):
        about = value(rows.double(), looser.interval().center.double() - center)
        assert (found >= looser.minimum(rows).double() + about - slack).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
def test_gradients(norm: float, clip: tuple[float, float] | None) -> None:
    """With respect to coefficients, centre and radius; finite also at radius 0."""
    x = torch.rand(2, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()
    rows = rows_over((4,), 2).requires_grad_()
    for eps in (0.3, 0.9, 0.0):
        radius = torch.full((2,), eps, dtype=torch.float64, requires_grad=True)

        def minimum(rows: Tensor, x: Tensor, eps: Tensor) -> Tensor:
            return least(LpBall(x, eps, norm, clip), rows)

        if eps:
            assert torch.autograd.gradcheck(minimum, (rows, x, radius))
        for gradient in torch.autograd.grad(minimum(rows, x, radius).sum(), (rows, x, radius)):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("examples", [1, 3])
def test_declared_gradient_on_a_box(batch: int, examples: int) -> None:
    """What a graph of gradients uses is what autograd finds, also where one radius serves all examples."""
    rows, upstream = rows_over((2, 5), batch), random(max(batch, examples), 4, seed=9)
    for wanted in (True, False):
        radius = random(examples, 2, 5, seed=3).abs().requires_grad_(wanted)
        expected = undeclared_gradient(minimum_on_box)(upstream, rows, radius)
        for one, other in zip(minimum_on_box_gradient(upstream, rows, radius), expected, strict=True):
            torch.testing.assert_close(one, other)
        assert (expected[1] is None) == (not wanted)


def test_which_regions_are_boxes() -> None:
    x = torch.rand(2, 3)
    assert all(region.is_box for region in (Box(x, x + 1), LpBall(x, 0.1), LpBall(x, 0.1, clip=(0, 1))))
    assert not any(LpBall(x, 0.1, norm).is_box for norm in NORMS[:-1])
    assert not Region.is_box


# ---------------------------------------------------------------------- what is no region


def test_empty_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball can miss the valid range although its box does not; where numbers may not be read, bounds are NaN."""
    x, rows = torch.full((1, 2), -0.9, dtype=torch.float64), rows_over((2,), 1)
    assert LpBall(x, 1.0, clip=(0, 1)).minimum(rows).isfinite().all()
    assert LpBall(x, 1.3, 2, clip=(0, 1)).minimum(rows).isfinite().all()
    for norm in (1, 1.5, 2):
        with pytest.raises(RegionError, match="some x lies further than eps outside `clip`"):
            LpBall(x, 1.0, norm, clip=(0, 1))
    monkeypatch.setattr("boundgraph.regions.readable", lambda tensor: False)
    for region in (
        LpBall(x, 1.0, 2, clip=(0, 1)),
        LpBall(x, 0.5, clip=(0, 1)),
        Box(x, x - 1),
        LpBall(x, -torch.ones(1)),
    ):
        assert all(end.isnan().all() for end in region.interval())
        assert region.minimum(rows).isnan().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("last", [torch.nn.ReLU(), torch.nn.Sigmoid(), torch.nn.Identity()], ids=str)
def test_bad_numbers_are_no_certificate(bad: float, method: str, last: torch.nn.Module) -> None:
    """The example with the bad number has no bounds, the other one keeps its own."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 2), last)
    x = torch.zeros(2, 3)
    x[0, 1] = bad
    bounded = boundgraph.compile(model, method)
    for norm in NORMS:
        bounds = bounded(LpBall(x, 0.1, norm))
        for side in (bounds.lower, bounds.upper, *bounds.interval):
            assert side[0].isnan().all()
            assert side[1].isfinite().all()
    box = Box(torch.minimum(x, torch.zeros(2, 3)), torch.maximum(x, torch.zeros(2, 3)))
    assert all(end[0].isnan().all() for end in bounded(box).interval)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_unbounded_regions_have_no_bounds(bad: float) -> None:
    """Not even where an operator maps infinity to a number."""
    x, rows = torch.tensor([[0.5, bad], [0.5, 0.5]], dtype=torch.float64), rows_over((2,), 2)
    low, high = torch.minimum(x, x[1:]), torch.maximum(x, x[1:])
    for region in (Box(low, high), *(LpBall(x, 0.1, norm) for norm in NORMS)):
        assert least(region, rows).isnan().tolist() == [[True] * 4, [False] * 4]
        for end in region.interval():
            assert end.sigmoid().isfinite().tolist() == [[True, False], [True, True]]
    assert LpBall(x[1:], 0.1, clip=(-math.inf, math.inf)).minimum(rows).isfinite().all()


def test_refused_arguments() -> None:
    x = torch.zeros(2, 3)
    for make, message in (
        (lambda: Box(x, 1.0), r"Box\(lower, upper\) needs floating-point tensors, not float"),
        (lambda: Box(x, x.long()), "needs floating-point tensors, not torch.int64"),
        (lambda: Box(x, x.double()), "lower has shape .* and torch.float32, but upper has .* torch.float64"),
        (
            lambda: LpBall(x, torch.zeros(2, 3), norm=2),
            r"eps has shape \(2, 3\); .* give a number or a tensor of shape \(2,\)",
        ),
        (lambda: LpBall(x, torch.tensor([0.1, math.nan])), "eps must be finite and >= 0 for every example"),
        (lambda: LpBall(x, 0.1, norm=math.nan), r"norm must lie in \[1, inf\], not nan"),
        (lambda: LpBall(x, 0.1, clip=(1, -1)), "nothing is left of the ball"),
    ):
        with pytest.raises(RegionError, match=message):
            make()


def test_ends_of_a_region_are_those_of_its_box() -> None:
    x = torch.rand(2, 3)
    for region in (LpBall(x, 0.1, 2, (0, 1)), LpBall(x, 0.1), Box(x - 0.1, x)):
        assert torch.equal(region.lower, region.interval().lower)
        assert torch.equal(region.upper, region.interval().upper)
