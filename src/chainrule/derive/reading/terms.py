"""From pieces to nodes. What a piece means depends on its neighbours: ∂/∂a acts on all that follows it in its group,
Σ on the rest of its term, g and σ on a bracket.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from chainrule.derive import syntax as s
from chainrule.derive.reading.subscripts import Piece, Terms, UnreadableError, index_in, indices_of, named, rule_of

__all__ = ["TRANSPOSED", "derivative_of", "single", "sum_of", "variable_of", "variables_of"]

TRANSPOSED = s.Name("ᵀ")  # stands in an exponent's place for the sign of a transpose
_CALLED = ("g", "σ", "φ", "Φ")  # letters that are functions where a bracket follows


def single(piece: Piece) -> s.Node:
    """A piece that needs no neighbour."""
    if piece.kind == "letter":
        if piece.sub is not None:
            if piece.primes:
                raise UnreadableError("a prime after a subscript: write it in the subscript's braces", piece.position)
            node = s.OneHot(_one_index(piece)) if piece.text == "e" else named(piece.text, piece.sub, piece.position)
            return _scripted(node, replace(piece, sub=None))
        if piece.text == "e":
            if piece.sup is None or piece.bold or piece.sup is TRANSPOSED:
                raise UnreadableError("e stands alone; e(ℓ) or e^{…} was expected", piece.position)
            return s.Call("exp", piece.sup)
        return _scripted(s.Name(piece.text + "'" * piece.primes), replace(piece, primes=0))
    if piece.node is None:
        what = {"function": piece.text, "sum": "Σ", "partial": "∂", "nabla": "∇", "operator": "∂/∂"}.get(piece.kind, "")
        raise UnreadableError(f"nothing for {what or piece.text} to act on", piece.position)
    return _scripted(piece.node, piece)


def _one_index(piece: Piece) -> s.Index:
    indices = indices_of(piece.sub or (), piece.position)
    if len(indices) != 1:
        raise UnreadableError("one index was expected", piece.position)
    return indices[0]


def _scripted(node: s.Node, piece: Piece) -> s.Node:
    """A node with the piece's subscript (an element of it) and exponent."""
    if piece.primes:
        raise UnreadableError("a prime that belongs to no letter", piece.position)
    if piece.sub is not None:
        node = s.Element(node, indices_of(piece.sub, piece.position))
    if piece.sup is TRANSPOSED:
        return node.operand if isinstance(node, s.Transpose) else s.Transpose(node)
    return node if piece.sup is None else s.Power(node, piece.sup)


def derivative_of(operand: s.Node, variables: tuple[s.Node, ...], *, follows: bool) -> s.Node:
    for variable in reversed(variables):
        operand = s.Derivative(operand, variable, follows)
    return operand


def variables_of(pieces: list[Piece]) -> tuple[s.Node, ...]:
    """What stands after each ∂ below the line; a_i² counts twice."""
    variables: list[s.Node] = []
    for k in range(0, len(pieces), 2):
        if pieces[k].kind != "partial" or k + 1 == len(pieces):
            raise UnreadableError("∂ and a variable were expected", pieces[k].position)
        piece = pieces[k + 1]
        times = piece.sup.value if isinstance(piece.sup, s.Number) else Fraction(1)
        if times not in (1, 2):
            raise UnreadableError("an order of differentiation above 2", piece.position)
        variable = variable_of(single(replace(piece, sup=None)), piece.position)
        variables += [variable] * int(times)
    return tuple(variables)


def variable_of(node: s.Node, at: int) -> Any:
    if not isinstance(node, (s.Name, s.Indexed)):
        raise UnreadableError("a derivative is taken with respect to a name or an element of one", at)
    return node


def _operator_at(pieces: list[Piece]) -> int | None:
    """Where a term has an operator that acts on all that follows it. One within a Σ acts inside of that alone."""
    for k, piece in enumerate(pieces):
        if piece.kind == "sum":
            return None
        if piece.kind == "operator" or (piece.kind == "nabla" and k + 1 == len(pieces)):
            return k
    return None


def sum_of(terms: Terms) -> s.Node:
    """Terms added. An operator takes all that follows it, up to a term that has an operator of its own: nobody writes
    ∂f/∂a + ∂g/∂a and means a second derivative. Of ∂/∂a (f) − g it takes the bracket."""
    parts: list[s.Node] = []
    k = 0
    while k < len(terms):
        negative, pieces = terms[k]
        k += 1
        at = _operator_at(pieces)
        if at is not None:
            start = k
            rest = pieces[at + 1 :]
            if rest and rest[0].kind == "times":
                rest = rest[1:]
            bracket = len(rest) == 1 and rest[0].kind == "bracket"
            while not bracket and k < len(terms) and _operator_at(terms[k][1]) is None:
                k += 1
            operand = ([(False, rest)] if rest else []) + terms[start:k]
            if not operand:
                raise UnreadableError("nothing follows for the operator to act on", pieces[at].position)
            operator, body = pieces[at], sum_of(operand)
            if operator.kind == "operator":
                applied = derivative_of(body, operator.variables, follows=True)
            else:
                applied = _gradient(body, operator)
            pieces = [*pieces[:at], Piece("node", operator.position, applied)]
        elif pieces[-1].kind == "sum" and k < len(terms):  # Σ −x: the sign belongs to what is summed
            pieces = [*pieces, Piece("node", pieces[-1].position, sum_of([terms[k]]))]
            k += 1
        node = _term(pieces)
        parts.append(s.Negative(node) if negative else node)
    return parts[0] if len(parts) == 1 else s.Sum(tuple(parts))


