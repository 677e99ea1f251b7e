"""The lecture, "Setting" and section 1: the loss, and its gradients with respect to the output units.

One thing is not the lecture's: the exponentials are kept in parts, with the largest logit's apart from the others', so
that no difference of nearly equal numbers is ever taken. 1 − ŷ_i, above all, is the sum of the other probabilities.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import array_namespace

__all__ = [
    "Exponentials", "at", "cross_entropy", "exponentials", "grad_logit", "grad_logits", "grad_logits_by_chain_rule",
    "grad_of_label", "grad_probabilities", "grad_probability", "in_parts", "log_softmax", "loss_from_logits", "one_hot",
    "place_of", "softmax", "softmax_jacobian", "sum_without", "where_largest",
]  # fmt: skip


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
    return array_namespace(like).astype(place_of(labels, like), like.dtype)


def place_of(labels: Any, like: Any) -> Any:
    """The same as booleans: each row's place."""
    # what JAX traces has no device
    classes = array_namespace(like).arange(like.shape[-1], device=getattr(like, "device", None))
    return classes == (labels if isinstance(labels, int) else labels[..., None])


def at(place: Any, values: Any) -> Any:
    """The element of each row at its place, (...), of values (..., K).

    It is chosen, not multiplied with 1 among zeros, for ∞ · 0 is not 0.
    """
    return array_namespace(values).sum(array_namespace(values).where(place, values, 0), axis=-1)


def sum_without(place: Any, values: Any) -> Any:
    """The sum of all the others in each row, (...)."""
    return array_namespace(values).sum(array_namespace(values).where(place, 0, values), axis=-1)


def where_largest(values: Any) -> Any:
    """The place of the largest element of each row, of the first if there are several: (..., K) booleans."""
    return place_of(array_namespace(values).argmax(values, axis=-1), values)


def cross_entropy(probabilities: Any, labels: Any) -> Any:
    """The loss 𝓛 = −log ŷ_ℓ, (...).

    Examples
    --------
    >>> float(cross_entropy(np.array([0.25, 0.75]), 0))
    1.3862943611198906

    Source: the lecture, "Setting".
    """
    return -array_namespace(probabilities).log(at(place_of(labels, probabilities), probabilities))


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
    xp, at_label = array_namespace(probabilities), place_of(labels, probabilities)
    return xp.where(at_label, -1 / xp.where(at_label, probabilities, 1), 0)


class Exponentials(NamedTuple):
    """exp(a_j − m) with m = max_j a_j, which changes no ratio and cannot overflow; see `exponentials`."""

    each: Any  # (..., K)
    below: Any  # (..., K): m − a_j, ≥ 0
    top: Any  # (..., K), bool: where the largest is, the first one
    others: Any  # (...): their sum without that of the largest
    total: Any  # (...): their sum


def exponentials(logits: Any, temperature: float = 1.0) -> Exponentials:
    """The exponentials of a / T, for logits a (..., K), and the largest one's apart from the sum of the others.

    A row with NaN or +∞ has NaN in all that is computed from it.

    Examples
    --------
    >>> float(exponentials(np.array([40.0, 0.0])).others)
    4.248354255291589e-18

    Source: the lecture, section 1, numerator and denominator of softmax divided by the largest exponential.
    """
    xp = array_namespace(logits)
    below = xp.max(logits, axis=-1, keepdims=True) - logits
    if temperature != 1.0:
        below = below / temperature
    return in_parts(xp.exp(-below), below, where_largest(logits))


def in_parts(each: Any, below: Any, top: Any, unit: float = 1.0) -> Exponentials:
    """The sums that belong to exponentials. The total is taken times `unit`, for those that were scaled by 1/unit."""
    xp, others = array_namespace(each), sum_without(top, each)
    total = (others + at(top, each)) * unit
    return Exponentials(each, below, top, xp.where(xp.isnan(total), total, others), total)


def softmax(logits: Any) -> Any:
    """ŷ_i = exp(a_i) / Σ_{i'} exp(a_{i'}), (..., K).

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]

    Source: the lecture, section 1.
    """
    e = exponentials(logits)
    return e.each / e.total[..., None]


def log_softmax(logits: Any) -> Any:
    """log ŷ_i = −(m − a_i) − log1p(Σ of the others' exp(a_j − m)), (..., K): two terms of one sign.

    Examples
    --------
    >>> log_softmax(np.array([40.0, 0.0])).tolist()
    [-4.248354255291589e-18, -40.0]

    Source: the lecture, section 1, with the logarithm of the quotient taken apart.
    """
    e = exponentials(logits)
    return -(e.below + array_namespace(logits).log1p(e.others)[..., None])


def loss_from_logits(logits: Any, labels: Any) -> Any:
    """The same loss from the logits, −log softmax(a)_ℓ, without cancellation, (...).

    Examples
    --------
    >>> float(loss_from_logits(np.array([40.0, 0.0]), 0))
    4.248354255291589e-18

    Source: the lecture, section 1, with the logarithm of the quotient taken apart.
    """
    e = exponentials(logits)
    return at(place_of(labels, logits), e.below) + array_namespace(logits).log1p(e.others)


def softmax_jacobian(logits: Any) -> Any:
    """∂ŷ_i/∂a_j = ŷ_i (𝟙[i=j] − ŷ_j), (..., K, K): row i belongs to ŷ_i, column j to a_j.

    On the diagonal 1 − ŷ_i is the sum of the others, which does not cancel.

    Examples
    --------
    >>> softmax_jacobian(np.array([0.0, 0.0])).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]

    Source: the lecture, section 1, the line before −1/ŷ_ℓ is multiplied in.
    """
    xp, p = array_namespace(logits), softmax(logits)
    diagonal = place_of(xp.arange(p.shape[-1], device=getattr(p, "device", None)), p)
    return p[..., :, None] * xp.where(diagonal, sum_without(diagonal, p[..., None, :])[..., None], -p[..., None, :])


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
    return grad_of_label(exponentials(logits), place_of(labels, logits))


def grad_of_label(e: Exponentials, at_label: Any) -> Any:
    """The same from the exponentials, and from e(ℓ) as booleans."""
    others = sum_without(at_label, e.each)
    return array_namespace(e.each).where(at_label, 0 - others[..., None], e.each) / e.total[..., None]


def grad_logits_by_chain_rule(logits: Any, labels: Any) -> Any:
    """The same gradient by the longer way: −(1/ŷ_ℓ) e(ℓ) times the Jacobian of softmax, (..., K).

    Breaks where ŷ_ℓ underflows (0 · ∞); it is here to be compared with.

    Examples
    --------
    >>> grad_logits_by_chain_rule(np.array([0.0, 0.0]), 0).tolist()
    [-0.5, 0.5]

    Source: the lecture, section 1: (∂𝓛/∂ŷ) (∂ŷ/∂a_L).
    """
    grad = grad_probabilities(softmax(logits), labels)
    return array_namespace(logits).matmul(grad[..., None, :], softmax_jacobian(logits))[..., 0, :]
