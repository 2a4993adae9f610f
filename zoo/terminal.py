"""Everything that writes to the terminal. Needs the extra `boundgraph[zoo]` and says so when it is missing."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

try:
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
    from rich.table import Table
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"the zoo's command line needs the package {missing.name}: pip install 'boundgraph[zoo]'"
    ) from missing

from boundgraph import BoundgraphError
from zoo.config import TrainingConfig
from zoo.errors import ZooError
from zoo.loop import Display
from zoo.tally import Tally

__all__ = [
    "Console",
    "Table",
    "application",
    "console",
    "legend",
    "progress_of_passes",
    "silence",
    "training_display",
    "typer",
    "user_errors",
]

console = Console()
BETWEEN_UPDATES = 0.2  # seconds: numbers are read off the device, which then waits


def application(*, headings: bool = False) -> typer.Typer:
    """A command line without the frills that hide a traceback; `headings` groups many options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.rich_markup_mode = "rich" if headings else None
    return app


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn an error made on purpose, or about a file, into one line and exit status 2.

    Anything else is a bug and keeps its traceback.
    """
    try:
        yield
    except (ZooError, BoundgraphError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: cannot read or write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from error


def legend(config: TrainingConfig) -> str:
    """What the lines of a run mean."""
    watched = "validation" if config.held_out else "test"
    return (
        f"{config.model} on {config.dataset}, {config.method}, eps {config.eps:g}: {config.directory}\n"
        f"errors are standard / verified: training at eps as it grows, {watched} always at eps {config.eps:g}"
    )


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """One finished epoch on one line of an ordinary terminal."""
    train = _errors(record["train_standard_error"], record["train_verified_error"])
    watched = _errors(record["watched_standard_error"], record["watched_verified_error"])
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  eps {record['eps']:.4f}  loss {record['loss']:.3f}  "
        f"train {train}  {record['watched']} {watched}  {record['images_per_second']:.0f} images/s"
    )


def _errors(standard: float, verified: float | None) -> str:
    """Where a loss computes no bounds on the ball there is no verified error."""
    proven = "-" if verified is None or math.isnan(verified) else f"{100 * verified:.1f}"
    return f"{100 * standard:.1f} / {proven} %"


class PlainDisplay:
    """One line per epoch, for files and pipes."""

    def __init__(self, config: TrainingConfig, finished: int) -> None:
        self._epochs, self._finished, self._started = config.epochs, finished, time.perf_counter()

    def batch(self, epoch: int, eps: float, tally: Tally) -> None:
        pass

    def epoch(self, record: dict[str, Any]) -> None:
        done = record["epoch"]
        per_epoch = (time.perf_counter() - self._started) / (done - self._finished)
        left = (self._epochs - done) * per_epoch
        print(f"{epoch_line(record, self._epochs)}  {left:.0f} s left", flush=True)


class NoDisplay:
    """Nothing, for processes beside the one that reports."""

    def batch(self, epoch: int, eps: float, tally: Tally) -> None:
        pass

    def epoch(self, record: dict[str, Any]) -> None:
        pass


def silence(_: object) -> None:
    """Print nothing."""


class LiveDisplay:
    """A bar that moves with the batches; finished epochs scroll above it."""

    def __init__(self, progress: Progress, task: TaskID, config: TrainingConfig) -> None:
        self._progress, self._task, self._epochs = progress, task, config.epochs
        self._epoch_began, self._shown, self._batches = time.perf_counter(), 0.0, 0

    def batch(self, epoch: int, eps: float, tally: Tally) -> None:
        self._batches += 1
        if time.perf_counter() - self._shown < BETWEEN_UPDATES:
            return
        self._shown = time.perf_counter()
        speed = tally.examples / max(time.perf_counter() - self._epoch_began, 1e-9)
        status = (
            f"epoch {epoch + 1}/{self._epochs}  eps {eps:.4f}  loss {tally.loss:.3f}  "
            f"{_errors(tally.standard_error, tally.verified_error)}  {speed:.0f} images/s"
        )
        self._progress.update(self._task, advance=self._batches, description=status)
        self._batches = 0

    def epoch(self, record: dict[str, Any]) -> None:
        self._progress.console.print(epoch_line(record, self._epochs), highlight=False)
        self._epoch_began = time.perf_counter()


@contextmanager
def training_display(
    config: TrainingConfig, finished: int, steps_per_epoch: int, leads: bool = True
) -> Iterator[Display]:
    """Live progress on a terminal, plain lines elsewhere; nothing from processes that do not lead."""
    if not leads:
        yield NoDisplay()
        return
    if not sys.stdout.isatty():
        yield PlainDisplay(config, finished)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console) as progress:
        total, done = config.epochs * steps_per_epoch, finished * steps_per_epoch
        task = progress.add_task("starting", total=total, completed=done)
        yield LiveDisplay(progress, task, config)


@contextmanager
def progress_of_passes() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Bars over examples on a terminal, nothing elsewhere: called with a name and a total, answers how to advance."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty()) as progress:

        def begin(name: str, total: int) -> Callable[[int], None]:
            return partial(progress.advance, progress.add_task(name, total=total))

        yield begin
