"""Every operator is measured against attacks, and the pages about operators say what there is and what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from benchmarks import catalogue, operators, rooms
from benchmarks.cases import CASES, ELSEWHERE, Case
from benchmarks.run import RESULTS, load
from boundgraph.operator import registered
from passes.graphs import kind, operator_of

ROOT = Path(__file__).resolve().parents[1]
LITTLE = operators.Effort(boxes=2, samples=400, steps=8)


def applied(case: Case) -> set[str]:
    """The names of the operators that bound the case, with a specification or without, in any stage."""
    bounded = boundgraph.compile(case.model(), "crown")
    nodes = [n for spec in (False, True) for _, stage in bounded.plan(spec=spec).stages for n in stage.graph.nodes]
    return {op.name for node in nodes if kind(node) != "exact" and (op := operator_of(node)) is not None}


def test_every_operator_has_a_case() -> None:
    missing = set(rooms.own_operators()) - {case.operator for case in CASES} - set(ELSEWHERE)
    assert not missing, f"add cases to benchmarks/cases.py for {', '.join(sorted(missing))}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_case_is_of_its_operator(case: Case) -> None:
    if case.operator in rooms.own_operators():
        assert case.operator in applied(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_bounds_hold_against_attacks(case: Case) -> None:
    linear = {op.name for op in registered() if op.backward is not None} - {"specification", "merged_specification"}
    for row in operators.measure(case, LITTLE):
        assert row["violations"] == 0
        assert row["error_at_0"] <= operators.ROUNDING
        if case.operator in linear:  # the attack reaches a corner, and CROWN is exact
            assert max(row["crown"], row["crown_rows"]) == pytest.approx(1)


def test_a_wrong_bound_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def bounds(module: nn.Module, centers: list[Tensor], radius: float, spec: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = honest(module, centers, radius, spec)
        return lower, upper - 0.01 * radius

    honest = operators._bounds
    monkeypatch.setattr(operators, "_bounds", bounds)
    (case,) = (case for case in CASES if case.operator == "neg")
    assert all(row["violations"] >= 2 * 2 * 6 for row in operators.measure(case, LITTLE)), "all outputs, both methods"
    monkeypatch.setattr(operators, "_bounds", lambda *args: tuple(side * torch.nan for side in honest(*args)))
    assert all(row["violations"] == row["claims"] for row in operators.measure(case, LITTLE))


def test_search_finds_the_extremes() -> None:
    """Of a concave parabola inside the box, where no corner is best."""

    class Parabola(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -((x - 0.3) ** 2)

    effort, generator = LITTLE._replace(steps=40), torch.Generator().manual_seed(0)
    center, spec = torch.zeros(3, dtype=torch.float64), torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    low, high = operators.search(Parabola(), [center], 1.0, spec, effort, generator)
    torch.testing.assert_close(low, torch.tensor([-1.69, -1.69, -1.69, -1.69]).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(high, torch.tensor([0.0, 0.0, 0.0, 1.69]).double(), atol=0.02, rtol=0)


def test_stored_results_are_of_these_cases() -> None:
    found = load(RESULTS / "operators.json")
    assert {row["code"] for row in found["rows"]} == {case.code for case in CASES}, "python -m benchmarks.operators"
    assert found["settings"]["samples"] >= 10_000
    assert not any(row["violations"] for row in found["rows"])


@pytest.mark.parametrize("page", ["operators.md", "tightness.md"])
def test_pages_are_up_to_date(page: str, request: pytest.FixtureRequest) -> None:
    text = catalogue.pages()[page]
    if request.config.getoption("--refresh-golden"):
        (ROOT / "docs" / page).write_text(text, encoding="utf-8")
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == text, "python -m benchmarks.catalogue"


def test_pages_read_well() -> None:
    for page in catalogue.pages().values():
        assert not re.search(r"\bNone\b|<function|built-in|  \|", page.replace(" |  | ", " | - | "))
        assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith(("|", "- ")))


def test_an_operator_of_someone_else_is_not_listed() -> None:
    mine = boundgraph.Operator("mine", lambda x: x, lambda x: x)
    assert rooms.room_of(mine) is None


def test_spellings_are_brought_together() -> None:
    aten = torch.ops.aten
    conv = nn.functional.conv1d, nn.functional.conv2d, aten.conv1d.default, aten.conv1d.padding
    assert catalogue.spellings(conv) == "`F.conv1d/2d`"
    assert catalogue.spellings([torch.relu, "relu", "relu_", aten.relu_.default]) == "`torch.relu`, `x.relu()`"
    assert catalogue.spellings([aten.alias.default, aten.convolution.default]) == "`aten.alias`, `aten.convolution`"
    assert catalogue.spellings([]) == "-"
