"""The laws that every operator obeys: functions of a `Trial` that raise an AssertionError where they are broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import zip_longest
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from boundgraph.gradients import undeclared_gradient
from boundgraph.linear_forms import centred, lower_through, per_example, per_row
from boundgraph.operator import X
from boundgraph.relaxations import LOWER_SLOPES
from boundgraph.testing.trials import ROUNDINGS, ROWS, Form, Trial, apply, boxes_around, size_of
from boundgraph.values import Interval, Line
from boundgraph.windows import Field, Windows, tiles_of, whole

GRID = 50


def forward_is_the_definition(trial: Trial) -> None:
    """The torch code computes the sympy expression, for small and large |x|."""
    if trial.operator.definition is None or trial.dtype != torch.float64:
        return
    exact = sympy.lambdify(X, trial.operator.definition, "mpmath")
    x = torch.cat([*boxes_around(*trial.points)]).clamp(*trial.domain).unique()
    with mpmath.workdps(30):
        expected = torch.tensor([float(exact(mpmath.mpf(value))) for value in x.tolist()], dtype=torch.float64)
    found = trial.operator.forward(*trial.fill([x.expand(trial.shapes[0][0], -1)]))[0]
    slack = ROUNDINGS * torch.finfo(x.dtype).eps * expected.abs() + trial.tiny
    trial.require_between("forward is the definition", found, expected, found, slack, lambda at: f"at x = {x[at]:.17g}")


def interval_encloses(trial: Trial) -> None:
    """Samples and corners of the boxes map into the interval."""
    for boxes in _boxes(trial):
        interval = trial.interval(boxes)
        slack = trial.slack(boxes, interval)
        for points in trial.samples(boxes):
            value = trial.reference(*points)
            trial.require_between("interval encloses samples", interval.lower, value, interval.upper, slack)


def interval_is_exact(trial: Trial) -> None:
    """The interval of a linear operator J x + c is J center + c -+ |J| radius."""
    if trial.operator.backward is None:
        return
    boxes = trial.boxes()
    interval, lower, upper = trial.interval(boxes), trial.constant, trial.constant
    for matrix, box in zip(trial.jacobian, boxes, strict=True):
        low, high = box.lower.double(), box.upper.double()
        lower = lower + apply(matrix.clamp(min=0), low) + apply(matrix.clamp(max=0), high)
        upper = upper + apply(matrix.clamp(min=0), high) + apply(matrix.clamp(max=0), low)
    slack = trial.slack(boxes, interval)
    for side, found in ((lower, interval.lower), (upper, interval.upper)):
        trial.require_between("interval is exact", found, side.reshape(found.shape), found, slack)


def smaller_box_gives_smaller_interval(trial: Trial) -> None:
    """As ranges do; what only encloses them may be measured from the middle of the box, and move with it."""
    if not trial.operator.exact:
        return
    for boxes in _boxes(trial):
        inner = []
        for first, second in zip(*trial.samples(boxes, 2), strict=True):
            inner.append(Interval(*(end(first, second).to(trial.dtype) for end in (torch.minimum, torch.maximum))))
        outside, inside = trial.interval(boxes), trial.interval(inner)
        slack = trial.slack(boxes, outside)
        for side in inside:
            law = "a smaller box gives a smaller interval"
            trial.require_between(law, outside.lower, side.double(), outside.upper, slack)


def shared_radius_changes_nothing(trial: Trial) -> None:
    """A radius of one example for all gives the interval that its copies give."""
    boxes = trial.boxes()
    shared = [Interval.around(box.center, box.radius[:1]) for box in boxes]
    several = [Interval.around(box.center, box.radius.expand(box.shape).contiguous()) for box in shared]
    expected = trial.interval(several)
    slack = trial.slack(several, expected)
    for mixed in (shared, [*several[:1], *shared[1:]], [*shared[:1], *several[1:]]):
        for found, side in zip(trial.interval(mixed), expected, strict=True):
            trial.require_between("shared radius changes nothing", found, side.double(), found, slack)


def zero_width_is_exact(trial: Trial) -> None:
    """At width 0 interval and lines are the value itself."""
    for boxes in _boxes(trial):
        points = [Interval(box.upper, box.upper) for box in boxes]
        x = [box.upper.double() for box in boxes]
        value, interval = trial.reference(*x), trial.interval(points)
        slack = trial.slack(points, interval)
        for side in interval:
            trial.require_between("zero width is exact", side, value, side, slack)
        for relaxation in trial.relaxations(trial.fill(points)) if trial.elementwise else ():
            for line in relaxation:
                found, allowed = _on(line, x[0]), slack + _slack_of(line, x[0].abs(), trial)
                what = _located(points[0])
                trial.require_between("lines are exact at width 0", found, value, found, allowed, what)


def lines_enclose(trial: Trial) -> None:
    """The function lies between its lines: on dense grids with end points and kinks, on boxes of all sizes."""
    if not trial.elementwise:
        return
    for (box,) in (trial.boxes(), trial.scalar_boxes()):
        low, high = box.lower.double(), box.upper.double()
        parts = torch.linspace(0, 1, GRID, dtype=torch.float64)
        grid = [torch.lerp(low, high, part) for part in parts]
        grid += [torch.full_like(low, point).clamp(low, high) for point in trial.points]
        values = torch.stack([trial.reference(x) for x in grid])
        farthest, largest = size_of(box), values.abs().amax(0)
        for lower, upper in trial.relaxations(trial.fill([box])):
            entering = torch.maximum(largest, farthest) if trial.cancels else largest
            slack = ROUNDINGS * torch.finfo(trial.dtype).eps * entering + trial.tiny
            slack = slack + torch.maximum(*(_slack_of(line, farthest, trial) for line in (lower, upper)))
            for x, value in zip(grid, values, strict=True):
                trial.require_between("lines enclose", _on(lower, x), value, _on(upper, x), slack, _located(box))


def backward_is_the_adjoint(trial: Trial) -> None:
    """For y = J x + c the coefficients become A J, also where one set of them serves all examples."""
    if trial.operator.backward is None:
        return
    boxes = trial.boxes()
    batch, shape = boxes[0].shape[0], trial.interval(boxes).shape
    for coefficients in (trial.rows(shape), trial.rows(shape, batch=1)):
        (forms,) = trial.pulled(coefficients, trial.fill(boxes))
        rows = per_row(coefficients.double()).expand(batch, -1, -1)
        error = trial.rounding(rows.shape[2])
        for part, matrix in zip(forms, trial.jacobian, strict=True):
            found = per_row(part.coefficients).expand(batch, -1, -1)
            slack = error * (rows.abs() @ matrix.abs()) + trial.tiny
            trial.require_between("backward is the adjoint", found, rows @ matrix, found, slack)


def centres_are_consistent(trial: Trial) -> None:
    """A linear operator maps centres to the centre, which is why a walk measured from centres needs no constants."""
    if trial.operator.backward is None:
        return
    boxes = trial.boxes()
    interval, value = trial.interval(boxes), trial.reference(*(box.center.double() for box in boxes))
    slack = trial.slack(boxes, interval)
    trial.require_between("centres are consistent", interval.center, value, interval.center, slack)


def forms_stay_below(trial: Trial) -> None:
    """What is pulled through is a lower bound of the rows: <A, f(x)> >= sum_i <A_i, x_i> + offset."""
    for boxes in _boxes(trial):
        arguments, interval = trial.fill(boxes), trial.interval(boxes)
        rows = trial.rows(interval.shape)
        signed = (rows, rows.abs(), -rows.abs())  # the last two meet all lower, all upper lines
        terms = sum(value.center[0].numel() for value in (interval, *boxes))
        for forms, *both in zip(*(trial.pulled(each, arguments) for each in signed), strict=True):
            total = _value(Form(rows.abs(), rows.new_zeros(1, 1)), size_of(interval))
            if trial.cancels:
                total = total + _value(Form(rows.abs(), rows.new_zeros(1, 1)), size_of(boxes[0]))
            for part, box in ((part, box) for side in both for part, box in zip(side, boxes, strict=True)):
                total = total + _value(Form(part.coefficients.abs(), part.offset.abs()), size_of(box))
            slack = trial.rounding(terms) * total + trial.tiny
            for points in trial.samples(boxes):
                exact = _value(Form(rows, rows.new_zeros(1, 1)), trial.reference(*points))
                bound = torch.stack([_value(part, x) for part, x in zip(forms, points, strict=True)]).sum(0)
                trial.require_between("forms stay below", bound, exact, exact, slack)


def centred_lines_are_the_lines(trial: Trial) -> None:
    """An operator's own lines about the centres are those of `relax`, moved."""
    if trial.operator.centred is None:
        return
    for (box,) in (trial.boxes(), trial.scalar_boxes()):
        arguments, y = trial.fill([box]), trial.interval([box])
        rounded = 2 * (ROUNDINGS * torch.finfo(trial.dtype).eps * size_of(y) + trial.tiny)
        choices = LOWER_SLOPES if "slope" in signature(trial.operator.centred).parameters else (None,)
        for lines, choice in zip(trial.relaxations(arguments), choices, strict=True):
            found = trial.operator.centred(y, *arguments, *([choice] if choice else []))
            for one, other in zip(found, centred(lines, y, box), strict=True):
                for radius in (-box.radius, torch.zeros_like(box.radius), box.radius):
                    value, expected = _on(one, radius.double()), _on(other, radius.double())
                    slack = rounded + sum(_slack_of(line, size_of(box), trial) for line in (one, other))
                    trial.require_between("centred lines are the lines", value, expected, value, slack, _located(box))


