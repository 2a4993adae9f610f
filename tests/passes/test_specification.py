"""A specification becomes part of the graph and of the last linear layer."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from boundgraph.ops import specification

Check = Callable[..., tuple[GraphModule, GraphModule]]


def test_append(check_pass: Check) -> None:
    check_pass("specification.append", "five", spec=True)


def test_append_without_a_specification_changes_nothing(
    networks: ModuleType, stages: Callable, text: Callable[[GraphModule], str]
) -> None:
    after_each = stages(networks.build("five"))
    assert text(after_each["specification.append"]) == text(after_each["primal.canonicalize"])


def test_merge(check_pass: Check, networks: ModuleType) -> None:
    before, after = check_pass("specification.merge", "five", spec=True)
    (x,), spec = networks.inputs("five"), torch.randn(1, 2, 3, dtype=torch.double)
    torch.testing.assert_close(after(x, spec), before(x, spec), rtol=1e-12, atol=1e-12)


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).flatten(1)


def test_merge_looks_through_flatten_and_a_missing_bias(check_pass: Check) -> None:
    _, after = check_pass("specification.merge", Flattened(), golden="flattened", spec=True)
    assert specification.merged in [node.target for node in after.graph.nodes]


class EndsInReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


def test_nothing_merges_into_a_non_linear_end(check_pass: Check) -> None:
    before, after = check_pass("specification.merge", EndsInReLU(), golden="ends-in-relu", spec=True)
    assert [node.target for node in after.graph.nodes] == [node.target for node in before.graph.nodes]


class ReadsLogitsTwice(nn.Module):
    """The last linear layer is read by a shortcut too, so the output is not that layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return y + torch.relu(y)


def test_a_sum_is_no_linear_layer(check_pass: Check) -> None:
    _, after = check_pass("specification.merge", ReadsLogitsTwice(), golden="reads-logits-twice", spec=True)
    assert specification.merged not in [node.target for node in after.graph.nodes]
