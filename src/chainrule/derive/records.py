"""What a derivation is made of: its lines, and what came of checking them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.derive.checking.step import StepResult
from chainrule.derive.syntax import Node

__all__ = ["LONG_VALUE", "Line", "LineCheck"]

LONG_VALUE = 14  # characters; a longer value stands below its line, not beside it


@dataclass(frozen=True)
class Line:
    """left = right. Without a left side, the line goes on from the one before it.

    `rule` is one of `RULES`; `note` is a sentence for a student, or empty; `proof` says why the line follows and what
    was checked; `value` is the line's number where there is an example.
    """

    left: Node | None
    right: Node
    rule: str
    note: str = ""
    proof: str = ""
    value: str | None = None


@dataclass(frozen=True)
class LineCheck:
    """What came of checking a line. `checked` says for which K; `message` says why a line does not follow."""

    line: Line
    result: StepResult

    @property
    def follows(self) -> bool:
        """Both ways of checking find the line equal to what it is compared with."""
        return self.result.follows

    @property
    def checked(self) -> str:
        """For which K each way was tried."""
        return self.result.checked

    @property
    def counterexample(self) -> dict[str, Any] | None:
        """Where the two sides differ, as in `StepResult`; None where they do not, or do not fit each other."""
        return self.result.counterexample

    @property
    def message(self) -> str:
        """Why the line does not follow; empty where it does."""
        found = self.counterexample
        if found is None:
            return self.result.message
        where = ", ".join(f"{name} = {value}" for name, value in found.items() if name not in ("left", "right"))
        return f"at {where} the side before is {found['left']}, and this {found['right']}"
