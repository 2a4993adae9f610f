"""Negation."""

from __future__ import annotations

from boundgraph.ops.neg import NEG
from boundgraph.testing import Perturbed, check_operator


def test_laws() -> None:
    check_operator(NEG, cases=[(Perturbed(2, 3),), (Perturbed(1, 2, 2),)])
