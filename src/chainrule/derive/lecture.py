r"""Lines in the lecture's notation, as nodes that are shown: `people` reads them, and their letters are given meaning.

In the lecture a letter means one thing: a_{Li} is unit i of layer L, ŷ_ℓ the probability of the true class, e(ℓ) a unit
vector, 𝟙 an indicator, g, σ, φ and Φ are functions. So what `people` leaves open is decided at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from chainrule.activations import ACTIVATIONS
from chainrule.derive import syntax as s
from chainrule.derive.patterns import vector_pattern
from chainrule.derive.people import tree
from chainrule.derive.people.cursor import split
from chainrule.derive.people.grammar import parse
from chainrule.derive.people.tokens import Token, tokens
from chainrule.errors import InputError

__all__ = ["Equation", "UnreadableError", "read_expression", "read_line"]

MAX_LINE = 10_000  # characters
_LAYERED = "ahWb"  # letters whose first index may be a layer
_FUNCTIONS = {"logistic": "σ"}
_CALLED = {"g", "σ", "φ", "Φ", "log1p", *ACTIVATIONS}  # names that are functions where a bracket follows


class UnreadableError(InputError):
    r"""A line cannot be read.

    Examples
    --------
    >>> try:
    ...     read_line(r"= \input{/etc/passwd}")
    ... except UnreadableError as error:
    ...     print(error)
    \input is not a command that is read here
    """


@dataclass(frozen=True)
class Equation:
    """A step that was read: ``left = rights[0] = rights[1] …``. Without a left side, `continues` tells whether the line
    begins with = or is an expression that stands alone."""

    left: s.Node | None
    rights: tuple[s.Node, ...]
    continues: bool


def read_line(text: str) -> Equation:
    r"""Read one step: ``left = right``, ``= right`` or an expression.

    Raises
    ------
    UnreadableError
        Something in it is not read.

    Examples
    --------
    >>> read_line(r"= -\log \hat{y}_\ell").rights
    (Negative(operand=Call(function='log', argument=Indexed(symbol='ŷ', indices=('ℓ',)))),)
    """
    if len(text) > MAX_LINE:
        raise UnreadableError(f"the line has {len(text)} characters; at most {MAX_LINE} are read")
    try:
        first, *others = [_side(side) for side in split(tokens(text, {}), "=")]
        continues = bool(others) and not first
        if not first and not others:
            raise UnreadableError("nothing is written here")
        sides = tuple(_node(parse(side)) for side in ([first] if first else []) + others)
    except (tree.NotReadError, RecursionError) as error:
        raise UnreadableError(str(error) or "too much is nested") from None
    if continues or len(sides) == 1:
        return Equation(None, sides, continues)
    return Equation(sides[0], sides[1:], False)


def _side(side: list[Token]) -> list[Token]:
    """A side without what only lays it out: the marks of columns, and the stop, the break and blanks at its ends."""
    side = [token for part in split(side, "&") for token in part]
    while side and (side[-1].kind == "space" or side[-1].text in (".", ",", ";", "\\")):
        side = side[:-1]
    while side and side[0].kind == "space":
        side = side[1:]
    return side


def read_expression(text: str) -> s.Node:
    r"""Read an expression that stands alone.

    Raises
    ------
    UnreadableError
        Something in it is not read, or it has an equals sign.

    Examples
    --------
    >>> read_expression(r"a_{L,i}")
    Indexed(symbol='a_L', indices=('i',))
    """
    line = read_line(text)
    if line.left is not None or line.continues or len(line.rights) != 1:
        raise UnreadableError("an expression without = was expected")
    return line.rights[0]


def _node(node: tree.Node) -> s.Node:
    """What `people` read, as a node that is shown."""
    kids = node.kids
    match node.op:
        case "num":
            return s.Number(Fraction(str(node.data)))
        case "name":
            return _name(node.data)
        case "neg":
            return s.Negative(_node(kids[0]))
        case "add":
            return s.Sum(tuple(map(_node, kids)))
        case "mul" | "app" | "appow":
            return _product(node)
        case "div":
            return s.Quotient(_node(kids[0]), _node(kids[1]))
        case "pow":
            return s.Power(_node(kids[0]), _node(kids[1]))
        case "T":
            inner = _node(kids[0])
            return inner.operand if isinstance(inner, s.Transpose) else s.Transpose(inner)
        case "fn":
            function, primes = node.data
            return s.Call(_FUNCTIONS.get(function, function) + "'" * primes, _node(kids[0]))
        case "elem":
            return s.Element(_node(kids[0]), tuple(_index(part) for part in _parts(node.data)))
        case "D":
            operand = _node(kids[0])
            for by in reversed([variable for kid in kids[1:] for variable in _variables(kid)]):
                operand = s.Derivative(operand, by, node.data in ("open", "closed"))
            return operand
        case "grad" if len(kids) == 2 and isinstance(by := _node(kids[1]), s.Name):
            return s.Gradient(_node(kids[0]), by)
        case "sum":
            return _sum_over(node.data, kids[0])
        case "ind" if len(node.data) == 1:
            left, sign, right = _comparison(node.data[0])
            if sign == "=":
                return s.Indicator(left, right)
            return s.Sum((s.Number(Fraction(1)), s.Negative(s.Indicator(left, right))))
        case "cases":
            return _cases(node)
        case "mat":
            return _vector(node)
        case "alt":  # what is meant first: the lecture's sums run over units, never over examples
            return _node(kids[0])
        case "loss":
            raise UnreadableError("nothing follows for ∂ to act on")
    raise UnreadableError(f"{node.op} is not of the lecture's notation")


# --- Names ------------------------------------------------------------------------------------------------------------


def _name(name: tree.Name) -> s.Node:
    """A letter with its scripts: a_{Li} is element i of layer L, W_{111} element 1, 1 of layer 1, ŷ_ℓ element ℓ, e_ℓ a
    unit vector. δ_{ij} is Kronecker's, an indicator."""
    if name.base.startswith("Σ"):
        raise UnreadableError("nothing follows for Σ to add")
    node = _indexed(name.base + "'" * name.primes, _parts(name.sub))
    for item in name.sup:
        if item.kind not in ("letter", "number"):
            raise UnreadableError(f"what stands above {name.base} is no exponent")
        node = s.Power(node, _index_node(item))
    return node


