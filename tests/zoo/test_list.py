"""The list names every model with its size."""

from typer.testing import CliRunner

from zoo import list as listing
from zoo.models import MODELS


def test_list_shows_every_model_on_one_line() -> None:
    lines = CliRunner().invoke(listing.app).output.splitlines()
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in lines[1:]}
    assert set(rows) == {(name, dataset) for dataset, builders in MODELS.items() for name in builders}
    assert rows["cnn_2layer_width_1", "mnist"] == ["52,182", "1,304", "89,088"]
