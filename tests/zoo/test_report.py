"""The page of results says what the stored results say, and refuses those it would have to explain."""

import dataclasses
import json
import re
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zoo import checkpoint, commands, config, data, families, markdown, report, weights
from zoo.errors import ZooError
from zoo.models import INPUT_SHAPES, build, measure
from zoo.published import PUBLISHED, published
from zoo.train import app as train_app

ROOT = Path(__file__).parents[2]
STATISTICS = ["min", "median", "max"]
ENVIRONMENT = {"boundgraph": "0.1.0", "torch": "2.13", "machine": {"processor": "ACME", "cores": 2}, "commit": None}


def result(given: dict[str, Any], *errors: tuple[float, ...], **changes: Any) -> dict[str, Any]:
    """What a run with these settings leaves, with (eps, standard, PGD, verified) errors."""
    rows = []
    for eps, standard, pgd, verified in errors:
        kinds = {"standard": standard, "pgd": pgd, "verified": verified}
        rows.append({"eps": eps} | {kind: {"error": error} for kind, error in kinds.items()})
    settings = commands.resolved(given)
    about = {"config": dataclasses.asdict(settings), "environment": ENVIRONMENT, "seconds": 7200.0, "weights": "abc"}
    evaluation = {"examples": data.TEST_IMAGES[settings.dataset], "dtype": "float64", "evaluations": rows}
    return about | {"epochs": settings.epochs} | evaluation | changes


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    below = page.split(f"## {heading}\n")[1]
    table = below[below.index("| ") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def commands_of(page: str, heading: str) -> list[list[str]]:
    block = page.split(f"## {heading}\n")[1].split("```bash\n")[1].split("\n```")[0]
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def test_a_table_per_radius_with_published_errors_beside(tmp_path: Path) -> None:
    small = {"recipe": "paper-mnist-small", "eval_eps": "0.3,0.4"}
    write(tmp_path / "b-seed0.json", result(small, (0.3, 0.011, 0.05, 0.07), (0.4, 0.011, 0.06, 0.1234)))
    plain = {"dataset": "mnist", "method": "ibp", "seed": 5}
    write(tmp_path / "a-seed5.json", result(plain, (0.3, 0.02, 0.06, 0.08)))
    write(tmp_path / "capabilities.json", {"of": "another program"})
    page = report.page(tmp_path)
    model = commands.resolved(small).model
    parameters = f"{measure(build(model, 'mnist'), INPUT_SHAPES['mnist']).parameters:,}"
    assert rows_of(page, "MNIST, eps 0.3") == [
        ["b", f"`{model}`", parameters, "1.10", "5.00", "7.00", "120", "0"],
        ["a", "`cnn_4layer_linear_256_width_1`", "170,598", "2.00", "6.00", "8.00", "120", "5"],
    ]
    assert rows_of(page, "MNIST, eps 0.4")[0][3:] == ["1.10", "6.00", "12.34", "120", "0"]
    best = page.split("## MNIST, eps 0.4")[1]
    assert "| CROWN-IBP, Zhang et al., arXiv 1906.06316v1 | DM-Large | - | 12.96 |" in best
    assert "| DM-Large | 2.36 | 10.61 |" in best
    assert "boundgraph 0.1.0, torch 2.13, machine processor ACME, cores 2, commit unknown (2 runs)" in page


def test_commands_repeat_the_runs(tmp_path: Path) -> None:
    """Given to the command lines, they come to the very settings."""
    loop = {"recipe": "paper-mnist-small", "lr": 1e-3, "flip": True}
    for seed in (1, 0):
        write(tmp_path / f"paper-mnist-small-seed{seed}.json", result(loop | {"seed": seed}, (0.3, 0.1, 0.2, 0.3)))
    single = {"dataset": "mnist", "method": "ibp", "seed": 5, "threads": 2, "lr_milestones": "3,4"}
    write(tmp_path / "a-seed5.json", result(single, (0.3, 0.02, 0.06, 0.08), (0.1, 0.02, 0.06, 0.07)))
    page = report.page(tmp_path)
    lines = commands_of(page, "MNIST: commands")
    trained = [line[3:] for line in lines if line[:3] == ["python", "-m", "zoo.train"]]
    told = [commands.parse([word.replace("$seed", "1") for word in line]) for line in trained]
    assert all(settings.pop("data_dir") == "DATA" for settings in told)
    assert told[0].pop("out") == "runs/a-seed5"  # the name is not the usual one of such a run
    assert [commands.resolved(settings) for settings in told] == [
        commands.resolved(single),
        commands.resolved(loop | {"seed": 1}),
    ]
    assert ["for", "seed", "in", "0", "1;", "do"] in lines
    evaluated = [line[3:] for line in lines if line[:3] == ["python", "-m", "zoo.evaluate"]]
    assert evaluated == [
        ["runs/a-seed5/final.pt", "--eps", "0.3", "--eps", "0.1", "--json", "runs/a-seed5/result.json"],
        ["runs/paper-mnist-small-seed$seed/final.pt", "--json", "runs/paper-mnist-small-seed$seed/result.json"],
    ]
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith("|"))


