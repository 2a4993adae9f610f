"""Several processes: shares of a batch, their weights, and a run that does not depend on how many there are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zoo.distributed import World, device_of

ROOT = Path(__file__).parents[2]
SETTINGS = (
    *("-m", "zoo.train", "--dataset", "digits", "--epochs", "4", "--warmup", "1", "--ramp", "2", "--threads", "1"),
    *("--batch-size", "130", "--device", "cpu", "--out"),
)


@pytest.mark.parametrize("batch", [1, 2, 7, 8])
def test_shares_make_up_the_batch_and_weights_the_mean(batch: int) -> None:
    chosen, values = torch.randperm(batch), torch.randn(batch, dtype=torch.float64)
    worlds = [World(rank, 3) for rank in range(3)]
    shares = [world.share(chosen) for world in worlds]
    assert torch.equal(torch.cat(shares).sort().values, torch.arange(batch))
    # the average over processes of each one's weighted mean
    means = [
        world.weight(batch) * values[share].sum() / max(len(share), 1)
        for world, share in zip(worlds, shares, strict=True)
    ]
    torch.testing.assert_close(sum(means) / 3, values.mean())


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="no --device nonsense here"):
        device_of("nonsense")
    with pytest.raises(ValueError, match="no --device meta here"):
        device_of("meta")


def losses(out: Path) -> torch.Tensor:
    lines = (out / "steps.jsonl").read_text().splitlines()
    return torch.tensor([loss for line in lines for loss in json.loads(line)["losses"]], dtype=torch.float64)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    alone, torchrun = [sys.executable], [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for command, out in ((alone, "one"), (torchrun, "two")):
        run = [*command, *SETTINGS, str(tmp_path / out)]
        subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 4 * 12
    torch.testing.assert_close(two, one, rtol=2e-3, atol=0)
    torch.testing.assert_close(two[:12], one[:12], rtol=1e-5, atol=0)
