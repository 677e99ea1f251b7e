r"""LaTeX in the lecture's notation, read into the nodes of `chainrule.derive.syntax`.

A small grammar finds the pieces of a line (letters with their subscripts, fractions, brackets), which
`pieces.py` and `terms.py` put together. Nothing is ever evaluated, and a command that the
grammar does not name is an error with its position.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.extras import require
from chainrule.derive.reading.layout import MAX_LINE, without_layout
from chainrule.derive.reading.pieces import terms_of
from chainrule.derive.reading.subscripts import GREEK, UnreadableError, rule_of
from chainrule.derive.reading.terms import sum_of
from chainrule.derive.syntax import Node

__all__ = ["Line", "UnreadableError", "read_expression", "read_line"]

MAX_DEPTH = 50  # brackets within brackets

_GRAMMAR = r"""
line: expr (EQUALS expr)* | (EQUALS expr)+
expr: SIGN? term (SIGN term)*
term: (factor | TIMES | SLASH)+
factor: atom script*
script: "_" sub | "^" sup | PRIME
sub: "{" (LETTER | GREEK | NUMBER | PRIME | COMMA | EQUALS | NEQ | SIGN | "(" | ")" | "[" | "]"
   | "\\{" | "\\}")* "}"
   | LETTER | GREEK | NUMBER
sup: "{" expr "}" | "{" TOP "}" | TOP | LETTER | GREEK | NUMBER
?atom: NUMBER | LETTER | GREEK | LOSS | FUNCTION | SUM | PARTIAL | font | hat | group | bracket | fraction | matrix
     | indicator | nabla | cases
font: FONT (group | LETTER | GREEK | hat)
hat: HAT (group | LETTER | font)
group: "{" expr "}"
bracket: "(" cells ")" | "[" cells "]" | "\\{" cells "\\}"
cells: cell (COMMA cell)*
?cell: expr | DOTS
fraction: FRACTION argument argument | FRACTION_OF_DIGITS
?argument: group | NUMBER | LETTER | GREEK
matrix: BEGIN row (BREAK row)* BREAK? (END | END_ARRAY)
row: cell ("&" cell)*
indicator: ONE "_" sub | ONE "[" condition "]" | ONE "(" condition ")" | ONE "\\{" condition "\\}"
condition: (LETTER | GREEK | NUMBER | PRIME | EQUALS | NEQ)+
cases: BEGIN_CASES branch (BREAK branch)* BREAK? (END_CASES | END_ARRAY)
branch: expr "&"? (IF? expr (EQUALS | NEQ | ORDER) expr | OTHERWISE)
nabla: NABLA "_" (group | LETTER | GREEK | font | hat)

