"""The loss of each row as JAX differentiates it: forwards, backwards, and as often as asked.

The rule of each function gives its tangent in closed form, which JAX transposes for reverse mode. So under `grad` the
loss and its gradient come from one pass of the kernel, and the gradient is what is kept:

    ℓ(a):  dℓ = d · ȧ  with d = ŷ − q        d(a):  ḋ = ŷ⊙ȧ − ŷ(ŷᵀȧ)        ŷ(a):  the same once more

The last is the Hessian, which is softmax's Jacobian; it refers to nothing but ŷ, and so the derivatives never end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from chainrule.jax import closed_form, exact
from chainrule.jax.closed_form import widened
from chainrule.jax.primitives import row_primitive
from chainrule.jax.products import contract, scale

__all__ = ["counted_log_softmax", "log_softmax", "loss", "loss_and_gradient", "moves", "softmax"]


def _kernel(name: str, aliases: dict[int, int]) -> Callable[..., Any]:
    """The kernel as a call of XLA's, with results as the closed form's are. An alias gives the logits' memory to a
    result where nothing else needs them any more; where something does, XLA copies them before."""

    def call(*arrays: Any) -> Any:
        types = jax.eval_shape(getattr(closed_form, name), *arrays)
        return jax.ffi.ffi_call(f"chainrule_{name}", types, input_output_aliases=aliases)(*arrays)

    return call


loss_p = row_primitive("loss", closed_form.loss, _kernel("loss", {}), exact.loss)
loss_and_gradient_p = row_primitive(
    "loss_and_gradient",
    closed_form.loss_and_gradient,
    _kernel("loss_and_gradient", {0: 1}),
    exact.loss_and_gradient,
    several=True,
)
softmax_p = row_primitive("softmax", closed_form.softmax, _kernel("softmax", {0: 0}))
log_softmax_p = row_primitive("log_softmax", closed_form.log_softmax, _kernel("log_softmax", {0: 0}))


def _counted_log_softmax(logits: Any, targets: Any) -> Any:
    logs = log_softmax(logits)
    return jnp.where((targets == 0) & jnp.isneginf(logs), 0, logs)


counted_log_softmax_p = row_primitive("counted_log_softmax", _counted_log_softmax)


def loss(logits: Any, given: Any) -> Any:
    """−log ŷ_ℓ for labels (...), or −Σ q log ŷ for targets (..., K) of the logits' dtype."""
    return loss_p.bind(logits, given)


def loss_and_gradient(logits: Any, given: Any) -> tuple[Any, Any]:
    """The same, and its gradient w.r.t. the logits."""
    value, gradient = loss_and_gradient_p.bind(logits, given)
    return value, gradient


def softmax(logits: Any) -> Any:
    """ŷ, (..., K)."""
    return softmax_p.bind(logits)


def log_softmax(logits: Any) -> Any:
    """log ŷ, (..., K)."""
    return log_softmax_p.bind(logits)


def counted_log_softmax(logits: Any, targets: Any) -> Any:
    """log ŷ, but 0 for a class that is masked and has no target: it counts for nothing, and 0 · ∞ would be NaN."""
    return counted_log_softmax_p.bind(logits, targets)


# --- their derivatives ---


def moves(tangent: Any) -> bool:
    """Is there a tangent: neither a zero that JAX knows of, nor that of an integer?"""
    return type(tangent) is not ad.Zero and tangent.dtype != jax.dtypes.float0


def _sum_of(terms: list[Any], like: Any) -> Any:
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(like)


def _curvature(logits: Any, t: Any) -> Any:
    """The Hessian times t. The largest class's element is taken from all of t first, which changes nothing and keeps
    the digits of the tails."""
    p, v = widened(softmax(logits)), widened(t)
    largest = jnp.argmax(jax.lax.stop_gradient(logits), axis=-1)[..., None]
    top = jax.lax.broadcasted_iota(largest.dtype, v.shape, v.ndim - 1) == largest
    v = v - jnp.sum(jnp.where(top, v, 0), axis=-1, keepdims=True)
    return (p * (v - jnp.sum(p * v, axis=-1, keepdims=True))).astype(t.dtype)


def _loss_terms(primals: Any, tangents: Any, gradient: Any) -> list[Any]:
    t, of_targets = tangents
    terms = [contract(gradient, t)] if moves(t) else []
    return [*terms, -contract(counted_log_softmax(*primals), of_targets)] if moves(of_targets) else terms


def _loss_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    value, gradient = loss_and_gradient(*primals)
    return value, _sum_of(_loss_terms(primals, tangents, gradient), value)


def _gradient_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (logits, given), (t, of_targets) = primals, tangents
    value, gradient = loss_and_gradient(logits, given)
    terms = []
    if moves(t):
        curved = _curvature(logits, t)
        # for targets that do not sum to 1, Σq times the Hessian
        terms = [curved if given.ndim < logits.ndim else scale(jnp.sum(given, axis=-1), curved)]
    if moves(of_targets):
        terms += [scale(jnp.sum(of_targets, axis=-1), softmax(logits)), -of_targets]
    loss_tangent = _sum_of(_loss_terms(primals, tangents, gradient), value)
    return (value, gradient), (loss_tangent, _sum_of(terms, gradient))


def _log_tangent(logits: Any, t: Any) -> Any:
    return t - contract(softmax(logits), t)[..., None]


def _counted_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    values, t = counted_log_softmax(*primals), tangents[0]  # nothing moves with the targets
    return values, _log_tangent(primals[0], t) if moves(t) else ad.Zero.from_primal_value(values)


ad.primitive_jvps[loss_p] = _loss_rule
ad.primitive_jvps[loss_and_gradient_p] = _gradient_rule
ad.primitive_jvps[softmax_p] = lambda primals, tangents: (softmax(*primals), _curvature(*primals, *tangents))
ad.primitive_jvps[log_softmax_p] = lambda primals, tangents: (log_softmax(*primals), _log_tangent(*primals, *tangents))
ad.primitive_jvps[counted_log_softmax_p] = _counted_rule
