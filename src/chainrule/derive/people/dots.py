"""Matrices and columns with dots between, or with all of their elements written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chainrule.derive.people.tree import Condition, Item, Node, names, num, transform, walk, with_names

__all__ = ["dotted", "undotted"]

_LAST = {"n", "Q", "P", "q", "K", "C", "N", "M", "m", "k", "d", "L", "c", "D", "J", "|V|"}


def dotted(trees: Sequence[Node]) -> int:
    """How many rows are written out in a matrix with dots; 0 where there is none."""
    for tree in trees:
        for part in walk(tree):
            if part.op == "mat" and any(1 in row for row in part.data):
                rows = [row for row in part.data if 0 in row]
                return max(len(rows), *(sum(1 for cell in row if cell == 0) for row in part.data))
    return max((_written_out(part) for tree in trees for part in walk(tree) if part.op == "mat"), default=0)


def _written_out(part: Node) -> int:
    """The size of a matrix or column whose elements are numbered from 1 without a gap."""
    size = max(len(part.data), *(len(row) for row in part.data))
    numbers = {item.value for name in names(part) for item in name.sub if item.kind == "number"}
    return size if size >= 2 and numbers == set(range(1, size + 1)) else 0


def undotted(node: Node, count: int) -> Node:
    """A matrix with dots as one of exactly the elements that are written."""

    def change(part: Node) -> Node | None:
        if part.op != "mat" or not any(1 in row for row in part.data):
            return None
        kids = tuple(_numbered(kid, count) for kid in part.kids)
        rows = tuple(tuple(0 for cell in row if cell == 0) for row in part.data)
        return Node("mat", kids, tuple(row for row in rows if row))

    return transform(node, change)


def _numbered(node: Node, count: int) -> Node:
    def last(side: Node) -> Node:
        return num(float(count)) if side.op == "name" and side.data.base in _LAST and not side.data.sub else side

    def items(old: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(Item("number", count) if i.kind == "letter" and i.value in _LAST else i for i in old)

    def change(part: Node) -> Node | None:
        if part.op == "ind":
            return Node("ind", (), tuple(Condition(last(c.left), c.rel, last(c.right)) for c in part.data))
        if part.op == "elem" and items(part.data) != part.data:
            return Node("elem", tuple(_numbered(kid, count) for kid in part.kids), items(part.data))
        return None

    return transform(with_names(node, lambda name: replace(name, sub=items(name.sub))), change)
