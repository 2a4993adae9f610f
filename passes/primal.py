"""The primal graph: one registered operator per node, perturbed values marked, everything exact left as it is."""

from __future__ import annotations

import inspect
from operator import getitem
from typing import Any, cast

import torch
from torch import Tensor, fx

from boundgraph import operator, regions
from boundgraph.capture import reads_metadata_only
from boundgraph.errors import CaptureError, GraphError, UnsupportedOperatorError
from boundgraph.locations import describe
from boundgraph.operator import Operator, Refused
from boundgraph.ops import batch_norm, conv
from boundgraph.structures import NoStructureError, Structure, flattened
from boundgraph.tracing import RANDOM_METHODS
from passes.calls import Calls, spelling
from passes.graphs import (
    constants_of,
    copy_into,
    emit,
    kind,
    mapped,
    node_argument,
    node_arguments,
    operator_of,
    rebuilt,
    request_of,
)
from passes.in_place import InPlace, writes


def canonicalize(module: fx.GraphModule) -> fx.GraphModule:
    """Give every call its canonical spelling.

    Before: a captured graph in any vocabulary (functions, methods, Python operators, ATen).
    After:  each call with a registered spelling calls `operator.forward` with positional arguments; calls that do
            nothing are gone; writes in place have become values. Unknown calls stay, for values that are exact. The
            output is one value, or a tuple of values; `structure_of` says what the model makes of them.

    Raises:
        CaptureError: the model returns parts whose number is not known.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    in_place, calls = InPlace(module.graph), Calls(graph)
    for node in module.graph.nodes:
        if in_place.to_state(node):
            continue  # bounds keep no state: a counter that the model advances is not theirs to advance
        if node.op == "output":
            values, structure = _values(module, node, calls, copies)
            calls.added(graph.output(values), node).meta["structure"] = structure
            continue
        calls.copy(node, copies)
        for overwritten in in_place.overwritten(node):
            copies[overwritten] = copies[node]
    canonical = rebuilt(module, graph)
    canonical.meta["structure"] = graph.output_node().meta["structure"]
    return canonical


def _values(
    module: fx.GraphModule, node: fx.Node, calls: Calls, copies: dict[fx.Node, Any]
) -> tuple[Any, Structure | None]:
    """What the output returns. The result of a function of several results is one value in the captured graph, but not
    in the canonical one."""
    given, structure = node.args[0], node.meta.get("structure")
    try:
        sources = [given] if isinstance(given, fx.Node) else list(cast(tuple[fx.Node, ...], given))
        values = [calls.complete(copies[source], source) for source in sources]
        return flattened(values[0] if structure is None else structure.around(values))
    except (Refused, NoStructureError) as error:
        raise CaptureError(
            f"{type(module.model).__name__} returns a result whose parts have no bounds: {error}"
        ) from None


def mark_perturbed(module: fx.GraphModule) -> fx.GraphModule:
    """Find out which values a perturbation reaches.

    Before: a canonical graph, and a request that names the inputs carrying regions.
    After:  kinds `region`, `perturbed` and `exact` on every node; each perturbed node applies an operator that can
            bound the operands it gets.

    Raises:
        UnsupportedOperatorError: names every perturbed node without a rule, all in one message.
        GraphError: the output does not depend on any region.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    calls = _Marking(graph, request_of(module).regions)
    for node in module.graph.nodes:
        calls.copy(node, copies)
    problems = [p for node in graph.nodes if (p := _problem(node)) is not None]
    if problems:
        raise UnsupportedOperatorError(_unsupported_message(module, problems))
    if kind(graph.output_node()) != "perturbed":
        raise GraphError(f"the output of {type(module.model).__name__} does not depend on the perturbed input")
    return rebuilt(module, graph)


