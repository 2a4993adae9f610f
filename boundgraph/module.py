"""`BoundedModule`: a model together with the graphs that bound it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import networkx
import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from boundgraph import cost as costs
from boundgraph import drawing, losses, operator, plans
from boundgraph import report as reports
from boundgraph.capture import Constants
from boundgraph.errors import GraphError, PrecisionError, RegionError
from boundgraph.memory import keep_freed_blocks
from boundgraph.methods import Pipeline, method
from boundgraph.ops import linear
from boundgraph.planner import SIDES, Planner
from boundgraph.plans import Plan
from boundgraph.regions import Limit, LpBall, Region
from boundgraph.report import Report
from boundgraph.specification import batched_spec, margin_spec
from boundgraph.values import Bounds, Interval
from passes import loss
from passes.graphs import Request, to_networkx
from passes.precision import bfloat16

_CHEAP = ("ibp", "crown-ibp")
_CHEAPER: dict[str | Pipeline, tuple[str, ...]] = {"ibp": (), "crown-ibp": ("ibp",)}


class BoundedModule(nn.Module):
    """Bounds of a model's outputs over regions of its inputs, as a pure function of (weights, region, specification).

    Made by `boundgraph.compile`. Holds the model itself (`bounded.model is model`), so parameters, devices, dtypes and
    train/eval mode are the model's own. Plans (graphs) are compiled per mode and kind of request and kept.
    """

    def __init__(
        self,
        model: nn.Module,
        method: str | Pipeline,
        example_inputs: Sequence[Any] | None = None,
        backend: str = "eager",
        constants: Constants | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.constants = Constants() if constants is None else constants
        self.method = method
        self.training = model.training
        self._example_inputs = example_inputs
        self._backend = backend
        self._siblings: dict[Any, BoundedModule] = {}
        self._planner = Planner(model, self.constants, _passes(method), example_inputs, backend)
        self._last_weight = _last_weight(self._planner.capture().graph)

    # ------------------------------------------------------------------ calling

    def forward(
        self,
        *inputs: Tensor | Region,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        spec: Tensor | None = None,
        sides: str = "both",
    ) -> Any:
        """Bounds of the output, or of the rows of a specification, over the given regions.

        inputs: per input of the model a tensor (exact) or a region. eps, norm, clip: the l_norm ball round the only
        input, in the model's input units, cut to the range `clip`. spec: (rows, outputs) or (batch, rows, outputs) over
        the flattened output. sides: "both", "lower" or "upper"; the other side is None and costs nothing.
        Returns Bounds with sides in the shape of the output, or (batch, rows), and for methods built on IBP `interval`;
        of a model that returns a tuple, list, dict or other pytree, the same with Bounds in the place of its tensors,
        where a tensor that no perturbation reaches is its own bound. A specification needs a model with one tensor.

        Raises:
            RegionError: inputs, regions, eps, specification or sides do not fit.
            UnsupportedOperatorError: an operator that only this choice of perturbed inputs reaches has no rule.
            GraphError: shapes for which a rule has no bounds; names the layer and the line.
            DomainError: some bounds of an operand reach beyond where a function such as log has values. On accelerators
                and in traced graphs, where numbers are not looked at, such bounds are NaN.
        """
        request, values, rows = self._asked(inputs, eps, norm, clip, spec, sides)
        plan = self._fitting_plan(request, values)
        return plan.arranged(self._run(plan, values, rows))

    def margins(
        self,
        x: Tensor | Region,
        labels: Tensor,
        *,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        num_classes: int | None = None,
    ) -> Tensor:
        """Lower bounds of output[label] - output[j] for every j != label: (batch, num_classes - 1), j ascending.

        num_classes is read off the last linear layer, and needed only if the model does not end in one.
        """
        spec = self._margin_rows(x, labels, num_classes)
        request, values, rows = self._asked((x,), eps, norm, clip, spec, "lower")
        return self._run(self._fitting_plan(request, values), values, rows).lower

    @torch.no_grad()
    def certified(
        self,
        x: Tensor | Region,
        labels: Tensor,
        *,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        num_classes: int | None = None,
    ) -> Tensor:
        """Which labels are proven to win on the whole region: (batch,) bool, True where all margins are > 0.

        Cheap bounds come first, those of IBP and of CROWN-IBP, and each method gets only what none before has proven;
        each proof counts, so there can be more of them than positive `margins`. NaN proves nothing. Which examples are
        left is looked up on the host, so this is not for traced graphs.

        Raises:
            RegionError: as `margins`.
            PrecisionError: the method gives estimates, which prove nothing.
        """
        if bfloat16 in self._planner.pipeline:
            raise PrecisionError(
                "precision='bf16' gives estimates of bounds for training, and proves nothing; to certify, compile the "
                "model with the default precision: boundgraph.compile(model, method='crown-ibp')"
            )
        (region,) = self._regions((x,), eps, norm, clip)
        assert isinstance(region, Region)
        batch = len(region.center)
        if not isinstance(labels, Tensor) or labels.shape != (batch,):
            raise RegionError(f"labels must be integers of shape ({batch},), one per example")
        proven = torch.zeros(batch, dtype=torch.bool, device=region.center.device)
        for bounds in (*map(self.using, _CHEAPER.get(self.method, _CHEAP)), self):
            left = (~proven).nonzero().squeeze(1)
            if len(left):
                margins = bounds.margins(region.examples(left), labels[left], num_classes=num_classes)
                proven[left] = (margins > 0).all(1)
        return proven

    def fused_cross_entropy(
        self,
        x: Tensor | Region,
        labels: Tensor,
        *,
        eps: float | Tensor | None = None,
        beta: float = 1.0,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        num_classes: int | None = None,
        reduction: str = "mean",
    ) -> Tensor:
        """Upper bound of the cross-entropy over the region, by one backward row instead of one per class.

        With the margins' intervals at hand, S = 1 + sum_j exp(-m_j) lies below a linear function of the margins, whose
        lower bound is walked: log(beta S_walked + (1 - beta) S_ibp). At beta = 0 that is `robust_cross_entropy` of the
        IBP margins. A training loss: neither it nor the loss of the per-margin bounds is always the smaller one.

        labels: (batch,); beta in [0, 1]; reduction: "mean", "sum" (scalars) or "none" (batch,).

        Raises:
            RegionError: as `margins`.
            ValueError: beta or reduction is none of these, or the method has no relaxations to walk through.

        Xu et al. 2020 (auto_LiRPA).
        """
        if loss.fuse not in self._planner.pipeline:
            raise ValueError(f"loss fusion walks backward, as 'crown-ibp' does; the method is {self.method!r}")
        losses.require_share("beta", beta)
        losses.require_reduction(reduction)
        spec = self._margin_rows(x, labels, num_classes)
        request, values, rows = self._asked((x,), eps, norm, clip, spec, "upper")
        total, shift = self._run(self._fitting_plan(request._replace(loss=True), values), values, rows)
        return losses.fused_cross_entropy(total, shift, beta, reduction)

    def intermediate_bounds(
        self,
        *inputs: Tensor | Region,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
    ) -> dict[str, Interval]:
        """The interval of every perturbed node, by its name in `bounded.primal`; tightened where the method does."""
        request, values, _ = self._asked(inputs, eps, norm, clip, None, "both")
        return self._run(self._fitting_plan(request._replace(keep_intervals=True), values), values, ())

    def with_preactivations(
        self,
        x: Tensor | Region,
        *,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        spec: Tensor | None = None,
        sides: str = "both",
    ) -> tuple[Bounds, tuple[Interval, ...]]:
        """The bounds that a call gives, and the intervals of what the model's activations read, in the model's order.

        Both come from one pass and are differentiable, for losses that regularise intervals (Shi et al. 2021).
        Arguments as for a call, of a model with one input and one output.

        Raises:
            RegionError: as for a call, or the model returns several tensors.
        """
        request, values, rows = self._asked((x,), eps, norm, clip, spec, sides)
        return self._run(self._fitting_plan(request._replace(preactivations=True), values), values, rows)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in their order."""
        return self._planner.input_names

    def using(self, method: str | Pipeline) -> BoundedModule:
        """A bounded module of the same model by another method; made once and kept."""
        if method == self.method:
            return self
        if method not in self._siblings:
            sibling = BoundedModule(self.model, method, self._example_inputs, self._backend, self.constants)
            self._siblings[method] = sibling
        return self._siblings[method]

    # ------------------------------------------------------------------ looking inside

    def plan(self, *, spec: bool = False, sides: str = "both", regions: Sequence[str] | None = None) -> Plan:
        """The graph that a call would run, with all its stages, in the model's present mode.

        regions: names of the perturbed inputs; if not given all of them, or the first that can be bounded alone.
        """
        names = self._planner.default_regions if regions is None else tuple(regions)
        return self._planner.plan(Request(names, spec=spec, sides=sides))

    @property
    def graph(self) -> fx.Graph:
        """The emitted graph: IBP forward nodes, CROWN backward nodes, fused relaxations."""
        return self.plan().graph

    @property
    def backward_graph(self) -> fx.Graph | None:
        """The gradient of the coefficient walk in `graph`, which runs in place of autograd's; None without a walk. Of a
        model with several outputs that of the first; `plan().backward_graphs` has all."""
        return self.plan().backward_graph

    @property
    def code(self) -> str:
        """The emitted graph as straight-line Python."""
        return self.plan().code

    @property
    def stages(self) -> list[tuple[str, GraphModule]]:
        """What every pass did: (pass name, the graph after it), beginning with the capture."""
        return list(self.plan().stages)

    @property
    def primal(self) -> GraphModule:
        """The canonical graph of the model itself; callable like the model, of whose result it gives the tensors."""
        return self.plan().primal

    def report(self, *, regions: Sequence[str] | None = None) -> Report:
        """Print, and return, which rules bound each perturbed value of the model, and where they are not exact.

        regions: as for `plan`. Nothing falls back unseen: what has an interval and no linear bounds is named.
        """
        report = reports.of(self.plan(regions=regions), self.method if isinstance(self.method, str) else "these passes")
        print(report)
        return report

    def print_tabular(self) -> None:
        """Print the emitted graph as a table: kind, name, operator rule, arguments."""
        drawing.print_table(self.graph)

    def to_networkx(self) -> networkx.DiGraph:
        """The emitted graph as a networkx graph; vertices carry kind, operator and target."""
        return to_networkx(self.graph)

    def draw(self, path: str) -> str:
        """Draw the emitted graph with graphviz; the suffix (.svg, .pdf, .png, .dot) chooses the format."""
        return drawing.draw(self.graph, path)

    def cost(
        self,
        *inputs: Tensor | Region,
        eps: float | Tensor | None = None,
        norm: float = math.inf,
        clip: Sequence[Limit] | None = None,
        spec: Tensor | None = None,
        sides: str = "both",
    ) -> costs.Cost:
        """FLOPs and bytes of a call with such arguments, per node of its graph, as expressions in the batch size.

        Of the inputs only shapes matter, and nothing is computed from them: `bounded.cost(x, eps=0.1).print()`.

        Raises:
            RegionError: as for a call.
        """
        request, values, rows = self._asked(inputs, eps, norm, clip, spec, sides)
        plan = self._fitting_plan(request, values)
        somewhere = next((weight.device for weight in self.state_dict().values()), _reference(values).device)
        return costs.of(plan, values, rows, somewhere)

    # ------------------------------------------------------------------ module behaviour

    def train(self, mode: bool = True) -> BoundedModule:
        super().train(mode)
        self._planner.prepare()
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # graphs are rebuilt from model and method: cheaper and safer than pickling code
        return BoundedModule, (self.model, self.method, self._example_inputs, self._backend)

    # ------------------------------------------------------------------ requests

    def _asked(
        self,
        inputs: tuple[Tensor | Region, ...],
        eps: float | Tensor | None,
        norm: float,
        clip: Sequence[Limit] | None,
        spec: Tensor | None,
        sides: str,
    ) -> tuple[Request, tuple[Tensor | Region, ...], tuple[Tensor, ...]]:
        """What the arguments of a call ask for: the request, an input or a region per input, and the rows."""
        values = self._regions(inputs, eps, norm, clip)
        rows = () if spec is None else (batched_spec(spec, _reference(values)),)
        return self._request(values, spec is not None, sides), values, rows

    def _margin_rows(self, x: Tensor | Region, labels: Tensor, num_classes: int | None) -> Tensor:
        rows = margin_spec(labels, self._outputs() if num_classes is None else num_classes)
        center = x.center if isinstance(x, Region) else x
        if isinstance(center, Tensor) and center.shape[:1] != labels.shape:
            raise RegionError(f"there are {len(labels)} label(s) for an input of shape {tuple(center.shape)}")
        return rows

    def _fitting_plan(self, request: Request, values: tuple[Tensor | Region, ...]) -> Plan:
        plan = self._planner.plan(request)
        plans.require_sizes(plan, values)
        return plan

    def _run(self, plan: Plan, values: tuple[Tensor | Region, ...], rows: tuple[Tensor, ...]) -> Any:
        if torch.compiler.is_compiling():
            return plan.run(*values, *rows)
        if _reference(values).device.type == "cpu":
            keep_freed_blocks()
        try:
            return plan.run(*values, *rows)
        except GraphError as error:
            raise plans.located(plan, error, (*values, *rows)) from None

    def _request(self, values: tuple[Tensor | Region, ...], spec: bool, sides: str) -> Request:
        if sides not in SIDES:
            raise RegionError(f"sides must be one of {', '.join(SIDES)}, not {sides!r}")
        names = self.input_names
        perturbed = tuple(name for name, value in zip(names, values, strict=True) if isinstance(value, Region))
        balls = any(isinstance(value, Region) and not value.is_box for value in values)
        return Request(perturbed, balls, spec, sides)

    def _regions(
        self,
        inputs: tuple[Tensor | Region, ...],
        eps: float | Tensor | None,
        norm: float,
        clip: Sequence[Limit] | None,
    ) -> tuple[Tensor | Region, ...]:
        names = self.input_names
        if len(inputs) != len(names):
            raise RegionError(
                f"the model takes {len(names)} input(s) ({', '.join(names)}), but {len(inputs)} were given"
            )
        if eps is None and (norm != math.inf or clip is not None):
            raise RegionError("norm and clip belong to eps; give them to the region instead")
        if eps is not None:
            if len(inputs) != 1:
                raise RegionError("eps is short for a model with one input; give LpBall(x, eps) for the perturbed ones")
            if isinstance(inputs[0], Region):
                raise RegionError("give either a region or eps, not both")
            return (LpBall(inputs[0], eps, norm, clip),)
        if not any(isinstance(value, Region) for value in inputs):
            raise RegionError("nothing is perturbed: give eps=..., or an LpBall or Box for at least one input")
        return inputs

    def _outputs(self) -> int:
        if self._last_weight is None:
            raise RegionError(
                "the model does not end in a linear layer; say how many classes there are: num_classes=..."
            )
        weight: Any = self
        for name in self._last_weight:
            weight = getattr(weight, name)
        return weight.shape[0]


def _last_weight(graph: fx.Graph) -> tuple[str, ...] | None:
    """Path of the weight of the linear layer that makes the output, or None."""
    node = graph.output_node().args[0]
    if not isinstance(node, fx.Node) or operator.find(node.target) is not linear.LINEAR:
        return None
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    path = str(weight.target) if isinstance(weight, fx.Node) else ""
    return tuple(path.split(".")) if path.startswith("model.") else None


def _passes(chosen: str | Pipeline) -> Pipeline:
    if isinstance(chosen, str):
        return method(chosen)
    if not isinstance(chosen, tuple) or not all(callable(rewrite) for rewrite in chosen):
        raise ValueError(f"method must be a name or a tuple of passes, not {chosen!r}")
    return chosen


def _reference(values: tuple[Tensor | Region, ...]) -> Tensor:
    return next(value.center for value in values if isinstance(value, Region))
