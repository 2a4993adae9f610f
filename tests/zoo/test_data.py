"""Reading data sets: exact values, fixed splits, and messages for what can be wrong with a file."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.data import TEST_IMAGES, TRAINING_IMAGES, epoch_order, load, read_idx


def write_idx(path: Path, values: np.ndarray) -> None:
    header = np.array([2048 + values.ndim, *values.shape], dtype=">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def tiny_mnist(tmp_path: Path) -> Path:
    """Four training images, plain, and two test images, compressed."""
    pixels = np.random.default_rng(0)
    for prefix, count, ending in (("train", 4, ""), ("t10k", 2, ".gz")):
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte{ending}", pixels.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte{ending}", np.arange(count))
    return tmp_path


def test_digits_split_is_fixed_and_balanced() -> None:
    train, test, _ = load("digits")
    assert (train.images.shape, test.images.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert train.images.dtype == torch.float32
    assert (train.images.min(), train.images.max()) == (0, 1)
    assert test.labels[:8].tolist() == [2, 8, 2, 6, 6, 7, 1, 9]
    assert test.labels.bincount().min() >= 27


def test_idx_files_plain_and_compressed(tiny_mnist: Path) -> None:
    train, test, _ = load("mnist", tiny_mnist)
    assert (train.images.shape, test.images.shape) == ((4, 1, 28, 28), (2, 1, 28, 28))
    assert test.labels.tolist() == [0, 1]
    pixels = read_idx(tiny_mnist / "MNIST/raw/train-images-idx3-ubyte", dimensions=3)
    torch.testing.assert_close(train.images[:, 0] * 255, torch.from_numpy(pixels).float())


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_files(name: str, data_dir: Path) -> None:
    train, test, _ = load(name, data_dir)
    assert (len(train.images), len(test.images)) == (TRAINING_IMAGES[name], TEST_IMAGES[name])
    assert test.labels.bincount().tolist() == ([1000] * 10 if name == "fashion-mnist" else MNIST_TEST_COUNTS)
    assert (test.images.min(), test.images.max()) == (0, 1)


MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_requests_that_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'svhn'; there are: digits, mnist, fashion-mnist, cifar10"):
        load("svhn")
    with pytest.raises(ValueError, match=r"give --data-dir DIR, the folder that holds DIR/MNIST/raw/train-images"):
        load("mnist")
    with pytest.raises(
        ValueError, match=r"no file .*train-images-idx3-ubyte or .*torchvision's layout, FashionMNIST/raw/"
    ):
        load("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its magic number is 0, not 2049"),
        (b"\0\0\x08\x03" + b"\0\0\0\x01" * 3 + b"a", "its magic number is 2051, not 2049"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"3 bytes of data under a header that says \(5,\)"),
        (b"\0\0\x08\x01\0\0", r"0 bytes of data under a header that says \(0,\)"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path, dimensions=1)


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"x" * 1000, mtime=0)[:-12], b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 9],
    ids=["not gzip", "cut off", "garbage"],
)
def test_damaged_compression(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*labels\.gz"):
        read_idx(path, dimensions=1)


def test_images_and_labels_must_agree(tiny_mnist: Path) -> None:
    write_idx(tiny_mnist / "MNIST/raw/train-labels-idx1-ubyte", np.arange(3))
    with pytest.raises(ValueError, match=r"holds 4 images but .* holds 3 labels"):
        load("mnist", tiny_mnist)
    write_idx(tiny_mnist / "MNIST/raw/train-images-idx3-ubyte", np.zeros((4, 8, 8)))
    with pytest.raises(ValueError, match=r"images of \(8, 8\) pixels, not \(28, 28\)"):
        load("mnist", tiny_mnist)


def test_labels_must_be_classes(tiny_mnist: Path) -> None:
    write_idx(tiny_mnist / "MNIST/raw/train-labels-idx1-ubyte", np.array([0, 1, 2, 10]))
    with pytest.raises(
        ValueError, match=r"train-labels-idx1-ubyte is damaged: it holds the label 10, and labels are 0"
    ):
        load("mnist", tiny_mnist)


def test_pixels_are_quotients_rounded_once(tiny_mnist: Path) -> None:
    write_idx(tiny_mnist / "MNIST/raw/train-images-idx3-ubyte", np.arange(4 * 784).reshape(4, 28, 28) % 256)
    images = load("mnist", tiny_mnist).train.images.flatten()
    assert torch.equal(images[:256], (torch.arange(256).double() / 255).float())


def test_hold_out_takes_from_the_training_images_alone() -> None:
    whole = load("digits")
    train, test, validation = whole.hold_out(200)
    assert validation is not None
    assert test is whole.test
    assert (len(train.labels), len(validation.labels)) == (1237, 200)
    assert validation.labels.bincount().min() >= 10

    def as_set(images: torch.Tensor) -> list[tuple[float, ...]]:
        return sorted(tuple(image.flatten().tolist()) for image in images)

    assert as_set(torch.cat([train.images, validation.images])) == as_set(whole.train.images)
    labelled = dict(zip(map(str, whole.train.images), whole.train.labels.tolist(), strict=True))
    for split in (train, validation):
        assert [labelled[str(image)] for image in split.images] == split.labels.tolist()


def test_hold_out_is_fixed_and_nested() -> None:
    whole = load("digits")
    more, fewer = whole.hold_out(300).validation, whole.hold_out(200).validation
    assert more is not None
    assert fewer is not None
    torch.manual_seed(3)
    np.random.seed(3)
    again = whole.hold_out(300).validation
    assert again is not None
    assert torch.equal(again.images, more.images)
    assert torch.equal(more.first(200).images, fewer.images)
    assert fewer.labels[:8].tolist() == [3, 9, 6, 1, 4, 1, 1, 5]


def test_hold_out_requests() -> None:
    whole = load("digits")
    assert whole.validation is None
    assert whole.hold_out(0) is whole
    for count in (-1, 1437):
        with pytest.raises(ValueError, match=f"cannot hold out {count} of 1437 training images: give .* 0 to 1436"):
            whole.hold_out(count)
    with pytest.raises(ValueError, match="held out already"):
        whole.hold_out(10).hold_out(10)


def test_epoch_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(100, seed=1, epoch=2)
    torch.manual_seed(5)
    assert torch.equal(first, epoch_order(100, seed=1, epoch=2))
    assert not torch.equal(first, epoch_order(100, seed=2, epoch=1))
    assert first.sort().values.tolist() == list(range(100))


def test_batches_cover_the_split_in_order() -> None:
    _, test, _ = load("digits")
    labels = [batch for _, batch in test.first(10).batches(4)]
    assert [len(batch) for batch in labels] == [4, 4, 2]
    assert torch.equal(torch.cat(labels), test.labels[:10])
