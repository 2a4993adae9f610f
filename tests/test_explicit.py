"""The walk with its own gradient against the same walk under autograd, in double precision."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph import explicit
from boundgraph.training import robust_cross_entropy

TOLERANCE = 1e-9


class Mixed(nn.Module):
    """Convolutions of several kinds, a shared layer, skips, batch norm and pooling; few input channels, and many."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 4, stride=2, padding=1)
        self.shared = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.even = nn.Conv2d(16, 16, 2, padding="same", groups=2)
        self.flat = nn.Linear(16 * 4, 12)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = F.relu(self.norm(self.shared(x))) + 0.5 * x
        z = F.leaky_relu(self.shared(y) - x)
        z = F.avg_pool2d(F.relu(self.even(z)), 2)
        return self.last(torch.tanh(self.flat(z.flatten(1))))


def both_ways(model: nn.Module, call, method: str = "crown-ibp", inputs: tuple[Tensor, ...] = ()) -> None:
    """Values and gradients in parameters and inputs agree, one bounded module explicit and the other not."""
    found = []
    for plain in (False, True):
        bounded = boundgraph.compile(model, method)
        if plain:
            without_explicit_gradients(bounded)
        for tensor in (*model.parameters(), *inputs):
            tensor.grad = None
        value = call(bounded)
        value.sum().backward()
        found.append((value.detach(), [tensor.grad for tensor in (*model.parameters(), *inputs)]))
    (value, gradients), (expected, others) = found
    torch.testing.assert_close(value, expected, rtol=TOLERANCE, atol=TOLERANCE)
    for gradient, other in zip(gradients, others, strict=True):
        assert (gradient is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(gradient, other, rtol=TOLERANCE, atol=TOLERANCE * (1 + float(other.abs().max())))


def without_explicit_gradients(bounded: boundgraph.BoundedModule) -> None:
    build = bounded._planner.build

    def plain(request):
        plan = build(request)
        return plan._replace(run=plan.module)

    bounded._planner.build = plain  # type: ignore[method-assign]
    bounded._planner.kept = {key: plan._replace(run=plan.module) for key, plan in bounded._planner.kept.items()}


@pytest.mark.parametrize("method", ["crown-ibp", "crown"])
@pytest.mark.parametrize("name", ["deep", "residual", "shared", "normalised", "smooth", "max-pool", "two-inputs"])
def test_small_networks(networks: ModuleType, name: str, method: str) -> None:
    model, inputs = networks.build(name), networks.inputs(name)
    x = inputs[0].clone().requires_grad_()
    eps = torch.full((x.shape[0],), 0.1, dtype=x.dtype, requires_grad=True)

    def call(bounded: boundgraph.BoundedModule) -> Tensor:
        bounds = bounded(boundgraph.LpBall(x, eps), *inputs[1:])
        return bounds.lower.sum() + (bounds.upper**2).sum()

    both_ways(model, call, method, (x, eps))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", ["adaptive", "zero", "same"])
def test_an_image_network(slope: str, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x, labels = Mixed().double().train(training), torch.rand(5, 1, 8, 8).double(), torch.arange(5)
    method = boundgraph.method("crown-ibp", slope=slope)
    for chunk in (explicit.CHUNK, 20_000):  # all examples at once, and two at a time
        monkeypatch.setattr(explicit, "CHUNK", chunk)
        both_ways(model, lambda bounded: bounded.margins(x, labels, eps=0.02), method)
        both_ways(model, lambda bounded: bounded.margins(x, labels, eps=0.02, clip=(0, 1)), method)
        both_ways(model, lambda bounded: bounded.fused_cross_entropy(x, labels, eps=0.02, beta=0.7), method)


def test_rows_that_all_examples_share() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)).double(), torch.rand(6, 3).double()
    spec = torch.randn(2, 4).double()
    both_ways(model, lambda bounded: bounded(x, eps=0.3, spec=spec).upper)


def test_frozen_parameters_get_no_gradient() -> None:
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)).double(), torch.rand(6, 3).double()
    model[0].weight.requires_grad_(False)
    both_ways(model, lambda bounded: bounded(x, eps=0.3).lower)
    assert model[0].weight.grad is None


