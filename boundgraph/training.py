"""Certified training, for any training loop: the robust loss, the CROWN-IBP objective and the schedules around them.

A CROWN-IBP step is four lines of the caller's own loop:

    eps = schedule(step)
    kappa = interpolate_with_eps(1.0, 0.5, eps=eps, eps_max=schedule.eps_max)
    beta = interpolate_with_eps(1.0, 0.0, eps=eps, eps_max=schedule.eps_max)
    crown_ibp_loss(bounded, x, labels, eps=eps, kappa=kappa, beta=beta, clip=(0, 1)).loss.backward()
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from boundgraph.losses import require_share, robust_cross_entropy
from boundgraph.module import BoundedModule
from boundgraph.specification import margin_spec

# Below this share of CROWN-IBP the backward walk costs more than it contributes (the threshold of the authors' code).
NEGLIGIBLE_BETA = 1e-5


__all__ = [
    "LinearSchedule",
    "LossTerms",
    "SmoothedSchedule",
    "crown_ibp_loss",
    "interpolate_with_eps",
    "mixed_margins",
    "robust_cross_entropy",
]


class LossTerms(NamedTuple):
    """One step's objective and what it was made of; every field is a tensor."""

    loss: Tensor  # scalar, to be minimised
    natural_loss: Tensor  # scalar
    robust_loss: Tensor  # scalar
    logits: Tensor  # (batch, classes), the model's own output
    margins: Tensor  # (batch, classes - 1), lower bounds of label logit minus each other logit


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
    if beta < NEGLIGIBLE_BETA:
        return bounded.using("ibp")(x, eps=eps, clip=clip, spec=spec, sides="lower").lower
    bounds = bounded(x, eps=eps, clip=clip, spec=spec, sides="lower")
    if beta > 1 - NEGLIGIBLE_BETA:
        return bounds.lower
    return beta * bounds.lower + (1 - beta) * bounds.interval.lower


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
) -> LossTerms:
    """kappa * CE(f(x), y) + (1 - kappa) * robust CE(beta * m_crown_ibp + (1 - beta) * m_ibp).

    x: (batch, ...); labels: (batch,), integers; eps (l_inf) and clip in the model's input units. num_classes: the width
    of the logits if not given. The clean forward always runs, and first: in train mode it is what updates BatchNorm's
    running statistics (bounds never do). For the number eps = 0 the loss is the clean cross-entropy, without bounds.

    Raises:
        ValueError: kappa or beta lies outside [0, 1], or num_classes is not the width of the logits.
        RegionError: eps is negative.

    Zhang et al. 2020 (CROWN-IBP).
    """
    require_share("kappa", kappa)
    require_share("beta", beta)
    clean_only = isinstance(eps, (int, float)) and eps == 0
    # A natural loss of weight zero is a measurement and needs no gradient.
    with torch.no_grad() if kappa == 0 and not clean_only else nullcontext():
        logits = bounded.model(x)
        natural_loss = F.cross_entropy(logits, labels)
    if num_classes not in (None, logits.shape[1]):
        raise ValueError(f"num_classes is {num_classes}, but the model has {logits.shape[1]} outputs")
    spec = margin_spec(labels, logits.shape[1]).to(logits)
    if clean_only:
        margins = torch.einsum("brk,bk->br", spec, logits)
        return LossTerms(natural_loss, natural_loss, natural_loss, logits, margins)
    margins = mixed_margins(bounded, x, spec, eps=eps, beta=beta, clip=clip)
    robust_loss = robust_cross_entropy(margins)
    return LossTerms(_weighted_sum(kappa, natural_loss, robust_loss), natural_loss, robust_loss, logits, margins)


def interpolate_with_eps(start: float, final: float, *, eps: float, eps_max: float) -> float:
    """Weight tied to the radius, start - (start - final) * eps / eps_max: `start` at 0, `final` at eps_max.

    eps and eps_max share one unit. Made for kappa and beta.

    Raises:
        ValueError: eps lies outside [0, eps_max].

    Zhang et al. 2020 (CROWN-IBP).
    """
    if not 0 <= eps <= eps_max:
        raise ValueError(f"eps must lie between 0 and eps_max = {eps_max}, not {eps}")
    if eps == 0:
        return start
    if eps == eps_max:  # exactly, whatever start - (start - final) rounds to
        return final
    return start - (start - final) * eps / eps_max


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """Radius eps_max * clip((step - start) / length, 0, 1) of a training step.

    eps_max: in the model's input units. start: last step at radius 0. length: steps from there to eps_max; 0 is a jump.

    Raises:
        ValueError: an argument is negative or not finite.

    Gowal et al. 2018 (IBP); Zhang et al. 2020 (CROWN-IBP).
    """

    eps_max: float
    start: int
    length: int

    def __post_init__(self) -> None:
        for name, value in (("eps_max", self.eps_max), ("start", self.start), ("length", self.length)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, not {value}")

    def __call__(self, step: int) -> float:
        """Radius at this optimizer step, counted from 0."""
        if step >= self.start + self.length:
            return self.eps_max
        if step <= self.start:
            return 0.0
        return self.eps_max * self._rise((step - self.start) / self.length)

    def _rise(self, fraction: float) -> float:
        """Share of eps_max that this fraction of the ramp has reached."""
        return fraction


@dataclass(frozen=True, kw_only=True)
class SmoothedSchedule(LinearSchedule):
    """Radius that grows as a power of the step on the first part of the ramp and linearly after it, C1 at the join.

    Arguments as for `LinearSchedule`, and power p, midpoint m: the fraction of the ramp at which the two parts join,
    at the value eps_max * m / (m + p * (1 - m)), by default eps_max / 13.

    Raises:
        ValueError: an argument is negative or not finite, power < 1, or midpoint lies outside (0, 1).

    Zhang et al. 2020 (CROWN-IBP), for CIFAR-10; Xu et al. 2020 (auto_LiRPA).
    """

    power: float = 4.0
    midpoint: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.power < math.inf:
            raise ValueError(f"power must be finite and at least 1, not {self.power}")
        if not 0 < self.midpoint < 1:
            raise ValueError(f"midpoint must lie strictly between 0 and 1, not {self.midpoint}")

    def _rise(self, fraction: float) -> float:
        # The slopes p * join / m and (1 - join) / (1 - m) are equal for this value at the join.
        join = self.midpoint / (self.midpoint + self.power * (1 - self.midpoint))
        if fraction < self.midpoint:
            return join * (fraction / self.midpoint) ** self.power
        return join + (1 - join) * (fraction - self.midpoint) / (1 - self.midpoint)


def _weighted_sum(kappa: float, natural_loss: Tensor, robust_loss: Tensor) -> Tensor:
    """kappa * natural + (1 - kappa) * robust, where a term of weight zero is absent: 0 * inf would be NaN."""
    if kappa == 0:
        return robust_loss
    if kappa == 1:
        return natural_loss
    return kappa * natural_loss + (1 - kappa) * robust_loss
