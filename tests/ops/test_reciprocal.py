"""Reciprocals on either side of 0; nothing is certified on an interval that contains it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from boundgraph.ops.reciprocal import RECIPROCAL, interval, relax
from boundgraph.testing import check_operator
from boundgraph.values import Interval, Line, Relaxation

AWAY = 1.0e5  # farther than the boxes of the laws reach


@pytest.mark.parametrize("shift", [AWAY, -AWAY])
def test_laws_away_from_zero(shift: float) -> None:
    def forward(x: Tensor) -> Tensor:
        return torch.reciprocal(x + shift)

    def moved(x: Interval) -> Interval:
        return Interval(x.lower + shift, x.upper + shift)

    def lines(x: Interval) -> Relaxation:
        return Relaxation(*(Line(slope, intercept + slope * shift) for slope, intercept in relax(moved(x))))

    away = replace(
        RECIPROCAL,
        forward=forward,
        interval=lambda x: interval(moved(x)),
        relax=lines,
        spellings=(),
        definition=None,
    )
    check_operator(away, calls=None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lines_enclose(dtype: torch.dtype) -> None:
    low = torch.logspace(-6, 6, 61, dtype=dtype)
    width = torch.cat((torch.zeros(1, dtype=dtype), torch.logspace(-6, 6, 25, dtype=dtype)))
    low, high = low.repeat_interleave(26), (low[:, None] * (1 + width)).flatten()
    eps = 32 * torch.finfo(dtype).eps
    for ends in ((low, high), (-high, -low)):
        box = Interval(*ends)
        lower, upper = relax(box)
        for part in torch.linspace(0, 1, 33, dtype=dtype):
            x = torch.lerp(*ends, part)
            below, above = (line.slope * x + line.intercept for line in (lower, upper))
            slack = eps * (1 / low + (lower.slope * x).abs() + (upper.slope * x).abs())
            assert (below <= 1 / x + slack).all()
            assert (above >= 1 / x - slack).all()
            assert (interval(box).lower <= 1 / x + slack).all()
            assert (interval(box).upper >= 1 / x - slack).all()


class Reciprocal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.reciprocal(x)


@pytest.mark.parametrize("method", ["ibp", "crown"])
@pytest.mark.parametrize("center", [0.0, 0.5, -0.5, float("nan")])
def test_zero_is_no_certificate(bound, method: str, center: float) -> None:
    bounds = bound(torch.reciprocal, torch.tensor([[center]]), method, eps=0.5)
    assert not bounds.lower.isfinite().any()
    assert not bounds.upper.isfinite().any()


def test_spellings(bound) -> None:
    x = torch.tensor([[2.0, -4.0]])
    for call in (torch.reciprocal, lambda x: x.reciprocal(), lambda x: x.clone().reciprocal_(), Reciprocal()):
        torch.testing.assert_close(bound(call, x, eps=0.0).lower, 1 / x)
