"""Networks as people have them, bounded whole: `python -m benchmarks.whole` writes docs/whole_networks.md.

Bounds by IBP and CROWN-IBP on a small ball, held against samples and corners; seconds to compile and for one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import boundgraph
from benchmarks.pages import joined, markdown, taken
from benchmarks.run import RESULTS, ROOT, Row, load, machine, written
from benchmarks.whole_networks import NETWORKS, build, language_model

METHODS, BATCH, POINTS, THREADS = ("ibp", "crown-ibp"), 2, 256, 2

PREAMBLE = """# Whole networks

<!-- written by `python -m benchmarks.whole`; edit benchmarks/whole.py instead -->

Networks as people have them, small in size and whole in structure, with random weights. BERT and GPT-2 come from the
library `transformers` and are bounded by their embeddings; those that tracing cannot follow got `example_inputs`.
*Seen* is the width of what samples and corners reach, less than the true one. Bounds of untrained deep networks with
normalisation are wide: certified training is what makes them narrow.

To repeat it:

```bash
pip install -e '.[benchmarks,transformers]' && python -m benchmarks.whole
```
"""


def models() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...], float, bool]]:
    """Name, model, shape of an example, radius, and whether example inputs are needed."""
    for name, network in NETWORKS.items():
        yield name, partial(build, name), network.shape, network.eps, network.examples
    for name in ("bert", "gpt2"):
        yield name, partial(language_model, name), (5, 16), 1e-3, True
    yield "transformer, 12 layers", _deep, (8, 64), 1e-4, False


def _deep() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), nn.Linear(64, 2))
    return model.double().eval()


@torch.no_grad()
def measured(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], eps: float, examples: bool) -> list[Row]:
    """A row per method."""
    model, rows = make(), []
    x = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = torch.stack(list(_values(model, x, eps)))
    for method in METHODS:
        start = time.perf_counter()
        bounded = boundgraph.compile(model, method, example_inputs=(x,) if examples else None)
        compiled = time.perf_counter()
        bounded(x, eps=eps)  # tables of activations are made once
        called = time.perf_counter()
        bounds = bounded(x, eps=eps)
        seconds = time.perf_counter() - called
        assert bounds.lower is not None
        assert bounds.upper is not None
        outside = torch.maximum(bounds.lower - values, values - bounds.upper).max().item()
        rows.append({
            "network": name, "method": method, "eps": eps, "width": (bounds.upper - bounds.lower).mean().item(),
            "seen": (values.amax(0) - values.amin(0)).mean().item(), "outside": outside,
            "compile": compiled - start, "first": called - compiled, "call": seconds,
        })  # fmt: skip
    return rows


def _values(model: nn.Module, x: Tensor, eps: float) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(2)
    for i in range(POINTS):
        away = 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1
        yield model(x + eps * (away.sign() if i % 2 else away))


def page(document: dict[str, Any]) -> str:
    head = ["network", "method", "radius", "width", "seen", "violations", "compile, s", "first call, s", "call, s"]
    body = [
        [row["network"], row["method"], f"{row['eps']:g}", f"{row['width']:.3g}", f"{row['seen']:.2g}",
         "none" if row["outside"] <= 1e-9 else f"{row['outside']:.2g}",
         *(f"{row[key]:.2f}" for key in ("compile", "first", "call"))]
        for row in document["rows"]
    ]  # fmt: skip
    how = f"{{}}; {THREADS} threads, {BATCH} examples, {POINTS} points, double precision"
    return joined([PREAMBLE, markdown(head, body), taken("whole_networks", document["machine"], how)])


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Where whole_networks.md goes.")] = ROOT / "docs",
    anew: Annotated[bool, typer.Option(help="Measure; otherwise only write the page from what is stored.")] = True,
) -> None:
    """Bound every network, store what came out, and write the page."""
    path = results / "whole_networks.json"
    if anew:
        torch.set_num_threads(THREADS)
        rows = [row for model in models() for row in measured(*model)]
        written(path, {"machine": machine(), "rows": rows})
    (docs / "whole_networks.md").write_text(page(load(path)))


if __name__ == "__main__":
    typer.run(main)
