"""The last layer and the loss together, in chunks of rows: the logits of one chunk are all that is ever stored.

    logits = h Wᵀ + b,   ∇_h 𝓛 = ∇_a 𝓛 W,   ∇_W 𝓛 = ∇_aᵀ 𝓛 h,   ∇_b 𝓛 = Σ_n ∇_a 𝓛

The products are XLA's, the loss with its options and ∇_a are the kernel's. A sum's gradients come from the pass that
computes it, and only those that are asked for. A loss of each row cannot know what it will be weighted with: its chunks
are computed again for its gradients, a fourth product of the same size.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from chainrule.jax.closed_form import widened
from chainrule.jax.options import Shape
from chainrule.jax.products import scale
from chainrule.jax.told import gradient_of_rows, loss_of_rows

__all__ = ["Layer", "each", "total"]


class Layer(NamedTuple):
    """hidden (N, D), weight (K, D), bias (K,) or None: what the loss is differentiated by."""

    hidden: Any
    weight: Any
    bias: Any


def _widened(layer: Layer) -> Layer:
    """16-bit weights and biases as float32, once for all chunks."""
    return Layer(layer.hidden, widened(layer.weight), None if layer.bias is None else widened(layer.bias))


def _logits(layer: Layer, h: Any) -> Any:
    a = jax.lax.dot_general(widened(h), layer.weight, (((1,), (1,)), ((), ())))
    return a if layer.bias is None else a + layer.bias


def _over_chunks(body: Any, state: Any, rows: int, *arrays: Any) -> tuple[Any, Any]:
    """Carry `state` through `body` over chunks of so many rows, and the rest; what it gives for each row, joined."""
    n = arrays[0].shape[0]
    whole = n // rows
    given = []
    if whole:
        parts = tuple(a[: whole * rows].reshape(whole, rows, *a.shape[1:]) for a in arrays)
        state, each_row = jax.lax.scan(lambda s, xs: body(s, *xs), state, parts)
        given.append(jax.tree.map(lambda y: y.reshape(whole * rows, *y.shape[2:]), each_row))
    if whole * rows < n or not n:
        state, each_row = body(state, *(a[whole * rows :] for a in arrays))
        given.append(each_row)
    return state, jax.tree.map(lambda *ys: jnp.concatenate(ys), *given) if len(given) > 1 else given[0]


def each(
    layer: Layer, labels: Any, rows: int, shape: Shape, told: tuple[str, ...] = (), *, predicts: bool = False
) -> tuple[Any, ...]:
    """The loss of each row, (N,), what is told beside it, and the prediction."""
    layer = _widened(layer)

    @jax.checkpoint  # type: ignore[untyped-decorator]
    def body(layer: Layer, h: Any, label: Any) -> Any:
        a = _logits(layer, h)
        found = loss_of_rows(a, label, shape, told)
        return (*found, jnp.argmax(a, axis=-1)) if predicts else found

    found: tuple[Any, ...] = _over_chunks(lambda s, h, y: (s, body(layer, h, y)), (), rows, layer.hidden, labels)[1]
    return found


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def total(layer: Layer, labels: Any, counted: Any, rows: int, shape: Shape) -> Any:
    """The sum of the losses of the rows that count; `counted` (N,) is their 0 or 1, or None for all."""
    losses = each(layer, labels, rows, shape)[0]
    return jnp.sum(losses if counted is None else jnp.where(counted > 0, losses, 0))


def _sums(layer: Layer, labels: Any, counted: Any, rows: int, shape: Shape, wanted: Layer) -> tuple[Any, Layer]:
    """The same, and those of its gradients that are wanted."""
    layer = _widened(layer)
    weight = layer.weight
    state = (
        jnp.zeros((), weight.dtype),
        jnp.zeros_like(weight) if wanted.weight else None,
        jnp.zeros_like(weight[:, 0]) if wanted.bias else None,
    )

    @jax.checkpoint  # type: ignore[untyped-decorator]
    def body(state: Any, h: Any, label: Any, counts: Any = None) -> Any:
        summed, of_weight, of_bias = state
        losses, d = gradient_of_rows(_logits(layer, h), label, shape)
        if counts is not None:
            losses, d = jnp.where(counts > 0, losses, 0), scale(counts, d)
        if of_weight is not None:
            of_weight = of_weight + jax.lax.dot_general(d, widened(h), (((0,), (0,)), ((), ())))
        if of_bias is not None:
            of_bias = of_bias + jnp.sum(d, axis=0)
        # in float32 still: what the sum's cotangent multiplies is rounded once, after that
        back = d @ weight if wanted.hidden else None
        return (summed + jnp.sum(losses), of_weight, of_bias), back

    masks = () if counted is None else (counted,)
    (summed, of_weight, of_bias), of_hidden = _over_chunks(body, state, rows, layer.hidden, labels, *masks)
    return summed, Layer(of_hidden, of_weight, of_bias)


@partial(total.defjvp, symbolic_zeros=True)
def _total_rule(rows: int, shape: Shape, primals: Any, tangents: Any) -> tuple[Any, Any]:
    layer, labels, counted = primals
    moved = Layer(*(t is not None and not isinstance(t, SymbolicZero) for t in tangents[0]))
    summed, gradients = _sums(layer, labels, counted, rows, shape, moved)
    terms = [
        jnp.sum(widened(g) * widened(t)) for g, t, moves in zip(gradients, tangents[0], moved, strict=True) if moves
    ]
    return summed, sum(terms, jnp.zeros_like(summed))
