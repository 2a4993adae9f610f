"""What a run shows: a moving line on a terminal, plain lines elsewhere, both about the same numbers."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from zoo import terminal
from zoo.config import resolve
from zoo.tally import Tally

RECORD: dict[str, Any] = {
    "epoch": 4,
    "eps": 0.05,
    "loss": 1.23456,
    "train_standard_error": 0.0432,
    "train_verified_error": 0.5,
    "watched": "validation",
    "watched_standard_error": 0.0789,
    "watched_verified_error": 0.999,
    "images_per_second": 1234.5,
}


def tally() -> Tally:
    """Ten examples with a loss of 2, one misclassified, five not verified."""
    found = Tally()
    found.sums += torch.tensor([10.0, 20.0, 1.0, 10.0, 5.0])
    return found


def test_an_epoch_fits_on_a_line() -> None:
    line = terminal.epoch_line(RECORD, epochs=60)
    assert line == ("epoch  4/60  eps 0.0500  loss 1.235  train 4.3 / 50.0 %  validation 7.9 / 99.9 %  1234 images/s")


def test_plain_display_prints_epochs_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.training_display(resolve({"epochs": 60}), finished=3, steps_per_epoch=5) as display:
        display.batch(3, 0.05, tally())
        display.epoch(RECORD)
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert output.endswith("s left\n")


def test_live_display_moves_with_every_batch() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with Progress(console=console) as progress:
        task = progress.add_task("", total=10)
        display = terminal.LiveDisplay(progress, task, resolve({"epochs": 60}))
        display.batch(3, 0.05, tally())
        assert progress.tasks[0].completed == 1
        assert "epoch 4/60  eps 0.0500  loss 2.000  10.0 / 50.0 %" in str(progress.tasks[0].description)
        display.epoch(RECORD)
    assert terminal.epoch_line(RECORD, epochs=60) in console.file.getvalue()


def test_an_unknown_verified_error_is_a_dash() -> None:
    for unknown in (None, float("nan")):
        line = terminal.epoch_line(RECORD | {"train_verified_error": unknown}, epochs=60)
        assert "train 4.3 / - %  validation 7.9 / 99.9 %" in line


def test_files_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    from zoo.train import app

    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below", Path("/dev/null/run")):
        told = CliRunner().invoke(app, ["--epochs", "1", "--warmup", "0", "--ramp", "0", "--out", str(out)])
        assert told.exit_code == 2
        assert told.stderr.startswith(f"error: cannot read or write {out}: "), told.stderr
        assert told.stderr.count("\n") == 1


def test_errors_of_the_system_without_a_file_are_bugs() -> None:
    with pytest.raises(OSError, match="out of luck"), terminal.user_errors():
        raise OSError("out of luck")
