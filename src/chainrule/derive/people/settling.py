"""What a file's reading leaves open: sections with their own conventions, lines that excuse themselves, doubt."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chainrule.derive.people.chains import Chain
from chainrule.derive.people.comparing import Outcome, judge_chain
from chainrule.derive.people.describing import convention_in_words
from chainrule.derive.people.reading import CONVENTIONS, Reading
from chainrule.derive.people.roles import USUAL
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.tree import Item, Name, Node, conditions_of, names, walk

__all__ = [
    "FINE",
    "LAYOUT",
    "OF_THE_LOSS",
    "Judged",
    "carried_on",
    "confirm",
    "contradicted",
    "doubt",
    "localised",
    "squared",
    "support",
    "supported",
]

FINE = ("follows", "carried", "defines", "head", "start")


@dataclass
class Judged:
    """A chain with what was found of each of its sides, and the reading that it was given."""

    chain: Chain
    outcomes: list[Outcome]
    reading: Reading
    words: list[str] = field(default_factory=list)


# What may change from one section to the next without anything being excused by it.
_LOCAL: tuple[dict[str, Any], ...] = (
    {"targets": "one-hot"}, {"mean": False}, {"mean": True}, {"batch": "always"}, {"batch": "always",
    "mean": False}, {"gradient": "transposed"}, {"jacobian": "denominator"},
    {"gradient": "as the variable"}, {"jacobian": "numerator"}, {"dot": "elementwise"}, {"samples": "columns"},
    {"samples": "rows"}, {"samples": "columns", "mean": False},
    {"two": "class first"}, {"weights": "in×out"}, {"weights": "out×in"}, {"vectors": "rows", "weights": "in×out"},
    {"vectors": "columns", "weights": "out×in"},
    {"gradient": "transposed", "jacobian": "denominator"},
    {"units": "many"}, {"units": "many", "output": "softmax", "loss": "any"}, {"output": "logistic",
    "loss": "binary"}, {"units": "one output", "output": "logistic", "loss": "binary"}, {"output": "softmax",
    "loss": "cross entropy", "units": "many"},
    {"stacked": True}, {"stacked": True, "weights": "in×out", "activation": "logistic"},
    {"stacked": True, "weights": "in×out"}, {"stacked": True, "mean": False},
    {"loss": "any"}, {"output": "softmax", "loss": "any"}, {"activation": "any"}, {"activation": "logistic"},
    {"activation": "logistic", "loss": "half squares"},
)  # fmt: skip


# What decides what the loss is.
OF_THE_LOSS = {"loss", "output", "units", "activation"}
# Words that say for which indices an equation holds, where no formula does.
_OTHERS = re.compile(
    r"\bother(?:wise|s)?\b|\belse\b|\bsonst|\bsinon\b|\bautres?\b|\botr[ao]s\b|\boutr[ao]s\b|\baltri\b|"
    "其他|其它|其余|否则|他の|それ以外|나머지|остальн|иначе",
    re.IGNORECASE,
)


LAYOUT = ("gradient", "jacobian", "vectors", "weights", "samples", "dot", "two")


def localised(judge: Judge, n: int, found: Found) -> Judged:
    """A chain under the file's reading; where that fails, under the nearest one in which all of it follows."""
    chain, outcomes = judge.chains[n], found.outcomes[n]
    if all(o.word in FINE for o in outcomes):
        return Judged(chain, outcomes, found.reading)
    written = _classes_written(chain)
    if written:
        reading = found.reading.but(classes=written)
        tried = judge.chain(n, reading)
        fewer = sum(o.word in FINE for o in tried) > sum(o.word in FINE for o in outcomes)
        if fewer and not any(o.word == "wrong" for o in tried):
            return Judged(chain, tried, reading)
    if any(o.word == "unread" for o in outcomes):
        return Judged(chain, outcomes, found.reading)
    only_tensors = all(o.word in (*FINE, "tensor") for o in outcomes)
    for move in _LOCAL:
        if all(found.reading.conventions.get(k, CONVENTIONS[k][0]) == v for k, v in move.items()):
            continue
        reading = found.reading.but(**move)
        tried = judge.chain(n, reading)
        if all(o.word in FINE for o in tried) and not contradicted(judge, n, found, reading, move):
            return Judged(chain, tried, reading)
        if judge.out_of_time():
            break
    if only_tensors:
        return _without_dimensions(judge, n, found, outcomes)
    return Judged(chain, outcomes, found.reading)


