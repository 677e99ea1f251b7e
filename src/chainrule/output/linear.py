"""The last layer and the output layer together: logits W h + b, their loss, and its gradients, in chunks of rows.

The N×K logits are never stored. A chunk of rows goes through a matrix product, the output layer's kernel in place,
and the two products that carry the gradient back: lecture, section 2, ∇_W 𝓛 = ∇_a 𝓛 hᵀ and ∇_h 𝓛 = Wᵀ ∇_a 𝓛.

The matrix products are Chainrule's own (_native/product.cpp), not the BLAS's that NumPy and SciPy carry: for a chunk
of some hundred rows a BLAS copies the weights anew each time, and from NumPy it cannot add a product to an array, which
the weights' gradient needs with every chunk. float16 and bfloat16 are widened block by block, multiplied and summed in
float32, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import Borrowed, describe, empty, from_float, to_float
from chainrule.boundary.checks import (
    check_bias,
    check_integer,
    check_logits,
    check_out,
    check_threads,
)
from chainrule.errors import InputError
from chainrule.output.extras import OF_EACH, WithExtras, check_extras, dtype_of, kept_correct, loss_format, scalar
from chainrule.output.options import LossOptions, loss_into

__all__ = ["LinearCrossEntropy", "linear_cross_entropy"]

Array = npt.NDArray[Any]
CHUNK_BYTES = 64 << 20


class _LossAndGradients(NamedTuple):
    loss: Any
    grad_hidden: Any
    grad_weight: Any
    grad_bias: Any


class LinearCrossEntropy(WithExtras, _LossAndGradients):
    """Loss, and its gradients w.r.t. the hidden units, (N, D), the weights, (K, D), and the biases, (K,) or None: four.
    `extras` holds what else was asked for, by name, and each is an attribute too."""


def linear_cross_entropy(
    hidden: Any,
    weight: Any,
    labels: Any,
    bias: Any = None,
    *,
    reduction: str = "mean",
    class_weights: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: Any = None,
    out: tuple[Any, Any, Any] | None = None,
    threads: int | None = None,
    chunk_bytes: int | None = None,
    extras: Sequence[str] = (),
) -> LinearCrossEntropy:
    """Cross entropy of softmax(hidden · weightᵀ + bias) with its gradients, without storing the logits.

    Parameters
    ----------
    hidden : array (N, D), float16, bfloat16, float32 or float64
    weight : array (K, D) of the same dtype: row i holds the weights of class i
    labels : array (N,), int in [0, K), or target probabilities (N, K), of the logits' dtype (float32 for 16 bits)
    bias : array (K,) of the same dtype, optional
    reduction : "mean", "sum" or "none"
        For "none" the loss is (N,), row n of grad_hidden is that of loss n, and the gradients w.r.t. the weights and
        biases, which every example shares, are those of the sum.
    class_weights, label_smoothing, ignore_index, temperature, z_loss, softcap, scale, loss_dtype, threads
        As in `softmax_cross_entropy`.
    out : tuple of three arrays, of the shapes and dtypes of hidden, weight and bias, each of them optional
        Receive the gradients; the first may be `hidden` itself, which is overwritten then.
    chunk_bytes : int, optional
        At most this much memory beside inputs and outputs, in bytes: 64 MiB unless told. Not counted are, for weights
        of 16 bits or an `out` whose columns lie apart, the sums of their gradient, 4 K D or 8 K D.
    extras : sequence of names
        As in `softmax_cross_entropy`, but for "probabilities".

    Returns
    -------
    LinearCrossEntropy
        loss, grad_hidden (N, D), grad_weight (K, D), grad_bias (K,), or None without a bias; of the kind and dtype
        of what they are the gradients of. How rows are chunked decides the order of the sums over examples.

    Raises
    ------
    InputError
        A wrong shape, dtype, label or option, a chunk_bytes that does not hold one row, or an `out` that overlaps what
        is read; nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> hidden, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, grad_hidden, grad_weight, grad_bias = linear_cross_entropy(hidden, weight, [1])
    >>> round(float(loss), 4), grad_hidden.round(4).tolist()
    (0.3133, [[0.2689, -0.2689]])

    Source: the lecture, sections 1 and 2.
    """
    layer = check_layer(hidden, weight, bias)
    options = LossOptions.checked(reduction, ignore_index, label_smoothing, temperature, z_loss, softcap, scale)
    options = options.of(labels, layer.shape, layer.format, class_weights)
    given = _check_outs(out, layer, options)
    team = check_threads(threads)
    buffers = Gradients(*(
        empty(like.view.shape, like.view.dtype) if like is not None and view is None else view
        for like, view in zip(layer, given, strict=True)
    ))  # fmt: skip
    into, h = check_extras(extras, OF_EACH), layer.hidden
    told = loss_format(loss_dtype, h.format)
    for name in into | {"losses": None} if reduction == "none" or "correct" in into else into:
        into[name] = empty(layer.shape[:1], dtype_of(name, layer.format))
    total = layer_into(layer, buffers, options, team, chunk_bytes, of_each=into)
    losses = into.pop("losses", None)
    kept_correct(into, losses, layer.format)
    loss = h.give(from_float(losses, told)) if reduction == "none" else scalar(h, options.reduced(total), told)
    grads = (
        None if like is None or view is None else (like.give(view) if came is None else came)
        for like, view, came in zip(layer, buffers, out or (None, None, None), strict=True)
    )
    result = LinearCrossEntropy(loss, *grads)
    result.extras = {
        name: h.give(value if name in ("prediction", "correct") else from_float(value, told))
        for name, value in into.items()
    }
    return result


class Layer(NamedTuple):
    """Hidden units (N, D), weights (K, D) and biases (K,) of one format."""

    hidden: Borrowed
    weight: Borrowed
    bias: Borrowed | None

    @property
    def shape(self) -> tuple[int, int]:
        """The logits', (N, K)."""
        return self.hidden.view.shape[0], self.weight.view.shape[0]

    @property
    def format(self) -> str:
        """In which the logits and all sums are computed."""
        return "float64" if self.hidden.format == "float64" else "float32"


