"""Full CROWN: every pre-activation gets its own backward walk, so that relaxations rest on tighter intervals."""

from __future__ import annotations

from typing import Any

from torch import fx

from boundgraph import regions
from boundgraph.tightening import Rows, tighten_rows
from passes.crown import Walk, relaxation
from passes.graphs import (
    add_input,
    ancestors,
    copy_into,
    emit,
    has_examples,
    has_relaxation,
    is_nonlinear,
    kind,
    node_arguments,
    operator_of,
    rebuilt,
    request_of,
)


def preactivations(
    module: fx.GraphModule, *, slope: str = "adaptive", memory_budget: int | None = None
) -> fx.GraphModule:
    """Bound the operands of non-linear nodes by a CROWN walk each, in chunks of rows that fit into the memory budget.

    Before: a graph of intervals.
    After:  each operand `p` of a non-linear node has a node `p_tightened`, the intersection of its interval with the
            bounds of a nested walk graph, run for the rows whose neurons are unstable; later nodes read that instead.
    """
    return _tighten(module, slope, memory_budget, through_relaxations=True)


def first_layer(module: fx.GraphModule) -> fx.GraphModule:
    """Bound what is linear in an l_p ball by the ball's own dual norm, instead of by its box.

    Before: a graph of intervals.
    After:  if some region is a ball other than a box, operands of non-linear nodes that depend on regions through
            linear operators alone have exact bounds; otherwise the same graph.
    """
    if not request_of(module).balls:
        return module
    return _tighten(module, "adaptive", None, through_relaxations=False)


def _tighten(module: fx.GraphModule, slope: str, memory: int | None, through_relaxations: bool) -> fx.GraphModule:
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    relaxations: dict[fx.Node, fx.Node] = {}
    finished: set[fx.Node] = set()
    walks: dict[str, fx.GraphModule] = {}
    for node in module.graph.nodes:
        relaxed = kind(node) == "interval" and is_nonlinear(node)
        for operand in _operands(node) if relaxed else ():
            current = copies[operand]
            body = _intervals_up_to(current)
            if current in finished or not _worth_a_walk(body, request_of(module).balls, through_relaxations):
                continue
            copies[operand] = _emit_tightened(module, graph, body, node, copies, relaxations, walks, memory)
            finished.add(copies[operand])
        copied = copy_into(graph, node, copies)
        if relaxed and through_relaxations and has_relaxation(copied):
            relaxations[copied] = relaxation(graph, copied, slope)
    return rebuilt(module, graph, walks)


def _operands(node: fx.Node) -> list[fx.Node]:
    return [source for source in node_arguments(node.args) if kind(source) == "interval"]


def _intervals_up_to(operand: fx.Node) -> list[fx.Node]:
    """The intervals that the operand depends on and, last, the operand itself."""
    above = ancestors(operand)
    return [n for n in operand.graph.nodes if kind(n) == "interval" and (n in above or n is operand)]


def _worth_a_walk(body: list[fx.Node], balls: bool, through_relaxations: bool) -> bool:
    """Whether a walk can improve on the interval: not on an input, nor after one affine layer of a box."""
    layers = [n for n in body if n.target is not regions.interval]
    if all((op := operator_of(n)) is not None and op.backward is not None for n in layers):
        return bool(layers) and (balls or len(layers) > 1)
    return through_relaxations


def _emit_tightened(
    module: fx.GraphModule,
    graph: fx.Graph,
    body: list[fx.Node],
    reader: fx.Node,
    copies: dict[fx.Node, fx.Node],
    relaxations: dict[fx.Node, fx.Node],
    walks: dict[str, fx.GraphModule],
    memory: int | None,
) -> fx.Node:
    operand = body[-1]
    name = operand.meta["of"]
    walk, each, shared = _nested_walk(module, graph, body, relaxations)
    walks[f"{name}_walk"] = walk
    held = graph.create_node("get_attr", f"{name}_walk", name=f"{name}_walk")
    held.meta["kind"] = "walk"
    op = operator_of(reader)
    assert op is not None
    mask = None
    relaxed = any(kind(outer) == "relaxation" for outer in (*each, *shared))
    if op.unstable is not None and relaxed and _reads_once(copies, operand):
        args = fx.node.map_arg(reader.args, lambda n: copies[n])
        mask = emit(graph, op.unstable, args, "exact", f"{name}_unstable", reader)
    rows = Rows(bool(each) and all(map(_takes_windows, body)), memory)
    tightened = emit(
        graph, tighten_rows, (held, operand, mask, each, shared, rows), "interval", f"{name}_tightened", operand
    )
    tightened.meta.update(of=name)
    return tightened


def _takes_windows(node: fx.Node) -> bool:
    """Whether the step of the walk at an interval goes from windows to windows."""
    if node.target in (regions.interval, tighten_rows):
        return True
    op = operator_of(node)
    return op is not None and (op.windowed or (op.backward is None and op.through is None))


def _reads_once(copies: dict[fx.Node, fx.Node], operand: fx.Node) -> bool:
    """Whether one non-linear node alone reads the operand, so that its stable neurons need no better bounds."""
    original = next(old for old, new in copies.items() if new is operand)
    return sum(kind(user) == "interval" and is_nonlinear(user) for user in original.users) == 1


def _nested_walk(
    module: fx.GraphModule, outer: fx.Graph, body: list[fx.Node], relaxations: dict[fx.Node, fx.Node]
) -> tuple[fx.GraphModule, list[fx.Node], list[fx.Node]]:
    """A graph (rows, *captured) -> how far the rows can fall below their centres, and the outer nodes it captures.

    These are, first, all that have a dimension of examples, and then the others; where that is not known, and where a
    ball belongs to all examples together, they are not told apart, and the first list is empty.
    """
    graph = fx.Graph()
    rows = add_input(graph, "rows")
    rows.meta["kind"] = "form"
    inside: dict[fx.Node, fx.Node] = {}

    def capture(node: fx.Node) -> fx.Node:
        if node not in inside:
            with graph.inserting_after(list(inside.values())[-1] if inside else rows):
                inside[node] = add_input(graph, node.name)
            inside[node].meta.update(node.meta)
        return inside[node]

    balls = request_of(module).balls
    walk = Walk(graph, outer, capture, lambda node: capture(relaxations[node]), balls)
    offsets = walk.run(body, {body[-1]: rows})
    graph.output(walk.total(offsets))
    known = {node: has_examples(node) for node in inside}
    if balls or None in known.values():
        return rebuilt(module, graph, {}), [], list(inside)
    each, shared = [n for n in inside if known[n]], [n for n in inside if not known[n]]
    for node in reversed((*each, *shared)):
        rows.append(inside[node])
    return rebuilt(module, graph, {}), each, shared
