r"""What only lays out the page: a file is split into its steps, and of a step what means nothing is blanked.

Blanks take the place of what is dropped, so that a position in what is left is one in what was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chainrule.errors import InputError

__all__ = ["MAX_LINE", "MAX_TEXT", "SourceLine", "equals_at", "read_lines", "without_layout"]

MAX_TEXT = 100_000  # characters of a file
MAX_LINE = 10_000  # characters of a line


@dataclass(frozen=True)
class SourceLine:
    """A step as it stands in a file: its text, and the number of the line, from 1, on which it begins."""

    number: int
    text: str


def read_lines(text: str) -> list[SourceLine]:
    r"""Split a file into its steps. A step is a line, or what stands before ``\\`` in an aligned environment; a line
    whose braces or matrix are still open goes on in the next, and so does one whose next begins with + or −. Comments
    and the environment itself are dropped, and what stands before ``\begin{document}``.

    Examples
    --------
    >>> [(line.number, line.text) for line in read_lines("x\n\n% why\n&= y \\\\\n&= z")]
    [(1, 'x'), (4, '&= y'), (5, '&= z')]
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"the text has {len(text)} characters; at most {MAX_TEXT} are read")
    steps: list[SourceLine] = []
    held, begins, depth, aligned = "", 1, 0, 0

    def finish(number: int) -> None:
        nonlocal held, begins
        if steps and _GOES_ON.match(held) and equals_at(held) is None:  # a long step, broken before a sign
            steps[-1] = SourceLine(steps[-1].number, f"{steps[-1].text}\n{held.strip()}")
        elif without_layout(held).strip():
            steps.append(SourceLine(begins, held.strip()))
        held, begins = "", number

    for number, raw in enumerate(_body(text).splitlines(), start=1):
        line = _COMMENT.sub("", raw)
        if len(line) > MAX_LINE:
            held = line  # read_line says that it is too long
        else:
            at = 0
            for found in _STRUCTURE.finditer(line):
                if not held.strip():
                    begins = number
                mark = found.group()
                held += line[at : found.start()]
                at = found.end()
                if mark.startswith("\\\\"):
                    if depth == 0:
                        finish(number)
                    else:
                        held += mark
                elif _ALIGNED.fullmatch(mark):
                    aligned = max(0, aligned + (1 if mark.startswith("\\begin") else -1))
                else:
                    if mark not in ("\\{", "\\}"):
                        depth = max(0, depth + (1 if mark.startswith(("{", "\\begin")) else -1))
                    held += mark
            if not held.strip():
                begins = number
            held += line[at:]
        if (depth == 0 and not aligned) or len(held) > MAX_LINE:
            finish(number + 1)
            depth = 0
        elif held.strip():
            held += "\n"
    finish(0)
    return steps


def equals_at(text: str) -> int | None:
    """Where the first = outside of brackets stands."""
    depth = 0
    for k, letter in enumerate(text):
        depth += (letter in "{([") - (letter in "})]")
        if letter == "=" and depth == 0:
            return k
    return None


def _body(text: str) -> str:
    r"""What stands between ``\begin{document}`` and ``\end{document}``, where these are, on the same lines."""
    begin, end = _DOCUMENT.search(text), text.find("\\end{document}")
    body = text[: end if end >= 0 else len(text)]
    return body if begin is None else "\n" * body[: begin.end()].count("\n") + body[begin.end() :]


