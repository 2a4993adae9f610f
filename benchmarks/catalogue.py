"""Writes docs/operators.md and docs/tightness.md: `python -m benchmarks.catalogue`.

The first page says what is registered when boundgraph is imported, the second what `python -m benchmarks.operators` has
measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import tightness
from benchmarks.rooms import FAMILIES, OTHERS, family, own_operators, room_of, table
from benchmarks.run import RESULTS, ROOT, load
from boundgraph.layers.registry import written_out_layers
from boundgraph.operator import Alias, Expansion, Operator, Several, registered, rewrites
from boundgraph.report import interval_bounds, linear_bounds
from boundgraph.scalar.activation import is_derived
from boundgraph.spelling import written

PREAMBLE = """# Operators

<!-- written by `python -m benchmarks.catalogue`; edit benchmarks/catalogue.py instead -->

What boundgraph can bound: {operators} operators, in rooms of their own (`boundgraph/ops/<room>.py`); {rewrites} kinds
of functions and {layers} of layers are written out in them. Modules are traced through, so a module made of supported
calls is supported, `nn.ReLU()` as well as your own.

- **written** - how users call it. In-place forms (`x.relu_()`, `x += y`) and the ATen operators that `torch.export`
  writes for the same functions are known too; ATen names are listed where there is no other. Without a name are those
  that boundgraph itself puts in the place of other calls.
- **bounds in** - the operands that may carry bounds: *x, y* both at the same time, *x or y* one beside a constant. An
  operator named behind an arrow, or what is written out, takes over where more of them do.
- **interval** - *exact*: the range of the function over the box of its operands; *enclosing*: contains it.
- **linear bounds** - what a CROWN walk meets. *exact*: a linear operator, the walk takes its adjoint. *lines*: for each
  element one below and one above; *derived* from the formula of the function, with everything else about it. *planes*:
  linear functions of several elements. *two constants*: the interval alone, where a walk ends.
- **proof** - *proved*: by interval arithmetic (`boundgraph.prove`), what the rules of a scalar function rest on, on the
  whole line, and the rules themselves on many intervals. All operators are held to the laws of `boundgraph.testing` by
  the test named last, and [measured against attacks](tightness.md).

