"""PGD on models simple enough to know the answer."""

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


def test_leaks_let_the_attack_leave_flat_ground() -> None:
    """From most points of [0, 0.5] no gradient leads anywhere; with a leak it leads to 0.75."""
    x, labels = torch.full((200, 1), 0.2), torch.zeros(200, dtype=torch.long)
    broken = {}
    for leak in (0.0, 0.03):
        settings = {"steps": 20, "restarts": 1, "generator": torch.Generator().manual_seed(0)}
        model = with_leaks(clipped(), leak)
        broken[leak] = pgd(model, x, labels, eps=0.6, clip=(0, 1), step_size=0.1, **settings).double().mean().item()
    assert broken[0.0] < 0.5
    assert broken[0.03] == 1


def test_leaks_change_gradients_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), ClippedReLU((8,))), nn.Linear(8, 4)
    )
    x = torch.randn(50, 3, requires_grad=True)
    leaking, same = with_leaks(model, 0.1), with_leaks(model, 0.0)
    assert torch.equal(leaking(x), model(x))
    assert [type(module) for module in same.modules()] == [type(module) for module in model.modules()]
    ours, theirs = (torch.autograd.grad(one(x).sum(), x)[0] for one in (leaking, model))
    assert not torch.equal(ours, theirs)
    assert any(isinstance(module, nn.ReLU) for module in model.children())  # the model itself is left alone


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
