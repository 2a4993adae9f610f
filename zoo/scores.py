"""Which examples count as correct and which as verified; what is not a number counts as neither."""

import math

import torch
from torch import Tensor


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the label's logit is strictly the largest, per example: ties and NaN are errors. (batch,), bool."""
    return worst_margin(logits, labels) > 0


def worst_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Label logit minus the largest other one, per example: (batch,)."""
    others = logits.scatter(1, labels.unsqueeze(1), -math.inf)
    return logits.gather(1, labels.unsqueeze(1)).squeeze(1) - others.amax(dim=1)


def verified(logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
    """Whether an example is correct and all its margin lower bounds are strictly positive numbers. (batch,), bool."""
    certified = (margins > 0) & torch.isfinite(margins)
    return correct(logits, labels) & certified.all(dim=1)
