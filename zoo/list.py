"""`python -m zoo.list`: models, how large they are, and how long they train; or recipes; or trained weights."""

from typing import Annotated

import torch

from zoo import families, markdown
from zoo import recipes as stored
from zoo import weights as trained
from zoo.data import TRAINING_IMAGES
from zoo.estimates import Speed, epoch_seconds, measure_speed
from zoo.models import INPUT_SHAPES, MODELS, build, find, measure, names, paper_models
from zoo.records import Result, part
from zoo.terminal import Console, Table, application, console, typer, user_errors

app = application()
Option = typer.Option

WIDTH = 140  # of the widest line; on a narrower terminal lines are wrapped, not cut
SIZES = ("parameters", "ReLUs", "MACs")
ESTIMATES = ("natural", "IBP", "CROWN-IBP")


@app.command()
def main(
    dataset: Annotated[str | None, Option(help=f"Only the models for {', '.join(MODELS)}.  [default: all]")] = None,
    paper: Annotated[bool, Option("--paper", help="Only the 53 models of the CROWN-IBP paper.")] = False,
    recipes: Annotated[bool, Option("--recipes", help="The recipes instead of the models.")] = False,
    weights: Annotated[bool, Option("--weights", help="Trained weights instead, with their verified errors.")] = False,
    estimate: Annotated[bool, Option(help="Estimate the seconds of a training epoch; measures for a second.")] = True,
) -> None:
    """List models with their data set, their number in the paper's sets, and their size.

    ReLUs are neurons behind a ReLU or a clipped one, MACs multiply-accumulates per image.
    """
    if recipes:
        for name in stored.names():
            console.print(f"{name}: {stored.summary(name)}", highlight=False)
        return
    with user_errors():
        if weights:
            print("\n".join(map(summary, trained.names())))
            return
        named = families.of_paper if paper else names
        places = [dataset] if dataset is not None else families.SMALL if paper else MODELS
        rows = [(place, name) for place in places for name in named(place)]
    speed = measure_speed() if estimate else None
    wide = Console(width=max(WIDTH, console.width))
    wide.print(table(rows, speed))
    for line in notes(rows, speed):
        wide.print(line, highlight=False)


def summary(name: str) -> str:
    """What trained weights are and what they reach, on one line.

    Raises:
        ZooError: (a ValueError) their files are damaged.
    """
    path, about = trained.SHIPPED / f"{name}.json", trained.information(name)
    model, dataset = (part(about["config"], setting, str, path) for setting in ("model", "dataset"))
    errors = ", ".join(
        f"{markdown.percent(found.verified)} % at eps {markdown.radius(found.eps)}"
        for found in Result(path, part(about, "result", dict, path)).evaluations
    )
    return f"{name}: {dataset}, {model}, verified error {errors}"


def table(rows: list[tuple[str, str]], speed: Speed | None) -> Table:
    """One line per pair of data set and name; the places in the paper count from 0, within each of its sets."""
    places = paper_places()
    shown = Table(box=None, pad_edge=False)
    for title in ("model", "data set", "paper"):
        shown.add_column(title, no_wrap=True)
    for title in SIZES + (ESTIMATES if speed is not None else ()):
        shown.add_column(title, justify="right", no_wrap=True)
    for dataset, name in rows:
        with torch.device("meta"):
            model = build(name, dataset)
        size, known = measure(model, INPUT_SHAPES[dataset]), find(name, dataset)
        cells = [f"{count:,}" for count in size]
        if speed is not None:
            seconds = epoch_seconds(size, speed, images=TRAINING_IMAGES[dataset], batch_norm=known.batch_norm)
            cells += [f"{value:.2g} s" if value < 10 else f"{value:,.0f} s" for value in seconds]
        place = places.get((dataset, name), "-") + ("*" if known.true_name is not None else "")
        shown.add_row(name, dataset, place, *cells)
    return shown


def paper_places() -> dict[tuple[str, str], str]:
    """Where the paper has its models, as "small 0"."""
    places: dict[tuple[str, str], str] = {}
    counts: dict[tuple[str, str | None], int] = {}
    for dataset, name in paper_models():
        group = dataset, find(name, dataset).paper_set
        places[dataset, name] = f"{group[1]} {counts.setdefault(group, 0)}"
        counts[group] += 1
    return places


def notes(rows: list[tuple[str, str]], speed: Speed | None) -> list[str]:
    """What the table leaves to say."""
    lines = []
    for dataset, name in rows:
        if (true_name := find(name, dataset).true_name) is not None:
            lines.append(f"* {name} for {dataset} is misnamed in the paper; by its layers it is {true_name}")
    if speed is not None:
        lines += [
            f"Seconds per epoch are an estimate: natural steps of two models were timed for a second, on "
            f"{torch.get_num_threads()} of the CPU's threads.",
            "IBP counts as 2 natural steps, with BatchNorm as 3, and CROWN-IBP, while beta > 0, as 9 more than IBP.",
        ]
    return lines


if __name__ == "__main__":
    app()