def test_bounds_are_named_where_not_all_were_computed(tmp_path: Path) -> None:
    for seed, bounds in enumerate((["ibp", "crown-ibp zero"], ["ibp", "crown-ibp zero", "crown zero"], [])):
        content = result({"dataset": "mnist", "seed": seed}, (0.3, 0.1, 0.2, 0.3))
        content["evaluations"][0]["verified"]["by"] = dict.fromkeys(bounds, 1)
        write(tmp_path / f"a-seed{seed}.json", content)
    lines = [" ".join(line) for line in commands_of(report.page(tmp_path), "MNIST: commands")]
    json = "--json runs/a-seed{0}/result.json"
    assert [line for line in lines if "zoo.evaluate" in line] == [
        f"python -m zoo.evaluate runs/a-seed0/final.pt --method ibp --method crown-ibp {json.format(0)}",
        f"python -m zoo.evaluate runs/a-seed$seed/final.pt {json.format('$seed')}",
    ]


def test_evaluations_are_repeated_as_they_were(tmp_path: Path) -> None:
    """The radii of the run go without saying, other radii, bounds and attacks do not."""
    run = {"dataset": "mnist", "eval_eps": "0.3,0.4"}
    usual = {"steps": 40, "restarts": 4, "step_size": 4 * 0.3 / 40, "seed": 0, "leak": 0.03}
    before_leaks = {name: value for name, value in usual.items() if name != "leak"}
    stages = ["ibp", "crown-ibp zero", "crown zero"]
    for number, (radii, bounds, attack) in enumerate(
        [
            ([0.3, 0.4], stages, usual),
            ([0.4], [*stages, "crown adaptive"], {}),
            ([0.3, 0.4], ["ibp"], usual | {"steps": 7, "step_size": 4 * 0.3 / 7, "seed": 5}),
            ([0.3, 0.4], [], usual | {"step_size": 0.1}),
            ([0.3, 0.4], [], before_leaks),
        ]
    ):
        content = result(run, *((eps, 0.1, 0.2, 0.3) for eps in radii))
        content["evaluations"][0]["verified"]["by"] = dict.fromkeys(bounds, 1)
        content["evaluations"][0]["pgd"] |= attack
        write(tmp_path / f"{number}-seed0.json", content)
    lines = commands_of(report.page(tmp_path), "MNIST: commands")
    assert [line[4:-2] for line in lines if "zoo.evaluate" in line] == [
        [],
        ["--eps", "0.4", "--thorough"],
        ["--method", "ibp", "--steps", "7", "--seed", "5"],
        ["--step-size", "0.1"],
        ["--leak", "0.0"],
    ]


def test_a_run_that_began_with_trained_weights_says_so(tmp_path: Path) -> None:
    """Their minutes stand first, and the command names them."""
    errors = (0.1, 0.1, 0.2, 0.3)
    again = {"dataset": "mnist", "start_from": "mnist-0.3-best", "eps": 0.1}
    write(tmp_path / "again-seed0.json", result(again, errors, seconds=120.0))
    write(tmp_path / "digits-seed0.json", result({"start_from": "digits-0.1"}, errors, seconds=120.0))
    page = report.page(tmp_path)
    first = weights.information("mnist-0.3-best")["seconds"] / 60
    assert rows_of(page, "MNIST, eps 0.1")[0][6] == f"{markdown.minutes(first)} + {markdown.minutes(2.0)}"
    assert rows_of(page, "Digits, eps 0.1")[0][6] == f"? + {markdown.minutes(2.0)}"  # nobody measured them
    assert "where a run began with trained weights, theirs stand first." in " ".join(page.split())
    assert "--start-from digits-0.1" in " ".join(commands_of(page, "Digits: commands")[0])


