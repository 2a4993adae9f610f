"""Everything that can be looked at, right after `compile` and before any data."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import networkx
import pytest
import torch
from torch import fx

import boundgraph

METHODS = ("ibp", "crown-ibp", "crown")

TABLE = """\
kind      node              rule                arguments
--------  ----------------  ------------------  ---------
region    x                 x
interval  x_interval        regions.interval    x
exact     model_fc1_weight  model.fc1.weight
exact     model_fc1_bias    model.fc1.bias
interval  fc1_interval      linear.interval     x_interval, model_fc1_weight, model_fc1_bias
interval  relu_interval     relu.interval       fc1_interval
exact     model_fc2_weight  model.fc2.weight
exact     model_fc2_bias    model.fc2.bias
interval  fc2_interval      linear.interval     relu_interval, model_fc2_weight, model_fc2_bias
bounds    bounds            interval.as_bounds  fc2_interval, both
output    output            output              bounds
"""


def test_table(networks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    boundgraph.compile(networks.build("five"), "ibp").print_tabular()
    assert capsys.readouterr().out == TABLE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [False, True])
def test_graph_code_and_stages(networks: ModuleType, method: str, training: bool) -> None:
    bounded = boundgraph.compile(networks.build("residual-cnn").train(training), method)
    assert isinstance(bounded.graph, fx.Graph)
    assert "def forward(self, x)" in bounded.code
    assert "conv_interval" in bounded.code
    names = [name for name, _ in bounded.stages]
    assert names[:3] == ["capture", "primal.canonicalize", "specification.append"]
    assert names[-1] == "cleanup.drop_unused"
    assert all(isinstance(module, fx.GraphModule) for _, module in bounded.stages)
    assert str(bounded.stages[-1][1].graph) == str(bounded.graph)
    assert bounded.method == method


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["five", "residual-cnn", "normalised", "two-inputs", "max-pool", "smooth"])
def test_primal_is_callable_like_the_model(networks: ModuleType, name: str, training: bool) -> None:
    bounded, inputs = boundgraph.compile(networks.build(name).train(training)), networks.inputs(name, batch=4)
    expected = networks.build(name).train(training)(*inputs)
    torch.testing.assert_close(bounded.primal(*inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_networkx_graph(networks: ModuleType, method: str) -> None:
    bounded = boundgraph.compile(networks.build("residual-cnn"), method)
    graph = bounded.to_networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert set(graph) == {node.name for node in bounded.graph.nodes}
    assert networkx.has_path(graph, "x", "bounds")
    assert graph.nodes["shortcut_interval"]["operator"] == "conv"
    assert graph.nodes["bn2_interval"]["operator"] == "conv", "the layer before it has taken it up"


def test_drawing_as_dot(networks: ModuleType, tmp_path: Path) -> None:
    bounded, path = boundgraph.compile(networks.build("five")), str(tmp_path / "graph.dot")
    assert bounded.draw(path) == path
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith("digraph {")
    assert "x_interval -> fc1_interval" in text
    assert "relu.centred" in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_drawing_as_picture(networks: ModuleType, tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"graph.{suffix}"
    boundgraph.compile(networks.build("five")).draw(str(path))
    assert path.read_bytes().startswith(start)


def test_drawing_without_graphviz(networks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounded = boundgraph.compile(networks.build("five"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError) as caught:
        bounded.draw(str(tmp_path / "graph.svg"))
    assert str(caught.value) == ("drawing needs the program `dot` of Graphviz on the PATH (e.g. apt install graphviz)")


def test_no_two_emitted_names_clash_with_the_class(networks: ModuleType) -> None:
    """The emitted code is Python: it can be compiled as it is printed."""
    for method in METHODS:
        compile(boundgraph.compile(networks.build("max-pool"), method).code, "emitted", "exec")


def test_plans_of_other_requests(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("two-inputs"))
    lower = bounded.plan(spec=True, sides="lower", regions=("y",))
    assert "x_interval" not in lower.code
    assert "y_minimum" in lower.code
    assert "spec" in [node.name for node in lower.graph.nodes]
    assert [node.name for node in bounded.plan().graph.nodes if node.op == "placeholder"] == ["x", "y"]
