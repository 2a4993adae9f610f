"""Projected gradient descent: a lower bound on the robust error, to hold against the verified upper bound."""

import torch
from torch import Tensor, nn

from zoo.scores import correct, worst_margin


def pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float,
    clip: tuple[float, float],
    steps: int,
    step_size: float,
    restarts: int,
    generator: torch.Generator,
) -> Tensor:
    """Whether a misclassified input was found within l_inf distance eps of x and inside `clip`: (batch,), bool.

    Each restart begins at a uniformly random point and takes `steps` signed gradient steps of `step_size` (in pixel
    units, like eps) that lower the worst margin. The clean input counts as one try.

    Madry et al. 2018.
    """
    lower, upper = (x - eps).clamp(*clip), (x + eps).clamp(*clip)
    broken = ~_correct_at(model, x, labels)
    for _ in range(restarts):
        start = lower + (upper - lower) * torch.rand(x.shape, generator=generator, dtype=x.dtype)
        alive = (~broken).nonzero().squeeze(1)
        point = start[alive].clamp(lower[alive], upper[alive])
        for _ in range(steps):
            if not len(alive):
                return broken
            step = step_size * _gradient(model, point, labels[alive]).sign()
            point = (point - step).clamp(lower[alive], upper[alive])
            survives = _correct_at(model, point, labels[alive])
            broken[alive[~survives]] = True
            alive, point = alive[survives], point[survives]
    return broken


def _correct_at(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(model(x), labels)


def _gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(worst_margin(model(x), labels).sum(), x)[0]
