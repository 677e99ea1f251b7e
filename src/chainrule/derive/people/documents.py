r"""A file to its pieces: displays, inline formulas, headings and prose, each with the place where it stands.

LaTeX, Markdown, notebooks and plain text are told apart by what they hold. Places are offsets into the file's own text,
so that a verdict names the file's own line.
"""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from chainrule.derive.people.macros import Macro, group_at, macros_in
from chainrule.errors import InputError

__all__ = ["MAX_TEXT", "Document", "Piece", "read_document"]

MAX_TEXT = 100_000  # characters of a file

_DISPLAYS = (
    "equation|align|alignat|gather|eqnarray|multline|displaymath|flalign|math|dmath|IEEEeqnarray|empheq|aligned|gathered"
    "|split|subequations"
)
_MATH = re.compile(
    rf"\\begin\s*\{{(?P<env>(?:{_DISPLAYS}))\*?\}}"
    r"|(?P<fence>^[ \t]*```[ \t]*(?:math|mathjax|latex|tex|katex)!?[ \t]*$(?!\s*\$\$))|(?P<dollars>\$\$)"
    r"|(?P<square>\\\\?\[(?!\d*\.?\d+(?:pt|em|ex|mm|cm)))|(?P<round>\\\\?\()|(?P<ticks>\$`)|(?P<dollar>(?<!\\)\$)"
    r"|(?P<heading>^[ \t]*\#{1,6}[ \t].*$|\\(?:sub)*(?:section|paragraph|chapter)\*?\s*\{[^}]*\}"
    r"|\\begin\s*\{(?:problem|exercise|question|theorem|lemma|proof)\}|^\*\*[^*\n]+\*\*[ \t]*$)",
    re.MULTILINE,
)
_CODE = re.compile(
    r"\\begin\s*\{(verbatim|lstlisting|minted|tikzpicture|figure|table)\*?\}.*?\\end\s*\{\1\*?\}|<!--.*?-->"
    r"|<(?:script|style)\b.*?</(?:script|style)>|(?<![$`])`(?!`)[^`\n$]+`(?![$`])",
    re.DOTALL | re.MULTILINE,
)
# Mathematics in the comments of a program, or quoted: each line begins with the same sign.
_COMMENTED = re.compile(r"^[ \t]*(\#'?|//+!?|--|;+|>)(?:[ \t].*)?\n(?:[ \t]*\1(?:[ \t].*)?(?:\n|$))+", re.MULTILINE)
_MACROS = re.compile(
    r"\\(?:re|provide)?newcommand\*?|\\def(?=\s*\\)|\\DeclareMathOperator\*?|\\let(?=\s*\\)|\\(?:re)?newenvironment"
)


class Piece(NamedTuple):
    """`kind`: display, inline, heading or prose; `at`: the offset of the text."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Document:
    text: str
    pieces: list[Piece]
    macros: dict[str, Macro]
    lets: list[str] = field(default_factory=list)  # what comments of the file say of its names
    lines: list[tuple[int, int]] = field(default_factory=list)  # of a notebook: an offset, and the file's line there

    def line_of(self, at: int) -> int:
        """The file's line, from 1, on which an offset lies."""
        if self.lines:
            k = bisect.bisect_right([start for start, _ in self.lines], at) - 1
            return self.lines[max(k, 0)][1]
        return self.text.count("\n", 0, at) + 1


