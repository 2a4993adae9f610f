"""Bounds of a model on a box by boundgraph and by auto_LiRPA, asked in the same words."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import boundgraph
from benchmarks.cell import auto_lirpa_imported
from boundgraph.values import Bounds

METHODS = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN"}
"""Our names and theirs."""

Inputs = tuple[Tensor, ...]


class Ends(NamedTuple):
    """Bounds of all outputs side by side, (batch, outputs), or of the first alone."""

    lower: Tensor
    upper: Tensor


def ours(model: nn.Module, inputs: Inputs) -> Callable[..., Ends]:
    """A function of (inputs, radii, method)."""
    compiled: dict[str, boundgraph.BoundedModule] = {}

    def bounds(inputs: Inputs, eps: float, method: str) -> Ends:
        if method not in compiled:
            compiled[method] = boundgraph.compile(model, method, example_inputs=inputs)
        balls = (boundgraph.LpBall(x, eps) for x in inputs)
        with torch.no_grad():
            found = compiled[method](*balls)
        several = tree_leaves(found, is_leaf=lambda part: isinstance(part, Bounds))
        return Ends(*(torch.cat([part[side].flatten(1) for part in several], 1) for side in (0, 1)))

    return bounds


def theirs(model: nn.Module, inputs: Inputs) -> Callable[..., Ends]:
    """A function of (inputs, radii, method).

    Raises:
        SkippedError: auto_LiRPA cannot be imported.
    """
    library, ball_class = auto_lirpa_imported()
    training = model.training
    with quiet():
        bounded = library.BoundedModule(model, inputs)
        for module in (bounded, model):  # it leaves the model in train mode
            module.train(training)

    def bounds(inputs: Inputs, eps: float, method: str) -> Ends:
        balls = tuple(library.BoundedTensor(x, ball_class(norm=float("inf"), eps=eps)) for x in inputs)
        with quiet(), torch.no_grad():
            lower, upper = bounded.compute_bounds(x=balls, method=METHODS[method])
        return Ends(lower.flatten(1), upper.flatten(1))

    return bounds


BACKENDS = {"boundgraph": ours, "auto_LiRPA": theirs}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what a library prints, logs and warns of."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def first_line(error: BaseException) -> str:
    """What an error says, in one short line."""
    text = " ".join(str(error).strip().split("\n")[0].split()).replace("|", "/")
    return f"{type(error).__name__}: {text[:150]}" if text else type(error).__name__


def sampled(model: nn.Module, inputs: Inputs, eps: float, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Each output, (points, batch, numel), at points and at corners of the box in turn."""

    def points(x: Tensor) -> Tensor:
        places = torch.rand((count, *x.shape), generator=generator, dtype=x.dtype) * 2 - 1
        places[::2] = places[::2].sign()
        return (x + eps * places).flatten(0, 1)

    with torch.no_grad():
        outputs = tree_leaves(model(*map(points, inputs)))
    return tuple(part.unflatten(0, (count, -1)).flatten(2) for part in outputs)


def beyond(ends: Ends, outputs: tuple[Tensor, ...]) -> float:
    """How far outputs lie outside their bounds, relative to 1 + size; NaN if a bound is.

    Raises:
        ValueError: the bounds are not as many as the outputs, or as the elements of the first.
    """
    values = outputs[0] if ends.lower.shape[1] == outputs[0].shape[2] else torch.cat(outputs, 2)
    if ends.lower.shape != values.shape[1:]:
        raise ValueError(f"bounds of shape {tuple(ends.lower.shape)} for outputs of {tuple(values.shape[1:])}")
    excess = torch.maximum(ends.lower - values, values - ends.upper)
    return (excess / (1 + values.abs())).amax().item()
