"""The checks of input that stand at the public boundary, with the wording of every message.

A check runs before anything is computed or overwritten. Each message has the argument's name, what came
and what was expected.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import FORMATS, Borrowed, borrow, describe, from_float, to_float
from chainrule.errors import InputError, shown

__all__ = [
    "REDUCTIONS", "check_arrays", "check_bias", "check_choice", "check_class_weights", "check_fraction",
    "check_ignore_index", "check_index", "check_integer", "check_labels", "check_logits", "check_matrix",
    "check_names", "check_no_ignore_index", "check_out", "check_positive", "check_rows", "check_sample_weight",
    "check_targets", "check_threads", "rank_of",
]  # fmt: skip

_FLOATS = ("float32", "float64")
REDUCTIONS = ("mean", "sum", "none")


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
        raise InputError(f"{name}: got {describe(value)}, expected an array {meaning} of floats") from error
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


def check_logits(name: str, value: Any, meaning: str = "(N, K)") -> Borrowed:
    """Borrow a matrix of float16, bfloat16, float32 or float64, of any kind and strides, with K >= 1.

    Examples
    --------
    >>> check_logits("logits", [[1, 2]]).format
    'float64'
    """
    return _check_floats(name, borrow(name, value, f"an array {meaning} of floats"), meaning)


def check_rows(name: str, value: Any, axis: Any) -> tuple[Borrowed, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]:
    """Borrow an array of one axis or more as a matrix whose rows lie along `axis`, and what gives such a matrix the
    array's shape again.

    Examples
    --------
    >>> check_rows("logits", [1, 2, 3], -1)[0].view.shape
    (1, 3)
    """
    if not hasattr(value, "dtype") and not hasattr(value, "__dlpack__"):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError) as error:
            raise InputError(f"{name}: got {describe(value)}, expected an array of floats") from error
        value = array.astype(np.float64) if array.dtype.kind in "iuf" else array
    borrowed = borrow(name, value, "an array of floats")
    rank, number = borrowed.view.ndim, check_integer("axis", axis, -(2**31))
    if rank == 0 or not -rank <= number < rank:
        raise InputError(f"axis: got {shown(axis)} for {name} of shape {borrowed.view.shape}, expected one of its axes")
    moved = np.moveaxis(borrowed.view, number, -1)
    k = moved.shape[-1]
    rows = moved if rank == 2 else np.ascontiguousarray(moved).reshape(moved.size // max(k, 1), k)

    def back(result: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(np.moveaxis(result.reshape(moved.shape), -1, number))

    return _check_floats(name, borrowed._replace(view=rows), "rows and columns"), back


def _check_floats(name: str, borrowed: Borrowed, meaning: str = "(N, K)") -> Borrowed:
    shape = borrowed.view.shape
    if len(shape) != 2:
        hint = f"; one example is {name}[None, :]" if len(shape) == 1 else ""
        raise InputError(f"{name}: got shape {shape}, expected rank 2, {meaning}{hint}")
    if borrowed.format not in FORMATS or not borrowed.view.dtype.isnative:
        expected = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]} in native byte order"
        order = "" if borrowed.view.dtype.isnative else " in foreign byte order"
        raise InputError(f"{name}: got dtype {borrowed.format}{order}, expected {expected}")
    if shape[1] == 0:
        raise InputError(f"{name}: got shape {shape}, expected at least one column of {meaning}")
    return borrowed if _whole_steps(borrowed.view) else borrowed._replace(view=borrowed.view.copy())


def _whole_steps(view: npt.NDArray[Any]) -> bool:
    return view.flags.aligned and all(step % view.itemsize == 0 for step in view.strides)


def check_targets(targets: Any, shape: tuple[int, int], format: str, *, signed: bool = False) -> Borrowed:
    """Borrow target probabilities, (N, K), finite and, unless they may be `signed`, not negative, of the logits' format
    or a narrower one."""
    expected = f"({shape[0]},) integers or {shape} target probabilities"
    borrowed = borrow("labels", targets, expected)
    if borrowed.view.shape != shape:
        raise InputError(f"labels: got shape {borrowed.view.shape}, expected {expected}")
    borrowed = _check_floats("labels", borrowed)
    view = borrowed.view
    if borrowed.format != format:
        width = FORMATS.index(format) >> 1  # two of 16 bits, and two that are wider
        widens = FORMATS.index(borrowed.format) >> 1 < width or format == "float64"
        if not widens and hasattr(targets, "dtype"):
            raise InputError(f"labels: got target probabilities of dtype {borrowed.format}, expected {format}")
        if width == 0:
            raise InputError(f"labels: got {type(targets).__name__}, expected an array of dtype {format}")
        if not widens:
            borrowed = borrowed._replace(view=view.astype(format), format=format)
            view = borrowed.view
    step = max(1, 2**16 // shape[1])
    for begin in range(0, len(view), step):  # a part at a time: 16 bits are widened to be looked at
        numbers = to_float(view[begin : begin + step], borrowed.format)
        if numbers.size and not (numbers.min() > -np.inf and (signed or numbers.min() >= 0) and numbers.max() < np.inf):
            right = np.isfinite(numbers) & (signed | (numbers >= 0))
            row, column = np.argwhere(~right)[0]
            where = f"at row {begin + row}, column {column}"
            least = "" if signed else " >= 0"
            raise InputError(f"labels: got {numbers[row, column]} {where}, expected finite numbers{least}")
    return borrowed


def check_class_weights(
    class_weights: Any, k: int, name: str = "class_weights", *, signed: bool = False
) -> npt.NDArray[np.float64]:
    """Return `class_weights` as float64 of shape (K,), finite and, unless they may be `signed`, not negative."""
    weights = _weights(name, class_weights, k, "class", signed)
    sizes = np.abs(weights) if signed else weights
    extreme = np.flatnonzero((sizes > 0) & ((sizes < 1e-150) | (sizes > 1e150)))
    if extreme.size:  # a mean divides by their sum
        raise InputError(f"{name}: got {weights[extreme[0]]} at index {extreme[0]}, expected 0 or 1e-150 to 1e150")
    return weights


def check_sample_weight(
    sample_weight: Any, n: int, *, large: bool = True, name: str = "sample_weight", signed: bool = False
) -> npt.NDArray[np.float64]:
    """Return `sample_weight` as float64 of shape (N,), finite and, unless they may be `signed`, not negative; unless
    `large`, at most 1e150."""
    weights = _weights(name, sample_weight, n, "example", signed)
    if not large and weights.max(initial=0.0) > 1e150:
        i = int(np.argmax(weights > 1e150))
        raise InputError(f"{name}: got {weights[i]} at index {i}, expected numbers from 0 to 1e150")
    return weights


def _weights(name: str, value: Any, n: int, each: str, signed: bool = False) -> npt.NDArray[np.float64]:
    borrowed = borrow(name, value, f"({n},) numbers")
    if borrowed.view.shape != (n,):
        raise InputError(f"{name}: got shape {borrowed.view.shape}, expected ({n},), one weight for each {each}")
    numbers = to_float(borrowed.view, borrowed.format)
    if numbers.dtype.kind not in ("biuf" if each == "example" else "iuf"):
        raise InputError(f"{name}: got dtype {borrowed.format}, expected numbers")
    weights = np.require(numbers, np.float64, ("C", "A"))
    sizes = np.abs(weights) if signed else weights
    bad = np.flatnonzero(~((sizes >= 0) & (sizes < np.inf)))
    if bad.size:
        expected = "finite numbers" if signed else "finite numbers >= 0"
        raise InputError(f"{name}: got {weights[bad[0]]} at index {bad[0]}, expected {expected}")
    return weights


def check_bias(bias: Any, k: int, format: str) -> Borrowed:
    """Borrow biases of shape (K,) in the weights' format."""
    b = borrow("bias", bias, f"({k},) numbers of dtype {format}")
    if not hasattr(bias, "dtype") and b.view.dtype.kind in "iuf":
        b = b._replace(view=from_float(b.view.astype(np.float64), format), format=format)
    if b.view.shape != (k,) or b.format != format:
        raise InputError(f"bias: got shape {b.view.shape} and dtype {b.format}, expected ({k},) and {format}")
    return b


