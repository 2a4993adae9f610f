"""Times the backends against each other: `python -m benchmarks.run all`, then `python -m benchmarks.report`.

Every cell (network, task, backend) is a process of its own. The processes of one comparison take turns, A B C A B C,
so that a busy minute of the machine slows all of them; a ratio is that of two medians of the same round.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import boundgraph
from benchmarks import ablation, growth, work
from benchmarks.cell import BACKENDS, TASKS, VERIFIED, Cell
from benchmarks.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"

Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """rounds: turns of each process. seconds: aimed at per turn. timeout: longest wait for an answer, in seconds.
    patience: seconds that all rounds of a comparison may take; slow ones make fewer. environment: of the processes."""

    rounds: int = 7
    seconds: float = 0.5
    timeout: float = 900
    patience: float = 300
    environment: tuple[tuple[str, str], ...] = ()


class Process:
    """A cell at work. `row` is what it has told, with a note if it cannot go on."""

    def __init__(self, cell: Cell, effort: Effort) -> None:
        self.timeout, self.rounds, self.repeats = effort.timeout, [], 1  # type: tuple[float, list[float], int]
        self.row: Row = asdict(cell.filled)
        threads = {"OMP_NUM_THREADS": str(cell.threads), "MKL_NUM_THREADS": str(cell.threads)}
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cell", json.dumps(asdict(cell))],
            env={**os.environ, **threads, **dict(effort.environment), "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.row.update(self._answer())

    @property
    def works(self) -> bool:
        return "note" not in self.row

    def times(self, repeats: int) -> list[float]:
        """Seconds of so many steps; none if the process cannot go on."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{repeats}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        answer = self._answer()
        times = answer.pop("times", [])
        self.row.update(answer)
        return times

    def _answer(self) -> Row:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self.timeout)[0]:
            self.close()
            return {"note": f"no answer in {self.timeout:g} s"}
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"note": f"the process ended with status {self._process.wait()}"}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def compare(cells: Sequence[Cell], effort: Effort) -> list[Row]:
    """Time cells in turns; the ratio is to the natural one of the same network and batch, if it is among them."""
    processes = [Process(cell, effort) for cell in cells]
    try:
        total = 0.0
        for process in processes:
            if process.works and (probe := process.times(1)):
                process.repeats = max(1, min(200, int(effort.seconds / max(probe[0], 1e-6))))
                total += process.repeats * probe[0]
        for _ in range(max(1, min(effort.rounds, int(effort.patience / max(total, 1e-6))))):
            for process in processes:
                if process.works and (times := process.times(process.repeats)):
                    process.rounds.append(statistics.median(times))
    finally:
        for process in processes:
            process.close()
    natural = next((process.rounds for process in processes if process.row["backend"] == "natural"), [])
    return [_summary(process, natural) for process in processes]


def _summary(process: Process, natural: list[float]) -> Row:
    rounds, row = process.rounds, process.row
    if rounds and process.works:
        row.update(step_s=statistics.median(rounds), rounds=rounds, repeats=process.repeats)
        row["spread"] = (max(rounds) - min(rounds)) / row["step_s"]
        if len(natural) == len(rounds):
            row["ratio"] = statistics.median(own / other for own, other in zip(rounds, natural, strict=True))
    return row


def machine() -> Row:
    """Where and when the figures were taken."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"boundgraph": boundgraph.__version__, "torch": torch.__version__, "Python": platform.python_version()}
    if found := _version("auto_LiRPA"):
        versions["auto_LiRPA"] = found
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def _processor() -> str:
    try:
        return re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    """Of an installed package, or of one that is only on the path."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found = importlib.util.find_spec(package)
        text = Path(found.origin).read_text() if found is not None and found.origin is not None else ""
        return next(iter(re.findall(r"__version__ = ['\"](.*)['\"]", text)), None)


def save(path: Path, rows: Iterable[Row], settings: Row, **more: Row) -> None:
    """Write results; rows of the same cells are replaced, others kept."""
    document = load(path) if path.exists() else {"rows": []}
    new = {_identity(row): row for row in rows}
    kept = [row for row in document["rows"] if _identity(row) not in new]
    for name, facts in more.items():
        more[name] = {**document.get(name, {}), **facts}
    document.update(machine=machine(), settings=settings, **more, rows=[*kept, *new.values()])
    written(path, document)


def written(path: Path, document: dict[str, Any], rows: Sequence[Row] = ()) -> None:
    """rows: those of the document, many and short, so one a line."""
    text = json.dumps(document, indent=1)
    if rows:
        text = text.removesuffix("\n}") + ',\n "rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _identity(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("network", "task", "backend", "variant", "batch", "threads"))


