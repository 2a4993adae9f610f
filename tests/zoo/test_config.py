"""Settings: where they come from, which make no sense, and what each message says."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from boundgraph.training import SmoothedSchedule
from zoo.config import PRESETS, conflicts, resolve
from zoo.recipes import read_toml


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_data_set_has_complete_defaults() -> None:
    for dataset in PRESETS:
        assert resolve({"dataset": dataset}).dataset == dataset
    assert (resolve({}).dataset, resolve({}).model, resolve({}).method) == ("digits", "digits_cnn", "crown-ibp")


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    file = read_toml(write(tmp_path / "run.toml", 'dataset = "mnist"\neps = 0.2\nbatch-size = 128\nlr = 1\n'))
    config = resolve({"eps": 0.1}, file)
    assert (config.dataset, config.eps, config.batch_size, config.lr) == ("mnist", 0.1, 128, 1.0)
    assert (config.epochs, config.warmup, config.ramp) == (100, 1, 60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilon = 0.1\nlr = 0.1\nspeed = 3", "unknown settings epsilon, speed; there are: model, activation"),
        ('eps = "0.1"', "eps must be of type float, not '0.1'"),
        ("epochs = 2.5", "epochs must be of type int, not 2.5"),
        ("epochs = true", "epochs must be of type int, not True"),
        ("seed = inf", "seed must be of type int, not inf"),
        ("eps = ", "cannot read the configuration .*run.toml"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_toml(write(tmp_path / "run.toml", text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the configuration .*none\.toml"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "svhn"}, "unknown --dataset 'svhn'; there are: digits, mnist, fashion-mnist"),
        ({"model": "cnn"}, "unknown model 'cnn' for digits; there are: digits_cnn"),
        ({"method": "crown"}, "unknown --method 'crown'; there are: natural, ibp, crown-ibp, sabr"),
        ({"schedule": "cosine"}, "unknown --schedule 'cosine'; there are: linear, smoothed"),
        ({"eps": -0.1}, "--eps must not be negative, not -0.1"),
        ({"eps": float("nan")}, "--eps must be finite, not nan"),
        ({"lr": 0.0}, "--lr must be positive, not 0.0"),
        ({"batch_size": 0}, "--batch-size must be positive, not 0"),
        ({"kappa_final": 1.5}, r"--kappa-final must lie in \[0, 1\], not 1.5"),
        ({"alpha": -0.1, "method": "mtl-ibp"}, r"--alpha must lie in \[0, 1\], not -0.1"),
        ({"ratio": 0.0, "method": "sabr"}, r"--ratio must lie in \(0, 1\], not 0.0"),
        ({"method": "ibp", "fused": True}, "--fused means nothing to --method ibp"),
        ({"method": "natural", "regularizer": 0.5}, "--regularizer is about bounds; natural has none"),
        ({"method": "sabr", "precision": "bf16"}, "--precision means nothing to --method sabr"),
        ({"activation": "tanh"}, "unknown --activation 'tanh'; there are: relu, ramp"),
        ({"lr_milestones": "fifty"}, "--lr-milestones must be numbers with commas between them, not 'fifty'"),
        ({"eval_eps": "0.1,-1"}, "--eval-eps must be finite, not negative"),
        ({"average": 99}, "--average 99 is more than --epochs 80"),
        ({"choose": "best"}, "--choose best needs images to choose on: --held-out 5000"),
        ({"choose": "best", "held_out": 9, "average": 2}, "--choose best has no use"),
        ({"ceiling_from_data": True, "activation": "ramp", "warmup": 0}, "give a --warmup"),
        ({"ceiling_from_data": True, "activation": "ramp", "average": 79}, "reaches into the --warmup"),
        ({"threads": 0}, "--threads must be positive, not 0"),
        ({"epochs": 3}, r"eps would never reach 0\.1: --epochs 3 end within --warmup 2 and --ramp 40"),
        ({"method": "ibp", "beta_final": 1.0}, "--beta-final means nothing to --method ibp"),
        ({"method": "sabr", "kappa_start": 0.3}, "--kappa-start means nothing to --method sabr"),
        ({"method": "ibp", "attack_steps": 9}, "--attack-steps means nothing to --method ibp"),
        ({"ceiling": 2.0}, "--ceiling is for --activation ramp; relu has none"),
        ({"ceiling_from_data": True}, "--ceiling-from-data is for --activation ramp; relu has no ceilings"),
        ({"lr": float("inf")}, "--lr must be finite, not inf"),
        ({"eval_eps": "inf"}, "--eval-eps must be finite, not negative, not 'inf'"),
        ({"choose": "best", "held_out": 9, "warmup": 40, "ramp": 40}, "--warmup and --ramp leave none"),
        (
            {"warmup": 3, "ramp": 0, "epochs": 3, "method": "ibp"},
            "eps would never reach 0.1: --epochs 3 end within --warmup 3",
        ),
        ({"seed": 2**32}, r"--seed must be less than 2\*\*32, not 4294967296"),
        ({"padding": 8}, "--padding 8 shifts images of 8 pixels out of sight"),
        ({"eval_eps": ","}, "--eval-eps must be numbers with commas between them, not ','"),
        ({"out": ""}, "--out must name a folder"),
        ({"start_from": ""}, "--start-from must name a run, a checkpoint or weights of the zoo"),
        (
            {"ceiling_from_data": True, "activation": "ramp", "start_from": "runs/first"},
            "--ceiling-from-data sets ceilings that --start-from brings along",
        ),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(given)


def test_directory_names_the_run() -> None:
    assert resolve({}).directory == Path("runs/digits-digits_cnn-crown-ibp-eps0.1-seed0")
    assert resolve({"out": "here"}).directory == Path("here")


def test_weights_follow_the_radius() -> None:
    config = resolve({"eps": 0.4, "kappa_final": 0.5})
    assert (config.kappa(0.0), config.beta(0.0)) == (1.0, 1.0)
    assert (config.kappa(0.2), config.beta(0.2)) == (0.75, 0.5)
    assert (config.kappa(0.4), config.beta(0.4)) == (0.5, 0.0)
    assert resolve({"method": "ibp"}).beta(0.0) == 0.0


def test_radius_is_zero_in_the_warmup_and_full_after_the_ramp() -> None:
    schedule = resolve({"warmup": 2, "ramp": 4, "epochs": 6, "eps": 0.2}).radius_schedule(steps_per_epoch=10)
    assert (schedule(20), schedule(60)) == (0.0, 0.2)
    assert 0 < schedule(21) < schedule(59) < 0.2
    assert isinstance(resolve({"schedule": "smoothed"}).radius_schedule(10), SmoothedSchedule)


def test_learning_rate_falls_only_after_the_ramp() -> None:
    config = resolve({"dataset": "mnist"})
    rates = {epoch: config.learning_rate(epoch) for epoch in (0, 61, 70, 71, 80, 81, 99)}
    assert rates == {0: 5e-4, 61: 5e-4, 70: 5e-4, 71: 2.5e-4, 80: 2.5e-4, 81: 1.25e-4, 99: 6.25e-5}


def test_learning_rate_falls_at_milestones_where_they_are_given() -> None:
    config = resolve({"lr": 1.0, "lr_decay_factor": 0.5, "lr_milestones": "3, 5"})
    assert [config.learning_rate(epoch) for epoch in range(7)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_lists_in_files_are_what_flags_write_with_commas(tmp_path: Path) -> None:
    file = read_toml(write(tmp_path / "run.toml", "[evaluation]\neval_eps = [0.3, 0.4]\n"))
    assert resolve({}, file).radii == [0.3, 0.4]
    assert resolve({"eps": 0.2}).radii == [0.2]


def test_only_settings_that_change_the_training_conflict() -> None:
    config = resolve({})
    harmless = dataclasses.replace(config, epochs=99, threads=2, out="elsewhere", data_dir="data")
    assert conflicts(config, harmless) == []
    assert conflicts(config, dataclasses.replace(config, eps=0.2, seed=3)) == ["--eps 0.2, not 0.1", "--seed 3, not 0"]
