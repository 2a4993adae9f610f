"""What an evaluation found, as plain values for JSON and as text for reading."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from zoo.verification import BROKEN, MISCLASSIFIED, VERIFIED, Attack, Verdicts, cross_check_of


def evaluation(verdicts: Verdicts, *, eps: float, attack: Attack) -> dict[str, Any]:
    """Standard error <= PGD error <= true robust error <= verified error, with what they rest on.

    Standard errors are the misclassified examples; PGD errors those and the broken ones; verified errors all that are
    not verified. `by` counts the verified examples per stage that completed their proof.
    """
    letters, seconds = verdicts.letters, verdicts.seconds
    count = Counter(letters)
    wrong, verified = count[MISCLASSIFIED], sum(count[letter] for letter in VERIFIED)
    stages = [name for name in VERIFIED.values() if name in seconds]
    by_name = {name: count[letter] for letter, name in VERIFIED.items()}
    return {
        "eps": eps,
        "standard": _share(wrong, len(letters)),
        "pgd": asdict(attack) | _share(wrong + count[BROKEN], len(letters)) | {"seconds": seconds.get("attack", 0.0)},
        "verified": _share(len(letters) - verified, len(letters))
        | {"by": {name: by_name[name] for name in stages}, "seconds": {name: seconds[name] for name in stages}},
        "cross_check": asdict(cross_check_of(attack, eps))
        | {"examples": verified, "seconds": seconds.get("cross-check", 0.0)},
        "verdicts": letters,
    }


def is_verified(letters: str) -> list[bool]:
    """Which examples a string of verdicts calls verified."""
    return [letter in VERIFIED for letter in letters]


def report(results: dict[str, Any], about: str) -> str:
    """The results for reading."""
    head = f"{about}: {results['examples']} test examples, {results['dtype']}"
    return "\n".join([head, *(line for found in results["evaluations"] for line in _lines(found))])


def _lines(found: dict[str, Any]) -> list[str]:
    pgd, verified = found["pgd"], found["verified"]
    attack = f"{pgd['restarts']} x {pgd['steps']} steps from {pgd['step_size']:.3g}, leak {pgd.get('leak', 0.0):g}"
    by = ", ".join(f"{name} {count}" for name, count in verified["by"].items() if count) or "none"
    rows = [
        ("standard error", found["standard"], ""),
        ("PGD error", pgd, f"{attack}, {pgd['seconds']:.1f} s"),
        ("verified error", verified, f"verified by {by}, {sum(verified['seconds'].values()):.1f} s"),
    ]
    return [
        f"eps {found['eps']:g}",
        *(f"  {name:<15} {row['error']:7.2%}  {detail}".rstrip() for name, row, detail in rows),
    ]


def _share(errors: int, examples: int) -> dict[str, Any]:
    return {"errors": errors, "error": errors / examples}
