"""Derivations, line by line: read from LaTeX, checked by SymPy and by numbers, shown. Needs chainrule[derive]."""

from chainrule.derive.checking.step import StepResult, check_step
from chainrule.derive.derivation import Derivation, derivations, derive
from chainrule.derive.homework import Verdict, check_homework
from chainrule.derive.numbers import with_numbers
from chainrule.derive.reading.latex import read_expression, read_line
from chainrule.derive.reading.layout import read_lines
from chainrule.derive.reading.subscripts import UnreadableError
from chainrule.derive.records import Line, LineCheck
from chainrule.derive.rules import RULES
from chainrule.derive.setting import OUTPUT_LAYER, Defined, Free, Setting

__all__ = [
    "OUTPUT_LAYER", "RULES", "Defined", "Derivation", "Free", "Line", "LineCheck", "Setting", "StepResult",
    "UnreadableError", "Verdict", "check_homework", "check_step", "derivations", "derive", "read_expression",
    "read_line", "read_lines", "with_numbers",
]  # fmt: skip
