"""Words, figures, tables and commands as they stand on a page."""

import shlex
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
TITLES = {"digits": "Digits", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 2) -> str:
    """A table, of which the first columns hold words and the others figures."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def shell(lines: Iterable[str]) -> str:
    """Commands to copy."""
    return "\n".join(("```bash", *lines, "```"))


def command(arguments: Sequence[str], indent: str = "") -> str:
    """`python -m ARGUMENTS`, broken before flags where it is wider than the page."""
    words = ["python -m"]
    for argument in map(_quoted, arguments):
        if argument.startswith("--") and argument != "--":
            words.append(argument)  # a flag begins, its value stays with it
        else:
            words[-1] += f" {argument}"
    lines = [indent + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines[-1] += " \\"
            lines.append(f"{indent}    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """A share with the two digits that 10,000 examples have."""
    return "-" if share is None else f"{100 * share:.2f}"


def minutes(length: float) -> str:
    """With a digit after the point where it says something."""
    return f"{length:.1f}" if length < 10 else f"{length:.0f}"


def radius(eps: float) -> str:
    """0.3 or 8/255."""
    steps = 255 * eps
    near = round(steps)
    return f"{near}/255" if near and abs(steps - near) < 1e-3 and round(eps, 3) != eps else f"{eps:.4g}"


def paragraph(text: str) -> str:
    """Text broken at the width of the page."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def either(words: Sequence[str]) -> str:
    """a, b, or c."""
    if len(words) < 3:
        return " or ".join(words)
    return f"{', '.join(words[:-1])}, or {words[-1]}"


def _quoted(argument: str) -> str:
    return argument if "$" in argument else shlex.quote(argument)  # a variable of the shell stays one
