"""What of a file is judged by nothing but its own definitions: where its letters' usual meaning leaves steps open."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.comparing import judge_chain
from chainrule.derive.people.doubting import supported
from chainrule.derive.people.facts import open_letters, tagged
from chainrule.derive.people.reading import Definition, Reading, Role, Roles
from chainrule.derive.people.roles import USUAL
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.settling import FINE, Judged
from chainrule.derive.people.tree import Condition, Item, Name, Node, names, relettered, walk

__all__ = ["by_definitions", "fine", "settled"]

_SEEDS = (11, 29)
_OWN = "\u00b0"  # behind a letter: one that the file does not write so
_OPEN = ("wrong", "misfit", "unread", "unread head", "start")


def by_definitions(
    notes: Notes, judged: list[Judged], group: list[int], own: Judge, found: Found, *, cost: float, wrong: bool
) -> None:
    """Chains that follow from nothing but the file's own definitions, and, with `wrong`, those that contradict them. A
    definition alone explains nothing: it must be used in a step that follows. `cost`: of the roles of the reading that
    the chains have."""
    reading = found.reading
    tried = [Judged(chain, said, reading) for chain, said in zip(own.chains, found.outcomes, strict=True)]
    words = [o.word for one in tried for o in one.outcomes]
    rarely = words.count("wrong") + words.count("misfit") <= max(2, words.count("follows") // 3)
    if not rarely and ("misfit" in words or words.count("wrong") * 4 > words.count("follows")):
        return
    good = [one for one in tried if fine(one) and _confirmed(one)]
    shown = supported(tried)
    several = several_of(notes, reading)
    bad = [one for one in tried if wrong and rarely and not fine(one) and _contradicts(one, shown, several)]
    used: set[str] = set()
    for one in (*good, *bad):
        if len(one.outcomes) > 2 or not _defines(one):
            every = (name for tree in one.chain.trees for name in names(tree))
            used |= {tagged(replace(name, primes=0), reading.facts)[0] for name in every}
    certain = _certain(judged) if cost < 0.4 else set()
    for n, one in zip(group, tried, strict=True):
        old = judged[n]
        clear = (
            old.chain.head is None
            and {base for base in old.chain.bases if old.reading.kind(base) != "L"} <= certain
            and any(o.word in ("wrong", "misfit") or o.excused for o in old.outcomes)
        )
        if fine(old) or _usual(old) or clear:
            continue
        if one in good:
            alone = len(one.outcomes) == 2 and _defines(one)
            head = one.chain.head
            if (not alone or (head is not None and tagged(head, reading.facts)[0] in used)) and not (
                settled(old) and cost < 0.4 and _usual_loss(old)
            ):
                judged[n] = one
        elif one in bad and (_count(one) < _count(old) or not any(o.word == "follows" for o in old.outcomes)):
            judged[n] = one


def _certain(judged: list[Judged]) -> set[str]:
    """The letters of what defines a layer, the probabilities or the loss as the file was read, and holds so."""
    said = [one for one in judged if fine(one) and one.reading["network"] == "layers"]
    return {
        base for one in said if (head := one.chain.head) is not None
        if one.reading.kind(head.base) in ("a", "h", "p", "L")
        for base in one.chain.bases
    }  # fmt: skip


def _usual_loss(one: Judged) -> bool:
    """Whether a chain is of anything but the derivative of what is rarely the name of a loss."""
    first = one.chain.sides[0].node
    bare = first is not None and first.op in ("D", "grad") and first.kids[0].op in ("name", "app")
    return first is None or not bare or USUAL["L"].get(first.kids[0].data.base, 0) >= 0.4


def _count(one: Judged) -> int:
    return sum(o.word in _OPEN for o in one.outcomes)


def _defines(one: Judged) -> bool:
    return len(one.outcomes) > 1 and one.outcomes[1].word == "defines"


def _confirmed(one: Judged) -> bool:
    return all(all(o.word in FINE for o in judge_chain(one.chain, one.reading, seed)) for seed in _SEEDS)


def _contradicts(one: Judged, shown: set[str], several: set[str]) -> bool:
    """Whether a chain is read throughout, and what is wrong in it is wrong whatever its free letters are. `several`:
    names of which the file gives more than one definition."""
    for k, outcome in enumerate(one.outcomes):
        if outcome.word in FINE:
            continue
        if outcome.word not in ("wrong", "misfit") or outcome.against is None:
            return False
        sides = [side for j in (outcome.against, k) if (side := one.chain.sides[j].node) is not None]
        made = [made_of([side], one.reading) for side in sides]
        bases = [{key.split("|")[0] for key in found} for found in made]
        called = [{base for base in found if one.reading.kind(base) == "g" and base != "σ"} for found in bases]
        if (made[0] | made[1]) & several or not _downstream(sides, one.reading):
            return False
        if (called[0] ^ called[1]) - set(one.reading.functions):
            return False  # which function it is is not said
        if outcome.word == "misfit" and (
            "side" not in outcome.message or not {name.base for side in sides for name in names(side)} <= shown
        ):
            return False
        known = one.reading.definitions
        within = [*sides, *(known[key].node for key in made[0] | made[1] if key in known)]
        if any(_is_unclear(part, one.reading) for node in within for part in walk(node)):
            return False
        letters = [_open(side) for side in sides]
        at = set(outcome.difference.at) if outcome.difference is not None else set()
        if at - letters[0] - letters[1] or (letters[1] and not letters[0] and not _idle(sides[1])):
            return False  # what a definition or a side leaves open is not known
        if any(_follows(chain, k, reading) for chain, reading in _restricted(one, k)):
            return False
    return True


def _idle(node: Node) -> bool:
    """Whether a Σ runs over what does not stand in it."""
    sums = (part for part in walk(node) if part.op == "sum")
    return any(not set(part.data.letters) & open_letters(part.kids[0]) for part in sums)


def _is_unclear(part: Node, reading: Reading) -> bool:
    """A Σ that does not say over what; or θ(wᵀx), read as a product."""
    if part.op == "sum":
        return not part.data.letters
    return (
        part.op == "app" and len(part.kids) == 1 and part.kids[0].op != "add" and reading.kind(part.data.base) == "free"
    )


def _downstream(sides: list[Node], reading: Reading) -> bool:
    """Whether a loss that the file does not define is differentiated by nothing but what it does."""
    for part in (part for side in sides for part in walk(side)):
        if part.op in ("D", "grad") and part.kids[0].op in ("name", "app", "loss"):
            unsaid = part.kids[0].op == "loss" or reading.kind(part.kids[0].data.base) == "L"
            by = [tagged(name, reading.facts)[0] for kid in part.kids[1:] for name in names(kid)]
            if unsaid and part != sides[0] and any(key not in reading.definitions for key in by):
                return False
    return True


def _follows(chain: Chain, k: int, reading: Reading) -> bool:
    return judge_chain(chain, reading, _SEEDS[0])[k].word in ("follows", "carried")


def _restricted(one: Judged, k: int) -> Iterator[tuple[Chain, Reading]]:
    """What the file may mean without saying it: that one free family sums to 1, that it is 1 or -1 each, that it is 1
    at an index which the step alone has and 0 elsewhere, that letters which tell words apart are never the same; and a
    name that was defined with the other sign."""
    sides = one.chain.sides
    picked = sorted(set().union(*(open_letters(s.node) for s in sides[1 : k + 1] if s.node)) - _open(sides[0].node))
    apart = sorted(set().union(*(open_letters(s.node) for s in sides if s.node)) - set("ijklmn"))
    by = [
        kid
        for side in sides
        if side.node
        for part in walk(side.node)
        if part.op in ("D", "grad")
        for kid in part.kids[1:]
    ]
    apart = apart if set(apart) & set().union(*map(open_letters, by)) else []  # u_o and v_c
    called = [
        base for base, role in one.reading.roles.items() if role.kind == "g" and base not in one.reading.functions
    ]
    here, before = (
        {tagged(name, one.reading.facts)[0] for name in names(side.node)} if side.node else set()
        for side in (sides[k], sides[0])
    )
    named = here - before
    yield from _with_less(one.chain, one.reading, picked, apart, named)
    for base, name in itertools.product(called, ("logistic", "tanh", "relu", "softmax", "")):
        reading = one.reading.but(**{f"function {base}": name})
        yield one.chain, reading
        yield from _with_less(one.chain, reading, picked, apart, named)


def _with_less(
    chain: Chain, reading: Reading, picked: list[str], apart: list[str], named: set[str]
) -> Iterator[tuple[Chain, Reading]]:
    sides = chain.sides
    if apart:
        every = sorted(set().union(*(open_letters(side.node) for side in sides if side.node)))
        pairs = [(a, b) for a in apart for b in every if a != b and (b not in apart or a < b)]
        never = [Condition(Node("name", (), Name(a)), "≠", Node("name", (), Name(b))) for a, b in pairs]
        if never:
            never_same = [replace(side, conditions=[*side.conditions, *never]) for side in sides]
            yield replace(chain, sides=never_same), reading
        yield chain, replace(reading, facts=replace(reading.facts, tags=frozenset(apart)))
    for key, known in reading.definitions.items():
        if key not in named or USUAL["L"].get(key, 0) < 0.4:
            continue
        turned = known._replace(node=Node("neg", (known.node,)), key=())
        yield chain, replace(reading, definitions={**reading.definitions, key: turned})
    for base, role in list(reading.roles.items()):
        if role.kind != "free" or not role.layer:
            continue
        for axis in (-1, *range(1, role.layer + 1)):
            yield chain, replace(reading, roles=Roles({**reading.roles, base: role._replace(batch=axis)}))
        for letter in picked if role.layer == 1 else ():
            label = letter + _OWN
            changed = [
                replace(side, node=relettered(side.node, {letter: Item("letter", label)})) if j and side.node else side
                for j, side in enumerate(sides)
            ]
            at = Node("ind", (), (Condition(Node("name", (), Name(_OWN)), "=", Node("name", (), Name(label))),))
            definitions: Mapping[str, Definition] = {**reading.definitions, base: Definition((_OWN,), at)}
            roles = Roles({**reading.roles, base: Role("def", layer=1)})
            yield replace(chain, sides=changed), replace(reading, roles=roles, definitions=definitions)


def made_of(sides: Iterable[Node], reading: Reading) -> set[str]:
    """The names of which sides are made, through all that the file defines."""
    found: set[str] = set()
    ahead = list(sides)
    while ahead:
        for name in names(ahead.pop()):
            key = tagged(name, reading.facts)[0]
            known = reading.definitions.get(key) or reading.functions.get(name.base)
            if key not in found and known is not None:
                ahead.append(known.node)
            found.add(key)
    return found


def several_of(notes: Notes, reading: Reading) -> set[str]:
    """The names of which a file gives more than one definition."""
    said: dict[str, set[Node]] = {}
    for chain in notes.every:
        head = chain.head
        if head is not None and len(chain.sides) > 1 and chain.sides[1].joined and chain.sides[1].node is not None:
            said.setdefault(tagged(head, reading.facts)[0], set()).add(chain.sides[1].node)
    return {key for key, sides in said.items() if len(sides) > 1}


def _open(node: Node | None) -> set[str]:
    return open_letters(node) if node is not None else set()


def fine(one: Judged) -> bool:
    return all(o.word in FINE for o in one.outcomes)


def settled(one: Judged) -> bool:
    """Whether most of a chain follows and a number differs: that is a wrong step, and no other way to write."""
    words = [o.word for o in one.outcomes]
    return "wrong" in words and words.count("follows") + words.count("carried") >= 2


def _usual(one: Judged) -> bool:
    """Whether a chain defines the probabilities or the loss by their usual name, and as another number."""
    head = one.chain.head
    if head is None or len(one.outcomes) < 2 or one.outcomes[1].word != "wrong":
        return False
    kind = one.reading.kind(head.base)
    return kind in ("p", "L") and USUAL[kind].get(head.base, 0) >= 0.5
