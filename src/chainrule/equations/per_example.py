"""The lecture, section 3, for one example: its weights' gradient is an outer product, so that sizes, products and sums
of many examples' gradients follow from ∇_{a_k} 𝓛 and h_{k−1}, and no gradient is formed."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import array_namespace
from chainrule.equations.hidden import grad_biases, grad_weights

__all__ = ["grad_norms_per_example", "grad_products_per_example", "norms", "weighted_grads"]


def norms(rows: Any) -> Any:
    """‖row‖ of each row, (...), by squares of numbers that are divided by the largest first: none leaves the range.

    Examples
    --------
    >>> norms(np.array([[0.0, -2e200], [0.0, 0.0]])).tolist()
    [2e+200, 0.0]
    """
    xp = array_namespace(rows)
    largest = xp.max(xp.abs(rows), axis=-1)
    unit = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))
    scaled = rows / unit[..., None]
    return unit * xp.sqrt(xp.vecdot(scaled, scaled, axis=-1))


def grad_norms_per_example(grad_preactivation: Any, activations: Any, bias: bool = True) -> Any:
    """‖∇_{W_k} 𝓛, ∇_{b_k} 𝓛‖ = ‖∇_{a_k} 𝓛‖ √(‖h_{k−1}‖² + 1) of each example, (N,), from (N, U) and (N, D).

    Without a bias the 1 is not there.

    Examples
    --------
    >>> grad_norms_per_example(np.array([[2.0]]), np.array([[2.0, 2.0]])).tolist()
    [6.0]

    Source: I. Goodfellow, "Efficient Per-Example Gradient Computations", 2015 (arXiv:1510.01799).
    """
    xp, inputs = array_namespace(activations), norms(activations)
    return norms(grad_preactivation) * (xp.hypot(inputs, xp.ones_like(inputs)) if bias else inputs)


def grad_products_per_example(
    grad_preactivation: Any, activations: Any, other_grad: Any, other_activations: Any, bias: bool = True
) -> Any:
    """⟨∇𝓛_n, ∇𝓛_m⟩ = (∇_a 𝓛_n · ∇_a 𝓛_m) (h_n · h_m + 1) of a layer's weights and biases, (N, M).

    Examples
    --------
    >>> one = np.ones((1, 2))
    >>> grad_products_per_example(one, one, 2 * one, 3 * one).tolist()
    [[28.0]]

    Source: the lecture, section 3; G. Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent",
    2020 (arXiv:2002.08484).
    """
    inputs = activations @ other_activations.T
    return (grad_preactivation @ other_grad.T) * (inputs + 1 if bias else inputs)


def weighted_grads(grad_preactivation: Any, activations: Any, weights: Any) -> tuple[Any, Any]:
    """Σ_n w_n ∇_{W_k} 𝓛_n = (w ⊙ ∇_{a_k} 𝓛)ᵀ h_{k−1}, (U, D), and Σ_n w_n ∇_{b_k} 𝓛_n, (U,).

    Examples
    --------
    >>> grads = weighted_grads(np.array([[2.0], [1.0]]), np.array([[3.0], [1.0]]), np.array([0.5, 1.0]))
    >>> [grad.tolist() for grad in grads]
    [[[4.0]], [2.0]]

    Source: the lecture, section 3.
    """
    weighted = grad_preactivation * weights[:, None]
    return grad_weights(weighted, activations), grad_biases(weighted)
