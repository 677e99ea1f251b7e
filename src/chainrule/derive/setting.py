"""What the names of a derivation stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chainrule.derive.syntax import Call, Indexed, Name, Negative, Node, Product, Sum, SumOver
from chainrule.errors import InputError

__all__ = [
    "HIDDEN_LAYER", "OUTPUT_LAYER", "Defined", "Free", "Length", "MisfitError", "Setting",
    "TooLargeError", "UndefinedError",
]  # fmt: skip

Length = str | int  # "K", a name in Setting.lengths, or a number


class MisfitError(InputError):
    """Dimensions that do not fit each other: a vector added to a number, an index outside of its range."""


class UndefinedError(InputError):
    """A side has no value: a division by zero, an infinity, a number too large to compute."""


class TooLargeError(InputError):
    """To compute a side would take too long."""


@dataclass(frozen=True)
class Free:
    """A name that stands for itself. `axes` are the lengths of its axes: none for a number, one for a column, two for a
    matrix of rows and columns. `domain` says which numbers it holds: real, nonzero (of both signs), positive, unit
    (between 0 and 1), or simplex (a column of positive numbers that add up to 1)."""

    axes: tuple[Length, ...] = ()
    domain: str = "real"


@dataclass(frozen=True)
class Defined:
    """A name that stands for an expression. With `indices`, one letter for each axis, the expression is that of one
    element; without, it is the whole."""

    expression: Node
    axes: tuple[Length, ...] = ()
    indices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Setting:
    """What the names of a derivation stand for, and for which numbers of classes it is checked.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from chainrule.derive.syntax import Derivative, Number, Power
    >>> squared = Setting(
    ...     free={"y": Free(("K",)), "a_L": Free(("K",))},
    ...     defined={"𝓛": Defined(SumOver("j", Power(Sum((Indexed("a_L", ("j",)), Negative(Indexed("y", ("j",))))),
    ...                                              Number(Fraction(2)))))},
    ... )
    >>> two = Number(Fraction(2))
    >>> after = Product((two, Sum((Indexed("a_L", ("i",)), Negative(Indexed("y", ("i",)))))))
    >>> from chainrule.derive.checking.step import check_step
    >>> check_step(Derivative(Name("𝓛"), Indexed("a_L", ("i",))), after, squared).follows
    True
    """

    free: Mapping[str, Free]
    defined: Mapping[str, Defined] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    symbolic_classes: tuple[int, ...] = (2, 3, 4)
    numeric_classes: tuple[int, ...] = (2, 5, 50)

    def length(self, length: Length, classes: int) -> int:
        """A length as a number, where there are so many classes."""
        if isinstance(length, int):
            return length
        if length == "K":
            return classes
        if length not in self.lengths:
            raise InputError(f"{length} is not a length that is known here")
        return self.lengths[length]

    def axes(self, symbol: str, classes: int) -> tuple[int, ...]:
        """The lengths of a name's axes."""
        entry: Free | Defined | None = self.defined.get(symbol) or self.free.get(symbol)
        if entry is None:
            raise InputError(f"{symbol} is not a name that is known here")
        return tuple(self.length(axis, classes) for axis in entry.axes)


OUTPUT_LAYER = Setting(
    free={"a_L": Free(("K",))},
    defined={
        "ŷ": Defined(Call("softmax", Name("a_L")), axes=("K",)),
        "𝓛": Defined(Negative(Call("log", Indexed("ŷ", ("ℓ",))))),
    },
)


def _affine(weights: str, below: str, bias: str) -> Node:
    return Sum((Product((Name(weights), Name(below))), Name(bias)))


# The layer after this one may be any, and so may what the loss makes of it: here log Σ c_j exp(a_j) with any c.
HIDDEN_LAYER = Setting(
    free={
        "h_{k−1}": Free(("D",)),
        "W_k": Free(("U", "D")),
        "b_k": Free(("U",)),
        "W_{k+1}": Free(("K", "U")),
        "b_{k+1}": Free(("K",)),
        "c": Free(("K",), "positive"),
    },
    defined={
        "a_k": Defined(_affine("W_k", "h_{k−1}", "b_k"), ("U",)),
        "h_k": Defined(Call("g", Name("a_k")), ("U",)),
        "a_{k+1}": Defined(_affine("W_{k+1}", "h_k", "b_{k+1}"), ("K",)),
        "𝓛": Defined(
            Call("log", SumOver("j", Product((Indexed("c", ("j",)), Call("exp", Indexed("a_{k+1}", ("j",)))))))
        ),
    },
    lengths={"U": 3, "D": 2},
    symbolic_classes=(2, 3),
    numeric_classes=(2, 5),
)
