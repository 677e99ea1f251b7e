"""What is called wrong, and what is left open because a part of its reading is not certain."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import replace

from chainrule.derive.people.comparing import Outcome, needs_batch
from chainrule.derive.people.facts import flat_items, letters_in
from chainrule.derive.people.reading import CONVENTIONS, Reading
from chainrule.derive.people.roles import USUAL
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.settling import FINE, LAYOUT, Judged
from chainrule.derive.people.tree import Item, names, walk
from chainrule.derive.people.unsaid import (
    both_indices,
    of_the_count,
    other_layout,
    said_loosely,
    said_only_here,
    sides_of,
    two_losses,
)

__all__ = ["doubt", "supported"]

# Words that say for which indices an equation holds, where no formula does.
_OTHERS = re.compile(
    r"\bother(?:wise|s)?\b|\belse\b|\bsonst|\bsinon\b|\bautres?\b|\botr[ao]s\b|\boutr[ao]s\b|\baltri\b|"
    "其他|其它|其余|否则|他の|それ以外|나머지|остальн|иначе",
    re.IGNORECASE,
)

_WHEN = re.compile(
    r"(?:when|if|for|case)\b[^.$]{0,30}(?:=|≠|\\ne)[^.$]{0,20}[,:]?", re.IGNORECASE
)  # a line that says when


def doubt(judge: Judge, found: Found, judged: list[Judged], text: str, told: Collection[str]) -> None:
    """Where little is understood, nothing is called wrong. `told` are the letters that somebody says the meaning of."""
    usual = [  # what the file's own definitions explain shows no letter's role
        found.outcomes[n] if one.reading["network"] == "own" and n < len(found.outcomes) else one.outcomes
        for n, one in enumerate(judged)
    ]
    words = [o.word for outcomes in usual for o in outcomes]
    twos = [pair for outcomes in usual for pair in itertools.pairwise(outcomes)]
    right = sum(w in ("follows", "carried", "defines") for w in words)
    wrong = sum(w in ("wrong", "misfit") for w in words)
    wrong -= sum(a.word == b.word == "misfit" and a.message == b.message for a, b in twos)  # one slip, carried on
    unclear = wrong + sum(w in ("unread", "doubt", "start") for w in words)
    einstein = ("einstein", True) in judge.evidence
    everything = (
        einstein
        or (right == 0 and found.cost > 0.5)
        or (wrong >= 3 and wrong >= right)
        or (wrong >= 2 and 2 * unclear > right)
    )
    pinned = _pinned(judge, found, judged)
    unsettled: set[str] = set()
    elsewhere: dict[str, list[Reading]] = {}  # names that are defined under another reading than the file's
    for one in judged:  # defined under another reading than the file's
        head = one.chain.head
        if one.reading is not found.reading and head is not None and len(one.outcomes) > 1:
            kept = {*LAYOUT, "mean", "targets", "batch", "stacked", "biases", "classes"}
            changed = [
                k
                for k in {*one.reading.conventions, *found.reading.conventions} - kept
                if one.reading[k] != found.reading[k]
            ]
            if changed or one.reading.roles.get(head.base) != found.reading.roles.get(head.base):
                elsewhere.setdefault(head.base, []).append(one.reading)
    for one in judged:
        one.cost = found.cost if one.reading is found.reading else one.cost
    shown, rightly = supported(judged).union(told), supported(judged, ("follows",)).union(told)
    for n, one in enumerate(judged):
        for k, outcome in enumerate(one.outcomes):
            defined = {head.base} if (head := one.chain.head) is not None else set()
            if k == 1 and outcome.word in ("unread", "doubt"):
                unsettled |= defined
            if outcome.word not in ("wrong", "misfit"):
                continue
            why = ""
            if one.reading["network"] == "own":  # by what the file defines: nothing else is supposed
                vague = one.chain.sides[k].over or one.chain.sides[k].mended or _for_others(one, k, text)
                if vague or said_loosely(one, k, outcome) is not None:
                    one.outcomes[k] = Outcome("doubt", "when it holds, or where its brackets are, is not clear")
                continue
            if one.chain.sides[k].mended or one.chain.sides[0].mended:
                why = "a bracket is missing, or one too many"
            elif judge.retold & {name.base for node in sides_of(one, k, outcome) for name in names(node)}:
                why = "the prose says several things of a name in it"
            elif (
                any(c.rel in "<>≤≥" for c in one.chain.sides[k].conditions) or "which indices" in one.chain.sides[0].why
            ):
                why = "it is said to hold for some values only"
            elif _is_zero(one, k) and _others(one):
                why = "whether it is of other indices is not clear"
            elif k == 1 and _made_of_losses(one):
                why = "one loss is made of another here"
            elif k == 1 and _one_of_several(one):
                why = "there are several losses here"
                unsettled |= defined
            elif k == 1 and _is_definition(one, outcome) and not _used_rightly(one, judged):
                why = "what is defined here is not what the name usually stands for"
                unsettled |= defined
            elif outcome.word == "misfit" and _without_layers(one):
                why = outcome.message
            elif outcome.word == "misfit" and any(
                part.op == "mat" and any(1 in row for row in part.data)
                for node in sides_of(one, k, outcome) for part in walk(node)
            ):  # fmt: skip
                why = "dots stand for something that is not written"
            elif (some := _of_some_layer(one, k, outcome)) is not None:
                why = f"{some}: it may be the output layer"
            elif (bare := _layerless(one, k, outcome)) is not None:
                why = f"{bare}: its layer is not written"
            elif (other := said_only_here(judge, one, k, outcome)) is not None:
                why = other
            elif one.chain.sides[k].over:
                why = "words above it say when it holds"
            elif outcome.against is not None and one.outcomes[outcome.against].word in ("wrong", "misfit", "doubt"):
                why = "it differs from a step that is wrong, and what stands before that is not understood"
            elif (count := _count_of_one(one, k, outcome)) is not None:
                why = f"{count}: how many samples there are here is not clear"
            elif (loosely := said_loosely(one, k, outcome)) is not None:
                why = loosely
            elif (other := both_indices(one, k, outcome)) is not None:
                why = f"{other}: it may stand for two things"
            elif (other := _of_each_class(one, k, outcome)) is not None:
                why = f"{other}: whether it is of a sample or of a class is not clear"
            elif (other := two_losses(one, k, outcome)) is not None:
                why = f"{other}: how one loss is made of the other is not said"
            elif (other := _two_functions(one, k, outcome)) is not None:
                why = f"{other}: which function it is is not clear"
            elif _bare_sum(one, k, outcome):
                why = "a Σ does not say over what"
            elif (letter := _label_like(one, k, outcome)) is not None:
                why = f"{letter}: it may be the true class"
            elif (odd := _unsupported(one, k, outcome, shown)) is not None:
                why = f"{odd}: what it stands for is shown nowhere else"
            elif (free := _one_sided(one, k, outcome, rightly)) is not None:
                why = f"{free}: the file does not say what it is"
            elif k > 1 and one.outcomes[k - 1].word in ("unread", "doubt") and outcome.against != k - 1:
                why = "it differs from what stands before a side that is not understood"
            elif _for_others(one, k, text):
                why = "words say for which indices it holds"
            elif _other_way_round(judge, n, one):
                why = "which of two indices is that of the sample is not clear"
            elif _own_outputs(judge, n, one):
                why = "it holds where each output has an activation of its own"
            elif of_the_count(judge, one, outcome):
                why = "whether the loss is a mean over samples is not said"
            elif outcome.word == "misfit" and other_layout(judge, n, k, found, judged):
                why = "it fits another layout, in which as little else does not"
            elif everything and not _certain(one, k, outcome, pinned):
                why = "what its letters stand for is not clear: more of this file would be wrong than right"
            elif outcome.word == "misfit" and (
                outcome.against is None
                or right == 0
                or one.cost > 0.9
                or not (_is_shape(outcome.message) or (outcome.message and _wrong_for_single_units(judge, n, one, k)))
            ):
                why = outcome.message or "it has no value"
            if why:
                one.outcomes[k] = Outcome("doubt", why)
    for one in (*judged, *judged):
        for k, outcome in enumerate(one.outcomes):
            if outcome.word in ("wrong", "misfit") and one.reading["network"] != "own":
                used = {name.base for node in sides_of(one, k, outcome) for name in names(node)}
                elsewhere_too = {base for base in used if any(r is not one.reading for r in elsewhere.get(base, ()))}
                if unclear_here := used & unsettled | elsewhere_too:
                    unclear_names = ", ".join(sorted(unclear_here))
                    one.outcomes[k] = Outcome("doubt", f"{unclear_names}: what is meant is not clear")
            if k == 1 and one.outcomes[k].word == "doubt" and (head := one.chain.head) is not None:
                unsettled |= {head.base}
            before = one.outcomes[outcome.against].word if outcome.against is not None else "wrong"
            if outcome.word == "carried" and outcome.source is None and before not in ("wrong", "misfit", "carried"):
                one.outcomes[k] = replace(outcome, word="follows")  # of what turned out to be no error


def _pinned(judge: Judge, found: Found, judged: list[Judged]) -> set[str]:
    """The letters of definitions, in displays or in prose, that hold as the file was read, where that is not unusual:
    of these it is certain."""
    if found.cost > 0.5 or judge.penalty(found.reading) > 0.3:
        return set()
    beside = range(len(judge.chains), len(judge.every))
    said = [(one.chain, one.outcomes) for one in judged if one.reading is found.reading]
    said += [(judge.every[n], judge.chain(n, found.reading)) for n in beside]
    return {
        base
        for chain, outcomes in said
        if chain.head is not None and len(outcomes) > 1 and outcomes[1].word == "follows"
        if found.reading.kind(chain.head.base) in ("a", "h", "p", "L")
        for side in chain.sides[:2] if side.node is not None
        for base in (name.base for name in names(side.node))
    }  # fmt: skip


def _certain(one: Judged, k: int, outcome: Outcome, pinned: set[str]) -> bool:
    """Whether a wrong step is of a derivative, and of nothing but what definitions say."""
    sides = sides_of(one, k, outcome)
    first = one.chain.sides[0].node
    if first is None or first.op not in ("D", "grad") or needs_batch(one.chain, one.reading):
        return False
    plain = not any(part.op in ("mat", "inner") for node in sides for part in walk(node))
    return plain and all({*names(node)} and {name.base for name in names(node)} <= pinned for node in sides)


def supported(judged: list[Judged], words: tuple[str, ...] = ("follows", "carried")) -> set[str]:
    """The names that stand in a step that follows."""
    return {
        name.base
        for one in judged
        for k, o in enumerate(one.outcomes)
        if o.word in words
        for node in sides_of(one, k, o)
        for name in names(node)
    }


def _unsupported(one: Judged, k: int, outcome: Outcome, shown: set[str]) -> str | None:
    """A letter of a wrong step whose role the field rarely gives it, and which no step that follows has."""
    for node in sides_of(one, k, outcome):
        for name in names(node):
            kind = one.reading.kind(name.base)
            if kind == "δ" and len(name.base) > 2:  # dout, of whatever comes next
                return name.base
            if name.base not in shown and (kind == "ones" or USUAL.get(kind, {name.base: 1}).get(name.base, 0.0) < 0.4):
                return name.base
    return None


def _without_layers(one: Judged) -> bool:
    """Whether a chain writes no layer in a file that elsewhere does: it may be of a smaller network."""
    facts = one.reading.facts
    every = [n for tree in one.chain.trees for n in names(tree)]
    shown = {i.value[0] if i.kind == "shifted" else i.value for n in every for i in flat_items(n.sup + n.sub)}
    numbered = any(facts.layer_numbers.get(n.base) and (n.sup or n.sub) for n in every)
    return bool(facts.layer_letters) and not facts.layer_letters & shown and not numbered


def _of_some_layer(one: Judged, k: int, outcome: Outcome) -> str | None:
    """The letter of any layer on one side of a wrong step, of which the other has nothing but outputs and targets."""
    letters = one.reading.facts.layer_letters - {"L"}
    shown: list[set[str]] = []
    outputs = []
    for j in (k, outcome.against if outcome.against is not None else k):
        node = one.chain.sides[j].node
        every = list(names(node)) if node is not None else []
        items = [i for n in every for i in flat_items(n.sup + n.sub)]
        shown.append({i.value[0] if i.kind == "shifted" else i.value for i in items if i.kind in ("letter", "shifted")})
        outputs.append(any(one.reading.kind(n.base) in ("p", "y") for n in every))
    for mine, other, out in ((shown[0], shown[1], outputs[1]), (shown[1], shown[0], outputs[0])):
        if out and (letters & mine) - other:
            return min((letters & mine) - other)
    return None


def _layerless(one: Judged, k: int, outcome: Outcome) -> str | None:
    """A name of a wrong step without the layer that the file writes elsewhere."""
    tagged = one.reading.facts.layer_letters
    for name in (name for node in sides_of(one, k, outcome) for name in names(node)) if tagged else ():
        role = one.reading.roles.get(name.base)
        if role is None or role.kind not in ("a", "h", "W", "b", "δ") or role.layer is not None or name.sup or name.sub:
            continue
        if any(item.value in tagged for n in one.reading.facts.seen[name.base] for item in flat_items(n.sup + n.sub)):
            return name.base
    return None


def _count_of_one(one: Judged, k: int, outcome: Outcome) -> str | None:
    """A number of samples in a wrong step that was read as being of one sample."""
    if needs_batch(one.chain, one.reading):
        return None
    used = (name.base for node in sides_of(one, k, outcome) for name in names(node))
    return next((b for b in used if one.reading.kind(b) == "count" and b in ("n", "N", "m", "M", "B")), None)


def _is_zero(one: Judged, k: int) -> bool:
    node = one.chain.sides[k].node
    return node is not None and node.op == "num" and node.data == 0


def _others(one: Judged) -> bool:
    """Whether a chain begins with two of one index: ∂y_{d}/∂x_{d'}."""
    first = one.chain.sides[0].node
    shown = letters_in(first) if first is not None else set()
    return any(letter.rstrip("'") in shown for letter in shown if letter.endswith("'"))


def _made_of_losses(one: Judged) -> bool:
    """Whether a chain says what a loss is, by another: J = L + s."""
    head, node = one.chain.head, one.chain.sides[1].node
    kind = one.reading.kind
    if head is None or node is None or kind(head.base) != "L":
        return False
    return any(kind(name.base) == "L" and name.base != head.base for name in names(node))


def _one_of_several(one: Judged) -> bool:
    """Whether a chain begins with one of the losses C_1 and C_2."""
    head = one.chain.head
    if head is None or one.reading.kind(head.base) != "L":
        return False
    return len({i.value for n in one.reading.facts.seen[head.base] for i in n.sub if i.kind == "number"}) > 1


def _of_each_class(one: Judged, k: int, outcome: Outcome) -> str | None:
    """A loss with an index that a wrong step has below the probabilities as well."""
    if one.reading["units"] == "one output":
        return None
    kinds = {base: role.kind for base, role in one.reading.roles.items()}
    every = [name for node in sides_of(one, k, outcome) for name in names(node)]
    classes = {n.sub[0] for n in every if len(n.sub) == 1 and kinds.get(n.base) in ("p", "a", "y") and not n.sup}
    classes -= {Item("letter", one.reading["label"])}
    return next((n.base for n in every if kinds.get(n.base) == "L" and set(n.sub) & classes), None)


def _two_functions(one: Judged, k: int, outcome: Outcome) -> str | None:
    """A function of one side of a wrong step of which the file says nothing, where the other side has another one."""
    called = [
        {part.data.base if part.op == "app" else part.data[0] for part in walk(node)
         if (part.op == "app" and one.reading.kind(part.data.base) in ("g", "p"))
         or (part.op == "fn" and part.data[0] == "logistic")}
        for node in sides_of(one, k, outcome)
    ]  # fmt: skip
    for node in sides_of(one, k, outcome):  # ŷ = f(z)
        known = node.op != "app" or one.reading.kind(node.data.base) != "g" or one.reading[f"function {node.data.base}"]
        if not known:
            return str(node.data.base)
    if len(called) < 2 or not (called[0] - called[1] and called[1] - called[0]):
        return None
    return str(min(called[0] - called[1]))


def _bare_sum(one: Judged, k: int, outcome: Outcome) -> bool:
    """Whether a Σ without an index stands before vectors or matrices in a wrong step."""
    parts = (part for node in sides_of(one, k, outcome) for part in walk(node))
    bare = next((part for part in parts if part.op == "fn" and part.data[0] == "over samples"), None)
    return bare is not None and not any(i.kind == "letter" for n in names(bare) for i in n.sub)


def _label_like(one: Judged, k: int, outcome: Outcome) -> str | None:
    """An index of a wrong step that the side before has not, and that often is the true class: y, c or t."""
    other = one.chain.sides[outcome.against if outcome.against is not None else k - 1].node
    known = {i.value for n in names(other) for i in flat_items(n.sub + n.sup)} if other is not None else set()
    for letter in outcome.difference.at if outcome.difference is not None else ():
        if letter in ("y", "c", "t", "ℓ") and letter not in known and letter not in one.reading.facts.summed:
            return letter
    return None


def _one_sided(one: Judged, k: int, outcome: Outcome, shown: set[str]) -> str | None:
    """A letter of one of two sides only, of which the file says nothing: what it stands for may make them equal."""
    here = one.chain.sides[k].node
    for j in {k - 1, outcome.against if outcome.against is not None else k - 1}:
        other = one.chain.sides[j].node
        used = [{name.base for name in names(node)} if node is not None else set() for node in (here, other)]
        for base in sorted(used[0] ^ used[1]):
            rare = one.reading.kind(base) == "const" and USUAL["const"].get(base, 0.0) < 0.4
            if (rare and base not in shown) or base in one.reading.facts.put_in:
                return base
    return None


def _for_others(one: Judged, k: int, text: str) -> bool:
    """Whether words beside an equation, in its line, say that it holds for some indices: 0 for the others."""
    head, side = one.chain.sides[0], one.chain.sides[k]
    if "cases" in side.text:
        return False
    before = re.split(r"\$|\n|\\\\|,", text[max(0, head.at - 40) : head.at])[-1]
    above = text[: head.at].rstrip("$[\\ \n").rpartition("\n")[2]
    if not one.chain.conditions and _WHEN.fullmatch(above.strip()):
        return True
    after = text[side.at + len(side.text) :][:60].split("\n")[0]
    return bool(_OTHERS.search(before) or _OTHERS.search(after))


def _other_way_round(judge: Judge, n: int, one: Judged) -> bool:
    """Whether a step that is wrong follows where the other of two indices is that of the sample."""
    if one.reading["two"] == CONVENTIONS["two"][0]:
        return False
    again = judge.chain(n, one.reading.but(two=CONVENTIONS["two"][0]))
    return any(a.word in ("wrong", "doubt") and b.word == "follows" for a, b in zip(one.outcomes, again, strict=True))


def _own_outputs(judge: Judge, n: int, one: Judged) -> bool:
    """Whether a chain with the derivative of an activation follows where that is the outputs', and no softmax."""
    if one.reading["output"] != "softmax" or not any(one.reading.kind(base) == "g" for base in one.chain.bases):
        return False
    lefts = [chain.sides[0].node for chain in judge.chains]
    heads = [one.reading.roles.get(left.data.base) for left in lefts if left and left.op in ("name", "app")]
    said = any(role is not None and role.kind == "L" for role in heads)
    return any(
        all(o.word in FINE for o in judge.chain(n, one.reading.but(output="activation", loss=loss)))
        for loss in (("any",) if said else ("any", "half squares"))
    )


def _used_rightly(one: Judged, judged: list[Judged]) -> bool:
    """Whether an error δ, whose definition fails, is what it usually is in other steps that follow."""
    head = one.chain.head
    if head is None or one.reading.kind(head.base) != "δ":
        return False
    return any(
        o.word == "follows" and side.node is not None and any(name.base == head.base for name in names(side.node))
        for other in judged
        if other is not one
        for o, side in zip(other.outcomes, other.chain.sides, strict=True)
    )


def _is_definition(one: Judged, outcome: Outcome) -> bool:
    """Whether a chain begins with a letter that it may define: of what the field calls it, little is certain."""
    left = one.chain.sides[0].node
    if left is None or left.op not in ("name", "app"):
        return False
    right = one.chain.sides[1].node
    if right is not None and any(name.base == left.data.base for name in names(right)):  # δ^l by δ^{l+1}
        return False
    kind = one.reading.kind(left.data.base)
    if kind in ("", "h", "x", "b", "W", "const", "def", "count", "y"):
        return True
    of_nothing = kind in ("a", "δ") and not one.reading.facts.edges
    more = outcome.difference is not None and {*outcome.difference.at} - letters_in(left)  # O = A V_e
    if of_nothing or (kind in ("a", "δ") and more):
        return True
    return kind in ("a", "δ", "L", "p") and outcome.word == "misfit"


def _wrong_for_single_units(judge: Judge, n: int, one: Judged, k: int) -> bool:
    """Whether a step whose shapes do not fit is wrong as well where each layer has one unit, and so without shapes."""
    if n >= len(judge.chains) or one.chain is not judge.chains[n]:
        return False
    return judge.chain(n, one.reading.but(units="one each"))[k].word == "wrong"


def _is_shape(message: str) -> bool:
    """Whether a misfit is of rows and columns, and not of indices, which a reading may have wrong."""
    return "×" in message
