"""Numbers of some 106 bits, as unevaluated sums of two float64 tensors, for what cancels.

A number is (high, low) with |low| ≤ half a unit in the last place of high. Sums and products are error-free
transformations, followed by one more addition. What is not finite has no low part.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch

__all__ = ["DoubleDouble", "Number", "exp", "high_of", "log1p", "select", "total", "zeros_where"]

LN2 = 0.6931471805599453, 2.3190468138462996e-17
SPLIT = 134217729.0  # 2**27 + 1: a float64 in two halves, whose products are exact
HALVINGS, TERMS = 5, 12  # of exp's argument, and of its series: (ln 2 / 2 / 2**5)**12 / 12! is 5e-33
NARROW = 8  # from this term on the series is float64's
LEAST, MOST = -745.5, 709.0


class DoubleDouble:
    """`high` + `low`."""

    __slots__ = ("high", "low")

    def __init__(self, high: torch.Tensor, low: torch.Tensor | None = None) -> None:
        self.high = high
        self.low = torch.zeros_like(high) if low is None else torch.where(torch.isfinite(low), low, 0.0)

    def __add__(self, other: Any) -> DoubleDouble:
        other = _wide(other, self.high)
        high, low = _two_sum(self.high, other.high)
        high_of_low, low_of_low = _two_sum(self.low, other.low)
        high, low = _two_sum(high, torch.where(torch.isfinite(low), low, 0.0) + high_of_low)
        return DoubleDouble(*_two_sum(high, torch.where(torch.isfinite(low), low, 0.0) + low_of_low))

    __radd__ = __add__

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __sub__(self, other: Any) -> DoubleDouble:
        return self + (-_wide(other, self.high))

    def __rsub__(self, other: Any) -> DoubleDouble:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> DoubleDouble:
        other = _wide(other, self.high)
        high, low = _two_product(self.high, other.high)
        low = torch.where(torch.isfinite(low), low, 0.0) + (self.high * other.low + self.low * other.high)
        return DoubleDouble(*_two_sum(high, torch.where(torch.isfinite(low), low, 0.0)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> DoubleDouble:
        by: DoubleDouble = _wide(other, self.high)
        first = self.high / by.high
        rest = self - by * first
        second = rest.high / by.high
        third = (rest - by * second).high / by.high
        low = torch.where(torch.isfinite(second), second, 0.0), torch.where(torch.isfinite(third), third, 0.0)
        result: DoubleDouble = DoubleDouble(first) + DoubleDouble(*_two_sum(*low))
        return result

    def __getitem__(self, key: Any) -> DoubleDouble:
        return DoubleDouble(self.high[key], self.low[key])


Number = Any  # a float64 tensor, or a DoubleDouble: the functions below take and give either
Pair = tuple[torch.Tensor, torch.Tensor]


def _wide(value: Any, like: torch.Tensor) -> DoubleDouble:
    if isinstance(value, DoubleDouble):
        return value
    return DoubleDouble(value if isinstance(value, torch.Tensor) else like.new_full((), value))


def _two_sum(a: torch.Tensor, b: Any) -> Pair:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: torch.Tensor, b: torch.Tensor) -> Pair:
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _sum(a: Pair, b: Any) -> Pair:
    """Of finite numbers."""
    high, low = _two_sum(a[0], b[0])
    low = low + (a[1] + b[1])
    total = high + low
    return total, low - (total - high)


def _product(a: Pair, b: Pair) -> Pair:
    """Of finite numbers."""
    high, low = _two_product(a[0], b[0])
    low = low + (a[0] * b[1] + a[1] * b[0])
    total = high + low
    return total, low - (total - high)


def _inverse_factorial(n: int) -> tuple[float, float]:
    exact = Fraction(1, math.factorial(n))
    return float(exact), float(exact - Fraction(float(exact)))


def _halves(a: torch.Tensor) -> Pair:
    far = a * SPLIT
    high = far - (far - a)
    return high, a - high


def high_of(x: Number) -> torch.Tensor:
    """The number as one float64."""
    return x.high if isinstance(x, DoubleDouble) else x


def select(condition: torch.Tensor, x: Number, y: Any) -> Number:
    """`torch.where` of numbers."""
    if not isinstance(x, DoubleDouble):
        return torch.where(condition, x, y)
    y = _wide(y, x.high)
    return DoubleDouble(torch.where(condition, x.high, y.high), torch.where(condition, x.low, y.low))


def zeros_where(condition: torch.Tensor, x: Number) -> Number:
    """0 in some places, whatever stands there."""
    if isinstance(x, DoubleDouble):
        return DoubleDouble(torch.where(condition, 0.0, x.high), torch.where(condition, 0.0, x.low))
    return torch.where(condition, 0.0, x)


def total(x: Number) -> Any:
    """The sum of each row, (n, k) to (n, 1), always in the same order: by halves."""
    if not isinstance(x, DoubleDouble):
        return x.sum(1, keepdim=True)
    if x.high.shape[1] == 0:
        return DoubleDouble(x.high.new_zeros((x.high.shape[0], 1)))
    while (k := x.high.shape[1]) > 1:
        half = k // 2
        folded = x[:, :half] + x[:, half : 2 * half]
        x = folded if k % 2 == 0 else DoubleDouble(
            torch.cat([folded.high, x.high[:, -1:]], 1), torch.cat([folded.low, x.low[:, -1:]], 1)
        )  # fmt: skip
    return x


def exp(x: Number) -> Any:
    """exp(x); 0 below float64's range."""
    if not isinstance(x, DoubleDouble):
        return torch.exp(x)
    inside = x.high.clamp(LEAST, MOST)
    x = DoubleDouble(inside, torch.where(inside == x.high, x.low, 0.0))
    power = torch.round(inside / LN2[0])
    power = torch.where(torch.isnan(power), 0.0, power)
    r = (x - DoubleDouble(*_two_product(power, torch.full_like(power, LN2[0])))) - power * LN2[1]
    high, low = r.high * 0.5**HALVINGS, r.low * 0.5**HALVINGS
    tail = torch.zeros_like(high)
    for n in range(TERMS, NARROW - 1, -1):
        tail = (tail + 1.0 / math.factorial(n)) * high
    series = tail, torch.zeros_like(tail)
    for n in range(NARROW - 1, 0, -1):  # Σ rⁿ/n!, n ≥ 1, by Horner's rule
        series = _product(_sum(series, _inverse_factorial(n)), (high, low))
    for _ in range(HALVINGS):  # exp(2r) − 1 = 2 (exp(r) − 1) + (exp(r) − 1)²
        series = _sum((series[0] * 2.0, series[1] * 2.0), _product(series, series))
    result = DoubleDouble(*series) + 1.0
    half = torch.floor(power / 2)
    first, second = torch.exp2(half), torch.exp2(power - half)  # in two, lest the power leave the range
    gone = inside <= LEAST
    return DoubleDouble(
        torch.where(gone, 0.0, result.high * first * second), torch.where(gone, 0.0, result.low * first * second)
    )


def log1p(y: Number) -> Any:
    """log(1 + y) of y ≥ 0: one step of Newton's from float64's, and the series where y is small."""
    if not isinstance(y, DoubleDouble):
        return torch.log1p(y)
    near = torch.log1p(y.high)
    newton = (y + 1.0) * exp(DoubleDouble(-near)) - 1.0 + near
    series = y * (1.0 - y * (0.5 - y * (DoubleDouble(torch.ones_like(near)) / 3.0 - y * 0.25)))
    return select(y.high < 1e-8, series, newton)
