"""`python -m zoo.export RUN --name NAME`: weights, recipe and result of a run, in the form `zoo.load` reads."""

import re
from pathlib import Path
from typing import Annotated, Any

from zoo import results, weights
from zoo.checkpoint import Trained
from zoo.errors import ZooError
from zoo.evaluate import attack_on, evaluate, require_finite, test_split
from zoo.records import damaged, read_result
from zoo.state import set_threads
from zoo.terminal import application, typer, user_errors
from zoo.verification import choose

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
    method: Annotated[list[str] | None, Option(help="Bound to verify with; may be repeated.  [default: all]")] = None,
    data_dir: Annotated[str | None, Option(help="Folder that holds MNIST/raw.  [default: as in training]")] = None,
    threads: Annotated[int | None, Option(min=1, help="CPU threads.  [default: as in training]")] = None,
    force: Annotated[bool, Option("--force", help="Replace weights of that name.")] = False,
) -> None:
    """Write NAME.safetensors and NAME.json.

    Results are those of the whole test set, and their certificates are in float64.
    """
    with user_errors():
        if not NAME.fullmatch(name):
            raise ZooError(f"--name is made of letters, digits, and . _ -, and becomes a file's name; {name!r} is not")
        path = out / (name + weights.SUFFIX)
        if not force and (path.exists() or path.with_suffix(".json").exists()):
            raise ZooError(f"{path} is there already; give another --name, or --force to replace it")
        trained = weights.open_trained(source)
        weights.require_finite(trained.model)
        weights.require_repeatable(trained.config)
        if half:
            trained = trained._replace(model=weights.rounded(trained.model))
        set_threads(threads if threads is not None else trained.config.threads)
        if evaluated is not None:
            found = stored_results(evaluated, trained)
        else:
            radii = list(dict.fromkeys(eps or trained.config.radii))
            require_finite(radii)
            attacks, stages = [(radius, attack_on(radius)) for radius in radii], choose(method or ())
            found = evaluate(trained, test_split(trained, data_dir), attacks, stages=stages)
        path.parent.mkdir(parents=True, exist_ok=True)
        weights.save_weights(path, trained.model, description(trained, found))
    print(results.report(found, name))
    print(f"{path}: {path.stat().st_size:,} bytes")


def description(trained: Trained, found: dict[str, Any]) -> dict[str, Any]:
    """What the JSON beside the weights says."""
    result = {key: found[key] for key in ("environment", "examples", "dtype", "evaluations")}
    about = {"config": weights.recipe(trained.config), "epochs": trained.epochs, "seconds": trained.seconds}
    return about | {"result": result}


def stored_results(path: Path, trained: Trained) -> dict[str, Any]:
    """What an evaluation of these weights stored.

    Raises:
        ZooError: (a ValueError) there is no such file; it lacks something; it is about other weights, about a part of
            the test set, or in float32.
    """
    result = read_result(path)
    if result.weights != weights.digest(trained.model):
        raise ZooError(f"{path} holds the results of other weights")
    result.require_whole()
    try:
        description(trained, result.content)
        results.report(result.content, path.stem)
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"it lacks {error}") from error
    if not result.evaluations:
        raise ZooError(f"{path} holds no evaluation")
    return result.content


if __name__ == "__main__":
    app()
