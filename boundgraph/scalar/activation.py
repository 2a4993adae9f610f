"""A scalar activation from its formula alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
from torch import Tensor

from boundgraph.operator import Operator, X, register
from boundgraph.scalar.facts import ActivationError, Facts, derive
from boundgraph.scalar.lines import Rules
from boundgraph.scalar.shape import shape_of
from boundgraph.values import Interval, Relaxation


def activation(
    name: str,
    function: Callable[..., Tensor],
    expression: sympy.Expr,
    spellings: Sequence[Any] = (),
    *,
    parameters: Mapping[str, Any] | None = None,
) -> Operator:
    """Make a scalar function known to `compile`, with everything about its bounds derived from a formula.

    The interval is the exact range. The lines touch the function: on a convex part the chord and a tangent, on a
    concave one the other way round, elsewhere those that leave the least area; intercepts are extrema of
    f(x) - slope x.

    function: element-wise, of one tensor and the parameters; it may be a torch function or one of your own.
    expression: the same in sympy, in one symbol for x; `Piecewise`, `Max`, `Min` and `Abs` may occur, and a symbol for
        each parameter.
    spellings: other things that mean the function: functions, names of methods, ATen overloads, classes of modules.
        The function itself is one without saying. An entry may be a pair, see `Operator.spellings`.
    parameters: names and default values of what the function takes besides x. Bounds are derived for each value in use.

    Raises:
        ActivationError: some root cannot be isolated with certainty, or the expression has a function without
            enclosure; says which.
    """
    given = parameters or {}
    formula = _in_x(name, expression, given)

    def facts(*values: Any) -> Facts:
        return derive(formula.subs({sympy.Symbol(key): exact_number(v) for key, v in zip(given, values, strict=True)}))

    operator = derived(name, function, facts, spellings, given)
    if not parameters:
        rules_of(operator)  # so that what is wrong with the formula is said here
    return register(operator)


def derived(
    name: str,
    function: Callable[..., Tensor],
    facts: Callable[..., Facts],
    spellings: Sequence[Any] = (),
    parameters: Mapping[str, Any] | None = None,
    period: float | None = None,
) -> Operator:
    """The operator of `activation`, from the facts for given values of its parameters, asked for when first needed."""
    given = parameters or {}
    defaults = tuple(given.values())

    @functools.cache
    def facts_for(*values: Any) -> Facts:
        return facts(*values, *defaults[len(values) :])

    @functools.cache
    def rules(*values: Any) -> Rules:
        if len(values) < len(defaults):
            return rules(*values, *defaults[len(values) :])
        return Rules(shape_of(facts_for(*values), lambda x: function(x, *values)), period)

    def forward(x: Tensor, *values: Any) -> Tensor:
        return function(x, *values, *defaults[len(values) :])

    def interval(x: Interval, *values: Any) -> Interval:
        found = rules(*values)
        return found.interval(found.within_domain(x, name))

    def relax(x: Interval, *values: Any) -> Relaxation:
        return rules(*values).relax(x)

    def centred(y: Interval, x: Interval, *values: Any) -> Relaxation:
        return rules(*values).centred(y, x)

    def unstable(x: Interval, *values: Any) -> Tensor:
        return rules(*values).unstable(x)

    for rule in (forward, interval, relax, centred, unstable):
        rule.__name__ = rule.__qualname__ = f"{name}_{rule.__name__}" if rule is not forward else name
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        + [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=given[key]) for key in given]
    )
    _DERIVED[forward] = facts_for, rules
    known = (function, *spellings)
    return Operator(
        name=name,
        forward=forward,
        interval=interval,
        relax=relax,
        centred=centred,
        unstable=unstable,
        spellings=tuple(dict.fromkeys(known)),
        elementwise=True,
    )


_DERIVED: dict[Callable[..., Any], tuple[Callable[..., Facts], Callable[..., Rules]]] = {}


def is_derived(operator: Operator) -> bool:
    return operator.forward in _DERIVED


def rules_of(operator: Operator, *values: Any) -> Rules:
    """The derived rules of an operator, for values of its parameters."""
    return _DERIVED[operator.forward][1](*values)


def facts_of(operator: Operator, *values: Any) -> Facts:
    """The facts that these rules rest on."""
    return _DERIVED[operator.forward][0](*values)


def _in_x(name: str, expression: Any, parameters: Mapping[str, Any]) -> sympy.Expr:
    expression = sympy.sympify(expression)
    named = {symbol for symbol in expression.free_symbols if str(symbol) in parameters}
    others = expression.free_symbols - named
    if len(others) > 1:
        raise ActivationError(
            f"the formula of {name!r} has several variables: {', '.join(sorted(map(str, others)))}; "
            "one is x, and the others must be named in parameters={name: default value}"
        )
    renamed = {symbol: sympy.Symbol(str(symbol)) for symbol in named}
    return expression.xreplace({**renamed, **dict.fromkeys(others, X)})


def exact_number(value: Any) -> sympy.Expr:
    """A parameter as the number that it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ActivationError(f"a parameter of an activation must be a number known before any data, not {value!r}")
    return sympy.Rational(value)
