"""Runs that cannot go well are refused at their start, and outdated files do not outlive the run they belong to."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import checkpoint, state
from zoo.config import resolve
from zoo.data import Dataset, Split
from zoo.distributed import World
from zoo.loop import train
from zoo.terminal import NoDisplay

SETTINGS: dict[str, Any] = {"warmup": 1, "ramp": 1, "epochs": 3, "batch_size": 16, "eps": 0.05, "method": "ibp"}


def examples(count: int) -> Dataset:
    torch.manual_seed(0)
    split = Split(torch.rand(count, 1, 8, 8), torch.arange(count) % 10)
    return Dataset(split, split)


def begun(out: Path, count: int = 48, world: World | None = None, **changes: Any) -> state.Run:
    return state.begin(resolve(SETTINGS | {"out": str(out)} | changes), examples(count), world=world)


def test_a_last_batch_that_some_process_has_too_little_of(tmp_path: Path) -> None:
    begun(tmp_path, 49)
    with pytest.raises(
        ValueError, match=r"last batch .* has 1 of 49 training images, too few for 1 process\(es\) and B"
    ):
        begun(tmp_path, 49, batch_norm=True)
    begun(tmp_path, 48, batch_norm=True)
    state.require_batches(begun(tmp_path, 50))
    run = begun(tmp_path, 49)
    run.world = World(0, 2)
    with pytest.raises(ValueError, match="has 1 of 49 training images, too few for 2"):
        state.require_batches(run)


def test_weights_of_a_shorter_run_do_not_outlive_its_end(tmp_path: Path) -> None:
    train(begun(tmp_path), NoDisplay())
    (tmp_path / "result.json").write_text("{}")
    run = begun(tmp_path, epochs=4)
    state.resume(run)

    class Stop(NoDisplay):
        def batch(self, *_: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, Stop())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "last.pt",
        "metrics.jsonl",
        "steps.jsonl",
    ]


def test_a_finished_run_that_is_asked_for_again_keeps_its_record(tmp_path: Path) -> None:
    train(begun(tmp_path, threads=1), NoDisplay())
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"commit"', '"commit then"'))
    again = begun(tmp_path, threads=2, eval_eps="0.02")
    state.resume(again)
    train(again, NoDisplay())
    record = json.loads(path.read_text())
    assert "commit then" in record["environment"]
    assert (record["config"]["threads"], record["config"]["eval_eps"]) == (1, "0.02")
    config, _ = checkpoint.load(tmp_path / "final.pt")
    assert (config.threads, config.radii) == (1, [0.02])


def test_an_average_over_epochs_that_are_gone_is_refused(tmp_path: Path) -> None:
    train(begun(tmp_path, epochs=4, average=2), NoDisplay())
    run = begun(tmp_path, epochs=5, average=2)
    with pytest.raises(ValueError, match=r"would need weights of epoch 4, which were not kept; give --epochs 6"):
        state.resume(run)
    longer, undisturbed = begun(tmp_path, epochs=6, average=2), begun(tmp_path / "other", epochs=6, average=2)
    state.resume(longer)
    for one in (longer, undisturbed):
        train(one, NoDisplay())
    weights = zip(longer.bounded.parameters(), undisturbed.bounded.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in weights)


def test_missing_losses_of_steps_stop_no_run(tmp_path: Path) -> None:
    train(begun(tmp_path), NoDisplay())
    (tmp_path / "steps.jsonl").unlink()
    run = begun(tmp_path, epochs=4)
    state.resume(run)
    train(run, NoDisplay())
    assert (tmp_path / "final.pt").is_file()


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    run = begun(tmp_path)
    train(run, NoDisplay())
    (tmp_path / "final.pt").unlink()
    with torch.no_grad():
        next(run.bounded.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="came to weights that are not finite"):
        train(run, NoDisplay())
    assert not (tmp_path / "final.pt").exists()


# ---------------------------------------------------------------------- first weights


FIRST = {"batch_norm": True, "activation": "ramp"}


def started(out: Path, source: object, **changes: Any) -> state.Run:
    run = begun(out, start_from=str(source), **(FIRST | changes))
    state.start(run)
    return run


def test_a_run_starts_from_trained_weights(tmp_path: Path) -> None:
    first = begun(tmp_path / "first", **FIRST)
    train(first, NoDisplay())
    weights = first.bounded.model.state_dict()
    assert any("running_mean" in name for name in weights)
    assert any("ceiling" in name for name in weights)
    for source in (tmp_path / "first", tmp_path / "first" / "final.pt"):
        run = started(tmp_path / "second", source, seed=5)
        assert all(torch.equal(value, weights[name]) for name, value in run.bounded.model.state_dict().items())
        assert run.epoch == 0


def test_a_started_run_goes_on_without_its_first_weights(tmp_path: Path) -> None:
    train(begun(tmp_path / "first", **FIRST), NoDisplay())
    run = started(tmp_path / "second", tmp_path / "first")
    train(run, NoDisplay())
    shutil.rmtree(tmp_path / "first")
    again = begun(tmp_path / "second", start_from=str(tmp_path / "first"), epochs=4, **FIRST)
    state.resume(again)
    trained = run.bounded.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in again.bounded.model.state_dict().items())


def test_weights_to_start_from_must_fit(tmp_path: Path) -> None:
    train(begun(tmp_path / "first"), NoDisplay())
    with pytest.raises(
        ValueError, match=r"has weights of another model: --activation relu, not ramp, --batch-norm None"
    ):
        started(tmp_path / "second", tmp_path / "first")
    with pytest.raises(ValueError, match="no checkpoint nonsense, and no weights of that name"):
        started(tmp_path / "second", "nonsense")
    with pytest.raises(ValueError, match=r"images that --held-out 6 is to judge by; its own --held-out was 0"):
        started(tmp_path / "second", tmp_path / "first", held_out=6, batch_size=6, activation="relu", batch_norm=None)


def test_a_run_does_not_write_over_its_first_weights(tmp_path: Path) -> None:
    train(begun(tmp_path, **FIRST), NoDisplay())
    for source in (tmp_path, tmp_path / "last.pt"):
        with pytest.raises(ValueError, match=r"lies in .*, where this run writes; give another --out"):
            started(tmp_path, source)
    assert (tmp_path / "final.pt").is_file()


def test_a_run_from_other_weights_is_another_run(tmp_path: Path) -> None:
    train(begun(tmp_path), NoDisplay())
    with pytest.raises(ValueError, match="cannot resume: .*--start-from None, not digits-0.1"):
        state.resume(begun(tmp_path, start_from="digits-0.1"))