def read_document(text: str | bytes, name: str = "") -> Document:
    r"""Take a file apart.

    Raises
    ------
    InputError
        It is not UTF-8, too long, or a notebook that cannot be read.

    Examples
    --------
    >>> [piece.kind for piece in read_document("If $i = k$, $$ a = b $$").pieces]
    ['prose', 'inline', 'prose', 'display']
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"the text is not UTF-8: byte {error.start} is 0x{text[error.start]:02x}") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    text = _COMMENTED.sub(_uncommented, text)
    lines: list[tuple[int, int]] = []
    if name.endswith(".ipynb") or (text.lstrip().startswith("{") and '"cells"' in text):
        text, lines = _notebook(text)
    if len(text) > MAX_TEXT:
        raise InputError(f"the text has {len(text)} characters; at most {MAX_TEXT} are read")
    lets = re.findall(r"(?:%|<!--|//|\#)\s*chainrule:\s*([^\n>]*?)\s*(?:-->|$)", text, re.MULTILINE)
    latex = "\\documentclass" in text or "\\begin{document}" in text or name.endswith(".tex")
    markdown = name.endswith((".md", ".ipynb", ".markdown", ".qmd", ".Rmd"))
    if markdown:  # quotations; equations as headings; MyST's roles and fences
        text = re.sub(r"^[ \t]*(?:>[ \t]*)+", lambda m: m[0].replace(">", " "), text, flags=re.MULTILINE)
        text = re.sub(r"^#{1,6} (?=.*\$[^$]*=[^$]*\$[ .]*$)", lambda m: " " * len(m[0]), text, flags=re.MULTILINE)
        text = re.sub(r"\{math\}`([^`\n]*)`", r"      $\1$", text).replace("```{math}", "```math  ")
    shown = _blanked(text, comments=latex or not markdown)
    macros = macros_in(shown)
    for macro, said in macros.items():
        if said.arguments == 1 and re.match(rf"\s*\\begin\s*\{{(?:{_DISPLAYS})\*?\}}", said.body):
            shown = _opened(shown, macro)
    pieces = _joined(list(_pieces(shown)), shown)
    if markdown and not {piece.kind for piece in pieces} & {"display", "inline"}:  # formulas as plain text, in fences
        pieces = _fenced(_with_cases(text))
    return Document(text, _with_displays(pieces, shown), macros, lets, lines)


def _uncommented(block: re.Match[str]) -> str:
    """Lines without the sign that each begins with, at the same places, where displays stand among them."""
    if not re.search(r"\$\$|\\\[|\\begin\b", block[0]):
        return block[0]
    return re.sub(rf"^([ \t]*){block[1]}", lambda m: m[1] + " " * len(block[1]), block[0], flags=re.MULTILINE)


def _opened(text: str, macro: str) -> str:
    """A text in which what a macro of its own displays stands between $$, at the same places."""
    for match in reversed(list(re.finditer(rf"\\{macro}\s*\{{", text))):
        end = match.end() + len(group_at(text, match.end() - 1))
        line = text.rfind("\n", 0, match.start()) + 1
        if "newcommand" in text[line : match.start()] or text[end - 1 : end].strip() or end >= len(text):
            continue
        opened = "$$" + " " * (match.end() - match.start() - 2)
        text = text[: match.start()] + opened + text[match.end() : end - 1] + "$$" + text[end + 1 :]
    return text


def _fenced(text: str) -> list[Piece]:
    """The fences without a language as displays, the lines between them as prose."""
    found: list[Piece] = []
    at = 0
    inside = False
    for line in text.splitlines(keepends=True):
        if (line := _LISTED.sub(lambda m: " " * len(m[0]), line)).strip().startswith("```"):
            inside = not inside and line.strip() in ("```", "```text", "```txt", "```plain")
        elif inside and line.strip():
            joined = line.lstrip().startswith(("=", "+")) and found and found[-1].kind == "display"
            found.append(Piece("display" if _is_formula(line) or joined else "prose", line, at))
        elif line.strip():
            found.append(Piece("heading" if line.startswith("#") else "prose", line.replace("`", " "), at))
            for span in re.finditer(r"`([^`\n]*=[^`\n]*)`", line):
                if _is_formula(span[1]):
                    found.append(Piece("inline", span[1], at + span.start(1)))
        at += len(line)
    return found


def _notebook(text: str) -> tuple[str, list[tuple[int, int]]]:
    try:
        cells = json.loads(text)["cells"]
        sources = [cell["source"] for cell in cells if cell.get("cell_type") in ("markdown", "raw")]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the notebook cannot be read: {error}") from None
    raw = text.split("\n")
    found, lines, at, row = "", [], 0, 0
    for source in sources:
        for part in [source] if isinstance(source, str) else source:
            shown = [json.dumps(part), json.dumps(part, ensure_ascii=False)]
            k = next((k for k in range(row, len(raw)) if any(one in raw[k] for one in shown)), row)
            row = k + (not isinstance(source, str))
            for piece in str(part).splitlines(keepends=True):
                lines.append((at, k + 1))
                found += piece
                at += len(piece)
        found += "\n\n"
        at += 2
    return found, lines


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _blanked(text: str, *, comments: bool) -> str:
    """The same text with comments, code and a document's head blanked, so that places stay. Macros stay as well."""
    if comments:
        text = re.sub(r"(?<!\\)((?:\\\\)*)%[^\n]*", lambda m: m[1] + " " * (len(m[0]) - len(m[1])), text)
    text = _without_fences(text)
    for match in _CODE.finditer(text):
        text = _blank(text, match.start(), match.end())
    begin = re.search(r"\\begin\s*\{document\}", text)
    if begin is not None:
        head = text[: begin.end()]
        defined = [m.start() for m in _MACROS.finditer(head)]
        kept = _blank(head, 0, len(head))
        for start in defined:
            end = _macro_end(head, start)
            kept = kept[:start] + head[start:end] + kept[end:]
        text = kept + text[begin.end() :]
        end = text.find("\\end{document}")
        text = text if end < 0 else _blank(text, end, len(text))
    return text


