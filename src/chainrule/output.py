"""The output layer: probabilities, the loss −log ŷ_ℓ, and its gradient w.r.t. the output units.

Checks its input, calls a kernel, returns loss and gradient. Shapes everywhere: N examples, K classes. The
gradient is that of the *reduced* loss: with reduction="mean" the factor 1/N is in it, with reduction="none"
row n is the gradient of loss n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule._native import _kernels
from chainrule.checks import (
    check_choice,
    check_integer,
    check_labels,
    check_matrix,
    check_not_built,
    check_out,
)
from chainrule.errors import InputError

__all__ = [
    "CrossEntropy",
    "SoftmaxCrossEntropy",
    "cross_entropy",
    "log_softmax",
    "softmax",
    "softmax_cross_entropy",
    "softmax_jacobian",
    "which_kernel",
]

Array = npt.NDArray[Any]
REDUCTIONS = ("mean", "sum", "none")


class CrossEntropy(NamedTuple):
    """Loss, and its gradient w.r.t. the probabilities, (N, K)."""

    loss: Any
    grad_probabilities: Array


class SoftmaxCrossEntropy(NamedTuple):
    """Loss, and its gradient w.r.t. the logits, (N, K)."""

    loss: Any
    grad_logits: Array


def cross_entropy(probabilities: Any, labels: Any, *, reduction: str = "mean") -> CrossEntropy:
    """Cross entropy of given probabilities, and its gradient w.r.t. them.

    loss = −log ŷ_ℓ,  ∇_ŷ loss = −(1/ŷ_ℓ) e(ℓ). The partial derivative holds the other probabilities fixed:
    ŷ leaves the simplex.

    Parameters
    ----------
    probabilities : array (N, K), float32 or float64, each in [0, 1]
    labels : array (N,), int in [0, K)
    reduction : "mean", "sum" or "none"

    Returns
    -------
    CrossEntropy
        loss: scalar, or (N,) for "none"; grad_probabilities: (N, K). A probability of 0 for the label gives
        the loss ∞ and the gradient −∞, which they are.

    Raises
    ------
    InputError
        A wrong shape, dtype or label, or a number outside [0, 1]. NaN gives NaN.

    Examples
    --------
    >>> loss, grad = cross_entropy([[0.5, 0.25, 0.25]], [1])
    >>> round(float(loss), 4), (grad + 0.0).tolist()
    (1.3863, [[0.0, -4.0, 0.0]])

    Source: the lecture, section 1: ∂𝓛/∂ŷ_i = −𝟙[i=ℓ]/ŷ_ℓ.
    """
    p = check_matrix("probabilities", probabilities)
    n, k = p.shape
    label = check_labels(labels, n, k)
    check_choice("reduction", reduction, REDUCTIONS)
    outside = np.argwhere((p < 0) | (p > 1))
    if outside.size:
        row, column = outside[0]
        raise InputError(
            f"probabilities: got {p[row, column]} at row {row}, column {column}, expected numbers in [0, 1]"
        )
    weight = 1.0 / n if reduction == "mean" and n else 1.0
    chosen = p[np.arange(n), label].astype(np.float64)
    grad = np.zeros_like(p, order="C")
    with np.errstate(divide="ignore", over="ignore"):
        grad[np.arange(n), label] = (-weight / chosen).astype(p.dtype)
        losses = 0.0 - np.log(chosen)
    return CrossEntropy(_reduce(losses, reduction, p.dtype), grad)


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    reduction: str = "mean",
    class_weights: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    out: Array | None = None,
    threads: int | None = None,
) -> SoftmaxCrossEntropy:
    """Cross entropy of softmax(logits), and its gradient w.r.t. the logits, in one pass.

    loss = −log ŷ_ℓ with ŷ = softmax(a_L),  ∇_{a_L} loss = −(e(ℓ) − ŷ) = ŷ − e(ℓ).

    Neither is computed as written, because both cancel for a confident row. The exponentials of the other
    classes are summed apart, s_o = Σ_{j≠ℓ} exp(a_j − m), and grad_ℓ = −s_o/S: never ŷ_ℓ − 1.

    Parameters
    ----------
    logits : array (N, K), float32 or float64
    labels : array (N,), int in [0, K)
    reduction : "mean", "sum" or "none"
    out : array (N, K) of the logits' dtype, optional
        Receives the gradient; `out=logits` overwrites the logits with it.
    threads : int, optional
        At most this many threads; the result has the same bits whatever their number.
    class_weights, label_smoothing, ignore_index, temperature, z_loss
        Not built yet: anything but the default raises NotImplementedError.

    Returns
    -------
    SoftmaxCrossEntropy
        loss: scalar of the logits' dtype, or (N,) for "none"; grad_logits: (N, K). With N = 0 the loss is 0.
        A logit of −∞ masks its class exactly; NaN or +∞ in a row gives NaN in that row.

    Raises
    ------
    InputError
        A wrong shape, dtype or label; nothing has been written then.
    NotImplementedError
        An option that is not built yet.

    Examples
    --------
    >>> import numpy as np
    >>> loss, grad = softmax_cross_entropy(np.array([[0.0, 20.0]], dtype="float32"), [1])
    >>> float(loss), grad.tolist()  # ordinary float32 code returns 0.0 and [2.06e-09, 0.0]
    (2.06115369216775e-09, [[2.06115369216775e-09, -2.06115369216775e-09]])

    Source: the lecture, section 1: ∇_{a_L} 𝓛 = −(e(ℓ) − ŷ).
    """
    a = check_matrix("logits", logits)
    n, k = a.shape
    label = check_labels(labels, n, k)
    check_choice("reduction", reduction, REDUCTIONS)
    check_not_built(
        "softmax_cross_entropy",
        class_weights=(class_weights, None),
        label_smoothing=(label_smoothing, 0.0),
        ignore_index=(ignore_index, None),
        temperature=(temperature, 1.0),
        z_loss=(z_loss, 0.0),
    )
    team = _threads(threads)
    grad = np.empty(a.shape, dtype=a.dtype) if out is None else check_out(out, a)
    losses = np.empty(n, dtype=np.float64)
    weight = 1.0 / n if reduction == "mean" and n else 1.0
    _kernels.gradient(_rows(a), label, grad, losses, weight, team)
    return SoftmaxCrossEntropy(_reduce(losses, reduction, a.dtype), grad)


def softmax(logits: Any, *, threads: int | None = None) -> Array:
    """Probabilities of each class, ŷ_i = exp(a_i) / Σ_{i'} exp(a_{i'}).

    Parameters
    ----------
    logits : array (N, K), float32 or float64
    threads : int, optional

    Returns
    -------
    array (N, K) of the logits' dtype

    Raises
    ------
    InputError
        A wrong shape or dtype.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1000.0, -1000.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]

    Source: the lecture, section 1: ŷ = softmax(a_L).
    """
    return _softmax(logits, log=False, threads=threads)


def log_softmax(logits: Any, *, threads: int | None = None) -> Array:
    """Logarithm of the probabilities, log ŷ_i = (a_i − m) − log Σ_{i'} exp(a_{i'} − m), with m = max a.

    Parameters
    ----------
    logits : array (N, K), float32 or float64
    threads : int, optional

    Returns
    -------
    array (N, K) of the logits' dtype; exact also where ŷ_i rounds to 1

    Raises
    ------
    InputError
        A wrong shape or dtype.

    Examples
    --------
    >>> log_softmax([[40.0, 0.0]]).tolist()
    [[-4.248354255291589e-18, -40.0]]

    Source: the lecture, section 1, with the sum of the others taken apart.
    """
    return _softmax(logits, log=True, threads=threads)


def softmax_jacobian(logits: Any) -> Array:
    """The Jacobian of softmax, ∂ŷ_i/∂a_j = ŷ_i (𝟙[i=j] − ŷ_j), for each example.

    The diagonal's 1 − ŷ_i is the sum of the other probabilities, so it keeps its digits where ŷ_i rounds to 1.

    Parameters
    ----------
    logits : array (N, K), float32 or float64

    Returns
    -------
    array (N, K, K) of the logits' dtype: row i of a matrix belongs to ŷ_i, column j to a_j

    Raises
    ------
    InputError
        A wrong shape or dtype.

    Examples
    --------
    >>> softmax_jacobian([[0.0, 0.0]]).tolist()
    [[[0.25, -0.25], [-0.25, 0.25]]]

    Source: the lecture, section 1: ŷ_ℓ (𝟙[ℓ=i] − ŷ_i), for every ℓ.
    """
    a = check_matrix("logits", logits)
    return np.asarray(equations.softmax_jacobian(a.astype(np.float64)), dtype=a.dtype)


def which_kernel() -> str:
    """What computes the output layer on this machine, and with how many threads at most.

    Examples
    --------
    >>> which_kernel().startswith("native")
    True
    """
    return f"native, {_kernels.instruction_set()}, {_kernels.max_threads()} threads at most"


def _softmax(logits: Any, *, log: bool, threads: int | None) -> Array:
    a = check_matrix("logits", logits)
    result = np.empty(a.shape, dtype=a.dtype)
    _kernels.softmax(_rows(a), result, log, _threads(threads))
    return result


def _threads(threads: int | None) -> int:
    return _kernels.max_threads() if threads is None else min(check_integer("threads", threads), 1024)


def _rows(a: Array) -> Array:
    """The kernels take any row stride, but want each row's elements side by side and aligned."""
    side_by_side = a.shape[1] == 1 or a.strides[1] == a.itemsize
    whole_steps = a.strides[0] % a.itemsize == 0
    return a if side_by_side and whole_steps and a.flags.aligned else np.ascontiguousarray(a)


def _reduce(losses: npt.NDArray[np.float64], reduction: str, dtype: np.dtype[Any]) -> Any:
    """Sums in float64 in one fixed order, and rounds once."""
    if reduction == "none":
        with np.errstate(under="ignore", over="ignore"):
            return losses.astype(dtype)
    total = losses.sum()
    mean = reduction == "mean" and losses.size
    return dtype.type(total / losses.size if mean else total)
