"""The walk over an expression that both ways of checking take: by SymPy's symbols, and by mpmath's numbers.

What is found on the way is put together by each way's own arithmetic, so that a mistake in one is not the other's.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from chainrule.derive import syntax as s
from chainrule.derive.checking.indices import range_of
from chainrule.derive.checking.shapes import fold_product
from chainrule.derive.patterns import PATTERN_INDEX, vector_pattern
from chainrule.derive.setting import MisfitError, Setting, UndefinedError
from chainrule.errors import InputError

__all__ = ["Evaluator"]


class Evaluator(ABC):
    """Values of expressions: numbers, and matrices of them. `values` holds those of the free names, and of a defined
    one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Mapping[str, Any]) -> None:
        self.setting = setting
        self.classes = classes
        self.values = values
        self.names: dict[str, s.Name] = {}

    def value(self, node: s.Node, at: dict[str, int]) -> Any:
        """The value of an expression where the letters have the values `at`."""
        match node:
            case s.Number(number):
                return self.number(number)
            case s.Name("K"):
                return self.number(Fraction(self.classes))
            case s.Name(symbol):
                return self._name(symbol, at)
            case s.Indexed(symbol, indices):
                return self._element_of_name(symbol, [self.index(index, at) for index in indices], at)
            case s.Element(vector, indices):
                return self.pick(self.value(vector, at), [self.index(index, at) for index in indices])
            case s.Call("softmax", argument):
                return self._softmax(self.value(argument, at))
            case s.Call("diag", argument):
                column, zero = self._column(self.value(argument, at), "diag"), self.number(Fraction(0))
                return self.matrix([[x if r == c else zero for c in range(len(column))] for r, x in enumerate(column)])
            case s.Cases(values, conditions):
                return self.cases(values, conditions, at)
            case s.Call(function, argument):
                return self.each(self.function(function), self.value(argument, at))
            case s.Negative(operand):
                return self.each(operator.neg, self.value(operand, at))
            case s.Sum(terms):
                return self.added([self.value(term, at) for term in terms])
            case s.Product(factors, signs):
                return fold_product([self.value(one, at) for one in factors], signs, self.times, self.elementwise)
            case s.Quotient(numerator, denominator):
                return self._divided(self.value(numerator, at), self.value(denominator, at))
            case s.Power(base, exponent):
                return self.power(self.value(base, at), self.value(exponent, at))
            case s.SumOver(index, body, without):
                left_out = None if without is None else self.index(without, at)
                counted = range(1, range_of(node, self.setting, self.classes) + 1)
                return self.added([self.value(body, {**at, index: n}) for n in counted if n != left_out])
            case s.Indicator(left, right):
                return self.number(Fraction(self.index(left, at) == self.index(right, at)))
            case s.OneHot(index):
                place = self.index(index, at)
                return self.matrix([[self.number(Fraction(n == place))] for n in range(1, self.classes + 1)])
            case s.Derivative(operand, variable):
                return self._derivative(operand, variable, at)
            case s.Gradient(operand, variable):
                return self._gradient(operand, variable.symbol, at)
            case s.Vector():
                return self._vector(node, at)
            case s.Transpose(operand):
                return self._transposed(self.value(operand, at))
        raise InputError(f"{type(node).__name__} cannot be checked")

    def index(self, index: s.Index, at: Mapping[str, int]) -> int:
        """The number that an index stands for."""
        if isinstance(index, int):
            return index
        if index == "K":
            return self.classes
        if index not in at:
            raise InputError(f"the index {index} has no value")
        return at[index]

    def holds(self, condition: s.Comparison, at: dict[str, int]) -> Any:
        """Whether it does: 1 or 0, or what `greater` makes of it."""
        if condition.sign in "=≠":
            equal = self.index(condition.left, at) == self.index(condition.right, at)  # type: ignore[arg-type]
            return int(equal == (condition.sign == "="))
        left, right = (self.value(side, at) for side in (condition.left, condition.right))  # type: ignore[arg-type]
        return self.greater(left, right) if condition.sign == ">" else self.greater(right, left)

    def whole(self, symbol: str, at: dict[str, int]) -> Any:
        """All of a name; the node is the same at every call."""
        return self.value(self.names.setdefault(symbol, s.Name(symbol)), at)

    def _name(self, symbol: str, at: dict[str, int]) -> Any:
        if symbol in self.values:
            return self.values[symbol]
        entry = self.setting.defined.get(symbol)
        if entry is None:
            raise InputError(f"{symbol} is not a name that is known here")
        if not entry.indices:
            return self.value(entry.expression, at)
        rows, columns = (*self.setting.axes(symbol, self.classes), 1)[:2]
        return self.matrix([
            [self._element_of_name(symbol, [r + 1, c + 1][: len(entry.indices)], at) for c in range(columns)]
            for r in range(rows)
        ])  # fmt: skip

    def _element_of_name(self, symbol: str, indices: list[int], at: dict[str, int]) -> Any:
        """The value that one element stands for; of a name that is free, or whole, it is taken out of that."""
        entry = self.setting.defined.get(symbol)
        if symbol in self.values or entry is None or len(entry.indices) != len(indices):
            return self.pick(self.whole(symbol, at), indices)
        for index, length in zip(indices, self.setting.axes(symbol, self.classes), strict=True):
            if not 1 <= index <= length:
                raise MisfitError(f"index {index} of {symbol} is outside of 1 … {length}")
        return self.value(entry.expression, {**at, **dict(zip(entry.indices, indices, strict=True))})

    def _vector(self, vector: s.Vector, at: dict[str, int]) -> Any:
        pattern = vector_pattern(vector)
        if pattern is None:
            return self.matrix([[self.value(element, at)] for element in vector.elements if element is not None])
        return self.matrix([[self.value(pattern, {**at, PATTERN_INDEX: n})] for n in range(1, self.classes + 1)])

    def _column(self, value: Any, what: str) -> list[Any]:
        rows = self.rows(value)
        if rows is None or any(len(row) != 1 for row in rows):
            raise MisfitError(f"{what} of something that is not a column")
        return [row[0] for row in rows]

    def _softmax(self, value: Any) -> Any:
        exponentials = [self.function("exp")(x) for x in self._column(value, "softmax")]
        return self._divided(self.matrix([[x] for x in exponentials]), self.added(exponentials))

    def _divided(self, value: Any, divisor: Any) -> Any:
        if divisor == 0:
            raise UndefinedError("a division by zero")
        return self.each(lambda x: x / divisor, value)

    def _derivative(self, operand: s.Node, variable: s.Node, at: dict[str, int]) -> Any:
        if isinstance(variable, s.Indexed):
            return self.slope(operand, variable.symbol, at)([self.index(index, at) for index in variable.indices])
        if not isinstance(variable, s.Name):
            raise InputError("a derivative is taken with respect to a name or an element of one")
        axes = self.setting.axes(variable.symbol, self.classes)
        if len(axes) != 1:
            return self._gradient(operand, variable.symbol, at)
        slope = self.slope(operand, variable.symbol, at)
        found = [slope([n]) for n in range(1, axes[0] + 1)]
        columns = [[x] if (rows := self.rows(x)) is None else [y for row in rows for y in row] for x in found]
        return self.matrix([list(row) for row in zip(*columns, strict=True)])

    def _gradient(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Any:
        axes, slope = self.setting.axes(symbol, self.classes), self.slope(operand, symbol, at)
        if not axes:
            return slope([])
        rows, columns = (*axes, 1)[:2]
        places = [[[r, c][: len(axes)] for c in range(1, columns + 1)] for r in range(1, rows + 1)]
        return self.matrix([[slope(place) for place in row] for row in places])

    # --- Matrices, as their rows ---

    def each(self, function: Callable[[Any], Any], value: Any) -> Any:
        """A function of a number, or of each in a matrix."""
        rows = self.rows(value)
        return function(value) if rows is None else self.matrix([[function(x) for x in row] for row in rows])

    def pick(self, value: Any, indices: list[int]) -> Any:
        """An element of a column, row or matrix; with one index, a row of a matrix, as a column."""
        rows = self.rows(value)
        if rows is None or len(indices) > 2:
            raise MisfitError("an element of a number")
        if len(indices) == 1 and len(rows) == 1:
            indices = [1, indices[0]]
        elif len(indices) == 1 and len(rows[0]) == 1:
            indices = [indices[0], 1]
        row, column = (*indices, 1)[:2]
        if not (1 <= row <= len(rows) and 1 <= column <= len(rows[0])):
            raise MisfitError(f"index {indices[0]} is outside of 1 … {len(rows)}")
        return self.matrix([[x] for x in rows[row - 1]]) if len(indices) == 1 else rows[row - 1][column - 1]

    def _transposed(self, value: Any) -> Any:
        rows = self.rows(value)
        return value if rows is None else self.matrix([list(column) for column in zip(*rows, strict=True)])

    # --- Each way's own arithmetic ---

    @abstractmethod
    def number(self, number: Fraction) -> Any: ...
    @abstractmethod
    def matrix(self, rows: list[list[Any]]) -> Any: ...
    @abstractmethod
    def rows(self, value: Any) -> list[list[Any]] | None:
        """The rows of a matrix; None of a number."""

    @abstractmethod
    def function(self, name: str) -> Callable[[Any], Any]: ...
    @abstractmethod
    def added(self, values: list[Any]) -> Any: ...
    @abstractmethod
    def times(self, x: Any, y: Any, sign: str) -> Any: ...
    @abstractmethod
    def elementwise(self, x: Any, y: Any) -> Any: ...
    @abstractmethod
    def power(self, base: Any, exponent: Any) -> Any: ...
    @abstractmethod
    def greater(self, left: Any, right: Any) -> Any: ...
    @abstractmethod
    def cases(self, values: Sequence[s.Node], conditions: Sequence[s.Comparison], at: dict[str, int]) -> Any: ...
    @abstractmethod
    def slope(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Callable[[list[int]], Any]:
        """The derivative by the element of a name that stands at a place; by the whole of a number, at []."""
