"""A reading without any network: what a file defines is computed, what it does not define is free, and a loss of which
it says nothing is some smooth function of all that nothing else is made of.

All sizes are the same here, so that nothing must be known of them; a transpose, an index or a term that is wrong still
shows in the numbers.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from chainrule.derive.people.chains import Notes
from chainrule.derive.people.facts import Facts, flat_items, free_bases, tagged
from chainrule.derive.people.reading import Definition, Reading, Role, Roles
from chainrule.derive.people.roles import USUAL, shorthands
from chainrule.derive.people.tree import Name, Node, names, transform, walk

__all__ = ["own_readings"]

_LOSSES = {"L", "𝓛", "J", "E", "C", "loss", "Loss", "ℓ", "l", "cost", "Cost", "ℒ"}
_INDICES = set("ijklmnpqrst") | {"ℓ"}


def own_readings(notes: Notes, facts: Facts, said: Mapping[str, Role]) -> Iterator[Reading]:
    """Readings of what a file defines: small letters without an index are vectors, or numbers; what stands before a
    logarithm is free, or sums to 1; dW is a change, or a gradient."""
    for tags in dict.fromkeys((frozenset(), _tags(facts))):
        yield from _own_readings(notes, replace(facts, tags=tags), notes.trees, said)


def _tags(facts: Facts) -> frozenset[str]:
    """The letters below vectors over which nothing is summed: they tell names apart."""
    below = {
        i.value for base in facts.vectors for n in facts.seen[base] for i in flat_items(n.sub) if i.kind == "letter"
    }
    return frozenset(below - facts.summed)


def _own_readings(notes: Notes, facts: Facts, trees: list[Node], said: Mapping[str, Role]) -> Iterator[Reading]:
    definitions = _definitions(notes, facts)
    definitions |= shorthands(facts, definitions, trees)
    definitions |= _stacked(facts, definitions)
    pairs = [
        (a.node, b.node)
        for chain in (*notes.inline, *notes.chains)
        for a, b in itertools.pairwise(chain.sides)
        if a.node is not None and b.node is not None and b.joined
    ]
    functions = _functions(pairs, facts)
    definitions = _folded(definitions)
    defined = {key.split("|")[0] for key in definitions}
    moves = any(part.op == "differential" and part.kids for tree in trees for part in walk(tree))
    written = _classes(facts)
    seen: list[dict[str, Role]] = []
    for small in (1, 0):
        roles = {}
        for base in free_bases(trees):
            role = said.get(base) or _role(base, facts, defined, functions, small)
            if role is not None:
                roles[base] = role
        if roles in seen:
            continue
        seen.append(roles)
        weighted = [
            b for b, role in roles.items() if role.kind == "free" and role.layer and facts.hints[b]["times log"]
        ]
        for sums, how, classes, sigma in itertools.product(
            (False, True) if weighted else (False,), ("changes", "gradients") if moves else ("changes",),
            (0, written) if written else (0,), ("", "logistic") if roles.get("σ") == Role("g") else ("",),
        ):  # fmt: skip
            conventions = {"network": "own", "biases": False, "differentials": how, "classes": classes}
            conventions |= {"function σ": sigma} if sigma and "σ" not in functions else {}
            chosen = {b: r._replace(batch=sums and b in weighted) for b, r in roles.items()}
            yield Reading(Roles(chosen), facts, 1, 2, conventions, definitions, functions)


def _stacked(facts: Facts, known: Mapping[str, Definition]) -> dict[str, Definition]:
    """X as the matrix whose rows are the vectors x_i."""
    found = {}
    for base in facts.listed:
        capital = base.upper()
        indexed = any(len(tagged(name, facts)[1]) == 1 for name in facts.seen[base])
        whole = capital in facts.seen and not any(tagged(name, facts)[1] for name in facts.seen[capital])
        if len(base) == 1 and capital != base and whole and capital not in known and indexed:
            found[capital] = Definition((), Node("name", (), Name(base)))
    return found


def _folded(definitions: dict[str, Definition]) -> dict[str, Definition]:
    """Definitions in which what another one names stands by its name: with u = h(x), f(h(x)) is f(u). Of the sides that
    a name equals, the first in which another one's stand."""
    for _ in range(3):  # from the inside out
        definitions = _folded_once(definitions)
    return definitions


def _folded_once(definitions: dict[str, Definition]) -> dict[str, Definition]:
    bodies: dict[Node, Node] = {
        d.node: Node("name", (), Name(key))
        for key, d in definitions.items()
        if not d.letters and "|" not in key and d.node.op not in ("name", "num")
    }

    def folded(node: Node) -> Node:
        return node.with_kids(tuple(transform(kid, bodies.get) for kid in node.kids))

    return {
        key: d._replace(node=next((new for side in (d.node, *d.key) if (new := folded(side)) != side), d.node))
        for key, d in definitions.items()
    }


