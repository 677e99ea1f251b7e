"""What a tree looks like before any letter has a role: an affine map, a softmax, a loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from chainrule.derive.people.tree import Bound, Item, Name, Node, names, walk

__all__ = [
    "WEIGHTS",
    "affine",
    "direct",
    "flat_items",
    "free_bases",
    "has_log",
    "has_losslike",
    "is_idle",
    "is_logistic",
    "is_one_and_exp",
    "is_softmax",
    "letters_in",
    "open_letters",
    "squared",
    "tagless",
]

WEIGHTS = ("W", "w", "U", "V", "u", "v", "Θ", "θ", "β", "ω", "Ω", "R")


def flat_items(items: Iterable[Item]) -> list[Item]:
    """Items with those in brackets among them."""
    found: list[Item] = []
    for item in items:
        found += flat_items(item.value) if item.kind in ("round", "square") else [item]
    return found


def letters_in(node: Node) -> set[str]:
    """The letters below and above all names of a tree."""
    return {item.value for name in names(node) for item in flat_items(name.sub + name.sup) if item.kind == "letter"}


def open_letters(node: Node, bound: frozenset[str] = frozenset()) -> set[str]:
    """The letters below and above the names of a tree over which no Σ in it runs."""
    if isinstance(node.data, Bound):
        bound |= set(node.data.letters)
    found = letters_in(node.with_kids(())) - bound
    return found.union(*(open_letters(kid, bound) for kid in node.kids))


def is_idle(node: Node) -> bool:
    """Whether a Σ or Π runs over an index that its terms do not have, and they have another one that nothing binds."""
    return any(
        part.op in ("sum", "prod") and part.data.letters and part.data.upper is not None
        and not set(part.data.letters) & letters_in(part.kids[0]) and open_letters(part) != set()
        for part in walk(node)
    )  # fmt: skip


def has_log(node: Node) -> bool:
    return (node.op == "fn" and node.data[0] in ("log", "logsoftmax")) or (node.op == "sum" and has_log(node.kids[0]))


def direct(node: Node) -> list[Name]:
    """The name that an expression is, through signs, transposes and elements."""
    if node.op == "name":
        return [node.data]
    if node.op == "app":
        factor = len(node.kids) == 1 and node.kids[0].op in ("mul", "add")  # y_i (w x_i) is a product
        return [] if factor and any(item.kind == "letter" for item in node.data.sub) else [node.data]
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
    turned = product.kids[0].op == "T" and product.kids[1].op == "name" and found[0] == Name(found[0].base)
    turned = turned and any(item.kind == "round" for item in found[1].sup)  # φᵀ x^{(i)}
    if not turned and not any(name.base in WEIGHTS or len(flat_items(name.sub)) == 2 for name in found):
        return None
    weights = found if turned else sorted(found, key=lambda n: (n.base not in WEIGHTS, len(n.sub) < 2))
    return (tagless(weights[0]), tagless(weights[1]), tagless(rest[0].data) if rest else "")


def is_softmax(node: Node) -> bool:
    """e^{z_i} / Σ_j e^{z_j}."""
    if node.op != "div":
        return False
    above, below = node.kids
    turned = below.op == "mul" and below.kids[0].op == "T"  # 1ᵀ e^z
    return is_exp(above) and (below.op in ("sum", "add") or turned) and any(is_exp(part) for part in walk(below))


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


def is_one_and_exp(node: Node) -> bool:
    """1 + e^{w x}, of a single output."""
    if node.op != "add" or len(node.kids) != 2 or not any(kid == Node("num", (), 1.0) for kid in node.kids):
        return False
    return any(is_exp(kid) and any(part.op == "mul" for part in walk(kid)) for kid in node.kids)


def is_exp(node: Node) -> bool:
    return node.op == "fn" and node.data[0] == "exp"


def has_losslike(node: Node) -> bool:
    while node.op in ("neg", "sum", "mul", "claim") or (node.op == "add" and node.kids):
        if node.op == "mul":
            return any(has_losslike(kid) for kid in node.kids)
        node = node.kids[0]
    return node.op == "fn" and node.data[0] in ("log", "logsoftmax")


def free_bases(trees: Iterable[Node]) -> Counter[str]:
    """How often a letter stands for a value, and not only as an index or in a condition."""
    found: Counter[str] = Counter()

    def look(node: Node) -> None:
        told = node.op == "app" and any(kid.op in ("ind", "given") for kid in node.kids)  # P(y = k | x)
        if isinstance(node.data, Name) and not (told and not any(kid.op == "given" for kid in node.kids)):
            found[node.data.base] += not (told and node.data.base in "pPqQ")
        if told or (
            node.op == "app" and len(node.kids) > 1 and all(kid.op in ("name", "mat", "alt") for kid in node.kids)
        ):
            return
        if isinstance(node.data, Bound):
            for one in (node.data.upper,):
                if isinstance(one, Node):
                    look(one)
        for kid in node.kids:
            if not (node.op == "app" and node.data.base == "e" and kid.op == "name"):
                look(kid)

    for tree in trees:
        look(tree)
    return found
