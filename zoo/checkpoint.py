"""Files a run writes. Each is complete or absent at every moment, so a run may be killed at any time."""

import json
import os
import platform
import random
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.config import TrainingConfig
from zoo.errors import ZooError
from zoo.models import build

FORMAT = "boundgraph-zoo-1"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there in one step."""
    unfinished = path.with_name(path.name + ".tmp")
    write(unfinished)
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())  # the move must not reach the disk before the content
    os.replace(unfinished, path)


def write_json(path: Path, content: Any) -> None:
    write_atomically(path, lambda unfinished: unfinished.write_text(json.dumps(content, indent=2) + "\n"))


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda unfinished: unfinished.write_text(text))


def save(path: Path, config: TrainingConfig, **state: Any) -> None:
    """Write a checkpoint: the configuration, the state the caller names, and all random states."""
    content = {"format": FORMAT, "config": asdict(config), "random": _random_states(), **state}
    write_atomically(path, lambda unfinished: torch.save(content, unfinished))


def load(path: Path) -> tuple[TrainingConfig, dict[str, Any]]:
    """Configuration and state of a checkpoint. Nothing in the file is executed (`weights_only`).

    Raises:
        ZooError: (a ValueError) there is no such file, or it is no checkpoint of the zoo.
    """
    if not path.is_file():
        raise ZooError(f"no checkpoint {path}; `python -m zoo.train` writes last.pt into its --out directory")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on a damaged file
        raise ZooError(f"cannot read the checkpoint {path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ZooError(f"{path} is no checkpoint of `python -m zoo.train`")
    return TrainingConfig(**content["config"]), content


def load_model(path: Path) -> tuple[TrainingConfig, nn.Module, int]:
    """Configuration, trained model in eval mode, and number of epochs it was trained for.

    Raises:
        ZooError: (a ValueError) as for `load`.
    """
    config, content = load(path)
    model = build_model(config)
    model.load_state_dict(content["model"])
    return config, model.eval(), content["epoch"]


def build_model(config: TrainingConfig) -> nn.Module:
    """The untrained model of a configuration."""
    return build(config.model, config.dataset)


def restore_random_states(content: dict[str, Any]) -> None:
    """Put torch, NumPy and Python's `random` back into the state they had when the checkpoint was written."""
    states = content["random"]
    torch.set_rng_state(states["torch"])
    name, key, *rest = states["numpy"]
    np.random.set_state((name, np.array(key, dtype=np.uint32), *rest))
    random.setstate(states["python"])


def environment() -> dict[str, Any]:
    """Versions and threads, as far as they can change a result."""
    return {
        "boundgraph": _installed_version("boundgraph"),
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


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "run from its source tree"
