"""Checkpoints: atomic, complete, safe to read."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo import checkpoint
from zoo.config import resolve
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


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(ValueError, match=r"no checkpoint .*last\.pt; `python -m zoo\.train` writes"):
        checkpoint.load(path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"cannot read the checkpoint .*last\.pt"):
        checkpoint.load(path)
    torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match=r"last\.pt is no checkpoint of `python -m zoo\.train`"):
        checkpoint.load(path)


class Intruder:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


def test_loading_executes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.pt"
    torch.save(Intruder(), path)
    with pytest.raises(ValueError, match="cannot read the checkpoint"):
        checkpoint.load(path)
    assert "executed" not in capsys.readouterr().out
