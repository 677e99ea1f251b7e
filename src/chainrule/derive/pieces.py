"""From the parser's tree to nodes, by way of pieces: a letter with its subscripts, a fraction, a bracket.

What a piece means depends on its neighbours: ∂/∂a acts on all that follows it in its group, Σ on the rest of its term,
g and σ on a bracket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from chainrule.derive.setting import vector_pattern
from chainrule.derive.syntax import (
    Call,
    Cases,
    Comparison,
    Derivative,
    Element,
    Gradient,
    Index,
    Indexed,
    Indicator,
    Name,
    Negative,
    Node,
    Number,
    OneHot,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Transpose,
    Vector,
)
from chainrule.errors import InputError

__all__ = ["GREEK", "UnreadableError", "rule_of", "sum_of", "terms_of"]

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "lambda": "λ", "mu": "μ", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "Phi": "Φ", "ell": "ℓ",
    "omega": "ω",
}  # fmt: skip
_FUNCTIONS = {"ln": "log", "sigmoid": "σ", "logistic": "σ", "ReLU": "relu", "expit": "σ"}
_CALLED = ("g", "σ", "φ", "Φ")  # letters that are functions where a bracket follows
_LAYERED = "ahWb"  # letters whose first subscript may be a layer


class UnreadableError(InputError):
    r"""A line cannot be read. `position` is the character, counted from 1, at which reading stopped.

    Examples
    --------
    >>> from chainrule.derive.latex import read_line
    >>> try:
    ...     read_line(r"= \input{/etc/passwd}")
    ... except UnreadableError as error:
    ...     print(error.position, error)
    3 at character 3: \input is not a command that is read here
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message if position is None else f"at character {position}: {message}")
        self.position = position


@dataclass(frozen=True)
class _Piece:
    """A part of a term before its neighbours are known."""

    kind: str  # node, bracket, letter, function, sum, operator, nabla, partial, times
    position: int
    node: Node | None = None
    text: str = ""
    bold: bool = False
    primes: int = 0
    sub: tuple[Any, ...] | None = None  # tokens
    sup: Node | None = None
    variables: tuple[Node, ...] = field(default=())


_Terms = list[tuple[bool, list[_Piece]]]  # (is it subtracted, its pieces)


# --- From the parser's tree to pieces ---------------------------------------------------------------------------------


def rule_of(tree: Any) -> str:
    return str(getattr(tree, "data", "")) or str(tree.type)


def _position(tree: Any) -> int:
    start = tree.start_pos if not hasattr(tree, "data") else getattr(tree.meta, "start_pos", 0)
    return int(start) + 1


def terms_of(expr: Any) -> _Terms:
    terms: _Terms = []
    negative = False
    for child in expr.children:
        if rule_of(child) == "SIGN":
            negative = child != "+"
        else:
            terms.append((negative, [_piece(part) for part in child.children]))
            negative = False
    return terms


def _piece(part: Any) -> _Piece:
    if rule_of(part) in ("TIMES", "SLASH"):
        sign = "/" if part == "/" else "⊙" if part in ("\\odot", "\\circ", "⊙") else "·"
        return _Piece("times", _position(part), text=sign)
    piece = _atom(part.children[0])
    for script in part.children[1:]:
        inner = script.children[0]
        if rule_of(inner) == "PRIME":
            piece = replace(piece, primes=piece.primes + _primes(inner))
        elif rule_of(inner) == "sub":
            if piece.sub is not None:
                raise UnreadableError("a second subscript", _position(inner))
            piece = replace(piece, sub=_sub_tokens(inner))
        else:
            if piece.sup is not None:
                raise UnreadableError("a second exponent", _position(inner))
            piece = replace(piece, sup=_sup(inner))
    return piece


def _primes(token: Any) -> int:
    return str(token).count("'") or str(token).count("\\prime")


def _sub_tokens(sub: Any) -> tuple[Any, ...]:
    tokens = tuple(sub.children)
    if (
        len(tokens) == 1
        and rule_of(tokens[0]) == "NUMBER"
        and sub.meta.end_pos - sub.meta.start_pos == len(tokens[0]) > 1
    ):
        raise UnreadableError(f"write _{{{tokens[0]}}} with braces", _position(tokens[0]))
    return tokens


