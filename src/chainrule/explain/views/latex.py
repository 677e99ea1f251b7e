"""A chain as LaTeX: each symbol over its number, group by group. It needs amsmath and amssymb."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule.explain.records import Factor
from chainrule.explain.symbols import fraction, letter

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["chain_latex"]

MOST = 6  # rows and columns of a matrix that is written out
ON_A_PAGE = 6  # groups; more are broken over pages
_LETTERS = {"𝓛": r"\mathcal{L}", "ŷ": r"\hat{y}"}


def chain_latex(chain: Chain) -> str:
    """The chain as one displayed formula, a line for each group."""
    groups = []
    for g in chain.groups:
        factors = r" \cdot ".join(rf"\underset{{{_value(f)}}}{{{_fraction(f.symbol)}}}" for f in g.factors)
        groups.append(rf"\underbrace{{{factors}}}_{{\text{{{g.heading}}}}}")
    product = " \\cdot {} \\\\\n&\\quad ".join(groups)
    left = _fraction(f"∂{chain.of}/∂{chain.symbol}")
    lines = f"{left} &= {product} \\\\\n&= {_number(chain.product)}"
    if len(groups) > ON_A_PAGE:
        return f"{{\\allowdisplaybreaks\n\\begin{{align*}}\n{lines}\n\\end{{align*}}}}\n"
    return f"\\[\n\\begin{{aligned}}\n{lines}\n\\end{{aligned}}\n\\]\n"


def _fraction(symbol: str) -> str:
    above, below = (_letter(part) for part in fraction(symbol))
    return rf"\frac{{\partial {above}}}{{\partial {below}}}"


def _letter(symbol: str) -> str:
    base, below = letter(symbol)
    return _LETTERS.get(base, base) + (f"_{{{below}}}" if below else "")


def _value(f: Factor) -> str:
    if f.shape == ():
        return _number(f.value)
    if f.part or max(f.shape) > MOST:
        size = r" \times ".join(map(str, f.shape))
        return rf"\mathbb{{R}}^{{{size}}}"
    rows: list[Any] = f.value if len(f.shape) == 2 else [f.value]
    inner = r" \\ ".join(" & ".join(map(_number, row)) for row in rows)
    matrix = rf"\left[\begin{{smallmatrix}} {inner} \end{{smallmatrix}}\right]"
    return rf"\operatorname{{diag}}{matrix}" if f.diagonal else matrix


def _number(value: float) -> str:
    if math.isnan(value):
        return r"\text{NaN}"
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa
