"""A file of somebody's derivation: read, judged step by step, and for each step told why."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from chainrule.derive.people.chains import Chain, Notes, Side, chains_of
from chainrule.derive.people.comparing import Outcome, judge_chain
from chainrule.derive.people.documents import Document, read_document
from chainrule.derive.people.facts import Facts, facts_of
from chainrule.derive.people.goal import LECTURE, reaches, read_goal, read_roles
from chainrule.derive.people.reading import CONVENTIONS, Reading, Role
from chainrule.derive.people.repair import cause_of
from chainrule.derive.people.search import Found, Judge, search
from chainrule.derive.people.tree import names
from chainrule.errors import InputError

__all__ = ["Checked", "Step", "check_derivation", "examine"]

SECONDS = 8.0  # for the search of a file
MAX_STEPS = 400
FINE = ("follows", "carried", "defines", "head", "start")


class Step(TypedDict):
    """What is said of a step. `verdict` is follows, does not follow, not understood, or incomplete (with a goal)."""

    line: int
    text: str
    verdict: str
    message: str
    cause: str | None
    counterexample: dict[str, Any] | None


@dataclass
class Judged:
    """A chain with what was found of each of its sides, and the reading that it was given."""

    chain: Chain
    outcomes: list[Outcome]
    reading: Reading
    words: list[str] = field(default_factory=list)


@dataclass
class Checked:
    """A file that was judged: its steps, and how it was read."""

    steps: list[Step]
    reading: str
    judged: list[Judged]
    document: Document
    notes: Notes
    facts: Facts
    seeds: list[int]
    seconds: float = 0.0
    goal: bool = False


def seeds_of(text: str) -> list[int]:
    """Seeds for sizes and numbers, from the text: the same in every run, and unknown to its author."""
    digest = hashlib.sha256(b"chainrule" + text.encode()).digest()
    return [int.from_bytes(digest[k : k + 6], "big") for k in (0, 6, 12)]


def examine(text: str | bytes, name: str = "", *, roles: Mapping[str, Role] | None = None) -> Checked:
    """Read and judge a file.

    Raises
    ------
    InputError
        It is empty, too long, or not UTF-8, or nothing in it is an equation.
    """
    begun = time.thread_time()
    document = read_document(text, name)
    if not document.text.strip():
        raise InputError("the text is empty: no line of a derivation was found")
    notes = chains_of(document)
    steps = sum(max(0, len(chain.sides) - 1) for chain in notes.chains)
    if steps > MAX_STEPS:
        raise InputError(f"the text has {steps} steps of a derivation; at most {MAX_STEPS} are checked")
    facts = facts_of(notes)
    said = dict(roles or {})
    for words in document.lets:
        said |= read_roles(words, "chainrule:")
    seeds = seeds_of(document.text)
    judge = Judge(notes.chains, seeds[0] % 97, SECONDS)
    found = search(judge, notes, facts, said, {})
    if found is None:
        judged = [
            Judged(
                c,
                [Outcome("unread", s.why or "not a name that is known here") for s in c.sides],
                Reading({}, facts, 1, 2),
            )
            for c in notes.chains
        ]
        return Checked([], "", judged, document, notes, facts, seeds, time.thread_time() - begun)
    judged = [_localised(judge, n, found) for n in range(len(notes.chains))]
    for n, one in enumerate(judged):
        _squared(judge, n, one)
    _confirm(judged, seeds[1:])
    _support(judge, found, judged)
    _doubt(judge, found, judged)
    return Checked([], described(found.reading), judged, document, notes, facts, seeds, time.thread_time() - begun)


# What may change from one section to the next without anything being excused by it.
_LOCAL: tuple[dict[str, Any], ...] = (
    {"targets": "one-hot"}, {"mean": False}, {"mean": True}, {"batch": "always"}, {"batch": "always", "mean": False}, {"gradient": "transposed"}, {"jacobian": "denominator"},
    {"gradient": "as the variable"}, {"jacobian": "numerator"}, {"dot": "elementwise"}, {"samples": "columns"}, {"samples": "rows"}, {"samples": "columns", "mean": False},
    {"two": "class first"}, {"weights": "in×out"}, {"weights": "out×in"}, {"vectors": "rows", "weights": "in×out"}, {"vectors": "columns", "weights": "out×in"},
    {"gradient": "transposed", "jacobian": "denominator"},
    {"units": "many"}, {"units": "many", "output": "softmax", "loss": "any"}, {"output": "logistic", "loss": "binary"}, {"units": "one output", "output": "logistic", "loss": "binary"}, {"output": "softmax", "loss": "cross entropy", "units": "many"},
    {"loss": "any"}, {"output": "softmax", "loss": "any"}, {"activation": "any"},
)  # fmt: skip
_LAYOUT = ("gradient", "jacobian", "vectors", "weights", "samples", "dot", "two")


def _localised(judge: Judge, n: int, found: Found) -> Judged:
    """A chain under the file's reading; where that fails, under the nearest one in which all of it follows."""
    chain, outcomes = judge.chains[n], found.outcomes[n]
    if all(o.word in FINE for o in outcomes) or any(o.word == "unread" for o in outcomes):
        return Judged(chain, outcomes, found.reading)
    written = _classes_written(chain)
    if written:
        reading = found.reading.but(classes=written)
        tried = judge.chain(n, reading)
        fewer = sum(o.word in FINE for o in tried) > sum(o.word in FINE for o in outcomes)
        if fewer and not any(o.word in ("wrong", "misfit") for o in tried):
            return Judged(chain, tried, reading)
    only_tensors = all(o.word in (*FINE, "tensor") for o in outcomes)
    for move in _LOCAL:
        if all(found.reading.conventions.get(k, CONVENTIONS[k][0]) == v for k, v in move.items()):
            continue
        reading = found.reading.but(**move)
        tried = judge.chain(n, reading)
        if all(o.word in FINE for o in tried) and not _contradicted(judge, n, found, reading, move):
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


