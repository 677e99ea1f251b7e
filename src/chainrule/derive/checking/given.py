"""A setting as `people` evaluate it: its names with the values that they are given, its rows and columns exact.

The arithmetic is that of what the values are made of: mpmath's numbers (`values.py`) or SymPy's symbols
(`expressions.py`). Each brings its own functions and derivatives, so that a mistake in one is not the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.activations import LEAKY_SLOPE
from chainrule.derive import syntax as s
from chainrule.derive.checking.trees import tree_of
from chainrule.derive.people import values as v
from chainrule.derive.people.evaluate import Evaluator
from chainrule.derive.people.facts import Facts
from chainrule.derive.people.matrices import diagonal
from chainrule.derive.people.reading import Access, Reading, Roles
from chainrule.derive.people.tree import Condition, Item, Name, Node, NotReadError
from chainrule.derive.people.world import Context, World
from chainrule.derive.setting import MisfitError, Setting, TooLargeError, UndefinedError
from chainrule.errors import InputError

__all__ = ["Given", "Point", "Shape", "aligned", "computed", "free_indices", "number", "shape_words"]

Shape = tuple[int, int] | None  # rows and columns; None for a number
Point = Mapping[str, Any]
Key = tuple[Any, ...]
Axis = tuple[str, int | None]  # of a name, and which element is picked from it
_MOST_WORK = 500_000  # entries of one side at one point, as `people` count them: a second or so


class _Reading(Reading):
    """Names stand for what the setting says; no letter is a label, and no convention is open."""

    def __init__(self, setting: Setting, classes: int) -> None:
        super().__init__(Roles({}), Facts(), 1, 2)
        self.setting, self.classes = setting, classes

    def _access(self, name: Name, batch: bool) -> Access:
        axes = tuple(f"{name.base}@{n}" for n in range(len(self.setting.axes(name.base, self.classes))))
        if len(name.sub) > len(axes):
            raise v.MisfitError(f"{name.base} has {len(axes)} axes and {len(name.sub)} indices")
        picks = [item.value for item in name.sub]
        return Access(("given", name.base), axes, (*picks, *[None] * (len(axes) - len(picks))))

    def is_label(self, letter: str) -> bool:
        return False


class _World(World):
    """The lengths of a setting's axes. The letters of an axis that nothing says count the classes."""

    def __init__(self, reading: _Reading) -> None:
        self.reading, self.batch = reading, False
        setting, classes = reading.setting, reading.classes
        self.sizes = {f"#{reading.layers}": classes}
        for symbol in (*setting.free, *setting.defined):
            for n, length in enumerate(setting.axes(symbol, classes)):
                self.sizes[f"{symbol}@{n}"] = length


class _Point(Context):
    """Where names have their values. A defined one is computed, unless it is set by hand."""

    def __init__(self, given: Given, overrides: Mapping[tuple[Any, ...], v.Value]) -> None:
        super().__init__(given.world, overrides)
        self.given = given

    def but(self, key: tuple[Any, ...], value: v.Value) -> _Point:
        return _Point(self.given, {**self.overrides, key: value})

    def _node(self, key: tuple[Any, ...]) -> v.Value:
        given, symbol = self.given, key[1]
        entry = given.setting.defined.get(symbol)
        if entry is None:
            raise InputError(f"{symbol} is not a name that is known here")
        inside = {letter: n for letter, n in given.letters.items() if letter not in entry.indices}
        tree = tree_of(entry.expression, given.world.reading.classes, inside)  # type: ignore[attr-defined]
        value = given.over([tree]).value(tree, self)
        axes = [f"{symbol}@{n}" for n in range(len(entry.axes))]
        if entry.indices:
            return v.rename(value, dict(zip(entry.indices, axes, strict=True)))
        return v.to_letters(value, axes[0], axes[-1]) if axes else value


def number(value: Any) -> v.Plain:
    """A number that every arithmetic takes as it is."""
    return v.Plain(np.asarray(value, dtype=object))


