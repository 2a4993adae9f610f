"""The robust loss against cross-entropy, the objective against its formula, fused and with pre-activations too."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.training import (
    TINY_RADIUS,
    LossTerms,
    crown_ibp_loss,
    ibp_loss,
    mixed_margins,
    natural_loss,
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


def test_natural_loss_is_cross_entropy(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    x, labels = batch
    terms = natural_loss(bounded, x, labels)
    torch.testing.assert_close(terms.loss, F.cross_entropy(bounded.model(x), labels))
    torch.testing.assert_close(robust_cross_entropy(terms.margins), terms.loss)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_ibp_loss_needs_no_particular_method(bounded: boundgraph.BoundedModule, batch: tuple, method: str) -> None:
    expected = crown_ibp_loss(bounded, *batch, eps=0.05, kappa=0.25, beta=0.0, clip=CLIP)
    found = ibp_loss(bounded.using(method), *batch, eps=0.05, kappa=0.25, clip=CLIP)
    torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=0)


def test_fused_loss_is_that_of_the_bounded_module(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    x, labels = batch
    expected = bounded.fused_cross_entropy(x, labels, eps=0.05, beta=0.3, clip=CLIP)
    terms = crown_ibp_loss(bounded, x, labels, eps=0.05, kappa=0.25, beta=0.3, clip=CLIP, fused=True)
    assert terms.margins is None
    torch.testing.assert_close(terms.robust_loss, expected)
    torch.testing.assert_close(terms.loss, 0.25 * F.cross_entropy(bounded.model(x), labels) + 0.75 * expected)


def test_fused_loss_with_negligible_beta_is_that_of_the_margins(
    bounded: boundgraph.BoundedModule, batch: tuple
) -> None:
    terms = crown_ibp_loss(bounded, *batch, eps=0.05, kappa=0.0, beta=1e-6, clip=CLIP, fused=True)
    assert terms.margins is not None
    torch.testing.assert_close(terms.loss, robust_cross_entropy(terms.margins))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_preactivations_are_what_the_relus_read(
    bounded: boundgraph.BoundedModule, batch: tuple, fused: bool, beta: float
) -> None:
    plain = crown_ibp_loss(bounded, *batch, eps=0.05, kappa=0.5, beta=beta, clip=CLIP, fused=fused)
    terms = crown_ibp_loss(bounded, *batch, eps=0.05, kappa=0.5, beta=beta, clip=CLIP, fused=fused, preactivations=True)
    torch.testing.assert_close(terms.loss, plain.loss)
    assert plain.preactivations is None
    assert_intervals_before_relus(terms, bounded, batch[0], 0.05)


def test_preactivations_without_radius_have_a_tiny_one(bounded: boundgraph.BoundedModule, batch: tuple) -> None:
    bounded.double()
    x, labels = batch[0].double(), batch[1]
    terms = crown_ibp_loss(bounded, x, labels, eps=0, kappa=0.5, beta=1.0, clip=CLIP, preactivations=True)
    torch.testing.assert_close(terms.loss, F.cross_entropy(bounded.model(x), labels))
    assert_intervals_before_relus(terms, bounded, x, TINY_RADIUS)


def assert_intervals_before_relus(terms: LossTerms, bounded: boundgraph.BoundedModule, x: Tensor, eps: float) -> None:
    assert terms.preactivations is not None
    ends = (x - eps).clamp(*CLIP), (x + eps).clamp(*CLIP)
    for layer, found in zip((bounded.model[0], bounded.model[2]), terms.preactivations, strict=True):
        center, radius = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
        center, radius = layer(center), radius @ layer.weight.abs().T
        ends = torch.relu(center - radius), torch.relu(center + radius)
        torch.testing.assert_close(found.center, center)
        torch.testing.assert_close(found.radius, radius)
        (gradient,) = torch.autograd.grad(found.radius.sum(), layer.weight, retain_graph=True)
        assert bool((gradient != 0).any())