def _classes_written(chain: Chain) -> int:
    """How many classes a chain writes out, where every index in it is a number: ŷ_1, ŷ_2; 0 where it does not."""
    found: set[int] = set()
    for side in chain.sides:
        for name in names(side.node) if side.node is not None else ():
            for item in name.sub:
                if item.kind != "number":
                    return 0
                found.add(item.value)
    return max(found) if len(found) > 1 and found == set(range(1, max(found) + 1)) else 0


def contradicted(judge: Judge, n: int, found: Found, reading: Reading, move: Mapping[str, Any]) -> bool:
    """Whether another chain, which follows, would not with this: a writer has one layout, and one loss."""
    if set(move) & OF_THE_LOSS and _other_loss(judge, n, found, reading):
        return True
    if not set(move) & {*LAYOUT, "mean"}:
        return False
    for m in range(len(judge.chains)):
        if m == n or not any(o.word == "follows" for o in found.outcomes[m]):
            continue
        again = judge.chain(m, reading)
        if any(
            a.word == "follows" and b.word in ("wrong", "misfit") for a, b in zip(found.outcomes[m], again, strict=True)
        ):
            return True
    return False


def _other_loss(judge: Judge, n: int, found: Found, reading: Reading) -> bool:
    """Whether the loss of a chain, or of the errors in it, would not be what the file last said that it is."""
    roles = found.reading.roles
    used = {name.base for side in judge.chains[n].sides if side.node is not None for name in names(side.node)}
    kinds = {base: role.kind for base in used if (role := roles.get(base)) is not None}
    errors = "δ" in kinds.values()
    for m in reversed(range(n)):
        left = judge.chains[m].sides[0].node
        if left is None or left.op not in ("name", "app") or len(found.outcomes[m]) < 2:
            continue
        role = roles.get(left.data.base)
        if role is not None and role.kind == "L" and (errors or left.data.base in used):
            said = found.outcomes[m][1].word == "follows"
            return said and any(o.word in ("wrong", "misfit") for o in judge.chain(m, reading))
    return False


def squared(judge: Judge, n: int, one: Judged) -> None:
    """An index over two different things at once: judged in a network whose layers are all of one size."""
    if not any(o.word == "misfit" and o.message.startswith("the index") for o in one.outcomes):
        return
    again = judge_chain(one.chain, one.reading, judge.seed, square=True)
    for k, (first, other) in enumerate(zip(one.outcomes, again, strict=True)):
        if first.word == "misfit" and other.word == "wrong":
            other.message = first.message
            one.outcomes[k] = other


def _without_dimensions(judge: Judge, n: int, found: Found, outcomes: list[Outcome]) -> Judged:
    """∂L/∂W = ∂L/∂z ∂z/∂W between matrices has factors of three dimensions: it is judged for single units."""
    chain = judge.chains[n]
    thin = found.reading.but(
        units="one each",
        output="activation",
        loss="any",
        activation="any",
        vectors="columns",
        weights="out×in",
        targets="sum to 1",
    )
    tried = judge_chain(chain, thin, judge.seed)
    merged = [
        Outcome("follows", "for one unit in each layer") if a.word == "tensor" and b.word in FINE else a
        for a, b in zip(outcomes, tried, strict=True)
    ]
    return Judged(chain, merged, found.reading)


def confirm(judged: list[Judged], seeds: list[int]) -> None:
    """The same with other sizes and numbers: what follows must follow for all."""
    for one in judged:
        if not any(o.word in ("follows", "carried") for o in one.outcomes):
            continue
        for n, seed in enumerate(seeds):  # the last with more classes than anybody writes out
            least = max((item.value for item in _numbers(one.chain)), default=0)
            classes = max(6, min(least, 60) + 2) + seed % 37 if n == len(seeds) - 1 else 0
            again = judge_chain(one.chain, one.reading, seed, classes=classes)
            for k, (first, other) in enumerate(zip(one.outcomes, again, strict=True)):
                if first.word in ("follows", "carried") and other.word in ("wrong", "misfit"):
                    one.outcomes[k] = other


def _numbers(chain: Chain) -> Iterator[Item]:
    """The indices of a chain that are numbers, those in conditions too."""
    for side in chain.sides:
        for part in walk(side.node) if side.node is not None else ():
            if isinstance(part.data, Name):
                yield from (item for item in part.data.sub if item.kind == "number")
            elif part.op == "elem":
                yield from (item for item in part.data if item.kind == "number")
            for condition in conditions_of(part):
                for one in (condition.left, condition.right):
                    if isinstance(one, Node) and one.op == "num" and float(one.data).is_integer():
                        yield Item("number", int(one.data))


