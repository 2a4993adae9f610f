"""What one call may ask for: specifications, sides, margins, intermediate bounds."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import boundgraph
from boundgraph import BoundedModule

METHODS = ("ibp", "crown-ibp", "crown")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("name", ["five", "residual-cnn", "max-pool"])
def test_margins_are_the_rows_of_their_specification(networks: ModuleType, method: str, name: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build(name), method), networks.inputs(name, batch=3)
    labels = torch.tensor([0, 2, 1])
    spec = boundgraph.margin_spec(labels, 3)
    assert spec.tolist()[1] == [[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]
    margins = bounded.margins(x, labels, eps=0.1)
    assert margins.shape == (3, 2)
    assert torch.equal(margins, bounded(x, eps=0.1, spec=spec, sides="lower").lower)
    assert torch.equal(margins, bounded.margins(boundgraph.LpBall(x, 0.1), labels))
    at_zero, logits = bounded.margins(x, labels, eps=0.0), bounded.model(x)
    expected = (logits.gather(1, labels[:, None]) - logits)[torch.arange(3) != labels[:, None]].view(3, 2)
    torch.testing.assert_close(at_zero, expected)


def test_shapes_of_specifications(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five"), method), networks.inputs("five", batch=4)
    rows = torch.randn(5, 3, dtype=torch.double)
    shared, repeated = bounded(x, eps=0.1, spec=rows), bounded(x, eps=0.1, spec=rows.expand(4, 5, 3))
    alone = bounded(x, eps=0.1, spec=rows[None])
    assert shared.lower.shape == shared.upper.shape == shared.interval.lower.shape == (4, 5)
    for other in (repeated, alone):
        torch.testing.assert_close(other.lower, shared.lower)
        torch.testing.assert_close(other.upper, shared.upper)


def test_integer_specifications_are_converted(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five"), method), networks.inputs("five")
    whole = bounded(x, eps=0.1, spec=torch.tensor([[1, -1, 0]]))
    torch.testing.assert_close(whole.lower, bounded(x, eps=0.1, spec=torch.tensor([[1.0, -1.0, 0.0]])).lower)


def test_the_identity_specification_bounds_the_output(networks: ModuleType, method: str) -> None:
    for name in ("five", "residual", "residual-cnn", "smooth"):
        bounded, (x,) = boundgraph.compile(networks.build(name), method), networks.inputs(name)
        plain, specified = bounded(x, eps=0.1), bounded(x, eps=0.1, spec=torch.eye(3))
        torch.testing.assert_close(plain[:2], specified[:2], rtol=1e-10, atol=1e-10)


def test_a_negated_row_swaps_the_sides(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("residual-cnn"), method), networks.inputs("residual-cnn")
    spec = torch.randn(2, 4, 3, dtype=torch.double)
    plus, minus = bounded(x, eps=0.1, spec=spec), bounded(x, eps=0.1, spec=-spec)
    torch.testing.assert_close(plus.lower, -minus.upper, rtol=1e-10, atol=1e-10)


class Image(nn.Module):
    """Ends in a feature map, so a specification runs over the flattened output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


