"""The objectives of IBP and CROWN-IBP: a clean and a robust cross-entropy, mixed."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.losses import require_share, robust_cross_entropy
from boundgraph.module import BoundedModule
from boundgraph.regions import LpBall, Region
from boundgraph.specification import margin_spec
from boundgraph.training.terms import LossTerms, mean_radius, natural_terms, without_radius
from boundgraph.values import Interval

# Below this share of CROWN-IBP the backward walk costs more than it contributes (the threshold of the authors' code).
NEGLIGIBLE_BETA = 1e-5


def mixed_margins(
    bounded: BoundedModule,
    x: Tensor,
    spec: Tensor,
    *,
    eps: float | Tensor,
    beta: float,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """Margin lower bounds beta * m_crown_ibp + (1 - beta) * m_ibp on the l_inf ball of radius eps round x.

    spec: (batch, rows, outputs), as `margin_spec` makes it; eps and clip in the model's input units. Returns
    (batch, rows). Both bounds come from one call; for beta below 1e-5 no backward walk is done and the result is m_ibp.

    Raises:
        ValueError: beta lies outside [0, 1].
        RegionError: eps is negative.

    Zhang et al. 2020 (CROWN-IBP).
    """
    require_share("beta", beta)
    return margins_on(bounded, LpBall(x, eps, clip=clip), spec, beta=beta)[0]


def margins_on(
    bounded: BoundedModule, region: Region, spec: Tensor, *, beta: float = 0.0, preactivations: bool = False
) -> tuple[Tensor, tuple[Interval, ...] | None]:
    """Mixed margins on any region, and, if asked for, the intervals of what the activations read, from one pass."""
    chosen, read = bounded.using("ibp") if beta < NEGLIGIBLE_BETA else bounded, None
    if preactivations:
        bounds, read = chosen.with_preactivations(region, spec=spec, sides="lower")
    else:
        bounds = chosen(region, spec=spec, sides="lower")
    assert bounds.lower is not None
    if not NEGLIGIBLE_BETA <= beta <= 1 - NEGLIGIBLE_BETA:
        return bounds.lower, read
    assert bounds.interval is not None
    return beta * bounds.lower + (1 - beta) * bounds.interval.lower, read


def crown_ibp_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    kappa: float,
    beta: float,
    clip: tuple[float, float] | None = None,
    num_classes: int | None = None,
    fused: bool = False,
    preactivations: bool = False,
) -> LossTerms:
    """kappa * CE(f(x), y) + (1 - kappa) * robust CE(beta * m_crown_ibp + (1 - beta) * m_ibp).

    x: (batch, ...); labels: (batch,), integers; eps (l_inf) and clip in the model's input units. num_classes: the width
    of the logits if not given. The clean forward always runs, and first: in train mode it is what updates BatchNorm's
    running statistics (bounds never do). For the number eps = 0 the loss is the clean cross-entropy, without bounds.

    fused: bound the sum in the cross-entropy by one row instead of the margins (`fused_cross_entropy`), and return no
    margins; for beta below 1e-5, where both are the same, margins are bounded. preactivations: also return the
    intervals of what the activations read; from the pass of the margins, beside a fused loss from an IBP pass of its
    own, and for the number eps = 0 from one at the radius 1e-6 (Shi et al. 2021).

    Raises:
        ValueError: kappa or beta lies outside [0, 1], or num_classes is not the width of the logits.
        RegionError: eps is negative.

    Zhang et al. 2020 (CROWN-IBP); Xu et al. 2020 (loss fusion).
    """
    require_share("kappa", kappa)
    require_share("beta", beta)
    clean_only = without_radius(eps)
    # A natural loss of weight zero is a measurement and needs no gradient.
    with torch.no_grad() if kappa == 0 and not clean_only else nullcontext():
        logits = bounded.model(x)
        natural_loss = F.cross_entropy(logits, labels)
    if num_classes not in (None, logits.shape[1]):
        raise ValueError(f"num_classes is {num_classes}, but the model has {logits.shape[1]} outputs")
    if clean_only:
        return natural_terms(bounded, x, labels, logits, clip=clip, preactivations=preactivations)
    region = LpBall(x, eps, clip=clip)
    margins, read = None, None
    if fused and beta >= NEGLIGIBLE_BETA:
        robust_loss = bounded.fused_cross_entropy(region, labels, beta=beta, num_classes=logits.shape[1])
        if preactivations:
            _, read = bounded.using("ibp").with_preactivations(region, sides="lower")
    else:
        spec = margin_spec(labels, logits.shape[1]).to(logits)
        margins, read = margins_on(bounded, region, spec, beta=beta, preactivations=preactivations)
        robust_loss = robust_cross_entropy(margins)
    loss = _weighted_sum(kappa, natural_loss, robust_loss)
    radius = mean_radius(region) if preactivations else None
    return LossTerms(loss, natural_loss, robust_loss, logits, margins, read, radius)


def ibp_loss(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float | Tensor,
    kappa: float = 0.0,
    clip: tuple[float, float] | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """kappa * CE(f(x), y) + (1 - kappa) * robust CE(m_ibp): `crown_ibp_loss` with beta = 0, for any method.

    Arguments and errors as there.

    Gowal et al. 2018 (IBP).
    """
    return crown_ibp_loss(bounded, x, labels, eps=eps, kappa=kappa, beta=0.0, clip=clip, preactivations=preactivations)


def _weighted_sum(kappa: float, natural_loss: Tensor, robust_loss: Tensor) -> Tensor:
    """kappa * natural + (1 - kappa) * robust, where a term of weight zero is absent: 0 * inf would be NaN."""
    if kappa == 0:
        return robust_loss
    if kappa == 1:
        return natural_loss
    return kappa * natural_loss + (1 - kappa) * robust_loss
