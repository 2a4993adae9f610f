"""The evaluation command: the order of its errors, its settings, and its alarm."""

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from boundgraph import methods
from zoo import evaluate, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a short digits run, certified for part of the test set."""
    out = tmp_path_factory.mktemp("run")
    arguments = ["--epochs", "8", "--warmup", "1", "--ramp", "5", "--eps", "0.03", "--out", str(out)]
    assert CliRunner().invoke(train.app, arguments).exit_code == 0
    return out / "last.pt"


def run(checkpoint: Path, *arguments: str) -> Result:
    return CliRunner().invoke(evaluate.app, [str(checkpoint), "--steps", "5", "--restarts", "1", *arguments])


def results(checkpoint: Path, tmp_path: Path, *arguments: str) -> dict:
    file = tmp_path / "results.json"
    result = run(checkpoint, "--json", str(file), *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(file.read_text())


def test_errors_are_ordered_and_between_none_and_all(trained: Path, tmp_path: Path) -> None:
    report = results(trained, tmp_path)
    assert (report["examples"], report["eps"], report["epochs"]) == (360, 0.03, 8)
    for bound in report["verified"]:
        assert 0 < report["standard"]["error"] <= report["pgd"]["error"] <= bound["error"] < 1
    assert [bound["method"] for bound in report["verified"]] == ["ibp", "crown-ibp"]
    assert report["pgd"]["errors"] == round(360 * report["pgd"]["error"])


def test_settings_are_kept_with_their_results(trained: Path, tmp_path: Path) -> None:
    arguments = ("--limit", "50", "--eps", "0.01", "--slope", "zero", "--batch-size", "7", "--seed", "3")
    report = results(trained, tmp_path, *arguments, "--method", "crown-ibp", "--method", "ibp", "--step-size", "0.004")
    assert (report["examples"], report["eps"]) == (50, 0.01)
    assert {"steps": 5, "restarts": 1, "step_size": 0.004, "seed": 3}.items() <= report["pgd"].items()
    settings = [(bound["method"], bound["slope"], bound["batch_size"]) for bound in report["verified"]]
    assert settings == [("crown-ibp", "zero", 7), ("ibp", None, 7)]


@pytest.mark.parametrize("slope", ["adaptive", "zero", "one", "same"])
def test_every_slope_is_a_bound_of_its_own(trained: Path, tmp_path: Path, slope: str) -> None:
    report = results(trained, tmp_path, "--limit", "40", "--method", "crown", "--slope", slope)
    assert report["pgd"]["error"] <= report["verified"][0]["error"]


def test_results_do_not_depend_on_the_batch_size(trained: Path, tmp_path: Path) -> None:
    counts = [
        [bound["errors"] for bound in results(trained, tmp_path, "--limit", "60", "--batch-size", size)["verified"]]
        for size in ("1", "60")
    ]
    assert counts[0] == counts[1]


def test_without_radius_all_errors_agree(trained: Path, tmp_path: Path) -> None:
    report = results(trained, tmp_path, "--eps", "0")
    assert report["standard"]["errors"] == report["pgd"]["errors"]
    assert all(bound["errors"] == report["standard"]["errors"] for bound in report["verified"])


def test_prints_every_error_with_its_settings(trained: Path) -> None:
    output = run(trained, "--limit", "30").output
    assert output.startswith("digits_cnn on digits, 8 epochs: 30 test examples, eps 0.03\n")
    assert re.search(r"PGD error +\d+\.\d\d%  1 x 5 steps of 0\.015\n", output)
    assert re.search(r"verified error +\d+\.\d\d%  crown-ibp\n", output)


def test_broken_but_verified_raises_the_alarm() -> None:
    proven, broken = torch.tensor([True, True, False, True]), torch.tensor([False, True, True, False])
    with pytest.raises(evaluate.SoundnessError, match=r"1 test examples are verified by crown .* first number 1: "):
        evaluate.require_sound(proven, broken, "crown")
    evaluate.require_sound(proven, ~proven, "crown")


def test_requests_that_cannot_be_served(trained: Path, tmp_path: Path) -> None:
    result = run(trained, "--method", "magic")
    assert result.exit_code == 2
    assert f"unknown --method 'magic'; there are: {', '.join(methods())}" in result.output
    assert "no checkpoint" in run(tmp_path / "none.pt").output
