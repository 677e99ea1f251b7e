"""The output layer in jax.numpy, for platforms that have no kernels: the equations, and what XLA needs around them.

16-bit formats are computed in float32 and rounded once. float32 and float64 are computed as they are: for labels a
result is within four ULP of the truth where the kernels are within half of one. For targets the terms of the gradient
cancel in the format that computes, and what is below its normal numbers is 0. Where there is float64, `exact` is used.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from chainrule.equations import options, output

__all__ = ["log_softmax", "loss", "loss_and_gradient", "of_labels", "softmax", "widened", "without_minus_zero"]

LIFT = 64  # exponentials are computed times two to this


def widened(array: Any) -> Any:
    """16-bit numbers as float32."""
    return array.astype(jnp.float32) if array.dtype.itemsize == 2 else array


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


def _exponentials(logits: Any) -> output.Exponentials:
    """As the equations have them, but with `each` and `others` times 2⁶⁴."""
    a = widened(logits)
    m, top = jnp.max(a, axis=-1, keepdims=True), output.where_largest(a)
    # XLA may take the product that made a logit into this difference, unrounded, where m is rounded
    shifted = jnp.where(top & jnp.isfinite(m), 0, a - m)
    back = shifted - a
    lost = (a - (shifted - back)) - (m + back)  # by rounding, exactly; exp makes it |a − m| times as large
    # XLA flushes subnormal numbers to 0, whose sum may matter: the square of a square root is none
    half = jnp.exp(shifted / 2) * 2.0 ** (LIFT // 2)
    lifted = jnp.where(shifted < -60, half * half, jnp.exp(shifted) * 2.0**LIFT)
    each = lifted * (1 + jnp.where(jnp.isfinite(shifted), lost, 0))
    return output.in_parts(each, -shifted, top, 2.0**-LIFT)


def softmax(logits: Any) -> Any:
    e = _exponentials(logits)
    return _lowered(e.each / e.total[..., None]).astype(logits.dtype)


def log_softmax(logits: Any) -> Any:
    e = _exponentials(logits)
    return -(e.below + jnp.log1p(e.others * 2.0**-LIFT)[..., None]).astype(logits.dtype)


def loss(logits: Any, second: Any) -> Any:
    return loss_and_gradient(logits, second)[0]


def loss_and_gradient(logits: Any, second: Any) -> tuple[Any, Any]:
    """The loss of each row and its gradient, for labels (...) or targets (..., K)."""
    whole = jnp.issubdtype(second.dtype, jnp.integer)
    losses, grad = of_labels(logits, second) if whole else _of_targets(logits, widened(second))
    return losses.astype(logits.dtype), without_minus_zero(grad.astype(logits.dtype))


def without_minus_zero(numbers: Any) -> Any:
    """By bits: 0 equals subnormal numbers."""
    whole = _bits_of(numbers)
    return jnp.where(jax.lax.bitcast_convert_type(numbers, whole) == jnp.iinfo(whole).min, 0, numbers)


def of_labels(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The same for labels, in the format that computes."""
    labels = labels.astype(jnp.arange(0).dtype)  # the classes', beside which strict promotion allows no other
    e, at_label = _exponentials(logits), output.place_of(labels, logits)
    below = output.at(at_label, e.below)
    slight = e.others < 2.0 ** (LIFT - 60)  # whose log1p is themselves
    logs = jnp.where(slight, _lowered(e.others), jnp.log1p(e.others * 2.0**-LIFT))
    losses = jnp.where(below == 0, logs, below + logs)  # XLA's sum of 0 and a subnormal number is 0
    grad = _lowered(output.grad_of_label(e, at_label))
    wrong = (labels < 0) | (labels >= logits.shape[-1])
    return jnp.where(wrong, jnp.nan, losses), jnp.where(wrong[..., None], jnp.nan, grad)


def _of_targets(logits: Any, targets: Any) -> tuple[Any, Any]:
    e = _exponentials(logits)
    e = e._replace(each=e.each * 2.0**-LIFT, others=e.others * 2.0**-LIFT)
    return options.loss_of_targets(e, targets), options.grad_of_targets(e, targets)
