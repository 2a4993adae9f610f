"""The families of models that the CROWN-IBP paper compares methods on, and the figures it reports of a family."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import zoo
from zoo.errors import ZooError
from zoo.records import Evaluation, Result

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


def summarize(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Spread of standard and verified errors over the runs of each method and radius.

    Raises:
        ZooError: (a ValueError) a result lacks a field.
    """
    groups: dict[tuple[str, float], list[Evaluation]] = {}
    for result in results:
        for evaluation in result.evaluations:
            groups.setdefault((result.setting("method", str), evaluation.eps), []).append(evaluation)
    return [
        {
            "method": method,
            "eps": eps,
            "runs": len(group),
            "standard": spread([evaluation.standard for evaluation in group]),
            "verified": spread([evaluation.verified for evaluation in group]),
        }
        for (method, eps), group in groups.items()
    ]
