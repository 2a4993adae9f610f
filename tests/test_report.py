"""What a bounded module says about the rules that it uses."""

from __future__ import annotations

import operator as python_operator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph import operator, report
from boundgraph.operator import Operator
from boundgraph.spelling import written
from boundgraph.values import Interval


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.fc(x))
        return F.scaled_dot_product_attention(x, x, x)


def _rounded(x: Tensor) -> Tensor:
    return torch.round(x)


def _rounded_interval(x: Interval) -> Interval:
    return Interval(torch.round(x.lower), torch.round(x.upper))


class Rounds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(_apply(self.fc1(x)))


def _apply(x: Tensor) -> Tensor:
    return torch.frac(x)


@pytest.fixture
def interval_alone(monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator that has neither a relaxation nor an adjoint, registered for this test."""
    for registry in ("_BY_SPELLING", "_BY_FORWARD", "_GRADIENTS"):
        monkeypatch.setattr(operator, registry, dict(getattr(operator, registry)))
    return operator.register(Operator("rounded", _rounded, _rounded_interval, spellings=(torch.frac,), exact=False))


def test_table(networks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    found = boundgraph.compile(networks.build("deep"), "crown").report()
    printed = capsys.readouterr().out
    assert printed == f"{found}\n"
    table, _, remarks = printed.partition("\n\n")
    header, _, *rows = table.splitlines()
    at = header.index("where")
    assert [line[:at].rstrip() for line in table.splitlines()] == [
        "node    operator  written as  interval       linear bounds",
        "------  --------  ----------  -------------  -------------",
        "fc1     linear    F.linear    exact          exact",
        "relu    relu      torch.relu  exact          lines",
        "fc2     linear    F.linear    exact, walked  exact",
        "relu_1  relu      torch.relu  exact          lines",
        "fc3     linear    F.linear    exact          exact",
    ]
    assert rows[0][at:].startswith("layer fc1, networks.py:")
    assert rows[1][at:].startswith("networks.py:")
    assert remarks == "crown: no value is bounded by constants alone\n"


def test_rows_tell_which_rules_are_used() -> None:
    found = boundgraph.compile(Attends(), "crown-ibp").report()
    rules = {row.node: (row.operator, row.interval, row.linear) for row in found.rows}
    assert rules["fc"] == ("linear", "exact", "exact")
    assert rules["gelu"] == ("gelu", "exact", "lines, derived")
    assert rules["scaled_dot_product_attention"] == ("matrix_product", "enclosing", "planes")
    assert {row.layer for row in found.rows} == {"fc", None}
    assert all(row.line is not None and "test_report.py:" in row.line for row in found.rows)
    assert not any(row.tightened for row in found.rows), "no walks of their own"


def test_what_is_written_out_is_named() -> None:
    found = boundgraph.compile(Attends()).report()
    ((call, operators),) = found.written_out
    assert call == "F.scaled_dot_product_attention"
    assert operators == ("mul", "transpose", "matrix_product", "softmax", "matrix_product")
    assert "F.scaled_dot_product_attention is computed by: mul, transpose" in str(found)


def test_nothing_falls_back_unseen(interval_alone: Operator) -> None:
    found = boundgraph.compile(Rounds(), "crown").report()
    (row,) = found.constants
    assert (row.operator, row.interval, row.linear) == ("rounded", "enclosing", "two constants")
    assert str(found).endswith(f"{row.node} (rounded) has no linear bounds: a walk ends there at its interval")
    assert repr(found) == "Report(3 values, 1 bounded by constants alone)"


def test_intervals_alone_walk_nowhere(networks: ModuleType) -> None:
    found = boundgraph.compile(networks.build("deep"), "ibp").report()
    assert {row.linear for row in found.rows} == {"no walk"}
    assert str(found).endswith("ibp: intervals alone, no walk")
    own = boundgraph.compile(networks.build("deep"), boundgraph.method("ibp")).report()
    assert str(own).endswith("these passes: intervals alone, no walk")


def test_batch_norm_is_what_it_was_written_as(networks: ModuleType) -> None:
    found = boundgraph.compile(networks.build("normalised").eval()).report()
    (row,) = (row for row in found.rows if row.operator == "channel_affine")
    assert row.written == "F.batch_norm"


def test_regions_may_be_chosen(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("two-inputs"))
    assert "left" in [row.node for row in bounded.report(regions=("x",)).rows]
    assert "left" not in [row.node for row in bounded.report(regions=("y",)).rows]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("relu", "x.relu()"),
        (F.relu, "F.relu"),
        (F.linear, "F.linear"),
        (F.logsigmoid, "F.logsigmoid"),
        (F.max_pool2d, "F.max_pool2d"),
        (torch.exp, "torch.exp"),
        (torch.linalg.vector_norm, "torch.linalg.vector_norm"),
        (torch.special.expit, "torch.special.expit"),
        (python_operator.add, "x + y"),
        (python_operator.neg, "-x"),
        (python_operator.index, "operator.index"),
        (Tensor.mT, "x.mT"),
        (torch.ops.aten.relu.default, "aten.relu.default"),
        (nn.ReLU, "nn.ReLU"),
        (_apply, f"{_apply.__module__}._apply"),
    ],
)
def test_calls_are_told_as_they_are_written(target: object, expected: str) -> None:
    assert written(target) == expected


def test_every_operator_has_a_name_for_its_linear_bounds() -> None:
    kinds = {report.linear_bounds(op) for op in operator.registered()}
    assert kinds <= {"exact", "lines", "lines, derived", "planes", "two constants"}
