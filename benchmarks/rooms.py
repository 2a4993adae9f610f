"""Which room an operator is from, and which family of rooms that belongs to, for the pages about operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from boundgraph import ops
from boundgraph.operator import Operator, registered

FAMILIES = {
    "Activations and other scalar functions": ("abs", "activations", "leaky_relu", "prelu", "relu", "sigmoid", "tanh"),
    "Sums and products": (
        "add", "addcmul", "div", "einsum", "linear", "matmul", "matrix_product", "mul", "neg", "product",
        "similarity", "sub",
    ),
    "Convolution, pooling, images": (
        "avg_pool", "conv", "conv_transpose", "grid_sample", "interpolate", "lp_pool", "max_pool", "unfold",
    ),
    "Reductions, normalisation, attention": (
        "amax", "attention", "batch_norm", "cumsum", "layer_norm", "logsumexp", "masked_softmax", "maximum", "norm",
        "normalize", "prod", "reduce", "softmax", "var",
    ),
    "Shape, order, choice": (
        "cat", "convert", "diagonal", "expand", "flip", "identity", "indexing", "pad", "permute", "reshape", "shuffle",
        "splitting", "stack", "where",
    ),
    "Made by passes": ("batch_first", "exp_sum", "specification"),
}  # fmt: skip
OTHERS = "Others"


def family(room: str) -> str:
    return next((name for name, rooms in FAMILIES.items() if room in rooms), OTHERS)


@cache
def _rooms() -> dict[str, ModuleType]:
    return {room.name: import_module(f"{ops.__name__}.{room.name}") for room in iter_modules(ops.__path__)}


def room_of(op: Operator) -> str | None:
    """The file in boundgraph/ops that registers it; None for an operator of someone else's."""
    own = op.forward.__module__.removeprefix(f"{ops.__name__}.")
    if own in _rooms():
        return own
    return next((name for name, room in _rooms().items() if any(value is op for value in vars(room).values())), None)


def own_operators() -> dict[str, str]:
    """The rooms of the operators that boundgraph brings, by their names."""
    return {op.name: room for op in registered() if (room := room_of(op)) is not None}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