class Gradients(NamedTuple):
    """The buffers that receive the gradients, as views of the formats' storage; None where one is not wanted."""

    hidden: Array | None
    weight: Array | None
    bias: Array | None


def check_layer(hidden: Any, weight: Any, bias: Any) -> Layer:
    h, w = check_logits("hidden", hidden, "(N, D)"), check_logits("weight", weight, "(K, D)")
    d, k = h.view.shape[1], w.view.shape[0]
    if w.format != h.format or w.view.shape[1] != d or k == 0:
        raise InputError(
            f"weight: got shape {w.view.shape} and dtype {w.format}, expected (K, {d}) and {h.format}, K >= 1"
        )
    return Layer(h, w, None if bias is None else check_bias(bias, k, h.format))


def layer_into(
    layer: Layer,
    into: Gradients,
    options: LossOptions,
    team: int,
    chunk_bytes: int | None = None,
    *,
    of_each: dict[str, Array] | None = None,
    factors: Any = 1.0,
    adds: bool = False,
) -> float:
    """Fill the buffers that are there, and return the sum of the losses; what has been checked comes in.

    A gradient without a buffer is not computed, nor is its product. `of_each` names what receives something of each
    example: "losses", float64 for float64 and float32 for all else, and extras alike. `factors`, (N,) or one float,
    multiply each example's gradient. With `adds`, the weights' and biases' gradients are added to what their buffers
    hold.
    """
    (h, w, b), format = layer, layer.format
    (n, d), k = h.view.shape, w.view.shape[0]
    one = factors if isinstance(factors, float) else 1.0
    dtype = np.dtype(format)
    multiply = _kernels.multiply_float64 if format == "float64" else _kernels.multiply_float32
    # what the products cannot read as it lies is widened, or made contiguous, a block at a time
    copies = 0 if _readable(h.view, dtype) and _readable(w.view, dtype) else 1
    ignore_index = options.ignore_index
    widened = int(options.targets is not None and options.target_format != format)
    beside = (1 + copies + (ignore_index is not None)) * d + widened * k
    rows, columns = _chunks(chunk_bytes, n, d, k, dtype.itemsize, team, copies, beside)
    blocks = _slices(k, columns)

    sums = None if into.weight is None else _sums_of(into.weight, w, dtype, adds)
    grad_bias = None if b is None or into.bias is None else np.zeros(k)
    biases = None if b is None else to_float(b.view, b.format)
    logits, totals = np.empty((rows, k), dtype), []
    backs = None if into.hidden is None else np.empty((rows, d), dtype)
    for chunk in _slices(n, rows):
        a = logits[: chunk.stop - chunk.start]
        x = np.ascontiguousarray(_numbers(h, chunk)) if copies else _numbers(h, chunk)
        here = options.rows(chunk)
        for block in blocks:
            multiply(x, _numbers(w, block).T, a[:, block], False, team)
        if biases is not None:
            a += biases
        each = {name: array[chunk] for name, array in (of_each or {}).items()}
        totals.append(loss_into(a, a, here, format, team, factor=one, into=each))
        if not isinstance(factors, float):
            a *= factors[chunk, None]
        if grad_bias is not None:
            grad_bias += np.ones(len(a), dtype) @ a
        if sums is not None:
            if here.labels is not None and ignore_index is not None:
                ignored = here.labels == ignore_index
                if ignored.any():  # a gradient of 0 times a hidden unit that is NaN is NaN
                    x = np.where(ignored[:, None], dtype.type(0), x)
            multiply(a.T, x, sums, adds or chunk.start > 0, team)
        if into.hidden is not None and backs is not None:
            back = backs[: len(a)]
            for block in blocks:
                multiply(a[:, block], _numbers(w, block), back, block.start > 0, team)
            _store(back, into.hidden[chunk], h.format)
        del x  # before the next chunk's is made
    if sums is not None and into.weight is not None:
        if n == 0 and not adds:
            sums[:] = 0
        if sums is not into.weight:
            _store(sums, into.weight, w.format)
    if grad_bias is not None and b is not None and into.bias is not None:
        into.bias[:] = from_float(grad_bias + to_float(into.bias, b.format) if adds else grad_bias, b.format)
    return math.fsum(totals)


