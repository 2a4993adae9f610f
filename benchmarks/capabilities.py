"""Small networks that probe one capability each, by both libraries: `python -m benchmarks.capabilities`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchmarks.comparison import ROUNDING
from benchmarks.comparison_cases import Applied
from benchmarks.pages import joined, markdown, taken
from benchmarks.peer import BACKENDS, beyond, first_line, sampled
from benchmarks.run import RESULTS, ROOT, load, machine, written

METHODS = ("ibp", "crown")
BATCH, EPS, POINTS = 3, 0.05, 400

Row = dict[str, Any]


class Probe(NamedTuple):
    """make: the network, to be bounded in eval mode. inputs: the shape of each, without the batch."""

    make: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...]
    batch_later: int = BATCH  # of the inputs whose bounds are asked for, after it was built with BATCH examples


def _chain(*layers: nn.Module, shape: tuple[int, ...] = (6,), batch_later: int = BATCH) -> Probe:
    """Layers one after the other. Making the probe makes the network; it is shared by both libraries."""
    return Probe(lambda: nn.Sequential(*layers), (shape,), batch_later)


def _function(function: Callable[..., Any], *layers: nn.Module, shape: tuple[int, ...] = (6,)) -> Probe:
    """A forward of the input and the layers."""
    return Probe(lambda: Applied(function, *layers), (shape,))


class _TwoInputs(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.last(torch.relu(self.function(self.first(x), self.second(y))))


class _Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.relu(sum(self.layer(x) for x in inputs))


class _Recurrent(nn.Module):
    """The last output of a recurrent layer, through a linear one."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class _CellLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 4)
        for t in range(4):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class _Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True, **options), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0]).mean(1)


