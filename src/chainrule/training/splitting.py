"""Which examples are held out: by `fit`, and by the command line for its test, its validation and its folds.

Every choice comes from (seed, what it is for), so that none of them is another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FOLDS", "TEST", "VALIDATION", "folds", "hold_out"]

Array = npt.NDArray[Any]
VALIDATION, FOLDS, TEST = 0, 3, 4  # what examples are held out for; 1 is the order of an epoch


def hold_out(labels: Array, fraction: float, seed: int, purpose: int = VALIDATION) -> tuple[Array, Array]:
    """The rows that are held out, and the others: a fraction of each class, in all at least one and at most all but
    one; of a class that has one example, none as long as others can be."""
    n = len(labels)
    size = min(max(round(n * fraction), 1), n - 1) if fraction else 0
    held_out = np.zeros(n, dtype=bool)
    if size > 0:
        held_out[_stratified(labels, size, np.random.default_rng([seed, purpose]))] = True
    return np.flatnonzero(held_out), np.flatnonzero(~held_out)


def folds(labels: Array, count: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """For each of at most `count` folds, the rows that are held out and the others: each row is held out once."""
    order = np.random.default_rng([seed, FOLDS]).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    count = min(count, len(order))
    for k in range(count):
        yield np.sort(order[k::count]), np.sort(np.delete(order, np.s_[k::count]))


def _stratified(labels: Array, size: int, random: np.random.Generator) -> Array:
    """`size` rows in which the classes have the shares that they have in all: within a class, and where the shares
    leave a choice, at random."""
    order = random.permutation(len(labels))
    in_class = np.empty(len(labels))  # the place of each row among its class's rows, as a share in (0, 1)
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    in_class[by_class] = np.concatenate([(np.arange(c) + random.random()) / c for c in counts])
    in_class[by_class[np.cumsum(counts) - 1]] += 1  # each class's last goes after all others
    return np.argsort(in_class, kind="stable")[:size]
