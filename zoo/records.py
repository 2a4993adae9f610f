"""What runs leave behind, read again: the metrics of a run directory, and the results of an evaluation."""

import json
import math
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

from zoo import data
from zoo.config import SETTINGS, TrainingConfig
from zoo.errors import ZooError
from zoo.recipes import typed

RESULT = "result.json"
ATTACK = {"steps", "restarts", "step_size", "seed"}
REQUIRED = {setting.name for setting in fields(TrainingConfig) if setting.default is MISSING}
OPTIONAL = {setting.name for setting in fields(TrainingConfig) if NoneType in get_args(setting.type)}


class Evaluation(NamedTuple):
    """Shares of the test examples in error at one radius."""

    eps: float
    standard: float
    pgd: float | None  # None where no attack was run
    verified: float
    bounds: tuple[str, ...] = ()  # those that were computed: of those asked for, the ones that something was left for
    attack: dict[str, Any] | None = None  # settings of PGD, as far as they are stored


class Result(NamedTuple):
    """One trained and evaluated run."""

    path: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run: of its file, or of its directory."""
        return self.path.parent.name if self.path.name == RESULT else self.path.stem

    @property
    def config(self) -> dict[str, Any]:
        return part(self.content, "config", dict, self.path)

    @property
    def configuration(self) -> TrainingConfig:
        """The configuration; settings newer than the result have their defaults, and those that are gone are let be.

        Raises:
            ZooError: (a ValueError) a setting is missing or makes no sense.
        """
        return configuration({name: value for name, value in self.config.items() if name in SETTINGS}, self.path)

    @property
    def weights(self) -> str:
        """Digest of the weights evaluated."""
        return part(self.content, "weights", str, self.path)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine of the training where they are stored, else of the evaluation."""
        name = "training_environment" if "training_environment" in self.content else "environment"
        return part(self.content, name, dict, self.path)

    @property
    def seconds(self) -> float:
        """Of training."""
        return part(self.content, "seconds", float, self.path)

    @property
    def examples(self) -> int:
        return part(self.content, "examples", int, self.path)

    @property
    def dtype(self) -> str:
        """Of the certificates."""
        return part(self.content, "dtype", str, self.path)

    @property
    def epochs(self) -> int:
        """Of training, up to the weights evaluated."""
        return part(self.content, "epochs", int, self.path)

    @property
    def bounds(self) -> list[str]:
        """Names of the stages of verification that were asked for; of older results, of those that were computed."""
        if "bounds" in self.content:
            return part(self.content, "bounds", list, self.path)
        return list(dict.fromkeys(name for evaluation in self.evaluations for name in evaluation.bounds))

    @property
    def evaluations(self) -> list[Evaluation]:
        """Errors per radius.

        Raises:
            ZooError: (a ValueError) a figure is missing, or the figures contradict each other: standard error <= PGD
                error <= verified error holds for every network.
        """
        return [self._one(row) for row in part(self.content, "evaluations", list, self.path)]

    def require_whole(self) -> None:
        """Refuse what a page or weights should not carry.

        Raises:
            ZooError: (a ValueError) the result is of a part of the test set, or its certificates are not in float64.
        """
        dataset = self.setting("dataset", str)
        if self.examples != data.TEST_IMAGES.get(dataset):
            raise ZooError(f"{self.path} is about {self.examples} examples, not the whole test set of {dataset}")
        if self.dtype != "float64":
            raise ZooError(f"{self.path} has certificates in {self.dtype}; only those in float64 are kept")

    def require_finished(self) -> None:
        """Refuse weights that the run did not come to.

        Raises:
            ZooError: (a ValueError) they are those of an earlier epoch, and the run was not to choose its best.
        """
        config = self.configuration
        if config.choose == "last" and self.epochs != config.epochs:
            raise ZooError(f"{self.path} is about weights after {self.epochs} of {config.epochs} epochs")

    def setting(self, name: str, kind: type = object) -> Any:
        """A setting of the training.

        Raises:
            ZooError: (a ValueError) the result lacks it.
        """
        return part(self.config, name, kind, self.path)

    def _one(self, row: Any) -> Evaluation:
        if not isinstance(row, dict):
            raise damaged(self.path, f"it has {row!r:.40} among the evaluations")

        def error(kind: str) -> float:
            return part(part(row, kind, dict, self.path), "error", float, self.path)

        found = Evaluation(
            eps=part(row, "eps", float, self.path),
            standard=error("standard"),
            pgd=error("pgd") if row.get("pgd") else None,
            verified=error("verified"),
            bounds=tuple(part(row["verified"], "by", dict, self.path)) if "by" in row["verified"] else (),
            attack=_attack(row.get("pgd") or {}),
        )
        attacked = found.standard if found.pgd is None else found.pgd
        if not 0 <= found.standard <= attacked <= found.verified <= 1:
            raise ZooError(
                f"{self.path} contradicts itself at eps {found.eps:g}: standard error {found.standard:g}, "
                f"PGD error {attacked:g} and verified error {found.verified:g} must lie in [0, 1] and not fall"
            )
        return found


