"""A training run between two epochs: how it begins, and how it goes on from a checkpoint."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import boundgraph
from zoo import checkpoint
from zoo.config import TrainingConfig, conflicts
from zoo.data import Dataset, Split
from zoo.distributed import ALONE, World
from zoo.errors import ZooError
from zoo.losses import METHODS
from zoo.objective import Objective


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
    """A run before its first epoch, every random state set from the seed."""
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
    return Run(config, dataset, bounded, optimizer, objective, device, world)


def _bounds(config: TrainingConfig) -> Any:
    if not METHODS[config.method].walks:
        return "ibp"
    return boundgraph.method("crown-ibp", precision="bf16") if config.precision == "bf16" else "crown-ibp"


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
    run.epoch, run.history, run.seconds = content["epoch"], content["history"], content["seconds"]
    run.best = content["best"]
    averaging_began = content["epoch"] > run.config.epochs - run.config.average  # not in a run made longer since
    if content["averaged"] is not None and averaging_began:
        run.averaged = AveragedModel(run.bounded.model)
        run.averaged.load_state_dict(content["averaged"])
    checkpoint.restore_random_states(content)
