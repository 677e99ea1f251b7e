"""An expression as SymPy's, for a number of classes and values of the free indices."""

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
from chainrule.derive.checking.polynomials import Effort, GivenUpError
from chainrule.derive.setting import MisfitError, Setting, UndefinedError
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
    return _Symbols(setting, classes, symbols_of(setting, classes), effort).value(node, dict(at))


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


class _Symbols(Evaluator):
    """Expressions as SymPy's. `values` holds the free names' symbols, and those of a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Mapping[str, Any], effort: Effort) -> None:
        super().__init__(setting, classes, values)
        self.effort = effort

    def value(self, node: s.Node, at: dict[str, int]) -> Any:
        self.effort.spend()
        return super().value(node, at)

    def number(self, number: Fraction) -> Any:
        return sympy.Rational(number.numerator, number.denominator)

    def matrix(self, rows: list[list[Any]]) -> Any:
        return sympy.ImmutableMatrix(rows)

    def rows(self, value: Any) -> list[list[Any]] | None:
        return value.tolist() if _is_matrix(value) else None

    def function(self, name: str) -> Callable[[Any], Any]:
        return lambda x: _call(name, x)

    def added(self, values: list[Any]) -> Any:
        if not any(_is_matrix(value) for value in values):
            return sympy.Add(*values)
        if not all(_is_matrix(value) and value.shape == values[0].shape for value in values):
            raise MisfitError("terms of different dimensions are added")
        return functools.reduce(lambda x, y: x + y, values)

    def elementwise(self, x: Any, y: Any) -> Any:
        if not _is_matrix(x) and not _is_matrix(y):
            return x * y
        if not (_is_matrix(x) and _is_matrix(y) and x.shape == y.shape):
            raise MisfitError("the sides of ⊙ have different dimensions")
        return x.multiply_elementwise(y)

    def times(self, x: Any, y: Any, sign: str) -> Any:
        if not (_is_matrix(x) and _is_matrix(y)):
            return x * y
        if x.cols == y.rows:
            product = x * y
            return product[0, 0] if product.shape == (1, 1) else product
        if sign == "·" and x.shape == y.shape and x.cols == 1:
            return (x.T * y)[0, 0]
        raise MisfitError("the factors of a product have different dimensions")

    def power(self, base: Any, exponent: Any) -> Any:
        numbers = base.is_Rational and exponent.is_Rational
        if numbers and abs(exponent) * max(int(base.p).bit_length(), int(base.q).bit_length()) > _LARGEST_POWER:
            raise GivenUpError
        return base**exponent

    def greater(self, left: Any, right: Any) -> Any:
        return _above(left - right)

    def cases(self, values: Sequence[s.Node], conditions: Sequence[s.Comparison], at: dict[str, int]) -> Any:
        """Each value times 1 where its condition holds, and 0 where not. Conditions are taken to exclude each other:
        where they do not, the numbers tell."""
        held = [self.holds(condition, at) for condition in conditions]
        if len(values) > len(held):
            held.append(1 - sum(held))
        if all(one == 0 for one in held):
            raise UndefinedError("none of the conditions holds")
        return self.added([one * self.value(value, at) for value, one in zip(values, held, strict=True) if one != 0])

    def slope(self, operand: s.Node, symbol: str, at: dict[str, int]) -> Callable[[list[int]], Any]:
        """Of the operand as an expression in which the varied name stands for itself."""
        here = self.whole(symbol, at)
        by, inside, back = here, self, {}
        if not all(entry.is_Symbol for entry in (here if _is_matrix(here) else [here])):
            if _is_matrix(here):
                by = sympy.ImmutableMatrix(*here.shape, lambda r, c: sympy.Dummy(f"{symbol}{r}{c}", positive=True))
                back = dict(zip(by, here, strict=True))
            else:
                by = sympy.Dummy(symbol, real=True)
                back = {by: here}
            inside = _Symbols(self.setting, self.classes, {**self.values, symbol: by}, self.effort)
        value = inside.value(operand, at)

        def slope(place: list[int]) -> Any:
            variable = self.pick(by, place) if place else by
            return self.each(lambda x: self._diff(x, variable).xreplace(back), value)

        return slope

    def _diff(self, value: Any, by: Any) -> Any:
        parts = itertools.islice(sympy.preorder_traversal(value), _LARGEST_DIFFERENTIATED + 1)
        if sum(1 for _ in parts) > _LARGEST_DIFFERENTIATED:
            raise GivenUpError
        self.effort.spend()
        return sympy.diff(value, by)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, sympy.MatrixBase)
