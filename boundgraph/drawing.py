"""Graphs for people: a table in the terminal, a picture from graphviz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import fx

from passes.graphs import kind, node_arguments

_COLORS = {
    "region": "#fde2b3", "exact": "#eeeeee", "perturbed": "#ffffff", "interval": "#cfe8cf", "relaxation": "#f6cfd6",
    "form": "#cfdcf2", "bounds": "#e3d3f0", "walk": "#f2f2c8",
}  # fmt: skip


def rule_name(node: fx.Node) -> str:
    """`linear.interval` for the rule of an operator, the attribute for a weight."""
    if node.op in ("placeholder", "output", "get_attr", "call_method"):
        return str(node.target)
    module = (getattr(node.target, "__module__", None) or "").rsplit(".", 1)[-1]
    return f"{module}.{getattr(node.target, '__name__', node.target)}".lstrip("._")


def print_table(graph: fx.Graph) -> None:
    rows = [("kind", "node", "rule", "arguments")]
    for node in graph.nodes:
        what = node.op if node.op == "output" else kind(node)
        rows.append((what, node.name, rule_name(node), _arguments(node.args)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    rows.insert(1, tuple("-" * width for width in (*widths, 9)))  # type: ignore[arg-type]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip())


def _arguments(args: Any) -> str:
    return ", ".join(str(arg) for arg in args)


def draw(graph: fx.Graph, path: str) -> str:
    """Write a picture of the graph; returns the path.

    Raises:
        ImportError: the Python package or the program `dot` is missing.
    """
    try:
        import graphviz
    except ImportError as error:
        raise ImportError("drawing needs the graphviz package: pip install 'boundgraph[draw]'") from error
    picture = graphviz.Digraph(graph_attr={"rankdir": "TB", "ranksep": "0.3"}, node_attr={"fontname": "Helvetica"})
    for node in graph.nodes:
        color = _COLORS.get(kind(node), "#ffffff") if node.op != "output" else "#ffffff"
        label = node.name if node.op in ("output", "get_attr") else f"{node.name}\n{rule_name(node)}"
        picture.node(node.name, label, shape="box", style="filled,rounded", fillcolor=color, fontsize="10")
        for source in node_arguments(node.args):
            picture.edge(source.name, node.name)
    target = Path(path)
    if target.suffix == ".dot":
        target.write_text(picture.source, encoding="utf-8")
        return path
    try:
        target.write_bytes(picture.pipe(format=target.suffix.removeprefix(".") or "svg"))
    except graphviz.ExecutableNotFound as error:
        raise ImportError(
            "drawing needs the program `dot` of Graphviz on the PATH (e.g. apt install graphviz)"
        ) from error
    return path
