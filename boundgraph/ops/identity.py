"""Calls that leave their operand as it is, among them dropout in eval mode."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.nn import functional as F

from boundgraph.operator import Alias, Random, register_rewrite

aten = torch.ops.aten


def _operand(x: Any = None, *_: Any, input: Any = None, **__: Any) -> Any:
    return input if x is None else x


IDENTITY = register_rewrite(
    Alias(
        name="identity",
        adapters=dict.fromkeys(
            ("contiguous", "clone", torch.clone, operator.pos, torch.positive, aten.clone.default, aten.alias.default,
             aten.contiguous.default, aten.positive.default, "detach", torch.detach, aten.detach.default,
             aten.detach_.default, aten.lift_fresh_copy.default),
            _operand,
        ),
    )
)  # fmt: skip


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p > 0:
        raise Random("dropout in train mode is random and has no bounds; call .eval(), or set its p to 0")
    return input


DROPOUT = register_rewrite(
    Alias(
        name="dropout",
        adapters={
            **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout), _dropout),
            **dict.fromkeys((torch.dropout, aten.dropout.default), lambda input, p, train: _dropout(input, p, train)),
        },
    )
)
