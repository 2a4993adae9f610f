"""The attack stays where it may and finds corners; every pass of a step sees the statistics of the clean batch."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.training import attack, cc_ibp_loss, exp_ibp_loss, mtl_ibp_loss, sabr_loss
from boundgraph.training.clean_pass import clean_pass

LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(6, 1, 6, 6, generator=seeded(1), dtype=dtype)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU()
    )
    net.append(nn.Linear(8, 3))
    net(torch.rand(9, 1, 6, 6) * 5)  # running statistics that are not those of the batch
    return net.double()


def test_one_step_of_a_linear_model_finds_the_worst_corner() -> None:
    """For two classes the cross-entropy rises along w_other - w_label, wherever the step began."""
    model, x = nn.Linear(5, 2), torch.rand(4, 5, generator=seeded(1))
    labels = torch.tensor([0, 1, 0, 1])
    away = (model.weight[1 - labels] - model.weight[labels]).sign()
    found = attack(model, x, labels, eps=0.3, clip=(0, 1), generator=seeded())
    torch.testing.assert_close(found, (x + 0.3 * away).clamp(0, 1))
    assert not found.requires_grad


def test_short_steps_add_up() -> None:
    model, x, labels = nn.Linear(5, 2), torch.zeros(1, 5), torch.tensor([0])
    away = (model.weight[1] - model.weight[0]).sign()
    found = attack(model, x, labels, eps=1.0, steps=3, step_size=0.25, random_start=False)
    torch.testing.assert_close(found, 0.75 * away.unsqueeze(0))


@pytest.mark.parametrize("eps", [0.1, torch.tensor([0.0, 0.05, 0.1, 0.2, 0.3, 0.4])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attack_stays_in_ball_and_range(model: nn.Module, eps: float | Tensor, dtype: torch.dtype) -> None:
    x = images(dtype)
    ball = boundgraph.LpBall(x, eps, clip=(0, 1))
    found = attack(model.to(dtype), x, LABELS, eps=eps, clip=(0, 1), steps=4, step_size=0.7, generator=seeded())
    assert found.dtype == dtype
    assert bool(((ball.lower <= found) & (found <= ball.upper)).all())


def test_generator_decides_the_start(model: nn.Module) -> None:
    def found(seed: int) -> Tensor:
        return attack(model, images(), LABELS, eps=0.1, step_size=0.01, generator=seeded(seed))

    torch.testing.assert_close(found(1), found(1), rtol=0, atol=0)
    assert not torch.equal(found(1), found(2))


def test_attack_works_without_gradients_around_it(model: nn.Module) -> None:
    with torch.no_grad():
        found = attack(model.eval(), images(), LABELS, eps=0.1, generator=seeded())
        assert F.cross_entropy(model(found), LABELS) > F.cross_entropy(model(images()), LABELS)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_attack_names_bad_arguments(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        attack(model, images(), LABELS, eps=0.1, steps=0)
    for step_size in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="step_size must be positive and finite, in multiples of eps, not"):
            attack(model, images(), LABELS, eps=0.1, step_size=step_size)


def test_network_of_a_clean_pass_keeps_its_statistics(model: nn.Module) -> None:
    """At the clean batch it is train mode; example by example it is one affine normalisation."""
    x, other = images(), images().flip(0) ** 2
    before = copy.deepcopy(model)
    expected = before(x)
    logits, network = clean_pass(model, x, differentiable=True)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(network(other)[2:3], network(other[2:3]))
    assert model.training
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(dict(model.named_buffers()), dict(before.named_buffers()))


def test_network_of_a_clean_pass_is_differentiated_through_its_statistics(model: nn.Module) -> None:
    x, other = images(), images().flip(0) ** 2
    weight = model[0].weight

    def value(entry: Tensor) -> Tensor:
        with torch.no_grad():
            weight[0, 0, 0, 0] = entry
        return clean_pass(model, x, differentiable=True)[1](other)[:, 0].sum()

    at = weight[0, 0, 0, 0].detach().clone()
    (gradient,) = torch.autograd.grad(value(at), weight)
    difference = (value(at + 1e-6) - value(at - 1e-6)) / 2e-6
    torch.testing.assert_close(gradient[0, 0, 0, 0], difference.detach(), rtol=1e-5, atol=1e-8)


def test_network_of_a_clean_pass_in_eval_mode_is_the_model(model: nn.Module) -> None:
    model.eval()
    logits, network = clean_pass(model, images(), differentiable=False)
    assert not logits.requires_grad
    torch.testing.assert_close(network(images() ** 2), model(images() ** 2), rtol=0, atol=0)


def test_network_of_a_clean_pass_knows_shared_layers_and_layers_without_running_statistics() -> None:
    norm = nn.BatchNorm1d(5, track_running_stats=False)
    model = nn.Sequential(norm, nn.Linear(5, 5), norm, nn.ReLU(), nn.Linear(5, 3)).double()
    x = torch.rand(6, 5, generator=seeded(1), dtype=torch.float64)
    for mode in (True, False):
        logits, network = clean_pass(model.train(mode), x, differentiable=True)
        torch.testing.assert_close(network(x), logits)
        torch.testing.assert_close(network(x**2)[:2], network(x[:2] ** 2))
        assert norm.training is mode


@pytest.mark.parametrize(
    ("loss", "coefficient"),
    [
        (sabr_loss, {"ratio": 0.3}),
        (sabr_loss, {"ratio": 1.0}),
        *((loss, {"alpha": alpha}) for loss in (mtl_ibp_loss, cc_ibp_loss, exp_ibp_loss) for alpha in (0.0, 0.3, 1.0)),
    ],
)
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_clean_pass_alone_updates_running_statistics(model: nn.Module, loss, coefficient: dict, eps: float) -> None:
    expected = copy.deepcopy(model)
    expected(images())
    loss(boundgraph.compile(model), images(), LABELS, eps=eps, clip=(0, 1), steps=3, **coefficient).loss.backward()
    torch.testing.assert_close(dict(model.named_buffers()), dict(expected.named_buffers()))
    assert all(bool((weight.grad != 0).any()) for weight in (model[0].weight, model[1].weight, model[-1].weight))