EQUALS: ":"? "="
SIGN: "+" | "-" | "−"
COMMA: ","
SLASH: "/"
NEQ: /\\neq?(?![A-Za-z])|≠/
TIMES: /\\(?:cdot|times|odot|circ)(?![A-Za-z])|[*·⊙]/
PRIME: /'+|\^\s*(?:\\prime(?![A-Za-z])|\{\s*(?:\\prime\s*)+\})/
TOP: /\\(?:top|intercal)(?![A-Za-z])/
NUMBER: /\d+(?:\.\d+)?/
LETTER: /[A-Za-zℓ]/
GREEK: /\\(?:GREEK_NAMES)(?![A-Za-z])/
LOSS: /\\math(?:cal|scr)\s*(?:\{\s*L\s*\}|L)(?:\s*(?:\\left\s*)?\(\s*THETA\s*(?:\\right\s*)?\))?/
FUNCTION.2: /\\(?:exp|log|ln|tanh)(?![A-Za-z])|\\(?:text|mathrm|operatorname\*?|mathsf|textrm)\s*\{\s*(?:FNAMES)\s*\}/
SUM: /\\sum(?![A-Za-z])/
PARTIAL: /\\partial(?![A-Za-z])|∂/
NABLA: /\\nabla(?![A-Za-z])|∇/
FONT: /\\(?:mathbf|boldsymbol|bm|vec|mathit|mathrm|mathsf)(?![A-Za-z])/
HAT: /\\(?:hat|widehat)(?![A-Za-z])/
ONE.2: /\\(?:mathbb|mathbbm|mathds)\s*(?:\{\s*[1I]\s*\}|[1I])|\\mathbf\s*(?:\{\s*1\s*\}|1)|𝟙/
FRACTION: /\\[cdt]?frac(?![A-Za-z])/
FRACTION_OF_DIGITS.2: /\\[cdt]?frac\s*\d\s*\d/
DOTS: /\\(?:vdots|cdots|ldots|dots|ddots)(?![A-Za-z])|…/
BEGIN: /\\begin\s*\{[bp]?matrix\}|\\begin\s*\{array\}\s*\{[clr|]*\}/
END: /\\end\s*\{[bp]?matrix\}/
END_ARRAY: /\\end\s*\{array\}/
BEGIN_CASES.2: /\\begin\s*\{d?cases\}|\\left\s*\\\{\s*\\begin\s*\{array\}\s*\{[clr|]*\}/
END_CASES: /\\end\s*\{d?cases\}/
IF.2: /\\(?:text|mathrm|textrm|mbox)\s*\{\s*(?:if|for|when|where)?\s*\}/
OTHERWISE.2: /\\(?:text|mathrm|textrm|mbox)\s*\{\s*(?:otherwise|else)[.,]?\s*\}/
ORDER: /\\(?:lt|gt)(?![A-Za-z])|[<>]/
BREAK: /\\\\(?:\s*\[[^\]]*\])?/
SPACE: /\s+|~|\\[,;:! ]|\\(?:quad|qquad|displaystyle|limits|left|right|[bB]igg?[lr]?)(?![A-Za-z])/
%ignore SPACE
"""
_FNAMES = "softmax|exp|log1p|log|ln|diag|ReLU|sigmoid|expit|" + "|".join(
    name.replace("_", r"(?:\\)?_") for name in ACTIVATIONS
)
_THETA = r"(?:\\(?:boldsymbol|bm|mathbf)\s*\{\s*)?\\theta\s*\}?"
_COMMAND = re.compile(r"\\[A-Za-z]+\*?|\\.?|.", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """A step that was read: ``left = rights[0] = rights[1] …``. Without a left side, `continues` tells whether the line
    begins with = or is an expression that stands alone."""

    left: Node | None
    rights: tuple[Node, ...]
    continues: bool
    text: str


def read_line(text: str) -> Line:
    r"""Read one step: ``left = right``, ``= right`` or an expression.

    Raises
    ------
    UnreadableError
        With the position and what was found there.

    Examples
    --------
    >>> read_line(r"= -\log \hat{y}_\ell").rights
    (Negative(operand=Call(function='log', argument=Indexed(symbol='ŷ', indices=('ℓ',)))),)
    """
    if len(text) > MAX_LINE:
        raise UnreadableError(f"the line has {len(text)} characters; at most {MAX_LINE} are read")
    shown = without_layout(text)
    _check_nesting(shown)
    if not shown.strip():
        raise UnreadableError("nothing is written here", 1)
    lark = require("lark", "derive")
    try:
        tree = _parser().parse(shown)
        sides = [sum_of(terms_of(side)) for side in tree.children if rule_of(side) == "expr"]
        deepest = max(_depth(side) for side in sides)
    except lark.exceptions.UnexpectedInput as error:
        _fail_at(shown, error)
    except RecursionError:
        deepest = MAX_DEPTH * 2 + 1
    if deepest > 2 * MAX_DEPTH:
        raise UnreadableError("too much is nested for this to be read")
    continues = not hasattr(tree.children[0], "data")
    if continues or len(sides) == 1:
        return Line(None, tuple(sides), continues, text)
    return Line(sides[0], tuple(sides[1:]), False, text)


def read_expression(text: str) -> Node:
    r"""Read an expression that stands alone.

    Examples
    --------
    >>> read_expression(r"a_{L,i}")
    Indexed(symbol='a_L', indices=('i',))
    """
    line = read_line(text)
    if line.left is not None or line.continues or len(line.rights) != 1:
        raise UnreadableError("an expression without = was expected")
    return line.rights[0]


def _check_nesting(text: str) -> None:
    depth = 0
    for found in re.finditer(r"[{(\[]|[})\]]", text):
        depth += 1 if found.group() in "{([" else -1
        if depth > MAX_DEPTH:
            raise UnreadableError(f"more than {MAX_DEPTH} brackets stand within each other", found.start() + 1)


def _depth(node: Any) -> int:
    values = vars(node).values() if isinstance(node, Node) else node if isinstance(node, tuple) else ()
    return isinstance(node, Node) + max(map(_depth, values), default=0)


@functools.cache
def _parser() -> Any:
    grammar = _GRAMMAR.replace("GREEK_NAMES", "|".join(sorted(GREEK, key=len, reverse=True)))
    grammar = grammar.replace("FNAMES", _FNAMES).replace("THETA", _THETA)
    lark = require("lark", "derive")
    return lark.Lark(grammar, start="line", parser="lalr", lexer="basic", propagate_positions=True)


def _fail_at(text: str, error: Any) -> NoReturn:
    """The parser's complaint in a reader's words."""
    position = error.pos_in_stream
    at_end = getattr(getattr(error, "token", None), "type", "") == "$END"
    if at_end or position is None or position < 0 or position >= len(text.rstrip()):
        raise UnreadableError("the line ends too early", len(text.rstrip()) + 1) from None
    found = _COMMAND.match(text, position)
    part = found.group() if found else text[position]
    if part == "\\begin" or part == "\\end":
        part = text[position : text.find("}", position) + 1 or position + 6]
    unknown = type(error).__name__ == "UnexpectedCharacters"
    if unknown and part.startswith("\\"):
        raise UnreadableError(f"{part} is not a command that is read here", position + 1) from None
    raise UnreadableError(f"{part} is not expected here", position + 1) from None
