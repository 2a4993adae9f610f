"""Calls that leave their operand as it is vanish from the graph; dropout does so in eval mode only."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.identity import DROPOUT, IDENTITY

aten = torch.ops.aten

CALLS = {
    "contiguous": lambda x: x.contiguous(),
    "clone": lambda x: x.clone(memory_format=torch.preserve_format),
    torch.clone: lambda x: torch.clone(input=x),
    operator.pos: lambda x: +x,
    torch.positive: torch.positive,
    aten.clone.default: aten.clone.default,
    aten.alias.default: aten.alias.default,
    aten.contiguous.default: aten.contiguous.default,
    aten.positive.default: aten.positive.default,
    "detach": lambda x: x.detach(),
    torch.detach: torch.detach,
    aten.detach.default: aten.detach.default,
    aten.detach_.default: lambda x: aten.detach_.default(x.clone()),
    aten.lift_fresh_copy.default: aten.lift_fresh_copy.default,
    F.dropout: lambda x: F.dropout(x, 0.5, training=False),
    F.dropout1d: lambda x: F.dropout1d(x.unsqueeze(1), 0.5, training=False).squeeze(1),
    F.dropout2d: lambda x: F.dropout2d(x.reshape(-1, 1, 3, 1), training=False).flatten(1),
    F.dropout3d: lambda x: F.dropout3d(x.reshape(-1, 1, 3, 1, 1), training=False).flatten(1),
    F.alpha_dropout: lambda x: F.alpha_dropout(x, 0.0, training=True),
    torch.dropout: lambda x: torch.dropout(x, 0.5, False),
    aten.dropout.default: lambda x: aten.dropout.default(x, 0.5, False),
}


@pytest.mark.parametrize("spelling", CALLS, ids=lambda spelling: getattr(spelling, "__qualname__", str(spelling)))
def test_does_nothing(bound, tensor, spelling) -> None:
    x = tensor(2, 3)
    bounds = bound(CALLS[spelling], x)
    torch.testing.assert_close(bounds.lower, x - 0.5)
    torch.testing.assert_close(bounds.upper, x + 0.5)


def test_every_spelling_is_tried() -> None:
    assert {*IDENTITY.adapters, *DROPOUT.adapters} == set(CALLS)


def test_dropout_layers(tensor) -> None:
    model, x = nn.Sequential(nn.Identity(), nn.Dropout(0.4), nn.Linear(3, 2)).double(), tensor(2, 3)
    bounded = boundgraph.compile(model.eval())
    torch.testing.assert_close(bounded(x, eps=0.0).lower, model(x))
    bounded.train()
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="dropout in train mode is random and has no bounds"):
        bounded(x, eps=0.1)
