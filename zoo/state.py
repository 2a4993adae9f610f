"""A training run between two epochs: how it begins, and how it goes on from a checkpoint."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import boundgraph
from zoo import checkpoint
from zoo.config import TrainingConfig, conflicts, flag
from zoo.data import Dataset, Split
from zoo.distributed import ALONE, World
from zoo.errors import ZooError
from zoo.losses import METHODS
from zoo.objective import Objective
from zoo.weights import open_trained

# what a checkpoint must hold for a run to continue from it
RESUMABLE = ("model", "optimizer", "epoch", "history", "seconds", "best", "averaged", "random")


@dataclass
class Run:
    """All that a checkpoint holds, and what follows from the configuration."""

    config: TrainingConfig
    dataset: Dataset
    bounded: boundgraph.BoundedModule
    optimizer: torch.optim.Optimizer
    objective: nn.Module
    device: torch.device
    world: World = ALONE
    averaged: AveragedModel | None = None
    epoch: int = 0  # number of finished epochs
    history: list[dict[str, Any]] = field(default_factory=list)  # one record per finished epoch
    seconds: float = 0.0  # of training and looking, over all sessions
    outcome: dict[str, Any] | None = None  # errors of the weights that it came to, on the images watched
    best: dict[str, Any] | None = None  # the weights that verified most images held out, if those are to be chosen

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.dataset.train.labels) // self.config.batch_size)

    @property
    def last_checkpoint(self) -> Path:
        """What a killed run continues from."""
        return self.config.directory / "last.pt"

    @property
    def result(self) -> Path:
        """The weights that the run came to."""
        return self.config.directory / "final.pt"

    @property
    def watched(self) -> tuple[str, Split]:
        """The images looked at after each epoch: those held out, or the test split where none are."""
        validation = self.dataset.validation
        return ("test", self.dataset.test) if validation is None else ("validation", validation)


def set_threads(threads: int | None) -> None:
    """Use this many CPU threads, or as many as PyTorch would."""
    if threads is not None:
        torch.set_num_threads(threads)


def begin(
    config: TrainingConfig, dataset: Dataset, device: torch.device | None = None, world: World | None = None
) -> Run:
    """A run before its first epoch, with new weights, every random state set from the seed.

    Raises:
        ZooError: (a ValueError) as for `require_batches` and `Dataset.hold_out`.
    """
    device, world = device or torch.device("cpu"), world or ALONE
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    random.seed(config.seed)
    if config.held_out:
        dataset = dataset.hold_out(config.held_out)
    dataset = dataset.to(device)
    model = checkpoint.build_model(config, initialized=True).to(device)
    bounded = boundgraph.compile(model, method=_bounds(config))
    bounded.train()
    optimizer = torch.optim.Adam(bounded.parameters(), lr=config.lr)
    objective = world.wrapped(Objective(config, bounded))
    run = Run(config, dataset, bounded, optimizer, objective, device, world)
    require_batches(run)
    return run


def _bounds(config: TrainingConfig) -> Any:
    if not METHODS[config.method].walks:
        return "ibp"
    return boundgraph.method("crown-ibp", precision="bf16") if config.precision == "bf16" else "crown-ibp"


def require_batches(run: Run) -> None:
    """Refuse an epoch whose last batch some process has too little of.

    Raises:
        ZooError: (a ValueError) fewer examples than processes are left for it, or a single one where BatchNorm needs
            statistics.
    """
    config, processes = run.config, run.world.size
    left = len(run.dataset.train.labels) % config.batch_size or config.batch_size
    norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in run.bounded.model.modules())
    if left < processes * (2 if norms else 1):
        raise ZooError(
            f"the last batch of an epoch has {left} of {len(run.dataset.train.labels)} training images, too few for "
            f"{processes} process(es){' and BatchNorm' if norms else ''}: choose another --batch-size or --held-out"
        )


def start(run: Run) -> None:
    """Give a fresh run the trained weights that it is to begin with, if any: statistics and ceilings among them.

    Raises:
        ZooError: (a ValueError) as for `open_trained`; they are the weights of another model, lie where the run is to
            write, or were trained on images that this run holds out.
    """
    config, source = run.config, run.config.start_from
    if source is None:
        return
    place, own = Path(source).resolve(), config.directory.resolve()
    if place == own or own in place.parents:
        raise ZooError(f"--start-from {source} lies in {config.directory}, where this run writes; give another --out")
    trained = open_trained(source)
    theirs = trained.config
    if theirs.dataset == config.dataset and theirs.held_out < config.held_out:
        raise ZooError(
            f"--start-from {source} was trained on images that --held-out {config.held_out} is to judge by; its own "
            f"--held-out was {theirs.held_out}"
        )
    try:
        run.bounded.model.load_state_dict(trained.model.state_dict())
    except RuntimeError as error:
        differences = [
            f"{flag(name)} {getattr(theirs, name)}, not {getattr(config, name)}"
            for name in ("model", "dataset", "activation", "batch_norm")
            if getattr(theirs, name) != getattr(config, name)
        ]
        raise ZooError(f"--start-from {source} has weights of another model: {', '.join(differences)}") from error


def _require_whole_average(run: Run, path: Path) -> None:
    """A run made longer averages over other epochs than it would have; those that are gone cannot be averaged."""
    first = run.config.epochs - run.config.average
    if run.config.average and run.epoch > first:
        raise ZooError(
            f"{path} has {run.epoch} epochs, and --average {run.config.average} of --epochs {run.config.epochs} would "
            f"need weights of epoch {first + 1}, which were not kept; give --epochs {run.epoch + run.config.average}"
        )


def resume(run: Run) -> None:
    """Bring a fresh run to the state of its last checkpoint.

    Raises:
        ZooError: (a ValueError) the checkpoint belongs to another configuration, or has more epochs than asked for.
    """
    path = run.last_checkpoint
    trained, content = checkpoint.load(path, needs=RESUMABLE)
    remedy = "give another --out; or start afresh, with --no-resume or without that file"
    if differences := conflicts(run.config, trained):
        raise ZooError(f"cannot resume: {path} was trained with {'; '.join(differences)}. Make them agree, {remedy}.")
    if content["epoch"] > run.config.epochs:
        raise ZooError(f"{path} has {content['epoch']} epochs, more than --epochs {run.config.epochs}; {remedy}.")
    checkpoint.load_weights_(run.bounded.model, content["model"], path)
    run.optimizer.load_state_dict(content["optimizer"])
    run.epoch, run.history, run.seconds = content["epoch"], content["history"], content["seconds"]
    run.best = content["best"]
    if run.epoch == run.config.epochs:  # nothing is left to train, so the record keeps what it was trained on
        run.config = replace(run.config, threads=trained.threads, device=trained.device)
    if trained.epochs != run.config.epochs:
        _require_whole_average(run, path)
    elif content["averaged"] is not None:
        run.averaged = AveragedModel(run.bounded.model)
        run.averaged.load_state_dict(content["averaged"])
    checkpoint.restore_random_states(content)
