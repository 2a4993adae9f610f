"""What every test module may ask for: small networks, `--refresh-golden`, one thread per process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils import backend_registration

torch.set_num_threads(1)  # pytest-xdist runs one process per core

# A stand-in accelerator for tests/test_devices.py. Autograd makes its queues, one per device, at its first backward
# pass, so it has to be known before any test runs.
if hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    backend_registration._setup_privateuseone_for_python_backend("fakegpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--refresh-golden",
        action="store_true",
        help="write the golden texts anew; read the difference before committing",
    )


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """The module `tests/networks.py`, which import mode `importlib` does not put on the path."""
    name = "boundgraph_test_networks"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("networks.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
