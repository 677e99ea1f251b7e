"""Why a step does not follow: the smallest single edit under which it does, checked like any other step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.derive.people.chains import Chain, Side
from chainrule.derive.people.comparing import difference, needs_batch, variants
from chainrule.derive.people.evaluate import Evaluator
from chainrule.derive.people.facts import flat_items, letters_in
from chainrule.derive.people.reading import Reading
from chainrule.derive.people.showing import shown
from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node, NotReadError, names, walk, with_names
from chainrule.derive.people.values import MisfitError, Value, work_done
from chainrule.derive.people.world import Context, World

__all__ = ["cause_of"]

WORK = 8_000_000  # in entries that are computed
_MOST = 700

Edit = tuple[Node, str]


def cause_of(chain: Chain, k: int, against: int, reading: Reading, seed: int, *, square: bool = False) -> str | None:
    """What is wrong with side k, compared with the side `against`; None where no single edit mends it."""
    before, after = chain.sides[against].node, chain.sides[k].node
    if before is None or after is None:
        return None
    with np.errstate(all="ignore"):
        try:
            return _Bench(chain, before, after, reading, seed, square).cause(chain.sides[k])
        except (NotReadError, MisfitError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError):
            return None


class _Bench:
    """Where edits of one side are tried, in two worlds."""

    def __init__(self, chain: Chain, before: Node, after: Node, reading: Reading, seed: int, square: bool) -> None:
        self.chain, self.before, self.after, self.reading = chain, before, after, reading
        self.head = letters_in(before)
        batch = needs_batch(chain, reading)
        self.worlds: list[tuple[Evaluator, Context, list[Value]]] = []
        for n in (seed, seed + 1):
            evaluator = Evaluator(reading, World(reading, n, batch=batch, square=square), [before, after], self.head)
            at = Context(evaluator.world)
            values = [evaluator.value(tree, at) for tree in variants(before)]
            self.worlds.append((evaluator, at, values))
        self.tried = 0

    def holds(self, tree: Node, conditions: list[Condition]) -> bool:
        self.tried += 1
        for evaluator, at, values in self.worlds:
            evaluator.sides = [self.before, tree]
            evaluator._sizes = {}
            evaluator.assumed = []
            found = False
            for variant in variants(tree)[:2]:
                try:
                    value = evaluator.value(variant, at)
                    found = any(difference(v, value, conditions, evaluator, at) is None for v in values)
                except (NotReadError, MisfitError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError):
                    continue
                if found:
                    break
            if not found:
                return False
        return True

    def cause(self, side: Side) -> str | None:
        conditions = [*side.conditions, *self.chain.conditions[:1]]
        letters = sorted(letter for letter in self.head if len(letter) <= 2)
        for a, b in itertools.combinations(letters, 2):
            left, right = (Node("name", (), Name(letter)) for letter in (a, b))
            for rel, other in (("=", "≠"), ("≠", "=")):
                if self.holds(self.after, [Condition(left, rel, right)]):
                    return f"it holds for {a} {rel} {b} only: the case {a} {other} {b} is missing"
        end = work_done() + WORK
        found: list[str] = []
        for edit, words in itertools.chain(*self.edits()):
            if work_done() > end or self.tried > _MOST:
                break
            if self.holds(edit, conditions) or (conditions and self.holds(edit, [])):
                found.append(words)
                if len(found) == 2:
                    break
        return " (or: ".join(dict.fromkeys(found)) + (")" if len(set(found)) > 1 else "") if found else None

    def edits(self) -> list[Iterator[Edit]]:
        return [
            self._at(_signs), self._at(self._indices), self._at(_transposes), self._at(self._bounds),
            self._at(self._sums), self._at(_dropped), self._at(self._factors), self._at(_orders),
            self._at(self._others), self._at(_powers), self._at(self._deltas),
        ]  # fmt: skip

    def _at(self, change: Callable[[Node], Iterator[Edit]]) -> Iterator[Edit]:
        """An edit at each place of the tree."""

        def at(node: Node, put: Callable[[Node], Node]) -> Iterator[Edit]:
            for edit, words in change(node):
                yield put(edit), words
            for n, kid in enumerate(node.kids):

                def inside(new: Node, n: int = n) -> Node:
                    return put(node.with_kids((*node.kids[:n], new, *node.kids[n + 1 :])))

                yield from at(kid, inside)

        yield from at(self.after, lambda new: new)

    # --- Edits that need the letters of the chain ---------------------------------------------------------------------

    def _letters(self) -> list[str]:
        found: dict[str, None] = {}
        for tree in (self.before, self.after):
            for part in walk(tree):
                if isinstance(part.data, Name):
                    for item in flat_items(part.data.sub):
                        if item.kind == "letter":
                            found[item.value] = None
                elif isinstance(part.data, Bound):
                    found |= dict.fromkeys(part.data.letters)
        return list(found)

    def _indices(self, node: Node) -> Iterator[Edit]:
        """Another letter below, or two letters changed over."""
        if not isinstance(node.data, Name) or node.op not in ("name", "app"):
            return
        name = node.data
        for n, item in enumerate(name.sub):
            if item.kind != "letter":
                continue
            for letter in self._letters():
                if letter != item.value:
                    yield _with_sub(node, (*name.sub[:n], Item("letter", letter), *name.sub[n + 1 :]))
        if len(name.sub) == 2:
            yield _with_sub(node, name.sub[::-1])

    def _bounds(self, node: Node) -> Iterator[Edit]:
        """A Σ over another letter, or but for one value of it."""
        if node.op != "sum":
            return
        bound: Bound = node.data
        for letter in self._letters():
            if letter not in bound.letters:
                yield (
                    Node("sum", node.kids, bound._replace(letters=(letter,))),
                    f"the sum should run over {letter}, not {', '.join(bound.letters)}",
                )
        if not bound.conditions and len(bound.letters) == 1:
            for letter in self.head:
                left, right = (Node("name", (), Name(one)) for one in (bound.letters[0], letter))
                yield (
                    Node("sum", node.kids, bound._replace(conditions=(Condition(left, "≠", right),))),
                    f"the sum must leave out {bound.letters[0]} = {letter}, which stands beside it",
                )
        elif bound.conditions:
            yield (
                Node("sum", node.kids, bound._replace(conditions=())),
                f"the sum should not leave out {shown(bound.conditions[0].right)}",
            )

    def _sums(self, node: Node) -> Iterator[Edit]:
        """A Σ that is missing, or one too many."""
        if node.op == "sum":
            yield node.kids[0], f"the sum over {', '.join(node.data.letters)} should not stand here"
        if node.op in ("mul", "div", "name", "D", "app", "neg"):
            for letter in self._letters():
                if any(Item("letter", letter) in flat_items(name.sub) for name in names(node)):
                    yield Node("sum", (node,), Bound((letter,))), f"the sum over {letter} is missing"
                    if node.op == "mul":
                        for base in sorted({name.base for name in names(node)}):
                            yield (
                                Node("sum", (_relettered(node, base, letter),), Bound(("∂k",))),
                                f"the sum over {letter} is missing",
                            )

    def _factors(self, node: Node) -> Iterator[Edit]:
        """A factor that is missing."""
        if node.op not in ("name", "mul", "app", "div", "sum", "fn"):
            return
        seen: dict[Node, None] = {}
        for tree in (self.before, self.after):
            for part in walk(tree):
                if part.op == "name" and (part.data.sub or part.data.bold):
                    seen[part] = None
        for factor in [*list(seen)[:8], Node("num", (), 2.0), Node("num", (), 0.5)]:
            yield Node("mul", (factor, node), ("",)), f"the factor {shown(factor)} is missing beside {shown(node)}"

    def _others(self, node: Node) -> Iterator[Edit]:
        """Another name of the chain."""
        if node.op != "name":
            return
        bases = {name.base for tree in (self.before, self.after) for name in names(tree)}
        bases |= {
            base
            for base, role in self.reading.roles.items()
            if role.kind in ("W", "x", "h", "a", "y", "p") and base in self.reading.facts.bases
        }
        for base in sorted(bases - {node.data.base}):
            new = Node("name", (), replace(node.data, base=base))
            yield new, f"{shown(node)} should be {shown(new)}"

    def _deltas(self, node: Node) -> Iterator[Edit]:
        """1 for an indicator, and an indicator for 1."""
        letters = sorted(self._letters())
        if node.op == "num" and node.data == 1:
            for a, b in itertools.combinations(letters, 2):
                condition = Condition(Node("name", (), Name(a)), "=", Node("name", (), Name(b)))
                yield Node("ind", (), (condition,)), f"1 should be 1 for {a} = {b} only"
        elif node.op == "ind":
            yield Node("num", (), 1.0), f"{shown(node)} should be 1"


def _with_sub(node: Node, sub: tuple[Item, ...]) -> Edit:
    new = replace(node.data, sub=sub)
    words = f"{shown(Node('name', (), node.data))} should be {shown(Node('name', (), new))}"
    return Node(node.op, node.kids, new), words


def _relettered(node: Node, base: str, letter: str) -> Node:
    """A tree where one name has a letter of its own in place of one that stands elsewhere too."""

    def change(name: Name) -> Name:
        sub = tuple(Item("letter", "∂k") if item == Item("letter", letter) else item for item in name.sub)
        return replace(name, sub=sub) if name.base == base else name

    return with_names(node, change)


# --- Edits that need nothing else -------------------------------------------------------------------------------------


def _signs(node: Node) -> Iterator[Edit]:
    if node.op == "neg":
        yield node.kids[0], f"the sign of {shown(node.kids[0])}"
    elif node.op == "add":
        yield Node("neg", (node,)), "the sign"
        for n, kid in enumerate(node.kids):
            turned = kid.kids[0] if kid.op == "neg" else Node("neg", (kid,))
            yield (
                node.with_kids((*node.kids[:n], turned, *node.kids[n + 1 :])),
                f"the sign of {shown(kid.kids[0] if kid.op == 'neg' else kid)}",
            )
    elif node.op in ("mul", "div", "sum", "app"):
        yield Node("neg", (node,)), "the sign"


def _transposes(node: Node) -> Iterator[Edit]:
    if node.op == "T":
        yield node.kids[0], f"{shown(node)} should be {shown(node.kids[0])}"
    elif node.op in ("name", "add", "D", "grad", "app"):
        turned = Node("T", (node,))
        yield turned, f"{shown(node)} should be {shown(turned)}"


def _dropped(node: Node) -> Iterator[Edit]:
    """A factor or a term too many."""
    if node.op in ("mul", "add") and len(node.kids) > 1:
        what = "factor" if node.op == "mul" else "term"
        for n, kid in enumerate(node.kids):
            rest = (*node.kids[:n], *node.kids[n + 1 :])
            signs: Any = node.data
            if node.op == "mul" and node.data:
                signs = tuple(s for m, s in enumerate(node.data) if m != max(n - 1, 0))
            yield (
                (rest[0] if len(rest) == 1 else Node(node.op, rest, signs)),
                f"the {what} {shown(kid)} should not stand here",
            )
    elif node.op == "div":
        yield node.kids[0], f"the division by {shown(node.kids[1])} should not stand here"
    elif node.op == "app" and len(node.kids) == 1:
        yield Node("name", (), node.data), f"the factor {shown(node.kids[0])} should not stand here"
        yield node.kids[0], f"the factor {shown(Node('name', (), node.data))} should not stand here"


def _orders(node: Node) -> Iterator[Edit]:
    """Factors in another order, one of them transposed perhaps."""
    if node.op == "app" and len(node.kids) == 1:
        node = Node("mul", (Node("name", (), node.data), node.kids[0]), ("",))
    if node.op != "mul":
        return
    for n in range(len(node.kids) - 1):
        a, b = node.kids[n], node.kids[n + 1]
        for x, y in ((b, a), (_turned(b), a), (b, _turned(a)), (_turned(b), _turned(a))):
            pair = Node("mul", (x, y), ("",))
            signs = tuple("" for _ in node.kids[1:])
            words = f"{shown(Node('mul', (a, b), ('',)))} should be {shown(pair)}"
            yield Node("mul", (*node.kids[:n], x, y, *node.kids[n + 2 :]), signs), words


def _turned(node: Node) -> Node:
    return node.kids[0] if node.op == "T" else Node("T", (node,))


def _powers(node: Node) -> Iterator[Edit]:
    """A square that is missing or too many, or a slope in place of a value."""
    if node.op == "pow" and node.kids[1].op == "num":
        yield node.kids[0], f"the power {shown(node)} should not stand here"
        inner = node.kids[0]
        if inner.op == "sum":
            yield (
                Node("sum", (Node("pow", (inner.kids[0], node.kids[1])),), inner.data),
                "the square of the sum stands for the sum of the squares",
            )
    elif node.op in ("sum", "name", "fn"):
        yield Node("pow", (node, Node("num", (), 2.0))), f"the square of {shown(node)} is missing"
    if node.op == "sum" and node.kids[0].op == "pow":
        inner = node.kids[0]
        yield (
            Node("pow", (Node("sum", (inner.kids[0],), node.data), inner.kids[1])),
            "the sum of the squares stands for the square of the sum",
        )
    if node.op == "app":
        new = replace(node.data, primes=node.data.primes + 1)
        yield Node("app", node.kids, new), f"{shown(node)} should be {shown(Node('app', node.kids, new))}"
    if node.op == "div":
        yield Node("div", (node.kids[1], node.kids[0])), f"{shown(node)} should be the other way up"
