"""Widths of bounds, operator by operator, beside auto_LiRPA's: `python -m benchmarks.comparison`.

Each operator is bounded in three surroundings, on operands of a given radius:

- bare: the operator on a box,
- network: Linear -> operator -> Linear,
- deep: Linear -> ReLU -> Linear -> operator -> Linear, where the two methods have different operands.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor, nn

from benchmarks.cell import SkippedError
from benchmarks.comparison_cases import OPERATORS, Applied, Case
from benchmarks.pages import joined, markdown, taken
from benchmarks.peer import BACKENDS, Ends, beyond, first_line, ours, sampled
from benchmarks.run import RESULTS, ROOT, load, machine, written

RADII = (0.01, 0.1, 0.5, 1.0)
SEEDS, BATCH, POINTS = 2, 16, 200
SETTINGS = {
    "bare": ("ibp", "crown"), "network": ("ibp", "crown"), "deep": ("ibp", "crown-ibp", "crown"),
}  # fmt: skip
ROUNDING = 1e-7
"""A value that lies outside its bounds by no more than this, relative to 1 + its size, is not called a violation: all
is in double, but a library may have tables in single precision."""

Row = dict[str, Any]


class Box(NamedTuple):
    """What both libraries are asked for. radius: of the operator's operand; eps: of the input."""

    radius: float
    x: Tensor
    eps: float


Models = dict[str, nn.Module]


def questions(case: Case, setting: str, radii: Iterable[float], seed: int) -> Iterator[tuple[Models, list[Box]]]:
    """Models, the same for both libraries but for how the operator is written, and boxes on which to bound them. Radii
    that do not fit into the domain are left out."""
    low, high = case.domain
    radii = [radius for radius in radii if 2 * radius < 0.99 * (high - low)]
    torch.manual_seed(seed)
    operators: Models = {"boundgraph": case.make()}
    torch.manual_seed(seed)
    operators["auto_LiRPA"] = (case.theirs or case.make)() if importable() else nn.Identity()
    numel = math.prod(case.shape)
    if setting == "bare":
        models = {name: made.eval() for name, made in operators.items()}
        yield models, [Box(radius, _centers(case, radius, (BATCH, *case.shape)), radius) for radius in radii]
    elif setting == "network":
        layer = nn.Linear(numel, numel)
        layer.weight.detach().div_(layer.weight.abs().sum(1, keepdim=True))  # the operand has the radius of the input
        targets = [_centers(case, radius, (BATCH, numel)) for radius in radii]
        found = [torch.linalg.solve(layer.weight.detach(), (y - layer.bias.detach()).T).T for y in targets]
        boxes = [Box(radius, x.contiguous(), radius) for radius, x in zip(radii, found, strict=True)]
        yield _surrounded(case, operators, (layer,)), boxes
    else:
        for radius in radii:
            before, x = _deep(case, numel, radius)
            yield _surrounded(case, operators, before), [Box(radius, x, INPUT_RADIUS)]


def _surrounded(case: Case, operators: Models, before: tuple[nn.Module, ...]) -> Models:
    with torch.no_grad():
        outputs = operators["boundgraph"](torch.ones(2, *case.shape)).flatten(1).shape[1]
    last, shape = nn.Linear(outputs, 3), case.shape
    shaped = () if len(shape) == 1 else (Applied(lambda x: x.reshape(-1, *shape)),)
    return {
        name: nn.Sequential(*copy.deepcopy(before), *shaped, made, nn.Flatten(1), copy.deepcopy(last)).eval()
        for name, made in operators.items()
    }


INPUT_RADIUS = 0.3


def _deep(case: Case, numel: int, eps: float) -> tuple[tuple[nn.Module, ...], Tensor]:
    """Layers before the operator, scaled such that its operand has the radius on average, by intervals, and fits."""
    first, second, x = nn.Linear(6, 12), nn.Linear(12, numel), torch.randn(BATCH, 6)
    second.requires_grad_(False)
    nn.init.zeros_(second.bias)
    before = (first, nn.ReLU(), second)
    lower, upper = ours(nn.Sequential(*before), (x,))((x,), INPUT_RADIUS, "ibp")
    scale, low, high = 2 * eps / (upper - lower).mean(), lower.amin(0), upper.amax(0)
    reach = (high - low) / 2
    scale = torch.minimum(scale, 0.49 * (case.domain[1] - case.domain[0]) / reach.max())
    second.weight.mul_(scale)
    second.bias.add_(_centers(case, scale * reach, (numel,)) - scale * (low + high) / 2)
    return before, x


