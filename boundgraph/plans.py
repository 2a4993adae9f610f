"""Plans: a model in one mode, compiled for one kind of request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.fx import GraphModule
from torch.fx._lazy_graph_module import _LazyGraphModule

from boundgraph import drawing
from boundgraph.capture import Constants, capture, check_capture, graph_module
from boundgraph.errors import GraphError, RegionError
from boundgraph.kernels import compile_kernels
from boundgraph.locations import describe
from boundgraph.methods import Pipeline, pass_name
from boundgraph.regions import Region
from boundgraph.structures import Structure
from passes import check, gradient
from passes.graphs import Request, constants_of, copy_into, kind, model_of, rebuilt, structure_of
from passes.primal import require_no_randomness


class Plan(NamedTuple):
    """The emitted module of one request, and how it came about."""

    module: GraphModule
    backward_graphs: tuple[
        fx.Graph, ...
    ]  # the gradient of each coefficient walk in `module`, of which outputs have one
    stages: tuple[tuple[str, GraphModule], ...]
    run: Callable[..., Any]  # `module`, or what the backend made of it
    limits: tuple[Any, ...]  # per input the sizes it may have, or None; see `export`
    structure: Structure | None  # how the model arranges the outputs, if it returns no tensor

    @property
    def several(self) -> bool:
        """Whether there are several outputs, of which `run` returns a tuple."""
        return not isinstance(self.primal.graph.output_node().args[0], fx.Node)

    @property
    def backward_graph(self) -> fx.Graph | None:
        """The gradient of the first walk; None without a walk."""
        return self.backward_graphs[0] if self.backward_graphs else None

    def arranged(self, results: Any) -> Any:
        """What `run` returns, as the model arranges its outputs."""
        if self.structure is None:
            return results
        return self.structure.around(results if type(results) is tuple else (results,))

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph

    @property
    def code(self) -> str:
        return self.module.code

    def __repr__(self) -> str:
        return f"Plan({len(self.graph.nodes)} nodes after {' > '.join(name for name, _ in self.stages)})"

    def print_tabular(self) -> None:
        """Print the graph as a table: kind, name, operator rule, arguments."""
        drawing.print_table(self.graph)

    def draw(self, path: str) -> str:
        """Draw the graph with graphviz; the suffix (.svg, .pdf, .png, .dot) chooses the format."""
        return drawing.draw(self.graph, path)

    @property
    def primal(self) -> GraphModule:
        """The last stage that computes the model itself."""
        return [stage for _, stage in self.stages if not _has_bounds(stage)][-1]


def _has_bounds(stage: GraphModule) -> bool:
    return any(kind(node) in ("interval", "form", "bounds") for node in stage.graph.nodes)


def build(captured: GraphModule, pipeline: Pipeline, request: Request, backend: str) -> Plan:
    """Run the passes, check the grammar after each, and hand the result to the backend."""
    start = graph_module(captured.graph, model_of(captured), constants_of(captured))  # plans share a capture, no meta
    start.meta["request"] = request
    stages = [("capture", start)]
    for rewrite in pipeline:
        module = rewrite(stages[-1][1])
        check.grammar(module, pass_name(rewrite), stages[-1][1])
        stages.append((pass_name(rewrite), module))
    emitted = stages[-1][1]
    if request.keep_intervals:
        emitted = with_interval_outputs(emitted)
    if request.preactivations:
        emitted = with_preactivations(emitted)
    outlined, walks = gradient.explicit(emitted)
    run: Callable[..., Any] = outlined
    if backend != "eager" and not walks:
        run = _compiled_off_cpu(outlined, torch.compile(emitted, backend=backend))
    for walk in walks if backend != "eager" else ():
        compile_kernels(walk.forward_graph, backend)
        compile_kernels(walk.backward_graph, backend)
    for part in outlined.modules():  # torch.compile must not come upon modules whose code is not yet written
        if isinstance(part, GraphModule):
            _LazyGraphModule.force_recompile(part)
    limits = tuple(node.meta.get("limits") for node in captured.graph.nodes if node.op == "placeholder")
    gradients = tuple(walk.backward_graph.graph for walk in walks)
    limits = limits if any(limits) else ()
    return Plan(emitted, gradients, tuple(stages), run, limits, structure_of(emitted))


def located(plan: Plan, error: GraphError, values: Sequence[Any]) -> GraphError:
    """The error of a rule, which knows shapes and numbers alone, with its place in the model: the plan runs again."""
    finding = _Finding(plan.module)
    with torch.no_grad(), suppress(GraphError):
        finding.run(*values)
    if finding.failed is None:
        return error
    return type(error)(f"{error}\n  at {describe(finding.failed)}").with_traceback(error.__traceback__)


class _Finding(fx.Interpreter):
    failed: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except GraphError:
            self.failed = n
            raise


def _compiled_off_cpu(module: GraphModule, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """What has no walk is whole-graph compiled on accelerators alone. On CPUs that is slower: convolutions and products
    stay what they are, and rules lose their own gradients and the faster product."""

    def run(*values: Any) -> Any:
        region = next(value for value in values if isinstance(value, Region))
        return module(*values) if region.center.device.type == "cpu" else compiled(*values)

    return run


def require_sizes(plan: Plan, values: Sequence[Any]) -> None:
    """Refuse inputs for which an exported graph is not the model.

    Raises:
        RegionError: a size at which torch.export has not followed the model.
    """
    for limits, value in zip(plan.limits, values, strict=False):
        shape = (value.center if isinstance(value, Region) else value).shape
        if limits is not None and not _within(shape, limits):
            wanted = ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in limits)
            raise RegionError(
                f"an input has shape {tuple(shape)}, but the model was captured for sizes ({wanted}): it decides on "
                "shapes, and example_inputs showed torch.export these alone. Compile again with such an example."
            )


def _within(shape: Sequence[int], limits: Sequence[tuple[int, float]]) -> bool:
    fits = (low <= size <= high for size, (low, high) in zip(shape, limits, strict=False))
    return len(shape) == len(limits) and all(fits)


def with_interval_outputs(module: GraphModule) -> GraphModule:
    """Return every interval by the name of its node, the tightest where there are several."""
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op != "output":
            copy_into(graph, node, copies)
    intervals = {node.meta["of"]: copies[node] for node in module.graph.nodes if kind(node) == "interval"}
    graph.output(intervals)
    return rebuilt(module, graph)


def with_preactivations(module: GraphModule) -> GraphModule:
    """Return the intervals on which relaxations of element-wise functions rest, in the order of the graph, beside the
    bounds.

    Raises:
        RegionError: the model returns several tensors.
    """
    result = module.graph.output_node().args[0]
    if not isinstance(result, fx.Node):
        raise RegionError(
            "pre-activations come beside the bounds of one tensor; wrap the model in a module that returns it"
        )
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    found: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            continue
        copy_into(graph, node, copies)
        op = node.meta.get("operator")
        if kind(node) == "interval" and op is not None and op.relax is not None and op.through is None:
            found |= {source: copies[source] for source in node.all_input_nodes if kind(source) == "interval"}
    graph.output((copies[result], tuple(found.values())))
    return rebuilt(module, graph)


def captured_module(model: nn.Module, constants: Constants, example_inputs: Sequence[Any] | None) -> GraphModule:
    """Capture the model in its present mode and compare it with the model where example inputs allow it."""
    graph = capture(model, constants, example_inputs)
    module = graph_module(graph, model, constants)
    require_no_randomness(graph, model)
    if example_inputs is not None:
        check_capture(module, model, example_inputs)
        _limit_to_several(module, model, example_inputs)
    return module


def _limit_to_several(module: GraphModule, model: nn.Module, example_inputs: Sequence[Any]) -> None:
    """Shut out batches of one where an exported graph is not the model: torch.export assumes several examples and says
    nothing of a decision on a single one."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    free = [bool(limits := node.meta.get("limits")) and limits[0][0] == 0 for node in inputs]
    if not any(free):
        return
    try:
        single = [value[:1] if cut else value for value, cut in zip(example_inputs, free, strict=True)]
        check_capture(module, model, single)
    except Exception:  # the model may refuse a single example in any way it likes
        for node, cut in zip(inputs, free, strict=True):
            if cut:
                (_, high), *others = node.meta["limits"]
                node.meta["limits"] = ((2, high), *others)


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model with all its modules in one mode, for capture; afterwards as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = training
        yield
    finally:
        for module, mode in modes:
            module.training = mode
