"""A step checked by algebra: both sides as SymPy's expressions for a concrete K, and their difference reduced to 0.

SymPy's own `simplify` tries too many things to be quick: `chainrule.derive.rational` reduces instead. "Equal" is always
right; "different" could be wrong where symbols hide a relation, as those of √2 and 2 do.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from chainrule.derive import syntax as s
from chainrule.derive.expressions import expression_of
from chainrule.derive.indices import free_indices
from chainrule.derive.rational import FinerRootNeeded, Rational, is_zero
from chainrule.derive.setting import Setting, UndefinedError
from chainrule.extras import require

sympy = require("sympy", "derive")

__all__ = ["agree"]

At = tuple[tuple[str, int], ...]


def agree(before: s.Node, after: s.Node, setting: Setting, classes_to_try: Sequence[int]) -> bool:
    """Whether both sides are the same for these numbers of classes and every value of the free indices.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> total = s.SumOver("j", s.Indexed("ŷ", ("j",)))
    >>> agree(total, s.Quotient(s.Indexed("ŷ", ("i",)), s.Indexed("ŷ", ("i",))), OUTPUT_LAYER, [2, 3])
    True
    """
    for classes in classes_to_try:
        letters = free_indices([before, after], setting, classes)
        for values in itertools.product(*(range(1, count + 1) for count in letters.values())):
            at = tuple(zip(letters, values, strict=True))
            if not _equal(before, after, setting, classes, at):
                return False
    return True


def _equal(before: s.Node, after: s.Node, setting: Setting, classes: int, at: At) -> bool:
    root = 1
    while True:
        try:
            lefts = _rational_entries(before, setting, classes, at, root)
            rights = _rational_entries(after, setting, classes, at, root)
        except FinerRootNeeded as needed:
            root = math.lcm(root, needed.denominator)
            continue
        try:
            return len(lefts) == len(rights) and all(is_zero(x - y) for x, y in zip(lefts, rights, strict=True))
        except ZeroDivisionError:
            raise UndefinedError("a division by zero") from None


@functools.lru_cache(maxsize=4096)  # a step's right side is the next one's left
def _rational_entries(node: s.Node, setting: Setting, classes: int, at: At, root: int) -> tuple[Any, ...]:
    value = expression_of(node, setting, classes, dict(at))
    entries = list(value) if isinstance(value, sympy.MatrixBase) else [value]
    if any(entry.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo) for entry in entries):
        raise UndefinedError("a division by zero")
    to_rational = Rational(root)
    return tuple(to_rational.of(entry) for entry in entries)