def _centers(case: Case, radius: float | Tensor, shape: tuple[int, ...]) -> Tensor:
    low, high = case.domain
    if math.isinf(high - low):
        return torch.randn(shape)
    return low + radius + torch.rand(shape) * (high - low - 2 * radius)


def importable() -> bool:
    """Whether auto_LiRPA is there to be asked."""
    from benchmarks.cell import auto_lirpa_imported

    try:
        auto_lirpa_imported()
    except SkippedError:
        return False
    return True


def measured(name: str, setting: str, radii: Iterable[float], seed: int) -> Iterator[Row]:
    """A row per radius and method: widths of both, where both are finite, and how far values lie outside."""
    for models, boxes in questions(OPERATORS[name], setting, radii, seed):
        bounds = {backend: _built(backend, model, boxes[0].x) for backend, model in models.items() if boxes}
        for box in boxes:
            outputs = _outputs(models, box, seed)
            for method in SETTINGS[setting]:
                found = {backend: _asked(ask, box, method) for backend, ask in bounds.items()}
                asked = {"operator": name, "setting": setting, "radius": box.radius, "seed": seed, "method": method}
                yield asked | _compared(found, outputs)


def _built(backend: str, model: nn.Module, x: Tensor) -> Callable[..., Ends] | str:
    try:
        return BACKENDS[backend](model, (x,))
    except Exception as error:  # whatever goes wrong in a library is what we report
        return first_line(error)


def _asked(ask: Callable[..., Ends] | str, box: Box, method: str) -> Ends | str:
    if isinstance(ask, str):
        return ask
    try:
        return ask((box.x,), box.eps, method)
    except Exception as error:
        return first_line(error)


def _outputs(models: Models, box: Box, seed: int) -> dict[str, tuple[Tensor, ...]]:
    found: dict[str, tuple[Tensor, ...]] = {}
    for backend, model in models.items():
        generator = torch.Generator().manual_seed(seed)
        try:
            found[backend] = sampled(model, (box.x,), box.eps, POINTS, generator)
        except Exception:  # a model in their words that does not run: its bounds are held to ours
            found[backend] = found["boundgraph"]
    return found


def _compared(found: dict[str, Ends | str], outputs: dict[str, tuple[Tensor, ...]]) -> Row:
    row: Row = {}
    widths = {backend: ends.upper - ends.lower for backend, ends in found.items() if not isinstance(ends, str)}
    finite = torch.stack([width.isfinite() for width in widths.values()]).all(0) if widths else None
    for backend, ends in found.items():
        if isinstance(ends, str):
            row[f"{backend}_error"] = ends
            continue
        row[f"{backend}_width"] = float(f"{widths[backend][finite].mean().item():.6g}")
        if not (outside := beyond(ends, outputs[backend])) <= ROUNDING:
            row[f"{backend}_outside"] = outside
        if infinite := int((~widths[backend].isfinite()).sum()):
            row[f"{backend}_infinite"] = infinite
    return row


def ratio(row: Row) -> float | None:
    """Our width over theirs; that of two constants is 1. None without bounds of both that hold."""
    own, other = row.get("boundgraph_width"), row.get("auto_LiRPA_width")
    if own is None or other is None or math.isnan(own) or math.isnan(other) or "auto_LiRPA_outside" in row:
        return None
    return 1.0 if max(own, other) < 1e-12 else own / other if other else math.inf


# ------------------------------------------------------------------------------------------------ the page

