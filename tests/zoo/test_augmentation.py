"""Random flips and shifts against the same done one image at a time."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo import ZooError
from zoo.augmentation import augment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_shifts(image: Tensor, padding: int, flip: bool) -> list[Tensor]:
    """Everything that may become of one image."""
    _, height, width = image.shape
    versions = [image, image.flip(2)] if flip else [image]
    crops = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
    padded = [F.pad(version, (padding,) * 4) for version in versions]
    return [whole[:, top : top + height, left : left + width] for whole in padded for top, left in crops]


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (1, False), (2, True)])
def test_each_image_is_one_of_its_shifts_and_all_of_them_occur(padding: int, flip: bool) -> None:
    image = torch.rand(3, 5, 7, generator=seeded(1))
    possible = all_shifts(image, padding, flip)
    results = augment(image.expand(1000, -1, -1, -1), padding=padding, flip=flip, generator=seeded())
    assert results.shape == (1000, 3, 5, 7)
    found = torch.stack([(results == one).flatten(1).all(1) for one in possible])
    assert (found.sum(0) == 1).all()
    shares = found.double().mean(1) * len(possible)
    assert (shares > 0.2).all()
    assert (shares < 2).all()


def test_images_move_independently_and_channels_together() -> None:
    images = torch.rand(64, 1, 6, 6, generator=seeded(1)).expand(-1, 3, -1, -1)
    results = augment(images, padding=4, flip=True, generator=seeded())
    assert torch.equal(results[:, 0], results[:, 2])
    mine = [
        any(torch.equal(result, one) for one in all_shifts(image, 4, True))
        for image, result in zip(images, results, strict=True)
    ]
    assert all(mine)


def test_the_generator_alone_decides() -> None:
    images = torch.rand(8, 3, 6, 6)
    first = augment(images, padding=4, flip=True, generator=seeded(3))
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, padding=4, flip=True, generator=seeded(3)))
    assert not torch.equal(first, augment(images, padding=4, flip=True, generator=seeded(4)))
    ongoing = seeded(3)
    augment(images, padding=4, flip=True, generator=ongoing)
    assert not torch.equal(first, augment(images, padding=4, flip=True, generator=ongoing))


def test_nothing_to_do_changes_nothing() -> None:
    images, generator = torch.rand(8, 1, 6, 6), seeded()
    before = generator.get_state()
    assert torch.equal(augment(images, padding=0, flip=False, generator=generator), images)
    assert torch.equal(generator.get_state(), before)


def test_padding_must_not_be_negative() -> None:
    with pytest.raises(ZooError, match="the padding of a random crop must not be negative, not -1"):
        augment(torch.rand(1, 1, 4, 4), padding=-1, flip=False, generator=seeded())
