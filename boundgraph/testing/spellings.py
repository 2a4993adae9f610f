"""Every way to write an operator must arrive at the operator itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from boundgraph.capture import Constants, capture, graph_module
from boundgraph.export import export_graph
from boundgraph.testing.trials import Trial
from passes import primal
from passes.calls import called

Call = Callable[..., Tensor]


def spellings_canonicalize(trials: Sequence[Trial], calls: Sequence[Call]) -> None:
    """Traced and canonicalised, each call applies the operator and computes the same; no spelling is left untried.

    calls: modules or functions of the perturbed operands of the first trial; modules are exported too, which covers
    ATen spellings. Spellings that accept the canonical arguments of some trial need no call.
    """
    operator, seen = trials[0].operator, set[Any]()
    for spelling in operator.spellings:
        for trial in trials if not isinstance(spelling, tuple | type) else ():
            if _accepts(trial, call := _direct(trial, spelling)):
                _require_canonical(trial, call)
                seen.add(spelling)  # F.tanh, say, is traced through and arrives as the method it calls
                break
    for call in calls:
        seen |= _require_canonical(trials[0], call) | {type(call)}
    untried = [str(spelling) for spelling in operator.adapters if spelling not in seen]
    trials[0].require("spellings are tried", not untried, f"no call uses {', '.join(untried)}")


def _operands(trial: Trial) -> list[Tensor]:
    generator = trial.generator()
    low, high = trial.domain
    if (low, high) == (-math.inf, math.inf):
        return [torch.randn(shape, generator=generator, dtype=trial.dtype) for shape in trial.shapes]
    return [box.center for box in trial.boxes()]


def _accepts(trial: Trial, call: Call) -> bool:
    try:
        call(*_operands(trial))
    except (RuntimeError, TypeError):
        return False
    return True


def _require_canonical(trial: Trial, call: Call) -> set[Any]:
    """Returns the spellings found in the captured graphs."""
    operands, constants = _operands(trial), Constants()
    module = _as_module(call, len(operands)).to(trial.dtype)
    graphs = [capture(module, constants)]
    if isinstance(call, nn.Module) and type(call) not in trial.operator.adapters:  # export sees through one's own
        graphs.append(export_graph(module, constants, tuple(operands), ValueError("not traced")))
    return {spelled for graph in graphs for spelled in _spelled(trial, module, graph_module(graph, module, constants))}


def _spelled(trial: Trial, module: nn.Module, captured: fx.GraphModule) -> set[Any]:
    operands, canonical = _operands(trial), primal.canonicalize(captured)
    spelled = {called(node) for node in captured.graph.nodes} & set(trial.operator.adapters)
    targets = {node.target for node in canonical.graph.nodes}
    arrived = trial.operator.forward in targets and not spelled & (targets - {trial.operator.forward})
    trial.require("spellings canonicalise", arrived, f"this remains of {module}:\n{canonical.graph}")
    same = torch.allclose(canonical(*copy.deepcopy(operands)), module(*copy.deepcopy(operands)))
    trial.require("spellings canonicalise", same, f"{module} computes something else than\n{canonical.graph}")
    return spelled


def _direct(trial: Trial, spelling: Any) -> Call:
    """A call of the spelling with the canonical arguments; on copies, since it may write in place."""

    def call(*operands: Tensor) -> Tensor:
        first, *rest = trial.fill([operand.clone() for operand in operands])
        return getattr(first, spelling)(*rest) if isinstance(spelling, str) else spelling(first, *rest)

    call.__name__ = str(spelling)
    return call


def _as_module(call: Call, operands: int) -> nn.Module:
    if isinstance(call, nn.Module):
        return copy.deepcopy(call).eval()
    return _Unary(call) if operands == 1 else _Binary(call)


class _Unary(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)

    def extra_repr(self) -> str:
        return getattr(self.call, "__name__", "")


class _Binary(_Unary):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.call(x, y)