class _Marking(Calls):
    """Copies canonical calls, each with its kind; where an operator cannot bound the operands it is given, what takes
    its place there."""

    def __init__(self, graph: fx.Graph, regions: tuple[str, ...]) -> None:
        super().__init__(graph)
        self.regions = regions

    def added(self, copied: fx.Node, node: fx.Node) -> fx.Node:
        copied.meta.update(node.meta)
        self._marked(copied)
        if copied.meta["kind"] == "exact" and writes(copied):
            # sound: the memory may be that of a weight, a buffer or the caller's input, and later calls read it again
            with self.graph.inserting_before(copied):
                copy = emit(self.graph, torch.clone, copied.args[:1], "exact", f"{copied.name}_operand", origin=node)
            copied.args = (copy, *copied.args[1:])
        return copied

    def call(self, op: Operator, args: tuple, name: str, origin: fx.Node) -> Any:
        if op.otherwise is not None and not _bounds_these(op, args):
            other = operator.of(op.otherwise)
            if other is None:
                return self.expand(op.otherwise, args, {}, origin)
            return self.call(other, args, name, origin)
        return self._marked(super().call(op, args, name, origin))

    def _marked(self, node: fx.Node) -> fx.Node:
        if node.op == "placeholder" and node.name in self.regions:
            node.meta["kind"] = "region"
        else:
            perturbed = _is_bounded((node.args, node.kwargs)) and not _is_exact_anyway(node)
            node.meta["kind"] = "perturbed" if perturbed else "exact"
        return node


def _bounds_these(op: Operator, args: tuple) -> bool:
    bounded = _bounded_parameters(op, args)
    return set(bounded) <= set(op.operands) and (len(bounded) <= 1 or op.joint)


def _bounded_parameters(op: Operator, args: tuple) -> list[str]:
    return [name for name, arg in zip(_parameters(op), args, strict=False) if _is_bounded(arg)]


def _is_exact_anyway(node: fx.Node) -> bool:
    return reads_metadata_only(node) or node.target is regions.center


def _problem(node: fx.Node) -> str | None:
    """Why a node has no bounds, or None."""
    written = f"{spelling(node)} ({describe(node)})"
    if node.meta.get("random"):
        return f"{written}: {node.meta['refused']}"
    if kind(node) != "perturbed" or node.op == "output":
        return None
    op = operator_of(node)
    if op is None or "refused" in node.meta:
        return f"{written}: {node.meta.get('refused', 'no bound rule for this operator')}"
    bounded = _bounded_parameters(op, node.args)
    if not set(bounded) <= set(op.operands):
        wrong = ", ".join(sorted(set(bounded) - set(op.operands)))
        return f"{written}: {op.name} has bounds in {', '.join(op.operands)} only, but `{wrong}` is perturbed here"
    if len(bounded) > 1 and not op.joint:
        return f"{written}: {op.name} of two perturbed values has no bound rule yet"
    return None


def _parameters(op: Operator) -> list[str]:
    return list(inspect.signature(op.forward).parameters)


def _is_bounded(arg: Any) -> bool:
    return any(kind(node) in ("perturbed", "region") for node in node_arguments(arg))


def _unsupported_message(module: fx.GraphModule, problems: list[str]) -> str:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return (
        f"{type(module.model).__name__} uses {len(problems)} operator(s) that cannot be bounded:\n{lines}\n"
        "An operator can be added from your own package with boundgraph.register(Operator(...)); "
        "see boundgraph/ops/relu.py for a room to imitate."
    )