def _classes(facts: Facts) -> int:
    """How many elements are written out, where no index is a letter."""
    numbers: set[int] = set()
    for shown in facts.seen.values():
        for name in shown:
            for item in flat_items(name.sub):
                if item.kind == "number":
                    numbers.add(item.value)
                elif item.kind == "letter":
                    return 0
    return max(numbers) if len(numbers) > 1 and numbers == set(range(1, max(numbers) + 1)) else 0


def _role(
    base: str, facts: Facts, defined: set[str], functions: Mapping[str, tuple[str, Node]], small: int
) -> Role | None:
    if base in ("…", "·"):
        return None
    shown = max((len(tagged(name, facts)[1]) for name in facts.seen[base]), default=0)
    hints = facts.hints[base]
    if base.startswith("|"):
        return Role("count")
    if base in functions:
        return Role("g")
    if base in defined:
        return Role("def", layer=_dimensions(base, shown, facts, small))  # of one with other tags
    if facts.told.get(base, Counter()).get("ones"):
        return Role("ones")
    if base in ("𝟙", "I"):
        return Role("ones" if base == "𝟙" else "eye")
    if base == "δ" and shown >= 2:
        return Role("kron")
    if base == "e" and (shown == 1 or hints["before a bracket"]):
        return Role("unit")
    usual = hints["before a bracket"] and USUAL["g"].get(base, 0) >= 0.4
    loss = base in _LOSSES and hints["differentiated"]
    if not loss and (base in facts.called or hints["before several"] or usual):
        return Role("g")
    if loss:
        return Role("L")
    if base in _INDICES and base in facts.labels and not hints["by"]:
        return None
    if facts.counts.get(base) and not hints["by"] and not hints["moved"] and not shown and base in "KCNMmnBD":
        return Role("count")
    return Role("free", layer=_dimensions(base, shown, facts, small))


def _functions(trees: list[tuple[Node, Node]], facts: Facts) -> dict[str, tuple[str, Node]]:
    """What the file says of functions: σ(x) = 1/(1 + e^{-x})."""
    found: dict[str, tuple[str, Node]] = {}
    for left, right in trees:
        if left.op != "app" or len(left.kids) != 1 or left.kids[0].op != "name" or left.data.primes:
            continue
        base, argument = left.data.base, left.kids[0].data
        if base in found or base in _LOSSES or argument.sub or argument.sup:
            continue
        if any(n.base == base for n in names(right)) or not any(n == argument for n in names(right)):
            continue
        found[base] = (argument.base, right)
    return found


def _dimensions(base: str, indices: int, facts: Facts, small: int) -> int:
    if indices:
        return indices + (base in facts.listed and base[0].islower())
    if base[0].isupper():
        return 2
    hints = facts.hints[base]
    if base in facts.transposed | facts.vectors or hints["in softmax"] or any(name.bold for name in facts.seen[base]):
        return 1
    return 0 if base in "λαηεγτμ" and not hints["by"] else small


def _definitions(notes: Notes, facts: Facts) -> dict[str, Definition]:
    """The first equation in which a name stands alone on the left, and not on the right."""
    found: dict[str, Definition] = {}
    for chain in (*notes.inline, *notes.chains):
        for before, after in itertools.islice(itertools.pairwise(chain.sides), 1):
            left, right = before.node, after.node
            if left is None or right is None or not after.joined:
                continue
            sides = [side.node for side in itertools.takewhile(lambda side: side.joined, chain.sides[1:]) if side.node]
            if left.op == right.op == "D" and left.kids[1:] == right.kids[1:]:  # ∂L/∂w = ∂(…)/∂w says what L is
                left, right, sides = left.kids[0], right.kids[0], []
            if left.op not in ("name", "app"):
                continue
            if left.op == "app" and any(kid.op not in ("name", "mat", "T", "given") for kid in left.kids):
                continue
            name: Name = left.data
            key, items, power = tagged(name, facts)
            items = [] if "|" in key and all(i.kind == "number" for i in items) else items
            letters = tuple(str(i.value) for i in items if i.kind == "letter")
            if (
                len(letters) < len(items)
                or len(set(letters)) < len(letters)
                or (name.primes and left.op == "app")
                or power != 1
            ):
                continue
            if key in found or any(tagged(part, facts)[0] == key for part in names(right)):
                continue
            if right.op == "num" or _differentiates(right, name):
                continue
            found[key] = Definition(letters, right, (right, *sides))
    for base, keys in itertools.groupby(sorted(k for k in found if "|" in k), key=lambda k: k.split("|")[0]):
        named = list(keys)  # J where only J_{neg} is defined
        if len(named) == 1 and base not in found and named[0].split("|")[1].replace("-", "").isalpha():
            found[base] = found[named[0]]
    return found


def _differentiates(node: Node, name: Name) -> bool:
    """Whether a side is a derivative: ∂L/∂z says nothing of what L is."""
    return node.op in ("D", "grad") and not any(part.base == name.base for part in names(node))
