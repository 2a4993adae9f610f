"""The commands that repeat stored runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from zoo import commands, families, losses, markdown
from zoo.config import TrainingConfig
from zoo.records import Result
from zoo.sweep import OWN
from zoo.verification import STAGES

DATA = "DATA"  # stands for the folder of the data sets


class _Evaluated(NamedTuple):
    """What an evaluation is told where it differs from what comes by itself."""

    radii: list[float]
    methods: list[str]


def of_runs(results: Sequence[Result]) -> str:
    """Training and evaluation of runs; those that differ in nothing but the seed share a loop."""
    groups: dict[str, list[tuple[Result, TrainingConfig]]] = {}
    for result in results:
        config = result.configuration
        key = str((_given(config, without=("seed",)), _evaluation(result, config)))
        groups.setdefault(key, []).append((result, config))
    lines: list[str] = []
    for group in groups.values():
        seeds = sorted(config.seed for _, config in group)
        named_by_seed = all(result.name.endswith(f"-seed{config.seed}") for result, config in group)
        if len(group) > 1 and len(set(seeds)) == len(seeds) and named_by_seed:
            result, config = group[0]
            name = result.name.removesuffix(f"-seed{config.seed}") + "-seed$seed"
            lines.append(f"for seed in {' '.join(map(str, seeds))}; do")
            lines += [*_of_run(name, config, "$seed", _evaluation(result, config), indent="    "), "done"]
        else:
            for result, config in group:
                lines += _of_run(result.name, config, config.seed, _evaluation(result, config))
    return markdown.shell(lines)


def _of_run(name: str, config: TrainingConfig, seed: int | str, evaluation: _Evaluated, indent: str = "") -> list[str]:
    given = _given(config, without=("seed",)) | {"seed": seed}
    if config.dataset != "digits":
        given["data_dir"] = DATA
    run = Path("runs") / name
    if run != _usual_directory(config, seed):
        given["out"] = str(run)
    return [
        markdown.command(["zoo.train", *commands.flags(given)], indent),
        markdown.command(["zoo.evaluate", *commands.evaluation(run, *evaluation)], indent),
    ]


def _evaluation(result: Result, config: TrainingConfig) -> _Evaluated:
    radii = [evaluation.eps for evaluation in result.evaluations]
    computed = {name for evaluation in result.evaluations for name in evaluation.bounds}
    methods = list(dict.fromkeys(stage.method for stage in STAGES if stage.name in computed))
    everything = {stage.method for stage in STAGES} <= set(methods)
    return _Evaluated([] if radii == [config.eps] else radii, [] if everything else methods)


def _usual_directory(config: TrainingConfig, seed: int | str) -> Path:
    directory = replace(config, out=None).directory
    return directory.with_name(directory.name.removesuffix(str(config.seed)) + str(seed))


def of_sweeps(sweeps: dict[str, list[Result]]) -> str:
    """The commands of sweeps: what all runs of a command have in common stands after --.

    A command per sweep, or one per method where methods differ in settings that no recipe gives them.
    """
    lines: list[str] = []
    for name, results in sweeps.items():
        configs = [result.configuration for result in results]
        if len({str(_shared([config])) for config in configs}) == 1:
            lines.append(_of_sweep(name, configs))
        else:
            methods = sorted({config.method for config in configs}, key=list(losses.METHODS).index)
            lines += [_of_sweep(name, [one for one in configs if one.method == method]) for method in methods]
    return markdown.shell(lines)


def _shared(configs: Sequence[TrainingConfig]) -> dict[str, Any]:
    given = [_given(config, without=(*OWN, "recipe", "dataset")) for config in configs]
    return {key: value for key, value in given[0].items() if all(other.get(key) == value for other in given)}


def _of_sweep(name: str, configs: Sequence[TrainingConfig]) -> str:
    shared = _shared(configs)
    first = configs[0]
    models = list(dict.fromkeys(config.model for config in configs))
    family = families.family_of(models[0], first.dataset)
    if family != families.OTHER and set(models) == set(families.members(family, first.dataset)):
        models = [families.PREFIX + family]
    arguments = ["zoo.sweep", ",".join(models), "--dataset", first.dataset]
    arguments += ["--recipe", first.recipe] if first.recipe else []
    arguments += ["--data-dir", DATA] if first.dataset != "digits" else []
    for method in sorted({config.method for config in configs}, key=list(losses.METHODS).index):
        arguments += ["--method", method]
    arguments += ["--seeds", ",".join(map(str, sorted({config.seed for config in configs})))]
    arguments += ["--out", f"runs/{name}"]
    return markdown.command([*arguments, *(["--", *commands.flags(shared)] if shared else [])])


def _given(config: TrainingConfig, without: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in commands.to_reproduce(config).items() if name not in without}
