"""Weights and ceilings to begin certified training with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from boundgraph.plans import in_mode


@torch.no_grad()
def ibp_initialize_(model: nn.Module, *, generator: torch.Generator | None = None) -> None:
    """Draw weights from N(0, 2 pi / n^2), n the inputs of a neuron: then ReLU layers keep the mean width of intervals.

    An interval's width is multiplied by |W| and halved by ReLU, and n / 2 * E|W| = 1. All linear and convolutional
    layers are drawn anew, in place, and their biases are zero, except the last one, which stays as it is: last in the
    order of `model.modules()`, that is, of registration. (A neuron of a transposed convolution reads, on average, one
    input channel's kernel divided by the strides, times the channels.) generator: of the weights' device.

    Raises:
        ValueError: fewer than two such layers, or one without sizes yet (lazy).

    Shi et al. 2021.
    """
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, _ConvNd))]
    if len(layers) < 2:
        raise ValueError(
            f"the model has {len(layers)} linear or convolutional layers; all but the last are initialised"
        )
    for layer in layers:
        if nn.parameter.is_lazy(layer.weight):
            raise ValueError(f"{layer} has no sizes yet; run the model on a batch first")
    for layer in layers[:-1]:
        layer.weight.normal_(0, math.sqrt(2 * math.pi) / _inputs_of_a_neuron(layer), generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def _inputs_of_a_neuron(layer: nn.Module) -> float:
    weight: Any = layer.weight
    if isinstance(layer, _ConvTransposeNd):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size) / math.prod(layer.stride)
    return weight[0].numel()


@torch.no_grad()
def set_ceilings_(
    model: nn.Module,
    layers: type[nn.Module] | Callable[[nn.Module], bool],
    batches: Iterable[Tensor | Sequence[Tensor]],
    *,
    parameter: str = "ceiling",
) -> None:
    """Set the ceilings of clipped ReLU layers to their neurons' mean activations over the batches, in place.

    layers: the class of the layers, or what says of a module whether it is one; each has a tensor attribute of the name
    `parameter` that broadcasts against its output, (batch, ...). Where the ceiling has a size of 1, the mean is over
    these neurons too. batches: inputs on the model's device, or tuples and lists that begin with them. The model runs
    in eval mode, with the ceilings it has, which therefore should not clip yet (`math.inf` will do).

    Raises:
        ValueError: no layer is meant, one has no such tensor or is not called, or there are no batches.

    Lyu et al. 2021 (ParamRamp).
    """
    chosen = (lambda module: isinstance(module, layers)) if isinstance(layers, type) else layers
    found = {name: module for name, module in model.named_modules() if chosen(module)}
    if not found:
        raise ValueError("no layer of the model has a ceiling to set")
    ceilings = {module: _ceiling(name, module, parameter) for name, module in found.items()}
    totals: dict[nn.Module, Tensor] = {}
    counts = dict.fromkeys(found.values(), 0)

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        totals[module] = totals.get(module, 0) + output.sum(0, keepdim=True)
        counts[module] += len(output)

    with ExitStack() as stack:
        stack.enter_context(in_mode(model, training=False))
        for module in found.values():
            stack.callback(module.register_forward_hook(add).remove)
        for batch in batches:
            model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    for name, module in found.items():
        if not counts[module]:
            raise ValueError(f"layer `{name}` saw no examples: there are no batches, or the model does not call it")
    for module, ceiling in ceilings.items():
        mean = totals[module] / counts[module]
        shared = mean.numel() / ceiling.numel()
        ceiling.copy_(mean.sum_to_size(ceiling.shape) / shared)


def _ceiling(name: str, module: nn.Module, parameter: str) -> Tensor:
    ceiling = getattr(module, parameter, None)
    if not isinstance(ceiling, Tensor):
        raise ValueError(f"layer `{name}` has no tensor `{parameter}`")
    return ceiling