_DOCUMENT = re.compile(r"\\begin\s*\{document\}")
_GOES_ON = re.compile(r"(?:[&~\s]|\{\}|\\q?quad|\\[,;:! ])*(?:[+−-]|\\(?:cdot|times|odot)(?![A-Za-z]))")
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
_ENVIRONMENT = (
    r"\\(?:begin|end)\s*\{(?:aligned|align\*?|equation\*?|split|gather\*?|gathered|eqnarray\*?|multline\*?)\}"
)
_ALIGNED = re.compile(_ENVIRONMENT)
_STRUCTURE = re.compile(rf"\\\\(?:\s*\[[^\]]*\])?|{_ENVIRONMENT}|\\(?:begin|end)\s*\{{\w+\*?\}}|\\[{{}}]|[{{}}]")
_WORDS = re.compile(r"\\(?:text|textit|textrm|textbf|mbox)\s*\{(?:[^{}]|\{[^{}]*\})*\}")
_APART = re.compile(r"(?:[&~\s]|\\(?:q?quad|hfill|[,;:!]))[(\[]?$")
_LAYOUT = re.compile(
    rf"{_ENVIRONMENT}|\\\[|\\\]|\\(?:nonumber|notag|boxed|hfill)(?![A-Za-z])"
    r"|\\(?:label|tag\*?|hspace\*?)\s*\{[^{}]*\}"
    r"|\\(?:left|right)\s*\.|(?:(?<=[\s&=+-])|^)\{\s*\}|(?<=\})\{\}|\$"
)
_MATRIX = re.compile(r"\\(begin|end)\s*\{(?:[bp]?matrix|array|d?cases)\}|(?<!\\)&")
# In cases: commas and stops before the next column or row, and mathematics among words, \text{if $i = j$}.
_STOP = re.compile(r"(?<!\\)[.,;](?=\s*(?:&|\\\\|\\end\s*\{))")
_IN_WORDS = re.compile(r"(\\(?:text|textrm|mathrm|mbox)\s*\{\s*(?:if|for|when|where)?\s*)\$([^$]*)\$\s*\}")
_NOTED = re.compile(r"\\(?:(?:under|over)brace|overset|stackrel)(?![A-Za-z])\s*(?=\{)")


def without_layout(text: str) -> str:
    """The same text with what only lays out the page blanked, so that positions stay."""
    text = _without_notes(_IN_WORDS.sub(lambda found: f"{found[1]}}}{found[2]}".ljust(len(found.group())), text))
    text = _without_remark(text)
    text = _STOP.sub(" ", _LAYOUT.sub(lambda found: " " * len(found.group()), text))
    text = _end_blanked(text)
    inside = 0

    def outside_matrix(found: re.Match[str]) -> str:
        nonlocal inside
        if found.group() == "&":
            return "&" if inside else " "
        inside += 1 if found.group(1) == "begin" else -1
        return found.group()

    return _MATRIX.sub(outside_matrix, text)


def _end_blanked(text: str) -> str:
    r"""The text without full stops, commas and ``\\`` at its end."""
    shown = text.rstrip()
    while shown:
        if shown.endswith("\\\\"):
            shown = shown[:-2].rstrip()
        elif shown[-1] in ".,;" and shown[-2:-1] != "\\":
            shown = shown[:-1].rstrip()
        else:
            break
    return shown.ljust(len(text))


def _without_remark(text: str) -> str:
    """The text without words that stand apart at its end."""
    words = next(reversed(list(_WORDS.finditer(text))), None)
    if words is None or text[words.end() :].strip(")]., ;\\\t\n") or not _APART.search(text[: words.start()][-10:]):
        return text
    begin = words.start() - (text[words.start() - 1] in "([")
    return text[:begin].ljust(len(text))


def _without_notes(text: str) -> str:
    r"""The text without what stands above an equals sign, ``\overset{…}{=}``, and below or above a brace."""
    while found := _NOTED.search(text):
        group, end = found.start(), _group_end(text, found.end())
        after = re.compile(r"\s*\{\s*=\s*\}").match(text, end)
        if "brace" in found.group():
            begin = re.compile(r"\s*[_^]\s*(?=\{)").match(text, end)
            note = _group_end(text, begin.end()) if begin else end
            text = (
                text[:group] + " " * (found.end() - group) + text[found.end() : end] + " " * (note - end) + text[note:]
            )
        elif after:
            text = text[:group] + "=".rjust(after.end() - group) + text[after.end() :]
        else:
            return text
    return text


def _group_end(text: str, at: int) -> int:
    """Where the group that opens here ends; the end of the text where it does not."""
    depth = 0
    for found in re.compile(r"(?<!\\)[{}]").finditer(text, at):
        depth += 1 if found.group() == "{" else -1
        if depth == 0:
            return found.end()
    return len(text)
