"""Comparisons with auto_LiRPA ask what they say they ask, and their pages say what was found. It need not be there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("typer")

from benchmarks import capabilities, comparison, comparison_cases, peer, run


@pytest.fixture(autouse=True)
def in_double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_tightness_of_an_operator() -> None:
    rows = [row for setting in comparison.SETTINGS for row in comparison.measured("relu", setting, [0.1, 0.5], seed=0)]
    assert len(rows) == 2 * sum(map(len, comparison.SETTINGS.values()))
    for row in rows:
        assert "boundgraph_outside" not in row
        assert row["boundgraph_width"] > 0
        assert "auto_LiRPA_width" in row or "auto_LiRPA_error" in row


@pytest.mark.parametrize("name", ["log", "tan", "div"])
@pytest.mark.parametrize("setting", comparison.SETTINGS)
def test_operands_stay_in_their_domain(name: str, setting: str) -> None:
    case = comparison_cases.OPERATORS[name]
    for models, boxes in comparison.questions(case, setting, [0.5, 1.0, 4.0], seed=1):
        assert [box.radius for box in boxes] == ([0.5, 1.0] if setting != "deep" else [boxes[0].radius])
        model = models["boundgraph"]
        inner = model[:-3] if isinstance(model, nn.Sequential) else nn.Identity()
        for box in boxes:
            lower, upper = peer.ours(inner, (box.x,))((box.x,), box.eps, "ibp")
            assert case.domain[0] < lower.min()
            assert upper.max() < case.domain[1]
            radius = 0.5 * (upper - lower)
            assert radius.mean().item() == pytest.approx(box.radius, rel=1e-9) or setting == "deep"


def test_page_of_tightness() -> None:
    def asked(operator: str, method: str, **facts: Any) -> dict[str, Any]:
        return {"operator": operator, "setting": "bare", "radius": 0.1, "seed": 0, "method": method, **facts}

    def both(own: float, other: float, **more: float) -> dict[str, Any]:
        return {"boundgraph_width": own, "auto_LiRPA_width": other, **more}

    alone = {"boundgraph_width": 1.0, "auto_LiRPA_error": "ValueError: not that"}
    rows = [asked("relu", "ibp", **both(1.0, 1.0)), asked("relu", "crown", **both(1.0, 2.0)),
            asked("elu", "crown", **alone), asked("gather", "crown", **both(1.0, 0.5, auto_LiRPA_outside=0.25))]  # fmt: skip
    settings = {"seeds": 1, "radii": [0.1], "batch": 2, "points": 3, "seconds": 4.0}
    page = comparison.page({"machine": run.machine(), "settings": settings, "rows": rows})
    assert "| relu | 1 | 2 | **0.500** | 0.500 | - | - | - | 0.500 | 0 | 0 | 0 |" in page
    assert "| elu | 0 | ValueError: not that |" in page
    assert "| gather | crown | bare | 1 of 1 | 0.25 |" in page
    assert torch.__version__ in page


def test_every_operator_of_the_comparison_runs() -> None:
    for name, case in comparison_cases.OPERATORS.items():
        low, high = case.domain
        x = torch.rand(2, *case.shape) if low == -torch.inf else low + (high - low) * torch.rand(2, *case.shape)
        assert case.make()(x).shape[0] == 2, name


def test_capability_of_a_network() -> None:
    rows = capabilities.measured("another batch size than at first", seed=0)
    assert [row["method"] for row in rows if row["backend"] == "boundgraph"] == ["ibp", "crown"]
    assert all(row["outside"] <= capabilities.ROUNDING for row in rows if row["backend"] == "boundgraph")
    settings = {"seed": 0, "seconds": 1.0}
    page = capabilities.page({"machine": run.machine(), "settings": settings, "rows": rows})
    assert "| another batch size than at first | yes | yes |" in page


def test_verdicts() -> None:
    assert capabilities.verdict({"error": "E"}) == "no"
    assert capabilities.verdict({"width": 1.0, "outside": -0.5}) == "yes"
    assert capabilities.verdict({"width": float("nan"), "outside": float("nan")}) == "not finite"
    assert capabilities.verdict({"width": 1.0, "outside": 0.5}) == "violated by 0.5"


def test_bounds_of_another_number_of_outputs() -> None:
    ends = peer.Ends(torch.zeros(2, 3), torch.ones(2, 3))
    assert peer.beyond(ends, (torch.full((4, 2, 3), 2.0),)) == pytest.approx(1 / 3)
    assert peer.beyond(ends, (torch.full((4, 2, 2), 0.5), torch.full((4, 2, 1), 0.5))) < 0
    with pytest.raises(ValueError, match=r"bounds of shape \(2, 3\) for outputs of \(2, 4\)"):
        peer.beyond(ends, (torch.zeros(4, 2, 4),))
