"""What a line of a derivation is made of: a tree of these nodes, the same for every way of reading or showing it.

An index is a letter (ℓ, i, j, i'), a number from 1, or the number of classes, K. Vectors and matrices are names with
fewer indices than they have axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction

__all__ = [
    "Call", "Cases", "Comparison", "Derivative", "Element", "Gradient", "Indexed", "Indicator", "Name", "Negative",
    "Node", "Number", "OneHot", "Power", "Product", "Quotient", "Sum", "SumOver", "Transpose", "Vector", "parts",
    "walk",
]  # fmt: skip

Index = str | int


class Node:
    """Any part of an expression."""


@dataclass(frozen=True)
class Number(Node):
    """A number, exact."""

    value: Fraction


@dataclass(frozen=True)
class Name(Node):
    """A scalar, or a whole vector or matrix: 𝓛, ŷ, a_L, W_1, λ. The symbol is written as in `chainrule.notation`."""

    symbol: str


@dataclass(frozen=True)
class Indexed(Node):
    """An element of a name: ŷ_ℓ is Indexed("ŷ", ("ℓ",)), a_{Li} is Indexed("a_L", ("i",)), W_111 is
    Indexed("W_1", (1, 1))."""

    symbol: str
    indices: tuple[Index, ...]


@dataclass(frozen=True)
class Element(Node):
    """An element of an expression that is a vector: softmax(a_L)_ℓ, exp(a_L)_i."""

    vector: Node
    indices: tuple[Index, ...]


@dataclass(frozen=True)
class Call(Node):
    """A function by name, of a scalar or element by element: exp, log, log1p, softmax, tanh, σ, g, g'."""

    function: str
    argument: Node


@dataclass(frozen=True)
class Negative(Node):
    """−x."""

    operand: Node


@dataclass(frozen=True)
class Sum(Node):
    """Terms added, in their order; a subtracted one is Negative."""

    terms: tuple[Node, ...]


@dataclass(frozen=True)
class Product(Node):
    """Factors multiplied, in their order. `signs` says how each is written after the one before it: "" side by side,
    "·", "⊙" (element by element)."""

    factors: tuple[Node, ...]
    signs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quotient(Node):
    """A fraction."""

    numerator: Node
    denominator: Node


@dataclass(frozen=True)
class Power(Node):
    """base^exponent."""

    base: Node
    exponent: Node


@dataclass(frozen=True)
class SumOver(Node):
    """Σ over an index, from 1 to `limit`, of the body; but for `without`, where it is not None."""

    index: str
    body: Node
    without: Index | None = None
    limit: Index = "K"


@dataclass(frozen=True)
class Indicator(Node):
    """𝟙[left = right]."""

    left: Index
    right: Index


@dataclass(frozen=True)
class OneHot(Node):
    """e(ℓ)."""

    index: Index


@dataclass(frozen=True)
class Derivative(Node):
    """∂ operand / ∂ variable. `follows` tells how it is written: the operator before the operand, or the operand in the
    numerator. The variable is a Name or an Indexed."""

    operand: Node
    variable: Node
    follows: bool = False


@dataclass(frozen=True)
class Gradient(Node):
    """∇_variable operand: the vector, or matrix, of the derivatives w.r.t. each element."""

    operand: Node
    variable: Name


@dataclass(frozen=True)
class Vector(Node):
    """A column whose elements are written out, with dots between: what stands at index 1, and at K. `None` stands for
    the dots."""

    elements: tuple[Node | None, ...]


@dataclass(frozen=True)
class Transpose(Node):
    """xᵀ."""

    operand: Node


@dataclass(frozen=True)
class Comparison(Node):
    """What must hold in a branch of `Cases`: i = ℓ or i ≠ ℓ of two indices, x < y or x > y of two numbers."""

    left: Node | Index
    sign: str
    right: Node | Index


@dataclass(frozen=True)
class Cases(Node):
    """The value whose condition holds. A last value without a condition is for all that is left."""

    values: tuple[Node, ...]
    conditions: tuple[Comparison, ...]


def walk(node: Node) -> Iterator[Node]:
    """A node and everything in it, from the outside in.

    Examples
    --------
    >>> [type(part).__name__ for part in walk(Negative(Call("log", Indexed("ŷ", ("ℓ",)))))]
    ['Negative', 'Call', 'Indexed']
    """
    yield node
    for part in parts(node):
        yield from walk(part)


def parts(node: Node) -> Iterator[Node]:
    """The nodes that a node is made of, in their order.

    Examples
    --------
    >>> list(parts(Quotient(Name("𝓛"), Name("λ"))))
    [Name(symbol='𝓛'), Name(symbol='λ')]
    """
    for one in fields(node):  # type: ignore[arg-type]  # every node is a dataclass
        value = getattr(node, one.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Node):
                yield part
