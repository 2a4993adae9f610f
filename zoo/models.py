"""The models: every architecture is one builder, every name one row of a table.

The ids and sizes of the MNIST models are those of the CROWN-IBP paper (Zhang et al. 2020) and its code; `dm-small` is
from the IBP paper (Gowal et al. 2018). All are plain sequences with a ReLU after every layer but the last.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from zoo.errors import ZooError

CLASSES = 10
INPUT_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28)}

Shape = tuple[int, int, int]  # channels, height, width
Builder = Callable[[Shape], nn.Sequential]


def cnn_2layer(shape: Shape, *, width: int, hidden: int) -> nn.Sequential:
    """Two convolutions of stride 2, one hidden linear layer."""
    channels, height, size = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4 * width, 8 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * width * (height // 4) * (size // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, CLASSES),
    )


def cnn_3layer_fixed(shape: Shape, *, kernel: int, width: int, hidden: int | None = None) -> nn.Sequential:
    """Two convolutions of stride 1 and one of stride 4. The padding is 1, so a kernel of 5 shrinks the image."""
    channels, height, size = shape
    hidden = 64 * width if hidden is None else hidden
    shrink = 2 * (kernel - 3)
    return nn.Sequential(
        nn.Conv2d(channels, 4 * width, kernel, padding=1),
        nn.ReLU(),
        nn.Conv2d(4 * width, 8 * width, kernel, padding=1),
        nn.ReLU(),
        nn.Conv2d(8 * width, 8 * width, 4, stride=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * width * ((height - shrink) // 4) * ((size - shrink) // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, CLASSES),
    )


def cnn_4layer(shape: Shape, *, width: int, hidden: int) -> nn.Sequential:
    """Four convolutions, every second of stride 2, and two hidden linear layers."""
    channels, height, size = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4 * width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4 * width, 4 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4 * width, 8 * width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8 * width, 8 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * width * (height // 4) * (size // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, CLASSES),
    )


def dm_small(shape: Shape) -> nn.Sequential:
    """Two convolutions without padding (TensorFlow's VALID), one hidden linear layer."""
    channels, height, size = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * ((height - 4) // 2 - 2) * ((size - 4) // 2 - 2), 100),
        nn.ReLU(),
        nn.Linear(100, CLASSES),
    )


def digits_cnn(shape: Shape) -> nn.Sequential:
    """Two 3x3 convolutions, one of stride 2, and one hidden linear layer: for 8x8 images."""
    channels, height, size = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 2) * (size // 2), 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


# The ten small models of the paper, in its order.
MNIST_MODELS: dict[str, Builder] = {
    "cnn_2layer_width_1": partial(cnn_2layer, width=1, hidden=128),
    "cnn_2layer_width_2": partial(cnn_2layer, width=2, hidden=256),
    "cnn_4layer_linear_256_width_1": partial(cnn_4layer, width=1, hidden=256),
    "cnn_4layer_linear_256_width_2": partial(cnn_4layer, width=2, hidden=256),
    "cnn_4layer_linear_512_width_1": partial(cnn_4layer, width=1, hidden=512),
    "cnn_4layer_linear_512_width_2": partial(cnn_4layer, width=2, hidden=512),
    "cnn_3layer_fixed_kernel_3_width_1": partial(cnn_3layer_fixed, kernel=3, width=1),
    "cnn_3layer_fixed_kernel_3_width_2": partial(cnn_3layer_fixed, kernel=3, width=2),
    "cnn_3layer_fixed_kernel_5_width_1": partial(cnn_3layer_fixed, kernel=5, width=1),
    "cnn_3layer_fixed_kernel_5_width_2": partial(cnn_3layer_fixed, kernel=5, width=2),
    "dm-small": dm_small,
}

MODELS: dict[str, dict[str, Builder]] = {
    "digits": {"digits_cnn": digits_cnn},
    "mnist": MNIST_MODELS,
    "fashion-mnist": MNIST_MODELS,
}


def names(dataset: str = "mnist") -> list[str]:
    """Names of the models for one data set.

    Raises:
        ZooError: the data set is unknown.
    """
    if dataset not in MODELS:
        raise ZooError(f"unknown data set {dataset!r}; there are models for: {', '.join(MODELS)}")
    return list(MODELS[dataset])


def build(name: str, dataset: str = "mnist") -> nn.Sequential:
    """Untrained model, with PyTorch's default initialisation, for images of the data set with pixels in [0, 1].

    Raises:
        ZooError: (a ValueError) the name or the data set is unknown.
    """
    known = names(dataset)
    if name not in known:
        elsewhere = [other for other in MODELS if name in MODELS[other]]
        hint = f" ({name} is for {' and '.join(elsewhere)})" if elsewhere else ""
        raise ZooError(f"unknown model {name!r} for {dataset}{hint}; there are: {', '.join(known)}")
    return MODELS[dataset][name](INPUT_SHAPES[dataset])


class ModelSize(NamedTuple):
    """How large a model is, per example where that matters."""

    parameters: int
    relus: int  # neurons that pass through a ReLU
    macs: int  # multiply-accumulates of the linear layers in one forward pass


def measure(model: nn.Module, shape: Shape) -> ModelSize:
    """Parameters, ReLU neurons and multiply-accumulates of a model on one input of this shape."""
    relus = macs = 0

    def count(layer: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal relus, macs
        if isinstance(layer, nn.ReLU):
            relus += output.numel()
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            macs += output.numel() * layer.weight[0].numel()  # one row of the weight per output

    hooks = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return ModelSize(sum(p.numel() for p in model.parameters()), relus, macs)