def support(judge: Judge, found: Found, judged: list[Judged]) -> None:
    """A line that follows only by an unusual part of the reading, for which no other line asks, is not understood."""
    lines = [
        (j, k) for j, one in enumerate(judged) for k, o in enumerate(one.outcomes) if o.word in ("follows", "carried")
    ]
    for name, value in list(found.reading.conventions.items()):
        weight = judge.penalty(found.reading) - judge.penalty(
            found.reading.but(**{name: CONVENTIONS[name][0] if name in CONVENTIONS else ""})
        )
        if weight < 0.3 or name in (*LAYOUT, "targets", "mean", "biases"):
            continue
        undone = found.reading.but(**{name: CONVENTIONS[name][0] if name in CONVENTIONS else ""})
        turned = []
        for j, k in lines:
            if judged[j].reading is not found.reading:
                continue
            if judge.chain(j, undone)[k].word in ("wrong", "misfit"):
                turned.append((j, k))
        if len(turned) == 1 and (len(lines) > 1 or weight >= 1):
            j, k = turned[0]
            judged[j].outcomes[k] = Outcome(
                "doubt",
                f"it follows only if {convention_in_words(name, value)}, and nothing else here says so",
                excused=(name, value),
            )


def carried_on(judge: Judge, judged: list[Judged]) -> None:
    """A wrong step that equals a wrong one of an earlier display, of the same left side, was not wrong by itself."""
    for j, one in enumerate(judged):
        for k, outcome in enumerate(one.outcomes):
            if outcome.word != "wrong" or one.chain.sides[0].node is None:
                continue
            for earlier in judged[:j]:
                if earlier.chain.sides[0].node != one.chain.sides[0].node:
                    continue
                for side, said in zip(earlier.chain.sides, earlier.outcomes, strict=True):
                    if said.word not in ("wrong", "carried"):
                        continue
                    both = Chain(
                        [replace(side, joined=False), replace(one.chain.sides[k], joined=True)], one.chain.conditions
                    )
                    if judge_chain(both, one.reading, judge.seed)[1].word == "follows" and outcome.word == "wrong":
                        outcome.word, outcome.source = "carried", side


def doubt(judge: Judge, found: Found, judged: list[Judged], text: str, told: Collection[str]) -> None:
    """Where little is understood, nothing is called wrong. `told` are the letters that somebody says the meaning of."""
    words = [o.word for one in judged for o in one.outcomes]
    right = sum(w in ("follows", "carried", "defines") for w in words)
    wrong = sum(w in ("wrong", "misfit") for w in words)
    unclear = wrong + sum(w in ("unread", "doubt", "start") for w in words)
    einstein = ("einstein", True) in judge.evidence
    everything = (
        einstein
        or (right == 0 and found.cost > 0.5)
        or (wrong >= 3 and wrong >= right)
        or (wrong >= 2 and 2 * unclear > right)
    )
    unsettled: set[str] = set()
    for one in judged:  # defined under another reading than the file's
        left = one.chain.sides[0].node
        if (
            one.reading is not found.reading
            and left is not None
            and left.op in ("name", "app")
            and len(one.outcomes) > 1
        ):
            kept = {*LAYOUT, "mean", "targets", "batch", "stacked", "biases"}
            changed = [
                k
                for k in {*one.reading.conventions, *found.reading.conventions} - kept
                if one.reading[k] != found.reading[k]
            ]
            if changed or one.reading.roles.get(left.data.base) != found.reading.roles.get(left.data.base):
                unsettled.add(left.data.base)
    shown, rightly = supported(judged).union(told), supported(judged, ("follows",)).union(told)
    for n, one in enumerate(judged):
        for k, outcome in enumerate(one.outcomes):
            left = one.chain.sides[0].node
            if k == 1 and outcome.word in ("unread", "doubt") and left is not None and left.op in ("name", "app"):
                unsettled |= {left.data.base}
            if outcome.word not in ("wrong", "misfit"):
                continue
            why = ""
            if one.chain.sides[k].mended or one.chain.sides[0].mended:
                why = "a bracket is missing, or one too many"
            elif k == 1 and _is_definition(one, outcome) and not _used_rightly(one, judged):
                why = "what is defined here is not what the name usually stands for"
                unsettled |= {name.base for name in names(left)} if left is not None else set()
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
            elif everything:
                why = "what its letters stand for is not clear: more of this file would be wrong than right"
            elif outcome.word == "misfit" and (right == 0 or found.cost > 0.9 or not _is_shape(outcome.message)):
                why = outcome.message
            if why:
                one.outcomes[k] = Outcome("doubt", why)
    for one in (*judged, *judged):
        left = one.chain.sides[0].node
        for k, outcome in enumerate(one.outcomes):
            if outcome.word in ("wrong", "misfit"):
                sides = [
                    one.chain.sides[k].node,
                    *([one.chain.sides[outcome.against].node] if outcome.against is not None else []),
                ]
                used = {name.base for node in sides if node is not None for name in names(node)}
                if used & unsettled:
                    unclear_names = ", ".join(sorted(used & unsettled))
                    one.outcomes[k] = Outcome("doubt", f"{unclear_names}: what is meant is not clear")
            if k == 1 and one.outcomes[k].word == "doubt" and left is not None and left.op == "name":
                unsettled |= {left.data.base}
            before = one.outcomes[outcome.against].word if outcome.against is not None else "wrong"
            if outcome.word == "carried" and outcome.source is None and before not in ("wrong", "misfit", "carried"):
                one.outcomes[k] = replace(outcome, word="follows")  # of what turned out to be no error


