"""From a run to weights that `zoo.load` could ship."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from zoo import checkpoint, evaluate, export, weights
from zoo.config import resolve
from zoo.models import build


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run that has trained nothing yet."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = resolve({"out": str(folder), "eps": 0.01})
    checkpoint.save(folder / "last.pt", config, model=build("digits_cnn", "digits").state_dict(), epoch=0)
    return folder


def exported(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export.app, [str(argument) for argument in arguments])


def test_evaluates_and_writes_what_can_be_read_back(run_directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights"
    result = exported(run_directory, "--name", "first", "--out", out, "--eps", "0.01", "--eps", "0.02")
    assert result.exit_code == 0, result.output
    assert f"{out / 'first.safetensors'}: " in result.output
    trained = weights.read_weights(out / "first.safetensors")
    assert weights.digest(trained.model) == weights.digest(weights.open_trained(str(run_directory)).model)
    text = (out / "first.json").read_text()
    assert str(tmp_path) not in text
    stored = json.loads(text)
    assert [found["eps"] for found in stored["result"]["evaluations"]] == [0.01, 0.02]
    assert all(len(found["verdicts"]) == 360 for found in stored["result"]["evaluations"])
    assert (stored["epochs"], stored["config"]["eps"]) == (0, 0.01)
    assert stored["result"]["environment"]["torch"]


def test_takes_results_of_the_same_weights_only(run_directory: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "results.json", tmp_path / "weights"
    evaluation = [str(run_directory), "--steps", "3", "--restarts", "1", "--json", str(file)]
    assert CliRunner().invoke(evaluate.app, evaluation).exit_code == 0
    arguments = (run_directory, "--name", "first", "--out", out, "--results", file)
    assert exported(*arguments).exit_code == 0
    stored, given = json.loads((out / "first.json").read_text()), json.loads(file.read_text())
    assert stored["result"]["evaluations"] == given["evaluations"]
    assert "first.safetensors is there already; give another --name, or --force" in exported(*arguments).output
    assert exported(*arguments, "--force").exit_code == 0
    written = (out / "first.json").read_text()
    (found,) = given["evaluations"]
    for changes, message in [
        ({"weights": "0"}, "holds the results of other weights"),
        ({"examples": 50}, "is about 50 examples, not the whole test set of digits"),
        ({"dtype": "float32"}, "has certificates in float32; only those in float64 are kept"),
        ({"evaluations": []}, "holds no evaluation"),
        ({"evaluations": [found | {"pgd": {"error": 1.0}}]}, "is damaged: it lacks 'restarts'"),
        ({"config": None}, "is damaged: it has None as the field 'config'"),
    ]:
        file.write_text(json.dumps(given | changes))
        result = exported(*arguments, "--force")
        assert (result.exit_code, message in result.output) == (2, True), result.output
    for name in ("weights", "examples", "dtype", "evaluations", "environment"):
        file.write_text(json.dumps({key: value for key, value in given.items() if key != name}))
        result = exported(*arguments, "--force")
        assert result.exit_code == 2
        assert f"{file} was written by another version of the zoo or is damaged: it lacks" in result.output
        assert repr(name) in result.output
    assert (out / "first.json").read_text() == written


def test_first_weights_that_nobody_else_has_are_not_built_upon(run_directory: Path, tmp_path: Path) -> None:
    config = resolve({"out": str(run_directory), "eps": 0.01, "start_from": "runs/mine"})
    model = build("digits_cnn", "digits").state_dict()
    checkpoint.save(run_directory / "last.pt", config, model=model, epoch=0)
    result = exported(run_directory, "--name", "x", "--out", tmp_path / "weights")
    assert result.exit_code != 0
    assert "began with the weights runs/mine, which only this machine has; export them first" in result.output
    assert not (tmp_path / "weights").exists()


def test_weights_that_are_not_finite_are_not_evaluated(run_directory: Path, tmp_path: Path) -> None:
    config, content = checkpoint.load(run_directory / "last.pt")
    name, weight = next(iter(content["model"].items()))
    weight.view(-1)[0] = float("nan")
    checkpoint.save(run_directory / "last.pt", config, model=content["model"], epoch=0)
    result = exported(run_directory, "--name", "first", "--out", tmp_path / "weights")
    assert result.exit_code == 2
    assert f"error: {name} of the model holds numbers that are not finite" in result.output
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("name", ["../first", "", ".hidden", "a b"])
def test_names_are_names_of_files(run_directory: Path, tmp_path: Path, name: str) -> None:
    result = exported(run_directory, "--name", name, "--out", tmp_path / "weights")
    assert result.exit_code == 2
    assert "--name is made of letters" in result.output
    assert not (tmp_path / "weights").exists()
