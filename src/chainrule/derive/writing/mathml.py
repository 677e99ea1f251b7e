"""An expression in presentation MathML Core, which browsers draw and screen readers read without a script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from html import escape

from chainrule.derive import syntax as s
from chainrule.derive.writing import unicode
from chainrule.derive.writing.unicode import Notation, comma

__all__ = ["MathML", "equation", "mathml"]

# Spoken, and not drawn. The thin space keeps log from its argument, and one bar of a fraction from the next.
_TIMES = '<mo lspace="0" rspace="0.17em">\N{INVISIBLE TIMES}</mo>'
_APPLY = "<mo>\N{FUNCTION APPLICATION}</mo>"
_APPLY_BARE = '<mo lspace="0" rspace="0.17em">\N{FUNCTION APPLICATION}</mo>'
_HAT = "\N{COMBINING CIRCUMFLEX ACCENT}"


class MathML(Notation):
    """What stands inside `<math>`."""

    bars = True

    def digits(self, value: int) -> str:
        return _tag("mn", str(value))

    def name(self, base: str, parts: tuple[str, ...], *, bold: bool = False) -> str:
        letter = _letter(base, bold=bold)
        return _tag("msub", letter + _parts(parts)) if parts else letter

    def element(self, vector: str, indices: tuple[str, ...]) -> str:
        return _tag("msub", _tag("mrow", vector) + _parts(indices))

    def apply(self, function: str, argument: str, *, bare: bool) -> str:
        inner = _APPLY_BARE + argument if bare else _APPLY + self.bracket(argument)
        return _tag("mrow", _letter(function) + inner)

    def bracket(self, inner: str, *, square: bool = False) -> str:
        left, right = "[]" if square else "()"
        return _tag("mrow", _sign(left) + inner + _sign(right))

    def chain(self, parts: Sequence[tuple[str, str]]) -> str:
        signs = [_sign(sign) if sign else _TIMES if n else "" for n, (sign, _) in enumerate(parts)]
        return _tag("mrow", "".join(sign + part for sign, (_, part) in zip(signs, parts, strict=True)))

    def fraction(self, above: str, below: str) -> str:
        return _tag("mfrac", _tag("mrow", above) + _tag("mrow", below))

    def power(self, base: str, exponent: str) -> str:
        return _tag("msup", _tag("mrow", base) + exponent)

    def transpose(self, operand: str) -> str:
        return _tag("msup", _tag("mrow", operand) + _tag("mi", "⊤"))

    def summation(self, node: s.SumOver, body: str) -> str:
        below, bounded = [_index(node.index)], node.limit != "K"
        if bounded:
            below = [_index(node.index) + _sign("=") + _tag("mn", "1")]
        if node.without is not None:
            below = (below if bounded else []) + [_index(node.index) + _sign("≠") + _index(str(node.without))]
        under = _sign("∑") + _tag("mrow", _sign(",").join(below))
        sigma = _tag("munderover", under + _index(str(node.limit))) if bounded else _tag("munder", under)
        return _tag("mrow", sigma + body)

    def indicator(self, left: str, right: str) -> str:
        equal = _sign("(") + _index(left) + _sign("=") + _index(right) + _sign(")")
        return _tag("msub", _tag("mn", "𝟙") + _tag("mrow", equal))

    def one_hot(self, index: str) -> str:
        return _tag("mrow", _letter("e", bold=True) + _APPLY + self.bracket(_index(index)))

    def derivative(self, operand: str, variable: str) -> str:
        return self.fraction(_sign("∂") + operand, _sign("∂") + variable)

    def operator(self, variable: str, operand: str) -> str:
        return _tag("mrow", self.fraction(_sign("∂"), _sign("∂") + variable) + operand)

    def gradient(self, variable: str, operand: str) -> str:
        return _tag("mrow", _tag("msub", _sign("∇") + variable) + operand)

    def vector(self, elements: Sequence[str | None]) -> str:
        rows = [_tag("mtr", _tag("mtd", _sign("⋮") if e is None else e)) for e in elements]
        return self.bracket(_tag("mtable", "".join(rows)), square=True)

    def cases(self, branches: Sequence[tuple[str, str | None]]) -> str:
        rows = ""
        for value, when in branches:
            word = _tag("mtext", "otherwise" if when is None else "if\N{NO-BREAK SPACE}")
            rows += _tag("mtr", _tag("mtd", value) + _tag("mtd", word + (when or "")))
        return _tag("mrow", _sign("{") + _tag("mtable", rows))


def _tag(name: str, inner: str) -> str:
    if name == "mrow":
        return inner if _is_one(inner) else f"<mrow>{inner}</mrow>"
    return f"<{name}>{escape(inner) if name in ('mi', 'mn') else inner}</{name}>"


def _is_one(inner: str) -> bool:
    """Whether a string is one element, which needs no row around it."""
    depth = 0
    for mark in re.finditer(r"<(/?)[a-z]+[^>]*>", inner):
        depth += -1 if mark[1] else 1
        if depth == 0:
            return mark.end() == len(inner)
    return False


def _sign(sign: str) -> str:
    return f"<mo>{escape(sign)}</mo>"


def _letter(base: str, *, bold: bool = False) -> str:
    stem = base.rstrip("'′")
    parts = unicodedata.normalize("NFD", stem)
    if len(parts) == 2 and parts[1] == _HAT:  # ŷ is not among the letters that MathML slants: y, and a hat
        written = f'<mover accent="true"><mi>{escape(parts[0])}</mi><mo stretchy="false">^</mo></mover>'
    elif bold and re.fullmatch("[A-Za-z]", stem):  # MathML Core has bold letters, and no bold style
        first, offset = ("a", 0x1D41A) if stem.islower() else ("A", 0x1D400)
        written = _tag("mi", chr(offset + ord(stem) - ord(first)))
    else:
        written = _tag("mi", stem)
    return _primed(written, len(base) - len(stem))


def _primed(written: str, primes: int) -> str:
    return _tag("msup", written + _sign("′" * primes)) if primes else written


def _index(part: str) -> str:
    """A part of a subscript: ℓ, i', 12, k+1."""
    written = []
    for token in re.findall(r"\d+|[^\W\d_]['′]*|\S", part):
        stem = token.rstrip("'′") or token
        tag = "mn" if token.isdecimal() else "mi" if stem[0].isalnum() else "mo"
        written.append(_primed(_sign(stem) if tag == "mo" else _tag(tag, stem), len(token) - len(stem)))
    return written[0] if len(written) == 1 else _tag("mrow", "".join(written))


