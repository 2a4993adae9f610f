"""The recipes that come with the zoo: one TOML file per experiment, beside this one."""

from itertools import takewhile
from pathlib import Path

from zoo.errors import ZooError

FOLDER = Path(__file__).parent


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
