"""The loss with its options and its gradient, where the gradient's terms cancel: `options`, in pairs of float64.

    ∇_z 𝓛 = P ŷ − q,    P = Q + 2λ lse,    z = s a/T, or c tanh(s a/c)/T

Near convergence, or anywhere by chance, what is left of the difference has fewer digits than float64 has; in pairs its
error is 2⁻⁹⁶ of its terms, or less (c 2⁻⁹⁷ with a cap c). As ŷ_j (Q − q_j) − q_j (1 − ŷ_j) the terms may be so small
that float64 is the better, as where a target is 1: then it is taken. Nothing waits for a value, so this runs on any
device and is traced. Arrays are what `pairs` takes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import array_namespace
from chainrule.equations.output import at, where_largest
from chainrule.equations.pairs import Pair, exp, log1p, number, pair, select, total

__all__ = ["Row", "entropy", "log_sum", "loss_and_gradient", "row_of"]

FAR = -800.0  # whose exponential is 0
PLAIN = 2.0**-47  # how small float64's terms must be beside the others, for an error of 2⁻⁹⁸ of these


class Row(NamedTuple):
    """What the loss sees of each row, and its exponentials; see `row_of`."""

    below: Any  # (..., K): max z − z_j
    top: Any  # (..., K), bool: where the largest is
    each: Pair  # (..., K): exp(z_j − max z)
    others: Pair  # (...): their sum without that of the largest, which is 1
    largest: Pair  # (...): max z
    broken: Any  # (...): 0, or NaN for a row with NaN or +∞, or of −∞ alone
    slope: Any  # (..., K) or a number: ∂z/∂a


def row_of(logits: Any, temperature: float = 1.0, softcap: float | None = None, scale: float = 1.0) -> Row:
    """Of logits (..., K) in float64.

    Examples
    --------
    >>> float(row_of(np.array([40.0, 0.0])).others.high)
    4.248354255291589e-18

    Source: `output.exponentials` and `options.capped_logits`.
    """
    xp, top = array_namespace(logits), where_largest(logits)
    factor = Fraction(1 if softcap else scale) / Fraction(temperature)
    z, slope = pair(logits), float(factor)
    if softcap:
        z, capped = _capped(logits, softcap, scale)
        slope = capped * slope
    largest = Pair(xp.max(z.high, axis=-1), at(top, z.low))
    broken = largest.high - largest.high
    below = (largest.high[..., None] - z.high) * float(factor)
    far = ~(below < -FAR)
    x = select(far, pair(xp.zeros_like(logits)), z - _wide(largest))
    if factor != 1:
        x, largest = x * number(factor), largest * number(factor)
    each = exp(Pair(xp.where(far, FAR, x.high), x.low))
    below = xp.where(far, below, -x.high)
    others = total(select(top, pair(xp.zeros_like(logits)), each), 1.0)
    return Row(below, top, each, others, largest, broken, slope)


def loss_and_gradient(row: Row, targets: Pair, z_loss: float = 0.0, *, wants_grad: bool = True) -> tuple[Any, Any]:
    """𝓛 (...) and ∇_a 𝓛 (..., K), or None, in float64, for targets q (..., K).

    Examples
    --------
    >>> row = row_of(np.array([0.0, 1e-20]))
    >>> loss_and_gradient(row, pair(np.array([0.5, 0.5])))[1].tolist()
    [-2.5e-21, 2.5e-21]

    Source: `options.loss_from_targets` and `grad_from_targets`.
    """
    q, heavy, e = targets, where_largest(targets.high), row.each.high
    xp = array_namespace(e)
    away = total(select(heavy, pair(xp.zeros_like(e)), q))
    mass, whole = away + Pair(at(heavy, q.high), at(heavy, q.low)), row.others + 1.0
    apart = total(pair(xp.where(q.high == 0, 0.0, q.high * row.below))).high
    loss, by, pull = apart + mass.high * xp.log1p(row.others.high), mass, 0.0
    if z_loss != 0.0:
        lse = log_sum(row)
        loss, by = loss + z_loss * lse.high * lse.high, mass + lse * (2.0 * z_loss)
        pull = (2.0 * z_loss) * lse.high[..., None]
    if not wants_grad:
        return loss + row.broken, None
    share = row.each * _wide(by / whole)
    sum_of, others = whole.high[..., None], row.others.high[..., None]
    first = xp.where(heavy, away.high[..., None], mass.high[..., None] - q.high)
    second = q.high * xp.where(row.top, others, sum_of - e)
    size = e * (xp.abs(first) + abs(pull)) + xp.abs(second)
    is_plain = size < (xp.abs(share.high) + xp.abs(q.high)) * sum_of * PLAIN
    grad = xp.where(is_plain, (e * (first + pull) - second) / sum_of, (share - q).high)
    return loss + row.broken, grad * row.slope + row.broken[..., None]


def log_sum(row: Row) -> Pair:
    """lse = log Σ_j exp(z_j), (...)."""
    return row.largest + log1p(row.others)


def entropy(row: Row) -> Any:
    """−Σ_j ŷ_j log ŷ_j, (...)."""
    xp, e = array_namespace(row.below), row.each.high
    far = total(pair(xp.where(e == 0, 0.0, e * row.below))).high
    return xp.log1p(row.others.high) + far / (row.others + 1.0).high + row.broken


def _capped(logits: Any, softcap: float, scale: float) -> tuple[Pair, Any]:
    """c tanh(s a/c) = ±c (1 − E)/(1 + E), and its slope s 4E/(1 + E)², with E = exp(−2 |s a/c|). −∞ stays −∞."""
    xp, ratio = array_namespace(logits), Fraction(scale) / Fraction(softcap)
    size, most = xp.abs(logits), -FAR / float(ratio)
    u = pair(xp.where(size < most, size, most)) * number(-2 * ratio)
    e = exp(u)
    z = (-e + 1.0) / (e + 1.0) * softcap
    z = select(logits < 0, -z, z)
    z = select(logits > -xp.inf, z, pair(logits))  # neither −∞ nor NaN
    return z, 4.0 * scale * e.high / (1.0 + e.high) ** 2


def _wide(x: Pair) -> Pair:
    return Pair(x.high[..., None], x.low[..., None])
