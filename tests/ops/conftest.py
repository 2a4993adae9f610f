"""`bound`: bounds of a function, as a user gets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.fixture
def bound() -> Callable[..., boundgraph.Bounds]:
    """bound(function, x, method="crown", eps=0.5): bounds of a module that applies the function."""

    def bounds(function: Callable[[Tensor], Tensor], x: Any, method: str = "crown", **call: Any) -> boundgraph.Bounds:
        if isinstance(x, Tensor):
            call.setdefault("eps", 0.5)
        return boundgraph.compile(_Function(function), method)(x, **call)

    return bounds


@pytest.fixture
def tensor() -> Callable[..., Tensor]:
    """Random numbers in float64, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
