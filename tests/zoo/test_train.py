"""The training command: what it writes, prints, refuses, and how it resumes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from zoo import checkpoint, config, data, loop, state, train
from zoo.tally import Tally

Command = Callable[..., Result]
SHORT = ("--epochs", "3", "--warmup", "1", "--ramp", "1", "--batch-size", "256", "--threads", "1")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run a short training into tmp_path / "run" in this process."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(train.app, [*SHORT, "--out", str(tmp_path / "run"), *arguments])

    return run


def metrics(out: Path) -> list[dict[str, Any]]:
    """Every record without the timings, which differ from run to run."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if "seconds" not in k and k != "images_per_second"} for record in records]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(out / "last.pt")[1]["model"]


def test_writes_checkpoint_metrics_and_configuration(command: Command, tmp_path: Path) -> None:
    result = command("--eps", "0.05")
    assert result.exit_code == 0, result.output
    out = tmp_path / "run"
    assert sorted(path.name for path in out.iterdir()) == [
        *("config.json", "final.pt", "last.pt", "metrics.jsonl", "steps.jsonl")
    ]
    records = metrics(out)
    assert [(record["epoch"], record["eps"]) for record in records] == [
        (1, 0.0),
        (2, pytest.approx(0.05 * 5 / 6)),
        (3, 0.05),
    ]
    settings = json.loads((out / "config.json").read_text())
    assert (settings["config"]["eps"], settings["config"]["seed"]) == (0.05, 0)
    assert settings["environment"]["torch"] == torch.__version__


def test_prints_one_line_per_epoch_and_the_errors_of_the_last_weights(command: Command, tmp_path: Path) -> None:
    output = command().output
    assert [line[:9] for line in output.splitlines() if line.startswith("epoch")] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 3/3",
    ]
    last = metrics(tmp_path / "run")[-1]
    assert f"standard error  {last['watched_standard_error']:7.2%}" in output
    assert f"verified error  {last['watched_verified_error']:7.2%}  at eps 0.1, by IBP" in output
    assert "test split, 360 examples, weights after the last epoch:" in output


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
def test_training_certifies_more_than_natural_training(method: str) -> None:
    dataset = data.load("digits")
    verified = {}
    for kappa_final in (0.0, 1.0):
        given = {"method": method, "eps": 0.02, "epochs": 5, "warmup": 1, "ramp": 3, "kappa_final": kappa_final}
        run = state.begin(config.resolve(given), dataset)
        for _ in range(run.config.epochs):
            record = loop.run_epoch(run, Silence())
        verified[kappa_final] = record["watched_verified_error"]
    assert verified[0.0] < 0.5 * verified[1.0]


class Silence:
    def batch(self, epoch: int, eps: float, tally: Tally) -> None:
        pass

    def epoch(self, record: dict[str, Any]) -> None:
        pass


def test_same_seed_same_run_and_another_seed_another(command: Command, tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("first", "1"), ("second", "1"), ("third", "2")):
        command("--seed", seed, "--out", str(tmp_path / name))
        runs[name] = metrics(tmp_path / name)
    assert runs["first"] == runs["second"] != runs["third"]


def test_a_run_goes_on_from_the_weights_of_another(command: Command, tmp_path: Path) -> None:
    command()
    first = tmp_path / "run" / "final.pt"
    second = ("--start-from", str(first), "--warmup", "0", "--ramp", "0", "--epochs", "1", "--lr", "1e-9")
    command(*second, "--out", str(tmp_path / "second"))
    before, after = checkpoint.load(first)[1]["model"], weights(tmp_path / "second")
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in before)
    first.unlink()  # no longer needed, even where it is named
    assert "after epoch 1 of 2" in command(*second, "--out", str(tmp_path / "second"), "--epochs", "2").output
    assert command(*second, "--out", str(tmp_path / "third")).exit_code != 0


def test_longer_run_continues_a_shorter_one(command: Command, tmp_path: Path) -> None:
    command()
    assert "after epoch 3 of 5" in command("--epochs", "5").output
    command("--epochs", "5", "--out", str(tmp_path / "undisturbed"))
    assert metrics(tmp_path / "run") == metrics(tmp_path / "undisturbed")
    resumed, undisturbed = weights(tmp_path / "run"), weights(tmp_path / "undisturbed")
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_finished_run_is_reported_again_and_no_resume_starts_afresh(command: Command, tmp_path: Path) -> None:
    command()
    before = (tmp_path / "run" / "last.pt").read_bytes()
    again = command()
    assert "standard error" in again.output
    assert not any(line.startswith("epoch") for line in again.output.splitlines())
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    assert "epoch 1/3" in command("--no-resume", "--eps", "0.2").output


def test_refuses_to_resume_another_configuration(command: Command) -> None:
    command()
    result = command("--eps", "0.2", "--lr", "0.1")
    assert result.exit_code == 2
    assert "was trained with --eps 0.1, not 0.2; --lr 0.002, not 0.1. Make them agree" in result.output
    result = command("--epochs", "2")
    assert "has 3 epochs, more than --epochs 2; give another --out; or start afresh" in result.output


def test_settings_come_from_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("eps = 0.03\nseed = 7\n")
    command("--config", str(tmp_path / "run.toml"), "--seed", "8")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (settings["eps"], settings["seed"]) == (0.03, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "resnet"), "error: unknown model 'resnet' for digits; there are: digits_cnn"),
        (("--dataset", "mnist", "--warmup", "0"), "error: mnist is read from local files: give --data-dir DIR"),
        (("--lr", "1e30"), "error: the loss became"),
    ],
)
def test_errors_are_one_line(command: Command, arguments: tuple[str, ...], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("package", ["typer", "rich.console"])
def test_names_the_missing_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "zoo.terminal")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf"needs the package {package}: pip install 'boundgraph\[zoo\]'"):
        __import__("zoo.terminal")
