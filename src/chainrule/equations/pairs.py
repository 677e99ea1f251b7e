"""Numbers of some 100 bits as unevaluated sums of two float64 numbers, for what cancels.

A `Pair` is high + low with |low| at most half a unit in the last place of high. What is not finite may have any low
part. Compilers may fuse a product with the sum that it goes into, and fold constants: so each product that an
error-free sum is given is exact, for its factors are cut by their bits, and such a sum never begins with a constant.
Arrays are NumPy's, PyTorch's or JAX's, whose bits can be had, as `array.view`; the Array API has no way to them.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import ldexp
from typing import Any, NamedTuple

import numpy as np

from chainrule.activations import array_namespace

__all__ = ["Pair", "exp", "log1p", "number", "pair", "select", "total"]

LEAST = -745.5  # whose exponential is 0
HALF = -(1 << 27)  # a mask for the upper 26 of a float64's 53 digits
EXPONENT = 0x7FF << 52


class Pair:
    """high + low. The other operand is a pair, an array or a number."""

    __slots__ = ("high", "low")

    def __init__(self, high: Any, low: Any) -> None:
        self.high, self.low = high, low

    def __add__(self, other: Any) -> Pair:
        if not isinstance(other, Pair):
            high, low = _two_sum(self.high, other)
            return Pair(*_quick_two_sum(high, low + self.low))
        high, low = _two_sum(self.high, other.high)
        return Pair(*_quick_two_sum(high, low + (self.low + other.low)))

    def __neg__(self) -> Pair:
        return Pair(-self.high, -self.low)

    def __sub__(self, other: Any) -> Pair:
        return self.__add__(-other)

    def __mul__(self, other: Any) -> Pair:
        by = other if isinstance(other, Pair) else Pair(other, 0.0)
        (a, a_rest), (b, b_rest) = _halves(self.high), _halves(by.high)
        high, first = _quick_two_sum(a * b, a * b_rest)
        high, second = _quick_two_sum(high, a_rest * b)
        low = (first + second) + (a_rest * b_rest + (self.high * by.low + self.low * by.high))
        return Pair(*_quick_two_sum(high, low))

    def __truediv__(self, other: Pair) -> Pair:
        first = self.high / other.high
        second = (self - other * first).high / other.high
        return Pair(*_quick_two_sum(first, second))


def number(exact: Fraction | float) -> Pair:
    """A number of Python's.

    Examples
    --------
    >>> number(Fraction(1, 10)).high, number(Fraction(1, 10)).low
    (0.1, -5.551115123125783e-18)
    """
    high = float(exact)
    return Pair(high, float(Fraction(exact) - Fraction(high)))


def pair(array: Any) -> Pair:
    """An array of float64."""
    return Pair(array, array_namespace(array).zeros_like(array))


def select(condition: Any, x: Pair, y: Pair) -> Pair:
    """x where the condition holds, else y."""
    where = array_namespace(x.high).where
    return Pair(where(condition, x.high, y.high), where(condition, x.low, y.low))


def total(x: Pair, largest: Any = None) -> Pair:
    """The sum of each row, (..., k) to (...), k < 2²⁵. `largest`, of the numbers' sizes, spares looking for it.

    The upper 27 digits below the row's largest number add up without an error, in whatever order, and so do the next;
    what is left is below 2⁻⁵⁴ of it.

    Examples
    --------
    >>> float(total(Pair(np.array([[1.0, 1e-20]]), np.array([[0.0, 1e-40]]))).low[0])
    1e-20
    """
    xp = array_namespace(x.high)
    if xp.__name__ == "jax.numpy":
        return _total_in_xla(x)
    if largest is None:
        largest = xp.max(xp.abs(x.high), axis=-1, keepdims=True)
        largest = xp.where(largest < 2.0**-900, 2.0**-900, xp.where(largest < 2.0**900, largest, 2.0**900))
        largest = (largest.view(xp.int64) & EXPONENT).view(xp.float64)  # a power of two: what it divides stays exact
    first = xp.round(x.high * (2.0**27 / largest)) * (largest * 2.0**-27)
    rest = x.high - first
    rest = xp.where(rest - rest == 0, rest, 0.0)  # infinite ones are in `first`
    second = xp.round(rest * (2.0**54 / largest)) * (largest * 2.0**-54)
    whole, last = xp.sum(first, axis=-1), xp.sum((rest - second) + x.low, axis=-1)
    high, low = _two_sum(whole, xp.sum(second, axis=-1))
    high, low = _quick_two_sum(high, low + last)
    finite = whole - whole == 0
    return Pair(xp.where(finite, high, whole), xp.where(finite, low, 0.0))


def _total_in_xla(x: Pair) -> Pair:
    """A sum of pairs, which XLA compiles in less time than four of numbers."""
    from jax import lax

    def both(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        whole, low = _two_sum(a[0], b[0])
        high, low = _quick_two_sum(whole, low + (a[1] + b[1]))
        finite, none = whole - whole == 0, lax.full_like(low, 0)
        return lax.select(finite, high, whole), lax.select(finite, low, none)

    nothing = np.float64(0)
    return Pair(*lax.reduce((x.high, x.low), (nothing, nothing), both, (x.high.ndim - 1,)))


def exp(x: Pair) -> Pair:
    """exp(x) for x ≤ 1 or so, to 2⁻⁹⁸; 0 where float64's is, and for −∞. NaN is for the caller.

    With x = k ln 2 + log T + log B + r it is 2ᵏ T B (1 + (exp(r) − 1)), |r| ≤ 2⁻²³: T has 20 digits, log T is near
    a multiple of 2⁻¹¹, and B is 1 and a multiple of 2⁻²². The logarithms stand in tables, as pairs.

    Examples
    --------
    >>> one = exp(Pair(np.array([1.0]), np.array([0.0])))
    >>> float(one.high[0]), f"{one.low[0]:.9}"
    (2.718281828459045, '1.44564689e-16')
    """
    xp = array_namespace(x.high)
    tables = _tables_for(x.high)
    inside = x.high > LEAST
    high, low = xp.where(inside, x.high, 0.0), xp.where(inside, x.low, 0.0)
    k = xp.round(high * LOG2E)
    r = high - k * LN2[0]  # exact, and so are the next two differences
    at = xp.round(r * 2.0**11)
    coarse = tables.coarse[_whole(at) + COARSE]
    r = r - coarse[..., 1]
    below = xp.round(r * 2.0**22)
    fine = tables.fine[_whole(below) + FINE]
    r = r - fine[..., 0]
    r, lost = _two_sum(r, -(k * LN2[1]))
    rest = lost + ((low - k * LN2[2]) - (coarse[..., 2] + fine[..., 1]))
    rest = rest + r * (rest + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0))))
    base = (coarse[..., 0] * tables.powers[_whole(k) + POWERS]) * (1.0 + below * 2.0**-22)
    (c, c_rest), (d, d_rest) = _halves(base), _halves(r)
    high, low = _quick_two_sum(base, c * d)
    low = low + ((c * d_rest + c_rest * r) + base * rest)
    high, low = _quick_two_sum(high, low)
    return Pair(xp.where(inside, high, 0.0), xp.where(inside, low, 0.0))


def log1p(y: Pair) -> Pair:
    """log(1 + y) of y ≥ 0: a step of Newton's from float64's, which has nothing to add where y is small."""
    xp = array_namespace(y.high)
    near = xp.log1p(y.high)
    one = exp(pair(-near)) * (y + 1.0)
    error = (one.high - 1.0) + one.low
    high, low = _quick_two_sum(near, error - 0.5 * error * error)
    tiny = y.high < 2.0**-47
    return Pair(xp.where(tiny, near, high), xp.where(tiny, y.low, low))


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b and what it lost (Knuth, TAOCP vol. 2, 4.2.2)."""
    both = a + b
    part = both - a
    return both, (a - (both - part)) + (b - part)


