"""The value of an expression at one point, by mpmath's numbers of 160 digits.

A derivative is a central difference: with h = 10⁻³⁰ what is cut off is of the order of h², 10⁻⁶⁰, and three of them
within each other still leave 160 − 3·30 digits of rounding.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from chainrule.activations import LEAKY_SLOPE
from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.evaluating import Evaluator
from chainrule.derive.checking.indices import free_indices
from chainrule.derive.patterns import PATTERN_INDEX
from chainrule.derive.setting import MisfitError, Setting, UndefinedError
from chainrule.errors import InputError

__all__ = ["Matrix", "Point", "Value", "context", "entries_of", "value_at"]

_DIGITS = 160
_LARGEST_EXPONENT = 100_000  # exp of more is refused: its digits would fill the memory


@functools.cache
def context() -> Any:
    """A context of mpmath's that is ours alone, so that nobody's precision is changed."""
    context = require("mpmath", "derive").mp.clone()
    context.dps = _DIGITS
    return context


Matrix = list[list[Any]]  # rows of mpmath's numbers
Value = Any  # one of mpmath's numbers, or a Matrix
Point = Mapping[str, Value]


def value_at(node: s.Node, setting: Setting, classes: int, point: Point, at: Mapping[str, int]) -> Value:
    """The value of an expression where the free names and indices have these values: a number, or rows of numbers.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> value = value_at(s.Indexed("ŷ", ("i",)), OUTPUT_LAYER, 2, {"a_L": [[0], [0]]}, {"i": 2})
    >>> float(value)
    0.5
    """
    try:
        value = _Numbers(setting, classes, point).value(node, dict(at))
    except ZeroDivisionError:
        raise UndefinedError("a division by zero") from None
    for number in entries_of(value):
        if not context().isfinite(number):
            raise UndefinedError("a value is not finite: a logarithm of zero, or a division by it")
    return value


def entries_of(value: Value) -> list[Any]:
    return [entry for row in value for entry in row] if isinstance(value, list) else [value]


class _Numbers(Evaluator):
    """Values of expressions at one point. `values` holds the free names, and a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Point) -> None:
        super().__init__(setting, classes, values)
        self.context = context()
        self.letters: dict[int, tuple[str, ...]] = {}
        # By the node's identity and its letters' values. The node is kept: an identity is used again after its end.
        self.known: dict[tuple[int, tuple[int | None, ...]], tuple[s.Node, Value]] = {}

    def value(self, node: s.Node, at: dict[str, int]) -> Value:
        if not isinstance(node, (s.SumOver, s.Name, s.Call, s.Gradient, s.Derivative)):
            return super().value(node, at)
        if id(node) not in self.letters:
            self.letters[id(node)] = tuple(free_indices([node], self.setting, self.classes))
        key = (id(node), tuple(at.get(letter) for letter in (*self.letters[id(node)], PATTERN_INDEX)))
        if key not in self.known:
            self.known[key] = (node, super().value(node, at))
        return self.known[key][1]

    def number(self, number: Fraction) -> Value:
        return self.context.mpf(number.numerator) / number.denominator

    def matrix(self, rows: Matrix) -> Matrix:
        return rows

    def rows(self, value: Value) -> Matrix | None:
        return value if isinstance(value, list) else None

    def added(self, values: list[Value]) -> Value:
        return functools.reduce(_add, values) if values else self.context.mpf(0)

    def elementwise(self, x: Value, y: Value) -> Value:
        if not isinstance(x, list) and not isinstance(y, list):
            return x * y
        _same_shape(x, y, "⊙")
        return [[a * b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]

    def times(self, x: Value, y: Value, sign: str) -> Value:
        if not isinstance(x, list):
            return self.each(lambda entry: x * entry, y)
        if not isinstance(y, list):
            return self.each(lambda entry: entry * y, x)
        if len(x[0]) != len(y):
            if sign == "·" and len(x) == len(y) and len(x[0]) == len(y[0]) == 1:
                return sum(a[0] * b[0] for a, b in zip(x, y, strict=True))
            raise MisfitError("the factors of a product have different dimensions")
        result = [[sum(a * b[n] for a, b in zip(row, y, strict=True)) for n in range(len(y[0]))] for row in x]
        return result[0][0] if len(result) == len(result[0]) == 1 else result

    def greater(self, left: Any, right: Any) -> bool:
        return bool(_real(left) > _real(right))

    def cases(self, values: Sequence[s.Node], conditions: Sequence[s.Comparison], at: dict[str, int]) -> Value:
        for value, condition in itertools.zip_longest(values, conditions):
            if condition is None or self.holds(condition, at):
                return self.value(value, at)
        raise UndefinedError("none of the conditions holds")

    def _exp(self, x: Any) -> Any:
        if abs(x) > _LARGEST_EXPONENT:
            raise UndefinedError("an exponential too large to compute")
        return self.context.exp(x)

    def power(self, base: Any, exponent: Any) -> Any:
        if abs(exponent) > 100 and base != 0 and abs(exponent * self.context.log(abs(base))) > _LARGEST_EXPONENT:
            raise UndefinedError("a power too large to compute")
        return base**exponent

    def function(self, name: str) -> Callable[[Any], Any]:
        context, exp = self.context, self._exp
        if name.endswith("'"):
            inner, h = self.function(name[:-1]), context.mpf(10) ** -30
            return lambda x: (inner(x + h) - inner(x - h)) / (2 * h)
        functions: dict[str, Callable[[Any], Any]] = {
            "exp": exp,
            "log": context.log,
            "log1p": lambda x: context.log(1 + x),
            "tanh": lambda x: 1 - 2 / (exp(2 * x) + 1),
            "σ": lambda x: 1 / (1 + exp(-x)),
            "softplus": lambda x: context.log(1 + exp(x)),
            "silu": lambda x: x / (1 + exp(-x)),
            "Φ": lambda x: context.ncdf(_real(x)),
            "φ": context.npdf,
            "gelu": lambda x: x * context.ncdf(_real(x)),
            "relu": lambda x: x if _real(x) > 0 else 0 * x,
            "leaky_relu": lambda x: x if _real(x) > 0 else context.mpf(str(LEAKY_SLOPE)) * x,
            "identity": lambda x: x,
            # any smooth function does: what holds for every g holds for this one
            "g": lambda x: context.sin(x) + x * x / 5,
        }
        if name not in functions:
            raise InputError(f"{name} is not a function that is known here")
        return functions[name]

    def slope(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Callable[[list[int]], Value]:
        """(E(x + h) − E(x − h)) / 2h, where x is one element of a name, and the other elements are held fixed."""
        here = self.whole(symbol, at)
        h = self.context.mpf(10) ** -30

        def difference(place: list[int]) -> Value:
            if place:
                self.pick(here, place)  # an index outside of its range
            sides = []
            for step in (h, -h):
                moved = [list(row) for row in here] if isinstance(here, list) else here + step
                if isinstance(here, list):
                    row, column = (*place, 1)[:2]
                    moved[row - 1][column - 1] = moved[row - 1][column - 1] + step
                sides.append(_Numbers(self.setting, self.classes, {**self.values, symbol: moved}).value(operand, at))
            return self.each(lambda x: x / (2 * h), _add(sides[0], self.each(lambda x: -x, sides[1])))

        return difference


def _real(number: Any) -> Any:
    """The number; one such as (−1)^(1/3) lies on no side of a kink."""
    if number.imag != 0:
        raise UndefinedError("a number that is not real, where only a real one has a value")
    return number.real


def _add(x: Value, y: Value) -> Value:
    if not isinstance(x, list) and not isinstance(y, list):
        return x + y
    _same_shape(x, y, "+")
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]


def _same_shape(x: Value, y: Value, sign: str) -> None:
    if not isinstance(x, list) or not isinstance(y, list) or (len(x), len(x[0])) != (len(y), len(y[0])):
        raise MisfitError(f"the sides of {sign} have different dimensions")
