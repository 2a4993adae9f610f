"""Expressive losses: families between the adversarial loss (alpha = 0) and the IBP loss (alpha = 1).

With d the margins at an adversarial point, m those of IBP, and RCE(d) the cross-entropy at that point:

    MTL-IBP   (1 - alpha) RCE(d) + alpha RCE(m)
    CC-IBP    RCE((1 - alpha) d + alpha m)
    Exp-IBP   RCE(d)^(1 - alpha) RCE(m)^alpha, per example

The loss is convex in the margins, so CC-IBP is at most MTL-IBP, and so is, by the inequality of means, Exp-IBP.
De Palma et al. 2024 (Expressive Losses for Verified Robustness via Convex Combinations).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.losses import require_share, robust_cross_entropy
from boundgraph.module import BoundedModule
from boundgraph.regions import LpBall
from boundgraph.specification import margin_spec
from boundgraph.training.attack import attack, require_attack
from boundgraph.training.clean_pass import clean_pass
from boundgraph.training.crown_ibp import margins_on
from boundgraph.training.terms import LossTerms, exact_margins, mean_radius, natural_terms, without_radius

Combination = Callable[[Tensor, Tensor, float], Tensor]


def mtl_ibp_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    alpha: float,
    clip: tuple[float, float] | None = None,
    steps: int = 1,
    step_size: float = 2.0,
    generator: torch.Generator | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """(1 - alpha) * CE(f(x_adv), y) + alpha * robust CE(m_ibp), x_adv found by `attack` in the clipped ball.

    steps, step_size and generator are those of `attack`. At alpha = 1 no attack is made and the loss is `ibp_loss`; at
    alpha = 0 it is the adversarial loss, and the bounds are a measurement without gradient. For the number eps = 0 it
    is the clean cross-entropy. `robust_loss` and `margins` are those of IBP on the ball.

    In train mode the clean pass alone updates BatchNorm's running statistics; attack, adversarial pass and bounds use,
    and differentiate, the statistics of that batch, so all of them speak of one network.

    Raises:
        ValueError: alpha lies outside [0, 1], or steps or step_size do not fit.
        RegionError: eps is negative.

    De Palma et al. 2024 (MTL-IBP).
    """
    search = _Search(eps, clip, steps, step_size, generator)
    return _loss(bounded, x, labels, alpha, search, _sum_of_losses, preactivations)


def cc_ibp_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    alpha: float,
    clip: tuple[float, float] | None = None,
    steps: int = 1,
    step_size: float = 2.0,
    generator: torch.Generator | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """Robust CE((1 - alpha) * d + alpha * m_ibp), d the margins at x_adv; else as `mtl_ibp_loss`, its upper bound.

    De Palma et al. 2024 (CC-IBP).
    """
    search = _Search(eps, clip, steps, step_size, generator)
    return _loss(bounded, x, labels, alpha, search, _loss_of_sum, preactivations)


def exp_ibp_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    alpha: float,
    clip: tuple[float, float] | None = None,
    steps: int = 1,
    step_size: float = 2.0,
    generator: torch.Generator | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """Mean of CE(f(x_adv), y)^(1 - alpha) * robust CE(m_ibp)^alpha; else as `mtl_ibp_loss`, its upper bound.

    De Palma et al. 2024 (Exp-IBP).
    """
    search = _Search(eps, clip, steps, step_size, generator)
    return _loss(bounded, x, labels, alpha, search, _product_of_losses, preactivations)


class _Search(NamedTuple):
    """Where and how adversarial points are searched for."""

    eps: float | Tensor
    clip: tuple[float, float] | None
    steps: int
    step_size: float
    generator: torch.Generator | None


def _loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    alpha: float,
    search: _Search,
    combined: Combination,
    preactivations: bool,
) -> LossTerms:
    require_share("alpha", alpha)
    require_attack(search.steps, search.step_size)
    eps, clip = search.eps, search.clip
    if without_radius(eps):
        return natural_terms(bounded, x, labels, bounded.model(x), clip=clip, preactivations=preactivations)
    logits, network = clean_pass(bounded.model, x, differentiable=alpha < 1)
    spec, region = margin_spec(labels, logits.shape[1]).to(logits), LpBall(x, eps, clip=clip)
    with torch.no_grad() if alpha == 0 and not preactivations else nullcontext():
        margins, read = margins_on(bounded, region, spec, preactivations=preactivations)
    robust_loss = robust_cross_entropy(margins)
    if alpha == 1:
        loss = robust_loss
    else:
        adversarial = exact_margins(network(attack(network, x, labels, **search._asdict())), spec)
        loss = robust_cross_entropy(adversarial) if alpha == 0 else combined(adversarial, margins, alpha)
    radius = mean_radius(region) if preactivations else None
    return LossTerms(loss, F.cross_entropy(logits, labels), robust_loss, logits, margins, read, radius)


def _sum_of_losses(adversarial: Tensor, margins: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * robust_cross_entropy(adversarial) + alpha * robust_cross_entropy(margins)


def _loss_of_sum(adversarial: Tensor, margins: Tensor, alpha: float) -> Tensor:
    return robust_cross_entropy((1 - alpha) * adversarial + alpha * margins)


def _product_of_losses(adversarial: Tensor, margins: Tensor, alpha: float) -> Tensor:
    # A loss that has underflowed to 0 has no finite power's gradient; the least number's vanishes instead.
    least = torch.finfo(margins.dtype).tiny
    one, other = (robust_cross_entropy(part, "none").clamp(min=least) for part in (adversarial, margins))
    return (one ** (1 - alpha) * other**alpha).mean()