def _contradicted(judge: Judge, n: int, found: Found, reading: Reading, move: Mapping[str, Any]) -> bool:
    """Whether another chain, which follows, would not with this layout: a writer has one layout."""
    if not set(move) & set(_LAYOUT):
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


def _squared(judge: Judge, n: int, one: Judged) -> None:
    """An index over two different things at once: judged in a network whose layers are all of one size."""
    if not any(o.word == "misfit" and o.message.startswith("the index") for o in one.outcomes):
        return
    again = judge_chain(one.chain, one.reading, judge.seed, square=True)
    for k, (first, other) in enumerate(zip(one.outcomes, again, strict=True)):
        if first.word == "misfit" and other.word == "wrong":
            other.message = first.message
            one.outcomes[k] = other


def _without_dimensions(judge: Judge, n: int, found: Found, outcomes: list[Outcome]) -> Judged:
    """The chain rule between matrices, ∂L/∂W = ∂L/∂z ∂z/∂W, has factors of three dimensions: judged for single units."""
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


def _confirm(judged: list[Judged], seeds: list[int]) -> None:
    """The same with other sizes and numbers: what follows must follow for all."""
    for one in judged:
        if not any(o.word in ("follows", "carried") for o in one.outcomes):
            continue
        for seed in seeds:
            again = judge_chain(one.chain, one.reading, seed)
            for k, (first, other) in enumerate(zip(one.outcomes, again, strict=True)):
                if first.word in ("follows", "carried") and other.word in ("wrong", "misfit"):
                    one.outcomes[k] = other


def _support(judge: Judge, found: Found, judged: list[Judged]) -> None:
    """A line that follows only by an unusual part of the reading, for which no other line asks, is not understood."""
    lines = [
        (j, k) for j, one in enumerate(judged) for k, o in enumerate(one.outcomes) if o.word in ("follows", "carried")
    ]
    for name, value in list(found.reading.conventions.items()):
        weight = judge.penalty(found.reading) - judge.penalty(
            found.reading.but(**{name: CONVENTIONS[name][0] if name in CONVENTIONS else ""})
        )
        if weight < 0.3 or name in (*_LAYOUT, "targets", "mean", "biases"):
            continue
        undone = found.reading.but(**{name: CONVENTIONS[name][0]})
        turned = []
        for j, k in lines:
            if judged[j].reading is not found.reading:
                continue
            if judge.chain(j, undone)[k].word in ("wrong", "misfit"):
                turned.append((j, k))
        if len(turned) == 1 and (len(lines) > 1 or weight >= 1):
            j, k = turned[0]
            judged[j].outcomes[k] = Outcome(
                "doubt", f"it follows only if {_convention_in_words(name, value)}, and nothing else here says so"
            )