def _quick_two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The same where |a| ≥ |b|, or a is 0."""
    both = a + b
    return both, b - (both - a)


def _halves(a: Any) -> tuple[Any, Any]:
    """26 digits and 27, the products of which are exact, but for that of the latter with each other."""
    if isinstance(a, float):
        upper = float((np.float64(a).view(np.int64) & HALF).view(np.float64))
        return upper, a - upper
    xp = array_namespace(a)
    upper = (a.view(xp.int64) & HALF).view(xp.float64)
    return upper, a - upper


def _whole(numbers: Any) -> Any:
    xp = array_namespace(numbers)
    return xp.astype(numbers, xp.int64)


# --- exp's tables ---

COARSE, FINE, POWERS = 712, 1032, 1080  # where the tables have their middle
LOG2E = 1.4426950408889634
# of 42 digits but for the last: their products with k are exact
LN2 = 0x2C5C85FDF47 * 2.0**-42, 0xF79ABC9E3B * 2.0**-84, 0x1CC01F97B57A08 * 2.0**-139


class _Tables(NamedTuple):
    coarse: Any  # T, log T
    fine: Any  # log B
    powers: Any  # 2ᵏ


@cache
def _tables() -> _Tables:
    t = np.round(np.exp(np.arange(-COARSE, COARSE + 1) * 2.0**-11) * 2.0**19).astype(int)
    b = 2**22 + np.arange(-FINE, FINE + 1)
    coarse, fine = (_logarithms(of.tolist()) for of in (t, b))
    return _Tables(np.stack([t * 2.0**-19, *coarse], 1), np.stack(fine, 1), np.ldexp(1.0, np.arange(-POWERS, 8)))


def _logarithms(of: list[int]) -> tuple[Any, Any]:
    """The logarithms of integers, which grow little by little, over that in their middle, as pairs.

    log b − log a = 2 artanh((b − a)/(b + a)), by its series, in integers of as many binary digits as `places` says.
    """
    places, logs = 160, [0]
    for a, b in pairwise(of):
        power = ratio = ((b - a) << places) // (b + a)
        square, n, log = (ratio * ratio) >> places, 1, 0
        while power:
            log, power, n = log + power // n, (power * square) >> places, n + 2
        logs.append(logs[-1] + 2 * log)
    logs = [log - logs[len(of) // 2] for log in logs]
    high = [log / (1 << places) for log in logs]
    low = [(log - int(ldexp(x, places))) / (1 << places) for log, x in zip(logs, high, strict=True)]
    return np.array(high), np.array(low)


def _tables_for(x: Any) -> _Tables:
    if isinstance(x, np.ndarray):
        return _tables()
    xp = array_namespace(x)
    if xp.__name__.endswith("torch"):
        return _tables_on(xp, x.device)
    return _Tables(*map(xp.asarray, _tables()))


@cache
def _tables_on(xp: Any, device: Any) -> _Tables:
    """A device's own, which would be copied to it with each call. Those that JAX traces cannot be kept."""
    return _Tables(*(xp.asarray(table, device=device) for table in _tables()))
