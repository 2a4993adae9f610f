"""The walk in bfloat16, as text."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

import boundgraph

BF16 = boundgraph.method("crown-ibp", precision="bf16")


@pytest.mark.parametrize("name", ["five", "max-pool", "residual"])
def test_bfloat16(check_pass: Callable[..., Any], networks: ModuleType, name: str) -> None:
    """Weights are rounded once however often they are used; what is neither a product nor lines gets float32."""
    model = networks.build(name, dtype=torch.float)
    check_pass("precision.bfloat16", model, BF16, golden=name, spec=True, sides="lower")


def test_balls_ask_for_float32(stages: Callable[..., Any], networks: ModuleType, text: Callable[..., str]) -> None:
    model = networks.build("five", dtype=torch.float)
    after = stages(model, BF16, balls=True)["precision.bfloat16"]
    assert "x_minimum = regions.minimum(x_form_float32, x)" in text(after)


def test_nothing_to_do_without_a_walk(stages: Callable[..., Any], networks: ModuleType, text: Any) -> None:
    model = networks.build("five", dtype=torch.float)
    after = stages(model, BF16, keep_intervals=True)
    assert text(after["precision.bfloat16"]) == text(after["crown.backward"])
