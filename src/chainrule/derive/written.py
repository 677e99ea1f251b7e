r"""A derivation as it is written down, before it is read: lines of LaTeX, each with its rule.

To add one, write a `Written` into a file of `chainrule.derive.lines`; nothing else is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chainrule.derive.lecture import read_expression
from chainrule.derive.setting import Defined, Free, Length, Setting

__all__ = ["Given", "Means", "Step", "Written"]


class Step(NamedTuple):
    """A line, the rule by which it follows, and a sentence for a student, or none."""

    latex: str
    rule: str
    note: str


@dataclass(frozen=True)
class Means:
    """What a defined name stands for, and the lengths of its axes: none for a number. With `indices`, one for each
    axis, the expression is that of one element."""

    latex: str
    axes: tuple[Length, ...] = ()
    indices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    r"""What the names of a derivation stand for, in LaTeX.

    Examples
    --------
    >>> given = Given(free={"a": Free()}, defined={"𝓛": Means(r"\log a")})
    >>> given.setting().defined["𝓛"].expression
    Call(function='log', argument=Name(symbol='a'))
    """

    free: Mapping[str, Free]
    defined: Mapping[str, Means] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    symbolic_classes: tuple[int, ...] = (2, 3, 4)
    numeric_classes: tuple[int, ...] = (2, 5, 50)

    def setting(self) -> Setting:
        """The same, read."""
        defined = {
            symbol: Defined(read_expression(means.latex), means.axes, means.indices)
            for symbol, means in self.defined.items()
        }
        return Setting(self.free, defined, self.lengths, self.symbolic_classes, self.numeric_classes)


@dataclass(frozen=True)
class Written:
    r"""A derivation: its name, its words, and its lines. A line with a left side begins a new chain of equalities.

    lines : each "left = right", or "= right" as homework is written; indented below it the rule by which it follows,
        and after a colon a note, which may go on in the next line

    Examples
    --------
    >>> Written("x", "X", "", Given({}), "a - a = 0\n  algebra: Whatever a is.").steps()
    [Step(latex='a - a = 0', rule='algebra', note='Whatever a is.')]
    """

    name: str
    title: str
    intro: str
    setting: Given | Setting
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