PREAMBLE = """# Tightness beside auto_LiRPA

<!-- written by `python -m benchmarks.comparison`; edit benchmarks/comparison.py instead -->

Widths of our bounds over those of auto_LiRPA: below 1, ours are tighter. Each operator is bounded

- bare, on a box,
- in Linear -> operator -> Linear, and
- deep, in Linear -> ReLU -> Linear -> operator -> Linear.

The radius is that of the operand, in the deep network on average and by interval bounds. Both libraries get the same
weights and inputs, in double precision, and work as they come, without bounds that are optimised. Violations are
questions for which a sampled point or corner gives a value outside of the bounds, or the bounds are NaN; where theirs
are violated, there is no ratio. auto_LiRPA asks for an older PyTorch than the one named below; some of its failures
may come from the newer exporter.

To repeat it, with auto_LiRPA importable:

```bash
pip install -e '.[benchmarks]' && python -m benchmarks.comparison
```
"""

BARE = """
Where *bare* is above 1 and the networks are not, as for the square and the absolute value, auto_LiRPA takes a line
below that is least where the function is. On a box without layers around it that gives the interval, which is exact;
boundgraph takes the line that leaves the least area, and has the interval beside it in `bounds.interval`. Where deep
CROWN is above 1, as for layer normalisation, auto_LiRPA bounds the parts of what we bound as one, such as the variance,
by walks of their own.
"""


def page(document: dict[str, Any]) -> str:
    rows, settings = document["rows"], document["settings"]
    names = [name for name in OPERATORS if any(row["operator"] == name for row in rows)]
    both = [name for name in names if any(ratio(row) is not None for row in _of(rows, name, "crown"))]
    alone = [
        name for name in names if name not in both and any("boundgraph_width" in r for r in _of(rows, name, "crown"))
    ]
    neither = [name for name in names if name not in both and name not in alone]
    parts = [PREAMBLE, "## CROWN\n", _ratios(rows, both), BARE, "## Intervals, where both have them\n"]
    by_intervals = [n for n in names if any(ratio(row) is not None for row in _of(rows, n, "ibp"))]
    parts.append(_intervals(rows, by_intervals))
    parts += ["## CROWN by boundgraph alone\n", "With what auto_LiRPA says when it is asked.\n", _alone(rows, alone)]
    if neither:
        parts += ["## By neither\n", _alone(rows, neither, "boundgraph")]
    unsound = [name for name in names if _violations(_of(rows, name), "auto_LiRPA")]
    if unsound:
        parts += ["## Bounds of auto_LiRPA that values violate\n", _unsound(rows, unsound)]
    radii = ", ".join(map(str, settings["radii"]))
    how = (
        f"{{}}; seeds 0 to {settings['seeds'] - 1}, {settings['batch']} examples each, radii {radii} where the domain "
        f"allows, {settings['points']} points; {settings['seconds']:.0f} s in all"
    )
    parts += ["## Where and when\n", taken("comparison", document["machine"], how)]
    return joined(parts)


def _of(rows: Iterable[Row], name: str, method: str | None = None) -> list[Row]:
    return [row for row in rows if row["operator"] == name and method in (None, row["method"])]


def _violations(rows: Iterable[Row], backend: str) -> int:
    """Questions whose answer some value violates, or holds NaN."""
    return sum(f"{backend}_outside" in row for row in rows)


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.3f}" if known else "-"


def _ratios(rows: list[Row], names: list[str]) -> str:
    body = []
    for name in names:
        own = [row for row in _of(rows, name) if row["method"] != "ibp"]
        found = [value for row in own if (value := ratio(row)) is not None]
        parts = {
            (setting, method): [ratio(row) for row in own if (row["setting"], row["method"]) == (setting, method)]
            for setting, method in (("bare", "crown"), ("network", "crown"), ("deep", "crown-ibp"), ("deep", "crown"))
        }
        both = [row for row in own if ratio(row) is not None]
        widths = [f"{statistics.fmean(row[f'{who}_width'] for row in both):.4g}" for who in BACKENDS]
        infinite = sum(row.get("auto_LiRPA_infinite", 0) for row in own)
        violations = [str(_violations(own, who)) for who in BACKENDS]
        ratios = [f"**{_mean(found)}**", *map(_mean, parts.values()), f"{max(found):.3f}"]
        body.append([name, *widths, *ratios, *violations, str(infinite)])
    head = ["operator", "our width", "theirs", "ratio", "bare", "network", "deep, CROWN-IBP", "deep, CROWN", "worst",
            "our violations", "theirs", "not finite, theirs"]  # fmt: skip
    return markdown(head, body)


