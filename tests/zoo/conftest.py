"""Where the real data sets are, if they are."""

import os
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def data_dir() -> Path:
    """Folder in torchvision's layout: $BOUNDGRAPH_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("BOUNDGRAPH_DATA", BESIDE_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set BOUNDGRAPH_DATA to a folder that holds MNIST/raw")
    return folder
