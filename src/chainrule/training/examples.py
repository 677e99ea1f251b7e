"""The examples that `fit` trains on: checked, weighted, split, and walked through in shuffled blocks."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import (
    check_class_weights,
    check_fraction,
    check_integer,
    check_labels,
    check_positive,
    check_sample_weight,
)
from chainrule.errors import InputError, shown
from chainrule.network.network import Network
from chainrule.training.engine import Sparse, as_rows
from chainrule.training.splitting import hold_out

__all__ = [
    "Examples", "balanced", "blocks_of", "check_class_weight", "check_examples", "check_memory", "check_validation",
    "split",
]  # fmt: skip

Array = npt.NDArray[Any]
ROWS_AT_ONCE = 4096  # of what is computed for many examples outside of training


class Examples(NamedTuple):
    """x : rows (N, D), dense or sparse, or a memory map; labels : (N,) int64; weights : (N,) float64, or None."""

    x: Any
    labels: Array
    weights: Array | None = None

    def take(self, rows: Array) -> Examples:
        """Some of them; a memory map is read into memory."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(_rows(self.x, rows), self.labels[rows], weights)

    def dense(self, columns: int) -> Array:
        """x as a matrix (N, D)."""
        if not isinstance(self.x, Sparse):
            return np.asarray(self.x)
        full = np.zeros((len(self.x), columns), self.x.values.dtype)
        rows = np.repeat(np.arange(len(self.x)), np.diff(self.x.row_starts))
        np.add.at(full, (rows, self.x.columns), self.x.values)
        return full

    def logits(self, net: Network) -> Iterator[tuple[Array, Array, Array | None]]:
        """The network's logits, the labels and the weights, some thousand rows at a time."""
        for begin in range(0, len(self.labels), ROWS_AT_ONCE):
            rows = np.arange(begin, min(begin + ROWS_AT_ONCE, len(self.labels)))
            some = self.take(rows)
            yield net.logits(some.dense(net.widths[0])), some.labels, some.weights
            _let_go(self.x)


def _rows(x: Any, rows: Array) -> Any:
    if not isinstance(x, Sparse):
        return np.ascontiguousarray(x[rows])
    counts = np.diff(x.row_starts)[rows]
    starts = np.concatenate([[0], np.cumsum(counts)])
    source = np.repeat(x.row_starts[rows] - starts[:-1], counts) + np.arange(starts[-1])
    return Sparse(x.values[source], x.columns[source], starts)


def _let_go(x: Any) -> None:
    """Give back the memory of what has been read of a memory map; it is read again when it is wanted."""
    if isinstance(x, np.memmap) and x.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):  # "c": changes would be lost
        x._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def check_examples(
    net: Network, name: str, x: Any, labels: Any, sample_weight: Any = None, memory: int | None = None
) -> Examples:
    """x (N, D) as the engine reads it, its labels, and its weights; a memory map of the right dtype stays one.

    Raises
    ------
    InputError
        A wrong shape, dtype, label or weight, or a number that is not finite: its row and column are named.
    """
    dtype = net.weights[0].dtype
    rows: Any
    if hasattr(x, "tocsr"):
        if x.ndim != 2 or x.shape[1] != net.widths[0]:
            raise InputError(f"{name}: got shape {x.shape}, expected (N, {net.widths[0]})")
        rows = as_rows(x, dtype)
        bad = np.flatnonzero(~np.isfinite(rows.values))
        if bad.size:
            row = int(np.searchsorted(rows.row_starts, bad[0], side="right")) - 1
            _refuse(name, rows.values[bad[0]], row, int(rows.columns[bad[0]]))
    elif (
        isinstance(x, np.memmap) and x.ndim == 2 and x.shape[1] == net.widths[0] and x.dtype == dtype
        and (memory is not None or x.flags.c_contiguous)
    ):  # fmt: skip
        rows = x
        for begin in range(0, len(x), ROWS_AT_ONCE):
            _require_finite(name, np.asarray(x[begin : begin + ROWS_AT_ONCE]), begin)
            _let_go(x)
    else:
        if isinstance(x, np.memmap) and memory is not None and x.dtype != dtype:
            raise InputError(
                f"{name}: got a memory map of {x.dtype} with memory={memory}, expected the network's {dtype}"
            )
        with np.errstate(over="ignore"):  # a number beyond float32 is refused
            rows = np.ascontiguousarray(net.forward_input(x))
        _require_finite(name, rows, came=x)
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(rows), large=False)
    return Examples(rows, check_labels(labels, len(rows), net.widths[-1]), weights)


