"""Displays to chains of equal sides, with the conditions that stand beside or over them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chainrule.derive.people.atoms import is_word_name
from chainrule.derive.people.cursor import split
from chainrule.derive.people.documents import Document
from chainrule.derive.people.grammar import parse
from chainrule.derive.people.tokens import Macro, Token, tokens
from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node, NotReadError, transform, walk

__all__ = ["Chain", "Notes", "Side", "chains_of", "equations_of"]

_ALIGNED = re.compile(
    r"(?:equation|align|alignat|gather|eqnarray|multline|displaymath|flalign|math|dmath|IEEEeqnarray|empheq|aligned|alignedat|gathered|split|subequations)\*?"
)
_NOT_EQUAL = {
    "neq": "≠",
    "in": "∈",
    "<": "<",
    ">": ">",
    "le": "≤",
    "ge": "≥",
    "approx": "≈",
    "to": "→",
    "propto": "∝",
    "gets": "←",
    "sim": "∼",
    "ll": "<",
    "gg": ">",
    "notin": "∉",
}
_CONDITION_WORDS = ("if", "for ", "when", "case", "assum", "since", "given", "suppose", "wenn", "für")


@dataclass
class Side:
    """One side of an equation. `why` says why it was not read; `conditions` stand in its row."""

    node: Node | None
    why: str
    text: str
    at: int
    conditions: list[Condition] = field(default_factory=list)
    joined: bool = True  # whether it is said to equal the side before
    mended: bool = False  # a bracket was added or dropped to read it


@dataclass
class Chain:
    """Sides that are said to be equal. `conditions`: the groups that were stated last before it, each an alternative."""

    sides: list[Side]
    conditions: list[Condition] = field(default_factory=list)
    section: int = 0
    inline: bool = False
    display: int = 0


@dataclass
class Notes:
    """What a document says: its chains, the equations that stand within prose, and the prose itself."""

    chains: list[Chain]
    inline: list[Chain]
    prose: str
    headings: list[str]


@dataclass
class _Row:
    """What a row of a display, or a part of it between commas, says."""

    sides: list[Side]
    conditions: list[Condition]
    continues: bool


def chains_of(document: Document) -> Notes:
    """The chains of a document, in their order."""
    found: list[Chain] = []
    inline: list[Chain] = []
    stated: list[Condition] = []
    fresh = False
    section = 0
    headings: list[str] = []
    prose = ""
    text = document.text
    for n, piece in enumerate(document.pieces):
        if piece.kind == "heading":
            section += 1
            headings.append(piece.text)
            stated = [
                c
                for inner in re.findall(r"\$([^$]*)\$", piece.text)
                for row in _rows(inner, document.macros, piece.at, inner)
                for c in row.conditions
            ]
            stated = stated or _spoken(piece.text)
        elif piece.kind == "prose":
            prose += piece.text + "\n"
            said = _spoken(piece.text)
            if said:
                stated = said
                fresh = False
        elif piece.kind == "inline":
            rows = _rows(piece.text, document.macros, piece.at, text)
            said = [c for row in rows for c in row.conditions]
            if said:
                stated = said if fresh else [*stated, *said]
                fresh = False
                before = document.pieces[n - 2] if n >= 2 else None
                word = document.pieces[n - 1].text.strip().lower() if n else ""
                if (
                    found
                    and before is not None
                    and before.kind == "display"
                    and word in ("for", "if", "when", "where", "with")
                ):
                    found[-1].conditions = said
            inline += [Chain(row.sides, [], section, inline=True) for row in rows if len(row.sides) > 1]
        else:
            fresh = True
            here: list[Condition] = []
            current: Chain | None = None
            rows = _rows(piece.text, document.macros, piece.at, text)
            if rows and not any(row.sides for row in rows):  # a display that is a condition: $$i \neq j$$
                stated = [c for row in rows for c in row.conditions] or stated
            for row in rows:
                if row.continues and row.sides and (current or found):
                    chain = current or found[-1]
                    if current is None and chain.section != section and len(row.sides) == 0:
                        chain = Chain([], [], section)
                    chain.sides += row.sides
                    current = chain
                    continue
                if not row.sides:
                    here = row.conditions or here
                    if current is not None and current.display == n and row.conditions and current.sides:
                        pass
                    continue
                if row.continues and not found:
                    row.sides[0].joined = False
                current = Chain(row.sides, [*here, *stated], section, display=n)
                found.append(current)
    _name_errors([*found, *inline])
    return Notes([c for c in found if c.sides], inline, prose, headings)


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


def equations_of(text: str, macros: Mapping[str, Macro] | None = None) -> list[Chain]:
    """The equations of a formula that stands alone: a goal, or what an option says."""
    return [Chain(row.sides, row.conditions) for row in _rows(text, macros or {}, 0, text) if row.sides]


def _rows(source: str, macros: Mapping[str, Macro], at: int, text: str) -> list[_Row]:
    try:
        stream = tokens(source, macros, at)
    except NotReadError as error:
        return [_Row([Side(None, str(error), source.strip(), at)], [], False)]
    stream = _flat(stream)
    end = at + len(source)
    found: list[_Row] = []
    for row in _whole_rows(split(stream, "\\", braces=True)):
        while (
            row
            and row[0].text == "["
            and row[0].kind == "char"
            and any(t.text == "]" for t in row[:6])
            and row[1].kind == "num"
        ):
            row = row[[t.text for t in row].index("]") + 1 :]
        row_end = _end_of(row, stream, end)
        found += _pieces_of(row, text, row_end, bool(found) and bool(found[-1].sides), found)
    return found


def _whole_rows(rows: list[list[Token]]) -> list[list[Token]]:
    """Rows, where one that ends with an operator goes on in the next."""
    found: list[list[Token]] = []
    for row in rows:
        last = next((t for t in reversed(found[-1]) if t.kind != "space" and t.text != "&"), None) if found else None
        if (
            last is not None
            and last.kind in ("cmd", "char")
            and last.text in ("odot", "cdot", "times", "circ", "+", "-", "=")
        ):
            found[-1] = [*found[-1], *[t for t in row if t.text != "&"]]
        else:
            found.append(row)
    return found


def _end_of(part: list[Token], stream: list[Token], end: int) -> int:
    if not part:
        return end
    last = part[-1]
    following = [t.at for t in stream if t.at > last.at]
    return min(following, default=end)


def _flat(stream: list[Token]) -> list[Token]:
    """Without the environments that align, and without the braces of a group or box that holds a whole equation."""
    found: list[Token] = []
    k = 0
    while k < len(stream):
        token = stream[k]
        if token.kind == "cmd" and token.text in ("begin", "end") and k + 1 < len(stream) and stream[k + 1].text == "{":
            close = next((j for j in range(k, len(stream)) if stream[j].text == "}"), k)
            name = "".join(t.text for t in stream[k + 2 : close])
            if _ALIGNED.fullmatch(name):
                k = close + 1
                takes = name.startswith(("alignat", "IEEE", "alignedat")) and token.text == "begin"
                if takes and k < len(stream) and stream[k].text == "{":
                    k = next((j for j in range(k, len(stream)) if stream[j].text == "}"), k) + 1
                if (
                    token.text == "begin"
                    and k < len(stream)
                    and stream[k].text == "["
                    and k + 2 < len(stream)
                    and stream[k + 2].text == "]"
                ):
                    k += 3
                found.append(Token("cmd", "\\", token.at)) if token.text == "end" else None
                continue
        if token.text in ("boxed", "fbox", "{") and (token.kind == "cmd") == (token.text != "{"):
            start = k if token.text == "{" else k + 1
            before = found[-1] if found else None
            free = (
                token.text != "{"
                or before is None
                or before.text in ("&", "\\", "=", "+", "-")
                or before.kind in ("space",)
            )
            close = _close(stream, start)
            if free and close > start:
                inside = stream[start + 1 : close]
                holds = any(len(split(inside, mark)) > 1 for mark in ("=", "\\")) or any(
                    t.text == "begin" for t in inside
                )
                if holds and not any(t.text == "begin" and _matrix_at(inside, j) for j, t in enumerate(inside)):
                    stream = [*stream[:start], *inside, *stream[close + 1 :]]
                    k = start
                    continue
                if token.text == "boxed":
                    k += 1
                    continue
        found.append(token)
        k += 1
    return found


def _matrix_at(tokens_: list[Token], k: int) -> bool:
    name = "".join(t.text for t in tokens_[k + 2 : k + 10]).split("}")[0]
    return not _ALIGNED.fullmatch(name)


def _close(stream: list[Token], start: int) -> int:
    depth = 0
    for k in range(start, len(stream)):
        if stream[k].kind == "char":
            depth += (stream[k].text == "{") - (stream[k].text == "}")
            if depth == 0:
                return k
    return -1


def _pieces_of(row: list[Token], text: str, end: int, follows: bool, before: list[_Row]) -> list[_Row]:
    parts = _parts(row)
    found: list[_Row] = []
    condition_follows = False
    open_row: _Row | None = None
    for k, part in enumerate(parts):
        part = [t for t in part if t.kind != "space"]
        part_end = parts[k + 1][0].at if k + 1 < len(parts) and parts[k + 1] else end
        if not part:
            continue
        if part[0].kind in ("text", "word") and not _is_name(part, 0):
            words = part[0].text.strip().lower()
            condition_follows = (words + " ").startswith(_CONDITION_WORDS) or words.endswith(
                ("if", "for", "when", "where")
            )
            said = [
                c
                for inner in re.findall(r"\$([^$]*)\$", part[0].text)
                for r in _rows(inner, {}, part[0].at, inner)
                for c in r.conditions
            ]
            if said:
                (open_row or _hold(found)).conditions.extend(said)
                for side in open_row.sides if open_row else []:
                    side.conditions.extend(said)
            continue
        while part and part[-1].text in (".", ",", ";", ":", "?", "!") and part[-1].kind == "char":
            part = part[:-1]
        part = [
            Token("cmd", "cdot", t.at) if t.kind == "char" and t.text == "." and k and k < len(part) - 1 else t
            for k, t in enumerate(part)
        ]
        while part and part[0].kind == "cmd" and part[0].text in ("implies", "forall"):
            condition_follows = part[0].text == "forall"
            part = part[1:]
        if not part:
            continue
        if (
            any(t.text == "dots" for t in part)
            and _index_like(part[0])
            and len(part) > 1
            and part[1].text in ("=", ",", "in")
        ):
            continue  # i = 1, …, n
        relations = [
            (j, t)
            for j, t in _at_depth_0(part, balanced=_balanced(part) is part)
            if t.text == "=" or t.text in _NOT_EQUAL
        ]
        kinds = {t.text for _, t in relations}
        if not relations:
            joined = part[0].text in ("+", "-", "cdot", "times", "odot", "*")
            target = open_row or (before[-1] if before and not found else None)
            if joined and target is not None and target.sides and not condition_follows:
                _join(target.sides[-1], part, text, part_end)
            elif target is not None and open_row is not None:
                continue  # a remark beside an equation
            elif not _is_remark(part) and not condition_follows:
                open_row = _Row([_side(part, text, part_end)], [], False)
                open_row.sides[0].joined = False
                found.append(open_row)
            continue
        if kinds & {"neq", "in", "<", ">", "le", "ge", "notin"} or _is_condition(part, condition_follows):
            conditions = _conditions(part)
            target = open_row
            if target is not None:
                target.conditions.extend(conditions)
                for side in target.sides:
                    side.conditions.extend(conditions)
            else:
                found.append(_Row([], conditions, False))
            continue
        starts = relations[0][0] == 0 and relations[0][1].text == "="
        if starts and open_row is not None:
            open_row.sides += _sides(part, relations, text, part_end)
            continue
        sides = _sides(part, relations, text, part_end)
        conditions = found[-1].conditions if found and not found[-1].sides else []
        for side in sides:
            side.conditions.extend(conditions)
        open_row = _Row(sides, list(conditions), starts)
        found.append(open_row)
        condition_follows = False
    return found


def _hold(found: list[_Row]) -> _Row:
    if not found or found[-1].sides:
        found.append(_Row([], [], False))
    return found[-1]


def _parts(row: list[Token]) -> list[list[Token]]:
    """A row between its wide spaces, commas, arrows and remarks."""
    parts: list[list[Token]] = [[]]
    depth = 0
    opened = sum((t.text == "(") - (t.text == ")") for t in row if t.kind == "char")
    even = sum((t.text == "[") - (t.text == "]") for t in row if t.kind == "char") == 0
    square, square_closed = ("[", "]") if even else ("", "")
    for k, token in enumerate(row):
        if token.kind == "char":
            depth += (token.text in ("{" if opened else "{(" + square)) - (
                token.text in ("}" if opened else "})" + square_closed)
            )
        elif token.kind == "cmd" and token.text in ("begin", "end", "{", "}"):
            depth += 1 if token.text in ("begin", "{") else -1
        if depth > 0:
            parts[-1].append(token)
            continue
        if token.kind == "char" and token.text == "&":
            before = row[k - 1] if k else None
            after = next((t for t in row[k + 1 :] if t.kind != "space"), None)
            relation = any(
                t is not None and (t.text == "=" or t.text in _NOT_EQUAL or t.text in "+-{") for t in (before, after)
            )
            if before is None or after is None or (relation and before.text != "&"):
                continue
            parts.append([])
        elif token.kind == "space" or (token.kind == "char" and token.text in ",;:"):
            if not (parts[-1] and _open_ended(parts[-1][-1])):
                parts.append([])
        elif token.kind == "cmd" and token.text in ("implies", "forall"):
            parts.append([token])
        elif token.kind in ("text", "word") and not _is_name(row, k):
            parts += [[token], []]
        else:
            parts[-1].append(token)
    return parts


def _open_ended(token: Token) -> bool:
    return token.text in ("+", "-", "cdot", "times", "odot", "=", "sum", "*") and token.kind in ("char", "cmd")


def _is_name(row: list[Token], k: int) -> bool:
    """Whether words are a name here: one word, where a script, bracket or sign follows or an operator stands before."""
    if not is_word_name(row[k].text):
        return False
    after = row[k + 1] if k + 1 < len(row) else None
    before = row[k - 1] if k else None
    if after is not None and after.text in ("(", "_", "^", "=", "&", "{", "[", "'", "prime"):
        return True
    if before is not None and before.text in ("=", "+", "-", "(", "cdot", "{", "frac", "partial"):
        return True
    return len(row[k].text.strip()) <= 4 and before is None and after is not None


def _is_remark(part: list[Token]) -> bool:
    inner = part[1:-1] if part[0].text == "(" and part[-1].text == ")" else part
    return all(t.kind in ("text", "word", "num") or t.text in (".", ":", "dots", "ast", "*", "'") for t in inner) or (
        inner is not part and len(inner) > 0 and inner[0].kind in ("text", "word")
    )


def _at_depth_0(part: list[Token], *, balanced: bool = True) -> list[tuple[int, Token]]:
    found = []
    depth = 0
    for k, token in enumerate(part):
        if token.kind == "char":
            depth += (token.text in ("{([" if balanced else "{")) - (token.text in ("})]" if balanced else "}"))
        elif token.kind == "cmd" and token.text in ("begin", "end", "{", "}"):
            depth += 1 if token.text in ("begin", "{") else -1
        if depth == 0 and token.kind in ("char", "cmd"):
            found.append((k, token))
    return found


def _sides(part: list[Token], relations: list[tuple[int, Token]], text: str, end: int) -> list[Side]:
    sides: list[Side] = []
    cuts = [*relations, (len(part), None)]
    if cuts[0][0] > 0:
        sides.append(_side(part[: cuts[0][0]], text, part[cuts[0][0]].at))
        sides[0].joined = False
    for (k, relation), (k2, _) in zip(cuts, cuts[1:], strict=False):
        inside = part[k + 1 : k2]
        if not inside or all(t.text in "?!." for t in inside):
            continue
        stop = part[k2].at if k2 < len(part) else end
        side = _side(inside, text, stop, part[k].at)
        side.joined = relation is not None and relation.text == "="
        sides.append(side)
    return sides


def _side(part: list[Token], text: str, end: int, at: int | None = None) -> Side:
    at = part[0].at if at is None else at
    shown = text[at:end].strip()
    shown = re.sub(
        r"(?:\s|&|\\\\|\\end\s*\{(?:align|equation|split|gather|eqnarray|multline)[a-z]*\*?\}|\\nonumber|\\notag|\$|\\\]|\\q?quad|[,;.])+$",
        "",
        shown,
    )
    while shown.endswith("}") and shown.count("}") - shown.count("\\}") > shown.count("{") - shown.count("\\{"):
        shown = shown[:-1]
    balanced = _balanced(part)
    try:
        return Side(_widened(parse(balanced)), "", shown, at, mended=balanced is not part)
    except NotReadError as error:
        return Side(None, str(error), shown, at)


def _balanced(part: list[Token]) -> list[Token]:
    """The tokens with a bracket that was forgotten added at the end, or one too many dropped."""
    open_at: list[int] = []
    surplus: list[int] = []
    for k, token in enumerate(part):
        if token.kind == "char" and token.text == "(":
            open_at.append(k)
        elif token.kind == "char" and token.text == ")":
            if open_at:
                open_at.pop()
            else:
                surplus.append(k)
    if (not open_at and not surplus) or any(t.kind == "char" and t.text == "[" for t in part):
        return part
    kept = [token for k, token in enumerate(part) if k not in surplus]
    return [*kept, *[Token("char", ")", part[-1].at)] * len(open_at)]


def _join(side: Side, part: list[Token], text: str, end: int) -> None:
    """A side that goes on in the next row."""
    try:
        more = parse(part)
    except NotReadError as error:
        side.node, side.why = None, str(error)
        return
    side.text = re.sub(r"\s+", " ", f"{side.text} {_side(part, text, end).text}")
    if side.node is None:
        return
    if part[0].text in ("+", "-"):
        side.node = _widened(Node("add", (side.node, more)))
    else:
        side.node = Node("mul", (side.node, more), ("·",))


def _widened(node: Node) -> Node:
    """Where ∂/∂z or Σ stands before several terms, it may act on the first or on all: both are kept, as `alt`."""
    kids = tuple(_widened(kid) for kid in node.kids)
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
        return Node("alt", (node, _widened(Node("add", terms)) if len(terms) > 1 else wide))
    return node


def _listed(node: Node) -> Node | None:
    """e^{z_a} + e^{z_b} + e^{z_c}, or e^{z_1} + … + e^{z_K}: a sum over all, written out; None where it is not one."""
    dots = [k for k, kid in enumerate(node.kids) if kid.op == "dots"]
    terms = [kid for kid in node.kids if kid.op != "dots"]
    if dots and (len(terms) < 2 or len(dots) > 1):
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
            if last.kind in ("letter", "number") and part.op == "name":
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


def _is_condition(part: list[Token], expected: bool) -> bool:
    """Whether an equation is between index letters: i = k."""
    shown = [t for t in part if t.kind != "space"]
    sizes = [len(side) for side in split(shown, "=")]
    if len(sizes) != 2 or max(sizes) > (12 if expected else 1) or 0 in sizes:
        return False
    if expected and max(sizes) > 1:
        return False
    left, right = (side[0] for side in split(shown, "="))
    return _index_like(left) and (_index_like(right) or right.kind == "num")


def _index_like(token: Token) -> bool:
    return (token.kind == "char" and token.text in "ijklmnrstcqpuv'ℓty") or (
        token.kind == "cmd" and token.text == "ell"
    )


def _conditions(part: list[Token]) -> list[Condition]:
    from chainrule.derive.people.grammar import Grammar

    found = []
    for piece in split(part, ","):
        try:
            condition = Grammar([]).condition(piece)
            found += [condition] if condition.rel != "∈" else []
        except NotReadError:
            continue
    return found
