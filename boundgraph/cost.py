"""What a request costs: FLOPs and bytes of every node, exact in the batch size, without computing any bound.

The emitted graph runs node by node on fake tensors, which have shapes and no numbers, at a few batch sizes. Counts are
polynomials in the batch size, so these determine them; one more size checks that they do.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import sympy
import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from boundgraph import linear_forms
from boundgraph.drawing import rule_name
from boundgraph.errors import BoundgraphError, GraphError, RegionError
from boundgraph.plans import Plan
from boundgraph.regions import Region
from boundgraph.tightening import tighten_rows
from boundgraph.values import Interval
from passes.graphs import kind

aten = torch.ops.aten

batch = sympy.Symbol("batch", integer=True, positive=True)


class NodeCost(NamedTuple):
    """What one node adds. part: "bounds", or "gradient" for a node of `plan.backward_graphs`."""

    part: str
    kind: str
    name: str
    rule: str
    flops: sympy.Expr
    bytes: sympy.Expr


@dataclass(frozen=True)
class Cost:
    """The cost of bounds, and of the gradient of their coefficient walk, as sympy expressions in `batch`.

    FLOPs are those of products and convolutions, 2 for a multiplication with its addition; element-wise work is not
    counted. Bytes are those of new memory: a view has none, and the weights are the model's. Rules that look at numbers
    on the CPU (which neurons are unstable, which outputs a specification compares) are counted as on an accelerator,
    where they do not look; for "crown" that makes the count an upper end.

    nodes: one record per node. peak_bytes: the most that is alive at once between the nodes of the bounds, each value
    being freed after its last reader; what a rule needs while it runs, and what autograd keeps, comes on top.
    """

    nodes: tuple[NodeCost, ...]
    peak_bytes: sympy.Expr
    batch = batch

    @property
    def flops(self) -> sympy.Expr:
        """Of the bounds."""
        return self._sum("flops", "bounds")

    @property
    def bytes(self) -> sympy.Expr:
        """All that the nodes of the bounds write."""
        return self._sum("bytes", "bounds")

    @property
    def backward_flops(self) -> sympy.Expr:
        """Of the gradient of the walk; 0 where autograd differentiates all."""
        return self._sum("flops", "gradient")

    @property
    def backward_bytes(self) -> sympy.Expr:
        return self._sum("bytes", "gradient")

    def _sum(self, field: str, part: str) -> sympy.Expr:
        return sympy.Add(*(getattr(node, field) for node in self.nodes if node.part == part))

    def __str__(self) -> str:
        rows = [("kind", "node", "rule", "FLOPs", "bytes")]
        for part, flops, size in (
            ("bounds", self.flops, self.bytes),
            ("gradient", self.backward_flops, self.backward_bytes),
        ):
            found = [node for node in self.nodes if node.part == part]
            rows += [(node.kind, node.name, node.rule, str(node.flops), str(node.bytes)) for node in found]
            if found:
                rows.append(("total", part, "", str(flops), str(size)))
        rows.append(("peak", "bounds", "", "", str(self.peak_bytes)))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
        line = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<<<>>", widths, strict=True))
        return "\n".join(line.format(*row) for row in rows)

    def print(self) -> None:
        """Print the table: one line per node, then totals."""
        print(self)


_SIZES, _CHECK = (2, 3, 4), 7


def of(plan: Plan, values: Sequence[Tensor | Region], rows: Sequence[Tensor], device: torch.device) -> Cost:
    """The cost of a plan on inputs shaped like these, at any batch size.

    values: per input an example tensor or region. rows: the specification, (batch | 1, rows, outputs), if there is one.
    device: where the model is; some rules choose their algorithm by it.

    Raises:
        RegionError: inputs that do not fit the model, or have no batch dimension.
        GraphError: the cost is no polynomial in the batch size.
    """
    runs = [_measure(plan, values, rows, device, size) for size in (*_SIZES, _CHECK)]
    flops, sizes, alive = (
        [_polynomial(counts) for counts in zip(*(run[field] for run in runs), strict=True)] for field in (1, 2, 3)
    )
    nodes = (
        NodeCost(part, kind(node), node.name, rule_name(node), *counts)
        for (part, node), *counts in zip(runs[0].nodes, flops, sizes, strict=True)
    )
    return Cost(tuple(nodes), _largest(set(alive)))


def _polynomial(counts: Sequence[int]) -> sympy.Expr:
    """The parabola through counts at three sizes that follow each other; it must meet the last count, too."""
    at, after, later, check = counts
    x, bend = batch - _SIZES[0], sympy.Rational(at - 2 * after + later, 2)
    found = sympy.expand(at + (after - at) * x + bend * x * (x - 1))
    if found.subs(batch, _CHECK) != check:
        raise GraphError(f"a cost that is {counts} for {(*_SIZES, _CHECK)} examples is no polynomial in their number")
    return found


def _largest(expressions: set[sympy.Expr]) -> sympy.Expr:
    """The maximum, without what is below another one at every size because all its coefficients are."""

    def coefficients(expression: sympy.Expr) -> tuple[sympy.Expr, ...]:
        return tuple(expression.coeff(batch, power) for power in range(3))

    kept = [
        one
        for one in expressions
        if not any(
            one != other and all(a <= b for a, b in zip(coefficients(one), coefficients(other), strict=True))
            for other in expressions
        )
    ]
    return sympy.Max(*kept)


class _Measured(NamedTuple):
    nodes: list[tuple[str, fx.Node]]
    flops: list[int]
    bytes: list[int]
    alive: list[int]  # bytes while each node of the bounds runs


def _measure(
    plan: Plan, values: Sequence[Tensor | Region], rows: Sequence[Tensor], device: torch.device, size: int
) -> _Measured:
    """Run the plan on fake examples, `size` of them."""
    given = [value.center if isinstance(value, Region) else value for value in values]
    reference = next(value.center for value in values if isinstance(value, Region))
    if any(example.dim() == 0 for example in given):
        raise RegionError("an example input needs the batch as dimension 0, not shape ()")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, _Counter() as counter:
        resized = _Resized(reference.shape[0], size, device)
        inputs = [*map(resized, values), *map(resized, rows)]
        bounds = _Run(plan.module, plan.graph, fake, counter, set())
        bounds.follow(inputs, [tuple(example.shape) for example in given])
        runs = [("bounds", bounds)]
        distances = [value for node, value in bounds.env.items() if node.target is linear_forms.total]
        for graph, distance in zip(plan.backward_graphs, distances, strict=bool(plan.backward_graphs)):
            gradient = _Run(plan.module, graph, fake, counter, bounds.seen)
            with torch.no_grad():
                gradient.follow(_received(graph, bounds, distance), [])
            runs.append(("gradient", gradient))
    # what the gradient is handed, the bounds have made
    found = [(part, run, node) for part, run in runs for node in run.flops if run is bounds or node.op != "placeholder"]
    return _Measured(
        [(part, node) for part, _, node in found],
        [run.flops[node] for _, run, node in found],
        [run.bytes[node] for _, run, node in found],
        bounds.alive(),
    )


def _received(backward: fx.Graph, bounds: _Run, distances: Tensor) -> Iterator[Any]:
    """What the gradient starts from: one number per row, and values of the walk by name."""
    by_name = {node.name: value for node, value in bounds.env.items()}
    for node in backward.nodes:
        if node.op == "placeholder":
            yield torch.empty_like(distances) if node.name == "upstream" else by_name[node.name]


class _Resized:
    """Turns examples into fake ones, of another number and on the model's device."""

    def __init__(self, old: int, new: int, device: torch.device) -> None:
        self.old, self.new, self.device = old, new, device
        self._made: dict[int, Any] = {}  # a tensor that appears twice stays one tensor

    def __call__(self, value: Any) -> Any:
        if id(value) not in self._made:
            self._made[id(value)] = self._make(value)
        return self._made[id(value)]

    def _make(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            each = value.dim() > 0 and value.shape[0] == self.old
            shape = (self.new, *value.shape[1:]) if each else value.shape
            tensor = torch.empty(shape, dtype=value.dtype, device=self.device)
            return tensor.requires_grad_(value.requires_grad)
        if isinstance(value, Region | Interval):
            made = copy.copy(value)
            for name, part in vars(value).items():
                shared = self.old == 1 and name in ("_radius", "eps")  # 1 means "the same for all" here
                vars(made)[name] = _Resized(0, 0, self.device)(part) if shared else self(part)
            return made
        return value


class _Run(fx.Interpreter):
    """One run on fake tensors, with the FLOPs and the new memory of every node."""

    def __init__(
        self, module: fx.GraphModule, graph: fx.Graph, fake: FakeTensorMode, counter: _Counter, seen: set[int]
    ) -> None:
        super().__init__(module, garbage_collect_values=False, graph=graph)
        self.fake, self.counter, self.seen = fake, counter, seen
        self.flops: dict[fx.Node, int] = {}
        self.bytes: dict[fx.Node, int] = {}
        self._memory: dict[int, tuple[int, int, set[fx.Node]]] = {}  # its size, the step it is made in, who holds it

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return self.fake.from_tensor(value) if isinstance(value, Tensor) else value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is tighten_rows:  # chunks of rows keep memory small, of which fake coefficients take none
            args = (*args[:-1], args[-1]._replace(memory=sys.maxsize))
        return super().call_function(target, args, kwargs)

    def follow(self, inputs: Sequence[Any] | Iterator[Any], shapes: list[tuple[int, ...]]) -> None:
        """Run all nodes but the output."""
        self.args_iter = iter(inputs)
        for step, node in enumerate(self.graph.nodes):
            if node.op == "output":
                continue
            before = self.counter.flops
            try:
                self.env[node] = self.run_node(node)
            except BoundgraphError:
                raise
            except Exception as error:
                what = f"`{node.name}` ({rule_name(node)})"
                raise RegionError(f"inputs of shape {shapes} do not fit the model: {what} says {error}") from error
            self.flops[node] = self.counter.flops - before
            self.bytes[node] = self._new_memory(step, node)

    def _new_memory(self, step: int, node: fx.Node) -> int:
        """Bytes that are there since this node ran; an interval it read may have grown, too."""
        found = 0
        for holder in (node, *node.all_input_nodes):
            for tensor in _tensors(self.env[holder]):
                storage = tensor.untyped_storage()
                key = storage._cdata  # everything stays alive in `env`, so no other will get this address
                if key in self._memory:
                    self._memory[key][2].add(holder)
                elif key not in self.seen:
                    self.seen.add(key)
                    if node.op != "get_attr":  # weights are the model's
                        self._memory[key] = (storage.nbytes(), step, {holder})
                        found += storage.nbytes()
        return found

    def alive(self) -> list[int]:
        """Per node the bytes held while it runs, inputs and results to the end."""
        steps = {node: step for step, node in enumerate(self.graph.nodes)}
        changes = [0] * (len(steps) + 1)
        for size, made, holders in self._memory.values():
            last = max(steps[user] for holder in holders for user in (holder, *holder.users))
            freed = last + 1 if all(holder.op != "placeholder" for holder in holders) else len(steps)
            changes[made] += size
            changes[freed] -= size
        return list(accumulate(changes[:-1]))


def _tensors(value: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Region | Interval):
            yield from _tensors(list(vars(leaf).values()))


class _Counter(TorchDispatchMode):
    """Adds up what torch's flop counter knows of each call, and of products with vectors, which it leaves out."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if (count := _OF_VECTORS.get(packet)) is not None:
            self.flops += count(*(arg.shape for arg in args if isinstance(arg, Tensor)))
        elif packet is aten.convolution_backward:
            self.flops += _of_convolution_backward(args, result)
        elif (formula := flop_registry.get(packet)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


_OF_VECTORS: dict[Any, Callable[..., int]] = {
    aten.mv: lambda matrix, vector: 2 * math.prod(matrix),
    aten.addmv: lambda added, matrix, vector: 2 * math.prod(matrix),
    aten.dot: lambda first, second: 2 * math.prod(first),
    aten.addr: lambda added, first, second: 2 * math.prod(added),
}


def _of_convolution_backward(args: Any, result: Any) -> int:
    """torch's formula takes the gradient of the weight for one of all pairs of channels, also of other groups."""
    *before, groups, (of_input, of_weight, _) = args
    formula = flop_registry[aten.convolution_backward]
    image, weight = (
        formula(*before, groups, mask, out_val=result) for mask in ((of_input, False, False), (False, of_weight, False))
    )
    return image + weight // groups
