"""One chain under one reading, in numbers: which sides equal the ones before them, and which do not."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.derive.people.chains import Chain, Side
from chainrule.derive.people.differentiating import TensorError
from chainrule.derive.people.differing import Difference, difference
from chainrule.derive.people.dots import dotted, undotted
from chainrule.derive.people.evaluate import Evaluator
from chainrule.derive.people.facts import letters_in, open_letters, tagged
from chainrule.derive.people.reading import Reading
from chainrule.derive.people.tree import Condition, Name, Node, NotReadError, names, num, transform, walk
from chainrule.derive.people.values import (
    MisfitError,
    Value,
    all_letters,
    letters,
    primal,
    shape,
    transpose,
)
from chainrule.derive.people.world import Context, World

__all__ = ["Difference", "Outcome", "closed", "difference", "judge_chain", "needs_batch", "variants"]

_MOST_ENTRIES = 3_000_000
_NO_VALUE = (
    ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError, RecursionError, MemoryError
)  # fmt: skip


@dataclass
class Outcome:
    """What is said of one side: follows, carried (it equals a wrong one before it), wrong, misfit, unread or defines.
    `against`: the number of the side that it was compared with."""

    word: str
    message: str = ""
    against: int | None = None
    difference: Difference | None = None
    conditions: tuple[Condition, ...] = ()
    excused: tuple[str, Any] | None = None  # the convention for which no other step asks
    source: Side | None = field(default=None, repr=False)  # of an error that is carried on: in another display


def variants(node: Node) -> list[Node]:
    """The trees without `alt` that a tree stands for, at most six."""
    alts = [part for part in walk(node) if part.op == "alt"]
    if not alts:
        return [node]
    found: list[Node] = []
    for picks in itertools.islice(itertools.product((0, 1), repeat=min(len(alts), 3)), 6):
        chosen = iter(picks)

        def choose(part: Node, chosen: Any = chosen) -> Node | None:
            if part.op == "alt":
                return transform(part.kids[next(chosen, 0)], lambda p: choose(p))
            return None

        tree = transform(node, choose)
        if tree not in found:
            found.append(tree)
    return found


def closed(node: Node) -> Node:
    """The tree without `alt` that leaves the fewest index letters open: a Σ reaches as far as its letter does."""
    return min(variants(node), key=lambda tree: len(open_letters(tree)))


def needs_batch(chain: Chain, reading: Reading) -> bool:
    """Whether a chain speaks of all samples: it sums over them, or has a matrix of them."""
    if reading["network"] == "own":
        return False
    if reading["batch"] == "always" or reading["stacked"] == "all":
        return True
    samples = reading.facts.sample_letters
    for tree in chain.trees:
        for part in walk(tree):
            if part.op == "sum" and not part.data.letters and _averaged(chain):
                return True
            if part.op in ("sum", "prod") and letters_in(part) & samples & set(part.data.letters):
                return True
            if part.op == "D" and _of_all(part.kids[0], reading):  # ∂L/∂ŷ_{nk}
                by = letters_in(part.kids[1])
                if by & samples and len(by) > 1:
                    return True
        for name in names(tree):
            role = reading.roles.get(name.base)
            if role is not None and role.batch and reading["batch"] != "never":
                return True
            own = letters_in(Node("name", (), name)) & samples  # C^n is of one
            if name.base in reading.facts.whole and not own and any(letters_in(t) & samples for t in chain.trees):
                return True  # ∂J/∂w of all samples beside x^{(i)} of one
    return False


def _of_all(node: Node, reading: Reading) -> bool:
    """Whether it is a loss without an index."""
    return node.op == "name" and not letters_in(node) and reading.kind(node.data.base) in ("L", "def")


def _averaged(chain: Chain) -> bool:
    """Whether a chain has 1/n or 1/m: its bare sums are over samples."""
    below = (part.kids[1] for tree in chain.trees for part in walk(tree) if part.op == "div")
    return any(node.op == "name" and node.data.base in ("n", "m", "N", "M") and not node.data.sub for node in below)


def judge_chain(chain: Chain, reading: Reading, seed: int, *, square: bool = False, classes: int = 0) -> list[Outcome]:
    """What is said of each side that is said to equal another."""
    with np.errstate(all="ignore"):
        return _judged(chain, reading, seed, square=square, classes=classes)


def _judged(chain: Chain, reading: Reading, seed: int, *, square: bool, classes: int) -> list[Outcome]:
    batch = needs_batch(chain, reading)
    world = World(reading, seed, batch=batch, square=square)
    classes = reading["classes"] or classes
    if classes and reading["network"] == "own":
        world.sizes = dict.fromkeys(world.sizes, min(classes, 9))
    elif classes and reading["units"] == "one output":
        world.sizes["#0"] = classes
    elif classes:
        world.sizes[f"#{reading.layers}"] = classes
        world.labels = world.labels % classes if reading["classes"] else world.labels * 0 + classes - 1
    trees = chain.trees
    dots = dotted(trees)
    if dots:
        listed = any(part.op == "mat" and any(1 in row for row in part.data) for tree in trees for part in walk(tree))
        world.sizes["#0" if listed and reading["units"] == "one output" else f"#{reading.layers}"] = dots
        world.labels = world.labels % dots
    trees = [undotted(tree, dots) if dots else tree for tree in trees]
    head = open_letters(trees[0]) if trees else set()
    evaluator = Evaluator(reading, world, trees, head)
    evaluator.prepared = (lambda tree: undotted(tree, dots)) if dots else (lambda tree: tree)
    at = Context(world)
    outcomes: list[Outcome] = []
    values: list[list[Value] | None] = []
    right: int | None = None  # the last side that was right
    for k, side in enumerate(chain.sides):
        found, why = _values(side.node, side.why, evaluator, at, dots)
        if found and side.node is not None and side.node.op == "mat" and 1 in (shape(found[0]) or ()):
            found = [*found, transpose(found[0])]  # a list of elements is a column as well as a row
        values.append(found)
        if k == 0 and found:
            evaluator.open = evaluator.head | all_letters(found[0])
        if not side.joined or k == 0:
            outcomes.append(Outcome("head" if found else "unread head", why[1]))
            right = k if found else None
            continue
        if found is None:
            outcomes.append(Outcome(why[0], why[1], right))
            continue
        own = [*side.conditions, *evaluator.assumed]
        previous = values[k - 1]
        tries = [(k - 1, previous)]
        if right is not None and right != k - 1:
            tries.append((right, values[right]))
        if own and k > 1 and right not in (None, 0) and values[0] is not None:
            tries.append((0, values[0]))
        outcome = Outcome("misfit", "", right)
        if all(theirs is None for _, theirs in tries):
            outcome = Outcome("start", "nothing before it could be computed")
        for other, conditions, a, b in (
            (other, conditions, before, here)
            for other, theirs in tries if theirs is not None
            for before, here in itertools.product(theirs, found)
            for conditions in _condition_groups(own, chain, evaluator, before, here)
        ):  # fmt: skip
            try:
                gap = difference(a, b, conditions, evaluator, at)
            except MisfitError as error:
                outcome.message = str(error) if outcome.word == "misfit" else ""
                continue
            except (NotReadError, ArithmeticError, ValueError, LookupError):
                continue
            if gap is None:
                before = outcomes[other].word
                again = right not in (None, other) and other == k - 1 and before in ("wrong", "carried", "misfit")
                outcome = Outcome("carried" if again else "follows", "", other, conditions=tuple(conditions))
                if not conditions and _vanish(a, b) and not _says_zero([chain.sides[other].node, side.node], reading):
                    outcome = Outcome("unread", "as its letters are read both sides are 0")
                break
            if outcome.word == "misfit" or other == right:
                outcome = Outcome("wrong", "", other, gap)
        if outcome.word in ("wrong", "misfit") and k == 1 and _says_the_loss(chain, reading):
            outcome = Outcome("defines", "", outcome.against)
        zero = side.node is not None and side.node.op == "num" and side.node.data == 0
        if outcome.word == "wrong" and zero and k == len(chain.sides) - 1 > 1 and chain.trees[0].op in ("D", "grad"):
            outcome = Outcome("follows", "set to 0", outcome.against)
        if outcome.word == "wrong" and _excused(found, [v for _, v in tries if v is not None], chain, evaluator, at):
            outcome = Outcome("unread", "it holds under a condition of which the first side does not speak")
        unknown = _unknown(chain, outcome, k, reading)
        if unknown is not None:
            outcome = Outcome("unread", f"{unknown}: the file does not say what it is")
            right = k
        if outcome.word in ("follows", "start", "defines"):
            right = k
        outcomes.append(outcome)
    if not chain.claim and _is_assumption(chain, reading) and any(o.word == "wrong" for o in outcomes):
        for outcome in outcomes:
            outcome.word = "follows" if outcome.word == "wrong" else outcome.word
    if len(outcomes) > 1 and outcomes[1].word == "follows" and _defines(chain, reading):
        outcomes[1] = replace(outcomes[1], word="defines")
        if chain.solved:
            outcomes[1] = Outcome("unread", "whether it follows from what stands before the arrow is not checked")
    return outcomes


def _unknown(chain: Chain, outcome: Outcome, k: int, reading: Reading) -> str | None:
    """What a side is made of that those before it are not, or a loss of which only one of two speaks: unless the file
    says what it is, they may be equal. Nor is an equation of free letters alone a claim."""
    if outcome.word != "wrong" or reading["network"] != "own" or outcome.against is None:
        return None
    first, before, here = (_leaves(chain.sides[j].node, reading) for j in (0, outcome.against, k))
    losses = {base for base in before ^ here if base == "loss" or reading.kind(base) in ("L", "g")}
    claimed = [part for j in (0, outcome.against) for part in _parts(chain.sides[j].node)]
    if not any(part.op in ("D", "grad", "prime") or reading.kind(_base(part)) == "def" for part in claimed):
        losses |= before
    return min(losses | here - before - first, default=None)


def _parts(node: Node | None) -> tuple[Node, ...]:
    return walk(node) if node is not None else ()


def _base(part: Node) -> str:
    return part.data.base if isinstance(part.data, Name) else ""


def _leaves(node: Node | None, reading: Reading) -> set[str]:
    """The free letters of which a tree is made, through all that the file defines."""
    found: set[str] = set()
    seen: set[str] = set()
    ahead = [node] if node is not None else []
    while ahead:
        part = ahead.pop()
        found |= {"loss"} if any(one.op == "loss" for one in walk(part)) else set()
        for name in names(part):
            key = tagged(name, reading.facts)[0]
            known = reading.definitions.get(key)
            made = known.node if known is not None else None
            if made is None and name.base in reading.functions:
                made = reading.functions[name.base].node
            named = reading.kind(name.base) == "g" and reading[f"function {name.base}"]
            if made is None and reading.kind(name.base) in ("free", "L", "g") and not named:
                found.add(name.base)
                if reading.kind(name.base) == "L":  # some function of all that the file defines
                    ahead += [one.node for other, one in reading.definitions.items() if other not in seen]
                    seen |= {*reading.definitions}
            elif made is not None and key not in seen:
                seen.add(key)
                ahead.append(made)
    return found


def _defines(chain: Chain, reading: Reading) -> bool:
    """Whether a chain's second side is what the file says that its first is."""
    head = chain.head
    if head is None or reading.kind(head.base) != "def":
        return False
    tags = [i.value for i in (*head.sub, *head.sup) if i.kind == "number"]
    known = reading.definitions.get(f"{head.base}_{tags[0]}" if tags else head.base)
    known = known or reading.definitions.get(head.base)
    if reading["network"] == "own":
        known = reading.definitions.get(tagged(head, reading.facts)[0])
    return known is not None and chain.sides[1].node in (known.node, *known.key)