def _parts(items: tuple[tree.Item, ...]) -> list[tree.Item]:
    return [part for item in items for part in (_parts(item.value) if item.kind in ("round", "square") else [item])]


def _indexed(letter: str, items: list[tree.Item]) -> s.Node:
    symbol = letter
    if letter in _LAYERED and items:
        layer, rest = _layer(items[0])
        if layer is not None:
            symbol = f"{letter}_{layer}" if len(layer) == 1 else f"{letter}_{{{layer}}}"
            items = [*rest, *items[1:]]
    if letter == "W" and len(items) == 1 and items[0].kind == "number":  # W_{111}, W_{1,11}: row and column
        items = [tree.Item("number", int(digit)) for digit in str(items[0].value)]
    indices = tuple(map(_index, items))
    if letter == "δ" and len(indices) == 2 and "L" not in indices:  # with L it would be an error of the last layer
        return s.Indicator(*indices)
    if letter == "e" and len(indices) == 1:
        return s.OneHot(indices[0])
    return s.Indexed(symbol, indices) if indices else s.Name(symbol)


def _layer(item: tree.Item) -> tuple[str | None, list[tree.Item]]:
    """The layer that an index says, and what stands right behind it."""
    if item.kind == "shifted":
        letter, shift = item.value
        return f"{letter}{'+' if shift > 0 else '−'}{abs(shift)}", []
    if item.kind == "letter" and item.value in ("L", "k"):
        return item.value, []
    if item.kind == "number":
        digits = str(item.value)
        return digits[0], [tree.Item("number", int(digits[1:]))] if digits[1:] else []
    return None, []


def _index(item: tree.Item) -> s.Index:
    if item.kind == "number" and item.value == 0:
        raise UnreadableError("an index of 0: indices count from 1")
    if item.kind in ("letter", "number"):
        return item.value  # type: ignore[no-any-return]
    raise UnreadableError("an index is a letter or a number")


def _index_node(item: tree.Item) -> s.Node:
    return s.Number(Fraction(item.value)) if item.kind == "number" else s.Name(item.value)


def _index_in(node: Any) -> s.Index:
    """The index that a side of a condition is."""
    found = _node(node) if isinstance(node, tree.Node) else None
    if isinstance(found, s.Name):
        return found.symbol
    if isinstance(found, s.Number) and found.value.denominator == 1 and found.value > 0:
        return int(found.value)
    raise UnreadableError("= and ≠ compare indices here")


