"""What a training run is: every setting, its default per data set, and where a setting may come from."""

import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from boundgraph.training import LinearSchedule, SmoothedSchedule, interpolate_with_eps
from zoo import data, losses, models
from zoo.errors import ZooError

CLIP = (0.0, 1.0)  # every data set's pixels lie in this range
SEEDS = 2**32  # NumPy takes no more
OF_THE_MACHINE = frozenset({"data_dir", "out", "device", "tensorboard"})  # where a run happens, not what it does
SCHEDULES = {"linear": LinearSchedule, "smoothed": SmoothedSchedule}


def _setting(section: str, about: str, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"section": section, "about": about})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All settings of a run. Epochs count from 0: `warmup` natural ones, `ramp` with growing radius, the rest at eps.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """

    model: str = _setting("model", "Name of the model; `python -m zoo.list` lists them.")
    activation: str = _setting("model", "relu, or ramp: ReLUs clipped at a trained ceiling.", "relu")
    ceiling: float = _setting("model", "First value of the trained ceilings.", 1.0)
    ceiling_from_data: bool = _setting("model", "Clip after the warmup only, at first at mean activations.", False)
    batch_norm: bool | None = _setting("model", "BatchNorm after every hidden layer, or none.", None)
    init: str = _setting("model", "default (PyTorch's) or ibp.", "default")
    start_from: str | None = _setting("model", "Trained weights to begin with: a run, a checkpoint, or a name.", None)

    dataset: str = _setting("data", "digits, mnist, fashion-mnist or cifar10.")
    data_dir: str | None = _setting("data", "Folder that holds MNIST/raw and the like.", None)
    held_out: int = _setting("data", "Training images held out for choices; the rest train.", 0)
    padding: int = _setting("data", "Random shift by up to this many pixels.", 0)
    flip: bool = _setting("data", "Random horizontal flip.", False)
    batch_size: int = _setting("data", "Examples per step.")

    method: str = _setting("loss", "natural, ibp, crown-ibp, sabr, mtl-ibp, cc-ibp or exp-ibp.", "crown-ibp")
    eps: float = _setting("loss", "l_inf radius of training, pixels in [0, 1].")
    kappa_start: float = _setting("loss", "Weight of the natural loss at radius 0.", 1.0)
    kappa_final: float = _setting("loss", "Weight of the natural loss at eps.", 0.0)
    beta_start: float = _setting("loss", "Share of CROWN-IBP at radius 0.")
    beta_final: float = _setting("loss", "Share of CROWN-IBP at eps.")
    fused: bool = _setting("loss", "Loss fusion: one backward row in place of one per class.", False)
    ratio: float = _setting("loss", "sabr: radius of the small box, as a share of eps.", 1.0)
    alpha: float = _setting("loss", "mtl-ibp, cc-ibp, exp-ibp: share of the IBP loss.", 1.0)
    attack_steps: int = _setting("loss", "Steps of the attack inside the loss.", 1)
    regularizer: float = _setting("loss", "Weight of tightness and ReLU balance while the radius grows.", 0.0)
    l1: float = _setting("loss", "Weight of the sum of absolute weights.", 0.0)

    epochs: int = _setting("schedule", "Length of the whole run.")
    warmup: int = _setting("schedule", "Natural epochs before the ramp.")
    ramp: int = _setting("schedule", "Epochs in which the radius grows to eps.")
    schedule: str = _setting("schedule", "linear or smoothed.", "linear")

    lr: float = _setting("optimizer", "Learning rate of Adam, until it decays.")
    lr_decay_factor: float = _setting("optimizer", "Factor per decay.")
    lr_decay_every: int = _setting("optimizer", "Epochs between decays, counted from the end of the ramp.")
    lr_milestones: str = _setting("optimizer", 'Epochs of the decays instead, such as "50,60".', "")
    clip_grad_norm: float = _setting("optimizer", "Largest norm of the gradient; 0 for any.", 0.0)
    average: int = _setting("optimizer", "Average the weights over this many last epochs.", 0)

    eval_eps: str = _setting("evaluation", 'Radii of the evaluation, such as "0.3,0.4"; by default eps.', "")
    choose: str = _setting("evaluation", "last weights, or the best on the images held out.", "last")

    recipe: str | None = _setting("run", "Name or TOML file of a recipe; `python -m zoo.list --recipes`.", None)
    seed: int = _setting("run", "Of new weights, the data order and all that is random.", 0)
    threads: int | None = _setting("run", "CPU threads.  [default: 1 for digits, else PyTorch's]", None)
    device: str = _setting("run", "cpu, cuda, ...; auto takes a GPU with CUDA where there is one.", "auto")
    precision: str = _setting("run", "float32, or bf16: coefficients of CROWN-IBP in bfloat16.", "float32")
    tensorboard: bool = _setting("run", "Also write event files for TensorBoard.", False)
    out: str | None = _setting("run", "Where the run writes.  [default: runs/<settings>]", None)

    def __post_init__(self) -> None:
        if self.model not in models.names(self.dataset):
            models.build(self.model, self.dataset)  # raises, with the names there are
        for name, known in (
            ("method", losses.METHODS),
            ("schedule", SCHEDULES),
            ("activation", models.ACTIVATIONS),
            ("init", ("default", "ibp")),
            ("choose", ("last", "best")),
            ("precision", ("float32", "bf16")),
        ):
            _require_one_of(name, getattr(self, name), known)
        for name, kind in SETTINGS.items():
            number = getattr(self, name)
            _require(kind is not float or math.isfinite(number), f"{flag(name)} must be finite, not {number}")
        for name in ("epochs", "batch_size", "lr", "lr_decay_factor", "lr_decay_every", "ceiling", "attack_steps"):
            _require(getattr(self, name) > 0, f"{flag(name)} must be positive, not {getattr(self, name)}")
        for name in (
            *("eps", "warmup", "ramp", "seed", "held_out", "padding", "regularizer", "l1", "clip_grad_norm"),
            "average",
        ):
            _require(getattr(self, name) >= 0, f"{flag(name)} must not be negative, not {getattr(self, name)}")
        for name in ("kappa_start", "kappa_final", "beta_start", "beta_final", "alpha"):
            _require(0 <= getattr(self, name) <= 1, f"{flag(name)} must lie in [0, 1], not {getattr(self, name)}")
        _require(self.seed < SEEDS, f"--seed must be less than 2**32, not {self.seed}")
        side = models.INPUT_SHAPES[self.dataset][-1]
        _require(self.padding < side, f"--padding {self.padding} shifts images of {side} pixels out of sight")
        _require(self.out != "", "--out must name a folder")
        _require(self.start_from != "", "--start-from must name a run, a checkpoint or weights of the zoo")
        _require(0 < self.ratio <= 1, f"--ratio must lie in (0, 1], not {self.ratio}")
        _require(self.threads is None or self.threads > 0, f"--threads must be positive, not {self.threads}")
        for name in sorted(losses.NEUTRAL.keys() - losses.METHODS[self.method].takes):
            _require(
                getattr(self, name) == losses.NEUTRAL[name], f"{flag(name)} means nothing to --method {self.method}"
            )
        _require(self.method != "natural" or not self.regularizer, "--regularizer is about bounds; natural has none")
        _require(self.activation == "ramp" or self.ceiling == 1, "--ceiling is for --activation ramp; relu has none")
        _require(
            self.warmup + self.ramp <= self.epochs and (self.warmup < self.epochs or self.method == "natural"),
            f"eps would never reach {self.eps:g}: --epochs {self.epochs} end within --warmup {self.warmup} and "
            f"--ramp {self.ramp}",
        )
        if self.ceiling_from_data:
            _require(self.activation == "ramp", "--ceiling-from-data is for --activation ramp; relu has no ceilings")
            _require(self.start_from is None, "--ceiling-from-data sets ceilings that --start-from brings along")
            _require(self.warmup > 0, "--ceiling-from-data takes mean activations of natural epochs: give a --warmup")
            _require(
                self.average <= self.epochs - self.warmup,
                f"--average {self.average} reaches into the --warmup, in which there are no ceilings yet",
            )
        _require(self.average <= self.epochs, f"--average {self.average} is more than --epochs {self.epochs}")
        _require(
            self.choose == "last" or self.warmup + self.ramp < self.epochs,
            "--choose best is among the epochs at full radius: --warmup and --ramp leave none",
        )
        _require(self.choose == "last" or self.held_out > 0, "--choose best needs images to choose on: --held-out 5000")
        _require(
            self.choose == "last" or not self.average,
            "--average averages the last epochs, so --choose best has no use",
        )
        self.decays, self.radii  # noqa: B018 - lists that cannot be read are told now

    @property
    def directory(self) -> Path:
        """Where the run writes."""
        plain = f"{self.dataset}-{self.model}-{self.method}-eps{self.eps:g}"
        name = plain if self.recipe is None else Path(self.recipe).name.removesuffix(".toml")
        return Path(self.out) if self.out is not None else Path("runs") / f"{name}-seed{self.seed}"

    @property
    def radii(self) -> list[float]:
        """Radii of the evaluation."""
        return _numbers("eval_eps", self.eval_eps) or [self.eps]

    @property
    def decays(self) -> list[float]:
        """Epochs at which the learning rate decays, where they are given."""
        return _numbers("lr_milestones", self.lr_milestones)

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
        """lr * factor ** k: after k of the milestones, or k decay periods since the first epoch at full radius."""
        if self.decays:
            return self.lr * self.lr_decay_factor ** sum(epoch >= milestone for milestone in self.decays)
        periods = max(epoch - self.warmup - self.ramp, 0) // self.lr_decay_every
        return self.lr * self.lr_decay_factor**periods


# The MNIST and Fashion-MNIST settings are the paper's for its small models, as are those of CIFAR-10.
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
    "cifar10": _PAPER
    | {"eps": 8 / 255, "lr": 1e-3, "epochs": 200, "batch_size": 128, "warmup": 10, "ramp": 120}
    | {"padding": 4, "flip": True},
}
DEFAULT_DATASET, DEFAULT_METHOD = "digits", "crown-ibp"

# name: type
SETTINGS: dict[str, type] = {
    field.name: next(iter(get_args(field.type)), field.type)  # type: ignore[misc]
    for field in fields(TrainingConfig)
}
SECTION_OF = {field.name: field.metadata["section"] for field in fields(TrainingConfig)}


def resolve(given: dict[str, Any], file: dict[str, Any] | None = None) -> TrainingConfig:
    """Settings given on the command line, else those of the file, else the defaults of the data set and the method.

    Where the command line asks for a method, what the file says to others alone gives way.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """
    chosen = laid_over(file or {}, given)
    dataset, method = chosen.get("dataset", DEFAULT_DATASET), chosen.get("method", DEFAULT_METHOD)
    _require_one_of("dataset", dataset, data.DATASETS)
    _require_one_of("method", method, losses.METHODS)
    return TrainingConfig(**({"dataset": dataset} | PRESETS[dataset] | losses.METHODS[method].defaults | chosen))


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings of one source above those of another, of which those to a method that is replaced give way."""
    return for_method(below, above.get("method")) | above


