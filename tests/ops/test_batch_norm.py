"""Batch normalisation as the per-channel affine map it becomes, in both modes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.batch_norm import BATCH_NORM, CHANNEL_AFFINE, batch_scale_and_shift, running_scale_and_shift
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


def test_laws(tensor) -> None:
    shapes = [(2, 3), (2, 3, 4), (2, 3, 2, 2), (1, 3, 2, 1, 2)]
    check_operator(CHANNEL_AFFINE, cases=[(Perturbed(*shape), tensor(3), tensor(3)) for shape in shapes])


def layer(dims: int, **options: bool) -> nn.Module:
    """With statistics and scales, negative ones too, that differ from their defaults."""
    result = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims](3, **options).double()
    if result.affine:
        result.weight.data, result.bias.data = torch.tensor([[-2.0, 0.5, 0.0], [1.0, -1.0, 3.0]]).double()
    if result.track_running_stats:
        result.running_mean, result.running_var = torch.tensor([[1.0, -1.0, 0.0], [4.0, 0.1, 1.0]]).double()
    return result


OPTIONS = [{}, {"affine": False}, {"track_running_stats": False}, {"affine": False, "track_running_stats": False}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("train", [False, True])
def test_value_at_radius_zero(tensor, dims: int, options: dict[str, bool], train: bool) -> None:
    """The bounds at radius 0 are what the layer computes, and computing them leaves its statistics alone."""
    model, x = layer(dims, **options).train(train), tensor(4, 3, *(3,) * dims)
    before = copy.deepcopy(model.state_dict())
    for method in ("ibp", "crown"):
        bounds = boundgraph.compile(model, method)(x, eps=0.0)
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        torch.testing.assert_close(bounds.lower, copy.deepcopy(model)(x))
        torch.testing.assert_close(bounds.upper, copy.deepcopy(model)(x))


def test_train_mode_takes_the_statistics_of_the_centre(tensor) -> None:
    """In train mode the map is fixed by the clean batch: bounds are its values at the corners of the box."""
    model, x = nn.Sequential(nn.Linear(2, 3), layer(0)).double().train(), tensor(5, 2)
    bounds = boundgraph.compile(model, "crown")(x, eps=0.5)
    scale, shift = batch_scale_and_shift(model[0](x), model[1].weight, model[1].bias, model[1].eps)
    corners = torch.stack(
        [model[0](x + 0.5 * torch.tensor(c)) * scale + shift for c in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    )
    torch.testing.assert_close(bounds.lower, corners.amin(0))
    torch.testing.assert_close(bounds.upper, corners.amax(0))


def test_gradients_reach_the_statistics_of_the_batch(tensor) -> None:
    model, x = nn.Sequential(nn.Linear(2, 3), layer(0), nn.ReLU(), nn.Linear(3, 2)).double().train(), tensor(5, 2)
    bounded = boundgraph.compile(model, "crown-ibp")
    weight = model[0].weight

    def bound(value: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(bounded, {"model.0.weight": value}, (x,), {"eps": 0.1}).lower

    assert torch.autograd.gradcheck(bound, (weight.detach().clone().requires_grad_(),))


@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_sound(tensor, options: dict[str, bool]) -> None:
    model = (
        nn.Sequential(nn.Conv2d(1, 3, 2), layer(2, **options), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        .double()
        .eval()
    )
    for method in ("ibp", "crown-ibp"):
        check_sound(model, boundgraph.LpBall(tensor(2, 1, 3, 3), 0.1), method=method, samples=8, steps=4, rows=1)


def test_spellings(bound, tensor) -> None:
    mean, var, weight, shift = tensor(3), tensor(3).abs(), tensor(3), tensor(3)
    x = tensor(2, 3, 4)
    calls = {
        F.batch_norm: lambda x: F.batch_norm(x, mean, var, weight, shift, eps=1e-3),
        torch.batch_norm: lambda x: torch.batch_norm(x, weight, shift, mean, var, False, 0.1, 1e-3, False),
        aten.batch_norm.default: lambda x: aten.batch_norm.default(
            x, weight, shift, mean, var, False, 0.1, 1e-3, False
        ),
    }
    assert set(calls) == set(BATCH_NORM.adapters)
    for call in calls.values():
        torch.testing.assert_close(bound(call, x, eps=0.0).lower, call(x))
    scale, offset = running_scale_and_shift(mean, var, None, None, 1e-3)
    torch.testing.assert_close(
        bound(lambda x: F.batch_norm(x, mean, var, eps=1e-3), x, eps=0.0).lower, x * scale[:, None] + offset[:, None]
    )
