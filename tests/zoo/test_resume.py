"""A run killed without warning continues to the very weights of an undisturbed one."""

import subprocess
import sys
import time
from pathlib import Path

import torch

from zoo import checkpoint

ROOT = Path(__file__).parents[2]
EPOCHS = 10
SETTINGS = f"--epochs {EPOCHS} --warmup 1 --ramp 6 --batch-size 48 --threads 1 --seed 5"


def start(out: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "zoo.train", *SETTINGS.split(), "--out", str(out)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL)


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
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    kill_after(start(disturbed), disturbed / "metrics.jsonl", epochs=3)
    finished = checkpoint.load(disturbed / "last.pt")[1]["epoch"]
    assert 3 <= finished < EPOCHS
    assert [run.wait() for run in (start(disturbed), start(undisturbed))] == [0, 0]

    resumed, expected = (checkpoint.load(out / "last.pt")[1] for out in (disturbed, undisturbed))
    assert all(torch.equal(resumed["model"][name], weight) for name, weight in expected["model"].items())
    assert untimed(resumed["history"]) == untimed(expected["history"])
    assert torch.equal(resumed["random"]["torch"], expected["random"]["torch"])
