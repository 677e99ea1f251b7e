"""What a side of an equation is read into before anything is decided about what its letters mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__ = [
    "Bound",
    "Condition",
    "Item",
    "Name",
    "Node",
    "NotReadError",
    "conditions_of",
    "names",
    "num",
    "relettered",
    "transform",
    "walk",
    "with_names",
]


class NotReadError(Exception):
    """Something that is not understood, in words for its writer."""


class Item(NamedTuple):
    """A part of a subscript or superscript. `kind`: letter, number, shifted (l+1, as ("l", 1)), round or square (a
    tuple of items in brackets), word, star, condition (i ≠ k), or name (a Node: f_{y_i})."""

    kind: str
    value: Any


class Condition(NamedTuple):
    """left rel right: rel is =, ≠, <, >, ≤, ≥ or ∈; the sides are Nodes."""

    left: Any
    rel: str
    right: Any


@dataclass(frozen=True)
class Name:
    """A letter or word with its scripts as they are written. `font` tells 𝓛 from L, and bold from plain."""

    base: str
    sub: tuple[Item, ...] = ()
    sup: tuple[Item, ...] = ()
    primes: int = 0
    bold: bool = False


class Bound(NamedTuple):
    """What stands below and above a Σ: its letters (none where it is bare), conditions, and the limits."""

    letters: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    lower: Any = None
    upper: Any = None


@dataclass(frozen=True)
class Node:
    """An operation, what it is made of, and what else it needs. The operations: num, name, neg, add, mul (data: the
    signs written between), div, pow, T, fn, app (a name before a bracket), D (what, and by what), grad, sum, prod, max,
    min, cases, mat, ind, elem, claim (a value and what a brace below it says), abs, norm, inner, given, alt."""

    op: str
    kids: tuple[Node, ...] = ()
    data: Any = None

    def with_kids(self, kids: tuple[Node, ...]) -> Node:
        return replace(self, kids=kids)


def num(value: float) -> Node:
    return Node("num", (), value)


def walk(node: Node) -> tuple[Node, ...]:
    """A node and everything in it, that in its scripts and conditions too."""
    found: tuple[Node, ...] | None = node.__dict__.get("_walked")
    if found is None:  # every reading walks again over the same trees
        found = tuple(_walked(node))
        object.__setattr__(node, "_walked", found)
    return found


def _walked(node: Node) -> Iterator[Node]:
    yield node
    for kid in node.kids:
        yield from _walked(kid)
    if isinstance(node.data, Name):
        for item in node.data.sub + node.data.sup:
            if item.kind == "name":
                yield from _walked(item.value)
    for condition in conditions_of(node):
        for side in (condition.left, condition.right):
            if isinstance(side, Node):
                yield from _walked(side)


def conditions_of(node: Node) -> tuple[Condition, ...]:
    if node.op == "cases":
        return tuple(c for group in node.data for c in (group or ()))
    if isinstance(node.data, Bound):
        return node.data.conditions
    return node.data if node.op == "ind" else ()


def names(node: Node) -> Iterator[Name]:
    """Every name in a tree."""
    for part in walk(node):
        if isinstance(part.data, Name):
            yield part.data


def transform(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with each node for which `change` gives another replaced by it, from the outside in."""
    changed = change(node)
    if changed is not None:
        return changed
    kids = tuple(transform(kid, change) for kid in node.kids)
    return node if all(a is b for a, b in zip(kids, node.kids, strict=True)) else node.with_kids(kids)


def with_names(node: Node, change: Callable[[Name], Name]) -> Node:
    """The tree with its names changed."""

    def look(part: Node) -> Node | None:
        if not isinstance(part.data, Name) or (name := change(part.data)) == part.data:
            return None
        return Node(part.op, tuple(with_names(kid, change) for kid in part.kids), name)

    return transform(node, look)


def relettered(node: Node, letters: Mapping[str, Item]) -> Node:
    """The tree with other items in place of some index letters, also of those that a Σ runs over."""

    def item(one: Item) -> Item:
        if one.kind == "letter":
            return letters.get(one.value, one)
        if one.kind in ("round", "square"):
            return Item(one.kind, tuple(map(item, one.value)))
        if one.kind == "name":
            return Item("name", relettered(one.value, letters))
        return one

    def condition(one: Condition) -> Condition:
        left, right = (relettered(s, letters) if isinstance(s, Node) else s for s in (one.left, one.right))
        return Condition(left, one.rel, right)

    def look(part: Node) -> Node | None:
        data = part.data
        if part.op == "name" and not data.sub and not data.sup and data.base in letters:
            return _as_index(letters[data.base])
        if isinstance(data, Name):
            data = replace(data, sub=tuple(map(item, data.sub)), sup=tuple(map(item, data.sup)))
        elif isinstance(data, Bound):
            bound = tuple(str(letters[n].value) if n in letters else n for n in data.letters)
            limits = (relettered(s, letters) if isinstance(s, Node) else s for s in (data.lower, data.upper))
            data = Bound(bound, tuple(map(condition, data.conditions)), *limits)
        elif part.op == "elem":
            data = tuple(map(item, data))
        elif part.op == "ind":
            data = tuple(map(condition, data))
        elif part.op == "cases":
            data = tuple(tuple(map(condition, group)) if group else group for group in data)
        if data == part.data:
            return None
        return Node(part.op, tuple(relettered(kid, letters) for kid in part.kids), data)

    return transform(node, look)


def _as_index(item: Item) -> Node:
    if item.kind == "number":
        return num(float(item.value))
    return item.value if item.kind == "name" else Node("name", (), Name(str(item.value)))
