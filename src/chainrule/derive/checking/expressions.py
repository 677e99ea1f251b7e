"""An expression as SymPy's, for a number of classes and values of the free indices."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.activations import LEAKY_SLOPE
from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.indices import range_of
from chainrule.derive.checking.polynomials import Effort, GivenUpError
from chainrule.derive.checking.shapes import fold_product
from chainrule.derive.patterns import PATTERN_INDEX, vector_pattern
from chainrule.derive.setting import MisfitError, Places, Setting, UndefinedError
from chainrule.errors import InputError

sympy = require("sympy", "derive")

__all__ = ["expression_of", "symbols_of"]

_LARGEST_DIFFERENTIATED = 5000  # parts of an expression
_LARGEST_POWER = 10_000  # bits of a power of a number


def expression_of(node: s.Node, setting: Setting, classes: int, at: Mapping[str, int], effort: Effort) -> Any:
    """An expression in SymPy, for a number of classes and values of the free indices: a scalar, or a matrix.

    Raises
    ------
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> expression_of(s.Indexed("ŷ", ("i",)), OUTPUT_LAYER, 2, {"i": 1}, Effort(5))
    exp(a_L1)/(exp(a_L1) + exp(a_L2))
    """
    return _Evaluator(setting, classes, symbols_of(setting, classes), effort).value(node, dict(at))


@functools.lru_cache(maxsize=64)
def symbols_of(setting: Setting, classes: int) -> Mapping[str, Any]:
    """A symbol for each element of each free name. The last element of a simplex is 1 less the others.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> symbols_of(OUTPUT_LAYER, 2)["a_L"]
    Matrix([
    [a_L1],
    [a_L2]])
    """
    values: dict[str, Any] = {}
    for symbol, free in setting.free.items():
        axes = setting.axes(symbol, classes)
        positive = {"real": True} if free.domain in ("real", "nonzero") else {"positive": True}
        if not axes:
            values[symbol] = sympy.Symbol(symbol, **positive)
            continue
        rows, columns = (*axes, 1)[:2]
        names = [
            [f"{symbol}{r}" + (f",{c}" if len(axes) == 2 else "") for c in _from_one(columns)] for r in _from_one(rows)
        ]
        matrix = sympy.Matrix([[sympy.Symbol(name, **positive) for name in row] for row in names])
        if free.domain == "simplex":
            matrix[rows - 1, 0] = 1 - sum(matrix[: rows - 1, 0], sympy.S.Zero)
        values[symbol] = matrix.as_immutable()
    return values


def _from_one(count: int) -> range:
    return range(1, count + 1)


# --- From nodes to SymPy ----------------------------------------------------------------------------------------------


def _opaque(name: str, derivative: Callable[[Any], Any]) -> Any:
    """A function of which only the derivative is known."""

    def fdiff(self: Any, argindex: int = 1) -> Any:
        return derivative(self.args[0])

    return type(name, (sympy.Function,), {"fdiff": fdiff, "is_real": True})


@functools.cache
def _g(order: int) -> Any:
    """Any activation g, and its derivatives g', g'' …"""
    return _opaque("g" + "p" * order, lambda x: _g(order + 1)(x))


@functools.cache
def _normal() -> tuple[Any, Any]:
    """The density φ of the normal distribution and its integral Φ: Φ' = φ and φ'(x) = −x φ(x)."""
    density = _opaque("phi", lambda x: -x * density(x))
    return density, _opaque("Phi", lambda x: density(x))


@functools.cache
def _step() -> Any:
    """1 for numbers above 0, 0 for those below. Its derivative is 0, but at the jump."""
    return _opaque("step", lambda x: sympy.S.Zero)


def _above(x: Any) -> Any:
    """1 where x > 0, 0 where x < 0. Where x is 0 there is a kink, and nothing is said of it."""
    if x.is_positive or x.is_nonpositive:
        return sympy.Integer(int(bool(x.is_positive)))
    return 1 - _step()(-x) if x.could_extract_minus_sign() else _step()(x)


