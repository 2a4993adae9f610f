"""`python -m zoo.evaluate CHECKPOINT`: standard, PGD and verified error of a trained model."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.relaxations import LOWER_SLOPES
from zoo import checkpoint, data
from zoo.attack import pgd
from zoo.config import CLIP
from zoo.errors import ZooError
from zoo.loop import set_threads
from zoo.scores import correct, verified
from zoo.terminal import Counter, application, progress_over, typer, user_errors

app = application()
Option = typer.Option

DEFAULT_METHODS = ["ibp", "crown-ibp"]
BATCH_SIZE = 250
WITHOUT_SLOPE = frozenset({"ibp"})  # methods that draw no lower line, hence have no slope to choose


class SoundnessError(Exception):
    """An attack succeeded on a verified example: the bounds are wrong, which must never happen."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Settings of PGD; step_size is in pixel units."""

    steps: int
    restarts: int
    step_size: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One way to verify. A slope of None is the method's own choice."""

    method: str
    slope: str | None
    batch_size: int

    def compile(self, model: nn.Module) -> boundgraph.BoundedModule:
        if self.slope is None:
            return boundgraph.compile(model, method=self.method)
        return boundgraph.compile(model, method=boundgraph.method(self.method, slope=self.slope))

    def __str__(self) -> str:
        return self.method if self.slope is None else f"{self.method}, slope {self.slope}"


@app.command()
def main(
    path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A last.pt that zoo.train wrote.")],
    data_dir: Annotated[str | None, Option(help="Folder that holds MNIST/raw.  [default: as in training]")] = None,
    eps: Annotated[float | None, Option(min=0, help="l_inf radius.  [default: that of training]")] = None,
    method: Annotated[list[str], Option(help="Bound to verify with; may be repeated.")] = DEFAULT_METHODS,
    slope: Annotated[str | None, Option(help="Lower ReLU line: adaptive, zero, one or same.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Only the first N test examples.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Examples per bound computation.")] = None,
    steps: Annotated[int, Option(min=1, help="PGD steps per restart.")] = 40,
    restarts: Annotated[int, Option(min=1, help="PGD restarts from random points.")] = 3,
    step_size: Annotated[float | None, Option(min=0, help="PGD step.  [default: 2.5 eps / steps]")] = None,
    seed: Annotated[int, Option(min=0, help="Of the random starting points.")] = 0,
    threads: Annotated[int | None, Option(min=1, help="CPU threads.  [default: as in training]")] = None,
    json: Annotated[Path | None, Option(help="Write the results to this file.")] = None,
) -> None:
    """Evaluate a checkpoint on the test split.

    Standard error <= PGD error <= true robust error <= verified error; an attack on a verified example is an error.
    """
    with user_errors():
        config, model, epochs = checkpoint.load_model(path)
        set_threads(_or(threads, config.threads))
        eps = config.eps if eps is None else eps
        test = data.load(config.dataset, data_dir or config.data_dir).test.first(limit)
        attack = Attack(steps=steps, restarts=restarts, step_size=_or(step_size, 2.5 * eps / steps), seed=seed)
        bounds = [_bound(name, slope, batch_size) for name in method]
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)  # a bad path is better known before the work than after
        results = evaluate(model, test, eps=eps, attack=attack, bounds=bounds)
    print(report(results, f"{config.model} on {config.dataset}, {epochs} epochs"))
    if json is not None:
        about = {"checkpoint": str(path), "config": asdict(config), "epochs": epochs}
        checkpoint.write_json(json, about | {"environment": checkpoint.environment()} | results)


def evaluate(model: nn.Module, test: data.Split, *, eps: float, attack: Attack, bounds: list[Bound]) -> dict[str, Any]:
    """All three errors, as counts and shares, with the settings that gave them.

    Raises:
        SoundnessError: an example is verified, and PGD misclassifies it.
    """
    with progress_over(len(test.labels)) as counter:
        compiled = [(bound, bound.compile(model)) for bound in bounds]
        with torch.no_grad():
            wrong = torch.cat([~correct(model(x), labels) for x, labels in test.batches(BATCH_SIZE)])
        started = time.perf_counter()
        broken = _attack(model, test, eps, attack, counter)
        attacked = asdict(attack) | _outcome(broken, started)
        certificates = []
        for bound, bounded in compiled:
            started = time.perf_counter()
            proven = _verify(bounded, test, eps, bound, counter)
            require_sound(proven, broken, str(bound))
            certificates.append({"bound": str(bound)} | asdict(bound) | _outcome(~proven, started))
    counts = {"examples": len(test.labels), "eps": eps}
    return counts | {"standard": _outcome(wrong), "pgd": attacked, "verified": certificates}


def require_sound(proven: Tensor, broken: Tensor, bound: str) -> None:
    """Refuse results in which an example is both verified and broken.

    Raises:
        SoundnessError: there is such an example.
    """
    if both := (proven & broken).nonzero().flatten().tolist():
        raise SoundnessError(
            f"{len(both)} test examples are verified by {bound} although PGD breaks them, first number {both[0]}: "
            "the bounds are unsound. Please report this with the checkpoint."
        )


def report(results: dict[str, Any], about: str) -> str:
    """The results for reading."""
    pgd = results["pgd"]
    attack = f"{pgd['restarts']} x {pgd['steps']} steps of {pgd['step_size']:.3g}"
    rows = [("standard error", results["standard"], ""), ("PGD error", pgd, attack)]
    for bound in results["verified"]:
        rows.append(("verified error", bound, bound["bound"]))
    lines = [f"  {name:<15} {row['error']:7.2%}  {detail}".rstrip() for name, row, detail in rows]
    return "\n".join([f"{about}: {results['examples']} test examples, eps {results['eps']:g}", *lines])


def _attack(model: nn.Module, test: data.Split, eps: float, attack: Attack, counter: Counter) -> Tensor:
    find = partial(pgd, model, eps=eps, clip=CLIP, steps=attack.steps, step_size=attack.step_size)
    generator = torch.Generator().manual_seed(attack.seed)
    task, broken = counter.start("PGD"), []
    for x, labels in test.batches(BATCH_SIZE):
        broken.append(find(x, labels, restarts=attack.restarts, generator=generator))
        counter.advance(task, len(labels))
    return torch.cat(broken)


def _verify(bounded: boundgraph.BoundedModule, test: data.Split, eps: float, bound: Bound, counter: Counter) -> Tensor:
    task, proven = counter.start(f"verify by {bound}"), []
    with torch.no_grad():
        for x, labels in test.batches(bound.batch_size):
            margins = bounded.margins(x, labels, eps=eps, clip=CLIP)
            proven.append(verified(bounded.model(x), labels, margins))
            counter.advance(task, len(labels))
    return torch.cat(proven)


def _bound(method: str, slope: str | None, batch_size: int | None) -> Bound:
    if method not in boundgraph.methods():
        raise ZooError(f"unknown --method {method!r}; there are: {', '.join(boundgraph.methods())}")
    if slope is not None and slope not in LOWER_SLOPES:
        raise ZooError(f"unknown --slope {slope!r}; there are: {', '.join(LOWER_SLOPES)}")
    own_slope = None if method in WITHOUT_SLOPE else slope
    return Bound(method=method, slope=own_slope, batch_size=_or(batch_size, BATCH_SIZE))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _outcome(errors: Tensor, started: float | None = None) -> dict[str, Any]:
    outcome = {"errors": int(errors.sum()), "error": errors.double().mean().item()}
    return outcome if started is None else outcome | {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    app()
