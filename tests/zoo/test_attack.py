"""PGD on models simple enough to know the answer."""

import pytest
import torch
from torch import Tensor, nn

from zoo.attack import pgd, with_leaks
from zoo.layers import ClippedReLU

LABELS = torch.zeros(3, dtype=torch.long)
POINTS = torch.tensor([[0.25, 0.5], [0.25, 0.5], [0.75, 0.5]])


def difference() -> nn.Module:
    """Two logits whose difference is x_0 - x_1 + 0.5; every box corner that lowers it is the worst case."""
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        model.bias.copy_(torch.tensor([0.5, 0.0]))
    return model


def attack(eps: float, clip: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    settings = {"steps": 20, "step_size": eps / 4, "restarts": 2, "generator": generator}
    return pgd(difference(), POINTS, LABELS, eps=eps, clip=clip, **settings)


def test_breaks_exactly_the_examples_that_can_be_broken() -> None:
    # the differences 0.25, 0.25, 0.75 fall by 2 eps
    assert attack(0.12).tolist() == [False, False, False]
    assert attack(0.13).tolist() == [True, True, False]
    assert attack(0.38).tolist() == [True, True, True]


def test_stays_inside_the_clipping_range() -> None:
    # the difference falls to 0 - 0.8 + 0.5 inside [0, 1], but only to 0.2 - 0.6 + 0.5 inside [0.2, 0.6]
    assert attack(0.3, clip=(0.0, 1.0)).tolist() == [True, True, False]
    assert attack(0.3, clip=(0.2, 0.6)).tolist() == [False, False, False]


def test_without_radius_only_clean_errors_are_broken() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 1])
    settings = {"steps": 3, "step_size": 0.1, "restarts": 1, "generator": generator}
    assert pgd(difference(), POINTS, labels, eps=0.0, clip=(0, 1), **settings).tolist() == [False, True, True]


def test_same_seed_same_result_and_no_gradient_left_behind() -> None:
    assert torch.equal(attack(0.13, seed=3), attack(0.13, seed=3))
    model = difference()
    settings = {"steps": 3, "step_size": 0.1, "restarts": 1, "generator": torch.Generator()}
    pgd(model, POINTS, LABELS, eps=0.1, clip=(0, 1), **settings)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_of_the_restarts_follow_one_target_each() -> None:
    """Class 1 is nearest everywhere but cannot win; class 2 wins in a corner that the worst margin never looks at."""
    model = BlindSpot()
    x, labels = torch.full((64, 2), 0.5), torch.zeros(64, dtype=torch.long)

    def broken(restarts: int) -> float:
        generator = torch.Generator().manual_seed(0)
        settings = {"steps": 20, "step_size": 0.1, "restarts": restarts, "generator": generator}
        return pgd(model, x, labels, eps=0.5, clip=(0, 1), **settings).double().mean().item()

    assert broken(3) < 0.1  # the worst margin, the runner-up, the worst margin again: only what begins in the corner
    assert broken(4) == 1  # class 2, third in rank at x


