"""What a model returns if it is no tensor: tuples, lists, dicts and whatever else torch knows as a pytree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

_SAID = (type(None), bool, int, float, complex, str, torch.dtype, torch.device)


class Structure(NamedTuple):
    """How the leaves of a result are arranged, and those that are known without running the model, such as None."""

    spec: TreeSpec
    said: dict[int, Any]

    def around(self, values: Iterable[Any]) -> Any:
        """The result with these values for its other leaves."""
        remaining = iter(values)
        leaves = [self.said[i] if i in self.said else next(remaining) for i in range(self.spec.num_leaves)]
        return tree_unflatten(leaves, self.spec)


class NoStructureError(Exception):
    """A result holds something that is neither tensor nor number, or nothing but what is known anyway."""


def flattened(result: Any) -> tuple[Any, Structure | None]:
    """The values of a traced result, and how they are arranged: one value, or several as a tuple; None for one alone.

    Raises:
        NoStructureError: says what there is instead.
    """
    leaves, spec = tree_flatten(result)
    said = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, _SAID)}
    values = tuple(leaf for i, leaf in enumerate(leaves) if i not in said)
    odd = [leaf for leaf in values if not isinstance(leaf, fx.Node | fx.Proxy | Tensor)]
    if odd:
        raise NoStructureError(
            f"a {type(odd[0]).__name__}, whose tensors are not known; register the class with "
            "torch.export.register_dataclass or torch.utils._pytree.register_pytree_node"
        )
    if not values:
        raise NoStructureError(f"{_described(result)}, and no tensor")
    return values[0] if len(values) == 1 else values, None if spec.is_leaf() else Structure(spec, said)


def _described(result: Any) -> str:
    return "None" if result is None else f"a {type(result).__name__}"