def _without_fences(text: str) -> str:
    """Without the fenced code of Markdown, but for fences of mathematics."""
    lines = text.split("\n")
    fence = ""
    math = False
    for k, line in enumerate(lines):
        shown = line.strip()
        if not fence and (found := re.match(r"(`{3,}|~{3,})\s*(\w*)", shown)):
            fence, math = found[1], found[2] in ("math", "mathjax", "latex", "tex", "katex")
            lines[k] = line if math else " " * len(line)
        elif fence and shown.startswith(fence) and not shown.strip(fence[0]):
            fence = ""
            lines[k] = line if math else " " * len(line)
        elif fence and not math:
            lines[k] = " " * len(line)
    return "\n".join(lines)


# A list's mark, or words that lead to a formula.
_LISTED = re.compile(r"^\s*(?:(?:>|[*•]|-(?= [A-Za-z][^=]*=)|\d+[.)])(?=\s)|[A-Z][A-Za-z ,'-]+:(?=\s.*=))")
_SMALL = {"i": "ᵢ", "j": "ⱼ", "k": "ₖ"}
_BEGIN, _ROW, _END = "\ue000", "\ue001", "\u2028"  # cases of plain text; the last ends a line
_CLOSED_BY = {"dollars": "$$", "ticks": "`$", "dollar": "$"}


def _pieces(text: str) -> list[Piece]:
    """Mathematics and prose in turn."""
    found: list[Piece] = []
    at = last = 0
    opened = re.finditer(r"\\(?:text|mbox|textrm|mathrm)\s*(?=\{)", text)
    texts = [(m.start(), m.end() + len(group_at(text, m.end())) + 2) for m in opened]
    macro_ends = [(m.start(), _macro_end(text, m.end())) for m in _MACROS.finditer(text)]

    def prose(end: int) -> None:
        if text[last:end].strip():
            found.append(Piece("prose", text[last:end], last))

    while match := _MATH.search(text, at):
        inside = next((end for start, end in macro_ends if start <= match.start() < end), None)
        if inside is not None:
            at = inside
            continue
        kind = match.lastgroup or ""
        within = next((end for start, end in texts if start < match.start() < end), None) if kind == "dollar" else None
        if within is not None:  # \text{if $i = j$} among lines without signs of mathematics
            at = within
            continue
        start, end, after = match.end(), -1, -1
        if kind == "heading":
            prose(match.start())
            found.append(Piece("heading", match.group(), match.start()))
            at = last = match.end()
            continue
        if kind == "env":
            closing = re.compile(rf"\\end\s*\{{{match['env']}\*?\}}")
            start = match.start()
            depth_at = match.end()
            closed = closing.search(text, depth_at)
            end = after = closed.end() if closed else len(text)
        elif kind == "fence":
            closed = re.compile(r"^[ \t]*```[ \t]*$", re.MULTILINE).search(text, start)
            end, after = (closed.start(), closed.end()) if closed else (len(text), len(text))
        elif kind in ("square", "round"):
            mark = match.group()[:-1] + ("]" if kind == "square" else ")")
            end = text.find(mark, start)
            after = end + len(mark)
        else:
            end = text.find(_CLOSED_BY[kind], start)
            while kind == "dollar" and end > 0 and text[end - 1] == "\\":
                end = text.find("$", end + 1)
            paragraph = text.find("\n\n", start)
            if kind == "dollar" and (end < 0 or (0 <= paragraph < end)):
                at = start  # a price, or a $ that was forgotten
                continue
            after = end + len(_CLOSED_BY[kind])
        if end < 0:
            end = after = len(text)
        prose(match.start())
        inline = kind in ("round", "dollar", "ticks")
        found.append(Piece("inline" if inline else "display", text[start:end], start))
        at = last = after
    prose(len(text))
    return found


