"""The tensors inside nested values: lists, tuples and named tuples, of which walks capture many in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The value with each leaf replaced. Intervals, sizes and None are leaves, as tensors and numbers are."""
    kind = type(value)
    if kind is tuple or isinstance(value, list):
        return kind([mapped(function, part) for part in value])
    if getattr(kind, "_fields", None) is not None:
        return kind(*[mapped(function, part) for part in value])
    return function(value)


def leaves(value: Any) -> list[Any]:
    found: list[Any] = []
    mapped(found.append, value)
    return found


def separated(value: Any) -> tuple[list[Any], Any]:
    """The leaves, and the value with each leaf replaced by its number."""
    found: list[Any] = []

    def number(leaf: Any) -> int:
        found.append(leaf)
        return len(found) - 1

    return found, mapped(number, value)


def joined(leaves: Sequence[Any], numbered: Any) -> Any:
    """Undo `separated`."""
    return mapped(leaves.__getitem__, numbered)
