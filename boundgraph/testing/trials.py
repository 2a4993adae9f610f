"""One way to call an operator, and what the laws ask of it: random boxes, points in them, rounding allowed.

Tolerances bound the rounding, they are never measured. With eps the distance from 1 to the next float:
- a scalar rule is off by at most 8 eps relative to the largest number that enters it: two ulps each for the function
  and its reference, half an ulp for each product and sum in `f(p) - slope p` and in the value of the line;
- a sum of n products is off by at most n eps times the sum of their sizes (Higham, Accuracy and Stability of Numerical
  Algorithms, 2002, section 3.1); 8 more pay for centre, radius and bias.
Below `finfo.tiny` floats lose their relative precision, so that much is allowed on top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boundgraph.linear_forms import inner, lower_through, per_example
from boundgraph.operator import Operator
from boundgraph.relaxations import LOWER_SLOPES
from boundgraph.values import Interval

ROUNDINGS = 8
ROWS = 3


class Perturbed:
    """Stands, in the arguments of an operator, for an operand of this shape, (batch, ...), that carries bounds."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return f"Perturbed{self.shape}"


def boxes_around(*points: float) -> Interval:
    """Boxes (n, 1) of widths 0 to 2e4 that begin, end and lie around the points, and others up to 1e4 away."""
    centers = sorted({p + away for p in points for away in (0, -1, 1, -5, 5, -30, 30, -1e4, 1e4)})
    widths = (0, 1e-12, 1e-9, 1e-6, 1e-3, 4e-3, 7e-3, 0.1, 1, 3, 10, 100, 2e4)
    ends = [(c - part * w, c + (1 - part) * w) for c, w, part in product(centers, widths, (0, 0.1, 0.5, 0.7, 1))]
    lower, upper = torch.tensor(ends, dtype=torch.float64).unsqueeze(2).unbind(1)
    return Interval(lower, upper)


class Form(NamedTuple):
    """Per row <coefficients, x> + offset, with x measured from the origin."""

    coefficients: Tensor  # (batch | 1, rows, *shape)
    offset: Tensor  # (batch | 1, rows)


