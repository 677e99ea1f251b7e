"""The value of an expression at one point, by mpmath's numbers of 100 digits, with exact derivatives: a value carries
its changes with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.given import Axis, Given, Key, Point, computed, number
from chainrule.derive.people import values as v
from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.tree import Node
from chainrule.derive.people.world import Context
from chainrule.derive.setting import Setting, UndefinedError
from chainrule.errors import InputError

__all__ = ["Value", "array_at", "context", "value_at"]

_DIGITS = 100
_LARGEST_EXPONENT = 100_000  # exp of more is refused: its digits would fill the memory

Value = Any  # one of mpmath's numbers, or rows of them


@functools.cache
def context() -> Any:
    """A context of mpmath's that is ours alone, so that nobody's precision is changed."""
    context = require("mpmath", "derive").mp.clone()
    context.dps = _DIGITS
    return context


def array_at(
    node: s.Node, setting: Setting, classes: int, point: Point, at: Mapping[str, int], sizes: Mapping[str, int]
) -> v.Plain:
    """The values of an expression for all values of the letters that `at` does not name; `sizes` says how far they
    count.

    Raises
    ------
    InputError
        It has no value, or its parts do not fit each other.
    """
    found = computed(_Digits(setting, classes, at, []), node, point, sizes)
    data = _exact(found.data)
    for entry in data.flat:
        if not context().isfinite(entry):
            raise UndefinedError("a value is not finite: a logarithm of zero, or a division by it")
    return v.Plain(data, found.letters, found.matrix)


def value_at(node: s.Node, setting: Setting, classes: int, point: Point, at: Mapping[str, int]) -> Value:
    """The value of an expression where the free names and indices have these values: a number, or rows of numbers.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> value = value_at(s.Indexed("ŷ", ("i",)), OUTPUT_LAYER, 2, {"a_L": [[0], [0]]}, {"i": 2})
    >>> float(value)
    0.5
    """
    found = array_at(node, setting, classes, point, at, {})
    if found.letters:
        raise InputError(f"the index {found.letters[0]} has no value")
    return found.data.tolist() if found.matrix else found.data.item()


def _exact(data: Any) -> Any:
    """An array of mpmath's numbers."""
    return _by_entry(context().convert)(data)


def _by_entry(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    whole = np.frompyfunc(function, 1, 1)
    return lambda data: np.asarray(whole(data), dtype=object)


class _Digits(Given):
    def constant(self, value: Fraction) -> v.Value:
        return number(context().mpf(value.numerator) / value.denominator)

    def basic(self, name: str, x: v.Value) -> v.Value:
        if name not in _FUNCTIONS:
            raise InputError(f"{name} is not a function that is known here")
        return v.apply(x, lambda order: lambda data: _FUNCTIONS[name](order)(_exact(data)))

    def sloped(self, name: str, primes: int, x: v.Value) -> v.Value:
        Context.tags += 1
        tag = Context.tags
        here = v.primal(x)
        moved = v.Dual(tag, x, v.Plain(np.ones(here.data.shape, dtype=object), here.letters, here.matrix))
        found = self.sloped(name, primes - 1, moved) if primes > 1 else self.called(name, moved)
        return v.tangent(found, tag) or v.elementwise(number(0), x)

    def slopes(self, what: Node, key: Key, axes: Sequence[Axis], tag: int, at: Any) -> tuple[v.Value, v.Value]:
        base = at.node(key)
        change: v.Value = number(1)
        for axis, pick in axes:
            unit = np.eye(self.world.sizes[axis], dtype=object)
            part = v.Plain(unit, (axis, f"∂{tag}{axis}")) if pick is None else v.Plain(unit[pick - 1], (axis,))
            change = v.elementwise(change, part)
        value = self.value(what, at.but(key, v.Dual(tag, base, change)))
        found = v.tangent(value, tag)
        value = v.drop(value, tag)
        return value, v.elementwise(number(0), value) if found is None else found


def _exp(x: Any) -> Any:
    if abs(x) > _LARGEST_EXPONENT:
        raise UndefinedError("an exponential too large to compute")
    return context().exp(x)


def _real(number: Any) -> Any:
    """The number; one such as (−1)^(1/3) lies on no side of a kink."""
    if number.imag != 0:
        raise UndefinedError("a number that is not real, where only a real one has a value")
    return number.real


def _log(x: Any) -> Any:
    if x == 0:
        raise UndefinedError("a logarithm of zero")
    return context().log(x)


@functools.lru_cache(maxsize=4096)  # some 100 µs each, and the same again in every derivative
def _density(x: Any) -> Any:
    return context().npdf(x)


@functools.lru_cache(maxsize=4096)
def _distribution(x: Any) -> Any:
    return context().ncdf(_real(x))


def _normal(order: int) -> Callable[[Any], Any]:
    """The density of the normal distribution: its derivatives are it times Hermite's polynomials."""

    def derivative(x: Any) -> Any:
        before, here = 0, 1
        for n in range(order):
            before, here = here, -x * here - n * before
        return here * _density(x)

    return derivative


def _any(order: int) -> Callable[[Any], Any]:
    """sin(x) + x²/5, as any smooth function does: what holds for every g holds for this one."""
    factor, power = ((1, 2), (2, 1), (2, 0), (0, 0))[min(order, 3)]
    return lambda x: context().sin(x + order * context().pi / 2) + factor * x**power / 5


_EXP, _LOG = _by_entry(_exp), _by_entry(_log)
_FUNCTIONS: dict[str, Callable[[int], Callable[[Any], Any]]] = {
    "exp": lambda order: _EXP,
    "log": lambda order: _LOG if order == 0 else functions_of("log")(order),
    "g": lambda order: _by_entry(_any(order)),
    "Φ": lambda order: _by_entry(_normal(order - 1) if order else _distribution),
    "φ": lambda order: _by_entry(_normal(order)),
    "relu": lambda order: _by_entry(lambda x: [x, context().one][order > 0] * (_real(x) > 0) if order < 2 else 0 * x),
}
