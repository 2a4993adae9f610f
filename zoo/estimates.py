"""How long an epoch of training takes on this machine, estimated from a second of measurement and a count of passes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from zoo.models import INPUT_SHAPES, ModelSize, build, measure

# Per image, in units of one forward pass; a backward pass counts as two of them.
NATURAL = 3
IBP = 6  # center and radius instead of one image
CLEAN_PASS = 3  # added to IBP where BatchNorm takes its statistics from clean images
CROWN_WALK = 27  # added to IBP: nine rows, one per wrong class, walk back through the network

# One network of little arithmetic for its neurons, and one of much: 55 and 463 multiply-accumulates per ReLU.
REFERENCES = ("cnn_4layer_linear_256_width_1", "cnn_4layer_linear_512_width_16")
BATCH_SIZE = 32


class Speed(NamedTuple):
    """Seconds of a natural training step, per image."""

    per_mac: float
    per_relu: float  # reading and writing, of which there is more the more neurons there are


class EpochSeconds(NamedTuple):
    natural: float
    ibp: float
    crown_ibp: float  # while its share of the bounds, beta, is not 0


def measure_speed(seconds: float = 1.0) -> Speed:
    """Time natural training steps of two reference models for about this long, with the threads PyTorch has now.

    The models take turns, so that what else runs on the machine slows both. It only ever slows them, so of each the
    fastest turn counts.
    """
    shape = INPUT_SHAPES["mnist"]
    models = [build(name, "mnist") for name in REFERENCES]
    steps = [_natural_step(model, shape) for model in models]
    turns: list[list[float]] = []
    began = time.perf_counter()
    while len(turns) < 4 or time.perf_counter() - began < seconds:
        turns.append([_seconds(step) for step in steps])
    # the first turn sets things up
    times = [min(of_one) / BATCH_SIZE for of_one in zip(*turns[1:], strict=True)]
    return speed_of(*zip([measure(model, shape) for model in models], times, strict=True))


def speed_of(first: tuple[ModelSize, float], second: tuple[ModelSize, float]) -> Speed:
    """The speed at which models of these sizes take these times per image; what would be negative is noise, and 0."""
    (a, at_a), (b, at_b) = first, second
    determinant = a.macs * b.relus - b.macs * a.relus
    per_mac = (at_a * b.relus - at_b * a.relus) / determinant
    per_relu = (at_b * a.macs - at_a * b.macs) / determinant
    return Speed(max(per_mac, 0.0), max(per_relu, 0.0))


def epoch_seconds(size: ModelSize, speed: Speed, *, images: int, batch_norm: bool) -> EpochSeconds:
    """Estimated seconds of one epoch over so many images, for three ways to train."""
    one_pass = images * (size.macs * speed.per_mac + size.relus * speed.per_relu) / NATURAL
    ibp = IBP + CLEAN_PASS * batch_norm
    return EpochSeconds(NATURAL * one_pass, ibp * one_pass, (ibp + CROWN_WALK) * one_pass)


def _natural_step(model: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    x, labels = torch.rand(BATCH_SIZE, *shape), torch.zeros(BATCH_SIZE, dtype=torch.int64)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step


def _seconds(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
