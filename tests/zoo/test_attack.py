"""PGD on models simple enough to know the answer."""

import torch
from torch import Tensor, nn

from zoo.attack import pgd

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
