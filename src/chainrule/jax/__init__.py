"""Optax's softmax cross-entropies, by their names and signatures, exact at every margin: change one import.

    from chainrule.jax import softmax_cross_entropy_with_integer_labels  # was: from optax import ...

Under `jit`, `grad`, `jvp`, `hessian`, `vmap`, `scan` and `shard_map`, as often as they are nested. On the CPU the
kernels run, through XLA's foreign function interface and without a copy; on other platforms the same closed form in
jax.numpy. Errors of shape and dtype come when a function is traced. A label that is out of range cannot raise under
`jit`: the loss and the gradient of that example are NaN.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from chainrule.boundary.checks import REDUCTIONS, check_choice, check_integer
from chainrule.boundary.extras import require
from chainrule.errors import InputError, shown

require("jax", "jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from chainrule.boundary.arrays import FORMATS  # noqa: E402
from chainrule.jax import losses  # noqa: E402
from chainrule.jax.closed_form import widened  # noqa: E402
from chainrule.jax.linear import Layer, Shape, each, total  # noqa: E402
from chainrule.output.options import LossOptions  # noqa: E402

__all__ = ["linear_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"]

CHUNK_BYTES = 64 << 20


def softmax_cross_entropy_with_integer_labels(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    axis: int | tuple[int, ...] = -1,
    where: jax.typing.ArrayLike | None = None,
) -> jax.Array:
    """Cross entropy of softmax(logits) with one label for each example.

    loss = −log ŷ_ℓ with ŷ = softmax(logits),  ∇ loss = ŷ − e(ℓ).

    Parameters
    ----------
    logits : array (..., K), float16, bfloat16, float32 or float64
    labels : array (...), int in [0, K); for several axes an index into all their classes, the last axis fastest
    axis : the axis of the classes, or several
    where : array (...) or of the logits' shape, bool, optional
        What counts: examples, or classes. An example without any has the loss 0 and the gradient 0.

    Returns
    -------
    array (...) of the logits' dtype: the loss of each example. It is NaN, and so is its gradient, for a label outside
    [0, K), and for a NaN or +∞ among the logits; a logit of −∞ masks its class exactly.

    Raises
    ------
    InputError
        A wrong shape or dtype; also under `jit`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> logits, labels = jnp.array([[0.0, 20.0]]), jnp.array([1])
    >>> softmax_cross_entropy_with_integer_labels(logits, labels).tolist()  # Optax: 0.0
    [2.06115369216775e-09]
    >>> jax.grad(lambda a: softmax_cross_entropy_with_integer_labels(a, labels).sum())(logits).tolist()
    [[2.06115369216775e-09, -2.06115369216775e-09]]

    Source: the lecture, section 1: ∇_{a_L} 𝓛 = −(e(ℓ) − ŷ).
    """
    logits, axes = _check_logits(logits, axis), _check_axis(axis, logits)
    labels = _integers(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(f"labels: got dtype {labels.dtype}, expected integers")
    batch = tuple(n for i, n in enumerate(logits.shape) if i not in axes)
    try:
        shape = jnp.broadcast_shapes(batch, labels.shape) if labels.ndim == len(batch) else None
    except ValueError:
        shape = None
    if shape is None:
        raise InputError(f"labels: got shape {labels.shape}, expected {batch}, one label for each example")
    return _labelled(logits, labels, _check_where(where, axes, logits), axes)


def softmax_cross_entropy(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    where: jax.typing.ArrayLike | None = None,
) -> jax.Array:
    """Cross entropy of softmax(logits) with target probabilities, one for each class.

    loss = −Σ_j q_j log ŷ_j with ŷ = softmax(logits),  ∇ loss = (Σ_j q_j) ŷ − q,  ∇_q loss = −log ŷ.

    Parameters
    ----------
    logits : array (..., K), float16, bfloat16, float32 or float64
    labels : array (..., K), the targets q, that broadcasts with the logits; they need not sum to 1
    axis : the axis of the classes, or several, or None for all
    where : array (...) or of the logits' shape, bool, optional
        What counts: examples, or classes. An example without any has the loss 0 and the gradient 0.

    Returns
    -------
    array (...) of the dtype to which logits and labels promote: the loss of each example. A class whose target is 0
    counts for nothing, also where its logit is −∞.

    Raises
    ------
    InputError
        A wrong shape or dtype; also under `jit`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> softmax_cross_entropy(jnp.array([[0.0, 20.0]]), jnp.array([[0.0, 1.0]])).tolist()
    [2.06115369216775e-09]

    Source: the lecture, section 1, summed over the targets.
    """
    logits, labels = _check_logits(logits, axis), jnp.asarray(labels)
    dtype = jnp.result_type(logits, labels)
    if dtype.name not in FORMATS:
        raise InputError(f"labels: got dtype {labels.dtype}, expected numbers that promote to {logits.dtype}")
    try:
        shape = jnp.broadcast_shapes(logits.shape, labels.shape)
    except ValueError as error:
        expected = f"{logits.shape}, a target for each class"
        raise InputError(f"labels: got shape {labels.shape}, expected {expected}") from error
    logits = jnp.broadcast_to(logits, shape)
    axes = _check_axis(axis, logits)
    return _targeted(logits.astype(dtype), labels.astype(dtype), _check_where(where, axes, logits), axes)


def linear_cross_entropy(
    hidden: jax.typing.ArrayLike,
    weight: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    bias: jax.typing.ArrayLike | None = None,
    where: jax.typing.ArrayLike | None = None,
    *,
    reduction: str = "mean",
    chunk_bytes: int | None = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
) -> jax.Array:
    """Cross entropy of softmax(hidden · weightᵀ + bias), without storing the logits.

    Parameters
    ----------
    hidden : array (..., D), float16, bfloat16, float32 or float64
    weight : array (K, D) of the same dtype: row i holds the weights of class i
    labels : array (...), int in [0, K)
    bias : array (K,) of the same dtype, optional
    where : array (...), bool, optional
        Which examples count: those without have the loss 0 and the gradient 0.
    reduction : "mean", "sum" or "none"
        The mean is over the examples that count, and 0 where none does. "mean" and "sum" compute their gradients in the
        pass that computes the loss; "none" computes the logits once more for its gradients.
    chunk_bytes : int, optional
        How much memory a chunk of the logits takes, in bytes: 64 MiB unless told.
    temperature, z_loss, softcap, scale : float
        As in `chainrule.linear_cross_entropy`, computed in the logits' format. They are no tracers.

    Returns
    -------
    array () or (...) of the dtype of hidden. 16-bit numbers are multiplied and summed in float32.

    Raises
    ------
    InputError
        A wrong shape, dtype or option; also under `jit`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> hidden, weight = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(linear_cross_entropy(hidden, weight, jnp.array([1]))), 4)
    0.3133

    Source: the lecture, sections 1 and 2.
    """
    hidden, weight, labels = _floats("hidden", hidden), _floats("weight", weight), _integers(labels)
    check_choice("reduction", reduction, REDUCTIONS)
    if hidden.ndim == 0 or weight.ndim != 2 or weight.shape[1] != hidden.shape[-1] or weight.dtype != hidden.dtype:
        width = hidden.shape[-1] if hidden.ndim else "D"
        raise InputError(
            f"weight: got shape {weight.shape} and dtype {weight.dtype}, expected (K, {width}) and {hidden.dtype} "
            f"for a hidden of shape {hidden.shape}"
        )
    k, batch = weight.shape[0], hidden.shape[:-1]
    if k == 0:
        raise InputError(f"weight: got shape {weight.shape}, expected at least one class (K >= 1)")
    if labels.shape != batch or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(f"labels: got shape {labels.shape} and dtype {labels.dtype}, expected {batch} and integers")
    if bias is not None:
        bias = _floats("bias", bias)
        if bias.shape != (k,) or bias.dtype != hidden.dtype:
            raise InputError(f"bias: got shape {bias.shape} and dtype {bias.dtype}, expected ({k},) and {hidden.dtype}")
    if where is not None:
        where = jnp.asarray(where)
        if where.shape != batch or where.dtype != jnp.bool_:
            raise InputError(f"where: got shape {where.shape} and dtype {where.dtype}, expected {batch} and bool")
    budget = CHUNK_BYTES if chunk_bytes is None else check_integer("chunk_bytes", chunk_bytes)
    rows = max(1, budget // (k * max(hidden.dtype.itemsize, 4)))
    options = LossOptions.checked(reduction, None, 0.0, temperature, z_loss, softcap, scale)
    shape = Shape(options.temperature, options.z_loss, options.softcap, options.scale)
    return _linear(Layer(hidden, weight, bias), labels, where, reduction, rows, shape)


def _integers(labels: Any) -> Any:
    """Labels as JAX has them: NumPy's of 64 bits that do not fit into JAX's 32 stay out of range, for JAX cuts them."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        kept = jax.dtypes.canonicalize_dtype(labels.dtype)
        if kept != labels.dtype:
            labels = np.clip(labels, -1 if labels.dtype.kind == "i" else 0, np.iinfo(kept).max).astype(kept)
    return jnp.asarray(labels)


