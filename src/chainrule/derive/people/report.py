"""What is said of a file, as text, as JSON, as annotations for GitHub, and as marks for a course."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.derive.people.check import Step

__all__ = ["Marked", "exit_code", "github", "gradescope", "marks", "plain"]

_HEAD = [
    "file",
    "right steps",
    "wrong steps",
    "not understood",
    "goal reached",
    "first fault",
    "cause",
    "points",
    "for a person",
]


@dataclass(frozen=True)
class Marked:
    """A file of a course: its steps, or why it could not be read. `goal`: whether it reaches it; None without one."""

    file: str
    steps: Sequence[Step]
    goal: bool | None = None
    error: str = ""

    def count(self, verdict: str) -> int:
        return sum(step["verdict"] == verdict for step in self.steps)

    @property
    def needs_person(self) -> bool:
        """Whether a person must look: something was not understood, or there is nothing to judge."""
        return bool(self.error) or not self.steps or self.count("not understood") > 0

    def points(self, full: float) -> float | None:
        """The share of right steps in points; half where the goal is not reached. None where a person must look."""
        if self.needs_person:
            return None
        right, wrong = self.count("follows"), self.count("does not follow")
        share = right / (right + wrong) if right + wrong else 0.0
        return round(full * share * (0.5 if self.goal is False else 1.0), 2)


def exit_code(steps: Sequence[Step]) -> int:
    """0 all follows, 1 something does not, 2 nothing to check, 3 something was not understood, 4 incomplete.

    Examples
    --------
    >>> exit_code([])
    2
    """
    verdicts = {step["verdict"] for step in steps}
    if "does not follow" in verdicts:
        return 1
    if "not understood" in verdicts:
        return 3
    if "incomplete" in verdicts:
        return 4
    return 0 if verdicts else 2


def printable(text: str) -> str:
    """Somebody's text without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def plain(steps: Sequence[Step], reading: str) -> str:
    """For the terminal."""
    rows = [f"read as: {printable(reading)}"] if reading else []
    for step in steps:
        rows.append(f"line {step['line']}: {step['verdict']}: {printable(step['text'])}")
        if step["message"]:
            rows.append(f"    {printable(step['message'])}")
    return "\n".join(rows)


def github(files: Iterable[Marked]) -> str:
    """Workflow commands that annotate the lines of a repository."""
    rows = []
    for one in files:
        if one.error:
            rows.append(f"::warning file={_escaped(one.file, True)}::{_escaped(one.error)}")
        for step in one.steps:
            kind = {"does not follow": "error", "not understood": "notice", "incomplete": "warning"}.get(
                step["verdict"]
            )
            if kind:
                said = f"{step['verdict']}: {step['message']}"
                rows.append(f"::{kind} file={_escaped(one.file, True)},line={step['line']}::{_escaped(said)}")
    return "\n".join(rows)


def _escaped(text: str, in_property: bool = False) -> str:
    for sign, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(sign, code)
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text


def marks(files: Iterable[Marked], full: float) -> str:
    """A table with a row for each file. What a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for one in files:
        fault = next((step for step in one.steps if step["verdict"] == "does not follow"), None)
        points = one.points(full)
        writer.writerow([
            _safe(one.file), one.count("follows"), one.count("does not follow"), one.count("not understood"),
            "" if one.goal is None else "yes" if one.goal else "no",
            _safe(f"line {fault['line']}: {fault['text']}") if fault else _safe(one.error),
            _safe(fault["cause"] or "") if fault else "", "" if points is None else f"{points:g}",
            "yes" if one.needs_person else "",
        ])  # fmt: skip
    return out.getvalue().rstrip("\n")


def _safe(text: str) -> str:
    text = printable(text.replace("\n", " "))
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text


def gradescope(one: Marked, full: float) -> str:
    """Gradescope's results.json for one submission: no score where a person must look."""
    points = one.points(full)
    tests: list[dict[str, Any]] = []
    for step in one.steps:
        status = {"follows": "passed", "does not follow": "failed"}.get(step["verdict"])
        tests.append(
            {"name": f"line {step['line']}: {step['text']}", "output": step["message"]}
            | ({"status": status} if status else {})
        )
    said = "A person will look at this: something was not understood." if points is None else ""
    data: dict[str, Any] = {"output": said or "Checked by chainrule derive.", "visibility": "visible", "tests": tests}
    if points is not None and math.isfinite(points):
        data["score"] = points
    return json.dumps(data, ensure_ascii=False, indent=1)
