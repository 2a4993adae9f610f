"""Costs against formulas worked out by hand, and against counts of real runs."""

from __future__ import annotations

from types import ModuleType

import pytest
import sympy
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph import LpBall, cost
from boundgraph.cost import Cost, batch
from boundgraph.specification import batched_spec

METHODS = ("ibp", "crown-ibp", "crown")
CLASSES, ROWS = 4, 3
NAMES = ["mlp", "conv", "batch-statistics", "running-statistics"]


def linear_flops(inputs: int, outputs: int) -> int:
    return 2 * inputs * outputs


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def conv_net() -> nn.Sequential:
    """3 x 8 x 8, 8 x 4 x 4, 10 x 4 x 4, classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(160, CLASSES),
    )  # fmt: skip


def normalised(training: bool) -> nn.Sequential:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, CLASSES)
    return nn.Sequential(*layers).train(training)


def margins_cost(model: nn.Module, method: str, x: Tensor) -> Cost:
    spec = boundgraph.margin_spec(torch.arange(len(x)) % CLASSES, CLASSES)
    return boundgraph.compile(model, method).cost(x, eps=0.1, spec=spec, sides="lower")


def flops(cost: Cost, name: str, part: str = "bounds") -> sympy.Expr:
    (node,) = (node for node in cost.nodes if node.name == name and node.part == part)
    return node.flops


def test_ibp_of_an_mlp() -> None:
    first, second, third = linear_flops(6, 8), linear_flops(8, 5), linear_flops(5, CLASSES)
    found = boundgraph.compile(mlp(), "ibp").cost(torch.rand(3, 6), eps=0.1)
    # centre and radius; the radius of the first layer is the same for all examples
    assert flops(found, "linear_0_interval") == first * batch + first
    assert flops(found, "linear_2_interval") == 2 * second * batch
    assert found.flops == (first + 2 * second + 2 * third) * batch + first
    assert found.flops.subs(batch, 128) == (first + 2 * second + 2 * third) * 128 + first
    assert found.backward_flops == 0


def test_walk_of_an_mlp() -> None:
    first, second, third = linear_flops(6, 8), linear_flops(8, 5), linear_flops(5, CLASSES)
    found = margins_cost(mlp(), "crown-ibp", torch.rand(3, 6))
    assert flops(found, "linear_4_specified_rows") == ROWS * third * batch
    assert flops(found, "relu_1_form") == ROWS * second * batch
    assert flops(found, "input_1_form") == ROWS * first * batch
    assert flops(found, "relu_1_lines") == 2 * ROWS * 8 * batch  # the intercepts of the lower lines
    assert flops(found, "input_1_minimum") == 2 * ROWS * 6 * batch  # a product with one vector of radii
    # the gradients of A W: for A and for W
    assert flops(found, "relu_1_form_gradients", "gradient") == 2 * ROWS * second * batch
    assert flops(found, "input_1_form_gradients", "gradient") == 2 * ROWS * first * batch


def test_convolutions() -> None:
    first, second = 2 * 3 * 4 * 4 * (8 * 4 * 4), 2 * 8 * 3 * 3 * (10 * 4 * 4)
    interval = boundgraph.compile(conv_net(), "ibp").cost(torch.rand(2, 3, 8, 8), eps=0.1)
    assert interval.flops == (first + 2 * second + 2 * linear_flops(160, CLASSES)) * batch + first
    walk = margins_cost(conv_net(), "crown-ibp", torch.rand(2, 3, 8, 8))
    assert flops(walk, "relu_1_form") == ROWS * second * batch
    # blocks of 2 x 2 pixels take 3 x 3 neighbours, of which each pixel needs 2 x 2
    assert flops(walk, "input_1_form") == ROWS * first * 9 // 4 * batch
    assert flops(walk, "relu_1_form_gradients", "gradient") == 2 * ROWS * second * batch
    assert flops(walk, "input_1_form_gradients", "gradient") == 2 * ROWS * first * batch


def test_groups_of_channels() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES))
    found = margins_cost(model, "crown-ibp", torch.rand(2, 8, 4, 4))
    layer = 2 * 2 * 3 * 3 * (8 * 2 * 2)
    assert flops(found, "input_1_form") == ROWS * layer * batch
    assert flops(found, "input_1_form_gradients", "gradient") == 2 * ROWS * layer * batch


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["Deep", "Residual", "SharedLayer", "Normalised"])
def test_every_method_is_linear_in_the_batch(networks: ModuleType, name: str, method: str) -> None:
    found = boundgraph.compile(getattr(networks, name)(), method).cost(torch.rand(5, 3), eps=0.1)
    for node in found.nodes:
        assert sympy.degree(node.flops, batch) <= 1
        assert sympy.degree(node.bytes, batch) <= 1
    assert found.flops.subs(batch, 1) > 0
    assert 0 < found.peak_bytes.subs(batch, 100) <= found.bytes.subs(batch, 100)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
@pytest.mark.parametrize("model", [mlp(), conv_net(), normalised(True), normalised(False)], ids=NAMES)
@pytest.mark.parametrize("with_rows", [True, False])
def test_counts_are_those_of_a_real_run(model: nn.Module, method: str, with_rows: bool) -> None:
    x = torch.rand(5, 6) if isinstance(model[0], nn.Linear) else torch.rand(5, 3, 8, 8)
    spec = torch.randn(5, 7, CLASSES) if with_rows else None
    bounded = boundgraph.compile(model, method)
    found = bounded.cost(x, eps=0.1, spec=spec)
    region = LpBall(x, 0.1)
    with cost._Counter() as counter:
        bounded.plan(spec=with_rows).module(region, *([] if spec is None else [batched_spec(spec, x)]))
    assert found.flops.subs(batch, 5) == counter.flops


def test_crown_walks_every_row() -> None:
    """Which neurons are unstable is not known, so all are counted: both sides of each of the 5."""
    found = margins_cost(mlp(), "crown", torch.rand(2, 6))
    first, second = linear_flops(6, 8), linear_flops(8, 5)
    tightened = flops(found, "linear_2_tightened")
    # the layer behind the ReLU once for all examples, the layer before it for each; then sums over what is left
    assert tightened.coeff(batch, 0) == 2 * 5 * second
    assert 2 * 5 * first < tightened.coeff(batch, 1) < 3 * 5 * first


def test_bytes_of_results() -> None:
    found = boundgraph.compile(mlp(), "ibp").cost(torch.rand(3, 6, dtype=torch.float32), eps=0.1)
    size = {node.name: node.bytes for node in found.nodes}
    assert size["input_1"] == 4 * 6 * batch + 4 * 6  # centres, and one radius for all
    assert size["linear_0_interval"] == 4 * 8 * batch + 4 * 8
    assert size["model_0_weight"] == 0
    double = boundgraph.compile(mlp().double(), "ibp").cost(torch.rand(3, 6).double(), eps=0.1)
    assert double.bytes == 2 * found.bytes


def test_peak_frees_what_nobody_reads_again() -> None:
    deep = nn.Sequential(*(layer for _ in range(20) for layer in (nn.Linear(50, 50), nn.ReLU())), nn.Linear(50, 2))
    shallow = nn.Sequential(*deep[:8], nn.Linear(50, 2))
    peaks = [boundgraph.compile(model, "ibp").cost(torch.rand(2, 50), eps=0.1).peak_bytes for model in (deep, shallow)]
    assert peaks[0] == peaks[1]


def test_clipped_and_single_examples() -> None:
    bounded = boundgraph.compile(mlp(), "crown-ibp")
    several, single = bounded.cost(torch.rand(3, 6), eps=0.1), bounded.cost(torch.rand(1, 6), eps=0.1)
    assert several == single
    first = linear_flops(6, 8)
    clipped = bounded.cost(torch.rand(3, 6), eps=0.1, clip=(0, 1))  # radii differ from one example to the next
    assert clipped.flops - several.flops == first * batch - first
    per_example = bounded.cost(torch.rand(3, 6), eps=torch.rand(3))
    assert flops(per_example, "linear_0_interval") == 2 * first * batch
    assert bounded.cost(boundgraph.LpBall(torch.rand(2, 6), 0.1, norm=2)).flops.subs(batch, 1) > 0


def test_several_inputs(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.TwoInputs(), "crown-ibp")
    both = bounded.cost(LpBall(torch.rand(4, 3), 0.1), LpBall(torch.rand(4, 2), 0.1))
    one = bounded.cost(LpBall(torch.rand(4, 3), 0.1), torch.rand(4, 2))
    assert one.flops.subs(batch, 10) < both.flops.subs(batch, 10)


def test_nothing_is_changed_and_nothing_is_large() -> None:
    model = nn.Sequential(nn.Linear(10_000, 10_000, device="meta"), nn.ReLU(), nn.Linear(10_000, 10, device="meta"))
    found = boundgraph.compile(model).cost(torch.rand(2, 10_000), eps=0.1)
    assert found.flops.coeff(batch, 1) > 2 * 10_000 * 10_000
    real = mlp()
    before = dict(real.named_parameters())
    boundgraph.compile(real).cost(torch.rand(2, 6, device="meta"), eps=0.1)
    assert all(parameter is before[name] for name, parameter in real.named_parameters())
    assert all(type(parameter) is nn.Parameter for parameter in real.parameters())


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = margins_cost(mlp(), "crown-ibp", torch.rand(3, 6))
    found.print()
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert printed.strip() == str(found)
    assert lines[0].split() == ["kind", "node", "rule", "FLOPs", "bytes"]
    for node in found.nodes:
        assert any(line.split()[:3] == [node.kind, node.name, node.rule] for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("total")] == ["bounds", "gradient"]
    assert str(found.peak_bytes) in lines[-1]
    assert found.batch is batch


def test_bad_arguments_are_refused_as_in_a_call() -> None:
    bounded, x = boundgraph.compile(mlp()), torch.rand(3, 6)
    with pytest.raises(boundgraph.RegionError, match="nothing is perturbed"):
        bounded.cost(x)
    with pytest.raises(boundgraph.RegionError, match="eps must be a finite number"):
        bounded.cost(x, eps=-1)
    with pytest.raises(boundgraph.RegionError, match="takes 1 input"):
        bounded.cost(x, x, eps=0.1)
    with pytest.raises(boundgraph.RegionError, match="sides must be one of"):
        bounded.cost(x, eps=0.1, sides="left")
    with pytest.raises(boundgraph.RegionError, match="spec has 7 columns"):
        bounded.cost(x, eps=0.1, spec=torch.rand(2, 7))
    with pytest.raises(boundgraph.RegionError, match=r"shape \[\(3, 5\)\] do not fit .* `linear_0_interval`"):
        bounded.cost(torch.rand(3, 5), eps=0.1)
    with pytest.raises(boundgraph.RegionError, match="batch as dimension 0"):
        bounded.cost(torch.tensor(1.0), eps=0.1)
