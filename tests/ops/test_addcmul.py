"""Sums with products in them: what they are written out as computes the same, and has sound bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.testing import check_sound

aten = torch.ops.aten
X = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
C = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
S = C.expand(2, 3, 3)

CALLS = {
    "addcmul": lambda x: torch.addcmul(x, torch.relu(x), C, value=-2),
    "x.addcmul": lambda x: x.addcmul(x, torch.relu(x)),
    "x.addcmul_": lambda x: (x + 0).addcmul_(C, x, value=0.5),
    "aten.addcmul": lambda x: aten.addcmul.default(C, x, torch.relu(x), value=2),
    "addcdiv": lambda x: torch.addcdiv(x, C, 2 + torch.relu(x), value=-2),
    "x.addcdiv": lambda x: x.addcdiv(x, C),
    "aten.addcdiv": lambda x: aten.addcdiv.default(x, x, C),
    "lerp": lambda x: torch.lerp(x, torch.relu(x), 0.25),
    "lerp, outside": lambda x: torch.lerp(x, C, -1.5),
    "lerp, constant weights": lambda x: torch.lerp(x, torch.relu(x), C),
    "lerp, perturbed weights": lambda x: x.lerp(torch.relu(x), torch.sigmoid(x)),
    "aten.lerp": lambda x: aten.lerp.Scalar(x, C, 0.5),
    "addmm": lambda x: torch.addmm(C[0], x.flatten(1), S.reshape(6, 3).repeat(2, 1)[:9], beta=2, alpha=0.5),
    "addmm, without what is added": lambda x: torch.addmm(C[0], x.flatten(1), C.repeat(3, 1), beta=0),
    "aten.addmm": lambda x: aten.addmm.default(C[0], x.flatten(1), C.repeat(3, 1)),
    "baddbmm": lambda x: torch.baddbmm(C, x, torch.relu(x), beta=0.5, alpha=2),
    "x.baddbmm": lambda x: x.baddbmm(S, x),
    "aten.baddbmm": lambda x: aten.baddbmm.default(x, x, x),
}


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(torch.tanh(x))


@pytest.mark.parametrize("method", ["ibp", "crown"])
@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str, method: str) -> None:
    check_sound(Function(CALLS[name]), boundgraph.LpBall(X, eps=0.1), method=method, samples=8, steps=3)


def test_interval_of_lerp_is_exact(bound) -> None:
    x = torch.tensor([[1.0, -2.0]])
    bounds = bound(lambda x: torch.lerp(x, torch.zeros(2), 0.25), x, "ibp", eps=1.0)
    torch.testing.assert_close(bounds.lower, torch.tensor([[0.0, -2.25]]))
    torch.testing.assert_close(bounds.upper, torch.tensor([[1.5, -0.75]]))
