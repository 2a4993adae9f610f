"""Rows over the flattened output, alone and merged with a last linear layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.specification import MERGED_SPECIFICATION, SPECIFICATION, merged_interval
from boundgraph.specification import compared_pairs, margin_spec
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(3, 4), tensor(3, 5, 4)),
        (Perturbed(3, 4), tensor(1, 5, 4)),
        (Perturbed(2, 2, 3), tensor(2, 3, 6)),
        (Perturbed(3), tensor(1, 2, 1)),
    ]
    check_operator(SPECIFICATION, cases=cases)


def test_merged_laws(tensor) -> None:
    margins = margin_spec(torch.tensor([0, 2, 1]), 3)
    cases = [
        (Perturbed(3, 4), tensor(3, 5, 2), tensor(2, 4), tensor(2)),
        (Perturbed(3, 4), tensor(1, 5, 2), tensor(2, 4), tensor(2)),
        (Perturbed(3, 4), tensor(1, 5, 2), tensor(2, 4)),
        (Perturbed(3, 4), margins, tensor(3, 4), tensor(3)),  # by pairs of outputs
        (Perturbed(3, 4), margins[:1], tensor(3, 4)),
        (Perturbed(2, 2, 4), tensor(2, 5, 6), tensor(3, 4), tensor(3)),  # a layer on each of two positions
    ]
    check_operator(MERGED_SPECIFICATION, cases=cases)


@pytest.mark.parametrize("batch", [1, 7])
def test_margins_by_pairs_are_margins_row_by_row(tensor, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of pairs gives what a product per example gives, also where all examples share one radius."""
    x, weight, bias = tensor(7, 4), tensor(5, 4), tensor(5)
    spec = margin_spec(torch.randint(5, (batch,)), 5, torch.float64)
    tables = []

    def seen(spec: Tensor) -> Any:
        tables.append(compared_pairs(spec))
        return tables[-1]

    monkeypatch.setattr("boundgraph.ops.specification.compared_pairs", seen)
    for radius in (tensor(7, 4).abs(), tensor(1, 4).abs()):
        inputs = [part.requires_grad_() for part in (x, radius, weight, bias)]
        results = []
        for rows in (spec, spec * (1 - 1e-15)):  # the second are no longer exactly e_i - e_j
            found = merged_interval(Interval.around(x, radius), rows, weight, bias)
            weighted = (found.lower * torch.arange(28.0).reshape(7, 4)).sum() + found.upper.sum()
            results.append((found.lower, found.upper, *torch.autograd.grad(weighted, inputs)))
        assert (tables[-2] is None, tables[-1] is None) == (False, True)
        for by_pairs, by_rows in zip(*results, strict=True):
            torch.testing.assert_close(by_pairs, by_rows, rtol=1e-12, atol=1e-12)


def test_rows_that_learn_are_not_looked_up(tensor) -> None:
    """A table of pairs would cut their gradient off."""
    spec = margin_spec(torch.tensor([0, 2]), 3, torch.float64).requires_grad_()
    box = Interval.around(tensor(2, 4), tensor(2, 4).abs())
    radius = merged_interval(box, spec, tensor(3, 4)).radius
    (gradient,) = torch.autograd.grad(radius.sum(), spec)
    assert (gradient != 0).any()


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_merging_is_exact_for_a_last_layer(tensor, method: str) -> None:
    """C (W x + b) over a box ranges as a linear map does: over C W centre + C b -+ |C W| eps."""
    layer, x, spec = nn.Linear(4, 3).double(), tensor(2, 4), tensor(2, 5, 3)
    bounds = boundgraph.compile(layer, method)(x, eps=0.25, spec=spec)
    center = torch.einsum("bro,bo->br", spec, layer(x))
    radius = 0.25 * (spec @ layer.weight).abs().sum(2)
    torch.testing.assert_close(bounds.lower, center - radius)
    torch.testing.assert_close(bounds.upper, center + radius)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_layers_over_more_dimensions(tensor, method: str) -> None:
    """A linear layer over the last of three dimensions, flattened, has columns for all its outputs."""
    for model in (nn.Sequential(nn.Linear(4, 3), nn.Flatten()).double(), nn.Linear(4, 3).double()):
        x, spec = tensor(2, 2, 4), tensor(5, 6)
        bounds = boundgraph.compile(model, method)(x, eps=0.0, spec=spec)
        torch.testing.assert_close(bounds.lower, model(x).flatten(1) @ spec.T)
