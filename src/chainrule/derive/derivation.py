"""A derivation as an object: its lines, each with the rule that leads to it, checked and shown."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.derive import lines as written_lines
from chainrule.derive.checking.step import check_step, classes_checked
from chainrule.derive.lecture import read_line
from chainrule.derive.records import Line, LineCheck
from chainrule.derive.rules import RULES
from chainrule.derive.setting import Setting
from chainrule.derive.syntax import Node
from chainrule.derive.writing.documents import aligned
from chainrule.derive.writing.pages import notebook_html
from chainrule.derive.written import Written
from chainrule.errors import InputError

__all__ = ["Derivation", "derivations", "derive"]


@dataclass(frozen=True)
class Derivation:
    """A derivation, as `derive` gives it.

    Examples
    --------
    >>> loss = derive("loss")
    >>> loss.title, len(loss.lines), loss.lines[0].rule
    ('The loss, from the logits', 4, 'definition of the loss')
    >>> [check.follows for check in loss.check()]
    [True, True, True, True]
    """

    name: str
    title: str
    intro: str
    setting: Setting
    lines: tuple[Line, ...]

    def check(self) -> list[LineCheck]:
        """Check each line by SymPy and by numbers, against its left side or the last line before it that was right.

        Raises
        ------
        InputError
            A line uses a name or function that is not known, or is too large to be checked.
        """
        checks = []
        before: Node | None = None
        for line in self.lines:
            before = line.left or before
            if before is None:
                raise InputError(f"{self.name}: the first line has no left side")
            check = LineCheck(line, check_step(before, line.right, self.setting))
            before = line.right if check.follows else before
            checks.append(check)
        return checks

    def _repr_html_(self) -> str:
        return notebook_html(self)

    def _repr_latex_(self) -> str:
        return f"$${aligned(self)}$$"


@functools.cache
def _written() -> dict[str, Written]:
    return {written.name: written for written in written_lines.all_written()}


def derivations() -> tuple[str, ...]:
    """The names of all derivations, in the order in which they are taught.

    Examples
    --------
    >>> derivations()[:2]
    ('loss', 'gradient_wrt_probabilities')
    """
    return tuple(_written())


@functools.cache
def derive(name: str) -> Derivation:
    """The derivation of this name.

    Parameters
    ----------
    name : one of `derivations()`

    Raises
    ------
    InputError
        There is none of this name; the message suggests the nearest.

    Examples
    --------
    >>> derive("gradient_wrt_logits").lines[0].rule
    'chain rule'
    >>> derive("los")
    Traceback (most recent call last):
    chainrule.errors.InputError: name: got 'los', expected a derivation: did you mean loss?

    Source: the lecture, "The chain, for one weight" and sections 1 to 3.
    """
    known = _written()
    if name not in known:
        asked = str(name).lower()
        near = [one for one in known if len(asked) > 2 and asked in one]
        near = near or difflib.get_close_matches(asked, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        raise InputError(f"name: got {name!r}, expected a derivation: {hint}")
    written = known[name]
    return Derivation(written.name, written.title, written.intro, written.setting, tuple(_read(written)))


def _read(written: Written) -> Iterator[Line]:
    before: Node | None = None
    for n, step in enumerate(written.steps(), start=1):
        if step.rule not in RULES:
            raise InputError(f"{written.name}, line {n}: {step.rule!r} is not the name of a rule")
        read = read_line(step.latex)
        if len(read.rights) != 1 or (read.left is None and (before is None or not read.continues)):
            raise InputError(f"{written.name}, line {n}: expected left = right, or = right after a first line")
        with_what = f"line {n - 1}" if read.left is None else "the left side"
        before = read.left or before
        assert before is not None
        proof = f"{RULES[step.rule]} Compared with {with_what} for {classes_checked(written.setting)}."
        yield Line(read.left, read.rights[0], step.rule, step.note, proof)
        before = read.rights[0]