def _kinked(x: Any, slope: Any) -> Any:
    """relu and leaky_relu."""
    above = _above(x)
    return x * above + slope * x * (1 - above)


def _call(name: str, x: Any) -> Any:
    """A function of a number."""
    if name.endswith("'"):
        order = len(name) - len(name.rstrip("'"))
        if name[:-order] == "g":
            return _g(order)(x)
        inside = sympy.Dummy(real=True)
        return sympy.diff(_call(name[:-order], inside), inside, order).xreplace({inside: x})
    exp, log = sympy.exp, sympy.log
    functions: dict[str, Callable[[], Any]] = {
        "exp": lambda: exp(x),
        "log": lambda: log(x),
        "log1p": lambda: log(1 + x),
        "tanh": lambda: (exp(2 * x) - 1) / (exp(2 * x) + 1),
        "σ": lambda: exp(x) / (1 + exp(x)),
        "softplus": lambda: log(1 + exp(x)),
        "silu": lambda: x * exp(x) / (1 + exp(x)),
        "φ": lambda: _normal()[0](x),
        "Φ": lambda: _normal()[1](x),
        "gelu": lambda: x * _normal()[1](x),
        "relu": lambda: _kinked(x, 0),
        "leaky_relu": lambda: _kinked(x, sympy.Rational(str(LEAKY_SLOPE))),
        "identity": lambda: x,
        "g": lambda: _g(0)(x),
    }
    if name not in functions:
        raise InputError(f"{name} is not a function that is known here")
    return functions[name]()


