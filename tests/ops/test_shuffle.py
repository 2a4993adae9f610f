"""Pixels and channels that change places."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.shuffle import CHANNEL_SHUFFLE, PIXEL_SHUFFLE, PIXEL_UNSHUFFLE
from boundgraph.testing import Perturbed, check_operator


def test_laws() -> None:
    check_operator(PIXEL_SHUFFLE, cases=[(Perturbed(2, 8, 2, 1), 2)], calls=[nn.PixelShuffle(2)])
    check_operator(PIXEL_UNSHUFFLE, cases=[(Perturbed(2, 2, 4, 2), 2)], calls=[nn.PixelUnshuffle(2)])
    cases = [(Perturbed(2, 4, 2, 2), 2), (Perturbed(2, 6, 2), 3)]
    check_operator(CHANNEL_SHUFFLE, cases=cases, calls=[nn.ChannelShuffle(2)])


@pytest.mark.parametrize("function", [F.pixel_shuffle, F.pixel_unshuffle])
def test_single_images_are_refused(bound, tensor, function) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"needs shape \(batch, channels, ...\) with 4 dimensions"):
        bound(lambda x: function(x, 2), tensor(4, 2, 2))
