"""Where the real data sets are, if they are, and how many threads a test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

BESIDE_THE_REPOSITORY = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def data_dir() -> Path:
    """Folder in torchvision's layout: $BOUNDGRAPH_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("BOUNDGRAPH_DATA", BESIDE_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set BOUNDGRAPH_DATA to a folder that holds MNIST/raw")
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small models on a shared machine: more threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
