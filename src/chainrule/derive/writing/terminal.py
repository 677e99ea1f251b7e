"""A derivation for a terminal."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chainrule.derive.records import LONG_VALUE
from chainrule.derive.writing.unicode import text

if TYPE_CHECKING:
    from chainrule.derive.derivation import Derivation

__all__ = ["screen"]


def _wrapped(formula: str, room: int) -> list[str]:
    """A formula in rows that fit, broken where it holds together least: before the terms of the outermost sum, then its
    factors, then those of sums in brackets, then before divisors, then anywhere."""
    places: list[tuple[int, int]] = []  # where it could be broken, and how bad that would be
    depth = 0
    for at, letter in enumerate(formula):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == " " and formula[at - 1] not in "=−+·⊙/":
            sign = formula[at + 1] if formula[at + 2 : at + 3] == " " else ""
            kind = next((n for n, signs in enumerate(("−+", "·⊙")) if sign and sign in signs), None)
            places.append((at, 6 + (sign != "/") if kind is None else 2 * min(depth, 2) + kind))
    rows = [formula]
    for allowed in sorted({bad for _, bad in places}):
        if all(len(row) <= room for row in rows):
            break
        begins, indent = 0, ""
        rows = []
        for at, end in itertools.pairwise([*(at for at, bad in places if bad <= allowed), len(formula)]):
            if len(indent) + end - begins > room and at > begins:
                rows.append(indent + formula[begins:at])
                begins, indent = at + 1, "    "
        rows.append(indent + formula[begins:])
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
