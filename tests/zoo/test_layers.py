"""The zoo's own layers: values, gradients, and bounds in units of the pixels."""

import pytest
import torch
from torch import nn

import boundgraph
from zoo import ZooError
from zoo.layers import ClippedReLU, Normalize

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def test_clipped_relu_by_hand() -> None:
    layer = ClippedReLU((3,), ceiling=2.0)
    with torch.no_grad():
        layer.ceiling[2] = 0.5
    x = torch.tensor([[-1.0, 1.0, 1.0], [3.0, 2.0, 0.25]], requires_grad=True)
    y = layer(x)
    assert y.tolist() == [[0.0, 1.0, 0.5], [2.0, 2.0, 0.25]]
    y.sum().backward()
    assert layer.ceiling.grad is not None
    assert layer.ceiling.grad.tolist() == [1.0, 0.0, 1.0]
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


def test_ceilings_are_saved_and_loaded() -> None:
    layer = ClippedReLU((2, 3, 3), ceiling=0.25)
    other = ClippedReLU((2, 3, 3))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.ceiling, torch.full((2, 3, 3), 0.25))


@pytest.mark.parametrize("ceiling", [0.0, -1.0, float("nan")])
def test_ceilings_must_be_positive(ceiling: float) -> None:
    with pytest.raises(ZooError, match="the ceiling of a clipped ReLU must be positive, not"):
        ClippedReLU((3,), ceiling)


def test_normalize_by_hand() -> None:
    x = torch.rand(2, 3, 4, 4)
    expected = torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    assert torch.equal(Normalize(MEAN, STD)(x), expected)


@pytest.mark.parametrize(("mean", "std"), [((0.5, 0.5), (1.0,)), ((0.5,), (0.0,)), ((0.5,), (-1.0,))])
def test_deviations_must_be_positive_and_one_per_mean(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ZooError, match="one positive deviation is needed per mean"):
        Normalize(mean, std)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_normalizing_inside_is_the_box_normalized_by_hand(method: str) -> None:
    """eps and clip are in pixels: the bounds are those of the rest of the model on the box in normalised units."""
    torch.manual_seed(0)
    rest = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    normalize, x, eps = Normalize(MEAN, STD), torch.rand(2, 3, 4, 4), 8 / 255
    ours = boundgraph.compile(nn.Sequential(normalize, *rest), method=method)(x, eps=eps, clip=(0, 1))
    box = boundgraph.Box(normalize((x - eps).clamp(0, 1)), normalize((x + eps).clamp(0, 1)))
    theirs = boundgraph.compile(rest, method=method)(box)
    torch.testing.assert_close(ours.lower, theirs.lower, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.upper, theirs.upper, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_normalizing_alone_is_exact(method: str) -> None:
    x, eps = torch.full((1, 3, 2, 2), 0.5), 0.1
    bounds = boundgraph.compile(Normalize(MEAN, STD), method=method)(x, eps=eps)
    width = (2 * eps / torch.tensor(STD)).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(bounds.upper - bounds.lower, width)
