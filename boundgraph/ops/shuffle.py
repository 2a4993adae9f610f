"""Channels and pixels that change places: pixel_shuffle (Shi et al. 2016), its inverse, channel_shuffle."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.pooling import require_batched
from boundgraph.rearranging import rearrangement

aten = torch.ops.aten


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(require_batched(x, 2, "pixel_shuffle"), upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(require_batched(x, 2, "pixel_unshuffle"), downscale_factor)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    return F.channel_shuffle(x, groups)


PIXEL_SHUFFLE = rearrangement(pixel_shuffle, (F.pixel_shuffle, aten.pixel_shuffle.default))
PIXEL_UNSHUFFLE = rearrangement(pixel_unshuffle, (F.pixel_unshuffle, aten.pixel_unshuffle.default))
CHANNEL_SHUFFLE = rearrangement(channel_shuffle, (F.channel_shuffle, aten.channel_shuffle.default))
