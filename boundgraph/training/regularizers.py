"""Regularisers of the warm-up: intervals that do not explode, activations that are not all dead or all alive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from boundgraph.declared import differentiated_by
from boundgraph.relaxations import or_one, positive
from boundgraph.training.schedules import interpolate_with_eps
from boundgraph.training.terms import TINY_RADIUS
from boundgraph.values import Interval


def tightness(preactivations: Sequence[Interval], input_radius: float | Tensor, tolerance: float = 0.5) -> Tensor:
    """1/(t m) sum_i max(t - r_0 / r_i, 0) over m layers: positive where a layer's mean radius r_i exceeds r_0 / t.

    preactivations: as `LossTerms` or `with_preactivations` give them. input_radius: r_0, the mean radius of the input
    region; where normalisation is part of the model, in the units before it. tolerance: t. Returns a scalar. A layer
    whose intervals are points contributes 0.

    Raises:
        ValueError: there are no pre-activations, or tolerance is not positive.

    Shi et al. 2021.
    """
    _require(preactivations, tolerance)
    shortfalls = []
    for interval in preactivations:
        radius = interval.radius.mean()
        share = input_radius / or_one(radius)
        shortfalls.append(torch.where(radius == 0, 0.0, torch.relu(tolerance - share)))
    return torch.stack(shortfalls).mean() / tolerance


def relu_balance(preactivations: Sequence[Interval], tolerance: float = 0.5) -> Tensor:
    """1/(t m) sum_i [max(t - min(a_i, 1/a_i), 0) + max(t - min(v_i, 1/v_i), 0)] over m layers.

    With centres c of a layer's batch, neurons that are active on their whole interval (lower > 0) and inactive ones
    (upper < 0): a_i is the sum of c over the active ones by that of -c over the inactive ones, v_i the same quotient of
    (c - mean c)^2. A layer without neurons of one kind contributes 0. A clipped ReLU balances about 0 alike.
    Returns a scalar; arguments and errors as for `tightness`.

    Shi et al. 2021.
    """
    _require(preactivations, tolerance)
    shortfalls = []
    for interval in preactivations:
        of_active, of_inactive, spread_active, spread_inactive, both = _sums(interval.center, interval.radius)
        mean, variance = _balance(of_active, of_inactive), _balance(spread_active, spread_inactive)
        shortfalls.append(torch.where(both > 0, torch.relu(tolerance - mean) + torch.relu(tolerance - variance), 0.0))
    return torch.stack(shortfalls).mean() / tolerance


def warmup_regularizer(
    preactivations: Sequence[Interval],
    *,
    eps: float,
    eps_max: float,
    weight: float = 0.5,
    tolerance: float = 0.5,
    input_radius: float | Tensor | None = None,
) -> Tensor:
    """weight * (1 - eps / eps_max) * (tightness + relu_balance), a scalar to be added to the loss; 0 from eps_max on.

    input_radius: that of `LossTerms`, which clipping and small boxes make less than eps; eps if not given, and 1e-6 for
    eps = 0, where the objectives take pre-activations at that radius.

    Raises:
        ValueError: eps lies outside [0, eps_max], or as for `tightness`.

    Shi et al. 2021.
    """
    _require(preactivations, tolerance)
    share = interpolate_with_eps(weight, 0.0, eps=eps, eps_max=eps_max)
    if eps == eps_max:
        return preactivations[0].center.new_zeros(())
    radius = (eps or TINY_RADIUS) if input_radius is None else input_radius
    return share * (tightness(preactivations, radius, tolerance) + relu_balance(preactivations, tolerance))


def l1(model: nn.Module) -> Tensor:
    """Sum of |w| over the weights of linear and convolutional layers, each tensor once: a scalar.

    Biases, normalisation layers and ceilings are left alone.

    Raises:
        ValueError: there is no such layer.

    De Palma et al. 2024, after Mueller et al. 2023.
    """
    layers = (module for module in model.modules() if isinstance(module, (nn.Linear, _ConvNd)))
    weights = list(dict.fromkeys(layer.weight for layer in layers))
    if not weights:
        raise ValueError("the model has no linear or convolutional layer")
    return torch.stack([weight.abs().sum() for weight in weights]).sum()


def _sums_gradient(upstream: list[Tensor], _: object, center: Tensor, radius: Tensor) -> tuple[Tensor, None]:
    """Of sum (c - mean c)^2 over some neurons: 2 (c - mean c) at these, less the mean of that over all at every one."""
    of_active, of_inactive, of_spread_active, of_spread_inactive, _nothing = upstream
    active, inactive = _stable(center, radius)
    pull = (active * of_spread_active).add_(inactive * of_spread_inactive).mul_(center - center.mean()).mul_(2)
    pull -= pull.mean()
    return pull.add_(active.mul_(of_active)).sub_(inactive.mul_(of_inactive)), None


@differentiated_by(_sums_gradient)
def _sums(center: Tensor, radius: Tensor) -> tuple[Tensor, ...]:
    """Of active and of inactive neurons the sums of |c|, then of (c - mean c)^2; last 1 if there are both, else 0."""
    active, inactive = _stable(center, radius)
    spread = (center - center.mean()).square()
    sums = (center * active).sum(), -(center * inactive).sum(), (spread * active).sum(), (spread * inactive).sum()
    return *sums, active.amax() * inactive.amax()


def _stable(center: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """1 at active neurons, and 1 at inactive ones."""
    return positive(center - radius), positive(-(center + radius))


def _balance(one: Tensor, other: Tensor) -> Tensor:
    """min(a, 1/a) of a quotient of positive numbers, and 0 for two zeros."""
    return torch.minimum(one, other) / or_one(torch.maximum(one, other))


def _require(preactivations: Sequence[Interval], tolerance: float) -> None:
    if not preactivations:
        raise ValueError("there are no pre-activations: does the model have activations?")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}")
