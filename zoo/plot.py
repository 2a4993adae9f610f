"""`python -m zoo.plot RUN_DIR ... --out FILE.png`: errors of runs against epochs. Needs `boundgraph[plots]`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from zoo.errors import ZooError
from zoo.records import figure, read_history
from zoo.terminal import application, typer, user_errors

app = application()
Option = typer.Option

PANELS = ("verified", "standard")
HEIGHT, WIDTH = 7.0, 8.0  # inches
MUTED = {"color": "0.5", "linewidth": 0.8}


@app.command()
def main(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Directories that zoo.train wrote.")],
    out: Annotated[Path, Option(help="Picture to write, such as errors.png.")] = Path("errors.png"),
) -> None:
    """Draw errors against epochs, several runs in one picture."""
    with user_errors():
        plot_runs(runs, out)
    print(out)


def plot_runs(runs: Sequence[Path], path: Path) -> None:
    """Draw verified and standard errors, in percent, of run directories against epochs, and the radius as a shade.

    Solid lines are the images watched after each epoch, always at the full radius; dotted ones the training images at
    the radius of their epoch. The suffix of the file decides on its format.

    Raises:
        ZooError: (a ValueError) no runs, a directory without finished epochs, matplotlib is not installed, or it knows
            no format with this suffix.
    """
    if not runs:
        raise ZooError("nothing to plot: give at least one run directory")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ModuleNotFoundError as missing:
        raise ZooError(f"plots need the package {missing.name}: pip install 'boundgraph[plots]'") from missing
    histories = [read_history(run) for run in runs]
    drawing = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    formats = FigureCanvasAgg(drawing).get_supported_filetypes()  # the canvas needs no screen
    if path.suffix.removeprefix(".") not in formats:
        raise ZooError(f"cannot write {path}: its suffix must be one of {', '.join(sorted(formats))}")
    axes = dict(zip(PANELS, drawing.subplots(len(PANELS), sharex=True), strict=True))
    for index, (run, history) in enumerate(zip(runs, histories, strict=True)):
        for kind, panel in axes.items():
            _curves(panel, run, history, kind, f"C{index % 10}")
    for kind, panel in axes.items():
        _shade(panel, runs, histories)
        panel.set(ylabel=f"{kind} error (%)", ylim=(0, None))
        panel.grid(visible=True, color="0.9")
    axes["standard"].set_xlabel("epoch")
    watched = "/".join(dict.fromkeys(str(history[-1].get("watched", "watched")) for history in histories))
    lines = [Line2D([], [], color=f"C{index % 10}", label=name) for index, name in enumerate(_labels(runs))]
    lines += [
        Line2D([], [], color="0.3", label=f"{watched}, at the full eps"),
        Line2D([], [], color="0.3", linestyle=":", label="training, at its eps"),
    ]
    drawing.legend(handles=lines, loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=150)


def _curves(panel: Any, run: Path, history: list[dict[str, Any]], kind: str, color: str) -> None:
    epochs = [figure(record, "epoch", run) for record in history]
    for source, style in (("watched", "-"), ("train", ":")):
        errors = [100 * figure(record, f"{source}_{kind}_error", run) for record in history]
        marker = "." if len(epochs) == 1 else None
        panel.plot(epochs, errors, style, color=color, linewidth=1.4, marker=marker)


def _shade(panel: Any, runs: Sequence[Path], histories: list[list[dict[str, Any]]]) -> None:
    """The radius of every epoch, behind the errors and on an axis of its own at the right."""
    radius = panel.twinx()
    for run, history in zip(runs, histories, strict=True):
        epochs = [figure(record, "epoch", run) for record in history]
        radii = [figure(record, "eps", run) for record in history]
        radius.fill_between(epochs, radii, color="0.5", alpha=0.12, linewidth=0)
        radius.plot(epochs, radii, **MUTED)
    radius.set_ylim(0, None)
    radius.set_ylabel("eps", color="0.5")
    radius.tick_params(colors="0.5")
    panel.set_zorder(radius.get_zorder() + 1)
    panel.patch.set_visible(False)


def _labels(runs: Sequence[Path]) -> list[str]:
    """Names of the directories, or whole paths where names repeat."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


if __name__ == "__main__":
    app()
