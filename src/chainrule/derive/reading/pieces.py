"""From the parser's tree to pieces: a letter with its subscripts, a fraction, a bracket. Nodes are made of them by
`chainrule.derive.reading.terms`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

from chainrule.derive import syntax as s
from chainrule.derive.patterns import vector_pattern
from chainrule.derive.reading.subscripts import (
    GREEK,
    Piece,
    Terms,
    UnreadableError,
    index_in,
    indices_of,
    position_of,
    primes_in,
    rule_of,
)
from chainrule.derive.reading.terms import TRANSPOSED, derivative_of, single, sum_of, variable_of, variables_of
from chainrule.errors import InputError

__all__ = ["piece_of", "terms_of"]

_MOST_PRIMES = 3  # as many derivatives within each other as the numbers leave digits for
_FUNCTIONS = {"ln": "log", "sigmoid": "σ", "logistic": "σ", "ReLU": "relu", "expit": "σ"}


def terms_of(expr: Any) -> Terms:
    terms: Terms = []
    negative = False
    for child in expr.children:
        if rule_of(child) == "SIGN":
            negative = child != "+"
        else:
            terms.append((negative, [piece_of(part) for part in child.children]))
            negative = False
    return terms


def piece_of(part: Any) -> Piece:
    if rule_of(part) in ("TIMES", "SLASH"):
        sign = "/" if part == "/" else "⊙" if part in ("\\odot", "\\circ", "⊙") else "·"
        return Piece("times", position_of(part), text=sign)
    piece = _atom(part.children[0])
    if part.children[0] == "1" and _is_condition(part):  # 1_{(i=j)}, an indicator without its double stem
        return Piece("node", piece.position, _indicator(part.children[1].children[0].children, piece.position))
    for script in part.children[1:]:
        inner = script.children[0]
        if rule_of(inner) == "PRIME":
            piece = replace(piece, primes=piece.primes + primes_in(inner))
        elif rule_of(inner) == "sub":
            if piece.sub is not None:
                raise UnreadableError("a second subscript", position_of(inner))
            piece = replace(piece, sub=_sub_tokens(inner))
        else:
            if piece.sup is not None:
                raise UnreadableError("a second exponent", position_of(inner))
            piece = replace(piece, sup=_sup(inner))
    if piece.primes > _MOST_PRIMES:
        raise UnreadableError(f"more than {_MOST_PRIMES} primes", piece.position)
    return piece


def _is_condition(factor: Any) -> bool:
    inner = factor.children[1].children[0] if len(factor.children) == 2 else None
    return (
        inner is not None and rule_of(inner) == "sub" and any(rule_of(t) in ("EQUALS", "NEQ") for t in inner.children)
    )


def _sub_tokens(sub: Any) -> tuple[Any, ...]:
    tokens = tuple(sub.children)
    if (
        len(tokens) == 1
        and rule_of(tokens[0]) == "NUMBER"
        and sub.meta.end_pos - sub.meta.start_pos == len(tokens[0]) > 1
    ):
        raise UnreadableError(f"write _{{{tokens[0]}}} with braces", position_of(tokens[0]))
    return tokens


def _sup(sup: Any) -> s.Node:
    inner = sup.children[0]
    if rule_of(inner) == "TOP":
        return TRANSPOSED
    node = sum_of(terms_of(inner)) if rule_of(inner) == "expr" else single(_atom(inner))
    return TRANSPOSED if node == s.Name("T") else node


def _atom(tree: Any) -> Piece:
    """What stands before the scripts."""
    rule, at = rule_of(tree), position_of(tree)
    if rule == "NUMBER":
        if len(tree) > 30:
            raise UnreadableError("a number of more than 30 digits", at)
        return Piece("node", at, s.Number(Fraction(str(tree))))
    if rule == "LETTER":
        return Piece("letter", at, text=str(tree))
    if rule == "GREEK":
        return Piece("letter", at, text=GREEK[tree[1:]])
    if rule == "LOSS":
        return Piece("node", at, s.Name("𝓛"))
    if rule == "FUNCTION":
        name = re.findall(r"[A-Za-z0-9_]+", tree.replace("\\_", "_"))[-1]
        return Piece("function", at, text=_FUNCTIONS.get(name, name))
    if rule in ("SUM", "PARTIAL"):
        return Piece(rule.lower(), at)
    if rule in ("font", "hat"):
        return _styled(str(tree.children[0]), tree.children[1], at)
    if rule == "group":
        terms = terms_of(tree.children[0])
        alone = terms[0][1][0] if len(terms) == 1 and len(terms[0][1]) == 1 and not terms[0][0] else None
        if alone is not None and alone.kind in ("letter", "bracket", "function") and alone.sup is None:
            return alone  # braces around one piece change nothing
        return Piece("node", at, sum_of(terms))
    if rule == "bracket":
        return _bracket(tree.children[0].children, at)
    if rule == "fraction":
        return _fraction(tree, at)
    if rule == "matrix":
        return _matrix(tree, at)
    if rule == "cases":
        return Piece("node", at, _cases(tree.children[1:], at))
    if rule == "indicator":
        return Piece("node", at, _indicator(tree.children[1].children, at))
    return Piece("nabla", at, variables=(variable_of(single(_atom(tree.children[1])), at),))


def _styled(command: str, inner: Any, at: int) -> Piece:
    r"""A letter in bold, or with a hat. Bold tells only the vector e from the number e; all else is by name."""
    piece = replace(_atom(inner), position=at)
    if "hat" not in command:
        return replace(piece, bold=command not in ("\\mathrm", "\\mathsf"))
    if piece.kind != "letter" or piece.text != "y":
        raise UnreadableError("only y has a hat in the lecture's notation", at)
    return replace(piece, text="ŷ")


def _bracket(cells: Any, at: int) -> Piece:
    cells = [cell for cell in cells if rule_of(cell) != "COMMA"]
    if len(cells) == 1:
        if rule_of(cells[0]) == "DOTS":
            raise UnreadableError("dots without elements around them", at)
        return Piece("bracket", at, sum_of(terms_of(cells[0])))
    return Piece("bracket", at, s.Transpose(_column(cells, at)))


def _column(cells: list[Any], at: int) -> s.Vector:
    elements = tuple(None if rule_of(cell) == "DOTS" else sum_of(terms_of(cell)) for cell in cells)
    vector = s.Vector(elements)
    try:
        vector_pattern(vector)
    except InputError as error:
        raise UnreadableError(str(error), at) from None
    return vector


def _matrix(tree: Any, at: int) -> Piece:
    rows = [row.children for row in tree.children if rule_of(row) == "row"]
    if all(len(row) == 1 for row in rows):
        return Piece("node", at, _column([row[0] for row in rows], at))
    if len(rows) == 1:
        return Piece("node", at, s.Transpose(_column(list(rows[0]), at)))
    raise UnreadableError("a matrix of several rows and columns; only columns and rows are read", at)


def _indicator(tokens: Any, at: int) -> s.Node:
    tokens = [token for token in tokens if rule_of(token) != "COMMA"]
    signs = [k for k, token in enumerate(tokens) if rule_of(token) in ("EQUALS", "NEQ")]
    if len(signs) == 1:
        left, right = indices_of(tokens[: signs[0]], at), indices_of(tokens[signs[0] + 1 :], at)
        if len(left) == 1 and len(right) == 1:
            holds = s.Indicator(left[0], right[0])
            if rule_of(tokens[signs[0]]) == "EQUALS":
                return holds
            return s.Sum((s.Number(Fraction(1)), s.Negative(holds)))
    raise UnreadableError("an indicator has one index on each side of = or ≠", at)


def _cases(rows: Any, at: int) -> s.Cases:
    branches = [row.children for row in rows if rule_of(row) == "branch"]
    values = tuple(sum_of(terms_of(branch[0])) for branch in branches)
    conditions = tuple(_comparison(*branch[-3:], at=at) for branch in branches if rule_of(branch[-1]) != "OTHERWISE")
    if any(rule_of(branch[-1]) == "OTHERWISE" for branch in branches[:-1]) or not conditions:
        raise UnreadableError("after the first cases, one otherwise at the end", at)
    return s.Cases(values, conditions)


def _comparison(left: Any, sign: Any, right: Any, *, at: int) -> s.Comparison:
    sides = [sum_of(terms_of(side)) for side in (left, right)]
    if rule_of(sign) == "ORDER":
        return s.Comparison(sides[0], ">" if sign in (">", "\\gt") else "<", sides[1])
    first, second = (index_in(side) for side in sides)
    if first is None or second is None:
        raise UnreadableError("= and ≠ compare indices here", at)
    return s.Comparison(first, "=" if rule_of(sign) == "EQUALS" else "≠", second)


def _fraction(tree: Any, at: int) -> Piece:
    if len(tree.children) == 1:  # \frac12
        above_digit, below_digit = (int(digit) for digit in tree.children[0] if digit.isdigit())
        return Piece("node", at, s.Quotient(s.Number(Fraction(above_digit)), s.Number(Fraction(below_digit))))
    above, below = (
        terms_of(part.children[0]) if rule_of(part) == "group" else [(False, [_atom(part)])]
        for part in tree.children[1:]
    )
    above, below = _with_partials(above, below)
    if not any(piece.kind == "partial" for _, pieces in below for piece in pieces):
        return Piece("node", at, s.Quotient(sum_of(above), sum_of(below)))
    if len(below) != 1 or below[0][0]:
        raise UnreadableError("∂ and a variable were expected below the line", at)
    variables = variables_of(below[0][1])
    negative, pieces = above[0]
    if not pieces or pieces[0].kind != "partial":
        raise UnreadableError("∂ stands below the line and not above it", at)
    order = pieces[0].sup
    if (s.Number(Fraction(len(variables))) if len(variables) > 1 else None) != order:
        raise UnreadableError(f"{len(variables)} variables below the line do not fit the order above it", at)
    rest: Terms = [(False, pieces[1:]), *above[1:]] if pieces[1:] else above[1:]
    if not rest:
        if negative:
            raise UnreadableError("write the minus before the fraction", at)
        return Piece("operator", at, variables=variables)
    node = derivative_of(sum_of(rest), variables, follows=False)
    return Piece("node", at, s.Negative(node) if negative else node)


def _with_partials(above: Terms, below: Terms) -> tuple[Terms, Terms]:
    """The parts of dy/dx with ∂ for d."""

    def is_d(terms: Terms) -> bool:
        first = terms[0][1][0]
        return first.kind == "letter" and first.text == "d" and first.sub is None

    if not (is_d(above) and is_d(below) and len(below[0][1]) > 1):
        return above, below
    (sign, first), *others = above
    pieces = [replace(p, kind="partial") if k % 2 == 0 and p.text == "d" else p for k, p in enumerate(below[0][1])]
    return [(sign, [replace(first[0], kind="partial"), *first[1:]]), *others], [(below[0][0], pieces), *below[1:]]
