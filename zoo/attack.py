"""Projected gradient descent: a lower bound on the robust error, to hold against the verified upper bound."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from zoo.layers import ClippedReLU
from zoo.scores import correct, margin_to, worst_margin

# Shares of the steps after which the step size is halved: long steps reach the far corners, short ones settle there.
HALVED_AFTER = (0.5, 0.75)


def pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float,
    clip: tuple[float, float],
    steps: int,
    step_size: float,
    restarts: int,
    generator: torch.Generator,
    leak: float = 0.0,
) -> Tensor:
    """Whether a misclassified input was found within l_inf distance eps of x and inside `clip`: (batch,), bool.

    Each restart begins at a uniformly random point and takes `steps` signed gradient steps of `step_size` (in pixel
    units, like eps; halved after half of the steps and again after three quarters). Restarts alternate between two
    losses: the margin to the strongest other class, whichever that is at the moment, and the margin to one target
    class, where the first target is the runner-up at x, the next one the class behind it, and so on. With a leak,
    gradients are those of `with_leaks`, but for the third of every four restarts, because a leak can also lead astray.
    The clean input counts as one try; an example that is broken is left alone. Deterministic given the generator's
    state.

    Madry et al. 2018; margins per target as in Gowal et al. 2019 (MultiTargeted).
    """
    lower, upper = (x - eps).clamp(*clip), (x + eps).clamp(*clip)
    with torch.no_grad():
        logits = model(x)
    broken, ranked = ~correct(logits, labels), _other_classes(logits, labels)
    leaking = with_leaks(model, leak) if leak else model
    for restart in range(restarts):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)  # on the host: the same points on every device
        start = lower + (upper - lower) * noise.to(x.device)
        targets = ranked[:, restart // 2 % ranked.shape[1]] if restart % 2 else None
        followed = model if restart % 4 == 2 else leaking
        alive = (~broken).nonzero().squeeze(1)
        point = start.clamp(lower, upper)[alive]
        for step in range(steps + 1):
            if not len(alive):
                return broken
            survives, gradient = _try(followed, point, labels[alive], None if targets is None else targets[alive])
            broken[alive[~survives]] = True
            alive, point, gradient = alive[survives], point[survives], gradient[survives]
            length = step_size * 0.5 ** sum(step >= share * steps for share in HALVED_AFTER)
            point = (point - length * gradient.sign()).clamp(lower[alive], upper[alive])
    return broken


def with_leaks(model: nn.Module, leak: float) -> nn.Module:
    """A copy of a model that computes the same, but where gradients see neurons that do not move.

    A network that is trained to be robust holds most of its ReLUs off or at their ceilings over the whole ball. Nothing
    flows back through those, so PGD sees few of the ways out and robust errors look smaller than they are. Here every
    `nn.ReLU` and `ClippedReLU` adds `leak` times the gradient that reaches it, on the way back alone (approximate
    derivatives, Athalye et al. 2018).
    """
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # what it reads is still needed
        if isinstance(module, nn.ReLU | ClippedReLU):
            module.register_forward_hook(lambda _, read, result: _Leak.apply(read[0], result, leak))
    return copied


class _Leak(torch.autograd.Function):
    """What a ReLU made of x, whose gradient also goes to x in part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, result: Tensor, leak: float) -> Tensor:
        ctx.leak = leak
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return ctx.leak * gradient, gradient, None


def _other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Classes other than the label, from the largest logit to the smallest: (batch, classes - 1)."""
    ranked = logits.argsort(dim=1, descending=True)
    return ranked[ranked != labels.unsqueeze(1)].view(len(labels), -1)


def _try(model: nn.Module, x: Tensor, labels: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which inputs are classified correctly, and the gradient of the attacked margin there."""
    x = x.detach().requires_grad_()
    logits = model(x)
    margins = worst_margin(logits, labels) if targets is None else margin_to(logits, labels, targets)
    return correct(logits.detach(), labels), torch.autograd.grad(margins.sum(), x)[0]
