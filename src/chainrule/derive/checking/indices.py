"""The indices of an expression: which letters are free, and how far each counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chainrule.derive import syntax as s
from chainrule.derive.checking.shapes import shape_of
from chainrule.derive.setting import Setting

__all__ = ["free_indices", "range_of"]


def free_indices(nodes: Sequence[s.Node], setting: Setting, classes: int) -> dict[str, int]:
    """The letters that no Σ and no vector binds, in the order of their appearance, and how far each counts.

    Examples
    --------
    >>> from chainrule.derive.setting import OUTPUT_LAYER
    >>> from chainrule.derive.syntax import Indexed, Indicator, Name, SumOver
    >>> free_indices([Name("𝓛"), SumOver("j", Indexed("ŷ", ("j",))), Indicator("i", 1)], OUTPUT_LAYER, 3)
    {'ℓ': 3, 'i': 3}
    """
    found: dict[str, int | None] = {}
    for node in nodes:
        for letter, length in _uses(node, setting, classes, frozenset()):
            if found.get(letter) is None:
                found[letter] = length
    return {letter: classes if length is None else length for letter, length in found.items()}


def range_of(node: s.SumOver, setting: Setting, classes: int) -> int:
    """How far a Σ counts: as far as the axis in which its index stands, where the limit is not written as another."""
    if node.limit == "K":
        for letter, length in _uses(node.body, setting, classes, frozenset()):
            if letter == node.index and length is not None:
                return length
    return setting.length(node.limit, classes)


def _uses(node: s.Node, setting: Setting, classes: int, bound: frozenset[str]) -> Iterator[tuple[str, int | None]]:
    """Each use of a letter that is not bound, with the length of the axis where it stands, if it stands in one."""

    def letters(indices: Sequence[s.Index | None], lengths: Sequence[int | None]) -> Iterator[tuple[str, int | None]]:
        for index, length in zip(indices, lengths, strict=False):
            if isinstance(index, str) and index != "K" and index not in bound:
                yield index, length

    match node:
        case s.Indexed(symbol, indices):
            axes = setting.axes(symbol, classes)
            yield from letters(indices, [*axes, *[None] * len(indices)])
            yield from _uses_in_definition(symbol, setting, classes, bound)
        case s.Name(symbol):
            yield from _uses_in_definition(symbol, setting, classes, bound)
        case s.Element(vector, indices):
            shape = shape_of(vector, setting, classes)
            lengths = [] if shape is None else list(shape) if len(indices) == 2 else [max(shape)]
            yield from letters(indices, [*lengths, *[None] * len(indices)])
            yield from _uses(vector, setting, classes, bound)
        case s.Indicator(left, right) | s.Comparison(left, "=" | "≠", right):
            yield from letters((left, right), (None, None))  # type: ignore[arg-type]  # of "=" the sides are indices
        case s.OneHot(index):
            yield from letters((index,), (None,))
        case s.SumOver(index, body, without):
            yield from letters((without,), (None,))
            yield from _uses(body, setting, classes, bound | {index})
        case _:
            for part in s.parts(node):
                yield from _uses(part, setting, classes, bound)


def _uses_in_definition(
    symbol: str, setting: Setting, classes: int, bound: frozenset[str]
) -> Iterator[tuple[str, int | None]]:
    entry = setting.defined.get(symbol)
    if entry is not None:
        yield from _uses(entry.expression, setting, classes, bound | set(entry.indices))
