"""The record of what is known about one function, and the registry that finds it by any spelling."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

X = sympy.Symbol("x", real=True)

Adapter = Callable[..., tuple]


@dataclass(frozen=True)
class Operator:
    """Everything boundgraph knows about one function of tensors.

    name: how graphs and errors call it.
    forward: the canonical function; its positional signature is the canonical argument order.
    interval: `forward`'s arguments with `Interval` in place of perturbed tensors -> Interval.
    relax: for a non-linear function: same arguments -> a relaxation.
    through: (coefficients, relaxation) -> coefficients per perturbed operand and the offset; None means an
        element-wise relaxation of lines, pulled through by `linear_forms.lower_through`.
    backward: for a linear function: (coefficients, *arguments) -> coefficients of its operand, its adjoint, or a tuple
        of them, in argument order, when several operands carry bounds.
    windowed: whether `backward` also takes `Windows`, coefficients on one window of each image per tile.
    gradient: (upstream, coefficients, *arguments) -> the gradient of `backward`, or of `through`, with respect to each
        argument, None where none is wanted. Without it autograd runs the step again to find out.
    centred: like `relax`, with the interval of the result first: lines measured from the centres of both; saves work
        where they are simpler than that. None means `linear_forms.centred` of what `relax` gives.
    unstable: Interval -> bool tensor, the elements for which tighter bounds improve the relaxation; None means all.
    start: for a function whose output is rows, (batch, rows): their coefficients over its operand.
    spellings: what users write: functions, method names ("relu"), ATen overloads. An entry may be a pair
        (spelling, adapter): the adapter has the spelling's signature and returns the canonical arguments.
    operands: names of the parameters that may carry bounds; `joint`: several of them at the same time.
    definition: sympy expression in `X` of a scalar function; the tests hold `forward` and the rules to it.
    """

    name: str
    forward: Callable[..., Any]
    interval: Callable[..., Any]
    relax: Callable[..., Any] | None = None
    through: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    windowed: bool = False
    gradient: Callable[..., Any] | None = None
    centred: Callable[..., Any] | None = None
    unstable: Callable[..., Any] | None = None
    start: Callable[..., Any] | None = None
    spellings: tuple[Any, ...] = ()
    operands: tuple[str, ...] = ("x",)
    joint: bool = False
    definition: sympy.Expr | None = None
    adapters: Mapping[Any, Adapter] = field(init=False)

    def __post_init__(self) -> None:
        if (self.relax is None) == (self.backward is None):
            raise ValueError(f"operator {self.name!r} needs either `relax` (non-linear) or `backward` (linear)")
        pairs = [entry if isinstance(entry, tuple) else (entry, None) for entry in self.spellings]
        canonical = _canonical_arguments(self.forward)
        adapters = {spelling: adapter or canonical for spelling, adapter in pairs}
        object.__setattr__(self, "adapters", adapters)


def _canonical_arguments(forward: Callable[..., Any]) -> Adapter:
    """The adapter of a spelling that shares the canonical signature, up to what torch calls the first operand."""
    signature = inspect.signature(forward)

    def bind(*args: Any, **kwargs: Any) -> tuple:
        names = {"input": "x", "self": "x", "axis": "dim"}
        renamed = {
            names.get(key, key) if names.get(key) in signature.parameters else key: kwargs[key] for key in kwargs
        }
        bound = signature.bind(*args, **renamed)
        bound.apply_defaults()
        return bound.args

    return bind


@dataclass(frozen=True)
class Alias:
    """Calls that return their operand unchanged, such as `x.contiguous()`; canonical graphs do without them.

    Each adapter has the spelling's signature and returns the operand; it raises `Refused` where the call does more.
    """

    name: str
    adapters: Mapping[Any, Callable[..., Any]]


class Refused(Exception):  # noqa: N818 - it ends up inside an UnsupportedOperatorError, which names the node
    """Raised by an adapter for a use of its spelling that has no bounds; the message says why and what to do."""


class Random(Refused):
    """The use is random, so it is refused even where no perturbation reaches it."""


_ALIASES: dict[Any, Alias] = {}
_BY_SPELLING: dict[Any, Operator] = {}
_BY_FORWARD: dict[Callable[..., Any], Operator] = {}
_GRADIENTS: dict[Callable[..., Any], Callable[..., Any] | None] = {}


def register(operator: Operator) -> Operator:
    """Make an operator known to `compile`. Registering a spelling again replaces its rule: the last one wins."""
    for spelling in operator.adapters:
        _BY_SPELLING[spelling] = operator
    _BY_FORWARD[operator.forward] = operator
    for step in (operator.backward, operator.through):
        if step is not None:
            _GRADIENTS[step] = operator.gradient
    return operator


def register_alias(alias: Alias) -> Alias:
    for spelling in alias.adapters:
        _ALIASES[spelling] = alias
    return alias


def find_alias(spelling: Any) -> Alias | None:
    return _ALIASES.get(spelling)


def find(spelling: Any) -> Operator | None:
    """The operator behind what a user wrote, or None."""
    return _BY_SPELLING.get(spelling)


def of(target: Any) -> Operator | None:
    """The operator whose canonical function is `target`, or None."""
    return _BY_FORWARD.get(target)


def gradient(step: Any) -> Callable[..., Any] | None:
    """The gradient that an operator declares for its step of the walk, or None."""
    return _GRADIENTS.get(step)


def of_upstream_alone(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a gradient that does not read the coefficients: it gets None for them, and a walk need not keep them."""
    gradient.needs_coefficients = False  # type: ignore[attr-defined]
    return gradient


def registered() -> tuple[Operator, ...]:
    return tuple(_BY_FORWARD.values())