class _Evaluator(Places):
    """Expressions as SymPy's. `values` holds the free names' symbols, and those of a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Mapping[str, Any], effort: Effort) -> None:
        super().__init__(setting, classes, values)
        self.effort = effort

    def value(self, node: s.Node, at: dict[str, int]) -> Any:
        """The expression where the letters have the values `at`."""
        self.effort.spend()
        match node:
            case s.Number(number):
                return sympy.Rational(number.numerator, number.denominator)
            case s.Name("K"):
                return sympy.Integer(self.classes)
            case s.Name(symbol):
                return self._name(symbol, at)
            case s.Indexed(symbol, indices):
                return self._element_of_name(symbol, [self.index(index, at) for index in indices], at)
            case s.Element(vector, indices):
                return _pick(self.value(vector, at), [self.index(index, at) for index in indices])
            case s.Call("softmax", argument):
                return self._softmax(self.value(argument, at))
            case s.Call("diag", argument):
                column = self.value(argument, at)
                return sympy.ImmutableMatrix(sympy.diag(*column)) if _is_matrix(column) else column
            case s.Cases(values, conditions):
                return self._cases(values, conditions, at)
            case s.Call(function, argument):
                return _map(lambda x: _call(function, x), self.value(argument, at))
            case s.Negative(operand):
                return -self.value(operand, at)
            case s.Sum(terms):
                return _added([self.value(term, at) for term in terms])
            case s.Product(factors, signs):
                return fold_product([self.value(factor, at) for factor in factors], signs, _times, _elementwise)
            case s.Quotient(numerator, denominator):
                return self.value(numerator, at) / _nonzero(self.value(denominator, at))
            case s.Power(base, exponent):
                return _raised(self.value(base, at), self.value(exponent, at))
            case s.SumOver(index, body, without):
                left_out = None if without is None else self.index(without, at)
                counted = [n for n in _from_one(range_of(node, self.setting, self.classes)) if n != left_out]
                return _added([self.value(body, {**at, index: n}) for n in counted])
            case s.Indicator(left, right):
                return sympy.Integer(int(self.index(left, at) == self.index(right, at)))
            case s.OneHot(index):
                return sympy.ImmutableMatrix(self.classes, 1, lambda r, _: int(r + 1 == self.index(index, at)))
            case s.Derivative(operand, variable):
                return self._derivative(operand, variable, at)
            case s.Gradient(operand, variable):
                return self._gradient(operand, variable.symbol, at)
            case s.Vector():
                return self._vector(node, at)
            case s.Transpose(operand):
                value = self.value(operand, at)
                return value.T if _is_matrix(value) else value
        raise InputError(f"{type(node).__name__} cannot be checked")

    def _name(self, symbol: str, at: dict[str, int]) -> Any:
        if symbol in self.values:
            return self.values[symbol]
        entry = self.definition(symbol)
        if not entry.indices:
            return self.value(entry.expression, at)
        rows, columns = (*self.setting.axes(symbol, self.classes), 1)[:2]

        def element(r: int, c: int) -> Any:
            return self._element_of_name(symbol, [int(r) + 1, int(c) + 1][: len(entry.indices)], at)

        return sympy.ImmutableMatrix(rows, columns, element)

    def _element_of_name(self, symbol: str, indices: list[int], at: dict[str, int]) -> Any:
        found = self.element(symbol, indices, at)
        return self.value(*found) if found else _pick(self._name(symbol, at), indices)

    def _vector(self, vector: s.Vector, at: dict[str, int]) -> Any:
        pattern = vector_pattern(vector)
        if pattern is None:
            return sympy.ImmutableMatrix(
                [self.value(element, at) for element in vector.elements if element is not None]
            )
        return sympy.ImmutableMatrix([self.value(pattern, {**at, PATTERN_INDEX: n}) for n in _from_one(self.classes)])

    def _cases(self, values: Sequence[s.Node], conditions: Sequence[s.Comparison], at: dict[str, int]) -> Any:
        """Each value times 1 where its condition holds, and 0 where not. Conditions are taken to exclude each other:
        where they do not, the numbers tell."""
        held = [self._held(condition, at) for condition in conditions]
        if len(values) > len(held):
            held.append(1 - sum(held))
        if all(one == 0 for one in held):
            raise UndefinedError("none of the conditions holds")
        return _added([one * self.value(value, at) for value, one in zip(values, held, strict=True) if one != 0])

    def _held(self, condition: s.Comparison, at: dict[str, int]) -> Any:
        if condition.sign in "=≠":
            equal = self.index(condition.left, at) == self.index(condition.right, at)  # type: ignore[arg-type]
            return sympy.Integer(equal == (condition.sign == "="))
        left, right = (self.value(side, at) for side in (condition.left, condition.right))  # type: ignore[arg-type]
        return _above(left - right) if condition.sign == ">" else _above(right - left)

    def _softmax(self, value: Any) -> Any:
        if not _is_matrix(value) or value.cols != 1:
            raise MisfitError("softmax of something that is not a column")
        exponentials = value.applyfunc(sympy.exp)
        return exponentials / sum(exponentials)

    # --- Derivatives: of an expression in which the varied name stands for itself ---

    def _varied(self, operand: s.Node, symbol: str, at: dict[str, int]) -> tuple[Any, Any, dict[Any, Any]]:
        """The operand, the varied name's symbols, and what they are replaced by after differentiation."""
        here = self._name(symbol, at)
        if all(entry.is_Symbol for entry in (here if _is_matrix(here) else [here])):
            return self.value(operand, at), here, {}
        if _is_matrix(here):
            fresh = sympy.ImmutableMatrix(
                here.rows, here.cols, lambda r, c: sympy.Dummy(f"{symbol}{r}{c}", positive=True)
            )
            back = dict(zip(fresh, here, strict=True))
        else:
            fresh = sympy.Dummy(symbol, real=True)
            back = {fresh: here}
        inside = _Evaluator(self.setting, self.classes, {**self.values, symbol: fresh}, self.effort)
        return inside.value(operand, at), fresh, back

    def _diff(self, value: Any, by: Any) -> Any:
        parts = itertools.islice(sympy.preorder_traversal(value), _LARGEST_DIFFERENTIATED + 1)
        if sum(1 for _ in parts) > _LARGEST_DIFFERENTIATED:
            raise GivenUpError
        self.effort.spend()
        return sympy.diff(value, by)

    def _derivative(self, operand: s.Node, variable: s.Node, at: dict[str, int]) -> Any:
        if isinstance(variable, s.Indexed):
            value, symbols, back = self._varied(operand, variable.symbol, at)
            by = _pick(symbols, [self.index(index, at) for index in variable.indices])
            return _replaced(self._diff(value, by), back)
        if not isinstance(variable, s.Name):
            raise InputError("a derivative is taken with respect to a name or an element of one")
        axes = self.setting.axes(variable.symbol, self.classes)
        if len(axes) == 2:
            return self._gradient(operand, variable.symbol, at)
        value, symbols, back = self._varied(operand, variable.symbol, at)
        if not axes:
            return _replaced(self._diff(value, symbols), back)
        column = value if _is_matrix(value) else sympy.ImmutableMatrix([value])
        jacobian = sympy.ImmutableMatrix(column.rows, axes[0], lambda r, c: self._diff(column[r, 0], symbols[c, 0]))
        return _replaced(jacobian, back)

    def _gradient(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Any:
        value, symbols, back = self._varied(operand, symbol, at)
        if not _is_matrix(symbols):
            return _replaced(self._diff(value, symbols), back)
        return _replaced(symbols.applyfunc(lambda by: self._diff(value, by)), back)


def _replaced(value: Any, back: dict[Any, Any]) -> Any:
    return value.xreplace(back) if back else value


def _is_matrix(value: Any) -> bool:
    return isinstance(value, sympy.MatrixBase)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    return value.applyfunc(function) if _is_matrix(value) else function(value)


def _nonzero(divisor: Any) -> Any:
    if divisor == 0:
        raise UndefinedError("a division by zero")
    return divisor


def _raised(base: Any, exponent: Any) -> Any:
    numbers = base.is_Rational and exponent.is_Rational
    if numbers and abs(exponent) * max(int(base.p).bit_length(), int(base.q).bit_length()) > _LARGEST_POWER:
        raise GivenUpError
    return base**exponent


def _pick(value: Any, indices: list[int]) -> Any:
    if not _is_matrix(value) or len(indices) > 2:
        raise MisfitError("an element of a number")
    if len(indices) == 1:
        if 1 not in value.shape:
            return value[indices[0] - 1, :].T
        indices = [indices[0], 1] if value.cols == 1 else [1, indices[0]]
    if not all(1 <= index <= length for index, length in zip(indices, value.shape, strict=True)):
        raise MisfitError(f"index {indices[0]} is outside of 1 … {value.rows}")
    return value[indices[0] - 1, indices[1] - 1]


def _added(values: list[Any]) -> Any:
    if not any(_is_matrix(value) for value in values):
        return sympy.Add(*values)
    if not all(_is_matrix(value) and value.shape == values[0].shape for value in values):
        raise MisfitError("terms of different dimensions are added")
    return functools.reduce(lambda x, y: x + y, values)


def _elementwise(x: Any, y: Any) -> Any:
    if not _is_matrix(x) and not _is_matrix(y):
        return x * y
    if not (_is_matrix(x) and _is_matrix(y) and x.shape == y.shape):
        raise MisfitError("the sides of ⊙ have different dimensions")
    return x.multiply_elementwise(y)


def _times(x: Any, y: Any, sign: str) -> Any:
    if not (_is_matrix(x) and _is_matrix(y)):
        return x * y
    if x.cols == y.rows:
        product = x * y
        return product[0, 0] if product.shape == (1, 1) else product
    if sign == "·" and x.shape == y.shape and x.cols == 1:
        return (x.T * y)[0, 0]
    raise MisfitError("the factors of a product have different dimensions")