@pytest.mark.slow
def test_compiled_kernels_give_the_same() -> None:
    """Over several batch sizes, each layer with kernels of its own. aot_eager traces as inductor does, and needs no C++."""
    torch.manual_seed(0)
    model = Mixed().double().eval()
    compiled, bounded = boundgraph.compile(model, backend="aot_eager"), boundgraph.compile(model)
    for batch in (3, 5, 4):
        x, labels = torch.rand(batch, 1, 8, 8).double(), torch.arange(batch)
        found = []
        for module in (compiled, bounded):
            model.zero_grad()
            margins = module.margins(x, labels, eps=0.02)
            robust_cross_entropy(margins).backward()
            found.append([margins.detach(), *(parameter.grad for parameter in model.parameters())])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_a_batch_of_none(method: str) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    bounded, x, labels = boundgraph.compile(model, method), torch.rand(0, 3), torch.zeros(0, dtype=torch.long)
    margins = bounded.margins(x, labels, eps=0.1)
    margins.sum().backward()
    assert margins.shape == (0, 3)
    assert all((parameter.grad == 0).all() for parameter in model.parameters() if parameter.grad is not None)
    assert bounded(x, eps=0.1).upper.shape == (0, 4)


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    bounded, x = boundgraph.compile(model), torch.rand(2, 3).double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: bounded(x, eps=0.1).lower, (x,))


def test_backward_twice_and_in_any_order() -> None:
    """Nothing is kept between calls, so two graphs can be alive at once."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)).double(), torch.rand(6, 3).double()
    bounded = boundgraph.compile(model)
    first, second = bounded(x, eps=0.1).lower.sum(), bounded(x, eps=0.2).lower.sum()
    weight = model[0].weight
    (later,) = torch.autograd.grad(second, weight)
    (earlier,) = torch.autograd.grad(first, weight, retain_graph=True)
    (again,) = torch.autograd.grad(first, weight)
    assert torch.equal(earlier, again)
    torch.testing.assert_close(later, torch.autograd.grad(bounded(x, eps=0.2).lower.sum(), weight)[0])


def test_the_graph_of_the_gradient_can_be_read() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    bounded = boundgraph.compile(model)
    names = [node.name for node in bounded.backward_graph.nodes]
    assert "upstream" in names
    assert any("relu" in name and "gradient" in name for name in names)
    assert boundgraph.compile(model, "ibp").backward_graph is None


def test_fused_loss_bounds_the_cross_entropy() -> None:
    """Against samples and corners of the ball; at beta = 0 it is the loss of the IBP margins."""
    torch.manual_seed(0)
    model, x, labels = Mixed().double().eval(), torch.rand(4, 1, 8, 8).double(), torch.arange(4)
    bounded = boundgraph.compile(model)
    for eps in (0.0, 0.01, 0.1, 3.0):
        bound = bounded.fused_cross_entropy(x, labels, eps=eps, reduction="none")
        for i in range(200):
            step = 2 * torch.rand_like(x) - 1
            point = x + eps * (step.sign() if i % 2 else step)
            assert (F.cross_entropy(model(point), labels, reduction="none") <= bound + 1e-9).all()
        ibp = robust_cross_entropy(bounded.using("ibp").margins(x, labels, eps=eps), "none")
        torch.testing.assert_close(bounded.fused_cross_entropy(x, labels, eps=eps, beta=0, reduction="none"), ibp)
    exact = F.cross_entropy(model(x), labels)
    torch.testing.assert_close(bounded.fused_cross_entropy(x, labels, eps=0.0), exact)


def test_fused_loss_of_hopeless_bounds_is_finite() -> None:
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)), torch.rand(6, 3)
    loss = boundgraph.compile(model).fused_cross_entropy(x, torch.zeros(6, dtype=torch.long), eps=1e4)
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_fused_loss_refuses() -> None:
    model, x, labels = nn.Sequential(nn.Linear(3, 4)), torch.rand(6, 3), torch.zeros(6, dtype=torch.long)
    bounded = boundgraph.compile(model)
    with pytest.raises(ValueError, match="walks backward"):
        bounded.using("ibp").fused_cross_entropy(x, labels, eps=0.1)
    with pytest.raises(ValueError, match="beta"):
        bounded.fused_cross_entropy(x, labels, eps=0.1, beta=2)
    with pytest.raises(ValueError, match="reduction"):
        bounded.fused_cross_entropy(x, labels, eps=0.1, reduction="median")