def _doubt(judge: Judge, found: Found, judged: list[Judged]) -> None:
    """Where little is understood, nothing is called wrong."""
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
    for one in judged:
        for k, outcome in enumerate(one.outcomes):
            left = one.chain.sides[0].node
            if k == 1 and outcome.word in ("unread", "doubt") and left is not None and left.op in ("name", "app"):
                unsettled |= {left.data.base}
            if outcome.word not in ("wrong", "misfit"):
                continue
            why = ""
            if one.chain.sides[k].mended or one.chain.sides[0].mended:
                why = "a bracket is missing, or one too many"
            elif k == 1 and _is_definition(one, outcome):
                why = "what is defined here is not what the name usually stands for"
                unsettled |= {name.base for name in names(left)} if left is not None else set()
            elif everything:
                why = "what its letters stand for is not clear: more of this file would be wrong than right"
            elif outcome.word == "misfit" and (right == 0 or found.cost > 0.9 or not _is_shape(outcome.message)):
                why = outcome.message
            if why:
                one.outcomes[k] = Outcome("doubt", why)
    for one in judged:
        for k, outcome in enumerate(one.outcomes):
            if outcome.word in ("wrong", "misfit"):
                sides = [
                    one.chain.sides[k].node,
                    *([one.chain.sides[outcome.against].node] if outcome.against is not None else []),
                ]
                used = {name.base for node in sides if node is not None for name in names(node)}
                if used & unsettled:
                    one.outcomes[k] = Outcome(
                        "doubt", f"{', '.join(sorted(used & unsettled))}: what is meant is not clear"
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


# --- In words -----------------------------------------------------------------------------------------------------------

_ROLE_WORDS = {
    "a": "the logits", "h": "a layer's outputs", "p": "the probabilities", "y": "the targets", "L": "the loss", "W": "weights", "b": "biases", "x": "the inputs",
    "δ": "∂L/∂(pre-activation)", "g": "an activation", "label": "the true class", "kron": "Kronecker's", "jac": "a Jacobian", "unit": "a one-hot vector", "eye": "the unit matrix",
}  # fmt: skip


def described(reading: Reading) -> str:
    """A reading in words: z: the logits, p: softmax(z), y: the targets."""
    logits = next((base for base, role in reading.roles.items() if role.kind == "a" and role.layer in (None, 0)), None)
    parts = []
    for base, role in reading.roles.items():
        words = _ROLE_WORDS.get(role.kind)
        if words is None or role.kind in ("kron", "eye"):
            continue
        if (
            role.kind == "a"
            and (reading.layers > 1 or role.layer not in (None, 0))
            and reading.facts.layer_numbers.get(base)
        ):
            words = "the pre-activations"
        if role.kind == "p" and logits:
            words = f"{_OUTPUT_WORDS[reading['output']]}({logits})"
        if role.kind == "y" and reading["targets"] == "one-hot":
            words = "one-hot targets"
        parts.append(f"{base}: {words}")
    said = [
        _convention_in_words(name, value)
        for name, value in reading.conventions.items()
        if name in CONVENTIONS and value != CONVENTIONS[name][0]
    ]
    return ", ".join(parts) + "".join(f"; {words}" for words in said if words)


_OUTPUT_WORDS = {"softmax": "softmax", "logistic": "σ", "identity": "", "activation": "g"}


def _convention_in_words(name: str, value: Any) -> str:
    table = {
        "vectors": f"vectors are {value}", "weights": f"weights are {value}", "gradient": f"a gradient is {value}", "jacobian": f"Jacobians have {value} layout",
        "output": f"the output is {value}", "units": "there is one output" if value == "one output" else "each layer has one unit", "activation": f"the activation is {value}",
        "loss": f"the loss is {value}", "label": f"{value} is the true class", "mean": "the loss is a sum over samples", "samples": f"samples are {value}",
        "einstein": "repeated indices are summed", "counted": "layer 1 is the inputs", "batch": "names without a sample stand for any sample",
    }  # fmt: skip
    return table.get(name, "")


def check_derivation(
    text: str | bytes,
    name: str = "",
    *,
    let: str = "",
    lecture: bool = False,
    goal: str | Sequence[str] | None = None,
    lecture_goal: bool = False,
) -> Checked:
    r"""Judge each step of a derivation as somebody wrote it.

    Parameters
    ----------
    text : the file's text, or its bytes in UTF-8: LaTeX, Markdown, a notebook or plain text
    name : the file's name, whose ending says what it is
    let : what letters stand for: "z = logits, p = probabilities"
    lecture : whether they stand for what they do in the lecture
    goal : an equation that the file is to reach; of several, any
    lecture_goal : whether the goal is in the lecture's letters, whatever the file calls so

    Raises
    ------
    InputError
        The text is empty, too long, or not UTF-8; `let` or `goal` cannot be read.

    Examples
    --------
    >>> text = r'''$$\frac{\partial L}{\partial z_i} = -\sum_k y_k \frac{1}{p_k} \frac{\partial p_k}{\partial z_i}$$
    ... $$= -\sum_k y_k (\delta_{ik} - p_i)$$
    ... $$= y_i - p_i$$'''
    >>> checked = check_derivation(text)
    >>> checked.reading
    'L: the loss, z: the logits, y: the targets, p: softmax(z)'
    >>> [(step["line"], step["verdict"], step["cause"]) for step in checked.steps]
    [(1, 'follows', None), (2, 'follows', None), (3, 'does not follow', 'the sign')]
    """
    goals = [goal] if isinstance(goal, str) else list(goal or ())
    wanted = [read_goal(one, lecture=lecture_goal) for one in goals]
    roles = {**(LECTURE if lecture else {}), **read_roles(let)}
    checked = examine(text, name, roles=roles)
    checked.steps = steps_of(checked)
    for one, reached in itertools.product(checked.judged, wanted):
        words = ["follows" if o.word in ("follows", "defines") else o.word for o in one.outcomes]
        if not checked.goal and len(words) > 1:
            checked.goal = reaches(one.chain, words, one.reading, reached, checked.seeds[0] % 97)
    if wanted and not checked.goal:
        last = checked.steps[-1]["line"] if checked.steps else 1
        said = "the file does not reach this goal"
        checked.steps.append(
            Step(line=last, text=goals[-1], verdict="incomplete", message=said, cause=None, counterexample=None)
        )
    return checked


def steps_of(checked: Checked) -> list[Step]:
    """A file's steps, in its order."""
    found: list[Step] = []
    for one in checked.judged:
        for k, (side, outcome) in enumerate(zip(one.chain.sides, one.outcomes, strict=True)):
            if outcome.word == "head" or (outcome.word == "unread head" and len(one.chain.sides) == 1):
                continue
            found.append(_step(checked, one, k, side, outcome))
    found.sort(key=lambda step: step["line"])
    return found


def _step(checked: Checked, one: Judged, k: int, side: Side, outcome: Outcome) -> Step:
    line_of = checked.document.line_of
    before = one.chain.sides[outcome.against] if outcome.against is not None else None
    where = line_of(before.at) if before is not None else 0
    verdict, message, counterexample = "not understood", outcome.message, None
    if outcome.word in ("follows", "defines", "carried"):
        verdict = "follows"
        message = {
            "follows": f"equal to {'the side before' if where == line_of(side.at) else f'line {where}'}" + (f" ({outcome.message})" if outcome.message else ""),
            "defines": "taken as a definition", "carried": f"follows from line {where}, which is wrong",
        }[outcome.word]  # fmt: skip
    elif outcome.word == "start":
        message = "nothing before it could be computed, so it was not checked"
    elif outcome.word in ("wrong", "misfit"):
        verdict = "does not follow"
        if outcome.difference is not None:
            gap = outcome.difference
            counterexample = {**gap.at, "left": _three(gap.left), "right": _three(gap.right)}
            at = ", ".join(f"{name} = {n}" for name, n in gap.at.items())
            message = f"not equal to line {where}: {'at ' + at + ' ' if at else ''}that is {_three(gap.left)}, and this {_three(gap.right)}"
        else:
            message = f"the shapes do not fit: {outcome.message}"
    cause = None
    if verdict == "does not follow" and outcome.against is not None:
        cause = cause_of(
            one.chain,
            k,
            outcome.against,
            one.reading,
            checked.seeds[0] % 97,
            square=outcome.message.startswith("the index"),
        )
        message += f". Perhaps {cause}" if cause else ""
    return Step(
        line=line_of(side.at),
        text=side.text,
        verdict=verdict,
        message=message,
        cause=cause,
        counterexample=counterexample,
    )


def _three(value: float) -> float:
    return float(f"{value:.3g}")
