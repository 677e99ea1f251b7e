"""One table: the lecture's symbol, its name in code, its shape for a batch of N, its meaning.

docs/lecture.md shows it, and a test holds both to the code: the names, their shapes and what they mean.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SYMBOLS", "Symbol", "subscript", "symbol"]


class Symbol(NamedTuple):
    """A row of the table."""

    symbol: str
    code: str
    shape: str
    meaning: str


SYMBOLS = (
    Symbol("ℓ", "labels", "(N,) integers", "the true class"),
    Symbol("ŷ", "probabilities", "(N, K)", "softmax of the logits"),
    Symbol("a_L", "logits", "(N, K)", "the pre-activations of the output layer"),
    Symbol("a_k", "preactivations[k-1]", "(N, width_k)", "W_k h_{k−1} + b_k"),
    Symbol("h_k", "activations[k]", "(N, width_k)", "g(a_k); activations[0] is x"),
    Symbol("W_k", "weights[k-1]", "(width_k, width_{k-1})", "the weights: row = unit, column = its input"),
    Symbol("b_k", "biases[k-1]", "(width_k,)", "the biases"),
    Symbol("∇_z 𝓛", "grad_z", "the shape of z", "the gradient of the loss w.r.t. z"),
    Symbol("e(ℓ)", "one_hot(labels)", "(N, K)", "1 at the label, 0 elsewhere"),
    Symbol("𝓛", "loss", "() or (N,)", "the cross entropy −log ŷ_ℓ"),
)

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def symbol(code: str) -> Symbol:
    """The row of the table for a name in code.

    Examples
    --------
    >>> symbol("logits").symbol
    'a_L'
    """
    return next(row for row in SYMBOLS if row.code.split("[")[0].split("(")[0] == code)


def subscript(value: int | str) -> str:
    """A number as a subscript; other text after an underscore.

    Examples
    --------
    >>> "W" + subscript(12), "ŷ" + subscript("ℓ")
    ('W₁₂', 'ŷ_ℓ')
    """
    return str(value).translate(_SUBSCRIPTS) if str(value).isdigit() else f"_{value}"
