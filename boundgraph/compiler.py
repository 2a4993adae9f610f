"""`compile`: from a model to its bounded module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from boundgraph.methods import Pipeline
from boundgraph.module import BoundedModule


def compile(
    model: nn.Module,
    method: str | Pipeline = "crown-ibp",
    *,
    example_inputs: Sequence[Any] | None = None,
    backend: str = "eager",
) -> BoundedModule:
    """Compile a model into a module that bounds its outputs over sets of inputs.

    The model is traced, and the passes of the method rewrite the trace into an augmented graph of bounds. No example
    input is needed unless the model decides on shapes; one compile serves every batch size, dtype and device.

    model: any module that maps tensors, with the batch as dimension 0, to a tensor, or to a tuple, list, dict or other
    pytree of tensors. method: a name out of `methods()`
    or a tuple of passes, such as `method("crown", slope="zero")`. example_inputs: for models that only `torch.export`
    can capture; the captured graph is then compared with the model on them. backend: "eager", or a `torch.compile`
    backend: for the kernels of walks, and on accelerators for whole graphs without a walk.

    Raises:
        CaptureError: the model cannot be made a graph.
        UnsupportedOperatorError: names every operator without bounds, with layer path and line.
        ValueError: an unknown method.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"compile takes a torch.nn.Module, not {type(model).__name__}; wrap a function in a module")
    if example_inputs is not None and not isinstance(example_inputs, tuple | list):
        raise TypeError(f"example_inputs takes a tuple of inputs, such as (x,), not a {type(example_inputs).__name__}")
    return BoundedModule(model, method, example_inputs, backend)
