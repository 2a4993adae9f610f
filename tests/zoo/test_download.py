"""Downloads: what is said where there can be none. Nothing is fetched here."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from zoo import ZooError, download


def test_without_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    result = CliRunner().invoke(download.app, ["cifar10", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "error: downloads are done by torchvision, which cannot be imported here" in result.output
    assert "pip install torchvision, or put the files in place by hand" in result.output
    assert "cifar-10-batches-py/data_batch_1" in result.output


def test_other_names(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="data set 'svhn' is unknown; there are: mnist, fashion-mnist, cifar10"):
        download.download("svhn", tmp_path)
    with pytest.raises(ZooError, match="data set 'digits' ships with scikit-learn and needs no download"):
        download.download("digits", tmp_path)


def test_both_splits_are_asked_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    package.datasets = datasets
    datasets.FashionMNIST = lambda root, train, download: asked.append((root, train, download))
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    download.download("fashion-mnist", tmp_path)
    assert asked == [(str(tmp_path), True, True), (str(tmp_path), False, True)]

    def offline(root: str, train: bool, download: bool) -> None:
        raise RuntimeError("no connection")

    datasets.FashionMNIST = offline
    with pytest.raises(ZooError, match="the download of fashion-mnist failed: no connection"):
        download.download("fashion-mnist", tmp_path)