_TRANSPOSED = Name("ᵀ")  # stands in an exponent's place for the sign of a transpose


def _sup(sup: Any) -> Node:
    inner = sup.children[0]
    if rule_of(inner) == "TOP":
        return _TRANSPOSED
    node = sum_of(terms_of(inner)) if rule_of(inner) == "expr" else _single(_atom(inner))
    return _TRANSPOSED if node == Name("T") else node


def _atom(tree: Any) -> _Piece:
    """What stands before the scripts."""
    rule, at = rule_of(tree), _position(tree)
    if rule == "NUMBER":
        if len(tree) > 30:
            raise UnreadableError("a number of more than 30 digits", at)
        return _Piece("node", at, Number(Fraction(str(tree))))
    if rule == "LETTER":
        return _Piece("letter", at, text=str(tree))
    if rule == "GREEK":
        return _Piece("letter", at, text=GREEK[tree[1:]])
    if rule == "LOSS":
        return _Piece("node", at, Name("𝓛"))
    if rule == "FUNCTION":
        name = re.findall(r"[A-Za-z0-9_]+", tree.replace("\\_", "_"))[-1]
        return _Piece("function", at, text=_FUNCTIONS.get(name, name))
    if rule in ("SUM", "PARTIAL"):
        return _Piece(rule.lower(), at)
    if rule in ("font", "hat"):
        return _styled(str(tree.children[0]), tree.children[1], at)
    if rule == "group":
        terms = terms_of(tree.children[0])
        alone = terms[0][1][0] if len(terms) == 1 and len(terms[0][1]) == 1 and not terms[0][0] else None
        if alone is not None and alone.kind in ("letter", "bracket", "function") and alone.sup is None:
            return alone  # braces around one piece change nothing
        return _Piece("node", at, sum_of(terms))
    if rule == "bracket":
        return _bracket(tree.children[0].children, at)
    if rule == "fraction":
        return _fraction(tree, at)
    if rule == "matrix":
        return _matrix(tree, at)
    if rule == "cases":
        return _Piece("node", at, _cases(tree.children[1:], at))
    if rule == "indicator":
        return _Piece("node", at, _indicator(tree, at))
    return _Piece("nabla", at, variables=(_variable(_single(_atom(tree.children[1])), at),))


def _styled(command: str, inner: Any, at: int) -> _Piece:
    r"""A letter in bold, or with a hat. Bold tells only the vector e from the number e; all else is by name."""
    piece = replace(_atom(inner), position=at)
    if "hat" not in command:
        return replace(piece, bold=command not in ("\\mathrm", "\\mathsf"))
    if piece.kind != "letter" or piece.text != "y":
        raise UnreadableError("only y has a hat in the lecture's notation", at)
    return replace(piece, text="ŷ")


def _bracket(cells: Any, at: int) -> _Piece:
    cells = [cell for cell in cells if rule_of(cell) != "COMMA"]
    if len(cells) == 1:
        if rule_of(cells[0]) == "DOTS":
            raise UnreadableError("dots without elements around them", at)
        return _Piece("bracket", at, sum_of(terms_of(cells[0])))
    return _Piece("bracket", at, Transpose(_column(cells, at)))


def _column(cells: list[Any], at: int) -> Vector:
    elements = tuple(None if rule_of(cell) == "DOTS" else sum_of(terms_of(cell)) for cell in cells)
    vector = Vector(elements)
    try:
        vector_pattern(vector)
    except InputError as error:
        raise UnreadableError(str(error), at) from None
    return vector


def _matrix(tree: Any, at: int) -> _Piece:
    rows = [row.children for row in tree.children if rule_of(row) == "row"]
    if all(len(row) == 1 for row in rows):
        return _Piece("node", at, _column([row[0] for row in rows], at))
    if len(rows) == 1:
        return _Piece("node", at, Transpose(_column(list(rows[0]), at)))
    raise UnreadableError("a matrix of several rows and columns; only columns and rows are read", at)


