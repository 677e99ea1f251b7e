"""An expression as SymPy's, for a number of classes and all values of its letters, with SymPy's own derivatives."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.given import Axis, Given, Key, computed, number
from chainrule.derive.checking.polynomials import Effort, GivenUpError
from chainrule.derive.people import values as v
from chainrule.derive.people.tree import Condition, Node
from chainrule.derive.people.world import Context
from chainrule.derive.setting import Setting
from chainrule.errors import InputError

sympy = require("sympy", "derive")

__all__ = ["expressions_of", "symbols_of"]

_LARGEST_DIFFERENTIATED = 5000  # parts of an expression


def expressions_of(
    node: s.Node, setting: Setting, classes: int, at: Mapping[str, int], sizes: Mapping[str, int], effort: Effort
) -> v.Plain:
    """An expression in SymPy for all values of the letters that `at` does not name; `sizes` says how far they count.

    Raises
    ------
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> expressions_of(s.Indexed("ŷ", ("i",)), OUTPUT_LAYER, 2, {"i": 1}, {}, Effort(5)).data.item()
    exp(a_L1)/(exp(a_L1) + exp(a_L2))
    """
    given = _Symbols(setting, classes, at, [])
    given.effort = effort
    found = computed(given, node, symbols_of(setting, classes), sizes)
    return v.Plain(_by_entry(sympy.sympify)(found.data), found.letters, found.matrix)


@functools.lru_cache(maxsize=64)
def symbols_of(setting: Setting, classes: int) -> Mapping[str, Any]:
    """A symbol for each element of each free name. The last element of a simplex is 1 less the others.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> symbols_of(OUTPUT_LAYER, 2)["a_L"]
    [[a_L1], [a_L2]]
    """
    values: dict[str, Any] = {}
    for symbol, free in setting.free.items():
        axes = setting.axes(symbol, classes)
        positive = {"real": True} if free.domain in ("real", "nonzero") else {"positive": True}
        if not axes:
            values[symbol] = sympy.Symbol(symbol, **positive)
            continue
        rows, columns = (*axes, 1)[:2]
        values[symbol] = [
            [
                sympy.Symbol(f"{symbol}{r}" + (f",{c}" if len(axes) == 2 else ""), **positive)
                for c in range(1, columns + 1)
            ]
            for r in range(1, rows + 1)
        ]
        if free.domain == "simplex":
            values[symbol][-1][0] = 1 - sum(row[0] for row in values[symbol][:-1])
    return values


def _by_entry(function: Callable[..., Any]) -> Callable[..., Any]:
    whole = np.frompyfunc(function, 1, 1)
    return lambda data: np.asarray(whole(data), dtype=object)


# --- Functions --------------------------------------------------------------------------------------------------------


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
    x = sympy.sympify(x)
    if x.is_positive or x.is_nonpositive:
        return sympy.Integer(int(bool(x.is_positive)))
    return 1 - _step()(-x) if x.could_extract_minus_sign() else _step()(x)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: sympy.exp(x),
    "log": lambda x: sympy.log(x),
    "φ": lambda x: _normal()[0](x),
    "Φ": lambda x: _normal()[1](x),
    "relu": lambda x: x * _above(x),
    "g": lambda x: _g(0)(x),
}


_slope = functools.lru_cache(maxsize=20_000)(sympy.diff)


class _Symbols(Given):
    ordered = False  # cases are taken to exclude each other: where they do not, the numbers tell
    effort: Effort

    def over(self, sides: list[Node]) -> Given:
        other = super().over(sides)
        assert isinstance(other, _Symbols)
        other.effort = self.effort
        return other

    def value(self, node: Node, at: Context) -> v.Value:
        self.effort.spend()
        return super().value(node, at)

    def constant(self, value: Fraction) -> v.Value:
        return number(sympy.Rational(value.numerator, value.denominator))

    def basic(self, name: str, x: v.Value) -> v.Value:
        if name not in _FUNCTIONS:
            raise InputError(f"{name} is not a function that is known here")
        here = v.primal(x)
        return v.Plain(
            _by_entry(lambda entry: _FUNCTIONS[name](sympy.sympify(entry)))(here.data), here.letters, here.matrix
        )

    def sloped(self, name: str, primes: int, x: v.Value) -> v.Value:
        inside = sympy.Dummy(real=True)
        here = v.primal(x)
        slope = (
            _g(primes)(inside)
            if name == "g"
            else sympy.diff(v.primal(self.called(name, number(inside))).data.item(), inside, primes)
        )
        return v.Plain(_by_entry(lambda entry: slope.xreplace({inside: entry}))(here.data), here.letters, here.matrix)

    def slopes(self, what: Node, key: Key, axes: Sequence[Axis], tag: int, at: Any) -> tuple[v.Value, v.Value]:
        """By an expression in which the varied name stands for itself."""
        here = v.primal(at.node(key))
        back: dict[Any, Any] = {}
        if not all(getattr(entry, "is_Symbol", False) for entry in here.data.flat):
            kind = {"positive": True} if here.data.ndim else {"real": True}
            by = np.empty(here.data.shape, dtype=object)
            for place in np.ndindex(by.shape):  # the same symbols each time: what was derived is known
                by[place] = sympy.Symbol(f"{key[1]}{place}", **kind)
            back = dict(zip(by.flat, here.data.flat, strict=True))
            inner = at.but(key, v.Plain(by, here.letters))
        else:
            by, inner = here.data, at
        value = v.primal(self.value(what, inner))
        order = [here.letters.index(axis) for axis, _ in axes]
        picked = by.transpose(order)[(..., *(slice(None) if pick is None else pick - 1 for _, pick in axes))]
        slope = np.frompyfunc(lambda variable, entry: self._diff(entry, variable, back), 2, 1)
        found = slope(picked[(..., *[None] * value.data.ndim)], value.data)
        letters = tuple(f"∂{tag}{axis}" for axis, pick in axes if pick is None)
        return value, v.Plain(found, (*letters, *value.letters), value.matrix)

    def _diff(self, entry: Any, by: Any, back: Mapping[Any, Any]) -> Any:
        entry = sympy.sympify(entry)
        parts = itertools.islice(sympy.preorder_traversal(entry), _LARGEST_DIFFERENTIATED + 1)
        if sum(1 for _ in parts) > _LARGEST_DIFFERENTIATED:
            raise GivenUpError
        self.effort.spend()
        return _slope(entry, by).xreplace(back)

    def _compared(self, condition: Condition, at: Context) -> v.Value:
        left, right = (self.value(side, at) for side in (condition.left, condition.right))
        gap = v.primal(v.add(left, v.neg(right)))
        sign = {">": 1, "<": -1}[condition.rel]
        return v.Plain(_by_entry(lambda entry: _above(sign * entry))(gap.data), gap.letters, gap.matrix)
