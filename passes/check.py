"""The grammar of each stage: which kinds of values a node may read. Run after every pass."""

from __future__ import annotations

from torch import fx

from boundgraph import regions
from boundgraph.capture import reads_metadata_only
from boundgraph.errors import GraphError
from passes.graphs import kind, walks_of

# kind of a node -> kinds its arguments may have
GRAMMAR: dict[str, frozenset[str]] = {
    "region": frozenset(),
    "exact": frozenset({"exact", "interval"}),
    "perturbed": frozenset({"region", "perturbed", "exact"}),
    "interval": frozenset({"region", "interval", "exact", "walk", "relaxation"}),
    "relaxation": frozenset({"interval", "relaxation", "exact"}),
    "form": frozenset({"form", "relaxation", "interval", "exact"}),
    "bounds": frozenset({"bounds", "form", "region", "interval", "exact"}),
    "walk": frozenset(),
}


def grammar(module: fx.GraphModule, name: str, before: fx.GraphModule | None = None) -> None:
    """Check that `module`, the result of pass `name`, is well-formed; walks that it has from the stage `before` are.

    Raises:
        GraphError: names the pass, the node and what it may not read.
    """
    if not isinstance(module, fx.GraphModule):
        raise GraphError(f"pass {name} returned {type(module).__name__}; a pass returns a new GraphModule")
    try:
        module.graph.lint()
    except RuntimeError as error:
        raise GraphError(f"pass {name} made an ill-formed graph: {error}") from error
    for node in module.graph.nodes:
        if node.op == "output":
            continue
        allowed = GRAMMAR.get(kind(node))
        if allowed is None:
            raise GraphError(f"pass {name} made node `{node.name}` of unknown kind {kind(node)!r}")
        for source in node.all_input_nodes:
            if kind(source) not in allowed and not _looks_at_outside(node):
                raise GraphError(
                    f"pass {name} broke the grammar: `{node.name}` ({kind(node)}) reads `{source.name}` "
                    f"({kind(source)}), but may read only {', '.join(sorted(allowed))}"
                )
    known = set() if before is None else set(map(id, walks_of(before).values()))
    for part in walks_of(module).values():
        if id(part) not in known:
            grammar(part, name)


def _looks_at_outside(node: fx.Node) -> bool:
    """Exact nodes that read a region or perturbed value, but only its centre or its shape."""
    return node.target is regions.center or reads_metadata_only(node)
