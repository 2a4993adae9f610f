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


def margin_to(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Label logit minus the target's, per example: (batch,)."""
    return (logits.gather(1, labels.unsqueeze(1)) - logits.gather(1, targets.unsqueeze(1))).squeeze(1)


def verified(logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
    """Whether an example is correct and all its margin lower bounds are strictly positive numbers. (batch,), bool."""
    return correct(logits, labels) & proven(margins)


def proven(margins: Tensor) -> Tensor:
    """Whether all margin lower bounds of an example are strictly positive numbers: (batch,), bool."""
    return ((margins > 0) & torch.isfinite(margins)).all(dim=1)


def best_of(margins: Tensor, others: Tensor) -> Tensor:
    """Elementwise the larger of two lower bounds, which is one too. NaN and infinity bound nothing: they are -inf."""
    return torch.maximum(_bounding(margins), _bounding(others))


def _bounding(margins: Tensor) -> Tensor:
    return margins.where(torch.isfinite(margins), -math.inf)
