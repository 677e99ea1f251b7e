"""A step checked by algebra: both sides as SymPy's expressions for a concrete K, and their difference reduced to 0.

SymPy's own `simplify` tries too many things to be quick: `rational.py` reduces instead, and gives up
where it would take too long. "Equal" is always right; "different" could be wrong where symbols hide a relation, as
those of Φ(−x) and Φ(x) do.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.expressions import expression_of
from chainrule.derive.checking.indices import free_indices
from chainrule.derive.checking.polynomials import Effort, Roots, is_zero
from chainrule.derive.checking.rational import FinerRootNeeded, Rational
from chainrule.derive.setting import Setting, UndefinedError

sympy = require("sympy", "derive")

__all__ = ["agree"]

At = tuple[tuple[str, int], ...]


def agree(before: s.Node, after: s.Node, setting: Setting, classes_to_try: Sequence[int], effort: Effort) -> bool:
    """Whether both sides are the same for these numbers of classes and every value of the free indices.

    Raises
    ------
    GivenUpError
        It would take too long.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> total = s.SumOver("j", s.Indexed("ŷ", ("j",)))
    >>> agree(total, s.Quotient(s.Indexed("ŷ", ("i",)), s.Indexed("ŷ", ("i",))), OUTPUT_LAYER, [2, 3], Effort(5))
    True
    """
    for classes in classes_to_try:
        letters = free_indices([before, after], setting, classes)
        for values in itertools.product(*(range(1, count + 1) for count in letters.values())):
            at = tuple(zip(letters, values, strict=True))
            if not _equal(before, after, setting, classes, at, effort):
                return False
    return True


def _equal(before: s.Node, after: s.Node, setting: Setting, classes: int, at: At, effort: Effort) -> bool:
    root = 1
    while True:
        try:
            lefts, roots = _rational_entries(before, setting, classes, at, root, effort)
            rights, others = _rational_entries(after, setting, classes, at, root, effort)
            pairs = zip(lefts, rights, strict=True)
            return len(lefts) == len(rights) and all(is_zero(x - y, effort, {**roots, **others}) for x, y in pairs)
        except FinerRootNeeded as needed:
            root = math.lcm(root, needed.denominator)
        except ZeroDivisionError:
            raise UndefinedError("a division by zero") from None


def _rational_entries(
    node: s.Node, setting: Setting, classes: int, at: At, root: int, effort: Effort
) -> tuple[tuple[Any, ...], Roots]:
    known = _known(node, setting, classes, at, root)  # a step's right side is the next one's left
    if not known:
        value = expression_of(node, setting, classes, dict(at), effort)
        entries = list(value) if isinstance(value, sympy.MatrixBase) else [value]
        if any(entry.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo) for entry in entries):
            raise UndefinedError("a division by zero")
        to_rational = Rational(root, effort)
        known.append((tuple(to_rational.of(entry) for entry in entries), to_rational.roots))
    return known[0]


@functools.lru_cache(maxsize=4096)
def _known(node: s.Node, setting: Setting, classes: int, at: At, root: int) -> list[tuple[tuple[Any, ...], Roots]]:
    """What was computed before, or nothing yet."""
    return []