def check_labels(
    labels: Any,
    n: int,
    k: int,
    ignore_index: int | None = None,
    *,
    name: str = "labels",
    whole: bool = False,
    hint: str = "",
) -> npt.NDArray[np.int64]:
    """Return `labels` as int64 of shape (N,), each in [0, K) or `ignore_index`.

    whole : take floats that hold integers too; hint : what ends the message of a label out of range

    Examples
    --------
    >>> check_labels([0, 3], 2, 3)
    Traceback (most recent call last):
    chainrule.errors.InputError: labels: got 3 at index 1, expected integers in [0, 3)
    """
    expected = f"{'whole numbers' if whole else 'integers'} in [0, {k})"
    borrowed = borrow(name, labels, f"({n},) {expected}")
    if borrowed.view.shape != (n,):
        raise InputError(f"{name}: got shape {borrowed.view.shape}, expected ({n},), one label for each example")
    array = to_float(borrowed.view, borrowed.format)
    if array.size == 0 and not hasattr(labels, "dtype"):
        array = array.astype(np.int64)  # an empty list has no integers to take a dtype from
    if array.dtype.kind not in ("biuf" if whole else "iu"):
        bad = np.flatnonzero(np.isnan(array)) if array.dtype.kind == "f" else np.empty(0)
        first = f", NaN at index {bad[0]}" if bad.size else ""
        raise InputError(f"{name}: got dtype {borrowed.format}{first}, expected {expected}")
    # compared before the cast: a uint64 beyond int64 would wrap to a negative number
    bits = array.view(np.uint64) if array.dtype == np.int64 else array  # where what is negative is larger than any K
    right = array.size == 0 or (bits.max() < k and (bits is not array or array.min() >= 0))  # not where one is NaN
    if not right or (array.dtype.kind == "f" and (np.floor(array) != array).any()):
        wrong = ~((array >= 0) & (array < k) & (np.floor(array) == array))
        bad = np.flatnonzero(wrong if ignore_index is None else wrong & (array != ignore_index))
        if bad.size:
            other = "" if ignore_index is None else f" or ignore_index={ignore_index}"
            raise InputError(f"{name}: got {array[bad[0]]} at index {bad[0]}, expected {expected}{other}{hint}")
    plain = bits is not array and array.flags.c_contiguous and array.flags.aligned  # which np.require sees more slowly
    return array if plain else np.require(array, np.int64, ("C", "A"))


