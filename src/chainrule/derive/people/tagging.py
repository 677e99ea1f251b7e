"""Letters below a name that are no indices: the time t, what weights lead from and to (W_{xh}), and letters that stand
for a layer each: i the inputs, j the hidden units, k the outputs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.facts import flat_items, free_bases
from chainrule.derive.people.tree import Bound, Item, Name, Node, names, transform, walk, with_names

__all__ = ["ARGUMENT", "layered", "worded"]

_FROM_TO = set("xhzrfouqsvXHQKVOZ") - {"k"}
_TARGETS = ("y", "Y", "t")
_PREDICTED = ("pred", "hat", "out", "output", "predicted", "prediction", "model")
_TRUE = ("true", "target", "label", "actual", "gt", "real", "obs")
_ERRORS = ("δ", "Δ")
_OF_LAYERS = ("W", "w", "b", "Z", "z", "a", "A", "δ")
_LOSSES = ("L", "𝓛", "J", "ℓ", "l", "E", "C", "H")
ARGUMENT = "\u0325"  # behind the letter for the argument of a function
_SPELT = tuple(
    Item(kind, value) for kind in ("letter", "word") for value in ("h", "o", "hid", "out", "hidden", "output")
)
_LAYERED = ("a", "z", "h", "δ", "net", "o", "s", "u", "b", "x", "y", "v", "in", "out", "I", "O", "θ")


def worded(notes: Notes) -> None:
    """Turn t and the letters of W_{xh} into words, and the argument of what says what a function is into a letter of
    its own."""
    _own_arguments(notes)
    trees = notes.trees
    bases = free_bases(trees)
    bound = {letter for t in trees for part in walk(t) if isinstance(part.data, Bound) for letter in part.data.letters}
    shown = [name for tree in trees for name in names(tree)]
    items = [item for name in shown for item in flat_items(name.sub)]
    shifted = any(item.kind == "shifted" and item.value[0] == "t" for item in items)
    often = sum(item == Item("letter", "t") for item in items)
    timed = shifted and often > 1 and "t" not in bound and not bases["t"]

    parts = {
        name.sub[0].value for name in shown
        if name.base in ("W", "U", "V") and len(name.sub) == 1 and name.sub[0].kind == "letter"
    } & _FROM_TO - bound  # fmt: skip
    parts = parts if len(parts) > 1 else set()
    to_y = {name.base for name in shown if Item("letter", "y") in flat_items(name.sub)}
    parts |= {"y"} if to_y and to_y <= {"W", "U", "V", "b"} and "W" in to_y else set()  # W_y h + b_y, and no z_y

    spelt = {n.sub[0].value for n in shown if n.base == "W" and len(n.sub) == 1 and not n.sup}
    spelt &= {n.sub[0].value for n in shown if n.base == "b" and len(n.sub) == 1} & {"h", "o", "y"} - bound
    hidden = "h" in spelt and len(spelt) > 1  # W_h and W_o, b_h and b_o: of the hidden layer and of the output

    firsts = {n.sub[0].value for n in shown if n.base in ("W", "Z", "b", "δ") and n.sub and n.sub[0].kind == "letter"}
    ends = firsts & {"o", "h"} - bound if "o" in firsts - bound else set()  # Z_h and Z_o, of hidden units and outputs

    indices = {(name.base, len(flat_items(name.sub))) for name in shown}
    words_below = {(name.base, item.value) for name in shown for item in name.sub if item.kind == "word"}
    outputs = {base for base, below in words_below if base in _TARGETS and below in _PREDICTED}

    def word(name: Name) -> Name:
        sub = name.sub
        if name.base in outputs and sub and sub[0].kind == "word":  # y_pred beside y, or beside y_true
            if sub[0].value in _PREDICTED:
                return replace(name, base=name.base + "\u0302" if name.base != "y" else "ŷ", sub=sub[1:])
            if sub[0].value in _TRUE:
                return replace(name, sub=sub[1:])
        if timed:
            sub = tuple(_timeless(item) for item in sub)
        if sub and sub[0].kind == "letter" and sub[0].value in spelt and name.base in _OF_LAYERS and not name.sup:
            if not hidden:
                return replace(name, sub=(Item("word", sub[0].value), *sub[1:]))
            number = Item("number", 1 if sub[0].value == "h" else 2)
            return replace(name, sub=sub[1:], sup=(Item("round", (number,)),))
        if len(sub) == 1 and sub[0].kind == "number" and 9 < sub[0].value < 100 and (name.base, 2) in indices:
            sub = tuple(Item("number", int(digit)) for digit in str(sub[0].value))  # A_{13}, beside A_{1k}
        letters = [item.value for item in sub]
        if name.base in _LOSSES and len(letters) > 1 and all(i.kind == "letter" and i.value.isupper() for i in sub):
            sub = (Item("word", "".join(letters)),)  # L_{CE}
        if letters and letters[0] in ends and name.base in ("W", "w", "Z", "z", "b", "δ"):
            tag, sub = sub[0], sub[1:]
            letters = letters[1:]
            name = replace(name, sub=sub, sup=(*name.sup, tag if len(ends) > 1 else Item("word", str(tag.value))))
        if (
            name.base in ("W", "U", "V", "b", "w", "B") and letters
            and all(item.kind == "letter" for item in sub)
            and set(letters) <= (_FROM_TO | {"y"} if len(letters) > 1 else _FROM_TO) - bound
            and all(letter in bases for letter in letters)
        ):  # fmt: skip
            sub = (Item("word", "".join(letters)),)
        if len(sub) == 1 and sub[0].kind == "letter" and sub[0].value in parts and name.base in ("W", "U", "V", "b"):
            sub = (Item("word", str(sub[0].value)),)
        if len(letters) == 1 and letters[0] in ("θ", "w", "Θ", "W") and letters[0] in bases and letters[0] not in bound:
            sub = (Item("word", str(letters[0])),)  # h_θ(x)
        return name if sub == name.sub else replace(name, sub=sub)

    errors = {*_ERRORS, *_errors(notes)}
    below = {i.value for name in shown if name.base not in errors for i in flat_items(name.sub) if i.kind == "letter"}
    of = set(bases) - bound - below - set("ijklmn") - {"t"}

    t_above = any(name.sup[-1:] == (Item("letter", "t"),) and name.base in ("W", "w", "V", "U", "θ") for name in shown)
    turned = t_above and not ({"t"} & (below | bound)) and not bases["t"]

    def error(part: Node) -> Node | None:
        """δ_a, where a is a name of its own, is ∂L/∂a."""
        if turned and part.op == "name" and part.data.sup[-1:] == (Item("letter", "t"),):  # W^t
            return Node("T", (transform(Node("name", (), replace(part.data, sup=part.data.sup[:-1])), error),))
        twice = part.op == "mul" and [kid.op for kid in part.kids] == ["name", "app"] and part.data == ("",)
        if twice and part.kids[0].data.base in _LOSSES and part.kids[0].data == part.kids[1].data:  # LL(w)
            return part.kids[1]
        if part.op != "name" or part.data.base not in errors or len(part.data.sub) != 1 or part.data.sup:
            return None
        item = part.data.sub[0]
        if item.kind == "letter" and item.value in of:
            return Node("errorof", (Node("name", (), Name(item.value)),))
        named = item.kind == "name" and item.value.op == "name" and item.value.data.base in of
        return Node("errorof", (item.value,)) if named else None

    slanted = _slanted(trees)

    def change(part: Node) -> Node | None:
        if part.op == "name" and part.data.base in slanted and part.data.primes:  # β'_j x
            return Node("T", (Node("name", (), replace(part.data, primes=0)),))
        return error(part)

    for side in (side for chain in notes.every for side in chain.sides):
        side.node = transform(with_names(side.node, word), change) if side.node is not None else None


def _slanted(trees: list[Node]) -> set[str]:
    """The letters whose prime is a transpose: never called or divided by, primed always before a factor, and nothing is
    transposed otherwise."""
    parts = [part for tree in trees for part in walk(tree)]
    if any(part.op in ("T", "prime") or (part.op == "app" and part.data.primes) for part in parts):
        return set()
    primed = Counter(part.data.base for part in parts if part.op == "name" and part.data.primes == 1)
    before = Counter(
        one.data.base for part in parts if part.op == "mul" for one, other in itertools.pairwise(part.kids)
        if one.op == other.op == "name" and one.data.primes == 1
    )  # fmt: skip
    other = {part.data.base for part in parts if part.op in ("app", "appow")}
    sloped = [part.kids[0] if part.op == "D" else part.kids[1] for part in parts if part.op in ("D", "div")]
    other |= {part.data.base for part in sloped if part.op == "name"}  # ∂a/∂z, or y/a: a' is a slope
    return {base for base, count in primed.items() if before[base] == count and base not in other}


def _errors(notes: Notes) -> Iterator[str]:
    """Letters of which the file says that with a name below them they are the loss's derivative by it: G_Z = ∂L/∂Z."""
    for chain in notes.every:
        left, right = ([side.node for side in chain.sides[:2]]) if len(chain.sides) > 1 else (None, None)
        if left is None or right is None or left.op != "name" or right.op != "D" or len(left.data.sub) != 1:
            continue
        by = [kid.data for kid in right.kids[1:] if kid.op == "name"]
        item = left.data.sub[0]
        if item == Item("letter", by[0].base if by else "") or (item.kind == "name" and by == [item.value.data]):
            yield left.data.base


