"""SABR and the expressive losses: by hand, at the ends of their coefficients, and in the order that the papers prove."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.training import LossTerms, cc_ibp_loss, exp_ibp_loss, ibp_loss, mtl_ibp_loss, sabr_loss
from boundgraph.training.clean_pass import clean_pass

CLIP = (0.0, 1.0)
EXPRESSIVE = [mtl_ibp_loss, cc_ibp_loss, exp_ibp_loss]
LABELS = torch.tensor([0, 1, 2, 1, 0])
Loss = Callable[..., LossTerms]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(5, 6, generator=seeded(1), dtype=torch.float64), LABELS


@pytest.fixture(params=["plain", "batch norm"])
def bounded(request: pytest.FixtureRequest) -> boundgraph.BoundedModule:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8) if request.param == "batch norm" else nn.Identity()
    model = nn.Sequential(nn.Linear(6, 8), norm, nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return boundgraph.compile(model.double())


def two_neurons() -> boundgraph.BoundedModule:
    """f = (relu(x1 + x2) + relu(x1 - x2), 0): the margin of class 0 over class 1 is the sum of the two neurons."""
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    first.weight.data, second.weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, 1.0], [0, 0]])
    return boundgraph.compile(nn.Sequential(first, nn.ReLU(), second).double())


# At x = (2, 1) with eps = 0.5 both neurons, 3 and 1, are active or at their kink: IBP gives 3 - 1 + max(1 - 1, 0) = 2. The
# gradient of the margin is (2, 0), so the attack sets x1 to 1.5 and leaves x2 where it began; the margin there is 3.
POINT, LABEL, EPS, ADVERSARIAL, WORST = torch.tensor([[2.0, 1.0]]).double(), torch.tensor([0]), 0.5, 3.0, 2.0


def softplus(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def test_expressive_losses_by_hand() -> None:
    found = [
        loss(two_neurons(), POINT, LABEL, eps=EPS, alpha=0.25, generator=seeded()).loss.item() for loss in EXPRESSIVE
    ]
    one, other = softplus(ADVERSARIAL), softplus(WORST)
    expected = [0.75 * one + 0.25 * other, softplus(0.75 * ADVERSARIAL + 0.25 * WORST), one**0.75 * other**0.25]
    assert found == pytest.approx(expected, rel=1e-12)


def test_sabr_by_hand() -> None:
    """The small box of radius 0.1 is centred 0.4 to the left, at (1.6, x2) with x2 within 0.4 of 1: the neurons are
    1.6 + x2 and 1.6 - x2, at least 0.2, and lie 0.2 lower at worst, so IBP gives 3.2 - 0.4."""
    terms = sabr_loss(two_neurons(), POINT, LABEL, eps=EPS, ratio=0.2, generator=seeded(), preactivations=True)
    assert terms.margins.item() == pytest.approx(2.8)
    assert terms.loss.item() == pytest.approx(softplus(2.8))
    (read,) = terms.preactivations
    torch.testing.assert_close(read.radius, torch.full((1, 2), 0.2, dtype=torch.float64))
    torch.testing.assert_close(read.center.sum(), torch.tensor(3.2, dtype=torch.float64))


def test_sabr_box_lies_in_ball_and_range(bounded: boundgraph.BoundedModule) -> None:
    """Seen at a first layer that is the identity."""
    x, labels = batch()
    bounded = boundgraph.compile(nn.Sequential(nn.Identity(), nn.ReLU(), *bounded.model).double())
    for ratio in (0.1, 0.5, 0.9):
        terms = sabr_loss(bounded, x, labels, eps=0.2, ratio=ratio, clip=CLIP, generator=seeded(), preactivations=True)
        box, ball = terms.preactivations[0], boundgraph.LpBall(x, 0.2, clip=CLIP)
        assert bool((box.lower >= ball.lower - 1e-12).all())
        assert bool((box.upper <= ball.upper + 1e-12).all())
        assert box.radius.amax().item() == pytest.approx(0.2 * ratio)


def test_sabr_at_ratio_one_is_ibp(bounded: boundgraph.BoundedModule) -> None:
    expected = ibp_loss(bounded, *batch(), eps=0.1, clip=CLIP)
    found = sabr_loss(bounded, *batch(), eps=0.1, ratio=1.0, clip=CLIP)
    assert found.loss.item() == expected.loss.item()
    assert torch.equal(found.margins, expected.margins)
    torch.testing.assert_close(gradients(bounded, found.loss), gradients(bounded, expected.loss), rtol=0, atol=0)


def test_sabr_just_below_ratio_one_is_nearly_ibp(bounded: boundgraph.BoundedModule) -> None:
    expected = ibp_loss(bounded, *batch(), eps=0.1, clip=CLIP).loss
    found = sabr_loss(bounded, *batch(), eps=0.1, ratio=1 - 1e-9, clip=CLIP, generator=seeded()).loss
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_sabr_loss_lies_below_ibp(bounded: boundgraph.BoundedModule) -> None:
    """A box inside the ball, bounded with the same batch statistics."""
    expected = ibp_loss(bounded, *batch(), eps=0.1, clip=CLIP).loss
    for ratio in (0.1, 0.4, 0.8):
        assert sabr_loss(bounded, *batch(), eps=0.1, ratio=ratio, clip=CLIP).loss < expected


@pytest.mark.parametrize("loss", EXPRESSIVE)
def test_expressive_loss_at_alpha_one_is_ibp(bounded: boundgraph.BoundedModule, loss: Loss) -> None:
    expected = ibp_loss(bounded, *batch(), eps=0.1, clip=CLIP)
    found = loss(bounded, *batch(), eps=0.1, alpha=1.0, clip=CLIP)
    assert found.loss.item() == expected.loss.item()
    torch.testing.assert_close(gradients(bounded, found.loss), gradients(bounded, expected.loss), rtol=0, atol=0)


@pytest.mark.parametrize("loss", EXPRESSIVE)
@pytest.mark.parametrize("alpha", [0.0, 1e-12, 1 - 1e-12])
def test_expressive_loss_at_alpha_zero_is_the_adversarial_loss(
    bounded: boundgraph.BoundedModule, loss: Loss, alpha: float
) -> None:
    """And it is continuous at both ends."""
    x, labels = batch()
    _, network = clean_pass(bounded.model, x, differentiable=True)
    found = loss(bounded, x, labels, eps=0.1, alpha=alpha, clip=CLIP, steps=2, generator=seeded())
    if alpha > 0.5:
        expected = ibp_loss(bounded, x, labels, eps=0.1, clip=CLIP).loss
    else:
        point = boundgraph.training.attack(network, x, labels, eps=0.1, clip=CLIP, steps=2, generator=seeded())
        expected = F.cross_entropy(network(point), labels)
    torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradients(bounded, found.loss), gradients(bounded, expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.5])
def test_expressive_losses_are_ordered(bounded: boundgraph.BoundedModule, eps: float) -> None:
    """Between the adversarial and the IBP loss, rising with alpha; CC-IBP and Exp-IBP at most MTL-IBP."""

    def losses(alpha: float) -> list[float]:
        arguments = {"eps": eps, "alpha": alpha, "clip": CLIP}
        return [loss(bounded, *batch(), **arguments, generator=seeded()).loss.item() for loss in EXPRESSIVE]

    found = [losses(alpha) for alpha in (0.0, 0.01, 0.1, 0.3, 0.6, 0.9, 1.0)]
    for mtl, cc, exp in found[1:-1]:
        assert cc < mtl
        assert exp < mtl
    for series in zip(*found, strict=True):
        assert list(series) == sorted(series)
    assert len(set(found[0])) == len(set(found[-1])) == 1


@pytest.mark.parametrize("loss", EXPRESSIVE)
def test_expressive_terms_are_those_of_ibp(bounded: boundgraph.BoundedModule, loss: Loss) -> None:
    x, labels = batch()
    expected = ibp_loss(bounded, x, labels, eps=0.1, clip=CLIP, preactivations=True)
    for alpha in (0.0, 0.5):
        terms = loss(bounded, x, labels, eps=0.1, alpha=alpha, clip=CLIP, preactivations=True)
        torch.testing.assert_close(terms.margins, expected.margins, rtol=0, atol=0)
        torch.testing.assert_close(terms.robust_loss, expected.robust_loss, rtol=0, atol=0)
        torch.testing.assert_close(terms.natural_loss, F.cross_entropy(bounded.model(x), labels))
        for one, other in zip(terms.preactivations, expected.preactivations, strict=True):
            torch.testing.assert_close(one.radius, other.radius, rtol=0, atol=0)
            assert one.radius.requires_grad


@pytest.mark.parametrize(("loss", "coefficient"), [(sabr_loss, "ratio"), *((loss, "alpha") for loss in EXPRESSIVE)])
def test_without_radius_the_loss_is_clean_cross_entropy(
    bounded: boundgraph.BoundedModule, loss: Loss, coefficient: str
) -> None:
    x, labels = batch()
    terms = loss(bounded, x, labels, eps=0, clip=CLIP, preactivations=True, **{coefficient: 0.5})
    torch.testing.assert_close(terms.loss, F.cross_entropy(bounded.model(x), labels))
    assert terms.loss.requires_grad
    assert len(terms.preactivations) == 2


def test_a_radius_per_example(bounded: boundgraph.BoundedModule) -> None:
    bounded.eval()
    x, labels = batch()
    eps = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2])
    together = sabr_loss(bounded, x, labels, eps=eps, ratio=0.5, clip=CLIP, generator=seeded()).margins
    assert torch.allclose(together[0], boundgraph.compile(bounded.model).margins(x[:1], labels[:1], eps=0.0)[0])
    assert mtl_ibp_loss(bounded, x, labels, eps=eps, alpha=0.5, clip=CLIP).loss.isfinite()


def test_loss_that_underflows_has_a_finite_gradient() -> None:
    """With margins of 1000 both cross-entropies are 0 in float64, where a power below 1 has no finite derivative."""
    bounded = two_neurons()
    bounded.model[2].weight.data *= 1000
    terms = exp_ibp_loss(bounded, POINT, LABEL, eps=EPS, alpha=0.25)
    terms.loss.backward()
    assert terms.loss.item() < 1e-300
    assert all(parameter.grad.isfinite().all() for parameter in bounded.parameters())


def test_coefficients_are_checked(bounded: boundgraph.BoundedModule) -> None:
    for ratio in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"ratio must lie in \(0, 1\], not"):
            sabr_loss(bounded, *batch(), eps=0.1, ratio=ratio)
    for loss in EXPRESSIVE:
        with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], not -0.1"):
            loss(bounded, *batch(), eps=0.1, alpha=-0.1)
        with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
            loss(bounded, *batch(), eps=0.1, alpha=1.0, steps=0)
        with pytest.raises(ValueError, match="eps must be a finite number >= 0"):
            loss(bounded, *batch(), eps=-0.1, alpha=0.5)
    with pytest.raises(ValueError, match="step_size must be positive"):
        sabr_loss(bounded, *batch(), eps=0.1, ratio=1.0, step_size=-1.0)


def gradients(bounded: boundgraph.BoundedModule, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(bounded.parameters()), retain_graph=True))
