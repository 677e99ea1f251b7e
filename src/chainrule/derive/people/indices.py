"""What index letters run over, and what conditions mean, under a reading."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.derive.people.facts import flat_items, tagged
from chainrule.derive.people.reading import Access, Reading
from chainrule.derive.people.scripts import NUMBERED
from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node, NotReadError, conditions_of, names, walk
from chainrule.derive.people.values import (
    FLOAT,
    MisfitError,
    Plain,
    Value,
    add,
    elementwise,
    neg,
    primal,
    scalar,
)
from chainrule.derive.people.world import Context, World

__all__ = ["Indices"]

_INDEX_LETTERS = set("ijklmnrstcqpuvw") | {"ℓ"}


class Indices(ABC):
    def __init__(self, reading: Reading, world: World, sides: list[Node], head: set[str]) -> None:
        self.reading = reading
        self.world = world
        self.sides = sides  # of the whole chain: a letter that one side does not show, another may
        self.head = head  # letters that are free in the first side
        self.open = head  # with those that its names hide
        self.scopes: list[tuple[set[str], Node, Bound]] = []
        self.assumed: list[Condition] = []  # conditions that names state on the way, as z_{i ≠ k}
        self.choice = 0
        self.thin = reading["units"] == "one each"
        self.prepared: Callable[[Node], Node] = lambda tree: tree
        self._depth = 0
        self._sizes: dict[str, int | None] = {}

    @abstractmethod
    def value(self, node: Node, at: Context) -> Value: ...

    def accessed(self, name: Name) -> Access:
        return self.reading.access(name, self.world.batch)

    def count(self, base: str) -> int:
        """What a letter counts, as a number."""
        what = self.reading.facts.counts.get(base, "classes")
        if what == "samples" and self.reading["network"] == "layers":
            return self.world.sizes["#N"] if self.world.batch else 1
        return self.world.sizes["#0" if what == "inputs" else f"#{self.reading.layers}"]

    # --- What letters run over ----------------------------------------------------------------------------------------

    def size_of(self, letter: str) -> int:
        """How many values a letter has.

        Raises
        ------
        MisfitError
            Nothing says it.
        """
        for bound_letters, body, bound in reversed(self.scopes):
            if letter in bound_letters:
                found = self._size_in(body, letter) or self._size_by_limit(bound, letter)
                if found is None:
                    for condition in bound.conditions:
                        other = _other(condition, letter)
                        found = found or (self.size_of(other) if other is not None and other != letter else None)
                if found is None and self.uses(body, letter):
                    raise MisfitError(f"nothing says what {letter} runs over")
                return found or self.world.sizes[f"#{self.reading.layers}"]
        if letter not in self._sizes:
            found = next((n for side in self.sides if (n := self._size_in(side, letter)) is not None), None)
            self._sizes[letter] = found
        known = self._sizes[letter]
        if known is None:
            return self.world.sizes[f"#{self.reading.layers}"]
        return known

    def _size_by_limit(self, bound: Bound, letter: str) -> int | None:
        upper = bound.upper
        if isinstance(upper, Node) and upper.op == "name" and self.reading.kind(upper.data.base) == "count":
            return self.count(upper.data.base)
        return self.world.sizes[f"#{self.reading.layers}"] if bound.letters == (letter,) and upper is not None else None

    def _size_in(self, node: Node, letter: str, seen: frozenset[str] = frozenset()) -> int | None:
        """What a letter runs over where it stands in a tree."""
        bound = isinstance(node.data, Bound) and letter in node.data.letters
        if bound:
            return None
        if node.op in ("name", "app", "appow") and isinstance(node.data, Name):
            found = self._size_in_name(node.data, letter)
            if found is not None:
                return found
        for kid in node.kids:
            found = self._size_in(kid, letter, seen)
            if found is not None:
                return found
        for condition in conditions_of(node):
            other = _other(condition, letter)
            if other is not None and other not in seen:
                for side in self.sides:
                    found = self._size_in(side, other, seen | {letter})
                    if found is not None:
                        return found
        return None

    def _size_in_name(self, name: Name, letter: str) -> int | None:
        mentioned = any(item.kind == "letter" and item.value == letter for item in flat_items(name.sub + name.sup))
        nested = any(item.kind in ("name", "condition") for item in name.sub)
        if not mentioned and not nested:
            return None
        try:
            access = self.accessed(name)
        except (NotReadError, MisfitError):
            return None
        for axis, pick in zip(access.axes, access.picks, strict=True):
            if pick == letter and axis in self.world.sizes:
                return self.world.sizes[axis]
        return None

    def uses(self, node: Node, letter: str) -> bool:
        if isinstance(node.data, Name) and any(
            i.kind == "letter" and i.value == letter for i in flat_items(node.data.sub + node.data.sup)
        ):
            return True
        return any(self.uses(kid, letter) for kid in node.kids)

    def unbound(self, body: Node) -> tuple[str, ...]:
        """The letters that a Σ without an index runs over: those of its body that the first side does not have."""
        found: dict[str, None] = {}

        def look(node: Node, bound: frozenset[str]) -> None:
            inner = bound | set(node.data.letters) if isinstance(node.data, Bound) else bound
            if node.op == "name":
                try:
                    access = self.accessed(node.data)
                except (NotReadError, MisfitError):
                    return
                for pick in access.picks:
                    if isinstance(pick, str) and pick != "★" and pick not in inner and pick not in self.head:
                        found[pick] = None
            if node.op == "elem":
                for item in node.data:
                    if item.kind == "letter" and item.value not in inner and item.value not in self.head:
                        found[item.value] = None
            for kid in node.kids:
                look(kid, inner)

        said = self.reading["bare sum"]
        if said and self.uses(body, said):
            return (said,)
        look(body, frozenset())
        return tuple(found)

    def bound_letters(self, bound: Bound) -> tuple[str, ...]:
        """The letters that a Σ runs over: of i ≠ j that which the first side does not have."""
        if len(bound.letters) == 1 and bound.conditions and bound.lower is None and bound.letters[0] in self.head:
            other = _other(bound.conditions[0], bound.letters[0])
            if other is not None and other not in self.head:
                return (other,)
        return bound.letters

    def moved(self) -> list[tuple[Any, ...]]:
        """Of the names that the chain writes with a d, the earliest in the network."""
        found: dict[tuple[Any, ...], int] = {}
        for side in self.sides:
            for part in walk(side):
                if part.op == "differential" and part.kids:
                    for name in names(part.kids[0]):
                        try:
                            key = self.accessed(name).key
                        except (NotReadError, MisfitError):
                            continue
                        if key[0] in ("free", "def"):  # a definition made of another moves with it
                            found[key] = 0 if key[0] == "free" else 1 + self._depth_of(key[1], set())
                            continue
                        order = {"W": 0, "b": 0, "a": 1, "h": 2}.get(key[0])
                        if order is not None:
                            found[key] = 10 * int(key[1]) + order
        if not found:
            raise NotReadError("a differential of what is not known")
        if len({key[0] in ("free", "def") for key in found}) > 1:
            raise NotReadError("a differential of what the file defines, beside one of the network")
        first = min(found.values())
        if any(key[0] == "def" for key in found) and first:
            return [key for key in found if not self.made_of(key[1], {k[1] for k in found} - {key[1]})]
        return [key for key, place in found.items() if place == first]

    def written_d(self) -> set[str]:
        """The names that a chain writes with a d."""
        parts = (part for side in self.sides for part in walk(side) if part.op == "differential" and part.kids)
        return {name.base for part in parts for name in names(part.kids[0])}

    def _depth_of(self, base: str, seen: set[str]) -> int:
        definition = self.reading.definitions.get(base)
        if definition is None or base in seen:
            return 0
        below = {tagged(name, self.reading.facts)[0] for name in names(definition.node)}
        return 1 + max((self._depth_of(one, seen | {base}) for one in below), default=0)

    def made_of(self, base: str, others: set[str]) -> bool:
        """Whether a definition leads to one of some other names."""
        seen: set[str] = set()
        ahead = [base]
        while ahead:
            definition = self.reading.definitions.get(ahead.pop())
            for name in names(definition.node) if definition is not None else ():
                key = tagged(name, self.reading.facts)[0]
                if key in others:
                    return True
                if key not in seen:
                    seen.add(key)
                    ahead.append(key)
        return False

    def bound_conditions(self, bound: Bound) -> list[Condition]:
        found = list(bound.conditions)
        lower = bound.lower
        if (
            isinstance(lower, Node)
            and lower.op == "num"
            and lower.data > 1 - self.reading.facts.zero_based
            and len(bound.letters) == 1
        ):
            found.append(Condition(Node("name", (), Name(bound.letters[0])), "≥", lower))
        if isinstance(lower, Node) and len(bound.letters) == 1 and isinstance(self._index(lower), (str, tuple)):
            found.append(
                Condition(Node("name", (), Name(bound.letters[0])), "=" if bound.upper is None else "≥", lower)
            )
        return found

    # --- Conditions ---------------------------------------------------------------------------------------------------

    def condition(self, condition: Condition, at: Context) -> Value:
        """1 where a condition holds, 0 elsewhere."""
        left, right = self._index(condition.left), self._index(condition.right)
        if left is None or right is None:
            return self._compared(condition, at)
        return _holds(add(self._positions(left, right), neg(self._positions(right, left))), condition.rel)

    def _index(self, node: Any) -> Any:
        """An index as a letter, a number or a label; None of anything else."""
        if not isinstance(node, Node):
            return None
        if node.op == "num" and float(node.data).is_integer():
            return int(node.data)
        if node.op != "name":
            return None
        name: Name = node.data
        if len(name.base) > 3 and any(word in name.base for word in ("true", "label", "correct", "target", "gold")):
            return ("label",)
        kind = self.reading.kind(name.base)
        if kind == "label" or (kind == "y" and not self._unit_items(name)):
            found = [i.value for i in flat_items(name.sub + name.sup) if i.kind == "letter"]
            return ("label", *found[:1])
        if name.sup == (Item("star", "*"),) and not name.sub and name.base in _INDEX_LETTERS:
            return ("label",) if self.reading.is_label(name.base + "*") else name.base + "*"
        if self.reading.is_label(name.base) and not name.sub:
            return ("label",)
        if name.base in NUMBERED and [i.kind for i in name.sub] == ["number"] and not name.sup and not kind:
            return f"{name.base}{name.sub[0].value}"
        bare = not name.sub and not name.sup
        if bare and (kind in ("", "count", "const") or name.base in _INDEX_LETTERS):
            if kind == "count" and name.base not in self.reading.facts.labels:
                return self.count(name.base)
            return name.base + "'" * name.primes
        return None

    def _unit_items(self, name: Name) -> list[Item]:
        return [
            i
            for i in flat_items(name.sub)
            if i.kind in ("letter", "number") and i.value not in self.reading.facts.sample_letters
        ]

    def _positions(self, index: Any, other: Any) -> Plain:
        if isinstance(index, int):
            return scalar(index - 1 + self.reading.facts.zero_based)
        if isinstance(index, tuple):
            labels = self.world.labels
            if not self.world.batch:
                return scalar(int(labels[0]))
            letter = index[1] if len(index) > 1 else "★"
            return Plain(labels.astype(FLOAT), (letter,))
        size = self._shared_size(index, other)
        return Plain(np.arange(size, dtype=FLOAT), (index,))

    def _shared_size(self, letter: str, other: Any) -> int:
        bound = any(letter in inner for inner, _, _ in self.scopes)
        if not bound and letter not in self._sizes:
            found = next((n for side in self.sides if (n := self._size_in(side, letter)) is not None), None)
            if found is None and isinstance(other, str) and other != letter:
                found = self.size_of(other)
            if found is not None:
                self._sizes[letter] = found
        return self.size_of(letter)

    def _compared(self, condition: Condition, at: Context) -> Value:
        of = condition.left.op == "name" and self.reading.kind(condition.left.data.base) in ("a", "h")
        if of and condition.rel in "<>≤≥" and self.reading["activation"] != "relu":
            raise NotReadError("a condition on the activations")
        return _holds(add(self.value(condition.left, at), neg(self.value(condition.right, at))), condition.rel)

    def _cases(self, node: Node, at: Context) -> Value:
        left: Value = scalar(1)
        whole: Value | None = None
        for kid, conditions in zip(node.kids, node.data, strict=True):
            holds: Value = scalar(1)
            for condition in conditions or ():
                holds = elementwise(holds, self.condition(condition, at))
            part = elementwise(self.value(kid, at), elementwise(left, holds))
            whole = part if whole is None else add(whole, part)
            left = elementwise(left, add(scalar(1), neg(holds)))
        assert whole is not None
        here = primal(left)
        if (here.data > 0.5).any() and not self.assumed:
            hole = np.where(here.data > 0.5, np.nan, 0).astype(FLOAT)
            whole = add(whole, Plain(hole, here.letters, here.matrix))
        return whole

    def _ind(self, node: Node, at: Context) -> Value:
        found: Value = scalar(1)
        for condition in node.data:
            found = elementwise(found, self.condition(condition, at))
        return found

    def assume(self, condition: Condition) -> None:
        if condition not in self.assumed:
            self.assumed.append(condition)


_COMPARED = {
    "=": operator.eq, "≠": operator.ne, "<": operator.lt, ">": operator.gt, "≤": operator.le, "≥": operator.ge
}  # fmt: skip


def _holds(gap: Value, rel: str) -> Plain:
    """1 where what lies between two sides is as the relation says, else 0."""
    here = primal(gap)
    if rel not in _COMPARED:
        raise NotReadError("a condition is not read")
    return Plain(_COMPARED[rel](here.data, 0).astype(FLOAT), here.letters, here.matrix)


def _other(condition: Condition, letter: str) -> str | None:
    """The letter that a condition compares with another."""
    sides = [
        side.data.base if isinstance(side, Node) and side.op == "name" and not side.data.sub else None
        for side in (condition.left, condition.right)
    ]
    if letter == sides[0]:
        return sides[1]
    return sides[0] if letter == sides[1] else None