def _floats(name: str, value: Any) -> Any:
    array = jnp.asarray(value)
    if array.dtype.name not in FORMATS:
        raise InputError(f"{name}: got dtype {array.dtype}, expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return array


def _check_logits(logits: Any, axis: Any) -> Any:
    array = _floats("logits", logits)
    if array.ndim == 0 and axis is not None:
        raise InputError("logits: got shape (), expected at least one axis, that of the classes")
    return array


def _check_axis(axis: Any, logits: Any) -> tuple[int, ...]:
    """The axes of the classes, each in [0, rank)."""
    rank = jnp.ndim(logits)
    given = tuple(range(rank)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(i, int) and not isinstance(i, bool) and -rank <= i < rank for i in given):
        raise InputError(
            f"axis: got {shown(axis)}, expected an axis of logits of shape {jnp.shape(logits)}, or several"
        )
    axes = tuple(i % rank for i in given)
    if len(set(axes)) < len(axes):
        raise InputError(f"axis: got {shown(axis)}, the same axis twice")
    if any(jnp.shape(logits)[i] == 0 for i in axes):
        raise InputError(f"logits: got shape {jnp.shape(logits)}, expected at least one class along axis {axis!r}")
    return axes


def _check_where(where: Any, axes: tuple[int, ...], logits: Any) -> Any:
    """`where` with the logits' rank: of length 1 along the classes' axes where whole examples are meant."""
    if where is None:
        return None
    mask = jnp.asarray(where)
    if mask.dtype != jnp.bool_:
        raise InputError(f"where: got dtype {mask.dtype}, expected bool")
    wide = jnp.expand_dims(mask, axes) if mask.ndim + len(axes) == logits.ndim else mask
    fits = wide.ndim == logits.ndim and all(m in (1, n) for m, n in zip(wide.shape, logits.shape, strict=True))
    if not fits:
        batch = tuple(n for i, n in enumerate(logits.shape) if i not in axes)
        raise InputError(f"where: got shape {mask.shape}, expected {batch} or {logits.shape}")
    return wide


def _classes_last(array: Any, axes: tuple[int, ...]) -> Any:
    """The axes of the classes moved to the end, in the order given, and made one."""
    if axes == (array.ndim - 1,):
        return array
    batch = tuple(i for i in range(array.ndim) if i not in axes)
    return array.transpose(batch + axes).reshape(*(array.shape[i] for i in batch), -1)


def _masked(logits: Any, where: Any, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """The logits with their classes last and −∞ where they do not count, which of them count, and which examples."""
    a = _classes_last(logits, axes)
    if where is None:
        return a, None, None
    if all(where.shape[i] == 1 for i in axes) and a.shape[-1] > 1:  # whole examples: the logits stay as they are
        return a, None, jnp.broadcast_to(_classes_last(where, axes)[..., 0], a.shape[:-1])
    mask = _classes_last(jnp.broadcast_to(where, logits.shape), axes)
    return jnp.where(mask, a, -jnp.inf), mask, jnp.any(mask, axis=-1)


def _counted(values: Any, examples: Any) -> Any:
    return values if examples is None else jnp.where(examples, values, 0)


@partial(jax.jit, static_argnums=3, inline=True)
def _labelled(logits: Any, labels: Any, where: Any, axes: tuple[int, ...]) -> Any:
    a, _, examples = _masked(logits, where, axes)
    shape = jnp.broadcast_shapes(a.shape[:-1], labels.shape)
    return _counted(losses.loss(jnp.broadcast_to(a, (*shape, a.shape[-1])), _signed(labels, shape)), examples)


@partial(jax.jit, static_argnums=3, inline=True)
def _targeted(logits: Any, targets: Any, where: Any, axes: tuple[int, ...]) -> Any:
    a, mask, examples = _masked(logits, where, axes)
    q = _classes_last(jnp.broadcast_to(targets, logits.shape), axes)
    return _counted(losses.loss(a, q if mask is None else jnp.where(mask, q, 0)), examples)


@partial(jax.jit, static_argnums=(3, 4, 5), inline=True)
def _linear(layer: Layer, labels: Any, where: Any, reduction: str, rows: int, shape: Shape) -> Any:
    dtype, batch = layer.hidden.dtype, layer.hidden.shape[:-1]
    layer = layer._replace(hidden=layer.hidden.reshape(-1, layer.hidden.shape[-1]))
    labels, counted = _signed(labels, batch).reshape(-1), None
    if where is not None:  # a gradient of 0 times a hidden unit that is NaN is NaN
        counted = where.reshape(-1)
        layer = layer._replace(hidden=jnp.where(counted[:, None], layer.hidden, 0))
    if reduction == "none":
        return _counted(each(layer, labels, rows, shape), counted).reshape(batch).astype(dtype)
    ones = None if counted is None else counted.astype(widened(layer.hidden).dtype)
    summed = total(layer, labels, ones, rows, shape)
    if reduction == "mean":
        summed = summed / jnp.maximum(labels.size if ones is None else jnp.sum(ones), 1)
    return summed.astype(dtype)


def _signed(labels: Any, shape: tuple[int, ...]) -> Any:
    """int32 labels, or int64; what an unsigned one cannot hold becomes a label that is out of range too."""
    if labels.dtype.itemsize == 8:
        labels = jnp.minimum(labels, 2**62).astype(jnp.int64)
    elif labels.dtype == jnp.uint32:
        labels = jnp.minimum(labels, jnp.uint32(2**31 - 1))
    return jnp.broadcast_to(labels if labels.dtype == jnp.int64 else labels.astype(jnp.int32), shape)
