"""`python -m zoo.ablation FILE.toml`: what single settings are worth, on training images held out and never on test."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from zoo import checkpoint, commands, data, verification
from zoo.errors import ZooError
from zoo.recipes import settings
from zoo.records import read_history, seconds_of
from zoo.runs import Job, job, report_failures, run_all, same_run, unfinished
from zoo.terminal import application, typer, user_errors
from zoo.verification import MISCLASSIFIED, VERIFIED

app = application()
Option = typer.Option

INGREDIENTS = "ingredients.json"
BOUNDS = ("ibp", "crown-ibp")  # of every row, whatever it was trained with: else rows would differ by their bounds
FORMAT = "it needs [[run]] tables, each with a name and settings, and may have a recipe and a table [settings] for all"


@app.command()
def main(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The runs to compare.")],
    data_dir: Annotated[Path | None, Option(help="Folder that holds MNIST/raw and the like.")] = None,
    out: Annotated[Path | None, Option(help="Where the runs go.  [default: runs/<name of the file>]")] = None,
) -> None:
    """Train runs that differ in the settings of a file, and compare them on the images held out.

        recipe = "NAME"
        settings = { held-out = 5000 }
        run = [{ name = "as it is" }, { name = "IBP alone", method = "ibp" }]

    Finished runs are skipped and killed ones continue. The table goes to ingredients.json beside the runs.
    """
    with user_errors():
        folder = Path("runs") / file.stem if out is None else out
        named = plan(file, folder, data_dir)
        failures = run_all([one for _, _, one in named], lambda one: [one.training], is_finished)
        rows = [outcome(name, changed, one) for name, changed, one in named if is_finished(one)]
        if rows:
            named_as = file.name if file.is_absolute() else file.as_posix()  # without the folders of the machine
            about = {"file": named_as, "bounds": BOUNDS, "dtype": "float64", "environment": checkpoint.environment()}
            checkpoint.write_json(folder / INGREDIENTS, about | {"rows": rows})
            print("\n".join(map(_line, rows)), folder / INGREDIENTS, sep="\n")
    report_failures(failures)


def plan(file: Path, out: Path, data_dir: Path | None) -> list[tuple[str, dict[str, Any], Job]]:
    """Name, changed settings, and run, in the order of the file.

    Raises:
        ZooError: (a ValueError) the file cannot be read or names a setting that does not exist or makes no sense, or
            a run would hold no images out.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {file}: {error}") from error
    runs = content.get("run")
    if not isinstance(runs, list) or not runs or content.keys() - {"recipe", "settings", "run"}:
        raise ZooError(f"{file}: {FORMAT}")
    shared = _settings(file, content.get("settings", {}))
    shared |= _settings(file, {"recipe": content["recipe"]}) if "recipe" in content else {}
    shared |= {"data_dir": str(data_dir)} if data_dir is not None else {}
    named: dict[str, tuple[str, dict[str, Any], Job]] = {}
    for row in runs:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise ZooError(f"{file}: {FORMAT}")
        changed = _settings(file, {name: value for name, value in row.items() if name != "name"})
        given = shared | changed
        if "out" in given:
            raise ZooError(f"{file}: {row['name']}: out cannot be set; --out is the folder of all runs")
        try:
            folder = f"{_slug(row['name'])}-seed{commands.resolved(given).seed}"
            one = job(given | {"out": str(out / folder)})
        except ZooError as error:
            raise ZooError(f"{file}: {row['name']}: {error}") from error
        if not one.config.held_out:
            raise ZooError(
                f"{file}: {row['name']} holds no images out to compare on; add held-out = 5000 to its settings"
            )
        if folder in named:
            raise ZooError(f"{file}: {row['name']} and {named[folder][0]} would both write into {one.out}")
        named[folder] = row["name"], changed, one
    return list(named.values())


def is_finished(one: Job) -> bool:
    """Whether the run came to its last epoch, with the settings that it is to have; damaged weights count as none."""
    final = one.out / "final.pt"
    try:
        return final.is_file() and same_run(one.config, checkpoint.load(final)[0])
    except ZooError as error:
        return unfinished(one, error)


def outcome(name: str, changed: dict[str, Any], one: Job) -> dict[str, Any]:
    """Errors of a finished run on the images held out, by the best of the same bounds for all runs, in float64.

    Raises:
        ZooError: (a ValueError) the run left no weights or no metrics, or the data set cannot be read.
    """
    _, model, *_ = checkpoint.load_model(one.out / "final.pt")
    dataset = data.load(one.config.dataset, one.config.data_dir).hold_out(one.config.held_out)
    assert dataset.validation is not None
    verified, standard, examples = {}, 0.0, one.config.held_out
    stages = verification.choose(BOUNDS)
    for eps in one.config.radii:
        letters = verification.verify(model, dataset.validation, eps=eps, attack=None, stages=stages).letters
        verified[f"{eps:g}"] = sum(letter not in VERIFIED for letter in letters) / examples
        standard = letters.count(MISCLASSIFIED) / examples
    return {
        "name": name,
        "settings": changed,
        "verified": verified,
        "standard": standard,
        "split": "validation",
        "examples": examples,
        "model": one.config.model,
        "dataset": one.config.dataset,
        "seed": one.config.seed,
        "epochs": one.config.epochs,
        "minutes": sum(map(seconds_of, read_history(one.out))) / 60,
    }


def _settings(file: Path, table: Any) -> dict[str, Any]:
    """Settings with - or _ in their names, of the types that they have in a recipe."""
    if not isinstance(table, dict):
        raise ZooError(f"{file}: {FORMAT}")
    return settings(file, table)


def _slug(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


def _line(row: dict[str, Any]) -> str:
    verified = ", ".join(f"{100 * error:.2f} % at eps {eps}" for eps, error in row["verified"].items())
    return f"{row['name']}: standard {100 * row['standard']:.2f} %, verified {verified}"


if __name__ == "__main__":
    app()
