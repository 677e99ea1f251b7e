"""`Rows`: the examples that travel in a page, so that it can train on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_integer, check_labels
from chainrule.errors import InputError
from chainrule.network.conversion import to_numpy

__all__ = ["HELD_OUT", "MOST", "Rows"]

MOST = 200
HELD_OUT = 5  # every fifth row is only looked at


class Rows:
    """Examples and their labels, checked against a network.

    Parameters
    ----------
    x : array (N, D) of finite numbers, 2 to 200 rows
    labels : array (N,), int in [0, K)
    numbers : what a table calls the rows, (N,); 0, 1, … by default
    of : how many rows the table has that these are of; N by default

    Raises
    ------
    InputError
        Too few or too many rows, a wrong width, numbers that are not finite, labels out of range.

    Examples
    --------
    >>> rows = Rows(np.zeros((4, 3)), [0, 1, 1, 0], numbers=[2, 5, 6, 9], of=1797)
    >>> rows.x.shape, rows.numbers.tolist(), rows.of
    ((4, 3), [2, 5, 6, 9], 1797)
    """

    def __init__(self, x: Any, labels: Any, *, numbers: Any = None, of: int | None = None) -> None:
        self.x: npt.NDArray[Any] = np.asarray(to_numpy(x))
        if self.x.ndim != 2 or not 2 <= len(self.x) <= MOST:
            raise InputError(f"rows: got x of shape {self.x.shape}, expected 2 to {MOST} rows (N, D)")
        if self.x.dtype.kind not in "fiub" or not np.isfinite(self.x).all():
            raise InputError(f"rows: got x of dtype {self.x.dtype} with values that are no finite numbers")
        self.labels: npt.NDArray[Any] = np.asarray(to_numpy(labels))
        self.numbers = np.arange(len(self.x)) if numbers is None else np.asarray(numbers)
        if self.numbers.shape != (len(self.x),):
            raise InputError(f"rows: got {len(self.numbers)} numbers, expected {len(self.x)}, one for each row")
        self.of = len(self.x) if of is None else check_integer("of", of)

    def fit(self, inputs: int, classes: int) -> None:
        """Refuse rows that are not of a network with so many inputs and classes."""
        if self.x.shape[1] != inputs:
            raise InputError(f"rows: got x of shape {self.x.shape}, expected ({len(self.x)}, {inputs})")
        self.labels = np.asarray(check_labels(self.labels, len(self.x), classes, name="rows: labels"))
