"""The lecture as code: each equation once, for any Array API array. The specification and the oracle.

Everything here says what is true, in the lecture's order; the kernels are only speed and are tested against
it. Shapes: K classes, D inputs of a layer, U units of a layer; "..." is any number of leading batch axes,
none for one example. Arrays may be NumPy's, PyTorch's, JAX's or any other library's that follows the Array
API standard. Input is not checked here; `chainrule.output` and `chainrule.network` do that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # noqa: F401  # the examples use it

from chainrule.activations import ACTIVATIONS, Activation, array_namespace

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "array_namespace",
    "cross_entropy",
    "grad_biases",
    "grad_hidden",
    "grad_logit",
    "grad_logits",
    "grad_logits_by_chain_rule",
    "grad_preactivations",
    "grad_probabilities",
    "grad_probability",
    "grad_weights",
    "grad_weights_per_example",
    "loss_from_logits",
    "one_hot",
    "path_product",
    "preactivation",
    "softmax",
    "softmax_jacobian",
    "sum_over_paths",
]


# --- 1. Output units -----------------------------------------------------------------------------------------


def one_hot(labels: Any, like: Any) -> Any:
    """e(ℓ): the vector whose ℓ-th element is 1 and whose others are 0.

    Parameters
    ----------
    labels : array (...), int in [0, K), or an int
    like : array (..., K) that gives the number of classes, the library, dtype and device

    Examples
    --------
    >>> one_hot(np.array([2, 0]), np.zeros((2, 3))).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]

    Source: the lecture, section 1.
    """
    xp = array_namespace(like)
    classes = xp.arange(like.shape[-1], device=like.device)
    if isinstance(labels, int):
        return xp.astype(classes == labels, like.dtype)
    return xp.astype(classes == labels[..., None], like.dtype)


def _at_label(values: Any, labels: Any) -> Any:
    """The element of each row that stands at its label; where(), since ∞ · 0 is not 0."""
    xp = array_namespace(values)
    return xp.sum(xp.where(one_hot(labels, values) > 0, values, xp.zeros_like(values)), axis=-1)


def cross_entropy(probabilities: Any, labels: Any) -> Any:
    """The loss 𝓛 = −log ŷ_ℓ, (...).

    Examples
    --------
    >>> float(cross_entropy(np.array([0.25, 0.75]), 0))
    1.3862943611198906

    Source: the lecture, Setting.
    """
    return -array_namespace(probabilities).log(_at_label(probabilities, labels))


def grad_probability(probabilities: Any, label: int, i: int) -> Any:
    """One element for one example: ∂𝓛/∂ŷ_i = −𝟙[i=ℓ] / ŷ_ℓ. The other probabilities are held fixed.

    Examples
    --------
    >>> float(grad_probability(np.array([0.25, 0.75]), 0, 0))
    -4.0

    Source: the lecture, section 1.
    """
    return -1 / probabilities[label] if i == label else 0 * probabilities[i]


def grad_probabilities(probabilities: Any, labels: Any) -> Any:
    """The same as a vector: ∇_ŷ 𝓛 = −(1/ŷ_ℓ) e(ℓ), (..., K).

    Examples
    --------
    >>> (grad_probabilities(np.array([0.25, 0.75]), 0) + 0).tolist()
    [-4.0, 0.0]

    Source: the lecture, section 1.
    """
    xp = array_namespace(probabilities)
    at_label = one_hot(labels, probabilities) > 0
    safe = xp.where(at_label, probabilities, xp.ones_like(probabilities))
    return xp.where(at_label, -1 / safe, xp.zeros_like(probabilities))


def _exponentials(logits: Any) -> Any:
    """exp(a − max a): dividing by the largest exponential changes no ratio and cannot overflow."""
    xp = array_namespace(logits)
    return xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))


def softmax(logits: Any) -> Any:
    """ŷ_i = exp(a_i) / Σ_{i'} exp(a_{i'}), (..., K).

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]

    Source: the lecture, section 1.
    """
    e = _exponentials(logits)
    return e / array_namespace(logits).sum(e, axis=-1, keepdims=True)


def loss_from_logits(logits: Any, labels: Any) -> Any:
    """The same loss from the logits, −log softmax(a)_ℓ, without cancellation, (...).

    With m = max a and s_o the sum of exp(a_j − m) over the others j ≠ ℓ: log1p(s_o) where a_ℓ = m, else
    (m − a_ℓ) + log(s_o + exp(a_ℓ − m)). Both terms are ≥ 0.

    Examples
    --------
    >>> float(loss_from_logits(np.array([40.0, 0.0]), 0))
    4.248354255291589e-18

    Source: the lecture, section 1, with the logarithm of the quotient taken apart.
    """
    xp = array_namespace(logits)
    e, at_label = _exponentials(logits), one_hot(labels, logits) > 0
    others = xp.sum(xp.where(at_label, xp.zeros_like(e), e), axis=-1)
    below = xp.max(logits, axis=-1) - _at_label(logits, labels)
    apart = below + xp.log(others + _at_label(e, labels))
    return xp.where(below == 0, xp.log1p(others), apart)


def softmax_jacobian(logits: Any) -> Any:
    """∂ŷ_i/∂a_j = ŷ_i (𝟙[i=j] − ŷ_j), (..., K, K): row i belongs to ŷ_i, column j to a_j.

    On the diagonal 1 − ŷ_i is the sum of the others, which does not cancel.

    Examples
    --------
    >>> softmax_jacobian(np.array([0.0, 0.0])).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]

    Source: the lecture, section 1, the line before −1/ŷ_ℓ is multiplied in.
    """
    xp = array_namespace(logits)
    p = softmax(logits)
    identity = xp.eye(p.shape[-1], dtype=p.dtype, device=p.device)
    others = xp.sum(p[..., None, :] * (1 - identity), axis=-1)
    return p[..., :, None] * (identity * others[..., None] - (1 - identity) * p[..., None, :])


def grad_logit(logits: Any, label: int, i: int) -> Any:
    """One element for one example: ∂𝓛/∂a_i = −(𝟙[ℓ=i] − ŷ_i).

    Examples
    --------
    >>> float(grad_logit(np.array([0.0, 0.0]), 0, 0)), float(grad_logit(np.array([0.0, 0.0]), 0, 1))
    (-0.5, 0.5)

    Source: the lecture, section 1.
    """
    return grad_logits(logits, label)[i]


def grad_logits(logits: Any, labels: Any) -> Any:
    """The same as a vector: ∇_{a_L} 𝓛 = −(e(ℓ) − ŷ), (..., K).

    −(1 − ŷ_ℓ) is computed as −Σ_{j≠ℓ} ŷ_j, so that it keeps its digits where ŷ_ℓ rounds to 1.

    Examples
    --------
    >>> grad_logits(np.array([40.0, 0.0]), 0).tolist()
    [-4.248354255291589e-18, 4.248354255291589e-18]

    Source: the lecture, section 1.
    """
    xp = array_namespace(logits)
    p, at_label = softmax(logits), one_hot(labels, logits) > 0
    others = xp.sum(xp.where(at_label, xp.zeros_like(p), p), axis=-1, keepdims=True)
    return xp.where(at_label, -others, p)


def grad_logits_by_chain_rule(logits: Any, labels: Any) -> Any:
    """The same gradient by the longer way: −(1/ŷ_ℓ) e(ℓ) times the Jacobian of softmax, (..., K).

    Breaks where ŷ_ℓ underflows (0 · ∞); it is here to be compared with.

    Examples
    --------
    >>> grad_logits_by_chain_rule(np.array([0.0, 0.0]), 0).tolist()
    [-0.5, 0.5]

    Source: the lecture, section 1: (∂𝓛/∂ŷ) (∂ŷ/∂a_L).
    """
    xp = array_namespace(logits)
    grad = grad_probabilities(softmax(logits), labels)
    return xp.matmul(grad[..., None, :], softmax_jacobian(logits))[..., 0, :]


# --- 2. Hidden units -----------------------------------------------------------------------------------------


def preactivation(activations: Any, weights: Any, biases: Any) -> Any:
    """a_k = W_k h_{k−1} + b_k, (..., U), for weights (U, D): row = unit, column = its input.

    Examples
    --------
    >>> preactivation(np.array([1.0, 2.0]), np.array([[3.0, 4.0]]), np.array([5.0])).tolist()
    [16.0]

    Source: the lecture, Setting.
    """
    return activations @ weights.T + biases


def grad_hidden(weights: Any, grad_next_preactivations: Any) -> Any:
    """∇_{h_k} 𝓛 = W_{k+1}ᵀ ∇_{a_{k+1}} 𝓛, (..., D).

    Examples
    --------
    >>> grad_hidden(np.array([[3.0, 4.0]]), np.array([2.0])).tolist()
    [6.0, 8.0]

    Source: the lecture, section 2.
    """
    return grad_next_preactivations @ weights


def grad_preactivations(grad_activations: Any, derivative: Any) -> Any:
    """∇_{a_k} 𝓛 = ∇_{h_k} 𝓛 ⊙ g′(a_k), (..., U).

    Examples
    --------
    >>> grad_preactivations(np.array([6.0, 8.0]), np.array([0.0, 1.0])).tolist()
    [0.0, 8.0]

    Source: the lecture, section 2.
    """
    return grad_activations * derivative


# --- 3. Weights and biases -----------------------------------------------------------------------------------


def grad_weights_per_example(grad_preactivation: Any, activations: Any) -> Any:
    """∇_{W_k} 𝓛 = ∇_{a_k} 𝓛 · h_{k−1}ᵀ for each example, (..., U, D).

    Examples
    --------
    >>> grad_weights_per_example(np.array([2.0]), np.array([3.0, 4.0])).tolist()
    [[6.0, 8.0]]

    Source: the lecture, section 3.
    """
    return grad_preactivation[..., :, None] * activations[..., None, :]


def grad_weights(grad_preactivation: Any, activations: Any) -> Any:
    """The same summed over a batch, (U, D), from (N, U) and (N, D).

    Examples
    --------
    >>> grad_weights(np.array([[2.0], [1.0]]), np.array([[3.0, 4.0], [1.0, 1.0]])).tolist()
    [[7.0, 9.0]]

    Source: the lecture, section 3.
    """
    return grad_preactivation.T @ activations


def grad_biases(grad_preactivation: Any) -> Any:
    """∇_{b_k} 𝓛 = ∇_{a_k} 𝓛, summed over a batch, (U,), from (N, U).

    Examples
    --------
    >>> grad_biases(np.array([[2.0], [1.0]])).tolist()
    [3.0]

    Source: the lecture, section 3.
    """
    return array_namespace(grad_preactivation).sum(grad_preactivation, axis=0)


# --- The chain, for one weight -------------------------------------------------------------------------------


def path_product(
    weights: Sequence[Any],
    derivatives: Sequence[Any],
    grad_logits: Any,
    x: Any,
    layer: int,
    path: Sequence[int],
) -> Any:
    """The product of factors along one path from a weight of layer `layer` (from 1) to the loss.

    ∂𝓛/∂a_{L,i_L} · Π_{k=L−1..layer} (W_{k+1})_{i_{k+1} i_k} g′(a_{k,i_k}) · h_{layer−1, input}

    Parameters
    ----------
    weights : W_1 … W_L, each (U, D)
    derivatives : g′(a_1) … g′(a_{L−1}), each (U,)
    grad_logits : ∇_{a_L} 𝓛, (K,)
    x : h_{layer−1}, the inputs of the weight's layer, (D,)
    path : the weight's input, then one unit for each layer from `layer` to L, counted from 0

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> float(path_product([2 * one, 3 * one], [np.array([0.5])], np.array([0.25]), np.array([4.0]), 1, [0, 0, 0]))
    1.5

    Source: the lecture, "The chain, for one weight".
    """
    source, units = path[0], path[1:]
    product = grad_logits[units[-1]]
    for k in range(len(weights) - 1, layer - 1, -1):
        unit, above = units[k - layer], units[k - layer + 1]
        product = product * weights[k][above, unit] * derivatives[k - 1][unit]
    return product * x[source]


def sum_over_paths(
    weights: Sequence[Any],
    derivatives: Sequence[Any],
    grad_logits: Any,
    x: Any,
    layer: int,
    unit: int,
    source: int,
) -> Any:
    """∂𝓛/∂(W_layer)_{unit,source}: the sum of `path_product` over every path, by matrix products.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> float(sum_over_paths([2 * one, 3 * one], [np.array([0.5])], np.array([0.25]), np.array([4.0]), 1, 0, 0))
    1.5

    Source: the lecture, "The chain, for one weight", for wide networks.
    """
    grad = grad_logits
    for k in range(len(weights) - 1, layer - 1, -1):
        grad = grad_preactivations(grad_hidden(weights[k], grad), derivatives[k - 1])
    return grad[unit] * x[source]
