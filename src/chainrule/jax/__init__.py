"""Optax's softmax cross-entropies, by their names and signatures, exact at every margin: change one import.

    from chainrule.jax import softmax_cross_entropy_with_integer_labels  # was: from optax import ...

Under `jit`, `grad`, `jvp`, `hessian`, `vmap`, `scan` and `shard_map`, as often as they are nested. On the CPU the
kernels run, through XLA's foreign function interface and without a copy; on other platforms the same closed form in
jax.numpy, in pairs of float64 where terms cancel and the platform has it. Errors of shape and dtype come when a
function is traced. A label that is out of range cannot raise under `jit`: the loss and the gradient of that example are
NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from chainrule.jax.closed_form import widened  # noqa: E402
from chainrule.jax.linear import Layer, each, total  # noqa: E402
from chainrule.jax.options import TOLD, Losses, Shape, shape_of, told_by, wide_of  # noqa: E402
from chainrule.jax.told import loss_of_rows  # noqa: E402

__all__ = ["Losses", "linear_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"]

CHUNK_BYTES = 64 << 20


def softmax_cross_entropy_with_integer_labels(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    axis: int | tuple[int, ...] = -1,
    where: jax.typing.ArrayLike | None = None,
    *,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: Any = None,
    extras: Sequence[str] = (),
) -> Any:
    """Cross entropy of softmax(logits) with one label for each example.

    loss = −log ŷ_ℓ with ŷ = softmax(logits),  ∇ loss = ŷ − e(ℓ).

    Parameters
    ----------
    logits : array (..., K), float16, bfloat16, float32 or float64
    labels : array (...), int in [0, K); for several axes an index into all their classes, the last axis fastest
    axis : the axis of the classes, or several
    where : array (...) or of the logits' shape, bool, optional
        What counts: examples, or classes. An example without any has the loss 0 and the gradient 0.
    temperature : float > 0
        Divides the logits. This and what follows are Python's numbers, and no tracers.
    z_loss : float >= 0
        λ of the term λ·logsumexp², added for each example.
    softcap : float > 0, optional
        c of c·tanh(logits/c), which the loss sees for the logits; −∞ stays −∞.
    scale : float > 0
        Multiplies the logits, before the cap.
    loss_dtype : float32, optional
        The dtype of the loss and the extras of 16-bit logits, which are widened.
    extras : sequence of names
        "logsumexp", "log_likelihood" (log ŷ_ℓ), "entropy" (of ŷ, in nats), each with its gradient, "prediction" and
        "correct", each of the loss's shape; 0 or False for an example that does not count.

    Returns
    -------
    array (...) of the logits' dtype: the loss of each example. With extras a `Losses`, a named tuple: `loss`, and what
    was asked for by name, None for the others. The loss is NaN, and so is its gradient, for a label outside
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
        fits = labels.ndim == len(batch) and jnp.broadcast_shapes(batch, labels.shape) is not None
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"labels: got shape {labels.shape}, expected {batch}, one label for each example")
    logits = logits.astype(jnp.float32) if wide_of(loss_dtype, logits.dtype) else logits
    shape, names = shape_of(temperature, z_loss, softcap, scale), told_by(extras)
    found = _labelled(logits, labels, _check_where(where, axes, logits), axes, shape, names)
    return _given(found, names)


def softmax_cross_entropy(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    where: jax.typing.ArrayLike | None = None,
    *,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: Any = None,
    extras: Sequence[str] = (),
) -> Any:
    """Cross entropy of softmax(logits) with target probabilities, one for each class.

    loss = −Σ_j q_j log ŷ_j with ŷ = softmax(logits),  ∇ loss = (Σ_j q_j) ŷ − q,  ∇_q loss = −log ŷ.

    Parameters
    ----------
    logits : array (..., K), float16, bfloat16, float32 or float64
    labels : array (..., K), the targets q, that broadcasts with the logits; they need not sum to 1
    axis : the axis of the classes, or several, or None for all
    where : array (...) or of the logits' shape, bool, optional
        What counts: examples, or classes. An example without any has the loss 0 and the gradient 0.
    temperature, z_loss, softcap, scale, loss_dtype, extras
        As in `softmax_cross_entropy_with_integer_labels`; log_likelihood is Σ_j q_j log ŷ_j, and the label of "correct"
        the class of the largest target.

    Returns
    -------
    array (...) of the dtype to which logits and labels promote: the loss of each example; with extras a named tuple. A
    class whose target is 0
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
    if wide_of(loss_dtype, dtype):
        dtype = jnp.dtype(jnp.float32)
    try:
        whole = jnp.broadcast_shapes(logits.shape, labels.shape)
    except ValueError as error:
        expected = f"{logits.shape}, a target for each class"
        raise InputError(f"labels: got shape {labels.shape}, expected {expected}") from error
    logits = jnp.broadcast_to(logits, whole)
    axes = _check_axis(axis, logits)
    mask = _check_where(where, axes, logits)
    shape, names = shape_of(temperature, z_loss, softcap, scale), told_by(extras)
    return _given(_targeted(logits.astype(dtype), labels.astype(dtype), mask, axes, shape, names), names)


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
    loss_dtype: Any = None,
    extras: Sequence[str] = (),
) -> Any:
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
    temperature, z_loss, softcap, scale, loss_dtype, extras
        As in `softmax_cross_entropy_with_integer_labels`; extras are always of each example. They are told in the
        loss's own pass, and with them the gradients compute the logits once more, as "none" does.

    Returns
    -------
    array () or (...) of the dtype of hidden; with extras a named tuple. 16-bit numbers are multiplied and summed in
    float32.

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
    shape, names = shape_of(temperature, z_loss, softcap, scale), told_by(extras)
    dtype = jnp.dtype(jnp.float32) if wide_of(loss_dtype, hidden.dtype) else hidden.dtype
    found = _linear(Layer(hidden, weight, bias), labels, where, reduction, rows, shape, names, dtype)
    return _given(found, names)


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


def _given(found: tuple[Any, ...], names: tuple[str, ...]) -> Any:
    return Losses(found[0], **dict(zip(names, found[1:], strict=True))) if names else found[0]


def _of_rows(a: Any, given: Any, examples: Any, shape: Shape, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The loss of logits with their classes last, and the extras."""
    told = tuple(name for name in names if name in TOLD)
    value, *more = loss_of_rows(a, given, shape, told)
    found = dict(zip(told, more, strict=True))
    if len(told) < len(names):
        found |= _predictions(value, jnp.argmax(a, axis=-1), given)
    return tuple(_counted(x, examples) for x in (value, *(found[name] for name in names)))


