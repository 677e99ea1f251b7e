"""What JAX's losses take beside logits and labels, and what they tell beside the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from chainrule.errors import InputError, shown
from chainrule.jax.closed_form import widened
from chainrule.output.extras import OF_EACH, check_extras
from chainrule.output.options import LossOptions

__all__ = ["TOLD", "Losses", "Shape", "seen", "shape_of", "told_by", "wide_of"]

TOLD = OF_EACH[:3]  # what has a gradient


class Shape(NamedTuple):
    """What the loss sees for a logit a: c tanh(s a/c)/T, or s a/T without a cap (0); and λ of λ·logsumexp²."""

    temperature: float = 1.0
    z_loss: float = 0.0
    softcap: float = 0.0
    scale: float = 1.0


class Losses(NamedTuple):
    """A loss and what else was asked for, of each example; None is what was not."""

    loss: Any
    logsumexp: Any = None
    log_likelihood: Any = None
    entropy: Any = None
    prediction: Any = None
    correct: Any = None


def shape_of(temperature: Any, z_loss: Any, softcap: Any, scale: Any) -> Shape:
    """The options, checked."""
    options = LossOptions.checked("none", None, 0.0, temperature, z_loss, softcap, scale)
    return Shape(options.temperature, options.z_loss, options.softcap, options.scale)


def told_by(extras: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in the order of `Losses`."""
    known = check_extras(extras, OF_EACH)
    return tuple(name for name in OF_EACH if name in known)


def wide_of(loss_dtype: Any, dtype: Any) -> bool:
    """Is a float32 loss of 16-bit numbers asked for?"""
    if loss_dtype is None:
        return False
    if jnp.dtype(loss_dtype) != jnp.float32 or dtype == jnp.float64:
        raise InputError(f"loss_dtype: got {shown(loss_dtype)} for {dtype}, expected None, or float32 for 16 bits")
    return bool(dtype.itemsize == 2)


def seen(a: Any, shape: Shape) -> Any:
    """z, what stands where the lecture has the logits; of 16 bits in float32."""
    a = widened(a)
    z = a if shape.scale == 1.0 else a * shape.scale
    if shape.softcap != 0.0:
        z = jnp.where(jnp.isneginf(a), a, shape.softcap * _tanh(z / shape.softcap))
    return z if shape.temperature == 1.0 else z / shape.temperature


def _tanh(u: Any) -> Any:
    """tanh with the derivatives of ±(1 − E)/(1 + E), which do not cancel as those of tanh, 1 − tanh², do."""
    sign = jnp.where(u < 0, -1.0, 1.0).astype(u.dtype)  # |u| by it has the derivatives of u at 0
    e = jnp.exp(-2 * (sign * u))
    derived = sign * (1 - e) / (1 + e)
    return jax.lax.stop_gradient(jnp.tanh(u)) + (derived - jax.lax.stop_gradient(derived))
