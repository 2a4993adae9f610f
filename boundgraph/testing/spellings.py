"""Every way to write an operator must arrive at the operator itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from boundgraph.capture import Constants, capture, graph_module
from boundgraph.export import export_graph
from boundgraph.testing.trials import Trial
from passes import primal

Call = Callable[..., Tensor]


def spellings_canonicalize(trial: Trial, calls: Sequence[Call]) -> None:
    """Traced and canonicalised, each call applies the operator and computes the same; no spelling is left untried.

    calls: modules or functions of the perturbed operands. Modules are exported too, which covers ATen spellings.
    Spellings that share the signature of `forward` need no call.
    """
    operands = [torch.randn(shape, generator=trial.generator(), dtype=trial.dtype) for shape in trial.shapes]
    own = {
        spelling: _direct(trial, spelling) for spelling in trial.operator.spellings if not isinstance(spelling, tuple)
    }
    seen: set[Any] = set(own)  # F.tanh, say, is traced through and arrives as the method it calls
    for call in (*own.values(), *calls):
        module, constants = _as_module(call, len(operands)).to(trial.dtype), Constants()
        seen |= _require_canonical(trial, module, operands, capture(module, constants), constants)
        if isinstance(call, nn.Module):
            exported = export_graph(module, constants, tuple(operands), ValueError("not traced"))
            seen |= _require_canonical(trial, module, operands, exported, constants)
    untried = [str(spelling) for spelling in trial.operator.adapters if spelling not in seen]
    trial.require("spellings are tried", not untried, f"no call uses {', '.join(untried)}")


def _require_canonical(
    trial: Trial, module: nn.Module, operands: list[Tensor], graph: fx.Graph, constants: Constants
) -> set[Any]:
    """Returns the spellings found in the captured graph."""
    captured = graph_module(graph, module, constants)
    canonical = primal.canonicalize(captured)
    spelled = {node.target for node in graph.nodes} & set(trial.operator.adapters)
    targets = [node.target for node in canonical.graph.nodes]
    found = trial.operator.forward in targets and not spelled & (set(targets) - {trial.operator.forward})
    trial.require("spellings canonicalise", found, f"this remains of {module}:\n{canonical.graph}")
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
