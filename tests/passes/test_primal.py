"""Canonical spellings, marks of perturbation, folded constants, batch normalisation as an affine map."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

import boundgraph
from boundgraph import operator
from boundgraph.ops import batch_norm
from passes import primal
from passes.graphs import kind

Check = Callable[..., tuple[GraphModule, GraphModule]]
Stages = Callable[..., dict[str, GraphModule]]


class Spellings(nn.Module):
    """The same functions as modules, functions, methods, operators and writes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.fc(x)).contiguous())
        x = torch.add(x.relu(), F.linear(input=x, weight=self.fc.weight), alpha=2)
        x += 1
        return (-x).sub_(2.0).view(-1, 3)


class Constants(nn.Module):
    """Numbers made in forward, from the code alone and from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        offset = torch.sqrt(torch.arange(3.0) + 1) * 2
        return self.fc(x * offset) + self.fc.bias.exp()


class NormalisedTwice(nn.Module):
    """Two BatchNorms: the second one's clean batch passes through the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn1 = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.fc2, self.bn2 = nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.fc2(torch.relu(self.bn1(self.fc1(x)))))


def test_canonicalize(check_pass: Check) -> None:
    _, after = check_pass("primal.canonicalize", Spellings().eval(), golden="spellings")
    calls = [node for node in after.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    assert all(operator.of(node.target) is not None and not node.kwargs for node in calls)


def test_canonicalize_drops_the_batch_counter(check_pass: Check, networks: ModuleType) -> None:
    """BatchNorm in train mode counts batches; bounds do not."""
    _, after = check_pass("primal.canonicalize", networks.build("normalised").train(), golden="normalised-train")
    assert not [node for node in after.graph.nodes if "num_batches_tracked" in str(node.target)]


def test_mark_perturbed(check_pass: Check) -> None:
    _, after = check_pass("primal.mark_perturbed", "two-inputs", regions=("y",))
    kinds = {node.name: kind(node) for node in after.graph.nodes}
    assert (kinds["x"], kinds["y"], kinds["left"], kinds["right"], kinds["out"]) == (
        "exact", "region", "exact", "perturbed", "perturbed",
    )  # fmt: skip


def test_parameters_are_not_folded(check_pass: Check) -> None:
    _, after = check_pass("primal.fold_constants", Constants(), golden="constants")
    targets = [str(node.target) for node in after.graph.nodes]
    names = [node.name for node in after.graph.nodes]
    assert "model.fc.bias" in targets
    assert "exp" in names


class OnlyInExport(nn.Module):
    """Decides on a shape, so it is exported, which records the making of constants as calls."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError("three features, please")
        return self.fc(x) * (torch.arange(3.0) * 2)


def test_fold_constants(stages: Stages, text: Callable[[GraphModule], str]) -> None:
    model, x = OnlyInExport().eval(), torch.randn(2, 3)
    bounded = boundgraph.compile(model, example_inputs=(x,))
    names = [name for name, _ in bounded.stages]
    position = names.index("primal.fold_constants")
    before, after = bounded.stages[position - 1][1], bounded.stages[position][1]
    assert "arange" in text(before)
    assert "arange" not in text(after)
    torch.testing.assert_close(after(x), model(x))


def test_folding_leaves_the_constants_of_the_capture_alone(stages: Stages) -> None:
    after_each = stages(Constants())
    captured, x = after_each["capture"], torch.randn(2, 3)
    expected = Constants.forward(captured.model, x)
    for _ in range(2):
        torch.testing.assert_close(captured(x), expected)


def test_batch_norm_in_eval_mode(check_pass: Check) -> None:
    before, after = check_pass("primal.batch_norm_to_affine", "normalised")
    x = torch.randn(5, 3, dtype=torch.double)
    torch.testing.assert_close(after(x), before(x), rtol=1e-12, atol=1e-12)


def test_batch_norm_in_train_mode(check_pass: Check) -> None:
    """Scale and shift come from a clean pass, whose nodes start at the centre of the region."""
    model = NormalisedTwice().double().train()
    _, after = check_pass("primal.batch_norm_to_affine", model, golden="normalised-twice-train")
    clean = [node.name for node in after.graph.nodes if node.name.endswith("_clean")]
    assert len(clean) == len(set(clean)), "each clean value is computed once"
    assert all(kind(node) == "exact" for node in after.graph.nodes if node.name.endswith("_clean"))


class NormalisedImages(nn.Module):
    """Convolutions before BatchNorm: with and without a bias, and one that something else reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.conv3, self.bn3 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        both = self.conv3(x)
        return self.fc((self.bn3(both) + both).flatten(1))


def test_convolutions_take_up_the_affine_map_behind_them(check_pass: Check) -> None:
    before, after = check_pass("primal.merge_affine", NormalisedImages().double().eval(), golden="normalised-images")
    affine = [node for node in after.graph.nodes if node.target is batch_norm.forward]
    assert len(affine) == 1, "a convolution with another reader stays as it is"
    x = torch.randn(5, 2, 4, 4, dtype=torch.double)
    torch.testing.assert_close(after(x), before(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("training", [True, False])
def test_merging_affine_maps_changes_no_bound(method: str, training: bool) -> None:
    """Nor a gradient, up to rounding; and nobody's interval is lost."""
    torch.manual_seed(0)
    model = NormalisedImages().double()
    model(torch.rand(9, 2, 4, 4, dtype=torch.double))
    model.train(training)
    x, labels = torch.rand(4, 2, 4, 4, dtype=torch.double), torch.tensor([0, 1, 2, 0])
    merged = boundgraph.method(method)
    found = []
    for passes in (merged, tuple(rewrite for rewrite in merged if rewrite is not primal.merge_affine)):
        bounded = boundgraph.compile(model, passes)
        margins = bounded.margins(x, labels, eps=0.05)
        found.append((margins, *torch.autograd.grad(margins.square().sum(), list(model.parameters()))))
        names = set(bounded.intermediate_bounds(x, eps=0.05))
        assert {"conv1", "bn1", "conv2", "bn2"} <= names
    largest = max(part.abs().max() for part in found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(largest))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize(
    "name", ["five", "residual", "shared", "normalised", "conv", "residual-cnn", "max-pool", "smooth"]
)
def test_primal_stages_compute_the_model(networks: ModuleType, stages: Stages, name: str, method: str) -> None:
    model, (x,) = networks.build(name), networks.inputs(name, batch=3)
    expected = model(x)
    for stage, module in stages(model, method).items():
        if stage == "interval.forward":
            return
        torch.testing.assert_close(
            module(x), expected, rtol=1e-10, atol=1e-10, msg=lambda text, s=stage: f"{s}: {text}"
        )


def test_a_perturbation_that_does_not_reach_the_output_is_an_error(networks: ModuleType) -> None:
    class Unused(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.relu(x)

    bounded = boundgraph.compile(Unused())
    with pytest.raises(boundgraph.GraphError) as caught:
        bounded(torch.ones(1, 2), boundgraph.LpBall(torch.ones(1, 2), 0.1))
    assert str(caught.value) == "the output of Unused does not depend on the perturbed input"
