"""`Planner`: the plans of a model, each built when it is first asked for, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from boundgraph import plans
from boundgraph.capture import Constants
from boundgraph.errors import BoundgraphError, GraphError, UnsupportedOperatorError
from boundgraph.methods import Pipeline
from boundgraph.plans import Plan
from passes.graphs import Request

SIDES = ("both", "lower", "upper")

Mode = tuple[bool, ...]  # of every module: whether it is in train mode


class Planner:
    """A model is captured once per mode, and compiled by the pipeline once per mode and kind of request.

    pipeline: the passes. kept: the plans so far. input_names: those of the model's inputs. default_regions: the inputs
    that are perturbed if nobody says which: all, or the first that can be bounded alone.

    Raises:
        CaptureError, UnsupportedOperatorError: no perturbed input can be bounded in either mode.
    """

    def __init__(
        self,
        model: nn.Module,
        constants: Constants,
        pipeline: Pipeline,
        example_inputs: Sequence[Any] | None,
        backend: str,
    ) -> None:
        self.pipeline = pipeline
        self.kept: dict[tuple[Mode, Request], Plan] = {}
        self._model, self._constants = model, constants
        self._example_inputs, self._backend = example_inputs, backend
        self._captured: dict[Mode, GraphModule] = {}
        self.input_names = tuple(node.name for node in self.capture().graph.nodes if node.op == "placeholder")
        self.default_regions = self.input_names
        try:
            self._prepare()
        except UnsupportedOperatorError:
            if not any(self._mode()):
                raise
            # what only train mode forbids (dropout) is told when bounds are asked for in train mode
            with plans.in_mode(model, training=False):
                self._prepare()

    def plan(self, request: Request) -> Plan:
        """The plan of a request in the model's present mode."""
        plan = self.kept.get((self._mode(), request))
        if plan is not None:
            return plan
        # graphs are not built inside a traced graph. (Not a decorator: it would make every import load the compiler.)
        build = torch.compiler.disable(self.build) if torch.compiler.is_compiling() else self.build
        return build(request)

    def build(self, request: Request) -> Plan:
        """The same, built anew in place of the one that is kept."""
        plan = plans.build(self.capture(), self.pipeline, request, self._backend)
        self.kept[self._mode(), request] = plan
        return plan

    def capture(self) -> GraphModule:
        """The graph of the model itself, in its present mode."""
        mode = self._mode()
        if mode not in self._captured:
            self._captured[mode] = plans.captured_module(self._model, self._constants, self._example_inputs)
        return self._captured[mode]

    def prepare(self) -> None:
        """Build the common plans of the present mode now, if they can be, so that torch.compile finds them ready."""
        with suppress(BoundgraphError):  # dropout, say: said when bounds are asked for in this mode
            self._prepare()

    def _prepare(self) -> None:
        names = self.input_names
        try:
            found = [self.plan(Request(names, sides=sides)) for sides in SIDES]
            for sides in SIDES if not found[0].several else ():
                self.plan(Request(names, spec=True, sides=sides))
        except (UnsupportedOperatorError, GraphError):
            possible = [name for name in names if len(names) > 1 and self._can_bound((name,))]
            if not possible:
                raise
            self.default_regions = (possible[0],)

    def _can_bound(self, names: tuple[str, ...]) -> bool:
        try:
            self.plan(Request(names))
        except (UnsupportedOperatorError, GraphError):
            return False
        return True

    def _mode(self) -> Mode:
        return tuple(module.training for module in self._model.modules())
