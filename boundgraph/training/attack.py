"""Projected gradient ascent on the cross-entropy, for objectives that train at or around adversarial points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.regions import LpBall


def attack(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    clip: tuple[float, float] | None = None,
    steps: int = 1,
    step_size: float = 2.0,
    random_start: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A point of the clipped l_inf ball of radius eps round x where the cross-entropy is large, without gradient.

    From a uniformly drawn point, or x, each step moves by step_size * eps along the sign of the gradient and back onto
    the box. step_size: in multiples of eps; at 2, the width of the box, a single step ends in the corner that the
    gradient points to, wherever it began. generator: of x's device. function: gives logits (batch, classes) and is
    called `steps` times; a model in train mode updates running statistics at each call, so the objectives here pass it
    with the statistics of the clean batch instead.

    Raises:
        ValueError: steps is less than 1, or step_size is not positive and finite.
        RegionError: eps or clip do not fit x.

    Madry et al. 2018 (PGD); Wong et al. 2020 (one step from a random start).
    """
    require_attack(steps, step_size)
    ball = LpBall(x.detach(), eps, clip=clip)
    lower, upper = ball.interval()
    point = x.detach()
    if random_start:
        share = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        point = torch.lerp(lower, upper, share)
    for _ in range(steps):
        with torch.enable_grad():
            point = point.detach().requires_grad_()
            loss = F.cross_entropy(function(point), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, point)
        point = torch.clamp(point.detach() + step_size * ball.eps * slope.sign(), lower, upper)
    return point


def require_attack(steps: int, step_size: float) -> None:
    if not steps >= 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size must be positive and finite, in multiples of eps, not {step_size}")
