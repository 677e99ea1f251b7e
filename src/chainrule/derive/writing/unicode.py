"""An expression as plain Unicode on one line, and what every notation shares: where brackets must stand.

`Notation` walks the tree once for all of them. Each part comes back as a `Drawn`: what was written, how tightly it
holds together (`Level`), and what it would take in if that stood to its right (`Reach`). Brackets follow from these
two alone, so they are decided here and nowhere else; a notation says only how a fraction or a sum is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from fractions import Fraction
from typing import NamedTuple

from chainrule.derive import syntax as s

__all__ = ["Drawn", "Level", "Notation", "Reach", "equation", "text"]


class Level(IntEnum):
    """How tightly a written form holds together: the one table of precedence, loosest first."""

    SUM = 0  # x + y
    NEGATIVE = 1  # −x, and a fraction on one line that begins with a minus
    ODOT = 2  # x ⊙ y
    DOT = 3  # x · y
    QUOTIENT = 4  # x/y on one line
    SIDE = 5  # x y
    PREFIX = 6  # log x, Σ x, ∇ x, ∂/∂x y, and ∂y/∂x on one line
    POSTFIX = 7  # x², xᵀ, (x y)_i, and any fraction with a bar
    ELEMENT = 8  # softmax(x)_i
    CALL = 9  # exp(x)
    ATOM = 10  # x, x_i, (x + y)


class Reach(IntEnum):
    """What a written form would take in, if that stood to its right: each member also takes in all above it."""

    NOTHING = 0
    SIDE = 1  # a factor side by side: ∂y/∂x z
    SLASH = 2  # a divisor: x/y/z, ∇ x/y
    SUMMED = 3  # a factor after a sign: Σ x · y. Beneath a slash it stops there, as in the lecture: x / Σ y · z
    SIGN = 4  # the same, beneath a slash too: log x · y
    TERM = 5  # a term: ∂/∂x y + z


# The least reach that calls for brackets, by what is written next.
_BEFORE = {"": Reach.SIDE, "/": Reach.SLASH, "·": Reach.SUMMED, "⊙": Reach.SUMMED, "+": Reach.TERM}
_SIGN_LEVELS = {"": Level.SIDE, "·": Level.DOT, "⊙": Level.ODOT}
# Written without brackets around an argument that holds together: log ŷ_ℓ.
_BARE = ("log",)


class Drawn(NamedTuple):
    """A part as written. `digit` tells that it begins with a number, which must not stand right after a factor."""

    text: str
    level: Level
    reach: Reach = Reach.NOTHING
    digit: bool = False


class Notation:
    """A way of writing expressions: a method for each node decides on brackets, others draw. This one is plain Unicode
    on one line, as in `lecture.md`."""

    bars = False  # whether fractions have a bar: what is above and below it then needs no brackets

    def draw(self, node: s.Node) -> Drawn:
        """A node, whichever it is."""
        match node:
            case s.Number():
                return self._number(node)
            case s.Name(symbol):
                base, parts = _split(symbol)
                return Drawn(self.name(base, parts, bold=base in tuple("ahbW") and bool(parts)), Level.ATOM)
            case s.Indexed(symbol, indices) | s.Element(s.Name(symbol), indices):
                base, parts = _split(symbol)
                return Drawn(self.name(base, parts + tuple(map(str, indices))), Level.ATOM)
            case s.Element(vector, indices):
                whole = self.draw(vector)
                written = self.element(self._keep(whole, Level.CALL).text, tuple(map(str, indices)))
                return Drawn(written, Level.ELEMENT if whole.level >= Level.CALL else Level.POSTFIX)
            case s.Call():
                return self._call(node)
            case s.Negative() | s.Sum():
                terms = self.terms(node)
                if isinstance(node, s.Sum) and len(terms) == 1:
                    return self.draw(node.terms[0])
                level = Level.NEGATIVE if isinstance(node, s.Negative) else Level.SUM
                return Drawn(self.chain([(sign, p.text) for sign, p in terms]), level, terms[-1][1].reach)
            case s.Product():
                return self._product(node)
            case s.Quotient():
                return self._quotient(node)
            case s.Power(base_node, exponent):
                base_piece = self._keep(self.draw(base_node), Level.ATOM)
                written = self.power(base_piece.text, self.draw(exponent).text)
                return Drawn(written, Level.POSTFIX, digit=base_piece.digit)
            case s.SumOver():
                body = self._keep(self.draw(node.body), Level.SIDE)
                reach = Reach.SUMMED if body.reach == Reach.NOTHING else max(Reach.SIGN, body.reach)
                return Drawn(self.summation(node, body.text), Level.PREFIX, reach)
            case s.Indicator(left, right):
                return Drawn(self.indicator(str(left), str(right)), Level.ATOM)
            case s.OneHot(index):
                return Drawn(self.one_hot(str(index)), Level.ATOM)
            case s.Derivative():
                return self._derivative(node)
            case s.Gradient(operand, variable):
                written = self.gradient(self.draw(variable).text, self._at(Level.POSTFIX, operand))
                return Drawn(written, Level.PREFIX, Reach.SLASH)
            case s.Vector(elements):
                drawn = [None if e is None else self.draw(e).text for e in elements]
                return Drawn(self.vector(drawn), Level.ATOM if self.bars else Level.POSTFIX)
            case s.Transpose(operand):
                if isinstance(operand, s.Vector) and not self.bars:  # a column on one line is a row, transposed
                    return Drawn(self.draw(operand).text.removesuffix("ᵀ"), Level.ATOM)
                return Drawn(self.transpose(self._at(Level.CALL, operand)), Level.POSTFIX)
            case s.Cases(values, conditions):
                whens: list[str | None] = [*(self.draw(condition).text for condition in conditions), None]
                branches = [(self.draw(value).text, when) for value, when in zip(values, whens, strict=False)]
                return Drawn(self.cases(branches), Level.SUM, Reach.TERM)
            case s.Comparison(left, sign, right):
                sides = [self._compared(side) for side in (left, right)]
                return Drawn(self.chain([("", sides[0]), (sign, sides[1])]), Level.SUM, Reach.TERM)
        raise TypeError(f"not a node: {node!r}")

    def _compared(self, side: s.Node | str | int) -> str:
        """A side of a comparison: an index, or a number."""
        if isinstance(side, s.Node):
            return self.draw(side).text
        return self.digits(side) if isinstance(side, int) else self.name(side, ())

    def terms(self, node: s.Node) -> list[tuple[str, Drawn]]:
        """The terms of a sum or a negative, each with its sign ("" for a first one that is added)."""
        flat = list(_terms(node))
        written = []
        for n, term in enumerate(flat):
            negative = isinstance(term, s.Negative)
            piece = self.draw(term.operand if isinstance(term, s.Negative) else term)
            # Only a first term may bring a minus of its own: −1/x + y, but y + (−1/x).
            least = Level.NEGATIVE if n == 0 and not negative else Level.ODOT
            if len(flat) == 1:
                least = Level.DOT  # −(x ⊙ y), since −x ⊙ y may get a divisor
            follows = "+" if n < len(flat) - 1 else None
            written.append(("−" if negative else "+" if n else "", self._keep(piece, least, follows)))
        return written

    def factors(self, node: s.Product) -> list[tuple[str, Drawn]]:
        """The factors of a product, each with the sign before it ("" for the first, and for side by side)."""
        pieces = [self.draw(factor) for factor in node.factors]
        signs = list(node.signs or ("",) * (len(pieces) - 1))
        if len(signs) != len(pieces) - 1 or not set(signs) <= set(_SIGN_LEVELS):
            raise ValueError(f"a product of {len(pieces)} factors cannot have the signs {signs!r}")
        signs = ["·" if sign == "" and after.digit else sign for sign, after in zip(signs, pieces[1:], strict=True)]
        written = []
        for n, piece in enumerate(pieces):
            factor = node.factors[n]
            group = isinstance(factor, s.Product) and len(factor.factors) == 1
            if group or (len(pieces) > 1 and piece.level in (Level.DOT, Level.ODOT)):
                piece = self._bracketed(piece)  # W (x ⊙ y) is not W x ⊙ y; (x · y) · z are the lecture's groups
            piece = self._keep(piece, Level.ODOT, signs[n] if n < len(signs) else None)
            written.append((signs[n - 1] if n else "", piece))
        return written

    def _product(self, node: s.Product) -> Drawn:
        written = self.factors(node)
        if len(written) == 1:
            return written[0][1]
        levels = [_SIGN_LEVELS[sign] for sign, _ in written[1:]] + [piece.level for _, piece in written]
        return Drawn(
            self.chain([(sign, piece.text) for sign, piece in written]),
            min(Level.SIDE, *levels),
            written[-1][1].reach,
            written[0][1].digit,
        )

    def _number(self, node: s.Number) -> Drawn:
        if node.value < 0:
            return self.draw(s.Negative(s.Number(-node.value)))
        if node.value.denominator != 1:
            top, bottom = node.value.as_integer_ratio()
            return self.draw(s.Quotient(s.Number(Fraction(top)), s.Number(Fraction(bottom))))
        return Drawn(self.digits(node.value.numerator), Level.ATOM, digit=True)

    def _call(self, node: s.Call) -> Drawn:
        argument = self.draw(node.argument)
        # log (x/y)^z could be (log(x/y))^z: what may begin with a bracket gets one around it all
        if node.function in _BARE and argument.level >= Level.ELEMENT:
            return Drawn(self.apply(node.function, argument.text, bare=True), Level.PREFIX, Reach.SIGN)
        return Drawn(self.apply(node.function, argument.text, bare=False), Level.CALL)

    def _quotient(self, node: s.Quotient) -> Drawn:
        above, below = self.draw(node.numerator), self.draw(node.denominator)
        if self.bars:
            numbers = above.digit and below.digit  # 2 ½ would be read as two and a half
            return Drawn(self.fraction(above.text, below.text), Level.POSTFIX, digit=numbers)
        if above.level in (Level.SUM, Level.ODOT):
            above = self._bracketed(above)
        above = self._keep(above, Level.NEGATIVE, "/")
        if below.level != Level.PREFIX or below.reach != Reach.SUMMED:
            below = self._keep(below, Level.POSTFIX)
        level = min(Level.QUOTIENT, above.level)
        return Drawn(self.fraction(above.text, below.text), level, Reach.SLASH, above.digit)

    def _derivative(self, node: s.Derivative) -> Drawn:
        variable, operand = self.draw(node.variable).text, self.draw(node.operand)
        if node.follows:
            if operand.level < Level.PREFIX:
                operand = self._bracketed(operand, square=True)
            return Drawn(self.operator(variable, operand.text), Level.PREFIX, Reach.TERM)
        operand = self._keep(operand, Level.PREFIX if self.bars else Level.ELEMENT)
        written = self.derivative(operand.text, variable)
        return Drawn(written, Level.POSTFIX) if self.bars else Drawn(written, Level.PREFIX, Reach.SIDE)

    def _at(self, least: Level, node: s.Node) -> str:
        return self._keep(self.draw(node), least).text

    def _keep(self, piece: Drawn, least: Level, follows: str | None = None) -> Drawn:
        """The piece, in brackets where it is looser than `least` or would take in what follows."""
        held = piece.level >= least and (follows is None or piece.reach < _BEFORE[follows])
        return piece if held else self._bracketed(piece)

    def _bracketed(self, piece: Drawn, *, square: bool = False) -> Drawn:
        return Drawn(self.bracket(piece.text, square=square), Level.ATOM)

    # --- How it is drawn, as plain text: a notation of its own draws all of these in its way ---

    def digits(self, value: int) -> str:
        return str(value)

    def name(self, base: str, parts: tuple[str, ...], *, bold: bool = False) -> str:
        return base + _script("_", comma(parts).join(parts)) if parts else base

    def element(self, vector: str, indices: tuple[str, ...]) -> str:
        return vector + _script("_", comma(indices).join(indices))

    def apply(self, function: str, argument: str, *, bare: bool) -> str:
        function = function.replace("'", "′")
        return f"{function} {argument}" if bare else f"{function}({argument})"

    def bracket(self, inner: str, *, square: bool = False) -> str:
        return f"[{inner}]" if square else f"({inner})"

    def chain(self, parts: Sequence[tuple[str, str]]) -> str:
        """Terms or factors in a row, each with the sign before it."""
        (sign, first), *others = parts
        return sign + first + "".join(f" {sign} {part}" if sign else f" {part}" for sign, part in others)

    def fraction(self, above: str, below: str) -> str:
        return f"{above} / {below}" if " " in above + below else f"{above}/{below}"

    def power(self, base: str, exponent: str) -> str:
        if re.fullmatch(r"−?\d+", exponent):
            return base + exponent.translate(str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return base + _script("^", exponent)

    def transpose(self, operand: str) -> str:
        return f"{operand}ᵀ"

    def summation(self, node: s.SumOver, body: str) -> str:
        below = [node.index + "=1"] if node.limit != "K" else []
        below += [f"{node.index}≠{node.without}"] if node.without is not None else []
        above = _script("^", str(node.limit)) if node.limit != "K" else ""
        return f"Σ{_script('_', ', '.join(below) or node.index)}{above} {body}"

    def indicator(self, left: str, right: str) -> str:
        return f"𝟙[{left}={right}]"

    def one_hot(self, index: str) -> str:
        return f"e({index})"

    def derivative(self, operand: str, variable: str) -> str:
        return f"∂{operand}/∂{variable}"

    def operator(self, variable: str, operand: str) -> str:
        return f"∂/∂{variable} {operand}"

    def gradient(self, variable: str, operand: str) -> str:
        return f"∇{_script('_', variable)} {operand}"

    def vector(self, elements: Sequence[str | None]) -> str:
        return "[" + ", ".join("…" if element is None else element for element in elements) + "]ᵀ"

    def cases(self, branches: Sequence[tuple[str, str | None]]) -> str:
        """Each value with its condition, None for a last one that is for all else."""
        words = [f"{value} otherwise" if when is None else f"{value} if {when}" for value, when in branches]
        return ", and ".join(words) if len(words) < 3 else ", ".join([*words[:-1], f"and {words[-1]}"])


def _split(symbol: str) -> tuple[str, tuple[str, ...]]:
    """A symbol's letter, and its subscript if it has one: a_{k+1} is ("a", ("k+1",))."""
    base, _, below = symbol.partition("_")
    below = below.removeprefix("{").removesuffix("}")
    return base, (below,) if below else ()


