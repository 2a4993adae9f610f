"""Fully connected layers, with any number of dimensions between batch and features."""

from __future__ import annotations

import torch
from torch import nn

import boundgraph
from boundgraph.ops.linear import LINEAR
from boundgraph.testing import Perturbed, check_operator


def test_laws(tensor) -> None:
    weight, bias = tensor(4, 3), tensor(4)
    cases = [(Perturbed(2, 3), weight, bias), (Perturbed(3, 3), weight), (Perturbed(2, 2, 5, 3), weight, bias)]
    check_operator(LINEAR, cases=cases, calls=[nn.Linear(3, 4), nn.Linear(3, 2, bias=False)])


def test_by_hand() -> None:
    """x1 - 2 x2 + 1 on [0, 1] x [1, 3] ranges over [-5, 0]."""
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, -2.0]]), torch.tensor([1.0])
    box = boundgraph.Box(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 3.0]]))
    for method in ("ibp", "crown-ibp", "crown"):
        bounds = boundgraph.compile(layer, method)(box)
        assert (bounds.lower.item(), bounds.upper.item()) == (-5.0, 0.0)
