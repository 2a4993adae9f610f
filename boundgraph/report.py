"""What bounds each value of a model: which rules, and how exact they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

from torch import fx

from boundgraph.locations import layer_path, user_line
from boundgraph.operator import Operator
from boundgraph.plans import Plan
from boundgraph.scalar.activation import is_derived
from boundgraph.spelling import written
from boundgraph.tightening import tighten_rows
from passes.graphs import kind, operator_of, walks_of

CONSTANTS = "two constants"


def linear_bounds(op: Operator) -> str:
    """How a walk goes through an operator."""
    if op.backward is not None:
        return "exact"
    if op.relax is None:
        return CONSTANTS
    if op.through is not None:
        return "planes"
    return "lines, derived" if is_derived(op) else "lines"


def interval_bounds(op: Operator) -> str:
    return "exact" if op.exact else "enclosing"


@dataclass(frozen=True)
class Row:
    """One perturbed value of the model.

    node: its name in `bounded.primal`. operator: what computes it. written: what the user wrote, which may be written
    out in several operators. interval: "exact", the range over the box of its operands, or "enclosing". tightened:
    whether a walk of its own improves the interval. linear: what a walk meets there: "exact", the adjoint of a linear
    operator; "lines", for each element one below and one above, "derived" from the formula of the function; "planes",
    linear functions of several elements; "two constants", where the walk ends; or "no walk". layer, line: where it
    comes from.
    """

    node: str
    operator: str
    written: str
    interval: str
    tightened: bool
    linear: str
    layer: str | None
    line: str | None
    direct: bool  # whether the operator is what was written, not a part of it

    @property
    def where(self) -> str:
        layer = [f"layer {self.layer}"] if self.layer else []
        return ", ".join([*layer, *([_short(self.line)] if self.line else [])])


@dataclass(frozen=True, repr=False)
class Report:
    """Every perturbed value of a model and what bounds it, in order; `print(report)` shows a table.

    An interval that is exact is so for one operator over the box of its operands: a network of them has looser ones.
    """

    method: str
    rows: tuple[Row, ...]

    @property
    def constants(self) -> tuple[Row, ...]:
        """The values that a walk can bound by two constants at best, because their operator has no linear bounds."""
        return tuple(row for row in self.rows if row.linear == CONSTANTS)

    @property
    def written_out(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What was written, and the operators that take its place, for each call that is no operator itself."""
        groups = groupby((row for row in self.rows if not row.direct), lambda row: (row.written, row.layer, row.line))
        return tuple((key[0], tuple(row.operator for row in rows)) for key, rows in groups)

    def __repr__(self) -> str:
        return f"Report({len(self.rows)} values, {len(self.constants)} bounded by constants alone)"

    def __str__(self) -> str:
        return "\n".join((*self._table(), "", *self._remarks()))

    def _table(self) -> Iterator[str]:
        rows: list[tuple[str, ...]] = [("node", "operator", "written as", "interval", "linear bounds", "where")]
        for row in self.rows:
            interval = f"{row.interval}, walked" if row.tightened else row.interval
            rows.append((row.node, row.operator, row.written, interval, row.linear, row.where))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rows.insert(1, tuple("-" * width for width in (*widths, len("where"))))
        for cells in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(cells, (*widths, 0), strict=True)).rstrip()

    def _remarks(self) -> Iterator[str]:
        for call, operators in dict.fromkeys(self.written_out):
            yield f"{call} is computed by: {', '.join(operators)}"
        for row in self.constants:
            yield f"{row.node} ({row.operator}) has no linear bounds: a walk ends there at its interval"
        if not self._walked:
            yield f"{self.method}: intervals alone, no walk"
        elif not self.constants:
            yield f"{self.method}: no value is bounded by constants alone"

    @property
    def _walked(self) -> bool:
        return any(row.linear != "no walk" for row in self.rows)


def of(plan: Plan, method: str) -> Report:
    """What bounds the values of the model in a plan."""
    graphs = (plan.graph, *(walk.graph for walk in walks_of(plan.module).values()))
    walked = any(kind(node) == "form" for graph in graphs for node in graph.nodes)
    tightened = {node.meta["of"] for node in plan.graph.nodes if node.target is tighten_rows}
    nodes = [node for node in plan.primal.graph.nodes if kind(node) == "perturbed" and node.op != "output"]
    return Report(method, tuple(_row(node, walked, node.name in tightened) for node in nodes))


def _row(node: fx.Node, walked: bool, tightened: bool) -> Row:
    op = operator_of(node)
    assert op is not None  # mark_perturbed has made sure
    call = node.meta.get("spelling", op.name)
    return Row(
        node=node.name,
        operator=op.name,
        written=call,
        interval=interval_bounds(op),
        tightened=tightened,
        linear=linear_bounds(op) if walked else "no walk",
        layer=layer_path(node),
        line=user_line(node),
        direct=call == op.name or call in map(written, op.adapters),
    )


def _short(line: str) -> str:
    """`model.py:31 (return x + y)` of `folder/model.py:31 (return x + y)`."""
    place, _, code = line.partition(" (")
    return f"{PurePath(place).name} ({code}"
