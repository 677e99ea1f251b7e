"""SymPy's expressions as quotients of polynomials, which are 0 exactly when the numerator is, written out.

Every exponential, logarithm and other function becomes a symbol of its own: e^{a_1} is a positive symbol,
e^{2a_1 − a_2} a quotient of powers of two of them, and the logarithm of a positive quotient a difference of logarithms.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.boundary.extras import require
from chainrule.derive.checking.polynomials import Effort, GivenUpError, cancelled, factors_of
from chainrule.derive.setting import UndefinedError

sympy = require("sympy", "derive")

__all__ = ["FinerRootNeeded", "Rational"]

_FINEST_ROOT = 12  # exp(x/12) is a twelfth of exp(x); for finer parts the polynomials would grow too large
_LARGEST_INTEGER = 10**12  # whose prime factors are looked for


class FinerRootNeeded(Exception):
    """exp(x / denominator) is met: exp(x) must be written as a power of a smaller part."""

    def __init__(self, denominator: int) -> None:
        super().__init__(denominator)
        self.denominator = denominator


class Rational:
    """Rewrites an expression so that it is built from symbols by + − · / alone. Equal functions get equal symbols, by
    their names, in whichever expression they are met."""

    def __init__(self, root: int, effort: Effort) -> None:
        self.root = root  # exp(m) is the symbol for exp(m / root), to the power of root
        self.effort = effort
        self.exponents: dict[Any, Any] = {}  # the symbol of exp(m / root) -> m
        self.logarithms: dict[Any, Any] = {}  # the symbol of log(f) -> f
        self.roots: dict[Any, tuple[int, Any]] = {}  # the symbol of exp(log(f) / root) -> root and f
        self.known: dict[Any, Any] = {}

    def of(self, expression: Any) -> Any:
        """The expression, rewritten."""
        if expression.is_Symbol or expression.is_Rational:
            return expression
        if expression not in self.known:
            self.effort.spend()
            self.known[expression] = self._rewritten(expression)
        return self.known[expression]

    def _rewritten(self, expression: Any) -> Any:
        if expression.is_Add or expression.is_Mul:
            return expression.func(*(self.of(part) for part in expression.args))
        if expression.is_Pow and expression.exp.is_Integer:
            return self.of(expression.base) ** expression.exp
        if isinstance(expression, sympy.exp):
            return self._exp(self.of(expression.args[0]))
        if expression is sympy.E:
            return self._exp(sympy.S.One)
        if expression.is_Pow:
            return self._exp(self.of(expression.exp) * self._log(self.of(expression.base)))
        if isinstance(expression, sympy.log):
            return self._log(self.of(expression.args[0]))
        if expression.is_Function:
            arguments = ", ".join(str(self._canonical(self.of(argument))) for argument in expression.args)
            return sympy.Symbol(f"{expression.func.__name__}({arguments})", real=True)
        return sympy.Symbol(f"[{expression}]")  # a constant such as I or π

    def _exp(self, argument: Any) -> Any:
        """exp of a sum is a product: one symbol for each term, to the power of its rational factor."""
        numerator, denominator = sympy.fraction(self._canonical(argument))
        result = sympy.S.One
        for term in sympy.Add.make_args(sympy.expand(numerator)):
            factor, rest = self._canonical(term / denominator).as_coeff_Mul()
            if rest in self.logarithms and factor.is_Integer:
                result *= self.logarithms[rest] ** factor
            elif factor != 0:
                power = factor * self.root
                if not power.is_Integer and math.lcm(self.root, int(factor.q)) <= _FINEST_ROOT:
                    raise FinerRootNeeded(int(factor.q))
                if not power.is_Integer:  # a function of its own, unrelated to exp(rest)
                    rest, power = factor * rest * self.root, sympy.S.One
                symbol = sympy.Symbol(f"exp({rest}/{self.root})", positive=True)
                self.exponents[symbol] = rest
                if rest in self.logarithms:
                    self.roots[symbol] = self.root, self.logarithms[rest]
                result *= symbol**power
        return result

    def _log(self, argument: Any) -> Any:
        """log of a product of positive factors is a sum."""
        argument = self._canonical(argument)
        if argument == 0:
            raise UndefinedError("a logarithm of zero")
        constant = sympy.S.One
        factors: list[tuple[Any, int]] = []
        for part, sign in zip(sympy.fraction(argument), (1, -1), strict=True):
            number, parts = factors_of(part, self.effort)
            constant *= number**sign
            factors += [(base, sign * power) for base, power in parts]
        if not constant.is_positive or not constant.is_Rational or not all(_is_positive(base) for base, _ in factors):
            return self._log_symbol(argument)
        if max(constant.p, constant.q) > _LARGEST_INTEGER:
            raise GivenUpError
        result = sympy.S.Zero
        for base, power in [*sympy.factorrat(constant).items(), *factors]:
            base = sympy.sympify(base)
            if base in self.exponents:
                result += power * self.exponents[base] / self.root
            elif base != 1:
                result += power * self._log_symbol(base)
        return result

    def _canonical(self, argument: Any) -> Any:
        return cancelled(argument, self.effort)

    def _log_symbol(self, argument: Any) -> Any:
        symbol = sympy.Symbol(f"log({argument})", real=True)
        self.logarithms[symbol] = argument
        return symbol


def _is_positive(polynomial: Any) -> bool:
    """Every coefficient and every symbol is positive."""
    symbols = sorted(polynomial.free_symbols, key=str)
    if not symbols:
        return bool(polynomial.is_positive)
    return all(s.is_positive for s in symbols) and all(c > 0 for c in sympy.Poly(polynomial, *symbols).coeffs())
