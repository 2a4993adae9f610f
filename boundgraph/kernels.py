"""Compiled kernels for the steps of a walk in which element-wise work dominates."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from boundgraph import linear_forms, precision, regions

FUSIBLE = (
    *(linear_forms.lower_through, linear_forms.lower_through_gradient),
    *(regions.minimum_on_box, regions.minimum_on_box_gradient),
    *(precision.lower_through, precision.lower_through_gradient),
    *(precision.minimum_on_box, precision.minimum_on_box_gradient),
)
"""Steps that read and write large tensors several times for little arithmetic. Matrix products and convolutions gain
nothing from compilation, and neither does the graph around them."""


def compile_kernels(module: fx.GraphModule, backend: str) -> None:
    """Replace each fusible step of a walk by a compiled one of its own.

    One kernel per node: each meets the shapes of one layer, so a batch of another size is at most one compilation more,
    after which the size is left open.
    """
    for node in module.graph.nodes:
        if node.target in FUSIBLE:
            node.target = _compiled(node.target, backend)
    module.recompile()


def _compiled(step: Any, backend: str) -> Callable[..., Any]:
    # torch.compile keeps kernels with the code object, and gives up after a few shapes: a copy has its own
    own = types.FunctionType(step.__code__.replace(), step.__globals__, step.__name__)
    kernel = torch.compile(own, backend=backend)

    @functools.wraps(step)
    def run(*arguments: Any) -> Any:
        return kernel(*arguments)

    return run
