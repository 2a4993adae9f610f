"""Random flips and shifts of training images."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import ZooError


def augment(images: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image, mirrored left to right with probability 1/2 if `flip`, then cropped at random from itself with a
    border of `padding` zeros: a shift by up to `padding` pixels along either axis.

    CIFAR-10 is usually trained with `padding=4, flip=True`, MNIST with small shifts or none. Zeros are black pixels, so
    augment before a model normalises. The result is a function of the images and the generator's state; the random
    numbers drawn per image do not depend on its content. With nothing to do it is the images themselves.

    Args:
        images: (N, channels, height, width).
        generator: on the CPU; an image takes the same draws wherever the images are.

    Raises:
        ZooError: (a ValueError) `padding` is negative.
    """
    if padding < 0:
        raise ZooError(f"the padding of a random crop must not be negative, not {padding}")
    count, _, height, width = images.shape
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        images = torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
    if padding == 0:
        return images
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    rows = top + torch.arange(height, device=images.device)  # (N, height)
    columns = left + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    example = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded[example, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()
