r"""Somebody else's derivation, checked: a text of LaTeX lines in, a verdict for each line out.

The first line has both sides, and later ones begin with =. A line is compared with the last one that was right, so that
one slip is reported once. The names are the lecture's: those of the output layer, and, where a line uses weights, those
of a hidden layer k between its neighbours, or of the last layer.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, TypedDict

from chainrule.derive.checking import step as checking
from chainrule.derive.checking.step import StepResult, check_step
from chainrule.derive.reading.latex import Line, position_of_name, read_left_side, read_line
from chainrule.derive.reading.layout import SourceLine, read_lines
from chainrule.derive.reading.subscripts import UnreadableError
from chainrule.derive.setting import HIDDEN_LAYER, LAST_LAYER, OUTPUT_LAYER, Setting, names_in
from chainrule.derive.syntax import Derivative, Node, Sum, walk
from chainrule.derive.writing.unicode import text as written
from chainrule.errors import InputError

__all__ = ["Verdict", "check_homework"]

MAX_STEPS = 200
SECONDS = 60.0  # for the symbols of all lines


class Verdict(TypedDict):
    """What is said of a line. `verdict` is "follows", "does not follow" or "unreadable"."""

    line: int
    text: str
    verdict: str
    counterexample: dict[str, Any] | None
    message: str


def check_homework(text: str | bytes, setting: Setting | None = None) -> list[Verdict]:
    r"""Check each line of a derivation that is written in LaTeX.

    Parameters
    ----------
    text : the file's text, or its bytes in UTF-8
    setting : what the names stand for; the lecture's by default

    Raises
    ------
    InputError
        The text is empty, too long, or not UTF-8.

    Examples
    --------
    >>> text = r'''\frac{\partial}{\partial a_{Li}} -\log \hat{y}_\ell
    ... = -\frac{1}{\hat{y}_\ell} \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
    ... = \mathbb{1}_{(\ell=i)} - \hat{y}_i
    ... = -(\mathbb{1}_{(\ell=i)} - \hat{y}_i)'''
    >>> [verdict["verdict"] for verdict in check_homework(text)]
    ['follows', 'follows', 'does not follow', 'follows']
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"the text is not UTF-8: byte {error.start} is 0x{text[error.start]:02x}") from None
    sources = read_lines(text.removeprefix("\ufeff"))
    if not sources:
        raise InputError("the text is empty: no line of a derivation was found")
    if len(sources) > MAX_STEPS:
        raise InputError(f"the text has {len(sources)} lines of a derivation; at most {MAX_STEPS} are checked")
    lines = [_read(source) for source in sources]
    if setting is None:
        setting = _setting_for([line for line in lines if isinstance(line, Line)])
    base: _Base | None = None
    verdicts: list[Verdict] = []
    end = time.thread_time() + SECONDS
    for source, line in zip(sources, lines, strict=True):
        seconds = min(checking.SECONDS, end - time.thread_time())
        verdict, base = _judge(source, line, base, setting, seconds, first=not verdicts)
        verdicts.append(verdict)
    return verdicts


def _read(source: SourceLine) -> Line | UnreadableError:
    try:
        return read_line(source.text)
    except UnreadableError as error:
        return error


def _setting_for(lines: list[Line]) -> Setting:
    """The first of the lecture's settings that knows every name in the lines."""
    used: set[str] = set()
    for line in lines:
        for side in (line.left, *line.rights):
            used |= names_in(side) if side is not None else set()
    for setting in (OUTPUT_LAYER, LAST_LAYER, HIDDEN_LAYER):
        if used <= {"K", *setting.free, *setting.defined}:
            return setting
    return OUTPUT_LAYER


class _Base(NamedTuple):
    """What the next line is compared with: the last one that was right, in words, and what it says."""

    words: str
    node: Node


def _judge(
    source: SourceLine,
    line: Line | UnreadableError,
    base: _Base | None,
    setting: Setting,
    seconds: float,
    *,
    first: bool,
) -> tuple[Verdict, _Base | None]:
    """The verdict on one line, and the line that the next is compared with."""

    def verdict(word: str, message: str, counterexample: dict[str, Any] | None = None) -> Verdict:
        return Verdict(
            line=source.number, text=source.text, verdict=word, counterexample=counterexample, message=message
        )

    this = f"line {source.number}"
    if isinstance(line, UnreadableError):
        if not source.text.lstrip(" &").startswith("="):  # it begins anew, so what came before is over
            left = read_left_side(source.text)
            base = None if left is None else _Base(this, left)
        return verdict("unreadable", str(line)), base
    sides = list(line.rights)
    known = {"K", *setting.free, *setting.defined}
    unknown = set().union(*map(names_in, [line.left or line.rights[0], *line.rights])) - known
    if unknown:
        if line.left is not None or not line.continues:
            base = None
        if base is None and line.left is not None and names_in(line.left) <= known:
            base = _Base(this, line.left)
        elif base is None and names_in(sides[-1]) <= known:  # what follows is compared with this
            base = _Base(this, sides[-1])
        position, name = position_of_name(source.text, unknown) or (1, min(unknown))
        return verdict("unreadable", f"at character {position}: {name} is not a name that is known here"), base
    if line.left is not None:
        base = _Base(this, line.left)  # a line with both sides begins anew
    elif not line.continues:
        if not first:
            return verdict("unreadable", "a line after the first begins with ="), base
        base = _Base(this, sides.pop())
    elif base is None:
        message = "no line before this one could be read, so it was not checked; the next line is compared with it"
        return verdict("unreadable", message), _Base(this, sides[-1])
    checked = "this is where the derivation begins"
    for side in sides:
        try:
            result = check_step(base.node, side, setting, seconds=seconds)
        except InputError as error:
            return verdict("unreadable", str(error)), base
        if not result.follows:
            here = "its left side" if base.node is line.left else "the step before"
            message = _reason(result, here if base.words == this else base.words) + _how_read(side)
            return verdict("does not follow", message, result.counterexample), base
        checked, base = f"checked for {result.checked}", _Base(this, side)
    return verdict("follows", checked), base


def _reason(result: StepResult, with_what: str) -> str:
    if result.counterexample is None:
        return f"compared with {with_what}: {result.message}"
    found = result.counterexample
    where = ", ".join(f"{name} = {value}" for name, value in found.items() if name not in ("left", "right"))
    return f"not equal to {with_what}: at {where} that is {found['left']}, and this {found['right']}"


def _how_read(side: Node) -> str:
    """What an operator was taken to act on, where that is more than one term: its writer may have meant less."""
    for part in walk(side):
        if isinstance(part, Derivative) and part.follows and isinstance(part.operand, Sum):
            return f" (∂/∂{written(part.variable)} is taken to act on {written(part.operand)})"
    return ""
