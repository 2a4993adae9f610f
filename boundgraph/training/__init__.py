"""Certified training, for any training loop: objectives, regularisers, an initialisation, schedules.

A CROWN-IBP step is four lines of the caller's own loop:

    eps = schedule(step)
    kappa = interpolate_with_eps(1.0, 0.5, eps=eps, eps_max=schedule.eps_max)
    beta = interpolate_with_eps(1.0, 0.0, eps=eps, eps_max=schedule.eps_max)
    crown_ibp_loss(bounded, x, labels, eps=eps, kappa=kappa, beta=beta, clip=(0, 1)).loss.backward()

Every objective is called `loss(bounded, x, labels, *, eps, clip, ...coefficients of its own)` and returns `LossTerms`.
"""

from boundgraph.losses import robust_cross_entropy
from boundgraph.training.attack import attack
from boundgraph.training.crown_ibp import NEGLIGIBLE_BETA, crown_ibp_loss, ibp_loss, mixed_margins
from boundgraph.training.expressive import cc_ibp_loss, exp_ibp_loss, mtl_ibp_loss
from boundgraph.training.initialization import ibp_initialize_, set_ceilings_
from boundgraph.training.regularizers import l1, relu_balance, tightness, warmup_regularizer
from boundgraph.training.schedules import LinearSchedule, SmoothedSchedule, interpolate_with_eps
from boundgraph.training.small_boxes import sabr_loss
from boundgraph.training.terms import TINY_RADIUS, LossTerms, natural_loss

__all__ = [
    "NEGLIGIBLE_BETA",
    "TINY_RADIUS",
    "LinearSchedule",
    "LossTerms",
    "SmoothedSchedule",
    "attack",
    "cc_ibp_loss",
    "crown_ibp_loss",
    "exp_ibp_loss",
    "ibp_initialize_",
    "ibp_loss",
    "interpolate_with_eps",
    "l1",
    "mixed_margins",
    "mtl_ibp_loss",
    "natural_loss",
    "relu_balance",
    "robust_cross_entropy",
    "sabr_loss",
    "set_ceilings_",
    "tightness",
    "warmup_regularizer",
]
