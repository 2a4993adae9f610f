"""The benchmarks run, their arithmetic is right, and the report says what the files say. Times are not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from boundgraph.training import robust_cross_entropy

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner

import boundgraph
from benchmarks import ablation, growth, networks, report, run, work
from benchmarks.cell import TASKS, Cell, SkippedError, step_of, timed
from benchmarks.networks import NETWORKS

SMALL = "grown:width=4,depth=2,size=8,classes=3"


def row(network: str, task: str, backend: str, **more: Any) -> dict[str, Any]:
    cell = {"network": network, "task": task, "backend": backend, "variant": "", "batch": 4, "seed": 0, "threads": 1}
    return {**cell, **more}


def measured(network: str, task: str, backend: str, ratio: float, **more: Any) -> dict[str, Any]:
    return row(network, task, backend, ratio=ratio, step_s=ratio / 1000, peak_mb=300.0, base_mb=290.0, **more)


SETTINGS = {"rounds": 1, "seconds": 0.1, "threads": 1, "seed": 0, "verified": 8}


@pytest.mark.parametrize("name", [*NETWORKS, SMALL])
def test_networks(name: str) -> None:
    model, x, labels = networks.sample(name, 2, 0, training=False)
    assert model(x).shape == (2, networks.network(name).classes)
    assert labels.shape == (2,)
    again = networks.sample(name, 2, 0, training=False)
    assert torch.equal(x, again.x)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.model.parameters(), strict=True))
    boundgraph.compile(model)


def test_cnn7_normalises_every_hidden_layer() -> None:
    parts = [type(part) for part in networks.cnn7_bn().children()]
    layers = [i for i, part in enumerate(parts) if part in (nn.Conv2d, nn.Linear)]
    assert len(layers) == 7
    assert all(parts[i + 1] in (nn.BatchNorm1d, nn.BatchNorm2d) for i in layers[:-1])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("backend", ["natural", "boundgraph"])
def test_steps(task: str, backend: str) -> None:
    cell = Cell(SMALL, task, backend, batch=2)
    try:
        times = timed(step_of(cell), 2)
    except SkippedError:
        pytest.skip("a task of a later version")
    assert len(times) == 2
    assert min(times) > 0


@pytest.mark.parametrize("task", TASKS)
def test_bfloat16_is_for_training_with_a_walk(task: str) -> None:
    cell = Cell(SMALL, task, "boundgraph-bf16", batch=2)
    if task in ("train-crown-ibp", "train-fused"):
        assert min(timed(step_of(cell), 2)) > 0
    else:
        with pytest.raises(SkippedError, match="bfloat16 are for training"):
            step_of(cell)


def test_every_variant_trains_alike() -> None:
    """What is switched off changes time, and neither bounds nor gradients."""
    gradients = []
    for variant in ("", *ablation.optional_passes(SMALL), ablation.EXPLICIT):
        model, x, labels = networks.sample(SMALL, 3, 0, training=True)
        bounded = boundgraph.compile(model, ablation.passes(variant, "crown-ibp"))
        ablation.switch_off(variant, bounded, lambda bounded=bounded, x=x, y=labels: bounded.margins(x, y, eps=0.01))
        robust_cross_entropy(bounded.margins(x, labels, eps=0.01)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert len(gradients) > 2
    for found in gradients[1:]:
        for one, other in zip(found, gradients[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_optional_passes_are_told_from_needed_ones() -> None:
    optional = ablation.optional_passes(SMALL)
    assert "specification.merge" in optional
    assert not {"primal.canonicalize", "interval.forward", "crown.backward(slope=adaptive)"} & set(optional)


def test_limits_of_the_mlp() -> None:
    first, second, third = (2 * size for size in (784 * 256, 256 * 256, 256 * 10))
    assert work.layer_flops("mlp") == [first, second, third]
    natural = 2 * first + 3 * second + 3 * third
    found = work.limits("mlp")
    assert found["train-ibp"] == pytest.approx((natural + 3 * (second + third)) / natural)
    walked = natural + 3 * (second + third) - 6 * third + 27 * (first + second)
    assert found["train-crown-ibp"] == pytest.approx(walked / natural)
    assert found["train-fused"] < found["train-crown-ibp"]


def test_layers_of_a_residual_network_are_counted_once() -> None:
    model = networks.resnet()
    assert len(work.layer_flops("resnet")) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())


def test_processes_take_turns(tmp_path: Path) -> None:
    cells = [Cell(SMALL, "train-ibp", who, batch=2, threads=1) for who in ("natural", "boundgraph", "auto_LiRPA")]
    rows = run.compare(cells, run.Effort(rounds=2, seconds=0.001, timeout=120))
    natural, ours, theirs = rows
    assert natural["ratio"] == 1
    assert len(ours["rounds"]) == 2
    assert ours["ratio"] > 0
    assert ours["peak_mb"] >= ours["base_mb"] > 0
    assert "step_s" in theirs or "note" in theirs
    run.save(tmp_path / "some.json", rows, SETTINGS)
    assert run.load(tmp_path / "some.json")["rows"] == json.loads(json.dumps(rows))


def test_a_cell_that_fails_says_why() -> None:
    (found,) = run.compare([Cell(SMALL, "train-nothing", "boundgraph")], run.Effort(1, 0.001, 120))
    assert "KeyError" in found["note"]
    assert "step_s" not in found


def test_saved_rows_are_replaced_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "performance.json"
    run.save(path, [measured("mlp", "train-ibp", "natural", 1.0), measured("mlp", "train-ibp", "boundgraph", 2.0)],
             SETTINGS, limits={"mlp": {"train-ibp": 1.3}})  # fmt: skip
    run.save(path, [measured("mlp", "train-ibp", "boundgraph", 3.0)], SETTINGS, limits={"resnet": {"train-ibp": 2.0}})
    document = run.load(path)
    assert [found["ratio"] for found in document["rows"]] == [1.0, 3.0]
    assert set(document["limits"]) == {"mlp", "resnet"}
    assert document["machine"]["versions"]["torch"] == torch.__version__


def test_report(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    docs.mkdir()
    rows = [
        measured("mlp", "train-crown-ibp", "natural", 1.0),
        measured("mlp", "train-crown-ibp", "boundgraph", 9.25),
        *(
            row(network, "train-crown-ibp", "auto_LiRPA", note="skipped: no auto_LiRPA")
            for network in ("mlp", "resnet")
        ),
        measured("mlp", "verify-crown", "natural", 1.0),
        measured("mlp", "verify-crown", "boundgraph", 123.4),
        {**row("mlp", "compile", "boundgraph", step_s=0.25), "peak_mb": 300.0, "base_mb": 290.0},
    ]
    limits = {"mlp": {"train-crown-ibp": 13.18, "verify-crown": 410.6}}
    run.save(results / "performance.json", rows, SETTINGS, limits=limits)
    run.save(results / "kept-memory.json", [measured("mlp", "train-ibp", "boundgraph", 2.5)], SETTINGS, limits=limits)
    variants = [measured("mlp", "train-crown-ibp", "boundgraph", 9.0),
                measured("mlp", "train-crown-ibp", "boundgraph", 18.0) | {"variant": "explicit gradients"}]  # fmt: skip
    run.save(results / "ablation.json", variants, SETTINGS)
    points = [measured(network, "train-crown-ibp", who, 2.0) | {"batch": batch}
              for network, batch in growth.points(["batch", "width"], 3) for who in ("natural", "boundgraph")]  # fmt: skip
    run.save(results / "growth.json", points, SETTINGS)

    written = CliRunner().invoke(_report_app(), ["--results", str(results), "--docs", str(docs)])
    assert written.exit_code == 0, written.output
    page = (docs / "performance.md").read_text()
    assert "| mlp, 4 | 1 ms | 13.18 | 9.25 | - |" in page
    assert "| mlp, 4 | 1 ms | 411 | 123 |" in page
    assert "| mlp, 4 | 250 ms |" in page
    assert "all processes keep freed memory\n\n### IBP" in page
    assert "| mlp, 4 | - | - | 2.50 |" in page
    assert "| without explicit gradients | 18.00 (x2.00) |" in page
    assert "- mlp, resnet, train-crown-ibp, auto_LiRPA: skipped: no auto_LiRPA" in page
    assert torch.__version__ in page
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith("|"))
    figure = docs / "images" / "growth.svg"
    assert 0 < figure.stat().st_size < 200_000
    first = figure.read_text()
    report.write(results, docs)
    assert figure.read_text() == first


def _report_app() -> Any:
    import typer

    app = typer.Typer()
    app.command()(report.main)
    return app


def test_report_of_what_there_is(tmp_path: Path) -> None:
    run.save(tmp_path / "performance.json", [measured("mlp", "train-ibp", "natural", 1.0)], SETTINGS, limits={})
    page = report.page(tmp_path)
    assert "### IBP" in page
    assert "Growth" not in page


def test_command_line(tmp_path: Path) -> None:
    unknown = CliRunner().invoke(run.app, ["steps", "--network", "no", "--results", str(tmp_path)])
    assert unknown.exit_code == 2
    assert "unknown --network no" in unknown.output
    assert not list(tmp_path.iterdir())


def test_growth_changes_one_size_at_a_time() -> None:
    every = list(growth.points(list(growth.AXES)))
    assert len(set(every)) == len(every) == sum(map(len, growth.AXES.values())) - (len(growth.AXES) - 1)
    rows = [measured(growth.point(depth=2).network, "train-crown-ibp", "boundgraph", 5.0, batch=32)]
    assert growth.series(rows, "depth", "boundgraph") == [(2, 0.005, 10.0)]
    assert growth.series(rows, "width", "boundgraph") == []
