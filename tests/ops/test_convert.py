"""Other formats for the same numbers."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.convert import CONVERT
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


class Converts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = aten.to.device(aten.to.dtype_layout(aten.to.dtype(x, torch.float64), dtype=torch.float64), "cpu", x.dtype)
        return aten.type_as.default(aten.to.other(aten._to_copy.default(y, dtype=x.dtype), x), x)


def test_laws() -> None:
    calls = [
        lambda x: x.to(x.dtype),
        lambda x: x.to(device="cpu", dtype=torch.float64),
        lambda x: x.double().type_as(torch.zeros(1)),
        lambda x: x.float(),
        lambda x: (x * 0).half(),
        lambda x: (x * 0).bfloat16(),
        Converts(),
    ]
    check_operator(CONVERT, cases=[(Perturbed(2, 3), ("cpu",))], calls=calls)


def test_mixed_formats(networks: ModuleType) -> None:
    """A normalisation in float32 within a model in another format, as language models have it."""

    def body(self: nn.Module, x: Tensor) -> Tensor:
        y = self.fc1(x).to(torch.float64)
        return self.fc2((y - y.mean(-1, keepdim=True)).to(x.dtype)).relu()

    model, x = networks.net(body, dtype=torch.float32), torch.randn(2, 3)
    for method in ("ibp", "crown-ibp", "crown"):
        found = boundgraph.compile(model, method)(x, eps=0.1)
        assert found.lower.dtype == torch.float32
        for _ in range(10):
            y = model(x + 0.2 * torch.rand_like(x) - 0.1)
            assert (found.lower <= y + 1e-6).all()
            assert (y <= found.upper + 1e-6).all()


def test_integers_are_refused(networks: ModuleType) -> None:
    for body in (lambda self, x: self.fc1(x).to(torch.int64), lambda self, x: self.fc1(x).to(self.offset.long())):
        with pytest.raises((boundgraph.UnsupportedOperatorError, boundgraph.GraphError), match="has no bound rule"):
            boundgraph.compile(networks.net(body))(torch.randn(2, 3, dtype=torch.double), eps=0.1)
