"""Linear specifications: which combinations of outputs to bound."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import RegionError
from boundgraph.regions import readable


def margin_spec(labels: Tensor, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
    """Rows e_label - e_j for every class j != label, in ascending order of j: a positive bound of every row proves
    that the label wins.

    labels: (batch,), integers in [0, num_classes). Returns (batch, num_classes - 1, num_classes).

    Raises:
        RegionError: labels are not integers of shape (batch,), or lie outside the classes.
    """
    if not isinstance(labels, Tensor):
        raise RegionError(f"labels must be a tensor of integers of shape (batch,), not a {type(labels).__name__}")
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise RegionError(
            f"labels must be integers of shape (batch,), not {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if readable(labels) and labels.numel() and not bool(((labels >= 0) & (labels < num_classes)).all()):
        raise RegionError(f"labels range from {labels.min()} to {labels.max()}, but there are {num_classes} classes")
    others = torch.arange(num_classes - 1, device=labels.device).expand(labels.shape[0], -1)
    others = others + (others >= labels.unsqueeze(1)).long()
    rows = F.one_hot(labels.long(), num_classes).unsqueeze(1) - F.one_hot(others, num_classes)
    return rows.to(dtype or torch.get_default_dtype())


def batched_spec(spec: Tensor, reference: Tensor) -> Tensor:
    """(rows, outputs) or (batch, rows, outputs) as (batch | 1, rows, outputs), in the dtype of the input `reference`.

    Raises:
        RegionError: another number of dimensions, or of examples.
    """
    if not isinstance(spec, Tensor) or spec.dim() not in (2, 3):
        shape = tuple(spec.shape) if isinstance(spec, Tensor) else type(spec).__name__
        raise RegionError(f"spec must have shape (rows, outputs) or (batch, rows, outputs), not {shape}")
    batched = spec.unsqueeze(0) if spec.dim() == 2 else spec
    if batched.shape[0] not in (1, reference.shape[0]):
        raise RegionError(f"spec is for {batched.shape[0]} examples, but the input has {reference.shape[0]}")
    return batched.to(reference.dtype)


def compared_pairs(spec: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which outputs the rows compare, two tensors (batch | 1, rows), if each row is e_i - e_j; else, or where numbers
    may not be looked at, None."""
    if not readable(spec) or spec.numel() == 0 or spec.requires_grad:  # by pairs, rows would get no gradient
        return None
    largest, first = spec.max(dim=2)
    smallest, second = spec.min(dim=2)
    one = torch.ones_like(largest)
    if torch.equal(largest, one) and torch.equal(smallest, -one) and torch.equal(spec.abs().sum(2), one + one):
        return first, second
    return None
