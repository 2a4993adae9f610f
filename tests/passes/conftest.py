"""Graphs as text, and their golden files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn
from torch.fx import GraphModule, Node

from boundgraph import plans
from boundgraph.capture import Constants
from boundgraph.methods import Pipeline
from boundgraph.methods import method as method_passes
from passes.graphs import Request, walks_of

GOLDEN = Path(__file__).with_name("golden")


def _target(node: Node) -> str:
    if node.op == "call_method":
        return f".{node.target}"
    if node.op != "call_function":
        return str(node.target)
    module = (getattr(node.target, "__module__", None) or "").replace("boundgraph.ops.", "").replace("boundgraph.", "")
    return f"{module}.{getattr(node.target, '__name__', node.target)}"


def _line(node: Node) -> str:
    kind = node.meta.get("kind", "-")
    if node.op == "output":
        return f"{'return':<11} {node.args[0]}"
    if node.op == "placeholder":
        return f"{kind:<11} {node.name}"
    call = "" if node.op == "get_attr" else "(" + ", ".join(map(str, node.args))
    keywords = "".join(f", {key}={value}" for key, value in node.kwargs.items())
    return f"{kind:<11} {node.name} = {_target(node)}{call}{keywords}" + (")" if call else "")


def graph_text(module: GraphModule) -> str:
    """One line per node: kind, name, rule, arguments; nested walks behind."""
    lines = [_line(node) for node in module.graph.nodes]
    for name, walk in walks_of(module).items():
        lines += [f"walk {name}:", *("    " + line for line in graph_text(walk).splitlines())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def text() -> Callable[[GraphModule], str]:
    return graph_text


@pytest.fixture
def stages() -> Callable[..., dict[str, GraphModule]]:
    """stages(model, method, regions=..., spec=...) -> the graph after each pass, by the name of the pass."""

    def run(model: nn.Module, method: str | Pipeline = "crown-ibp", **request: Any) -> dict[str, GraphModule]:
        captured = plans.captured_module(model, Constants(), None)
        regions = tuple(node.name for node in captured.graph.nodes if node.op == "placeholder")
        wanted = Request(**{"regions": regions, **request})
        passes = method_passes(method) if isinstance(method, str) else method
        plan = plans.build(captured, passes, wanted, "eager")
        return {name.split("(")[0]: module for name, module in plan.stages}

    return run


@pytest.fixture
def check_pass(
    stages: Callable[..., dict[str, GraphModule]], networks: ModuleType, request: pytest.FixtureRequest
) -> Callable[..., tuple[GraphModule, GraphModule]]:
    """Compare the graphs before and after one pass of a method with the golden text; returns the two graphs."""

    def check(
        name: str,
        network: str | nn.Module,
        method: str | Pipeline = "crown-ibp",
        golden: str | None = None,
        **options: Any,
    ) -> tuple[GraphModule, GraphModule]:
        model = networks.build(network) if isinstance(network, str) else network
        after_each = stages(model, method, **options)
        names = list(after_each)
        before, after = after_each[names[names.index(name) - 1]], after_each[name]
        found = f"before {name}\n\n{graph_text(before)}\nafter {name}\n\n{graph_text(after)}"
        path = GOLDEN / f"{name}-{golden or network}.txt"
        if request.config.getoption("--refresh-golden"):
            path.write_text(found, encoding="utf-8")
        assert found == path.read_text(encoding="utf-8"), f"{path.name} differs; --refresh-golden writes it anew"
        return before, after

    return check
