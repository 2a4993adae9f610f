"""Rules with a declared gradient against their formulas under autograd, in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from boundgraph import declared
from boundgraph.ops import batch_norm, linear, ramp, relu, sigmoid, tanh
from boundgraph.values import Interval, Relaxation

TOLERANCE = 1e-9


def boxes(*shape: int, shared: bool = False) -> tuple[Tensor, Tensor]:
    """Centres and radii: intervals on either side of 0, across it, touching it, of width 0, tiny and huge."""
    generator = torch.Generator().manual_seed(0)
    center = torch.randn(shape, generator=generator, dtype=torch.float64)
    radius = torch.rand((1 if shared else shape[0], *shape[1:]), generator=generator, dtype=torch.float64)
    if not shared:
        flat_center, flat_radius = center.flatten(), radius.flatten()
        special = [(0, 0), (0, 1), (1, 1), (-1, 1), (2, 0), (-2, 0), (1e-160, 2e-160), (1e150, 3e150), (-1e150, 1e-3)]
        for i, (middle, half) in enumerate(special):
            flat_center[i], flat_radius[i] = middle, half
    return center.requires_grad_(), radius.requires_grad_()


def lines(slope: str) -> Callable[..., list[Tensor]]:
    def found(center: Tensor, radius: Tensor) -> list[Tensor]:
        x = Interval.around(center, radius)
        return tensors(relu.centred(relu.interval(x), x, slope))

    return found


def tensors(relaxation: Relaxation) -> list[Tensor]:
    return [part for line in relaxation for part in line if part is not None]


def interval_of(rule: Callable[..., Interval]) -> Callable[..., list[Tensor]]:
    def found(center: Tensor, radius: Tensor, *others: Tensor) -> list[Tensor]:
        image = rule(Interval.around(center, radius), *others)
        return [image.center, image.radius]

    return found


def curves(relax: Callable[[Interval], Relaxation]) -> Callable[..., list[Tensor]]:
    """Lines around an S-shape; what lies far outside its bend is moved in, where slopes are no rounding."""

    def found(center: Tensor, radius: Tensor) -> list[Tensor]:
        return tensors(relax(Interval.around(3 * torch.tanh(center), 3 * torch.tanh(radius))))

    return found


def off_zero(center: Tensor, radius: Tensor) -> Interval:
    """The box, moved where it ends at 0: there `clamp` takes the other one-sided derivative."""
    return Interval.around(torch.where(center.abs() == radius, center + 0.01, center), radius)


def clipped_lines(slope: str) -> Callable[..., list[Tensor]]:
    def found(center: Tensor, radius: Tensor) -> list[Tensor]:
        x, ceiling = off_zero(center, radius), torch.tensor(0.35, dtype=center.dtype)
        return tensors(ramp.centred(ramp.interval(x, ceiling), x, ceiling, slope))

    return found


RULES: dict[str, Callable[..., list[Tensor]]] = {
    "relu interval": interval_of(relu.interval),
    **{f"clipped relu lines {slope}": clipped_lines(slope) for slope in ("adaptive", "zero", "one", "same")},
    **{f"relu lines {slope}": lines(slope) for slope in ("adaptive", "zero", "one", "same")},
    "tanh lines": curves(tanh.relax),
    "sigmoid lines": curves(sigmoid.relax),
}


def both_ways(rule: Callable[..., list[Tensor]], inputs: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients agree with those of the formula."""
    found = []
    for plain in (False, True):
        with monkeypatch.context() as patch:
            if plain:
                patch.setattr(declared, "_recorded", lambda _: False)
            results = rule(*inputs)
        generator = torch.Generator().manual_seed(1)
        upstream = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in results]
        moving = [pair for pair in zip(results, upstream, strict=True) if pair[0].requires_grad]
        wanted = [part for part in inputs if part.requires_grad]
        gradients = torch.autograd.grad([one for one, _ in moving], wanted, [other for _, other in moving])
        found.append((*(part.detach() for part in results), *gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_rules_of_boxes(name: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((7, 9), (2, 16, 3, 3)):
        inputs = list(boxes(*shape, shared=shared))
        both_ways(RULES[name], inputs, monkeypatch)
        if len(shape) == 4:
            both_ways(RULES[name], [channels_last(part) for part in inputs], monkeypatch)


def channels_last(images: Tensor) -> Tensor:
    return images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("frozen", [(), (0,), (0, 1), (2,), (3,)])
def test_linear_layers(frozen: tuple[int, ...], shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = torch.randn(4, 9, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    weight[0, 0] = 0
    for shape in ((7, 9), (2, 5, 9)):
        inputs = [*boxes(*shape, shared=shared), weight, bias]
        inputs = [part.detach().requires_grad_(i not in frozen) for i, part in enumerate(inputs)]
        both_ways(interval_of(linear.interval), inputs, monkeypatch)
        both_ways(interval_of(linear.interval), inputs[:3], monkeypatch)


@pytest.mark.parametrize("slope", ["adaptive", "zero", "one", "same"])
@pytest.mark.parametrize("shared", [False, True])
def test_clipped_relu(slope: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ceilings per element, per channel and for all, also below 0 and infinite."""

    def found(center: Tensor, radius: Tensor, ceiling: Tensor) -> list[Tensor]:
        x = off_zero(center, radius)
        y = ramp.interval(x, ceiling)
        return [y.center, y.radius, *tensors(ramp.centred(y, x, ceiling, slope))]

    for shape, sizes in (((7, 9), [(9,), ()]), ((2, 16, 3, 3), [(16, 3, 3), (16, 1, 1), (1,)])):
        for size in sizes:
            ceiling = torch.rand(size, dtype=torch.float64) + 0.2
            if ceiling.numel() > 2:
                ceiling.view(-1)[:2] = torch.tensor([-0.3, torch.inf])
            inputs = [*boxes(*shape, shared=shared), ceiling.requires_grad_()]
            both_ways(found, inputs, monkeypatch)
            if len(shape) == 4:
                both_ways(found, [*map(channels_last, inputs[:2]), ceiling], monkeypatch)


@pytest.mark.parametrize("shape", [(6, 4), (3, 16, 3, 3), (1, 2, 1)])
def test_statistics_of_a_batch(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(shape, dtype=torch.float64).add(3).requires_grad_()
    both_ways(lambda clean: list(batch_norm._statistics(clean)), [x], monkeypatch)
    mean, variance = batch_norm._statistics(x)
    others = [dim for dim in range(x.dim()) if dim != 1]
    expected = torch.var_mean(x, others, correction=0)
    torch.testing.assert_close((variance, mean), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", RULES)
def test_nan_stays_nan(name: str) -> None:
    center, radius = boxes(7, 9)
    with torch.no_grad():
        center[3, 4] = radius[2, 1] = torch.nan
    for part in RULES[name](center, radius)[-2:]:
        assert part[3, 4].isnan()
        assert part[2, 1].isnan()


@pytest.mark.parametrize("name", RULES)
def test_second_derivatives_and_transforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are those of the formula."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]

    def total(*inputs: Tensor) -> Tensor:
        return torch.stack([(part**2).sum() for part in RULES[name](*inputs)]).sum()

    def derivatives() -> list[Tensor]:
        first = torch.autograd.grad(total(*inputs), inputs, create_graph=True)
        return [*first, *torch.autograd.grad(sum((part**2).sum() for part in first), inputs)]

    found = derivatives()
    transformed = torch.func.grad(total, argnums=(0, 1))(*inputs)
    monkeypatch.setattr(declared, "_recorded", lambda _: False)
    for one, other in zip((*found, *transformed), (*(expected := derivatives()), *expected[:2]), strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)
