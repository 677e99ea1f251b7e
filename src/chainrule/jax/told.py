"""The loss of each row with its options, and what else it tells of the row, as JAX differentiates them.

On the CPU the kernel computes them in one pass, and the loss's gradient with them, and on GPUs `exact`; on other
platforms, and for derivatives beyond, they are composed of the functions of `losses`, whose derivatives never end:

    z = z(a),    𝓛 = ℓ(z) + λ lse²,    ∇_a 𝓛 = z′ ⊙ (∇ℓ(z) + 2λ lse ŷ)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from chainrule.jax import exact
from chainrule.jax.losses import counted_log_softmax, log_softmax, loss, loss_and_gradient, moves, softmax
from chainrule.jax.options import TOLD, Shape, seen
from chainrule.jax.primitives import row_primitive
from chainrule.jax.products import contract

__all__ = ["gradient_of_rows", "loss_of_rows"]

PLAIN = Shape()


def loss_of_rows(logits: Any, given: Any, shape: Shape, told: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """The loss of each row, for labels (...) or targets (..., K), and of TOLD what is asked for."""
    if shape == PLAIN and not told:
        return (loss(logits, given),)
    return tuple(told_p.bind(logits, given, shape=shape, told=told))


def gradient_of_rows(logits: Any, given: Any, shape: Shape) -> tuple[Any, Any]:
    """The loss of each row, and its gradient w.r.t. the logits."""
    if shape == PLAIN:
        return loss_and_gradient(logits, given)
    value, gradient = told_and_gradient_p.bind(logits, given, shape=shape, told=())
    return value, gradient


def _composed(logits: Any, given: Any, *, shape: Shape, told: tuple[str, ...], wants: bool = False) -> tuple[Any, ...]:
    """The same by the functions of `losses`; with `wants` the gradient too."""
    z, pull = jax.vjp(partial(seen, shape=shape), logits)
    q = given if jnp.issubdtype(given.dtype, jnp.integer) else given.astype(z.dtype)
    value, d = loss_and_gradient(z, q) if wants else (loss(z, q), None)
    lse = jax.nn.logsumexp(z, axis=-1)
    if shape.z_loss != 0.0:
        value = value + shape.z_loss * lse**2
        d = None if d is None else d + 2 * shape.z_loss * lse[..., None] * softmax(z)
    found: dict[str, Callable[[], Any]] = {
        "logsumexp": lambda: lse,
        "log_likelihood": lambda: -loss(z, q),
        "entropy": partial(_entropy, z),
    }
    results = [value, *(found[name]() for name in told)]
    if d is not None:
        results.insert(1, pull(d)[0])
    return tuple(result.astype(logits.dtype) for result in results)


def _exact(logits: Any, given: Any, *, shape: Shape, told: tuple[str, ...], wants: bool = False) -> tuple[Any, ...]:
    """The same with 64 bits switched on. Labels without a z-loss leave nothing that cancels: float64 is enough for what
    is narrower, and takes a small part of the time."""
    if jnp.issubdtype(given.dtype, jnp.integer) and shape.z_loss == 0.0 and logits.dtype != jnp.float64:
        results = _composed(logits.astype(jnp.float64), given, shape=shape, told=told, wants=wants)
        return tuple(exact.rounded(result, logits.dtype) for result in results)
    return exact.told(logits, given, shape=shape, told=told, wants=wants)


def _entropy(z: Any) -> Any:
    logs = log_softmax(z)
    return -jnp.sum(softmax(z) * jnp.where(jnp.isneginf(logs), 0, logs), axis=-1)


def _kernel(name: str, aliases: dict[int, int], *, wants: bool) -> Any:
    """The kernel as a call of XLA's, as in `losses`."""

    def call(logits: Any, given: Any, *, shape: Shape, told: tuple[str, ...]) -> Any:
        types = jax.eval_shape(partial(_composed, shape=shape, told=told, wants=wants), logits, given)
        bits = sum(1 << TOLD.index(name) for name in told)
        options = {key: np.float64(value) for key, value in {**shape._asdict(), "told": bits}.items()}
        return jax.ffi.ffi_call(f"chainrule_{name}", types, input_output_aliases=aliases)(logits, given, **options)

    return call


told_p = row_primitive("told", _composed, _kernel("loss", {}, wants=False), _exact, several=True)
told_and_gradient_p = row_primitive(
    "told_and_gradient",
    partial(_composed, wants=True),
    _kernel("loss_and_gradient", {0: 1}, wants=True),
    partial(_exact, wants=True),
    several=True,
)


def _tangents(function: Any, primals: Any, tangents: Any) -> Any:
    """Of a composed function; labels do not move."""
    (logits, given), (t, of_given) = primals, tangents
    t = t if moves(t) else jnp.zeros_like(logits)
    if moves(of_given):
        return jax.jvp(function, primals, (t, of_given))[1]
    return jax.jvp(lambda a: function(a, given), (logits,), (t,))[1]


def _tangent_of_loss(primals: Any, tangents: Any, gradient: Any, shape: Shape) -> Any:
    (logits, given), (t, of_given) = primals, tangents
    tangent = contract(gradient, t) if moves(t) else jnp.zeros(logits.shape[:-1], logits.dtype)
    if moves(of_given):
        z = seen(logits, shape)
        tangent = tangent - contract(counted_log_softmax(z, given.astype(z.dtype)).astype(logits.dtype), of_given)
    return tangent


def _told_rule(primals: Any, tangents: Any, *, shape: Shape, told: tuple[str, ...]) -> tuple[Any, Any]:
    value, gradient, *more = told_and_gradient_p.bind(*primals, shape=shape, told=told)
    of_loss = _tangent_of_loss(primals, tangents, gradient, shape)
    _, *of_more = _tangents(partial(_composed, shape=shape, told=told), primals, tangents)
    return [value, *more], [of_loss, *of_more]


def _gradient_rule(primals: Any, tangents: Any, *, shape: Shape, told: tuple[str, ...]) -> tuple[Any, Any]:
    results = told_and_gradient_p.bind(*primals, shape=shape, told=told)
    of_loss = _tangent_of_loss(primals, tangents, results[1], shape)
    _, *others = _tangents(partial(_composed, shape=shape, told=told, wants=True), primals, tangents)
    return results, [of_loss, *others]


ad.primitive_jvps[told_p] = _told_rule
ad.primitive_jvps[told_and_gradient_p] = _gradient_rule
