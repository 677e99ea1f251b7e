"""The output layer: probabilities, the loss −log ŷ_ℓ, and its gradient w.r.t. the output units.

Checks its input, calls a kernel, returns loss and gradient. Shapes everywhere: N examples, K classes. The
gradient is that of the *reduced* loss: with reduction="mean" the factor 1/N is in it, with reduction="none"
row n is the gradient of loss n. Arrays come in float16, bfloat16, float32 or float64, with any strides, of any
kind that lives on the CPU (NumPy, PyTorch, JAX, DLPack), and results are of the same dtype and kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule._native import _kernels
from chainrule.boundary.arrays import Borrowed, empty, from_float, to_float
from chainrule.boundary.checks import (
    REDUCTIONS,
    check_choice,
    check_labels,
    check_logits,
    check_matrix,
    check_out,
    check_rows,
    check_threads,
)
from chainrule.errors import InputError
from chainrule.output.extras import EXTRAS, WithExtras, check_extras, dtype_of, kept_correct, loss_format, scalar
from chainrule.output.options import LossOptions, loss_into, ordinary_loss

__all__ = [
    "CrossEntropy",
    "SoftmaxCrossEntropy",
    "cross_entropy",
    "hessian_diagonal",
    "hessian_vector_product",
    "log_softmax",
    "row_into",
    "softmax",
    "softmax_cross_entropy",
    "softmax_jacobian",
    "which_kernel",
]

Array = npt.NDArray[Any]


class CrossEntropy(NamedTuple):
    """Loss, and its gradient w.r.t. the probabilities, (N, K)."""

    loss: Any
    grad_probabilities: Any


class _LossAndGradient(NamedTuple):
    loss: Any
    grad_logits: Any


class SoftmaxCrossEntropy(WithExtras, _LossAndGradient):
    """Loss, and its gradient w.r.t. the logits, (N, K): a pair. `extras` holds what else was asked for, by name,
    and each is an attribute too."""


def cross_entropy(probabilities: Any, labels: Any, *, reduction: str = "mean") -> CrossEntropy:
    """Cross entropy of given probabilities, and its gradient w.r.t. them.

    loss = −log ŷ_ℓ,  ∇_ŷ loss = −(1/ŷ_ℓ) e(ℓ). The partial derivative holds the other probabilities fixed:
    ŷ leaves the simplex.

    Parameters
    ----------
    probabilities : array (N, K), float16, bfloat16, float32 or float64, each in [0, 1]
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
    borrowed = check_logits("probabilities", probabilities)
    p = to_float(borrowed.view, borrowed.format)
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
    grad = np.zeros(p.shape, dtype=borrowed.view.dtype)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        grad[np.arange(n), label] = from_float(-weight / chosen, borrowed.format)
        losses = 0.0 - np.log(chosen)
        if reduction == "none":
            return CrossEntropy(borrowed.give(from_float(losses, borrowed.format)), borrowed.give(grad))
    return CrossEntropy(scalar(borrowed, losses.sum() * weight, borrowed.format), borrowed.give(grad))


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
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: Any = None,
    out: Any = None,
    threads: int | None = None,
    extras: Sequence[str] = (),
) -> SoftmaxCrossEntropy:
    """Cross entropy of softmax(logits), and its gradient w.r.t. the logits, in one pass.

    loss = −log ŷ_ℓ with ŷ = softmax(a_L),  ∇_{a_L} loss = −(e(ℓ) − ŷ) = ŷ − e(ℓ).

    Neither is computed as written, because both cancel for a confident row. The exponentials of the other
    classes are summed apart, s_o = Σ_{j≠ℓ} exp(a_j − m), and grad_ℓ = −s_o/S: never ŷ_ℓ − 1.

    With every option, for targets q (e(ℓ) for a label), weights w, smoothing ε, temperature T and z-loss λ:
    loss = Σ_j w_j ((1−ε) q_j + ε/K) (−log ŷ_j) + λ lse², where ŷ = softmax(a/T) and lse = logsumexp(a/T); but a
    label's own weight w_ℓ multiplies (1−ε), as it does in PyTorch, which this equals wherever PyTorch has it. Before
    all that, a is s·a with a scale s, and c·tanh(s·a/c) with a softcap c.

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64
    labels : array (N,), int in [0, K), or target probabilities (N, K), of the logits' dtype, >= 0
    reduction : "mean", "sum" or "none"
        The mean divides by the sum of the weights w_ℓ of the counted examples; with targets, by N.
    class_weights : array (K,), each 0 or between 1e-150 and 1e150, optional
    label_smoothing : float in [0, 1]
    ignore_index : int, optional
        Examples with this label count for nothing: loss 0, gradient 0.
    temperature : float > 0, at least 1e-150
        Divides the logits. The gradient is w.r.t. the logits as given: the factor 1/T is in it.
    z_loss : float >= 0
        λ of the term λ·logsumexp², added for each counted example, whatever its class's weight.
    softcap : float > 0, at least 1e-150, optional
        c of a = c·tanh(s·a/c), as in Gemma 2. −∞ stays −∞.
    scale : float > 0, at least 1e-150
        s, which multiplies the logits, before the cap (Cohere's logit_scale, 1/logits_scaling of Granite). The gradient
        is w.r.t. the logits as given.
    loss_dtype : "float32", optional
        The dtype of the loss and the extras of float16 and bfloat16 logits, instead of theirs.
    out : array (N, K) of the logits' dtype, optional
        Receives the gradient; `out=logits` overwrites the logits with it.
    threads : int, optional
        At most this many threads; the result has the same bits whatever their number.
    extras : sequence of names
        What to compute besides: "probabilities" (N, K), "logsumexp", "log_likelihood" (log ŷ_ℓ, neither weighted
        nor smoothed; Σ q log ŷ for targets), "entropy" (of ŷ, in nats), "prediction" (int64) and "correct" (bool),
        each (N,). For an ignored example log_likelihood is 0 and correct is False, as it is where the loss is NaN.

    Returns
    -------
    SoftmaxCrossEntropy
        loss: scalar of the logits' dtype, or (N,) for "none"; grad_logits: (N, K); the extras as attributes. With
        no counted example a mean is 0. A logit of −∞ masks its class exactly; NaN or +∞ in a row gives NaN in it.

    Raises
    ------
    InputError
        A wrong shape, dtype, label or option; nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> loss, grad = softmax_cross_entropy(np.array([[0.0, 20.0]], dtype="float32"), [1])
    >>> float(loss), grad.tolist()  # ordinary float32 code returns 0.0 and [2.06e-09, 0.0]
    (2.06115369216775e-09, [[2.06115369216775e-09, -2.06115369216775e-09]])
    >>> softmax_cross_entropy([[0.0, 20.0]], [1], extras=("prediction",)).prediction.tolist()
    [1]

    Source: the lecture, section 1: ∇_{a_L} 𝓛 = −(e(ℓ) − ŷ). Smoothing: Szegedy et al., 2016 (arXiv:1512.00567).
    z-loss: Chowdhery et al., "PaLM", 2022, section 5.
    """
    options = LossOptions.kept(reduction, ignore_index, label_smoothing, temperature, z_loss, softcap, scale)
    team = check_threads(threads)
    if class_weights is None and out is None and loss_dtype is None and type(extras) is tuple and not extras:
        ordinary = ordinary_loss(logits, labels, options, team)
        if ordinary is not None:
            return _result(*ordinary, {})
    a = check_logits("logits", logits)
    n, k = a.view.shape
    options = options.of(labels, (n, k), a.format, class_weights)
    into, told = check_extras(extras, EXTRAS), loss_format(loss_dtype, a.format)
    read = options.labels, options.targets, options.class_weights
    grad = empty((n, k), a.view.dtype) if out is None else check_out(out, a, *read)
    for name in into | {"losses": None} if reduction == "none" or "correct" in into else into:
        into[name] = empty((n, k), a.view.dtype) if name == "probabilities" else empty((n,), dtype_of(name, told))
    total = loss_into(a.view, grad, options, a.format, team, into=into)
    losses = into.pop("losses", None)
    kept_correct(into, losses, told)
    loss = a.give(losses) if reduction == "none" else scalar(a, options.reduced(total), told)
    given = {name: a.give(value) for name, value in into.items()}
    return _result(loss, a.give(grad) if out is None else out, given)


