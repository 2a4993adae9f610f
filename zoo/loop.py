"""The training loop: epochs of steps through the emitted module, a look at images not trained on after each."""

import json
import math
import time
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import boundgraph
from boundgraph.training import set_ceilings_
from zoo import checkpoint
from zoo.augmentation import augment
from zoo.data import Split, epoch_order
from zoo.errors import ZooError
from zoo.layers import ClippedReLU
from zoo.losses import Moment
from zoo.records import read_result
from zoo.state import Run
from zoo.tally import BATCH_SIZE, Tally, errors_on
from zoo.tensorboard import EventWriter


class Display(Protocol):
    """What a run tells whoever watches."""

    def batch(self, epoch: int, eps: float, tally: Tally) -> None: ...

    def epoch(self, record: dict[str, Any]) -> None: ...


def train(run: Run, display: Display) -> None:
    """Train to the last epoch of the configuration. Killed at any moment, `resume` continues to identical weights."""
    if run.world.leads:
        run.config.directory.mkdir(parents=True, exist_ok=True)
        _remove_outdated(run)
        _write_settings(run)
        _write_metrics(run)
    events = EventWriter(run.config.directory) if run.config.tensorboard and run.world.leads else None
    while run.epoch < run.config.epochs:
        record = run_epoch(run, display)
        if run.world.leads:
            _save(run)
            display.epoch(record)
        if events is not None:
            events.epoch(record)
    if events is not None:
        events.close()
    finish(run)


def _write_settings(run: Run) -> None:
    """What the run is, and where it happens, or did where nothing is left to train."""
    path, environment = run.config.directory / "config.json", checkpoint.environment()
    if run.epoch == run.config.epochs and path.is_file():
        environment = read_result(path).environment
    checkpoint.write_json(path, {"config": asdict(run.config), "environment": environment})


def _remove_outdated(run: Run) -> None:
    """Weights and results of a shorter or another run must not pass for those of this one."""
    outdated = ["final.pt", "result.json"] if run.epoch < run.config.epochs else []
    outdated += ["last.pt", "steps.jsonl"] if run.epoch == 0 else []
    for name in outdated:
        (run.config.directory / name).unlink(missing_ok=True)


def run_epoch(run: Run, display: Display) -> dict[str, Any]:
    """Train for one epoch, look at the images watched, and return the record that was added to the history."""
    started = time.perf_counter()
    if run.config.ceiling_from_data and run.epoch == run.config.warmup:
        set_ceilings_(run.bounded.model, ClippedReLU, (x for x, _ in run.dataset.train.batches(BATCH_SIZE)))
    record = train_epoch(run, display) | _look(run)
    run.epoch += 1
    run.history.append(record)
    run.seconds += time.perf_counter() - started
    _keep_best(run, record)
    return record


