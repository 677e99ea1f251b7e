"""How numbers and the chain's symbols are written, and how a symbol is taken apart for other notations."""

from __future__ import annotations

import re

from chainrule.boundary import html
from chainrule.notation import subscript

__all__ = ["fraction", "letter", "number", "probability", "unit_symbol", "weight_symbol"]

_PLAIN = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def number(value: float, digits: int = 6) -> str:
    """A number in a few digits, with a real minus sign; ∞ where it is infinite.

    Examples
    --------
    >>> number(-0.5), number(-float("inf"))
    ('−0.5', '−∞')
    """
    return html.number(value, digits)


def probability(p: float, rest: float, digits: int = 6) -> str:
    r"""A probability, by what is left to 1 where it would else read as 1: the others' sum, to its own digits.

    Examples
    --------
    >>> probability(0.998, 2e-3), probability(0.9999, 1e-4, digits=3), probability(1.0, 1e-20)
    ('0.998', '1\xa0−\xa00.0001', '1\xa0−\xa01e−20')
    """
    text = number(p, digits)
    return f"1\u00a0−\u00a0{number(rest, digits)}" if text == "1" and rest > 0 else text


def unit_symbol(layer: int, unit: int) -> str:
    """a with its layer and its unit.

    Examples
    --------
    >>> unit_symbol(1, 12)
    'a₁,₁₂'
    """
    return f"a{subscript(layer)},{subscript(unit)}"


def weight_symbol(layer: int, unit: int, source: int) -> str:
    """W with its layer, its unit and its input, apart where a number has two digits.

    Examples
    --------
    >>> weight_symbol(1, 1, 1), weight_symbol(1, 12, 3)
    ('W₁₁₁', 'W₁,₁₂,₃')
    """
    between = "" if max(layer, unit, source) < 10 else ","
    return f"W{subscript(layer)}{between}{subscript(unit)}{between}{subscript(source)}"


def fraction(symbol: str) -> tuple[str, str]:
    """What is derived, and by what.

    Examples
    --------
    >>> fraction("∂ŷ/∂a₃")
    ('ŷ', 'a₃')
    """
    above, below = symbol.split("/")
    return above.removeprefix("∂"), below.removeprefix("∂")


def letter(symbol: str) -> tuple[str, str]:
    """The letter and its subscript in plain digits.

    Examples
    --------
    >>> letter("W₁,₁₂,₃"), letter("𝓛")
    (('W', '1,12,3'), ('𝓛', ''))
    """
    found = re.fullmatch(r"([^₀-₉,]+)([₀-₉,]*)", symbol)
    return (found[1], found[2].translate(_PLAIN)) if found else (symbol, "")
