"""Beyond the lecture's section 1: target probabilities, smoothing, class weights, temperature, z-loss, the Hessian.

Each option changes one equation. Targets q (..., K) stand where the lecture has e(ℓ); smoothing and class weights make
them, and their sum Q need not be 1. With a temperature T, ŷ = softmax(a/T). The z-loss adds λ lse², where
lse = log Σ_j exp(a_j/T):

    𝓛 = Σ_j q_j (−log ŷ_j) + λ lse²,    ∇_a 𝓛 = (Q ŷ − q + 2 λ lse ŷ) / T,    ∂²(−log ŷ_ℓ)/∂a² = diag(ŷ) − ŷ ŷᵀ = H

A scale s and a cap c stand before all that: where the lecture has a_j, there is s a_j, or c tanh(s a_j/c), and ∇_a 𝓛 is
multiplied by its slope, s or s (1 − tanh²(s a_j/c)) = s sech²(s a_j/c).
"""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import array_namespace
from chainrule.equations.output import Exponentials, at, exponentials, one_hot, softmax, sum_without, where_largest

__all__ = [
    "capped_logits", "grad_from_targets", "grad_of_targets", "hessian_diagonal", "hessian_product", "loss_from_targets",
    "loss_of_targets", "softmax_cross_entropy", "weighted_targets",
]  # fmt: skip


def weighted_targets(labels: Any, like: Any, class_weights: Any = None, label_smoothing: float = 0.0) -> Any:
    """q_j = w_j ((1−ε) t_j + ε/K), (..., K): t is e(ℓ) for a label, or the target probabilities themselves.

    Parameters
    ----------
    labels : array (...), int, or target probabilities (..., K), ≥ 0
    like : the logits (..., K), which give the number of classes, the library, dtype and device
    class_weights : array (K,), optional
    label_smoothing : ε in [0, 1]

    Examples
    --------
    >>> weighted_targets(0, np.zeros(4), np.array([2.0, 1.0, 1.0, 1.0]), 0.4).round(9).tolist()
    [1.4, 0.1, 0.1, 0.1]

    Source: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7 (smoothing); PyTorch's
    cross_entropy (its order with the weights).
    """
    whole = isinstance(labels, int) or array_namespace(like).isdtype(labels.dtype, "integral")
    q = one_hot(labels, like) if whole else labels
    q = q * (1 - label_smoothing) + label_smoothing / like.shape[-1]
    return q if class_weights is None else q * class_weights


def capped_logits(logits: Any, softcap: float | None = None, scale: float = 1.0) -> tuple[Any, Any]:
    """c tanh(s a/c), or s a without a cap, and its slope, (..., K) each. −∞ stays −∞.

    With E = exp(−2 |s a/c|): tanh = ±(1 − E)/(1 + E), and its slope is 4 E/(1 + E)², which does not cancel.

    Examples
    --------
    >>> capped, slope = capped_logits(np.array([0.0, 60.0, -np.inf]), softcap=30.0)
    >>> capped.round(4).tolist(), slope.round(4).tolist()
    ([0.0, 28.9208, -inf], [1.0, 0.0707, 0.0])

    Source: Bello et al., "Neural Combinatorial Optimization", 2016, section 4 (the cap), as Gemma 2 has it.
    """
    xp = array_namespace(logits)
    if softcap is None:
        return logits * scale, xp.ones_like(logits) * scale
    u = logits * (scale / softcap)
    e = xp.exp(-2 * xp.abs(u))
    capped = xp.where(logits == -xp.inf, logits, softcap * xp.tanh(u))
    return capped, scale * (4 * e / (1 + e) ** 2)


def loss_from_targets(logits: Any, targets: Any, temperature: float = 1.0, z_loss: float = 0.0) -> Any:
    """𝓛 = Σ_j q_j (−log ŷ_j) + λ lse², (...), for logits a and targets q (..., K).

    All terms of −log ŷ_j = (m − a_j)/T + log1p(Σ of the others' exponentials) are ≥ 0. A class without a target counts
    for nothing, even where its logit is −∞.

    Examples
    --------
    >>> float(loss_from_targets(np.array([0.0, 0.0]), np.array([0.5, 0.5])))
    0.6931471805599453

    Source: the lecture, section 1, with q for e(ℓ); Chowdhery et al., "PaLM", 2022, section 5 (z-loss).
    """
    e = exponentials(logits, temperature)
    loss = loss_of_targets(e, targets)
    return loss + z_loss * _log_sum(logits, e, temperature) ** 2 if z_loss else loss


def loss_of_targets(e: Exponentials, targets: Any) -> Any:
    """The same from the exponentials, without the z-loss."""
    xp = array_namespace(targets)
    distance = xp.sum(targets * xp.where(targets == 0, 0, e.below), axis=-1)
    return distance + xp.sum(targets, axis=-1) * xp.log1p(e.others)