def windows_are_parts_of_images(trial: Trial) -> None:
    """On windows, which may reach over the edges, `backward` gives what it gives on the images they are windows of."""
    boxes = trial.boxes()
    shape = trial.interval(boxes).shape
    if not trial.operator.windowed or len(shape) < 3 or trial.dtype != torch.float64:
        return
    batch, channels, *grid = shape
    tiles = tiles_of(torch.arange(batch * math.prod(grid)), tuple(grid))
    size = (len(tiles.example), ROWS, channels, *[2] * len(grid))
    values = torch.randn(size, generator=trial.generator(), dtype=trial.dtype)
    field = Field((1,) * len(grid), (-1,) * len(grid))
    windows = Windows(values, tiles, field, tuple(grid), inside=False)

    def by_example(form: Windows) -> Tensor:
        return whole(form).values.unflatten(0, (batch, -1)).flatten(1, 2)

    assert trial.operator.backward is not None
    found, expected = (trial.operator.backward(form, *trial.fill(boxes)) for form in (windows, by_example(windows)))
    pairs = zip(found, expected, strict=True) if type(found) is tuple else [(found, expected)]  # of several operands
    for one, other in pairs:
        slack = (64 * trial.rounding(other.numel()) * (1 + other.abs().max())).expand_as(other)
        trial.require_between("windows are parts of images", other, by_example(one), other, slack)


