"""Every architecture as one function that puts its layers on a body.

In brackets: C(channels, kernel, stride, padding) a convolution, R(channels, stride) a residual block, F flatten, L a
linear layer, w the width.
"""

from torch import nn

from zoo.models.body import Body


def cnn_2layer(body: Body, *, width: int, hidden: int) -> nn.Sequential:
    """C(4w,4,2,1) C(8w,4,2,1) F L(hidden) L(10), Zhang et al. 2020."""
    return body.conv(4 * width, 4, 2, 1).conv(8 * width, 4, 2, 1).flatten().linear(hidden).logits()


def cnn_3layer_fixed(body: Body, *, kernel: int, width: int, hidden: int | None = None) -> nn.Sequential:
    """C(4w,kernel,1,1) C(8w,kernel,1,1) C(8w,4,4,0) F L(hidden) L(10), with 64w hidden, Zhang et al. 2020.

    The padding is always 1, so a kernel of 5 shrinks the image.
    """
    body.conv(4 * width, kernel, 1, 1).conv(8 * width, kernel, 1, 1).conv(8 * width, 4, 4, 0)
    return body.flatten().linear(64 * width if hidden is None else hidden).logits()


def cnn_4layer(body: Body, *, width: int, hidden: int) -> nn.Sequential:
    """C(4w,3,1,1) C(4w,4,2,1) C(8w,3,1,1) C(8w,4,2,1) F L(hidden) L(hidden) L(10), Zhang et al. 2020."""
    body.conv(4 * width, 3, 1, 1).conv(4 * width, 4, 2, 1).conv(8 * width, 3, 1, 1).conv(8 * width, 4, 2, 1)
    return body.flatten().linear(hidden).linear(hidden).logits()


def dm_small(body: Body) -> nn.Sequential:
    """C(16,4,2,0) C(32,4,1,0) F L(100) L(10), Gowal et al. 2018."""
    return body.conv(16, 4, 2).conv(32, 4).flatten().linear(100).logits()


def dm_medium(body: Body) -> nn.Sequential:
    """C(32,3,1,0) C(32,4,2,0) C(64,3,1,0) C(64,4,2,0) F L(512) L(512) L(10), Gowal et al. 2018."""
    return body.conv(32, 3).conv(32, 4, 2).conv(64, 3).conv(64, 4, 2).flatten().linear(512).linear(512).logits()


def cnn7(body: Body, *, width: int, hidden: int, first_stride: int = 1) -> nn.Sequential:
    """C(w,3,1,1) C(w,3,1,1) C(2w,3,2,1) C(2w,3,1,1) C(2w,3,1,1) F L(hidden) L(10).

    With 64 and 512 it is Gowal's large network, but that TensorFlow pads the image of a stride at one side only. With
    BatchNorm it is the CNN7 of Shi et al. 2021.
    """
    body.conv(width, 3, first_stride, 1).conv(width, 3, 1, 1)
    body.conv(2 * width, 3, 2, 1).conv(2 * width, 3, 1, 1).conv(2 * width, 3, 1, 1)
    return body.flatten().linear(hidden).logits()


def resnet_small(body: Body) -> nn.Sequential:
    """C(16,3,2,1) R(16,1) R(32,2) R(64,2) F L(128) L(10): narrow, as wide ones lose too much to interval bounds."""
    return body.conv(16, 3, 2, 1).residual(16).residual(32, 2).residual(64, 2).flatten().linear(128).logits()


def digits_cnn(body: Body) -> nn.Sequential:
    """C(16,3,1,1) C(32,3,2,1) F L(64) L(10), for 8x8 images."""
    return body.conv(16, 3, 1, 1).conv(32, 3, 2, 1).flatten().linear(64).logits()
