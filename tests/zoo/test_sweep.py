"""Families of runs: who takes part, what is skipped, what a failure does, and the figures at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from typer.testing import CliRunner

import zoo
from zoo import checkpoint, commands, config, families, recipes, runs, sweep, verification, weights
from zoo.errors import ZooError
from zoo.records import Result, read_result

ROOT = Path(__file__).parents[2]
ALL = [stage.name for stage in verification.choose()]
# Stands in for zoo.train and zoo.evaluate: `fake OUT HOW` does what HOW says.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path
out, how = Path(sys.argv[1]), sys.argv[2]
print("fake", how, flush=True)
if how == "crash":
    raise SystemExit("cannot read the data\\n\\n")
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "sleep":
    (out / "pid").write_text(str(os.getpid()))
    time.sleep(60)
(out / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 100, "watched_seconds": 20}) + "\\n")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def digits(tmp_path: Path, *seeds: int, method: str = "ibp", **shared: Any) -> list[runs.Job]:
    return sweep.plan("digits_cnn", shared, [method], seeds, tmp_path / "runs")


def evaluated(job: runs.Job, standard: float, verified: float, **changes: Any) -> None:
    """Leave behind what a finished run leaves."""
    job.out.mkdir(parents=True, exist_ok=True)
    row = {"eps": job.config.eps, "standard": {"error": standard}, "verified": {"error": verified}}
    settings = vars(job.config) | changes
    model = checkpoint.build_model(job.config)
    checkpoint.save(job.out / "final.pt", job.config, model=model.state_dict(), epoch=job.config.epochs)
    whole = {"epochs": job.config.epochs, "examples": 360, "dtype": "float64", "weights": weights.digest(model)}
    whole["bounds"] = ALL
    (job.out / "result.json").write_text(json.dumps(whole | {"config": settings, "evaluations": [row]}))
    (job.out / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 100, "watched_seconds": 20}) + "\n")


@pytest.mark.parametrize(("dataset", "small"), [("mnist", 10), ("fashion-mnist", 10), ("cifar10", 9)])
def test_families_of_the_paper(dataset: str, small: int) -> None:
    first, second = (families.choose(f"paper-{family}", dataset) for family in ("small", "medium"))
    assert (len(first), len(second)) == (small, 8)
    assert [*first, *second] == [name for of, name in zoo.paper_models() if of == dataset]
    assert {families.family_of(name, dataset) for name in second} == {"medium"}
    assert families.family_of("digits_cnn", "digits") == "other"
    for name in first:
        config.resolve({"dataset": dataset, "model": name})  # raises where there is no such model


def test_models_that_make_no_family() -> None:
    assert families.choose("b, a,b", "mnist") == ["b", "a"]
    with pytest.raises(ZooError, match="unknown family 'huge'; there are: paper-small, paper-medium"):
        families.choose("paper-huge", "mnist")
    with pytest.raises(ZooError, match="the paper has no models for digits; it has for mnist"):
        families.choose("paper-small", "digits")
    with pytest.raises(ZooError, match="no models"):
        families.choose(" ,", "mnist")


def test_every_model_by_every_method_with_every_seed(tmp_path: Path) -> None:
    jobs = sweep.plan("paper-small", {"recipe": "paper-mnist-small"}, ["ibp", "crown-ibp"], [0, 1], tmp_path)
    assert len(jobs) == len({job.out for job in jobs}) == 40
    models = families.members("small", "mnist")
    assert [(job.config.model, job.config.method, job.config.seed) for job in jobs[:5]] == [
        (models[0], "ibp", 0),
        (models[0], "ibp", 1),
        (models[0], "crown-ibp", 0),
        (models[0], "crown-ibp", 1),
        (models[1], "ibp", 0),
    ]
    for job in jobs:
        assert job.training[0] == "zoo.train"
        assert commands.resolved(commands.parse(job.training[1:])) == job.config


def test_bounds_may_be_chosen(tmp_path: Path) -> None:
    (job,) = digits(tmp_path, 0)
    bounds = ["--method", "ibp", "--method", "crown-ibp"]
    assert [step[0] for step in sweep.steps(job)] == ["zoo.train", "zoo.evaluate"]
    assert "--method" not in sweep.steps(job)[1]
    assert sweep.steps(job, ["ibp", "crown-ibp"])[1][2:-2] == bounds
    result = CliRunner().invoke(sweep.app, ["digits_cnn", "--verify", "magic", "--out", str(tmp_path)])
    assert (result.exit_code, "unknown bound 'magic' to verify with; there are: ibp" in result.output) == (2, True)
    evaluated(job, 0.1, 0.2)
    assert (sweep.is_finished(job, ALL), sweep.is_finished(job, ALL[:1])) == (True, False)


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_run_is_told_by_few_flags(recipe: str) -> None:
    for changes in ({}, {"seed": 3, "ramp": 1, "flip": False}, {"method": "ibp"}):
        settings = commands.resolved({"recipe": recipe, **changes})
        told = commands.to_reproduce(settings)
        assert set(told) <= {"recipe", *changes}
        assert commands.resolved(commands.parse(commands.flags(told))) == settings


def test_a_recipe_that_has_changed_repeats_no_run(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text("lr = 0.1\n")
    settings = commands.resolved({"recipe": str(recipe), "seed": 2})
    recipe.write_text("lr = 0.2\nbatch-norm = true\n")
    with pytest.raises(ZooError, match=r"no flags for the recipe .*own.toml give --batch-norm None any more"):
        commands.to_reproduce(settings)


def test_a_method_takes_no_settings_of_another(tmp_path: Path) -> None:
    recipe = tmp_path / "fused.toml"
    recipe.write_text('method = "crown-ibp"\nfused = true\nprecision = "bf16"\nbeta-final = 1.0\n')
    settings = commands.resolved({"recipe": str(recipe), "method": "ibp", "seed": 1})
    assert (settings.fused, settings.precision, settings.beta_final, settings.seed) == (False, "float32", 0, 1)
    assert commands.resolved({"recipe": str(recipe), "method": "crown-ibp"}).beta_final == 1
    with pytest.raises(ZooError, match="unknown --method 'magic'; there are: natural"):
        commands.resolved({"recipe": str(recipe), "method": "magic"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "two"], "--epochs: invalid int value: 'two'; `python -m zoo.train --help`"),
        (["--speed", "3"], "unrecognized arguments: --speed 3"),
        (["--seed", "3"], "--seed cannot stand after --: the sweep sets it"),
        (["--warmup", "90"], "eps would never reach 0.1"),
    ],
)
def test_flags_that_no_run_takes_are_told_before_any_begins(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_run", lambda *_: pytest.fail("a run began"))
    result = CliRunner().invoke(sweep.app, ["digits_cnn", "--out", str(tmp_path), "--", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_seeds_are_whole_numbers() -> None:
    assert sweep.numbers("2, 0,2") == [2, 0]
    with pytest.raises(ZooError, match=r"--seeds must be whole numbers .*, not '0;1'"):
        sweep.numbers("0;1")


@pytest.mark.usefixtures("fake")
def test_a_failure_is_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = digits(tmp_path, 0, 1, 2)
    ways = dict(zip((job.name for job in jobs), ("crash", "kill", "work"), strict=True))
    steps = lambda job: [["fake", str(job.out), ways[job.name]], ["fake", str(job.out), "work"]]  # noqa: E731
    failures = runs.run_all(jobs, steps, lambda _: False)
    log = tmp_path / "runs" / "digits_cnn-ibp-seed0" / "log.txt"
    assert [(failure.name, failure.why) for failure in failures] == [
        ("digits_cnn-ibp-seed0", "fake ended with status 1: cannot read the data"),
        ("digits_cnn-ibp-seed1", "killed by signal 9: fake kill"),
    ]
    assert failures[0].log == log
    assert log.read_text().splitlines()[0].startswith("$ python -m fake ")
    assert log.read_text().count("$ python") == 1  # nothing is evaluated after a crash
    assert (jobs[2].out / "log.txt").read_text().count("fake work") == 2
    with pytest.raises(SystemExit) as ended:
        runs.report_failures(failures)
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "[3/3] digits_cnn-ibp-seed2: done" in output.out
    assert f"failed: digits_cnn-ibp-seed1: killed by signal 9: fake kill ({jobs[1].out / 'log.txt'})" in output.err


@pytest.mark.usefixtures("fake")
def test_finished_runs_are_skipped_and_tell_how_long_the_others_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = digits(tmp_path, 0, 1, 2)
    evaluated(jobs[0], 0.1, 0.2)
    evaluated(jobs[1], 0.1, 0.2, lr=0.5)  # of another run
    assert [sweep.is_finished(job, ALL) for job in jobs] == [True, False, False]
    assert (
        runs.run_all(jobs, lambda job: [["fake", str(job.out), "work"]], partial(sweep.is_finished, stages=ALL)) == []
    )
    output = capsys.readouterr().out
    assert "1 of 3 runs are finished" in output
    assert "[2/3] digits_cnn-ibp-seed1: done" in output
    assert "about 1 min left" in output  # the mean of two minutes and an instant
    assert not (jobs[0].out / "log.txt").exists()


def test_a_finished_run_may_lie_elsewhere(tmp_path: Path) -> None:
    (job,) = digits(tmp_path, 0)
    evaluated(job, 0.1, 0.2, data_dir="elsewhere", threads=7, device="cpu", out="x", recipe="y")
    assert sweep.is_finished(job, ALL)
    evaluated(job, 0.1, 0.2, eval_eps="0.1,0.2")
    assert not sweep.is_finished(job, ALL)


def test_a_run_counts_as_finished_when_what_it_came_to_was_evaluated_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = digits(tmp_path, 0)
    result, final = job.out / "result.json", job.out / "final.pt"
    evaluated(job, 0.1, 0.2)
    whole = json.loads(result.read_text())
    for changes in (
        {"examples": 5},
        {"dtype": "float32"},
        {"epochs": 14},
        {"weights": "those of last.pt"},
        {"evaluations": []},
        {"bounds": ALL[:1]},
        {"evaluations": [whole["evaluations"][0] | {"eps": 0.3}]},
    ):
        result.write_text(json.dumps(whole | changes))
        assert not sweep.is_finished(job, ALL), changes
    assert f"{job.name} counts as unfinished: {result} is about 5 examples" in capsys.readouterr().out
    result.write_text(json.dumps(whole))
    assert sweep.is_finished(job, ALL)
    final.unlink()
    assert not sweep.is_finished(job, ALL)


def test_runs_without_their_images_do_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_run", lambda *_: pytest.fail("a run began"))
    arguments = ["dm-small", "--dataset", "mnist", "--data-dir", str(tmp_path), "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(sweep.app, arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert str(tmp_path / "MNIST") in result.output


def test_a_damaged_result_is_told_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = digits(tmp_path, 0, 1)
    for content in ("{", "[]", "{}", json.dumps({"config": vars(first.config)})):
        evaluated(second, 0.1, 0.2)
        evaluated(first, 0.1, 0.2)
        (first.out / "result.json").write_text(content)
        assert [sweep.is_finished(job, ALL) for job in (first, second)] == [False, True]
        said = capsys.readouterr().out
        assert said.startswith(f"{first.name} counts as unfinished: ")
        assert str(first.out / "result.json") in said
        sweep.summarize([second], [first, second], "digits_cnn")
        assert "1 of 2 runs" in capsys.readouterr().out


def test_the_line_of_a_run_without_verified_errors(tmp_path: Path) -> None:
    (job,) = digits(tmp_path, 0)
    job.out.mkdir(parents=True)
    (job.out / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "watched_verified_error": None}))
    with Progress() as progress:
        task = progress.add_task("", total=1)
        runs._Lines(progress, task, 1, 0).begin(job, None)
        assert progress.tasks[0].description == f"[1/1] {job.name}: epoch 1/80"


def test_remaining_time(tmp_path: Path) -> None:
    jobs = [*digits(tmp_path, 0), *digits(tmp_path, 0, 1, method="crown-ibp")]
    assert runs.remaining(jobs, {}) is None
    assert runs.remaining(jobs, {"ibp": [10, 30]}) == 60
    assert runs.remaining(jobs, {"ibp": [10, 30], "crown-ibp": [100]}) == 220
    assert [runs.duration(seconds) for seconds in (59, 600, 7200)] == ["59 s", "10 min", "2.0 h"]


@pytest.mark.usefixtures("fake")
def test_a_sweep_that_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from zoo import runs, sweep;"
        "jobs = sweep.plan('digits_cnn', {}, ['ibp'], [0], Path(sys.argv[1]));"
        "runs.run_all(jobs, lambda job: [['fake', str(job.out), 'sleep']], lambda _: False)"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "runs")], env=environment)
    pid = tmp_path / "runs" / "digits_cnn-ibp-seed0" / "pid"
    deadline = time.monotonic() + 120
    while not pid.exists() or not pid.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_summary_of_what_is_finished(tmp_path: Path) -> None:
    arguments = ["digits_cnn", "--seeds", "0,1,2,3", "--out", str(tmp_path / "runs"), "--summary-only"]
    runner = CliRunner()
    assert "no run is finished yet" in runner.invoke(sweep.app, arguments).output
    jobs = digits(tmp_path, 0, 1, 2, 3)
    for job, standard, verified in zip(jobs, (0.01, 0.02, 0.06), (0.3, 0.1, 0.2), strict=False):
        evaluated(job, standard, verified)
    evaluated(digits(tmp_path, 0, method="crown-ibp")[0], 0.05, 0.25)
    output = runner.invoke(sweep.app, arguments).output
    assert "4 of 8 runs; errors in %, over the models and seeds that all methods have:" in output
    rows = [line.split() for line in output.splitlines() if line.startswith(("ibp", "crown-ibp"))]
    assert rows[0] == ["ibp", "standard", "0.1", "1", *4 * ["1.00"]]
    assert rows[1] == ["ibp", "verified", "0.1", "1", *4 * ["30.00"]]
    assert rows[2] == ["crown-ibp", "standard", "0.1", "1", *4 * ["5.00"]]
    output = runner.invoke(sweep.app, [*arguments, "--method", "ibp"]).output
    assert "3 of 4 runs; errors in %:" in output
    rows = [line.split() for line in output.splitlines() if line.startswith("ibp")]
    assert rows[0] == ["ibp", "standard", "0.1", "3", "1.00", "2.00", "6.00", "3.00"]
    assert rows[1] == ["ibp", "verified", "0.1", "3", "10.00", "20.00", "30.00", "20.00"]
    stored = json.loads((tmp_path / "runs" / "summary.json").read_text())
    assert {name: stored[name] for name in ("models", "dataset", "finished", "runs")} == {
        "models": "digits_cnn",
        "dataset": "digits",
        "finished": 3,
        "runs": 4,
    }
    assert stored["methods"][0]["verified"] == pytest.approx({"min": 0.1, "median": 0.2, "max": 0.3, "mean": 0.2})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"config": {}},
            "result.json was written by another version of the zoo or is damaged: it lacks the field 'evaluations'",
        ),
        ({"evaluations": [{"eps": 0.1}]}, "lacks the field 'standard'"),
        ({"evaluations": [{"eps": "x"}]}, "has 'x' as the field 'eps'"),
        (
            {"evaluations": [{"eps": 0.1, "standard": {"error": 0.2}, "verified": {"error": 0.1}}]},
            "contradicts itself at eps 0.1: standard error 0.2, PGD error 0.2 and verified error 0.1",
        ),
        (
            {"evaluations": [{"eps": 1, "standard": {"error": 0}, "verified": {"error": float("nan")}}]},
            "contradicts itself at eps 1",
        ),
    ],
)
def test_results_without_a_figure_are_told(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        _ = [evaluation.verified for evaluation in Result(Path("result.json"), content).evaluations]


def test_files_that_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="cannot read the result"):
        read_result(tmp_path / "result.json")
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(ZooError, match="is no result of `python -m zoo.evaluate --json`"):
        read_result(tmp_path / "result.json")


@pytest.mark.slow
def test_a_sweep_over_real_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    arguments = ["digits_cnn", "--method", "ibp", "--out", str(tmp_path), "--"]
    arguments += ["--epochs", "3", "--warmup", "1", "--ramp", "1", "--eval-eps", "0.05,0.1"]
    first = CliRunner().invoke(sweep.app, arguments)
    assert (first.exit_code, "1 of 1 runs" in first.output) == (0, True), first.output
    run = tmp_path / "digits_cnn-ibp-seed0"
    assert [evaluation.eps for evaluation in read_result(run / "result.json").evaluations] == [0.05, 0.1]
    written = (run / "log.txt").read_bytes()
    assert "1 of 1 runs are finished" in CliRunner().invoke(sweep.app, arguments).output
    assert (run / "log.txt").read_bytes() == written