def _attack(row: dict[str, Any]) -> dict[str, Any] | None:
    return {name: row[name] for name in ATTACK} | {"leak": row.get("leak", 0.0)} if row.keys() >= ATTACK else None


def read_result(path: Path) -> Result:
    """The result of a run, from its JSON file. Fields are looked at when they are asked for, others are let be.

    Raises:
        ZooError: (a ValueError) there is no such file, or it holds no JSON object; and later, when a field is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read the result {path}: {error}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} is no result of `python -m zoo.evaluate --json`")
    return Result(path, content)


def configuration(settings: dict[str, Any], path: Path) -> TrainingConfig:
    """The configuration that a file stores.

    Raises:
        ZooError: (a ValueError) a setting is missing, unknown, of another type, or makes no sense.
    """
    for what, names in ("lacks the", REQUIRED - settings.keys()), ("has unknown", settings.keys() - SETTINGS):
        if names:
            raise damaged(path, f"it {what} settings {', '.join(sorted(names))}")
    try:
        given = {name: value for name, value in settings.items() if value is not None or name not in OPTIONAL}
        return TrainingConfig(**{name: typed(path, name, value) for name, value in given.items()})
    except ZooError as error:
        raise damaged(path, str(error).removeprefix(f"{path}: ")) from error


def damaged(path: Path, why: str) -> ZooError:
    """What is said of a file of the zoo that does not hold what this version would have written."""
    return ZooError(f"{path} was written by another version of the zoo or is damaged: {why}")


def read_history(run: Path) -> list[dict[str, Any]]:
    """The records of the finished epochs of a run directory, first epoch first.

    Raises:
        ZooError: (a ValueError) the directory has no metrics.jsonl, no epoch has finished, or a line is damaged.
    """
    path = run / "metrics.jsonl"
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ZooError(
            f"no {path}: give a directory that `python -m zoo.train` wrote, such as runs/NAME-seed0"
        ) from error
    except ValueError as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    if not all(isinstance(record, dict) for record in records):
        raise damaged(path, "its lines are to be the records of epochs")
    if not records:
        raise ZooError(f"{path} has no finished epoch yet")
    return records


def figure(record: dict[str, Any], name: str, run: Path) -> float:
    """A number of an epoch's record; NaN where it is null, as the verified errors of a training without bounds are.

    Raises:
        ZooError: (a ValueError) the record lacks it.
    """
    if name in record and record[name] is None:
        return math.nan
    return part(record, name, float, run / "metrics.jsonl")


def seconds_of(record: dict[str, Any]) -> float:
    """What an epoch took, with the look at the images watched; 0 where it is not known."""
    return float(record.get("seconds") or 0) + float(record.get("watched_seconds") or 0)


def part(content: dict[str, Any], name: str, kind: type, path: Path) -> Any:
    """A field of a file's content.

    Raises:
        ZooError: (a ValueError) the content lacks it, or it is of another type.
    """
    value = content.get(name)
    if kind is float and type(value) is int:
        return float(value)
    if name not in content or not isinstance(value, kind):
        raise damaged(path, f"it {'lacks' if name not in content else f'has {value!r:.40} as'} the field {name!r}")
    return value
