"""Rows and columns: the shape of an expression, and whether its parts fit each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from chainrule.derive import syntax as s
from chainrule.derive.setting import MisfitError, Setting
from chainrule.errors import InputError

__all__ = ["Shape", "fold_product", "shape_of", "shape_words"]

Shape = tuple[int, int] | None  # rows and columns; None for a number
Value = TypeVar("Value")


def shape_of(node: s.Node, setting: Setting, classes: int) -> Shape:
    """The rows and columns of an expression, or None for a number.

    Raises
    ------
    MisfitError
        Parts of it do not fit each other.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> from chainrule.derive.syntax import Name, Negative, OneHot, Sum
    >>> shape_of(Sum((OneHot("ℓ"), Negative(Name("ŷ")))), OUTPUT_LAYER, 3)
    (3, 1)
    """

    def of(part: s.Node) -> Shape:
        return shape_of(part, setting, classes)

    match node:
        case s.Indicator(left, right):
            _require_indices((left, right), max(classes, *setting.lengths.values(), 1))
            return None
        case s.Name("K") | s.Number():
            return None
        case s.Name(symbol):
            return _axes_shape(setting.axes(symbol, classes))
        case s.Indexed(symbol, indices):
            axes = setting.axes(symbol, classes)
            if len(indices) > len(axes):
                raise MisfitError(f"{symbol} has {len(axes)} axes and {len(indices)} indices")
            return _axes_shape(axes[len(indices) :])
        case s.Call("diag", argument):
            shape = of(argument)
            if shape is None or shape[1] != 1:
                raise MisfitError(f"diag of {shape_words(shape)}")
            return (shape[0], shape[0])
        case s.Element(vector, indices):
            shape = of(vector)
            if shape is None or len(indices) != (1 if 1 in shape else 2):
                raise MisfitError(f"{shape_words(shape)} has no element with {len(indices)} indices")
            return None
        case s.Negative(operand) | s.Call(_, operand):
            return of(operand)
        case s.Sum(terms):
            return _one_shape([of(term) for term in terms], "are added")
        case s.Cases(values, conditions):
            for condition in conditions:
                _require_indices((condition.left, condition.right), max(classes, *setting.lengths.values(), 1))
                for side in s.parts(condition):
                    if of(side) is not None:
                        raise MisfitError(f"{shape_words(of(side))} is compared with a number")
            return _one_shape([of(value) for value in values], "are the values of one name")
        case s.Product(factors, signs):
            return fold_product([of(factor) for factor in factors], signs, _times_shape, _elementwise_shape)
        case s.Quotient(numerator, denominator):
            if of(denominator) is not None:
                raise MisfitError(f"a division by {shape_words(of(denominator))}")
            return of(numerator)
        case s.Power(base, exponent):
            if of(base) is not None or of(exponent) is not None:
                raise MisfitError("a power of a vector, or to a vector")
            return None
        case s.SumOver(_, body):
            return of(body)
        case s.OneHot(index):
            _require_indices((index,), classes)
            return (classes, 1)
        case s.Derivative(operand, variable):
            return _derivative_shape(of(operand), of(variable))
        case s.Gradient(operand, variable):
            if of(operand) is not None:
                raise MisfitError(f"a gradient of {shape_words(of(operand))}; it is taken of a number")
            return of(variable)
        case s.Vector(elements):
            if any(element is not None and of(element) is not None for element in elements):
                raise MisfitError("an element of a vector is a vector")
            return (classes if None in elements else len(elements), 1)
        case s.Transpose(operand):
            shape = of(operand)
            return None if shape is None else (shape[1], shape[0])
    raise InputError(f"{type(node).__name__} cannot be checked")


def _require_indices(indices: Sequence[s.Node | s.Index], largest: int) -> None:
    for index in indices:
        if isinstance(index, int) and index > largest:
            raise MisfitError(f"index {index} is outside of 1 … {largest}")


def _one_shape(shapes: Sequence[Shape], what: str) -> Shape:
    for shape in shapes[1:]:
        if shape != shapes[0]:
            raise MisfitError(f"{shape_words(shapes[0])} and {shape_words(shape)} {what}")
    return shapes[0]


def _axes_shape(axes: tuple[int, ...]) -> Shape:
    return None if not axes else (axes[0], 1) if len(axes) == 1 else (axes[0], axes[1])


def _derivative_shape(operand: Shape, variable: Shape) -> Shape:
    if variable is None:
        return operand
    if operand is None:
        return variable if variable[1] != 1 else (1, variable[0])  # a row, so that the chain rule is a product
    if operand[1] == 1 and variable[1] == 1:
        return (operand[0], variable[0])
    raise MisfitError(f"a derivative of {shape_words(operand)} w.r.t. {shape_words(variable)}")


def _times_shape(x: Shape, y: Shape, sign: str) -> Shape:
    if x is None or y is None:
        return y if x is None else x
    if x[1] == y[0]:
        return None if (x[0], y[1]) == (1, 1) else (x[0], y[1])
    if sign == "·" and x == y and x[1] == 1:
        return None  # the dot product of two columns
    raise MisfitError(f"{shape_words(x)} times {shape_words(y)}")


def _elementwise_shape(x: Shape, y: Shape) -> Shape:
    if x != y:
        raise MisfitError(f"{shape_words(x)} ⊙ {shape_words(y)}")
    return x


def fold_product(
    values: Sequence[Value],
    signs: Sequence[str],
    times: Callable[[Value, Value, str], Value],
    elementwise: Callable[[Value, Value], Value],
) -> Value:
    """A product of several factors. Products of matrices bind tighter than ⊙: Wᵀg ⊙ h is (Wᵀg) ⊙ h; where that does
    not fit, it is taken from left to right.

    Examples
    --------
    >>> fold_product(["a", "b", "c"], ["⊙", ""], lambda x, y, _: f"({x}{y})", lambda x, y: f"({x}⊙{y})")
    '(a⊙(bc))'
    """
    signs = [*signs, *[""] * (len(values) - 1 - len(signs))]
    try:
        groups = [values[0]]
        for value, sign in zip(values[1:], signs, strict=True):
            if sign == "⊙":
                groups.append(value)
            else:
                groups[-1] = times(groups[-1], value, sign)
        result = groups[0]
        for group in groups[1:]:
            result = elementwise(result, group)
        return result
    except MisfitError:
        if "⊙" not in signs:
            raise
    result = values[0]
    for value, sign in zip(values[1:], signs, strict=True):
        result = elementwise(result, value) if sign == "⊙" else times(result, value, sign)
    return result


def shape_words(shape: Shape) -> str:
    if shape is None:
        return "a number"
    rows, columns = shape
    if columns == 1:
        return f"a column of {rows}"
    return f"a row of {columns}" if rows == 1 else f"a matrix of {rows} by {columns}"
