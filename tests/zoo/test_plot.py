"""Pictures of runs: what is drawn is what the metrics say, and what cannot be drawn is told."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zoo.errors import ZooError
from zoo.plot import app, plot_runs

matplotlib = pytest.importorskip("matplotlib")


def record(epoch: int, **changes: Any) -> dict[str, Any]:
    errors = {f"{who}_{kind}_error": 0.5 / epoch for who in ("train", "watched") for kind in ("standard", "verified")}
    return {"epoch": epoch, "eps": 0.1 * epoch, "watched": "validation", **errors, **changes}


def write_run(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def keep(self: Any, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_curves_are_errors_in_percent_and_the_legend_names_runs(tmp_path: Path, drawn: list[Any]) -> None:
    first = write_run(tmp_path / "a-seed0", record(1), record(2, watched_verified_error=0.2, train_verified_error=0.3))
    second = write_run(tmp_path / "b-seed0", record(1), record(2), record(3))
    plot_runs([first, second], tmp_path / "new" / "errors.png")
    assert (tmp_path / "new" / "errors.png").read_bytes().startswith(b"\x89PNG")
    verified, standard, *radii = drawn[0].axes
    assert (verified.get_ylabel(), standard.get_ylabel()) == ("verified error (%)", "standard error (%)")
    curves = [(line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata())) for line in verified.lines]
    assert curves[:2] == [("-", [1, 2], [50, 20]), (":", [1, 2], [50, 30])]
    assert [list(line.get_ydata()) for line in radii[0].lines] == [[0.1, 0.2], pytest.approx([0.1, 0.2, 0.3])]
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["a-seed0", "b-seed0", "validation, at the full eps", "training, at its eps"]


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path, drawn: list[Any]) -> None:
    runs = [write_run(tmp_path / folder / "run-seed0", record(1)) for folder in "ab"]
    plot_runs(runs, tmp_path / "errors.svg")
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()][:2] == [str(run) for run in runs]
    assert "<svg" in (tmp_path / "errors.svg").read_text()


def test_the_command_line_draws_and_tells_where(tmp_path: Path) -> None:
    run, picture = write_run(tmp_path / "run-seed0", record(1)), tmp_path / "errors.pdf"
    assert CliRunner().invoke(app, [str(run), "--out", str(picture)]).output == f"{picture}\n"
    assert picture.read_bytes().startswith(b"%PDF")
    refused = CliRunner().invoke(app, [str(tmp_path), "--out", str(picture)])
    assert (refused.exit_code, "error: no " in refused.output) == (2, True)


def test_what_cannot_be_drawn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run-seed0", record(1))
    empty = write_run(tmp_path / "empty-seed0")
    partial = write_run(tmp_path / "partial-seed0", {"epoch": 1})
    for runs, path, message in [
        ([], "a.png", "nothing to plot: give at least one run directory"),
        ([tmp_path], "a.png", "no .*metrics.jsonl: give a directory that `python -m zoo.train` wrote"),
        ([empty], "a.png", "metrics.jsonl has no finished epoch yet"),
        (
            [partial],
            "a.png",
            "metrics.jsonl was written by another version .*: it lacks the field 'watched_verified_error'",
        ),
        ([run], "a.docx", "cannot write .*a.docx: its suffix must be one of .*png"),
    ]:
        with pytest.raises(ZooError, match=message):
            plot_runs(runs, tmp_path / path)
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ZooError, match=r"plots need the package matplotlib.*: pip install 'boundgraph\[plots\]'"):
        plot_runs([run], tmp_path / "a.png")


def test_unknown_errors_leave_gaps(tmp_path: Path, drawn: list[Any]) -> None:
    unknown = {"train_verified_error": None}
    run = write_run(tmp_path / "a-seed0", record(1, **unknown), record(2, train_verified_error=0.25))
    none = write_run(tmp_path / "b-seed0", record(1, **unknown), record(2, **unknown))
    plot_runs([run, none], tmp_path / "errors.png")
    known = [line.get_ydata()[-1] for line in drawn[0].axes[0].lines if line.get_linestyle() == ":"]
    assert known == [25, pytest.approx(float("nan"), nan_ok=True)]
