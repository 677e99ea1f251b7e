"""Derivations, line by line: read from LaTeX, judged, shown. Our own are checked by SymPy and by mpmath's numbers: that
takes chainrule[derive], all else NumPy alone."""

from chainrule.derive.checking.step import StepResult, check_step
from chainrule.derive.derivation import Derivation, derivations, derive
from chainrule.derive.lecture import UnreadableError, read_expression, read_line
from chainrule.derive.numbers import with_numbers
from chainrule.derive.people.check import Checked, Step, check_derivation
from chainrule.derive.records import Line, LineCheck
from chainrule.derive.rules import RULES
from chainrule.derive.setting import OUTPUT_LAYER, Defined, Free, Setting

__all__ = [
    "OUTPUT_LAYER", "RULES", "Checked", "Defined", "Derivation", "Free", "Line", "LineCheck", "Setting", "Step",
    "StepResult",
    "UnreadableError", "check_derivation", "check_step", "derivations", "derive", "read_expression",
    "read_line", "with_numbers",
]  # fmt: skip