def for_method(stored: dict[str, Any], method: str | None) -> dict[str, Any]:
    """Settings of a file without those that mean nothing to the method, where that is not the file's own."""
    if method not in losses.METHODS or method == stored.get("method", DEFAULT_METHOD):
        return stored
    unused = losses.NEUTRAL.keys() - losses.METHODS[method].takes
    return {name: setting for name, setting in stored.items() if name not in unused}


def conflicts(ours: TrainingConfig, theirs: TrainingConfig) -> list[str]:
    """Settings in which two runs differ such that one cannot continue the other, as readable phrases."""
    mine, other = asdict(ours), asdict(theirs)
    # What does not change the course of training, and its length, may differ.
    compared = mine.keys() - OF_THE_MACHINE - {"epochs", "threads", "eval_eps", "recipe"}
    return [f"{flag(name)} {other[name]}, not {mine[name]}" for name in sorted(compared) if mine[name] != other[name]]


def flag(name: str) -> str:
    """How a setting is written on the command line."""
    return "--" + name.replace("_", "-")


def _numbers(name: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ZooError(f"{flag(name)} must be numbers with commas between them, not {text!r}") from error
    _require(bool(numbers) or not text.strip(), f"{flag(name)} must be numbers with commas between them, not {text!r}")
    _require(
        all(0 <= number < math.inf for number in numbers), f"{flag(name)} must be finite, not negative, not {text!r}"
    )
    return numbers


def _require_one_of(name: str, value: str, known: Any) -> None:
    _require(value in known, f"unknown {flag(name)} {value!r}; there are: {', '.join(known)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ZooError(message)
