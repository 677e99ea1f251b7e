"""Numbers, vectors and matrices that carry index letters, and their exact derivatives.

A value has an axis for each free index letter, and after these either nothing (a scalar) or two axes, rows and columns.
A letter's axis holds all of its values at once, so that one evaluation of p_i − y_i gives every i. Derivatives are dual
numbers: a value beside the direction in which it changes; one within the other for second derivatives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Dual", "MisfitError", "Plain", "TooManyError", "Value", "add", "apply", "contract", "divide",
    "drop", "elementwise", "letters", "linear", "matmul", "neg", "plain", "positional", "power",
    "primal", "rename", "scalar", "shape", "take", "tangent", "to_letters", "total", "transpose",
    "work_done",
]  # fmt: skip

FLOAT = np.longdouble
_MOST_ENTRIES = 2_000_000
_OVERHEAD = 1000  # what an operation costs beside its entries, in entries


_work = type("Work", (threading.local,), {"done": 0})()


def work_done() -> int:
    """How much this thread has computed, in entries: a measure of time that is the same in every run."""
    return int(_work.done)


class MisfitError(Exception):
    """Dimensions that do not fit each other under a reading."""


class TooManyError(MisfitError):
    """More entries at once than are computed."""


@dataclass(frozen=True, eq=False)
class Plain:
    """An array: axes for `letters` in their order, then rows and columns where `matrix`. Its entries are numbers, or
    objects that compute as numbers do."""

    data: Any
    letters: tuple[str, ...] = ()
    matrix: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray | np.generic):  # NumPy hands out an object that stands alone bare
            object.__setattr__(self, "data", np.asarray(self.data, dtype=object))


@dataclass(frozen=True, eq=False)
class Dual:
    """A value and its change in a direction; the direction's tag tells nested ones apart."""

    tag: int
    value: Value
    change: Value


Value = Plain | Dual


def scalar(number: Any) -> Plain:
    return Plain(np.asarray(number, dtype=FLOAT))


def letters(x: Value) -> tuple[str, ...]:
    return letters(x.value) if isinstance(x, Dual) else x.letters


def shape(x: Value) -> tuple[int, int] | None:
    """Rows and columns; None of a scalar."""
    x = primal(x)
    return (x.data.shape[-2], x.data.shape[-1]) if x.matrix else None


def primal(x: Value) -> Plain:
    while isinstance(x, Dual):
        x = x.value
    return x


def tangent(x: Value, tag: int) -> Value | None:
    """The change of a value along a tag; None where it does not depend on it."""
    if not isinstance(x, Dual):
        return None
    if x.tag == tag:
        return x.change
    a, b = tangent(x.value, tag), tangent(x.change, tag)
    if a is None and b is None:
        return None
    zero = _times_zero
    return Dual(x.tag, a if a is not None else zero(x.value), b if b is not None else zero(x.change))


def drop(x: Value, tag: int) -> Value:
    """A value without its change along a tag."""
    if not isinstance(x, Dual):
        return x
    return x.value if x.tag == tag else Dual(x.tag, drop(x.value, tag), drop(x.change, tag))


def _times_zero(x: Value) -> Value:
    return linear(x, lambda p: Plain(p.data * 0, p.letters, p.matrix))


def linear(x: Value, function: Callable[[Plain], Plain]) -> Value:
    if isinstance(x, Dual):
        return Dual(x.tag, linear(x.value, function), linear(x.change, function))
    return function(x)


def _aligned(x: Plain, y: Plain) -> tuple[Any, Any, tuple[str, ...], bool]:
    """Two arrays with the same letters in the same order; a scalar gets rows and columns beside a matrix."""
    names = tuple(dict.fromkeys(x.letters + y.letters))
    matrix = x.matrix or y.matrix

    def widened(v: Plain) -> Any:
        data = v.data
        order = [v.letters.index(n) for n in names if n in v.letters]
        tail = [len(v.letters), len(v.letters) + 1] if v.matrix else []
        data = data.transpose(order + tail)
        index = tuple(slice(None) if n in v.letters else None for n in names)
        if v.matrix:
            index += (slice(None), slice(None))
        elif matrix:
            index += (None, None)
        return data[index] if index else data

    a, b = widened(x), widened(y)
    count = len(names)
    for n, p, q in zip(names, a.shape, b.shape, strict=False):
        if p != q and n in x.letters and n in y.letters:
            raise MisfitError(f"the index {n} runs over {p} and over {q}")
    entries = 1
    for p, q in zip(a.shape, b.shape, strict=False):
        entries *= max(p, q)
    _work.done += entries + _OVERHEAD
    if entries > _MOST_ENTRIES:
        raise TooManyError("too many indices at once to be computed")
    if x.matrix and y.matrix and a.shape[count:] != b.shape[count:]:
        raise MisfitError(f"{_said(a.shape[count:])} and {_said(b.shape[count:])} do not fit")
    return a, b, names, matrix


