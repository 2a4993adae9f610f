"""Resampling in every mode, to sizes and by factors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.interpolate import INTERPOLATE
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.testing.laws import LAWS
from boundgraph.testing.trials import Trial

aten = torch.ops.aten

LINE, IMAGE, VOLUME = Perturbed(2, 2, 4), Perturbed(2, 2, 4, 5), Perturbed(2, 1, 2, 3, 2)

# factors and sizes for which places between pixels are exact in float32
CASES = [
    *(
        (x, size, None, mode)
        for mode in ("nearest", "nearest-exact", "area")
        for x, size in ((LINE, 7), (LINE, [3]), (IMAGE, (3, 7)), (IMAGE, 3), (VOLUME, (3, 2, 1)))
    ),
    *(
        (x, None, factor, mode, False, recompute)
        for x, factor, mode in (
            (LINE, 2, "linear"),
            (IMAGE, (0.5, 2.0), "bilinear"),
            (VOLUME, 2, "trilinear"),
            (IMAGE, (2.0, 0.5), "bicubic"),
        )
        for recompute in (None, True)
    ),
    (IMAGE, None, 1.7, "nearest"),
    (IMAGE, (4, 9), None, "bilinear", True),
    (IMAGE, (7, 3), None, "bicubic", True),
    (Perturbed(2, 1, 1, 3), (2, 6), None, "bicubic"),
    (Perturbed(2, 1, 3, 1), (6, 2), None, "bicubic"),
    *(
        (IMAGE, (2, 10), None, mode, corners, None, True)
        for mode in ("bilinear", "bicubic")
        for corners in (True, False)
    ),
]
OTHERS = [
    *((x, None, factor, mode, corners, recompute)
      for x, factor, mode in ((LINE, 1.6, "linear"), (IMAGE, (1.6, 0.7), "bilinear"), (VOLUME, 1.5, "trilinear"),
                              (IMAGE, (1.6, 0.7), "bicubic"))
      for corners, recompute in ((True, None), (False, None), (False, True))),
    *((IMAGE, (3, 7), None, mode, False, None, antialias) for mode in ("bilinear", "bicubic")
      for antialias in (False, True)),
]  # fmt: skip


def test_laws() -> None:
    check_operator(INTERPOLATE, cases=CASES, calls=None)


@pytest.mark.parametrize("arguments", OTHERS, ids=str)
def test_laws_in_double(arguments: tuple) -> None:
    """The weights are torch's: those in float32 are rounded ones, and none of the laws expects that of a reference."""
    trial = Trial(INTERPOLATE, arguments, torch.float64)
    for law in LAWS:
        law(trial)


class Resampled(nn.Module):
    def __init__(self, mode: str, dims: int = 2, antialias: bool = False) -> None:
        super().__init__()
        self.mode, self.dims, self.antialias = mode, dims, antialias

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x.flatten(1, 4 - self.dims), scale_factor=1.5, mode=self.mode, antialias=self.antialias)


def test_spellings() -> None:
    calls = [Resampled(mode, dims) for mode in ("nearest", "nearest-exact") for dims in (1, 2, 3)]
    calls += [Resampled("linear", 1), Resampled("trilinear", 3)]
    calls += [Resampled(mode, 2, antialias) for mode in ("bilinear", "bicubic") for antialias in (False, True)]
    calls += [nn.Upsample((3, 2, 2)), nn.Sequential(nn.Flatten(1, 2), nn.UpsamplingBilinear2d(scale_factor=2))]
    check_operator(INTERPOLATE, cases=[(Perturbed(2, 1, 2, 2, 3), None, 1.5)], calls=calls)


def test_negative_weights(bound) -> None:
    """Cubic resampling overshoots: in the middle of four pixels the outer two have weight -3/32."""
    x = torch.tensor([[[[0.0, 1.0, 1.0, 0.0]]]])
    for method in ("ibp", "crown"):
        bounds = bound(lambda x: F.interpolate(x, (1, 8), mode="bicubic", align_corners=False)[..., 3:5], x, method)
        radius = (bounds.upper - bounds.lower) / 2
        assert (radius > 0.5 + 1e-3).all()


class Like(nn.Module):
    """To the size of another value, which is known when the graph runs."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.conv, self.mode = nn.Conv2d(1, 2, 3, 2), mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(torch.relu(self.conv(x)), size=x.shape[2:], mode=self.mode)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_in_a_network(mode: str) -> None:
    torch.manual_seed(0)
    for method in ("ibp", "crown-ibp", "crown"):
        check_sound(Like(mode), boundgraph.LpBall(torch.rand(2, 1, 5, 6), eps=0.05), method=method)


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"resampling needs shape \(batch, channels, ...\), not \(2, 4\)"):
        bound(lambda x: F.interpolate(x, 2), tensor(2, 4))
    with pytest.raises(boundgraph.GraphError, match="of one column torch 2.13 computes something else"):
        bound(lambda x: F.interpolate(x, (2, 2), mode="bilinear", antialias=True), tensor(2, 1, 4, 1))
