"""`python -m zoo.cifar10_from_png SOURCE --data-dir DIR`: CIFAR-10 from a folder of PNG images.

Some mirrors keep the 60,000 images as single lossless files, `train/<class>/*.png` and `test/<class>/*.png`.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np

from zoo.data import cifar10
from zoo.errors import ZooError
from zoo.terminal import application, typer, user_errors

app = application()


@app.command()
def main(
    source: Annotated[Path, typer.Argument(help="Folder that holds train/<class>/*.png and test/<class>/*.png.")],
    data_dir: Annotated[Path, typer.Option(help="Where to write cifar-10-batches-py/.")],
) -> None:
    """Convert PNG images to the files that the zoo and torchvision read."""
    with user_errors():
        train, test = convert(source, data_dir)
    print(f"wrote {train} training and {test} test images to {data_dir / cifar10.FOLDER}")


def convert(source: Path, data_dir: Path) -> tuple[int, int]:
    """Write the images of both splits as batches, and return their numbers.

    Classes are in the order of the data set. Within a split the images, sorted by class and file name, are shuffled in
    an order that is always the same, so that its first N are a sample; it is not that of the original batches.

    Raises:
        ZooError: (a ValueError) Pillow is missing, a folder is missing or empty, or an image is not 32x32 in RGB.
    """
    train, test = _read(source / "train"), _read(source / "test")
    cifar10.write(data_dir, train, test)
    return len(train[1]), len(test[1])


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = [(path, label) for label, name in enumerate(cifar10.LABELS) for path in _images_in(folder / name)]
    # RandomState is frozen by NumPy's compatibility policy: this order is the same everywhere and for good.
    order = np.random.RandomState(0).permutation(len(paths))
    pixels = np.empty((len(paths), cifar10.PIXELS), dtype=np.uint8)
    for row, index in zip(pixels, order, strict=True):
        row[:] = _pixels(paths[index][0])
    return pixels, np.array([label for _, label in paths])[order]


def _images_in(folder: Path) -> list[Path]:
    if not (found := sorted(folder.glob("*.png"))):
        raise ZooError(f"no PNG images in {folder}: SOURCE must hold train/<class>/*.png and test/<class>/*.png")
    return found


def _pixels(path: Path) -> np.ndarray:
    """The bytes of an image, one channel after the other."""
    image = _pillow()
    try:
        with image.open(path) as picture:
            if (picture.mode, picture.size) != ("RGB", (32, 32)):
                raise ZooError(f"{path} is {picture.mode} of {picture.size} pixels, not RGB of (32, 32)")
            return np.asarray(picture).transpose(2, 0, 1).reshape(-1)
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG is SyntaxError
        raise ZooError(f"cannot read {path}: {error}") from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as missing:
        raise ZooError("reading PNG images needs Pillow: pip install pillow") from missing
    return Image


if __name__ == "__main__":
    app()
