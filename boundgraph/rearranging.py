"""Operators that are known by their forward alone: each output a sum of inputs of its example, with weights >= 0.

Such are all that only take, move or repeat elements. Ends go to ends, centres to centres and radii to radii, and the
adjoint is what autograd makes of the forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import functional as F

from boundgraph.batch import require_same_examples
from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, register
from boundgraph.values import Interval

Rule = TypeVar("Rule", bound=Callable[..., Any])


def rearrangement(
    forward: Callable[..., Tensor],
    spellings: tuple[Any, ...] = (),
    *,
    requires: Callable[..., None] | None = None,
    backward: Callable[..., Tensor] | None = None,
    alike: bool = True,
    turned: Callable[..., tuple[tuple, bool] | None] | None = None,
) -> Operator:
    """Register y = W x, W >= 0, by its forward, (x, *arguments) -> y, which gives the operator its name.

    requires: (shape of x, *arguments), raises a GraphError where examples would be mixed or moved, as far as their
        number in the result does not tell.
    backward: the adjoint, where it is simpler than what autograd finds.
    alike: whether all examples share their weights, as they do unless an argument has a dimension of examples.
    turned: see `Operator`.
    """
    name = forward.__name__

    def interval(x: Interval, *arguments: Any) -> Interval:
        if requires is not None:
            requires(x.shape, *arguments)
        if not alike and not x.made_of_ends:  # examples that share a radius may part with it
            x = Interval.around(x.center, x.radius.expand_as(x.center))
        # sound: sums with weights >= 0 are monotone
        return x.through(lambda value: require_same_examples(value, forward(value, *arguments), name))

    def pulled(coefficients: Tensor, x: Interval, *arguments: Any) -> Tensor:
        return transposed(forward, coefficients, x, *arguments)

    return register(
        Operator(
            name=name,
            forward=forward,
            interval=_named(interval, forward, "interval"),
            backward=backward or _named(pulled, forward, "backward"),
            spellings=spellings,
            turned=turned,
        )
    )


def _named(rule: Rule, forward: Callable[..., Any], role: str) -> Rule:
    """The rule by the name that it would have in the room of its forward, for graphs to show."""
    rule.__module__, rule.__name__ = forward.__module__, f"{forward.__name__}_{role}"
    rule.__qualname__ = rule.__name__
    return rule


def placed(coefficients: Tensor, x: Interval, dim: int, start: int) -> Tensor:
    """Pull through a slice of x along one dimension: its coefficients, zero before and behind."""
    axis = dim % len(x.shape)
    behind = x.shape[axis] - start - coefficients.shape[axis + 1]
    return F.pad(coefficients, [0, 0] * (len(x.shape) - 1 - axis) + [start, behind])


def given_as_arguments(x: Any, *numbers: Any, **keywords: Any) -> tuple[Any, Any]:
    """The adapter of methods that take numbers one by one, or as one sequence: x.flip(1, 2) and x.flip((1, 2))."""
    numbers = numbers or tuple(keywords.values())
    only = numbers[0]
    return x, only if len(numbers) == 1 and not isinstance(only, int) else numbers


def dims_of(dims: int | Sequence[int]) -> tuple[int, ...]:
    return (dims,) if isinstance(dims, int) else tuple(dims)