def grad_from_targets(logits: Any, targets: Any, temperature: float = 1.0, z_loss: float = 0.0) -> Any:
    """∇_a 𝓛 = (Q ŷ − q + 2 λ lse ŷ) / T, (..., K), with Q = Σ_j q_j.

    Examples
    --------
    >>> grad_from_targets(np.array([0.0, 40.0]), np.array([0.0, 1.0])).tolist()
    [4.248354255291589e-18, -4.248354255291589e-18]

    Source: the lecture, section 1, with q for e(ℓ); the chain rule for T and for λ lse², since ∂lse/∂a = ŷ / T.
    """
    e = exponentials(logits, temperature)
    grad = grad_of_targets(e, targets)
    if z_loss:
        grad = grad + (2 * z_loss * _log_sum(logits, e, temperature) / e.total)[..., None] * e.each
    return grad / temperature


def grad_of_targets(e: Exponentials, targets: Any) -> Any:
    """Q ŷ − q from the exponentials, as ŷ_j (Q − q_j) − q_j (1 − ŷ_j).

    Q − q_j and 1 − ŷ_j are the sums of the others where they are small, so that only the two products can cancel.
    """
    xp, heavy = array_namespace(targets), where_largest(targets)
    away, mass = sum_without(heavy, targets), xp.sum(targets, axis=-1)
    rest = xp.where(heavy, away[..., None], mass[..., None] - targets)
    return (e.each * rest - targets * _without(e)) / e.total[..., None]


def _without(e: Exponentials) -> Any:
    """The sum of the exponentials of all the other classes, for each class."""
    return array_namespace(e.each).where(e.top, e.others[..., None], e.total[..., None] - e.each)


def _log_sum(logits: Any, e: Exponentials, temperature: float) -> Any:
    """lse = m/T + log1p(Σ of the others' exponentials)."""
    xp = array_namespace(logits)
    return xp.max(logits, axis=-1) / temperature + xp.log1p(e.others)


def hessian_diagonal(logits: Any) -> Any:
    """∂²(−log ŷ_ℓ)/∂a_i² = ŷ_i (1 − ŷ_i), (..., K), the same for every label. With options: times Q/T².

    Examples
    --------
    >>> hessian_diagonal(np.array([0.0, 40.0])).tolist()
    [4.248354255291589e-18, 4.248354255291589e-18]

    Source: the lecture, section 1, differentiated once more.
    """
    e = exponentials(logits)
    return (e.each / e.total[..., None]) * (_without(e) / e.total[..., None])


def hessian_product(logits: Any, vector: Any) -> Any:
    """H v = ŷ ⊙ (v − ŷᵀv), (..., K). With options: times Q/T².

    The largest class's element is taken from all of v first, which changes nothing and keeps the tails.

    Examples
    --------
    >>> hessian_product(np.array([0.0, 0.0]), np.array([1.0, 0.0])).tolist()
    [0.25, -0.25]

    Source: the lecture, section 1, differentiated once more: H is softmax's Jacobian.
    """
    xp, p = array_namespace(logits), softmax(logits)
    v = vector - at(where_largest(logits), vector)[..., None]
    return p * (v - xp.sum(p * v, axis=-1, keepdims=True))


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
) -> tuple[Any, Any]:
    """The loss and its gradient w.r.t. the logits with all options together: what `chainrule.softmax_cross_entropy` is.

    Parameters
    ----------
    logits : array (N, K)
    labels : array (N,), int in [0, K) or ignore_index, or target probabilities (N, K)
    reduction : "mean", "sum" or "none"
        A mean over labels divides by the sum of their weights, one over targets by N; where nothing counts it is 0.

    Returns
    -------
    loss (), or (N,) for "none"; grad_logits (N, K), for "none" that of each row's own loss

    Examples
    --------
    >>> loss, grad = softmax_cross_entropy(np.zeros((2, 2)), np.array([1, -1]), ignore_index=-1)
    >>> float(loss), (grad + 0).tolist()
    (0.6931471805599453, [[0.5, -0.5], [0.0, 0.0]])

    Source: the equations above; 1/N of a mean is a factor of its own.
    """
    xp = array_namespace(logits)
    q = weighted_targets(labels, logits, class_weights, label_smoothing)
    weights = xp.ones_like(logits[:, 0])
    if labels.ndim == 1:
        counts = xp.ones_like(labels, dtype=xp.bool) if ignore_index is None else labels != ignore_index
        if class_weights is not None:
            weights = xp.sum(one_hot(labels, logits) * class_weights, axis=-1)
        weights = xp.where(counts, weights, 0)
    else:
        counts = weights > 0
    z, slope = (logits, 1) if softcap is None and scale == 1.0 else capped_logits(logits, softcap, scale)
    loss = xp.where(counts, loss_from_targets(z, q, temperature, z_loss), 0)
    grad = xp.where(counts[:, None], grad_from_targets(z, q, temperature, z_loss) * slope, 0)
    if reduction == "none":
        return loss, grad
    divisor = xp.sum(weights) if reduction == "mean" else xp.ones_like(xp.sum(weights))
    share = xp.where(divisor == 0, 0, 1 / xp.where(divisor == 0, 1, divisor))
    return xp.sum(loss) * share, grad * share