_SIGN = re.compile(r"\s*(?:=|≠|!=|\\(?:neq?|not\s*=))\s*")


def _joined(pieces: list[Piece], text: str) -> list[Piece]:
    """Formulas that are broken off at a sign made whole: $a$ = $b$, and i $\neq$ j."""
    found: list[Piece] = []
    ahead = pieces[::-1]
    while ahead:
        piece = ahead.pop()
        if not (found and ahead and _SIGN.fullmatch(piece.text)) or found[-1].kind == "heading":
            found.append(piece)
            continue
        before, after = found.pop(), ahead.pop()
        inner = piece.kind == "inline"
        first = re.search(r"(?<![A-Za-z\\])[A-Za-z]\s*$", before.text) if inner else re.match("", before.text)
        last = re.match(r"\s*[A-Za-z](?![A-Za-z])", after.text) if inner else re.search(r"\Z", after.text)
        kinds = {before.kind, after.kind}
        if first is None or last is None or ("prose" in kinds) != inner or (inner and len(kinds) > 1):
            found += [before, piece]
            ahead.append(after)
            continue
        if inner:
            found.append(before._replace(text=before.text[: first.start()]))
            ahead.append(Piece("prose", after.text[last.end() :], after.at + last.end()))
        between = re.sub(r"\$|\\[][()]", lambda m: " " * len(m[0]), text[before.at + len(before.text) : after.at])
        whole = before.text[first.start() :] + between + after.text[: last.end()]
        found.append(Piece("display" if "display" in kinds else "inline", whole, before.at + first.start()))
    return found


def _macro_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    depth = text[at:end].count("{") - text[at:end].count("}")
    while depth > 0 and end < len(text):
        nxt = text.find("\n", end + 1)
        nxt = len(text) if nxt < 0 else nxt
        depth += text[end:nxt].count("{") - text[end:nxt].count("}")
        end = nxt
    return end


def _with_displays(pieces: list[Piece], text: str) -> list[Piece]:
    """An inline formula with a line for itself is a display, and so is an equation on a line of formulas and conditions
    alone. Where there are none, the others with = are, or lines."""
    found = []
    letters = [*text]
    for piece in pieces:
        if piece.kind == "inline":
            letters[piece.at : piece.at + len(piece.text)] = re.sub(r"[^\n]", " ", piece.text)
    bare = "".join(letters)
    for piece in pieces:
        if piece.kind == "inline":
            start = text.rfind("\n", 0, piece.at) + 1
            end = text.find("\n", piece.at + len(piece.text))
            before = text[start : piece.at].rstrip("$`\\( ")
            after = text[piece.at + len(piece.text) : end if end >= 0 else len(text)].lstrip("$`\\) ")
            listed = re.fullmatch(r"\s*(?:[-*+>]|\d+[.)]|\(?[a-z]\)|\\item)?\s*", before)
            if (listed and after.strip() in ("", ".", ",", ";", ":", "\\\\", "\\newline")) or (
                _says_something(piece.text) and _BETWEEN.fullmatch(bare[start : end if end >= 0 else len(text)])
            ):
                piece = piece._replace(kind="display")
        found.append(piece)
    if any(piece.kind == "display" and _says_something(piece.text) for piece in pieces):
        return found
    if any(piece.kind in ("inline", "display") for piece in found):
        return [p._replace(kind="display") if p.kind == "inline" and _says_something(p.text) else p for p in found]
    return _lines(_with_cases(text))


_BETWEEN = re.compile(
    r"\s*(?:[-*+>]|\d+[.)]|\(?[a-z]\)|\\item)?(?:[\s$`.,;:]|\\[()\\]|\\newline"
    r"|\b(?:if|for|when|where|with|and|or|all|si|pour|para|cuando|wenn|für|falls|und|et)\b|当|若|如果|时|のとき)*"
)
_OPEN = re.compile(
    r"=[ \t]*(?P<open>\{)(?P<first>[^{}\n]*)\n(?P<rest>(?:[ \t]*\{[^{}\n]*(?:\n|$))+|[^{}]{1,1500}?\n[ \t]*\})"
)


