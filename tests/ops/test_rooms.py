"""Every room has a test file of its own, and every operator is held to the laws there."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

from boundgraph import ops
from boundgraph.operator import registered


def test_no_room_without_tests() -> None:
    rooms = {room.name for room in iter_modules(ops.__path__)}
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert rooms <= tested, f"write tests/ops/test_<room>.py for {', '.join(sorted(rooms - tested))}"


def test_no_operator_without_laws() -> None:
    modules = {operator.forward.__module__ for operator in registered()}
    rooms = [module.removeprefix("boundgraph.ops.") for module in modules if module.startswith("boundgraph.ops.")]
    lawless = [r for r in rooms if "check_operator(" not in Path(__file__).with_name(f"test_{r}.py").read_text()]
    assert not lawless, f"call check_operator in the tests of {', '.join(sorted(lawless))}"
