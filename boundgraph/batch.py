"""The one rule about shapes: dimension 0 counts examples, and no operator may mix or move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from boundgraph.errors import GraphError


def require_same_examples(before: Tensor, after: Tensor, what: str) -> Tensor:
    """`after`, if it still has the examples of `before` in dimension 0.

    Row-major order makes this sufficient for reshapes: equal first dimensions mean that no element changes its example.
    """
    if after.dim() == 0 or after.shape[0] != before.shape[0]:
        raise GraphError(
            f"{what} turns shape {tuple(before.shape)} into {tuple(after.shape)}: dimension 0 must stay the batch, "
            "because bounds are computed per example. Keep x.shape[0] first, e.g. x.flatten(1)."
        )
    return after


def require_inner_dims(dims: int | Sequence[int] | None, ndim: int, what: str) -> None:
    """Reject dims that include the batch dimension."""
    given = range(ndim) if dims is None or dims == [] or dims == () else [dims] if isinstance(dims, int) else dims
    if any(dim % ndim == 0 for dim in given):
        raise GraphError(
            f"{what} over dimension 0 mixes examples of the batch, so it has no per-example bounds; "
            f"name the dimensions to use, among 1..{ndim - 1}"
        )


def turned_reduction(x: Any, dim: Any = None, keepdim: bool = False) -> tuple[tuple, bool] | None:
    """How a reduction is called of x with dimensions 0 and 1 swapped; see `Operator.turned`."""
    if dim in (0, [0], (0,)):
        return (x, 1, keepdim), keepdim
    if keepdim and dim in (-1, [-1], (-1,)):
        return (x, dim, keepdim), True
    return None
