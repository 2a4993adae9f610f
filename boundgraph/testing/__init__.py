"""The law book: what every operator must obey, and what every bounded model must.

Plain assertions, for any test runner. `check_operator` is most of the test of an operator, your own included;
`check_sound` compares the bounds of a model with the values it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from boundgraph.operator import Operator
from boundgraph.testing.laws import LAWS
from boundgraph.testing.soundness import Soundness, check_sound
from boundgraph.testing.spellings import Call, spellings_canonicalize
from boundgraph.testing.trials import Perturbed, Trial, boxes_around

__all__ = ["Perturbed", "Soundness", "boxes_around", "check_operator", "check_sound"]


def check_operator(
    operator: Operator,
    *,
    cases: Sequence[tuple[Any, ...]] = ((Perturbed(3, 2),),),
    points: Sequence[float] = (0.0,),
    calls: Sequence[Call] | None = (),
    seed: int = 0,
    domain: tuple[float, float] = (-math.inf, math.inf),
    cancels: bool = False,
) -> None:
    """Hold an operator to every law in `boundgraph.testing.laws`, in float32 and float64.

    cases: arguments of `operator.forward`, with `Perturbed(batch, ...)` in the place of each operand that carries
        bounds. Floating tensors among them are cast to the dtype under test.
    points: for a scalar function, where its shape changes: kinks, turning points, inflections. Boxes of all widths from
        0 to 2e4 are laid on and around them, and up to 1e4 away.
    calls: modules or functions of the perturbed operands of the first case that use the operator, for spellings whose
        signature is not that of `forward`; modules are also exported, which covers ATen spellings.
        None leaves spellings out.
    domain: boxes are cut to it, for functions that have no value elsewhere, or none that a float can hold.
    cancels: whether `forward` loses digits to cancellation, as x - tanh(x) does near 0, so that its rounding is
        relative to its operand.

    Raises:
        AssertionError: a law is broken; names operator, law, arguments and place. Rounding is allowed for, by bounds
            derived in `boundgraph.testing.trials`, and nothing else is.
    """
    for dtype in (torch.float64, torch.float32):
        trials = [Trial(operator, tuple(arguments), dtype, tuple(points), seed, domain, cancels) for arguments in cases]
        for trial in trials:
            for law in LAWS:
                law(trial)
    if calls is not None:
        spellings_canonicalize(trials, calls)
