"""The families of models that the CROWN-IBP paper compares methods on, and the figures it reports of a family."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import zoo
from zoo.errors import ZooError
from zoo.records import Evaluation, Result

T = TypeVar("T")

SMALL = {"mnist": 10, "fashion-mnist": 10, "cifar10": 9}  # how many small models come before the medium ones
FAMILIES = ("small", "medium")
OTHER = "other"
PREFIX = "paper-"


def of_paper(dataset: str) -> list[str]:
    """Names of the paper's models for a data set, in its order (Zhang et al. 2020, appendix).

    Raises:
        ZooError: (a ValueError) it has none.
    """
    if dataset not in SMALL:
        raise ZooError(f"the paper has no models for {dataset}; it has for {', '.join(SMALL)}")
    return [name for of, name in zoo.paper_models() if of == dataset]


def members(family: str, dataset: str) -> list[str]:
    """Names of the paper's small or medium models for a data set.

    Raises:
        ZooError: (a ValueError) as for `of_paper`, or there is no such family.
    """
    names = of_paper(dataset)
    if family not in FAMILIES:
        raise ZooError(f"unknown family {family!r}; there are: {', '.join(PREFIX + name for name in FAMILIES)}")
    return names[: SMALL[dataset]] if family == "small" else names[SMALL[dataset] :]


def family_of(model: str, dataset: str) -> str:
    """small or medium, or OTHER for models that are not the paper's."""
    if dataset in SMALL:
        for family in FAMILIES:
            if model in members(family, dataset):
                return family
    return OTHER


def choose(text: str, dataset: str) -> list[str]:
    """Models from paper-small, paper-medium, or names with commas between them.

    Raises:
        ZooError: (a ValueError) as for `members`; or no name is given.
    """
    if text.startswith(PREFIX):
        return members(text.removeprefix(PREFIX), dataset)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ZooError("no models: give paper-small, paper-medium or names with commas between them")
    return names


def spread(errors: Sequence[float]) -> dict[str, float]:
    """Minimum, median, maximum and mean, as the paper reports a family."""
    return {
        "min": min(errors),
        "median": statistics.median(errors),
        "max": max(errors),
        "mean": statistics.fmean(errors),
    }


def comparable(rows: Iterable[tuple[Any, str, T]]) -> dict[str, list[T]]:
    """Of things with a key and a method, by method those whose key all methods have, in the order of their keys.

    A spread over other models for one method than for another would compare models, not methods.
    """
    found: dict[Any, dict[str, T]] = {}
    for key, method, thing in rows:
        found.setdefault(key, {})[method] = thing
    methods = dict.fromkeys(method for own in found.values() for method in own)
    whole = [own for own in found.values() if len(own) == len(methods)]
    return {method: [own[method] for own in whole] for method in methods} if whole else {}


def summarize(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Spread of standard and verified errors per method and radius, over the models and seeds that all methods have.

    Raises:
        ZooError: (a ValueError) a result lacks a field.
    """
    groups: dict[float, list[tuple[Any, str, Evaluation]]] = {}
    for result in results:
        key, method = (result.setting("model"), result.setting("seed")), result.setting("method", str)
        for evaluation in result.evaluations:
            groups.setdefault(evaluation.eps, []).append((key, method, evaluation))
    return [
        {
            "method": method,
            "eps": eps,
            "runs": len(own),
            "standard": spread([evaluation.standard for evaluation in own]),
            "verified": spread([evaluation.verified for evaluation in own]),
        }
        for eps, rows in groups.items()
        for method, own in comparable(rows).items()
    ]
