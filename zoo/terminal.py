"""Everything that writes to the terminal. Needs the extra `boundgraph[zoo]` and says so when it is missing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from zoo.loop import Display, Tally

__all__ = [
    "Console",
    "Table",
    "application",
    "console",
    "legend",
    "progress_over",
    "training_display",
    "typer",
    "user_errors",
]

console = Console()


def application() -> typer.Typer:
    """A command line without the frills that hide a traceback."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn an error made on purpose into one line and exit status 2; anything else is a bug and keeps its traceback."""
    try:
        yield
    except (ZooError, BoundgraphError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def legend(config: TrainingConfig) -> str:
    """What the lines of a run mean."""
    return (
        f"{config.model} on {config.dataset}, {config.method}, eps {config.eps:g}: {config.directory}\n"
        f"errors are standard / verified: training at the epoch's last eps, test always at eps {config.eps:g}"
    )


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """One finished epoch on one line of an ordinary terminal."""
    train = _errors(record["train_standard_error"], record["train_verified_error"])
    test = _errors(record["test_standard_error"], record["test_verified_error"])
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  eps {record['eps']:.4f}  loss {record['loss']:.3f}  "
        f"train {train}  test {test}  {record['images_per_second']:.0f} images/s"
    )


def _errors(standard: float, verified: float) -> str:
    return f"{100 * standard:.1f} / {100 * verified:.1f} %"


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


class LiveDisplay:
    """A bar that moves with every batch; finished epochs scroll above it."""

    def __init__(self, progress: Progress, task: TaskID, config: TrainingConfig) -> None:
        self._progress, self._task, self._epochs = progress, task, config.epochs
        self._epoch_began = time.perf_counter()

    def batch(self, epoch: int, eps: float, tally: Tally) -> None:
        speed = tally.examples / max(time.perf_counter() - self._epoch_began, 1e-9)
        status = (
            f"epoch {epoch + 1}/{self._epochs}  eps {eps:.4f}  loss {tally.loss:.3f}  "
            f"{_errors(tally.standard_error, tally.verified_error)}  {speed:.0f} images/s"
        )
        self._progress.update(self._task, advance=1, description=status)

    def epoch(self, record: dict[str, Any]) -> None:
        self._progress.console.print(epoch_line(record, self._epochs), highlight=False)
        self._epoch_began = time.perf_counter()


@contextmanager
def training_display(config: TrainingConfig, finished: int, steps_per_epoch: int) -> Iterator[Display]:
    """Live progress on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield PlainDisplay(config, finished)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console) as progress:
        total, done = config.epochs * steps_per_epoch, finished * steps_per_epoch
        task = progress.add_task("starting", total=total, completed=done)
        yield LiveDisplay(progress, task, config)


@contextmanager
def progress_over(total: int) -> Iterator["Counter"]:
    """A counter of examples, shown as a bar on a terminal and not at all elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty()) as progress:
        yield Counter(progress, total)


class Counter:
    """Counts examples through one or more named passes over the test set."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total

    def start(self, name: str) -> TaskID:
        return self._progress.add_task(name, total=self._total)

    def advance(self, task: TaskID, examples: int) -> None:
        self._progress.advance(task, examples)
