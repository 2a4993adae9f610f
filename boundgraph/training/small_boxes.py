"""SABR: IBP on a small box around an adversarial point instead of on the whole ball (Mueller et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.losses import robust_cross_entropy
from boundgraph.module import BoundedModule
from boundgraph.regions import LpBall
from boundgraph.specification import margin_spec
from boundgraph.training.attack import attack, require_attack
from boundgraph.training.clean_pass import clean_pass
from boundgraph.training.crown_ibp import margins_on
from boundgraph.training.terms import LossTerms, mean_radius, natural_terms, without_radius


def sabr_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    ratio: float,
    clip: tuple[float, float] | None = None,
    steps: int = 1,
    step_size: float = 2.0,
    generator: torch.Generator | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """Robust CE of the IBP margins on the box of radius ratio * eps, inside the ball, round an adversarial point.

    The box is centred at the point of the ball of radius (1 - ratio) * eps round x that is nearest to the result of
    `attack`, whose arguments steps, step_size and generator are, and cut to `clip`. At ratio 1 it is the whole ball, no
    attack is made, and the loss is `ibp_loss`. For the number eps = 0 it is the clean cross-entropy. `margins` and
    `preactivations` are those of the small box: they certify nothing about the ball.

    In train mode the clean pass, which carries no gradient, alone updates BatchNorm's running statistics; attack and
    bounds use the statistics of that batch.

    Raises:
        ValueError: ratio lies outside (0, 1], or steps or step_size do not fit.
        RegionError: eps is negative.

    Mueller et al. 2023 (SABR).
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], not {ratio}")
    require_attack(steps, step_size)
    if without_radius(eps):
        return natural_terms(bounded, x, labels, bounded.model(x), clip=clip, preactivations=preactivations)
    logits, network = clean_pass(bounded.model, x, differentiable=False)
    region = LpBall(x, eps, clip=clip)
    if ratio < 1:
        found = attack(network, x, labels, eps=eps, clip=clip, steps=steps, step_size=step_size, generator=generator)
        room = LpBall(x, (1 - ratio) * region.eps)
        region = LpBall(torch.clamp(found, room.lower, room.upper), ratio * region.eps, clip=clip)
        region.center = x  # the clean input: bounds take their batch statistics from it
    spec = margin_spec(labels, logits.shape[1]).to(logits)
    margins, read = margins_on(bounded, region, spec, preactivations=preactivations)
    loss = robust_cross_entropy(margins)
    radius = mean_radius(region) if preactivations else None
    return LossTerms(loss, F.cross_entropy(logits, labels), loss, logits, margins, read, radius)
