r"""What only lays out the page: of a step what means nothing is blanked.

Blanks take the place of what is dropped, so that a position in what is left is one in what was written.
"""

from __future__ import annotations

import re

__all__ = ["MAX_LINE", "without_layout"]

MAX_LINE = 10_000  # characters of a line


_ENVIRONMENT = (
    r"\\(?:begin|end)\s*\{(?:aligned|align\*?|equation\*?|split|gather\*?|gathered|eqnarray\*?|multline\*?)\}"
)
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
