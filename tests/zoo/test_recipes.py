"""Recipes: every file resolves, by its name or its path, and says what the paper says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo import list as zoo_list
from zoo import recipes
from zoo.config import resolve
from zoo.recipes import read_recipe, read_toml


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_resolves(name: str) -> None:
    config = resolve({}, read_recipe(name))
    assert config.recipe == name
    assert config.directory == Path(f"runs/{name}-seed0")


def test_every_recipe_says_what_it_is_for() -> None:
    shown = CliRunner().invoke(zoo_list.app, ["--recipes"], env={"COLUMNS": "1000"}).output
    for name in recipes.names():
        assert len(recipes.summary(name)) > 20
        assert name in shown


def test_flags_override_recipes() -> None:
    config = resolve({"method": "ibp", "beta_start": 0.0, "seed": 3}, read_recipe("paper-mnist-small"))
    assert (config.method, config.eps, config.seed) == ("ibp", 0.3, 3)


def test_the_papers_schedule() -> None:
    """One natural epoch, 60 of growing radius, then the rate halves every ten epochs."""
    config = resolve({}, read_recipe("paper-mnist-small"))
    schedule = config.radius_schedule(steps_per_epoch=100)
    assert [schedule(step) for step in (100, 3100, 6100)] == [0.0, pytest.approx(0.15), 0.3]
    assert [config.learning_rate(epoch) for epoch in (0, 70, 71, 99)] == [5e-4, 5e-4, 2.5e-4, 6.25e-5]
    large = resolve({}, read_recipe("paper-mnist-dm-large-0.4"))
    assert [large.learning_rate(epoch) for epoch in (0, 129, 130, 190)] == pytest.approx([5e-4, 5e-4, 5e-5, 5e-6])
    assert (large.radii, large.kappa(0.4), large.beta(0.4)) == ([0.2, 0.3, 0.4], 0.5, 0.0)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[data]\ndataset = "mnist"\n[schedule]\nepochs = 7\nwarmup = 1\nramp = 2\n')
    config = resolve({}, read_recipe(str(path)))
    assert (config.epochs, config.directory) == (7, Path("runs/mine-seed0"))


def test_unknown_recipes_are_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no recipe 'fast': give a TOML file, or one of .*paper-mnist-small"):
        read_recipe("fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[nonsense]\nspeed = 1\n", r"has a table \[nonsense\]; there are model, data, loss, schedule"),
        ("eps = 0.1\n[loss]\neps = 0.2\n", "sets eps twice"),
        ("batch-size = 1\nbatch_size = 2\n", "sets batch_size twice"),
        ('method = ["ibp"]\n', "method must be of type str"),
    ],
)
def test_recipes_that_contradict_themselves(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_toml(path)


def test_a_recipe_may_build_on_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "paper-mnist-small"\nlr = 1e-3\n')
    config = resolve({}, read_recipe(str(path)))
    assert (config.recipe, config.lr, config.eps) == (str(path), 1e-3, 0.3)


def test_recipes_build_on_each_other_to_any_depth_wherever_they_lie(tmp_path: Path) -> None:
    for name, text in (
        ("base", 'recipe = "paper-mnist-small"\nmethod = "ibp"\neps = 0.03\n'),
        ("mid", 'recipe = "base.toml"\nlr = 1e-3\neval-eps = 0.25\n'),
        ("top", 'recipe = "../mid.toml"\nbatch-size = 32\n'),
        ("loop", 'recipe = "round.toml"\n'),
        ("round", 'recipe = "loop.toml"\n'),
    ):
        path = tmp_path / ("deep" if name == "top" else "") / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    top = str(tmp_path / "deep" / "top.toml")
    config = resolve({}, read_recipe(top))
    assert (config.recipe, config.batch_size, config.lr, config.eps) == (top, 32, 1e-3, 0.03)
    assert (config.method, config.dataset, config.radii) == ("ibp", "mnist", [0.25])
    with pytest.raises(ValueError, match=r"the recipe .*loop.toml builds on itself"):
        read_recipe(str(tmp_path / "loop.toml"))


def test_a_recipe_may_replace_the_method_of_another(tmp_path: Path) -> None:
    """What the other says to its own method alone, loss fusion, gives way."""
    (tmp_path / "own.toml").write_text('recipe = "mnist-0.4"\nmethod = "ibp"\n')
    config = resolve({}, read_recipe(str(tmp_path / "own.toml")))
    assert (config.method, config.fused, config.l1) == ("ibp", False, 1e-6)
    assert resolve({}, read_recipe("mnist-0.4")).fused


def test_a_setting_in_the_wrong_table(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[loss]\nlr = 0.1\n")
    with pytest.raises(ValueError, match=r"lr belongs into the table \[optimizer\], not \[loss\]"):
        read_toml(path)
