"""The macros that a text defines, and groups in braces."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Macro", "group_at", "macros_in"]


class Macro(NamedTuple):
    arguments: int
    body: str
    default: str | None = None


def macros_in(text: str) -> dict[str, Macro]:
    r"""The macros that a text defines.

    Examples
    --------
    >>> macros_in(r"\newcommand{\pd}[2]{\frac{\partial #1}{\partial #2}}")["pd"].arguments
    2
    """
    found: dict[str, Macro] = {}
    pattern = (
        r"\\(?:re|provide)?newcommand\*?\s*\{?\\([A-Za-z]+)\}?\s*(?:\[(\d)\])?\s*(?:\[([^\]]*)\])?\s*(?=\{)"
        r"|\\providecommand\*?\s*\{?\\([A-Za-z]+)\}?\s*(?:\[(\d)\])?\s*(?=\{)"
        r"|\\def\s*\\([A-Za-z]+)\s*((?:#\d)*)\s*(?=\{)"
    )
    for match in re.finditer(pattern, text):
        name = match[1] or match[4] or match[6]
        count = int(match[2] or match[5] or 0) or len(match[7] or "") // 2
        found[name] = Macro(count, group_at(text, match.end()), match[3])
    for match in re.finditer(r"\\(?:DeclareMathOperator\*?|operatorname@?)\s*\{?\\([A-Za-z]+)\}?\s*(?=\{)", text):
        found[match[1]] = Macro(0, f"\\operatorname{{{group_at(text, match.end())}}}")
    for match in re.finditer(r"\\let\s*\\([A-Za-z]+)\s*=?\s*(\\[A-Za-z]+)", text):
        found[match[1]] = Macro(0, match[2])
    return found


def group_at(text: str, at: int) -> str:
    """What stands within the braces that open at a place."""
    depth = 0
    for k in range(at, len(text)):
        if text[k] == "\\":
            continue
        if text[k] in "{}" and text[k - 1] != "\\":
            depth += 1 if text[k] == "{" else -1
            if depth == 0:
                return text[at + 1 : k]
    return text[at + 1 :]
