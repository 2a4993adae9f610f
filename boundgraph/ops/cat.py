"""Concatenation along a dimension other than the batch; any of the pieces may carry bounds."""

from __future__ import annotations

from typing import Any

import torch

from boundgraph.batch import require_inner_dims
from boundgraph.linear_forms import weighted_sum
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, lower_of, upper_of

aten = torch.ops.aten


def forward(tensors: Any, dim: int = 0) -> Any:
    return torch.cat(tensors, dim)


def interval(tensors: Any, dim: int = 0) -> Interval:
    require_inner_dims(dim, lower_of(tensors[0]).dim(), f"cat(dim={dim})")
    return Interval(torch.cat([lower_of(t) for t in tensors], dim), torch.cat([upper_of(t) for t in tensors], dim))


def backward(form: LinearForm, tensors: Any, dim: int = 0) -> LinearForm | tuple[LinearForm, ...]:
    """Each piece gets its own part of the coefficients; exact pieces become part of the bias."""
    axis = dim % lower_of(tensors[0]).dim() + 1
    parts = form.coefficients.split([t.shape[axis - 1] for t in tensors], axis)
    bias, bounded = form.bias, []
    for tensor, part in zip(tensors, parts, strict=True):
        if isinstance(tensor, Interval):
            bounded.append(part)
        else:
            bias = bias + weighted_sum(LinearForm(part, bias), tensor)
    forms = [LinearForm(part, bias if i == 0 else torch.zeros_like(bias)) for i, part in enumerate(bounded)]
    return forms[0] if len(forms) == 1 else tuple(forms)


CAT = register(
    Operator(
        name="cat",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("tensors",),
        joint=True,
        spellings=(torch.cat, torch.concat, torch.concatenate, aten.cat.default),
    )
)
