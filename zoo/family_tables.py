"""The part of the page of results on sweeps: every model by every method, and the spread over the models."""

from collections.abc import Sequence
from typing import NamedTuple

from zoo import families, losses, markdown, reproduction
from zoo.errors import ZooError
from zoo.records import Evaluation, Result

ABOUT = (
    "Each model by each method. The last rows are the spread over the models that all methods have, as the CROWN-IBP "
    "paper reports it. The ramp is the number of epochs in which the radius grows."
)
Runs = list[tuple[Evaluation, Result]]
Figures = tuple[float, float, float]  # standard and verified error, minutes


class Group(NamedTuple):
    """What the runs of a table have in common."""

    sweep: str
    dataset: str
    eps: float
    ramp: int
    epochs: int
    bounds: str  # those that verified, where not all

    @property
    def title(self) -> str:
        where = f"{markdown.TITLES[self.dataset]}, eps {markdown.radius(self.eps)}"
        bounds = f", verified by {self.bounds}" if self.bounds else ""
        return f"{self.sweep}: {where}, ramp {self.ramp} of {self.epochs} epochs{bounds}"


def tables(sweeps: dict[str, list[Result]]) -> list[str]:
    """A table per sweep, data set, radius and schedule, then the commands that repeat the sweeps.

    Raises:
        ZooError: (a ValueError) two runs would have the same place in a table.
    """
    groups: dict[Group, Runs] = {}
    for sweep, results in sweeps.items():
        for result in results:
            config = result.configuration
            for evaluation in result.evaluations:
                bounds = " and ".join(reproduction.bounds_of(result))
                group = Group(sweep, config.dataset, evaluation.eps, config.ramp, config.epochs, bounds)
                groups.setdefault(group, []).append((evaluation, result))
    parts = ["## Families of models", markdown.paragraph(ABOUT)]
    for group, runs in sorted(groups.items()):
        parts += [f"### {group.title}", *_table(runs)]
    return [*parts, "### Families: commands", reproduction.of_sweeps(sweeps)]


def _table(runs: Runs) -> list[str]:
    """The table, and which method verifies most, model by model."""
    methods = sorted({_method(result) for _, result in runs}, key=list(losses.METHODS).index)
    several = len({result.setting("seed") for _, result in runs}) > 1
    found: dict[tuple[str, str], Figures] = {}  # by row and method
    for evaluation, result in sorted(runs, key=lambda run: _place(run[1])):
        seed = f", seed {result.setting('seed')}" if several else ""
        place = f"`{result.setting('model', str)}`{seed}", _method(result)
        if place in found:
            raise ZooError(f"{result.path} has the model, method, seed and schedule of another run of its sweep")
        found[place] = evaluation.standard, evaluation.verified, result.seconds / 60
    names = dict.fromkeys(name for name, _ in found)
    rows = [(name, *(cell for method in methods for cell in _cells(found.get((name, method))))) for name in names]
    whole = families.comparable((name, method, figures) for (name, method), figures in found.items())
    for statistic in ("min", "median", "max") if whole else ():
        cells: list[str] = []
        for method in methods:
            cells += _cells([families.spread(kind)[statistic] for kind in zip(*whole[method], strict=True)])
        rows.append((statistic, *cells))
    head = ("model", *(f"{method}, {kind}" for method in methods for kind in ("standard", "verified", "minutes")))
    return [markdown.table(head, rows, words=1), *_comparison(methods, whole)]


def _comparison(methods: Sequence[str], whole: dict[str, list[Figures]]) -> list[str]:
    if len(methods) < 2 or not whole:
        return []
    wins = dict.fromkeys(methods, 0)
    for errors in zip(*([verified for _, verified, _ in whole[method]] for method in methods), strict=True):
        for method, error in zip(methods, errors, strict=True):
            wins[method] += error == min(errors)
    won = ", ".join(f"{method} {number}" for method, number in wins.items())
    rows = len(whole[methods[0]])
    return [markdown.paragraph(f"Rows with the smallest verified error, of the {rows} that all methods have: {won}.")]


def _cells(figures: Sequence[float] | None) -> list[str]:
    """Standard error, verified error and minutes, or nothing of a run that is not there."""
    if figures is None:
        return ["-"] * 3
    standard, verified, minutes = figures
    return [markdown.percent(standard), markdown.percent(verified), markdown.minutes(minutes)]


def _method(result: Result) -> str:
    return str(result.setting("method", str))


def _place(result: Result) -> tuple[int, str, int]:
    """The paper's order of the models of a data set, others after them by name; then seeds."""
    model, config = result.setting("model", str), result.configuration
    listed = families.of_paper(config.dataset) if config.dataset in families.SMALL else []
    return (listed.index(model) if model in listed else len(listed)), model, config.seed