def _with_cases(text: str) -> str:
    """Cases of plain text, with a brace before each row or one around all of them, by signs for LaTeX's, so that every
    place stays: "= { p_i (1 − p_i)  if i = j" above "{ −p_i p_j  if i ≠ j"."""
    for match in reversed(list(_OPEN.finditer(text))):
        rows = match["first"] + "\n" + match["rest"]
        around = rows.rstrip().endswith("}")
        rows = rows.rstrip() if around else rows.rstrip("\n").ljust(len(rows))
        body = rows[:-1]
        if around:
            shown = re.sub(r"\n(?=[^\n]*\S)", _ROW, body.rstrip().ljust(len(body)))
            shown = re.sub(rf"^([ ]*){_ROW}", r"\1 ", shown)
        else:
            shown = re.sub(r"\n[ \t]*\{", lambda m: _ROW + " " * (len(m.group()) - 1), body)
        shown = re.sub(r"(?<=\S)   ", "  \u2003", shown.replace("\n", " "))
        text = text[: match.start("open")] + _BEGIN + shown + _END + text[match.start("first") + len(rows) :]
    return text


def _says_something(text: str) -> bool:
    return "=" in text.replace("\\neq", "") and len(text) > 8


def _lines(text: str) -> list[Piece]:
    """A text without any sign of mathematics: each line is a formula or prose. One whose braces are open goes on."""
    found: list[Piece] = []
    at = start = depth = 0
    held = ""
    for line in text.splitlines(keepends=True):
        if not held.strip():
            start, held = at, ""
        line = re.sub(r"\b[zxypasotq][ijk]\b", lambda m: m.group()[0] + _SMALL[m.group()[1]], line)  # zi
        held += _without_remark(_LISTED.sub(lambda m: " " * len(m[0]), line))
        at += len(line)
        depth += line.count("{") - line.count("}") - line.count("\\{") + line.count("\\}")
        depth += line.count("\\begin") - line.count("\\end")
        if depth > 0:
            continue
        depth = 0
        if held.strip() and _is_formula(held):
            found.append(Piece("display", held, start))
        elif held.strip():
            found.append(Piece("prose", held, start))
            found += _within_prose(held, start)
        held = ""
    if held.strip():
        found.append(Piece("display", held, start))
    return found


def _without_remark(line: str) -> str:
    """A line of plain text with the words that stand behind wide spaces blanked: "= p (1 − p)    (quotient rule)"."""
    found = re.search(
        r"(?:\s{2,}|\t)(?:\((?=[^()]*[A-Za-z]{3})[^()=]*\)|(?:#|--|<-|\[)\s*[A-Za-z][^=]*)\s*$"
        r"|(?<=[^=(])\s\((?=[^()]*[A-Za-z]{4})[A-Za-z][A-Za-z ,'-]*\)\s*$",
        line,
    )
    if found is not None and re.search(r"\bsum|[≠<>]|!=", found.group()):  # it says something of the line
        return line
    return line if found is None else line[: found.start()] + re.sub(r"[^\n]", " ", line[found.start() :])


def _within_prose(line: str, start: int) -> list[Piece]:
    """The equations in a line of words, as inline formulas: "Write s_i = exp(z_i) / Z with Z = Σ_k exp(z_k)." """
    words = (
        r"\b(?:with|where|let|and|write|so|then|for|if|when|is|be|the|we|have|case|since|because|hence|thus|call|define"
        r"|set|put|as|by|in|of|a|on)\b|[,;]|\.(?:\s|$)"
    )
    found, at = [], 0
    for match in [*re.finditer(words, line, re.IGNORECASE), None]:
        part = line[at : match.start() if match else len(line)]
        shown = re.sub(r"(?:softmax|exp|log|sum|partial|sigmoid|tanh|diag|ReLU|relu|max)", " ", part)
        if "=" in part and not re.search(r"[A-Za-z]{3,}", shown):
            found.append(Piece("inline", part, start + at))
        at = match.end() if match else len(line)
    return found


def _is_formula(line: str) -> bool:
    known = r"\\[A-Za-z]+|\{[^{}]*\}|(?:softmax|exp|log|sum|partial|sigmoid|tanh|delta|diag|loss|max|relu|ReLU)\b"
    words = re.findall(r"[A-Za-z]{3,}", re.sub(known, " ", line))
    if re.fullmatch(r"\W*(?:[A-Za-z]+[\s\d:.)(]+)*[a-zℓ]\s*(?:=|≠|!=)\s*[a-zℓ]\W*", line.strip()):
        return False  # Case 1: i = j
    if line.lstrip().startswith(("=", "&=", "\\", "{}")) and len(words) < 4:
        return True
    if "\\" in line and not words:
        return True
    return any(sign in line for sign in "=≠") and len(words) < 2