def _says_the_loss(chain: Chain, reading: Reading) -> bool:
    """Whether a chain begins with ∂L/∂z = ∂(…)/∂z, where nothing else says what L is."""
    first, second = (side.node for side in chain.sides[:2])
    if first is None or second is None or not first.op == second.op == "D" or first.kids[1:] != second.kids[1:]:
        return False
    loss = first.kids[0].data
    if not isinstance(loss, Name) or reading.kind(loss.base) != "L" or loss.base in reading.facts.heads:
        return False
    return second.kids[0].op not in ("name", "app") and all(name.base != loss.base for name in names(second))


def _values(
    node: Node | None, why: str, evaluator: Evaluator, at: Context, dots: int
) -> tuple[list[Value] | None, tuple[str, str]]:
    if node is None:
        return None, ("unread", why)
    found: list[Value] = []
    said = ("unread", "")
    for tree in variants(undotted(node, dots) if dots else node):
        try:
            value = evaluator.value(tree, at)
            if primal(value).data.size > _MOST_ENTRIES:
                raise NotReadError("too large to be computed")
            found.append(value)
        except (NotReadError, TensorError) as error:
            said = ("unread", str(error))
        except MisfitError as error:
            said = ("misfit", str(error))
        except _NO_VALUE as error:
            said = ("unread", f"not computed ({type(error).__name__})")
    return (found or None), said


