"""What the names of a derivation stand for, which of its indices are free, and what has which shape.

Both ways of checking a step, by SymPy and by numbers, need this, and neither computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Any, TypeVar

from chainrule.derive.syntax import (
    Call,
    Cases,
    Comparison,
    Derivative,
    Element,
    Gradient,
    Index,
    Indexed,
    Indicator,
    Name,
    Negative,
    Node,
    Number,
    OneHot,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Transpose,
    Vector,
    parts,
    walk,
)
from chainrule.errors import InputError

__all__ = [
    "HIDDEN_LAYER",
    "LAST_LAYER",
    "OUTPUT_LAYER",
    "PATTERN_INDEX",
    "Defined",
    "Free",
    "MisfitError",
    "Places",
    "Setting",
    "UndefinedError",
    "fold_product",
    "free_indices",
    "names_in",
    "range_of",
    "shape_of",
    "shape_words",
    "vector_pattern",
]

Length = str | int  # "K", a name in Setting.lengths, or a number
Shape = tuple[int, int] | None  # rows and columns; None for a number
Value = TypeVar("Value")

PATTERN_INDEX = "□"  # the index of an element where a vector is written with dots; no reader makes this letter


class MisfitError(InputError):
    """Dimensions that do not fit each other: a vector added to a number, an index outside of its range."""


class UndefinedError(InputError):
    """A side has no value: a division by zero, an infinity, a number too large to compute."""


@dataclass(frozen=True)
class Free:
    """A name that stands for itself. `axes` are the lengths of its axes: none for a number, one for a column, two for a
    matrix of rows and columns. `domain` says which numbers it holds: real, nonzero (of both signs), positive, unit
    (between 0 and 1), or simplex (a column of positive numbers that add up to 1)."""

    axes: tuple[Length, ...] = ()
    domain: str = "real"


@dataclass(frozen=True)
class Defined:
    """A name that stands for an expression. With `indices`, one letter for each axis, the expression is that of one
    element; without, it is the whole."""

    expression: Node
    axes: tuple[Length, ...] = ()
    indices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Setting:
    """What the names of a derivation stand for, and for which numbers of classes it is checked.

    Examples
    --------
    >>> from fractions import Fraction
    >>> squared = Setting(
    ...     free={"y": Free(("K",)), "a_L": Free(("K",))},
    ...     defined={"𝓛": Defined(SumOver("j", Power(Sum((Indexed("a_L", ("j",)), Negative(Indexed("y", ("j",))))),
    ...                                              Number(Fraction(2)))))},
    ... )
    >>> two = Number(Fraction(2))
    >>> after = Product((two, Sum((Indexed("a_L", ("i",)), Negative(Indexed("y", ("i",)))))))
    >>> from chainrule.derive.checking import check_step
    >>> check_step(Derivative(Name("𝓛"), Indexed("a_L", ("i",))), after, squared).follows
    True
    """

    free: Mapping[str, Free]
    defined: Mapping[str, Defined] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    symbolic_classes: tuple[int, ...] = (2, 3, 4)
    numeric_classes: tuple[int, ...] = (2, 5, 50)

    def length(self, length: Length, classes: int) -> int:
        """A length as a number, where there are so many classes."""
        if isinstance(length, int):
            return length
        if length == "K":
            return classes
        if length not in self.lengths:
            raise InputError(f"{length} is not a length that is known here")
        return self.lengths[length]

    def axes(self, symbol: str, classes: int) -> tuple[int, ...]:
        """The lengths of a name's axes."""
        entry: Free | Defined | None = self.defined.get(symbol) or self.free.get(symbol)
        if entry is None:
            raise InputError(f"{symbol} is not a name that is known here")
        return tuple(self.length(axis, classes) for axis in entry.axes)


OUTPUT_LAYER = Setting(
    free={"a_L": Free(("K",))},
    defined={
        "ŷ": Defined(Call("softmax", Name("a_L")), axes=("K",)),
        "𝓛": Defined(Negative(Call("log", Indexed("ŷ", ("ℓ",))))),
    },
)


