"""Gradients of the steps of a coefficient walk: declared by the rooms, or found by autograd.

A walk is differentiated by a graph of its own, which holds, for each step of the walk, its gradient: a function
(upstream, *arguments of the step) -> the gradient with respect to each argument, None where there is none. Declaring it
saves what autograd would have kept: a declared gradient needs the coefficients and the parameters, and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundgraph import linear_forms, operator, precision, regions
from boundgraph.leaves import joined, leaves, separated

Gradient = Callable[..., tuple[Any, ...]]


def gradient_of(step: Callable[..., Any]) -> Gradient:
    """The gradient of a step of the walk."""
    return _SHARED.get(step) or operator.gradient(step) or undeclared_gradient(step)


_SHARED: dict[Callable[..., Any], Gradient] = {
    linear_forms.lower_through: linear_forms.lower_through_gradient,
    linear_forms.moved: linear_forms.moved_gradient,
    regions.minimum_on_box: regions.minimum_on_box_gradient,
    precision.narrowed: precision.narrowed_gradient,
    precision.widened: precision.widened_gradient,
    precision.lower_through: precision.lower_through_gradient,
    precision.minimum_on_box: precision.minimum_on_box_gradient,
}


@functools.cache
def undeclared_gradient(step: Callable[..., Any]) -> Gradient:
    """Run the step again, this time with autograd, and let that find the gradient."""

    def gradient(upstream: Any, coefficients: Tensor, *arguments: Any) -> tuple[Any, ...]:
        given, structure = separated((coefficients, *arguments))
        wanted = [isinstance(leaf, Tensor) and (i == 0 or leaf.requires_grad) for i, leaf in enumerate(given)]
        with torch.enable_grad():
            given = [leaf.detach().requires_grad_() if ask else leaf for leaf, ask in zip(given, wanted, strict=True)]
            results = leaves(step(*joined(given, structure)))
        variables = [leaf for leaf, ask in zip(given, wanted, strict=True) if ask]
        # an offset of 0 depends on nothing
        moving = [pair for pair in zip(results, leaves(upstream), strict=True) if pair[0].requires_grad]
        results, upstream = ([pair[i] for pair in moving] for i in (0, 1))
        found = iter(torch.autograd.grad(results, variables, upstream, allow_unused=True))
        return joined([next(found) if ask else None for ask in wanted], structure)

    gradient.__name__ = gradient.__qualname__ = f"{step.__name__}_gradient"
    gradient.__module__ = step.__module__
    return gradient