class Given(Evaluator):
    """Values under a setting. `letters` are the indices that have a number; the others have all of theirs at once. What
    its numbers are, an arithmetic says: a class below this one."""

    ordered = True  # of two cases that hold the first counts

    def __init__(self, setting: Setting, classes: int, letters: Mapping[str, int], sides: list[Node]) -> None:
        reading = _Reading(setting, classes)
        super().__init__(reading, _World(reading), sides, set())
        self.setting, self.classes, self.letters = setting, classes, letters
        self.end = v.work_done() + _MOST_WORK

    def over(self, sides: list[Node]) -> Given:
        """The same for other trees: what their letters run over is seen in them."""
        other = type(self)(self.setting, self.classes, self.letters, sides)
        other.end = self.end
        return other

    def value(self, node: Node, at: Context) -> v.Value:
        if v.work_done() > self.end:
            raise TooLargeError("this is too large to be checked")
        return super().value(node, at)

    # --- What `people` are lenient with -------------------------------------------------------------------------------

    def _add(self, node: Node, at: Context) -> v.Value:
        found = self.value(node.kids[0], at)
        for kid in node.kids[1:]:
            found = v.add(found, self._fitting(found, self.value(kid, at), "are added"))
        return found

    def _cases(self, node: Node, at: Context) -> v.Value:
        whole: v.Value | None = None
        left: v.Value = number(1)
        for kid, said in zip(node.kids, node.data, strict=True):
            holds = left if said is None else self.condition(said[0], at)
            value = self.value(kid, at)
            part = v.elementwise(value, v.elementwise(left, holds) if self.ordered and said is not None else holds)
            whole = part if whole is None else v.add(whole, self._fitting(whole, part, "are the values of one name"))
            left = v.add(left, v.neg(v.elementwise(left, holds) if self.ordered else holds))
        if any(isinstance(entry, int) and entry > 0 for entry in v.primal(left).data.flat):
            raise UndefinedError("none of the conditions holds")
        assert whole is not None
        return whole

    def condition(self, condition: Condition, at: Context) -> v.Value:
        found = v.primal((self._compared if condition.rel in "<>" else super().condition)(condition, at))
        if found.matrix:
            raise v.MisfitError(f"{shape_words(v.shape(found))} is compared with a number")
        return found if found.data.dtype == object else v.Plain(found.data.astype(int).astype(object), found.letters)

    def _fitting(self, x: v.Value, y: v.Value, what: str) -> v.Value:
        if v.shape(x) != v.shape(y):
            raise v.MisfitError(f"{shape_words(v.shape(x))} and {shape_words(v.shape(y))} {what}")
        return y

    def _times(self, x: v.Value, y: v.Value, sign: str) -> v.Value:
        a, b = v.shape(x), v.shape(y)
        if sign == "⊙" and a != b:
            raise v.MisfitError(f"{shape_words(a)} ⊙ {shape_words(b)}")
        if a is None or b is None or sign == "⊙":
            return v.elementwise(x, y)
        if a[1] == b[0]:
            return v.matmul(x, y)
        if sign == "·" and a == b and a[1] == 1:
            return v.total(v.elementwise(x, y))
        raise v.MisfitError(f"{shape_words(a)} times {shape_words(b)}")

    def _div(self, node: Node, at: Context) -> v.Value:
        above, below = (self.value(kid, at) for kid in node.kids)
        if v.shape(below) is not None:
            raise v.MisfitError(f"a division by {shape_words(v.shape(below))}")
        return v.divide(above, below)

    def _pow(self, node: Node, at: Context) -> v.Value:
        base, exponent = (self.value(kid, at) for kid in node.kids)
        if v.shape(base) is not None or v.shape(exponent) is not None:
            raise v.MisfitError("a power of a vector, or to a vector")
        number = node.kids[1]
        negative, number = (True, number.kids[0]) if number.op == "neg" else (False, number)
        if number.op == "num" and number.data == int(number.data) <= 100:
            return v.power(base, float(-number.data if negative else number.data))
        return self.called("exp", v.elementwise(exponent, self.called("log", base)))

    def _unit(self, node: Node, at: Context) -> v.Value:
        column = v.Plain(np.eye(self.classes, dtype=object), ("∂u", "∂e"))
        item = Item("letter" if isinstance(node.data, str) else "number", node.data)
        return v.positional(self.picked(column, "∂e", item), "∂u", None)

    def _column(self, node: Node, at: Context) -> v.Value:
        value = self.value(node.kids[0], at)
        if v.shape(value) is not None:
            raise v.MisfitError("an element of a vector is a vector")
        if node.data not in v.all_letters(value):
            value = v.elementwise(value, v.Plain(np.ones(self.classes, dtype=object), (node.data,)))
        return v.positional(value, node.data, None)

    def _ind(self, node: Node, at: Context) -> v.Value:
        return self.condition(node.data[0], at)

    def _sum(self, node: Node, at: Context) -> v.Value:
        """A Σ runs as far as the axis in which its letter stands, or to a limit that is written."""
        (letter,), body, conditions = node.data.letters, node.kids[0], node.data.conditions
        if node.data.upper is not None:
            last = Node("num", (), self.setting.length(node.data.upper, self.classes))
            conditions = (*conditions, Condition(Node("name", (), Name(letter)), "≤", last))
        self.scopes.append(({letter}, body, node.data))
        try:
            value = self.value(body, at)
            for condition in conditions:
                value = v.elementwise(value, self.condition(condition, at))
            if letter not in v.all_letters(value):
                value = v.elementwise(value, v.Plain(np.ones(self.size_of(letter), dtype=object), (letter,)))
            return v.contract(value, letter)
        finally:
            self.scopes.pop()

    def _num(self, node: Node, at: Context) -> v.Value:
        return self.constant(Fraction(node.data))

    def constant(self, value: Fraction) -> v.Value:
        """A number, exact."""
        raise NotImplementedError

    # --- Functions ----------------------------------------------------------------------------------------------------

    def _fn(self, node: Node, at: Context) -> v.Value:
        (name, primes), x = node.data, self.value(node.kids[0], at)
        if name == "softmax":
            size = v.shape(x)
            if size is None or size[1] != 1:
                raise v.MisfitError("softmax of something that is not a column")
            exponentials = self.called("exp", x)
            return v.divide(exponentials, v.total(exponentials))
        if name == "diag":
            if v.shape(x) is None:
                raise v.MisfitError("diag of a number")
            return diagonal(x)
        return self.sloped(name, primes, x) if primes else self.called(name, x)

    def called(self, name: str, x: v.Value) -> v.Value:
        """A function of a number, or of each in a matrix."""
        one = number(1)
        if name in ("σ", "tanh"):
            e = self.called("exp", v.add(x, x) if name == "tanh" else x)
            return v.divide(v.add(e, v.neg(one)) if name == "tanh" else e, v.add(one, e))
        if name == "log1p":
            return self.called("log", v.add(one, x))
        if name == "silu":
            return v.elementwise(x, self.called("σ", x))
        if name == "gelu":
            return v.elementwise(x, self.called("Φ", x))
        if name == "softplus":
            return self.called("log", v.add(one, self.called("exp", x)))
        if name == "leaky_relu":
            slope, above = self.constant(Fraction(str(LEAKY_SLOPE))), self.called("relu", x)
            return v.add(above, v.elementwise(slope, v.add(x, v.neg(above))))
        return x if name == "identity" else self.basic(name, x)

    def basic(self, name: str, x: v.Value) -> v.Value:
        """exp, log, Φ, φ, relu or g."""
        raise NotImplementedError

    def sloped(self, name: str, primes: int, x: v.Value) -> v.Value:
        """The derivative of a function of a number, of some order."""
        raise NotImplementedError

    # --- Derivatives --------------------------------------------------------------------------------------------------

    def slopes(self, what: Node, key: Key, axes: Sequence[Axis], tag: int, at: _Point) -> tuple[v.Value, v.Value]:
        """A value, and its derivative by a name: an axis of the name is a letter of the derivative, marked by the tag,
        unless a number picks from it."""
        raise NotImplementedError

    def derived(self, what: Node, by: Node, at: Context, *, gradient: bool = False) -> v.Value:
        access = self.accessed(by.data)
        if access.key[1] not in self.setting.free and access.key[1] not in self.setting.defined:
            raise InputError(f"{access.key[1]} is not a name that is known here")
        axes = [
            (axis, pick if isinstance(pick, int) else None)
            for axis, pick in zip(access.axes, access.picks, strict=True)
        ]
        for axis, pick in axes:
            if pick is not None and not 1 <= pick <= self.world.sizes[axis]:
                raise v.MisfitError(f"index {pick} is outside of 1 … {self.world.sizes[axis]}")
        assert isinstance(at, _Point)
        Context.tags += 1
        mark = f"∂{Context.tags}"
        value, found = self.slopes(what, access.key, axes, Context.tags, at)
        names, open_axes = {}, []
        for axis, pick in zip(access.axes, access.picks, strict=True):
            if isinstance(pick, str):
                names[f"{mark}{axis}"] = pick
            elif pick is None:
                open_axes.append(f"{mark}{axis}")
            if not isinstance(pick, int) and f"{mark}{axis}" not in v.all_letters(found):
                ones = v.Plain(np.ones(self.world.sizes[axis], dtype=object), (f"{mark}{axis}",))
                found = v.elementwise(found, ones)
        found = v.rename(found, names)
        size = v.shape(value)
        if size is None or not open_axes:
            if gradient and size is not None:
                raise v.MisfitError(f"a gradient of {shape_words(size)}; it is taken of a number")
            if len(open_axes) == 1:  # a row, so that the chain rule is a product; a gradient is a column
                return v.positional(found, *((open_axes[0], None) if gradient else (None, open_axes[0])))
            return v.positional(found, *open_axes) if open_axes else found
        if gradient or len(open_axes) > 1 or size[1] != 1:
            raise v.MisfitError(f"a derivative of {shape_words(size)} w.r.t. {access.key[1]}")
        return v.positional(v.to_letters(found, "∂out", "∂out"), "∂out", open_axes[0])


