"""What a file itself says that its names and functions are."""

from __future__ import annotations

import itertools

from chainrule.derive.people.affine import is_idle
from chainrule.derive.people.chains import Notes
from chainrule.derive.people.facts import Facts, open_letters, tagged
from chainrule.derive.people.own_trees import relettered_apart
from chainrule.derive.people.reading import Definition, Function
from chainrule.derive.people.tree import Name, Node, names, transform, walk

__all__ = ["own_definitions", "own_functions"]

_MARK = "\u00b0"


def own_definitions(notes: Notes, facts: Facts) -> dict[str, Definition]:
    """The first equation in which a name stands alone on the left, and not on the right."""
    found: dict[str, Definition] = {}
    slopes: dict[str, Definition] = {}
    for chain in (*notes.inline, *notes.chains):
        for before, after in itertools.islice(itertools.pairwise(chain.sides), 1):
            left, right = before.node, after.node
            if left is None or right is None or not after.joined:
                continue
            sides = [side.node for side in itertools.takewhile(lambda side: side.joined, chain.sides[1:]) if side.node]
            into = found
            if (
                left.op in ("D", "grad")
                and len(left.kids) == 2
                and (whole := _integral(right, left.kids[1])) is not None
            ):
                left, right, sides, into = left.kids[0], whole, [], slopes  # ∂L/∂w = ∂(…)/∂w says what L is
            if left.op == "fn" and left.data == ("log", 0) and into is found:
                left, right, sides = left.kids[0], Node("fn", (right,), ("exp", 0)), []
            if left.op not in ("name", "app"):
                continue
            if left.op == "app" and any(kid.op not in ("name", "mat", "alt", "T", "given") for kid in left.kids):
                continue
            name: Name = left.data
            key, items, power = tagged(name, facts)
            items = [] if "|" in key and all(i.kind == "number" for i in items) else items
            letters = tuple(str(i.value) for i in items if i.kind == "letter")
            if (
                len(letters) < len(items)
                or len(set(letters)) < len(letters)
                or (name.primes and left.op == "app")
                or power != 1
            ):
                continue
            if key in into or any(tagged(part, facts)[0] == key for part in names(right)):
                continue
            if right.op == "num" or _differentiates(right, name) or is_idle(right):
                continue
            right = _closed(right, letters)
            into[key] = Definition(letters, right, (right, *sides))
    found = slopes | found
    for base, keys in itertools.groupby(sorted(k for k in found if "|" in k), key=lambda k: k.split("|")[0]):
        named = list(keys)  # J where only J_{neg} is defined
        if len(named) == 1 and base not in found and named[0].split("|")[1].replace("-", "").isalpha():
            found[base] = found[named[0]]
    return found


def _closed(node: Node, letters: tuple[str, ...]) -> Node:
    """Of what a side may mean, that whose index letters are the definition's or bound: a Σ takes in what needs it."""

    def change(part: Node) -> Node | None:
        if part.op != "alt":
            return None
        fitting = [kid for kid in part.kids if open_letters(kid) <= set(letters)]
        return transform((fitting or part.kids)[0], change)

    return transform(node, change)


def _integral(node: Node, by: Node) -> Node | None:
    """What a sum of multiples of derivatives by one name is the derivative of; None where it is no such sum."""
    if node.op in ("D", "grad") and node.kids[1:] == (by,) and node.data != 2:
        return node.kids[0]
    if node.op == "alt":
        return next((found for kid in node.kids if (found := _integral(kid, by)) is not None), None)
    if node.op in ("add", "neg", "sum"):
        inner = [_integral(kid, by) for kid in node.kids]
        return None if None in inner else node.with_kids(tuple(kid for kid in inner if kid is not None))
    if node.op in ("mul", "div"):
        last = 0 if node.op == "div" else len(node.kids) - 1
        within = _integral(node.kids[last], by)
        bases = {name.base for name in names(by)}
        others = [kid for k, kid in enumerate(node.kids) if k != last]
        if within is None or any(part.op in ("D", "grad") for kid in others for part in walk(kid)):
            return None
        if any(name.base in bases for kid in others for name in names(kid)):
            return None
        return node.with_kids(tuple(within if k == last else kid for k, kid in enumerate(node.kids)))
    return None


def _differentiates(node: Node, name: Name) -> bool:
    """Whether a side is a derivative: ∂L/∂z says nothing of what L is."""
    return node.op in ("D", "grad") and not any(part.base == name.base for part in names(node))


def own_functions(notes: Notes) -> dict[str, Function]:
    """What the file says of functions: σ(x) = 1/(1 + e^{-x}), and [S(y)]_k or S(y_k) of a vector."""
    found: dict[str, Function] = {}
    for chain in (*notes.inline, *notes.chains):
        for one, other in itertools.pairwise(chain.sides):
            left, right = one.node, other.node
            if left is None or right is None or not other.joined:
                continue
            picks = left.data if left.op == "elem" else ()
            left = left.kids[0] if left.op == "elem" else left
            if left.op != "app" or len(left.kids) != 1 or left.kids[0].op != "name" or left.data.primes:
                continue
            base, argument = left.data.base, left.kids[0].data
            items = (*picks, *left.data.sub, *argument.sub)
            letters = tuple(str(item.value) for item in items if item.kind == "letter")
            used = [n for n in names(right) if n.base == argument.base]
            if base in found or len(letters) < len(items) or len(letters) > 1 or argument.sup or not used:
                continue
            if any(n.base == base for n in names(right)) or (not letters and open_letters(right)):
                continue
            if letters and not all(n.sub for n in used):
                continue
            found[base] = Function(argument.base, relettered_apart(right, _MARK), letters)
    return found