def _require_finite(name: str, rows: Array, first_row: int = 0, came: Any = None) -> None:
    """Raise an InputError that names the first number that is not finite, as it came."""
    some = max(1, (1 << 18) // max(1, rows[:1].size))
    if all(np.isfinite(rows[at : at + some]).all() for at in range(0, len(rows), some)):
        return
    row, column = np.argwhere(~np.isfinite(rows))[0]
    _refuse(name, (rows if came is None else np.asarray(came))[row, column], first_row + int(row), int(column))


def _refuse(name: str, value: Any, row: int, column: int) -> None:
    raise InputError(
        f"{name}: got {value} at row {row}, column {column}, expected finite numbers of the network's dtype"
    )


def balanced(labels: Array, k: int, weights: Array | None = None) -> Array:
    """Weights (K,) that give the classes equal shares: N / (K · the class's number of examples), 0 for a class without
    any. An example of weight w counts as w examples."""
    return _balanced(np.bincount(labels, weights, minlength=k))


def _balanced(counts: Array) -> Array:
    shares = np.count_nonzero(counts) * counts
    return np.asarray(np.divide(counts.sum(), shares, out=np.zeros(len(counts)), where=shares > 0))


def check_class_weight(
    class_weight: Any, labels: Array, k: int, weights: Array | None = None,
    added: Callable[[Array], Array] = np.asarray,
) -> Array | None:  # fmt: skip
    """Weights (K,) of the classes: as given, by a dict from class to weight (1 where it has none), or "balanced".
    `added` gives the counts of all processes for those of this one."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise InputError(f"class_weight: got {shown(class_weight)}, expected 'balanced', a dict or ({k},) numbers")
        class_weight = _balanced(added(np.bincount(labels, weights, minlength=k)))
    if isinstance(class_weight, Mapping):
        by_class = np.ones(k)
        for label, weight in class_weight.items():
            if not isinstance(label, int | np.integer) or isinstance(label, bool) or not 0 <= label < k:
                raise InputError(f"class_weight: got the class {label!r}, expected integers in [0, {k})")
            by_class[label] = check_positive(f"class_weight[{label}]", weight, zero=True)
        class_weight = by_class
    return check_class_weights(class_weight, k, "class_weight")


def split(examples: Examples, validation: Examples | float, seed: int) -> tuple[Examples, Examples | None]:
    """Training and validation examples: those given, or a fraction of each class, chosen by the seed. Both
    are weighed."""
    if len(examples.labels) == 0:
        raise InputError("x: got no examples, expected at least one")
    if isinstance(validation, Examples):
        return examples, validation if len(validation.labels) else None
    chosen, rest = hold_out(examples.labels, validation, seed)
    if not len(chosen):
        return examples, None
    held_out = examples.take(chosen)
    _require_weight(held_out)
    return examples.take(rest), held_out


def check_validation(net: Network, validation: Any, memory: int | None) -> Examples | float:
    """The validation examples that were given, or the fraction that shall be held out."""
    if isinstance(validation, tuple):
        if len(validation) not in (2, 3) or isinstance(validation[0], str | os.PathLike):
            came = " and ".join(type(part).__name__ for part in validation)
            raise InputError(
                f"validation: got a tuple of {came}, expected arrays (x, labels) or (x, labels, weights), or a fraction"
            )
        try:
            x, labels, weights = (*validation, None)[:3]
            held_out = check_examples(net, "x", x, labels, weights, memory)
        except InputError as error:
            raise InputError(f"validation: {error}") from error
        _require_weight(held_out)
        return held_out
    if not np.isscalar(validation):
        raise InputError(f"validation: got {type(validation).__name__}, expected a tuple (x, labels), or a fraction")
    return check_fraction("validation", validation)


def _require_weight(held_out: Examples) -> None:
    if held_out.weights is not None and len(held_out.weights) and not held_out.weights.sum() > 0:
        raise InputError(f"validation: the weights of its {len(held_out.weights)} examples are all 0")


def blocks_of(
    examples: Examples, batch_size: int, memory: int | None, random: np.random.Generator
) -> Iterator[tuple[Examples, Array]]:
    """Examples in memory, and an order to visit them in: all at once; or from a memory map in blocks of whole batches
    that take at most `memory` bytes, themselves in a random order."""
    n = len(examples.labels)
    if not isinstance(examples.x, np.memmap) or memory is None:
        yield examples, random.permutation(n)
        return
    rows = max(1, memory // (examples.x.shape[1] * examples.x.itemsize) // batch_size) * batch_size
    for block in random.permutation(-(-n // rows)):
        at = slice(int(block) * rows, min((int(block) + 1) * rows, n))
        x = np.empty((at.stop - at.start, examples.x.shape[1]), dtype=examples.x.dtype)
        for begin in range(0, len(x), ROWS_AT_ONCE):  # so that map and copy are not both there, whole
            x[begin : begin + ROWS_AT_ONCE] = examples.x[
                at.start + begin : min(at.start + begin + ROWS_AT_ONCE, at.stop)
            ]
            _let_go(examples.x)
        weights = None if examples.weights is None else examples.weights[at]
        yield Examples(x, examples.labels[at], weights), random.permutation(len(x))


def check_memory(memory: Any, row_bytes: int, batch_size: int) -> int | None:
    """Return how many bytes a block may take: half of `memory`, since the next is read before the last is freed."""
    if memory is None:
        return None
    least = 2 * row_bytes * batch_size
    if check_integer("memory", memory) < least:
        raise InputError(f"memory: got {memory} bytes, expected at least {least}, two batches")
    return int(memory) // 2
