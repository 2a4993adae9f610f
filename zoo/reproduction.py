"""The commands that repeat stored runs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo import commands, families, losses, markdown
from zoo.config import TrainingConfig
from zoo.evaluate import STEPS, attack_on
from zoo.records import Result
from zoo.sweep import OWN
from zoo.verification import STAGES

DATA = "DATA"  # stands for the folder of the data sets


def of_runs(results: Sequence[Result]) -> str:
    """Training and evaluation of runs; those that differ in nothing but the seed share a loop."""
    groups: dict[str, list[tuple[Result, TrainingConfig]]] = {}
    for result in results:
        config = result.configuration
        stem = result.name.removesuffix(f"-seed{config.seed}")
        key = str((stem, _given(config, without=("seed",)), _evaluation(result, config)))
        groups.setdefault(key, []).append((result, config))
    lines: list[str] = []
    for group in groups.values():
        seeds = sorted(config.seed for _, config in group)
        if len(group) > 1:
            result, config = group[0]
            name = result.name.removesuffix(f"-seed{config.seed}") + "-seed$seed"
            lines.append(f"for seed in {' '.join(map(str, seeds))}; do")
            lines += [*_of_run(name, config, "$seed", _evaluation(result, config), indent="    "), "done"]
        else:
            for result, config in group:
                lines += _of_run(result.name, config, config.seed, _evaluation(result, config))
    return markdown.shell(lines)


def _of_run(name: str, config: TrainingConfig, seed: int | str, evaluation: list[str], indent: str = "") -> list[str]:
    given = _given(config, without=("seed",)) | {"seed": seed}
    if config.dataset != "digits":
        given["data_dir"] = DATA
    run = Path("runs") / name
    if run != _usual_directory(config, seed):
        given["out"] = str(run)
    return [
        markdown.command(["zoo.train", *commands.flags(given)], indent),
        markdown.command(["zoo.evaluate", *commands.evaluation(run, evaluation)], indent),
    ]


def _evaluation(result: Result, config: TrainingConfig) -> list[str]:
    """What an evaluation is told where it differs from what comes by itself."""
    evaluations = result.evaluations
    radii = [one.eps for one in evaluations]
    told = [] if radii == config.radii else commands.repeated("--eps", radii)
    told += commands.repeated("--method", bounds_of(result))
    if any(stage.name in result.bounds and not stage.by_default for stage in STAGES):
        told.append("--thorough")
    if evaluations and (attack := evaluations[0].attack) is not None:
        usual = asdict(attack_on(evaluations[0].eps, steps=attack["steps"])) | {"steps": STEPS}
        told += commands.flags({name: attack[name] for name in usual if attack[name] != usual[name]})
    return told


def bounds_of(result: Result) -> list[str]:
    """The bounds that an evaluation was to compute, where not all."""
    methods = list(dict.fromkeys(stage.method for stage in STAGES if stage.name in result.bounds))
    return [] if {stage.method for stage in STAGES} <= set(methods) else methods


def _usual_directory(config: TrainingConfig, seed: int | str) -> Path:
    directory = replace(config, out=None).directory
    return directory.with_name(directory.name.removesuffix(str(config.seed)) + str(seed))


def of_sweeps(sweeps: dict[str, list[Result]]) -> str:
    """The commands of sweeps: one for all runs of a sweep that differ in model, method and seed alone. Settings that
    they share stand after --."""
    lines: list[str] = []
    for name, results in sweeps.items():
        groups: dict[str, tuple[list[str], list[TrainingConfig]]] = {}
        for result in sorted(results, key=lambda result: _method(result.configuration)):
            config, bounds = result.configuration, bounds_of(result)
            key = str((config.dataset, config.recipe, _shared(config), bounds))
            groups.setdefault(key, (bounds, []))[1].append(config)
        lines += [_of_sweep(name, configs, bounds) for bounds, configs in groups.values()]
    return markdown.shell(lines)


def _method(config: TrainingConfig) -> int:
    return list(losses.METHODS).index(config.method)


def _shared(config: TrainingConfig) -> dict[str, Any]:
    return _given(config, without=(*OWN, "recipe", "dataset"))


def _of_sweep(name: str, configs: Sequence[TrainingConfig], bounds: Sequence[str]) -> str:
    first = configs[0]
    shared = _shared(first)
    models = list(dict.fromkeys(config.model for config in configs))
    family = families.family_of(models[0], first.dataset)
    if family != families.OTHER and set(models) == set(families.members(family, first.dataset)):
        models = [families.PREFIX + family]
    arguments = ["zoo.sweep", ",".join(models), "--dataset", first.dataset]
    arguments += ["--recipe", first.recipe] if first.recipe else []
    arguments += ["--data-dir", DATA] if first.dataset != "digits" else []
    arguments += commands.repeated("--method", dict.fromkeys(config.method for config in configs))  # as in METHODS
    arguments += ["--seeds", ",".join(map(str, sorted({config.seed for config in configs})))]
    arguments += commands.repeated("--verify", bounds)
    arguments += ["--out", f"runs/{name}"]
    return markdown.command([*arguments, *(["--", *commands.flags(shared)] if shared else [])])


def _given(config: TrainingConfig, without: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in commands.to_reproduce(config).items() if name not in without}
