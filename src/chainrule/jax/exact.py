"""What stands in for the kernels on GPUs, and on a CPU that has none: float64 inside, rounded once.

Where the terms of a gradient may cancel it is `equations.exact`, in pairs of float64. `primitives` switches 64 bits on
while this is lowered, whatever the dtype and `jax_enable_x64` are.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from chainrule.equations import exact, output
from chainrule.equations.pairs import pair
from chainrule.jax import closed_form
from chainrule.jax.options import Shape

__all__ = ["loss", "loss_and_gradient", "rounded", "told"]


def loss(logits: Any, given: Any) -> Any:
    return loss_and_gradient(logits, given)[0]


def loss_and_gradient(logits: Any, given: Any) -> tuple[Any, Any]:
    """As in `closed_form`, of which float64 is enough for labels: they leave nothing that cancels."""
    if jnp.issubdtype(given.dtype, jnp.integer):
        value, gradient = closed_form.of_labels(logits.astype(jnp.float64), given)
        return rounded(value, logits.dtype), rounded(gradient, logits.dtype)
    value, gradient = told(logits, given, shape=Shape(), told=(), wants=True)
    return value, gradient


def told(logits: Any, given: Any, *, shape: Shape, told: tuple[str, ...], wants: bool = False) -> tuple[Any, ...]:
    """As `chainrule.jax.told` composes it."""
    a, whole = logits.astype(jnp.float64), jnp.issubdtype(given.dtype, jnp.integer)
    q = output.one_hot(given.astype(jnp.int64), a) if whole else given.astype(jnp.float64)
    wrong = (given < 0) | (given >= a.shape[-1]) if whole else jnp.zeros(a.shape[:-1], jnp.bool_)
    row = exact.row_of(a, shape.temperature, shape.softcap or None, shape.scale)
    value, gradient = exact.loss_and_gradient(row, pair(q), shape.z_loss, wants_grad=wants)
    results = [jnp.where(wrong, jnp.nan, value)]
    if wants:
        results.append(jnp.where(wrong[..., None], jnp.nan, gradient))
    for name in told:
        if name == "log_likelihood":
            results.append(jnp.where(wrong, jnp.nan, -exact.loss_and_gradient(row, pair(q), wants_grad=False)[0]))
        elif name == "logsumexp":
            results.append(jnp.where(jnp.isinf(row.largest.high), row.largest.high, exact.log_sum(row).high))
        else:
            results.append(exact.entropy(row))
    return tuple(rounded(result, logits.dtype) for result in results)


def rounded(numbers: Any, dtype: Any) -> Any:
    """Float64 numbers in another format. XLA would make 0 of what is subnormal in float32: its bits are made."""
    if dtype != jnp.float64:
        size = jnp.abs(numbers)
        below = size < 2.0**-126
        steps = jnp.round(jnp.where(below, size, 0.0) * 2.0**149).astype(jnp.int32)
        tiny = jax.lax.bitcast_convert_type(steps, jnp.float32)
        numbers = jnp.where(below, jnp.where(numbers < 0, -tiny, tiny), numbers.astype(jnp.float32))
    return closed_form.without_minus_zero(numbers.astype(dtype))
