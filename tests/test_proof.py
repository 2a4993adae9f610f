"""Every scalar activation is proven, and what is wrong with one is found."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import boundgraph
from boundgraph.operator import Operator, registered
from boundgraph.ops.activations import HARDSWISH, MISH
from boundgraph.scalar.activation import facts_of, is_derived, rules_of
from boundgraph.scalar.facts import Facts
from boundgraph.scalar.lines import Rules
from boundgraph.scalar.proof import claims_shown
from boundgraph.scalar.shape import Shape
from boundgraph.values import Interval, Line, Relaxation

# values of parameters, where others than the default ones have another shape
PARAMETERS: dict[str, list[tuple[Any, ...]]] = {
    "gelu": [("none",), ("tanh",)],
    "softplus": [(1.0, 20.0), (2.0, 3.0)],
    "elu": [(1.0,), (0.5,), (2.5,)],
    "celu": [(1.0,), (0.5,)],
    "hardtanh": [(-1.0, 1.0), (0.0, 6.0)],
    "threshold": [(0.0, 0.0), (1.0, 5.0)],
    "clamp": [(-1.0, 2.0), (None, 1.5), (0.5, None)],
    "pow": [(2,), (3,), (4,), (0.5,), (1.5,), (-0.5,), (-1,), (-2,), (-3,)],
}
SCALAR = [op for op in registered() if is_derived(op) or (op.definition is not None and op.relax is not None)]
CASES = [(op, values) for op in SCALAR for values in PARAMETERS.get(op.name, [()])]


@pytest.mark.parametrize(("op", "values"), CASES, ids=lambda part: getattr(part, "name", str(part)))
def test_every_scalar_activation_is_proven(op: Operator, values: tuple[Any, ...]) -> None:
    proof = boundgraph.prove(op, *values)
    assert proof.activation == op.name
    assert any("intervals enclose" in claim for claim in proof.claims)
    assert any("lines enclose" in claim for claim in proof.claims)


def test_a_proof_says_what_was_shown() -> None:
    lines = str(boundgraph.prove("mish")).splitlines()
    assert lines[:5] == [
        "mish:",
        "  concave from -oo to -2.25637639636079",
        "  convex from -2.25637639636079 to 1.49057117948543",
        "  concave from 1.49057117948543 to oo",
        "  turns at -1.1924312145154952, to the last digit",
    ]


def test_what_has_no_formula_has_no_proof() -> None:
    with pytest.raises(boundgraph.ActivationError, match="not a scalar function with a formula"):
        boundgraph.prove("linear")
    with pytest.raises(boundgraph.ActivationError, match="no operator is called 'mich'"):
        boundgraph.prove("mich")


def claims(shape: Shape, facts: Facts | None = None, rules: Rules | None = None, relax: Any = None) -> list[str]:
    rules = Rules(shape) if rules is None else rules
    return list(claims_shown(facts or facts_of(MISH), shape, rules.interval, relax or rules.relax))


def mish() -> Shape:
    return rules_of(MISH).shape


def test_fault_a_turning_point_that_is_off_by_one_digit() -> None:
    with pytest.raises(boundgraph.ProofError, match=r"no minimum at -1\.1924312145155"):
        claims(dataclasses.replace(mish(), minima=(-1.19243121451550,)))


def test_fault_a_turning_point_that_is_missing() -> None:
    with pytest.raises(boundgraph.ProofError, match="turns 1 times, not 0"):
        claims(dataclasses.replace(mish(), minima=()))


def test_fault_an_inflection_that_is_off() -> None:
    first, middle, last = mish().curved
    moved = (first._replace(end=-2.2563763), middle._replace(start=-2.2563763), last)
    with pytest.raises(boundgraph.ProofError, match=r"ends at -2\.25637639636079, not at -2\.2563763"):
        claims(dataclasses.replace(mish(), curved=moved))


def test_fault_a_piece_with_the_wrong_curvature() -> None:
    facts = facts_of(MISH)
    first, *others = facts.pieces
    with pytest.raises(boundgraph.ProofError, match="curvature towards -oo"):
        claims(mish(), facts._replace(pieces=(first._replace(curvature=1), *others)))
    with pytest.raises(boundgraph.ProofError, match="curvature"):
        claims(mish(), facts._replace(pieces=(first._replace(end=facts.pieces[1].end), *others[1:])))


def test_fault_code_that_computes_something_else() -> None:
    with pytest.raises(boundgraph.ProofError, match="the function of .* computed as"):
        claims(dataclasses.replace(mish(), function=F.silu))
    (branch,) = mish().branches
    wrong = branch._replace(slope_at=lambda x: branch.slope_at(x) * (1 + 1e-9))
    with pytest.raises(boundgraph.ProofError, match="the slope of .* computed as"):
        claims(dataclasses.replace(mish(), branches=(wrong,)))


def test_fault_an_interval_rule_that_forgets_the_turn() -> None:
    class Monotone(Rules):
        def interval(self, x: Interval) -> Interval:
            ends = self.shape.function(x.lower), self.shape.function(x.upper)
            return Interval(torch.minimum(*ends), torch.maximum(*ends))

    with pytest.raises(boundgraph.ProofError, match="an interval of .* is not shown to enclose it"):
        claims(mish(), rules=Monotone(mish()))


def test_fault_a_line_that_is_a_little_too_low() -> None:
    def relax(x: Interval) -> Relaxation:
        lower, upper = rules_of(MISH).relax(x)
        return Relaxation(lower, Line(upper.slope, upper.intercept - 1e-12))

    with pytest.raises(boundgraph.ProofError, match="a line of .* is not shown to enclose it"):
        claims(mish(), relax=relax)


def test_fault_a_kink_that_no_line_knows() -> None:
    shape = dataclasses.replace(rules_of(HARDSWISH).shape, ridges=())
    with pytest.raises(boundgraph.ProofError, match="a line of .* is not shown to enclose it"):
        list(claims_shown(facts_of(HARDSWISH), shape, Rules(shape).interval, Rules(shape).relax))