def _affine(weights: str, below: str, bias: str) -> Node:
    return Sum((Product((Name(weights), Name(below))), Name(bias)))


# The layer after this one may be any, and so may what the loss makes of it: here log Σ c_j exp(a_j) with any c.
HIDDEN_LAYER = Setting(
    free={
        "h_{k−1}": Free(("D",)),
        "W_k": Free(("U", "D")),
        "b_k": Free(("U",)),
        "W_{k+1}": Free(("K", "U")),
        "b_{k+1}": Free(("K",)),
        "c": Free(("K",), "positive"),
    },
    defined={
        "a_k": Defined(_affine("W_k", "h_{k−1}", "b_k"), ("U",)),
        "h_k": Defined(Call("g", Name("a_k")), ("U",)),
        "a_{k+1}": Defined(_affine("W_{k+1}", "h_k", "b_{k+1}"), ("K",)),
        "𝓛": Defined(
            Call("log", SumOver("j", Product((Indexed("c", ("j",)), Call("exp", Indexed("a_{k+1}", ("j",)))))))
        ),
    },
    lengths={"U": 3, "D": 2},
    symbolic_classes=(2, 3),
    numeric_classes=(2, 5),
)

LAST_LAYER = Setting(
    free={"h_{L−1}": Free(("D",)), "W_L": Free(("K", "D")), "b_L": Free(("K",))},
    defined={"a_L": Defined(_affine("W_L", "h_{L−1}", "b_L"), ("K",)), **OUTPUT_LAYER.defined},
    lengths={"D": 2},
    symbolic_classes=(2, 3),
    numeric_classes=(2, 5),
)


# --- Indices ----------------------------------------------------------------------------------------------------------


def free_indices(nodes: Sequence[Node], setting: Setting, classes: int) -> dict[str, int]:
    """The letters that no Σ and no vector binds, in the order of their appearance, and how far each counts.

    Examples
    --------
    >>> free_indices([Name("𝓛"), SumOver("j", Indexed("ŷ", ("j",))), Indicator("i", 1)], OUTPUT_LAYER, 3)
    {'ℓ': 3, 'i': 3}
    """
    found: dict[str, int | None] = {}
    for node in nodes:
        for letter, length in _uses(node, setting, classes, frozenset()):
            if found.get(letter) is None:
                found[letter] = length
    return {letter: classes if length is None else length for letter, length in found.items()}


def range_of(node: SumOver, setting: Setting, classes: int) -> int:
    """How far a Σ counts: as far as the axis in which its index stands, where the limit is not written as another."""
    if node.limit == "K":
        for letter, length in _uses(node.body, setting, classes, frozenset()):
            if letter == node.index and length is not None:
                return length
    return setting.length(node.limit, classes)


def _uses(node: Node, setting: Setting, classes: int, bound: frozenset[str]) -> Iterator[tuple[str, int | None]]:
    """Each use of a letter that is not bound, with the length of the axis where it stands, if it stands in one."""

    def letters(indices: Sequence[Index | None], lengths: Sequence[int | None]) -> Iterator[tuple[str, int | None]]:
        for index, length in zip(indices, lengths, strict=False):
            if isinstance(index, str) and index != "K" and index not in bound:
                yield index, length

    match node:
        case Indexed(symbol, indices):
            axes = setting.axes(symbol, classes)
            yield from letters(indices, [*axes, *[None] * len(indices)])
            yield from _uses_in_definition(symbol, setting, classes, bound)
        case Name(symbol):
            yield from _uses_in_definition(symbol, setting, classes, bound)
        case Element(vector, indices):
            shape = shape_of(vector, setting, classes)
            lengths = [] if shape is None else list(shape) if len(indices) == 2 else [max(shape)]
            yield from letters(indices, [*lengths, *[None] * len(indices)])
            yield from _uses(vector, setting, classes, bound)
        case Indicator(left, right) | Comparison(left, "=" | "≠", right):
            yield from letters((left, right), (None, None))  # type: ignore[arg-type]  # of "=" the sides are indices
        case OneHot(index):
            yield from letters((index,), (None,))
        case SumOver(index, body, without):
            yield from letters((without,), (None,))
            yield from _uses(body, setting, classes, bound | {index})
        case _:
            yield from _uses_in_parts(node, setting, classes, bound)


