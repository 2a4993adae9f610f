"""Event files hold every epoch once, whatever happened to the run."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ZooError
from zoo.tensorboard import TAGS, EventWriter, write_events

pytest.importorskip("tensorboard")

ROOT = Path(__file__).parents[2]


def record(epoch: int) -> dict[str, Any]:
    figures = {name: epoch + number / 16 for number, name in enumerate(TAGS)}
    return {"epoch": epoch, "watched": "validation", "seconds": 10.0, "watched_seconds": 2.0, **figures}


def write_run(folder: Path, epochs: int) -> None:
    rows = [json.dumps(record(epoch)) + "\n" for epoch in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(rows))


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(epochs: int) -> dict[str, list[tuple[int, float]]]:
    steps = range(1, epochs + 1)
    return {
        tag.format(watched="validation"): [(step, record(step)[name]) for step in steps] for name, tag in TAGS.items()
    }


def test_a_finished_run_is_converted_as_often_as_one_likes(tmp_path: Path) -> None:
    write_run(tmp_path, epochs=3)
    for _ in range(2):
        assert write_events(tmp_path) == tmp_path / "tensorboard"
        assert read(tmp_path / "tensorboard") == expected(3)


def test_epochs_of_a_killed_run_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    first = EventWriter(tmp_path)  # nothing is trained yet
    for epoch in (1, 2, 3):
        first.epoch(record(epoch))
    write_run(tmp_path, epochs=2)  # killed: the checkpoint has two epochs, and the third is trained again
    second = EventWriter(tmp_path)
    for epoch in (3, 4):
        second.epoch(record(epoch))
    second.close()
    assert read(tmp_path / "tensorboard") == expected(4)


def test_epochs_lie_as_far_apart_as_they_took(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_run(tmp_path, epochs=3)
    events = EventAccumulator(str(write_events(tmp_path)))
    events.Reload()
    times = [event.wall_time for event in events.Scalars("loss")]
    assert [after - before for before, after in itertools.pairwise(times)] == pytest.approx([12, 12])


def test_what_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZooError, match=r"no .*metrics.jsonl: give a directory that `python -m zoo.train` wrote"):
        write_events(tmp_path)
    with pytest.raises(ZooError, match="metrics.jsonl was written by another version .*: it lacks the field 'loss'"):
        EventWriter(tmp_path).epoch({"epoch": 1})
    for module in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ZooError, match=r"need the package tensorboard.*: pip install 'boundgraph\[tensorboard\]'"):
        EventWriter(tmp_path)


def test_figures_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    for epoch, unknown in enumerate((None, float("nan"), 0.5), start=1):
        writer.epoch(record(epoch) | {"train_verified_error": unknown})
    writer.close()
    events = read(tmp_path / "tensorboard")
    assert events["verified_error/train"] == [(3, 0.5)]
    assert len(events["loss"]) == 3


def test_the_command_line_is_that_of_the_others(tmp_path: Path) -> None:
    write_run(tmp_path, epochs=1)

    def told(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "zoo.tensorboard", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert told(str(tmp_path)) == (0, f"{tmp_path / 'tensorboard'}\n")
    status, output = told()
    assert (status, "Missing argument 'RUN_DIR...'" in output) == (2, True)
    status, output = told(str(tmp_path / "none"))
    assert (status, output.startswith("error: no ")) == (2, True)