def fold_constants(module: fx.GraphModule) -> fx.GraphModule:
    """Compute once what depends on nothing but constants of the code.

    Before: exact calls on literals and traced constants.
    After:  their results, as constants. Parameters and buffers stay live: they are never folded.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        value = _constant_value(module, node, copies)
        if value is None:
            copy_into(graph, node, copies)
        elif isinstance(value, Tensor):
            copies[node] = graph.get_attr(constants_of(module).add(value))
            copies[node].meta["kind"] = "exact"
        else:
            copies[node] = value
    return rebuilt(module, graph)


def _constant_value(module: fx.GraphModule, node: fx.Node, copies: dict[fx.Node, Any]) -> Any:
    if node.op not in ("call_function", "call_method") or kind(node) != "exact" or not node.users:
        return None
    sources = [copies[source] for source in node.all_input_nodes]
    known = (not isinstance(s, fx.Node) or str(s.target).startswith("constants.") for s in sources)
    if not all(known) or _is_random(node):
        return None
    values = {s: _attribute(module, s) for s in sources if isinstance(s, fx.Node)}
    args, kwargs = mapped((node.args, dict(node.kwargs)), lambda n: values.get(copies[n], copies[n]))
    with torch.no_grad():
        if callable(node.target):
            return node.target(*args, **kwargs)
        return getattr(args[0], node.target)(*args[1:], **kwargs)


def _is_random(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in RANDOM_METHODS
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _attribute(module: fx.GraphModule, node: fx.Node) -> Tensor:
    holder, name = str(node.target).split(".")
    return getattr(getattr(module, holder), name)


def batch_norm_to_affine(module: fx.GraphModule) -> fx.GraphModule:
    """Turn batch normalisation into a per-channel affine map.

    Before: `batch_norm` nodes, with `training` known.
    After:  eval: scale and shift from the running statistics. Train: from the mean and variance of a clean forward
            pass of the same batch (Shi et al. 2021), whose nodes `*_clean` start at the centre of the region.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    clean: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node.target is not batch_norm.batch_norm or kind(node) == "exact":
            copy_into(graph, node, copies)
            continue
        x, mean, variance, weight, bias, training, _, eps = mapped(node.args, lambda old: copies[old])
        if training or mean is None:
            source = _clean_value(graph, x, clean)
            pair = emit(
                graph, batch_norm.batch_scale_and_shift, (source, weight, bias, eps), "exact", f"{node.name}_affine"
            )
        else:
            statistics = (mean, variance, weight, bias, eps)
            pair = emit(graph, batch_norm.running_scale_and_shift, statistics, "exact", f"{node.name}_affine")
        scale = emit(graph, getitem, (pair, 0), "exact", f"{node.name}_scale")
        shift = emit(graph, getitem, (pair, 1), "exact", f"{node.name}_shift")
        copies[node] = emit(graph, batch_norm.forward, (x, scale, shift), "perturbed", node.name, origin=node)
    return rebuilt(module, graph)


def _clean_value(graph: fx.Graph, node: fx.Node, clean: dict[fx.Node, fx.Node]) -> fx.Node:
    """The node's value at the centre of the region, emitted once."""
    if kind(node) == "exact":
        return node
    for step in [n for n in graph.nodes if kind(n) in ("region", "perturbed")]:
        if step in clean:
            continue
        if kind(step) == "region":
            clean[step] = emit(graph, regions.center, (step,), "exact", f"{step.name}_clean", origin=step)
        else:
            op = operator_of(step)
            assert op is not None  # mark_perturbed has made sure
            args = mapped(step.args, lambda n: clean.get(n, n))
            clean[step] = emit(graph, op.forward, args, "exact", f"{step.name}_clean", origin=step)
    return clean[node]


def merge_affine(module: fx.GraphModule) -> fx.GraphModule:
    """Fold a per-channel affine map into the convolution before it: s (W x + b) + t = (s W) x + (s b + t).

    Before: convolutions that such a map alone reads, as batch normalisation becomes one.
    After:  one convolution with the product for its weight, which spares walks a step over coefficients of the size of
            its output. Where all intervals were requested, that of the convolution among them, the same graph.
    """
    if request_of(module).keep_intervals:
        return module
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if not _reads_a_convolution(node):
            copy_into(graph, node, copies)
            continue
        layer = node_argument(node)
        x, weight, bias, *options = mapped(layer.args, lambda old: copies[old])
        scale, shift = (copies[node_argument(node, i)] for i in (1, 2))
        weight = emit(graph, batch_norm.scaled_weight, (weight, scale), "exact", f"{node.name}_weight", node)
        bias = emit(graph, batch_norm.shifted_bias, (bias, scale, shift), "exact", f"{node.name}_bias", node)
        copies[node] = emit(graph, conv.forward, (x, weight, bias, *options), "perturbed", node.name, layer)
    return rebuilt(module, graph)


def _reads_a_convolution(node: fx.Node) -> bool:
    """Whether the node is a per-channel affine map of a perturbed convolution that nothing else reads."""
    if node.target is not batch_norm.forward or kind(node) != "perturbed":
        return False
    layer = node_argument(node)
    return layer.target is conv.forward and kind(layer) == "perturbed" and len(layer.users) == 1


def require_no_randomness(graph: fx.Graph, model: Any) -> None:
    """Reject graphs that draw random numbers outside dropout: their bounds would hold for one draw only."""
    for node in graph.nodes:
        if _is_random(node) and operator.rule_of(node.target) is None:  # a rule knows which of its uses are random
            raise CaptureError(
                f"{type(model).__name__} draws random numbers ({describe(node)}); bounds need a fixed function"
            )
