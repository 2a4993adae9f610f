"""Channels and pixels that change places: pixel_shuffle (Shi et al. 2016), its inverse, channel_shuffle."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.pooling import require_batched
from boundgraph.rearranging import rearrangement

aten = torch.ops.aten


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    return F.channel_shuffle(x, groups)


def pixels_require(shape: torch.Size, factor: int) -> None:
    require_batched(shape, 2, "moving channels into pixels and back")


PIXEL_SHUFFLE = rearrangement(pixel_shuffle, (F.pixel_shuffle, aten.pixel_shuffle.default), requires=pixels_require)
PIXEL_UNSHUFFLE = rearrangement(
    pixel_unshuffle, (F.pixel_unshuffle, aten.pixel_unshuffle.default), requires=pixels_require
)
CHANNEL_SHUFFLE = rearrangement(channel_shuffle, (F.channel_shuffle, aten.channel_shuffle.default))
