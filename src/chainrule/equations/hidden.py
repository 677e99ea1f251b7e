"""The lecture, sections 2 and 3 and "The chain, for one weight": from the output layer to every weight and bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import array_namespace

__all__ = [
    "grad_biases", "grad_hidden", "grad_preactivations", "grad_weights", "grad_weights_per_example", "path_product",
    "preactivation", "sum_over_paths",
]  # fmt: skip


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
    weights: Sequence[Any], derivatives: Sequence[Any], grad_logits: Any, x: Any, layer: int, path: Sequence[int]
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
    weights: Sequence[Any], derivatives: Sequence[Any], grad_logits: Any, x: Any, layer: int, unit: int, source: int
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