def supported(judged: list[Judged], words: tuple[str, ...] = ("follows", "carried")) -> set[str]:
    """The names that stand in a step that follows."""
    return {
        name.base
        for one in judged
        for k, o in enumerate(one.outcomes)
        if o.word in words
        for j in {k, o.against if o.against is not None else k}
        if one.chain.sides[j].node is not None
        for name in names(one.chain.sides[j].node)  # type: ignore[arg-type]
    }


def _unsupported(one: Judged, k: int, outcome: Outcome, shown: set[str]) -> str | None:
    """A letter of a wrong step whose role the field rarely gives it, and which no step that follows has."""
    for j in {k, outcome.against if outcome.against is not None else k}:
        node = one.chain.sides[j].node
        for name in names(node) if node is not None else ():
            role = one.reading.roles.get(name.base)
            usual = USUAL.get(role.kind, {}).get(name.base, 0.0) if role is not None else 1.0
            if name.base not in shown and role is not None and role.kind in USUAL and usual < 0.4:
                return name.base
    return None


def _one_sided(one: Judged, k: int, outcome: Outcome, shown: set[str]) -> str | None:
    """A letter of one of two sides only, of which the file says nothing: what it stands for may make them equal."""
    here = one.chain.sides[k].node
    for j in {k - 1, outcome.against if outcome.against is not None else k - 1}:
        other = one.chain.sides[j].node
        used = [{name.base for name in names(node)} if node is not None else set() for node in (here, other)]
        for base in sorted(used[0] ^ used[1]):
            role = one.reading.roles.get(base)
            rare = role is not None and role.kind == "const" and USUAL["const"].get(base, 0.0) < 0.4
            if rare and base not in shown:
                return base
    return None


def _for_others(one: Judged, k: int, text: str) -> bool:
    """Whether words beside an equation, in its line, say that it holds for some indices: 0 for the others."""
    head, side = one.chain.sides[0], one.chain.sides[k]
    if "cases" in side.text:
        return False
    before = re.split(r"\$|\n|\\\\|,", text[max(0, head.at - 40) : head.at])[-1]
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
    bases = {name.base for side in one.chain.sides if side.node is not None for name in names(side.node)}
    if one.reading["output"] != "softmax" or not any(
        (role := one.reading.roles.get(base)) is not None and role.kind == "g" for base in bases
    ):
        return False
    return all(o.word in FINE for o in judge.chain(n, one.reading.but(output="activation", loss="any")))


def _used_rightly(one: Judged, judged: list[Judged]) -> bool:
    """Whether an error δ, whose definition fails, is what it usually is in other steps that follow."""
    left = one.chain.sides[0].node
    role = one.reading.roles.get(left.data.base) if left is not None and left.op == "name" else None
    if left is None or role is None or role.kind != "δ":
        return False
    return any(
        o.word == "follows" and side.node is not None and any(name.base == left.data.base for name in names(side.node))
        for other in judged
        if other is not one
        for o, side in zip(other.outcomes, other.chain.sides, strict=True)
    )


def _is_definition(one: Judged, outcome: Outcome) -> bool:
    """Whether a chain begins with a letter that it may define: of what the field calls it, little is certain."""
    left = one.chain.sides[0].node
    if left is None or left.op != "name":
        return False
    role = one.reading.roles.get(left.data.base)
    if role is None or role.kind in ("h", "x", "b", "W", "const", "def", "count", "y"):
        return True
    return role.kind in ("a", "δ") and (outcome.word == "misfit" or not one.reading.facts.edges)


def _is_shape(message: str) -> bool:
    """Whether a misfit is of rows and columns, and not of indices, which a reading may have wrong."""
    return "×" in message
