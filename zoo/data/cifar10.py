"""CIFAR-10 (Krizhevsky 2009) from its Python batches, `cifar-10-batches-py/data_batch_1` to `_5` and `test_batch`."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.pickles import read_dict
from zoo.data.splits import Dataset, Split
from zoo.errors import ZooError

FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


def read(data_dir: Path) -> Dataset:
    """50,000 training and 10,000 test images of 3x32x32 pixels.

    Raises:
        ZooError: (a ValueError) a batch is missing or damaged, or asks for code to be run; names its path.
    """
    folder = data_dir / FOLDER
    return Dataset(train=_split(folder, TRAIN_BATCHES), test=_split(folder, (TEST_BATCH,)))


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072), uint8, one channel after the other, and labels (N,), int64, of one batch.

    Raises:
        ZooError: the file is missing or damaged, asks for code to be run, or is not a batch of CIFAR-10.
    """
    if not path.is_file():
        layout = f"{FOLDER}/{{{','.join((*TRAIN_BATCHES, TEST_BATCH))}}}"
        raise ZooError(f"no file {path}: --data-dir needs torchvision's layout, {layout}")
    content = read_dict(path)
    if missing := {"data", "labels"} - content.keys():
        raise ZooError(f"{path} is not a batch of CIFAR-10: it has no {' and no '.join(sorted(missing))}")
    pixels, labels = content["data"], content["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS or len(pixels) == 0:
        raise ZooError(f"{path} is not a batch of CIFAR-10: its data are not an array of images of {PIXELS} bytes")
    if not _are_labels(labels):
        raise ZooError(f"{path} is damaged: its labels are not a list of numbers from 0 to {len(LABELS) - 1}")
    if len(labels) != len(pixels):
        raise ZooError(f"{path} is damaged: it holds {len(pixels)} images and {len(labels)} labels")
    return pixels, np.array(labels, dtype=np.int64)


def write(data_dir: Path, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
    """Write pixels (N, 3072), uint8, and labels (N,) as the batches that `read` reads."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    parts = (np.array_split(values, len(TRAIN_BATCHES)) for values in train)
    for name, pixels, labels in [*zip(TRAIN_BATCHES, *parts, strict=True), (TEST_BATCH, *test)]:
        content = {"batch_label": name, "data": pixels, "labels": labels.tolist()}
        # protocol 4 is the first that holds bytes as bytes, and every supported Python reads it
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    meta = {"label_names": list(LABELS), "num_vis": PIXELS}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=4))


def _split(folder: Path, names: Sequence[str]) -> Split:
    batches = [read_batch(folder / name) for name in names]
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in batches]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in batches]))
    return Split(pixels.view(-1, *IMAGE_SHAPE).float().div_(255), labels)


def _are_labels(values: Any) -> bool:
    if isinstance(values, np.ndarray):  # of unsigned bytes, as all arrays from a pickle
        return values.ndim == 1 and bool((values < len(LABELS)).all())
    return isinstance(values, list) and all(type(value) is int and 0 <= value < len(LABELS) for value in values)