def test_runs_that_began_with_weights_of_this_machine_are_not_stored(tmp_path: Path) -> None:
    run = tmp_path / "mine-seed0"
    write(run / "result.json", result({"start_from": str(tmp_path / "first")}, (0.1, 0.1, 0.2, 0.3)))
    with pytest.raises(ZooError, match="which only this machine has"), report.stored([run], tmp_path / "results"):
        pass


def test_runs_of_other_names_share_no_loop(tmp_path: Path) -> None:
    for name, seed in (("x", 0), ("y", 1)):
        write(tmp_path / f"{name}-seed{seed}.json", result({"dataset": "mnist", "seed": seed}, (0.3, 0.1, 0.2, 0.3)))
    lines = [" ".join(line) for line in commands_of(report.page(tmp_path), "MNIST: commands")]
    assert [line.split(" ")[-1] for line in lines if "zoo.train" in line] == ["runs/x-seed0", "runs/y-seed1"]


def test_runs_with_other_settings_have_commands_of_their_own(tmp_path: Path) -> None:
    for number, changes in enumerate(({"epochs": 70}, {"epochs": 80, "lr": 0.01}, {"epochs": 70, "seed": 1})):
        write(tmp_path / "made" / f"{number}-seed0.json", result({"dataset": "mnist"} | changes, (0.3, 0.1, 0.2, 0.3)))
    lines = [" ".join(line[-6:]) for line in commands_of(report.page(tmp_path), "Families: commands")]
    assert lines == ["0,1 --out runs/made -- --epochs 70", "runs/made -- --epochs 80 --lr 0.01"]
    write(
        tmp_path / "made" / "3-seed0.json", result({"dataset": "mnist", "epochs": 70, "lr": 0.1}, (0.3, 0.1, 0.2, 0.4))
    )
    with pytest.raises(ZooError, match=r"3-seed0.json has the model, method, seed and schedule of another run"):
        report.page(tmp_path)


def test_flags_are_those_of_the_command_line() -> None:
    """What `commands` writes and reads, `zoo.train` reads."""
    shown = CliRunner().invoke(train_app, ["--help"], env={"COLUMNS": "200"}).output
    known = set(re.findall(r"--[a-z0-9][a-z0-9-]*", shown))
    for name, kind in config.SETTINGS.items():
        values = (True, False) if kind is bool else (kind(1),)
        assert {commands.flags({name: value})[0] for value in values} <= known


def test_families_show_each_model_and_the_spread_and_the_command_of_the_sweep(tmp_path: Path) -> None:
    from zoo.sweep import plan

    shared = {"recipe": "paper-mnist-small", "ramp": 10}
    verified = {}
    for number, job in enumerate(plan("paper-small", shared, ["ibp", "crown-ibp"], [0], Path("runs/short"))):
        verified[job.config.model, job.config.method] = error = 0.1 + 0.003 * (7 * number % 20)
        write(tmp_path / "short" / f"{job.name}.json", result(job.given, (0.3, 0.05, 0.08, error)))
    page = report.page(tmp_path)
    table = page.split("### short: MNIST, eps 0.3, ramp 10 of 100 epochs\n")[1].strip().split("\n\n")[0]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert head[:4] == ["model", "ibp, standard", "ibp, verified", "ibp, minutes"]
    assert head[4:] == ["crown-ibp, standard", "crown-ibp, verified", "crown-ibp, minutes"]
    assert [row[0] for row in rows] == [*(f"`{name}`" for name in families.members("small", "mnist")), *STATISTICS]
    for column, method in ((2, "ibp"), (5, "crown-ibp")):
        own = [error for (_, of), error in verified.items() if of == method]
        assert [row[column] for row in rows[:-3]] == [f"{100 * error:.2f}" for error in own]
        spread = [f"{100 * of(own):.2f}" for of in (min, statistics.median, max)]
        assert [row[column] for row in rows[-3:]] == spread
    assert {(row[1], row[3], row[4]) for row in rows} == {("5.00", "120", "5.00")}
    wins = [sum(verified[name, of] <= verified[name, other] for name in families.members("small", "mnist"))
            for of, other in (("ibp", "crown-ibp"), ("crown-ibp", "ibp"))]  # fmt: skip
    assert wins[0] * wins[1] > 0
    assert f"smallest verified error, of the 10 that all methods have: ibp {wins[0]}, crown-ibp {wins[1]}.\n" in page
    (line,) = commands_of(page, "Families: commands")
    for path in (tmp_path / "short").iterdir():
        content = json.loads(path.read_text())
        content["evaluations"][0]["verified"]["by"] = {"ibp": 5, "crown-ibp zero": 3}
        path.write_text(json.dumps(content))
    page_of_part = report.page(tmp_path)
    assert "### short: MNIST, eps 0.3, ramp 10 of 100 epochs, verified by ibp and crown-ibp\n" in page_of_part
    (partly,) = commands_of(page_of_part, "Families: commands")
    assert " ".join(line).replace("--out", "--verify ibp --verify crown-ibp --out") == " ".join(partly)
    assert " ".join(line) == (
        "python -m zoo.sweep paper-small --dataset mnist --recipe paper-mnist-small --data-dir DATA --method ibp "
        "--method crown-ibp --seeds 0 --out runs/short -- --ramp 10"
    )