def _terms(node: s.Node) -> Iterator[s.Node]:
    """The terms of a sum, those of sums added inside it too, with numbers below 0 as negatives."""
    if isinstance(node, s.Sum):
        for term in node.terms:
            yield from _terms(term)
    elif isinstance(node, s.Number) and node.value < 0:
        yield s.Negative(s.Number(-node.value))
    else:
        yield node


def comma(parts: Sequence[str]) -> str:
    """What stands between the parts of a subscript: nothing where each is one letter or digit, as in a_{Li'}."""
    return "" if all(len(part.rstrip("'′")) == 1 for part in parts) else ","


def _script(mark: str, inner: str) -> str:
    return mark + (inner if len(inner) == 1 or inner.isdecimal() else f"{{{inner}}}")


def text(node: s.Node) -> str:
    """An expression as plain Unicode on one line.

    Examples
    --------
    >>> text(s.Negative(s.Sum((s.Indicator("ℓ", "i"), s.Negative(s.Indexed("ŷ", ("i",)))))))
    '−(𝟙[ℓ=i] − ŷ_i)'
    """
    return Notation().draw(node).text


def equation(left: s.Node | None, right: s.Node) -> str:
    """A line's formula: both sides, or what follows the equals sign.

    Examples
    --------
    >>> equation(s.Name("𝓛"), s.Negative(s.Call("log", s.Indexed("ŷ", ("ℓ",)))))
    '𝓛 = −log ŷ_ℓ'
    """
    return f"{text(left)} = {text(right)}" if left is not None else f"= {text(right)}"