def _condition_groups(
    own: list[Condition], chain: Chain, evaluator: Evaluator, before: Value, here: Value
) -> list[list[Condition]]:
    """What may be assumed of two sides, in turn: what stands beside them, and of what stands over the chain all that
    speaks of their indices."""
    assumed = list(evaluator.assumed)
    summed = {letter for tree in chain.trees for part in walk(tree) if part.op == "sum" for letter in part.data.letters}
    mine, theirs = set(all_letters(here)) - summed, set(all_letters(before)) - summed
    groups: list[list[Condition]] = [assumed]
    if own and own != assumed:
        groups.append(own)
    stated = [
        c
        for c in chain.conditions
        if _speaks_of(c, evaluator, mine if c.rel == "=" and c in chain.fresh else mine & theirs)
    ]
    if stated:
        groups.append([*assumed, *stated])
        groups += [[*own, one] for one in reversed(stated)] if len(stated) > 1 else []
        if own:
            groups.append([*own, *stated])
    return groups


def _excused(found: list[Value], before: list[list[Value]], chain: Chain, evaluator: Evaluator, at: Context) -> bool:
    """Whether a side is equal to one before it where all that stands over the chain holds: is it meant here?"""
    if all(_speaks_of(condition, evaluator) for condition in chain.conditions):
        return False
    for a, b in itertools.product(itertools.chain(*before), found):
        try:
            if difference(a, b, [*evaluator.assumed, *chain.conditions], evaluator, at) is None:
                return True
        except (MisfitError, NotReadError, ArithmeticError, ValueError, LookupError):
            continue
    return False