def _own_arguments(notes: Notes) -> None:
    """σ(x) = 1/(1 + e^{-x}) says nothing of the x that elsewhere are inputs, where nothing is σ(x)."""
    told = [chain for chain in notes.every if _tells_of(chain) is not None]
    rest = [tree for chain in notes.every if chain not in told for tree in chain.trees]
    used = {name.base for tree in rest for name in names(tree)}
    calls = [part for tree in rest for part in walk(tree) if part.op == "app" and part.kids[0].op == "name"]
    given = {(call.data.base, call.kids[0].data.base) for call in calls}
    for chain in told:
        base = _tells_of(chain)
        if base in used and (chain.trees[0].data.base, base) not in given:
            own = Node("name", (), Name(base + ARGUMENT))
            bare = Node("name", (), Name(base))
            for side in chain.sides:
                side.node = transform(side.node, {bare: own}.get) if side.node is not None else None


def _tells_of(chain: Chain) -> str | None:
    """The argument of the function of which a chain says what it is, and of nothing else."""
    left = chain.trees[0] if len(chain.trees) > 1 else None
    if left is None or left.op != "app" or len(left.kids) != 1 or left.kids[0].op != "name":
        return None
    shown = {name for tree in chain.trees for name in names(tree) if name.base != left.data.base}
    base: str = left.kids[0].data.base
    return base if shown == {Name(base)} else None


