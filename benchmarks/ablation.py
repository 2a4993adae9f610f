"""What each part of the compiler is worth: switch one off, and time the rest.

A pass is optional if the plan without it is another one with the same bounds. Apart from passes there are three things
that a plan does when it runs: gradients of the walk by a graph of their own, chunks of examples, and keeping memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

import boundgraph
from benchmarks import networks
from boundgraph import explicit
from boundgraph.methods import Pipeline, pass_name

EXPLICIT, CHUNKS, MEMORY = "explicit gradients", "chunks of examples", "freed memory kept"


def optional_passes(network: str, method: str = "crown-ibp") -> list[str]:
    """Names of the passes without which the margins of this network are the same, by another graph."""
    model, x, labels = networks.sample(network, 2, 0, training=False)
    model.requires_grad_(False)
    eps, everything = networks.network(network).eps, boundgraph.method(method)
    whole = boundgraph.compile(model, everything)
    margins = whole.margins(x, labels, eps=eps)

    def same_bounds(name: str) -> bool:
        try:
            bounded = boundgraph.compile(model, passes(name, method))
            found = bounded.margins(x, labels, eps=eps)
        except Exception:  # a pipeline that lacks what the rest relies on may fail in any way
            return False
        other = _text(bounded) != _text(whole)
        return other and found.shape == margins.shape and torch.allclose(found, margins, rtol=1e-3, atol=1e-4)

    return [name for name in map(pass_name, everything) if same_bounds(name)]


def _text(bounded: boundgraph.BoundedModule) -> str:
    return str(bounded.plan(spec=True, sides="lower").graph)


def variants(network: str) -> list[str]:
    """All that can be switched off in training `network` by CROWN-IBP."""
    return [*optional_passes(network), EXPLICIT, CHUNKS, MEMORY]


def passes(variant: str, method: str) -> str | Pipeline:
    """The method, without the pass that the variant names."""
    everything = boundgraph.method(method)
    kept = tuple(rewrite for rewrite in everything if pass_name(rewrite) != variant)
    return kept if len(kept) < len(everything) else method


def switch_off(variant: str, bounded: boundgraph.BoundedModule, request: Callable[[], object]) -> None:
    """Switch off what is no pass. request: makes the plan that will be used."""
    if variant == MEMORY:
        os.environ["BOUNDGRAPH_KEEP_FREED_MEMORY"] = "0"  # asked once per process, before the first walk
    elif variant == CHUNKS:
        explicit.CHUNK = 2**62
    elif variant == EXPLICIT:
        request()
        for key, plan in bounded._planner.kept.items():
            bounded._planner.kept[key] = plan._replace(run=plan.module)
