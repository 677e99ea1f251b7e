"""Terms that may belong together: what a Σ or a ∂/∂z takes in, and sums that are written out."""

from __future__ import annotations

from dataclasses import replace

from chainrule.derive.people.tree import Bound, Item, Name, Node, transform

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
        body = Node("add", (inner.kids[0], *rest))
        wide = inner.with_kids((body, *inner.kids[1:]))
        for one in reversed(outer):
            wide = one.with_kids((*one.kids[:-1], wide))
        terms = (*node.kids[:k], wide, *node.kids[k + 1 + len(rest) :])
        return Node("alt", (node, widened(Node("add", terms)) if len(terms) > 1 else wide))
    return node


def _listed(node: Node) -> Node | None:
    """e^{z_a} + e^{z_b} + e^{z_c}, or e^{z_1} + … + e^{z_K}: a sum over all, written out; None where it is not one."""
    dots = [k for k, kid in enumerate(node.kids) if kid.op == "dots"]
    terms = [kid for kid in node.kids if kid.op != "dots"]
    if dots and any(term.op == "num" and term.data == 0 for term in terms):  # 0 + … + x + … + 0
        return Node("add", tuple(terms))
    if dots and len(terms) < 2:
        return node
    if not dots and len(terms) < 3:
        return None
    patterns = [_pattern(term) for term in terms]
    if any(p is None for p in patterns) or len({p[0] for p in patterns if p}) > 1:
        return node if dots else None
    indices = [p[1] for p in patterns if p]
    whole = Node("sum", (patterns[0][0],), Bound(("∂s",)))  # type: ignore[index]
    if dots:
        return whole if indices[0].value in (0, 1) else node
    if all(i.kind == "letter" for i in indices) and len({i.value for i in indices}) == len(indices):
        return Node("alt", (node, whole))
    return None


def _pattern(term: Node) -> tuple[Node, Item] | None:
    """A term with its one index replaced by a letter of its own, and that index."""
    found: dict[Item, None] = {}

    def change(part: Node) -> Node | None:
        if isinstance(part.data, Name) and part.data.sub:
            *before, last = part.data.sub
            if last.kind in ("letter", "number", "shifted", "name") and part.op == "name":
                found[last] = None
                return Node("name", (), replace(part.data, sub=(*before, Item("letter", "∂s"))))
        return None

    tree = transform(term, change)
    return (tree, next(iter(found))) if len(found) == 1 else None


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
