"""Einstein sums of two operands, one or both of which carry bounds; longer ones are taken from left to right.

Equations are strings, so an adjoint is another equation: for z = einsum("bik,bkj->bij", x, y) and rows A of z, those of
x are einsum("brij,bkj->brik", A, y).
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boundgraph import bilinear
from boundgraph.bilinear import Factor
from boundgraph.broadcasting import sum_to
from boundgraph.errors import GraphError
from boundgraph.operator import Expansion, Operator, Refused, applied, register, register_rewrite
from boundgraph.values import Interval

aten = torch.ops.aten


class Letters(NamedTuple):
    """An equation without an ellipsis; every letter of an operand is in the other one or in the result."""

    x: str
    y: str
    result: str

    @property
    def equation(self) -> str:
        return f"{self.x},{self.y}->{self.result}"

    @property
    def to_x(self) -> str:
        """The equation that takes rows over the result, and y, to rows over x."""
        row = next(letter for letter in string.ascii_letters if letter not in self.x + self.y + self.result)
        rows, pulled = (letters[0] + row + letters[1:] for letters in (self.result, self.x))
        return f"{rows},{self.y}->{pulled}"

    def swapped(self) -> Letters:
        return Letters(self.y, self.x, self.result)


@functools.lru_cache
def letters_of(equation: str, x_dims: int, y_dims: int) -> Letters:
    """The equation for operands of so many dimensions, an ellipsis spelled out in letters that it does not use."""
    operands, result = equation.split("->")
    terms = operands.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    hidden = [dims - len(term.replace("...", "")) for term, dims in zip(terms, (x_dims, y_dims), strict=True)]
    most = max(n for term, n in zip(terms, hidden, strict=True) if "..." in term) if "..." in equation else 0

    def spelled(term: str, dims: int) -> str:
        return term.replace("...", "".join(free[most - dims : most]))  # aligned to the right, as in broadcasting

    return Letters(spelled(terms[0], hidden[0]), spelled(terms[1], hidden[1]), spelled(result, most))


def forward(equation: str, x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum(equation, x, y)


def interval(equation: str, x: Any, y: Any) -> Interval:
    letters = _checked(equation, x, y)
    letters, bounded, constant = (letters, x, y) if isinstance(x, Interval) else (letters.swapped(), y, x)
    # what meets one element of the bounded operand, broadcast, is one factor of that element
    shared = [i for i, a in enumerate(letters.y) if a not in letters.result and bounded.shape[letters.x.index(a)] == 1]
    constant = constant.sum(shared, keepdim=True) if shared else constant
    # exact: now no entry of the result takes an element twice, so |constant| stretches each radius by itself
    center = torch.einsum(letters.equation, bounded.center, constant)
    return _of_same_examples(
        Interval.around(center, torch.einsum(letters.equation, bounded.radius, constant.abs())), bounded
    )


def backward(coefficients: Tensor, equation: str, x: Any, y: Any) -> Tensor:
    letters = letters_of(equation, len(x.shape), len(y.shape))
    if isinstance(x, Interval):
        return _pulled(letters, coefficients, y, x.shape)
    return _pulled(letters.swapped(), coefficients, x, y.shape)


def _pulled(letters: Letters, coefficients: Tensor, y: Tensor, shape: torch.Size) -> Tensor:
    """The coefficients of x, of this shape, some dimensions of which may have been broadcast."""
    pulled = sum_to(torch.einsum(letters.to_x, coefficients, y), shape)
    return pulled.expand(pulled.shape[0], -1, *shape[1:])


def _checked(equation: str, x: Any, y: Any) -> Letters:
    letters = letters_of(equation, len(x.shape), len(y.shape))
    for operand, term in ((x, letters.x), (y, letters.y)):
        if isinstance(operand, Interval) and term[:1] != letters.result[:1]:
            raise GraphError(
                f"einsum({equation!r}) moves dimension 0 of a bounded operand, which must stay the batch: give it the "
                "same first letter in the operand and in the result"
            )
    return letters


def _of_same_examples(result: Interval, *operands: Any) -> Interval:
    for operand in operands:
        if isinstance(operand, Interval) and operand.shape[0] != result.shape[0]:
            raise GraphError(f"einsum broadcasts a batch of {operand.shape[0]} to one of {result.shape[0]}")
    return result


class Planes(NamedTuple):
    """Planes around an Einstein sum, and its equation."""

    products: bilinear.Products
    letters: Letters


def of_bounded(equation: str, x: Tensor, y: Tensor) -> Tensor:
    """As `forward`, where both operands carry bounds."""
    return torch.einsum(equation, x, y)


def bounded_interval(equation: str, x: Interval, y: Interval) -> Interval:
    _checked(equation, x, y)
    result = bilinear.interval_of_sum(x, y, functools.partial(torch.einsum, equation))
    return _of_same_examples(result, x, y)


def relax(equation: str, x: Interval, y: Interval) -> Planes:
    product = functools.partial(torch.einsum, equation)
    return Planes(bilinear.relaxed(x, y, product), letters_of(equation, len(x.shape), len(y.shape)))


def through(coefficients: Tensor, planes: Planes) -> tuple[tuple[Tensor, ...], Tensor]:
    def adjoint(letters: Letters, factor: Factor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda form, other: _pulled(letters, form, other, factor.center.shape)

    products, letters = planes
    to_x, to_y = adjoint(letters, products.x), adjoint(letters.swapped(), products.y)
    return bilinear.through(coefficients, products, to_x, to_y)


EINSUM_OF_BOUNDED = register(
    Operator(
        name="einsum_of_bounded",
        forward=of_bounded,
        interval=bounded_interval,
        relax=relax,
        through=through,
        operands=("x", "y"),
        joint=True,
        exact=False,
    )
)
EINSUM = register(
    Operator(
        name="einsum",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("x", "y"),
        otherwise=of_bounded,
    )
)

Term = tuple[str, ...]  # letters and "..."


def _einsum(equation: str, *operands: Any, path: Any = None) -> Any:
    """Two operands at a time; what only one of them has is summed up before."""
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    *terms, result = _parsed(equation, len(operands))
    term, value = terms[0], operands[0]
    for position, (other, y) in enumerate(zip(terms[1:], operands[1:], strict=True), 1):
        later = {letter for part in (*terms[position + 1 :], result) for letter in part}
        term, value = _without(term, value, later | set(other))
        other, y = _without(other, y, later | set(term))
        both = dict.fromkeys((*term, *other))
        # the examples first, as in the result
        kept = sorted((letter for letter in both if letter in later), key=lambda letter: (letter,) != result[:1])
        target = result if position == len(terms) - 1 else tuple(kept)
        value = applied(forward, f"{''.join(term)},{''.join(other)}->{''.join(target)}", value, y)
        term = target
    return _arranged(*_without(term, value, set(result)), result)


def _parsed(equation: str, count: int) -> list[Term]:
    """The letters of each operand and, last, of the result; without an arrow, those that occur once, in order."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = [_term(text) for text in inputs.split(",")]
    if len(terms) != count:
        raise Refused(f"einsum({equation!r}) is for {len(terms)} operands, and there are {count}")
    every = [letter for term in terms for letter in term]
    implied = sorted(letter for letter in set(every) if every.count(letter) == 1 and letter != "...")
    result = _term(output) if arrow else (*(["..."] if "..." in every else []), *implied)
    if any(len(set(term)) < len(term) for term in (*terms, result)):
        raise Refused(f"einsum({equation!r}) takes a diagonal, which has no bound rule; use torch.diagonal")
    if "..." in every and "..." not in result:
        raise Refused(f"einsum({equation!r}) sums over dimensions without a name; give them letters")
    return [*terms, result]


def _term(text: str) -> Term:
    before, dots, after = text.partition("...")
    return (*before, *([dots] if dots else []), *after)


def _without(term: Term, value: Any, kept: set[str]) -> tuple[Term, Any]:
    """The operand summed over the letters that nothing else has."""
    start = term.index("...") if "..." in term else len(term)
    places = {letter: i if i < start else i - len(term) for i, letter in enumerate(term)}
    dims = [place for letter, place in places.items() if letter not in kept and letter != "..."]
    left = tuple(letter for letter in term if letter in kept or letter == "...")
    return left, value.sum(dims) if dims else value


def _arranged(term: Term, value: Any, result: Term) -> Any:
    if term == result:
        return value
    if "..." in term:
        raise Refused("einsum that reorders dimensions without a name has no bound rule; give them letters")
    return value.permute([term.index(letter) for letter in result])


SPELLINGS = (torch.einsum, torch.functional.einsum, aten.einsum.default)
register_rewrite(Expansion("einsum", dict.fromkeys(SPELLINGS, _einsum)))
