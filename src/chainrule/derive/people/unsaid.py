"""What a file leaves unsaid of a step that seems wrong: what its loss is, how it is laid out, over how many samples."""

from __future__ import annotations

import itertools

from chainrule.derive.people.affine import WEIGHTS
from chainrule.derive.people.comparing import Outcome
from chainrule.derive.people.facts import letters_in
from chainrule.derive.people.reading import Reading
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.settling import FINE, Judged
from chainrule.derive.people.tree import Name, Node, names, num, walk
from chainrule.derive.people.world import World

__all__ = ["both_indices", "of_the_count", "other_layout", "said_loosely", "said_only_here", "sides_of", "two_losses"]


def said_only_here(judge: Judge, one: Judged, k: int, outcome: Outcome) -> str | None:
    """What a wrong step may say, rather than claim: that a derivative is set to 0, what the loss is, that it is made
    of another one, that one thing depends on another."""
    here, gap, facts = one.chain.sides[k].node, outcome.difference, one.reading.facts
    other = one.chain.sides[outcome.against].node if outcome.against is not None else None
    if here is None or other is None:
        return None
    if here == num(0) and any(part.op in ("D", "grad") for part in walk(one.chain.trees[0])):
        return "it may be what is asked for"
    alike = (part for part in walk(here) if part.kids and part.op == other.op)
    within = [part.kids[0] for part in alike if part.kids[1:] == other.kids[1:]]
    if k == 1 and other.op in ("D", "grad") and any(part.op != "name" for part in within):  # ∇J = ∇ (y log p) + …
        base = other.kids[0].data.base if other.kids[0].op in ("name", "app") else ""
        if one.reading.kind(base) == "L" and facts.hints[base]["is a loss"] == 0:
            return f"{base}: nothing else says what it is"
    left = one.chain.trees[0]
    if k == 1 and left.op == "app":  # ℓ(z, y) is of any z, where elsewhere there is ℓ(h, y)
        parts = (part for chain in judge.chains for tree in chain.trees for part in walk(tree))
        if any(part.op == "app" and part.data.base == left.data.base and part.kids != left.kids for part in parts):
            return f"{left.data.base}: of what it is here is not clear"
    of = {name.base for name in names(here) if one.reading.kind(name.base) == "L"}
    if k == 1 and one.chain.head is not None and one.reading.kind(one.chain.head.base) == "L" and of:
        return f"{min(of)}: how one loss is made of the other is not said"
    for node in (here, other):
        factors = node.kids if node.op == "mul" else (node,)
        if gap is not None and gap.zero and all(f.op == "D" for f in factors):
            return "nothing here is known to depend on what it is differentiated by"
    return None


def of_the_count(judge: Judge, one: Judged, outcome: Outcome) -> bool:
    """Whether a step is wrong by the number of samples, where the file does not say what the loss of all of them is."""
    gap, facts, reading = outcome.difference, one.reading.facts, one.reading
    losses = {base for base, role in reading.roles.items() if role.kind == "L"}
    heads = {chain.head.base for chain in judge.chains if chain.head is not None}
    if gap is None or not gap.right or losses & heads or any(facts.hints[base]["is a loss"] for base in losses):
        return False
    count = World(reading, judge.seed, batch=True).sizes["#N"]
    return any(abs(gap.left / gap.right - r) < 1e-9 * r for r in (count, 1 / count))


def other_layout(judge: Judge, n: int, k: int, found: Found, judged: list[Judged]) -> bool:
    """Whether a step whose shapes do not fit follows in a layout in which no more steps fail, definitions twice."""
    if judged[n].reading is not found.reading or n >= len(judge.chains):
        return False

    def failing(reading: Reading) -> float:
        return sum(
            (2 if j == 1 and chain.head is not None else 1)
            for m, chain in enumerate(judge.chains)
            for j, outcome in enumerate(judge.chain(m, reading))
            if outcome.word in ("wrong", "misfit")
        )

    now = failing(found.reading)
    ways = itertools.product(("out×in", "in×out"), ("columns", "rows"), ("as the variable", "transposed"))
    readings = (found.reading.but(weights=w, vectors=v, gradient=g) for w, v, g in ways)
    return any(judge.chain(n, r)[k].word in FINE and failing(r) <= now for r in readings)


def two_losses(one: Judged, k: int, outcome: Outcome) -> str | None:
    """The two losses of a wrong step, where the file does not say what one of them is."""
    roles = one.reading.roles
    used = {
        n.base for node in sides_of(one, k, outcome) for n in names(node) if (r := roles.get(n.base)) and r.kind == "L"
    }
    return " and ".join(sorted(used)) if len(used) > 1 and used - {*one.reading.definitions} else None


def both_indices(one: Judged, k: int, outcome: Outcome) -> str | None:
    """A letter that a wrong step has below a name alone, and the file before the class below the same in capitals: that
    of a sample there (Ŷ_{i,k} and ŷ_i); the class of a probability, where what is given has it too: p(k | x_k); or an
    index of the first side of which something is said, and over which a Σ runs."""
    facts, head = one.reading.facts, one.chain.sides[0].node
    equal = any(condition.rel == "=" for condition in one.chain.conditions)
    shown = letters_in(head) if head is not None and equal else set()  # i = k, and Σ_i beside it
    first = {(n.base.lower(), n.sub[0]) for seen in facts.seen.values() for n in seen if len(n.sub) == 2}
    for node in sides_of(one, k, outcome):
        for part in walk(node):
            below = part.data.sub if isinstance(part.data, Name) else ()
            if (
                len(below) == 1
                and below[0].value in facts.sample_letters
                and (part.data.base.lower(), below[0]) in first
            ):
                return str(below[0].value)
            given = {i.value for kid in part.kids if kid.op == "given" for n in names(kid) for i in n.sub}
            twice = given & {kid.data.base for kid in part.kids if kid.op == "name"} if part.op == "app" else set()
            twice |= shown & set(part.data.letters) if part.op == "sum" else set()
            if twice:
                return str(min(twice))
    return None


def said_loosely(one: Judged, k: int, outcome: Outcome) -> str | None:
    """Why a step that is wrong as it stands may be meant otherwise: numbers for what is transposed, 1 for the unit
    matrix, Σ_p ∂E_p/∂o_k h_j for the h_j of each sample p."""
    sides = sides_of(one, k, outcome)
    parts = [part for node in sides for part in walk(node)]
    if one.reading["units"] == "one each" and any(part.op == "T" for part in parts):
        return "matrices stand in what was read as numbers"
    if outcome.word == "misfit" and any(node.op == "num" for node in sides):
        return "a number may stand for a matrix"
    for part in parts:
        for before, after in itertools.pairwise(part.kids if part.op == "mul" else ()):
            if before.op == after.op == "name" and before.data.base == "Δ" and after.data.base in WEIGHTS:
                return "Δ may be a change of what stands behind it"
        over = set(part.data.letters) & one.reading.facts.sample_letters if part.op == "sum" else set()
        every = [*names(part.kids[0])] if over else []
        bare = [
            n
            for n in every
            if one.reading.kind(n.base) in ("a", "h", "p", "x") and not over & letters_in(Node("name", (), n))
        ]
        if bare and any(one.reading.kind(n.base) == "L" and over & letters_in(Node("name", (), n)) for n in every):
            return f"{bare[0].base}: of which sample it is is not written"
    return None


def sides_of(one: Judged, k: int, outcome: Outcome) -> list[Node]:
    """Both sides of a step, as far as they were read."""
    found = (one.chain.sides[j].node for j in dict.fromkeys((k, outcome.against if outcome.against is not None else k)))
    return [node for node in found if node is not None]
