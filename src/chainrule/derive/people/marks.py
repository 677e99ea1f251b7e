"""What stands below a Σ, beside a case, and around a ∂, token by token."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.derive.people.cursor import split, without_braces
from chainrule.derive.people.scripts import items_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tokens import tokens as tokenize
from chainrule.derive.people.tree import Bound, Condition, Node, NotReadError
from chainrule.derive.people.words import RELATIONS, is_word_name, relation_in

__all__ = ["after_d", "apart", "begins_d", "bound_of", "is_d", "within_text"]


def within_text(token: Token) -> list[Token]:
    r"""The mathematics within words: \text{if $i = j$}, or "if i = j" as text."""
    text = token.text
    parts = text.split("$")
    if len(parts) > 1 and any(
        (len(part.strip()) < 4 and not part.strip().isalnum()) or "\\ne" in part.strip()[:4] for part in parts[1::2]
    ):
        text = text.replace("$", " ")  # \text{if k $\ne$ y}
    elif len(parts) > 1:
        return [t for part in parts[1::2] for t in tokenize(part, {}, token.at)]
    for word in ("if", "for", "when", "where", "with", "and"):
        text = text.replace(word + " ", " ") if text.strip().startswith(word) else text
    if "=" in text or "\\ne" in text or "≠" in text:
        return tokenize(text, {}, token.at)
    return [Token("char", ",", token.at)] if text.strip() == "and" else []


def apart(row: list[Token]) -> tuple[list[Token], list[Token]]:
    """A row of cases without &: the value, and from the first word on its condition."""
    for k, token in enumerate(row):
        if token.kind in ("text", "word") and not is_word_name(token.text):
            return row[:k], row[k:]
        if token.kind == "space" and k:
            return row[:k], row[k:]
    value, *said = split(row, ",")  # −p_i p_k, i ≠ k
    if said and relation_in(said[0]) is not None and relation_in(value) is None:
        return value, row[len(value) + 1 :]
    return row, []


def bound_of(below: list[Token], above: list[Token], whole: Callable[[list[Token]], Node]) -> Bound:
    """What stands below and above a Σ."""
    letters: list[str] = []
    conditions: list[Condition] = []
    lower: Node | None = None
    pieces: list[list[Token]] = []
    for part in split(without_braces(below), ",", "\\", ":", "|", ";"):
        part = without_braces([t for t in part if t.kind != "space"])
        if part and part[0].text == "substack":
            part = part[1:]
        while len(part) > 2 and part[0].text in "(" and part[-1].text in ")":
            pieces += split(part[1:-1], ",")
            part = []
        if part:
            pieces.append(part)
    for part in pieces:
        part = [t for t in part if t.kind not in ("text", "word") or is_word_name(t.text)]
        if part and part[0].kind in ("text", "word") and len(part) > 1:
            part = part[1:]
        k = relation_in(part)
        more = relation_in(part[k + 1 :]) if k is not None else None
        if k is not None and more is not None and RELATIONS[part[k].text] == "≠":  # j ≠ i ∈ C
            part, more = part[: k + 1 + more], None
        if k is None or more is not None:  # 1 ≤ i ≤ K
            shown = part if k is None or more is None else part[k + 1 : k + 1 + more]
            letters += [item.value for item in items_of(shown, whole) if item.kind == "letter"]
            continue
        left = items_of(part[:k], whole)
        rel = RELATIONS[part[k].text]
        for item in left:
            if item.kind == "letter" and item.value not in letters and (rel != "<" or not letters):
                letters.append(item.value)
        if rel == "∈" or not left:
            continue
        right = whole(part[k + 1 :])
        if rel == "=" and left[0].kind == "letter":
            lower = right
            continue
        conditions.append(Condition(whole(part[:k]), rel, right))
    upper = None
    above = without_braces(above)
    if above:
        try:
            upper = whole(above)
        except NotReadError:
            upper = None
    return Bound(tuple(letters), tuple(conditions), lower, upper)


def is_d(above: list[Token], below: list[Token]) -> bool:
    """Whether a fraction is a derivative."""
    if not above or not below:
        return False
    if begins_d(above) == "∂" and begins_d(below) == "∂":
        return True
    if above[0].text == below[0].text == "delta" and above[0].kind == "cmd":  # δ/δw, δ/δ{w}, δ(…)/δw
        alone = len(above) == 1 and len(below) > 1 and below[1].text == "{"
        return alone or (bool(begins_d(below)) and (len(above) == 1 or above[1].text not in ("_", "^")))
    return begins_d(above) == "d" and begins_d(below) == "d" and len(below) > 1


def begins_d(tokens: list[Token]) -> str:
    first = tokens[0]
    if first.kind == "cmd" and first.text == "partial":
        return "∂"
    if first.kind == "cmd" and first.text == "delta" and len(tokens) > 1 and tokens[1].text not in ("_", "^", "{", "("):
        return "d"  # δE/δa
    if first.kind == "char" and first.text in "dD" and not (len(tokens) > 1 and tokens[1].text == "_"):
        return "d"
    if (
        first.kind == "cmd"
        and first.text in ("mathrm", "operatorname")
        and "".join(t.text for t in tokens[1:4]) in ("{d}", "{D}")
    ):
        return "d"
    return "d" if first.kind == "text" and first.text == "d" else ""


def after_d(tokens: list[Token]) -> list[Token]:
    return tokens[4:] if tokens[0].text in ("mathrm", "operatorname") else tokens[1:]
