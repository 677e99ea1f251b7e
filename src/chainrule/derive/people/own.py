"""A reading without any network: what a file defines is computed, what it does not define is free, and a loss of which
it says nothing is some smooth function of all that nothing else is made of.

All sizes are the same here, so that nothing must be known of them; a transpose, an index or a term that is wrong still
shows in the numbers. How many dimensions a free letter has is what makes the file consistent.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chainrule.derive.people.chains import Notes
from chainrule.derive.people.facts import Facts, facts_of, flat_items, free_bases, letters_in, tagged
from chainrule.derive.people.own_definitions import own_definitions, own_functions
from chainrule.derive.people.own_trees import own_notes
from chainrule.derive.people.reading import Definition, Reading, Role, Roles
from chainrule.derive.people.roles import USUAL, shorthands
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.tree import Name, Node, transform, walk

__all__ = ["own_search"]

_LOSSES = {"L", "𝓛", "J", "E", "C", "loss", "Loss", "ℓ", "l", "cost", "Cost", "ℒ"}
_INDICES = set("ijklmnpqrst") | {"ℓ"}


def own_search(notes: Notes, said: Mapping[str, Role], seed: int, work: int) -> tuple[Judge, Found] | None:
    """The reading of what a file defines that explains most of it, with what it says of the file's chains."""
    notes = own_notes(notes)
    facts = facts_of(notes)
    always = _never_indices(facts)
    found: list[tuple[Judge, Found]] = []
    for tags in dict.fromkeys((always, always | _tags(facts))):
        judge = Judge(notes.chains, seed, work)
        for reading in _starts(notes, replace(facts, tags=tags), notes.trees, said):
            found.append((judge, judge.all(reading, 0.0)))
            if found[-1][1].complete:
                return found[-1]
            if judge.out_of_time():
                break
    found.sort(key=lambda one: -one[1].score)
    climbed = []
    for judge, one in found[:2]:
        climbed.append((judge, _climb(judge, one)))
        if climbed[-1][1].complete or judge.out_of_time():
            break
    return max(climbed, key=lambda one: one[1].score) if climbed else None


def _climb(judge: Judge, found: Found) -> Found:
    """Change one thing of a reading at a time, as long as that explains more."""
    trees = [tree for chain in judge.chains for tree in chain.trees]
    for _ in range(4):
        better = found
        for reading in _moves(found.reading, trees):
            tried = judge.all(reading, _cost(reading))
            if tried.score > better.score + 1e-9:
                better = tried
            if judge.out_of_time() or better.complete:
                return better
        if better is found:
            return found
        found = better
    return found


def _cost(reading: Reading) -> float:
    """What speaks against a reading: that an index leaves more than a vector is does not show by itself."""
    facts = reading.facts
    found = 0.0
    for base, role in reading.roles.items():
        shown = max((len(tagged(name, facts)[1]) for name in facts.seen[base]), default=0)
        if role.kind == "free" and shown:
            found += 2.0 * max(0, (role.layer or 0) - _dimensions(base, shown, facts, 1))
    return found


def _moves(reading: Reading, trees: list[Node]) -> Iterator[Reading]:
    facts = reading.facts
    bare = [part.kids[0] for tree in trees for part in walk(tree) if part.op == "sum" and not part.data.letters]
    for letter in sorted(set.union(set(), *(letters_in(body) for body in bare))):
        yield reading.but(**{"bare sum": letter})

    def with_role(base: str, role: Role) -> Reading:
        return replace(reading, roles=Roles({**reading.roles, base: role}))

    for base, role in list(reading.roles.items()):
        if role.kind == "free":
            shown = max((len(tagged(name, facts)[1]) for name in facts.seen[base]), default=0)
            least = shown or int(base in facts.transposed | facts.vectors)
            for count in range(least, shown + 3):
                if count != role.layer:
                    yield with_role(base, role._replace(layer=count))
            if role.layer and (facts.hints[base]["times log"] or facts.hints[base]["is an output"]):
                yield with_role(base, role._replace(batch=not role.batch))
            if (role.layer or 0) > 1:
                yield reading.but(**{f"row {base}": not reading[f"row {base}"]})
        elif role.kind == "eye":
            yield with_role(base, Role("free", layer=0))
        elif role == Role("g") and base not in reading.functions:
            yield reading.but(**{f"function {base}": "" if reading[f"function {base}"] else "logistic"})
    for name, values in (
        ("differentials", ("changes", "gradients")), ("gradient", ("as the variable", "transposed")),
        ("jacobian", ("numerator", "denominator")), ("classes", (0, _classes(facts))),
        ("dot", ("inner", "elementwise")),
    ):  # fmt: skip
        yield from (reading.but(**{name: value}) for value in values if value != reading[name])