def _indicator(tree: Any, at: int) -> Indicator:
    tokens = [token for token in tree.children[1].children if rule_of(token) != "COMMA"]
    signs = [k for k, token in enumerate(tokens) if rule_of(token) == "EQUALS"]
    if len(signs) == 1:
        left, right = _indices(tokens[: signs[0]]), _indices(tokens[signs[0] + 1 :])
        if len(left) == 1 and len(right) == 1:
            return Indicator(left[0], right[0])
    raise UnreadableError("an indicator has one index on each side of =", at)


def _cases(rows: Any, at: int) -> Cases:
    branches = [row.children for row in rows if rule_of(row) == "branch"]
    values = tuple(sum_of(terms_of(branch[0])) for branch in branches)
    conditions = tuple(_comparison(*branch[-3:], at=at) for branch in branches if rule_of(branch[-1]) != "OTHERWISE")
    if any(rule_of(branch[-1]) == "OTHERWISE" for branch in branches[:-1]) or not conditions:
        raise UnreadableError("after the first cases, one otherwise at the end", at)
    return Cases(values, conditions)


def _comparison(left: Any, sign: Any, right: Any, *, at: int) -> Comparison:
    sides = [sum_of(terms_of(side)) for side in (left, right)]
    if rule_of(sign) == "ORDER":
        return Comparison(sides[0], ">" if sign in (">", "\\gt") else "<", sides[1])
    indices = [side.symbol if isinstance(side, Name) else getattr(side, "value", None) for side in sides]
    if any(index is None or index == 0 for index in indices):
        raise UnreadableError("= and ≠ compare indices here", at)
    first, second = (index if isinstance(index, str) else int(index) for index in indices)  # type: ignore[arg-type]
    return Comparison(first, "=" if rule_of(sign) == "EQUALS" else "≠", second)


def _fraction(tree: Any, at: int) -> _Piece:
    above, below = (
        terms_of(part.children[0]) if rule_of(part) == "group" else [(False, [_atom(part)])]
        for part in tree.children[1:]
    )
    if not any(piece.kind == "partial" for _, pieces in below for piece in pieces):
        return _Piece("node", at, Quotient(sum_of(above), sum_of(below)))
    if len(below) != 1 or below[0][0]:
        raise UnreadableError("∂ and a variable were expected below the line", at)
    variables = _variables(below[0][1])
    negative, pieces = above[0]
    if not pieces or pieces[0].kind != "partial":
        raise UnreadableError("∂ stands below the line and not above it", at)
    order = pieces[0].sup
    if (Number(Fraction(len(variables))) if len(variables) > 1 else None) != order:
        raise UnreadableError(f"{len(variables)} variables below the line do not fit the order above it", at)
    rest: _Terms = [(False, pieces[1:]), *above[1:]] if pieces[1:] else above[1:]
    if not rest:
        if negative:
            raise UnreadableError("write the minus before the fraction", at)
        return _Piece("operator", at, variables=variables)
    node = _derivative(sum_of(rest), variables, follows=False)
    return _Piece("node", at, Negative(node) if negative else node)


def _derivative(operand: Node, variables: tuple[Node, ...], *, follows: bool) -> Node:
    for variable in reversed(variables):
        operand = Derivative(operand, variable, follows)
    return operand


def _variables(pieces: list[_Piece]) -> tuple[Node, ...]:
    """What stands after each ∂ below the line; a_i² counts twice."""
    variables: list[Node] = []
    for k in range(0, len(pieces), 2):
        if pieces[k].kind != "partial" or k + 1 == len(pieces):
            raise UnreadableError("∂ and a variable were expected", pieces[k].position)
        piece = pieces[k + 1]
        times = piece.sup.value if isinstance(piece.sup, Number) else Fraction(1)
        if times not in (1, 2):
            raise UnreadableError("an order of differentiation above 2", piece.position)
        variable = _variable(_single(replace(piece, sup=None)), piece.position)
        variables += [variable] * int(times)
    return tuple(variables)