def _check_outs(out: Any, layer: Layer, options: LossOptions) -> list[Array | None]:
    """The views of the buffers that were given."""
    h, w, b = layer
    if out is None:
        return [None, None, None]
    if not isinstance(out, tuple | list) or len(out) != 3:
        raise InputError(f"out: got {describe(out)}, expected a tuple (grad_hidden, grad_weight, grad_bias)")
    if b is None and out[2] is not None:
        raise InputError("out: got an array for the biases' gradient, expected None, as there are no biases")
    read = [options.targets, options.labels, options.class_weights, None if b is None else b.view]
    views: list[Array | None] = []
    for name, came, like in zip(("grad_hidden", "grad_weight", "grad_bias"), out, (h, w, b), strict=True):
        if came is None or like is None:
            views.append(None)
            continue
        others = [*read, *(array.view for array in (h, w) if array is not like), *views]
        views.append(check_out(came, like, *others, name=f"out, {name}", itself=like is h))
    return views


def _sums_of(buffer: Array, w: Borrowed, dtype: np.dtype[Any], adds: bool) -> Array:
    """The buffer itself if products can be added up in it, else an array of float32 or float64."""
    if buffer.dtype == dtype and (buffer.strides[1] == dtype.itemsize or buffer.shape[1] == 1):
        return buffer
    return to_float(buffer, w.format).copy() if adds else np.empty(buffer.shape, dtype)


def _readable(view: Array, dtype: np.dtype[Any]) -> bool:
    return view.dtype == dtype and dtype.itemsize in view.strides and min(view.strides) > 0


def _chunks(
    chunk_bytes: int | None, n: int, d: int, k: int, itemsize: int, threads: int, copies: int, beside: int
) -> tuple[int, int]:
    """Rows of logits, and classes of a product, that fit together with the kernels' scratch."""
    budget = CHUNK_BYTES if chunk_bytes is None else check_integer("chunk_bytes", chunk_bytes)
    columns = _whole(min(k, max(1, budget // 32 // (d * itemsize)))) if copies else k  # of weights widened together
    packed = 192 * min(n, 320) * itemsize if d > 32 else 0  # what a thread copies of the logits together: product.hpp
    fixed = copies * columns * d * itemsize + threads * (8 * k + 256 + packed) + 16 * k
    a_row = (k + beside) * itemsize
    if fixed + a_row > budget:
        raise InputError(f"chunk_bytes: got {budget}, expected at least {fixed + a_row}, which holds one row of logits")
    return _whole(max(1, min(n, (budget - fixed) // a_row))), max(columns, 1)


def _whole(count: int) -> int:
    """At most `count`, from 16 on a multiple of 16: few of the products' vectors are then partly empty."""
    return count if count < 16 else count // 16 * 16


def _slices(length: int, step: int) -> list[slice]:
    return [slice(begin, min(begin + step, length)) for begin in range(0, length, step)]


def _numbers(array: Borrowed, rows: slice) -> Array:
    return to_float(array.view[rows], array.format)


def _store(numbers: Array, into: Array, format: str) -> None:
    """Numbers into the storage of a format, rounded a slice at a time: a copy of all would not be within the bound."""
    for part in _slices(len(numbers), max(1, 2**13 // numbers.shape[1])):
        into[part] = from_float(numbers[part], format)
