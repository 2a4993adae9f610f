"""The record of what is known about one function, and the registry that finds it by any spelling."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, TypeVar

import sympy
from torch import fx
from torch.utils._pytree import tree_leaves

X = sympy.Symbol("x", real=True)

Adapter = Callable[..., tuple]


@dataclass(frozen=True)
class Operator:
    """Everything boundgraph knows about one function of tensors.

    name: how graphs and errors call it.
    forward: the canonical function; its positional signature is the canonical argument order.
    interval: `forward`'s arguments with `Interval` in place of perturbed tensors -> Interval.
    relax: for a non-linear function: same arguments -> a relaxation. A function with neither `relax` nor `backward` is
        bounded by its interval alone: two constants, where a walk ends.
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
    spellings: what users write: functions, method names ("relu"), ATen overloads, classes of modules. An entry may be a
        pair (spelling, adapter): the adapter has the spelling's signature and returns the canonical arguments; that of
        a class gets the module first.
    operands: names of the parameters that may carry bounds; `joint`: several of them at the same time.
    otherwise: takes over where other operands carry bounds than those, or several although not `joint`: the `forward`
        of another operator, or a function written in torch calls; of the same arguments.
    exact: whether `interval` is the range itself, as it always is for linear operators.
    elementwise: whether it acts on elements, broadcasting its operands; every function with a `definition` does.
    rowwise: `forward`'s arguments -> whether it treats all vectors along the last dimension alike, each for itself.
    turned: `forward`'s arguments -> the arguments for operands with dimensions 0 and 1 swapped, and whether these are
        swapped in the result too; None where it cannot be said without knowing more.
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
    otherwise: Callable[..., Any] | None = None
    exact: bool = True
    elementwise: bool = False
    rowwise: Callable[..., bool] | None = None
    turned: Callable[..., tuple[tuple, bool] | None] | None = None
    definition: sympy.Expr | None = None
    adapters: Mapping[Any, Adapter] = field(init=False)

    def __post_init__(self) -> None:
        if self.relax is not None and self.backward is not None:
            raise ValueError(f"operator {self.name!r} is either non-linear (`relax`) or linear (`backward`), not both")
        pairs = [entry if isinstance(entry, tuple) else (entry, None) for entry in self.spellings]
        canonical = _canonical_arguments(self.forward)
        adapters = {
            spelling: adapter or (_of_a_layer(canonical) if isinstance(spelling, type) else canonical)
            for spelling, adapter in pairs
        }
        object.__setattr__(self, "adapters", adapters)

    def treats_rows_alike(self, args: tuple) -> bool:
        """Whether what comes before the last dimension may be arranged in any way, before the call as well as after."""
        if self.elementwise or (self.definition is not None and not any(isinstance(arg, fx.Node) for arg in args[1:])):
            return True
        return self.rowwise is not None and self.rowwise(*args)


def _canonical_arguments(forward: Callable[..., Any]) -> Adapter:
    """The adapter of a spelling that shares the canonical signature, up to what torch calls the operands."""
    signature = inspect.signature(forward)

    def bind(*args: Any, **kwargs: Any) -> tuple:
        names = {"input": "x", "self": "x", "other": "y", "axis": "dim"}
        renamed = {
            names.get(key, key) if names.get(key) in signature.parameters else key: kwargs[key] for key in kwargs
        }
        bound = signature.bind(*args, **renamed)
        bound.apply_defaults()
        return bound.args

    return bind


def _of_a_layer(canonical: Adapter) -> Adapter:
    return lambda layer, *args, **kwargs: canonical(*args, **kwargs)


@dataclass(frozen=True)
class Alias:
    """Calls that return their operand unchanged, such as `x.contiguous()`; canonical graphs do without them.

    Each adapter has the spelling's signature and returns the operand; it raises `Refused` where the call does more.
    """

    name: str
    adapters: Mapping[Any, Callable[..., Any]]


@dataclass(frozen=True)
class Expansion:
    """A function that is written out in other calls, which take its place in canonical graphs.

    Each adapter has the spelling's signature and is written in torch calls; it is traced, so it may ask for shapes, but
    not decide on them. It may return a tuple, a dict, or `Parts`.
    """

    name: str
    adapters: Mapping[Any, Callable[..., Any]]


@dataclass(frozen=True)
class Parts:
    """A result of several tensors, whose number may be known only when the graph runs: each is a call of its own.

    part: index -> (the `forward` of an operator, its arguments). names: what fields of the result are called.
    count: how many there are, if that is known before the graph runs; then they can be looped over, and used together.
    """

    part: Callable[[int], tuple[Callable[..., Any], tuple]]
    names: tuple[str, ...] = ()
    count: int | None = None


@dataclass(frozen=True)
class Several:
    """A function that returns `Parts`, such as `torch.chunk`; its adapters have the spelling's signature."""

    name: str
    adapters: Mapping[Any, Callable[..., Parts]]


Rule = Operator | Alias | Expansion | Several


def applied(function: Callable[..., Any], *args: Any) -> Any:
    """The call of a function, such as an operator's `forward`, as one node of what is being traced; where no argument
    is traced, its result.

    For expansions and written-out layers: also for what they may not decide while they are traced, such as the rank of
    a mask.
    """
    proxy = next((found for found in tree_leaves(args) if isinstance(found, fx.Proxy)), None)
    if proxy is None:
        return function(*args)
    return proxy.tracer.create_proxy("call_function", function, args, {})


class Refused(Exception):  # noqa: N818 - it ends up inside an UnsupportedOperatorError, which names the node
    """Raised by an adapter for a use of its spelling that has no bounds; the message says why and what to do."""


class Random(Refused):
    """The use is random, so it is refused even where no perturbation reaches it."""


_BY_SPELLING: dict[Any, Rule] = {}
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


Other = TypeVar("Other", Alias, Expansion, Several)


def register_rewrite(rule: Other) -> Other:
    """Make calls known that canonical graphs have in another form."""
    _BY_SPELLING.update(dict.fromkeys(rule.adapters, rule))
    return rule


def rule_of(spelling: Any) -> Rule | None:
    """What becomes of a call that a user wrote, or None."""
    return _BY_SPELLING.get(spelling)


def find(spelling: Any) -> Operator | None:
    """The operator behind what a user wrote, or None."""
    rule = rule_of(spelling)
    return rule if isinstance(rule, Operator) else None


def python_functions() -> tuple[FunctionType, ...]:
    """Spellings that are functions of somebody's own, which tracing would see through."""
    return tuple(
        spelling
        for spelling in _BY_SPELLING
        if isinstance(spelling, FunctionType) and not spelling.__module__.startswith("torch")
    )


def is_alias(spelling: Any) -> bool:
    return isinstance(rule_of(spelling), Alias)


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


def rewrites() -> tuple[Alias | Expansion | Several, ...]:
    """What becomes of calls that are no operators."""
    rules = {id(rule): rule for rule in _BY_SPELLING.values() if not isinstance(rule, Operator)}
    return tuple(rules.values())
