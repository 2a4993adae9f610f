"""A run killed without warning continues to the very weights of an undisturbed one."""

import subprocess
import sys
import time
from pathlib import Path

import torch
from typer.testing import CliRunner

from zoo import checkpoint, train

ROOT = Path(__file__).parents[2]
EPOCHS = 6
SETTINGS = f"--epochs {EPOCHS} --warmup 1 --ramp 3 --batch-size 48 --threads 1 --seed 5 --out".split()


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "zoo.train", *SETTINGS, str(out)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def kill_after(process: subprocess.Popen[bytes], metrics: Path, epochs: int) -> None:
    """kill -9 as soon as the metrics file shows this many finished epochs."""
    deadline = time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < epochs:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run made no progress"
        time.sleep(0.01)
    process.kill()
    process.wait()


def untimed(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in record.items() if "second" not in k} for record in history]


def test_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    undisturbed = start(tmp_path / "undisturbed")
    kill_after(start(tmp_path / "killed"), tmp_path / "killed" / "metrics.jsonl", epochs=2)
    assert 2 <= checkpoint.load(tmp_path / "killed" / "last.pt")[1]["epoch"] < EPOCHS

    resumed = CliRunner().invoke(train.app, [*SETTINGS, str(tmp_path / "killed")])
    assert "resuming" in resumed.output
    assert undisturbed.wait() == 0

    ours, theirs = (checkpoint.load(tmp_path / run / "last.pt")[1] for run in ("killed", "undisturbed"))
    assert all(torch.equal(ours["model"][name], weight) for name, weight in theirs["model"].items())
    assert untimed(ours["history"]) == untimed(theirs["history"])
    assert torch.equal(ours["random"]["torch"], theirs["random"]["torch"])