def _speaks_of(condition: Condition, evaluator: Evaluator, more: Collection[str] = ()) -> bool:
    """Whether a condition that stands over a chain is of indices of its first side, or of those that both sides have:
    i ≠ k says nothing of ∂L/∂z_i."""
    for side in (condition.left, condition.right):
        for name in names(side) if isinstance(side, Node) else ():
            known = (
                name.base in evaluator.open or name.base in more or evaluator.reading.is_label(name.base) or name.sub
            )
            if not known and not evaluator.reading.kind(name.base):
                return False
    return True


def _vanish(*values: Value) -> bool:
    return not any(primal(value).data.any() for value in values)


def _says_zero(trees: Sequence[Node | None], reading: Reading) -> bool:
    """Whether a step is one of 0 and 1: what is 0 there is so by what it says, and not by how its letters are read."""
    parts = [part for tree in trees if tree is not None for part in walk(tree)]
    return any(
        part == num(0) or part.op in ("cases", "ind", "mat")
        or (part.op == "name" and reading.kind(part.data.base) in ("kron", "eye", "unit"))
        for part in parts
    )  # fmt: skip


def _is_assumption(chain: Chain, reading: Reading) -> bool:
    """Whether an equation is of targets and numbers alone: y_c = 1."""
    for side in chain.sides:
        if side.node is None:
            return False
        for part in walk(side.node):
            if isinstance(part.data, Name):
                if part.data.base != "…" and reading.kind(part.data.base) not in ("y", "label") and not _is_index(part):
                    return False
            elif part.op not in ("num", "add", "neg", "sum", "mul", "ind"):
                return False
    return True


def _is_index(part: Node) -> bool:
    return part.op == "name" and not part.data.sub and len(part.data.base) == 1 and part.data.base in "ijklmncKCN"


__all__ += ["letters", "shape"]
