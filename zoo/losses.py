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
    takes: frozenset[str]  # of the settings in NEUTRAL, those that it has a use for
    own: dict[str, Any] = {}  # its defaults for some of them  # noqa: RUF012

    @property
    def walks(self) -> bool:
        """Whether CROWN-IBP bounds take part."""
        return "beta_start" in self.takes

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: value for name, value in NEUTRAL.items() if name not in self.takes} | self.own


# Settings that mean something to some methods alone, with the values that the others leave them at.
NEUTRAL: dict[str, Any] = {
    "kappa_start": 0.0,
    "kappa_final": 0.0,
    "beta_start": 0.0,
    "beta_final": 0.0,
    "fused": False,
    "precision": "float32",
    "ratio": 1.0,
    "alpha": 1.0,
    "attack_steps": 1,
}


def _natural(batch: Batch, config: "TrainingConfig") -> LossTerms:
    """Margins of logits say nothing about a ball, so they are not passed on as bounds."""
    return training.natural_loss(batch.bounded, batch.x, batch.labels)._replace(margins=None)


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


_on_small_boxes = _attacked(training.sabr_loss, "ratio")


def _sabr(batch: Batch, config: "TrainingConfig") -> LossTerms:
    """Its margins are those of the small box: they are no bounds on the ball."""
    return _on_small_boxes(batch, config)._replace(margins=None)


_MIX = frozenset({"kappa_start", "kappa_final"})
_WALK = frozenset({"beta_start", "beta_final", "fused", "precision"})
_SMALL_BOX, _EXPRESSIVE = frozenset({"ratio", "attack_steps"}), frozenset({"alpha", "attack_steps"})
METHODS: dict[str, Method] = {
    "natural": Method(_natural, frozenset()),
    "ibp": Method(_crown_ibp, _MIX),
    "crown-ibp": Method(_crown_ibp, _MIX | _WALK, {"beta_start": 1.0, "beta_final": 0.0}),
    "sabr": Method(_sabr, _SMALL_BOX, {"ratio": 0.9}),
    "mtl-ibp": Method(_attacked(training.mtl_ibp_loss, "alpha"), _EXPRESSIVE, {"alpha": 0.5}),
    "cc-ibp": Method(_attacked(training.cc_ibp_loss, "alpha"), _EXPRESSIVE, {"alpha": 0.5}),
    "exp-ibp": Method(_attacked(training.exp_ibp_loss, "alpha"), _EXPRESSIVE, {"alpha": 0.5}),
}
