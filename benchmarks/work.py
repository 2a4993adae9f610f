"""The least dense work of a train step, from counted FLOPs of the layers.

With F_l the work of layer l forward, per example, 1 the first and L the last, and R rows to walk:

    natural       3 sum F_l - F_1: forward, gradient of the weight, and of the operand but for the input
    IBP           natural for the centres; for the radii as much without layer 1, whose radius all examples share
    CROWN-IBP     IBP without layer L, then 3 R F_l for the layers below it: step, gradient of weight and coefficients
    fused loss    IBP, and a walk of one row
    batch norm    in train mode a natural pass without layer L on top, for the statistics

A limit is such a sum over natural's. It speaks of products and convolutions alone, done densely.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import boundgraph
from benchmarks import networks


def layer_flops(name: str) -> list[int]:
    """Counted FLOPs of each layer for one example, in the order in which they run."""
    model, x, _ = networks.sample(name, 1, 0, training=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    counts, root = counter.get_flop_counts(), type(model).__name__
    layers = {f"{root}.{path}" for path, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}
    return [sum(ops.values()) for path, ops in counts.items() if path in layers]


def limits(name: str) -> dict[str, float]:
    """Task -> its least work in natural train steps; for verification, the walks of all neurons in clean forwards."""
    flops = layer_flops(name)
    first, last, everything = flops[0], flops[-1], sum(flops)
    wanted = networks.network(name)
    model = wanted.build()
    natural = 3 * everything - first
    normalised = any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in model.modules())
    ibp = natural + 3 * (everything - first) + (natural - 3 * last) * normalised
    walk = 3 * (everything - last)
    margins = ibp - 6 * last + (wanted.classes - 1) * walk
    return {
        "train-ibp": ibp / natural,
        "train-crown-ibp": margins / natural,
        "train-fused": (ibp + walk) / natural,
        "verify-crown": verification_flops(name) / everything,
    }


def verification_flops(name: str) -> float:
    """What CROWN does for one of 8 examples if it walks from every neuron, counted by `BoundedModule.cost`."""
    model, x, labels = networks.sample(name, 8, 0, training=False)
    spec = boundgraph.margin_spec(labels, networks.network(name).classes)
    cost = boundgraph.compile(model, "crown").cost(x, eps=0.1, spec=spec, sides="lower")
    return float(cost.flops.subs(cost.batch, 8)) / 8