def show(rows: Iterable[Row]) -> None:
    """One line per cell."""
    for row in rows:
        time_, ratio = f"{1e3 * row['step_s']:9.2f} ms" if "step_s" in row else "", f"x{row.get('ratio', 0):.2f}"
        who = f"{row['backend']} without {row['variant']}" if row["variant"] else row["backend"]
        what = f"{row['network']} {row['batch']} {row['task']}"
        typer.echo(f"{what:32} {who:46} {time_:>12} {ratio if 'ratio' in row else '':>8}  {row.get('note', '')}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Networks = Annotated[list[str], typer.Option("--network", help=f"Any of {', '.join(NETWORKS)}.")]
Tasks = Annotated[list[str], typer.Option("--task", help=f"Any of {', '.join(TASKS)}.")]
Backends = Annotated[list[str], typer.Option("--backend", help=f"Any of {', '.join(BACKENDS)}.")]
Rounds = Annotated[int, typer.Option(help="Turns of each process.")]
Seconds = Annotated[float, typer.Option(help="Time of one turn.")]
Threads = Annotated[int, typer.Option(help="CPU threads of each process.")]
Batch = Annotated[int, typer.Option(help="Examples per step; 0 for the network's own number.")]
Seed = Annotated[int, typer.Option(help="Of weights and data.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for one answer, compilation included.")]
Memory = Annotated[float, typer.Option(help="GiB that a process may take; 0 for no limit.")]
Results = Annotated[Path, typer.Option(help="Folder of the JSON files.")]

KeptMemory = Annotated[bool, typer.Option(help="Let all processes keep freed memory (glibc).")]

KEPT = (
    ("MALLOC_MMAP_THRESHOLD_", str(2**32)),
    ("MALLOC_TRIM_THRESHOLD_", str(2**33)),
    ("MALLOC_TOP_PAD_", str(2**28)),
)
"""The settings of boundgraph/memory.py, as an environment tells the C library of a process before it begins."""

SENSITIVE = ["train-ibp", "train-crown-ibp", "train-fused"]

THREADS = min(os.cpu_count() or 1, 8)


@app.command()
def steps(
    network: Networks = list(NETWORKS),  # noqa: B006 - typer reads it
    task: Tasks = list(TASKS),  # noqa: B006
    backend: Backends = list(BACKENDS),  # noqa: B006
    rounds: Rounds = 7,
    seconds: Seconds = 0.5,
    threads: Threads = THREADS,
    batch: Batch = 0,
    seed: Seed = 0,
    timeout: Timeout = 900,
    memory_gb: Memory = 0,
    kept_memory: KeptMemory = False,
    results: Results = RESULTS,
) -> None:
    """Train steps, verification and compilation, against ordinary training and auto_LiRPA."""
    _require("network", network, NETWORKS)
    _require("task", task, TASKS)
    _require("backend", backend, BACKENDS)
    settings = {"rounds": rounds, "seconds": seconds, "threads": threads, "seed": seed, "verified": VERIFIED}
    for name in network:
        least = {name: work.limits(name)}
        for one in task:
            usable = (who for who in backend if (one, who) != ("compile", "natural"))
            rows = compare(
                [Cell(name, one, who, "", batch, seed, threads, memory_gb) for who in usable],
                Effort(rounds, seconds, timeout, environment=KEPT if kept_memory else ()),
            )
            show(rows)
            save(results / f"{'kept-memory' if kept_memory else 'performance'}.json", rows, settings, limits=least)


@app.command("ablation")
def without(
    network: Networks = ["mlp", "cnn_small", "dm_medium"],  # noqa: B006
    rounds: Rounds = 7,
    seconds: Seconds = 0.5,
    threads: Threads = THREADS,
    batch: Batch = 0,
    seed: Seed = 0,
    timeout: Timeout = 900,
    results: Results = RESULTS,
) -> None:
    """CROWN-IBP train steps with one part of the compiler switched off at a time."""
    _require("network", network, NETWORKS)
    settings = {"rounds": rounds, "seconds": seconds, "threads": threads, "seed": seed}
    for name in network:
        cells = [Cell(name, "train-crown-ibp", "natural", batch=batch, seed=seed, threads=threads)]
        for variant in ("", *ablation.variants(name)):
            cells.append(Cell(name, "train-crown-ibp", "boundgraph", variant, batch, seed, threads))
        rows = compare(cells, Effort(rounds, seconds, timeout))
        show(rows)
        save(results / "ablation.json", rows, settings)


@app.command("growth")
def larger(
    axis: Annotated[list[str], typer.Option(help=f"Any of {', '.join(growth.AXES)}.")] = list(growth.AXES),  # noqa: B006
    backend: Backends = ["natural", "boundgraph", "auto_LiRPA"],  # noqa: B006
    points: Annotated[int, typer.Option(help="Sizes per axis, from the smallest; 0 for all.")] = 0,
    rounds: Rounds = 5,
    seconds: Seconds = 0.3,
    threads: Threads = THREADS,
    seed: Seed = 0,
    timeout: Timeout = 900,
    results: Results = RESULTS,
) -> None:
    """CROWN-IBP train steps of growing batches and networks: time and memory."""
    _require("axis", axis, growth.AXES)
    _require("backend", backend, BACKENDS)
    settings = {"rounds": rounds, "seconds": seconds, "threads": threads, "seed": seed}
    for point in growth.points(axis, points):
        cells = [Cell(point.network, "train-crown-ibp", who, "", point.batch, seed, threads) for who in backend]
        rows = compare(cells, Effort(rounds, seconds, timeout))
        show(rows)
        save(results / "growth.json", rows, settings)


@app.command("all")
def everything(threads: Threads = THREADS, seed: Seed = 0, results: Results = RESULTS) -> None:
    """All of it, with the settings of the stored results."""
    steps(threads=threads, seed=seed, results=results)
    steps(task=SENSITIVE, threads=threads, seed=seed, kept_memory=True, results=results)
    without(threads=threads, seed=seed, results=results)
    larger(threads=threads, seed=seed, results=results)


def _require(option: str, given: Sequence[str], known: Iterable[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise typer.BadParameter(f"unknown --{option} {', '.join(unknown)}; there are {', '.join(known)}")


if __name__ == "__main__":
    app()