def _never_indices(facts: Facts) -> frozenset[str]:
    """Letters below names that run over nothing: capitals that one name alone has, and what counts steps, t - 1."""
    capitals = {letter for _, letter in facts.decorated if letter.isupper()}
    items = [i for seen in facts.seen.values() for name in seen for i in flat_items(name.sub) if i.kind == "shifted"]
    return frozenset(capitals | {str(item.value[0]) for item in items}) - frozenset(facts.summed)


def _tags(facts: Facts) -> frozenset[str]:
    """The letters below vectors over which nothing is summed: they tell names apart."""
    parts = {base for base in facts.seen if base.endswith("\u00b0")}  # by which something is differentiated
    below = {
        i.value
        for base in facts.vectors | parts
        for n in facts.seen[base]
        for i in flat_items(n.sub)
        if i.kind == "letter"
    }
    return frozenset(below - facts.summed)


def _starts(notes: Notes, facts: Facts, trees: list[Node], said: Mapping[str, Role]) -> Iterator[Reading]:
    """Readings to begin with: small letters without an index are vectors, or numbers."""
    definitions = own_definitions(notes, facts)
    definitions |= shorthands(facts, definitions, trees)
    definitions |= _stacked(facts, definitions)
    functions = own_functions(notes)
    definitions = _folded(definitions)
    defined = {key.split("|")[0] for key in definitions}
    losses = _losses(trees) - defined
    whole = _summing_to_one(notes)
    plain = not any(part.op in ("T", "mat") or part.data == ("diag", 0) for tree in trees for part in walk(tree))
    seen: list[dict[str, Role]] = []
    for small in (1, 0):
        roles: dict[str, Role] = {}
        for base in free_bases(trees):
            role = Role("L") if base in losses else said.get(base) or _role(base, facts, defined, set(functions), small)
            if role is not None and base == "I" and plain:  # no unit matrix where there are no matrices
                role = Role("free", layer=0)
            if role is not None:
                roles[base] = role._replace(batch=base in whole)
        if roles in seen:
            continue
        seen.append(roles)
        conventions: dict[str, Any] = {"network": "own", "biases": False}
        if roles.get("σ") == Role("g") and "σ" not in functions:
            yield Reading(Roles(roles), facts, 1, 2, {**conventions, "function σ": "logistic"}, definitions, functions)
        yield Reading(Roles(roles), facts, 1, 2, conventions, definitions, functions)


def _summing_to_one(notes: Notes) -> set[str]:
    """The names of which the file says that their sum is 1."""
    found = set()
    for chain in notes.every:
        for one, other in itertools.pairwise(chain.sides):
            if one.node is None or one.node.op != "sum" or other.node != Node("num", (), 1.0):
                continue
            if one.node.kids[0].op == "name" and other.joined:
                found.add(one.node.kids[0].data.base)
    return found


def _losses(trees: list[Node]) -> set[str]:
    """Names of which nothing is shown but derivatives."""
    alone, inside = Counter[str](), Counter[str]()
    for part in (part for tree in trees for part in walk(tree)):
        if isinstance(part.data, Name):
            alone[part.data.base] += 1
        if part.op in ("D", "grad") and part.kids[0].op in ("name", "app") and not part.kids[0].data.sub:
            inside[part.kids[0].data.base] += 1
    return {base for base, count in inside.items() if count == alone[base]}


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

    def folded(node: Node, key: str) -> Node:
        def named(part: Node) -> Node | None:
            found = bodies.get(part)
            return found if found is not None and found.data.base != key else None

        return node.with_kids(tuple(transform(kid, named) for kid in node.kids))

    return {
        key: d._replace(node=next((new for side in (d.node, *d.key) if (new := folded(side, key)) != side), d.node))
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


def _role(base: str, facts: Facts, defined: set[str], functions: set[str], small: int) -> Role | None:
    if base in ("…", "·") or (base[0] == "Σ" and base not in defined):
        return None
    shown = max((len(tagged(name, facts)[1]) for name in facts.seen[base]), default=0)
    hints = facts.hints[base]
    if base.startswith("|"):
        return Role("count")
    if base in defined:
        return Role("def", layer=_dimensions(base, shown, facts, small))  # of one with other tags
    if base in functions:
        return Role("g")
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


def _dimensions(base: str, indices: int, facts: Facts, small: int) -> int:
    if indices:
        return indices + (base in facts.listed and base[0].islower())
    if base[0].isupper():
        return 2
    hints = facts.hints[base]
    if base in facts.transposed | facts.vectors or hints["in softmax"] or any(name.bold for name in facts.seen[base]):
        return 1
    return 0 if base in "λαηεγτμ" and not hints["by"] else small