def test_families_of_several_seeds_and_radii_and_runs_that_are_missing(tmp_path: Path) -> None:
    for method, seed in (("ibp", 0), ("ibp", 1), ("crown-ibp", 1)):
        given = {"dataset": "digits", "method": method, "seed": seed, "model": "digits_cnn"}
        errors = (0.1, 0.05, 0.08, 0.1 + 0.1 * seed), (0.2, 0.05, 0.08, 0.3)
        write(tmp_path / "seeds" / f"cnn-{method}-seed{seed}.json", result(given, *errors))
    page = report.page(tmp_path)
    ramp, epochs = (commands.resolved({"dataset": "digits"}).ramp, commands.resolved({"dataset": "digits"}).epochs)
    assert [line for line in page.splitlines() if line.startswith("### seeds")] == [
        f"### seeds: Digits, eps {eps}, ramp {ramp} of {epochs} epochs" for eps in (0.1, 0.2)
    ]
    assert "| `digits_cnn`, seed 0 | 5.00 | 10.00 | 120 | - | - | - |" in page
    assert "| `digits_cnn`, seed 1 | 5.00 | 20.00 | 120 | 5.00 | 20.00 | 120 |" in page
    assert "| median | 5.00 | 20.00 | 120 | 5.00 | 20.00 | 120 |" in page


def test_an_ablation_is_of_images_held_out_and_says_by_which_bounds(tmp_path: Path) -> None:
    write(tmp_path / "a-seed0.json", result({"dataset": "mnist"}, (0.3, 0.02, 0.06, 0.08)))
    row = {"name": "clipped", "settings": {"activation": "ramp", "flip": False}, "verified": {"0.3": 0.1, "0.4": 0.2}}
    row |= {"standard": 0.03, "split": "validation", "epochs": 20, "minutes": 4.25}
    row |= {"examples": 5000, "model": "dm-small", "dataset": "mnist", "seed": 0}
    content = {"file": "own.toml", "bounds": ["ibp", "crown-ibp"], "dtype": "float64"}
    write(tmp_path / "ingredients.json", content | {"rows": [row, row | {"name": "other", "model": "dm-medium"}]})
    page = report.page(tmp_path)
    figures = ["`--activation ramp --no-flip`", "3.00", "10.00", "20.00", "20", "4.2"]
    assert rows_of(page, "Ablation") == [["clipped", *figures], ["other", *figures]]
    said = page.split("## Ablation")[1].replace("\n", " ")
    assert "in percent of 5,000 training images of MNIST held out" in said
    assert "`dm-small` or `dm-medium` with seed 0, and are verified by ibp and crown-ibp, in float64." in said
    assert commands_of(page, "Ablation") == [["python", "-m", "zoo.ablation", "own.toml", "--data-dir", "DATA"]]
    write(tmp_path / "ingredients.json", content | {"rows": [row | {"split": "test"}]})
    with pytest.raises(ZooError, match=r"ingredients.json has figures of test: choices are made on validation images"):
        report.page(tmp_path)
    write(tmp_path / "ingredients.json", content | {"rows": [{"name": "clipped"}]})
    with pytest.raises(ZooError, match="is not what `python -m zoo.ablation` writes: KeyError"):
        report.page(tmp_path)


