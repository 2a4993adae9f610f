"""The training methods by name: each one call of `boundgraph.training` with the settings of a run.

A method is a function of (bounded module, images, labels, moment of the run, settings, generator) to `LossTerms`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

import boundgraph
from boundgraph import training
from boundgraph.training import LossTerms

if TYPE_CHECKING:
    from zoo.config import TrainingConfig


class Moment(NamedTuple):
    """What changes in the course of a run."""

    eps: float  # radius of this step, in units of the pixels
    kappa: float  # weight of the natural loss
    beta: float  # share of CROWN-IBP


class Batch(NamedTuple):
    """What a loss is computed on."""

    bounded: boundgraph.BoundedModule
    x: Tensor  # (batch, channels, height, width), pixels in [0, 1]
    labels: Tensor  # (batch,)
    moment: Moment
    clip: tuple[float, float]
    regularized: bool  # whether pre-activations are asked for
    generator: torch.Generator  # of random starts of attacks


Loss = Callable[[Batch, "TrainingConfig"], LossTerms]


class Method(NamedTuple):
    """A way to train."""

    loss: Loss
    walks: bool  # whether CROWN-IBP bounds take part
    defaults: dict[str, Any]


def _natural(batch: Batch, config: "TrainingConfig") -> LossTerms:
    return training.natural_loss(batch.bounded, batch.x, batch.labels)


def _crown_ibp(batch: Batch, config: "TrainingConfig") -> LossTerms:
    return training.crown_ibp_loss(
        batch.bounded,
        batch.x,
        batch.labels,
        **batch.moment._asdict(),
        clip=batch.clip,
        fused=config.fused,
        preactivations=batch.regularized,
    )


def _attacked(loss: Callable[..., LossTerms], *coefficients: str) -> Loss:
    def run(batch: Batch, config: "TrainingConfig") -> LossTerms:
        return loss(
            batch.bounded,
            batch.x,
            batch.labels,
            eps=batch.moment.eps,
            clip=batch.clip,
            **{name: getattr(config, name) for name in coefficients},
            steps=config.attack_steps,
            generator=batch.generator,
            preactivations=batch.regularized,
        )

    return run


def _sabr(batch: Batch, config: "TrainingConfig") -> LossTerms:
    """Its margins are those of the small box: they are no bounds on the ball."""
    return _attacked(training.sabr_loss, "ratio")(batch, config)._replace(margins=None)


_NO_WALK = {"beta_start": 0.0, "beta_final": 0.0}
METHODS: dict[str, Method] = {
    "natural": Method(_natural, False, _NO_WALK),
    "ibp": Method(_crown_ibp, False, _NO_WALK),
    "crown-ibp": Method(_crown_ibp, True, {"beta_start": 1.0, "beta_final": 0.0}),
    "sabr": Method(_sabr, False, _NO_WALK | {"ratio": 0.9}),
    "mtl-ibp": Method(_attacked(training.mtl_ibp_loss, "alpha"), False, _NO_WALK | {"alpha": 0.5}),
    "cc-ibp": Method(_attacked(training.cc_ibp_loss, "alpha"), False, _NO_WALK | {"alpha": 0.5}),
    "exp-ibp": Method(_attacked(training.exp_ibp_loss, "alpha"), False, _NO_WALK | {"alpha": 0.5}),
}
