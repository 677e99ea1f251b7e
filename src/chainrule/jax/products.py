"""Two products whose derivatives are each other: what carries tangents through the loss, and cotangents back.

    contract(d, t) = Σ_j d_j t_j        scale(g, d) = g d

They are primitives of their own, for `scale` keeps what a plain multiplication in XLA would lose: a cotangent of 1
leaves every bit of the gradient (XLA's product flushes subnormal numbers to 0), a cotangent of 0 gives 0 (also where an
example that counts for nothing is NaN), and no result is −0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.interpreters import ad

from chainrule.jax.closed_form import widened
from chainrule.jax.primitives import row_primitive

__all__ = ["contract", "scale"]


def _contract(d: Any, t: Any) -> Any:
    return jnp.sum(widened(d) * widened(t), axis=-1).astype(d.dtype)


def _scale(g: Any, d: Any) -> Any:
    factor = widened(g)[..., None]
    product = (factor * widened(d)).astype(d.dtype)
    return jnp.where(factor == 1, d, jnp.where((factor == 0) | (product == 0), 0, product))


def contract(d: Any, t: Any) -> Any:
    """Σ_j d_j t_j over the last axis, (...), for d and t (..., K) of one dtype."""
    return contract_p.bind(d, t)


def scale(g: Any, d: Any) -> Any:
    """g d, (..., K), for g (...) and d (..., K) of one dtype."""
    return scale_p.bind(g, d)


contract_p, scale_p = row_primitive("contract", _contract), row_primitive("scale", _scale)
ad.defbilinear(contract_p, lambda ct, _, t: scale(ct, t), lambda ct, d, _: scale(ct, d))
ad.defbilinear(scale_p, lambda ct, _, d: contract(ct, d), lambda ct, g, _: scale(g, ct))
