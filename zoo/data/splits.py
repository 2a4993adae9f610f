"""Examples in memory, and how the training ones are divided and ordered."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError


class Split(NamedTuple):
    images: Tensor  # (N, channels, height, width), float32 in [0, 1]
    labels: Tensor  # (N,), int64

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples in this order (by default, as stored), `size` at a time; the last batch may be smaller."""
        order = torch.arange(len(self.labels), device=self.labels.device) if order is None else order
        for chosen in order.split(size):
            yield self.images[chosen], self.labels[chosen]

    def first(self, limit: int | None) -> "Split":
        """The first `limit` examples, or all."""
        return Split(self.images[:limit], self.labels[:limit])

    def to(self, device: torch.device) -> "Split":
        """The same examples in the memory of a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def chosen(self, order: Tensor) -> "Split":
        """The examples at these positions."""
        return Split(self.images[order], self.labels[order])


class Dataset(NamedTuple):
    train: Split
    test: Split  # for the final figures alone: nothing is chosen by it
    validation: Split | None = None  # for choosing checkpoints and settings; None where nothing was held out

    def to(self, device: torch.device) -> "Dataset":
        """The same examples in the memory of a device."""
        held_out = None if self.validation is None else self.validation.to(device)
        return Dataset(self.train.to(device), self.test.to(device), held_out)

    def hold_out(self, count: int) -> "Dataset":
        """The data set with `count` of its training images, drawn at random, set aside for validation.

        The draw depends on the number of training images alone, not on the seed of a run, and a smaller `count` takes
        a part of what a larger one takes. 0 holds out nothing.

        Raises:
            ZooError: (a ValueError) `count` is negative or leaves nothing to train on, or there is a validation split.
        """
        if self.validation is not None:
            raise ZooError("images for validation are held out already; hold out once, from the whole training set")
        examples = len(self.train.labels)
        if not 0 <= count < examples:
            raise ZooError(
                f"cannot hold out {count} of {examples} training images: give a number from 0 to {examples - 1}"
            )
        if count == 0:
            return self
        # RandomState is frozen by NumPy's compatibility policy: this draw is the same everywhere and for good.
        drawn = torch.from_numpy(np.random.RandomState(1).permutation(examples))
        held_out, kept = drawn[:count], drawn[count:].sort().values
        return Dataset(self.train.chosen(kept), self.test, self.train.chosen(held_out))


def epoch_order(examples: int, seed: int, epoch: int) -> Tensor:
    """Order in which an epoch visits the examples: a function of (seed, epoch) alone, so that resuming repeats it."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(examples))