def _intervals(rows: list[Row], names: list[str]) -> str:
    body = []
    for name in names:
        own = _of(rows, name, "ibp")
        found = [value for row in own if (value := ratio(row)) is not None]
        violations = [str(_violations(own, who)) for who in BACKENDS]
        body.append([name, _mean(found), f"{max(found):.3f}", *violations])
    return markdown(["operator", "ratio", "worst", "our violations", "theirs"], body)


def _alone(rows: list[Row], names: list[str], silent: str = "auto_LiRPA") -> str:
    body = []
    for name in names:
        own = [row for row in _of(rows, name) if row["method"] != "ibp"]
        said = next((row[f"{silent}_error"] for row in own if f"{silent}_error" in row), "see below")
        body.append([name, str(_violations(own, "boundgraph")), said])
    return markdown(["operator", "our violations", f"{silent}"], body)


def _unsound(rows: list[Row], names: list[str]) -> str:
    body = []
    for name in names:
        for method in ("ibp", "crown-ibp", "crown"):
            wrong = [row for row in _of(rows, name, method) if _violations([row], "auto_LiRPA")]
            if wrong:
                worst = max(
                    (row["auto_LiRPA_outside"] for row in wrong), key=lambda v: math.inf if math.isnan(v) else v
                )
                where = ", ".join(dict.fromkeys(row["setting"] for row in wrong))
                body.append([name, method, where, f"{len(wrong)} of {len(_of(rows, name, method))}", f"{worst:.3g}"])
    return markdown(["operator", "method", "where", "questions", "largest, relative to 1 + value"], body)


def main(
    operator: Annotated[
        list[str], typer.Option(help="One of those in benchmarks/comparison_cases.py; all by default.")
    ] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Weights and inputs per question.")] = SEEDS,
    radius: Annotated[list[float], typer.Option(help="Of the operand.")] = list(RADII),  # noqa: B006
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Where comparison.md goes.")] = ROOT / "docs",
    anew: Annotated[bool, typer.Option(help="Measure; otherwise only write the page from what is stored.")] = True,
) -> None:
    """Compare widths, store them, and write the page."""
    path, start = results / "comparison.json", time.perf_counter()
    rows: list[Row] = []
    torch.set_default_dtype(torch.float64)  # auto_LiRPA takes its tables and its constants in this
    for name in operator or OPERATORS if anew else ():
        mine = [row for setting in SETTINGS for seed in range(seeds) for row in measured(name, setting, radius, seed)]
        show(name, mine)
        rows += mine
    if anew:
        before = load(path) if operator and path.exists() else None
        kept = [row for row in before["rows"] if row["operator"] not in operator] if before else []
        seconds = (before["settings"]["seconds"] if before else 0.0) + time.perf_counter() - start
        settings = {"seeds": seeds, "radii": radius, "batch": BATCH, "points": POINTS, "seconds": seconds}
        written(path, {"machine": machine(), "settings": settings}, [*kept, *rows])
    (docs / "comparison.md").write_text(page(load(path)), encoding="utf-8")


def show(name: str, rows: list[Row]) -> None:
    """One line per operator."""
    line = f"{name:26}"
    for method in ("ibp", "crown-ibp", "crown"):
        own = [row for row in rows if row["method"] == method]
        found = [value for row in own if (value := ratio(row)) is not None]
        worst = f" (worst {max(found):.3f})" if found else ""
        line += f" {method} {_mean(found)}{worst} {'/'.join(str(_violations(own, who)) for who in BACKENDS)};"
    errors = {row[key] for row in rows for key in row if key.endswith("_error")}
    typer.echo(line + " " + "; ".join(sorted(errors))[:200])


if __name__ == "__main__":
    typer.run(main)