@dataclass(frozen=True)
class Trial:
    """An operator with arguments of its `forward`, `Perturbed` ones among them, in one dtype.

    points: where the shape of a scalar function changes (kinks, turning points, inflections). domain: where boxes lie.
    cancels: whether `forward` loses digits to cancellation, so that its rounding is relative to its operand.
    """

    operator: Operator
    arguments: tuple[Any, ...]
    dtype: torch.dtype
    points: tuple[float, ...] = (0.0,)
    seed: int = 0
    domain: tuple[float, float] = (-math.inf, math.inf)
    cancels: bool = False

    # ------------------------------------------------------------------ calling the operator

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        return [leaf.shape for leaf in _leaves(self.arguments) if isinstance(leaf, Perturbed)]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The exact floating-point arguments, in the dtype of the trial."""
        return [leaf.detach().to(self.dtype) for leaf in _leaves(self.arguments) if _floats(leaf)]

    @property
    def elementwise(self) -> bool:
        return self.operator.relax is not None and self.operator.through is None

    def fill(self, operands: Sequence[Any], tensors: Sequence[Tensor] | None = None) -> tuple[Any, ...]:
        """The arguments with these operands, and these exact tensors, in place."""
        bounded, exact = iter(operands), iter(self.tensors if tensors is None else tensors)

        def place(leaf: Any) -> Any:
            if isinstance(leaf, Perturbed):
                return next(bounded)
            return next(exact) if _floats(leaf) else leaf

        return replaced(self.arguments, place)

    def reference(self, *operands: Tensor) -> Tensor:
        """`forward` in float64, of the numbers that the trial's dtype makes of the arguments."""
        exact = [tensor.double() for tensor in self.tensors]
        return self.operator.forward(*self.fill([x.double() for x in operands], exact))

    def interval(self, boxes: Sequence[Interval]) -> Interval:
        return self.operator.interval(*self.fill(boxes))

    def relaxations(self, arguments: tuple[Any, ...]) -> Iterator[Any]:
        """The relaxation, once for each choice of the lower slope if there is one."""
        relax = self.operator.relax
        assert relax is not None
        if "slope" not in signature(relax).parameters:
            yield relax(*arguments)
            return
        for slope in LOWER_SLOPES:
            yield relax(*arguments, slope=slope)

    def pulled(self, coefficients: Tensor, arguments: tuple[Any, ...]) -> Iterator[tuple[Form, ...]]:
        """Coefficients in terms of each perturbed operand, once for each relaxation; the first has all that is left."""
        if self.operator.backward is not None:
            left = inner(coefficients, self.constant_like(coefficients))
            yield self._forms(self.operator.backward(coefficients, *arguments), left)
            return
        if self.operator.relax is None:  # two constants
            y = self.operator.interval(*arguments)
            left = inner(coefficients, y.center) - inner(coefficients.abs(), y.radius)
            nothing = [coefficients.new_zeros(*left.shape, *shape[1:]) for shape in self.shapes]
            yield self._forms(tuple(nothing), left)
            return
        for relaxation in self.relaxations(arguments):
            yield self._forms(*(self.operator.through or lower_through)(coefficients, relaxation))

    def steps(self, arguments: tuple[Any, ...]) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """The operator's own step of the walk and what it takes besides coefficients, once for each relaxation."""
        if self.operator.backward is not None:
            yield self.operator.backward, arguments
        elif self.operator.through is not None:
            for relaxation in self.relaxations(arguments):
                yield self.operator.through, (relaxation,)

    def constant_like(self, coefficients: Tensor) -> Tensor:
        """What a linear operator adds, in the shape of its output."""
        return self.constant.reshape(-1, *coefficients.shape[2:]).to(coefficients.dtype)

    @staticmethod
    def _forms(pulled: Tensor | tuple[Tensor, ...], left: Tensor) -> tuple[Form, ...]:
        parts = (pulled,) if isinstance(pulled, Tensor) else pulled
        return tuple(Form(part, left if i == 0 else torch.zeros_like(left)) for i, part in enumerate(parts))

    # ------------------------------------------------------------------ inputs

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def boxes(self, thinnest: float = 0.0) -> list[Interval]:
        """A random box per operand, of widths up to 4; about a fifth of them have the least."""
        generator, result = self.generator(), []
        for shape in self.shapes:
            center = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
            radius = (
                2.5 * (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.2).clamp(min=0) + thinnest / 2
            )
            center, radius = self._in_domain(center, radius)
            result.append(Interval((center - radius).to(self.dtype), (center + radius).to(self.dtype)))
        return result

    def _in_domain(self, center: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Moved, so that a box with the radius of another one lies in the domain too."""
        (low, high), reach = self.domain, float(radius.max()) + 0.1
        if high - low < 4 * reach:
            part = (high - low) / (4 * reach)
            return (low + high) / 2 + part * center.clamp(-reach, reach), part * radius
        if not math.isinf(low) and math.isinf(high):
            return low + reach + center.abs(), radius
        if math.isinf(low) and not math.isinf(high):
            return high - reach - center.abs(), radius
        return center.clamp(low + reach, high - reach), radius

    def scalar_boxes(self) -> list[Interval]:
        """`boxes_around` the points, repeated over the operand; for element-wise operators."""
        (shape,) = self.shapes
        boxes = (end.clamp(*self.domain) for end in boxes_around(*self.points))
        ends = (end.to(self.dtype).reshape(-1, *[1] * (len(shape) - 1)) for end in boxes)
        return [Interval(*(end.expand(-1, *shape[1:]).contiguous() for end in ends))]

    def samples(self, boxes: Sequence[Interval], count: int = 32) -> Iterator[list[Tensor]]:
        """Points of the boxes, in float64: inner points and corners in turn."""
        generator = self.generator()
        for i in range(count):
            parts = [torch.rand(box.shape, generator=generator, dtype=torch.float64) for box in boxes]
            parts = [part.round() for part in parts] if i % 2 else parts
            yield [torch.lerp(box.lower.double(), box.upper.double(), p) for box, p in zip(boxes, parts, strict=True)]

    def rows(self, output_shape: Sequence[int], batch: int | None = None) -> Tensor:
        """Random coefficients over an output."""
        generator, batch = self.generator(), output_shape[0] if batch is None else batch
        coefficients = torch.randn(batch, ROWS, *output_shape[1:], generator=generator, dtype=torch.float64)
        return coefficients.to(self.dtype)

    # ------------------------------------------------------------------ linear operators, and rounding

    @cached_property
    def jacobian(self) -> tuple[Tensor, ...]:
        """Per operand of a linear operator its matrix per example, (batch, outputs, inputs), from autograd."""
        zeros = tuple(torch.zeros(shape, dtype=torch.float64) for shape in self.shapes)
        batch, matrices = self.shapes[0][0], []
        for block in torch.autograd.functional.jacobian(self.reference, zeros):
            pairs = block.flatten(0, -1).reshape(batch, self.reference(*zeros)[0].numel(), batch, -1)
            foreign = ~torch.eye(batch, dtype=torch.bool)[:, None, :, None]
            self.require("examples are independent", (pairs == 0) | ~foreign, "an example depends on another one")
            matrices.append(torch.stack([pairs[i, :, i] for i in range(batch)]))
        return tuple(matrices)

    @cached_property
    def constant(self) -> Tensor:
        """What a linear operator adds, (batch, outputs)."""
        return per_example(self.reference(*(torch.zeros(shape) for shape in self.shapes)))

    @property
    def tiny(self) -> float:
        return torch.finfo(self.dtype).tiny

    def rounding(self, terms: int) -> float:
        """Relative error of a sum of this many products."""
        return (terms + ROUNDINGS) * torch.finfo(self.dtype).eps

    def slack(self, boxes: Sequence[Interval], interval: Interval) -> Tensor:
        """Rounding allowed in an output, in its shape."""
        if self.operator.backward is None:
            entering, terms = size_of(interval), 0
            if self.operator.joint:  # it may add up what it makes of the operands, and less may be left than was added
                entering = torch.maximum(entering, self.reference(*map(size_of, boxes)).abs())
                terms = int(self.reference(*(torch.ones(shape) for shape in self.shapes)).abs().max())
            elif self.operator.through is not None:  # of several elements, and these are what enters
                for box in boxes:
                    largest = per_example(size_of(box)).amax(1)
                    entering = torch.maximum(entering, largest.reshape(-1, *[1] * (entering.dim() - 1)))
            elif self.cancels:
                entering = torch.maximum(entering, size_of(boxes[0]))
            return self.rounding(terms) * entering + self.tiny
        total = self.constant.abs()
        for matrix, box in zip(self.jacobian, boxes, strict=True):
            total = total + apply(matrix.abs(), size_of(box))
        terms = sum(matrix.shape[2] for matrix in self.jacobian)
        return (self.rounding(terms) * total + self.tiny).reshape(interval.shape)

    # ------------------------------------------------------------------ verdicts

    def require(self, law: str, holds: Tensor | bool, detail: str | Callable[[tuple[int, ...]], str]) -> None:
        """Raise an AssertionError that names operator, law and input unless the law holds everywhere."""
        holds = torch.as_tensor(holds)
        if bool(holds.all()):
            return
        first = tuple((~holds).nonzero()[0].tolist())
        shown = replaced(self.arguments, lambda leaf: _Shown(leaf) if isinstance(leaf, Tensor) else leaf)
        raise AssertionError(
            f"operator {self.operator.name!r} breaks the law '{law}' in {self.dtype} with arguments {shown}, seed "
            f"{self.seed}: {detail if isinstance(detail, str) else detail(first)} "
            f"[{int((~holds).sum())} of {holds.numel()} places, the first {list(first)}]"
        )

    def require_between(
        self, law: str, lower: Tensor, value: Tensor, upper: Tensor, slack: Tensor, what: Any = ""
    ) -> None:
        outside = torch.maximum(lower.double() - value, value - upper.double())

        def detail(at: tuple[int, ...]) -> str:
            where = what(at) if callable(what) else what
            return f"{value[at]:.17g} lies {outside[at]:.3g} outside, {slack[at]:.3g} is rounding {where}"

        self.require(law, outside <= slack, detail)


class _Shown:
    def __init__(self, tensor: Tensor) -> None:
        self.shape = tuple(tensor.shape)

    def __repr__(self) -> str:
        return f"Tensor{self.shape}"


def replaced(arguments: Any, place: Callable[[Any], Any]) -> Any:
    """The arguments, nested tuples and lists included, with each leaf put through `place`."""
    if isinstance(arguments, (tuple, list)):
        return type(arguments)(replaced(part, place) for part in arguments)
    return place(arguments)


def apply(matrix: Tensor, value: Tensor) -> Tensor:
    """(batch, outputs, inputs) times (batch, *inputs)."""
    return (matrix @ per_example(value).unsqueeze(2)).squeeze(2)


def size_of(box: Interval) -> Tensor:
    """The largest absolute value in each interval, in float64."""
    return torch.maximum(box.lower.abs(), box.upper.abs()).double()


def _leaves(arguments: Any) -> list[Any]:
    found: list[Any] = []
    replaced(arguments, found.append)
    return found


def _floats(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
