"""`python -m zoo.evaluate CHECKPOINT`: standard, PGD and verified error of a trained model."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch

from zoo import checkpoint, data, results, weights
from zoo.config import SEEDS
from zoo.distributed import device_of
from zoo.errors import ZooError
from zoo.state import set_threads
from zoo.terminal import application, progress_of_passes, typer, user_errors
from zoo.verification import LEAK, Attack, Stage, choose, verify

app = application()
Option = typer.Option

DTYPES = {"float64": torch.float64, "float32": torch.float32}
STEPS, RESTARTS = 40, 4


@app.command()
def main(
    source: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A run's last.pt or directory, saved weights, or a name.")
    ],
    data_dir: Annotated[str | None, Option(help="Folder that holds MNIST/raw.  [default: as in training]")] = None,
    eps: Annotated[
        list[float] | None, Option(min=0, help="l_inf radius; may be repeated.  [default: the recipe's]")
    ] = None,
    method: Annotated[list[str] | None, Option(help="Bound to verify with; may be repeated.  [default: all]")] = None,
    thorough: Annotated[bool, Option("--thorough", help="Also CROWN with adaptive slopes.")] = False,
    audit: Annotated[bool, Option("--audit", help="Attack verified examples and bound broken ones too.")] = False,
    limit: Annotated[int | None, Option(min=1, help="Only the first N test examples.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Examples per bound computation.")] = None,
    steps: Annotated[int, Option(min=1, help="PGD steps per restart.")] = STEPS,
    restarts: Annotated[int, Option(min=1, help="PGD restarts from random points.")] = RESTARTS,
    step_size: Annotated[float | None, Option(min=0, help="First PGD step.  [default: 4 eps / steps]")] = None,
    seed: Annotated[int, Option(min=0, max=SEEDS - 1, help="Of the random starting points.")] = 0,
    leak: Annotated[float, Option(min=0, max=1, help="Share of gradients that ReLUs add in PGD; 0: none.")] = LEAK,
    dtype: Annotated[str, Option(help="float64, or float32 for a quick look.")] = "float64",
    threads: Annotated[int | None, Option(min=1, help="CPU threads.  [default: as in training]")] = None,
    device: Annotated[str, Option(help="cpu, cuda, ...; auto takes a GPU with CUDA where there is one.")] = "auto",
    json: Annotated[Path | None, Option(help="Write the results to this file.")] = None,
) -> None:
    """Evaluate a model on the test split.

    Standard error <= PGD error <= true robust error <= verified error; an attack on a verified example is an error.
    Bounds are computed from cheap to dear (IBP, CROWN-IBP, CROWN), each for the examples that are still undecided, and
    an example counts as verified if the best of its bounds is strictly positive for every other class.
    """
    with user_errors():
        if json is not None and json.is_dir():
            raise ZooError(f"--json {json} is a folder; give the file to write")
        on = device_of(device)
        trained = weights.open_trained(source)
        set_threads(threads if threads is not None else trained.config.threads)
        test = test_split(trained, data_dir).first(limit)
        radii = list(dict.fromkeys(eps or trained.config.radii))
        require_finite(radii)
        attacks = [attack_on(radius, steps, restarts, step_size, seed, leak) for radius in radii]
        if json is not None:
            checkpoint.require_writable(json)  # better known before the work than after
        found = evaluate(
            trained,
            test,
            list(zip(radii, attacks, strict=True)),
            stages=choose(method or (), thorough=thorough),
            dtype=dtype,
            batch_size=batch_size,
            audit=audit,
            device=on,
        )
        print(results.report(found, f"{trained.config.model} on {trained.config.dataset}, {trained.epochs} epochs"))
        if json is not None:
            checkpoint.write_json(json, {"checkpoint": source, "config": asdict(trained.config)} | found)


def evaluate(
    trained: checkpoint.Trained,
    test: data.Split,
    attacks: Sequence[tuple[float, Attack]],
    *,
    stages: Sequence[Stage] = choose(),
    dtype: str = "float64",
    batch_size: int | None = None,
    audit: bool = False,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Errors at every radius, with its attack, on a split: counts, shares and verdicts, and what they rest on.

    Raises:
        ZooError: (a ValueError) dtype is neither float64 nor float32.
        SoundnessError: an example is verified, and PGD misclassifies it.
    """
    if dtype not in DTYPES:
        raise ZooError(f"unknown --dtype {dtype!r}; there are: {', '.join(DTYPES)}")
    test = test.to(torch.device(device))
    evaluations = []
    for eps, attack in attacks:
        with progress_of_passes() as progress:
            verdicts = verify(
                trained.model,
                test,
                eps=eps,
                attack=attack,
                stages=stages,
                dtype=DTYPES[dtype],
                batch_size=batch_size,
                audit=audit,
                progress=progress,
            )
        evaluations.append(results.evaluation(verdicts, eps=eps, attack=attack))
    return {
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "weights": weights.digest(trained.model),
        "environment": checkpoint.environment(),
        "examples": len(test.labels),
        "dtype": dtype,
        "bounds": [stage.name for stage in stages],
        "evaluations": evaluations,
    }


def require_finite(radii: Sequence[float]) -> None:
    """Refuse radii of which no ball can be made, before the first is evaluated.

    Raises:
        ZooError: (a ValueError) one is infinite or NaN.
    """
    if infinite := [eps for eps in radii if not math.isfinite(eps)]:
        raise ZooError(f"--eps must be finite, not {infinite[0]}")


def test_split(trained: checkpoint.Trained, data_dir: str | None) -> data.Split:
    """The test split that a model was trained for, from this folder or the one it was trained with."""
    return data.load(trained.config.dataset, data_dir or trained.config.data_dir).test


def attack_on(
    eps: float,
    steps: int = STEPS,
    restarts: int = RESTARTS,
    step_size: float | None = None,
    seed: int = 0,
    leak: float = LEAK,
) -> Attack:
    """PGD for a radius. Its default steps reach from any corner of the ball to any other."""
    step_size = 4 * eps / steps if step_size is None else step_size
    return Attack(steps=steps, restarts=restarts, step_size=step_size, seed=seed, leak=leak)


if __name__ == "__main__":
    app()