def softmax(logits: Any, *, axis: int = -1, threads: int | None = None) -> Any:
    """Probabilities of each class, ŷ_i = exp(a_i) / Σ_{i'} exp(a_{i'}).

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64, or of any other number of axes
    axis : int
        Along which the probabilities sum to 1.
    threads : int, optional

    Returns
    -------
    array of the logits' shape and dtype

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
    return _along("softmax", logits, axis, threads)


def log_softmax(logits: Any, *, axis: int = -1, threads: int | None = None) -> Any:
    """Logarithm of the probabilities, log ŷ_i = (a_i − m) − log Σ_{i'} exp(a_{i'} − m), with m = max a.

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64, or of any other number of axes
    axis : int
        Along which the probabilities sum to 1.
    threads : int, optional

    Returns
    -------
    array of the logits' shape and dtype; exact also where ŷ_i rounds to 1

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
    return _along("log_softmax", logits, axis, threads)


def softmax_jacobian(logits: Any) -> Array:
    """The Jacobian of softmax, ∂ŷ_i/∂a_j = ŷ_i (𝟙[i=j] − ŷ_j), for each example.

    The diagonal's 1 − ŷ_i is the sum of the other probabilities, so it keeps its digits where ŷ_i rounds to 1.

    Parameters
    ----------
    logits : NumPy array (N, K), float32 or float64, or what NumPy makes one of

    Returns
    -------
    NumPy array (N, K, K) of the logits' dtype: row i of a matrix belongs to ŷ_i, column j to a_j

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


def hessian_diagonal(logits: Any, *, threads: int | None = None) -> Any:
    """Diagonal of the Hessian of −log ŷ_ℓ w.r.t. the logits, ŷ_i (1 − ŷ_i); the same for every label.

    1 − ŷ_i is the sum of the other probabilities, never a subtraction, so it keeps its digits where ŷ_i rounds to 1.

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64
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
    >>> hessian_diagonal([[0.0, 40.0]]).tolist()  # 1 - softmax would be 0 in the second place
    [[4.248354255291589e-18, 4.248354255291589e-18]]

    Source: the lecture, section 1, differentiated once more: ∂(ŷ_i − 𝟙[i=ℓ])/∂a_i = ŷ_i (1 − ŷ_i).
    """
    return _by_row("hessian_diagonal", check_logits("logits", logits), threads)


def hessian_vector_product(logits: Any, vector: Any, *, threads: int | None = None) -> Any:
    """Product of the Hessian of −log ŷ_ℓ w.r.t. the logits with a vector, ŷ⊙v − ŷ(ŷᵀv), for each example.

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64
    vector : array (N, K) of the same dtype: row n is multiplied by example n's Hessian
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
    >>> hessian_vector_product([[0.0, 0.0]], [[1.0, 0.0]]).tolist()
    [[0.25, -0.25]]

    Source: the lecture, section 1: the Hessian is softmax's Jacobian, ŷ_i (𝟙[i=j] − ŷ_j). The vector's element at
    the largest class is taken from all of it first, which changes nothing and keeps the tails.
    """
    a, v = check_logits("logits", logits), check_logits("vector", vector)
    if v.view.shape != a.view.shape or v.format != a.format:
        raise InputError(
            f"vector: got shape {v.view.shape} and dtype {v.format}, expected {a.view.shape} and {a.format}, "
            "the logits'"
        )
    return _by_row("hessian_vector_product", a, threads, v.view)


def which_kernel() -> str:
    """What computes here: the kernels' instruction set, and how many threads it takes at most.

    The set is the best that the processor has, or the one that the environment variable `CHAINRULE_INSTRUCTION_SET`
    names: baseline, x86-64-v3 (AVX2, FMA) or x86-64-v4 (AVX-512).

    Raises
    ------
    InputError
        `CHAINRULE_INSTRUCTION_SET` is another name, or a set that the processor lacks; so does every other first use.

    Examples
    --------
    >>> which_kernel().startswith("native")
    True
    """
    return f"native, {_kernels.instruction_set()}, {_kernels.max_threads()} threads at most"


def _along(output: str, logits: Any, axis: Any, threads: int | None) -> Any:
    a, back = check_rows("logits", logits, axis)
    result = empty(a.view.shape, a.view.dtype)
    row_into(output, a.view, result, a.format, check_threads(threads))
    return a.give(back(result))


def _by_row(output: str, a: Borrowed, threads: int | None, vectors: Array | None = None) -> Any:
    result = empty(a.view.shape, a.view.dtype)
    row_into(output, a.view, result, a.format, check_threads(threads), vectors)
    return a.give(result)


def row_into(
    output: str, logits: Array, result: Array, format: str, threads: int, vectors: Array | None = None
) -> None:
    """Write "softmax", "log_softmax", "hessian_diagonal" or, with a vector for each row, "hessian_vector_product" into
    `result`, which may be the logits themselves; all of them are views of the format's storage."""
    _kernels.run(format, output, logits, result, {} if vectors is None else {"second": vectors}, threads)


def _result(loss: Any, grad: Any, extras: dict[str, Any]) -> SoftmaxCrossEntropy:
    result = SoftmaxCrossEntropy(loss, grad)
    result.extras = extras
    return result
