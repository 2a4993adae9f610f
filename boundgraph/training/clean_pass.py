"""The clean pass of a step, and the model with the batch statistics of that pass.

A step of adversarial or small-box training evaluates the network at several points. It is one network only if all
these passes normalise alike, so they share the statistics of one designated pass, that of the clean batch, as bounds do
(Shi et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from boundgraph.ops import batch_norm

Network = Callable[[Tensor], Tensor]


def clean_pass(model: nn.Module, x: Tensor, *, differentiable: bool) -> tuple[Tensor, Network]:
    """The logits of the clean batch, and the model as a function that normalises by the statistics of that batch.

    In train mode the clean pass updates the running statistics of BatchNorm layers; the function never does. In eval
    mode it is the model. differentiable: gradients of the function flow through the statistics too, as those of bounds;
    then, and only where there are batch statistics, the clean pass is recorded.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and _by_batch(module)]
    recorded: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def record(norm: Any, inputs: tuple[Any, ...]) -> None:
        found = batch_norm.batch_scale_and_shift(inputs[0], norm.weight, norm.bias, norm.eps)
        recorded[norm].append(found)

    with ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(record).remove)
        stack.enter_context(nullcontext() if differentiable and norms else torch.no_grad())
        logits = model(x)

    def again(points: Tensor) -> Tensor:
        calls = {norm: iter(found) for norm, found in recorded.items()}

        def normalised(norm: nn.Module, inputs: tuple[Any, ...], _: Any) -> Tensor:
            return batch_norm.forward(inputs[0], *next(calls[norm]))

        with ExitStack() as stack:
            stack.enter_context(_in_eval_mode(norms))
            for norm in norms:
                stack.callback(norm.register_forward_hook(normalised).remove)
            return model(points)

    return logits, again


def _by_batch(norm: _BatchNorm) -> bool:
    """Whether the layer normalises by the statistics of the batch it is given."""
    return norm.training or norm.running_mean is None


@contextmanager
def _in_eval_mode(norms: Sequence[nn.Module]) -> Iterator[None]:
    """These layers update no running statistics meanwhile."""
    modes = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.training = False
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training = mode
