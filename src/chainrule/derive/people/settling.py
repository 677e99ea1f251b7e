"""What a file's reading leaves open: sections with their own conventions, lines that excuse themselves, doubt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chainrule.derive.people.chains import Chain
from chainrule.derive.people.comparing import Outcome, judge_chain
from chainrule.derive.people.describing import convention_in_words
from chainrule.derive.people.facts import open_letters
from chainrule.derive.people.reading import CONVENTIONS, Reading
from chainrule.derive.people.search import Found, Judge
from chainrule.derive.people.tree import Condition, Item, Name, Node, conditions_of, names, num, walk, with_names

__all__ = [
    "FINE",
    "LAYOUT",
    "OF_THE_LOSS",
    "Judged",
    "carried_on",
    "cased_apart",
    "confirm",
    "contradicted",
    "localised",
    "squared",
    "support",
]

_SAMPLES = tuple(Node("name", (), Name(base)) for base in "NMm")
FINE = ("follows", "carried", "defines", "head", "start")


@dataclass
class Judged:
    """A chain with what was found of each of its sides, and the reading that it was given."""

    chain: Chain
    outcomes: list[Outcome]
    reading: Reading
    cost: float = 0.0  # of the roles of a part's own reading


# What may change from one section to the next without anything being excused by it.
_LOCAL: tuple[dict[str, Any], ...] = (
    {"targets": "one-hot"}, {"mean": False}, {"mean": True}, {"batch": "where it shows"}, {"batch": "always"},
    {"batch": "always",
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
LAYOUT = ("gradient", "jacobian", "vectors", "weights", "samples", "dot", "two")


def localised(judge: Judge, n: int, found: Found) -> Judged:
    """A chain under the file's reading; where that fails, under the nearest one in which all of it follows."""
    chain, outcomes = judge.chains[n], found.outcomes[n]
    written = _classes_written(chain)
    if written:  # by chance as many may have been drawn
        reading = found.reading.but(classes=written)
        tried = judge.chain(n, reading)
        good, before = (sum(o.word in FINE for o in said) for said in (tried, outcomes))
        if good == len(tried) or (good > before and not any(o.word == "wrong" for o in tried)):
            return Judged(chain, tried, reading)
    if all(o.word in FINE for o in outcomes):
        return Judged(chain, outcomes, found.reading)
    if any(o.word == "unread" for o in outcomes):
        return Judged(chain, outcomes, found.reading)
    for move in _LOCAL:
        if all(found.reading.conventions.get(k, CONVENTIONS[k][0]) == v for k, v in move.items()):
            continue
        reading = found.reading.but(**move)
        tried = judge.chain(n, reading)
        if all(o.word in FINE for o in tried) and not contradicted(judge, n, found, reading, move):
            return Judged(chain, tried, reading)
        if judge.out_of_time():
            break
    return Judged(chain, outcomes, found.reading)


def _classes_written(chain: Chain) -> int:
    """How many classes a chain writes out, where every index in it is a number: ŷ_1, ŷ_2; 0 where it does not."""
    found: set[int] = set()
    for tree in chain.trees:
        for name in names(tree):
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
    """Whether the loss of a chain, or of the errors in it, or an output would not be what the file last said of it."""
    used = judge.chains[n].bases
    errors = any(found.reading.kind(base) == "δ" for base in used)
    known: set[str] = set()
    for m in reversed(range(n)):
        head = judge.chains[m].head
        kind = found.reading.kind(head.base) if head is not None and len(found.outcomes[m]) > 1 else ""
        what = "L" if kind == "L" and errors else head.base if head is not None else ""
        if kind not in ("L", "p", "h") or what not in {"L", *used} - known:
            continue
        known.add(what)
        good = ("follows", "unread", "start", "head", "defines", "carried") if kind == "L" else FINE
        if found.outcomes[m][1].word == "follows" and any(o.word not in good for o in judge.chain(m, reading)):
            return True
    return False


def squared(judge: Judge, n: int, one: Judged) -> None:
    """An index over two different things at once: judged in a network whose layers are all of one size."""
    if not any(o.word == "misfit" and o.message.startswith("the index") for o in one.outcomes):
        return
    for side in one.chain.sides:  # f(x_j), of which the file says that it is Σ_d w_{jd} x_d
        for part in walk(side.node) if side.node is not None else ():
            if part.op == "app" and part.data.base in one.reading.definitions:
                return
            if part.op == "sum" and part.data.upper in _SAMPLES:  # x_i may be a sample
                return
    again = judge_chain(one.chain, one.reading, judge.seed, square=True)
    for k, (first, other) in enumerate(zip(one.outcomes, again, strict=True)):
        if first.word == "misfit" and other.word == "wrong":
            other.message = first.message
            one.outcomes[k] = other