For a model of yours, `bounded.report()` tells [the same node by node](inspecting.md#which-rules-bound-it).
"""

EPILOGUE = """## What holds for all

Values that no region reaches are computed by PyTorch as they are, with any operator. Calls that only read a shape,
dtype or device (`x.shape[0]`, `x.size(1)`, `torch.zeros_like(x)`) are exact too.

Dimension 0 is the batch, and no operator may move it or mix its examples. `x.flatten(1)` and
`x.reshape(x.shape[0], -1)` keep it; `x.mean(0)` is refused when it meets a perturbed value.

A new operator needs one file, or a call of `boundgraph.register` in your own package: see
[architecture](architecture.md#a-new-operator).
"""


def catalogue() -> str:
    """The page of what is registered."""
    families: dict[str, list[Operator]] = {}
    for op in registered():
        if (room := room_of(op)) is not None:
            families.setdefault(family(room), []).append(op)
    others = rewrites()
    composite = [rule for rule in others if isinstance(rule, Expansion | Several)]
    counts = {"operators": len(own_operators()), "rewrites": len(composite), "layers": len(written_out_layers())}
    parts = [PREAMBLE.format(**counts)]
    for name in (*FAMILIES, OTHERS):
        if name in families:
            rows = map(_operator_row, sorted(families[name], key=lambda op: op.name))
            header = ("operator", "written", "bounds in", "interval", "linear bounds", "proof", "test")
            parts.append(f"## {name}\n\n{table(header, rows)}")
    for title, kind in (("Written out in other calls", Expansion), ("Of several parts, each a call", Several)):
        parts.append(f"## {title}\n\n{_rewrites([rule for rule in composite if isinstance(rule, kind)])}")
    parts.append(f"## Layers written out\n\n{_layers()}")
    aliases = [rule for rule in others if isinstance(rule, Alias)]
    parts += [f"## Nothing to bound\n\n{_aliases(aliases)}", EPILOGUE]
    return "\n".join(parts)


def _operator_row(op: Operator) -> tuple[str, ...]:
    room = room_of(op)
    between = ", " if op.joint else " or "
    operands = between.join(op.operands)
    if op.otherwise is not None:
        taken = next((other.name for other in registered() if other.forward is op.otherwise), "written out")
        operands += f" → {taken}"
    link = f"[{op.name}](../boundgraph/ops/{room}.py)"
    test = f"[test_{room}](../tests/ops/test_{room}.py)"
    return link, spellings(op.adapters), operands, interval_bounds(op), linear_bounds(op), _proof(op), test


def _proof(op: Operator) -> str:
    proven = is_derived(op) or (op.definition is not None and op.relax is not None)  # those of tests/test_proof.py
    return "[proved](../tests/test_proof.py)" if proven else ""


def spellings(targets: Iterable[Any]) -> str:
    """What users write: without in-place forms and ATen names of what is there under another, sizes 1d/2d/3d in one."""
    names = [written(target) for target in targets]
    names = [name for name in names if not name.startswith("boundgraph.")]  # those of our own are no spellings of users
    plain = [name for name in names if not name.startswith("aten.")]
    aten = dict.fromkeys(name.split(".")[1] for name in names if name.startswith("aten."))
    bases = {re.sub(r"\W", "", name.rsplit(".", 1)[-1]) for name in plain}
    kept = [name for name in plain if not re.search(r"(\w_|\w_\(\)|= y)$", name)]
    kept += [f"aten.{name}" for name in aten if re.sub("^(linalg|special)_|^_+|_+$", "", name) not in bases]
    order = sorted(dict.fromkeys(kept), key=lambda name: _rank(name))
    return ", ".join(f"`{name}`" for name in _by_dimension(order)) or "-"


def _rank(name: str) -> int:
    starts = ("F.", "torch.", "x.", "aten.")
    return next((rank for rank, start in enumerate(starts) if name.startswith(start)), -1)


def _by_dimension(names: Sequence[str]) -> Iterator[str]:
    """F.conv1d, F.conv2d -> F.conv1d/2d."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[123](?=d)", "?", name, count=1), []).append(name)
    for pattern, members in groups.items():
        sizes = [name[pattern.index("?")] for name in members] if "?" in pattern else []
        yield pattern.replace("?d", "/".join(f"{size}d" for size in sizes)) if sizes else members[0]


def _rewrites(rules: Sequence[Expansion | Several]) -> str:
    """A table of functions that other calls take the place of."""
    rows = []
    for rule in sorted(rules, key=lambda rule: rule.name.lower()):
        room = _room_of_adapter(rule.adapters)
        rows.append((f"[{rule.name}](../boundgraph/ops/{room}.py)", spellings(rule.adapters)))
    return table(("function", "written"), rows)


def _room_of_adapter(adapters: Mapping[Any, Callable[..., Any]]) -> str:
    adapter = next(iter(adapters.values()))
    function = adapter.func if isinstance(adapter, partial) else adapter
    return function.__module__.rsplit(".", 1)[-1]


def _layers() -> str:
    found: dict[Callable[..., Any], list[str]] = {}
    for kind, forward in written_out_layers().items():
        found.setdefault(forward, []).append(f"`{written(kind)}`")
    rows = [(", ".join(kinds), _file_of_layer(forward)) for forward, kinds in found.items()]
    text = "Layers whose own forward cannot be traced; all others are traced as they are.\n\n"
    return text + table(("layer", "written out in"), rows)


def _file_of_layer(forward: Callable[..., Any]) -> str:
    name = forward.__module__.rsplit(".", 1)[-1]
    return f"[{name}](../boundgraph/layers/{name}.py)"


def _aliases(rules: Sequence[Alias]) -> str:
    names = "\n".join(
        f"- {rule.name}: {spellings(rule.adapters)}" for rule in sorted(rules, key=lambda rule: rule.name)
    )
    return f"Calls that return their operand unchanged, dropout in eval mode among them:\n\n{names}\n"


def pages(results: Path = RESULTS) -> dict[str, str]:
    return {"operators.md": catalogue(), "tightness.md": tightness.page(load(results / "operators.json"))}


def main(
    check: Annotated[bool, typer.Option(help="Write nothing; fail if a page is not what it would be.")] = False,
    docs: Annotated[Path, typer.Option(help="Where to write.")] = ROOT / "docs",
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
) -> None:
    for name, text in pages(results).items():
        path = docs / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            typer.echo(f"{path} is not up to date: python -m benchmarks.catalogue")
            raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
