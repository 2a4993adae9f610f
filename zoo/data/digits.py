"""The 1,797 digits of 8x8 pixels that ship with scikit-learn; the data set needs no file."""

import numpy as np
import torch

from zoo.data.splits import Dataset, Split
from zoo.errors import ZooError

IN_TEST = 360


def read() -> Dataset:
    """1,437 training and 360 test images of 8x8 pixels, divided at random, always in the same way.

    Raises:
        ZooError: (a ValueError) scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as missing:
        raise ZooError("the digits data ships with scikit-learn: pip install 'boundgraph[zoo]'") from missing
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float().unsqueeze(1)
    whole = Split(images, torch.from_numpy(digits.target).long())
    # RandomState is frozen by NumPy's compatibility policy: this split is the same everywhere and for good.
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(images)))
    return Dataset(train=whole.chosen(order[IN_TEST:]), test=whole.chosen(order[:IN_TEST]))
