"""Which rows of a table are held out: a share of each class, the latest, or whole groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError, TableError
from chainrule.tables import Choices, Form
from chainrule.tables.cells import text
from chainrule.tables.forms import Learner, kind_and_form
from chainrule.tables.schema import values_of
from chainrule.training.splitting import folds, hold_out

__all__ = ["Split", "split_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """How rows are held out.

    labels : (N,) of all rows; seed : of every choice
    times : (N,) where the latest rows are held out; groups : (N,) integers where whole groups are
    """

    labels: Array
    seed: int
    times: Array | None = None
    groups: Array | None = None

    def hold_out(
        self, among: Array, fraction: float | None, purpose: int, option: str, default: float = 0.0
    ) -> tuple[Array, Array]:
        """Of the rows `among`, those that are held out and the others, of which there is one of each class at least,
        where the fraction is no default."""
        labels = self.labels[among]
        n, k = len(labels), len(np.unique(labels))
        if fraction is None:
            fraction = default
        elif fraction and (left := n - max(1, round(n * fraction))) < k:
            raise InputError(
                f"{option}: got {fraction}, which leaves {left} of {n} rows to train on, expected at most "
                f"{1000 * (n - k) // n / 1000:g}: a row of each of the {k} classes trains"
            )
        if not fraction:
            return among[:0], among
        if self.times is not None:
            at = self._latest(self.times[among], fraction, option)
        elif self.groups is not None:
            at = self._of_groups(self.groups[among], fraction, purpose, option)
        else:
            chosen, rest = hold_out(labels, fraction, self.seed, purpose)
            return among[chosen], among[rest]
        return among[at], among[~at]

    def folds(self, among: Array, count: int) -> Iterator[tuple[Array, Array]]:
        """For each fold, the places in `among` that are held out, and the others."""
        if self.groups is None:
            yield from folds(self.labels[among], count, self.seed)
            return
        groups = self.groups[among]
        names, sizes = np.unique(groups, return_counts=True)
        order = np.random.default_rng([self.seed, count]).permutation(len(names))
        order = order[np.argsort(-sizes[order], kind="stable")]
        filled, fold_of = np.zeros(min(count, len(names))), np.zeros(len(names), dtype=np.int64)
        for place in order:  # the largest group goes to the emptiest fold
            fold_of[place] = filled.argmin()
            filled[fold_of[place]] += sizes[place]
        fold = fold_of[np.searchsorted(names, groups)]
        for k in range(len(filled)):
            yield np.flatnonzero(fold == k), np.flatnonzero(fold != k)

    def _latest(self, times: Array, fraction: float, option: str) -> Array:
        size = max(1, round(len(times) * fraction))
        at = times >= np.sort(times)[len(times) - size]  # rows of one time stay together
        if at.all():
            raise InputError(f"{option}: got {fraction}, but its latest rows have one time, that of all")
        return np.asarray(at)

    def _of_groups(self, groups: Array, fraction: float, purpose: int, option: str) -> Array:
        names, sizes = np.unique(groups, return_counts=True)
        if len(names) < 2:
            raise InputError(f"{option}: got {fraction}, but --group has one group only")
        order = np.random.default_rng([self.seed, purpose]).permutation(len(names))
        count = int(np.searchsorted(np.cumsum(sizes[order]), len(groups) * fraction)) + 1
        return np.isin(groups, names[order[: min(count, len(names) - 1)]])


def split_of(
    column: Callable[[str], Any], labels: Array, rows: Array, seed: int, time: str | None, group: str | None,
    choices: Choices,
) -> Split:  # fmt: skip
    """The split by the columns that are named; `column` gives one, of the rows at hand."""
    if time is not None and group is not None:
        raise InputError("--time and --group: got both, expected one")
    if group is not None:
        found = text(column(group))
        if found.null_count():
            row = rows[found.is_null().arg_true()[0]]
            raise TableError(f"column {group!r}, row {row}: is missing, expected a group (--group)")
        return Split(labels, seed, groups=found.rank("dense").to_numpy().astype(np.int64))
    if time is None:
        return Split(labels, seed)
    series = column(time)
    kind, form = kind_and_form(Learner(choices, lambda line: None, rows, labels), series)
    values = values_of(series, kind, form if kind != "category" else Form())
    if kind == "category":
        raise TableError(
            f"column {time!r}: holds text, as {text(series).drop_nulls()[0]!r:.40}, expected times (--time)"
        )
    if values.null_count():
        at = values.is_null().arg_true()[0]
        raise TableError(f"column {time!r}, row {rows[at]}: {series[at]!r:.40} is no time to split by (--time)")
    return Split(labels, seed, times=values.to_numpy())
