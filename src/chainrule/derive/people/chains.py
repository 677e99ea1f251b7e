"""Displays to chains of equal sides, with the conditions that stand beside or over them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from chainrule.derive.people.affine import flat_items, letters_in
from chainrule.derive.people.documents import Document, Piece
from chainrule.derive.people.rows import Side, rows
from chainrule.derive.people.told import told
from chainrule.derive.people.tree import Condition, Item, Name, Node, names, transform, walk

__all__ = ["Chain", "Notes", "Side", "chains_of", "equations_of"]


_SAYS_WHAT = re.compile(r"\s*(?:is|are)?\s*(?:defined|given)\s+(?:as|by)\s*:?\s*")
_TIMES = ("t", "τ", "k", "n")
_AGES = ("new", "old", "next", "prev")


@dataclass
class Chain:
    """Sides that are said to be equal. `conditions`: those stated last before it, each an alternative."""

    sides: list[Side]
    conditions: list[Condition] = field(default_factory=list)
    section: int = 0
    chapter: int = 0  # sections under one heading of the file's first levels
    inline: bool = False
    display: int = 0
    fresh: list[Condition] = field(default_factory=list)  # of these, those stated since the display before
    claim: bool = False  # a note below a brace
    solved: bool = False  # it stands behind an arrow, and its first name in what is before

    @property
    def trees(self) -> list[Node]:
        """Those of its sides that were read."""
        return [side.node for side in self.sides if side.node is not None]

    @property
    def head(self) -> Name | None:
        """The name with which it begins."""
        first = self.sides[0].node if self.sides else None
        return first.data if first is not None and first.op in ("name", "app") else None

    @property
    def bases(self) -> set[str]:
        """The letters in it."""
        return {name.base for tree in self.trees for name in names(tree)}


@dataclass
class Notes:
    """What a document says: its chains, the equations that stand within prose, and the prose itself."""

    chains: list[Chain]
    inline: list[Chain]
    prose: str
    headings: list[str]
    told: dict[str, Counter[str]] = field(default_factory=dict)  # by letter: what words beside it say that it is
    text: str = ""

    @property
    def every(self) -> list[Chain]:
        """Those in displays, and those in prose."""
        return [*self.chains, *self.inline]

    @property
    def trees(self) -> list[Node]:
        return [tree for chain in self.every for tree in chain.trees]


def chains_of(document: Document) -> Notes:
    """The chains of a document, in their order."""
    found: list[Chain] = []
    inline: list[Chain] = []
    stated: list[Condition] = []
    since: list[Condition] = []  # stated since the last display
    fresh = False
    section = chapter = 0
    headings: list[str] = []
    prose = ""
    text = document.text
    for n, piece in enumerate(document.pieces):
        if piece.kind == "heading":
            section += 1
            chapter += re.match(r"#{1,3} |\\section", piece.text) is not None
            headings.append(piece.text)
            stated = [
                c
                for inner in re.findall(r"\$([^$]*)\$", piece.text)
                for row in rows(inner, document.macros, piece.at, inner)
                for c in row.conditions
            ]
            stated = stated or _spoken(piece.text)
        elif piece.kind == "prose":
            prose += piece.text + "\n"
            said = _spoken(piece.text)
            if said:
                stated = since = said
                fresh = False
        elif piece.kind == "inline":
            here_rows = rows(piece.text, document.macros, piece.at, text)
            said = [c for row in here_rows for c in row.conditions]
            if said:
                stated = said if fresh else [*stated, *said]
                since = [*since, *said]
                fresh = False
                if found and _stands_behind(document.pieces, n):
                    found[-1].conditions += said
            inline += [
                Chain(row.sides, [*stated], section, chapter, inline=True) for row in here_rows if len(row.sides) > 1
            ]
        else:
            fresh = True
            over, since = since, []
            here: list[Condition] = []
            current: Chain | None = None
            going_on: Chain | None = None
            here_rows = rows(piece.text, document.macros, piece.at, text)
            if here_rows and not any(row.sides for row in here_rows):  # a display that is a condition: $$i \neq j$$
                said = [c for row in here_rows for c in row.conditions]
                if found and _stands_behind(document.pieces, n):
                    found[-1].conditions += said
                    continue
                stated = said or stated
            between = document.pieces[n - 1].text if n > 1 and document.pieces[n - 2].kind == "display" else ""
            if found and _SAYS_WHAT.fullmatch(between) and here_rows and len(found[-1].sides) == 1:
                here_rows[0].continues = True  # $$π(s, a)$$ is defined as $$…$$
                here_rows[0].sides[:1] = [replace(side, joined=True) for side in here_rows[0].sides[:1]]
            for row in here_rows:
                if row.continues and row.sides and (current or found):
                    chain = current or found[-1]
                    if current is None or current is going_on:  # "If i = j," above a display that begins with =
                        going_on = chain
                        for side in row.sides:
                            side.conditions.extend(over)
                            side.over = bool(over)
                    chain.sides += row.sides
                    current = chain
                    continue
                if not row.sides:
                    here = row.conditions or here
                    continue
                if row.continues and not found:
                    row.sides[0].joined = False
                begun = Chain(row.sides, [*here, *stated], section, chapter, display=n, fresh=over)
                begun.solved = (
                    row.implied and bool(found) and begun.head is not None and begun.head.base in found[-1].bases
                )
                found.append(begun)
                found += _named_at_the_end(begun, text)
                current = current if row.aside and current is not None else begun
    found = [*_without_updates(found)]
    _name_errors([*found, *inline])
    _number_words([*found, *inline])
    _name_conditionals([*found, *inline])
    found += [claim for chain in found for claim in _claims(chain)]
    return Notes([c for c in found if c.sides], inline, prose, headings, told(document), text)


def _stands_behind(pieces: list[Piece], n: int) -> bool:
    """Whether a formula stands in the line of a display, behind it: $$p = q$$ ($i \neq j$)."""
    between = pieces[n - 1].text if n >= 2 and pieces[n - 2].kind == "display" else "\n"
    return "\n" not in between.strip(" ") and between.strip(" (,").lower() in ("", "for", "if", "when", "where", "with")


def _without_updates(chains: list[Chain]) -> Iterator[Chain]:
    """W := W − α ∂L/∂W = W − α δ xᵀ is what a program assigns: an equation only from its second side on."""
    for chain in chains:
        left, right = (side.node for side in chain.sides[:2]) if len(chain.sides) > 1 else (None, None)
        if left and right and right.op == "add" and _timeless(left) in map(_timeless, right.kids):
            first = replace(chain.sides[1], joined=False, text=chain.sides[1].text.removeprefix("=").lstrip())
            chain.sides = [first, *chain.sides[2:]]
            if len(chain.sides) == 1:
                continue
        yield chain


def _timeless(node: Node) -> object:
    """A name without what tells its next value from its last: w^{(t+1)} and w^{(t)}, B(t+1), w_new and w_old."""
    if node.op not in ("name", "app") or not isinstance(node.data, Name):
        return node
    items = [
        Item("letter", item.value[0]) if item.kind == "shifted" and item.value[0] in _TIMES else item
        for item in flat_items(node.data.sub + node.data.sup)
        if item.value not in _AGES
    ]
    given = [kid.kids[0] if kid.op == "add" and kid.kids[1].op == "num" else kid for kid in node.kids]
    return node.data.base, items, given


_DEFINES = re.compile(
    r"=\s*:|\\(?:eqq?colon|colone?qq?|triangleq|equiv|defe?q)\b|\\(?:over|stack)\w+\s*\{[^}]*\b[Dd]ef|≡|≜|≔"
)


def _named_at_the_end(chain: Chain, text: str) -> list[Chain]:
    """What a chain defines by its last side, as an equation of its own: L = −log p := E says what E is."""
    before, last = (chain.sides[-2:]) if len(chain.sides) > 2 else (None, None)
    if before is None or last is None or last.node is None or last.node.op not in ("name", "app"):
        return []
    if text[last.at - 1 : last.at] != ":" and not _DEFINES.match(text, last.at):
        return []
    del chain.sides[-1]
    return [replace(chain, sides=[replace(last, joined=False), replace(before, at=last.at, joined=True)])]


def _claims(chain: Chain) -> Iterator[Chain]:
    """What braces below a formula claim of it, each as a chain of its own."""
    for side in chain.sides:
        parts = walk(side.node) if side.node is not None else ()
        within = {
            id(claim): list(conditions or ())
            for part in parts if part.op == "cases"
            for kid, conditions in zip(part.kids, part.data, strict=True)
            for claim in walk(kid) if claim.op == "claim"
        }  # fmt: skip
        for part in parts:
            if part.op == "claim":
                place = "the brace" if id(part) not in within else "a case"
                above, below = (Side(kid, "", f"{place} in {side.text}", side.at) for kid in part.kids)
                above.joined = False
                stated = within.get(id(part)) or chain.conditions
                yield Chain([above, below], list(stated), chain.section, chain.chapter, claim=True)


def _name_errors(chains: list[Chain]) -> None:
    """δy_j as a name for ∂L/∂y_j, where a file never writes δ but before another name."""
    sides = [side for chain in chains for side in chain.sides if side.node is not None]
    alone = before = 0
    for side in sides:
        for part in walk(side.node):  # type: ignore[arg-type]
            if part.op == "name" and part.data.base == "δ":
                alone += 1
            if part.op == "mul":
                for k, (one, other) in enumerate(itertools.pairwise(part.kids)):
                    before += _is_delta(one) and other.op == "name" and part.data[k] == ""
    if alone == 0 or alone != before:
        return

    def change(part: Node) -> Node | None:
        if part.op != "mul" or not any(_is_delta(kid) for kid in part.kids):
            return None
        kids: list[Node] = []
        signs: list[str] = []
        for k, kid in enumerate(part.kids):
            if k and _is_delta(part.kids[k - 1]):
                kids[-1] = Node("errorof", (kid,))
                continue
            kids.append(transform(kid, change))
            signs += [part.data[k - 1]] if k else []
        return kids[0] if len(kids) == 1 else Node("mul", tuple(kids), tuple(signs))

    for side in sides:
        side.node = transform(side.node, change)  # type: ignore[arg-type]


def _number_words(chains: list[Chain]) -> None:
    """u_{w_s} as u_s, where w and s stand nowhere but there: the s-th of some words. z_{y_i} has the i of x_i."""
    sides = [side for chain in chains for side in chain.sides if side.node is not None]
    alone: set[str] = set()

    def note(part: Node) -> None:
        if isinstance(part.data, Name):
            alone.add(part.data.base)
            alone.update(str(item.value) for item in flat_items(part.data.sub + part.data.sup) if item.kind == "letter")

    def shorter(item: Item) -> Item:
        inner = item.value.data if item.kind == "name" and isinstance(item.value.data, Name) else None
        if inner is None or inner.base in alone or len(inner.sub) != 1 or inner.sup:
            return item
        return item if str(inner.sub[0].value) in alone else inner.sub[0]

    def change(part: Node) -> Node | None:
        if not isinstance(part.data, Name) or not any(item.kind == "name" for item in part.data.sub):
            return None
        kids = tuple(transform(kid, change) for kid in part.kids)
        return Node(part.op, kids, replace(part.data, sub=tuple(map(shorter, part.data.sub))))

    for side in sides:
        transform(side.node, note)  # type: ignore[arg-type]
    for side in sides:
        side.node = transform(side.node, change)  # type: ignore[arg-type]


def _name_conditionals(chains: list[Chain]) -> None:
    """P(o | c) as P_{oc}, where the file says what it is, in terms with o and c below."""
    told = set()
    for left, right in ((c.sides[0].node, c.sides[1].node) for c in chains if len(c.sides) > 1):
        if left is not None and right is not None and (given := _conditional(left)) is not None:
            told |= {left.data.base} if {item.value for item in given} <= letters_in(right) else set()

    def change(part: Node) -> Node | None:
        given = _conditional(part)
        if given is None or part.data.base not in told:
            return None
        return Node("name", (), replace(part.data, sub=given))

    for side in (side for chain in chains for side in chain.sides if told and side.node is not None):
        side.node = transform(side.node, change)  # type: ignore[arg-type]


def _conditional(node: Node) -> tuple[Item, Item] | None:
    """The indices o and c of P(o | c)."""
    if node.op != "app" or [kid.op for kid in node.kids] != ["name", "given"] or node.data.sub:
        return None
    inside = (node.kids[0], node.kids[1].kids[0])
    plain = all(one.op == "name" and one.data == Name(one.data.base) for one in inside)
    return tuple(Item("letter", one.data.base) for one in inside) if plain else None  # type: ignore[return-value]


def _is_delta(node: Node) -> bool:
    return node.op == "name" and node.data == Name("δ")


_SPOKEN = re.compile(r"(?<![A-Za-z_{^(\\$=+])([a-zℓ])\s*(=|≠|!=|\\neq?|\\not=|==)\s*([a-zℓ])(?![A-Za-z_^(0-9])")


def _spoken(text: str) -> list[Condition]:
    """Conditions in words without signs of mathematics: Case i = j."""

    def letter(base: str) -> Node:
        return Node("name", (), Name(base))

    return [
        Condition(letter(m[1]), "=" if m[2] == "=" else "≠", letter(m[3]))
        for m in _SPOKEN.finditer(text.replace("`", " ").replace("*", " "))
    ][-1:]


def equations_of(text: str) -> list[Chain]:
    """The equations of a formula that stands alone: a goal, or what an option says."""
    return [Chain(row.sides, row.conditions) for row in rows(text, {}, 0, text) if row.sides]
