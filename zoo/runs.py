"""Many runs one after the other, each in processes of its own, so that the end of one is not the end of all."""

import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from zoo import commands, data
from zoo.config import TrainingConfig, conflicts
from zoo.errors import ZooError
from zoo.records import figure, read_history, seconds_of
from zoo.terminal import console

BETWEEN_LOOKS = 1.0  # seconds
LOG = "log.txt"


class Job(NamedTuple):
    """A run to do: the settings it is given, and what they come to."""

    given: dict[str, Any]
    config: TrainingConfig

    @property
    def out(self) -> Path:
        return self.config.directory

    @property
    def name(self) -> str:
        return self.out.name

    @property
    def training(self) -> list[str]:
        return ["zoo.train", *commands.flags(self.given)]


class Failure(NamedTuple):
    """A run that came to nothing."""

    name: str
    why: str  # how it ended, and the last line that it wrote
    log: Path


def job(given: dict[str, Any]) -> Job:
    """A run with these settings.

    Raises:
        ZooError: (a ValueError) a setting makes no sense; names it.
    """
    return Job(given, commands.resolved(given))


def same_run(config: TrainingConfig, finished: TrainingConfig) -> bool:
    """Whether a finished run is the one asked for, wherever it lies and whatever it ran on."""
    return (
        not conflicts(config, finished)
        and config.epochs == finished.epochs
        and set(config.radii) == set(finished.radii)
    )


def require_data(jobs: Sequence[Job]) -> None:
    """Refuse, before the first begins, runs that would each find that their images are not there.

    Raises:
        ZooError: (a ValueError) as for `data.load` and `Dataset.hold_out`.
    """
    for dataset, folder, count in {(one.config.dataset, one.config.data_dir, one.config.held_out) for one in jobs}:
        data.load(dataset, folder).hold_out(count)


def unfinished(one: Job, error: ZooError) -> Literal[False]:
    """Say why a run whose files cannot be read is done again."""
    console.print(f"{one.name} counts as unfinished: {error}", highlight=False, markup=False, soft_wrap=True)
    return False


def run_all(
    jobs: Sequence[Job],
    steps: Callable[[Job], list[list[str]]],
    is_finished: Callable[[Job], bool],
) -> list[Failure]:
    """Do the jobs that are not finished: for each, the modules that `steps` names, with arguments, until one fails.

    What a job writes goes to log.txt in its directory. A signal to end is handed on to the step at work.

    Returns:
        The jobs that failed; the others go on after a failure.

    Raises:
        ZooError: (a ValueError) as for `require_data`.
    """
    failures: list[Failure] = []
    durations: dict[str, list[float]] = {}  # of the finished runs of each method, in seconds
    todo = []
    for one in jobs:
        if is_finished(one):
            with suppress(ZooError):  # without metrics the run is no less finished
                durations.setdefault(one.config.method, []).append(sum(map(seconds_of, read_history(one.out))))
        else:
            todo.append(one)
    require_data(todo)
    with _display(len(jobs), len(jobs) - len(todo)) as display, _ended_by_signals():
        for number, one in enumerate(todo):
            started = time.perf_counter()
            display.begin(one, remaining(todo[number:], durations))
            failure = _run(one, steps(one), lambda one=one: display.look(one))  # type: ignore[misc]
            if failure is None:
                durations.setdefault(one.config.method, []).append(time.perf_counter() - started)
            else:
                failures.append(failure)
            display.end(one, failure, time.perf_counter() - started, remaining(todo[number + 1 :], durations))
    return failures


def remaining(jobs: Sequence[Job], durations: dict[str, list[float]]) -> float | None:
    """Seconds the jobs will take: each the mean of the finished runs of its method, else of all; None before any."""
    everything = [seconds for known in durations.values() for seconds in known]
    if not everything:
        return None
    return sum(statistics.fmean(durations.get(one.config.method) or everything) for one in jobs)


def report_failures(failures: Sequence[Failure]) -> None:
    """Say which runs failed, and leave with status 1 if any did."""
    for failure in failures:
        print(f"failed: {failure.name}: {failure.why} ({failure.log})", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _run(one: Job, steps: list[list[str]], look: Callable[[], None]) -> Failure | None:
    one.out.mkdir(parents=True, exist_ok=True)
    path = one.out / LOG
    for step in steps:
        with path.open("ab") as log:
            log.write(f"$ python -m {' '.join(step)}\n".encode())
            log.flush()
            began = log.tell()
            status = _wait(subprocess.Popen([sys.executable, "-m", *step], stdout=log, stderr=log), look)
        if status:
            ended = f"killed by signal {-status}" if status < 0 else f"{step[0]} ended with status {status}"
            said = path.read_bytes()[began:].decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "no output")
            return Failure(one.name, f"{ended}: {last}", path)
    return None


def _wait(process: "subprocess.Popen[bytes]", look: Callable[[], None]) -> int:
    try:
        while True:
            try:
                return process.wait(BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                look()
    except BaseException:  # also Ctrl-C: nothing is left running
        process.terminate()
        process.wait()
        raise


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM becomes an exception, as Ctrl-C is one."""

    def leave(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Lines:
    """What can be followed: one line per finished run, and on a terminal a line that moves below them."""

    def __init__(self, progress: Progress, task: TaskID, total: int, done: int) -> None:
        self._progress, self._task, self._total, self._number = progress, task, total, done
        self._left: float | None = None

    def begin(self, one: Job, left: float | None) -> None:
        self._number, self._left = self._number + 1, left
        self.look(one)

    def look(self, one: Job) -> None:
        try:
            last = read_history(one.out)[-1]
            error = figure(last, "watched_verified_error", one.out)
            verified = "" if math.isnan(error) else f", verified {100 * error:.1f} %"
            at_end = last["epoch"] == one.config.epochs
            state = "after its last epoch" if at_end else f"epoch {last['epoch']}/{one.config.epochs}{verified}"
        except (ZooError, KeyError):
            state = "before its first epoch"
        text = f"[{self._number}/{self._total}] {one.name}: {state}{_left(self._left)}"
        self._progress.update(self._task, description=text)

    def end(self, one: Job, failure: Failure | None, seconds: float, left: float | None) -> None:
        outcome = "done" if failure is None else f"FAILED: {failure.why}"
        line = f"[{self._number}/{self._total}] {one.name}: {outcome}, {duration(seconds)}{_left(left)}"
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._progress.advance(self._task)


@contextmanager
def _display(total: int, done: int) -> Iterator[_Lines]:
    if done:
        console.print(f"{done} of {total} runs are finished", highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not sys.stdout.isatty()) as progress:
        yield _Lines(progress, progress.add_task("", total=total, completed=done), total, done)


def _left(seconds: float | None) -> str:
    return "" if not seconds else f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """A length of time for reading."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
