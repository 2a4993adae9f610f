"""The initialisation keeps widths of intervals; ceilings become mean activations."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.ramp import ramp
from boundgraph.training import ibp_initialize_, set_ceilings_


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_radii(model: nn.Module, x: Tensor) -> list[float]:
    bounded = boundgraph.compile(model, method="ibp")
    with torch.no_grad():
        _, read = bounded.with_preactivations(x, eps=0.01)
    return [interval.radius.mean().item() for interval in read]


def test_widths_are_kept_through_a_deep_network() -> None:
    """The first layer doubles the width, for no ReLU has halved it; then it stays, where the usual initialisation, of
    gain sqrt(n) / 4, multiplies it again and again."""
    layers = [nn.Linear(256, 512), nn.ReLU(), *(part for _ in range(9) for part in (nn.Linear(512, 512), nn.ReLU()))]
    model, x = nn.Sequential(*layers, nn.Linear(512, 10)), torch.rand(16, 256, generator=seeded())
    before = mean_radii(model, x)
    assert before[-1] > 1e3 * before[0]
    ibp_initialize_(model, generator=seeded(1))
    radii = mean_radii(model, x)
    assert radii[0] == pytest.approx(2 * 0.01, rel=0.05)
    assert radii == pytest.approx([radii[0]] * 10, rel=0.25)


def test_widths_are_kept_through_a_convolutional_network() -> None:
    """In the middle of the image, where kernels see no padding; also for grouped and strided layers."""
    convs = [
        nn.Conv2d(3, 64, 3),
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 128, 3, stride=2),
        nn.Conv2d(128, 128, 3, groups=4),
    ]
    convs += [nn.ConvTranspose2d(128, 64, 4, stride=2, padding=3)]
    body = [part for conv in convs for part in (conv, nn.ReLU())]
    model = nn.Sequential(*body, nn.Flatten(), nn.LazyLinear(10))
    x = torch.rand(4, 3, 20, 20, generator=seeded())
    model(x)
    ibp_initialize_(model, generator=seeded(1))
    radii = mean_radii(model, x)
    assert radii == pytest.approx([2 * 0.01] * 5, rel=0.25)


def test_distribution_last_layer_and_generator() -> None:
    model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    before = copy.deepcopy(model.state_dict())
    ibp_initialize_(model, generator=seeded(3))
    weight = model[0].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / (9 * 8), rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=0.002)
    assert bool((model[0].bias == 0).all())
    for name in ("1.weight", "4.weight", "4.bias"):
        assert torch.equal(model.state_dict()[name], before[name])
    again = copy.deepcopy(model)
    ibp_initialize_(again, generator=seeded(3))
    assert torch.equal(again[0].weight, weight)
    assert weight.requires_grad


def test_models_that_cannot_be_initialised() -> None:
    with pytest.raises(ValueError, match="the model has 1 linear or convolutional layers; all but the last are"):
        ibp_initialize_(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    with pytest.raises(ValueError, match=r"LazyLinear.* has no sizes yet; run the model on a batch first"):
        ibp_initialize_(nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2)))


class Clipped(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.ceiling = nn.Parameter(torch.full(shape, math.inf))

    def forward(self, x: Tensor) -> Tensor:
        return ramp(x, self.ceiling)


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        Clipped(4, 1, 1),
        nn.Flatten(),
        nn.Linear(64, 8),
        Clipped(8),
        nn.Linear(8, 3),
    )


@pytest.mark.parametrize("layers", [Clipped, lambda module: isinstance(module, Clipped)])
def test_ceilings_become_mean_activations(layers) -> None:
    torch.manual_seed(0)
    model = net()
    data = torch.rand(10, 1, 6, 6)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    set_ceilings_(model, layers, [(data[:7], None), [data[7:]]])

    reference = copy.deepcopy(model).eval()
    hidden = reference[1](reference[0](data)).relu()
    torch.testing.assert_close(model[2].ceiling.data, hidden.mean((0, 2, 3)).reshape(4, 1, 1))
    torch.testing.assert_close(model[5].ceiling.data, reference[4](hidden.flatten(1)).relu().mean(0))
    assert model.training
    assert model[2].ceiling.requires_grad
    torch.testing.assert_close(dict(model.named_buffers()), buffers)


@pytest.mark.parametrize("shape", [(), (1,), (4, 4, 4), (1, 4, 1, 1), (4, 1, 4)])
def test_ceilings_of_any_shape(shape: tuple[int, ...]) -> None:
    model, data = nn.Sequential(nn.Conv2d(1, 4, 3), Clipped(*shape)), torch.rand(10, 1, 6, 6)
    set_ceilings_(model, Clipped, data.split(3))
    mean = model[0](data).relu().mean(0)
    sizes = (1,) * (3 - len(shape)) + shape[-3:]
    for dim, size in enumerate(sizes):
        mean = mean.mean(dim, keepdim=True) if size == 1 else mean
    torch.testing.assert_close(model[1].ceiling.data, mean.reshape(shape))


def test_ceilings_that_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="no layer of the model has a ceiling to set"):
        set_ceilings_(nn.Linear(2, 2), Clipped, [torch.rand(1, 2)])
    with pytest.raises(ValueError, match="layer `0` has no tensor `ceiling`"):
        set_ceilings_(nn.Sequential(nn.ReLU()), nn.ReLU, [torch.rand(1, 2)])
    with pytest.raises(ValueError, match="layer `2` saw no examples"):
        set_ceilings_(net(), Clipped, [])
