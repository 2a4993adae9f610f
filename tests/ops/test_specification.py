"""Rows over the flattened output, alone and merged with a last linear layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.specification import MERGED_SPECIFICATION, SPECIFICATION
from boundgraph.testing import Perturbed, check_operator


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(3, 4), tensor(3, 5, 4)),
        (Perturbed(3, 4), tensor(1, 5, 4)),
        (Perturbed(2, 2, 3), tensor(2, 3, 6)),
        (Perturbed(3), tensor(1, 2, 1)),
    ]
    check_operator(SPECIFICATION, cases=cases)


def test_merged_laws(tensor) -> None:
    cases = [
        (Perturbed(3, 4), tensor(3, 5, 4), tensor(3, 5)),
        (Perturbed(3, 4), tensor(1, 5, 4), tensor(1, 5)),
        (Perturbed(3, 4), tensor(1, 5, 4)),
    ]
    check_operator(MERGED_SPECIFICATION, cases=cases)


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
