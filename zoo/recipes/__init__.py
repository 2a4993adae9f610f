"""Recipes: files of settings, one TOML file per experiment. Those that come with the zoo lie beside this one."""

import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Any

from zoo.config import SECTION_OF, SETTINGS, laid_over
from zoo.errors import ZooError

FOLDER = Path(__file__).parent
LISTS = ("eval_eps", "lr_milestones")  # settings that may be lists in a file


def names() -> list[str]:
    """Names of the recipes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def summary(name: str) -> str:
    """What a recipe is for: the comment that its file begins with."""
    lines = path_of(name).read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))


def path_of(name: str) -> Path:
    """The file of a recipe, by its name or as a path that ends in .toml.

    Raises:
        ZooError: (a ValueError) there is none; lists those there are.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise ZooError(f"no recipe {name!r}: give a TOML file, or one of {', '.join(names())}")
    return path


def read_recipe(name: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Settings of a recipe of the zoo, by its name, or of a TOML file, and of the recipes that it builds on.

    What those say to a method that it replaces, and to none else, gives way.

    above: the files that build on it.

    Raises:
        ZooError: (a ValueError) there is no such recipe, it builds on itself, or as for `read_toml`.
    """
    path = path_of(name)
    if (place := path.resolve()) in above:
        raise ZooError(f"the recipe {path} builds on itself")
    own = read_toml(path)
    below = read_recipe(own["recipe"], (*above, place)) if "recipe" in own else {}
    return laid_over(below, own) | {"recipe": name}


def read_toml(path: Path) -> dict[str, Any]:
    """Settings from a TOML file. Keys are the names of the flags, written with - or _, in the tables that the headings
    of `zoo.train --help` name, or in none.

    Raises:
        ZooError: (a ValueError) the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read the configuration {path}: {error}") from error
    found: dict[str, Any] = {}
    for key, value in content.items():
        inside = value if isinstance(value, dict) else {key: value}
        if isinstance(value, dict) and key not in SECTION_OF.values():
            raise ZooError(f"{path} has a table [{key}]; there are {', '.join(dict.fromkeys(SECTION_OF.values()))}")
        for written, setting in inside.items():
            name = _name(written)
            if isinstance(value, dict) and SECTION_OF.get(name, key) != key:
                raise ZooError(f"{path}: {name} belongs into the table [{SECTION_OF[name]}], not [{key}]")
            if name in found:
                raise ZooError(f"{path} sets {name} twice")
            found[name] = setting
    return settings(path, found)


def _beside(path: Path, recipe: str) -> str:
    """The recipe that a file names: a TOML file is looked for from the folder of the file."""
    return str(path.parent / recipe) if recipe.endswith(".toml") else recipe


def settings(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Values from a file by the names of the settings, which may be written with - or _.

    Raises:
        ZooError: (a ValueError) a setting is unknown, or a value has the wrong type.
    """
    named: dict[str, Any] = {}
    for written, value in table.items():
        if (name := _name(written)) in named:
            raise ZooError(f"{path} sets {name} twice")
        named[name] = value
    if unknown := sorted(named.keys() - SETTINGS):
        raise ZooError(f"{path} has unknown settings {', '.join(unknown)}; there are: {', '.join(SETTINGS)}")
    found = {name: typed(path, name, value) for name, value in named.items()}
    if "recipe" in found:
        found["recipe"] = _beside(path, found["recipe"])
    return found


def _name(written: str) -> str:
    return written.replace("-", "_")


def typed(path: Path, name: str, value: Any) -> Any:
    """A value from a TOML file as the setting of this name wants it.

    Raises:
        ZooError: (a ValueError) it has another type.
    """
    kind = SETTINGS[name]
    if kind is float and type(value) is int:
        return float(value)
    if name in LISTS and type(value) in (list, int, float):  # what flags write with commas
        return ",".join(map(str, value if isinstance(value, list) else [value]))
    if type(value) is not kind:
        raise ZooError(f"{path}: {name} must be of type {kind.__name__}, not {value!r}")
    return value
