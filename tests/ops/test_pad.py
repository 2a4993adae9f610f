"""Padding in every mode, layers and functions, and what it does to windows of coefficients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.pad import PAD
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten

LINE, IMAGE, VOLUME = Perturbed(2, 2, 4), Perturbed(2, 2, 4, 3), Perturbed(2, 1, 3, 2, 2)

CASES = [
    (LINE, (1, 2)),
    (LINE, [0, -2], "constant", 0.5),
    (LINE, (1, 0, 2, 1)),
    (IMAGE, (1, 2, 0, 1)),
    (IMAGE, (-1, 2)),
    (IMAGE, (1, -2, -1, 1), "constant", -2.0),
    (IMAGE, (1, 2, -1, 1, 1, 2), "constant", 1),
    (VOLUME, (1, 0, 0, 1, 1, -1)),
    *(
        (x, sizes, mode)
        for mode in ("reflect", "replicate", "circular")
        for x, sizes in ((LINE, (1, 2)), (IMAGE, (1, 2, 3, 0)), (VOLUME, (1, 0, 0, 1, 2, 1)))
    ),
    (IMAGE, (1, 2, -1, 1), "circular"),
    (Perturbed(2, 4), (1, 2), "reflect"),
    (Perturbed(2,), (0, 0)),
]  # fmt: skip


def test_laws() -> None:
    check_operator(PAD, cases=CASES, calls=None)


def test_spellings() -> None:
    def layers(dims: int) -> list[nn.Module]:
        kinds = [getattr(nn, f"{mode}Pad{dims}d") for mode in ("Zero", "Reflection", "Replication", "Circular")]
        return [nn.Sequential(nn.Flatten(1, 4 - dims), kind(1)) for kind in kinds]

    calls = [layer for dims in (1, 2, 3) for layer in layers(dims)]
    calls += [nn.ConstantPad3d((1, 0, -1, 0, 0, 1), 0.5), lambda x: aten.constant_pad_nd.default(x, [1, 1])]
    for dims in (1, 2, 3):
        for mode in ("reflection", "replication"):
            padding = getattr(aten, f"{mode}_pad{dims}d").default
            calls.append(lambda x, dims=dims, padding=padding: padding(x.flatten(1, 4 - dims), [1] * 2 * dims))
    check_operator(PAD, cases=[(Perturbed(2, 1, 3, 2, 2), (1, 1))], calls=calls)


PADDED = [
    (mode, nn.Sequential(nn.Conv2d(1, 2, 3, 1, 1, padding_mode=mode), nn.ReLU(), nn.Conv2d(2, 2, 3, 2, 1), nn.ReLU()))
    for mode in ("reflect", "replicate", "circular", "zeros")
]


@pytest.mark.parametrize(("mode", "model"), PADDED)
def test_padded_convolutions(mode: str, model: nn.Module) -> None:
    model = nn.Sequential(*model, nn.Conv2d(2, 2, 2, padding="same", padding_mode=mode), nn.ReLU())
    for method in ("ibp", "crown-ibp", "crown"):
        check_sound(model, boundgraph.LpBall(torch.rand(2, 1, 6, 6), eps=0.05), method=method)


def test_zeros_by_hand_are_zeros_of_the_layer() -> None:
    """Padding of its own keeps windows: the same bounds as with the padding of the convolution."""
    torch.manual_seed(0)
    inside = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 3, 1, 1)
    ).double()
    outside = nn.Sequential()
    for layer in inside:
        if isinstance(layer, nn.Conv2d):
            outside.append(nn.ZeroPad2d(1))
            plain = nn.Conv2d(layer.in_channels, layer.out_channels, 3, layer.stride)
            plain.weight, plain.bias = layer.weight, layer.bias
            layer = plain
        outside.append(layer)
    x = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    found, expected = (boundgraph.compile(model, "crown")(x, eps=0.05) for model in (outside, inside))
    torch.testing.assert_close(found.lower, expected.lower)
    torch.testing.assert_close(found.upper, expected.upper)


def test_padding_the_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"pad\(0, 0, 1, 1\) pads dimension 0 of a value of shape \(2, 3\)"):
        bound(lambda x: F.pad(x, (0, 0, 1, 1)), tensor(2, 3))
