"""Settings as flags of `python -m zoo.train`, there and back."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, NoReturn

from zoo import losses
from zoo.config import (
    DEFAULT_DATASET,
    DEFAULT_METHOD,
    OF_THE_MACHINE,
    PRESETS,
    SETTINGS,
    TrainingConfig,
    flag,
    for_method,
    resolve,
)
from zoo.errors import ZooError
from zoo.recipes import read_recipe


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ZooError(f"{message}; `python -m zoo.train --help` lists the flags of a run")


def flags(given: dict[str, Any]) -> list[str]:
    """Settings as arguments of the command line."""
    arguments: list[str] = []
    for name, value in given.items():
        if isinstance(value, bool):
            arguments.append(flag(name) if value else flag("no_" + name))
        else:
            arguments += [flag(name), str(value)]  # the shortest text that reads as the same float
    return arguments


def repeated(flag: str, values: Iterable[object]) -> list[str]:
    """A flag that may be repeated, once for each value."""
    return [word for value in values for word in (flag, str(value))]


def parse(arguments: list[str]) -> dict[str, Any]:
    """Settings from arguments of `zoo.train`; only those that are there.

    Raises:
        ZooError: (a ValueError) there is no such flag, or its value has the wrong type.
    """
    parser = _Parser(allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS)
    for name, kind in SETTINGS.items():
        if kind is bool:
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(flag(name), type=kind)
    return vars(parser.parse_args(arguments))


def resolved(given: dict[str, Any]) -> TrainingConfig:
    """The configuration of a run of `zoo.train` with these flags.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """
    return resolve(given, _recipe(given))


def to_reproduce(config: TrainingConfig) -> dict[str, Any]:
    """The fewest settings that `resolved` turns into this configuration, up to where it reads, writes and runs.

    Raises:
        ZooError: (a ValueError) the recipe is gone, or is now one that the configuration cannot come from.
    """
    given = _differing(config)
    if differences := _unlike(config, resolved(given)):
        raise ZooError(f"no flags for the recipe {config.recipe} give {', '.join(differences)} any more")
    return given


def _unlike(config: TrainingConfig, other: TrainingConfig) -> list[str]:
    theirs = asdict(other)
    compared = {name: value for name, value in asdict(config).items() if name not in OF_THE_MACHINE | {"threads"}}
    return [f"{flag(name)} {value}" for name, value in compared.items() if theirs[name] != value]


def _differing(config: TrainingConfig) -> dict[str, Any]:
    recipe = _recipe({"recipe": config.recipe} if config.recipe else {})
    usual = {"dataset": recipe.get("dataset", DEFAULT_DATASET), "method": recipe.get("method", DEFAULT_METHOD)}
    own = {field.name: field.default for field in fields(config) if field.default is not MISSING}
    recipe = for_method(recipe, config.method)
    unchanged = own | PRESETS[config.dataset] | losses.METHODS[config.method].defaults | recipe | usual
    given = {"recipe": config.recipe} if config.recipe else {}
    for name, value in asdict(config).items():
        if value is not None and name not in OF_THE_MACHINE | {"recipe"} and value != unchanged[name]:
            given[name] = value
    return given


def _recipe(given: dict[str, Any]) -> dict[str, Any]:
    return read_recipe(given["recipe"]) if given.get("recipe") else {}


def evaluation(run: Path, told: Sequence[str] = ()) -> list[str]:
    """Arguments of `zoo.evaluate` for the weights that a run came to; the result stands beside them."""
    return [str(run / "final.pt"), *told, "--json", str(run / "result.json")]
