"""A file of somebody's derivation: read, judged step by step, and for each step told why."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from chainrule.derive.people.chains import Notes, Side, chains_of
from chainrule.derive.people.comparing import Outcome
from chainrule.derive.people.describing import described
from chainrule.derive.people.documents import Document, read_document
from chainrule.derive.people.doubting import doubt, supported
from chainrule.derive.people.facts import Facts, facts_of
from chainrule.derive.people.goal import LECTURE, reaches, read_goal, read_roles
from chainrule.derive.people.reading import Reading, Role, Roles
from chainrule.derive.people.repair import cause_of
from chainrule.derive.people.search import Found, Judge, search
from chainrule.derive.people.sections import sectioned
from chainrule.derive.people.settling import (
    FINE,
    Judged,
    carried_on,
    cased_apart,
    confirm,
    localised,
    squared,
    support,
)
from chainrule.derive.people.tagging import layered, worded
from chainrule.errors import InputError

__all__ = ["Checked", "Step", "check_derivation", "examine"]

_STATED = re.compile(r"[<>≠]|\\(?:ne|le|ge|lt|gt)|\b(?:if|when|where|case|otherwise|else)\b|경우|当|若|如果|のとき")
WORK = 24_000_000  # for the search of a file, in entries that are computed: some seconds
MAX_STEPS = 400


class Step(TypedDict):
    """What is said of a step. `verdict` is follows, does not follow, not understood, or incomplete (with a goal)."""

    line: int
    text: str
    verdict: str
    message: str
    cause: str | None
    counterexample: dict[str, Any] | None


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
    worded(notes)
    facts = facts_of(notes)
    said = dict(roles or {})
    for words in document.lets:
        said |= read_roles(words, "chainrule:")
    seeds = seeds_of(document.text)
    judge = Judge(notes.chains, seeds[0] % 97, WORK, notes.inline)
    found = search(judge, notes, facts, said, {})
    other = layered(notes)
    if found is not None and not found.complete and other is not None:
        again = Judge(other.chains, seeds[0] % 97, WORK, other.inline)
        tagged = search(again, other, facts_of(other), said, {})
        if tagged is not None and tagged.score > found.score + 0.5:
            found, notes, judge = tagged, other, again
    if found is None:
        judged = [
            Judged(
                c,
                [Outcome("unread", s.why or "not a name that is known here") for s in c.sides],
                Reading(Roles({}), facts, 1, 2),
            )
            for c in notes.chains
        ]
        return Checked([], "", judged, document, notes, facts, seeds, time.thread_time() - begun)
    judge.more(WORK // 2)
    judged = [localised(judge, n, found) for n in range(len(notes.chains))]
    support(judge, found, judged)
    sectioned(judge, notes, said, found, judged)
    cased_apart(judge, judged)
    for n, one in enumerate(judged):
        squared(judge, n, one)
    judged += claims_in_prose(judge, notes, found, supported(judged))
    confirm(judged, seeds[1:])
    carried_on(judge, judged)
    doubt(judge, found, judged, document.text, said)
    return Checked([], described(found.reading), judged, document, notes, facts, seeds, time.thread_time() - begun)


def claims_in_prose(judge: Judge, notes: Notes, found: Found, shown: set[str]) -> list[Judged]:
    """Equations within the prose that say of a derivative of known names what it is not."""
    claims = []
    for chain in notes.inline:
        sides, used = chain.trees, chain.bases
        beside = notes.text[notes.text.rfind("\n", 0, chain.sides[0].at) + 1 :].split("\n")[0]
        if (
            _STATED.search(beside)
            or len(sides) < len(chain.sides)
            or (sides[0].op not in ("D", "grad") and used <= shown)
            or any(side.op == "name" and found.reading.kind(side.data.base) == "δ" for side in sides)  # a name for it
        ):
            continue
        here = Judge([chain], judge.seed, WORK // 20)
        one = localised(here, 0, Found(found.reading, [here.chain(0, found.reading)], 0.0))
        if all(o.word in FINE for o in one.outcomes):
            shown |= used
        elif used <= shown and any(o.word == "wrong" for o in one.outcomes) and sides[0].op in ("D", "grad"):
            claims.append(one)
    return claims


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
            cut_off = (
                side.text.startswith("=") and not side.joined and checked.document.text[: side.at].strip("$[\\ \n")
            )
            if cut_off and outcome.word == "head":
                outcome = replace(outcome, word="start")
            if outcome.word == "head" or (
                outcome.word == "unread head" and len(one.chain.sides) == 1 and "=" not in side.text
            ):
                continue
            found.append(_step(checked, one, k, side, outcome))
    found.sort(key=lambda step: step["line"])
    return found


def _step(checked: Checked, one: Judged, k: int, side: Side, outcome: Outcome) -> Step:
    line_of = checked.document.line_of
    before = one.chain.sides[outcome.against] if outcome.against is not None else None
    before = outcome.source or before
    where = line_of(before.at) if before is not None else 0
    beside = "the side before" if where == line_of(side.at) else f"line {where}"
    verdict, message, counterexample = "not understood", outcome.message, None
    if outcome.word in ("follows", "defines", "carried"):
        verdict = "follows"
        message = {
            "follows": f"equal to {beside}" + (f" ({outcome.message})" if outcome.message else ""),
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
            at = f"at {at} " if at else ""
            message = f"not equal to line {where}: {at}that is {_three(gap.left)}, and this {_three(gap.right)}"
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
