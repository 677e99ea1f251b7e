"""A step checked by numbers: both sides at random points, to 50 digits, by mpmath. Nothing here or in
`chainrule.derive.checking.values` comes from SymPy, so that a mistake in one way of checking is not the other's.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from chainrule.derive.checking.indices import free_indices
from chainrule.derive.checking.values import Point, Value, context, entries_of, value_at
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
    return [context().mpf(value.numerator) / value.denominator for value in values]


def _first_difference(left: Value, right: Value) -> tuple[int | None, Any, Any] | None:
    """Which element differs (None for a number), and both values. A row is compared with a column element by element:
    whether the two may be equal was decided by their shapes."""
    lefts, rights = entries_of(left), entries_of(right)
    if len(lefts) != len(rights):
        raise MisfitError(f"{len(lefts)} elements before and {len(rights)} here")
    if isinstance(left, list) and isinstance(right, list) and len(left) != len(right):
        rights = entries_of([list(column) for column in zip(*right, strict=True)])
    ten = context().mpf(10)
    for n, (x, y) in enumerate(zip(lefts, rights, strict=True), start=1):
        scale = max(abs(x), abs(y), ten**-6)
        if abs(x - y) > scale * ten**-_TOLERANCE:
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
    number = context().mpmathify(value)
    return float(number.real) if number.imag == 0 else str(complex(number))
