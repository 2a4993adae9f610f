"""Checkpoints: atomic, complete, safe to read."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo import checkpoint
from zoo.config import resolve
from zoo.errors import ZooError
from zoo.models import build


def test_round_trip(tmp_path: Path) -> None:
    config, model = resolve({"eps": 0.05}), build("digits_cnn", "digits")
    checkpoint.save(tmp_path / "last.pt", config, model=model.state_dict(), epoch=3)
    loaded, trained, epochs, _ = checkpoint.load_model(tmp_path / "last.pt")
    assert (loaded, epochs, trained.training) == (config, 3, False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), trained.parameters(), strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_random_states_continue(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(()).item(), np.random.standard_normal(), random.random()

    draw()  # one normal number leaves NumPy's legacy generator with half a pair in store
    checkpoint.save(tmp_path / "last.pt", resolve({}))
    expected = draw()
    checkpoint.restore_random_states(checkpoint.load(tmp_path / "last.pt")[1])
    assert draw() == expected


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_text("old")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(ValueError, match=r"no checkpoint .*last\.pt; `python -m zoo\.train` writes"):
        checkpoint.load(path)
    torch.save({"model": {}}, path)
    for content in (path.read_bytes(), b"", b"a text", path.read_bytes()[:50]):
        path.write_bytes(content)
        with pytest.raises(ZooError) as refused:
            checkpoint.load(path)
        assert str(refused.value) == f"{path} is damaged or no checkpoint of `python -m zoo.train`"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"novelty": 1, "fashion": 2}, "it has unknown settings fashion, novelty"),
        ({"epochs": "ten"}, "epochs must be of type int, not 'ten'"),
        ({"epochs": None}, "epochs must be of type int, not None"),
        ({"method": "magic"}, "unknown --method 'magic'"),
        ({"model": "cnn_2layer_width_1", "dataset": "mnist"}, "its weights do not fit the model that it names"),
    ],
)
def test_checkpoints_of_another_version(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = write_altered(tmp_path, lambda content: content["config"].update(changes))
    with pytest.raises(ZooError, match=f"{path} was written by another version of the zoo or is damaged: {why}"):
        checkpoint.load_model(path)


def test_checkpoints_that_lack_something(tmp_path: Path) -> None:
    for name in ("model", "epoch"):
        with pytest.raises(ZooError, match=f"is damaged: it lacks {name}"):
            checkpoint.load_model(write_altered(tmp_path, lambda content, name=name: content.pop(name)))
    for name in ("eps", "lr"):
        with pytest.raises(ZooError, match=f"is damaged: it lacks the settings {name}"):
            checkpoint.load(write_altered(tmp_path, lambda content, name=name: content["config"].pop(name)))
    with pytest.raises(ZooError, match="is damaged: it lacks the field 'config'"):
        checkpoint.load(write_altered(tmp_path, lambda content: content.pop("config")))
    path = write_altered(tmp_path, lambda content: content.update(epoch="three"))
    with pytest.raises(ZooError, match="has 'three' as the field 'epoch'"):
        checkpoint.load_model(path)
    with pytest.raises(ZooError, match="is damaged: it lacks optimizer, best"):
        checkpoint.load(path, needs=("model", "optimizer", "best"))


def write_altered(folder: Path, alter: Callable[[dict[str, Any]], object]) -> Path:
    """A checkpoint with something else in it than this version writes."""
    path = folder / "last.pt"
    checkpoint.save(path, resolve({}), model=build("digits_cnn", "digits").state_dict(), epoch=3)
    content = torch.load(path, weights_only=True)
    alter(content)
    torch.save(content, path)
    return path


class Intruder:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


def test_loading_executes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.pt"
    torch.save(Intruder(), path)
    with pytest.raises(ValueError, match="is damaged or no checkpoint"):
        checkpoint.load(path)
    assert "executed" not in capsys.readouterr().out
