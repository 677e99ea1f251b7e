"""Nodes that are shown, as trees that `people` evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.derive import syntax as s
from chainrule.derive.patterns import PATTERN_INDEX, vector_pattern
from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node
from chainrule.errors import InputError

__all__ = ["tree_of"]


def tree_of(node: s.Node, classes: int, at: Mapping[str, int]) -> Node:
    """A node as a tree, for a number of classes, with the letters `at` as the numbers that they stand for.

    Examples
    --------
    >>> tree_of(s.Negative(s.Name("𝓛")), 3, {}).op
    'neg'
    """

    def of(part: s.Node) -> Node:
        return tree_of(part, classes, at)

    def index(one: s.Index) -> s.Index:
        return classes if one == "K" else at.get(one, one) if isinstance(one, str) else one

    def items(indices: Sequence[s.Index]) -> tuple[Item, ...]:
        return tuple(Item("letter" if isinstance(one, str) else "number", one) for one in map(index, indices))

    def compared(left: s.Index | s.Node, sign: str, right: s.Index | s.Node) -> Condition:
        sides = [of(side) if isinstance(side, s.Node) else _index_node(index(side)) for side in (left, right)]
        return Condition(sides[0], sign, sides[1])

    match node:
        case s.Number(value):
            return Node("num", (), value)
        case s.Name("K"):
            return Node("num", (), classes)
        case s.Name(symbol):
            return Node("name", (), Name(symbol))
        case s.Indexed(symbol, indices):
            return Node("name", (), Name(symbol, items(indices)))
        case s.Element(vector, indices):
            return Node("elem", (of(vector),), items(indices))
        case s.Call(function, argument):
            return Node("fn", (of(argument),), (function.rstrip("'"), len(function) - len(function.rstrip("'"))))
        case s.Negative(operand):
            return Node("neg", (of(operand),))
        case s.Sum(terms):
            return Node("add", tuple(map(of, terms)))
        case s.Product(factors, signs):
            return Node("mul", tuple(map(of, factors)), signs + ("",) * (len(factors) - 1 - len(signs)))
        case s.Quotient(above, below):
            return Node("div", (of(above), of(below)))
        case s.Power(base, exponent):
            return Node("pow", (of(base), of(exponent)))
        case s.SumOver(letter, body, without, limit):
            within = {name: value for name, value in at.items() if name != letter}
            here = () if without is None else (compared(letter, "≠", without),)
            bound = Bound((letter,), here, upper=None if limit == "K" else limit)
            return Node("sum", (tree_of(body, classes, within),), bound)
        case s.Indicator(left, right):
            return Node("ind", (), (compared(left, "=", right),))
        case s.OneHot(one):
            return Node("unit", (), index(one))
        case s.Derivative(operand, variable):
            return Node("D", (of(operand), of(variable)))
        case s.Gradient(operand, variable):
            return Node("grad", (of(operand), of(variable)), 1)
        case s.Vector(elements):
            pattern = vector_pattern(node)
            if pattern is not None:
                return Node("column", (of(pattern),), PATTERN_INDEX)
            return Node("mat", tuple(of(one) for one in elements if one is not None), ((0,),) * len(elements))
        case s.Transpose(operand):
            return Node("T", (of(operand),))
        case s.Cases(values, conditions):
            said = [(compared(c.left, c.sign, c.right),) for c in conditions]
            return Node("cases", tuple(map(of, values)), (*said, *[None] * (len(values) - len(said))))
    raise InputError(f"{type(node).__name__} cannot be checked")


def _index_node(index: s.Index) -> Node:
    return Node("name", (), Name(index)) if isinstance(index, str) else Node("num", (), index)
