"""The sum of exponentials that loss fusion bounds."""

from __future__ import annotations

import torch

from boundgraph.ops.exp_sum import EXP_SUM, interval, relax, shift, through
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval


def test_laws(tensor) -> None:
    check_operator(EXP_SUM, cases=[(Perturbed(3, 4), tensor(3, 1).abs()), (Perturbed(2, 1), tensor(2, 1).abs())])


def test_shift_keeps_every_exponential_below_one() -> None:
    margins = Interval(torch.tensor([[-1e4, 3.0], [2.0, 5.0]]), torch.tensor([[1e4, 4.0], [3.0, 6.0]]))
    by = shift(margins)
    assert by.tolist() == [[1e4], [0.0]]
    total = interval(margins, by)
    assert (total.upper <= 3).all()
    assert total.upper.isfinite().all()
    lines = relax(margins, by)
    pulled, offset = through(-torch.ones(2, 1, 1), lines)
    assert pulled.isfinite().all()
    assert offset.isfinite().all()


def test_chord_joins_the_ends() -> None:
    margins = Interval(torch.tensor([[-1.0]]), torch.tensor([[2.0]]))
    upper = relax(margins, torch.zeros(1, 1)).lines.upper
    assert upper.intercept is not None
    for point in (-1.0, 2.0):
        torch.testing.assert_close(upper.slope * point + upper.intercept, torch.exp(torch.tensor([[-point]])))
