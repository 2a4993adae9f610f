"""MNIST and Fashion-MNIST from their idx files, `<folder>/raw/train-images-idx3-ubyte[.gz]` and its three siblings."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from zoo.data.splits import Dataset, Split
from zoo.errors import ZooError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
IMAGE_SIZE = (28, 28)
MAGIC = {1: 2049, 3: 2051}  # unsigned bytes, one and three dimensions


def read(name: str, data_dir: Path) -> Dataset:
    """60,000 training and 10,000 test images of 28x28 pixels.

    Raises:
        ZooError: (a ValueError) a file is missing or damaged; names its path.
    """
    raw = data_dir / FOLDERS[name] / "raw"
    return Dataset(train=_split(raw, "train"), test=_split(raw, "t10k"))


def _split(raw: Path, prefix: str) -> Split:
    image_path, label_path = _find(raw / f"{prefix}-images-idx3-ubyte"), _find(raw / f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_path, dimensions=3), read_idx(label_path, dimensions=1)
    if images.shape[1:] != IMAGE_SIZE:
        raise ZooError(f"{image_path} holds images of {images.shape[1:]} pixels, not {IMAGE_SIZE}")
    if len(images) != len(labels):
        raise ZooError(f"{image_path} holds {len(images)} images but {label_path} holds {len(labels)} labels")
    if labels.max() > 9:
        raise ZooError(f"{label_path} is damaged: it holds the label {labels.max()}, and labels are 0 to 9")
    return Split(torch.from_numpy(images).float().div_(255).unsqueeze(1), torch.from_numpy(labels).long())


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
    if magic != MAGIC[dimensions]:
        wanted = f"{MAGIC[dimensions]} ({dimensions}-dimensional unsigned bytes)"
        raise ZooError(f"{path} is not the idx file it should be: its magic number is {magic}, not {wanted}")
    values = np.frombuffer(content, dtype=np.uint8)[4 * (1 + dimensions) :]
    if values.size == 0 or values.size != math.prod(shape):
        raise ZooError(f"{path} is damaged: {values.size} bytes of data under a header that says {tuple(shape)}")
    return values.reshape(shape).copy()
