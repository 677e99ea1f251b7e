"""Where two values of a derivation differ, under what is said of their indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.derive.people.evaluate import Evaluator
from chainrule.derive.people.matrices import comparable
from chainrule.derive.people.tree import Condition, NotReadError
from chainrule.derive.people.values import FLOAT, Plain, Value, primal
from chainrule.derive.people.world import Context

__all__ = ["Difference", "difference"]

_TOLERANCE = 1e-12 if np.finfo(FLOAT).eps < 1e-18 else 1e-9


class Difference(NamedTuple):
    """Where two values differ most: the letters' values there, and both values."""

    at: dict[str, int]
    left: float
    right: float
    zero: bool = False  # whether one of the two is 0 everywhere


def difference(
    x: Value, y: Value, conditions: Sequence[Condition], evaluator: Evaluator, at: Context
) -> Difference | None:
    """Where two values differ most; None where they are equal.

    Raises
    ------
    MisfitError
        They cannot be compared.
    """
    a, b = primal(x), primal(y)
    a, b = comparable(a, b)
    names_ = tuple(dict.fromkeys(a.letters + b.letters))
    holds: Any = None
    for condition in conditions:
        value = primal(evaluator.condition(condition, at))
        names_ = tuple(dict.fromkeys(names_ + value.letters))
        holds = (
            value if holds is None else Plain(_outer(holds, value), tuple(dict.fromkeys(holds.letters + value.letters)))
        )
    left, right = _spread(a, names_), _spread(b, names_)
    left, right = np.broadcast_arrays(left, right)
    with np.errstate(all="ignore"):
        gap = np.abs(left - right)
        allowed = _TOLERANCE * (1 + np.abs(left) + np.abs(right))
        bad = ~(gap <= allowed)
    if holds is not None:
        mask = _spread(holds, names_) != 0
        mask = mask.reshape(mask.shape + (1,) * (bad.ndim - mask.ndim))
        bad, mask = np.broadcast_arrays(bad, mask)
        left, right, gap = (np.broadcast_to(v, bad.shape) for v in (left, right, gap))
        if not mask.any():
            raise NotReadError("the conditions never hold")
        bad = bad & mask
    if not bad.any():
        if np.isnan(left).all():
            raise NotReadError("it has no value")
        return None
    if not (bad & np.isfinite(left) & np.isfinite(right)).any():
        raise NotReadError("it has no value")
    score = np.where(bad & np.isfinite(left) & np.isfinite(right), np.nan_to_num(gap, nan=1e30, posinf=1e30), -1)
    place = np.unravel_index(int(score.argmax()), score.shape)
    where = {name: int(n) + 1 for name, n in zip(names_, place, strict=False) if not name.startswith(("★", "∂"))}
    zero = not left.any() or not right.any()
    return Difference(where, float(left[place]), float(right[place]), zero)


def _outer(x: Plain, y: Plain) -> Any:
    names_ = tuple(dict.fromkeys(x.letters + y.letters))
    return _spread(x, names_) * _spread(y, names_)


def _spread(v: Plain, names_: tuple[str, ...]) -> Any:
    order = [v.letters.index(n) for n in names_ if n in v.letters]
    tail = [len(v.letters), len(v.letters) + 1] if v.matrix else []
    data = v.data.transpose(order + tail)
    index = tuple(slice(None) if n in v.letters else None for n in names_) + (
        (slice(None), slice(None)) if v.matrix else ()
    )
    return data[index]
