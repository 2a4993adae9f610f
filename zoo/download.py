"""`python -m zoo.download NAME --data-dir DIR`: fetch a data set, by torchvision."""

from pathlib import Path
from typing import Annotated

from zoo.data import DATASETS, FIRST_FILES
from zoo.errors import ZooError
from zoo.terminal import application, typer, user_errors

app = application()
CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}  # in torchvision.datasets


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    data_dir: Annotated[Path, typer.Option(help="Folder to download to; the same for all data sets.")],
) -> None:
    """Download a data set to where `--data-dir` of the other commands finds it. Needs the package torchvision."""
    with user_errors():
        download(name, data_dir)
    print(f"{name} is in {data_dir}")


def download(name: str, data_dir: Path) -> None:
    """Fetch a data set, unless its files are there.

    Raises:
        ZooError: (a ValueError) the name is unknown, torchvision cannot be imported, or the download failed.
    """
    if name not in CLASSES:
        detail = "ships with scikit-learn and needs no download" if name in DATASETS else "is unknown"
        raise ZooError(f"data set {name!r} {detail}; there are: {', '.join(CLASSES)}")
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError) as error:  # a build for another torch fails in all these ways
        wanted = data_dir / FIRST_FILES[name]
        raise ZooError(
            f"downloads are done by torchvision, which cannot be imported here ({error}): pip install torchvision, "
            f"or put the files in place by hand, beginning with {wanted}"
        ) from error
    try:
        for train in (True, False):
            getattr(datasets, CLASSES[name])(str(data_dir), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise ZooError(f"the download of {name} failed: {error}") from error


if __name__ == "__main__":
    app()