class Sequence(nn.Module):
    """A linear layer at every step, flattened: the specification spans the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).flatten(1)


class OnePerExample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 1, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).squeeze(-1)


@pytest.mark.parametrize(
    ("model", "shape", "outputs"),
    [(Image(), (1, 5, 5), 18), (Sequence(), (4, 3), 8), (OnePerExample(), (3,), 1), (nn.Linear(3, 2).double(), (4, 3), 8)],
    ids=["image", "sequence", "one number", "sequence, not flattened"],
)  # fmt: skip
def test_specifications_run_over_the_flattened_output(
    method: str, model: nn.Module, shape: tuple[int, ...], outputs: int
) -> None:
    bounded, x = boundgraph.compile(model, method), torch.rand(3, *shape, dtype=torch.double)
    spec = torch.randn(5, outputs, dtype=torch.double)
    exact = bounded(x, eps=0.0, spec=spec).lower
    torch.testing.assert_close(exact, model(x).reshape(3, -1) @ spec.T)
    plain = bounded(x, eps=0.1)
    assert plain.lower.shape == model(x).shape
    torch.testing.assert_close(
        bounded(x, eps=0.1, spec=torch.eye(outputs)).lower, plain.lower.reshape(3, -1), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("spec", [None, torch.tensor([[1.0, -1.0, 0.0]])])
def test_sides(networks: ModuleType, method: str, spec: Tensor | None) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("residual-cnn"), method), networks.inputs("residual-cnn")
    both = bounded(x, eps=0.1, spec=spec)
    lower, upper = (bounded(x, eps=0.1, spec=spec, sides=side) for side in ("lower", "upper"))
    assert lower.upper is None
    assert upper.lower is None
    torch.testing.assert_close(lower.lower, both.lower, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(upper.upper, both.upper, rtol=1e-12, atol=1e-12)


def test_the_interval_comes_along(networks: ModuleType, method: str) -> None:
    """For all three methods; those of "crown-ibp" are the bounds of "ibp", and need no second pass."""
    model, (x,) = networks.build("residual-cnn"), networks.inputs("residual-cnn")
    bounded, ibp = boundgraph.compile(model, method), boundgraph.compile(model, "ibp")
    for spec in (None, torch.randn(2, 3, dtype=torch.double)):
        found, reference = bounded(x, eps=0.1, spec=spec), ibp(x, eps=0.1, spec=spec)
        assert torch.equal(reference.lower, reference.interval.lower)
        if method == "crown":
            assert (found.interval.lower >= reference.lower - 1e-12).all()
            assert (found.interval.upper <= reference.upper + 1e-12).all()
        else:
            assert torch.equal(found.interval.lower, reference.lower)
            assert torch.equal(found.interval.upper, reference.upper)


class _Values(fx.Interpreter):
    """The value of every node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


@pytest.mark.parametrize(
    "name", ["five", "residual", "shared", "normalised", "conv", "residual-cnn", "max-pool", "smooth", "any-size"]
)
def test_intermediate_bounds_enclose_every_value(networks: ModuleType, method: str, name: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build(name), method), networks.inputs(name)
    found = bounded.intermediate_bounds(x, eps=0.2)
    perturbed = [
        n.name for n in bounded.primal.graph.nodes if n.meta["kind"] in ("region", "perturbed") and n.op != "output"
    ]
    assert sorted(found) == sorted(perturbed)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype) * 0.4 - 0.2
        interpreter = _Values(bounded.primal)
        interpreter.run(x + noise.sign() * 0.2 if _ % 2 else x + noise)
        for node, interval in found.items():
            assert (interpreter.values[node] >= interval.lower - 1e-9).all(), node
            assert (interpreter.values[node] <= interval.upper + 1e-9).all(), node


def test_intermediate_bounds_in_train_mode(networks: ModuleType, method: str) -> None:
    bounded = boundgraph.compile(networks.build("residual-cnn").train(), method)
    found = bounded.intermediate_bounds(*networks.inputs("residual-cnn"), eps=0.1)
    assert {"x", "stem", "bn1", "relu", "conv", "bn2", "shortcut", "add", "relu_1", "fc"} <= set(found)
    assert not [name for name in found if name.endswith("_clean")]


