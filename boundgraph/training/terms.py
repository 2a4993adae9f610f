"""What every objective returns, and the objective without a radius."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.module import BoundedModule
from boundgraph.regions import LpBall, Region
from boundgraph.specification import margin_spec
from boundgraph.values import Interval

# At radius 0 intervals have no width to compare; this one stands in for it (Shi et al. 2021).
TINY_RADIUS = 1e-6


class LossTerms(NamedTuple):
    """One step's objective and what it was made of."""

    loss: Tensor  # scalar, to be minimised
    natural_loss: Tensor  # scalar
    robust_loss: Tensor  # scalar, of the bounds alone
    logits: Tensor  # (batch, classes), the model's own output for the clean batch
    margins: Tensor | None  # (batch, classes - 1), lower bounds of label logit minus each other; None for a fused loss
    preactivations: tuple[Interval, ...] | None = None  # what the activations read, in the model's order, if asked for
    input_radius: Tensor | None = None  # scalar, the mean radius of the region that these were computed for


def natural_loss(bounded: BoundedModule, x: Tensor, labels: Tensor) -> LossTerms:
    """The cross-entropy CE(f(x), y) alone, with the margins of the logits.

    x: (batch, ...); labels: (batch,), integers. In train mode the pass updates BatchNorm's running statistics.
    """
    return natural_terms(bounded, x, labels, bounded.model(x))


def natural_terms(
    bounded: BoundedModule,
    x: Tensor,
    labels: Tensor,
    logits: Tensor,
    *,
    clip: tuple[float, float] | None = None,
    preactivations: bool = False,
) -> LossTerms:
    """What an objective is for the number eps = 0. Intervals of pre-activations are those of the radius 1e-6."""
    spec = margin_spec(labels, logits.shape[1]).to(logits)
    loss = F.cross_entropy(logits, labels)
    read, radius = None, None
    if preactivations:
        region = LpBall(x, TINY_RADIUS, clip=clip)
        _, read = bounded.using("ibp").with_preactivations(region, spec=spec, sides="lower")
        radius = mean_radius(region)
    return LossTerms(loss, loss, loss, logits, exact_margins(logits, spec), read, radius)


def mean_radius(region: Region) -> Tensor:
    """Of the coordinates of a region: a scalar, in the units of the input."""
    return region.interval().radius.detach().mean()


def exact_margins(logits: Tensor, spec: Tensor) -> Tensor:
    """Label logit minus each other logit, for specifications (batch, rows, classes): (batch, rows)."""
    return torch.einsum("brk,bk->br", spec, logits)


def without_radius(eps: float | Tensor) -> bool:
    """Whether eps is the number 0. A tensor is not looked at: that would stall an accelerator."""
    return isinstance(eps, (int, float)) and eps == 0
