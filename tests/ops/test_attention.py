"""Scaled dot-product attention, in all its spellings."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph

SEEN = torch.ones(3, 5, dtype=torch.bool).tril(1)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"is_causal": True},
    "bool": {"attn_mask": SEEN},
    "summand": {"attn_mask": torch.randn(2, 1, 3, 5, dtype=torch.double).masked_fill(~SEEN, -torch.inf)},
    "groups": {"enable_gqa": True},
    "groups, causal": {"enable_gqa": True, "is_causal": True, "scale": 0.5},
}


class Attends(nn.Module):
    """Three queries and five keys in every head, all perturbed; heads share keys in groups of two if asked."""

    def __init__(self, exported: bool, **options: Any) -> None:
        super().__init__()
        self.exported, self.options, self.fc = exported, options, nn.Linear(4, 4, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        if self.exported and x.dim() != 4:  # a decision on the shape, which tracing cannot follow
            return x
        keys = self.fc(x[:, ::2] if self.options.get("enable_gqa") else x)
        return F.scaled_dot_product_attention(x[:, :, :3], keys, 2 * keys, **self.options)


@pytest.mark.parametrize("exported", [False, True], ids=["traced", "exported"])
@pytest.mark.parametrize("name", OPTIONS)
def test_bounds(networks: ModuleType, name: str, exported: bool) -> None:
    model, x = Attends(exported, **OPTIONS[name]).eval(), torch.randn(2, 4, 5, 4, dtype=torch.double)
    examples = (x,) if exported else None
    networks.assert_captured(model, x, example_inputs=examples)
    found = boundgraph.compile(model, example_inputs=examples)(x, eps=0.1)
    for _ in range(20):
        with torch.no_grad():
            y = model(x + 0.2 * torch.rand_like(x) - 0.1)
        assert (found.lower <= y).all()
        assert (y <= found.upper).all()


def test_positions_that_are_not_seen_do_not_count() -> None:
    """However far they are perturbed."""
    model, x = Attends(False, is_causal=True).eval(), torch.randn(1, 1, 5, 4, dtype=torch.double)
    radius = torch.zeros_like(x)
    radius[:, :, 3:] = 100
    for method in ("ibp", "crown-ibp", "crown"):
        found = boundgraph.compile(model, method)(boundgraph.Box(x - radius, x + radius))
        torch.testing.assert_close(found.lower, model(x))
        torch.testing.assert_close(found.upper, model(x))


def test_dropout_is_random() -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="dropout of attention weights is random"):
        boundgraph.compile(Attends(False, dropout_p=0.1).eval())
