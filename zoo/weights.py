"""Trained weights: a safetensors file of numbers, and beside it a JSON that says what they are and can do.

Models are in float32. Weights that were rounded to half precision before they were evaluated are stored in that, which
is the same network in half the space.
"""

import copy
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import checkpoint, recipes
from zoo.checkpoint import Trained
from zoo.config import OF_THE_MACHINE, TrainingConfig
from zoo.errors import ZooError
from zoo.records import configuration, part

SHIPPED = Path(__file__).with_name("trained")
SUFFIX = ".safetensors"
FORMAT = "boundgraph-weights-1"
FIELDS = {"config": dict, "epochs": int, "weights": str}


def names() -> list[str]:
    """Names of the trained weights that come with the zoo."""
    return sorted(path.name.removesuffix(SUFFIX) for path in SHIPPED.glob(f"*{SUFFIX}"))


def load(name: str) -> nn.Module:
    """The trained model of this name, in eval mode, for images with pixels in [0, 1].

    Raises:
        ZooError: (a ValueError) there are no such weights, or their files are damaged; says what there is.
    """
    return read_weights(_shipped(name)).model


def information(name: str) -> dict[str, Any]:
    """How the weights of this name were trained (`config`, `epochs`) and what they reach (`result`).

    Raises:
        ZooError: (a ValueError) as for `load`.
    """
    return _read_json(_shipped(name).with_suffix(".json"))


def open_trained(source: str) -> Trained:
    """A run's directory or checkpoint, a file of weights, or the name of weights that come with the zoo.

    Raises:
        ZooError: (a ValueError) it is none of these, or damaged.
    """
    path = Path(source)
    if path.suffix == SUFFIX:
        return read_weights(path)
    if path.is_dir():
        path = path / ("final.pt" if (path / "final.pt").is_file() else "last.pt")
    if path.is_file() or path.suffix == ".pt":
        return checkpoint.load_model(path)
    if source in names():
        return read_weights(_shipped(source))
    raise ZooError(
        f"no checkpoint {source}, and no weights of that name; `python -m zoo.train` writes last.pt into its --out "
        f"directory, and the names are: {', '.join(names())}"
    )


def save_weights(path: Path, model: nn.Module, meta: dict[str, Any]) -> None:
    """Write NAME.safetensors, the path given, and NAME.json beside it: `meta`, the format, and the weights' digest.

    Raises:
        ZooError: (a ValueError) the name has another suffix; a weight is not finite; or the weights are not float32: in
            a narrower format they would be other weights, whose certificates nobody has computed.
    """
    if path.suffix != SUFFIX:
        raise ZooError(f"weights are written to NAME{SUFFIX}, not to {path}")
    state = model.state_dict()
    if other := {weight.dtype for weight in state.values() if weight.is_floating_point()} - {torch.float32}:
        raise ZooError(f"weights are stored in float32; the model is in {other.pop()}")
    require_finite(model)
    state = {name: weight.contiguous() for name, weight in state.items()}
    if all(_fits_half(weight) for weight in state.values()):
        state = {name: weight.half() if weight.is_floating_point() else weight for name, weight in state.items()}
    content = _safetensors().save(state)
    checkpoint.write_atomically(path, lambda unfinished: unfinished.write_bytes(content))
    checkpoint.write_json(path.with_suffix(".json"), {"format": FORMAT, "weights": digest(model)} | meta)


def require_finite(model: nn.Module) -> None:
    """Refuse weights that no training should end with.

    Raises:
        ZooError: (a ValueError) a parameter or a buffer holds an infinite number or a NaN; names it.
    """
    for name, weight in model.state_dict().items():
        if not bool(weight.isfinite().all()):
            raise ZooError(f"{name} of the model holds numbers that are not finite: these weights are of no use")


def rounded(model: nn.Module) -> nn.Module:
    """A copy of a float32 model whose weights are the nearest numbers of half precision, still in float32.

    It is another network: what is known about the first one does not hold for it.

    Raises:
        ZooError: (a ValueError) a weight is too large for half precision.
    """
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in other.state_dict().items():
            if weight.is_floating_point():
                weight.copy_(weight.half())
                if not bool(weight.isfinite().all()):
                    raise ZooError(f"{name} has numbers that are too large for half precision")
    return other


def _fits_half(weight: Tensor) -> bool:
    return not weight.is_floating_point() or torch.equal(weight, weight.half().to(weight.dtype))


def read_weights(path: Path) -> Trained:
    """The model of a file that `save_weights` wrote, by the configuration in the JSON beside it.

    Raises:
        ZooError: (a ValueError) a file is missing or damaged, or the two do not belong together.
    """
    meta = _read_json(path.with_suffix(".json"))
    library = _safetensors()
    config = configuration(meta["config"], path.with_suffix(".json"))
    model = checkpoint.build_model(config)
    try:
        state = library.load(path.read_bytes())
    except Exception as error:  # of the file system, or of safetensors
        raise ZooError(f"cannot read the weights {path}: {error}") from error
    checkpoint.load_weights_(model, state, path)
    if digest(model) != meta["weights"]:
        raise ZooError(f"{path} does not hold the weights that {path.stem}.json describes")
    return Trained(config, model.eval(), meta["epochs"], meta.get("seconds"))


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, their names and shapes, which ties results to weights."""
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        total.update(_bytes(weight))
    return total.hexdigest()


def require_repeatable(config: TrainingConfig) -> None:
    """Refuse to publish a run that began with weights which nobody else has.

    Raises:
        ZooError: (a ValueError) says how to make them public.
    """
    if config.start_from is not None and config.start_from not in names():
        raise ZooError(
            f"the run began with the weights {config.start_from}, which only this machine has; export them first "
            "(python -m zoo.export), and train from their name"
        )


def recipe(config: TrainingConfig) -> dict[str, Any]:
    """The settings of a run, without those that are about the machine it ran on; a recipe has a name or is none."""
    settings = {name: value for name, value in asdict(config).items() if name not in OF_THE_MACHINE | {"threads"}}
    return settings | {"recipe": config.recipe if config.recipe in recipes.names() else None}


def _bytes(weight: Tensor) -> bytes:
    return weight.detach().cpu().contiguous().numpy().tobytes()


def _shipped(name: str) -> Path:
    if name not in names():
        raise ZooError(f"no trained weights {name!r}; there are: {', '.join(names())}")
    return SHIPPED / (name + SUFFIX)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path}, which says what the weights beside it are: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ZooError(f"{path} does not describe weights of the zoo")
    for name, kind in FIELDS.items():
        part(meta, name, kind, path)
    return meta


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as missing:
        raise ZooError("trained weights need the package safetensors: pip install 'boundgraph[zoo]'") from missing
    return safetensors.torch