def rank_of(labels: Any) -> int:
    """Is that a label for each example, 1, or a number for each class of each, 2?"""
    shape = getattr(labels, "shape", None)
    if shape is not None:
        return len(shape)
    return 2 if isinstance(labels, Sequence) and labels and isinstance(labels[0], list | tuple | np.ndarray) else 1


def check_threads(threads: Any) -> int:
    """Return how many threads may be used: `threads`, or as many as the machine has for None."""
    return _kernels.max_threads() if threads is None else min(check_integer("threads", threads), 1024)


def check_out(
    out: Any, like: Borrowed, *others: npt.NDArray[Any] | None, name: str = "out", itself: bool = True
) -> npt.NDArray[Any]:
    """Return the view of `out` if the gradient of `like` can be written into it: same shape and dtype, writable, no
    two elements in one place, and either `like` itself, where that is allowed, or memory that nothing is read from."""
    logits = like.view
    expected = f"an array of shape {logits.shape} and dtype {like.format}"
    if not hasattr(out, "dtype"):
        raise InputError(f"{name}: got {describe(out)}, expected {expected}")
    borrowed = borrow(name, out, expected)
    view = borrowed.view
    if borrowed.copied:
        raise InputError(f"{name}: got {describe(out)} that cannot be written where it lies, expected {expected}")
    if view.shape != logits.shape or borrowed.format != like.format or not view.dtype.isnative:
        raise InputError(f"{name}: got {describe(out)}, expected {expected}")
    if not view.flags.writeable:
        raise InputError(f"{name}: got a read-only array, expected a writable one")
    if not _whole_steps(view) or _overlaps_itself(view):
        raise InputError(f"{name}: got strides {view.strides}, expected aligned elements that do not overlap")
    same = itself and view.ctypes.data == logits.ctypes.data and view.strides == logits.strides
    for other in (None if same else logits, *others):
        if other is not None and np.may_share_memory(view, other) and np.shares_memory(view, other):
            if name != "out":
                raise InputError(f"{name}: overlaps an input or another buffer, expected memory of its own")
            raise InputError("out: overlaps an input without being the logits themselves, expected one or the other")
    return view


