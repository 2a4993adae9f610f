"""The robust loss against cross-entropy, the objective against its formula, the schedules against theirs."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.training import (
    LinearSchedule,
    SmoothedSchedule,
    crown_ibp_loss,
    interpolate_with_eps,
    mixed_margins,
    robust_cross_entropy,
)

CLIP = (0.0, 1.0)


@pytest.fixture
def bounded() -> boundgraph.BoundedModule:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    return boundgraph.compile(model, method="crown-ibp")


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 6, generator=generator), torch.tensor([0, 1, 2, 3, 1])


def test_robust_cross_entropy_of_exact_margins_is_cross_entropy() -> None:
    logits, labels = torch.randn(7, 5, dtype=torch.double), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    margins = torch.einsum("brk,bk->br", boundgraph.margin_spec(labels, 5).double(), logits)
    for reduction in ("mean", "sum", "none"):
        expected = F.cross_entropy(logits, labels, reduction=reduction)
        torch.testing.assert_close(robust_cross_entropy(margins, reduction), expected)


def test_robust_cross_entropy_is_stable_for_large_margins() -> None:
    margins = torch.tensor([[-1e4, 3.0], [1e4, 1e4]], requires_grad=True)
    losses = robust_cross_entropy(margins, "none")
    torch.testing.assert_close(losses, torch.tensor([1e4, 0.0]))
    losses.sum().backward()
    torch.testing.assert_close(margins.grad, torch.tensor([[-1.0, 0.0], [0.0, 0.0]]))


def test_robust_cross_entropy_has_the_right_gradient() -> None:
    margins = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(robust_cross_entropy, (margins,))


def test_nan_margin_stays_nan() -> None:
    losses = robust_cross_entropy(torch.tensor([[math.nan, 1.0], [1.0, 1.0]]), "none")
    assert losses.isnan().tolist() == [True, False]


def test_robust_cross_entropy_names_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"shape \(batch, classes - 1\), not \(3,\)"):
        robust_cross_entropy(torch.zeros(3))
    with pytest.raises(ValueError, match="unknown reduction 'avg'; use one of 'mean', 'sum', 'none'"):
        robust_cross_entropy(torch.zeros(3, 2), "avg")


@pytest.mark.parametrize(("kappa", "beta"), [(0.5, 0.25), (0.0, 0.0), (0.0, 1.0), (1.0, 0.5), (0.3, 0.0)])
def test_loss_is_the_formula(bounded: boundgraph.BoundedModule, batch: tuple, kappa: float, beta: float) -> None:
    x, labels = batch
    spec = boundgraph.margin_spec(labels, 4)
    crown_ibp = bounded(x, eps=0.05, clip=CLIP, spec=spec, sides="lower").lower
    ibp = boundgraph.compile(bounded.model, method="ibp")(x, eps=0.05, clip=CLIP, spec=spec).lower
    margins = beta * crown_ibp + (1 - beta) * ibp
    natural, robust = F.cross_entropy(bounded.model(x), labels), robust_cross_entropy(margins)

    terms = crown_ibp_loss(bounded, x, labels, eps=0.05, kappa=kappa, beta=beta, clip=CLIP)

    torch.testing.assert_close(terms.margins, margins)
    torch.testing.assert_close(terms.natural_loss, natural)
    torch.testing.assert_close(terms.robust_loss, robust)
    torch.testing.assert_close(terms.loss, kappa * natural + (1 - kappa) * robust)


def test_gradient_reaches_every_parameter(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    crown_ibp_loss(bounded, *batch, eps=0.05, kappa=0.0, beta=0.5, clip=CLIP).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bounded.model[:-1].parameters())


def test_without_radius_the_loss_is_clean_cross_entropy(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    x, labels = batch
    terms = crown_ibp_loss(bounded, x, labels, eps=0.0, kappa=0.0, beta=1.0)
    torch.testing.assert_close(terms.loss, F.cross_entropy(bounded.model(x), labels))
    torch.testing.assert_close(robust_cross_entropy(terms.margins), terms.loss)
    assert terms.loss.requires_grad


def test_radius_may_differ_between_examples(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    x, labels = batch
    eps = torch.tensor([0.0, 0.01, 0.02, 0.03, 0.04])
    margins = crown_ibp_loss(bounded, x, labels, eps=eps, kappa=0.5, beta=0.5).margins
    for i, radius in enumerate(eps.tolist()):
        alone = crown_ibp_loss(bounded, x[i : i + 1], labels[i : i + 1], eps=radius, kappa=0.5, beta=0.5).margins
        torch.testing.assert_close(margins[i : i + 1], alone)


def test_negligible_beta_walks_nothing_backward(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    x, labels = batch

    def refuse(*_: object) -> None:
        raise AssertionError("the CROWN-IBP module was called")

    bounded.register_forward_pre_hook(refuse)
    spec = boundgraph.margin_spec(labels, 4)
    assert mixed_margins(bounded, x, spec, eps=0.05, beta=1e-6).shape == (5, 3)
    with pytest.raises(AssertionError, match="was called"):
        mixed_margins(bounded, x, spec, eps=0.05, beta=1e-4)


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_clean_forward_alone_updates_batch_norm(batch: tuple, kappa: float) -> None:
    x, labels = batch
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    expected = copy.deepcopy(model)
    expected(x)
    crown_ibp_loss(boundgraph.compile(model), x, labels, eps=0.05, kappa=kappa, beta=0.5)
    assert model[1].num_batches_tracked == 1
    torch.testing.assert_close(model[1].running_mean, expected[1].running_mean)


def test_loss_names_bad_arguments(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    with pytest.raises(ValueError, match=r"kappa must lie in \[0, 1\], not 1.5"):
        crown_ibp_loss(bounded, *batch, eps=0.1, kappa=1.5, beta=0.0)
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\], not nan"):
        crown_ibp_loss(bounded, *batch, eps=0.1, kappa=0.5, beta=math.nan)
    with pytest.raises(ValueError, match="num_classes is 3, but the model has 4 outputs"):
        crown_ibp_loss(bounded, *batch, eps=0.0, kappa=0.5, beta=0.0, num_classes=3)
    with pytest.raises(ValueError, match="eps must be a finite number >= 0"):
        crown_ibp_loss(bounded, *batch, eps=-0.1, kappa=0.5, beta=0.0)


def test_interpolation_is_exact_at_both_ends() -> None:
    assert interpolate_with_eps(1.0, 0.1, eps=0.0, eps_max=0.3) == 1.0
    assert interpolate_with_eps(1.0, 0.1, eps=0.3, eps_max=0.3) == 0.1
    assert interpolate_with_eps(1.0, 0.5, eps=0.1, eps_max=0.4) == pytest.approx(0.875)
    assert interpolate_with_eps(1.0, 0.5, eps=0.0, eps_max=0.0) == 1.0
    with pytest.raises(ValueError, match=r"between 0 and eps_max = 0\.3, not 0\.4"):
        interpolate_with_eps(1.0, 0.0, eps=0.4, eps_max=0.3)


def test_linear_schedule() -> None:
    schedule = LinearSchedule(eps_max=0.3, start=10, length=20)
    assert [schedule(step) for step in (0, 10, 30, 1000)] == [0.0, 0.0, 0.3, 0.3]
    assert schedule(15) == pytest.approx(0.075)


@pytest.mark.parametrize("kind", [LinearSchedule, SmoothedSchedule])
def test_schedule_of_length_zero_jumps(kind: type[LinearSchedule]) -> None:
    schedule = kind(eps_max=0.3, start=2, length=0)
    assert [schedule(step) for step in range(4)] == [0.0, 0.0, 0.3, 0.3]


def test_smoothed_schedule_joins_at_one_thirteenth_with_equal_slopes() -> None:
    schedule = SmoothedSchedule(eps_max=1.3, start=1000, length=4_000_000)
    join = 1_001_000
    assert schedule(join) == pytest.approx(0.1)
    assert schedule(join) - schedule(join - 1) == pytest.approx(schedule(join + 1) - schedule(join), rel=1e-4)


def test_smoothed_schedule_is_a_power_then_a_line() -> None:
    schedule = SmoothedSchedule(eps_max=1.0, start=0, length=1000)
    assert schedule(200) / schedule(100) == pytest.approx(2**4)
    assert schedule(500) == pytest.approx((schedule(400) + schedule(600)) / 2)
    radii = [schedule(step) for step in range(1200)]
    assert radii == sorted(radii)
    assert (radii[0], radii[1000], radii[-1]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps_max": -0.1}, "eps_max must be finite and not negative, not -0.1"),
        ({"eps_max": math.nan}, "eps_max must be finite and not negative, not nan"),
        ({"start": -1}, "start must be finite and not negative, not -1"),
        ({"length": -5}, "length must be finite and not negative, not -5"),
        ({"power": 0.5}, "power must be finite and at least 1, not 0.5"),
        ({"midpoint": 1.0}, "midpoint must lie strictly between 0 and 1, not 1.0"),
    ],
)
def test_schedules_name_bad_arguments(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmoothedSchedule(**({"eps_max": 0.1, "start": 0, "length": 10} | arguments))
