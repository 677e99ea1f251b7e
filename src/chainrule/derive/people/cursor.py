"""A place in a formula's tokens, and how groups, brackets and environments are taken from there."""

from __future__ import annotations

from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import NotReadError

__all__ = ["Cursor", "balanced", "close", "rows_of", "split", "undoubled", "without_braces", "without_gap"]

_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_CLOSES = {**_CLOSED_BY, "\\{": "\\}", "\\begin": "\\end", "\\langle": "\\rangle"}
_TAKES_ONE = {"mathbf", "mathrm", "mathcal", "mathbb", "hat", "bar", "tilde", "operatorname"}


class Cursor:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> Token | None:
        k = self.at + ahead
        return self.tokens[k] if k < len(self.tokens) else None

    def next_is(self, *texts: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token is not None and token.kind in ("char", "cmd") and token.text in texts

    def group(self) -> list[Token]:
        """The tokens of the next group, without its braces, or the one token that stands there."""
        while self.next_is("\\") or (self.peek() is not None and self.tokens[self.at].kind == "space"):
            self.at += 1
        token = self.peek()
        if token is None:
            raise NotReadError("the formula ends too early")
        if token.kind == "char" and token.text == "{":
            return self.inside()
        if token.kind == "char" and token.text == "(":  # e^(-z), as in plain text
            try:
                start = self.at
                self.inside()
                return self.tokens[start : self.at]
            except NotReadError:
                pass
        self.at += 1
        if (
            token.kind == "char"
            and token.text == "-"
            and [t.text for t in self.tokens[self.at - 3 : self.at - 1]] == ["e", "^"]
        ):
            return [token, *self.group()]  # e^-z
        if token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            self.tokens = [*self.tokens[: self.at], Token("num", token.text[1:], token.at), *self.tokens[self.at :]]
            return [Token("num", token.text[0], token.at)]
        if token.kind == "cmd" and token.text in _TAKES_ONE:
            return [token, Token("char", "{", token.at), *self.group(), Token("char", "}", token.at)]
        return [token]

    def inside(self) -> list[Token]:
        """The tokens between the bracket that stands here and the one that closes it, of any kind."""
        opened = self.tokens[self.at]
        kind, closing = (opened.kind, _CLOSED_BY[opened.text]) if opened.kind == "char" else ("cmd", "}")
        depth, start = 0, self.at + 1
        envs = 0
        braces = 0
        for k in range(self.at, len(self.tokens)):
            token = self.tokens[k]
            if token.kind == "cmd" and token.text in ("begin", "end"):
                envs += 1 if token.text == "begin" else -1
            if token.kind == "char" and opened.text != "{" and token.text in "{}":
                braces += 1 if token.text == "{" else -1
                if braces < 0:
                    break
            if envs == 0 and token.kind == kind and token.text == opened.text and (braces == 0 or opened.text == "{"):
                depth += 1
            elif token.kind == kind and token.text == closing and envs == 0 and braces == 0:
                depth -= 1
                if depth == 0:
                    self.at = k + 1
                    return self.tokens[start:k]
        raise NotReadError(f"the bracket {opened.text} is not closed")

    def environment(self) -> tuple[str, list[Token]]:
        """The name and the tokens of the environment that begins here."""
        self.at += 1
        name = "".join(t.text for t in self.group())
        depth, start = 1, self.at
        for k in range(self.at, len(self.tokens)):
            token = self.tokens[k]
            if token.kind == "cmd" and token.text in ("begin", "end"):
                depth += 1 if token.text == "begin" else -1
                if depth == 0:
                    self.at = k + 1
                    self.group()
                    return name, self.tokens[start:k]
        raise NotReadError(f"{name} does not end")


def split(tokens: list[Token], *marks: str, braces: bool = False) -> list[list[Token]]:
    """The tokens between marks that stand outside of all brackets and environments; with `braces`, round brackets do
    not count: one may be forgotten."""
    parts: list[list[Token]] = [[]]
    depth = 0
    bars = "|" in marks
    for token in tokens:
        if token.kind == "char" and token.text in ("{" if braces else "{(["):
            depth += 1
        elif token.kind == "char" and token.text in ("}" if braces else "})]"):
            depth -= 1
        elif token.kind == "cmd" and token.text in ("begin", "{", "langle"):
            depth += 1
        elif token.kind == "cmd" and token.text in ("end", "}", "rangle"):
            depth -= 1
        if depth == 0 and token.kind in ("char", "cmd") and token.text in marks and (bars or token.text != "|"):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def rows_of(tokens: list[Token]) -> list[list[list[Token]]]:
    """The cells of an environment's rows."""
    rows = []
    for row in map(without_gap, split(tokens, "\\")):
        cells = split(row, "&")
        if any(cells):
            rows.append(cells)
    return rows


def without_gap(row: list[Token]) -> list[Token]:
    r"""A row without the [2pt] of the \\[2pt] before it."""
    shown = [t.text for t in row[:6]]
    if shown[:1] == ["["] and "]" in shown and row[1].kind == "num":
        return row[shown.index("]") + 1 :]
    return row


def balanced(part: list[Token], *, early: bool = False) -> list[Token]:
    """The tokens with round and square brackets that were forgotten added where what is around them closes, or `early`,
    behind the first bracket that closes within, and those that close nothing dropped."""
    opened: list[tuple[str, int]] = []  # what would close the brackets that are open, and where they stand
    found: list[Token] = []

    def closed(count: int) -> None:
        for _ in range(count):
            mark, start = opened.pop()
            at = len(found)
            depth = 0
            for k in range(start + 1, len(found) if early else 0):
                depth += (found[k].text == "{") - (found[k].text == "}") if found[k].kind == "char" else 0
                if found[k].text == mark and depth == 0:
                    at = k + 1
                    break
            found.insert(at, Token("char", mark, found[at - 1].at))

    for token in part:
        mark = token.text if token.kind == "char" else "\\" + token.text
        if mark in _CLOSES:
            opened.append((_CLOSES[mark], len(found)))
        elif mark in _CLOSES.values():
            k = max((k for k, one in enumerate(opened) if one[0] == mark), default=-1)
            if k < 0 or not {one for one, _ in opened[k + 1 :]} <= set(")]"):
                if mark in ")]":
                    continue
            else:
                closed(len(opened) - k - 1)
                opened.pop()
        found.append(token)
    if {one for one, _ in opened} <= set(")]"):
        closed(len(opened))
    return part if len(found) == len(part) else found


def undoubled(part: list[Token]) -> list[Token]:
    """The tokens without a bracket that closes a second time at the end of a group: e^{K(x + b))}."""
    opened = sum((t.text == "(") - (t.text == ")") for t in part if t.kind == "char")
    depth = [0]
    found: list[Token] = []
    for k, token in enumerate(part):
        if token.kind == "char" and token.text in "{}":
            depth = [*depth, 0] if token.text == "{" else depth[:-1] or [0]
        elif token.kind == "char" and token.text == "(":
            depth[-1] += 1
        elif token.kind == "char" and token.text == ")":
            doubled = found and found[-1].text == ")" and k + 1 < len(part) and part[k + 1].text == "}"
            if doubled and opened < 0 and depth[-1] == 0:
                opened += 1
                continue
            depth[-1] -= 1
        found.append(token)
    return found if len(found) < len(part) else part


def close(stream: list[Token], start: int) -> int:
    depth = 0
    for k in range(start, len(stream)):
        if stream[k].kind == "char":
            depth += (stream[k].text == "{") - (stream[k].text == "}")
            if depth == 0:
                return k
    return -1


def without_braces(tokens: list[Token]) -> list[Token]:
    while len(tokens) > 1 and tokens[0].text == "{" and tokens[0].kind == "char" and tokens[-1].text == "}":
        depth = 0
        k = -1
        for k, token in enumerate(tokens):  # noqa: B007
            depth += (token.text == "{") - (token.text == "}") if token.kind == "char" else 0
            if depth == 0:
                break
        if k < len(tokens) - 1:
            return tokens
        tokens = tokens[1:-1]
    return [t for t in tokens if t.kind != "space"] if tokens and tokens[0].kind == "space" else tokens