def _said(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _bilinear(x: Value, y: Value, function: Callable[[Plain, Plain], Plain]) -> Value:
    if not isinstance(x, Dual) and not isinstance(y, Dual):
        return function(x, y)
    tag = max(v.tag for v in (x, y) if isinstance(v, Dual))
    a = x.value if isinstance(x, Dual) and x.tag == tag else x
    b = y.value if isinstance(y, Dual) and y.tag == tag else y
    value = _bilinear(a, b, function)
    changes = []
    if isinstance(x, Dual) and x.tag == tag:
        changes.append(_bilinear(x.change, b, function))
    if isinstance(y, Dual) and y.tag == tag:
        changes.append(_bilinear(a, y.change, function))
    return Dual(tag, value, changes[0] if len(changes) == 1 else add(*changes))


def add(x: Value, y: Value) -> Value:
    if isinstance(x, Dual) or isinstance(y, Dual):
        tag = max(v.tag for v in (x, y) if isinstance(v, Dual))
        a, da = (x.value, x.change) if isinstance(x, Dual) and x.tag == tag else (x, None)
        b, db = (y.value, y.change) if isinstance(y, Dual) and y.tag == tag else (y, None)
        value = add(a, b)
        change = add(da, db) if da is not None and db is not None else da if da is not None else db
        assert change is not None
        return Dual(tag, value, _as_wide(change, value))
    a, b, names, matrix = _aligned(x, y)
    return Plain(a + b, names, matrix)


def _as_wide(change: Value, value: Value) -> Value:
    """A change with rows and columns, where its value has them."""
    if shape(value) is not None and shape(change) is None:
        ones = Plain(np.ones((1,) * 0 + shape(value), dtype=FLOAT), (), True)  # type: ignore[operator]
        return elementwise(change, ones)
    return change


def neg(x: Value) -> Value:
    return linear(x, lambda p: Plain(-p.data, p.letters, p.matrix))


def elementwise(x: Value, y: Value) -> Value:
    """The product entry by entry; a scalar multiplies every entry."""

    def product(p: Plain, q: Plain) -> Plain:
        a, b, names, matrix = _aligned(p, q)
        return Plain(a * b, names, matrix)

    return _bilinear(x, y, product)


def matmul(x: Value, y: Value) -> Value:
    """The product of matrices; 1×1 becomes a scalar."""

    def product(p: Plain, q: Plain) -> Plain:
        if not (p.matrix and q.matrix):
            a, b, names, matrix = _aligned(p, q)
            return Plain(a * b, names, matrix)
        if p.data.shape[-1] != q.data.shape[-2]:
            raise MisfitError(f"a product of {_said(p.data.shape[-2:])} and {_said(q.data.shape[-2:])}")
        names = tuple(dict.fromkeys(p.letters + q.letters))
        a = _spread(p, names)
        b = _spread(q, names)
        _work.done += int(a.size * b.shape[-1]) + _OVERHEAD
        out = (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)
        if out.shape[-2:] == (1, 1):
            return Plain(out[..., 0, 0], names, False)
        return Plain(out, names, True)

    return _bilinear(x, y, product)


def _spread(v: Plain, names: tuple[str, ...]) -> Any:
    order = [v.letters.index(n) for n in names if n in v.letters]
    data = v.data.transpose([*order, len(v.letters), len(v.letters) + 1])
    return data[(*tuple(slice(None) if n in v.letters else None for n in names), slice(None), slice(None))]


def transpose(x: Value) -> Value:
    return linear(x, lambda p: Plain(np.swapaxes(p.data, -1, -2), p.letters, True) if p.matrix else p)


def apply(x: Value, functions: Callable[[int], Callable[[Any], Any]], order: int = 0) -> Value:
    """An entry-by-entry function; `functions(n)` is its n-th derivative."""
    if isinstance(x, Dual):
        slope = apply(x.value, functions, order + 1)
        return Dual(x.tag, apply(x.value, functions, order), elementwise(slope, x.change))
    _work.done += 4 * x.data.size + _OVERHEAD
    with np.errstate(all="ignore"):
        return Plain(functions(order)(x.data), x.letters, x.matrix)


def power(x: Value, n: float) -> Value:
    n = int(n) if n == int(n) else n  # of symbols a whole power is exact

    def functions(order: int) -> Callable[[Any], Any]:
        factor: float = 1
        for k in range(order):
            factor *= n - k
        return lambda a: factor * np.power(a, n - order) if factor else a * 0

    return apply(x, functions)


def divide(x: Value, y: Value) -> Value:
    return elementwise(x, power(y, -1.0))


# --- Letters and positions --------------------------------------------------------------------------------------------


def contract(x: Value, letter: str, *, product: bool = False) -> Value:
    """The sum over a letter's axis."""
    if product:
        parts = [take(x, letter, k) for k in range(primal(x).data.shape[letters(x).index(letter)])]
        out = parts[0]
        for part in parts[1:]:
            out = elementwise(out, part)
        return out

    def summed(p: Plain) -> Plain:
        k = p.letters.index(letter)
        return Plain(p.data.sum(axis=k), p.letters[:k] + p.letters[k + 1 :], p.matrix)

    return linear(_with_letter(x, letter), summed)


def _with_letter(x: Value, letter: str) -> Value:
    """Both a value and its changes have the letter's axis."""
    if not isinstance(x, Dual):
        return x
    size = _size(x, letter)

    def widen(p: Plain) -> Plain:
        if letter in p.letters or size is None:
            return p
        return Plain(np.broadcast_to(p.data[None], (size, *p.data.shape)), (letter, *p.letters), p.matrix)

    return linear(x, widen)


def _size(x: Value, letter: str) -> int | None:
    if isinstance(x, Dual):
        return _size(x.value, letter) or _size(x.change, letter)
    return x.data.shape[x.letters.index(letter)] if letter in x.letters else None


def total(x: Value) -> Value:
    """The sum of all entries."""
    return linear(x, lambda p: Plain(p.data.sum(axis=(-1, -2)), p.letters, False) if p.matrix else p)


def rename(x: Value, names: Mapping[str, str]) -> Value:
    """Other letters for some axes. Where two become the same letter, the diagonal is taken."""

    def renamed(p: Plain) -> Plain:
        new = [names.get(n, n) for n in p.letters]
        data = p.data
        while len(set(new)) < len(new):
            double = next(n for n in new if new.count(n) > 1)
            first = new.index(double)
            second = new.index(double, first + 1)
            if data.shape[first] != data.shape[second]:
                raise MisfitError(f"the index {double} runs over {data.shape[first]} and over {data.shape[second]}")
            data = np.moveaxis(np.diagonal(data, axis1=first, axis2=second), -1, 0)
            rest = [n for k, n in enumerate(new) if k not in (first, second)]
            new = [double, *rest]
        return Plain(data, tuple(new), p.matrix)

    return linear(x, renamed)


def take(x: Value, letter: str, index: Any, along: str | None = None) -> Value:
    """One element of a letter's axis; with `along`, that which `index` gives for each value of another letter."""

    def taken(p: Plain) -> Plain:
        if letter not in p.letters:
            return p
        k = p.letters.index(letter)
        if along is None:
            if not 0 <= index < p.data.shape[k]:
                raise MisfitError(f"there is no element {index + 1}")
            return Plain(np.take(p.data, index, axis=k), p.letters[:k] + p.letters[k + 1 :], p.matrix)
        data = np.moveaxis(p.data, k, 0)
        rest = p.letters[:k] + p.letters[k + 1 :]
        if along in rest:
            j = rest.index(along) + 1
            data = np.moveaxis(data, j, 1)
            out = data[index, np.arange(len(index))]
            return Plain(out, (along, *[n for n in rest if n != along]), p.matrix)
        return Plain(data[index], (along, *rest), p.matrix)

    return linear(x, taken)


def positional(x: Value, row: str | None, column: str | None) -> Value:
    """Letters turned into rows and columns; None is an axis of one."""
    for name in (row, column):
        x = _with_letter(x, name) if name is not None and name in all_letters(x) else x

    def placed(p: Plain) -> Plain:
        if p.matrix:
            raise MisfitError("a value of more than two dimensions")
        data = p.data
        names = list(p.letters)
        for name in (row, column):
            if name is None or name not in names:
                data, names = data[..., None], [*names, "1"]
            else:
                k = names.index(name)
                data = np.moveaxis(data, k, -1)
                names = [*names[:k], *names[k + 1 :], name]
        return Plain(data, tuple(names[:-2]), True)

    return linear(x, placed)


def to_letters(x: Value, row: str, column: str) -> Value:
    """Rows and columns turned into letters; an axis of one is left out."""

    def lettered(p: Plain) -> Plain:
        if not p.matrix:
            return p
        data, names = p.data, [*p.letters, row, column]
        if data.shape[-1] == 1:
            data, names = data[..., 0], names[:-1]
            if data.shape[-1] == 1:
                data, names = data[..., 0], names[:-1]
        elif data.shape[-2] == 1:
            data, names = data[..., 0, :], [*names[:-2], column]
        return Plain(data, tuple(names), False)

    return linear(x, lettered)


def plain(data: Any, names: tuple[str, ...] = (), *, matrix: bool = False) -> Plain:
    return Plain(np.asarray(data, dtype=FLOAT), names, matrix)


def all_letters(x: Value) -> set[str]:
    """The letters of a value and of its changes."""
    return all_letters(x.value) | all_letters(x.change) if isinstance(x, Dual) else set(x.letters)
