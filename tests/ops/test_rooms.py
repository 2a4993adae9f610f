"""Every room has a test file of its own."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

import boundgraph
from boundgraph import ops
from boundgraph.operator import registered


def test_no_room_without_tests() -> None:
    rooms = {room.name for room in iter_modules(ops.__path__)}
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert rooms <= tested, f"write tests/ops/test_<room>.py for {', '.join(sorted(rooms - tested))}"


def test_no_operator_without_the_law_book() -> None:
    called = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    own = [operator for operator in registered() if operator.forward.__module__.startswith("boundgraph.ops")]
    names = {operator.forward.__module__.rsplit(".", 1)[-1]: operator for operator in own}
    missing = [room for room in names if f"boundgraph.ops.{room} import" not in called or "check_operator" not in called]
    assert boundgraph.__name__
    assert not missing
