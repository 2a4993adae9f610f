"""The data sets, whole and in memory: float32 images in [0, 1] of shape (N, channels, height, width), int64 labels."""

from pathlib import Path

from zoo.data import cifar10, digits, idx
from zoo.data.idx import read_idx
from zoo.data.splits import Dataset, Split, epoch_order
from zoo.errors import ZooError

__all__ = [
    "DATASETS",
    "FIRST_FILES",
    "TEST_IMAGES",
    "TRAINING_IMAGES",
    "Dataset",
    "Split",
    "epoch_order",
    "load",
    "read_idx",
]

FIRST_FILES = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte[.gz]",
    "fashion-mnist": "FashionMNIST/raw/train-images-idx3-ubyte[.gz]",
    "cifar10": "cifar-10-batches-py/data_batch_1",
}
DATASETS = ("digits", *FIRST_FILES)
TRAINING_IMAGES = {"digits": 1_437, "mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000}
TEST_IMAGES = {"digits": digits.IN_TEST, "mnist": 10_000, "fashion-mnist": 10_000, "cifar10": 10_000}


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read a data set. `data_dir` has torchvision's layout (`MNIST/raw/...`); digits ships with scikit-learn.

    Pixels are k / 255 with k = 0..255 (digits: k / 16), rounded once, to float32.

    Raises:
        ZooError: (a ValueError) the name is unknown, or files are missing or damaged; names the path.
    """
    if name not in DATASETS:
        raise ZooError(f"unknown data set {name!r}; there are: {', '.join(DATASETS)}")
    if name == "digits":
        return digits.read()
    if data_dir is None:
        wanted = f"DIR/{FIRST_FILES[name]}"
        raise ZooError(f"{name} is read from local files: give --data-dir DIR, the folder that holds {wanted}")
    return cifar10.read(Path(data_dir)) if name == "cifar10" else idx.read(name, Path(data_dir))
