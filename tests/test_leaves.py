"""Nested values, taken apart and put together."""

from __future__ import annotations

import torch
from torch.fx.immutable_collections import immutable_list

from boundgraph.leaves import joined, leaves, separated
from boundgraph.values import Interval, Line, Relaxation


def test_apart_and_together_again() -> None:
    one, two, size = torch.zeros(1), torch.ones(2), torch.Size((3, 4))
    box = Interval(one, one)
    value = [Relaxation(Line(one), Line(two, one)), (box, size), 5, immutable_list([None])]
    found, structure = separated(value)
    assert [id(leaf) for leaf in found] == [id(leaf) for leaf in (one, None, two, one, box, size, 5, None)]
    again = joined(found, structure)
    assert [type(part) for part in again] == [type(part) for part in value]
    assert isinstance(again[0].upper, Line)
    assert leaves(again) == found