def _variable(node: Node, at: int) -> Any:
    if not isinstance(node, (Name, Indexed)):
        raise UnreadableError("a derivative is taken with respect to a name or an element of one", at)
    return node


# --- Subscripts and names ---------------------------------------------------------------------------------------------


def _sub_groups(tokens: Any) -> list[list[str]]:
    """The parts of a subscript, and the groups that commas make: {L,i'} is [["L"], ["i'"]], {k+1} is [["k+1"]]."""
    groups: list[list[str]] = [[]]
    joins = False
    for token in tokens:
        rule, group = rule_of(token), groups[-1]
        if rule == "COMMA":
            groups.append([])
        elif rule == "PRIME" and group:
            group[-1] += "'" * _primes(token)
        elif rule == "SIGN" and group:
            group[-1] += "+" if token == "+" else "−"
            joins = True
        elif rule in ("LETTER", "GREEK", "NUMBER"):
            text = GREEK[token[1:]] if rule == "GREEK" else str(token)
            if joins:
                group[-1] += text
            else:
                group.append(text)
            joins = False
        else:
            raise UnreadableError(f"{token} is not expected in a subscript", _position(token))
    if joins or not all(groups):
        raise UnreadableError("a subscript is not complete", _position(tokens[0]) if tokens else None)
    return groups


def _indices(tokens: Any) -> tuple[Index, ...]:
    return tuple(_index(part) for group in _sub_groups(tokens) for part in group)


def _index(text: str) -> Index:
    if text.isdigit() and int(text) == 0:
        raise UnreadableError("an index of 0: indices count from 1")
    return int(text) if text.isdigit() else text


def _named(letter: str, tokens: tuple[Any, ...]) -> Node:
    """A letter with its subscript: a_{Li} is element i of layer L, W_{111} element 1, 1 of layer 1, ŷ_ℓ element ℓ."""
    groups = _sub_groups(tokens)
    symbol = letter
    first = groups[0][0]
    if letter in _LAYERED and (first.isdigit() or first[0] == "L" or first[0] == "k"):
        if first.isdigit() and len(groups) == 1:
            layer, rest = first[0], first[1:]
            groups[0][:1] = [rest] if rest else []
        else:
            layer = groups[0].pop(0)
        symbol = f"{letter}_{layer}" if len(layer) == 1 else f"{letter}_{{{layer}}}"
    parts = [part for group in groups for part in group]
    if letter == "W" and len(parts) == 1 and parts[0].isdigit():
        parts = list(parts[0])  # W_{111}, W_{1,11}: row and column are digits side by side
    return Indexed(symbol, tuple(_index(part) for part in parts)) if parts else Name(symbol)


def _single(piece: _Piece) -> Node:
    """A piece that needs no neighbour."""
    if piece.kind == "letter":
        if piece.sub is not None:
            if piece.primes:
                raise UnreadableError("a prime after a subscript: write it in the subscript's braces", piece.position)
            named = OneHot(_one_index(piece)) if piece.text == "e" else _named(piece.text, piece.sub)
            return _scripted(named, replace(piece, sub=None))
        if piece.text == "e":
            if piece.sup is None or piece.bold or piece.sup is _TRANSPOSED:
                raise UnreadableError("e stands alone; e(ℓ) or e^{…} was expected", piece.position)
            return Call("exp", piece.sup)
        return _scripted(Name(piece.text + "'" * piece.primes), replace(piece, primes=0))
    if piece.node is None:
        what = {"function": piece.text, "sum": "Σ", "partial": "∂", "nabla": "∇", "operator": "∂/∂"}.get(piece.kind, "")
        raise UnreadableError(f"nothing for {what or piece.text} to act on", piece.position)
    return _scripted(piece.node, piece)


def _one_index(piece: _Piece) -> Index:
    indices = _indices(piece.sub or ())
    if len(indices) != 1:
        raise UnreadableError("one index was expected", piece.position)
    return indices[0]


