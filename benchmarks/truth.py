"""Exact values of the output layer, and how far a computed value is from them in units of the last place (ULP).

MPFR at 200 bits, the inputs taken as exact. An exact number is kept as (head, tail, exponent), which stands for
(head + tail) * 2**exponent. 2**exponent is the spacing of the format at the number, never below its smallest
subnormal; so head + tail counts ULP, holds 106 bits, and neither overflows nor underflows.
"""

from __future__ import annotations

from typing import NamedTuple

import gmpy2
import ml_dtypes
import numpy as np


class Format(NamedTuple):
    """A number format: significant bits; the smallest subnormal is 2**tiny; every finite number is below 2**top."""

    dtype: np.dtype
    digits: int
    tiny: int
    top: int

    def round(self, values):
        """To the format and back to float64, which holds every format's numbers."""
        with np.errstate(over="ignore"):
            return np.asarray(values).astype(self.dtype).astype(np.float64)


FORMATS = {
    "float32": Format(np.dtype(np.float32), 24, -149, 128),
    "float64": Format(np.dtype(np.float64), 53, -1074, 1024),
    "bfloat16": Format(np.dtype(ml_dtypes.bfloat16), 8, -133, 128),
    "float16": Format(np.dtype(np.float16), 11, -24, 16),
}


class Truth(NamedTuple):
    """Exact numbers, head, tail and exponent along the first axis: (3, N), (3, N) and (3, N, K)."""

    loss: np.ndarray
    grad_true: np.ndarray
    probabilities: np.ndarray  # also the gradient w.r.t. the logits, but for the true class


def exact_rows(logits, labels, form):
    """Loss −log ŷ_ℓ, true-class gradient ŷ_ℓ − 1 and probabilities ŷ of each row of logits."""
    losses, grads, probabilities = [], [], []
    with gmpy2.context(precision=200):
        for row, label in zip(logits, labels, strict=True):
            # in 16-bit formats a row of 128,000 logits has but a few thousand different ones
            values, where, counts = np.unique(row, return_inverse=True, return_counts=True)
            top, chosen = gmpy2.mpfr(values[-1]), where[label]
            exps = [gmpy2.exp(gmpy2.mpfr(value) - top) for value in values.tolist()]
            counts[chosen] -= 1
            others = gmpy2.fsum([count * e for count, e in zip(counts.tolist(), exps, strict=True)])
            total, gap = others + exps[chosen], top - gmpy2.mpfr(row[label])
            losses.append(gap + gmpy2.log(total) if gap else gmpy2.log1p(others))
            grads.append(-others / total)
            probabilities.append(_in_units([e / total for e in exps], form)[:, where])
        return Truth(_in_units(losses, form), _in_units(grads, form), np.stack(probabilities, axis=1))


class TruthWithOptions(NamedTuple):
    """As `Truth`, and the error of the gradient that is excused, in ULP: (N, K)."""

    loss: np.ndarray
    grad: np.ndarray
    excused: np.ndarray


def exact_with_options(
    logits, targets, weights, form, excuse, smoothing=0.0, temperature=1.0, z_loss=0.0, softcap=None, scale=1.0
):
    """Loss Σ t_j (lse − z_j) + λ lse² of each row and its gradient, z = c tanh(s a/c)/T, t_j = w_j ((1 − ε) q_j + ε/K).

    `excuse` is the part of the larger of a gradient's two terms, z′ ŷ_j (Σt + 2λ lse) and z′ t_j, that does not count.
    """
    losses, grads, excused = [], [], []
    with gmpy2.context(precision=300):
        exact = gmpy2.mpfr
        kept, spread = 1 - exact(smoothing), exact(smoothing) / logits.shape[1]
        for row, given in zip(logits.tolist(), targets.tolist(), strict=True):
            z = [exact(a) * exact(scale) / exact(temperature) for a in row]
            slopes = [exact(scale) / exact(temperature)] * len(z)
            if softcap is not None:
                u = [exact(a) * exact(scale) / exact(softcap) for a in row]
                z = [exact(softcap) * gmpy2.tanh(v) / exact(temperature) for v in u]
                slopes = [slope * gmpy2.sech(v) ** 2 for slope, v in zip(slopes, u, strict=True)]
            top = max(z)
            exps = [gmpy2.exp(v - top) for v in z]
            total = gmpy2.fsum(exps)
            lse = top + gmpy2.log(total)
            pulls = [exact(w) * (kept * exact(q) + spread) for w, q in zip(weights.tolist(), given, strict=True)]
            pushed = gmpy2.fsum(pulls) + 2 * exact(z_loss) * lse
            losses.append(gmpy2.fsum([t * (lse - v) for t, v in zip(pulls, z, strict=True)]) + exact(z_loss) * lse**2)
            pushes = [e / total * pushed for e in exps]
            grad = [(push - pull) * slope for push, pull, slope in zip(pushes, pulls, slopes, strict=True)]
            units = _in_units(grad, form)
            grads.append(units)
            larger = [max(abs(push), pull) * by for push, pull, by in zip(pushes, pulls, slopes, strict=True)]
            excused.append([float(excuse * v / exact(2) ** int(u)) for v, u in zip(larger, units[2], strict=True)])
        return TruthWithOptions(_in_units(losses, form), np.stack(grads, axis=1), np.array(excused))


def exact_reciprocals(numbers, form):
    """−1/p of each number p; −∞ at 0."""
    with gmpy2.context(precision=200):
        return _in_units([-1 / gmpy2.mpfr(number) for number in numbers.tolist()], form)


def _in_units(numbers, form):
    units = np.empty((3, len(numbers)))
    for i, number in enumerate(numbers):
        exponent = gmpy2.get_exp(number) if gmpy2.is_regular(number) else form.tiny
        unit = max(exponent - form.digits, form.tiny)
        scaled = gmpy2.mul_2exp(number, -unit) if unit < 0 else gmpy2.div_2exp(number, unit)
        head = float(scaled)
        beyond = exponent > form.top or (exponent == form.top and abs(scaled) >= 2**form.digits - 0.5)
        if beyond or gmpy2.is_infinite(number):
            units[:, i] = np.copysign(np.inf, head), 0.0, unit
        else:
            units[:, i] = head, float(scaled - head), unit
    return units


def ulps(values, exact):
    """|value − exact| in ULP; where the exact number rounds to ±∞, 0 for the same infinity and ∞ for all else."""
    head, tail, exponent = exact
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs((np.ldexp(values, -exponent.astype(np.int32)) - head) - tail)
    error = np.where(np.isinf(head), np.where(values == head, 0.0, np.inf), error)
    return np.where(np.isnan(error), np.inf, error)


def rounds_to_zero(exact):
    return np.abs(exact[0] + exact[1]) <= 0.5


def nearest(exact, form):
    """The exact numbers rounded to the format, as float64."""
    head, _, exponent = exact
    return form.round(np.ldexp(head, exponent.astype(np.int32)))
