"""Elements divided by their deviation, by the root of their mean square, or by their length."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.normalize import NORMALIZE, forward, interval
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval

SIZES = ("deviation", "root_mean_square", "length")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("eps", [0.01, 0.7])
def test_laws(size: str, eps: float) -> None:
    shapes = [
        (Perturbed(2, 3, 4), (-1,)),
        (Perturbed(2, 5), 1),
        (Perturbed(2, 2, 3, 2), (-2, -1)),
        (Perturbed(2, 3, 1, 2), (1, 3)),
        (Perturbed(3, 2), (1,)),
        (Perturbed(3, 1), (1,)),
    ]
    check_operator(NORMALIZE, cases=[(*shape, size, eps) for shape in shapes], calls=None)


def test_spellings() -> None:
    calls = [
        lambda x: F.normalize(x, dim=-1, eps=0.5),
        lambda x: F.normalize(x, 2.0, (1, 2)),
    ]
    check_operator(NORMALIZE, cases=[(Perturbed(2, 3, 4), (1, 2), "length", 0.5)], calls=calls)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0])
def test_corners_of_the_box(tensor, size: str, radius: float) -> None:
    """Without a mean the interval is the range itself; with one it is at most so much wider."""
    center, radius = tensor(40, 5), radius * tensor(40, 5).abs()
    box = Interval(center - radius, center + radius)
    points = [center + radius * torch.tensor(signs) for signs in product((-1.0, 0.0, 1.0), repeat=5)]
    points += [torch.minimum(torch.maximum(point, box.lower), box.upper) for point in (0 * center, *points)]
    nearest = torch.minimum(torch.maximum(0 * center, box.lower), box.upper)
    points += [torch.where(torch.eye(5, dtype=torch.bool)[i], end, nearest) for i in range(5) for end in box]
    values = torch.stack([forward(point, (1,), size, 1e-3) for point in points])
    found = interval(box, (1,), size, 1e-3)
    assert (found.lower <= values.amin(0) + 1e-12).all()
    assert (found.upper >= values.amax(0) - 1e-12).all()
    if size == "deviation":
        assert (found.upper - found.lower).mean() <= 1.7 * (values.amax(0) - values.amin(0)).mean()
        assert found.upper.max() <= 2  # the root of n - 1
    else:
        for side, value in zip(found, (values.amin(0), values.amax(0)), strict=True):
            torch.testing.assert_close(side, value)


def test_over_the_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="normalisation over dimension 0 mixes examples of the batch"):
        bound(lambda x: F.normalize(x, dim=0), tensor(2, 3))