def _predictions(losses: Any, prediction: Any, given: Any) -> dict[str, Any]:
    """A prediction is not correct where the loss is NaN."""
    label = given if given.ndim == losses.ndim else jnp.argmax(given, axis=-1)
    return {"prediction": prediction, "correct": (prediction == label.astype(prediction.dtype)) & ~jnp.isnan(losses)}


@partial(jax.jit, static_argnums=(3, 4, 5), inline=True)
def _labelled(
    logits: Any, labels: Any, where: Any, axes: tuple[int, ...], shape: Shape, names: tuple[str, ...]
) -> tuple[Any, ...]:
    a, _, examples = _masked(logits, where, axes)
    batch = jnp.broadcast_shapes(a.shape[:-1], labels.shape)
    return _of_rows(jnp.broadcast_to(a, (*batch, a.shape[-1])), _signed(labels, batch), examples, shape, names)


@partial(jax.jit, static_argnums=(3, 4, 5), inline=True)
def _targeted(
    logits: Any, targets: Any, where: Any, axes: tuple[int, ...], shape: Shape, names: tuple[str, ...]
) -> tuple[Any, ...]:
    a, mask, examples = _masked(logits, where, axes)
    q = _classes_last(jnp.broadcast_to(targets, logits.shape), axes)
    return _of_rows(a, q if mask is None else jnp.where(mask, q, 0), examples, shape, names)


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7), inline=True)
def _linear(
    layer: Layer, labels: Any, where: Any, reduction: str, rows: int, shape: Shape, names: tuple[str, ...], dtype: Any
) -> tuple[Any, ...]:
    batch = layer.hidden.shape[:-1]
    layer = layer._replace(hidden=layer.hidden.reshape(-1, layer.hidden.shape[-1]))
    labels, counted = _signed(labels, batch).reshape(-1), None
    if where is not None:  # a gradient of 0 times a hidden unit that is NaN is NaN
        counted = where.reshape(-1)
        layer = layer._replace(hidden=jnp.where(counted[:, None], layer.hidden, 0))
    ones = None if counted is None else counted.astype(widened(layer.hidden).dtype)
    extras: list[Any] = []
    if reduction == "none" or names:
        told = tuple(name for name in names if name in TOLD)
        losses, *more = each(layer, labels, rows, shape, told, predicts=len(told) < len(names))
        found = dict(zip(told, more, strict=False))
        if len(told) < len(names):
            found |= _predictions(losses, more[-1], labels)
        losses = _counted(losses, counted)
        extras = [_counted(found[name], counted).reshape(batch) for name in names]
        extras = [x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in extras]
        if reduction == "none":
            return losses.reshape(batch).astype(dtype), *extras
        summed = jnp.sum(losses)
    else:
        summed = total(layer, labels, ones, rows, shape)
    if reduction == "mean":
        summed = summed / jnp.maximum(labels.size if ones is None else jnp.sum(ones), 1)
    return summed.astype(dtype), *extras


def _signed(labels: Any, shape: tuple[int, ...]) -> Any:
    """int32 labels, or int64; what an unsigned one cannot hold becomes a label that is out of range too."""
    if labels.dtype.itemsize == 8:
        labels = jnp.minimum(labels, 2**62).astype(jnp.int64)
    elif labels.dtype == jnp.uint32:
        labels = jnp.minimum(labels, jnp.uint32(2**31 - 1))
    return jnp.broadcast_to(labels if labels.dtype == jnp.int64 else labels.astype(jnp.int32), shape)
