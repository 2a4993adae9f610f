"""The training loop: epochs of CROWN-IBP steps through the emitted module, a test pass and a checkpoint after each."""

import random
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import boundgraph
from boundgraph.training import LossTerms, crown_ibp_loss, mixed_margins
from zoo import checkpoint
from zoo.config import CLIP, TrainingConfig, conflicts
from zoo.data import Dataset, Split, epoch_order
from zoo.errors import ZooError
from zoo.models import CLASSES, build
from zoo.scores import correct, verified

# Enough test examples to keep the processor busy, few enough for the widest model of the zoo.
TEST_BATCH_SIZE = 500


@dataclass
class Tally:
    """Running sums over the examples seen so far."""

    examples: int = 0
    loss_sum: float = 0.0
    standard_errors: int = 0
    verified_errors: int = 0

    def add(self, logits: Tensor, labels: Tensor, margins: Tensor, loss: Tensor | None = None) -> None:
        self.examples += len(labels)
        self.standard_errors += int((~correct(logits, labels)).sum())
        self.verified_errors += int((~verified(logits, labels, margins)).sum())
        if loss is not None:
            self.loss_sum += loss.item() * len(labels)

    @property
    def loss(self) -> float:
        return self.loss_sum / self.examples

    @property
    def standard_error(self) -> float:
        return self.standard_errors / self.examples

    @property
    def verified_error(self) -> float:
        return self.verified_errors / self.examples


class Display(Protocol):
    """What a run tells whoever watches."""

    def batch(self, epoch: int, eps: float, tally: Tally) -> None: ...

    def epoch(self, record: dict[str, Any]) -> None: ...


@dataclass
class Run:
    """A training run between two epochs: all that a checkpoint holds, and what follows from the configuration."""

    config: TrainingConfig
    dataset: Dataset
    bounded: boundgraph.BoundedModule
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # number of finished epochs
    history: list[dict[str, Any]] = field(default_factory=list)  # one record per finished epoch

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.dataset.train.labels) // self.config.batch_size)

    @property
    def last_checkpoint(self) -> Path:
        return self.config.directory / "last.pt"


def set_threads(threads: int | None) -> None:
    """Use this many CPU threads, or as many as PyTorch would."""
    if threads is not None:
        torch.set_num_threads(threads)


def begin(config: TrainingConfig, dataset: Dataset) -> Run:
    """A run before its first epoch, every random state set from the seed."""
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    random.seed(config.seed)
    bounded = boundgraph.compile(build(config.model, config.dataset), method=config.method)
    return Run(config, dataset, bounded, torch.optim.Adam(bounded.parameters(), lr=config.lr))


def resume(run: Run) -> None:
    """Bring a fresh run to the state of its last checkpoint.

    Raises:
        ZooError: (a ValueError) the checkpoint belongs to another configuration, or has more epochs than asked for.
    """
    path = run.last_checkpoint
    trained, content = checkpoint.load(path)
    remedy = "give another --out, or --no-resume to start afresh"
    if differences := conflicts(run.config, trained):
        raise ZooError(f"cannot resume: {path} was trained with {'; '.join(differences)}. Make them agree, {remedy}.")
    if content["epoch"] > run.config.epochs:
        raise ZooError(f"{path} has {content['epoch']} epochs, more than --epochs {run.config.epochs}; {remedy}.")
    run.bounded.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.epoch, run.history = content["epoch"], content["history"]
    checkpoint.restore_random_states(content)


def train(run: Run, display: Display) -> None:
    """Train to the last epoch of the configuration. Killed at any moment, `resume` continues to identical weights."""
    run.config.directory.mkdir(parents=True, exist_ok=True)
    settings = {"config": asdict(run.config), "environment": checkpoint.environment()}
    checkpoint.write_json(run.config.directory / "config.json", settings)
    _write_metrics(run)
    while run.epoch < run.config.epochs:
        record = run_epoch(run, display)
        _save(run)
        display.epoch(record)


