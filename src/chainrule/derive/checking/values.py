"""The value of an expression at one point, by mpmath's numbers of 160 digits.

A derivative is a central difference: with h = 10⁻³⁰ what is cut off is of the order of h², 10⁻⁶⁰, and three of them
within each other still leave 160 − 3·30 digits of rounding.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.activations import LEAKY_SLOPE
from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.indices import free_indices, range_of
from chainrule.derive.checking.shapes import fold_product
from chainrule.derive.patterns import PATTERN_INDEX, vector_pattern
from chainrule.derive.setting import MisfitError, Places, Setting, UndefinedError
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
        value = _Evaluator(setting, classes, point).value(node, dict(at))
    except ZeroDivisionError:
        raise UndefinedError("a division by zero") from None
    for number in entries_of(value):
        if not context().isfinite(number):
            raise UndefinedError("a value is not finite: a logarithm of zero, or a division by it")
    return value


def entries_of(value: Value) -> list[Any]:
    return [entry for row in value for entry in row] if isinstance(value, list) else [value]


class _Evaluator(Places):
    """Values of expressions at one point. `values` holds the free names, and a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Point) -> None:
        super().__init__(setting, classes, values)
        self.context = context()
        self.names: dict[str, s.Name] = {}
        self.letters: dict[int, tuple[str, ...]] = {}
        # By the node's identity and its letters' values. The node is kept: an identity is used again after its end.
        self.known: dict[tuple[int, tuple[int | None, ...]], tuple[s.Node, Value]] = {}

    def value(self, node: s.Node, at: dict[str, int]) -> Value:
        """The value where the letters have the values `at`."""
        if not isinstance(node, (s.SumOver, s.Name, s.Call, s.Gradient, s.Derivative)):
            return self._compute(node, at)
        if id(node) not in self.letters:
            self.letters[id(node)] = tuple(free_indices([node], self.setting, self.classes))
        key = (id(node), tuple(at.get(letter) for letter in (*self.letters[id(node)], PATTERN_INDEX)))
        if key not in self.known:
            self.known[key] = (node, self._compute(node, at))
        return self.known[key][1]

    def _compute(self, node: s.Node, at: dict[str, int]) -> Value:
        match node:
            case s.Number(number):
                return self.context.mpf(number.numerator) / number.denominator
            case s.Name("K"):
                return self.context.mpf(self.classes)
            case s.Name(symbol):
                return self._name(symbol, at)
            case s.Indexed(symbol, indices):
                return self._element_of_name(symbol, [self.index(index, at) for index in indices], at)
            case s.Element(vector, indices):
                return _pick(self.value(vector, at), [self.index(index, at) for index in indices])
            case s.Call("softmax", argument):
                return self._softmax(self.value(argument, at))
            case s.Call("diag", argument):
                column = _column(self.value(argument, at), "diag")
                zero = self.context.mpf(0)
                return [[row[0] if r == c else zero for c in range(len(column))] for r, row in enumerate(column)]
            case s.Cases(values, conditions):
                return self._cases(values, conditions, at)
            case s.Call(function, argument):
                return _each(self._function(function), self.value(argument, at))
            case s.Negative(operand):
                return _each(lambda x: -x, self.value(operand, at))
            case s.Sum(terms):
                return functools.reduce(_add, [self.value(term, at) for term in terms])
            case s.Product(factors, signs):
                return fold_product([self.value(factor, at) for factor in factors], signs, _times, _elementwise)
            case s.Quotient(numerator, denominator):
                divisor = self.value(denominator, at)
                return _each(lambda x: x / divisor, self.value(numerator, at))
            case s.Power(base, exponent):
                return self._power(self.value(base, at), self.value(exponent, at))
            case s.SumOver():
                return self._sum_over(node, at)
            case s.Indicator(left, right):
                return self.context.mpf(self.index(left, at) == self.index(right, at))
            case s.OneHot(index):
                place = self.index(index, at)
                return [[self.context.mpf(n == place)] for n in range(1, self.classes + 1)]
            case s.Derivative(operand, variable):
                return self._derivative(operand, variable, at)
            case s.Gradient(operand, variable):
                return self._gradient(operand, variable.symbol, at)
            case s.Vector():
                return self._vector(node, at)
            case s.Transpose(operand):
                value = self.value(operand, at)
                return [list(row) for row in zip(*value, strict=True)] if isinstance(value, list) else value
        raise InputError(f"{type(node).__name__} cannot be checked")

    # --- Names ---

    def _name(self, symbol: str, at: dict[str, int]) -> Value:
        if symbol in self.values:
            return self.values[symbol]
        entry = self.definition(symbol)
        if not entry.indices:
            return self.value(entry.expression, at)
        rows, columns = (*self.setting.axes(symbol, self.classes), 1)[:2]
        return [
            [self._element_of_name(symbol, [r + 1, c + 1][: len(entry.indices)], at) for c in range(columns)]
            for r in range(rows)
        ]

    def _whole(self, symbol: str, at: dict[str, int]) -> Value:
        """All of a name, computed once: the node is the same at every call."""
        return self.value(self.names.setdefault(symbol, s.Name(symbol)), at)

    def _element_of_name(self, symbol: str, indices: list[int], at: dict[str, int]) -> Value:
        found = self.element(symbol, indices, at)
        return self.value(*found) if found else _pick(self._whole(symbol, at), indices)

    # --- Sums, functions and powers ---

    def _sum_over(self, node: s.SumOver, at: dict[str, int]) -> Value:
        without = None if node.without is None else self.index(node.without, at)
        total: Value = None
        for n in range(1, range_of(node, self.setting, self.classes) + 1):
            if n != without:
                term = self.value(node.body, {**at, node.index: n})
                total = term if total is None else _add(total, term)
        return self.context.mpf(0) if total is None else total

    def _vector(self, vector: s.Vector, at: dict[str, int]) -> Matrix:
        pattern = vector_pattern(vector)
        if pattern is None:
            return [[self.value(element, at)] for element in vector.elements if element is not None]
        return [[self.value(pattern, {**at, PATTERN_INDEX: n})] for n in range(1, self.classes + 1)]

    def _cases(self, values: Sequence[s.Node], conditions: Sequence[s.Comparison], at: dict[str, int]) -> Value:
        for value, condition in itertools.zip_longest(values, conditions):
            if condition is None or self._holds(condition, at):
                return self.value(value, at)
        raise UndefinedError("none of the conditions holds")

    def _holds(self, condition: s.Comparison, at: dict[str, int]) -> bool:
        if condition.sign in "=≠":
            equal = self.index(condition.left, at) == self.index(condition.right, at)  # type: ignore[arg-type]
            return equal == (condition.sign == "=")
        left, right = (_real(self.value(side, at)) for side in (condition.left, condition.right))  # type: ignore[arg-type]
        return bool(left > right if condition.sign == ">" else left < right)

    def _softmax(self, value: Value) -> Matrix:
        exponentials = _each(self._exp, _column(value, "softmax"))
        total = sum(row[0] for row in exponentials)
        return [[row[0] / total] for row in exponentials]

    def _exp(self, x: Any) -> Any:
        if abs(x) > _LARGEST_EXPONENT:
            raise UndefinedError("an exponential too large to compute")
        return self.context.exp(x)

    def _power(self, base: Any, exponent: Any) -> Any:
        if abs(exponent) > 100 and base != 0 and abs(exponent * self.context.log(abs(base))) > _LARGEST_EXPONENT:
            raise UndefinedError("a power too large to compute")
        return base**exponent

    def _function(self, name: str) -> Callable[[Any], Any]:
        context, exp = self.context, self._exp
        if name.endswith("'"):
            inner, h = self._function(name[:-1]), context.mpf(10) ** -30
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

    # --- Derivatives ---

    def _derivative(self, operand: s.Node, variable: s.Node, at: dict[str, int]) -> Value:
        if isinstance(variable, s.Indexed):
            places = [[self.index(index, at) for index in variable.indices]]
            return self._difference(operand, variable.symbol, places[0], at)
        if not isinstance(variable, s.Name):
            raise InputError("a derivative is taken with respect to a name or an element of one")
        axes = self.setting.axes(variable.symbol, self.classes)
        if not axes:
            return self._difference(operand, variable.symbol, [], at)
        if len(axes) == 2:
            return self._gradient(operand, variable.symbol, at)
        columns = [entries_of(self._difference(operand, variable.symbol, [n], at)) for n in range(1, axes[0] + 1)]
        return [list(row) for row in zip(*columns, strict=True)]

    def _gradient(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Value:
        axes = self.setting.axes(symbol, self.classes)
        if not axes:
            return self._difference(operand, symbol, [], at)
        rows, columns = (*axes, 1)[:2]
        return [
            [self._difference(operand, symbol, [r, c][: len(axes)], at) for c in range(1, columns + 1)]
            for r in range(1, rows + 1)
        ]

    def _difference(self, operand: s.Node, symbol: str, place: list[int], at: dict[str, int]) -> Value:
        """(E(x + h) − E(x − h)) / 2h, where x is one element of a name, and the other elements are held fixed."""
        here = self._whole(symbol, at)
        if place:
            _pick(here, place)  # an index outside of its range
        h = self.context.mpf(10) ** -30
        sides = []
        for step in (h, -h):
            moved = [list(row) for row in here] if isinstance(here, list) else here + step
            if isinstance(here, list):
                row, column = (*place, 1)[:2]
                moved[row - 1][column - 1] = moved[row - 1][column - 1] + step
            sides.append(_Evaluator(self.setting, self.classes, {**self.values, symbol: moved}).value(operand, at))
        return _each(lambda x: x / (2 * h), _add(sides[0], _each(lambda x: -x, sides[1])))


# --- Numbers and matrices ---------------------------------------------------------------------------------------------


def _real(number: Any) -> Any:
    """The number; one such as (−1)^(1/3) lies on no side of a kink."""
    if number.imag != 0:
        raise UndefinedError("a number that is not real, where only a real one has a value")
    return number.real


def _each(function: Callable[[Any], Any], value: Value) -> Value:
    return [[function(entry) for entry in row] for row in value] if isinstance(value, list) else function(value)


def _column(value: Value, what: str) -> Matrix:
    if not isinstance(value, list) or any(len(row) != 1 for row in value):
        raise MisfitError(f"{what} of something that is not a column")
    return value


def _pick(value: Value, indices: list[int]) -> Value:
    """An element of a column, row or matrix; with one index, a row of a matrix, as a column."""
    if not isinstance(value, list) or len(indices) > 2:
        raise MisfitError("an element of a number")
    rows, columns = len(value), len(value[0])
    if len(indices) == 1 and rows == 1:
        indices = [1, indices[0]]
    elif len(indices) == 1 and columns == 1:
        indices = [indices[0], 1]
    row, column = (*indices, 1)[:2]
    if not (1 <= row <= rows and 1 <= column <= columns):
        raise MisfitError(f"index {indices[0]} is outside of 1 … {rows}")
    return [[entry] for entry in value[row - 1]] if len(indices) == 1 else value[row - 1][column - 1]


def _add(x: Value, y: Value) -> Value:
    if not isinstance(x, list) and not isinstance(y, list):
        return x + y
    _same_shape(x, y, "+")
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]


def _elementwise(x: Value, y: Value) -> Value:
    if not isinstance(x, list) and not isinstance(y, list):
        return x * y
    _same_shape(x, y, "⊙")
    return [[a * b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]


def _same_shape(x: Value, y: Value, sign: str) -> None:
    if not isinstance(x, list) or not isinstance(y, list) or (len(x), len(x[0])) != (len(y), len(y[0])):
        raise MisfitError(f"the sides of {sign} have different dimensions")


def _times(x: Value, y: Value, sign: str) -> Value:
    if not isinstance(x, list):
        return _each(lambda entry: x * entry, y)
    if not isinstance(y, list):
        return _each(lambda entry: entry * y, x)
    if len(x[0]) != len(y):
        if sign == "·" and len(x) == len(y) and len(x[0]) == len(y[0]) == 1:
            return sum(a[0] * b[0] for a, b in zip(x, y, strict=True))
        raise MisfitError("the factors of a product have different dimensions")
    result = [[sum(a * b[n] for a, b in zip(row, y, strict=True)) for n in range(len(y[0]))] for row in x]
    return result[0][0] if len(result) == len(result[0]) == 1 else result