class _WrittenAttention(nn.Module):
    def __init__(self, kernel: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.kernel, self.causal = kernel, causal
        self.register_buffer("hidden", torch.ones(3, 3, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.kernel:
            return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        scores = query @ key.transpose(1, 2) / 2
        if self.causal:
            scores = scores.masked_fill(self.hidden, -math.inf)
        return torch.softmax(scores, -1) @ value


class _VisionTransformer(nn.Module):
    """Patches, a class token, positions, one encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 3, 3)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.layer(x)[:, 0])


class _Residual(nn.Module):
    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm, self.in_place = nn.BatchNorm2d(2), in_place

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.norm(self.first(x)), inplace=self.in_place))
        if self.in_place:
            y += x
            return F.relu(y, inplace=True).flatten(1)
        return F.relu(y + x).flatten(1)


class _Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * i, 2, 3, padding=1) for i in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        return x.mean((2, 3))


class _Prototypes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.prototypes = nn.Linear(6, 4), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.linalg.vector_norm(self.embed(x).unsqueeze(1) - self.prototypes, dim=2)


def _plain(*activations: nn.Module) -> Probe:
    layers = [part for activation in activations for part in (activation, nn.Linear(8, 8))]
    return _chain(nn.Linear(6, 8), *layers)


IMAGE = (2, 6, 6)


def probes() -> dict[str, Probe]:
    """Every network, with weights of its own; call it under a seed."""
    linear, conv = nn.Linear, nn.Conv2d
    return {
        "fully connected": _plain(nn.ReLU(), nn.ReLU()),
        "another batch size than at first": Probe(_plain(nn.ReLU()).make, ((6,),), 5),
        "convolutions": _chain(conv(2, 3, 3, 2, 1), nn.ReLU(), nn.Flatten(), linear(27, 3), shape=IMAGE),
        "convolutions, depthwise": _chain(conv(2, 4, 3, groups=2), nn.ReLU(), conv(4, 2, 1), nn.Flatten(), shape=IMAGE),
        "convolutions, dilation": _chain(conv(2, 3, 2, dilation=2), nn.ReLU(), nn.Flatten(), shape=IMAGE),
        "convolutions, padding same": _chain(conv(2, 3, 3, padding="same"), nn.ReLU(), nn.Flatten(), shape=IMAGE),
        "convolutions in 1 dimension": _chain(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), shape=(2, 8)),
        "convolutions in 3 dimensions": _chain(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), shape=(1, 3, 4, 4)),
        "transposed convolutions, output padding": _chain(
            conv(2, 3, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(3, 1, 3, 2, 1, 1), nn.Flatten(), shape=IMAGE
        ),
        "residual block, batch norm": Probe(_Residual, (IMAGE,)),
        "in-place operations": Probe(lambda: _Residual(in_place=True), (IMAGE,)),
        "dense block": Probe(_Dense, (IMAGE,)),
        "max-pool": _chain(conv(2, 2, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), linear(18, 3), shape=IMAGE),
        "max-pool, overlapping and padded": _chain(
            conv(2, 2, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.Flatten(), linear(18, 3), shape=IMAGE
        ),
        "max-pool, ceil mode": _chain(conv(2, 2, 2), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), shape=IMAGE),
        "average pool, to one": _chain(
            conv(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(4, 3), shape=IMAGE
        ),
        "average pool, to any size": _chain(
            conv(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), shape=IMAGE
        ),
        "leaky ReLU, PReLU": _plain(nn.LeakyReLU(), nn.PReLU()),
        "sigmoid, tanh": _plain(nn.Sigmoid(), nn.Tanh()),
        "ELU, SELU": _plain(nn.ELU(), nn.SELU()),
        "softplus": _plain(nn.Softplus()),
        "GELU": _plain(nn.GELU()),
        "SiLU, Mish": _plain(nn.SiLU(), nn.Mish()),
        "hardswish, hardsigmoid": _plain(nn.Hardswish(), nn.Hardsigmoid()),
        "ReLU6, clamp": _plain(nn.ReLU6(), Applied(lambda x: x.clamp(-0.5, 0.5))),
        "sine features": _plain(Applied(torch.sin), Applied(torch.cos)),
        "powers": _plain(Applied(lambda x: x**2 - x**3)),
        "dropout": _plain(nn.ReLU(), nn.Dropout(0.5)),
        "layer norm": _plain(nn.LayerNorm(8), nn.ReLU()),
        "group norm": _chain(conv(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), shape=IMAGE),
        "instance norm": _chain(conv(2, 4, 3), nn.InstanceNorm2d(4), nn.ReLU(), nn.Flatten(), shape=IMAGE),
        "L2 normalisation": _plain(Applied(lambda x: F.normalize(x, dim=1))),
        "softmax": _chain(linear(6, 8), nn.ReLU(), linear(8, 4), nn.Softmax(1)),
        "log-softmax": _chain(linear(6, 8), nn.ReLU(), linear(8, 4), nn.LogSoftmax(1)),
        "maximum over points": _chain(
            linear(2, 6), nn.ReLU(), Applied(lambda x: x.max(1)[0]), linear(6, 3), shape=(4, 2)
        ),
        "distances to prototypes": Probe(_Prototypes, ((6,),)),
        "attention, written out": Probe(_WrittenAttention, ((3, 4),)),
        "attention, causal mask": Probe(lambda: _WrittenAttention(causal=True), ((3, 4),)),
        "attention, one kernel": Probe(lambda: _WrittenAttention(kernel=True, causal=True), ((3, 4),)),
        "nn.MultiheadAttention": Probe(_Attention, ((3, 4),)),
        "nn.TransformerEncoderLayer": _chain(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), shape=(3, 4)),
        "vision transformer": Probe(_VisionTransformer, ((1, 6, 6),)),
        "nn.LSTM": Probe(lambda: _Recurrent(nn.LSTM(3, 4, batch_first=True), 4), ((4, 3),)),
        "nn.GRU, two layers": Probe(lambda: _Recurrent(nn.GRU(3, 4, 2, batch_first=True), 4), ((4, 3),)),
        "nn.RNN, both directions": Probe(
            lambda: _Recurrent(nn.RNN(3, 4, batch_first=True, bidirectional=True), 8), ((4, 3),)
        ),
        "loop over nn.LSTMCell": Probe(_CellLoop, ((4, 3),)),
        "two inputs, added": Probe(lambda: _TwoInputs(torch.add), ((4,), (3,))),
        "two inputs, multiplied": Probe(lambda: _TwoInputs(torch.mul), ((4,), (3,))),
        "any number of inputs": Probe(_Several, ((4,), (4,))),
        "quotient of two values": _function(
            lambda x, a, b: a(x) / (1 + torch.exp(b(x))), linear(6, 4), linear(6, 4)
        ),
        "nn.Bilinear": Probe(lambda: nn.Bilinear(4, 3, 5), ((4,), (3,))),
        "tuple of outputs": _function(lambda x, a, b: (a(x), torch.relu(b(x))), linear(6, 3), linear(6, 4)),
        "dict of outputs": _function(lambda x, a, b: {"a": a(x), "b": torch.relu(b(x))}, linear(6, 3), linear(6, 4)),
        "einsum": _function(
            lambda x, a: torch.relu(torch.einsum("bij,kj->bki", x, a.weight)), linear(4, 3), shape=(3, 4)
        ),
        "chunk, split": _function(
            lambda x, a: (lambda p: p[0] * torch.sigmoid(p[1]))(a(x).chunk(2, 1)), linear(6, 8)
        ),
        "indexing": _function(lambda x, a: torch.relu(a(x))[:, [0, 2, 5]][:, None, ::2].squeeze(1), linear(6, 8)),
        "shapes asked for": _function(
            lambda x, a: torch.relu(a(x)).view(x.size(0), 2, -1).transpose(1, 2).reshape(x.shape[0], -1), linear(6, 8)
        ),
        "a layer used twice": _function(lambda x, a: a(torch.relu(a(torch.relu(a(x))))), linear(6, 6)),
        "padding by reflection": _chain(nn.ReflectionPad2d(1), conv(2, 2, 3), nn.ReLU(), nn.Flatten(), shape=IMAGE),
        "upsampling, nearest": _chain(conv(2, 2, 3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Flatten(), shape=IMAGE),
        "upsampling, bilinear": _chain(
            conv(2, 2, 3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Flatten(), shape=IMAGE
        ),
        "pixel shuffle": _chain(conv(2, 4, 3), nn.ReLU(), nn.PixelShuffle(2), nn.Flatten(), shape=IMAGE),
        "weight normalisation": _chain(
            parametrizations.weight_norm(linear(6, 8)), nn.ReLU(), parametrizations.spectral_norm(linear(8, 3))
        ),
    }  # fmt: skip


def measured(name: str, seed: int) -> list[Row]:
    """A row per backend and method: what went wrong, or how wide the bounds are and how far values lie outside."""
    rows = []
    for backend, build in BACKENDS.items():
        torch.manual_seed(seed)
        probe = probes()[name]
        model = probe.make().eval()
        inputs = tuple(torch.randn(BATCH, *shape) for shape in probe.inputs)
        later = tuple(torch.randn(probe.batch_later, *shape) for shape in probe.inputs)
        values = sampled(model, later, EPS, POINTS, torch.Generator().manual_seed(seed))
        for method in METHODS:
            row: Row = {"network": name, "backend": backend, "method": method}
            rows.append(row)
            try:
                ends = build(model, inputs)(later, EPS, method)
                row.update(width=(ends.upper - ends.lower).mean().item(), outside=beyond(ends, values))
            except Exception as error:  # whatever goes wrong in a library is what we report
                row["error"] = first_line(error)
    return rows


def verdict(row: Row) -> str:
    """yes, no, or how the bounds are wrong."""
    if "error" in row:
        return "no"
    if not math.isfinite(row["width"]) or math.isnan(row["outside"]):
        return "not finite"
    return "yes" if row["outside"] <= ROUNDING else f"violated by {row['outside']:.2g}"


# ------------------------------------------------------------------------------------------------ the page

PREAMBLE = """# Capabilities

<!-- written by `python -m benchmarks.capabilities`; edit benchmarks/capabilities.py instead -->

Small networks in eval mode that probe one capability each, written as a user of PyTorch writes them, and bounded as
they are on a box around random inputs by boundgraph and by auto_LiRPA. *yes* is a finite answer that no sampled point
violates. auto_LiRPA asks for an older PyTorch than the one named below, and works with it all the same; some of its
failures may come from the newer exporter.

To repeat it, with auto_LiRPA importable:

```bash
pip install -e '.[benchmarks]' && python -m benchmarks.capabilities
```
"""


def page(document: dict[str, Any]) -> str:
    """Counts, a table of verdicts with widths by CROWN, and what was said in place of an answer."""
    rows, settings = document["rows"], document["settings"]
    names = list(dict.fromkeys(row["network"] for row in rows))
    columns = [(backend, method) for backend in BACKENDS for method in METHODS]
    found = {(row["network"], row["backend"], row["method"]): row for row in rows}
    body = []
    for name in names:
        widths = [found[name, who, "crown"].get("width", math.nan) for who in BACKENDS]
        body.append([name, *(verdict(found[name, *column]) for column in columns), _ratio(*widths)])
    counts = [sum(verdict(found[name, *column]) == "yes" for name in names) for column in columns]
    head = ["network", *(f"{who}, {method}" for who, method in columns), "our width by CROWN / theirs"]
    total = [f"yes, of {len(names)}", *map(str, counts), ""]
    errors = [[row["network"], row["backend"], row["method"], row["error"]] for row in rows if "error" in row]
    how = (
        f"{{}}; seed {settings['seed']}, {BATCH} examples, radius {EPS}, {POINTS} points; double precision; "
        f"{settings['seconds']:.0f} s in all"
    )
    parts = [PREAMBLE, markdown(head, [total, *body]), "## In place of an answer\n",
             markdown(["network", "library", "method", "first line of the error"], errors),
             "## Where and when\n", taken("capabilities", document["machine"], how)]  # fmt: skip
    return joined(parts)


def _ratio(own: float, other: float) -> str:
    return f"{own / other:.3f}" if math.isfinite(own) and math.isfinite(other) and other else "-"


def main(
    network: Annotated[list[str], typer.Option(help="One of the networks; all by default.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of weights and inputs.")] = 0,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Where capabilities.md goes.")] = ROOT / "docs",
    anew: Annotated[bool, typer.Option(help="Measure; otherwise only write the page from what is stored.")] = True,
) -> None:
    """Try every network, store what came out, and write the page."""
    path, start = results / "capabilities.json", time.perf_counter()
    if anew:
        torch.set_default_dtype(torch.float64)  # auto_LiRPA takes its tables and its constants in this
        rows = []
        for name in network or probes():
            mine = measured(name, seed)
            rows += mine
            said = "; ".join(f"{row['backend']} {row['method']}: {row['error']}" for row in mine if "error" in row)
            typer.echo(f"{name:40} {' '.join(f'{verdict(row):12}' for row in mine)} {said}")
        settings = {"seed": seed, "seconds": time.perf_counter() - start}
        written(path, {"machine": machine(), "settings": settings, "rows": rows})
    (docs / "capabilities.md").write_text(page(load(path)), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
