"""What is wrong with the inputs of a network: their scales, and one that tells the class alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.html import number
from chainrule.tables.learning import by_thresholds, told_share

__all__ = ["InputFindings", "look_at_inputs", "told_by_thresholds"]

Array = npt.NDArray[Any]
WILD = 1e3  # times the usual size of the others
HUGE = 1e6  # of a constant
ONE = 1e-4  # of a column's variance is left without its largest value: that value is all of its scale
MOST = 2**22  # numbers that are looked at, of evenly spread rows
COLUMNS, ROWS, WORK = 500, 2000, 5000  # that are looked at for one that tells the class; columns × classes
PERFECT = 0.98  # of the rows


@dataclass(frozen=True)
class InputFindings:
    """wild, alone : names and evidence; scales, best : what was measured where there is none; rows : how many"""

    wild: list[tuple[str, str]]
    alone: list[tuple[str, str]]
    scales: str
    best: str
    rows: int


def look_at_inputs(
    x: Array, labels: Array, names: Sequence[str], alone: Sequence[tuple[str, str]] | None,
    constants: Sequence[tuple[str, float]] = (),
) -> InputFindings:  # fmt: skip
    """See `chainrule.pages.doctor.diagnose`."""
    step = max(1, x.size // MOST)
    x, labels = np.asarray(x[::step], dtype=np.float64), labels[::step]
    if not len(x):
        return InputFindings([], [], "no rows", "no rows", 0)
    wild = [
        (
            name,
            f"It is {number(value, 3)} in every row: a constant tells nothing, and one of this size drowns the others.",
        )
        for name, value in constants
        if abs(value) >= HUGE
    ]
    spread = x.std(axis=0)
    size = np.sqrt(np.mean(x * x, axis=0))
    usual = float(np.median(size[size > 0])) if (size > 0).any() else 1.0
    for j in np.argsort(-size, kind="stable"):
        if size[j] > WILD * max(usual, 1e-30) and (len(size) > 1 or size[j] > HUGE):
            text = f"Its size is {number(float(size[j]), 3)}, that of the other inputs {number(usual, 3)}"
            text += f", and it hardly changes (±{number(float(spread[j]), 2)})." if spread[j] < 1e-2 * size[j] else "."
            wild.append((names[int(j)], text))
        elif len(size) <= 2 and size[j] > HUGE:
            wild.append((names[j], f"Its size is {number(float(size[j]), 3)}; a network expects about 1."))
    away = np.abs(x - x.mean(axis=0))
    top, n = away.argmax(axis=0), len(x)
    square = n * spread**2 - away.max(axis=0) ** 2 * n / max(n - 1, 1)  # what is left of it without the largest
    for j in np.flatnonzero((spread > 0) & (square < 2 * ONE**2 * n * spread**2) & (n > 20)):
        rest = np.delete(x[:, j], top[j])
        if 0 < rest.var() < ONE**2 * x[:, j].var() and len(np.unique(rest)) > 2:
            value, differ = number(float(x[top[j], j]), 3), number(float(rest.std()), 2)
            wild.append(
                (
                    names[int(j)],
                    f"One value, {value} in row {int(top[j])}, is all of its scale: the others have ±{differ}.",
                )
            )
    moving = size[size > 0]
    scales = (
        f"inputs have sizes from {number(float(moving.min()), 2)} to {number(float(moving.max()), 2)}"
        if len(moving)
        else "all inputs are 0"
    )
    if alone is not None:
        return InputFindings(wild, list(alone), scales, "none does for 98 % of the rows", len(x))
    step = max(1, len(x) // ROWS)
    chance = float(np.bincount(labels).max()) / len(labels)
    told = [
        (told_by_thresholds(x[::step, j], labels[::step]), j)
        for j in range(min(x.shape[1], COLUMNS, WORK // (1 + int(labels.max()))))
    ]
    best, at = max(told, default=(0.0, 0))
    found = []
    if len(labels[::step]) >= 20 and x.shape[1] > 1:
        for share, j in sorted(told, reverse=True):
            if share >= PERFECT and 1 - share <= 0.1 * (1 - chance):
                found.append((names[j], f"tells the class of {told_share(share)} of the training rows"))
    return InputFindings(
        wild, found, scales, f"the best, {names[at]}, is right in {number(100 * best, 3)} %" if told else "none", len(x)
    )


def told_by_thresholds(values: Array, labels: Array) -> float:
    """The share of examples that intervals of one number tell right, one interval for each class.

    Examples
    --------
    >>> told_by_thresholds(np.array([0.1, 0.2, 5.0, 6.0]), np.array([1, 1, 0, 1]))
    0.75
    """
    _, codes = np.unique(values, return_inverse=True)
    return by_thresholds(codes, np.asarray(labels)) / len(labels)
