"""The data sets, whole and in memory: float32 images in [0, 1] of shape (N, 1, height, width), int64 labels."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
DATASETS = ("digits", *FOLDERS)
DIGITS_IN_TEST = 360
IMAGE_SIZE = (28, 28)
IDX_MAGIC = {1: 2049, 3: 2051}  # unsigned bytes, one and three dimensions


class Split(NamedTuple):
    images: Tensor  # (N, 1, height, width), float32 in [0, 1]
    labels: Tensor  # (N,), int64

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples in this order (by default, as stored), `size` at a time; the last batch may be smaller."""
        order = torch.arange(len(self.labels)) if order is None else order
        for chosen in order.split(size):
            yield self.images[chosen], self.labels[chosen]

    def first(self, limit: int | None) -> "Split":
        """The first `limit` examples, or all."""
        return Split(self.images[:limit], self.labels[:limit])


class Dataset(NamedTuple):
    train: Split
    test: Split


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read a data set. `data_dir` has torchvision's layout (`MNIST/raw/...`); digits ships with scikit-learn.

    Raises:
        ZooError: (a ValueError) the name is unknown, or files are missing or damaged; names the path.
    """
    if name not in DATASETS:
        raise ZooError(f"unknown data set {name!r}; there are: {', '.join(DATASETS)}")
    if name == "digits":
        return _digits()
    if data_dir is None:
        wanted = f"DIR/{FOLDERS[name]}/raw/train-images-idx3-ubyte[.gz]"
        raise ZooError(f"{name} is read from local files: give --data-dir DIR, the folder that holds {wanted}")
    raw = Path(data_dir) / FOLDERS[name] / "raw"
    return Dataset(train=_idx_split(raw, "train"), test=_idx_split(raw, "t10k"))


def epoch_order(examples: int, seed: int, epoch: int) -> Tensor:
    """Order in which an epoch visits the examples: a function of (seed, epoch) alone, so that resuming repeats it."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(examples))


def _digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as missing:
        raise ZooError("the digits data ships with scikit-learn: pip install 'boundgraph[zoo]'") from missing
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float().unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    # RandomState is frozen by NumPy's compatibility policy: this split is the same everywhere and for good.
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    test, train = order[:DIGITS_IN_TEST], order[DIGITS_IN_TEST:]
    return Dataset(train=Split(images[train], labels[train]), test=Split(images[test], labels[test]))


def _idx_split(raw: Path, prefix: str) -> Split:
    image_path, label_path = _find(raw / f"{prefix}-images-idx3-ubyte"), _find(raw / f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_path, dimensions=3), read_idx(label_path, dimensions=1)
    if images.shape[1:] != IMAGE_SIZE:
        raise ZooError(f"{image_path} holds images of {images.shape[1:]} pixels, not {IMAGE_SIZE}")
    if len(images) != len(labels):
        raise ZooError(f"{image_path} holds {len(images)} images but {label_path} holds {len(labels)} labels")
    return Split(torch.from_numpy(images).float().div(255).unsqueeze(1), torch.from_numpy(labels).long())


def _find(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    layout = f"{path.parts[-3]}/raw/{path.name}[.gz]"
    raise ZooError(f"no file {path} or {path.name}.gz beside it: --data-dir needs torchvision's layout, {layout}")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Array of unsigned bytes from an idx file, gzip-compressed if the name ends in .gz.

    Raises:
        ZooError: the file cannot be read, its magic number is another, or its length is not what its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    magic, *shape = (int.from_bytes(content[at : at + 4], "big") for at in range(0, 4 * (1 + dimensions), 4))
    if magic != IDX_MAGIC[dimensions]:
        wanted = f"{IDX_MAGIC[dimensions]} ({dimensions}-dimensional unsigned bytes)"
        raise ZooError(f"{path} is not the idx file it should be: its magic number is {magic}, not {wanted}")
    values = np.frombuffer(content, dtype=np.uint8)[4 * (1 + dimensions) :]
    if values.size == 0 or values.size != math.prod(shape):
        raise ZooError(f"{path} is damaged: {values.size} bytes of data under a header that says {tuple(shape)}")
    return values.reshape(shape).copy()
