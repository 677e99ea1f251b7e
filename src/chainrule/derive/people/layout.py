"""Environments that only lay out, boxes and fonts around whole equations, and every way to write cases, made one."""

from __future__ import annotations

import re

from chainrule.derive.people.cursor import close as close_of
from chainrule.derive.people.cursor import split
from chainrule.derive.people.tokens import Token

__all__ = ["cased", "chosen", "flat"]

_ALIGNED = re.compile(
    r"(?:equation|align|alignat|gather|eqnarray|multline|displaymath|flalign|math|dmath|IEEEeqnarray|empheq|aligned|alignedat|gathered|split|subequations)\*?"
)
_LAID_OUT = re.compile(r"(?:aligned|alignedat|align|array|matrix|split|gathered|cases|dcases|rcases)\*?")
_BOXES = ("boxed", "fbox", "mathrm", "mathbf", "mathit", "mathsf", "boldsymbol", "bm")


def _environment_at(stream: list[Token], k: int) -> tuple[str, int] | None:
    """The name of the environment that begins at a place, and where its name ends."""
    if k + 1 >= len(stream) or stream[k].kind != "cmd" or stream[k].text != "begin" or stream[k + 1].text != "{":
        return None
    close = next((j for j in range(k, len(stream)) if stream[j].text == "}"), len(stream) - 1)
    return "".join(t.text for t in stream[k + 2 : close]), close + 1


def _end_at(stream: list[Token], k: int) -> int:
    """Where the environment that begins at a place ends: the place of its \\end."""
    depth = 0
    for j in range(k, len(stream)):
        if stream[j].kind == "cmd" and stream[j].text in ("begin", "end"):
            depth += 1 if stream[j].text == "begin" else -1
            if depth == 0:
                return j
    return len(stream)


def cased(stream: list[Token]) -> list[Token]:
    r"""With every way to write cases made one: \left\{ \begin{array} … \end{array} \right. and its kin. Cases that hold
    nothing but another layout list equations, and so do those that begin a display and whose rows have a =."""
    found: list[Token] = []
    k = 0
    while k < len(stream):
        token = stream[k]
        start = k
        if token.kind == "cmd" and token.text == "{":
            start = k + 1
            while start < len(stream) and stream[start].kind == "char" and stream[start].text == "{":
                start += 1
        named = _environment_at(stream, start)
        rows = (
            named is not None
            and named[0] == "array"
            and not found
            and _equations(stream[named[1] : _end_at(stream, k)])
        )
        if named is None or not _LAID_OUT.fullmatch(named[0]) or (start == k and "cases" not in named[0] and not rows):
            found.append(token)
            k += 1
            continue
        end = _end_at(stream, start)
        after = next((j for j in range(end, len(stream)) if stream[j].text == "}"), end) + 1
        body = stream[named[1] : end]
        if named[0].startswith("array") and body and body[0].text == "{":
            body = body[close_of(body, 0) + 1 :]
        for _ in range(start - k - 1):
            after += after < len(stream) and stream[after].text == "}"
        after += start > k and after < len(stream) and stream[after].text == "}" and stream[after].kind == "cmd"
        inner = _environment_at(body, 0)
        if (
            inner is not None
            and _LAID_OUT.fullmatch(inner[0])
            and all(
                t.text in ("end", "{", "}") or "".join(inner[0]).find(t.text) >= 0 for t in body[_end_at(body, 0) :]
            )
        ):  # cases around aligned
            body = body[inner[1] : _end_at(body, 0)]
        begins = not found or all(t.text in ("&", "\\") or t.kind == "space" for t in found[-1:])
        if begins and all(len(split([t for t in row if t.text != "&"], "=")) > 1 for row in split(body, "\\") if row):
            found += [*cased(body), Token("cmd", "\\", token.at)]
        else:
            at = token.at
            name = [Token("char", c, at) for c in "cases"]
            found += [Token("cmd", "begin", at), Token("char", "{", at), *name, Token("char", "}", at), *cased(body)]
            found += [Token("cmd", "end", at), Token("char", "{", at), *name, Token("char", "}", at)]
        k = after
    return found


def _equations(body: list[Token]) -> bool:
    """Whether the rows of an environment are equations."""
    rows = [row for row in split(body, "\\") if row]
    return all(len(split([t for t in row if t.text != "&"], "=")) > 1 for row in rows)


def chosen(row: list[Token]) -> list[Token]:
    """A row with "= p (1 − p) if i = j else −p q" as cases."""
    words = [
        k for k, t in enumerate(row) if t.kind in ("word", "text") and t.text.strip() in ("if", "else", "otherwise")
    ]
    if [row[k].text.strip() == "if" for k in words] != [True, False]:
        return row
    start = max((k for k, t in enumerate(row[: words[0]]) if t.text == "=" and t.kind == "char"), default=-1) + 1
    at = row[start].at
    name = [Token("char", c, at) for c in "{cases}"]
    cuts = ((start, words[0]), (words[0] + 1, words[1]), (words[1] + 1, len(row)))
    value, condition, other = ([t for t in row[a:b] if t.kind != "space" and t.text not in (",", ";")] for a, b in cuts)
    if not (value and condition and other):
        return row
    cells = [*value, Token("char", "&", at), *condition, Token("cmd", "\\", at), *other]
    return [*row[:start], Token("cmd", "begin", at), *name, *cells, Token("cmd", "end", at), *name]


def flat(stream: list[Token]) -> list[Token]:
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
        if token.text in (*_BOXES, "{") and (token.kind == "cmd") == (token.text != "{"):
            start = k if token.text == "{" else k + 1
            before = found[-1] if found else None
            free = (
                token.text in ("boxed", "fbox")
                or before is None
                or before.text in ("&", "\\", "=", "+", "-")
                or before.kind in ("space",)
            )
            close = close_of(stream, start)
            if free and close > start and stream[start].text == "{":
                inside = stream[start + 1 : close]
                holds = any(len(split(inside, mark)) > 1 for mark in ("=", "\\")) or any(
                    t.text == "begin" for t in inside
                )
                if len(split(inside, "=")) > 1 or (
                    holds and not any(t.text == "begin" and _matrix_at(inside, j) for j, t in enumerate(inside))
                ):
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
