"""A derivation for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from chainrule.derive.unicode import Derivation, text

__all__ = ["LONG_VALUE", "screen"]

LONG_VALUE = 14  # characters; a longer value stands below its line, not beside it


def _wrapped(formula: str, room: int) -> list[str]:
    """A formula in rows that fit, broken before terms where that is enough, else before factors or divisors too."""
    rows = [formula]
    for signs in ("−+", "·⊙", "/"):
        if all(len(row) <= room for row in rows):
            break
        glued = [re.sub(rf" (?![{signs}] )", "\N{NO-BREAK SPACE}", row.strip()) for row in rows]
        cut = [part for row in glued for part in textwrap.wrap(row, room - 4, break_long_words=False)]
        rows = [("    " if n else "") + part.replace("\N{NO-BREAK SPACE}", " ") for n, part in enumerate(cut)]
    return rows


def screen(derivation: Derivation, width: int = 100) -> Iterator[str]:
    """A derivation for a terminal: for each line a string, its rule and its value beside it, aligned, wrapped to width.
    Where values are long, they stand below.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from types import SimpleNamespace as Some
    >>> from chainrule.derive import syntax as s
    >>> line = Some(left=s.Name("𝓛"), right=s.Number(Fraction(0)), rule="definition", note="", proof="", value="0.0")
    >>> print(*screen(Some(name="zero", title="Zero", intro="", lines=[line, line])), sep="\\n")
    𝓛
      = 0  0.0  definition
    <BLANKLINE>
    𝓛
      = 0  0.0  definition
    """
    formulas = [f"= {text(line.right)}" for line in derivation.lines]
    numbers = max((len(line.value) + 2 for line in derivation.lines if line.value is not None), default=0)
    below = numbers > LONG_VALUE + 2
    numbers = 0 if below else numbers
    rules = max((len(line.rule) for line in derivation.lines), default=0)
    room = max(30, min(max(map(len, formulas), default=0), width - rules - numbers - 4))
    room = min(room, max(map(len, formulas), default=0))
    for n, (line, formula) in enumerate(zip(derivation.lines, formulas, strict=True)):
        rows = _wrapped(formula, room)
        value = f"  {line.value or ''}".ljust(numbers) if numbers else ""
        rows[0] = f"{rows[0].ljust(room)}{value}  {line.rule}".rstrip()
        left = [*([""] if n else []), text(line.left)] if line.left is not None else []
        for words, indent in ((line.value if below else None, "      "), (line.note, "    ")):
            rows += textwrap.wrap(words or "", width - 4, initial_indent=indent, subsequent_indent=indent)
        yield "\n".join(left + ["  " + row for row in rows])