class BlindSpot(nn.Module):
    """Logits 0, 0.05 x_0 - 0.1 and 8 (1 - x_0) - 7.96: the last one leads only where x_0 is small."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, 0]
        return torch.stack([torch.zeros_like(first), 0.05 * first - 0.1, 8 * (1 - first) - 7.96], dim=1)


def clipped() -> nn.Sequential:
    """Logits h and 0.5 where h = 1 - ramp(4 x - 2): flat below x = 0.5 and above 0.75, where 0 < 0.5 breaks class 0."""
    model = nn.Sequential(nn.Linear(1, 1), ClippedReLU((1,)), nn.Linear(1, 2))
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), (((4.0,),), (-2.0,), (1.0,), ((-1.0,), (0.0,)), (1.0, 0.5)), strict=True
        ):
            parameter.copy_(torch.tensor(value))
    return model


def broken_share(model: nn.Module, at: float, eps: float, restarts: int, leak: float) -> float:
    x, labels = torch.full((200, 1), at), torch.zeros(200, dtype=torch.long)
    settings = {"steps": 20, "restarts": restarts, "generator": torch.Generator().manual_seed(0), "leak": leak}
    return pgd(model, x, labels, eps=eps, clip=(0, 1), step_size=0.1, **settings).double().mean().item()


def test_leaks_let_the_attack_leave_flat_ground() -> None:
    """Starts lie in [0, 0.8]; below 0.5 no gradient leads anywhere, but a leak leads to 0.75."""
    assert broken_share(clipped(), 0.2, 0.6, restarts=1, leak=0.0) < 0.5
    assert broken_share(clipped(), 0.2, 0.6, restarts=1, leak=0.03) == 1


def test_every_fourth_restart_follows_the_gradient_itself() -> None:
    """A ReLU that is off all over the ball, with a large weight, outvotes through its leak the one that matters."""

    class Misled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([0.6 - self.relu(x) + 100 * self.relu(x - 2), torch.zeros_like(x)], dim=1)

    assert broken_share(Misled(), 0.3, 0.4, restarts=2, leak=0.03) < 0.5
    assert broken_share(Misled(), 0.3, 0.4, restarts=3, leak=0.03) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leaks_change_gradients_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shared = nn.ReLU()
    layers = [
        nn.Linear(3, 8),
        shared,
        nn.Sequential(nn.Linear(8, 8), ClippedReLU((8,))),
        nn.Linear(8, 8),
        shared,
        nn.Linear(8, 8),
    ]
    model = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Linear(8, 4)).to(dtype)
    x = torch.randn(50, 3, dtype=dtype, requires_grad=True)
    leaking = with_leaks(model, 0.1)
    assert torch.equal(leaking(x), model(x))
    assert torch.equal(with_leaks(nn.ReLU(), 0.1)(x), nn.ReLU()(x))
    ours, theirs = (torch.autograd.grad(one(x).sum(), x)[0] for one in (leaking, model))
    assert not torch.equal(ours, theirs)
    assert model[6].inplace
    assert not model[1]._forward_hooks  # the model itself is left alone


def test_a_leak_is_added_wherever_a_relu_is_used() -> None:
    relu = nn.ReLU(inplace=True)
    model = with_leaks(nn.Sequential(relu, relu, ClippedReLU((4,))), 0.5)
    x = torch.tensor([-1.0, 0.5, 2.0, -torch.inf], requires_grad=True)
    result = model(x)
    assert result.tolist() == [0, 0.5, 1, 0]
    # a ReLU that is off has slope 0 + 1/2, one that is on 1 + 1/2, and so have ceilings; at 0 PyTorch calls it off
    assert torch.autograd.grad(result.sum(), x)[0].tolist() == [0.5**3, 1.5**3, 1.5**2 * 0.5, 0.5**3]


def test_late_steps_are_short_enough_to_settle() -> None:
    """The margin |x - 0.13| - 0.02 is negative on an interval of 0.04 only; steps of 0.1 jump over it for ever."""

    class Narrow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([(x - 0.13).abs() - 0.02, torch.zeros_like(x)], dim=1)

    x, labels = torch.full((200, 1), 0.5), torch.zeros(200, dtype=torch.long)
    settings = {"steps": 40, "restarts": 1, "generator": torch.Generator().manual_seed(0)}
    assert pgd(Narrow(), x, labels, eps=0.5, clip=(0, 1), step_size=0.1, **settings).all()


def test_broken_examples_are_left_alone() -> None:
    batches = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batches.append(len(x))
            return difference()(x)

    settings = {"steps": 20, "step_size": 0.1, "restarts": 2, "generator": torch.Generator().manual_seed(0)}
    pgd(Counting(), POINTS, LABELS, eps=0.2, clip=(0, 1), **settings)
    assert batches[0] == 3
    assert batches[-1] == 1
    assert batches == sorted(batches, reverse=True)
