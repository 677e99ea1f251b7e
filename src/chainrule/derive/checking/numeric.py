"""A step checked by numbers: both sides at random points, to 50 digits, by mpmath. No function and no derivative here
or in `chainrule.derive.checking.values` comes from SymPy.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from chainrule.derive import syntax as s
from chainrule.derive.checking.given import Point, aligned, free_indices, shape_words
from chainrule.derive.checking.values import array_at, context
from chainrule.derive.people import values as v
from chainrule.derive.setting import Free, MisfitError, Setting
from chainrule.derive.syntax import Node

__all__ = ["find_difference", "random_point"]

_TOLERANCE = 40  # digits that must agree
_POINTS = 2  # for each number of classes


def find_difference(
    before: Node, after: Node, setting: Setting, classes_to_try: Sequence[int]
) -> dict[str, Any] | None:
    """The first point at which the two sides differ, or None.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> from chainrule.derive.syntax import Call, Indexed, Name
    >>> find_difference(Name("𝓛"), Call("log", Indexed("ŷ", ("ℓ",))), OUTPUT_LAYER, [2])["K"]
    2
    """
    for classes in classes_to_try:
        letters = free_indices([before, after], setting, classes)
        for seed in range(_POINTS):
            for at in _assignments(letters, classes, seed):
                sides = [_cached(side, setting, classes, at, seed, tuple(letters.items())) for side in (before, after)]
                left, right = sides
                if v.shape(left) != v.shape(right):
                    right = _turned(left, right, classes, orientation_is_free(before, after, setting))
                where = _first_difference(left, right)
                if where is not None:
                    return _counterexample(where, setting, classes, dict(at), seed)
    return None


def orientation_is_free(before: Node, after: Node, setting: Setting) -> bool:
    """Whether a row may equal a column: books differ on which ∂𝓛/∂a of a vector a is, and the lecture does not say."""
    derivatives = [part for part in (before, after) if isinstance(part, s.Derivative)]
    return any(isinstance(d.variable, s.Name) and setting.axes(d.variable.symbol, 2) for d in derivatives)


def _turned(left: v.Plain, right: v.Plain, classes: int, is_free: bool) -> v.Plain:
    """A row beside a column, where that may be."""
    a, b = v.shape(left), v.shape(right)
    if is_free and a is not None and b == a[::-1]:
        return v.primal(v.transpose(right))
    raise MisfitError(f"the dimensions differ: {shape_words(a)} before, {shape_words(b)} here (K = {classes})")


def _assignments(letters: Mapping[str, int], classes: int, seed: int) -> list[tuple[tuple[str, int], ...]]:
    """Values for the free indices: none where they are few, and are all tried at once; else each way of being equal or
    different."""
    names, counts = list(letters), list(letters.values())
    total = 1
    for count in counts:
        total *= count
    if classes <= 5 and total <= 125:
        return [()]
    if total <= 4:
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
def _cached(
    node: Node, setting: Setting, classes: int, at: tuple[tuple[str, int], ...], seed: int, sizes: tuple[Any, ...]
) -> v.Plain:
    return array_at(node, setting, classes, random_point(setting, classes, seed), dict(at), dict(sizes))


@functools.lru_cache(maxsize=64)
def random_point(setting: Setting, classes: int, seed: int) -> Point:
    """Values for the free names, the same at every call, with two decimals so that a counterexample can be read.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> len(random_point(OUTPUT_LAYER, 5, 0)["a_L"])
    5
    """
    point: dict[str, Any] = {}
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
    return [context().mpf(value.numerator) / value.denominator for value in values]


class _Gap(NamedTuple):
    """Where two sides differ: the letters' values there, which element (None of a number), and both values."""

    letters: dict[str, int]
    element: int | None
    left: Any
    right: Any


def _first_difference(left: v.Plain, right: v.Plain) -> _Gap | None:
    lefts, rights, letters = aligned(left, right)
    gap = np.abs(lefts - rights)
    largest = max([abs(x) for x in (*left.data.flat, *right.data.flat)], default=0)
    bad = np.asarray(gap > max(largest, context().mpf(10) ** -6) * context().mpf(10) ** -_TOLERANCE)
    if not bad.any():
        return None
    place = tuple(int(n) for n in np.argwhere(bad)[0])
    element = None
    if left.matrix:
        element = place[-2] * left.data.shape[-1] + place[-1] + 1
    return _Gap({n: k + 1 for n, k in zip(letters, place, strict=False)}, element, lefts[place], rights[place])


def _counterexample(where: _Gap, setting: Setting, classes: int, at: dict[str, int], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"K": classes}
    for symbol, value in random_point(setting, classes, seed).items():
        shown: Any = _shown(value)
        if len(setting.axes(symbol, classes)) == 1:
            shown = [row[0] for row in shown]
        found["logits" if symbol == "a_L" else symbol] = shown
    for letter, index in {**at, **where.letters}.items():
        found["label" if letter == "ℓ" else letter] = index
    if where.element is not None:
        found["element"] = where.element
    return {**found, "left": _shown(where.left), "right": _shown(where.right)}


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(part) for part in value]
    number = context().mpmathify(value)
    return float(number.real) if number.imag == 0 else str(complex(number))
