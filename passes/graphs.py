"""What all passes share: kinds of nodes, copying, and graph questions answered by networkx.

Every node has a kind in `node.meta["kind"]`, the type of the mathematical object it stands for:

    region      an input that ranges over a set          relaxation  lines around a non-linear function
    perturbed   a value that depends on a region         form        coefficients of rows over a node
    exact       a value that does not                    bounds      (batch, rows) numbers, or the final Bounds
    interval    element-wise bounds of a perturbed value walk        a nested graph, a CROWN walk run in chunks
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import networkx
from torch import fx, nn

from boundgraph import operator, values
from boundgraph.capture import Constants, graph_module
from boundgraph.operator import Operator
from boundgraph.ops import batch_norm
from boundgraph.structures import Structure

_PLACE = ("stack_trace", "nn_module_stack", "spelling")

Pass = Callable[[fx.GraphModule], fx.GraphModule]


class Request(NamedTuple):
    """What a plan is compiled for. Plans differ in structure only through this and the mode of the model."""

    regions: tuple[str, ...]  # names of the inputs that carry regions
    balls: bool = False  # some region is no box, so an interval alone is loose in the first layer
    spec: bool = False  # a specification is given
    sides: str = "both"
    keep_intervals: bool = False  # every interval is a result
    preactivations: bool = False  # those that non-linear functions read are results beside the bounds
    loss: bool = False  # the rows are margins, and their cross-entropy is to be bounded in their place


def request_of(module: fx.GraphModule) -> Request:
    return module.meta["request"]


def structure_of(module: fx.GraphModule) -> Structure | None:
    """How a canonical graph's model arranges the values of its output; None if it returns a tensor."""
    return module.meta.get("structure")


def walks_of(module: fx.GraphModule) -> dict[str, fx.GraphModule]:
    """The nested walk graphs by name."""
    return module.meta.get("walks", {})


def model_of(module: fx.GraphModule) -> nn.Module:
    return cast(nn.Module, module.model)


def constants_of(module: fx.GraphModule) -> Constants:
    return cast(Constants, module.constants)


def rebuilt(module: fx.GraphModule, graph: fx.Graph, walks: dict[str, fx.GraphModule] | None = None) -> fx.GraphModule:
    """A GraphModule with another graph, the same model and constants, and the same request."""
    walks = walks_of(module) if walks is None else walks
    result = graph_module(graph, model_of(module), constants_of(module), walks)
    result.meta.update(module.meta, walks=walks)
    return result


def kind(node: fx.Node) -> str:
    return node.meta.get("kind", "exact")


def operator_of(node: fx.Node) -> Operator | None:
    """The operator a primal or interval node applies."""
    return node.meta.get("operator") or operator.of(node.target)


def is_nonlinear(node: fx.Node) -> bool:
    """Whether the node applies an operator whose bounds improve with the intervals of its operands."""
    op = operator_of(node)
    return op is not None and op.backward is None


def has_relaxation(node: fx.Node) -> bool:
    """Whether the node applies an operator with a relaxation of its own."""
    op = operator_of(node)
    return op is not None and op.relax is not None


def emit(
    graph: fx.Graph, target: Callable[..., Any], args: tuple, kind: str, name: str, origin: fx.Node | None = None
) -> fx.Node:
    """Append a call; `origin` lends the new node its place in the user's code, and how it was written there."""
    node = graph.create_node("call_function", target, args, {}, name=name)
    if origin is not None:
        node.meta.update({key: origin.meta[key] for key in _PLACE if key in origin.meta})
    node.meta["kind"] = kind
    return node


def add_input(graph: fx.Graph, name: str) -> fx.Node:
    """A placeholder of a name that no input of the model has yet."""
    node = graph.placeholder(name)
    node.target = node.name
    return node


def copy_into(graph: fx.Graph, node: fx.Node, copies: dict[fx.Node, Any]) -> fx.Node:
    copies[node] = graph.node_copy(node, lambda old: copies[old])
    return copies[node]


def node_argument(node: fx.Node, index: int = 0) -> fx.Node:
    """An argument that the grammar says is a node."""
    argument = node.args[index]
    assert isinstance(argument, fx.Node)
    return argument


def node_arguments(args: Any) -> Iterator[fx.Node]:
    """The nodes among arguments, nested lists included, in order."""
    found: list[fx.Node] = []
    fx.node.map_arg(args, lambda node: found.append(node))
    return iter(found)


def mapped(args: Any, function: Callable[[fx.Node], Any]) -> Any:
    return fx.node.map_arg(args, function)


def to_networkx(graph: fx.Graph) -> networkx.DiGraph:
    """One vertex per node name, an edge for each use, with kind, operator and the user's line as attributes."""
    result = networkx.DiGraph()
    for node in graph.nodes:
        op = operator_of(node)
        result.add_node(
            node.name, kind=kind(node), op=node.op, operator=op.name if op else None, target=str(node.target)
        )
        for source in node.all_input_nodes:
            result.add_edge(source.name, node.name)
    return result


def reached_from(graph: fx.Graph, sources: Iterable[fx.Node], blocked: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """The sources and all nodes that depend on them, where dependence does not pass through blocked nodes."""
    edges = networkx.DiGraph()
    edges.add_nodes_from(graph.nodes)
    edges.add_edges_from((s, n) for n in graph.nodes if not blocked(n) for s in n.all_input_nodes)
    return {node for source in sources for node in networkx.descendants(edges, source) | {source}}


def ancestors(node: fx.Node) -> set[fx.Node]:
    """All nodes that `node` depends on."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(new)
        waiting += new
    return found


def has_examples(node: fx.Node) -> bool | None:
    """Whether the value of a node of bounds has a dimension of examples: yes, no, or None where that is not known."""
    if kind(node) != "exact" or node.target in (values.radius_of, values.center_of):
        return True
    return None if _depends_on_inputs(node) else False


def _depends_on_inputs(node: fx.Node) -> bool:
    if node.target is batch_norm.batch_scale_and_shift:  # statistics of all examples together
        return False
    return node.op == "placeholder" or any(map(_depends_on_inputs, node.all_input_nodes))
