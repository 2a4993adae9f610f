"""One measurement in a process of its own: `python -m benchmarks.cell '{"network": "mlp", ...}'`.

It answers in lines of JSON: once when it is ready, then for each line "N" on its input the times of N steps.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import boundgraph
from benchmarks import ablation, networks
from boundgraph.training import robust_cross_entropy

TASKS = {
    "train-ibp": "ibp", "train-crown-ibp": "crown-ibp", "train-fused": "crown-ibp", "verify-crown": "crown",
    "compile": "crown-ibp",
}  # fmt: skip
BACKENDS = (
    *("natural", "boundgraph", "boundgraph-inductor", "boundgraph-bf16", "boundgraph-inductor-bf16"),
    "auto_LiRPA",
)
VERIFIED = 8
"""Examples of a verification task."""

Step = Callable[[], object]


class SkippedError(Exception):
    """The backend has no such task, or is not installed; the message says which."""


@dataclass(frozen=True)
class Cell:
    """What is measured. variant: for the ablation, the part of boundgraph that is switched off. batch: 0 for the
    network's own."""

    network: str
    task: str
    backend: str
    variant: str = ""
    batch: int = 0
    seed: int = 0
    threads: int = 2
    memory_gb: float = 0  # 0 for no limit

    @property
    def training(self) -> bool:
        return self.task.startswith("train")

    @property
    def filled(self) -> Cell:
        """With the batch size that will be used."""
        usual = VERIFIED if self.task == "verify-crown" else networks.network(self.network).batch
        return replace(self, batch=self.batch or usual)


def step_of(cell: Cell) -> Step:
    """Build everything, and return the step that is timed.

    Raises:
        SkippedError: there is no such step.
    """
    cell = cell.filled
    sample = networks.sample(cell.network, cell.batch, cell.seed, training=cell.training)
    if not cell.training:
        sample.model.requires_grad_(False)
    makers: dict[str, Callable[[Cell, networks.Sample], Step]] = {
        "natural": _natural, "boundgraph": _boundgraph, "auto_LiRPA": _auto_lirpa,
    }  # fmt: skip
    return makers[cell.backend.partition("-")[0]](cell, sample)


def _training_step(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Step:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)  # weights stay what they are, nearly

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _natural(cell: Cell, sample: networks.Sample) -> Step:
    model, x, labels = sample
    if cell.training:
        return _training_step(model, lambda: F.cross_entropy(model(x), labels))
    return torch.no_grad()(lambda: model(x))


def _boundgraph(cell: Cell, sample: networks.Sample) -> Step:
    (model, x, labels), wanted = sample, networks.network(cell.network)
    options = cell.backend.split("-")[1:]
    backend = "inductor" if "inductor" in options else "eager"
    if "bf16" in options and cell.task not in ("train-crown-ibp", "train-fused"):
        raise SkippedError("coefficients in bfloat16 are for training, by a method that has coefficients")
    if cell.task == "compile":
        if backend != "eager":
            raise SkippedError("it compiles at the first call; see the first step of training")
        return lambda: boundgraph.compile(model, "crown-ibp")
    method = TASKS[cell.task]
    passes = boundgraph.method(method, precision="bf16") if "bf16" in options else ablation.passes(cell.variant, method)
    bounded = boundgraph.compile(model, passes, backend=backend)
    ablation.switch_off(cell.variant, bounded, lambda: bounded.margins(x, labels, eps=wanted.eps))
    if cell.task == "train-fused":
        return _training_step(model, lambda: bounded.fused_cross_entropy(x, labels, eps=wanted.eps, beta=1.0))
    if cell.training:
        return _training_step(model, lambda: robust_cross_entropy(bounded.margins(x, labels, eps=wanted.eps)))
    return torch.no_grad()(lambda: bounded.margins(x, labels, eps=wanted.eps))


def _auto_lirpa(cell: Cell, sample: networks.Sample) -> Step:
    """auto_LiRPA by its public interface, asked for lower bounds of the same margins, or for its fused loss."""
    library, ball_class = auto_lirpa_imported()
    (model, x, labels), wanted = sample, networks.network(cell.network)
    if cell.task == "compile":
        return lambda: library.BoundedModule(model, x[:2])
    fused = cell.task == "train-fused"
    if fused:
        example = x[:2], torch.zeros(2, dtype=torch.long)
        bounded = library.BoundedModule(library.CrossEntropyWrapper(model), example, {"loss_fusion": True})
    else:
        bounded = library.BoundedModule(model, x[:2])
    bounded.train(cell.training)
    ball = library.BoundedTensor(x, ball_class(norm=float("inf"), eps=wanted.eps))
    spec = boundgraph.margin_spec(labels, wanted.classes)
    normalised = any("BatchNorm" in type(part).__name__ for part in model.modules())
    method = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN"}[TASKS[cell.task]]

    def margins() -> Tensor:
        if normalised and cell.training:
            bounded(ball)  # takes the statistics of the batch
        return bounded.compute_bounds(x=(ball,), C=spec, method=method, bound_upper=False)[0]

    def fused_loss() -> Tensor:
        bounded(ball, labels)  # its backward mode reads shapes that this leaves behind
        upper = bounded.compute_bounds(x=(ball, labels), method=method, bound_lower=False)[1]
        shift = next(part for part in bounded.modules() if type(part).__name__ == "BoundExp").max_input
        return (upper.log() + shift).mean()

    if not cell.training:
        return torch.no_grad()(margins)
    return _training_step(bounded, fused_loss if fused else lambda: robust_cross_entropy(margins()))


def auto_lirpa_imported() -> tuple[Any, Any]:
    try:
        library = importlib.import_module("auto_LiRPA")
        ball = importlib.import_module("auto_LiRPA.perturbations").PerturbationLpNorm
    except ImportError as missing:
        raise SkippedError(f"auto_LiRPA cannot be imported: {missing}") from missing
    for opset in range(11, 19):  # newer torch loads the exporter's tables late, and auto_LiRPA looks before that
        with suppress(ImportError):
            importlib.import_module(f"torch.onnx._internal.torchscript_exporter.symbolic_opset{opset}")
    return library, ball


def peak_mb() -> float:
    """The most memory this process has held."""
    with suppress(OSError):  # unlike getrusage it knows nothing of the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(step: Step, repeats: int) -> list[float]:
    """Seconds of each of several steps."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    cell = Cell(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer

    def answer(**facts: object) -> None:
        answers.write(json.dumps(facts) + "\n")

    if cell.memory_gb:
        limit = int(cell.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(cell.threads)
    base = peak_mb()
    try:
        start = time.perf_counter()
        step = step_of(cell)
        built = time.perf_counter()
        step()
        answer(build_s=built - start, first_step_s=time.perf_counter() - built, base_mb=base, **asdict(cell.filled))
        for line in sys.stdin:
            answer(times=timed(step, int(line)), peak_mb=peak_mb())
    except SkippedError as reason:
        answer(note=f"skipped: {reason}")
    except Exception as error:  # whatever goes wrong in a library is what we report
        answer(note=f"{type(error).__name__}: {str(error)[:200]}")


if __name__ == "__main__":
    main()
