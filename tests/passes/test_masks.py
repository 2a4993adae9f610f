"""Masks of hand-written attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.testing import check_sound

INFINITY = float("inf")


class Attends(nn.Module):
    """forward(x) = fc(softmax(masked(self, scores)) @ x), x (batch, 4, 6)."""

    def __init__(self, masked: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.masked, self.query, self.key, self.fc = masked, nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.register_buffer("seen", torch.ones(8, 8).tril().view(1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(-2, -1) / math.sqrt(6)
        return self.fc(torch.softmax(self.masked(self, scores), dim=-1) @ x)


MASKS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "masked_fill": lambda self, s: s.masked_fill(self.seen[:, :4, :4] == 0, -INFINITY),
    "where": lambda self, s: torch.where(self.seen[:, :4, :4] > 0, s, -INFINITY),
    "least": lambda self, s: s.masked_fill(self.seen[:, :4, :4] == 0, torch.finfo(torch.float32).min),
    "added": lambda self, s: s + torch.full((4, 4), -INFINITY, dtype=s.dtype).triu(1),
    "added first": lambda self, s: (1 - self.seen[:, :4, :4]) * torch.finfo(torch.float32).min + s,
    "bias": lambda self, s: s + self.seen[:, :4, :4],
    "large": lambda self, s: s.masked_fill(self.seen[:, :4, :4] == 0, -1e9),
}


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", MASKS)
def test_bounds(networks: ModuleType, name: str, method: str) -> None:
    model, x = Attends(MASKS[name]).double().eval(), torch.randn(2, 4, 6, dtype=torch.double)
    networks.assert_exact(boundgraph.compile(model, method), x, atol=1e-9)
    check_sound(model, boundgraph.LpBall(x, 0.05), method=method, samples=8, rows=1)


def test_the_mask_stands_apart(stages: Callable) -> None:
    targets = [
        node.target.__name__
        for node in stages(Attends(MASKS["masked_fill"]))["masks.apart"].graph.nodes
        if callable(node.target)
    ]
    assert "summand_where" in targets


def test_without_masks_the_graph_stays_the_same(stages: Callable) -> None:
    after_each = stages(Attends(lambda self, scores: scores * 2))
    assert after_each["masks.apart"] is after_each["batch_first.restore"]


def test_a_row_that_sees_nothing_is_not_a_number() -> None:
    model = Attends(lambda self, s: s.masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(), -INFINITY)).double()
    x = torch.randn(2, 4, 6, dtype=torch.double)
    bounded = boundgraph.compile(model)
    torch.testing.assert_close(bounded.primal(x), model(x), equal_nan=True)
    assert bounded(x, eps=0.1).lower[:, 0].isnan().all()
