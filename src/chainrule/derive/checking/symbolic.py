"""A step checked by algebra: both sides as SymPy's expressions for a concrete K, and their difference reduced to 0.

SymPy's own `simplify` tries too many things to be quick: `rational.py` reduces instead, and gives up
where it would take too long. "Equal" is always right; "different" could be wrong where symbols hide a relation, as
those of Φ(−x) and Φ(x) do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from chainrule.boundary.extras import require
from chainrule.derive import syntax as s
from chainrule.derive.checking.expressions import expressions_of
from chainrule.derive.checking.given import aligned, free_indices
from chainrule.derive.checking.polynomials import Effort, GivenUpError, Roots, is_zero
from chainrule.derive.checking.rational import FinerRootNeeded, Rational
from chainrule.derive.people import values as v
from chainrule.derive.setting import Setting, TooLargeError, UndefinedError

sympy = require("sympy", "derive")

__all__ = ["agree"]

Letters = tuple[tuple[str, int], ...]  # and how far each counts


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
        letters = tuple(free_indices([before, after], setting, classes).items())
        if not _equal(before, after, setting, classes, letters, effort):
            return False
    return True


def _equal(before: s.Node, after: s.Node, setting: Setting, classes: int, letters: Letters, effort: Effort) -> bool:
    root = 1
    while True:
        try:
            left, roots = _rational(before, setting, classes, letters, root, effort)
            right, others = _rational(after, setting, classes, letters, root, effort)
            if v.shape(left) != v.shape(right):
                right = v.primal(v.transpose(right))
            lefts, rights, _ = aligned(left, right)
            pairs = dict.fromkeys(zip(lefts.flat, rights.flat, strict=True))
            return all(is_zero(x - y, effort, {**roots, **others}) for x, y in pairs)
        except FinerRootNeeded as needed:
            root = math.lcm(root, needed.denominator)
        except ZeroDivisionError:
            raise UndefinedError("a division by zero") from None


def _rational(
    node: s.Node, setting: Setting, classes: int, letters: Letters, root: int, effort: Effort
) -> tuple[v.Plain, Roots]:
    known = _known(node, setting, classes, letters, root)  # a step's right side is the next one's left
    if not known:
        try:
            found = expressions_of(node, setting, classes, {}, dict(letters), effort)
        except TooLargeError:
            raise GivenUpError from None
        if any(entry.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo) for entry in found.data.flat):
            raise UndefinedError("a division by zero")
        to_rational = _rewriter(setting, classes, root)
        to_rational.effort = effort
        entries = np.asarray(np.frompyfunc(to_rational.of, 1, 1)(found.data), dtype=object)
        known.append((v.Plain(entries, found.letters, found.matrix), to_rational.roots))
    return known[0]


@functools.lru_cache(maxsize=32)
def _rewriter(setting: Setting, classes: int, root: int) -> Rational:
    """What rewrites the expressions of a setting, and knows those that it has met."""
    return Rational(root, Effort(0))


@functools.lru_cache(maxsize=4096)
def _known(node: s.Node, setting: Setting, classes: int, letters: Letters, root: int) -> list[tuple[v.Plain, Roots]]:
    """What was computed before, or nothing yet."""
    return []
