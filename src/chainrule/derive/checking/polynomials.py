"""Quotients of polynomials, written out in steps that are counted and timed.

SymPy cannot be interrupted, and one `cancel` may take an hour. Here every step is small, and what would take too long
is given up before it is begun.
"""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from chainrule.boundary.extras import require

sympy = require("sympy", "derive")

__all__ = ["Effort", "GivenUpError", "Roots", "cancelled", "factors_of", "is_zero"]

LARGEST_PRODUCT = 100_000  # of the numbers of terms of two polynomials that are multiplied
_LARGEST_POWER = 100
# Of polynomials that are cancelled or factored, which takes the longest: those of our own derivations have 4 terms.
_MOST_TERMS = 60
_LARGEST_DEGREE = 16


class GivenUpError(Exception):
    """To go on would take too long."""


class Effort:
    """How long the symbols of a line may take, in seconds that this thread has on a processor: how busy the machine is,
    and what other threads do, makes no difference."""

    def __init__(self, seconds: float) -> None:
        self._end = time.thread_time() + seconds

    def spend(self, products: int = 1) -> None:
        """Before a step.

        Raises
        ------
        GivenUpError
            The time is over, or the step too large.
        """
        if products > LARGEST_PRODUCT or time.thread_time() > self._end:
            raise GivenUpError


Roots = Mapping[Any, tuple[int, Any]]  # a symbol: to which power it is which expression


def is_zero(expression: Any, effort: Effort, roots: Roots = MappingProxyType({})) -> bool:
    """Whether an expression built from symbols by + − · / is 0: whether its numerator is. `roots` are the symbols that
    stand for a root, each with its power and what that is.

    Raises
    ------
    ZeroDivisionError
        A denominator is 0.
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> x, y = sympy.symbols("x y")
    >>> is_zero(1 / (x - y) + (x + y) / (y**2 - x**2), Effort(1))
    True
    >>> is_zero((x + 1) ** 2 - y - 2 * x - 1, Effort(1), {x: (2, y)})
    True
    """
    if not expression.free_symbols:
        return bool(expression == 0)
    numerator = _Quotients(expression, effort).of(expression)[0]
    for symbol, gen in zip(numerator.ring.symbols, numerator.ring.gens, strict=True):
        root, radicand = roots.get(symbol, (0, None))
        if root and numerator.degree(gen) >= root:
            parts = collections.defaultdict[int, Any](lambda: numerator.ring.zero)
            at = numerator.ring.gens.index(gen)
            for monomial, coefficient in numerator.terms():
                whole, rest = divmod(monomial[at], root)
                parts[whole] += numerator.ring({(*monomial[:at], rest, *monomial[at + 1 :]): coefficient})
            lower = sympy.Add(*(part.as_expr() * sympy.Pow(radicand, whole) for whole, part in parts.items()))
            return is_zero(lower, effort, roots)
    return not numerator


def cancelled(expression: Any, effort: Effort) -> Any:
    """A quotient of polynomials without common factors: equal expressions become the same one.

    Raises
    ------
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> x, y = sympy.symbols("x y")
    >>> cancelled((x**2 - y**2) / (x - y), Effort(1))
    x + y
    """
    if not expression.free_symbols or expression.is_Symbol:
        return expression
    quotients = _Quotients(expression, effort)
    numerator, factors = quotients.of(expression)
    denominator = quotients.product(quotients.ring.one, factors)
    _require_small(numerator, effort)
    _require_small(denominator, effort)
    numerator, denominator = numerator.cancel(denominator)
    return numerator.as_expr() / denominator.as_expr()


def factors_of(polynomial: Any, effort: Effort) -> tuple[Any, list[tuple[Any, int]]]:
    """A number, and what it is multiplied with: irreducible polynomials, each with its power.

    Raises
    ------
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> x = sympy.Symbol("x")
    >>> factors_of(2 * x**2 - 2, Effort(1))
    (2, [(x - 1, 1), (x + 1, 1)])
    """
    if polynomial.free_symbols:
        _require_small(_Quotients(polynomial, effort).of(polynomial)[0], effort)
    return _factor_list(polynomial)  # type: ignore[no-any-return]


_factor_list = functools.lru_cache(maxsize=4096)(sympy.factor_list)


def _require_small(polynomial: Any, effort: Effort) -> None:
    effort.spend()
    if len(polynomial) > _MOST_TERMS or max(map(sum, polynomial), default=0) > _LARGEST_DEGREE:
        raise GivenUpError


class _Quotients:
    """Expressions as a numerator, written out, and the factors of a denominator with their powers. These are kept apart
    and nothing is cancelled: a sum needs no more than the highest power of each."""

    def __init__(self, expression: Any, effort: Effort) -> None:
        symbols = sorted(expression.free_symbols, key=str)
        self.ring = sympy.polys.rings.PolyRing(symbols, sympy.QQ, sympy.lex)
        self.symbols = dict(zip(symbols, self.ring.gens, strict=True))
        self.effort = effort
        self.known: dict[Any, tuple[Any, dict[Any, int]]] = {}

    def of(self, expression: Any) -> tuple[Any, dict[Any, int]]:
        if expression not in self.known:
            self.known[expression] = self._of(expression)
        return self.known[expression]

    def _of(self, expression: Any) -> tuple[Any, dict[Any, int]]:
        if expression.is_Symbol:
            return self.symbols[expression], {}
        if expression.is_Rational:
            return self.ring.ground_new(sympy.QQ.from_sympy(expression)), {}
        if expression.is_Add:
            return self._sum([self.of(part) for part in expression.args])
        if expression.is_Mul:
            numerator, factors = self.ring.one, collections.Counter[Any]()
            for part in expression.args:
                above, below = self.of(part)
                numerator = self._times(numerator, above)
                factors.update(below)
            return numerator, dict(factors)
        return self._power(*self.of(expression.base), int(expression.exp))

    def _sum(self, parts: list[tuple[Any, dict[Any, int]]]) -> tuple[Any, dict[Any, int]]:
        common: dict[Any, int] = {}
        for _, factors in parts:
            for factor, power in factors.items():
                common[factor] = max(power, common.get(factor, 0))
        total = self.ring.zero
        for numerator, factors in parts:
            missing = {factor: power - factors.get(factor, 0) for factor, power in common.items()}
            total = total + self.product(numerator, missing)
        return total, common

    def _power(self, numerator: Any, factors: dict[Any, int], power: int) -> tuple[Any, dict[Any, int]]:
        if power >= 0:
            return self.product(self.ring.one, {numerator: power}), {f: k * power for f, k in factors.items()}
        if not numerator:
            raise ZeroDivisionError
        above = self.product(self.ring.one, {f: -k * power for f, k in factors.items()})
        if len(numerator) == 1:  # a product of symbols: each is a factor of its own
            below = {gen: -k * power for gen, k in zip(self.ring.gens, numerator.LM, strict=True) if k}
        else:
            below = {numerator.monic(): -power}
        return above.mul_ground(numerator.LC**power), below

    def product(self, result: Any, factors: dict[Any, int]) -> Any:
        """The result times every factor to its power."""
        for factor, power in factors.items():
            if len(factor) == 1:
                result = self._times(result, factor**power)
            elif power > _LARGEST_POWER:
                raise GivenUpError
            else:
                for _ in range(power):
                    result = self._times(result, factor)
        return result

    def _times(self, x: Any, y: Any) -> Any:
        self.effort.spend(len(x) * len(y))
        return x * y
