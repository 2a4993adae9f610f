"""Images sampled at constant places, of which every example may have its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.grid_sample import GRID_SAMPLE
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


def grid(*shape: int) -> Tensor:
    """Coordinates that are exact in float32, some of them outside, none of them where weights have a kink."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(-5, 6, shape, generator=generator).double() + 0.25) / 4


IMAGE, VOLUME = Perturbed(2, 2, 4, 2), Perturbed(2, 1, 2, 2, 4)
CASES = [
    (x, grid(2, *places), mode, padding, corners)
    for x, places in ((IMAGE, (3, 2, 2)), (VOLUME, (2, 1, 2, 3)))
    for mode in ("bilinear", "nearest")
    for padding in ("zeros", "border", "reflection")
    for corners in (False,)
]  # fmt: skip


def test_laws() -> None:
    places = grid(2, 3, 2, 2).float()
    calls = [
        lambda x: F.grid_sample(x, grid=places, align_corners=False),
        lambda x: torch.grid_sampler(x, places, 1, 0, True),
        lambda x: aten.grid_sampler.default(x, places, 1, 0, True),
        lambda x: aten.grid_sampler_2d.default(x, places, 0, 1, True),
        lambda x: aten.grid_sampler_3d.default(x[:, :, None], F.pad(places, (0, 1))[:, None], 0, 1, True).squeeze(2),
    ]
    check_operator(GRID_SAMPLE, cases=CASES, calls=calls)


class Turned(nn.Module):
    """A spatial transformer with one learned turn for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.turn = (
            nn.Conv2d(1, 2, 3, padding=1),
            nn.Parameter(torch.tensor([[0.8, -0.6, 0], [0.6, 0.8, 0.1]])),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x))
        places = F.affine_grid(self.turn.expand(x.shape[0], -1, -1), y.size(), align_corners=False)
        return F.grid_sample(y, places, align_corners=False)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_a_turned_image(method: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 5, 5)
    check_sound(Turned(), boundgraph.LpBall(x, eps=0.1), method=method)
    model = Turned()
    boundgraph.compile(model, method)(x, eps=0.1).upper.sum().backward()
    assert model.turn.grad.isfinite().all()


def test_refusals(bound, tensor) -> None:
    places = grid(2, 3, 3, 2)
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="bounds for the modes bilinear and nearest"):
        bound(lambda x: F.grid_sample(x, places, mode="bicubic"), tensor(2, 1, 4, 4))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="has bounds in x only, but `grid` is perturbed here"):
        bound(
            lambda x: F.grid_sample(torch.ones(2, 1, 4, 4, dtype=x.dtype), x, align_corners=False), tensor(2, 3, 3, 2)
        )
