r"""A derivation as it is written down, before it is read: lines of LaTeX, each with its rule.

To add one, write a `Written` into a file of `chainrule.derive.lines`; nothing else is needed.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import NamedTuple

from chainrule.derive.lecture import read_expression
from chainrule.derive.setting import Defined, Length, Setting

__all__ = ["Step", "Written", "means"]


class Step(NamedTuple):
    """A line, the rule by which it follows, and a sentence for a student, or none."""

    latex: str
    rule: str
    note: str


def means(latex: str, axes: tuple[Length, ...] = (), indices: tuple[str, ...] = ()) -> Defined:
    r"""What a defined name stands for, and the lengths of its axes: none for a number. With `indices`, one for each
    axis, the expression is that of one element.

    Examples
    --------
    >>> means(r"\log a").expression
    Call(function='log', argument=Name(symbol='a'))
    """
    return Defined(read_expression(latex), axes, indices)


@dataclass(frozen=True)
class Written:
    r"""A derivation: its name, its words, and its lines. A line with a left side begins a new chain of equalities.

    lines : each "left = right", or "= right" as homework is written; indented below it the rule by which it follows,
        and after a colon a note, which may go on in the next line

    Examples
    --------
    >>> Written("x", "X", "", Setting({}), "a - a = 0\n  algebra: Whatever a is.").steps()
    [Step(latex='a - a = 0', rule='algebra', note='Whatever a is.')]
    """

    name: str
    title: str
    intro: str
    setting: Setting
    lines: str

    def steps(self) -> list[Step]:
        """The lines, each with its rule and its note."""
        found: list[tuple[str, list[str]]] = []
        for line in textwrap.dedent(self.lines).strip().splitlines():
            if line.startswith(" "):
                found[-1][1].append(line.strip())
            else:
                found.append((line, []))
        return [Step(latex, *" ".join(words).partition(": ")[::2]) for latex, words in found]
