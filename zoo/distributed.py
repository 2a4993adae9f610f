"""Several processes that train one model, as `torchrun` starts them: each takes its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from zoo.errors import ZooError


class World(NamedTuple):
    """This process among all."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks to the terminal."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch, or of its indices; the parts differ by one at most."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def weight(self, batch: int) -> float:
        """What a mean over this process's share counts in the mean over the batch, times the number of processes.

        Gradients are averaged over processes, so the average of losses with these weights is the mean over the batch.
        """
        return len(range(self.rank, batch, self.size)) * self.size / batch

    def added(self, sums: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(sums)
        return sums

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module, with gradients averaged over processes if there are several."""
        return DistributedDataParallel(module) if self.size > 1 else module


ALONE = World()


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """The processes that `torchrun` started, joined; or this one alone.

    Raises:
        ZooError: (a ValueError) the variables that torchrun sets are there, but the processes cannot be joined.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend)
    except (ValueError, RuntimeError) as error:
        raise ZooError(f"cannot join the processes: {error}; start them with torchrun") from error
    try:
        yield World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


def device_of(name: str) -> torch.device:
    """The device of that name; for several processes on one machine with accelerators, one each.

    Raises:
        ZooError: (a ValueError) there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty((), device=device).item()  # the meta device holds no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"no --device {name} here: {reason if len(reason) < 100 else 'PyTorch has none'}") from error
    return device
