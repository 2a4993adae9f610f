"""Fully connected layer, y = x W^T + b, over the last dimension."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.linear_forms import lower_through, shifted, weighted_sum
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, Relaxation, from_center


def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def interval(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    # exact: every output moves by at most <|W|, radius> about the image of the centre, and some corner does it
    return from_center(F.linear(x.center, weight, bias), F.linear(x.radius, weight.abs()))


def backward(form: LinearForm, x: Interval, weight: Tensor, bias: Tensor | None = None) -> LinearForm:
    constant = form.bias if bias is None else form.bias + weighted_sum(form, bias)
    return LinearForm(torch.matmul(form.coefficients, weight), constant)


def fused(
    form: LinearForm, relaxation: Relaxation, x: Interval, weight: Tensor, bias: Tensor | None = None
) -> LinearForm:
    """`backward` after the relaxation of the activation above, with the bias as part of its intercepts."""
    return backward(lower_through(form, shifted(relaxation, bias)), x, weight)


LINEAR = register(
    Operator(
        name="linear",
        forward=forward,
        interval=interval,
        backward=backward,
        fused=fused,
        spellings=(F.linear, torch.ops.aten.linear.default),
    )
)