def test_intermediate_bounds_walk_only_inside(networks: ModuleType) -> None:
    """The final walk from the output is no intermediate bound, and is left out."""
    bounded = boundgraph.compile(networks.build("five"), "crown-ibp")
    plan = bounded._planner.plan(
        bounded._request((boundgraph.LpBall(torch.zeros(1, 3), 0.1),), False, "both")._replace(keep_intervals=True)
    )
    assert not [node.name for node in plan.graph.nodes if node.meta.get("kind") == "form"]


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_preactivations_come_with_the_bounds(networks: ModuleType, method: str) -> None:
    """What every activation reads, BatchNorm's results where they read those, from the same pass and with gradients."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.Tanh()),
        nn.Linear(5, 3),
    )
    bounded, x = boundgraph.compile(model, method), torch.rand(6, 1, 4, 4)
    spec = boundgraph.margin_spec(torch.tensor([0, 1, 2, 0, 1, 2]), 3)
    for mode in (True, False):
        bounded.train(mode)
        bounds, (first, second) = bounded.with_preactivations(x, eps=0.1, spec=spec, sides="lower")
        assert bounds.upper is None
        torch.testing.assert_close(bounds.lower, bounded(x, eps=0.1, spec=spec, sides="lower").lower)
        after_norm, hidden = model[:2](x), model[:5](x)
        for interval, value in ((first, after_norm), (second, hidden)):
            assert interval.shape == value.shape
            assert bool((interval.lower <= value + 1e-5).all())
            assert bool((value <= interval.upper + 1e-5).all())
        (first.radius.mean() + second.radius.mean()).backward()
        assert model[0].weight.grad is not None
        model.zero_grad()


def test_preactivations_of_several_outputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.relu(x), x

    with pytest.raises(boundgraph.RegionError, match="beside the bounds of one tensor; wrap the model"):
        boundgraph.compile(Two(), "ibp").with_preactivations(torch.zeros(1, 3), eps=0.1)


# ---------------------------------------------------------------------- proofs


def test_certified_counts_every_proof(networks: ModuleType) -> None:
    """What IBP, CROWN-IBP or the method itself proves, and nothing else."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    x = torch.randn(200, 2)
    labels = model(x).argmax(1)
    labels[:5] = (labels[:5] + 1) % 3  # wrong ones are never proven
    bounded = boundgraph.compile(model, "crown")
    for options in ({"eps": 0.2}, {"eps": torch.linspace(0, 0.4, 200)}, {"eps": 0.2, "norm": 2, "clip": (-1.5, 1.5)}):
        x_inside = x.clamp(-1.5, 1.5)
        margins = [bounded.using(m).margins(x_inside, labels, **options) for m in ("ibp", "crown-ibp", "crown")]
        expected = torch.stack([(part > 0).all(1) for part in margins]).any(0)
        proven = bounded.certified(x_inside, labels, **options)
        assert proven.dtype == torch.bool
        assert torch.equal(proven, expected)
        assert not proven[:5].any()
        assert 0 < proven.sum() < 195


def test_certified_asks_costly_methods_for_the_rest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    bounded = boundgraph.compile(model, "crown")
    asked: list[tuple[object, int]] = []
    margins = BoundedModule.margins

    def counted(self: BoundedModule, x: boundgraph.LpBall, labels: Tensor, **options: object) -> Tensor:
        asked.append((self.method, len(labels)))
        return torch.where(torch.arange(len(labels)) % 2 == 0, 1.0, -1.0).unsqueeze(1)

    monkeypatch.setattr(BoundedModule, "margins", counted)
    proven = bounded.certified(torch.rand(8, 2), torch.zeros(8, dtype=torch.long), eps=0.1)
    assert asked == [("ibp", 8), ("crown-ibp", 4), ("crown", 2)]
    assert proven.sum() == 7
    monkeypatch.setattr(BoundedModule, "margins", margins)
    with pytest.raises(boundgraph.RegionError, match="nothing is perturbed"):
        bounded.certified(torch.rand(8, 2), torch.zeros(8, dtype=torch.long))
    for ask in (bounded.margins, bounded.using("crown-ibp").fused_cross_entropy):
        for count in (1, 2):  # one label would fit any number of examples
            with pytest.raises(
                boundgraph.RegionError, match=rf"there are {count} label\(s\) for an input of shape \(8, 2"
            ):
                ask(torch.rand(8, 2), torch.zeros(count, dtype=torch.long), eps=0.1)
    with pytest.raises(boundgraph.RegionError, match=r"labels must be integers of shape \(8,\)"):
        bounded.certified(torch.rand(8, 2), torch.zeros(1, dtype=torch.long), eps=0.1)


def test_nan_certifies_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.full((3, 2), torch.nan)
    assert not boundgraph.compile(model, "crown").certified(x, torch.zeros(3, dtype=torch.long), eps=0.1).any()
