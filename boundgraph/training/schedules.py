"""Radii and weights of a training step, as plain functions of its number or of the radius."""

import math
from dataclasses import dataclass


def interpolate_with_eps(start: float, final: float, *, eps: float, eps_max: float) -> float:
    """Weight tied to the radius, start - (start - final) * eps / eps_max: `start` at 0, `final` at eps_max.

    eps and eps_max share one unit. Made for kappa and beta.

    Raises:
        ValueError: eps lies outside [0, eps_max].

    Zhang et al. 2020 (CROWN-IBP).
    """
    if not 0 <= eps <= eps_max:
        raise ValueError(f"eps must lie between 0 and eps_max = {eps_max}, not {eps}")
    if eps == 0:
        return start
    if eps == eps_max:  # exactly, whatever start - (start - final) rounds to
        return final
    return start - (start - final) * eps / eps_max


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """Radius eps_max * clip((step - start) / length, 0, 1) of a training step.

    eps_max: in the model's input units. start: last step at radius 0. length: steps from there to eps_max; 0 is a jump.

    Raises:
        ValueError: an argument is negative or not finite.

    Gowal et al. 2018 (IBP); Zhang et al. 2020 (CROWN-IBP).
    """

    eps_max: float
    start: int
    length: int

    def __post_init__(self) -> None:
        for name, value in (("eps_max", self.eps_max), ("start", self.start), ("length", self.length)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, not {value}")

    def __call__(self, step: int) -> float:
        """Radius at this optimizer step, counted from 0."""
        if step >= self.start + self.length:
            return self.eps_max
        if step <= self.start:
            return 0.0
        return self.eps_max * self._rise((step - self.start) / self.length)

    def _rise(self, fraction: float) -> float:
        """Share of eps_max that this fraction of the ramp has reached."""
        return fraction


@dataclass(frozen=True, kw_only=True)
class SmoothedSchedule(LinearSchedule):
    """Radius that grows as a power of the step on the first part of the ramp and linearly after it, C1 at the join.

    Arguments as for `LinearSchedule`, and power p, midpoint m: the fraction of the ramp at which the two parts join,
    at the value eps_max * m / (m + p * (1 - m)), by default eps_max / 13.

    Raises:
        ValueError: an argument is negative or not finite, power < 1, or midpoint lies outside (0, 1).

    Zhang et al. 2020 (CROWN-IBP), for CIFAR-10; Xu et al. 2020 (auto_LiRPA).
    """

    power: float = 4.0
    midpoint: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.power < math.inf:
            raise ValueError(f"power must be finite and at least 1, not {self.power}")
        if not 0 < self.midpoint < 1:
            raise ValueError(f"midpoint must lie strictly between 0 and 1, not {self.midpoint}")

    def _rise(self, fraction: float) -> float:
        # The slopes p * join / m and (1 - join) / (1 - m) are equal for this value at the join.
        join = self.midpoint / (self.midpoint + self.power * (1 - self.midpoint))
        if fraction < self.midpoint:
            return join * (fraction / self.midpoint) ** self.power
        return join + (1 - join) * (fraction - self.midpoint) / (1 - self.midpoint)
