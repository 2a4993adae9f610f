"""`python -m zoo.report RESULTS_DIR --out docs/results.md`: the page of results, from what evaluations stored."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch

from zoo import ablation_table, commands, family_tables, markdown, recipes, reproduction
from zoo.ablation import INGREDIENTS
from zoo.checkpoint import build_model, load_model, write_json
from zoo.errors import ZooError
from zoo.published import published
from zoo.records import RESULT, Evaluation, Result, read_history, read_result, seconds_of
from zoo.terminal import application, typer, user_errors
from zoo.weights import digest, information, require_repeatable

app = application()
Option = typer.Option

RUN = re.compile(r".+-seed\d+")  # names of runs; other programs keep other results in the same folder

PAGE = Path("docs/results.md")
HOW = """\
# Results

Errors are in percent of the whole test set. *Verified*: all examples but those with a proof, for every point of the
l_inf ball that lies in [0, 1], that the class is right. A proof is a lower bound of every margin that is finite and
strictly greater than 0, computed in float64. *PGD*: the examples that are misclassified or that an attack broke, so
standard error ≤ PGD error ≤ true robust error ≤ verified error.{attacks}

Weights are {weights}; no weights were chosen on test images. Minutes are those of training{first}.

Every row is one run, stored in `{folder}/`, and the commands below the tables repeat it.{data}
`python -m zoo.report {folder} --out {page}` writes this page."""
DATA = " `DATA` is the folder of the data sets, in torchvision's layout."


@app.command()
def main(
    results: Annotated[Path, typer.Argument(metavar="RESULTS_DIR", help="Folder of stored results.")],
    out: Annotated[Path, Option(help="The page to write.")] = PAGE,
    check: Annotated[bool, Option("--check", help="Write nothing; status 1 if the page is another one.")] = False,
    add: Annotated[list[Path], Option(help="First store the results of a run or a sweep; may be repeated.")] = [],  # noqa: B006
) -> None:
    """Write the page of results from stored results: RESULTS_DIR/NAME-seed0.json, and a folder per sweep.

    Stored results are the result.json of runs, without the paths of the machine they come from. They stay until their
    files are removed.
    """
    with user_errors():
        if check and add:
            raise ZooError("--check writes nothing, so it does not go with --add")
        with stored(add, results):
            text = page(results, out)
        if not check:
            out.write_text(text, encoding="utf-8")
            print(out)
        elif not out.is_file() or out.read_text(encoding="utf-8") != text:
            print(f"{out} is not what {results} gives; python -m zoo.report {results} --out {out} writes it anew")
            raise typer.Exit(1)


@contextmanager
def stored(sources: Sequence[Path], results: Path) -> Iterator[None]:
    """Copy the results of run directories into a folder of results, and those of sweeps into folders below it; if what
    is then done with the folder fails, it is again what it was.

    Raises:
        ZooError: (a ValueError) there is no result in a directory, or one that a page should not carry or that is not
            about the weights the run came to; or two would have the same place.
    """
    kept: dict[Path, dict[str, Any]] = {}
    for source in dict.fromkeys(map(Path.resolve, sources)):
        found = [source / RESULT] if (source / RESULT).is_file() else sorted(source.glob(f"*/{RESULT}"))
        if not found:
            raise ZooError(
                f"no {RESULT} in {source} or in the folders in it; `python -m zoo.evaluate --json` writes one"
            )
        for path in found:
            place = Path(path.parent.name) if path.parent == source else Path(source.name, path.parent.name)
            target = results / place.parent / f"{place.name}.json"
            if target in kept:
                raise ZooError(f"two results would be stored as {target}: that of {path.parent} is the second")
            kept[target] = _portable(path, Path("runs") / place)
    before = {target: target.read_bytes() if target.is_file() else None for target in kept}
    for target, content in kept.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, content)
    try:
        yield
    except BaseException:
        for target, text in before.items():
            target.unlink() if text is None else target.write_bytes(text)
        raise


def _portable(path: Path, run: Path) -> dict[str, Any]:
    """The content of a result, without the paths of the machine it comes from."""
    result = read_result(path)
    if not RUN.fullmatch(result.name):
        raise ZooError(f"{path.parent} must be named like a run, NAME-seed0, to be stored under its name")
    result.require_whole()
    result.require_finished()
    require_repeatable(result.configuration)
    if not result.evaluations:
        raise ZooError(f"{path} holds no evaluation")
    final = path.with_name("final.pt")
    if final.is_file() and digest(load_model(final).model) != result.weights:
        raise ZooError(f"{path} is about other weights than {final}; evaluate that")
    elsewhere: dict[str, Any] = {"data_dir": reproduction.DATA, "out": str(run)}
    if result.config.get("recipe") not in recipes.names():
        elsewhere["recipe"] = None  # a file on that machine repeats nothing: its settings do
    about: dict[str, Any] = {"config": result.config | elsewhere}
    if (settings := path.with_name("config.json")).is_file():
        about["training_environment"] = read_result(settings).environment
    if "seconds" not in result.content:
        about["seconds"] = sum(map(seconds_of, read_history(path.parent)))
    if "checkpoint" in result.content:
        about["checkpoint"] = f"{run}/final.pt"
    return result.content | about


def page(folder: Path, out: Path = PAGE) -> str:
    """The page, a pure function of the stored results and of the names of their folder and the page.

    Raises:
        ZooError: (a ValueError) there are none; one is damaged, of a part of the test set, or not in float64.
    """
    runs = read_all(folder)
    sweeps = {sub.name: found for sub in sorted(folder.iterdir()) if sub.is_dir() and (found := read_all(sub))}
    if not runs and not sweeps:
        raise ZooError(f"{folder} has no results of runs (NAME-seed0.json)")
    everything = [*runs, *(result for found in sweeps.values() for result in found)]
    parts = [_how(everything, folder, out)]
    for dataset, title in markdown.TITLES.items():
        if own := [result for result in runs if result.setting("dataset") == dataset]:
            parts += [*_tables(own, dataset), f"### {title}: commands", reproduction.of_runs(own)]
    if sweeps:
        parts += family_tables.tables(sweeps)
    if (folder / INGREDIENTS).is_file():
        parts += ablation_table.table(folder / INGREDIENTS)
    return "\n\n".join([*parts, "## Environment", _environments(everything)]) + "\n"


def _how(results: Sequence[Result], folder: Path, out: Path) -> str:
    configs = [result.configuration for result in results]
    kinds = {
        "those after the last epoch": any(config.choose == "last" and not config.average for config in configs),
        "the average of the last epochs": any(config.average for config in configs),
        "the best on training images held out": any(config.choose == "best" for config in configs),
    }
    weights = markdown.either([kind for kind, occurs in kinds.items() if occurs])
    local = all(config.dataset == "digits" for config in configs)
    plain = any((one.attack or {}).get("leak") == 0 for result in results for one in result.evaluations)
    attacks = " The attacks of rows whose command says `--leak 0.0` are weaker than the others." if plain else ""
    begun = any(config.start_from for config in configs)
    first = "; where a run began with trained weights, theirs stand first" if begun else ""
    about = {"weights": weights, "attacks": attacks, "first": first}
    text = HOW.format(**about, folder=_shown(folder), page=_shown(out), data="" if local else DATA)
    return "\n\n".join(map(markdown.paragraph, text.split("\n\n")))


def _shown(path: Path) -> str:
    """A path as given, without the folders of the machine above the present one."""
    if path.is_absolute():
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return path.as_posix()


def read_all(folder: Path) -> list[Result]:
    """The results of runs in a folder, in alphabetical order.

    Raises:
        ZooError: (a ValueError) as for `page`.
    """
    if not folder.is_dir():
        raise ZooError(f"there is no folder {folder}")
    results = [read_result(path) for path in sorted(folder.glob("*.json")) if RUN.fullmatch(path.stem)]
    for result in results:
        result.require_whole()
        result.require_finished()
        try:
            commands.to_reproduce(result.configuration)
        except ZooError as error:
            raise ZooError(f"{result.path}: {error}") from error
    return results


def _tables(results: Sequence[Result], dataset: str) -> list[str]:
    found = [(evaluation, result) for result in results for evaluation in result.evaluations]
    parts = []
    for eps in sorted({evaluation.eps for evaluation, _ in found}):
        rows = sorted(((one, result) for one, result in found if one.eps == eps), key=lambda row: row[0].verified)
        head = ("run", "model", "parameters", "standard", "PGD", "verified", "minutes", "seed")
        parts.append(f"## {markdown.TITLES[dataset]}, eps {markdown.radius(eps)}")
        parts.append(markdown.table(head, [_row(one, result) for one, result in rows]))
        if known := published(dataset, eps):
            literature = [
                (row.source, row.network, "-" if row.standard is None else f"{row.standard:.2f}", f"{row.verified:.2f}")
                for row in known
            ]
            parts.append(markdown.table(("published", "network", "standard", "verified"), literature))
    return parts


def _row(evaluation: Evaluation, result: Result) -> tuple[str, ...]:
    name, model = re.sub(r"-seed\d+$", "", result.name), result.setting("model", str)
    errors = map(markdown.percent, (evaluation.standard, evaluation.pgd, evaluation.verified))
    return (
        name,
        f"`{model}`",
        f"{parameters(result):,}",
        *errors,
        _minutes(result),
        str(result.setting("seed")),
    )


def _minutes(result: Result) -> str:
    """Of the run, and of the run that its first weights come from."""
    own = markdown.minutes(result.seconds / 60)
    if (first := result.configuration.start_from) is None:
        return own
    before = information(first).get("seconds")
    return f"{'?' if before is None else markdown.minutes(before / 60)} + {own}"


def parameters(result: Result) -> int:
    """Number of parameters of the model of a run."""
    with torch.device("meta"):  # sizes without memory
        return sum(parameter.numel() for parameter in build_model(result.configuration).parameters())


def _environments(results: Iterable[Result]) -> str:
    """Versions and machines, each with the number of runs that were made with it."""
    counts: dict[str, int] = {}
    for result in results:
        about = ", ".join(f"{name} {_words(value)}" for name, value in result.environment.items())
        counts[about] = counts.get(about, 0) + 1
    return "\n".join(f"- {about} ({count} run{'s' * (count > 1)})" for about, count in counts.items())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(inside)}" for name, inside in value.items())
    return "unknown" if value is None else str(value)


if __name__ == "__main__":
    app()
