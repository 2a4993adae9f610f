"""A pass builds a new graph and never changes its argument."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch.fx import GraphModule

from boundgraph import plans
from boundgraph.capture import Constants
from boundgraph.methods import method as method_passes
from boundgraph.methods import pass_name
from passes.graphs import Request, walks_of

Text = Callable[[GraphModule], str]


def _state(module: GraphModule, text: Text) -> tuple:
    """Everything a careless pass could touch: text, notes on nodes, notes on the module, generated code."""
    notes = [(node.name, {key: str(value) for key, value in node.meta.items()}) for node in module.graph.nodes]
    outside = {key: value for key, value in module.meta.items() if key != "walks"}
    nested = [(name, _state(walk, text)) for name, walk in walks_of(module).items()]
    return text(module), copy.deepcopy(notes), str(outside), module.code, nested


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", ["five", "residual", "normalised", "two-inputs", "conv", "max-pool", "smooth"])
@pytest.mark.parametrize("training", [False, True])
def test_passes_are_pure(networks: ModuleType, text: Text, name: str, method: str, training: bool) -> None:
    captured = plans.captured_module(networks.build(name).train(training), Constants(), None)
    names = tuple(node.name for node in captured.graph.nodes if node.op == "placeholder")
    module = captured
    module.meta["request"] = Request(names, balls=True, spec=True)
    for rewrite in method_passes(method):
        before = _state(module, text)
        result = rewrite(module)
        assert _state(module, text) == before, f"{pass_name(rewrite)} changed its argument"
        module = result


def test_compiling_twice_gives_the_same_graphs(networks: ModuleType, stages: Callable, text: Text) -> None:
    model = networks.build("residual-cnn").train()
    first, second = stages(model, "crown"), stages(model, "crown")
    assert {name: text(module) for name, module in first.items()} == {n: text(m) for n, m in second.items()}


def test_compiling_leaves_no_mark_on_the_model(networks: ModuleType, stages: Callable) -> None:
    model = networks.build("residual-cnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = {name: dict(vars(module)) for name, module in model.named_modules()}
    stages(model, "crown")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert attributes == {name: dict(vars(module)) for name, module in model.named_modules()}
