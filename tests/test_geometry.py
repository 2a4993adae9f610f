"""Networks whose shapes change on the way: down and up again with skips, branches, shuffles and patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.testing import check_sound


class UNet(nn.Module):
    """Down by pooling, up by a transposed convolution or by resampling, with the skip cut to size and concatenated."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect"), nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 2, 2) if up == "conv" else nn.Upsample(scale_factor=2, mode=up)
        self.last = nn.Conv2d(3 + (3 if up == "conv" else 4), 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.down1(x))
        low = F.relu(self.down2(F.max_pool2d(skip, 2)))
        up = self.up(low)
        skip = skip[:, :, : up.shape[2], : up.shape[3]]
        return self.last(torch.cat((skip, up), 1))


class Inception(nn.Module):
    """Channels split over branches, put together again and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.one, self.three = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding="same")
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = F.relu(self.stem(x)).chunk(3, dim=1)
        pooled = F.max_pool2d(F.pad(c, (1, 1, 1, 1)), 3, 1)
        y = torch.cat([F.relu(self.one(a)), F.relu(self.three(b)), pooled], 1)
        y = F.channel_shuffle(y, 3).flip(-1)
        return self.head(F.adaptive_max_pool2d(y, 1).flatten(1))


class Patches(nn.Module):
    """Patches of pixels as words, mixed, and put back as an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Linear(4, 5), nn.Linear(9, 9)
        self.out = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        words = F.pixel_unshuffle(x, 2).flatten(2).mT  # (batch, patches, pixels)
        words = F.relu(self.embed(words)) + torch.ones(1, 1, 5).expand(-1, words.shape[1], -1)
        words = F.relu(self.mix(words.transpose(1, 2))).movedim(1, -1).roll(1, 1)
        return F.pixel_shuffle(self.out(words).mT.unflatten(2, (3, 3)), 2)


NETWORKS = {
    "conv": (UNet("conv"), (2, 1, 7, 6)),
    "nearest": (UNet("nearest"), (2, 1, 7, 6)),
    "bilinear": (UNet("bilinear"), (2, 1, 6, 6)),
    "bicubic": (UNet("bicubic"), (2, 1, 6, 6)),
    "inception": (Inception(), (2, 1, 6, 6)),
    "patches": (Patches(), (2, 1, 6, 6)),
}


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", NETWORKS)
def test_sound(name: str, method: str) -> None:
    model, shape = NETWORKS[name]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    regions = [boundgraph.LpBall(x, eps=0.03), boundgraph.LpBall(x, eps=0.1, norm=2)]
    for region in regions[: 1 if method == "ibp" else 2]:
        check_sound(model, region, method=method, samples=8, steps=5, rows=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_exported(name: str) -> None:
    """The other front end arrives at the same bounds."""
    model, shape = NETWORKS[name]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x) if x.dim() == 4 else x  # a decision that tracing cannot follow

    exported = boundgraph.compile(Branching(), "crown", example_inputs=(x,))(x, eps=0.03)
    traced = boundgraph.compile(model, "crown")(x, eps=0.03)
    torch.testing.assert_close(exported.lower, traced.lower, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(exported.upper, traced.upper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_through(name: str) -> None:
    """Gradients of the bounds reach every weight."""
    model, shape = NETWORKS[name]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for method in ("ibp", "crown-ibp", "crown"):
        bounds = boundgraph.compile(model, method)(x, eps=0.03)
        gradients = torch.autograd.grad(
            (bounds.upper - bounds.lower).square().sum(), list(model.parameters()), allow_unused=True
        )
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
        weights = [g for (n, _), g in zip(model.named_parameters(), gradients, strict=True) if n.endswith("weight")]
        assert all(gradient is not None for gradient in weights)
