"""CIFAR-10: batches as Python 2 and 3 write them, pickles that ask for more, and conversion from PNG images."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zoo import ZooError, cifar10_from_png
from zoo.data import cifar10, load
from zoo.data.pickles import read_dict

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3072)).astype(np.uint8)
LABELS = np.arange(12) % 10


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Twelve training images in five batches, and two test images."""
    cifar10.write(tmp_path, (PIXELS, LABELS), (PIXELS[:2], LABELS[:2]))
    return tmp_path


def test_written_batches_are_read_in_order(tiny: Path) -> None:
    train, test, validation = load("cifar10", tiny)
    assert validation is None
    assert (train.images.shape, test.images.shape) == ((12, 3, 32, 32), (2, 3, 32, 32))
    assert (train.images.dtype, train.labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(train.images, (torch.from_numpy(PIXELS).double() / 255).float().view(12, 3, 32, 32))
    assert train.labels.tolist() == LABELS.tolist()


def python_2(pixels: bytes, count: int) -> bytes:
    """A batch as Python 2 wrote the originals: byte strings as keys, and NumPy's array of old."""

    def text(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K" + bytes([count])
        + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    )  # fmt: skip
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in range(count)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + text(b"batch_label") + text(b"x") + b"u."


def test_batches_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(python_2(PIXELS[:3].tobytes(), 3))
    pixels, labels = cifar10.read_batch(path)
    assert np.array_equal(pixels, PIXELS[:3])
    assert labels.tolist() == [0, 1, 2]
    assert np.array_equal(pickle.loads(path.read_bytes(), encoding="bytes")[b"data"], PIXELS[:3])  # it is such a pickle


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int, order: str) -> None:
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps({"data": PIXELS.copy(order), b"labels": LABELS.astype(np.uint8)}, protocol))
    content = read_dict(path)
    assert np.array_equal(content["data"], PIXELS)
    assert content["labels"].tolist() == LABELS.tolist()


class Call:
    """Unpickled in the ordinary way, it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"data": Call(os.system, "touch {path}")}, f"{os.name}.system"),
        ({"data": Call(eval, "open('{path}', 'w')")}, "builtins.eval"),
        (Call(np.load, "{path}"), "numpy.load"),
        ({"data": np.float64(1)}, "numpy.*scalar"),
        ({"labels": torch.Size([1])}, "torch.Size"),
    ],
)
def test_nothing_is_run(tmp_path: Path, content: Any, name: str) -> None:
    path, mark = tmp_path / "batch", tmp_path / "mark"
    path.write_bytes(pickle.dumps(content, 4).replace(b"{path}", b"./mark"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(ZooError, match=f"cannot read .*batch: it asks for {name}, and only arrays of bytes"):
            read_dict(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": PIXELS}, "has no labels"),
        ({}, "has no data and no labels"),
        ([1], "holds a list, not a dictionary"),
        ({"data": PIXELS.astype(np.float32), "labels": [0] * 12}, "an array of something other than unsigned bytes"),
        ({"data": PIXELS[:, 1:], "labels": [0] * 12}, "not an array of images of 3072 bytes"),
        ({"data": PIXELS[:0], "labels": []}, "not an array of images of 3072 bytes"),
        ({"data": [1, 2], "labels": [0] * 12}, "not an array of images of 3072 bytes"),
        ({"data": PIXELS, "labels": [0] * 11}, "12 images and 11 labels"),
        ({"data": PIXELS, "labels": [0] * 11 + [10]}, "not a list of numbers from 0 to 9"),
        ({"data": PIXELS, "labels": [0] * 11 + ["a"]}, "not a list of numbers from 0 to 9"),
        ({"data": PIXELS, "labels": None}, "not a list of numbers from 0 to 9"),
    ],
)
def test_batches_that_are_none(tiny: Path, content: Any, message: str) -> None:
    path = tiny / cifar10.FOLDER / "data_batch_3"
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(ZooError, match=f"data_batch_3.*{message}"):
        load("cifar10", tiny)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:1000], lambda _: b"", lambda _: b"\xff" * 50, lambda w: w[50:]]
)
def test_damaged_files(tiny: Path, damage: Any) -> None:
    path = tiny / cifar10.FOLDER / "test_batch"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ZooError, match=r"cannot read .*test_batch: \w"):
        load("cifar10", tiny)


def test_arrays_shorter_than_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(python_2(PIXELS[:2].tobytes(), 3))
    with pytest.raises(
        ZooError, match=r"data_batch_1 is damaged: 6144 bytes of data for an array of shape \(3, 3072\)"
    ):
        cifar10.read_batch(path)


def test_missing_files(tiny: Path) -> None:
    with pytest.raises(
        ZooError, match=r"give --data-dir DIR, the folder that holds DIR/cifar-10-batches-py/data_batch_1"
    ):
        load("cifar10")
    (tiny / cifar10.FOLDER / "data_batch_5").unlink()
    with pytest.raises(
        ZooError, match=r"no file .*data_batch_5: --data-dir needs torchvision's layout, cifar-10-batches"
    ):
        load("cifar10", tiny)


def test_real_files(data_dir: Path) -> None:
    if not (data_dir / cifar10.FOLDER).is_dir():
        pytest.skip(f"no {cifar10.FOLDER} in {data_dir}")
    train, test, _ = load("cifar10", data_dir)
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    mean, std = train.images.double().mean((0, 2, 3)), train.images.double().std((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=5e-5, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.2470, 0.2435, 0.2616]).double(), atol=5e-5, rtol=0)


@pytest.fixture
def png_images(tmp_path: Path) -> Path:
    """Two training images and one test image of every class; image n has the red value n in its first pixel."""
    image = pytest.importorskip("PIL.Image")
    number = 0
    for split, each in (("train", 2), ("test", 1)):
        for label, name in enumerate(cifar10.LABELS):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for _ in range(each):
                pixels = np.full((32, 32, 3), (0, 10 * label, 0), dtype=np.uint8)
                pixels[0, 0, 0] = number
                image.fromarray(pixels).save(folder / f"{number:03}.png")
                number += 1
    return tmp_path / "images"


def test_conversion_from_png(png_images: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cifar10_from_png.app, [str(png_images), "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "wrote 20 training and 10 test images" in result.output
    train, test, _ = load("cifar10", tmp_path)
    assert sorted((train.images[:, 0, 0, 0] * 255).round().int().tolist()) == list(range(20))
    assert torch.equal((train.images[:, 1, 5, 5] * 25.5).round().long(), train.labels)
    assert train.labels.bincount().tolist() == [2] * 10
    assert test.labels.bincount().tolist() == [1] * 10
    assert not torch.equal(train.labels, train.labels.sort().values)
    cifar10_from_png.convert(png_images, tmp_path)
    assert torch.equal(load("cifar10", tmp_path).train.images, train.images)


def test_conversion_refuses_other_images(png_images: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = png_images / "train" / "cat" / "extra.png"
    image.new("L", (32, 32)).save(path)
    with pytest.raises(ZooError, match=r"extra.png is L of \(32, 32\) pixels, not RGB of \(32, 32\)"):
        cifar10_from_png.convert(png_images, tmp_path)
    path.write_bytes(b"\x89PNG nothing")
    with pytest.raises(ZooError, match=r"cannot read .*extra.png"):
        cifar10_from_png.convert(png_images, tmp_path)
    for file in (png_images / "test" / "dog").iterdir():
        file.unlink()
    path.unlink()
    with pytest.raises(ZooError, match=r"no PNG images in .*dog: SOURCE must hold train/<class>/\*.png"):
        cifar10_from_png.convert(png_images, tmp_path)
