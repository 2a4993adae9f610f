"""Rules of tensors that bring their own gradient.

An interval or a relaxation is a dozen element-wise operations. Recorded one by one, each of them keeps a tensor, and
each is another node on the way back. A rule with a declared gradient is one node, which keeps what the rule was given
and what it gave, and works out the rest again. The formula itself stays the definition: graphs that others trace or
transform contain it, second derivatives are those of the formula, and the tests hold the declared gradient to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import torch
from torch import Tensor

from boundgraph.linear_forms import laid_out_like

Arguments = ParamSpec("Arguments")
Tensors = tuple[Tensor, ...]
Gradient = Callable[..., tuple[Tensor | None, ...]]


def differentiated_by(
    gradient: Gradient,
) -> Callable[[Callable[Arguments, Tensors]], Callable[Arguments, Tensors]]:
    """Declares the gradient of a rule, a differentiable function of tensors and options to a tuple of tensors.

    gradient: (upstream, results, *arguments) -> the gradient of each argument, None where none is wanted; upstream
    holds one per result, in the memory format of the first tensor. Which tensors want one, their `requires_grad` says.
    Arguments go by position: a call with keywords is differentiated as the formula stands.
    """

    def declare(rule: Callable[Arguments, Tensors]) -> Callable[Arguments, Tensors]:
        @functools.wraps(rule)
        def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Tensors:
            if not options and _recorded(arguments):
                return _Declared.apply(rule, gradient, *arguments)
            return rule(*arguments, **options)

        return run

    return declare


def _recorded(arguments: Sequence[Any]) -> bool:
    """Whether autograd, and nothing else, will differentiate what is computed from these."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return any(isinstance(argument, Tensor) and argument.requires_grad for argument in arguments)


class _Declared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Callable[..., Tensors], gradient: Gradient, *arguments: Any) -> Tensors:
        results = rule(*arguments)
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        ctx.save_for_backward(*results, *tensors)
        ctx.options = [None if isinstance(argument, Tensor) else (argument,) for argument in arguments]
        ctx.rule, ctx.gradient = rule, gradient
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        results, tensors = saved[: len(upstream)], saved[len(upstream) :]
        remaining = iter(tensors)
        arguments = [next(remaining) if option is None else option[0] for option in ctx.options]
        if torch.is_grad_enabled():  # somebody wants second derivatives
            return None, None, *through_autograd(ctx.rule(*arguments), arguments, upstream)
        arriving = [laid_out_like(part, tensors[0]) for part in upstream]
        return None, None, *ctx.gradient(arriving, results, *arguments)


def through_autograd(
    results: Sequence[Tensor], arguments: Sequence[Any], upstream: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradient of each argument, one that can be differentiated again."""
    moving = [pair for pair in zip(results, upstream, strict=True) if pair[0].requires_grad]
    results, upstream = ([pair[i] for pair in moving] for i in (0, 1))
    wanted = [isinstance(argument, Tensor) and argument.requires_grad for argument in arguments]
    variables = [argument for argument, ask in zip(arguments, wanted, strict=True) if ask]
    found = iter(torch.autograd.grad(results, variables, upstream, create_graph=True, allow_unused=True))
    return [next(found) if ask else None for ask in wanted]