def _timeless(item: Item) -> Item:
    if item == Item("letter", "t"):
        return Item("word", "t")
    if item.kind == "shifted" and item.value[0] == "t":
        return Item("word", f"t{item.value[1]:+d}")
    return item


def layered(notes: Notes) -> Notes | None:
    """The file with the layer that each index letter stands for written above its names; None where weights do not
    show that there is more than one."""
    level = _levels(name for tree in notes.trees for name in names(tree))
    if level is None:
        return None

    def tag(name: Name) -> Name:
        letters = [item.value for item in name.sub]
        spelt = len(name.sup) == 1 and flat_items(name.sup)[:1] and flat_items(name.sup)[0] in _SPELT  # δ_j^h
        if (name.sup and not spelt) or not letters or any(i.kind != "letter" or i.value not in level for i in name.sub):
            return name
        if (len(letters) == 2 and name.base in ("w", "W", "v", "V", "u", "U", "θ", "Θ")) or (
            len(letters) == 1 and name.base in _LAYERED and (level[letters[0]] or name.base not in ("x", "a"))
        ):
            layer = max(level[letter] for letter in letters)
            return replace(name, sup=(Item("round", (Item("number", layer),)),))
        return name

    def changed(chain: Chain) -> Chain:
        sides = [replace(s, node=with_names(s.node, tag)) if s.node is not None else s for s in chain.sides]
        return replace(chain, sides=sides)

    return replace(notes, chains=[changed(c) for c in notes.chains], inline=[changed(c) for c in notes.inline])


def _levels(every: Iterable[Name]) -> dict[str, int] | None:
    """The layer of each letter, where the indices of weights lead from one to the next and to a third."""
    pairs: set[tuple[str, str]] = set()
    ones: dict[str, set[str]] = {}
    for name in every:
        letters = [item.value for item in name.sub]
        if name.sup or any(item.kind != "letter" for item in name.sub):
            continue
        if len(letters) == 2 and name.base in ("w", "W", "v", "V", "u", "U", "θ", "Θ"):
            pairs.add((letters[0], letters[1]))
        elif len(letters) == 1:
            ones.setdefault(letters[0], set()).add(name.base)
    for upper, middle in sorted(pairs):
        for middle2, lower in sorted(pairs):
            if middle != middle2 or len({upper, middle, lower}) < 3:
                continue
            inputs = [letter for letter in (upper, lower) if "x" in ones.get(letter, set())]
            if inputs == [upper] or (not inputs and upper < lower):  # w_{ij} leads from i to j
                level = {upper: 0, middle: 1, lower: 2}
                turned = {(b, a) for a, b in pairs}
            else:
                level = {lower: 0, middle: 1, upper: 2}
                turned = pairs
            for _ in range(3):
                for high, low in sorted(turned):
                    if low in level and high not in level:
                        level[high] = level[low] + 1
                    elif high in level and low not in level:
                        level[low] = level[high] - 1
            if min(level.values()) < 0 or any(level[a] != level[b] + 1 for a, b in turned if a in level and b in level):
                continue
            return level
    return None