def _scripted(node: Node, piece: _Piece) -> Node:
    """A node with the piece's subscript (an element of it) and exponent."""
    if piece.primes:
        raise UnreadableError("a prime that belongs to no letter", piece.position)
    if piece.sub is not None:
        node = Element(node, _indices(piece.sub))
    if piece.sup is _TRANSPOSED:
        return node.operand if isinstance(node, Transpose) else Transpose(node)
    return node if piece.sup is None else Power(node, piece.sup)


# --- From pieces to nodes ---------------------------------------------------------------------------------------------


def _operator_at(pieces: list[_Piece]) -> int | None:
    """Where a term has an operator that acts on all that follows it. One within a Σ acts inside of that alone."""
    for k, piece in enumerate(pieces):
        if piece.kind == "sum":
            return None
        if piece.kind == "operator" or (piece.kind == "nabla" and k + 1 == len(pieces)):
            return k
    return None


def sum_of(terms: _Terms) -> Node:
    """Terms added. An operator takes all that follows it, up to a term that has an operator of its own: nobody writes
    ∂f/∂a + ∂g/∂a and means a second derivative."""
    parts: list[Node] = []
    k = 0
    while k < len(terms):
        negative, pieces = terms[k]
        k += 1
        at = _operator_at(pieces)
        if at is not None:
            start = k
            while k < len(terms) and _operator_at(terms[k][1]) is None:
                k += 1
            rest = pieces[at + 1 :]
            if rest and rest[0].kind == "times":
                rest = rest[1:]
            operand = ([(False, rest)] if rest else []) + terms[start:k]
            if not operand:
                raise UnreadableError("nothing follows for the operator to act on", pieces[at].position)
            pieces = [*pieces[:at], _applied(pieces[at], sum_of(operand))]
        elif pieces[-1].kind == "sum" and k < len(terms):  # Σ −x: the sign belongs to what is summed
            pieces = [*pieces, _Piece("node", pieces[-1].position, sum_of([terms[k]]))]
            k += 1
        node = _term(pieces)
        parts.append(Negative(node) if negative else node)
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def _applied(operator: _Piece, operand: Node) -> _Piece:
    if operator.kind == "operator":
        node = _derivative(operand, operator.variables, follows=True)
    else:
        node = _gradient(operand, operator)
    return _Piece("node", operator.position, node)


def _gradient(operand: Node, nabla: _Piece) -> Node:
    variable = nabla.variables[0]
    if not isinstance(variable, Name):
        raise UnreadableError("a gradient is taken with respect to a vector or a matrix", nabla.position)
    return Gradient(operand, variable)


def _term(pieces: list[_Piece]) -> Node:
    """Factors multiplied and divided, from left to right."""
    if pieces[0].kind == "partial":
        return _inline_derivative(pieces)
    factors: list[Node] = []
    signs: list[str] = []
    sign: str | None = None
    k = 0
    while k < len(pieces):
        piece = pieces[k]
        if piece.kind == "times":
            if sign is not None or not factors:
                raise UnreadableError(f"nothing stands before {piece.text}", piece.position)
            sign, k = piece.text, k + 1
            continue
        node, k = _unit(pieces, k)
        if sign == "/":
            factors[-1] = Quotient(factors[-1], node)
        else:
            if factors:
                signs.append(sign or "")
            factors.append(node)
        sign = None
    if sign is not None:
        raise UnreadableError(f"nothing stands after {sign}", pieces[-1].position)
    return factors[0] if len(factors) == 1 else Product(tuple(factors), tuple(signs))


def _inline_derivative(pieces: list[_Piece]) -> Node:
    """∂X / ∂v, written with a slash."""
    slashes = [k for k, piece in enumerate(pieces) if piece.kind == "times" and piece.text == "/"]
    if not slashes or slashes[0] < 2 or len(pieces) <= slashes[0] + 2:
        raise UnreadableError("∂ outside of a fraction", pieces[0].position)
    at = slashes[0]
    variables = _variables(pieces[at + 1 : at + 3])
    node = _Piece("node", pieces[0].position, _derivative(_term(pieces[1:at]), variables, follows=False))
    return _term([node, *pieces[at + 3 :]])


