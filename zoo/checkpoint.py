"""Files a run writes. Each is complete or absent at every moment, so a run may be killed at any time."""

import json
import math
import os
import platform
import random
import subprocess
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from boundgraph.training import ibp_initialize_
from zoo.config import TrainingConfig
from zoo.errors import ZooError
from zoo.layers import ClippedReLU
from zoo.models import build
from zoo.records import configuration, damaged, part

FORMAT = "boundgraph-zoo-1"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there in one step; of a failure nothing is left."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        write(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())  # the move must not reach the disk before the content
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def require_writable(path: Path) -> None:
    """Make the folder of a file that is to be written, and fail now where it cannot be.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def write_json(path: Path, content: Any) -> None:
    write_atomically(path, lambda unfinished: unfinished.write_text(json.dumps(content, indent=2) + "\n"))


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda unfinished: unfinished.write_text(text))


def save(path: Path, config: TrainingConfig, **state: Any) -> None:
    """Write a checkpoint: the configuration, the state the caller names, and all random states."""
    content = {"format": FORMAT, "config": asdict(config), "random": _random_states(), **state}
    write_atomically(path, lambda unfinished: torch.save(content, unfinished))


def load(path: Path, needs: Collection[str] = ()) -> tuple[TrainingConfig, dict[str, Any]]:
    """Configuration and state of a checkpoint. Nothing in the file is executed (`weights_only`).

    Raises:
        ZooError: (a ValueError) there is no such file; it is no checkpoint of the zoo; it lacks a part that the caller
            needs, or has settings that this version does not know or refuses.
    """
    if not path.is_file():
        raise ZooError(f"no checkpoint {path}; `python -m zoo.train` writes last.pt into its --out directory")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception:  # torch raises many types on a damaged file
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ZooError(f"{path} is damaged or no checkpoint of `python -m zoo.train`")
    if missing := [name for name in needs if name not in content]:
        raise damaged(path, f"it lacks {', '.join(missing)}")
    return configuration(part(content, "config", dict, path), path), content


class Trained(NamedTuple):
    """A model in eval mode, and the run that made it."""

    config: TrainingConfig
    model: nn.Module
    epochs: int
    seconds: float | None  # of training, where known


def load_model(path: Path) -> Trained:
    """The model of a checkpoint.

    Raises:
        ZooError: (a ValueError) as for `load`, or the weights are those of another model.
    """
    config, content = load(path, needs=("model", "epoch"))
    model = build_model(config)
    load_weights_(model, content["model"], path)
    return Trained(config, model.eval(), part(content, "epoch", int, path), content.get("seconds"))


def load_weights_(model: nn.Module, state: Any, path: Path) -> None:
    """Give a model the weights that were read from a file.

    Raises:
        ZooError: (a ValueError) they are those of another model.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise damaged(path, "its weights do not fit the model that it names") from error


def build_model(config: TrainingConfig, *, initialized: bool = False) -> nn.Module:
    """The untrained model of a configuration; `initialized` as a run begins, else with weights to be overwritten."""
    model = build(config.model, config.dataset, activation=config.activation, batch_norm=config.batch_norm)
    if initialized:
        ceiling = math.inf if config.ceiling_from_data else config.ceiling
        for layer in model.modules():
            if isinstance(layer, ClippedReLU):
                nn.init.constant_(layer.ceiling, ceiling)
        if config.init == "ibp":
            ibp_initialize_(model)
    return model


def restore_random_states(content: dict[str, Any]) -> None:
    """Put torch, NumPy and Python's `random` back into the state they had when the checkpoint was written."""
    states = content["random"]
    torch.set_rng_state(states["torch"])
    name, key, *rest = states["numpy"]
    np.random.set_state((name, np.array(key, dtype=np.uint32), *rest))
    random.setstate(states["python"])


def environment() -> dict[str, Any]:
    """Versions, threads and the processor, as far as they can change a result or the time it takes."""
    return {
        "boundgraph": _installed_version("boundgraph"),
        "commit": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _random_states() -> dict[str, Any]:
    state = np.random.get_state(legacy=False)
    key, position = state["state"]["key"], state["state"]["pos"]
    # a plain list, because weights_only loading knows no arrays
    numpy = [state["bit_generator"], key.tolist(), position, state["has_gauss"], state["gauss"]]
    return {"torch": torch.get_rng_state(), "numpy": numpy, "python": random.getstate()}


def _commit() -> str | None:
    """The commit of the source tree that runs, with a + if files differ from it; None outside of a repository."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "run from its source tree"