def run_epoch(run: Run, display: Display) -> dict[str, Any]:
    """Train for one epoch, test, and return the record that was added to the history."""
    record = _train_epoch(run, display) | _test(run)
    run.epoch += 1
    run.history.append(record)
    return record


def _train_epoch(run: Run, display: Display) -> dict[str, Any]:
    config, tally, started = run.config, Tally(), time.perf_counter()
    schedule, step = config.radius_schedule(run.steps_per_epoch), run.epoch * run.steps_per_epoch
    lr = config.learning_rate(run.epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    run.bounded.train()
    order = epoch_order(len(run.dataset.train.labels), config.seed, run.epoch)
    for x, labels in run.dataset.train.batches(config.batch_size, order):
        eps = schedule(step)
        terms = _step(run, x, labels, eps)
        tally.add(terms.logits, labels, terms.margins, terms.loss)
        display.batch(run.epoch, eps, tally)
        step += 1
    seconds = time.perf_counter() - started
    return {
        "epoch": run.epoch + 1,
        "step": step,
        "eps": eps,
        "kappa": config.kappa(eps),
        "beta": config.beta(eps),
        "lr": lr,
        "loss": tally.loss,
        "train_standard_error": tally.standard_error,
        "train_verified_error": tally.verified_error,
        "seconds": seconds,
        "images_per_second": tally.examples / seconds,
    }


def _step(run: Run, x: Tensor, labels: Tensor, eps: float) -> LossTerms:
    kappa, beta = run.config.kappa(eps), run.config.beta(eps)
    terms = crown_ibp_loss(run.bounded, x, labels, eps=eps, kappa=kappa, beta=beta, clip=CLIP)
    if not torch.isfinite(terms.loss):
        raise ZooError(
            f"the loss became {terms.loss.item()} in epoch {run.epoch + 1} at eps {eps:g}; "
            f"try a smaller --lr or a longer --ramp. {run.last_checkpoint} holds the epochs before."
        )
    run.optimizer.zero_grad()
    terms.loss.backward()
    run.optimizer.step()
    return terms


def _test(run: Run) -> dict[str, Any]:
    """Errors on the whole test split at the full radius, by the bound the training has come to."""
    schedule = run.config.radius_schedule(run.steps_per_epoch)
    beta = run.config.beta(schedule((run.epoch + 1) * run.steps_per_epoch))
    started = time.perf_counter()
    tally = errors_on(run.bounded, run.dataset.test, eps=run.config.eps, beta=beta)
    return {
        "test_eps": run.config.eps,
        "test_beta": beta,
        "test_standard_error": tally.standard_error,
        "test_verified_error": tally.verified_error,
        "test_seconds": time.perf_counter() - started,
    }


def errors_on(bounded: boundgraph.BoundedModule, split: Split, *, eps: float, beta: float) -> Tally:
    """Standard and verified errors on a split, by margins beta * m_crown_ibp + (1 - beta) * m_ibp."""
    tally = Tally()
    bounded.eval()
    with torch.no_grad():
        for x, labels in split.batches(TEST_BATCH_SIZE):
            spec = boundgraph.margin_spec(labels, CLASSES)
            margins = mixed_margins(bounded, x, spec, eps=eps, beta=beta, clip=CLIP)
            tally.add(bounded.model(x), labels, margins)
    return tally


def _save(run: Run) -> None:
    checkpoint.save(
        run.last_checkpoint,
        run.config,
        model=run.bounded.model.state_dict(),
        optimizer=run.optimizer.state_dict(),
        epoch=run.epoch,
        step=run.epoch * run.steps_per_epoch,
        history=run.history,
    )
    _write_metrics(run)


def _write_metrics(run: Run) -> None:
    """The metrics file follows from the checkpoint's history, so the two never disagree for long."""
    checkpoint.write_json_lines(run.config.directory / "metrics.jsonl", run.history)
