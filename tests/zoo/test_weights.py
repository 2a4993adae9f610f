"""Trained weights: what is shipped keeps its promises, and nothing else passes for it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo import data, weights
from zoo.checkpoint import save
from zoo.config import TrainingConfig, resolve
from zoo.models import build
from zoo.results import is_verified
from zoo.verification import MISCLASSIFIED, STAGES, Attack, verify

LIMIT = 2 * 10**6  # bytes of a file
CHECKED = 500  # test images


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small-0.1.safetensors"
    torch.manual_seed(0)
    config = resolve({"data_dir": "/somewhere", "out": "/elsewhere"})
    weights.save_weights(path, build("digits_cnn", "digits"), {"config": weights.recipe(config), "epochs": 3})
    return path


def split_of(config: TrainingConfig, request: pytest.FixtureRequest) -> data.Split:
    folder = None if config.dataset == "digits" else request.getfixturevalue("data_dir")
    return data.load(config.dataset, folder).test


@pytest.mark.parametrize("name", weights.names())
def test_shipped_weights_reach_the_verdicts_that_come_with_them(name: str, request: pytest.FixtureRequest) -> None:
    """But for those that the luck of an attack decides: between broken and undecided."""
    model, information = zoo.load(name), weights.information(name)
    test = split_of(weights.open_trained(name).config, request)
    result = information["result"]
    assert result["examples"] == len(test.labels)
    assert result["dtype"] == "float64"
    for stored in result["evaluations"]:
        eps, letters = stored["eps"], stored["verdicts"][:CHECKED]
        quick = Attack(steps=10, restarts=1, step_size=eps / 4)
        stages = [stage for stage in STAGES if stage.name in stored["verified"]["by"]]
        found = verify(model, test.first(CHECKED), eps=eps, attack=quick, stages=stages).letters
        assert [letter == MISCLASSIFIED for letter in found] == [letter == MISCLASSIFIED for letter in letters]
        assert is_verified(found) == is_verified(letters)


@pytest.mark.parametrize("name", weights.names())
def test_shipped_results_agree_with_their_verdicts(name: str) -> None:
    result = weights.information(name)["result"]
    for stored in result["evaluations"]:
        letters, total = stored["verdicts"], result["examples"]
        assert len(letters) == total
        assert stored["standard"]["errors"] == letters.count("x")
        assert stored["pgd"]["errors"] == letters.count("x") + letters.count("a")
        assert stored["verified"]["errors"] == total - sum(is_verified(letters))
        assert stored["verified"]["error"] == stored["verified"]["errors"] / total


def test_shipped_files_are_small_pairs_without_paths() -> None:
    files = sorted(path.name for path in weights.SHIPPED.iterdir())
    assert files == sorted(name + suffix for name in weights.names() for suffix in (".json", ".safetensors"))
    assert all(path.stat().st_size < LIMIT for path in weights.SHIPPED.iterdir())
    assert not any({"data_dir", "out"} & weights.information(name)["config"].keys() for name in weights.names())


def test_round_trip(saved: Path) -> None:
    torch.manual_seed(0)
    original, trained = build("digits_cnn", "digits"), weights.read_weights(saved)
    assert (trained.epochs, trained.model.training, trained.config.data_dir) == (3, False, None)
    for name, weight in original.state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], weight)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["small-0.1.json", "small-0.1.safetensors"]
    assert "where" not in saved.with_suffix(".json").read_text()


def test_rounded_weights_take_half_the_space_and_come_back_exactly(saved: Path, tmp_path: Path) -> None:
    original = weights.read_weights(saved).model
    other = weights.rounded(original)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(weight, original.state_dict()[name], rtol=2**-11, atol=2**-24)
    assert weights.digest(other) != weights.digest(original)
    path = tmp_path / "half.safetensors"
    weights.save_weights(path, other, {"config": weights.information("digits-0.1")["config"], "epochs": 3})
    assert path.stat().st_size < 0.6 * saved.stat().st_size
    again = weights.read_weights(path).model
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    assert weights.digest(again) == weights.digest(other)


def test_weights_too_large_for_half_precision_are_refused() -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1e6)
    with pytest.raises(zoo.ZooError, match="weight has numbers that are too large for half precision"):
        weights.rounded(model)


def test_digest_sees_every_number_and_name() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    assert weights.digest(first) == weights.digest(second)
    with torch.no_grad():
        second.bias[1] += 1e-6
    assert weights.digest(first) != weights.digest(second)
    assert weights.digest(first) != weights.digest(nn.Sequential(first))


def test_unknown_names_are_told_what_there_is() -> None:
    there_are = f"there are: {', '.join(weights.names())}"
    for ask in (zoo.load, weights.information):
        with pytest.raises(zoo.ZooError, match=f"no trained weights 'magic'; {there_are}"):
            ask("magic")
    with pytest.raises(zoo.ZooError, match=r"no checkpoint magic, and no weights of that name; .* names are: "):
        weights.open_trained("magic")


def test_every_way_to_name_weights(saved: Path, tmp_path: Path) -> None:
    model = weights.read_weights(saved).model
    save(tmp_path / "last.pt", resolve({}), model=model.state_dict(), epoch=7)
    sources = {str(tmp_path): 7, str(tmp_path / "last.pt"): 7, str(saved): 3}
    for source, epochs in sources.items():
        trained = weights.open_trained(source)
        assert (weights.digest(trained.model), trained.epochs) == (weights.digest(model), epochs)
        assert not trained.model.training
    shipped = weights.names()[0]
    assert weights.digest(weights.open_trained(shipped).model) == weights.information(shipped)["weights"]


def test_weights_of_another_model_or_file_are_refused(saved: Path) -> None:
    description, content = saved.with_suffix(".json"), json.loads(saved.with_suffix(".json").read_text())

    def refused(because: str) -> None:
        with pytest.raises(zoo.ZooError, match=because):
            weights.read_weights(saved)

    description.write_text(json.dumps(content | {"weights": "0"}))
    refused(r"does not hold the weights that small-0\.1\.json describes")
    description.write_text(json.dumps(content | {"config": content["config"] | {"novelty": 1}}))
    refused(r"small-0\.1\.json was written by another version of the zoo or is damaged: .*novelty")
    other = content["config"] | {"dataset": "mnist", "model": "cnn_2layer_width_1"}
    description.write_text(json.dumps(content | {"config": other}))
    refused("small-0.1.safetensors was written by another version .* its weights do not fit the model")
    for name in ("weights", "epochs", "config"):
        description.write_text(json.dumps({key: value for key, value in content.items() if key != name}))
        refused(rf"small-0\.1\.json was written by another version .* is damaged: it lacks the field '{name}'")
    description.write_text(json.dumps({"format": "another"}))
    refused(r"small-0\.1\.json does not describe weights of the zoo")
    description.unlink()
    refused(r"cannot read .*small-0\.1\.json, which says what the weights beside it are")
    description.write_text(json.dumps(content))
    saved.write_bytes(saved.read_bytes()[:100])
    refused("cannot read the weights")
    saved.unlink()
    refused("cannot read the weights")


def test_only_float32_is_written(tmp_path: Path) -> None:
    for convert in (nn.Module.half, nn.Module.double):
        with pytest.raises(zoo.ZooError, match=r"weights are stored in float32; the model is in torch\.float(16|64)"):
            weights.save_weights(tmp_path / "a.safetensors", convert(nn.Linear(2, 2)), {})
    with pytest.raises(zoo.ZooError, match=r"weights are written to NAME\.safetensors, not to .*a\.pt"):
        weights.save_weights(tmp_path / "a.pt", nn.Linear(2, 2), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_only_finite_numbers_are_written(number: float, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[1].running_var[1] = number
    with pytest.raises(zoo.ZooError, match=r"^1\.running_var of the model holds numbers that are not finite"):
        weights.save_weights(tmp_path / "a.safetensors", model, {})
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_free_of_the_machine() -> None:
    about = {"data_dir": "/d", "out": "/o", "device": "cpu", "threads": 3, "tensorboard": True}
    kept = weights.recipe(resolve({"dataset": "mnist", "recipe": "mnist-0.1", **about}))
    assert (kept["recipe"], kept.keys() & about.keys()) == ("mnist-0.1", set())
    assert weights.recipe(resolve({"recipe": "/home/someone/own.toml"}))["recipe"] is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(zoo.ZooError, match=r"need the package safetensors: pip install 'boundgraph\[zoo\]'"):
        zoo.load(weights.names()[0])
