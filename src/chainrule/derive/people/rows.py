"""A display to its rows, and each of them to sides of equations, conditions and remarks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.derive.people.cursor import balanced as with_brackets
from chainrule.derive.people.cursor import split, undoubled, without_gap
from chainrule.derive.people.grammar import Grammar, parse
from chainrule.derive.people.layout import cased, chosen, flat
from chainrule.derive.people.macros import Macro
from chainrule.derive.people.scripts import GREEK_LETTERS
from chainrule.derive.people.tokens import Token, tokens
from chainrule.derive.people.tree import Condition, Node, NotReadError
from chainrule.derive.people.widening import widened
from chainrule.derive.people.words import FUNCTIONS, is_word_name

__all__ = ["Row", "Side", "rows"]

_LONGEST = 10_000  # characters of a display
_DEEPEST = 100  # brackets side by side

_NOT_EQUAL = {
    "neq", "in", "<", ">", "le", "ge", "approx", "to", "propto", "gets", "sim", "ll", "gg", "notin"
}  # fmt: skip
# Commands that may end a formula; another one is a writer's own full stop.
_LAST = {*GREEK_LETTERS, "}", "|", "rangle", "prime", "top", "dots", "vdots", "ddots", "infty", "{", "in", "log", "exp"}
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
    over: bool = False  # whether words above its display say when it holds
    mended: bool = False  # a bracket was added or dropped to read it


@dataclass
class Row:
    """What a row of a display, or a part of it between commas, says. `aside`: it stands behind what goes on."""

    sides: list[Side]
    conditions: list[Condition]
    continues: bool
    aside: bool = False
    implied: bool = False  # it stands behind an arrow


def rows(source: str, macros: Mapping[str, Macro], at: int, text: str) -> list[Row]:
    try:
        if len(source) > _LONGEST:
            raise NotReadError(f"the formula has {len(source)} characters; at most {_LONGEST} are read")
        if "{" * _DEEPEST in source.replace(" ", "") or "(" * _DEEPEST in source:
            raise NotReadError("too many brackets stand within each other")
        source = re.sub(r"(?<!\\)%[^\n]*", lambda m: " " * len(m[0]), source)  # a comment
        stream = flat(cased(tokens(source, macros, at)))
    except NotReadError as error:
        return [Row([Side(None, str(error), source.strip()[:80], at)], [], False)]
    end = at + len(source)
    found: list[Row] = []
    for row in _whole_rows(split(stream, "\\", braces=True)):
        row = _mapped(undoubled(without_gap(row)))
        pieces = _pieces_of(row, text, _end_of(row, stream, end), found)
        for piece in pieces[1:]:  # = p, because q = r: the next row goes on from p
            piece.aside = pieces[0].continues and not piece.continues
        found += pieces
    return found


def _mapped(row: list[Token]) -> list[Token]:
    """f : ℝⁿ → ℝ : x ↦ y as f(x) = y."""
    k = next((k for k, t in enumerate(row) if t.text == "mapsto"), 0)
    if k < 3 or row[1].text != ":":
        return row
    first = next(j for j in range(k, 0, -1) if row[j].text in (":", ",", "=") or row[j].kind == "space") + 1
    opened, closed, equal = (Token("char", sign, row[k].at) for sign in "()=")
    return [row[0], opened, *row[first:k], closed, equal, *row[k + 1 :]]


def _without_set(part: list[Token]) -> list[Token]:
    """The equation of a derivative without what says in which set it is: ∇f = … ∈ ℝⁿ."""
    k = next((k for k, t in _at_depth_0(part) if t.text == "in"), 0)
    equal = part[:1] and part[0].text in ("nabla", "frac", "partial") and any(t.text == "=" for t in part[:k])
    return part[:k] if equal and k + 1 < len(part) and part[k + 1].text in ("mathbb", "ℝ") else part


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


def _pieces_of(row: list[Token], text: str, end: int, before: list[Row]) -> list[Row]:
    parts = _parts(chosen(row))
    found: list[Row] = []
    condition_follows = False
    open_row: Row | None = None
    for k, part in enumerate(parts):
        part = _without_spaces(part)
        while len(part) > 2 and part[0].text == "{" and part[1].text == "}" and part[0].kind == "char":
            part = part[2:]
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
                for r in rows(inner, {}, part[0].at, inner)
                for c in r.conditions
            ]
            if said:
                (open_row or _hold(found)).conditions.extend(said)
                for side in open_row.sides if open_row else []:
                    side.conditions.extend(said)
            continue
        while part and (
            (part[-1].text in (".", ",", ";", ":", "?", "!") and part[-1].kind == "char")
            or (part[-1].kind == "cmd" and part[-1].text not in _LAST and len(part) > 1)
        ):
            part = part[:-1]
        part = [
            Token("cmd", "cdot", t.at)
            if t.kind == "char"
            and t.text == "."
            and 0 < k < len(part) - 1
            and (not _ends(part[k + 1]) or part[k + 1].text in FUNCTIONS)
            else t
            for k, t in enumerate(part)
        ]
        implied = False
        while part and part[0].kind == "cmd" and part[0].text in ("implies", "forall"):
            condition_follows = part[0].text == "forall"
            implied = part[0].text == "implies"
            part = part[1:]
        part = _without_set(part)
        if not part:
            continue
        listed = any(t.text == "dots" for t in part) and part[1:2] and part[1].text in ("=", ",", "in")
        if listed and _index_like(part[0]):
            continue  # i = 1, …, n
        counted = condition_follows and part[1:2] and part[1].text == "=" and "to" in "".join(t.text for t in part)
        if counted and _index_like(part[0]):
            continue  # for j = 1 to K
        inner = part[1:-1] if part[0].text == "(" and part[-1].text == ")" and part[0].kind == "char" else []
        if inner and open_row is not None and any(t.text in _NOT_EQUAL or t.text == "=" for t in inner) and (
            _is_condition(inner) or not any(t.text == "=" for t in inner)
        ):  # fmt: skip
            part = inner  # (i ≠ j) beside an equation
        relations = [(j, t) for j, t in _at_depth_0(part) if t.text == "=" or t.text in _NOT_EQUAL]
        if [t.text for _, t in relations] == ["="] and [t.text for t in part[relations[0][0] + 1 :]] == ["pm", "1"]:
            continue  # y_i = ±1
        part, relations = _without_sets(part, relations)
        kinds = {t.text for _, t in relations}
        if not relations:
            joined = part[0].text in ("+", "-", "cdot", "times", "odot", "*")
            target = open_row or (before[-1] if before and not found else None)
            if joined and target is not None and target.sides and not condition_follows:
                _join(target.sides[-1], part, text, part_end)
            elif target is not None and open_row is not None:
                continue  # a remark beside an equation
            elif not _is_remark(part) and not condition_follows:
                open_row = Row([_side(part, text, part_end)], [], False)
                open_row.sides[0].joined = False
                found.append(open_row)
            continue
        if kinds & {"neq", "in", "<", ">", "le", "ge", "notin"} or _is_condition(part):
            conditions = _conditions(part)
            if open_row is not None:
                open_row.conditions.extend(conditions)
                for side in open_row.sides:
                    side.conditions.extend(conditions)
            else:
                found.append(Row([], conditions, False))
            continue
        starts = relations[0][0] == 0 and relations[0][1].text == "="
        if starts and open_row is not None:
            open_row.sides += _sides(part, relations, text, part_end)
            continue
        sides = _sides(part, relations, text, part_end)
        conditions = found[-1].conditions if found and not found[-1].sides else []
        for side in sides:
            side.conditions.extend(conditions)
        open_row = Row(sides, list(conditions), starts, implied=implied)
        found.append(open_row)
        condition_follows = False
    return found


def _without_sets(part: list[Token], relations: list[tuple[int, Token]]) -> tuple[list[Token], list[tuple[int, Token]]]:
    """An equation without what it says of the place or size of its sides: Z ∈ ℝ^{m×d} = X W ≤ c is Z = X W."""
    kinds = [t.text == "=" for _, t in relations]
    if all(kinds) or not any(kinds) or "neq" in [t.text for _, t in relations] or _is_condition(part):
        return part, relations
    if kinds[0]:
        end = next(k for (k, _), equal in zip(relations, kinds, strict=True) if not equal)
        return (part, relations) if _index_like(part[0]) else (part[:end], [r for r in relations if r[0] < end])
    if kinds[1] and relations[0][1].text == "in":
        first, second = relations[0][0], relations[1][0]
        cut = [*part[:first], *part[second:]]
        return cut, [(k - second + first, t) for k, t in relations[1:]]
    return part, relations


def _without_spaces(part: list[Token]) -> list[Token]:
    """Without wide spaces, but for those in cases, where a condition may stand behind one."""
    depth = 0
    found = []
    for k, token in enumerate(part):
        if (
            token.kind == "cmd"
            and token.text in ("begin", "end")
            and "".join(t.text for t in part[k + 2 : k + 7]) == "cases"
        ):
            depth += 1 if token.text == "begin" else -1
        if token.kind != "space" or depth:
            found.append(token)
    return found


def _ends(token: Token) -> bool:
    """Whether a cell, a row or a group ends here."""
    return token.text in ("end", "\\", "&", "}", ")") or token.kind in ("text", "word", "space")


def _hold(found: list[Row]) -> Row:
    if not found or found[-1].sides:
        found.append(Row([], [], False))
    return found[-1]


def _parts(row: list[Token]) -> list[list[Token]]:
    """A row between its wide spaces, commas, arrows and remarks."""
    parts: list[list[Token]] = [[]]
    depth = 0
    closed = _closed(row)
    for k, token in enumerate(row):
        if token.kind == "char":
            depth += (token.text in "{([") - (token.text in "})]") if k in closed else 0
        elif token.kind == "cmd" and token.text in ("begin", "end", "{", "}", "langle", "rangle"):
            depth += 1 if token.text in ("begin", "{", "langle") else -1
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
    glued = row[k + 1 : k + 2] and row[k + 1].text == "(" and not row[k].text.endswith(" ")
    if glued and k == 0 and " " in row[k].text.strip():  # log softmax(z), which nothing reads
        return True
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


def _closed(row: list[Token]) -> set[int]:
    """Where the brackets stand that have their other half: one that was forgotten holds nothing together."""
    opened: list[int] = []
    found: set[int] = set()
    for k, token in enumerate(row):
        if token.kind != "char" or token.text not in "{}()[]":
            continue
        if token.text in "{([":
            opened.append(k)
            continue
        start = next((n for n in reversed(opened) if row[n].text == "{(["["})]".index(token.text)]), None)
        if start is not None and not any(row[n].text == "{" for n in opened[opened.index(start) + 1 :]):
            found |= {start, k}
            del opened[opened.index(start) :]
    return found


def _at_depth_0(part: list[Token]) -> list[tuple[int, Token]]:
    found = []
    depth = 0
    closed = _closed(part)
    for k, token in enumerate(part):
        if token.kind == "char":
            depth += (token.text in "{([") - (token.text in "})]") if k in closed else 0
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
    for (k, relation), (k2, _) in itertools.pairwise(cuts):
        inside = part[k + 1 : k2]
        spelt = "".join(t.text for t in inside if t.text != "cdot")
        if not spelt.strip("?!.") or spelt in ("NA", "N/A"):
            continue
        if spelt in FUNCTIONS and k2 < len(part):  # p = softmax = …
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
    balanced = with_brackets(part)
    try:
        node = widened(parse(balanced))
        if balanced is not part and (other := with_brackets(part, early=True)) != balanced:
            node = Node("alt", (node, widened(parse(other))))
        return Side(node, "", shown, at, mended=balanced is not part)
    except NotReadError as error:
        return Side(None, str(error), shown, at)


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
        side.node = widened(Node("add", (side.node, more)))
    else:
        side.node = Node("mul", (side.node, more), ("·",))


def _is_condition(part: list[Token]) -> bool:
    """Whether an equation is between index letters: i = k."""
    shown = [t for t in part if t.kind != "space"]
    while len(shown) > 2 and shown[-1].text == "*" and shown[-2].text == "^":  # c = c^*
        shown = shown[:-2]
    sizes = [len(side) for side in split(shown, "=")]
    if sizes != [1, 1]:
        return False
    left, right = (side[0] for side in split(shown, "="))
    return _index_like(left) and (_index_like(right) or right.kind == "num")


def _index_like(token: Token) -> bool:
    return (token.kind == "char" and token.text in "ijklmnrstcqpuv'ℓty") or (
        token.kind == "cmd" and token.text == "ell"
    )


def _conditions(part: list[Token]) -> list[Condition]:
    found = []
    for piece in split(part, ","):
        try:
            condition = Grammar([]).condition(piece)
            found += [condition] if condition.rel != "∈" else []
        except NotReadError:
            continue
    return found
