"""The part of the page of results on an ablation: what single settings are worth, on training images held out."""

import json
from pathlib import Path
from typing import Any

from zoo import commands, markdown
from zoo.errors import ZooError
from zoo.reproduction import DATA

ABOUT = (
    "What each setting is worth, in percent of {images} held out: the test set has no part in it. Every row changes "
    "the settings it names, and no others, in {file}; all train {models} with seed {seeds}, and are verified by "
    "{bounds}, in {dtype}."
)


def table(path: Path) -> list[str]:
    """Title, text, table and command of a file that `zoo.ablation` wrote.

    Raises:
        ZooError: (a ValueError) it is something else, or has figures of images that no choice should be made on.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["rows"]
        splits = {row["split"] for row in rows}
        radii = sorted({eps for row in rows for eps in row["verified"]}, key=float)
        about = ABOUT.format(
            images=_either(f"{row['examples']:,} training images of {markdown.TITLES[row['dataset']]}" for row in rows),
            file=f"`{content['file']}`",
            models=_either(f"`{row['model']}`" for row in rows),
            seeds=_either(row["seed"] for row in rows),
            bounds=" and ".join(content["bounds"]),
            dtype=content["dtype"],
        )
        body = [_row(row, radii) for row in rows]
        command = ["zoo.ablation", content["file"]]
        if any(row["dataset"] != "digits" for row in rows):
            command += ["--data-dir", DATA]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ZooError(f"{path} is not what `python -m zoo.ablation` writes: {error!r}") from error
    if splits != {"validation"}:
        raise ZooError(
            f"{path} has figures of {', '.join(map(str, splits))}: choices are made on validation images only"
        )
    verified = [f"verified, eps {markdown.radius(float(eps))}" for eps in radii]
    return [
        "## Ablation",
        markdown.paragraph(about),
        markdown.table(("run", "settings", "standard", *verified, "epochs", "minutes"), body),
        markdown.shell([markdown.command(command)]),
    ]


def _row(row: dict[str, Any], radii: list[str]) -> tuple[str, ...]:
    settings = " ".join(commands.flags(row["settings"]))
    return (
        row["name"],
        f"`{settings}`" if settings else "",
        markdown.percent(row["standard"]),
        *(markdown.percent(row["verified"].get(eps)) for eps in radii),
        str(row["epochs"]),
        markdown.minutes(row["minutes"]),
    )


def _either(words: Any) -> str:
    return markdown.either(list(dict.fromkeys(map(str, words))))