def cased_apart(judge: Judge, judged: list[Judged]) -> None:
    """Two displays, of which one holds for i = j and one for i ≠ j, or one of z_y and the other of every other z_i."""
    for one, other in itertools.permutations((x for x in judged if x.chain.trees and x.chain.sides[0].node), 2):
        if all(o.word in FINE for o in one.outcomes) or one.reading is not other.reading:
            continue
        if one.chain.conditions or other.chain.conditions:  # the file says itself when they hold
            continue
        for mine, theirs in _cases(one.chain.trees[0], other.chain.trees[0]):
            rest = [(one, mine), (other, theirs)]
            said = [judge_chain(_where(j.chain, c), j.reading, judge.seed) if c else j.outcomes for j, c in rest]
            if all(o.word in FINE for outcomes in said for o in outcomes):
                for (j, c), outcomes in zip(rest, said, strict=True):
                    j.chain, j.outcomes = _where(j.chain, c) if c else j.chain, outcomes
                break


def _cases(mine: Node, theirs: Node) -> Iterator[tuple[Condition, Condition | None]]:
    """For which indices each of two left sides may be meant."""
    letters = [Node("name", (), Name(letter)) for letter in sorted(open_letters(mine))]
    if mine == theirs and len(letters) == 2:
        yield Condition(letters[0], "=", letters[1]), Condition(letters[0], "≠", letters[1])
    for letter in letters if mine != theirs else ():
        for item in {i for name in names(theirs) for i in name.sub if i.kind in ("letter", "number")}:
            index = Node("name", (), Name(item.value)) if item.kind == "letter" else num(item.value)
            if with_names(mine, lambda n, a=letter, b=item: _renamed(n, a.data.base, b)) == theirs:  # type: ignore[misc]
                yield Condition(letter, "≠", index), None


def _renamed(name: Name, letter: str, item: Item) -> Name:
    return replace(name, sub=tuple(item if i == Item("letter", letter) else i for i in name.sub))


def _where(chain: Chain, condition: Condition) -> Chain:
    return replace(chain, sides=[replace(s, conditions=[*s.conditions, condition]) for s in chain.sides])


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
    for tree in chain.trees:
        for part in walk(tree):
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
        undone = found.reading.but(**{name: CONVENTIONS[name][0] if name in CONVENTIONS else ""})
        weight = judge.penalty(found.reading) - judge.penalty(undone)
        if weight < 0.3 or name in (*LAYOUT, "targets", "mean", "biases"):
            continue
        turned = []
        for j, k in lines:
            if judged[j].reading is not found.reading:
                continue
            if judge.chain(j, undone)[k].word in ("wrong", "misfit") and not (
                name in OF_THE_LOSS and _says(judged[j], k)
            ):
                turned.append((j, k))
        if len(turned) == 1 and (len(lines) > 1 or weight >= 1):
            j, k = turned[0]
            judged[j].outcomes[k] = Outcome(
                "unsupported",
                f"it follows only if {convention_in_words(name, value)}, and nothing else here says so",
                excused=(name, value),
            )


def _says(one: Judged, k: int) -> bool:
    """Whether a step says what the loss or a layer's output is: a definition is its own evidence."""
    head = one.chain.head
    return k == 1 and head is not None and one.reading.kind(head.base) in ("L", "p", "h", "g")


def carried_on(judge: Judge, judged: list[Judged]) -> None:
    """A wrong step that equals a wrong one of an earlier display, of the same left side, was not wrong by itself; nor
    was one that follows where the wrong one stands for what the display is of."""
    for j, one in enumerate(judged):
        for k, outcome in enumerate(one.outcomes):
            first = one.chain.sides[0].node
            if outcome.word != "wrong" or first is None:
                continue
            for earlier in judged[:j]:
                whole = earlier.chain.sides[0].node
                for side, said in zip(earlier.chain.sides, earlier.outcomes, strict=True):
                    if said.word not in ("wrong", "carried") or whole is None or side.node is None:
                        continue
                    for left in _with_error(first, whole, side.node):
                        heads = [replace(side, node=left, joined=False), replace(one.chain.sides[k], joined=True)]
                        both = Chain(heads, one.chain.conditions)
                        if judge_chain(both, one.reading, judge.seed)[1].word == "follows" and outcome.word == "wrong":
                            outcome.word, outcome.source = "carried", side


def _with_error(first: Node, whole: Node, wrong: Node) -> Iterator[Node]:
    """What a display is of, with what an earlier one says wrongly in the place of that of which it says this."""
    if first == whole:
        yield wrong
    elif first.op == "D" and len(first.kids) > 2 and whole.op == "D" and first.kids[0] == whole.kids[0]:
        by = list(first.kids[1:])
        if all(one in by for one in whole.kids[1:]):  # ∂²f/∂x_j∂x_k, after ∂f/∂x_j
            for one in whole.kids[1:]:
                by.remove(one)
            yield Node("D", (wrong, *by))
