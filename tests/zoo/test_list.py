"""The list names every model with its size and, as an estimate, the time of an epoch."""

import pytest
from typer.testing import CliRunner

import zoo
from zoo import list as listing
from zoo import weights
from zoo.estimates import EpochSeconds, Speed, epoch_seconds, measure_speed, speed_of
from zoo.models import MODELS, ModelSize


def lines_of(*options: str) -> list[str]:
    result = CliRunner().invoke(listing.app, options)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def rows_of(lines: list[str]) -> dict[tuple[str, str], list[str]]:
    rows = [line.split() for line in lines[1:]]
    return {(row[0], row[1]): row[2:] for row in rows if len(row) > 1 and row[1] in MODELS}


def test_list_shows_every_model_on_one_line() -> None:
    rows = rows_of(lines_of("--no-estimate"))
    assert set(rows) == {(name, dataset) for dataset, models in MODELS.items() for name in models}
    assert rows["cnn_2layer_width_1", "mnist"] == ["small", "0", "52,182", "1,304", "89,088"]
    assert rows["dm-large", "cifar10"] == ["-", "17,190,602", "229,888", "150,672,384"]


def test_paper_alone() -> None:
    lines = lines_of("--paper", "--no-estimate")
    assert [(dataset, name) for name, dataset in rows_of(lines)] == list(zoo.paper_models())
    rows = rows_of(lines)
    assert rows["cnn_3layer_fixed_kernel_3_width_16", "cifar10"][:2] == ["medium", "7"]
    assert rows["cnn_4layer_linear_256_width_4", "mnist"][:2] == ["medium", "0*"]
    assert lines[-1] == (
        "* cnn_3layer_fixed_kernel_3_width_1 for cifar10 is misnamed in the paper; "
        "by its layers it is cnn_3layer_fixed_kernel_3_linear_512_width_8"
    )
    assert sum(line.startswith("*") for line in lines) == 3


def test_one_data_set() -> None:
    lines = lines_of("--dataset", "digits", "--no-estimate")
    assert len(lines) == 2
    assert set(rows_of(lines)) == {("digits_cnn", "digits")}
    result = CliRunner().invoke(listing.app, ["--dataset", "svhn"])
    assert result.exit_code == 2
    assert "error: unknown data set 'svhn'; there are models for: digits, mnist" in result.output


def test_estimates_are_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "measure_speed", lambda: Speed(per_mac=1e-9, per_relu=0.0))
    lines = lines_of("--dataset", "mnist")
    assert lines[0].split()[-3:] == ["natural", "IBP", "CROWN-IBP"]
    rows = rows_of(lines)
    # 60,000 images of 89,088 and of 2,039,680 multiply-accumulates, the second with BatchNorm
    assert rows["cnn_2layer_width_1", "mnist"][-6:] == ["5.3", "s", "11", "s", "59", "s"]
    assert rows["cnn7_width_8", "mnist"][-6:] == ["122", "s", "367", "s", "1,469", "s"]
    assert any("Seconds per epoch are an estimate" in line for line in lines)


def test_epoch_seconds_count_passes() -> None:
    size, speed = ModelSize(parameters=1, relus=10, macs=1000), Speed(per_mac=2e-6, per_relu=1e-4)
    assert epoch_seconds(size, speed, images=100, batch_norm=False) == pytest.approx(EpochSeconds(0.3, 0.6, 3.3))
    assert epoch_seconds(size, speed, images=100, batch_norm=True) == pytest.approx(EpochSeconds(0.3, 0.9, 3.6))


def test_speed_follows_from_two_models() -> None:
    sizes = ModelSize(1, 10, 500), ModelSize(1, 20, 9000)
    speed = Speed(per_mac=3e-9, per_relu=5e-8)
    times = [size.macs * speed.per_mac + size.relus * speed.per_relu for size in sizes]
    assert speed_of((sizes[0], times[0]), (sizes[1], times[1])) == pytest.approx(speed)
    noise = speed_of((sizes[0], 1e-3), (sizes[1], 1e-6))
    assert noise.per_mac == 0.0
    assert noise.per_relu > 0.0


def test_speed_is_measured() -> None:
    speed = measure_speed(seconds=0.0)
    assert speed.per_mac + speed.per_relu > 0


def test_the_paper_has_no_models_for_digits() -> None:
    result = CliRunner().invoke(listing.app, ["--dataset", "digits", "--paper"])
    assert result.exit_code == 2
    assert "error: the paper has no models for digits; it has for mnist, fashion-mnist, cifar10" in result.output


def test_trained_weights_with_what_they_reach() -> None:
    lines = lines_of("--weights")
    assert [line.split(":")[0] for line in lines] == weights.names()
    assert "digits-0.1: digits, digits_cnn, verified error 12.50 % at eps 0.1" in lines
