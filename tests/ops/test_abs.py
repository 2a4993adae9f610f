"""Absolute value: the laws, and lines worked by hand."""

from __future__ import annotations

import torch

from boundgraph.ops.abs import ABS, interval, relax, unstable
from boundgraph.testing import check_operator
from boundgraph.values import Interval


def test_laws() -> None:
    check_operator(ABS)


def test_by_hand() -> None:
    """On [-1, 3]: range [0, 3]; chord x / 2 + 3 / 2; the longer side is the right one, so the lower line is x."""
    box = Interval(torch.tensor([[-1.0]]), torch.tensor([[3.0]]))
    assert [end.item() for end in interval(box)] == [0.0, 3.0]
    lower, upper = relax(box)
    assert (lower.slope.item(), lower.intercept) == (1.0, None)
    assert (upper.slope.item(), upper.intercept.item()) == (0.5, 1.5)
    assert unstable(box).item()
