"""Which models there are: for every data set, names and what they stand for.

The 53 models of the CROWN-IBP paper (Zhang et al. 2020) have the ids of its code, in its order: for MNIST 10 small and
8 medium ones, the same for Fashion-MNIST, and for CIFAR-10 9 small and 8 medium ones.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from zoo.models.architectures import (
    cnn7,
    cnn_2layer,
    cnn_3layer_fixed,
    cnn_4layer,
    digits_cnn,
    dm_medium,
    dm_small,
    resnet_small,
)
from zoo.models.body import Body


class Model(NamedTuple):
    """One model of one data set."""

    architecture: Callable[[Body], nn.Sequential]
    paper_set: str | None = None  # "small" or "medium", where the paper has it
    batch_norm: bool = False  # by default
    true_name: str | None = None  # what the name should be, where the paper's is wrong


Models = dict[str, Model]


def _two(width: int, hidden: int) -> partial[nn.Sequential]:
    return partial(cnn_2layer, width=width, hidden=hidden)


def _four(width: int, hidden: int) -> partial[nn.Sequential]:
    return partial(cnn_4layer, width=width, hidden=hidden)


def _three(kernel: int, width: int, hidden: int | None = None) -> partial[nn.Sequential]:
    return partial(cnn_3layer_fixed, kernel=kernel, width=width, hidden=hidden)


MNIST_PAPER: Models = {
    "cnn_2layer_width_1": Model(_two(1, 128), "small"),
    "cnn_2layer_width_2": Model(_two(2, 256), "small"),
    "cnn_4layer_linear_256_width_1": Model(_four(1, 256), "small"),
    "cnn_4layer_linear_256_width_2": Model(_four(2, 256), "small"),
    "cnn_4layer_linear_512_width_1": Model(_four(1, 512), "small"),
    "cnn_4layer_linear_512_width_2": Model(_four(2, 512), "small"),
    "cnn_3layer_fixed_kernel_3_width_1": Model(_three(3, 1), "small"),
    "cnn_3layer_fixed_kernel_3_width_2": Model(_three(3, 2), "small"),
    "cnn_3layer_fixed_kernel_5_width_1": Model(_three(5, 1), "small"),
    "cnn_3layer_fixed_kernel_5_width_2": Model(_three(5, 2), "small"),
    # the paper has this network twice: its first one says 256 and has 512
    "cnn_4layer_linear_256_width_4": Model(_four(4, 512), "medium", true_name="cnn_4layer_linear_512_width_4"),
    "cnn_4layer_linear_512_width_4": Model(_four(4, 512), "medium"),
    "cnn_4layer_linear_512_width_8": Model(_four(8, 512), "medium"),
    "cnn_4layer_linear_512_width_16": Model(_four(16, 512), "medium"),
    "cnn_3layer_fixed_kernel_5_width_16": Model(_three(5, 16, 512), "medium"),
    "cnn_3layer_fixed_kernel_5_width_8": Model(_three(5, 8, 512), "medium"),
    "cnn_3layer_fixed_kernel_5_width_4": Model(_three(5, 4, 512), "medium"),
    "cnn_3layer_fixed_kernel_3_width_8": Model(_three(3, 8, 512), "medium"),
}

CIFAR10_PAPER: Models = {
    "cnn_2layer_width_2": Model(_two(2, 256), "small"),
    "cnn_4layer_linear_256_width_1": Model(_four(1, 256), "small"),
    "cnn_4layer_linear_256_width_2": Model(_four(2, 256), "small"),
    "cnn_4layer_linear_512_width_1": Model(_four(1, 512), "small"),
    "cnn_4layer_linear_512_width_2": Model(_four(2, 512), "small"),
    "cnn_3layer_fixed_kernel_3_width_1": Model(
        _three(3, 8, 512), "small", true_name="cnn_3layer_fixed_kernel_3_linear_512_width_8"
    ),
    "cnn_3layer_fixed_kernel_3_width_2": Model(_three(3, 2), "small"),
    "cnn_3layer_fixed_kernel_5_width_1": Model(_three(5, 1), "small"),
    "cnn_3layer_fixed_kernel_5_width_2": Model(_three(5, 2), "small"),
    "cnn_2layer_width_8": Model(_two(8, 128), "medium"),
    "cnn_2layer_width_16": Model(_two(16, 256), "medium"),
    "cnn_4layer_linear_256_width_8": Model(_four(8, 256), "medium"),
    "cnn_4layer_linear_256_width_16": Model(_four(16, 256), "medium"),
    "cnn_4layer_linear_512_width_8": Model(_four(8, 512), "medium"),
    "cnn_4layer_linear_512_width_16": Model(_four(16, 512), "medium"),
    "cnn_3layer_fixed_kernel_3_width_8": Model(_three(3, 8, 256), "medium"),
    "cnn_3layer_fixed_kernel_3_width_16": Model(_three(3, 16, 512), "medium"),
}

OTHERS: Models = {
    "dm-small": Model(dm_small),
    "dm-medium": Model(dm_medium),
    "dm-large": Model(partial(cnn7, width=64, hidden=512)),
    "cnn7_width_8": Model(partial(cnn7, width=8, hidden=128), batch_norm=True),
    "cnn7_width_16": Model(partial(cnn7, width=16, hidden=256), batch_norm=True),
    "cnn7_width_16_stride": Model(partial(cnn7, width=16, hidden=256, first_stride=2), batch_norm=True),
    "cnn7_width_32": Model(partial(cnn7, width=32, hidden=512), batch_norm=True),
    "cnn7_width_64": Model(partial(cnn7, width=64, hidden=512), batch_norm=True),
    "resnet_small": Model(resnet_small, batch_norm=True),
}

MODELS: dict[str, Models] = {
    "digits": {"digits_cnn": Model(digits_cnn)},
    "mnist": MNIST_PAPER | OTHERS,
    "fashion-mnist": MNIST_PAPER | OTHERS,
    "cifar10": CIFAR10_PAPER | OTHERS,
}


def paper_models() -> tuple[tuple[str, str], ...]:
    """The 53 models of the CROWN-IBP paper as pairs of data set and name, in its order."""
    return tuple((dataset, name) for dataset in MODELS for name, model in MODELS[dataset].items() if model.paper_set)