def _gradient(operand: s.Node, nabla: Piece) -> s.Node:
    variable = nabla.variables[0]
    if not isinstance(variable, s.Name):
        raise UnreadableError("a gradient is taken with respect to a vector or a matrix", nabla.position)
    return s.Gradient(operand, variable)


def _term(pieces: list[Piece]) -> s.Node:
    """Factors multiplied and divided, from left to right."""
    if pieces[0].kind == "partial":
        return _inline_derivative(pieces)
    factors: list[s.Node] = []
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
            factors[-1] = s.Quotient(factors[-1], node)
        else:
            if factors:
                signs.append(sign or "")
            factors.append(node)
        sign = None
    if sign is not None:
        raise UnreadableError(f"nothing stands after {sign}", pieces[-1].position)
    return factors[0] if len(factors) == 1 else s.Product(tuple(factors), tuple(signs))


def _inline_derivative(pieces: list[Piece]) -> s.Node:
    """∂X / ∂v, written with a slash."""
    slashes = [k for k, piece in enumerate(pieces) if piece.kind == "times" and piece.text == "/"]
    if not slashes or slashes[0] < 2 or len(pieces) <= slashes[0] + 2:
        raise UnreadableError("∂ outside of a fraction", pieces[0].position)
    at = slashes[0]
    variables = variables_of(pieces[at + 1 : at + 3])
    node = Piece("node", pieces[0].position, derivative_of(_term(pieces[1:at]), variables, follows=False))
    return _term([node, *pieces[at + 3 :]])


def _unit(pieces: list[Piece], k: int) -> tuple[s.Node, int]:
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
            index = index_in(after.node) if after.node is not None else None
            if index is None:
                raise UnreadableError("e( ) holds one index", after.position)
            return _scripted(s.OneHot(index), after), k + 2
    return single(piece), k + 1


def _function(pieces: list[Piece], k: int) -> tuple[s.Node, int]:
    """A function and its argument: a bracket, or the one factor that follows."""
    piece = pieces[k]
    if piece.sub is not None and piece.text != "softmax":
        raise UnreadableError(f"{piece.text} with a subscript", piece.position)
    if k + 1 == len(pieces) or pieces[k + 1].kind in ("times", "partial"):
        raise UnreadableError(f"nothing for {piece.text} to act on", piece.position)
    name = piece.text + "'" * piece.primes
    following = pieces[k + 1]
    if following.kind == "bracket" and following.node is not None:
        call: s.Node = s.Call(name, following.node)
        if piece.sub is not None:  # softmax_i(a) is softmax(a)_i
            call = s.Element(call, indices_of(piece.sub, piece.position))
        if piece.sup is not None:
            call = _scripted(call, replace(piece, primes=0, sub=None))
        return _scripted(call, following), k + 2
    argument, end = _unit(pieces, k + 1)
    if end < len(pieces) and (pieces[end].kind == "letter" or isinstance(pieces[end].node, s.Number)):
        raise UnreadableError(f"where the argument of {name} ends is not clear: write brackets", piece.position)
    return _scripted(s.Call(name, argument), replace(piece, primes=0)), end


def _sum_over(piece: Piece, rest: list[Piece]) -> s.Node:
    """Σ with its index (i', or i'=1, or j≠ℓ) and limit; it holds the rest of its term."""
    if not rest:
        raise UnreadableError("nothing follows for Σ to add", piece.position)
    tokens = list(piece.sub or ())
    if not tokens:
        raise UnreadableError("Σ without an index", piece.position)
    index: s.Index | None = None
    without: s.Index | None = None
    for group in _split(tokens, "COMMA"):
        unequal, equal = _split(group, "NEQ"), _split(group, "EQUALS")
        sides = [indices_of(side, piece.position) for side in (unequal if len(unequal) > 1 else equal)]
        if any(len(side) != 1 for side in sides) or len(sides) > 2 or (index is not None and sides[0][0] != index):
            raise UnreadableError("Σ runs over one index: i', i'=1 or j≠ℓ", piece.position)
        index = sides[0][0]
        if len(unequal) > 1:
            without = sides[1][0]
        elif len(equal) > 1 and sides[1][0] != 1:
            raise UnreadableError("Σ begins at 1", piece.position)
    limit: s.Index = "K"
    if piece.sup is not None:
        if isinstance(piece.sup, s.Name) and piece.sup is not TRANSPOSED:
            limit = piece.sup.symbol
        elif isinstance(piece.sup, s.Number) and piece.sup.value.denominator == 1:
            limit = int(piece.sup.value)
        else:
            raise UnreadableError("Σ ends at a letter or a number", piece.position)
    if not isinstance(index, str) or index == "K":
        raise UnreadableError("Σ runs over a letter", piece.position)
    return s.SumOver(index, sum_of([(False, rest)]), without, limit)


def _split(tokens: list[Any], rule: str) -> list[list[Any]]:
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if rule_of(token) == rule:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