def test_results_that_need_an_explanation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="there is no folder"):
        report.page(tmp_path / "missing")
    with pytest.raises(ZooError, match="has no results of runs"):
        report.page(tmp_path)
    whole = result({"dataset": "mnist"}, (0.3, 0.02, 0.06, 0.08))
    for changes, message in [
        ({"examples": 1000}, "is about 1000 examples, not the whole test set of mnist"),
        ({"dtype": "float32"}, "has certificates in float32; only those in float64 are kept"),
        ({"epochs": 14}, "is about weights after 14 of 100 epochs"),
        ({"evaluations": [None]}, "is damaged: it has None among the evaluations"),
    ]:
        write(tmp_path / "a-seed0.json", whole | changes)
        with pytest.raises(ZooError, match=message):
            report.page(tmp_path)
    write(tmp_path / "a-seed0.json", {name: value for name, value in whole.items() if name != "seconds"})
    with pytest.raises(ZooError, match=r"a-seed0.json was written by another version .*: it lacks the field 'seconds'"):
        report.page(tmp_path)


def test_results_are_stored_without_the_paths_of_the_machine(tmp_path: Path) -> None:
    run = tmp_path / "made" / "x-seed0"
    content = result({"dataset": "mnist", "data_dir": str(tmp_path), "out": str(run)}, (0.3, 0.02, 0.06, 0.08))
    flat = content | {"checkpoint": str(run / "final.pt")}
    own = tmp_path / "own.toml"
    own.write_text("lr = 0.01\n")
    flat["config"] = dataclasses.asdict(commands.resolved({"dataset": "mnist", "recipe": str(own), "out": str(run)}))
    write(run / "config.json", {"config": flat["config"], "environment": ENVIRONMENT | {"torch": "2.12"}})
    del flat["seconds"]
    write(run / "result.json", flat)
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 100, "watched_seconds": 20}) + "\n")
    results, page = tmp_path / "results", tmp_path / "results.md"
    arguments = [str(results), "--out", str(page)]
    runner = CliRunner()
    added = runner.invoke(report.app, [*arguments, "--add", str(run), "--add", str(run.parent)])
    assert added.exit_code == 0, added.output
    assert sorted(str(path.relative_to(results)) for path in results.glob("**/*.json")) == [
        "made/x-seed0.json",
        "x-seed0.json",
    ]
    for path in results.glob("**/*.json"):
        assert str(tmp_path) not in path.read_text()
        assert json.loads(path.read_text())["seconds"] == 120
    text = page.read_text()
    assert rows_of(text, "MNIST, eps 0.3")[0][0] == "x"
    assert "torch 2.12" in text
    assert "torch 2.13" not in text  # that of the evaluation
    assert str(tmp_path) not in text
    trained = next(line for line in commands_of(text, "MNIST: commands") if "zoo.train" in line)
    told = commands.resolved(commands.parse(trained[3:]))
    assert (told.lr, told.recipe) == (0.01, None)
    assert runner.invoke(report.app, [*arguments, "--check"]).exit_code == 0
    page.write_text(page.read_text().replace("8.00", "7.00"))
    stale = runner.invoke(report.app, [*arguments, "--check"])
    assert (stale.exit_code, "writes it anew" in stale.output) == (1, True)
    assert "7.00" in page.read_text()
    refused = runner.invoke(report.app, [*arguments, "--add", str(tmp_path / "nothing")])
    assert (refused.exit_code, "no result.json in" in refused.output) == (2, True)


def add(sources: list[Path], results: Path) -> str:
    with report.stored(sources, results):
        return report.page(results)


def test_a_result_that_is_refused_replaces_no_other(tmp_path: Path) -> None:
    good, results = tmp_path / "runs" / "x-seed0", tmp_path / "results"
    given = {"method": "ibp", "epochs": 3, "warmup": 0, "ramp": 0}
    settings = commands.resolved(given)
    model = checkpoint.build_model(settings)
    whole = result(given, (0.1, 0.1, 0.2, 0.3)) | {"weights": weights.digest(model)}
    write(good / "result.json", whole)
    checkpoint.save(good / "final.pt", settings, model=model.state_dict(), epoch=3)
    add([good], results)
    stored = (results / "x-seed0.json").read_text()
    for changes, message in (
        ({"examples": 5}, "is about 5 examples"),
        ({"epochs": 2}, "is about weights after 2 of 3 epochs"),
        ({"weights": "0"}, r"is about other weights than .*final.pt; evaluate that"),
        ({"evaluations": []}, "holds no evaluation"),
    ):
        write(good / "result.json", whole | {"seconds": 1.0} | changes)
        write(tmp_path / "more" / "y-seed0" / "result.json", whole)
        with pytest.raises(ZooError, match=message):
            add([tmp_path / "more" / "y-seed0", good], results)
        assert [path.read_text() for path in results.iterdir()] == [stored]
    write(tmp_path / "more" / "x-seed0" / "result.json", whole)
    write(good / "result.json", whole)
    with pytest.raises(ZooError, match=r"two results would be stored as .*x-seed0.json"):
        add([good, tmp_path / "more" / "x-seed0"], results)
    for name, lr in (("a", 0.001), ("b", 0.002)):  # what only the page finds out: two runs in one place of its table
        write(tmp_path / "twice" / f"{name}-seed0" / "result.json", result({"lr": lr}, (0.1, 0.1, 0.2, 0.3)))
    with pytest.raises(ZooError, match="has the model, method, seed and schedule of another run"):
        add([tmp_path / "twice"], results)
    add([good, good], results)  # the same run is no second one
    assert [path.name for path in results.glob("**/*.json")] == ["x-seed0.json"]


