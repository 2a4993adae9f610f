"""Architectures against the sizes that follow from their published description."""

import pytest
import torch
from torch import nn

import zoo
from zoo.models import INPUT_SHAPES, MODELS, measure, names

# name: parameters, ReLU neurons
PUBLISHED_SIZES = {
    "cnn_2layer_width_1": (52_182, 1_304),
    "cnn_2layer_width_2": (205_730, 2_608),
    "cnn_4layer_linear_256_width_1": (170_598, 6_392),
    "cnn_4layer_linear_256_width_2": (275_714, 12_272),
    "cnn_4layer_linear_512_width_1": (470_630, 6_904),
    "cnn_4layer_linear_512_width_2": (676_098, 12_784),
    "cnn_3layer_fixed_kernel_3_width_1": (27_170, 9_864),
    "cnn_3layer_fixed_kernel_3_width_2": (107_130, 19_728),
    "cnn_3layer_fixed_kernel_5_width_1": (21_090, 7_664),
    "cnn_3layer_fixed_kernel_5_width_2": (82_682, 15_328),
    "dm-small": (329_606, 6_004),
}
EVERY_MODEL = [(dataset, name) for dataset in MODELS for name in MODELS[dataset]]


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_models_have_the_published_sizes(dataset: str) -> None:
    measured = {name: measure(zoo.build(name, dataset), INPUT_SHAPES[dataset])[:2] for name in names(dataset)}
    assert measured == PUBLISHED_SIZES


@pytest.mark.parametrize(("dataset", "name"), EVERY_MODEL)
def test_every_model_maps_its_images_to_ten_logits(dataset: str, name: str) -> None:
    assert zoo.build(name, dataset)(torch.rand(3, *INPUT_SHAPES[dataset])).shape == (3, 10)


@pytest.mark.parametrize(("dataset", "name"), EVERY_MODEL)
def test_relu_follows_every_layer_but_the_last(dataset: str, name: str) -> None:
    layers = [layer for layer in zoo.build(name, dataset) if not isinstance(layer, nn.Flatten)]
    assert all(isinstance(layer, nn.ReLU) == (i % 2 == 1) for i, layer in enumerate(layers))
    assert isinstance(layers[-1], nn.Linear)


def test_macs_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    assert measure(model, (2, 4, 4)) == (57 + 245, 48, 16 * 3 * 18 + 240)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown model 'cnn' for digits; there are: digits_cnn"):
        zoo.build("cnn", "digits")
    with pytest.raises(ValueError, match=r"unknown model 'digits_cnn' for mnist \(digits_cnn is for digits\)"):
        zoo.build("digits_cnn")
    with pytest.raises(ValueError, match="unknown data set 'svhn'; there are models for: digits, mnist, fashion-mnist"):
        zoo.build("dm-small", "svhn")