def start_is_the_operator(trial: Trial) -> None:
    """The operator's own coefficients, where a walk begins, are the operator up to its constant."""
    if trial.operator.start is None:
        return
    boxes = trial.boxes()
    form = Form(trial.operator.start(*trial.fill(boxes)), trial.constant)
    slack = trial.slack(boxes, trial.interval(boxes))
    for (x,) in trial.samples(boxes, 4):
        found = _value(form, x)
        trial.require_between("start is the operator", found, trial.reference(x), found, slack)


def declared_gradient_is_the_gradient(trial: Trial) -> None:
    """The declared gradient of a step of the walk is what autograd finds, in every argument."""
    if trial.operator.gradient is None or trial.dtype != torch.float64:
        return
    boxes = trial.boxes()
    for batch in (1, boxes[0].shape[0]):
        exact = [tensor.clone().requires_grad_() for tensor in trial.tensors]
        rows = trial.rows(trial.interval(boxes).shape, batch).requires_grad_()
        for step, arguments in trial.steps(trial.fill(boxes, exact)):
            generator = trial.generator()
            upstream = tree_map(
                lambda part, generator=generator: torch.randn(part.shape, generator=generator, dtype=part.dtype),
                step(rows, *arguments),
            )
            expected = undeclared_gradient(step)(upstream, rows, *arguments)
            with torch.no_grad():
                found = trial.operator.gradient(upstream, rows, *arguments)
            for position, (argument, wanted) in enumerate(zip((rows, *arguments), expected, strict=True)):
                given = tree_leaves(found[position] if position < len(found) else None)
                if any(isinstance(leaf, Tensor) for leaf in tree_leaves(argument)):
                    trial.require("declared gradient", position < len(found), f"argument {position} has no entry")
                for one, other in zip_longest(given, tree_leaves(wanted)):
                    trial.require("declared gradient", (one is None) == (other is None), "one of the two is missing")
                    if one is not None:
                        slack = (64 * trial.rounding(one.numel()) * (1 + other.abs().max())).expand_as(one)
                        trial.require_between("declared gradient", one, other, one, slack)


def gradients_are_right(trial: Trial) -> None:
    """Derivatives of interval and lines are finite, at width 0 too, and agree with differences where all is smooth."""
    if trial.dtype != torch.float64:
        return
    ends = [end for box in trial.boxes(thinnest=0.5) for end in box]
    inputs = tuple(value.clone().requires_grad_() for value in (*ends, *trial.tensors))
    for rule in _rules(trial):
        told = _disagreement(rule, inputs)
        trial.require("gradients agree with differences", not told, told)
    for boxes in _boxes(trial):
        for narrowed in (boxes, [Interval(box.lower, box.lower) for box in boxes]):
            flat = tuple(
                value.clone().requires_grad_() for value in (*(e for box in narrowed for e in box), *trial.tensors)
            )
            for rule in _rules(trial):
                total = rule(*flat).sum()
                for gradient in torch.autograd.grad(total, flat, allow_unused=True) if total.requires_grad else ():
                    trial.require("gradients are finite", gradient is None or gradient.isfinite(), "a gradient is not")


