"""A column that is written with dots: what stands in between, found from its first and last elements."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from chainrule.derive.syntax import Index, Node, Vector
from chainrule.errors import InputError

__all__ = ["PATTERN_INDEX", "vector_pattern"]

PATTERN_INDEX = "□"  # the index of an element where a vector is written with dots; no reader makes this letter


def vector_pattern(vector: Vector) -> Node | None:
    """What stands at index □ of a vector that is written with dots, found from its first and last elements; None where
    no dots are.

    Raises
    ------
    InputError
        The elements do not show a pattern.

    Examples
    --------
    >>> from chainrule.derive.syntax import Indexed
    >>> vector_pattern(Vector((Indexed("ŷ", (1,)), None, Indexed("ŷ", ("K",)))))
    Indexed(symbol='ŷ', indices=('□',))
    """
    if None not in vector.elements:
        return None
    at = vector.elements.index(None)
    before = [element for element in vector.elements[:at] if element is not None]
    after = [element for element in vector.elements[at:] if element is not None]
    if not before or len(after) != 1 or vector.elements.count(None) != 1:
        raise InputError("a vector with dots is written as its first elements, dots, and its last element")
    pattern: Node | None = _common(before[0], after[0])
    for n, element in enumerate(before, start=1):
        if pattern is None or _at_index(pattern, n) != element:
            raise InputError(
                f"element {n if pattern else 'K'} of the vector does not continue what its first one begins"
            )
    return pattern


def _common(first: Any, last: Any) -> Any:
    """What both are an instance of, with □ where the first has 1 and the last has K; None where there is no such."""
    if first == 1 and last == "K" and isinstance(first, int):
        return PATTERN_INDEX
    if isinstance(first, tuple) and isinstance(last, tuple) and len(first) == len(last):
        parts = tuple(_common(f, g) if f is not None else None for f, g in zip(first, last, strict=True))
        return None if any(p is None and f is not None for p, f in zip(parts, first, strict=True)) else parts
    if isinstance(first, Node) and type(first) is type(last):
        values = {}
        for one in fields(first):  # type: ignore[arg-type]
            f, g = getattr(first, one.name), getattr(last, one.name)
            values[one.name] = _common(f, g)
            if values[one.name] is None and not (f is None and g is None):
                return None
        return type(first)(**values)
    return first if first == last and type(first) is type(last) else None


def _at_index(pattern: Any, n: Index) -> Any:
    if pattern == PATTERN_INDEX:
        return n
    if isinstance(pattern, tuple):
        return tuple(_at_index(part, n) for part in pattern)
    if isinstance(pattern, Node):
        values = {one.name: _at_index(getattr(pattern, one.name), n) for one in fields(pattern)}  # type: ignore[arg-type]
        return type(pattern)(**values)
    return pattern
