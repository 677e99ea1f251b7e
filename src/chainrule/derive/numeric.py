"""A step checked by numbers: both sides at random points, to 50 digits, by mpmath.

Derivatives are central differences at 160 digits: with h = 10⁻³⁰ what is cut off is of the order of h², 10⁻⁶⁰, and
three of them within each other still leave 160 − 3·30 digits of rounding. Nothing here comes from SymPy, so that a
mistake in one way of checking is not the other's.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from chainrule.derive.setting import (
    PATTERN_INDEX,
    Free,
    MisfitError,
    Places,
    Setting,
    UndefinedError,
    fold_product,
    free_indices,
    range_of,
    vector_pattern,
)
from chainrule.derive.syntax import (
    Call,
    Cases,
    Comparison,
    Derivative,
    Element,
    Gradient,
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
)
from chainrule.equations import LEAKY_SLOPE
from chainrule.errors import InputError
from chainrule.extras import require

__all__ = ["find_difference", "random_point", "value_at"]

_DIGITS = 160
_TOLERANCE = 40  # digits that must agree
_POINTS = 2  # for each number of classes
_LARGEST_EXPONENT = 100_000  # exp of more is refused: its digits would fill the memory


@functools.cache
def _context() -> Any:
    """A context of mpmath's that is ours alone, so that nobody's precision is changed."""
    context = require("mpmath", "derive").mp.clone()
    context.dps = _DIGITS
    return context


Matrix = list[list[Any]]  # rows of mpmath's numbers
Value = Any  # one of mpmath's numbers, or a Matrix
Point = Mapping[str, Value]


def find_difference(
    before: Node, after: Node, setting: Setting, classes_to_try: Sequence[int]
) -> dict[str, Any] | None:
    """The first point at which the two sides differ, or None.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> find_difference(Name("𝓛"), Call("log", Indexed("ŷ", ("ℓ",))), OUTPUT_LAYER, [2])["K"]
    2
    """
    for classes in classes_to_try:
        letters = free_indices([before, after], setting, classes)
        for seed in range(_POINTS):
            for at in _assignments(letters, classes, seed):
                left = _cached_value(before, setting, classes, at, seed)
                right = _cached_value(after, setting, classes, at, seed)
                where = _first_difference(left, right)
                if where is not None:
                    return _counterexample(where, setting, classes, dict(at), seed)
    return None


def _assignments(letters: Mapping[str, int], classes: int, seed: int) -> list[tuple[tuple[str, int], ...]]:
    """Values for the free indices: all of them where they are few, else each way of being equal or different."""
    names, counts = list(letters), list(letters.values())
    total = 1
    for count in counts:
        total *= count
    if total <= (25 if classes <= 5 else 4):
        chosen = list(itertools.product(*(range(1, count + 1) for count in counts)))
    else:
        draw = random.Random(f"indices {classes} {seed}")
        start = draw.randrange(1_000_000)
        apart = [1 + (start + n) % count for n, count in enumerate(counts)]
        chosen = [tuple(apart), tuple(min(apart[0], count) for count in counts)]
        for i, j in itertools.combinations(range(len(names)), 2) if len(names) > 2 else ():
            pair = [1 + draw.randrange(count) for count in counts]
            pair[j] = min(pair[i], counts[j])
            chosen.append(tuple(pair))
    return [tuple(zip(names, values, strict=True)) for values in dict.fromkeys(chosen)]


@functools.lru_cache(maxsize=4096)  # a step's right side is the next one's left
def _cached_value(node: Node, setting: Setting, classes: int, at: tuple[tuple[str, int], ...], seed: int) -> Value:
    return value_at(node, setting, classes, random_point(setting, classes, seed), dict(at))


def value_at(node: Node, setting: Setting, classes: int, point: Point, at: Mapping[str, int]) -> Value:
    """The value of an expression where the free names and indices have these values: a number, or rows of numbers.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> value = value_at(Indexed("ŷ", ("i",)), OUTPUT_LAYER, 2, {"a_L": [[0], [0]]}, {"i": 2})
    >>> float(value)
    0.5
    """
    try:
        value = _Evaluator(setting, classes, point).value(node, dict(at))
    except ZeroDivisionError:
        raise UndefinedError("a division by zero") from None
    for number in _entries(value):
        if not _context().isfinite(number):
            raise UndefinedError("a value is not finite: a logarithm of zero, or a division by it")
    return value


@functools.lru_cache(maxsize=64)
def random_point(setting: Setting, classes: int, seed: int) -> Point:
    """Values for the free names, the same at every call, with two decimals so that a counterexample can be read.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> len(random_point(OUTPUT_LAYER, 5, 0)["a_L"])
    5
    """
    point: dict[str, Value] = {}
    for symbol, free in setting.free.items():
        draw = random.Random(f"{symbol} {classes} {seed}")
        axes = setting.axes(symbol, classes)
        rows, columns = (*axes, 1, 1)[:2]
        numbers = _drawn(free, rows * columns, draw)
        if free.domain == "nonzero":  # each side of 0, in turn
            numbers = [abs(number) * (-1) ** (seed + n) for n, number in enumerate(numbers)]
        matrix = [numbers[n * columns : (n + 1) * columns] for n in range(rows)]
        point[symbol] = matrix if axes else numbers[0]
    return point


def _drawn(free: Free, count: int, draw: random.Random) -> list[Any]:
    lowest, highest = {"real": (-200, 200), "unit": (5, 95)}.get(free.domain, (30, 250))
    values = [Fraction(draw.randint(lowest, highest), 100) for _ in range(count)]
    if free.domain == "nonzero":
        values = [value or Fraction(highest, 100) for value in values]
    if free.domain == "simplex":
        values = [value / sum(values) for value in values]
    return [_context().mpf(value.numerator) / value.denominator for value in values]


def _entries(value: Value) -> list[Any]:
    return [entry for row in value for entry in row] if isinstance(value, list) else [value]


def _first_difference(left: Value, right: Value) -> tuple[int | None, Any, Any] | None:
    """Which element differs (None for a number), and both values. A row is compared with a column element by element:
    whether the two may be equal was decided by their shapes."""
    lefts, rights = _entries(left), _entries(right)
    if len(lefts) != len(rights):
        raise MisfitError(f"{len(lefts)} elements before and {len(rights)} here")
    if isinstance(left, list) and isinstance(right, list) and len(left) != len(right):
        rights = _entries([list(column) for column in zip(*right, strict=True)])
    context = _context()
    for n, (x, y) in enumerate(zip(lefts, rights, strict=True), start=1):
        scale = max(abs(x), abs(y), context.mpf(10) ** -6)
        if abs(x - y) > scale * context.mpf(10) ** -_TOLERANCE:
            return (n if isinstance(left, list) else None), x, y
    return None


def _counterexample(
    where: tuple[int | None, Any, Any], setting: Setting, classes: int, at: dict[str, int], seed: int
) -> dict[str, Any]:
    element, left, right = where
    found: dict[str, Any] = {"K": classes}
    for symbol, value in random_point(setting, classes, seed).items():
        shown: Any = _shown(value)
        if len(setting.axes(symbol, classes)) == 1:
            shown = [row[0] for row in shown]
        found["logits" if symbol == "a_L" else symbol] = shown
    for letter, index in at.items():
        found["label" if letter == "ℓ" else letter] = index
    if element is not None:
        found["element"] = element
    return {**found, "left": _shown(left), "right": _shown(right)}


def _shown(value: Value) -> Any:
    if isinstance(value, list):
        return [_shown(part) for part in value]
    number = _context().mpmathify(value)
    return float(number.real) if number.imag == 0 else str(complex(number))


class _Evaluator(Places):
    """Values of expressions at one point. `values` holds the free names, and a defined one while it is varied."""

    def __init__(self, setting: Setting, classes: int, values: Point) -> None:
        super().__init__(setting, classes, values)
        self.context = _context()
        self.names: dict[str, Name] = {}
        self.letters: dict[int, tuple[str, ...]] = {}
        # By the node's identity and its letters' values. The node is kept: an identity is used again after its end.
        self.known: dict[tuple[int, tuple[int | None, ...]], tuple[Node, Value]] = {}

    def value(self, node: Node, at: dict[str, int]) -> Value:
        """The value where the letters have the values `at`."""
        if not isinstance(node, (SumOver, Name, Call, Gradient, Derivative)):
            return self._compute(node, at)
        if id(node) not in self.letters:
            self.letters[id(node)] = tuple(free_indices([node], self.setting, self.classes))
        key = (id(node), tuple(at.get(letter) for letter in (*self.letters[id(node)], PATTERN_INDEX)))
        if key not in self.known:
            self.known[key] = (node, self._compute(node, at))
        return self.known[key][1]

    def _compute(self, node: Node, at: dict[str, int]) -> Value:
        match node:
            case Number(number):
                return self.context.mpf(number.numerator) / number.denominator
            case Name("K"):
                return self.context.mpf(self.classes)
            case Name(symbol):
                return self._name(symbol, at)
            case Indexed(symbol, indices):
                return self._element_of_name(symbol, [self.index(index, at) for index in indices], at)
            case Element(vector, indices):
                return _pick(self.value(vector, at), [self.index(index, at) for index in indices])
            case Call("softmax", argument):
                return self._softmax(self.value(argument, at))
            case Call("diag", argument):
                column = _column(self.value(argument, at), "diag")
                zero = self.context.mpf(0)
                return [[row[0] if r == c else zero for c in range(len(column))] for r, row in enumerate(column)]
            case Cases(values, conditions):
                return self._cases(values, conditions, at)
            case Call(function, argument):
                return _each(self._function(function), self.value(argument, at))
            case Negative(operand):
                return _each(lambda x: -x, self.value(operand, at))
            case Sum(terms):
                return functools.reduce(_add, [self.value(term, at) for term in terms])
            case Product(factors, signs):
                return fold_product([self.value(factor, at) for factor in factors], signs, _times, _elementwise)
            case Quotient(numerator, denominator):
                divisor = self.value(denominator, at)
                return _each(lambda x: x / divisor, self.value(numerator, at))
            case Power(base, exponent):
                return self._power(self.value(base, at), self.value(exponent, at))
            case SumOver():
                return self._sum_over(node, at)
            case Indicator(left, right):
                return self.context.mpf(self.index(left, at) == self.index(right, at))
            case OneHot(index):
                place = self.index(index, at)
                return [[self.context.mpf(n == place)] for n in range(1, self.classes + 1)]
            case Derivative(operand, variable):
                return self._derivative(operand, variable, at)
            case Gradient(operand, variable):
                return self._gradient(operand, variable.symbol, at)
            case Vector():
                return self._vector(node, at)
            case Transpose(operand):
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
        return self.value(self.names.setdefault(symbol, Name(symbol)), at)

    def _element_of_name(self, symbol: str, indices: list[int], at: dict[str, int]) -> Value:
        found = self.element(symbol, indices, at)
        return self.value(*found) if found else _pick(self._whole(symbol, at), indices)

    # --- Sums, functions and powers ---

    def _sum_over(self, node: SumOver, at: dict[str, int]) -> Value:
        without = None if node.without is None else self.index(node.without, at)
        total: Value = None
        for n in range(1, range_of(node, self.setting, self.classes) + 1):
            if n != without:
                term = self.value(node.body, {**at, node.index: n})
                total = term if total is None else _add(total, term)
        return self.context.mpf(0) if total is None else total

    def _vector(self, vector: Vector, at: dict[str, int]) -> Matrix:
        pattern = vector_pattern(vector)
        if pattern is None:
            return [[self.value(element, at)] for element in vector.elements if element is not None]
        return [[self.value(pattern, {**at, PATTERN_INDEX: n})] for n in range(1, self.classes + 1)]

    def _cases(self, values: Sequence[Node], conditions: Sequence[Comparison], at: dict[str, int]) -> Value:
        for value, condition in itertools.zip_longest(values, conditions):
            if condition is None or self._holds(condition, at):
                return self.value(value, at)
        raise UndefinedError("none of the conditions holds")

    def _holds(self, condition: Comparison, at: dict[str, int]) -> bool:
        if condition.sign in "=≠":
            equal = self.index(condition.left, at) == self.index(condition.right, at)  # type: ignore[arg-type]
            return equal == (condition.sign == "=")
        left, right = (self.value(side, at) for side in (condition.left, condition.right))  # type: ignore[arg-type]
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
            "Φ": context.ncdf,
            "φ": context.npdf,
            "gelu": lambda x: x * context.ncdf(x),
            "relu": lambda x: x if x > 0 else 0 * x,
            "leaky_relu": lambda x: x if x > 0 else context.mpf(str(LEAKY_SLOPE)) * x,
            "identity": lambda x: x,
            # any smooth function does: what holds for every g holds for this one
            "g": lambda x: context.sin(x) + x * x / 5,
        }
        if name not in functions:
            raise InputError(f"{name} is not a function that is known here")
        return functions[name]

    # --- Derivatives ---

    def _derivative(self, operand: Node, variable: Node, at: dict[str, int]) -> Value:
        if isinstance(variable, Indexed):
            places = [[self.index(index, at) for index in variable.indices]]
            return self._difference(operand, variable.symbol, places[0], at)
        if not isinstance(variable, Name):
            raise InputError("a derivative is taken with respect to a name or an element of one")
        axes = self.setting.axes(variable.symbol, self.classes)
        if not axes:
            return self._difference(operand, variable.symbol, [], at)
        if len(axes) == 2:
            return self._gradient(operand, variable.symbol, at)
        columns = [_entries(self._difference(operand, variable.symbol, [n], at)) for n in range(1, axes[0] + 1)]
        return [list(row) for row in zip(*columns, strict=True)]

    def _gradient(self, operand: Node, symbol: str, at: dict[str, int]) -> Value:
        axes = self.setting.axes(symbol, self.classes)
        if not axes:
            return self._difference(operand, symbol, [], at)
        rows, columns = (*axes, 1)[:2]
        return [
            [self._difference(operand, symbol, [r, c][: len(axes)], at) for c in range(1, columns + 1)]
            for r in range(1, rows + 1)
        ]

    def _difference(self, operand: Node, symbol: str, place: list[int], at: dict[str, int]) -> Value:
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
