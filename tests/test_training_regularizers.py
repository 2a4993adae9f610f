"""The regularisers on numbers worked by hand, at their degenerate ends, and through a network."""

import math

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.training import ibp_loss, l1, relu_balance, tightness, warmup_regularizer
from boundgraph.values import Interval


def around(center: list[float], radius: list[float]) -> Interval:
    return Interval.around(torch.tensor([center]).double(), torch.tensor([radius]).double())


def test_tightness_by_hand() -> None:
    """Mean radii 0.4 and 0.1 at r_0 = 0.1: quotients 1/4, short of 1/2 by 1/4, and 1, short by nothing."""
    layers = [around([0, 0], [0.3, 0.5]), around([1, 2], [0.05, 0.15])]
    assert tightness(layers, 0.1).item() == pytest.approx(0.25 / (0.5 * 2))
    assert tightness(layers, 0.1, tolerance=2.0).item() == pytest.approx((1.75 + 1.0) / (2.0 * 2))
    assert tightness(layers, torch.tensor(0.2).double()).item() == pytest.approx(0.0)


def test_gradient_of_the_balance() -> None:
    """The declared gradient is that of the formula, also through the mean of all centres."""
    center = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    radius = torch.rand(4, 3, 5, dtype=torch.float64) * 0.5

    def balance(center: Tensor) -> Tensor:
        return relu_balance([Interval.around(center, radius)], tolerance=1.0)

    assert balance(center).item() > 0
    assert torch.autograd.gradcheck(balance, center)


def test_tightness_of_ends_and_of_a_shared_radius() -> None:
    ends = Interval(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[1.0, 2.0], [4.0, 5.0]]))
    assert tightness([ends], 0.15).item() == pytest.approx((0.5 - 0.15 / 0.75) / 0.5)
    shared = Interval.around(torch.zeros(3, 2), torch.tensor([[0.5, 1.0]]))
    assert tightness([shared], 0.15).item() == pytest.approx((0.5 - 0.15 / 0.75) / 0.5)


def test_balance_by_hand() -> None:
    """Active centres 1 and 2, inactive -1, one undecided at 2; their mean is 1. The sums of centres are 3 and 1, with
    quotient 1/3, short of 1/2 by 1/6; the sums of squares about 1 are 0 + 1 and 4, with quotient 1/4, short by 1/4."""
    layer = around([1, 2, -1, 2], [0.5, 0.5, 0.5, 3])
    assert relu_balance([layer]).item() == pytest.approx((1 / 6 + 1 / 4) / 0.5)
    assert relu_balance([layer], tolerance=0.3).item() == pytest.approx(0.05 / 0.3)
    mirrored = around([-1, -2, 1, -2], [0.5, 0.5, 0.5, 3])
    assert relu_balance([mirrored]).item() == pytest.approx(relu_balance([layer]).item())
    assert relu_balance([layer, around([1, -1], [0, 0])]).item() == pytest.approx((1 / 6 + 1 / 4) / (0.5 * 2))


@pytest.mark.parametrize("center", [[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
@pytest.mark.parametrize("radius", [0.0, 0.5, 5.0])
def test_degenerate_layers_contribute_nothing_and_have_finite_gradients(center: list[float], radius: float) -> None:
    centers = torch.tensor([center]).double().requires_grad_()
    radii = torch.full((1, 3), radius, dtype=torch.float64).requires_grad_()
    layer = Interval.around(centers, radii)
    balance = relu_balance([layer])
    assert balance.item() == 0
    total = balance + tightness([layer], 0.01)
    total.backward()
    for leaf in (centers, radii):
        assert leaf.grad is None or bool(leaf.grad.isfinite().all())
    if radius == 0:
        assert total.item() == 0


def test_regularisers_have_the_right_gradient() -> None:
    center = torch.tensor([[1.0, 2.5, -1.0, 2.0], [0.3, -0.2, -2.0, 1.0]]).double().requires_grad_()
    radius = torch.tensor([[0.5, 0.4, 0.3, 3.0], [0.1, 0.1, 0.7, 0.2]]).double().requires_grad_()

    def value(center: Tensor, radius: Tensor) -> Tensor:
        return warmup_regularizer([Interval.around(center, radius)], eps=0.05, eps_max=0.1, tolerance=0.9)

    assert value(center, radius).item() > 0
    assert torch.autograd.gradcheck(value, (center, radius))


def test_nan_stays_nan() -> None:
    layer = around([1, -1, math.nan], [0.1, 0.1, 0.1])
    assert relu_balance([layer]).isnan()
    assert tightness([around([0], [math.nan])], 0.1).isnan()


def test_warmup_fades_with_the_radius() -> None:
    layers = [around([1, 2, -1, 2], [0.5, 0.5, 0.5, 3]), around([1, -1], [0.5, 0.5])]
    for eps in (0.001, 0.02, 0.05):
        expected = 0.5 * (1 - eps / 0.1) * (tightness(layers, eps) + relu_balance(layers))
        torch.testing.assert_close(warmup_regularizer(layers, eps=eps, eps_max=0.1), expected)
    assert warmup_regularizer(layers, eps=0.1, eps_max=0.1).item() == 0
    first = 0.2 * (tightness(layers, 1e-6, 0.3) + relu_balance(layers, 0.3))
    torch.testing.assert_close(warmup_regularizer(layers, eps=0.0, eps_max=0.1, weight=0.2, tolerance=0.3), first)
    given = warmup_regularizer(layers, eps=0.0, eps_max=0.1, input_radius=0.4)
    torch.testing.assert_close(given, 0.5 * (tightness(layers, 0.4) + relu_balance(layers)))


@pytest.mark.parametrize("eps", [0.0, 0.05])
def test_regularised_training_narrows_intervals(eps: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 60), nn.BatchNorm1d(60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU())
    model.append(nn.Linear(60, 3))
    bounded, optimizer = boundgraph.compile(model), torch.optim.Adam(model.parameters(), lr=1e-2)
    x, labels = torch.rand(16, 20), torch.randint(3, (16,))
    values = []
    for _ in range(30):
        read = ibp_loss(bounded, x, labels, eps=eps, preactivations=True).preactivations
        values.append(warmup_regularizer(read, eps=eps, eps_max=0.1))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]


def test_l1_counts_weights_of_linear_and_convolutional_layers_once() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), shared, nn.ReLU(), shared)
    model.append(nn.ConvTranspose1d(1, 1, 2))
    for parameter in model.parameters():
        parameter.data.fill_(-2.0)
    value = l1(model)
    assert value.item() == 2 * (2 + 4 + 2)
    value.backward()
    assert bool((shared.weight.grad == -1).all())
    assert shared.bias.grad is None
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    torch.testing.assert_close(l1(tied), tied[0].weight.abs().sum())


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="there are no pre-activations: does the model have activations?"):
        tightness([], 0.1)
    with pytest.raises(ValueError, match="tolerance must be positive, not 0"):
        relu_balance([around([1], [1])], tolerance=0)
    with pytest.raises(ValueError, match="eps must lie between 0 and eps_max = 0.1, not 0.2"):
        warmup_regularizer([around([1], [1])], eps=0.2, eps_max=0.1)
    with pytest.raises(ValueError, match="the model has no linear or convolutional layer"):
        l1(nn.ReLU())