def train_epoch(run: Run, display: Display) -> dict[str, Any]:
    config, tally, started = run.config, Tally(run.device), time.perf_counter()
    schedule, step = config.radius_schedule(run.steps_per_epoch), run.epoch * run.steps_per_epoch
    lr = config.learning_rate(run.epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    run.bounded.train()
    split = run.dataset.train
    order = epoch_order(len(split.labels), config.seed, run.epoch).to(run.device)
    shifts = torch.Generator().manual_seed(_mixed(1, config.seed, run.epoch))
    starts = torch.Generator(run.device).manual_seed(_mixed(2, config.seed, run.epoch, run.world.rank))
    averages = run.epoch >= config.epochs - config.average
    losses: list[Tensor] = []  # of each step, weighted; looked at when the epoch is over
    for chosen in order.split(config.batch_size):
        # all images take their draws, so that shares do not depend on how many processes there are
        x = augment(split.images[chosen], padding=config.padding, flip=config.flip, generator=shifts)
        x, labels, eps = run.world.share(x), split.labels[run.world.share(chosen)], schedule(step)
        moment = Moment(eps, config.kappa(eps), config.beta(eps))
        losses.append(_step(run, tally, x, labels, moment, starts, run.world.weight(len(chosen))))
        if averages:
            run.averaged = run.averaged or AveragedModel(run.bounded.model)
            run.averaged.update_parameters(run.bounded.model)
        display.batch(run.epoch, eps, tally)
        step += 1
    run.world.added(tally.sums)
    if not np.isfinite(tally.loss):
        kept = f" {run.last_checkpoint} holds the epochs before." if run.epoch else ""
        raise ZooError(
            f"the loss became {tally.loss} in epoch {run.epoch + 1} at eps {eps:g}; "
            f"try a smaller --lr or a longer --ramp.{kept}"
        )
    _record_steps(run, run.world.added(torch.stack(losses)) / run.world.size)
    seconds = time.perf_counter() - started
    return {
        "epoch": run.epoch + 1,
        "step": step,
        "eps": eps,
        "kappa": moment.kappa,
        "beta": moment.beta,
        "lr": lr,
        "loss": tally.loss,
        "train_standard_error": tally.standard_error,
        "train_verified_error": None if math.isnan(tally.verified_error) else tally.verified_error,
        "seconds": seconds,
        "images_per_second": tally.examples / seconds,
    }


def _step(
    run: Run, tally: Tally, x: Tensor, labels: Tensor, moment: Moment, generator: torch.Generator, weight: float
) -> Tensor:
    loss, logits, margins = run.objective(x, labels, moment, generator)
    run.optimizer.zero_grad()
    weighted = loss * weight if weight != 1 else loss
    weighted.backward()
    if run.config.clip_grad_norm:
        nn.utils.clip_grad_norm_(run.bounded.parameters(), run.config.clip_grad_norm)
    run.optimizer.step()
    tally.add(logits, labels, margins, loss)
    return weighted.detach()


def _record_steps(run: Run, losses: Tensor) -> None:
    """Add the losses of an epoch's steps to `steps.jsonl`, one line per epoch, after those that a checkpoint has."""
    if not run.world.leads:
        return
    path = run.config.directory / "steps.jsonl"
    lines = path.read_text().splitlines(keepends=True)[: run.epoch] if run.epoch and path.is_file() else []
    line = json.dumps({"epoch": run.epoch + 1, "losses": losses.tolist()}) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_atomically(path, lambda unfinished: unfinished.write_text("".join([*lines, line])))


def _mixed(*numbers: int) -> int:
    """One seed from several."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _look(run: Run) -> dict[str, Any]:
    """Errors on the images watched at the full radius, by the bound the training has come to."""
    schedule = run.config.radius_schedule(run.steps_per_epoch)
    beta = run.config.beta(schedule((run.epoch + 1) * run.steps_per_epoch))
    started = time.perf_counter()
    name, split = run.watched
    tally = errors_on(_exact(run), split, eps=run.config.eps, beta=beta)
    return {
        "watched": name,
        "watched_eps": run.config.eps,
        "watched_beta": beta,
        "watched_standard_error": tally.standard_error,
        "watched_verified_error": tally.verified_error,
        "watched_seconds": time.perf_counter() - started,
    }


def _exact(run: Run) -> boundgraph.BoundedModule:
    """Bounds proper, where training works with estimates."""
    return run.bounded.using("crown-ibp") if run.config.precision == "bf16" else run.bounded


def _keep_best(run: Run, record: dict[str, Any]) -> None:
    """Of the epochs at full radius the one with the fewest unverified images held out; of equals the last."""
    if run.config.choose != "best" or record["eps"] < run.config.eps:
        return
    if run.best is None or record["watched_verified_error"] <= run.best["error"]:
        weights = {name: value.clone() for name, value in run.bounded.model.state_dict().items()}
        run.best = {"error": record["watched_verified_error"], "epoch": record["epoch"], "model": weights}


def finish(run: Run) -> None:
    """Write the weights that the run came to: the last, the average of the last epochs, or the best on held-out images.

    Averaged weights meet statistics of activations that no batch of theirs had, so BatchNorm's are estimated again, on
    the training images as they are.
    """
    model, epoch = run.bounded.model, run.epoch
    if run.best is not None:
        model.load_state_dict(run.best["model"])
        epoch = run.best["epoch"]
    if run.averaged is not None:
        _load_averages(model, run.averaged)
        reestimate_statistics(model, run.dataset.train)
    if broken := [name for name, weight in model.state_dict().items() if not bool(weight.isfinite().all())]:
        raise ZooError(f"the run came to weights that are not finite: {broken[0]}; {run.last_checkpoint} holds its end")
    run.outcome = _look(run)
    if run.world.leads:
        checkpoint.save(run.result, run.config, model=model.state_dict(), epoch=epoch, seconds=run.seconds)


def _load_averages(model: nn.Module, averaged: AveragedModel) -> None:
    with torch.no_grad():
        for own, mean in zip(model.parameters(), averaged.module.parameters(), strict=True):
            own.copy_(mean)


def reestimate_statistics(model: nn.Module, split: Split) -> None:
    """Running statistics of BatchNorm as means over a whole split; nothing else changes."""
    torch.optim.swa_utils.update_bn((x for x, _ in split.batches(BATCH_SIZE)), model)
    model.eval()


def _save(run: Run) -> None:
    checkpoint.save(
        run.last_checkpoint,
        run.config,
        model=run.bounded.model.state_dict(),
        optimizer=run.optimizer.state_dict(),
        averaged=None if run.averaged is None else run.averaged.state_dict(),
        best=run.best,
        epoch=run.epoch,
        step=run.epoch * run.steps_per_epoch,
        seconds=run.seconds,
        history=run.history,
    )
    _write_metrics(run)


def _write_metrics(run: Run) -> None:
    """The metrics file follows from the checkpoint's history, so the two never disagree for long."""
    checkpoint.write_json_lines(run.config.directory / "metrics.jsonl", run.history)
