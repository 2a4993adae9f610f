"""The page of how tight operators are, from what `python -m benchmarks.operators` has measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.rooms import FAMILIES, OTHERS, family, own_operators, table
from benchmarks.run import Row

TIGHTNESS = """# Tightness of each operator

<!-- written by `python -m benchmarks.catalogue`; edit benchmarks/catalogue.py instead -->

Every operator, alone in a model, bounded on random boxes and held against the values that it takes there: {samples}
samples and corners per box, then {steps} steps of an attack on each output from both sides. Bounded are the outputs,
and {rows} random linear combinations of them, as a later layer or a specification asks for. All is in float64.

- **{violations} values outside their bounds**, of {claims} that were attacked, beyond what rounding explains.
- **At radius 0** the bounds are the value itself: the largest difference is {error:.1e}, relative to its size.

The numbers are the width of the bounds over the width that the attack reached, IBP / CROWN: 1.00 cannot be improved
on. Above 1, bounds may be loose or the attack too weak. That CROWN is looser than IBP on outputs of a single operator
is as it should be: the interval is the exact range, the lines serve what comes after. For linear operators CROWN is
exact.

```bash
pip install -e '.[benchmarks]' && python -m benchmarks.operators && python -m benchmarks.catalogue
```
"""


def page(found: dict[str, Any]) -> str:
    """The page of what was measured."""
    rows, settings = found["rows"], found["settings"]
    parts = [
        TIGHTNESS.format(
            **{name: f"{settings[name]:,}" for name in ("samples", "steps", "rows")},
            violations=sum(row["violations"] for row in rows),
            claims=f"{sum(row['claims'] for row in rows):,}",
            error=max(row["error_at_0"] for row in rows),
        )
    ]
    rooms = own_operators()
    groups: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        name = row["operator"]
        group = groups.setdefault(family(rooms[name]) if name in rooms else "Written out", {})
        group.setdefault((name, row["code"]), []).append(row)
    radii = [f"{radius:g}" for radius in settings["radii"]]
    header = ("operator", "model", *(f"outputs, {r}" for r in radii), *(f"combined, {r}" for r in radii))
    for name in (*FAMILIES, OTHERS, "Written out"):
        if name in groups:
            lines = (_tightness_row(*key, measured) for key, measured in groups[name].items())
            parts.append(f"## {name}\n\n{table(header, lines)}")
    return "\n".join((*parts, _settings(found)))


def _tightness_row(operator: str, code: str, rows: Sequence[Row]) -> tuple[str, ...]:
    cells = [f"{row[f'ibp{part}']:.2f} / {row[f'crown{part}']:.2f}" for part in ("", "_rows") for row in rows]
    return operator, f"`{code}`", *cells


def _settings(found: dict[str, Any]) -> str:
    machine, settings = found["machine"], found["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['date']}, {machine['processor']}, {settings['threads']} thread, {found['seconds']} s in all"
    chance = f"{settings['boxes']} boxes per radius, seed {settings['seed']}"
    return f"## Conditions\n\n{where};\n{versions}; {chance}.\n"
