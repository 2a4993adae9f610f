"""Ablations: what a file may say, and that the test set has no part in them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from zoo import ablation, data
from zoo.errors import ZooError

ROOT = Path(__file__).parents[2]
FILE = """
settings = { held-out = 300, epochs = 3, warmup = 1, ramp = 1, eval-eps = [0.02, 0.1], fused = true }
run = [{ name = "As it is!" }, { name = "IBP alone", method = "ibp", fused = false }, { name = "wide", batch_size = 256 }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "parts.toml"
    path.write_text(text)
    return path


def test_runs_differ_in_what_the_file_says(tmp_path: Path) -> None:
    named = ablation.plan(write(tmp_path, FILE), tmp_path / "out", None)
    assert [(name, changed, one.name) for name, changed, one in named] == [
        ("As it is!", {}, "as-it-is-seed0"),
        ("IBP alone", {"method": "ibp", "fused": False}, "ibp-alone-seed0"),
        ("wide", {"batch_size": 256}, "wide-seed0"),
    ]
    configs = [one.config for _, _, one in named]
    assert [(config.method, config.fused, config.batch_size) for config in configs] == [
        ("crown-ibp", True, 64),
        ("ibp", False, 64),
        ("crown-ibp", True, 256),
    ]
    assert all((config.held_out, config.radii) == (300, [0.02, 0.1]) for config in configs)


def test_a_recipe_may_be_the_base(tmp_path: Path) -> None:
    text = 'recipe = "paper-mnist-small"\nsettings = { held-out = 5 }\n[[run]]\nname = "a"\nmethod = "ibp"\n'
    ((_, _, one),) = ablation.plan(write(tmp_path, text), tmp_path, Path("somewhere"))
    assert (one.config.dataset, one.config.method, one.config.data_dir) == ("mnist", "ibp", "somewhere")
    assert one.config.beta_start == one.config.beta_final == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run = 3", r"it needs \[\[run\]\] tables"),
        ("[[run]]\nmethod = 'ibp'", r"it needs \[\[run\]\] tables, each with a name"),
        ("settings = 3\n[[run]]\nname = 'a'", "it needs"),
        ("speed = 3\n[[run]]\nname = 'a'", "it needs"),
        ("[[run]]\nname = 'a'\nspeed = 3", "parts.toml has unknown settings speed; there are: model"),
        ("[[run]]\nname = 'a'\nepochs = 2.5", "parts.toml: epochs must be of type int, not 2.5"),
        ("recipe = 3\n[[run]]\nname = 'a'", "parts.toml: recipe must be of type str, not 3"),
        ("[settings.schedule]\nepochs = 3\n[[run]]\nname = 'a'", "parts.toml: schedule must be of type str, not {"),
        ("[[run]]\nname = 'a'\nloss = { eps = 0.1 }", "parts.toml has unknown settings loss"),
        ("[[run]]\nname = 'a'\nfused = 'yes'", "parts.toml: fused must be of type bool, not 'yes'"),
        ("[[run]]\nname = 'a'\nwarmup = 90", "parts.toml: a: eps would never reach 0.1"),
        ("[[run]]\nname = 'a'", "a holds no images out to compare on; add held-out = 5000"),
        ("[[run]", "cannot read .*parts.toml"),
        ("settings = { held-out = 20, held_out = 30 }\n[[run]]\nname = 'a'", "parts.toml sets held_out twice"),
        ("settings = { out = 'x' }\n[[run]]\nname = 'a'", "parts.toml: a: out cannot be set; --out is the folder"),
        (
            "settings = { held-out = 5 }\nrun = [{ name = 'a b' }, { name = 'A b!' }]",
            "parts.toml: A b! and a b would both write into .*a-b-seed0",
        ),
    ],
)
def test_files_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=message):
        ablation.plan(write(tmp_path, text), tmp_path, None)


@pytest.mark.slow
def test_an_ablation_of_real_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    load = data.load

    def without_test(*arguments: Any) -> data.Dataset:
        return load(*arguments)._replace(test=data.Split(torch.empty(0), torch.empty(0)))

    monkeypatch.setattr(data, "load", without_test)
    arguments = [str(write(tmp_path, FILE)), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(ablation.app, arguments)
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "out" / "ingredients.json").read_text())
    assert (stored["file"], stored["bounds"], stored["dtype"]) == ("parts.toml", ["ibp", "crown-ibp"], "float64")
    rows = stored["rows"]
    assert [row["name"] for row in rows] == ["As it is!", "IBP alone", "wide"]
    for row in rows:
        assert (row["split"], row["epochs"], row["verified"].keys()) == ("validation", 3, {"0.02", "0.1"})
        assert (row["examples"], row["model"], row["dataset"], row["seed"]) == (300, "digits_cnn", "digits", 0)
        assert 0 < row["standard"] <= row["verified"]["0.02"] <= row["verified"]["0.1"] <= 1
        assert row["standard"] * 300 == pytest.approx(round(row["standard"] * 300))
        assert row["minutes"] > 0
    # the same as what training saw on these images after its last epoch
    history = (tmp_path / "out" / "as-it-is-seed0" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(history[-1])
    assert (last["watched"], last["watched_standard_error"]) == ("validation", rows[0]["standard"])
    (tmp_path / "out" / "wide-seed0" / "final.pt").write_bytes(b"cut off")
    again = CliRunner().invoke(ablation.app, arguments)
    assert (again.exit_code, "wide-seed0 counts as unfinished: " in again.output) == (0, True)
    assert json.loads((tmp_path / "out" / "ingredients.json").read_text())["rows"][2]["verified"] == rows[2]["verified"]
    assert "3 of 3 runs are finished" in CliRunner().invoke(ablation.app, arguments).output