def _uses_in_definition(
    symbol: str, setting: Setting, classes: int, bound: frozenset[str]
) -> Iterator[tuple[str, int | None]]:
    entry = setting.defined.get(symbol)
    if entry is not None:
        yield from _uses(entry.expression, setting, classes, bound | set(entry.indices))


def _uses_in_parts(
    node: Node, setting: Setting, classes: int, bound: frozenset[str]
) -> Iterator[tuple[str, int | None]]:
    for part in parts(node):
        yield from _uses(part, setting, classes, bound)


def vector_pattern(vector: Vector) -> Node | None:
    """What stands at index □ of a vector that is written with dots, found from its first and last elements; None where
    no dots are.

    Raises
    ------
    InputError
        The elements do not show a pattern.

    Examples
    --------
    >>> vector_pattern(Vector((Indexed("ŷ", (1,)), None, Indexed("ŷ", ("K",)))))
    Indexed(symbol='ŷ', indices=('□',))
    """
    if None not in vector.elements:
        return None
    at = vector.elements.index(None)
    before = [element for element in vector.elements[:at] if element is not None]
    after = [element for element in vector.elements[at:] if element is not None]
    if not before or len(after) != 1 or vector.elements.count(None) != 1:
        raise InputError("a vector with dots is written as its first elements, dots, and its last element")
    pattern: Node | None = _common(before[0], after[0])
    for n, element in enumerate(before, start=1):
        if pattern is None or _at_index(pattern, n) != element:
            raise InputError(
                f"element {n if pattern else 'K'} of the vector does not continue what its first one begins"
            )
    return pattern


def _common(first: Any, last: Any) -> Any:
    """What both are an instance of, with □ where the first has 1 and the last has K; None where there is no such."""
    if first == 1 and last == "K" and isinstance(first, int):
        return PATTERN_INDEX
    if isinstance(first, tuple) and isinstance(last, tuple) and len(first) == len(last):
        parts = tuple(_common(f, g) if f is not None else None for f, g in zip(first, last, strict=True))
        return None if any(p is None and f is not None for p, f in zip(parts, first, strict=True)) else parts
    if isinstance(first, Node) and type(first) is type(last):
        values = {}
        for one in fields_of(first):  # type: ignore[arg-type]
            f, g = getattr(first, one.name), getattr(last, one.name)
            values[one.name] = _common(f, g)
            if values[one.name] is None and not (f is None and g is None):
                return None
        return type(first)(**values)
    return first if first == last and type(first) is type(last) else None


def _at_index(pattern: Any, n: Index) -> Any:
    if pattern == PATTERN_INDEX:
        return n
    if isinstance(pattern, tuple):
        return tuple(_at_index(part, n) for part in pattern)
    if isinstance(pattern, Node):
        values = {one.name: _at_index(getattr(pattern, one.name), n) for one in fields_of(pattern)}  # type: ignore[arg-type]
        return type(pattern)(**values)
    return pattern


# --- Shapes -----------------------------------------------------------------------------------------------------------


