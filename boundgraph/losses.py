"""Upper bounds of the cross-entropy, from bounds of margins or of the loss itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boundgraph.values import Bounds

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}


def robust_cross_entropy(margins: Tensor, reduction: str = "mean") -> Tensor:
    """Upper bound log(1 + sum_j exp(-m_j)) of the cross-entropy over a region, from margin lower bounds m.

    margins: (batch, classes - 1), label logit minus each other logit, in units of the logits.
    reduction: "mean" or "sum" over the batch (a scalar), or "none" (batch,). A NaN margin gives a NaN loss.

    Raises:
        ValueError: margins are not two-dimensional, or the reduction is unknown.

    Wong & Kolter 2018; Zhang et al. 2020 (CROWN-IBP).
    """
    if margins.dim() != 2:
        raise ValueError(f"margins must have shape (batch, classes - 1), not {tuple(margins.shape)}")
    require_reduction(reduction)
    true_class = margins.new_zeros(len(margins), 1)
    return REDUCTIONS[reduction](torch.logsumexp(torch.cat((true_class, -margins), dim=1), dim=1))


def fused_cross_entropy(total: Bounds, shift: Tensor, beta: float, reduction: str) -> Tensor:
    """shift + log of the mixed upper bounds of the scaled sum of exponentials, from the walk and from intervals."""
    assert total.upper is not None
    assert total.interval is not None
    mixed = total.upper if beta == 1 else beta * total.upper + (1 - beta) * total.interval.upper
    return REDUCTIONS[reduction]((shift + mixed.log()).squeeze(1))


def require_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}; use one of {', '.join(map(repr, REDUCTIONS))}")


def require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {value}")