def _parts(parts: Sequence[str]) -> str:
    between = _sign(",") if comma(parts) else ""
    return _index(parts[0]) if len(parts) == 1 else _tag("mrow", between.join(_index(part) for part in parts))


def _math(inner: str, words: str) -> str:
    quoted = escape(words, quote=False).replace('"', "&quot;")
    return f'<math display="block" alttext="{quoted}">{_tag("mrow", inner)}</math>'


def mathml(node: s.Node) -> str:
    """An expression as a `<math>` element, with its Unicode text for who cannot see it.

    Examples
    --------
    >>> print(mathml(s.Negative(s.Name("x"))))
    <math display="block" alttext="−x"><mrow><mo>−</mo><mi>x</mi></mrow></math>
    """
    return _math(MathML().draw(node).text, unicode.text(node))


def equation(left: s.Node | None, right: s.Node) -> str:
    """A line's formula as a `<math>` element: both sides, or what follows the equals sign.

    Examples
    --------
    >>> print(equation(None, s.Name("x")))
    <math display="block" alttext="= x"><mrow><mo>=</mo><mi>x</mi></mrow></math>
    """
    notation = MathML()
    before = notation.draw(left).text if left is not None else ""
    return _math(before + _sign("=") + notation.draw(right).text, unicode.equation(left, right))