def _variables(by: tree.Node) -> list[s.Node]:
    """What stands after a ∂ below the line; a_i² counts twice."""
    variable, times = _node(by), 1
    if isinstance(variable, s.Power) and variable.exponent == s.Number(Fraction(2)):
        variable, times = variable.base, 2
    if not isinstance(variable, s.Name | s.Indexed):
        raise UnreadableError("a derivative is taken with respect to a name or an element of one")
    return [variable] * times


# --- Products, sums, cases and columns --------------------------------------------------------------------------------


def _product(node: tree.Node) -> s.Node:
    """Factors; a name before a bracket is a function of it, or another factor."""
    factors: list[s.Node] = []
    signs: list[str] = []
    parts = (
        zip(node.kids, ("", *(node.data or [""] * len(node.kids))), strict=False) if node.op == "mul" else [(node, "")]
    )
    for kid, sign in parts:
        found = _factors(kid)
        if sign not in ("", "·", "⊙", "*", "×"):
            raise UnreadableError(f"{sign} is not read here")
        signs += [sign if sign in ("", "⊙") else "·"] if factors else []
        signs += [""] * (len(found) - 1)
        factors += found
    return factors[0] if len(factors) == 1 else s.Product(tuple(factors), tuple(signs))


def _factors(node: tree.Node) -> list[s.Node]:
    if node.op not in ("app", "appow"):
        return [_node(node)]
    name: tree.Name = node.data
    called = name.base.replace("\\_", "_")
    if name.base == "𝓛" and node.op == "app":  # 𝓛(θ)
        return [s.Name("𝓛")]
    if len(node.kids) != 1:
        raise UnreadableError(f"{name.base} of several things")
    if not name.sub and (called in _CALLED or called == "e"):
        if node.op == "appow":  # σ(a)²: the power is of the whole
            inner = node.kids[0]
            return [_node(inner.with_kids((tree.Node("app", inner.kids[:1], name), *inner.kids[1:])))]
        if called == "e":
            return [s.OneHot(_index_in(node.kids[0]))]
        return [s.Call(_FUNCTIONS.get(called, called) + "'" * name.primes, _node(node.kids[0]))]
    return [_name(name), _node(node.kids[0])]


def _sum_over(bound: tree.Bound, body: tree.Node) -> s.Node:
    """Σ with its index (i', or i'=1, or j≠ℓ) and limit."""
    if len(bound.letters) != 1:
        raise UnreadableError("Σ runs over one index: i', i'=1 or j≠ℓ")
    lower = _node(bound.lower) if isinstance(bound.lower, tree.Node) else None
    if lower not in (None, s.Number(Fraction(1))):
        raise UnreadableError("Σ begins at 1")
    without: s.Index | None = None
    for condition in bound.conditions:
        left, sign, right = _comparison(condition)
        if sign != "≠" or without is not None or left != bound.letters[0]:
            raise UnreadableError("Σ leaves out one value of its index")
        without = right
    limit = _index_in(bound.upper) if isinstance(bound.upper, tree.Node) else "K"
    return s.SumOver(bound.letters[0], _node(body), without, limit)


def _comparison(condition: tree.Condition) -> tuple[s.Index, str, s.Index]:
    if condition.rel not in ("=", "≠"):
        raise UnreadableError(f"{condition.rel} between indices")
    return _index_in(condition.left), condition.rel, _index_in(condition.right)


def _cases(node: tree.Node) -> s.Node:
    conditions: list[s.Comparison] = []
    for n, group in enumerate(node.data):
        if group is None and (n < len(node.data) - 1 or not conditions):
            raise UnreadableError("after the first cases, one otherwise at the end")
        for condition in group or ():
            if len(group) > 1:
                raise UnreadableError("a case has one condition")
            if condition.rel in ("<", ">"):
                sides = [_node(side) for side in (condition.left, condition.right)]
                conditions.append(s.Comparison(sides[0], condition.rel, sides[1]))
            else:
                conditions.append(s.Comparison(*_comparison(condition)))
    return s.Cases(tuple(map(_node, node.kids)), tuple(conditions))


def _vector(node: tree.Node) -> s.Node:
    """A column; what is written side by side is its transpose."""
    rows = node.data
    if len(rows) > 1 and any(len(row) > 1 for row in rows):
        raise UnreadableError("a matrix of several rows and columns; only columns and rows are read")
    kids = iter(node.kids)
    vector = s.Vector(tuple(None if dots else _node(next(kids)) for row in rows for dots in row))
    try:
        vector_pattern(vector)
    except InputError as error:
        raise UnreadableError(str(error)) from None
    return vector if len(rows) > 1 else s.Transpose(vector)