def _overlaps_itself(view: npt.NDArray[Any]) -> bool:
    sides = sorted((abs(step), count) for step, count in zip(view.strides, view.shape, strict=True) if count > 1)
    if view.size == 0 or not sides:
        return False
    (inner, count), (outer, _) = sides[0], sides[-1]
    return inner == 0 or (len(sides) == 2 and outer < inner * count)


def check_arrays(name: str, arrays: Sequence[Any], purpose: str) -> None:
    """Refuse a network's arrays that are not NumPy's, of float32 or float64."""
    if not all(isinstance(a, np.ndarray) and a.dtype.name in _FLOATS for a in arrays):
        raise InputError(
            f"{name}: got arrays of another library or dtype, expected NumPy float32 or float64 to {purpose}"
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name}: got {shown(value)}, expected one of {', '.join(map(repr, choices))}")
    return value


def check_integer(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int of at least `minimum`; floats and booleans are refused."""
    try:
        number = value if type(value) is int else operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise InputError(f"{name}: got {shown(value)}, expected an integer >= {minimum}")
    if maximum is not None and number > maximum:
        raise InputError(f"{name}: got {shown(value)}, expected an integer <= {maximum}")
    return number


def check_index(name: str, value: Any, count: int) -> int:
    """Return `value` as an int in [0, `count`)."""
    number = check_integer(name, value, minimum=0)
    if number >= count:
        raise InputError(f"{name}: got {shown(number)}, expected an integer in [0, {count})")
    return number


def check_names(name: str, names: Sequence[Any], count: int) -> None:
    """Refuse another number of names than of what they name."""
    if len(names) != count:
        raise InputError(f"{name}: got {len(names)} names, expected {count}")


def check_ignore_index(value: Any) -> int:
    """Return the label of those that count for nothing, any integer of 64 bits."""
    return check_integer("ignore_index", value, minimum=-(2**63), maximum=2**63 - 1)


def check_no_ignore_index(ignore_index: int | None, name: str = "labels") -> None:
    """Refuse one beside class probabilities, which have no label to compare with it."""
    if ignore_index is not None:
        raise InputError(
            f"ignore_index: got {ignore_index} with class probabilities as {name}, expected class indices with it"
        )


def check_positive(name: str, value: Any, *, zero: bool = False, least: float = 0.0) -> float:
    """Return `value` as a finite float > 0 (or >= 0 where `zero` is allowed), and not below `least`."""
    number = value if type(value) is float else _as_float(name, value)
    if not 0 <= number < math.inf or (number == 0 and not zero):
        raise InputError(f"{name}: got {shown(value)}, expected a finite number {'>=' if zero else '>'} 0")
    if number < least:
        raise InputError(f"{name}: got {shown(value)}, expected at least {least}")
    return number


def check_fraction(name: str, value: Any, *, one: bool = False) -> float:
    """Return `value` as a float in [0, 1), or in [0, 1] where `one` is allowed."""
    number = value if type(value) is float else _as_float(name, value)
    if not (0 <= number < 1 or (one and number == 1)):
        raise InputError(f"{name}: got {shown(value)}, expected a fraction in [0, 1{']' if one else ')'}")
    return number


def _as_float(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes | bool | np.bool_):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        size = " that float64 can hold" if isinstance(error, OverflowError) else ""
        raise InputError(f"{name}: got {shown(value)}, expected a number{size}") from error
