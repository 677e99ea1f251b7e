"""The reading with which a file is consistent: the usual one first, then others, as far as the file asks for them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.derive.people.affine import is_logistic, is_one_and_exp, squared
from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.comparing import Outcome, judge_chain
from chainrule.derive.people.facts import Facts, flat_items
from chainrule.derive.people.reading import CONVENTIONS, Reading, Role
from chainrule.derive.people.roles import USUAL, readings_of
from chainrule.derive.people.tree import Name, Node, names, num, walk
from chainrule.derive.people.values import work_done

__all__ = ["Found", "Judge", "search", "settings_for"]

_PENALTY: dict[tuple[str, Any], float] = {
    ("vectors", "rows"): 0.1, ("weights", "in×out"): 0.1, ("gradient", "transposed"): 0.15, ("jacobian",
    "denominator"): 0.15,
    ("output", "logistic"): 0.3, ("output", "identity"): 0.3, ("output", "activation"): 0.4, ("units",
    "one output"): 0.3, ("units", "one each"): 0.5,
    ("activation", "logistic"): 0.35, ("activation", "tanh"): 0.45, ("activation", "relu"): 0.45, ("activation",
    "identity"): 0.7,
    ("loss", "binary"): 0.3, ("loss", "squares"): 0.3, ("loss", "half squares"): 0.3, ("loss", "any"): 0.3,
    ("targets", "one-hot"): 0.15,
    ("mean", False): 0.1,
    ("stacked", True): 0.1, ("stacked", "all"): 0.2, ("loss", "signs"): 0.3,
    ("samples", "columns"): 0.15, ("two", "class first"): 0.15, ("counted", "from 1"): 0.2,
    ("einstein", True): 2.5, ("dot", "elementwise"): 0.1,
    ("batch", "always"): 0.15, ("batch", "never"): 0.15,
}  # fmt: skip
_MOVES: tuple[dict[str, Any], ...] = (
    {"targets": "one-hot"}, {"gradient": "transposed"}, {"jacobian": "denominator"}, {"weights": "in×out"},
    {"vectors": "rows", "weights": "in×out"}, {"vectors": "rows"},
    {"mean": False}, {"samples": "columns"}, {"dot": "elementwise"}, {"two": "class first"}, {"batch": "always"},
    {"batch": "never"}, {"batch": "never", "vectors": "rows", "weights": "in×out"},
    {"output": "logistic", "loss": "binary"},
    {"units": "one output", "output": "logistic", "loss": "binary"}, {"units": "one output", "output": "logistic",
    "loss": "binary", "weights": "in×out"},
    {"loss": "binary"}, {"loss": "any"}, {"output": "identity", "loss": "any"}, {"output": "activation",
    "loss": "any"}, {"output": "identity", "loss": "half squares"},
    {"output": "activation", "loss": "half squares"}, {"output": "identity", "loss": "squares"},
    {"output": "logistic", "loss": "half squares"}, {"loss": "half squares"}, {"loss": "squares"},
    {"units": "one each"}, {"units": "one each", "output": "activation", "loss": "any"}, {"units": "one each",
    "output": "logistic", "loss": "binary"},
    {"units": "one each", "output": "activation", "loss": "half squares"}, {"units": "one each",
    "output": "logistic", "loss": "half squares"},
    {"stacked": True}, {"stacked": True, "mean": False},
    {"stacked": "all", "vectors": "rows", "weights": "in×out"},
    {"stacked": "all", "vectors": "rows", "weights": "in×out", "mean": False},
    {"stacked": True, "weights": "in×out", "activation": "logistic"},
    {"counted": "from 1"}, {"activation": "logistic"}, {"activation": "tanh"}, {"activation": "relu"},
    {"activation": "identity"}, {"units": "one output"},
    {"samples": "columns", "mean": False}, {"gradient": "transposed", "jacobian": "denominator"},
    {"gradient": "transposed", "vectors": "rows", "weights": "in×out"},
    {"output": "activation"}, {"output": "logistic"}, {"output": "identity"},
)  # fmt: skip
_MISFIT = -1.1
_LOGISTIC = {("output", "logistic"), ("activation", "logistic"), ("loss", "binary"), ("units", "one output")}


@dataclass
class Found:
    """A reading, what it says of each chain, and its score."""

    reading: Reading
    outcomes: list[list[Outcome]]
    score: float
    cost: float = 0.0  # of its roles

    @property
    def complete(self) -> bool:
        return all(o.word in ("follows", "defines", "head", "start") for chain in self.outcomes for o in chain)


_Asked = tuple[tuple[str, ...], tuple[str, ...]]  # conventions, and letters whose roles were looked up


class Judge:
    """Judges chains under readings, and remembers what a reading was not asked for."""

    def __init__(self, chains: list[Chain], seed: int, work: int, beside: list[Chain] | None = None) -> None:
        """`beside`: chains in the prose, of which those that say what a name is speak for or against a reading."""
        self.chains = chains
        heads = [chain.head for chain in (*chains, *(beside or ())) if chain.head is not None]
        firsts = [(chain, chain.sides[0].node) for chain in beside or ()]
        said = [c for c, first in firsts if first is not None and first.op == "name" and heads.count(first.data) == 1]
        self.every = [*chains, *said]
        told = {
            (first.data, chain.sides[1].text) for chain, first in firsts if first is not None and first.op == "name"
        }
        self.retold = {name.base for name, count in Counter(name for name, _ in told).items() if count > 1}
        self.seed = seed
        self.more(work)
        self.known: list[dict[_Asked, dict[tuple[Any, ...], list[Outcome]]]] = [{} for _ in self.every]
        self.expected: dict[str, Any] = {}
        self.evidence: set[tuple[str, Any]] = set()

    def more(self, work: int) -> None:
        """Begin to count anew."""
        self.end = work_done() + work
        self.evaluations = work // 4000

    def out_of_time(self) -> bool:
        return work_done() > self.end or self.evaluations <= 0

    def chain(self, n: int, reading: Reading) -> list[Outcome]:
        for asked, known in self.known[n].items():
            if (found := known.get(reading.said(*asked))) is not None:
                return found
        reading.forget()
        self.evaluations -= len(self.every[n].sides)
        outcomes = judge_chain(self.every[n], reading, self.seed)
        conventions, roles = dict(reading.asked), dict(reading.roles.asked)
        known = self.known[n].setdefault((tuple(conventions), tuple(roles)), {})
        known[*conventions.values(), *roles.values()] = outcomes
        return outcomes

    def all(self, reading: Reading, cost: float) -> Found:
        outcomes = [self.chain(n, reading) for n in range(len(self.every))]
        score = -0.35 * cost - self.penalty(reading)
        for chain, said in zip(self.every, outcomes, strict=True):
            score += _score(chain, said, reading)
        return Found(reading, outcomes[: len(self.chains)], score, cost)

    def penalty(self, reading: Reading) -> float:
        found = 0.0
        for item in reading.conventions.items():
            if item in self.evidence:
                continue
            found += _PENALTY.get(item, 0.0)
            if item[0].startswith("function ") and item[1]:
                found += 0.3
            if item[0] == "label" and item[1]:
                found += 0.15 if ("label", item[1]) in self.evidence else 1.2
        return found


def _score(chain: Chain, outcomes: list[Outcome], reading: Reading) -> float:
    score = 0.0
    for k, outcome in enumerate(outcomes):
        defines = reading.kind(chain.head.base) if k == 1 and chain.head is not None else ""
        if chain.inline and defines not in ("a", "h", "p", "L"):
            continue
        if outcome.word in ("follows", "carried"):
            score += (2.0 if defines in ("a", "h", "p", "L") else 1.0) if outcome.word == "follows" else 0.6
        elif outcome.word == "wrong":
            score -= 2.5 if defines in ("L", "p") else 1.0
        elif outcome.word == "misfit":
            score += _MISFIT
        elif outcome.word == "unread head" and ("×" in outcome.message or reading.conventions.get("network") == "own"):
            score += _MISFIT - 0.5  # the step to the next side is lost as well
        elif outcome.word in ("unread", "unread head"):
            doubtful = outcome.message.startswith("there is no layer") or outcome.message.endswith("say what it is")
            score -= 0.5 if not doubtful else -_MISFIT
        elif outcome.word == "defines":
            score += 0.1
    return score * (0.5 if chain.inline else 1.0)


def settings_for(facts: Facts, notes: Notes) -> tuple[list[dict[str, Any]], set[tuple[str, Any]], list[str]]:
    """Where the search starts, the conventions for which the file gives evidence, and letters that may be the label."""
    prose = facts.prose
    evidence: set[tuple[str, Any]] = set()
    text = prose + " ".join(side.text for chain in notes.every for side in chain.sides)
    hints = facts.hints
    if "sigmoid" in text.lower() or "logistic" in text.lower() or hints_any(facts, "in logistic"):
        evidence |= _LOGISTIC
    if "tanh" in text:
        evidence.add(("activation", "tanh"))
    if re.search(r"relu|rectifi|max|>|\\g(?:t|eq?)\b", text.lower()) or hints_any(facts, "in relu"):
        evidence.add(("activation", "relu"))
    if "one-hot" in prose or "one hot" in prose or "onehot" in prose:
        evidence.add(("targets", "one-hot"))
    if "binary" in prose:
        evidence |= {("loss", "binary"), ("output", "logistic"), ("units", "one output")}
    if "row vector" in prose:
        evidence |= {("vectors", "rows"), ("weights", "in×out")}
    if "squared" in prose or "mse" in prose or "quadratic" in prose:
        evidence |= {("loss", "half squares"), ("loss", "squares"), ("output", "identity"), ("output", "activation")}
    if "einstein" in prose or "repeated ind" in prose:
        evidence.add(("einstein", True))
    for word in ("softmax", "sigmoid", "logistic"):
        if word in text.lower():
            evidence |= {
                (f"function {base}", word.replace("sigmoid", "logistic")) for base in ("σ", "g", "f", "φ", "S")
            }
    start: list[dict[str, Any]] = [{"einstein": True}] if ("einstein", True) in evidence else [{}]
    binary = any(hint["1 less"] and hint["in log"] for hint in hints.values()) or (
        sum(h["1 less"] > 0 for h in hints.values()) >= 2 and any(h["over a name"] for h in hints.values())
    )
    parts = [part for tree in notes.trees for part in walk(tree)]
    binary |= any(is_one_and_exp(part) for part in parts)
    known = "softmax" in text.lower() or any(
        hint["is softmax"] or hint["in log"] or hint["times log"] for hint in hints.values()
    )
    if binary and "softmax" not in text.lower():
        evidence |= {("output", "logistic"), ("loss", "binary"), ("units", "one output")}
        called = [base for base in facts.called if hints[base]["1 less"] and base in ("σ", "g", "f", "φ", "S")]
        known_as = {key: "logistic" for base in called for key in (f"function {base}", "activation")}  # 1 − σ(z)
        evidence |= set(known_as.items())
        summed = any(part.op == "sum" and set(part.data.letters) & facts.sample_letters for part in parts)
        mean = any(
            part.op == "div" and part.kids[1].op == "name" and part.kids[1].data.base in "nmNM" for part in parts
        )
        whole = {"mean": False} if summed and not mean else {}
        start = [
            {"output": "logistic", "loss": "binary", **known_as},
            {"units": "one output", "output": "logistic", "loss": "binary", **known_as},
            {"units": "one output", "output": "logistic", "loss": "binary", "weights": "in×out", **whole, **known_as},
            {},
        ]
    elif not known and not any(base in facts.bases for base in ("ŷ", "Ŷ", "y", "t", "p")):
        evidence |= {("output", "activation"), ("loss", "any")}
        start = [{"output": "activation", "loss": "any"}, {}]
    elif not known:
        start = [{}, {"output": "activation", "loss": "any"}]
    if hints_any(facts, "is an output") and "softmax" not in text.lower():  # ŷ = σ(w x + b)
        single = {"units": "one output", "output": "logistic", "loss": "binary", "weights": "in×out"}
        evidence |= {*single.items(), ("function σ", "logistic"), ("activation", "logistic")}
        start = [*start, single]
    if any(hint["in log"] and USUAL["L"].get(base, 0) > 0.5 for base, hint in hints.items()):  # log L, of all samples
        evidence.add(("mean", False))
        start = [{**one, "mean": False} for one in start]
    for named in ("relu", "tanh"):
        if hints_any(facts, f"in {named}"):
            start = [*({**one, "activation": named} for one in start), *start]
            break
    if any(hint["1 less"] and hint["times 1 less"] for hint in hints.values()):  # a (1 − a)
        evidence.add(("activation", "logistic"))
    for chain in notes.every:
        right = chain.sides[1].node if chain.head is not None and len(chain.sides) > 1 else None
        if right is None or (gap := squared(right)) is None:
            continue
        loss = {"loss": "half squares" if gap[0] else "squares", "output": "activation"}
        single = {"units": "one output"} if not gap[1] and not any(name.sub for name in names(right)) else {}
        evidence |= {*loss.items(), *single.items(), ("output", "identity")}
        start = [{**start[0], **loss, **single}, *start]
        break
    order = {"xW": {"vectors": "rows", "weights": "in×out"}, "WTx": {"weights": "in×out"}, "xWT": {"vectors": "rows"}}
    if (written := max(facts.order, key=lambda k: facts.order[k] if k else 0, default="")) in order:
        evidence |= set(order[written].items())
        start = [{**one, **order[written]} for one in start] + start[:1]
        small = any(not source[0].isupper() for _, _, source, _ in facts.edges if source)
        capital = any(out[0].isupper() for out, _, _, _ in facts.edges if out)
        if small and capital and not {"n", "N", "m", "M"} & set(facts.bases):  # Z = xW: a row, whatever its letter
            start = [{**start[0], "batch": "never"}, *start]
    if facts.signs:  # log(1 + e^{−y wᵀx})
        signs = {"units": "one output", "output": "logistic", "loss": "signs", "activation": "logistic"}
        evidence |= {*signs.items()}
        start = [{**signs, "weights": way, "mean": m} for way in ("in×out", "out×in") for m in (False, True)] + start
    design = any(source[:1].isupper() and weight[:1].islower() for _, weight, source, _ in facts.edges)
    if design or (binary and "X" in facts.transposed):  # X w: one output
        alone: dict[str, Any] = {"units": "one output", "stacked": True, "weights": "in×out"}
        logistic: dict[str, Any] = {} if "loss" in start[0] else {"output": "logistic", "loss": "binary"}
        start = [{**start[0], **logistic, **alone, "mean": mean} for mean in (False, True)] + start
        evidence |= {*alone.items(), *logistic.items()}
    if any(hint["moved"] for hint in hints.values()):
        start = [*start, *({**one, "differentials": how} for one in start for how in ("of each sample", "gradients"))]
        evidence |= {("differentials", "of each sample"), ("differentials", "gradients")}
    labels = []

    def label(arg: Node, certain: bool) -> None:
        items = arg.data.sub if arg.op == "name" else arg.data
        if len(items) == 1 and items[0].kind == "letter":
            labels.append(str(items[0].value))
            evidence.update({("label", labels[-1])} if certain else ())

    for chain in notes.every:
        nodes = [side.node for side in chain.sides]
        for before, after in itertools.pairwise(nodes):
            if before is not None and after is not None and is_logistic(after) and before.op in ("name", "app"):
                evidence |= _LOGISTIC
                if before.op == "app":
                    known_as = {"activation": "logistic", f"function {before.data.base}": "logistic"}
                    evidence |= set(known_as.items())
                    start = [{**start[0], **known_as}, *start]
            if before is not None and before.op == "name" and after == num(1):  # y_k = 1
                label(before, True)
        for node in nodes:
            for part in walk(node) if node is not None else ():  # J(v_c, o, U): what an index is the loss depends on
                if part.op == "app" and len(part.kids) > 1 and USUAL["L"].get(part.data.base, 0) > 0.5:
                    given = {kid.data for kid in part.kids if kid.op == "name"}
                    labels += [base for base in sorted(facts.labels - facts.summed) if Name(base) in given]
                    evidence |= {("label", base) for base in labels}
            inner = node
            while inner is not None and inner.op == "neg":
                inner = inner.kids[0]
            if inner is not None and inner.op == "fn" and inner.data[0] == "log":  # −log p_k
                arg = inner.kids[0]
                while arg.op == "elem":
                    label(arg, True)
                    arg = arg.kids[0]
                if arg.op == "name":
                    label(arg, node is not nodes[0])
    starred = sorted(letter for letter in facts.labels if letter.endswith("*"))[:1]  # c^* among the classes c
    labels = starred + labels
    evidence |= {("label", letter) for letter in starred}
    if labels:
        start += [
            {**one, "label": labels[0], "targets": "one-hot"} for one in start[:1] if ("label", labels[0]) in evidence
        ]
    labels += sorted(  # s_{y_i}: the class of sample i
        name.base for base in facts.seen for one in facts.seen[base] for item in flat_items(one.sub)
        if item.kind == "name" and item.value.op == "name" and (name := item.value.data).sub and len(name.base) == 1
    )  # fmt: skip
    labels += [
        letter for letter in ("ℓ", "c", "o", "k", "t", "l") if letter in facts.labels and letter not in facts.summed
    ]
    return start, evidence, list(dict.fromkeys(labels))


def hints_any(facts: Facts, word: str) -> bool:
    return any(hint[word] for hint in facts.hints.values())


def search(
    judge: Judge, notes: Notes, facts: Facts, said: Mapping[str, Role], fixed: Mapping[str, Any]
) -> Found | None:
    """The best reading: the first under which all follows, or else the one that explains most."""
    start, judge.evidence, labels = settings_for(facts, notes)
    best: list[Found] = []
    for count, (reading, cost) in enumerate(readings_of(notes, facts, said), start=1):
        for conventions in start:
            found = judge.all(reading.but(**{**conventions, **fixed}), cost)
            best.append(found)
            if found.complete and cost < 0.6 and judge.penalty(found.reading) < 0.2:
                return found
        if judge.out_of_time() or (count > 40):
            break
    if not best:
        return None
    best.sort(key=lambda f: -f.score)
    if best[0].complete:
        return best[0]
    climbed: list[Found] = []
    for found in best[:8]:
        climbed.append(_climb(judge, found, labels))
        if (climbed[-1].complete and climbed[-1].cost < 0.6) or judge.out_of_time():
            break
    return max([*climbed, best[0]], key=lambda f: f.score)


def _climb(judge: Judge, found: Found, labels: list[str]) -> Found:
    """Change one convention at a time, as long as that explains more."""
    for _ in range(3):
        better = found
        for move in moves(found.reading, labels):
            if move.get("activation") == "relu" and ("activation", "relu") not in judge.evidence:
                continue  # of which half the units are 0, so that much follows
            tried = judge.all(found.reading.but(**move), found.cost)
            if tried.score > better.score + 1e-9:
                better = tried
            if judge.out_of_time():
                break
        if better is found or better.complete:
            return better
        found = better
    return found


_ALWAYS = {"vectors", "weights", "samples", "jacobian", "gradient", "mean", "two", "dot", "batch", "counted", "targets"}


def moves(reading: Reading, labels: list[str]) -> Iterator[dict[str, Any]]:
    asked = reading.asked.keys() | {"units", "output", "loss", "activation"}
    counted = {base for base, role in reading.roles.items() if role.kind == "count"} & {"n", "N", "m", "M", "B"}
    capitals = any(role.batch for role in reading.roles.values()) and not counted and bool(reading.facts.edges)
    for move in _MOVES:
        if move.get("batch") == "never" and not capitals:
            continue
        if move.get("stacked") == "all" and not reading.facts.transposed:
            continue
        if move.get("activation") == "identity" and any(role.kind == "g" for role in reading.roles.values()):
            continue
        if any(name in asked or name in _ALWAYS for name in move):
            yield move
    for name, value in list(reading.conventions.items()):
        free = name not in ("targets", "biases") or (
            name == "targets" and any(role.kind == "y" for role in reading.roles.values())
        )
        if name in CONVENTIONS and value != CONVENTIONS[name][0] and free:
            yield {name: CONVENTIONS[name][0]}
    for base, role in reading.roles.items():
        if role.kind == "g":
            yield {f"function {base}": "softmax"}
            yield {f"function {base}": "logistic"}
    for letter in labels:
        yield {"label": letter, "targets": "one-hot"}
