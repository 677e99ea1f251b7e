"""What a user says of a file: what its letters stand for, and the equation that it is to reach."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from chainrule.derive.people.chains import Chain, Side, equations_of
from chainrule.derive.people.comparing import judge_chain
from chainrule.derive.people.facts import flat_items
from chainrule.derive.people.grammar import parse
from chainrule.derive.people.reading import Reading, Role, Roles
from chainrule.derive.people.roles import USUAL
from chainrule.derive.people.tokens import tokens
from chainrule.derive.people.tree import Item, Node, NotReadError, names, walk, with_names
from chainrule.errors import InputError

__all__ = ["LECTURE", "reaches", "read_goal", "read_roles"]

_WORDS = {
    "logits": "a", "logit": "a", "pre-activation": "a", "pre-activations": "a", "preactivation": "a", "scores": "a",
    "probabilities": "p", "probability": "p", "softmax": "p",
    "output": "p", "outputs": "p", "prediction": "p", "predictions": "p", "targets": "y", "target": "y",
    "one-hot": "y", "loss": "L", "cost": "L", "weights": "W", "weight": "W",
    "bias": "b", "biases": "b", "input": "x", "inputs": "x", "hidden": "h", "activations": "h", "activation": "g",
    "label": "label", "class": "label", "error": "δ", "delta": "δ",
    "constant": "const", "classes": "count", "kronecker": "kron",
}  # fmt: skip
_LECTURE = "°"  # behind a letter that is the lecture's, whatever the file calls so
# The lecture's letters, as a NAME before --check fixes them.
LECTURE = {
    "a": Role("a"), "ŷ": Role("p"), "𝓛": Role("L"), "h": Role("h"), "W": Role("W"), "b": Role("b"),
    "x": Role("x"), "ℓ": Role("label"), "q": Role("y"), "y": Role("y"), "g": Role("g"),
}  # fmt: skip


def read_roles(said: str, where: str = "--let") -> dict[str, Role]:
    r"""What letters stand for: z = logits, p = probabilities.

    Raises
    ------
    InputError
        It is not a list of such equations, or the word is no role.

    Examples
    --------
    >>> read_roles(r"z = logits, \hat{y} = probabilities")["ŷ"].kind
    'p'
    """
    found: dict[str, Role] = {}
    for part in said.replace(";", ",").split(","):
        if not part.strip():
            continue
        letter, equals, word = part.partition("=")
        kind = _WORDS.get(word.strip().lower().removeprefix("the ").strip())
        if not equals or kind is None:
            raise InputError(
                f"{where}: got {part.strip()!r}, expected a letter = one of {', '.join(sorted(set(_WORDS)))}"
            )
        try:
            node = parse(tokens(letter.strip(), {}))
        except NotReadError as error:
            raise InputError(f"{where}: got {letter.strip()!r}, expected a letter: {error}") from None
        if node.op != "name":
            raise InputError(f"{where}: got {letter.strip()!r}, expected a letter")
        found[node.data.base] = Role(kind)
    return found


def read_goal(text: str, *, lecture: bool = False) -> tuple[Node, Node]:
    """Both sides of a goal; with `lecture` its letters are the lecture's, whatever the file calls so.

    Raises
    ------
    InputError
        It is no equation that can be read.
    """
    chains = equations_of(text)
    sides = chains[0].sides if len(chains) == 1 else []
    if len(sides) != 2 or sides[0].node is None or sides[1].node is None:
        why = next((side.why for side in sides if side.node is None), "expected one equation")
        raise InputError(f"--goal: got {text!r}, expected an equation that can be read: {why}")
    left, right = sides[0].node, sides[1].node
    return (_of_the_lecture(left), _of_the_lecture(right)) if lecture else (left, right)


def _of_the_lecture(node: Node) -> Node:
    return with_names(node, lambda n: replace(n, base=n.base + _LECTURE) if n.base in LECTURE else n)


def reaches(chain: Chain, words: list[str], reading: Reading, goal: tuple[Node, Node], seed: int) -> bool:
    """Whether a chain goes from what the goal's left side is to the form that its right side has."""
    left, right = goal
    reading = _with_usual_roles(reading, goal)
    heads = [k for k, side in enumerate(chain.sides) if side.node is not None and _asks(side.node, left)]
    for k, side in enumerate(chain.sides):
        if (
            side.node is None
            or words[k] != "follows"
            or _size(side.node) > _size(right) + 3
            or _unfinished(side.node, right)
        ):
            continue
        for head in (h for h in heads if h < k):
            for mapping in _letterings(chain, goal):
                renamed = tuple(_relettered(node, mapping) for node in goal)
                start, end = chain.sides[head], Side(renamed[0], "", "", 0)
                last = Side(renamed[1], "", "", 0)
                for one in (reading, reading.but(targets="one-hot")):
                    pairs = (Chain([start, end], [*chain.conditions]), Chain([side, last], [*chain.conditions]))
                    if all(judge_chain(pair, one, seed)[1].word == "follows" for pair in pairs):
                        return True
    return False


def _with_usual_roles(reading: Reading, goal: tuple[Node, Node]) -> Reading:
    """The reading, with the usual roles for letters of the goal that the file does not have."""
    roles = dict(reading.roles)
    for node in goal:
        for name in names(node):
            if name.base.endswith(_LECTURE):
                roles[name.base] = LECTURE[name.base.removesuffix(_LECTURE)]
            elif name.base in LECTURE:
                roles.setdefault(name.base, LECTURE[name.base])
            elif name.base not in roles:
                best = max(USUAL, key=lambda kind: USUAL[kind].get(name.base, 0.0))
                if USUAL[best].get(name.base):
                    roles[name.base] = Role(best)
    letters = reading.facts.layer_letters | {"L"}
    facts = replace(reading.facts, layer_letters=letters)  # a_L: the last layer
    return Reading(Roles(roles), facts, reading.depth, reading.middle, reading.conventions, reading.definitions)


def _asks(node: Node, left: Node) -> bool:
    """Whether a side could be where a derivation of this goal begins: with a derivative, where the goal has one."""
    wanted = any(part.op in ("D", "grad") for part in walk(left))
    return any(part.op in ("D", "grad") for part in walk(node)) or not wanted


def _unfinished(node: Node, right: Node) -> bool:
    """Whether a side still has a derivative or a sum that the goal has not."""
    return any(
        any(part.op == op for part in walk(node)) and not any(part.op == op for part in walk(right))
        for op in ("D", "grad", "sum")
    )


def _size(node: Node) -> int:
    return sum(1 for part in walk(node) if part.op not in ("neg", "alt"))


def _letterings(chain: Chain, goal: tuple[Node, Node]) -> list[dict[str, str]]:
    """Ways to write the goal's indices with the letters of the chain."""
    ours = [i.value for name in names(goal[0]) for i in flat_items(name.sub) if i.kind == "letter"]
    ours = list(dict.fromkeys(ours))
    first = chain.sides[0].node
    every = names(first) if first is not None else ()
    theirs = [i.value for name in every for i in flat_items(name.sub) if i.kind == "letter"]
    theirs = list(dict.fromkeys([*ours, *theirs]))[:4]
    return [
        dict(zip(ours, picks, strict=True)) for picks in itertools.islice(itertools.permutations(theirs, len(ours)), 24)
    ]


def _relettered(node: Node, mapping: Mapping[str, str]) -> Node:
    def items(old: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(i._replace(value=mapping.get(i.value, i.value)) if i.kind == "letter" else i for i in old)

    return with_names(node, lambda name: replace(name, sub=items(name.sub), sup=items(name.sup)))
