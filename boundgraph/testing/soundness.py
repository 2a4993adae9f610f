"""Bounds of a model against the values it takes: samples, corners and an attack inside the regions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from boundgraph.compiler import compile
from boundgraph.methods import Pipeline
from boundgraph.module import BoundedModule
from boundgraph.regions import Box, LpBall, Region
from boundgraph.values import Bounds, Interval

Inputs = tuple[Tensor | Region, ...]


class Soundness(NamedTuple):
    """What `check_sound` saw. margin: the least distance of a value from its bounds, negative by rounding at most.
    width: of the bounds of the output, on average; of several outputs that of the first that is not exact. points: how
    many points of the regions were tried."""

    margin: float
    width: float
    points: int


class _Claim(NamedTuple):
    """Bounds (batch, rows) on the rows of spec @ output, or on an output itself."""

    what: str
    spec: Tensor | None  # (batch, rows, outputs)
    lower: Tensor
    upper: Tensor
    number: int = 0  # of the output among the tensors that the model returns

    def rows(self, outputs: list[Tensor]) -> Tensor:
        flat = _flat(outputs[self.number])
        return flat if self.spec is None else torch.einsum("bro,bo->br", self.spec, flat)

    @property
    def is_exact(self) -> bool:
        return torch.equal(self.lower, self.upper)


def _flat(output: Tensor) -> Tensor:
    """(batch, values), in float64; what has no batch, which only exact values may, counts as one example."""
    return output.double().reshape(len(output) if output.dim() else 1, -1)


def _sides(bounds: Bounds | Interval) -> tuple[Tensor, Tensor]:
    assert bounds.lower is not None
    assert bounds.upper is not None
    return _flat(bounds.lower), _flat(bounds.upper)


def _tensors(result: Any) -> list[Any]:
    """The tensors in what a model returns, or their bounds in what a bounded one does."""
    leaves = tree_leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounds))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor | Bounds)]


def check_sound(
    model: nn.Module,
    *inputs: Tensor | Region,
    method: str | Pipeline = "crown-ibp",
    samples: int = 32,
    steps: int = 10,
    rows: int = 3,
    seed: int = 0,
) -> Soundness:
    """Hold lower <= f(x) <= upper against points x of the regions, for all outputs and, where the model returns one
    tensor, for random specifications.

    The points are random ones, corners, and Frank-Wolfe iterates that attack `rows` outputs and `rows` random linear
    combinations of outputs from both sides. At radius 0 the bounds must be the model's output. All is done in float64
    with a copy of the model, which must run there, so that what is left of rounding is far below any violation. A batch
    norm in train mode takes its statistics from the points tried, and its bounds from the centre: use eval mode.

    inputs: as for the bounded module, a tensor or an `LpBall` or `Box` per input, each (batch, *shape).

    Raises:
        AssertionError: a value lies outside its bounds or a bound is NaN; names the worst one.

    Source: Frank and Wolfe, An algorithm for quadratic programming, 1956, for the attack.
    """
    model = copy.deepcopy(model).double()
    bounded, generator = compile(model, method), torch.Generator().manual_seed(seed)
    regions = tuple(_in_double(value) for value in inputs)
    claims = _claims(bounded, regions, rows, generator)
    _require_exact_at_zero(bounded, regions)
    margin, count = math.inf, 0
    for point in _points(model, regions, claims, (samples, steps, rows), generator):
        count += 1
        with torch.no_grad():
            outputs = _tensors(model(*point))
        margin = min(margin, *(_margin(claim, outputs, f"{type(model).__name__}, {method}") for claim in claims))
    first = next((claim for claim in claims if not claim.is_exact), claims[0])
    return Soundness(margin, (first.upper - first.lower).mean().item(), count)


def _claims(bounded: BoundedModule, regions: Inputs, rows: int, generator: torch.Generator) -> list[_Claim]:
    with torch.no_grad():
        found = _tensors(bounded(*regions))
        claims = [_Claim("output", None, *_sides(bounds), number) for number, bounds in enumerate(found)]
        if len(found) == 1:
            batch, outputs = claims[0].lower.shape
            spec = torch.randn(batch, rows, outputs, generator=generator, dtype=torch.float64)
            found += _tensors(bounded(*regions, spec=spec))
            claims.append(_Claim("specification row", spec, *found[1][:2]))
    for claim, source in zip(tuple(claims), found, strict=True):
        if source.interval is not None:
            sides = _sides(source.interval)
            claims.append(_Claim(f"interval of {claim.what}", claim.spec, *sides, claim.number))
    return claims


def _points(
    model: nn.Module, regions: Inputs, claims: list[_Claim], effort: tuple[int, int, int], generator: torch.Generator
) -> Iterator[list[Tensor]]:
    """Random points and corners of the regions in turn, then the iterates of the attacks."""
    samples, steps, rows = effort
    for i in range(samples):
        yield _sample(regions, generator, corners=i % 2 == 1)
    for claim in (claim for claim in claims if not claim.what.startswith("interval") and not claim.is_exact):
        chosen = torch.randperm(claim.lower.shape[1], generator=generator)[:rows].tolist()
        for row in chosen:
            for sign in (1.0, -1.0):
                yield from _attack(
                    lambda *x, claim=claim, row=row, sign=sign: sign * claim.rows(_tensors(model(*x)))[:, row].sum(),
                    regions, _sample(regions, generator, corners=False), steps,
                )  # fmt: skip


def _sample(regions: Inputs, generator: torch.Generator, corners: bool) -> list[Tensor]:
    points = []
    for region in regions:
        if isinstance(region, Tensor):
            points.append(region)
            continue
        lower, upper = region.interval()
        part = torch.rand(lower.shape, generator=generator, dtype=torch.float64)
        points.append(_inside(region, torch.lerp(lower, upper, part.round() if corners else part)))
    return points


def _attack(
    objective: Callable[..., Tensor], regions: Inputs, start: list[Tensor], steps: int
) -> Iterator[list[Tensor]]:
    """Frank-Wolfe: move towards the point of the region that is farthest along the gradient, and never leave it."""
    point = start
    for step in range(steps):
        leaves = [x.detach().requires_grad_(isinstance(r, Region)) for x, r in zip(point, regions, strict=True)]
        active = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = iter(torch.autograd.grad(objective(*leaves), active, allow_unused=True, materialize_grads=True))
        point = [
            torch.lerp(x, _farthest(region, next(gradients)), 2 / (step + 2)) if isinstance(region, Region) else x
            for x, region in zip(point, regions, strict=True)
        ]
        yield point


def _farthest(region: Region, gradient: Tensor) -> Tensor:
    """The point of a box or ball with the largest product with the gradient; of a clipped ball a good one."""
    if not isinstance(region, LpBall) or region.norm == math.inf:
        lower, upper = region.interval()
        return torch.where(gradient > 0, upper, lower)
    flat = gradient.reshape(gradient.shape[0], -1)
    largest = flat.abs().amax(1, keepdim=True)
    if region.norm == 1:
        direction = flat.sign() * (flat.abs() == largest)
    else:  # Hoelder: equality needs |d_i|^p proportional to |g_i|^q
        scaled = flat / largest.clamp(min=torch.finfo(flat.dtype).tiny)
        direction = scaled.sign() * scaled.abs() ** (1 / (region.norm - 1))
    size = torch.linalg.vector_norm(direction, region.norm, dim=1, keepdim=True)
    unit = (direction / size.clamp(min=torch.finfo(flat.dtype).tiny)).reshape(gradient.shape)
    return _inside(region, region.center + region.eps * unit)


def _inside(region: Region, point: Tensor) -> Tensor:
    """The last point of the region on the way from its anchor, the point nearest the centre, to `point`."""
    lower, upper = region.interval()
    point = torch.clamp(point, lower, upper)
    if not isinstance(region, LpBall) or region.norm == math.inf:
        return point
    anchor, batch = torch.clamp(region.center, lower, upper), point.shape[0]
    eps = region.eps.reshape(-1) if isinstance(region.eps, Tensor) else region.eps
    near, far = torch.zeros(batch, dtype=point.dtype), torch.ones(batch, dtype=point.dtype)
    for part in (far, *[None] * 50):
        middle = (near + far) / 2 if part is None else part
        moved = torch.lerp(anchor, point, middle.reshape(-1, *[1] * (point.dim() - 1)))
        distance = torch.linalg.vector_norm((moved - region.center).reshape(batch, -1), region.norm, dim=1)
        fits = distance <= eps * (1 + 4 * torch.finfo(point.dtype).eps)
        if bool((fits & (middle == far)).all()):
            return moved
        near, far = torch.where(fits, middle, near), torch.where(fits, far, middle)
    return torch.lerp(anchor, point, near.reshape(-1, *[1] * (point.dim() - 1)))


def _require_exact_at_zero(bounded: BoundedModule, regions: Inputs) -> None:
    """At radius 0 the bounds are the value itself."""
    values = [region.center if isinstance(region, Region) else region for region in regions]
    points = [
        value if not isinstance(region, Region) else LpBall(value, 0.0, getattr(region, "norm", math.inf))
        for value, region in zip(values, regions, strict=True)
    ]
    with torch.no_grad():
        outputs, found = _tensors(bounded.model(*values)), _tensors(bounded(*points))
    for output, bounds in zip(outputs, found, strict=True):
        _margin(_Claim("at radius 0, output", None, *_sides(bounds)), [output], str(bounded.method))
        for side in (bounds.lower, bounds.upper):
            exact = _Claim("at radius 0, bound", None, _flat(output), _flat(output))
            _margin(exact, [side], str(bounded.method))


def _margin(claim: _Claim, outputs: list[Tensor], where: str) -> float:
    """Least distance to a bound. Rounding allowed: a network whose layers sum up 2^20 products on a path is off by no
    more than 2^20 ulps of its largest number."""
    values = claim.rows(outputs)
    inside = torch.minimum(values - claim.lower, claim.upper - values)
    size = 1 + torch.maximum(claim.lower.abs(), claim.upper.abs())
    bad = ~(inside >= -(2**20) * torch.finfo(values.dtype).eps * size)
    if bool(bad.any()):
        example, row = divmod(int(torch.where(bad, inside.nan_to_num(-math.inf), math.inf).argmin()), values.shape[1])
        value, lower, upper = (part[example, row].item() for part in (values, claim.lower, claim.upper))
        which = f"{claim.what} {claim.number}, element" if len(outputs) > 1 else claim.what
        raise AssertionError(
            f"{where}: {which} {row} of example {example} is {value:.9g}, outside its bounds "
            f"[{lower:.9g}, {upper:.9g}]; {int(bad.sum())} of {bad.numel()} are"
        )
    return inside.min().item()


def _in_double(value: Tensor | Region) -> Tensor | Region:
    if isinstance(value, Tensor):
        return value.detach().double() if value.is_floating_point() else value
    if not isinstance(value, (Box, LpBall)):
        raise TypeError(f"check_sound draws points of LpBall and Box, not of {type(value).__name__}")
    result = copy.copy(value)
    for name, part in vars(value).items():
        if isinstance(part, Tensor):
            setattr(result, name, part.detach().double())
    # from what the region was made of, because what was worked out in float32 has been rounded there
    if isinstance(result, LpBall) and not result.clipped:
        result._box = Interval.around(result.center, result._radius(result.center))
    else:
        result._box = Interval(*(end.detach().double() for end in value.interval()))
    if isinstance(result, Box):
        result.center = result._box.center
    return result
