"""What a training run is: every setting, its default per data set, and where a setting may come from."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from boundgraph.training import LinearSchedule, SmoothedSchedule, interpolate_with_eps
from zoo import data, models
from zoo.errors import ZooError

CLIP = (0.0, 1.0)  # every data set's pixels lie in this range
SCHEDULES = {"linear": LinearSchedule, "smoothed": SmoothedSchedule}
METHODS: dict[str, dict[str, float]] = {
    "ibp": {"beta_start": 0.0, "beta_final": 0.0},
    "crown-ibp": {"beta_start": 1.0, "beta_final": 0.0},
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All settings of a run. Epochs count from 0: `warmup` natural ones, `ramp` with growing radius, the rest at eps.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """

    dataset: str
    model: str
    method: str = "crown-ibp"
    eps: float  # l_inf radius in units of the pixels, which lie in [0, 1]
    epochs: int
    batch_size: int
    lr: float
    warmup: int
    ramp: int
    schedule: str = "linear"
    kappa_start: float = 1.0
    kappa_final: float = 0.0
    beta_start: float
    beta_final: float
    lr_decay_factor: float
    lr_decay_every: int
    seed: int = 0
    data_dir: str | None = None
    threads: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        if self.model not in models.names(self.dataset):
            models.build(self.model, self.dataset)  # raises, with the names there are
        _require_one_of("method", self.method, METHODS)
        _require_one_of("schedule", self.schedule, SCHEDULES)
        for name in ("epochs", "batch_size", "lr", "lr_decay_factor", "lr_decay_every"):
            _require(getattr(self, name) > 0, f"{_flag(name)} must be positive, not {getattr(self, name)}")
        for name in ("eps", "warmup", "ramp", "seed"):
            _require(getattr(self, name) >= 0, f"{_flag(name)} must not be negative, not {getattr(self, name)}")
        for name in ("kappa_start", "kappa_final", "beta_start", "beta_final"):
            _require(0 <= getattr(self, name) <= 1, f"{_flag(name)} must lie in [0, 1], not {getattr(self, name)}")
        _require(self.threads is None or self.threads > 0, f"--threads must be positive, not {self.threads}")
        _require(
            self.method != "ibp" or self.beta_start == self.beta_final == 0,
            "--beta-start and --beta-final weigh CROWN-IBP against IBP; --method ibp takes neither",
        )
        _require(
            self.warmup + self.ramp <= self.epochs,
            f"eps would never reach {self.eps:g}: --warmup {self.warmup} and --ramp {self.ramp} "
            f"take more than --epochs {self.epochs}",
        )

    @property
    def directory(self) -> Path:
        """Where the run writes."""
        name = f"{self.dataset}-{self.model}-{self.method}-eps{self.eps:g}-seed{self.seed}"
        return Path(self.out) if self.out is not None else Path("runs") / name

    def radius_schedule(self, steps_per_epoch: int) -> LinearSchedule:
        """Radius of every training step."""
        schedule = SCHEDULES[self.schedule]
        return schedule(eps_max=self.eps, start=self.warmup * steps_per_epoch, length=self.ramp * steps_per_epoch)

    def kappa(self, eps: float) -> float:
        """Weight of the natural loss at this radius."""
        return interpolate_with_eps(self.kappa_start, self.kappa_final, eps=eps, eps_max=self.eps)

    def beta(self, eps: float) -> float:
        """Share of CROWN-IBP in the margins at this radius."""
        return interpolate_with_eps(self.beta_start, self.beta_final, eps=eps, eps_max=self.eps)

    def learning_rate(self, epoch: int) -> float:
        """lr * factor ** k after k decay periods; periods are counted from the first epoch at full radius."""
        periods = max(epoch - self.warmup - self.ramp, 0) // self.lr_decay_every
        return self.lr * self.lr_decay_factor**periods


# The MNIST and Fashion-MNIST settings are the paper's for its small models.
_PAPER: dict[str, Any] = {
    "model": "cnn_4layer_linear_256_width_1",
    "epochs": 100,
    "batch_size": 256,
    "warmup": 1,
    "ramp": 60,
    "lr_decay_factor": 0.5,
    "lr_decay_every": 10,
}
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "digits_cnn",
        "eps": 0.1,
        "epochs": 80,
        "batch_size": 64,
        "lr": 2e-3,
        "warmup": 2,
        "ramp": 40,
        "lr_decay_factor": 0.5,
        "lr_decay_every": 10,
        "threads": 1,  # on so small a model threads gain nothing, and on a busy machine they wait for each other
    },
    "mnist": _PAPER | {"eps": 0.3, "lr": 5e-4},
    "fashion-mnist": _PAPER | {"eps": 0.1, "lr": 1e-3},
}
DEFAULT_DATASET, DEFAULT_METHOD = "digits", "crown-ibp"

# name: type
SETTINGS: dict[str, type] = {
    field.name: next(iter(get_args(field.type)), field.type)  # type: ignore[misc]
    for field in fields(TrainingConfig)
}


def resolve(given: dict[str, Any], file: dict[str, Any] | None = None) -> TrainingConfig:
    """Settings given on the command line, else those of the file, else the defaults of the data set and the method.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """
    chosen = (file or {}) | given
    dataset, method = chosen.get("dataset", DEFAULT_DATASET), chosen.get("method", DEFAULT_METHOD)
    _require_one_of("dataset", dataset, data.DATASETS)
    _require_one_of("method", method, METHODS)
    return TrainingConfig(**({"dataset": dataset} | PRESETS[dataset] | METHODS[method] | chosen))


def read_toml(path: Path) -> dict[str, Any]:
    """Settings from a flat TOML file; its keys are the names of the flags, written with - or _.

    Raises:
        ZooError: (a ValueError) the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read the configuration {path}: {error}") from error
    settings = {key.replace("-", "_"): value for key, value in content.items()}
    if unknown := sorted(settings.keys() - SETTINGS):
        raise ZooError(f"{path} has unknown settings {', '.join(unknown)}; there are: {', '.join(SETTINGS)}")
    return {name: _typed(path, name, value) for name, value in settings.items()}


def conflicts(ours: TrainingConfig, theirs: TrainingConfig) -> list[str]:
    """Settings in which two runs differ such that one cannot continue the other, as readable phrases."""
    mine, other = asdict(ours), asdict(theirs)
    # What does not change the course of training, and its length, may differ.
    compared = mine.keys() - {"epochs", "data_dir", "threads", "out"}
    return [f"{_flag(name)} {other[name]}, not {mine[name]}" for name in sorted(compared) if mine[name] != other[name]]


def _typed(path: Path, name: str, value: Any) -> Any:
    kind = SETTINGS[name]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ZooError(f"{path}: {name} must be of type {kind.__name__}, not {value!r}")
    return value


def _require_one_of(name: str, value: str, known: Any) -> None:
    _require(value in known, f"unknown {_flag(name)} {value!r}; there are: {', '.join(known)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ZooError(message)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