def dtype_and_shape_are_kept(trial: Trial) -> None:
    boxes = trial.boxes()
    interval, value = trial.interval(boxes), trial.reference(*(box.center for box in boxes))
    for part in (*interval, interval.center, interval.radius):
        fits = part.shape == value.shape or (part is interval.radius and part.shape == (1, *value.shape[1:]))
        trial.require("dtype is kept", part.dtype == trial.dtype, f"interval in {part.dtype}")
        trial.require("shape is kept", fits, f"interval of shape {tuple(part.shape)}")
    for batch in (1, interval.shape[0]):
        for forms in trial.pulled(trial.rows(interval.shape, batch), trial.fill(boxes)):
            for form, box in zip(forms, boxes, strict=True):
                shapes, inner = [tuple(part.shape) for part in form], tuple(box.shape[1:])
                fits = all(shape[0] in (batch, interval.shape[0]) for shape in shapes)
                fits = fits and [shape[1:] for shape in shapes] == [(ROWS, *inner), (ROWS,)]
                trial.require("shape is kept", fits, f"form with parts of shapes {shapes}")
                trial.require("dtype is kept", {p.dtype for p in form} == {trial.dtype}, "form in another dtype")


def nan_stays_nan(trial: Trial) -> None:
    """Where the value of a poisoned input is NaN, so are both ends of its interval, and its lines certify nothing."""
    for number, box in enumerate(clean := trial.boxes()):
        poisoned = torch.zeros(box.shape, dtype=torch.bool)
        per_example(poisoned)[0, torch.randint(poisoned[0].numel(), (), generator=trial.generator())] = True
        boxes = [*clean]
        boxes[number] = Interval(*(end.masked_fill(poisoned, torch.nan) for end in box))
        interval, value = trial.interval(boxes), trial.reference(*(box.lower for box in boxes))
        for side in interval:
            trial.require("NaN stays NaN", side.isnan() | ~value.isnan(), "an end of the interval is a number")
        for relaxation in trial.relaxations(trial.fill(boxes)) if trial.elementwise else ():
            pulled, offset = lower_through(torch.ones(1, 1, *box.shape[1:], dtype=trial.dtype), relaxation)
            lost = pulled.squeeze(1).isnan() | offset.isnan().reshape(-1, *[1] * (value.dim() - 1))
            trial.require("NaN stays NaN", lost | ~poisoned, "the lines are numbers")


LAWS: tuple[Callable[[Trial], None], ...] = (
    forward_is_the_definition,
    dtype_and_shape_are_kept,
    interval_encloses,
    interval_is_exact,
    smaller_box_gives_smaller_interval,
    zero_width_is_exact,
    lines_enclose,
    shared_radius_changes_nothing,
    backward_is_the_adjoint,
    centres_are_consistent,
    forms_stay_below,
    centred_lines_are_the_lines,
    windows_are_parts_of_images,
    start_is_the_operator,
    declared_gradient_is_the_gradient,
    gradients_are_right,
    nan_stays_nan,
)


def _boxes(trial: Trial) -> list[list[Interval]]:
    """Random boxes, and for element-wise operators boxes of all widths around the points."""
    return [trial.boxes(), trial.scalar_boxes()] if trial.elementwise else [trial.boxes()]


def _on(line: Line, x: Tensor) -> Tensor:
    value = line.slope.double() * x
    return value if line.intercept is None else value + line.intercept.double()


def _slack_of(line: Line, size: Tensor, trial: Trial) -> Tensor:
    return ROUNDINGS * torch.finfo(trial.dtype).eps * line.slope.double().abs() * size


def _located(box: Interval) -> Callable[[tuple[int, ...]], str]:
    return lambda at: f"on [{box.lower[at]:.17g}, {box.upper[at]:.17g}]"


def _value(form: Form, x: Tensor) -> Tensor:
    return per_row(form.coefficients.double() * x.double().unsqueeze(1)).sum(2) + form.offset.double()


def _disagreement(rule: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> str:
    if rule(*inputs).requires_grad:
        try:
            torch.autograd.gradcheck(rule, inputs, fast_mode=True)
        except RuntimeError as error:
            return str(error)
    return ""


def _rules(trial: Trial) -> list[Callable[..., Tensor]]:
    """Interval and pulled forms as functions of the ends of the boxes and of the exact tensors."""

    def arguments(flat: Sequence[Tensor]) -> tuple[Any, ...]:
        count = 2 * len(trial.shapes)
        boxes = [Interval(*ends) for ends in zip(flat[:count:2], flat[1:count:2], strict=True)]
        return trial.fill(boxes, flat[count:])

    def interval(*flat: Tensor) -> Tensor:
        return torch.stack(tuple(trial.operator.interval(*arguments(flat))))

    def forms(*flat: Tensor) -> Tensor:
        rows = trial.rows(interval(*flat)[0].shape) * (1 + flat[0].mean())  # so that derivatives through rows count too
        pulled = trial.pulled(rows, arguments(flat))
        return torch.cat([part.flatten() for variant in pulled for piece in variant for part in piece])

    return [interval, forms]
