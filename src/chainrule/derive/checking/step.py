"""Whether a step of a derivation is right: the same value before and after, by two independent ways.

Symbolically by SymPy for K = 2, 3, 4 and every value of the free indices (`symbolic.py`), and by numbers
at 50 digits for K up to 50 at random points (`numeric.py`). Together they are strong evidence for every
K, and no proof. Where the symbols would take too long, the numbers decide alone, and the result says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.derive import syntax as s
from chainrule.derive.setting import OUTPUT_LAYER, MisfitError, Setting, TooLargeError, UndefinedError
from chainrule.derive.syntax import Node
from chainrule.errors import InputError

__all__ = ["StepResult", "check_step", "classes_checked"]

MAX_ORDER = 3  # of derivatives within each other
SECONDS = 10.0  # for the symbols of a line: ours take up to 1


@dataclass(frozen=True)
class StepResult:
    """What came of a check. `symbolic` and `numeric` say whether each way found the two sides equal; `checked`, where.
    `symbolic` is None where that was given up before the last K, for it would take too long. `counterexample` holds K,
    logits, label, i, the values of both sides, and where the sides are vectors, which element; `message` says in words
    why a step does not follow. Where numbers differ, nothing is left to show by symbols, and `symbolic` is False."""

    symbolic: bool | None
    numeric: bool
    counterexample: dict[str, Any] | None
    checked: str
    message: str = ""

    @property
    def follows(self) -> bool:
        """Both ways agree, as far as they went."""
        return self.numeric and self.symbolic is not False


def check_step(before: Node, after: Node, setting: Setting = OUTPUT_LAYER, *, seconds: float = SECONDS) -> StepResult:
    """Whether `after` equals `before`, at every value of the indices that are free.

    Parameters
    ----------
    before, after : the two sides
    setting : what their names stand for
    seconds : how long the symbols may take; the numbers are bounded by their size

    Raises
    ------
    InputError
        A name is not known in the setting, a vector with dots has no pattern, or a side is too large to compute.

    Examples
    --------
    >>> from chainrule.derive.syntax import Call, Derivative, Indexed, Indicator, Negative, Sum
    >>> y, one = Indexed("ŷ", ("i",)), Indicator("ℓ", "i")
    >>> before = Derivative(Negative(Call("log", Indexed("ŷ", ("ℓ",)))), Indexed("a_L", ("i",)))
    >>> check_step(before, Negative(Sum((one, Negative(y)))), setting=OUTPUT_LAYER).checked
    'K = 2, 3, 4 symbolically; K = 2, 5, 50 at 50 digits'
    >>> wrong = check_step(before, Sum((one, Negative(y))))
    >>> wrong.follows, sorted(wrong.counterexample)
    (False, ['K', 'i', 'label', 'left', 'logits', 'right'])
    """
    # SymPy takes a third of a second to import, and reading needs neither way of checking.
    from chainrule.derive.checking import numeric, symbolic
    from chainrule.derive.checking.polynomials import Effort, GivenUpError

    if max(_order(before, setting), _order(after, setting)) > MAX_ORDER:
        raise InputError(f"more than {MAX_ORDER} derivatives within each other")
    by_symbols, by_numbers = setting.symbolic_classes, setting.numeric_classes
    shown: list[int] = []
    try:
        for n, classes in enumerate(setting.numeric_classes):
            try:
                counterexample = numeric.find_difference(before, after, setting, [classes])
            except TooLargeError:
                if n == 0:
                    raise
                by_numbers = setting.numeric_classes[:n]
                break
            if counterexample is not None:
                return StepResult(False, False, counterexample, _words(by_symbols, by_numbers))
        effort = Effort(seconds)
        for classes in by_symbols:
            if not symbolic.agree(before, after, setting, [classes], effort):
                message = "the numbers agree at 50 digits, but the symbolic check does not show that the two are equal"
                return StepResult(False, True, None, _words(by_symbols, by_numbers), message)
            shown.append(classes)
    except (MisfitError, UndefinedError) as error:
        return StepResult(False, False, None, _words(by_symbols, by_numbers), str(error))
    except GivenUpError:
        pass
    complete = shown == list(by_symbols)
    return StepResult(True if complete else None, True, None, _words(shown, by_numbers, by_symbols[len(shown) :]))


def classes_checked(setting: Setting) -> str:
    """For which K a step is checked, in words.

    Examples
    --------
    >>> classes_checked(OUTPUT_LAYER)
    'K = 2, 3, 4 symbolically; K = 2, 5, 50 at 50 digits'
    """
    return _words(setting.symbolic_classes, setting.numeric_classes)


def _words(shown: Sequence[int], by_numbers: Sequence[int], given_up: Sequence[int] = ()) -> str:
    symbols = f"K = {_listed(shown)} symbolically" if shown else "no K symbolically"
    if given_up or not shown:
        which = f" for K = {_listed(given_up)}" if shown else ""
        symbols += f" (given up{which}: it would take too long)"
    return f"{symbols}; K = {_listed(by_numbers)} at 50 digits"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _order(node: Node, setting: Setting) -> int:
    """How many derivatives stand within each other, those of the names' definitions too."""
    inner = max((_order(part, setting) for part in s.parts(node)), default=0)
    match node:
        case s.Name(symbol) | s.Indexed(symbol) if symbol in setting.defined:
            return _order(setting.defined[symbol].expression, setting)
        case s.Derivative() | s.Gradient():
            return inner + 1
        case s.Call(function):
            return inner + len(function) - len(function.rstrip("'"))
    return inner
