"""The checks of input that stand at the public boundary, with the wording of every message.

A check runs before anything is computed or overwritten. Each message has the argument's name, what came
and what was expected.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError

__all__ = [
    "check_choice",
    "check_fraction",
    "check_integer",
    "check_labels",
    "check_matrix",
    "check_not_built",
    "check_out",
    "check_positive",
]

_FLOATS = ("float32", "float64")


def _came(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return f"{type(value).__name__} {value!r:.60}"
    return f"{type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))} and dtype {dtype}"


def check_matrix(name: str, value: Any, meaning: str = "(N, K)") -> npt.NDArray[Any]:
    """Return `value` as a NumPy matrix of float32 or float64 with at least one column.

    Examples
    --------
    >>> check_matrix("logits", [1.0, 2.0])
    Traceback (most recent call last):
    chainrule.errors.InputError: logits: got shape (2,), expected rank 2, (N, K); one example is logits[None, :]
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: got {_came(value)}, expected an array {meaning} of floats") from error
    if array.ndim != 2:
        hint = f"; one example is {name}[None, :]" if array.ndim == 1 else ""
        raise InputError(f"{name}: got shape {array.shape}, expected rank 2, {meaning}{hint}")
    if not hasattr(value, "dtype") and array.dtype.kind in "iuf":
        array = array.astype(np.float64)  # nested lists of Python numbers
    if array.dtype.name not in _FLOATS or not array.dtype.isnative:
        raise InputError(f"{name}: got dtype {array.dtype}, expected float32 or float64 in native byte order")
    if array.shape[1] == 0:
        raise InputError(f"{name}: got shape {array.shape}, expected at least one class (K >= 1)")
    return array


def check_labels(labels: Any, n: int, k: int) -> npt.NDArray[np.int64]:
    """Return `labels` as int64 of shape (N,), each in [0, K).

    Examples
    --------
    >>> check_labels([0, 3], 2, 3)
    Traceback (most recent call last):
    chainrule.errors.InputError: labels: got 3 at index 1, expected integers in [0, 3)
    """
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"labels: got {_came(labels)}, expected ({n},) integers in [0, {k})") from error
    if array.size == 0 and not hasattr(labels, "dtype"):
        array = array.astype(np.int64)  # an empty list has no integers to take a dtype from
    if array.dtype.kind == "f":
        bad = np.flatnonzero(np.isnan(array))
        first = f", NaN at index {bad[0]}" if bad.size else ""
        raise InputError(f"labels: got dtype {array.dtype}{first}, expected integers in [0, {k})")
    if array.dtype.kind not in "iu":
        raise InputError(f"labels: got dtype {array.dtype}, expected integers in [0, {k})")
    if array.shape != (n,):
        raise InputError(f"labels: got shape {array.shape}, expected ({n},), one label for each example")
    # compared before the cast: a uint64 beyond int64 would wrap to a negative number
    bad = np.flatnonzero((array < 0) | (array >= k))
    if bad.size:
        raise InputError(f"labels: got {array[bad[0]]} at index {bad[0]}, expected integers in [0, {k})")
    return np.ascontiguousarray(array, dtype=np.int64)


def check_out(out: Any, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `out` if the gradient of `like` can be written into it: same shape and dtype, writable, and
    either `like` itself or memory of its own."""
    if not isinstance(out, np.ndarray) or out.shape != like.shape or out.dtype != like.dtype:
        raise InputError(f"out: got {_came(out)}, expected an array of shape {like.shape} and dtype {like.dtype}")
    if not out.flags.writeable:
        raise InputError("out: got a read-only array, expected a writable one")
    if not _rows_are_contiguous(out) or (len(out) > 1 and abs(out.strides[0]) < out.shape[1] * out.itemsize):
        raise InputError(f"out: got strides {out.strides}, expected contiguous rows that do not overlap")
    same = out.ctypes.data == like.ctypes.data and out.strides == like.strides
    if not same and np.may_share_memory(out, like) and np.shares_memory(out, like):
        raise InputError("out: overlaps the logits without being the same array, expected one or the other")
    return out


def _rows_are_contiguous(array: npt.NDArray[Any]) -> bool:
    return array.shape[1] <= 1 or array.strides[1] == array.itemsize


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, choices))}")
    return value


def check_integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`; floats and booleans are refused."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise InputError(f"{name}: got {value!r}, expected an integer >= {minimum}")
    return number


def check_positive(name: str, value: Any, *, zero: bool = False) -> float:
    """Return `value` as a finite float > 0 (or >= 0 where `zero` is allowed)."""
    number = _as_float(name, value)
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise InputError(f"{name}: got {value!r}, expected a finite number {'>=' if zero else '>'} 0")
    return number


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1)."""
    number = _as_float(name, value)
    if not 0 <= number < 1:
        raise InputError(f"{name}: got {value!r}, expected a fraction in [0, 1)")
    return number


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: got {value!r}, expected a number") from error


def check_not_built(function: str, **options: tuple[object, object]) -> None:
    """Refuse an option that has a name but no code yet: `option=(value, default)`.

    Raises
    ------
    NotImplementedError
        An option differs from its default; the message names it.
    """
    for name, (value, default) in options.items():
        if value is not default and not (isinstance(value, (int, float)) and value == default):
            raise NotImplementedError(
                f"{function}: the option {name}={value!r} is not built yet; leave it at {default!r}"
            )
