"""Writes in place become values, or are refused; more in tests/test_capture_in_place.py, through whole models."""

from __future__ import annotations

import operator as python_operator

import pytest
import torch
from torch import fx

from boundgraph.errors import CaptureError
from passes.in_place import InPlace, writes


def _graph(*calls: tuple) -> tuple[fx.Graph, list[fx.Node]]:
    """Calls (target, args...) where ints stand for earlier nodes, on one placeholder (node 0); returns the last."""
    graph = fx.Graph()
    nodes = [graph.placeholder("x")]
    for target, *args in calls:
        arguments = tuple(nodes[a] if isinstance(a, int) else a for a in args)
        kind = "call_method" if isinstance(target, str) else "call_function"
        nodes.append(graph.create_node(kind, target, arguments))
    graph.output(nodes[-1])
    return graph, nodes


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("relu_", True), ("relu", False), ("add_", True), ("__add__", False),
        (python_operator.iadd, True), (python_operator.add, False),
        (torch.relu_, True), (torch.ops.aten.relu_.default, True), (torch.ops.aten.relu.default, False),
    ],
)  # fmt: skip
def test_which_calls_write(target: object, expected: bool) -> None:
    _, nodes = _graph((target, 0))
    assert writes(nodes[1]) is expected


def test_later_readers_read_the_new_value() -> None:
    graph, nodes = _graph((torch.neg, 0), ("relu_", 1), (torch.add, 1, 1.0))
    assert InPlace(graph).overwritten(nodes[2]) == [nodes[1]]


def test_a_view_read_after_a_write_is_refused() -> None:
    graph, nodes = _graph((torch.neg, 0), ("view", 1, "-1"), ("relu_", 1), (torch.add, 2, 1.0))
    with pytest.raises(CaptureError) as caught:
        InPlace(graph).overwritten(nodes[3])
    assert str(caught.value) == (
        "node `relu_` writes in place, and `view`, which shares its memory, is read later; use the form that returns a "
        "new tensor"
    )


def test_a_view_read_only_before_the_write_is_fine() -> None:
    graph, nodes = _graph((torch.neg, 0), ("view", 1, "-1"), (torch.exp, 2), ("relu_", 1), (torch.add, 3, 4))
    assert InPlace(graph).overwritten(nodes[4]) == [nodes[1]]


def test_all_names_of_one_tensor_read_the_new_value() -> None:
    graph, nodes = _graph((torch.neg, 0), ("relu_", 1), ("exp_", 2), (torch.add, 1, 2))
    assert InPlace(graph).overwritten(nodes[3]) == [nodes[1], nodes[2]]


def test_a_view_of_a_view_shares_memory_too() -> None:
    graph, nodes = _graph((torch.neg, 0), ("view", 1, "-1"), ("unsqueeze", 2, "1"), ("relu_", 3), (torch.exp, 1))
    with pytest.raises(CaptureError):
        InPlace(graph).overwritten(nodes[4])
