"""What the pages that are written from stored results have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first hold figures."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body)) + "\n"


def prose(text: str, indent: str = "") -> str:
    """A paragraph in lines of 120 characters."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def taken(name: str, facts: dict[str, Any], how: str) -> str:
    """Where, when, how, and by what the figures of `docs/results/<name>.json` were taken."""
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    where = f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, {facts['system']}"
    return prose(f"- `docs/results/{name}.json`: {facts['date']}, {where}; {how.format(versions)}", indent="  ")


def joined(parts: Iterable[str]) -> str:
    """Parts of a page, an empty line between them."""
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)
