"""Terms that may belong together: what a Σ or a ∂/∂z takes in, and sums that are written out."""

from __future__ import annotations

from dataclasses import replace

from chainrule.derive.people.tree import Bound, Item, Name, Node

__all__ = ["widened"]


def widened(node: Node) -> Node:
    """Where ∂/∂z or Σ stands before several terms, it may act on the first or on all: both are kept, as `alt`."""
    kids = tuple(widened(kid) for kid in node.kids)
    node = node.with_kids(kids) if kids != node.kids else node
    if node.op != "add":
        return node
    listed = _listed(node)
    if listed is not None:
        return listed
    for k, term in enumerate(node.kids[:-1]):
        inner, outer = term, []
        while inner.op in ("neg", "mul"):
            outer.append(inner)
            inner = inner.kids[-1]
        rest = node.kids[k + 1 :]
        if inner.op == "D" and inner.data == "open":
            pass
        elif inner.op == "sum":
            used = [j for j, one in enumerate(rest) if _uses(one, inner.data.letters)]
            if not used:
                continue
            rest = rest[: used[-1] + 1]
        else:
            continue
        body = widened(Node("add", (inner.kids[0], *rest)))
        wide = inner.with_kids((body, *inner.kids[1:]))
        for one in reversed(outer):
            wide = one.with_kids((*one.kids[:-1], wide))
        terms = (*node.kids[:k], wide, *node.kids[k + 1 + len(rest) :])
        return Node("alt", (node, widened(Node("add", terms)) if len(terms) > 1 else wide))
    return node


def _listed(node: Node) -> Node | None:
    """e^{z_a} + e^{z_b} + e^{z_c}, or x_1 w_1 + … + x_K w_K: a sum over all, written out; None where it is not one."""
    dots = [k for k, kid in enumerate(node.kids) if kid.op == "dots"]
    if len(dots) > 1 and dots[-1] == len(node.kids) - 1:  # w_0 x_0 + … + w_j x_j + …
        node, dots = node.with_kids(node.kids[:-1]), dots[:-1]
    terms = [kid for kid in node.kids if kid.op != "dots"]
    if dots and any(term.op == "num" and term.data == 0 for term in terms):  # 0 + … + x + … + 0
        return Node("add", tuple(terms))
    if dots:
        return _counted_out(node, dots) if dots[0] > 0 and dots[-1] < len(node.kids) - 1 else node
    if len(terms) < 3:
        return None
    found = [_Pattern(terms[0], term) for term in terms[1:]]
    indices = [found[0].pair[0], *(one.pair[1] for one in found)]
    if not all(one.fits and one.tree == found[0].tree for one in found) or len(set(indices)) < len(indices):
        return None
    if any(index.kind != "letter" for index in indices):
        return None
    return Node("alt", (node, Node("sum", (found[0].tree,), Bound(("∂s",)))))


def _counted_out(node: Node, dots: list[int]) -> Node:
    """A sum with the terms that count from 1, or 0, up to those behind the dots as a Σ; unchanged where they do not."""
    end = dots[-1] + 2
    for start in range(dots[0]):
        last = _Pattern(node.kids[start], node.kids[end - 1])
        if not last.fits or last.pair[0] not in (Item("number", 0), Item("number", 1)):
            continue
        for k, term in enumerate(node.kids[start + 1 : end - 1], start=int(last.pair[0].value) + 1):
            one = _Pattern(node.kids[start], term)
            counted = one.fits and one.tree == last.tree
            last.fits &= term.op == "dots" or (counted and (start + k > dots[0] or one.pair[1] == Item("number", k)))
        if not last.fits:
            break
        whole = Node("sum", (last.tree,), Bound(("∂s",)))
        terms = (*node.kids[:start], whole, *node.kids[end:])
        return Node("add", terms) if len(terms) > 1 else whole
    return node


class _Pattern:
    """Two terms that are alike but for one index, wherever it stands: what they have in common, with a letter of its
    own for it, and what it is in both."""

    def __init__(self, one: Node, other: Node) -> None:
        self.pair = (Item("word", ""), Item("word", ""))
        self.fits = True
        self.tree = self._common(one, other)
        self.fits &= self.pair[0].kind != "word"

    def _common(self, one: Node, other: Node) -> Node:
        if one.op != other.op or len(one.kids) != len(other.kids):
            self.fits = False
            return one
        data = one.data
        if isinstance(one.data, Name) and isinstance(other.data, Name):
            sub, sup = (self._items(getattr(one.data, at), getattr(other.data, at)) for at in ("sub", "sup"))
            data = replace(one.data, sub=sub, sup=sup)
            self.fits &= replace(other.data, sub=sub, sup=sup) == data
        else:
            self.fits &= one.data == other.data
        return Node(one.op, tuple(self._common(a, b) for a, b in zip(one.kids, other.kids, strict=True)), data)

    def _items(self, some: tuple[Item, ...], others: tuple[Item, ...]) -> tuple[Item, ...]:
        found = []
        self.fits &= len(some) == len(others)
        for one, other in zip(some, others, strict=False):
            if one.kind == other.kind == "round":
                found.append(Item("round", self._items(one.value, other.value)))
                continue
            if one != other:
                self.fits &= self.pair in ((one, other), (Item("word", ""), Item("word", "")))
                self.pair = (one, other)
            found.append(Item("letter", "∂s") if one != other else one)
        return tuple(found)


def _uses(node: Node, letters: tuple[str, ...]) -> bool:
    """Whether a letter is used freely in a tree."""
    if node.op == "sum" and set(node.data.letters) & set(letters):
        return False
    if isinstance(node.data, Name):
        found = [item for item in node.data.sub + node.data.sup]
        for item in found:
            inside = item.value if item.kind in ("round", "square") else (item,)
            if any(one.kind == "letter" and one.value in letters for one in inside):
                return True
    return any(_uses(kid, letters) for kid in node.kids)