def computed(given: Given, node: s.Node, point: Point, sizes: Mapping[str, int]) -> v.Plain:
    """The value of a node where the free names have the values of the point. `sizes` says how far its letters count.

    Raises
    ------
    MisfitError, UndefinedError, InputError
        Its parts do not fit each other, it has no value, or it cannot be checked.
    """
    try:
        given.sides = [tree_of(node, given.classes, given.letters)]
        given._sizes.update(sizes)
        with np.errstate(all="ignore"):
            return v.primal(given.value(given.sides[0], _Point(given, _given_values(given, point))))
    except v.TooManyError as error:
        raise TooLargeError(str(error)) from None
    except v.MisfitError as error:
        raise MisfitError(str(error)) from None
    except NotReadError as error:
        raise InputError(str(error)) from None
    except ZeroDivisionError:
        raise UndefinedError("a division by zero") from None


def _given_values(given: Given, point: Point) -> dict[tuple[Any, ...], v.Value]:
    """The values of names, rows of numbers, with their axes."""
    found: dict[tuple[Any, ...], v.Value] = {}
    for symbol, value in point.items():
        axes = tuple(f"{symbol}@{n}" for n in range(len(given.setting.axes(symbol, given.classes))))
        data = np.array(value, dtype=object)
        found["given", symbol] = v.Plain(data[:, 0] if len(axes) == 1 else data, axes)
    return found


