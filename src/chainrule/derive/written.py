r"""A derivation as it is written down, before it is read: lines of LaTeX, each with its rule.

To add one, write a `Written` into a file of `chainrule.derive.lines`; nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.derive.reading.latex import read_expression
from chainrule.derive.setting import Defined, Free, Length, Setting

__all__ = ["Given", "Means", "Step", "Written"]


@dataclass(frozen=True)
class Step:
    r"""A line: "left = right", or "= right" as homework is written. `note` is a sentence for a student."""

    latex: str
    rule: str
    note: str = ""


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
    """A derivation: its name, its words, and its lines. A line with a left side begins a new chain of equalities."""

    name: str
    title: str
    intro: str
    setting: Given | Setting
    steps: tuple[Step, ...]