def test_the_page_says_what_is_true_of_its_runs(tmp_path: Path) -> None:
    write(tmp_path / "a-seed0.json", result({"dataset": "mnist"}, (0.3, 0.02, 0.06, 0.08)))
    page = report.page(tmp_path).replace("\n", " ")
    assert "Weights are those after the last epoch; no weights were chosen on test images." in page
    assert "`DATA` is the folder of the data sets" in page
    assert f"stored in `{tmp_path.name}/`" in page
    assert "docs/results/" not in page
    write(tmp_path / "b-seed0.json", result({"dataset": "mnist", "average": 3}, (0.3, 0.02, 0.06, 0.08)))
    best = {"dataset": "mnist", "choose": "best", "held_out": 100}
    write(tmp_path / "sweep" / "c-seed0.json", result(best, (0.3, 0.02, 0.06, 0.08)))
    page = report.page(tmp_path).replace("\n", " ")
    assert "last epoch, the average of the last epochs, or the best on training images held out; no weights" in page


def test_a_page_of_digits_needs_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = result({}, (0.1, 0.02, 0.06, 0.08))
    write(tmp_path / "kept" / "a-seed0.json", content)
    monkeypatch.chdir(tmp_path)
    for folder in (Path("kept"), tmp_path / "kept"):
        page = report.page(folder, Path("page.md"))
        assert "DATA" not in page
        assert "`python -m zoo.report kept --out page.md` writes this page" in page.replace("\n", " ")


def test_methods_with_settings_of_their_own_have_commands_of_their_own(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('dataset = "mnist"\nlr = 0.01\nfused = true\n')
    for method in ("ibp", "crown-ibp"):
        content = result({"recipe": str(recipe), "method": method, "ramp": 10}, (0.3, 0.02, 0.06, 0.08))
        write(tmp_path / "made" / f"cnn-{method}-seed0" / "result.json", content)
    add([tmp_path / "made"], tmp_path / "results")
    lines = [" ".join(line) for line in commands_of(report.page(tmp_path / "results"), "Families: commands")]
    common = "python -m zoo.sweep cnn_4layer_linear_256_width_1 --dataset mnist --data-dir DATA"
    assert lines == [
        f"{common} --method ibp --seeds 0 --out runs/made -- --ramp 10 --lr 0.01",
        f"{common} --method crown-ibp --seeds 0 --out runs/made -- --fused --ramp 10 --lr 0.01",
    ]


def test_words_of_the_page() -> None:
    assert [markdown.radius(eps) for eps in (0.1, 0.2, 0.3, 2 / 255, 8 / 255, 8.8 / 255, 1.0)] == [
        *("0.1", "0.2", "0.3", "2/255", "8/255", "0.03451", "1"),
    ]
    assert [markdown.minutes(length) for length in (0.04, 9.94, 12.6)] == ["0.0", "9.9", "13"]
    assert markdown.command(["m", "a b", "--x", "$seed", "--", "--y"]) == "python -m m 'a b' --x $seed -- --y"


def test_published_errors_are_in_percent_and_found_by_radius() -> None:
    assert [row.verified for row in published("mnist", 0.3)] == [7.46, 7.02, 6.87, 5.98]
    assert published("cifar10", 0.03137) == published("cifar10", 8 / 255) != []
    assert published("mnist", 0.35) == []
    assert all(1 < row.verified < 100 and (row.standard or 0) < row.verified for row in PUBLISHED)


def test_the_page_of_the_repository_is_that_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    results = ROOT / "docs" / "results"
    if not any(report.RUN.fullmatch(path.stem) for path in results.glob("**/*.json")):
        pytest.skip("no results of runs are stored")
    monkeypatch.chdir(ROOT)
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == report.page(Path("docs/results")), (
        "python -m zoo.report docs/results --out docs/results.md"
    )