def shape_of(node: Node, setting: Setting, classes: int) -> Shape:
    """The rows and columns of an expression, or None for a number.

    Raises
    ------
    MisfitError
        Parts of it do not fit each other.

    Examples
    --------
    >>> shape_of(Sum((OneHot("ℓ"), Negative(Name("ŷ")))), OUTPUT_LAYER, 3)
    (3, 1)
    """

    def of(part: Node) -> Shape:
        return shape_of(part, setting, classes)

    match node:
        case Name("K") | Number() | Indicator():
            return None
        case Name(symbol):
            return _axes_shape(setting.axes(symbol, classes))
        case Indexed(symbol, indices):
            axes = setting.axes(symbol, classes)
            if len(indices) > len(axes):
                raise MisfitError(f"{symbol} has {len(axes)} axes and {len(indices)} indices")
            return _axes_shape(axes[len(indices) :])
        case Call("diag", argument):
            shape = of(argument)
            if shape is None or shape[1] != 1:
                raise MisfitError(f"diag of {shape_words(shape)}")
            return (shape[0], shape[0])
        case Element(vector, indices):
            shape = of(vector)
            if shape is None or len(indices) != (1 if 1 in shape else 2):
                raise MisfitError(f"{shape_words(shape)} has no element with {len(indices)} indices")
            return None
        case Negative(operand) | Call(_, operand):
            return of(operand)
        case Sum(terms):
            return _one_shape([of(term) for term in terms], "are added")
        case Cases(values, conditions):
            for condition in conditions:
                for side in parts(condition):
                    if of(side) is not None:
                        raise MisfitError(f"{shape_words(of(side))} is compared with a number")
            return _one_shape([of(value) for value in values], "are the values of one name")
        case Product(factors, signs):
            return fold_product([of(factor) for factor in factors], signs, _times_shape, _elementwise_shape)
        case Quotient(numerator, denominator):
            if of(denominator) is not None:
                raise MisfitError(f"a division by {shape_words(of(denominator))}")
            return of(numerator)
        case Power(base, exponent):
            if of(base) is not None or of(exponent) is not None:
                raise MisfitError("a power of a vector, or to a vector")
            return None
        case SumOver(_, body):
            return of(body)
        case OneHot():
            return (classes, 1)
        case Derivative(operand, variable):
            return _derivative_shape(of(operand), of(variable))
        case Gradient(operand, variable):
            if of(operand) is not None:
                raise MisfitError(f"a gradient of {shape_words(of(operand))}; it is taken of a number")
            return of(variable)
        case Vector(elements):
            if any(element is not None and of(element) is not None for element in elements):
                raise MisfitError("an element of a vector is a vector")
            return (classes if None in elements else len(elements), 1)
        case Transpose(operand):
            shape = of(operand)
            return None if shape is None else (shape[1], shape[0])
    raise InputError(f"{type(node).__name__} cannot be checked")


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


def names_in(node: Node) -> set[str]:
    """Every name that an expression uses.

    Examples
    --------
    >>> sorted(names_in(Derivative(Name("𝓛"), Indexed("a_L", ("i",)))))
    ['a_L', '𝓛']
    """
    return {part.symbol for part in walk(node) if isinstance(part, (Name, Indexed))}


class Places:
    """What both ways of evaluating need and neither computes: which element an index means, and what a name stands for
    where it is not in `values`, which hold the free names, and a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Mapping[str, Any]) -> None:
        self.setting = setting
        self.classes = classes
        self.values = values

    def index(self, index: Index, at: Mapping[str, int]) -> int:
        """The number that an index stands for where the letters have the values `at`."""
        if isinstance(index, int):
            return index
        if index == "K":
            return self.classes
        if index not in at:
            raise InputError(f"the index {index} has no value")
        return at[index]

    def definition(self, symbol: str) -> Defined:
        """What a name stands for."""
        entry = self.setting.defined.get(symbol)
        if entry is None:
            raise InputError(f"{symbol} is not a name that is known here")
        return entry

    def element(self, symbol: str, indices: list[int], at: Mapping[str, int]) -> tuple[Node, dict[str, int]] | None:
        """The expression that one element of a name stands for, and its letters' values; None where the name is free or
        defined as a whole, and the element is to be taken out of it."""
        entry = self.setting.defined.get(symbol)
        if symbol in self.values or entry is None or len(entry.indices) != len(indices):
            return None
        for index, length in zip(indices, self.setting.axes(symbol, self.classes), strict=True):
            if not 1 <= index <= length:
                raise MisfitError(f"index {index} of {symbol} is outside of 1 … {length}")
        return entry.expression, {**at, **dict(zip(entry.indices, indices, strict=True))}
