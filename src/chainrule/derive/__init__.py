"""Derivations, line by line: read from LaTeX, checked by SymPy and by numbers, shown. Needs chainrule[derive]."""

from chainrule.derive.checking import StepResult, check_step
from chainrule.derive.homework import Verdict, check_homework
from chainrule.derive.latex import read_expression, read_line, read_lines
from chainrule.derive.pieces import UnreadableError
from chainrule.derive.setting import OUTPUT_LAYER, Defined, Free, Setting

__all__ = [
    "OUTPUT_LAYER",
    "Defined",
    "Free",
    "Setting",
    "StepResult",
    "UnreadableError",
    "Verdict",
    "check_homework",
    "check_step",
    "read_expression",
    "read_line",
    "read_lines",
]
