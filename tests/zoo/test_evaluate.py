"""The evaluation command: the order of its errors, its settings, and several radii at once."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from zoo import evaluate, train, weights
from zoo.records import read_result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a short digits run, certified for part of the test set."""
    out = tmp_path_factory.mktemp("run")
    arguments = ["--epochs", "8", "--warmup", "1", "--ramp", "5", "--eps", "0.03", "--out", str(out)]
    assert CliRunner().invoke(train.app, arguments).exit_code == 0
    return out / "last.pt"


def run(checkpoint: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(evaluate.app, [str(checkpoint), "--steps", "5", "--restarts", "1", *arguments])


def evaluated(checkpoint: Path | str, tmp_path: Path, *arguments: str) -> dict:
    file = tmp_path / "deep" / "results.json"
    result = run(checkpoint, "--json", str(file), *arguments)
    assert result.exit_code == 0, result.output
    return read_result(file).content


def test_errors_are_ordered_and_between_none_and_all(trained: Path, tmp_path: Path) -> None:
    report = evaluated(trained, tmp_path, "--eps", "0.03", "--eps", "0.06")
    assert (report["examples"], report["epochs"], report["dtype"]) == (360, 8, "float64")
    assert [found["eps"] for found in report["evaluations"]] == [0.03, 0.06]
    for found in report["evaluations"]:
        assert 0 < found["standard"]["error"] <= found["pgd"]["error"] <= found["verified"]["error"] < 1
        assert found["pgd"]["errors"] == round(360 * found["pgd"]["error"])
        assert sum(found["verified"]["by"].values()) == 360 - found["verified"]["errors"]
        assert found["verified"]["by"].keys() == found["verified"]["seconds"].keys()
        assert len(found["verdicts"]) == 360
    near, far = report["evaluations"]
    assert near["standard"] == far["standard"]
    assert near["verified"]["errors"] < far["verified"]["errors"]


def test_settings_are_kept_with_their_results(trained: Path, tmp_path: Path) -> None:
    arguments = ("--limit", "50", "--eps", "0.05", "--batch-size", "7", "--seed", "3", "--dtype", "float32")
    report = evaluated(trained, tmp_path, *arguments, "--method", "crown", "--step-size", "0.004")
    assert (report["examples"], report["dtype"]) == (50, "float32")
    (found,) = report["evaluations"]
    assert found["eps"] == 0.05
    assert {"steps": 5, "restarts": 1, "step_size": 0.004, "seed": 3, "leak": 0.03}.items() <= found["pgd"].items()
    assert list(found["verified"]["by"]) == ["crown zero"]
    plain = evaluated(trained, tmp_path, *arguments, "--method", "ibp", "--leak", "0")["evaluations"][0]
    assert (plain["pgd"]["leak"], plain["cross_check"]["leak"]) == (0, 0)
    thorough = evaluated(trained, tmp_path, *arguments, "--method", "crown", "--thorough")["evaluations"][0]
    assert list(thorough["verified"]["by"]) == ["crown zero", "crown adaptive"]
    assert thorough["verified"]["errors"] <= found["verified"]["errors"]


def test_the_radius_is_that_of_training_and_the_weights_are_known(trained: Path, tmp_path: Path) -> None:
    report = evaluated(trained, tmp_path, "--limit", "20")
    assert report["evaluations"][0]["eps"] == report["config"]["eps"] == 0.03
    assert report["weights"] == weights.digest(weights.open_trained(str(trained)).model)
    assert report["environment"]["torch"]


def test_an_audit_finds_the_same(trained: Path, tmp_path: Path) -> None:
    plain, audited = (evaluated(trained, tmp_path, *more)["evaluations"][0] for more in ((), ("--audit",)))
    assert plain["verified"]["errors"] == audited["verified"]["errors"]


def test_without_radius_all_errors_agree(trained: Path, tmp_path: Path) -> None:
    (found,) = evaluated(trained, tmp_path, "--eps", "0")["evaluations"]
    assert found["standard"]["errors"] == found["pgd"]["errors"] == found["verified"]["errors"]


def test_prints_every_error_with_its_settings(trained: Path) -> None:
    output = run(trained, "--limit", "30", "--eps", "0.03", "--eps", "0.05").output
    assert output.startswith("digits_cnn on digits, 8 epochs: 30 test examples, float64\neps 0.03\n")
    assert re.search(r"standard error +\d+\.\d\d%\n", output)
    assert re.search(r"PGD error +\d+\.\d\d%  1 x 5 steps from 0\.024, leak 0\.03, \d+\.\d s\n", output)
    assert re.search(r"verified error +\d+\.\d\d%  verified by ibp \d+", output)
    assert "\neps 0.05\n" in output


def test_shipped_weights_are_evaluated_by_name(tmp_path: Path) -> None:
    report = evaluated("digits-0.1", tmp_path)
    stored = weights.information("digits-0.1")["result"]
    assert report["evaluations"][0]["verified"]["errors"] == stored["evaluations"][0]["verified"]["errors"]


def test_requests_that_cannot_be_served(trained: Path, tmp_path: Path) -> None:
    result = run(trained, "--method", "magic")
    assert result.exit_code == 2
    assert "unknown bound 'magic' to verify with; there are: ibp, crown-ibp, crown" in result.output
    assert "unknown --dtype 'half'; there are: float64, float32" in run(trained, "--dtype", "half").output
    assert "no --device nonsense here" in run(trained, "--device", "nonsense").output
    assert "no checkpoint" in run(tmp_path / "none.pt").output


def test_no_radius_is_evaluated_before_a_senseless_one_is_told(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("the work began"))
    for eps in ("inf", "nan"):
        result = run(trained, "--eps", "0.1", "--eps", eps)
        assert (result.exit_code, "--eps" in result.output) == (2, True)


def test_a_radius_given_twice_is_evaluated_once(trained: Path, tmp_path: Path) -> None:
    found = evaluated(trained, tmp_path, "--eps", "0.05", "--eps", "0.05")
    assert [row["eps"] for row in found["evaluations"]] == [0.05]


def test_a_place_that_takes_no_results_is_told_before_the_work(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("the work began"))
    result = run(trained, "--json", str(tmp_path))
    assert (result.exit_code, f"error: --json {tmp_path} is a folder; give the file" in result.output) == (2, True)
    result = run(trained, "--json", "/proc/results.json")  # a folder that nobody can write to
    assert (result.exit_code, "error: cannot read or write" in result.output) == (2, True)
    (tmp_path / "file").touch()
    result = run(trained, "--json", str(tmp_path / "file" / "deep" / "results.json"))
    assert (result.exit_code, "error: cannot read or write" in result.output) == (2, True)
