"""`python -m zoo.export RUN --name NAME`: weights, recipe and result of a run, in the form `zoo.load` reads."""

import re
from pathlib import Path
from typing import Annotated, Any

from zoo import results, weights
from zoo.checkpoint import Trained
from zoo.errors import ZooError
from zoo.evaluate import attack_on, evaluate, test_split
from zoo.state import set_threads
from zoo.terminal import application, typer, user_errors

app = application()
Option = typer.Option

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@app.command()
def main(
    source: Annotated[str, typer.Argument(metavar="RUN", help="A run's directory or checkpoint, or saved weights.")],
    name: Annotated[str, Option(help="What `zoo.load` shall call the weights.")],
    out: Annotated[Path, Option(help="Folder to write to.  [default: that of the zoo]")] = weights.SHIPPED,
    evaluated: Annotated[
        Path | None, Option("--results", help="A file of `zoo.evaluate --json` for these weights; else it is computed.")
    ] = None,
    half: Annotated[
        bool, Option("--half", help="Round the weights to half precision, and evaluate and write these.")
    ] = False,
    eps: Annotated[
        list[float] | None,
        Option(min=0, help="l_inf radius to evaluate; may be repeated.  [default: the recipe's]"),
    ] = None,
    data_dir: Annotated[str | None, Option(help="Folder that holds MNIST/raw.  [default: as in training]")] = None,
    threads: Annotated[int | None, Option(min=1, help="CPU threads.  [default: as in training]")] = None,
) -> None:
    """Write NAME.safetensors and NAME.json."""
    with user_errors():
        if not NAME.fullmatch(name):
            raise ZooError(f"--name is made of letters, digits, and . _ -, and becomes a file's name; {name!r} is not")
        trained = weights.open_trained(source)
        if half:
            trained = trained._replace(model=weights.rounded(trained.model))
        set_threads(threads if threads is not None else trained.config.threads)
        if evaluated is not None:
            found = _of_these_weights(results.read(evaluated), trained, evaluated)
        else:
            radii = eps or trained.config.radii
            found = evaluate(trained, test_split(trained, data_dir), [(radius, attack_on(radius)) for radius in radii])
        path = out / (name + weights.SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        weights.save_weights(path, trained.model, description(trained, found))
    print(results.report(found, name))
    print(f"{path}: {path.stat().st_size:,} bytes")


def description(trained: Trained, found: dict[str, Any]) -> dict[str, Any]:
    """What the JSON beside the weights says."""
    result = {key: found[key] for key in ("environment", "examples", "dtype", "evaluations")}
    about = {"config": weights.recipe(trained.config), "epochs": trained.epochs, "seconds": trained.seconds}
    return about | {"result": result}


def _of_these_weights(found: dict[str, Any], trained: Trained, path: Path) -> dict[str, Any]:
    if found["weights"] != weights.digest(trained.model):
        raise ZooError(f"{path} holds the results of other weights")
    return found


if __name__ == "__main__":
    app()
