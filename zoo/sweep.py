"""`python -m zoo.sweep`: train and evaluate a family of models by several methods, unattended and resumable."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from zoo import commands, families, verification
from zoo.checkpoint import load_model, write_json
from zoo.config import DEFAULT_DATASET
from zoo.errors import ZooError
from zoo.recipes import read_recipe
from zoo.records import RESULT, read_result
from zoo.runs import Job, job, report_failures, run_all, same_run, unfinished
from zoo.terminal import Table, application, console, typer, user_errors
from zoo.weights import digest

app = application()
Option = typer.Option

OWN = ("model", "method", "seed", "out")  # settings that the sweep gives to each run
SUMMARY = "summary.json"
STATISTICS = ("min", "median", "max", "mean")


@app.command()
def main(
    models: Annotated[str, typer.Argument(help="paper-small, paper-medium, or names with commas between them.")],
    flags: Annotated[list[str] | None, typer.Argument(help="After --: flags of zoo.train, for every run.")] = None,
    recipe: Annotated[str | None, Option(help="Name or TOML file of a recipe.")] = None,
    dataset: Annotated[str | None, Option(help="Data set.  [default: the recipe's]")] = None,
    data_dir: Annotated[Path | None, Option(help="Folder that holds MNIST/raw and the like.")] = None,
    method: Annotated[list[str], Option(help="Training method; may be repeated.")] = ["ibp", "crown-ibp"],  # noqa: B006
    seeds: Annotated[str, Option(help='Seeds, such as "0,1".')] = "0",
    verify: Annotated[list[str] | None, Option(help="Bound to verify with; may be repeated.  [default: all]")] = None,
    out: Annotated[Path | None, Option(help="Where the runs go.  [default: runs/<recipe>-<models>]")] = None,
    summary_only: Annotated[bool, Option("--summary-only", help="Only the table of the finished runs.")] = False,
) -> None:
    """Train and evaluate every model by every method with every seed, one run after the other.

    Finished runs are skipped and killed ones continue, so the same command goes on where it stopped. A run that fails
    does not stop the others; it is told at the end, and the status is 1.
    """
    with user_errors():
        shared = commands.parse(flags or [])
        if taken := [name for name in (*OWN, "recipe", "dataset", "data_dir") if name in shared]:
            raise ZooError(f"{', '.join(map(commands.flag, taken))} cannot stand after --: the sweep sets it")
        named = {"recipe": recipe, "dataset": dataset, "data_dir": None if data_dir is None else str(data_dir)}
        shared |= {name: value for name, value in named.items() if value is not None}
        jobs = plan(models, shared, method, numbers(seeds), out)
        stages = [stage.name for stage in verification.choose(verify or ())]
        finished = partial(is_finished, stages=stages)
        failures = [] if summary_only else run_all(jobs, partial(steps, bounds=verify or ()), finished)
        summarize([one for one in jobs if finished(one)], jobs, models)
    report_failures(failures)


def plan(
    models: str, shared: dict[str, Any], methods: Sequence[str], seeds: Sequence[int], out: Path | None
) -> list[Job]:
    """All runs of a sweep, in the order in which they are done: model by model, so that methods can soon be compared.

    Raises:
        ZooError: (a ValueError) a name is unknown, or a setting makes no sense.
    """
    stored = read_recipe(shared["recipe"]) if "recipe" in shared else {}
    dataset = shared.get("dataset") or stored.get("dataset", DEFAULT_DATASET)
    names = families.choose(models, dataset)
    source = Path(shared["recipe"]).name.removesuffix(".toml") if "recipe" in shared else dataset
    family = models if models.startswith(families.PREFIX) else "models"
    folder = Path("runs") / f"{source}-{family}" if out is None else out
    jobs = []
    for model, method, seed in product(names, dict.fromkeys(methods), seeds):
        own = {"model": model, "method": method, "seed": seed, "out": str(folder / f"{model}-{method}-seed{seed}")}
        jobs.append(job(shared | own))
    return jobs


def steps(one: Job, bounds: Sequence[str] = ()) -> list[list[str]]:
    """Training, then the evaluation of what it came to, by these bounds or by all."""
    return [one.training, ["zoo.evaluate", *commands.evaluation(one.out, commands.repeated("--method", bounds))]]


def is_finished(one: Job, stages: Sequence[str]) -> bool:
    """Whether what the run came to, with the settings that it is to have, was evaluated, on the whole test set, at all
    radii and by these bounds; a damaged file counts as none."""
    path, final = one.out / RESULT, one.out / "final.pt"
    if not path.is_file() or not final.is_file():
        return False
    try:
        result = read_result(path)
        result.require_whole()
        result.require_finished()
        radii = {evaluation.eps for evaluation in result.evaluations}
        asked = same_run(one.config, result.configuration) and radii == set(one.config.radii)
        return asked and set(result.bounds) == set(stages) and result.weights == digest(load_model(final).model)
    except ZooError as error:
        return unfinished(one, error)


def summarize(finished: Sequence[Job], jobs: Sequence[Job], models: str) -> None:
    """Print the spread of errors per method, over the models and seeds that all methods have, and write it beside the
    runs."""
    results = [read_result(one.out / RESULT) for one in finished]
    if not results:
        console.print("no run is finished yet")
        return
    methods = families.summarize(results)
    if not methods:
        console.print("no model has a finished run of each method yet")
        return
    about = {"models": models, "dataset": jobs[0].config.dataset, "finished": len(results), "runs": len(jobs)}
    path = jobs[0].out.parent / SUMMARY
    write_json(path, about | {"methods": methods})
    shared = "" if len({row["method"] for row in methods}) < 2 else ", over the models and seeds that all methods have"
    console.print(f"\n{len(results)} of {len(jobs)} runs; errors in %{shared}:", highlight=False, soft_wrap=True)
    console.print(table(methods))
    print(path)


def table(methods: Sequence[dict[str, Any]]) -> Table:
    """Two rows per method and radius."""
    rows = Table(box=None, pad_edge=False)
    for title in ("method", "error"):
        rows.add_column(title, no_wrap=True)
    for title in ("eps", "runs", *STATISTICS):
        rows.add_column(title, justify="right", no_wrap=True)
    for row in methods:
        for kind in ("standard", "verified"):
            figures = (f"{100 * row[kind][name]:.2f}" for name in STATISTICS)
            rows.add_row(row["method"], kind, f"{row['eps']:.4g}", str(row["runs"]), *figures)
    return rows


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them.

    Raises:
        ZooError: (a ValueError) it is something else.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ZooError(
            f'--seeds must be whole numbers with commas between them, such as "0,1", not {text!r}'
        ) from error
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    app()