def _unit(pieces: list[_Piece], k: int) -> tuple[Node, int]:
    """The factor that begins at k, with the neighbours that belong to it; and where the next one begins."""
    piece = pieces[k]
    after = pieces[k + 1] if k + 1 < len(pieces) else None
    if piece.kind == "sum":
        return _sum_over(piece, pieces[k + 1 :]), len(pieces)
    if piece.kind == "operator":
        return sum_of([(False, pieces[k:])]), len(pieces)
    if piece.kind == "nabla":
        if after is None or after.kind == "times":
            raise UnreadableError("nothing follows for ∇ to act on", piece.position)
        operand, end = _unit(pieces, k + 1)
        return _gradient(operand, piece), end
    if piece.kind == "function":
        return _function(pieces, k)
    if piece.kind == "letter" and after is not None and after.kind == "bracket" and piece.sub is None:
        if piece.text in _CALLED:
            return _function(pieces, k)
        if piece.text == "e" and piece.sup is None:
            index = after.node.symbol if isinstance(after.node, Name) else getattr(after.node, "value", None)
            if index is None:
                raise UnreadableError("e( ) holds one index", after.position)
            return _scripted(OneHot(index if isinstance(index, str) else int(index)), after), k + 2
    return _single(piece), k + 1


def _function(pieces: list[_Piece], k: int) -> tuple[Node, int]:
    """A function and its argument: a bracket, or the one factor that follows."""
    piece = pieces[k]
    if piece.sub is not None:
        raise UnreadableError(f"{piece.text} with a subscript", piece.position)
    if k + 1 == len(pieces) or pieces[k + 1].kind in ("times", "partial"):
        raise UnreadableError(f"nothing for {piece.text} to act on", piece.position)
    name = piece.text + "'" * piece.primes
    following = pieces[k + 1]
    if following.kind == "bracket" and following.node is not None:
        call: Node = Call(name, following.node)
        if piece.sup is not None:
            call = _scripted(call, replace(piece, primes=0))
        return _scripted(call, following), k + 2
    argument, end = _unit(pieces, k + 1)
    if end < len(pieces) and (pieces[end].kind == "letter" or isinstance(pieces[end].node, Number)):
        raise UnreadableError(f"where the argument of {name} ends is not clear: write brackets", piece.position)
    return _scripted(Call(name, argument), replace(piece, primes=0)), end


def _sum_over(piece: _Piece, rest: list[_Piece]) -> Node:
    """Σ with its index (i', or i'=1, or j≠ℓ) and limit; it holds the rest of its term."""
    if not rest:
        raise UnreadableError("nothing follows for Σ to add", piece.position)
    tokens = list(piece.sub or ())
    if not tokens:
        raise UnreadableError("Σ without an index", piece.position)
    index: Index | None = None
    without: Index | None = None
    for group in _split(tokens, "COMMA"):
        unequal, equal = _split(group, "NEQ"), _split(group, "EQUALS")
        sides = [_indices(side) for side in (unequal if len(unequal) > 1 else equal)]
        if any(len(side) != 1 for side in sides) or len(sides) > 2 or (index is not None and sides[0][0] != index):
            raise UnreadableError("Σ runs over one index: i', i'=1 or j≠ℓ", piece.position)
        index = sides[0][0]
        if len(unequal) > 1:
            without = sides[1][0]
        elif len(equal) > 1 and sides[1][0] != 1:
            raise UnreadableError("Σ begins at 1", piece.position)
    limit: Index = "K"
    if piece.sup is not None:
        if isinstance(piece.sup, Name):
            limit = piece.sup.symbol
        elif isinstance(piece.sup, Number) and piece.sup.value.denominator == 1:
            limit = int(piece.sup.value)
        else:
            raise UnreadableError("Σ ends at a letter or a number", piece.position)
    if not isinstance(index, str) or index == "K":
        raise UnreadableError("Σ runs over a letter", piece.position)
    return SumOver(index, sum_of([(False, rest)]), without, limit)


def _split(tokens: list[Any], rule: str) -> list[list[Any]]:
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if rule_of(token) == rule:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
