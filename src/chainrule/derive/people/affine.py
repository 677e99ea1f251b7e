"""What a tree looks like before any letter has a role: an affine map, a softmax, a loss."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.derive.people.tree import Item, Name, Node, names, walk

__all__ = [
    "WEIGHTS",
    "affine",
    "direct",
    "flat_items",
    "has_log",
    "has_losslike",
    "is_logistic",
    "is_softmax",
    "letters_in",
    "squared",
    "tagless",
]

WEIGHTS = ("W", "w", "U", "V", "u", "v", "Θ", "θ", "β", "Ω", "R")


def flat_items(items: Iterable[Item]) -> list[Item]:
    """Items with those in brackets among them."""
    found: list[Item] = []
    for item in items:
        found += flat_items(item.value) if item.kind in ("round", "square") else [item]
    return found


def letters_in(node: Node) -> set[str]:
    """The letters below and above all names of a tree."""
    return {item.value for name in names(node) for item in flat_items(name.sub + name.sup) if item.kind == "letter"}


def has_log(node: Node) -> bool:
    return (node.op == "fn" and node.data[0] in ("log", "logsoftmax")) or (node.op == "sum" and has_log(node.kids[0]))


def direct(node: Node) -> list[Name]:
    """The name that an expression is, through signs, transposes and elements."""
    if node.op == "name":
        return [node.data]
    if node.op == "app":
        return [node.data]
    return direct(node.kids[0]) if node.op in ("T", "neg", "elem", "pow") and node.kids else []


def tagless(name: Name) -> str:
    """A base with its layer's tag, where it has one, as a key."""
    tag = next((str(i.value) for i in flat_items(name.sup + name.sub) if i.kind in ("number", "shifted")), "")
    return name.base + (":" + tag if tag else "")


def affine(node: Node) -> tuple[str, str, str] | None:
    """Weights, input and bias of W x + b, x W + b, wᵀx, Σ_j w_ij x_j + b_i."""
    terms = node.kids if node.op == "add" else (node,)
    if len(terms) > 2:
        return None
    products = [t for t in terms if t.op in ("mul", "sum")]
    rest = [t for t in terms if t.op == "name"]
    if len(products) != 1 or len(products) + len(rest) != len(terms):
        return None
    product = products[0].kids[0] if products[0].op == "sum" else products[0]
    if product.op != "mul" or len(product.kids) != 2:
        return None
    found = [d[0] for kid in product.kids if (d := direct(kid))]
    if len(found) != 2 or found[0].base == found[1].base:
        return None
    if not any(name.base in WEIGHTS or len(flat_items(name.sub)) == 2 for name in found):
        return None
    weights = sorted(found, key=lambda n: (n.base not in WEIGHTS, len(n.sub) < 2))
    return (tagless(weights[0]), tagless(weights[1]), tagless(rest[0].data) if rest else "")


def is_softmax(node: Node) -> bool:
    """e^{z_i} / Σ_j e^{z_j}."""
    if node.op != "div":
        return False
    above, below = node.kids
    return is_exp(above) and below.op in ("sum", "add") and any(is_exp(part) for part in walk(below))


def squared(node: Node) -> tuple[bool, bool] | None:
    """Of ½ Σ (y − t)²: whether it is halved, and whether it is of vectors; None of what is no sum of squares."""
    power = next((n for n in walk(node) if n.op == "pow" and n.kids[1].op == "num" and n.kids[1].data == 2), None)
    if power is None or has_log(node) or any(n.op in ("fn", "D") for n in walk(node)):
        return None
    gap = power.kids[0]
    if gap.op != "norm" and not (gap.op == "add" and len(gap.kids) == 2 and gap.kids[1].op == "neg"):
        return None
    half = any(n.op == "num" and n.data in (0.5, 2) for n in walk(node) if n is not power.kids[1])
    return half, gap.op == "norm" or any(n.op == "sum" for n in walk(node))


def is_logistic(node: Node) -> bool:
    """1 / (1 + e^{-z}), or e^z / (1 + e^z)."""
    if node.op != "div" or node.kids[1].op != "add" or len(node.kids[1].kids) != 2:
        return False
    above, below = node.kids
    one = any(kid.op == "num" and kid.data == 1 for kid in below.kids)
    raised = next((kid for kid in below.kids if is_exp(kid)), None)
    return one and raised is not None and (above == raised or (above.op == "num" and raised.kids[0].op == "neg"))


def is_exp(node: Node) -> bool:
    return node.op == "fn" and node.data[0] == "exp"


def has_losslike(node: Node) -> bool:
    while node.op in ("neg", "sum", "mul", "claim") or (node.op == "add" and node.kids):
        if node.op == "mul":
            return any(has_losslike(kid) for kid in node.kids)
        node = node.kids[0]
    return node.op == "fn" and node.data[0] in ("log", "logsoftmax")
