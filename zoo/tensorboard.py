"""Metrics of a run as TensorBoard's event files. Needs the extra `boundgraph[tensorboard]`.

`python -m zoo.tensorboard RUN_DIR ...` converts finished runs; `EventWriter` writes along with a running one.
"""

import math
import time
from pathlib import Path
from typing import Annotated, Any

from zoo.errors import ZooError
from zoo.records import figure, read_history, seconds_of

# field of a record: tag, or tag with the name of the images watched
TAGS = {
    "loss": "loss",
    "train_standard_error": "standard_error/train",
    "train_verified_error": "verified_error/train",
    "watched_standard_error": "standard_error/{watched}",
    "watched_verified_error": "verified_error/{watched}",
    "eps": "schedule/eps",
    "kappa": "schedule/kappa",
    "beta": "schedule/beta",
    "lr": "schedule/lr",
    "images_per_second": "speed/images_per_second",
}


class EventWriter:
    """Writes RUN_DIR/tensorboard, one step per epoch.

    It begins with the epochs that metrics.jsonl holds, and drops what earlier sessions of the run had written: a run
    that was killed and continues has every epoch once.

    Raises:
        ZooError: (a ValueError) the package tensorboard is not installed, or metrics.jsonl is damaged.
    """

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as missing:
            raise ZooError(
                f"event files need the package {missing.name}: pip install 'boundgraph[tensorboard]'"
            ) from missing
        metrics = run / "metrics.jsonl"
        history = read_history(run) if metrics.is_file() and metrics.stat().st_size else []
        self._run, folder = run, run / "tensorboard"
        for outdated in folder.glob("events.out.tfevents.*"):
            outdated.unlink()
        # a TensorBoard that shows the run meanwhile forgets the steps from purge_step on
        self._writer = SummaryWriter(str(folder), purge_step=0)
        ended = time.time() - sum(map(seconds_of, history))
        for record in history:
            ended += seconds_of(record)
            self._write(record, ended)
        self._writer.flush()

    def epoch(self, record: dict[str, Any]) -> None:
        """Add a finished epoch.

        Raises:
            ZooError: (a ValueError) the record lacks a figure.
        """
        self._write(record, time.time())
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, record: dict[str, Any], ended: float) -> None:
        step = int(figure(record, "epoch", self._run))
        for name, tag in TAGS.items():
            value = figure(record, name, self._run)
            if not math.isnan(value):
                self._writer.add_scalar(tag.format(watched=record.get("watched", "watched")), value, step, ended)


def write_events(run: Path) -> Path:
    """Convert the metrics of a run directory; the folder of the event files.

    Raises:
        ZooError: (a ValueError) the package tensorboard is not installed, or the run has no finished epoch.
    """
    read_history(run)  # raises where there is nothing to convert
    EventWriter(run).close()
    return run / "tensorboard"


def _command_line() -> None:
    from zoo.terminal import application, typer, user_errors  # which needs this module

    app = application()

    @app.command()
    def main(
        runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Directories that zoo.train wrote.")],
    ) -> None:
        """Write the metrics of finished runs as TensorBoard's event files, into RUN_DIR/tensorboard."""
        with user_errors():
            for run in runs:
                print(write_events(run))

    app()


if __name__ == "__main__":
    _command_line()
