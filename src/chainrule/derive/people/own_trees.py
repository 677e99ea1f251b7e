"""A file's formulas where nothing is known but what it defines: a function of indices is a name with these indices, a
name before a bracket and alone is two names, and what a derivative is taken by is a name of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.facts import flat_items
from chainrule.derive.people.roles import USUAL
from chainrule.derive.people.tree import Bound, Item, Name, Node, names, relettered, transform, walk

__all__ = ["own_notes", "relettered_apart"]

_OWN = "\u00b0"  # behind a letter: one that the file does not write so


def own_notes(notes: Notes) -> Notes:
    """The file with its formulas so rewritten, side by side with those that it has."""
    for step in (_features, _values, _loss):
        change = step(notes)
        notes = _changed(notes, change) if change is not None else notes
    return _parts(notes)


def _changed(notes: Notes, change: Callable[[Node], Node | None]) -> Notes:
    def of(chain: Chain) -> Chain:
        sides = [replace(s, node=transform(s.node, change)) if s.node is not None else s for s in chain.sides]
        return replace(chain, sides=sides)

    return replace(notes, chains=[of(c) for c in notes.chains], inline=[of(c) for c in notes.inline])


# --- φ(s, a) ----------------------------------------------------------------------------------------------------------


def _features(notes: Notes) -> Callable[[Node], Node | None] | None:
    """φ(s, a_k) and P_y(i), where s, a and i stand for nothing but what a function is of, as names with indices."""
    trees = notes.trees
    inside: Counter[str] = Counter()  # how often a letter is an argument alone
    calls: dict[str, list[Node]] = {}
    by: set[str] = set()
    indices = {
        letter for t in trees for part in walk(t) if isinstance(part.data, Bound) for letter in part.data.letters
    }
    for part in (part for tree in trees for part in walk(tree)):
        if isinstance(part.data, Name):
            indices |= {str(i.value) for i in flat_items(part.data.sub) if i.kind == "letter"}
        if part.op == "app":
            calls.setdefault(part.data.base, []).append(part)
            inside.update(kid.data.base for kid in map(_given, part.kids) if kid.op == "name")
        if part.op in ("D", "grad"):
            by |= {name.base for kid in part.kids[1:] for name in names(kid)}
    values = _values_of(trees)
    only = {base for base, count in inside.items() if count == values[base] and base not in by}

    def is_index(kid: Node) -> bool:
        return kid.op == "name" and kid.data.base in only and len(kid.data.sub) < 2 and not kid.data.sup

    def turns(base: str) -> bool:
        every = calls[base]
        several = any(len(call.kids) > 1 for call in every)
        return all(
            all(map(is_index, map(_given, call.kids)))
            and not call.data.primes
            and (several or any(kid.data.base in indices for kid in map(_given, call.kids)))
            for call in every
        )

    turned = {base for base in calls if turns(base)}
    alone = {part.data.base for tree in trees for part in walk(tree) if part.op in ("name", "appow")}
    one_thing = {  # H(y, σ(z)), wherever it stands
        base for base, every in calls.items()
        if base not in alone | turned and len(set(every)) == 1 and len(every[0].kids) > 1 and not every[0].data.primes
        and not any(kid.op in ("ind", "given") for kid in every[0].kids)
    }  # fmt: skip
    if not turned | one_thing:
        return None

    def change(part: Node) -> Node | None:
        if part.op == "app" and part.data.base in one_thing:
            return Node("name", (), part.data)
        if part.op != "app" or part.data.base not in turned:
            return None
        words = "".join(_spelt(i) for i in flat_items(part.data.sub))
        below = (Item("word", words),) if words else ()
        kids = [*map(_given, part.kids)]
        letters = [_spelt(kid.data.sub[0]) if kid.data.sub else kid.data.base for kid in kids]
        given = tuple(Item("letter", letter + "'" * kid.data.primes) for letter, kid in zip(letters, kids, strict=True))
        return Node("name", (), replace(part.data, sub=(*below, *given)))

    return change


def _values_of(trees: Iterable[Node]) -> Counter[str]:
    """How often each letter is a value: also within brackets, but not as an index or in a condition."""
    found: Counter[str] = Counter()

    def look(node: Node) -> None:
        if isinstance(node.data, Name):
            found[node.data.base] += 1
        for kid in node.kids:
            look(kid)

    for tree in trees:
        look(tree)
    return found


def _given(node: Node) -> Node:
    """What stands behind the bar of π(a | s)."""
    return node.kids[0] if node.op == "given" else node


def _spelt(item: Item) -> str:
    if item.kind == "name" and item.value.op == "name":
        return str(item.value.data.base)
    return str(item.value)


# --- σ beside σ(z) ----------------------------------------------------------------------------------------------------


def _values(notes: Notes) -> Callable[[Node], Node | None] | None:
    """σ alone, where σ(z) stands as well, as a name of its own: what the file says it is, or the one σ(z) there is."""
    trees = notes.trees
    called: dict[str, set[Node]] = {}
    for part in (part for tree in trees for part in walk(tree)):
        if part.op == "app" and len(part.kids) == 1 and not part.data.sub:
            called.setdefault(part.data.base, set()).add(part.kids[0])
    said = set()
    for one, other in (pair for chain in notes.every for pair in itertools.pairwise(chain.sides)):
        if one.node is None or other.node is None or one.node.op != "name" or not other.joined:
            continue
        name = one.node.data
        itself = any(part.op == "app" and part.data.base == name.base for part in walk(other.node))
        if name.base in called and not name.primes and (itself or name.sub):
            said.add(name.base)
    if not said:
        return None

    def change(part: Node) -> Node | None:
        if part.op == "name" and part.data.base in said:
            return Node("name", (), replace(part.data, base=part.data.base + _OWN))
        if part.op == "app" and part.data.base in said and len(part.kids) == 1 and not part.data.primes:
            alone = Node("name", (), Name(part.data.base))
            if part.kids[0] == Node("add", (Node("num", (), 1.0), Node("neg", (alone,)))):  # σ (1 − σ)
                kids = (transform(alone, change), transform(part.kids[0], change))
                return Node("mul", kids, ("",))
        return None

    return change


def _loss(notes: Notes) -> Callable[[Node], Node | None] | None:
    """The ∂²/∂θ² of nothing as that of the one loss that the file defines."""
    heads = [chain.sides[0].node for chain in notes.every if len(chain.sides) > 1]
    defined = {
        node for node in heads if node is not None and node.op == "name" and USUAL["L"].get(node.data.base, 0) > 0.4
    }
    if len(defined) != 1:
        return None
    whole = defined.pop()
    return lambda part: whole if part.op == "loss" else None


# --- ∂E/∂(u_j·v) ------------------------------------------------------------------------------------------------------


def _parts(notes: Notes) -> Notes:
    """What a derivative is taken by, where that is more than a name, as a name that the file defines so."""
    patterns: dict[Node, None] = {}
    for chain in notes.every:
        for part in (part for tree in chain.trees for part in walk(tree)):
            if part.op == "D":
                for by in part.kids[1:]:
                    if by.op in ("mul", "inner", "add") and all(_matched(one, by, {}) is None for one in patterns):
                        patterns[by] = None
    for n, pattern in enumerate(patterns):
        base = f"{n}{_OWN}"
        letters = sorted({str(i.value) for name in names(pattern) for i in flat_items(name.sub) if i.kind == "letter"})

        def change(part: Node, pattern: Node = pattern, base: str = base, letters: list[str] = letters) -> Node | None:
            if part.op != pattern.op:
                return None
            found = _matched(pattern, part, {})
            if found is None:
                return None
            return Node("name", (), Name(base, tuple(found.get(x, Item("letter", x)) for x in letters)))

        notes = _changed(notes, change)
        side = notes.chains[0].sides[0] if notes.chains else notes.inline[0].sides[0]
        left = Node("name", (), Name(base, tuple(Item("letter", x) for x in letters)))
        said = [replace(side, node=left, joined=False), replace(side, node=pattern, joined=True)]
        notes = replace(notes, inline=[*notes.inline, Chain(said, inline=True)])
    return notes


def _matched(pattern: Node, tree: Node, known: dict[str, Item]) -> dict[str, Item] | None:
    """The items that a tree has for the index letters of a pattern, where it is the pattern with these."""
    if pattern.op != tree.op or len(pattern.kids) != len(tree.kids):
        return None
    if isinstance(pattern.data, Name):
        one, other = pattern.data, tree.data
        if (one.base, one.primes, one.sup, len(one.sub)) != (other.base, other.primes, other.sup, len(other.sub)):
            return None
        for a, b in zip(one.sub, other.sub, strict=True):
            if a.kind != "letter" or b.kind not in ("letter", "number"):
                if a != b:
                    return None
            elif known.setdefault(str(a.value), b) != b:
                return None
    elif pattern.op != "mul" and pattern.data != tree.data:
        return None
    alike = (_matched(one, other, known) is not None for one, other in zip(pattern.kids, tree.kids, strict=True))
    return known if all(alike) else None


def relettered_apart(node: Node, mark: str) -> Node:
    """The tree with its bound letters apart from all others: what a function is may stand within any Σ."""
    bound = {letter for part in walk(node) if isinstance(part.data, Bound) for letter in part.data.letters}
    return relettered(node, {letter: Item("letter", letter + mark) for letter in bound}) if bound else node
