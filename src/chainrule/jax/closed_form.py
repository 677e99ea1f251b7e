"""The output layer in jax.numpy, for platforms that have no kernels: the same equations, nothing cancels.

16-bit formats are computed in float32 and rounded once. float32 and float64 are computed as they are: for labels a
result is within four ULP of the truth where the kernels are within half of one. For targets the terms of the gradient
cancel in the format that computes, and what is below its normal numbers is 0.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["log_softmax", "loss", "loss_and_gradient", "softmax", "widened"]

LIFT = 64  # exponentials are computed times two to this


def widened(array: Any) -> Any:
    """16-bit numbers as float32."""
    return array.astype(jnp.float32) if array.dtype.itemsize == 2 else array


def _hits(index: Any, k: int) -> Any:
    return jax.lax.broadcasted_iota(jnp.int32, (*index.shape, k), index.ndim) == index[..., None]


def _sum_where(condition: Any, values: Any) -> Any:
    return jnp.sum(jnp.where(condition, values, 0), axis=-1)


def _bits_of(numbers: Any) -> Any:
    """The integers of the same size."""
    return {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}[numbers.dtype.itemsize]


def _lowered(numbers: Any) -> Any:
    """2⁻⁶⁴ times the numbers. XLA's product would be 0 where the result is subnormal: its bits are made."""
    info = jnp.finfo(numbers.dtype)
    size = jnp.abs(numbers)
    below = size < 2.0 ** (info.minexp + LIFT)
    steps = jnp.round(jnp.where(below, size, 0) * 2.0 ** (info.nmant - info.minexp - LIFT)).astype(_bits_of(numbers))
    tiny = jax.lax.bitcast_convert_type(steps, numbers.dtype)
    return jnp.where(below, jnp.where(numbers < 0, -tiny, tiny), numbers * 2.0**-LIFT)


def _parts(logits: Any) -> tuple[Any, Any, Any, Any, Any]:
    """e = 2⁶⁴ exp(a − m) with m = max a, a − m, where the (first) largest is, Σ e of all the others, Σ exp(a − m)."""
    a = widened(logits)
    m = jnp.max(a, axis=-1, keepdims=True)
    shifted = a - m
    back = shifted - a
    lost = (a - (shifted - back)) - (m + back)  # by rounding, exactly; exp makes it |a − m| times as large
    # XLA flushes subnormal numbers to 0, whose sum may matter: the square of a square root is none
    half = jnp.exp(shifted / 2) * 2.0 ** (LIFT // 2)
    lifted = jnp.where(shifted < -60, half * half, jnp.exp(shifted) * 2.0**LIFT)
    e = lifted * (1 + jnp.where(jnp.isfinite(shifted), lost, 0))
    top = _hits(jnp.argmax(a, axis=-1), a.shape[-1])
    others = _sum_where(~top, e)
    total = (others + _sum_where(top, e)) * 2.0**-LIFT
    return e, shifted, top, jnp.where(jnp.isnan(total), jnp.nan, others), total  # +∞ is NaN for every label


def softmax(logits: Any) -> Any:
    e, _, _, _, total = _parts(logits)
    return _lowered(e / total[..., None]).astype(logits.dtype)


def log_softmax(logits: Any) -> Any:
    _, shifted, _, others, _ = _parts(logits)
    return (shifted - jnp.log1p(others * 2.0**-LIFT)[..., None]).astype(logits.dtype)


def loss(logits: Any, second: Any) -> Any:
    return loss_and_gradient(logits, second)[0]


def loss_and_gradient(logits: Any, second: Any) -> tuple[Any, Any]:
    """The loss of each row and its gradient, for labels (...) or targets (..., K)."""
    whole = jnp.issubdtype(second.dtype, jnp.integer)
    losses, grad = _of_labels(logits, second) if whole else _of_targets(logits, widened(second))
    rounded, whole = grad.astype(logits.dtype), _bits_of(logits)
    minus_zero = jax.lax.bitcast_convert_type(rounded, whole) == jnp.iinfo(whole).min  # by bits: 0 equals subnormals
    return losses.astype(logits.dtype), jnp.where(minus_zero, 0, rounded)


def _of_labels(logits: Any, labels: Any) -> tuple[Any, Any]:
    e, shifted, _, beside, total = _parts(logits)
    at_label = _hits(labels, e.shape[-1])
    others = _sum_where(~at_label, e)
    below = -_sum_where(at_label, shifted)
    slight = others < 2.0 ** (LIFT - 60)  # whose log1p is themselves
    ahead = jnp.where(slight, _lowered(others), jnp.log1p(others * 2.0**-LIFT))
    losses = jnp.where(below == 0, ahead, below + jnp.log1p(beside * 2.0**-LIFT))
    grad = _lowered(jnp.where(at_label, -others[..., None], e) / total[..., None])
    wrong = (labels < 0) | (labels >= e.shape[-1])
    return jnp.where(wrong, jnp.nan, losses), jnp.where(wrong[..., None], jnp.nan, grad)


def _of_targets(logits: Any, targets: Any) -> tuple[Any, Any]:
    e, shifted, top, others, total = _parts(logits)
    e, others = e * 2.0**-LIFT, others * 2.0**-LIFT
    heavy = _hits(jnp.argmax(targets, axis=-1), e.shape[-1])
    away = _sum_where(~heavy, targets)
    mass = away + _sum_where(heavy, targets)
    cross = _sum_where(targets != 0, -targets * shifted)  # a class of weight 0 counts for nothing, even at -inf
    without = jnp.where(top, others[..., None], total[..., None] - e)
    rest = jnp.where(heavy, away[..., None], mass[..., None] - targets)
    return cross + mass * jnp.log1p(others), (e * rest - targets * without) / total[..., None]
