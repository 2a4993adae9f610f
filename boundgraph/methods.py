"""The methods: each a tuple of passes that reads as its paper's algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from boundgraph.relaxations import LOWER_SLOPES
from passes import (
    batch_first,
    cleanup,
    crown,
    interval,
    layout,
    loss,
    masks,
    precision,
    primal,
    specification,
    tightening,
)
from passes.graphs import Pass

Pipeline = tuple[Pass, ...]

PREPARE: Pipeline = (
    primal.canonicalize,
    specification.append,
    primal.mark_perturbed,
    batch_first.restore,
    masks.apart,
    primal.fold_constants,
    primal.batch_norm_to_affine,
    primal.merge_affine,
    specification.merge,
)
PRECISIONS: dict[str, Pipeline] = {"model": (), "bf16": (precision.bfloat16,)}
CLEAN: Pipeline = (layout.channels_last, cleanup.share_repeats, cleanup.drop_unused)


def ibp() -> Pipeline:
    """Interval bound propagation (Gowal et al. 2018), the specification merged into the last linear layer."""
    return (*PREPARE, interval.forward, tightening.first_layer, *CLEAN)


def crown_ibp(*, slope: str = "adaptive", precision: str = "model") -> Pipeline:
    """IBP inside the network, one CROWN walk from the specification to the input (Zhang et al. 2020)."""
    backward = partial(crown.backward, slope=slope)
    walk: Pipeline = (loss.fuse, backward, *PRECISIONS[precision], loss.with_shift)
    return (*PREPARE, interval.forward, tightening.first_layer, *walk, *CLEAN)


def crown_full(*, slope: str = "adaptive", memory_budget: int | None = None) -> Pipeline:
    """CROWN (Zhang et al. 2018): a walk for every pre-activation too, intersected with IBP; tighter and slower."""
    tighten = partial(tightening.preactivations, slope=slope, memory_budget=memory_budget)
    backward = partial(crown.backward, slope=slope)
    return (*PREPARE, interval.forward, tighten, loss.fuse, backward, loss.with_shift, *CLEAN)


_METHODS: dict[str, Callable[..., Pipeline]] = {"ibp": ibp, "crown-ibp": crown_ibp, "crown": crown_full}


class Method(NamedTuple):
    """A name, what it is in one line, and its passes."""

    name: str
    summary: str
    passes: Pipeline


def methods() -> dict[str, Method]:
    """Every method by name."""
    return {
        name: Method(name, (build.__doc__ or "").strip().splitlines()[0], build()) for name, build in _METHODS.items()
    }


def method(name: str, **options: object) -> Pipeline:
    """The passes of a method with options, for `compile(model, method=...)`.

    slope ("crown-ibp", "crown"): lower line of unstable ReLU-like neurons, one of "adaptive", "zero", "one", "same".
    memory_budget ("crown"): bytes that the walks of pre-activations may take at once, beside the bounds themselves;
    if not given half of what is free, on a CPU 256 MiB at most. Rows walk in chunks that fit, of one row at least; the
    bounds are the same.
    precision ("crown-ibp"): of the coefficients; "model", that of the model, or "bf16", for training a float32 model
    alone: its bounds are estimates, and a call whose result nobody can differentiate raises a PrecisionError.

    Raises:
        ValueError: an unknown name, option, slope or precision; the message lists what there is.
    """
    if name not in _METHODS:
        known = "\n".join(f"  {known.name}: {known.summary}" for known in methods().values())
        raise ValueError(f"unknown method {name!r}; there are\n{known}\nor pass a tuple of passes of your own")
    accepted = _METHODS[name].__kwdefaults__ or {}
    if unknown := sorted(set(options) - set(accepted)):
        choices = ", ".join(accepted) or "none"
        raise ValueError(f"method {name!r} has no option {', '.join(unknown)}; its options: {choices}")
    if options.get("slope", "adaptive") not in LOWER_SLOPES:
        raise ValueError(f"unknown slope {options['slope']!r}; choose one of {', '.join(LOWER_SLOPES)}")
    if options.get("precision", "model") not in PRECISIONS:
        raise ValueError(f"unknown precision {options['precision']!r}; choose one of {', '.join(PRECISIONS)}")
    budget = options.get("memory_budget")
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 1):
        raise ValueError(
            f"memory_budget must be a positive number of bytes, an int such as 256 * 2**20, not {budget!r}"
        )
    return _METHODS[name](**options)


def pass_name(rewrite: Pass) -> str:
    """`crown.backward`, or `crown.backward(slope=zero)` for a pass with options."""
    options = ""
    if isinstance(rewrite, partial):
        options = "(" + ", ".join(f"{key}={value}" for key, value in rewrite.keywords.items()) + ")"
        rewrite = rewrite.func
    module = getattr(rewrite, "__module__", "").rsplit(".", 1)[-1]
    return f"{module}.{getattr(rewrite, '__name__', rewrite)}{options}"