def aligned(x: v.Plain, y: v.Plain) -> tuple[Any, Any, tuple[str, ...]]:
    """The entries of two values of one shape, for all values of the letters of both."""
    letters = tuple(dict.fromkeys(x.letters + y.letters))
    for letter in set(x.letters) & set(y.letters):
        counts = [one.data.shape[one.letters.index(letter)] for one in (x, y)]
        if counts[0] != counts[1]:
            raise MisfitError(f"the index {letter} runs over {counts[0]} and over {counts[1]}")

    def spread(one: v.Plain) -> Any:
        order = [one.letters.index(n) for n in letters if n in one.letters]
        data = one.data.transpose(*order, *range(len(order), one.data.ndim))
        return data[tuple(slice(None) if n in one.letters else None for n in letters)] if letters else data

    left, right = np.broadcast_arrays(spread(x), spread(y))
    return left, right, letters


def free_indices(nodes: Sequence[s.Node], setting: Setting, classes: int) -> dict[str, int]:
    """The letters that no Σ and no vector binds, in the order of their appearance, and how far each counts.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> from chainrule.derive.syntax import Indexed, Indicator, Name, SumOver
    >>> free_indices([Name("𝓛"), SumOver("j", Indexed("ŷ", ("j",))), Indicator("i", 1)], OUTPUT_LAYER, 3)
    {'ℓ': 3, 'i': 3}
    """
    found = dict.fromkeys(letter for node in nodes for letter in _letters(node, setting))
    sizes = Given(setting, classes, {}, [tree_of(node, classes, {}) for node in nodes])
    return {letter: sizes.size_of(letter) for letter in found}


def _letters(node: s.Node, setting: Setting) -> list[str]:
    """Each use of a letter that is not bound."""
    own: Sequence[s.Index | s.Node | None] = ()
    bound: set[str] = set()
    match node:
        case s.Indexed(_, indices) | s.Element(_, indices):
            own = indices
        case s.Indicator(left, right) | s.Comparison(left, "=" | "≠", right):
            own = (left, right)
        case s.OneHot(index):
            own = (index,)
        case s.SumOver(index, _, without):
            own, bound = (without,), {index}
    found = [letter for letter in own if isinstance(letter, str) and letter != "K"]
    if isinstance(node, s.Name | s.Indexed) and node.symbol in setting.defined:
        entry = setting.defined[node.symbol]
        found += [letter for letter in _letters(entry.expression, setting) if letter not in entry.indices]
    elif isinstance(node, s.Name | s.Indexed) and node.symbol not in setting.free and node.symbol != "K":
        raise InputError(f"{node.symbol} is not a name that is known here")
    for part in s.parts(node):
        found += [letter for letter in _letters(part, setting) if letter not in bound]
    return found


def shape_words(shape: Shape) -> str:
    if shape is None:
        return "a number"
    rows, columns = shape
    if columns == 1:
        return f"a column of {rows}"
    return f"a row of {columns}" if rows == 1 else f"a matrix of {rows} by {columns}"
