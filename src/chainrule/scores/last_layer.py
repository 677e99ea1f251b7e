"""Scores of the last layer, each in closed form from e = ŷ − e(ℓ) and the layer's inputs h.

The gradient of one example's loss w.r.t. the last layer's weights is e hᵀ, w.r.t. its biases e: norms and products of
such gradients are products of those of e and of h, and nothing of the size N × K × D is formed. All take arrays or a
model (see `chainrule.scores`), compute in float64 from the logits as they are, and give NumPy arrays of float64. A row
with NaN has the score NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.boundary.checks import REDUCTIONS, check_choice
from chainrule.equations import grad_products_per_example, norms
from chainrule.errors import InputError
from chainrule.output.layer import softmax_cross_entropy
from chainrule.scores.layers import gradient_norms
from chainrule.scores.sources import Array, Floats, Outputs, chunks, errors, model_of, outputs_of, row_norms, wide

__all__ = ["el2n", "entropy", "expected_gradient_length", "gradnorm", "grand", "margin", "tracin"]


def el2n(source: Any, /, *given: Any, **named: Any) -> Floats:
    """‖ŷ − e(ℓ)‖ of each example, (N,): near 0 for one that is learned, up to √2 for one that is surely another class.

    `el2n(logits, labels)`, or `el2n(model, x, labels)`.

    Parameters
    ----------
    source : logits, array (N, K), float16, bfloat16, float32 or float64; or a model: a Network, a fitted MLPClassifier
        or a PyTorch module
    *given, **named : after logits, labels: array (N,), int in [0, K); after a model x, what it takes, (N, D), and then
        labels, of a classifier those of its `classes_`

    Raises
    ------
    InputError
        A wrong shape, dtype or label.
    TypeError
        Other arguments than these.

    Examples
    --------
    >>> el2n([[0.0, 0.0], [20.0, 0.0]], [0, 0]).round(10).tolist()
    [0.7071067812, 2.9e-09]

    Source: M. Paul et al., "Deep Learning on a Data Diet", 2021 (arXiv:2107.07075): the mean of it over several
    networks, early in training, tells which examples can be left out.
    """
    out = outputs_of(source, given, named, ["labels"])
    return _error_norms(out)


def grand(source: Any, /, *given: Any, layers: str = "last", bias: bool | None = None, **named: Any) -> Floats:
    """The norm of each example's gradient w.r.t. weights and biases, (N,).

    Of the last layer it is ‖e‖ √(‖h‖² + 1), of all layers the root of the sum of ‖∇_{a_k} 𝓛‖² (‖h_{k−1}‖² + 1).
    `grand(logits, labels, hidden)`, or `grand(model, x, labels)`.

    Parameters
    ----------
    source : logits or a model, as for `el2n`
    *given, **named : after logits labels and hidden, array (N, D), the last layer's inputs h; after a model x, labels
    layers : "last", or for a model "all"
    bias : whether the last layer's biases count; by default where it has some, and for arrays

    Raises
    ------
    InputError
        A wrong shape, dtype or label, or "all" layers of arrays.
    TypeError
        Other arguments than these.

    Examples
    --------
    >>> grand([[0.0, 0.0]], [0], [[2.0, 2.0]]).round(4).tolist()
    [2.1213]

    Source: M. Paul et al., "Deep Learning on a Data Diet", 2021 (arXiv:2107.07075), where it is averaged over networks
    that are not trained yet.
    """
    if check_choice("layers", layers, ("last", "all")) == "all":
        if model_of(source) is None:
            raise InputError("layers: got 'all' with logits, expected 'last', or a model")
        if bias is not None:
            raise InputError(f"bias: got {bias} with layers='all', expected None: each layer's biases count")
        return norms(gradient_norms(source, *given, **named))  # type: ignore[no-any-return]
    out = outputs_of(source, given, named, ["labels", "hidden"], bias)
    return _error_norms(out) * _input_norms(out)


def margin(source: Any, /, *given: Any, **named: Any) -> Floats:
    """ŷ_ℓ − max_{j≠ℓ} ŷ_j of each example, (N,), from −1 to 1: below 0 where the network says another class.

    Without labels, ℓ is the predicted class: what the most probable class has before the next, small where the network
    wavers. `margin(logits)`, `margin(logits, labels)`, `margin(model, x)`, or `margin(model, x, labels)`. It is e's
    too, 1 + e_ℓ − max_{j≠ℓ} e_j, and computed so that two nearly equal probabilities do not cancel.

    Parameters
    ----------
    source : logits or a model, as for `el2n`
    *given, **named : after logits labels, if there are any; after a model x, and labels, if there are any

    Raises
    ------
    InputError, TypeError
        As `el2n`.

    Examples
    --------
    >>> margin([[0.0, 0.0, -30.0], [2.0, 0.0, 0.0]], [0, 1]).round(4).tolist()
    [0.0, -0.6805]
    >>> margin([[2.0, 0.0, 0.0]]).round(4).tolist()
    [0.6805]

    Source: T. Scheffer et al., "Active Hidden Markov Models for Information Extraction", 2001, without labels;
    C. Northcutt et al., "Confident Learning", 2021 (arXiv:1911.00068), with them.
    """
    out = outputs_of(source, given, named, ["labels?"])
    result = np.empty(len(out.logits))
    for at in chunks(*out.logits.shape):
        a = wide(out.logits[at])
        rows, labels = np.arange(len(a)), a.argmax(axis=1) if out.labels is None else out.labels[at]
        others = a.copy()
        others[rows, labels] = -np.inf
        other = others.argmax(axis=1)
        with np.errstate(invalid="ignore"):  # ∞ − ∞ of rows that have NaN
            ahead = a[rows, labels] - others[rows, other]
        larger = 1.0 + errors(a, np.where(ahead < 0, other, labels))[rows, np.where(ahead < 0, other, labels)]
        result[at] = np.copysign(larger * -np.expm1(-np.abs(ahead)), ahead)
    return result


def entropy(source: Any, /, *given: Any, **named: Any) -> Floats:
    """−Σ_j ŷ_j log ŷ_j of each example, (N,), in nats: the loss that the network expects of itself.

    `entropy(logits)`, or `entropy(model, x)`.

    Parameters
    ----------
    source : logits or a model, as for `el2n`
    *given, **named : after a model, x

    Raises
    ------
    InputError, TypeError
        As `el2n`.

    Examples
    --------
    >>> entropy([[0.0, 0.0], [40.0, 0.0]]).tolist()
    [0.6931471805599453, 1.7418252446695514e-16]

    Source: C. Shannon, "A Mathematical Theory of Communication", 1948; as a reason to ask for a label, D. Lewis and
    W. Gale, "A Sequential Algorithm for Training Text Classifiers", 1994.
    """
    out = outputs_of(source, given, named, [])
    result = np.empty(len(out.logits))
    for at in chunks(*out.logits.shape):
        a = wide(out.logits[at])
        result[at] = softmax_cross_entropy(a, _any_label(a), reduction="none", extras=("entropy",)).entropy
    return result


def gradnorm(source: Any, /, *given: Any, **named: Any) -> Floats:
    """‖h‖₁ ‖K ŷ − 1‖₁ of each example, (N,): small for inputs from elsewhere.

    It is K times the 1-norm of the gradient w.r.t. the last layer's weights of the cross entropy between the uniform
    distribution and ŷ. `gradnorm(logits, hidden)`, or `gradnorm(model, x)`; no label is needed.

    Parameters
    ----------
    source : logits or a model, as for `el2n`
    *given, **named : after logits hidden, array (N, D), the last layer's inputs h; after a model x

    Raises
    ------
    InputError, TypeError
        As `el2n`.

    Examples
    --------
    >>> gradnorm([[0.0, 0.0], [40.0, 0.0]], [[1.0, -2.0], [1.0, -2.0]]).tolist()
    [0.0, 6.0]

    Source: R. Huang et al., "On the Importance of Gradients for Detecting Distributional Shifts in the Wild", 2021
    (arXiv:2110.00218).
    """
    out = outputs_of(source, given, named, ["hidden"])
    result = row_norms(out.hidden, order=1)
    k = out.logits.shape[1]
    for at in chunks(*out.logits.shape):
        a = wide(out.logits[at])
        # all of the label's share is spread evenly: the gradient is ŷ − 1/K, whatever the label
        result[at] *= k * np.abs(errors(a, _any_label(a), label_smoothing=1.0)).sum(axis=1)
    return result


def expected_gradient_length(source: Any, /, *given: Any, bias: bool | None = None, **named: Any) -> Floats:
    """Σ_k ŷ_k ‖∇𝓛(k)‖ of each example, (N,): the length that the network expects of its last layer's gradient, before
    the label is known.

    With the label k it is ‖ŷ − e(k)‖ √(‖h‖² + 1). `expected_gradient_length(logits, hidden)`, or
    `expected_gradient_length(model, x)`.

    Parameters
    ----------
    source : logits or a model, as for `el2n`
    *given, **named : after logits hidden, array (N, D), the last layer's inputs h; after a model x
    bias : as for `grand`

    Raises
    ------
    InputError, TypeError
        As `el2n`.

    Examples
    --------
    >>> expected_gradient_length([[0.0, 0.0]], [[2.0, 2.0]]).round(4).tolist()
    [2.1213]

    Source: B. Settles et al., "Multiple-Instance Active Learning", 2008.
    """
    out = outputs_of(source, given, named, ["hidden"], bias)
    result = _input_norms(out)
    for at in chunks(*out.logits.shape):
        a = wide(out.logits[at])
        rows, top = np.arange(len(a)), a.argmax(axis=1)
        e = errors(a, top)
        own = e[rows, top]  # −(1 − ŷ) of the most probable class, the sum of the others: it does not cancel
        p = e.copy()
        p[rows, top] = 1.0 + own
        others = np.vecdot(p, p)[:, None] - p * p  # the squares of all classes but k; at the top they cancel
        lengths = np.sqrt((1.0 - p) ** 2 + np.maximum(others, 0.0))
        lengths[rows, top] = norms(e)
        result[at] *= np.vecdot(p, lengths)
    return result


def tracin(
    source: Any,
    /,
    *given: Any,
    against: tuple[Any, ...] | None = None,
    reduction: str = "none",
    bias: bool | None = None,
    **named: Any,
) -> Floats:
    """(h·h′ + 1)(e·e′): the product of the last layer's gradients of each example and of each of another set.

    To first order, a gradient step of rate η on example n lowers the loss of example m by η times this. Where it is
    below 0, the step raises the loss: the examples contradict each other. Over several checkpoints, add it up times
    each one's rate. `tracin(logits, labels, hidden)`, or `tracin(model, x, labels)`.

    Parameters
    ----------
    source, *given, **named, bias : as for `grand`
    against : the same of the other set, without the model: (logits, labels, hidden) or (x, labels); by default the set
        itself
    reduction : "none" for every pair, (N, M); "sum" or "mean" over the other set, (N,), with no pair formed

    Raises
    ------
    InputError
        As `el2n`, or sets whose numbers of classes or of hidden units differ.
    TypeError
        Other arguments than these.

    Examples
    --------
    >>> tracin([[0.0, 0.0]], [0], [[1.0]], against=([[0.0, 0.0]] * 2, [0, 1], [[3.0], [1.0]])).tolist()
    [[2.0, -1.0]]

    Source: G. Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", 2020
    (arXiv:2002.08484), sections 3 and 4.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    wants = ["labels", "hidden"]
    out = outputs_of(source, given, named, wants, bias)
    if against is None:
        other = out
    elif not isinstance(against, tuple | list) or not against:
        came = type(against).__name__
        raise InputError(f"against: got {came}, expected a tuple (logits, labels, hidden) or (x, labels)")
    elif model_of(source) is None:
        other = outputs_of(against[0], against[1:], {}, wants, bias)
    else:
        other = outputs_of(source, against, {}, wants, bias)
    (n, k), d = out.logits.shape, out.hidden.shape[1]
    if other.logits.shape[1] != k or other.hidden.shape[1] != d:
        came = f"{other.logits.shape[1]} classes and {other.hidden.shape[1]} hidden units"
        raise InputError(f"against: got {came}, expected {k} and {d}")
    if reduction == "none":
        pairs = np.empty((n, len(other.logits)))
        e, h = errors(other.logits, other.labels), wide(other.hidden)
        for at in chunks(n, k + d):
            mine = errors(out.logits[at], out.labels[at]), wide(out.hidden[at])
            pairs[at] = grad_products_per_example(*mine, e, h, out.bias)
        return pairs
    sums, biases = np.zeros((k, d)), np.zeros(k)
    for at in chunks(len(other.logits), k + d):
        e = errors(other.logits[at], other.labels[at])
        sums += e.T @ wide(other.hidden[at])
        biases += e.sum(axis=0)
    result = np.empty(n)
    for at in chunks(n, k + d):
        e = errors(out.logits[at], out.labels[at])
        result[at] = np.vecdot(e @ sums, wide(out.hidden[at])) + (e @ biases if out.bias else 0.0)
    return result / max(len(other.logits), 1) if reduction == "mean" else result


def _any_label(logits: Array) -> Array:
    return np.zeros(len(logits), dtype=np.int64)


def _error_norms(out: Outputs) -> Floats:
    result = np.empty(len(out.logits))
    for at in chunks(*out.logits.shape):
        result[at] = norms(errors(out.logits[at], out.labels[at]))
    return result


def _input_norms(out: Outputs) -> Floats:
    """√(‖h‖² + 1), or ‖h‖ without biases."""
    inputs = row_norms(out.hidden)
    return np.hypot(inputs, 1.0) if out.bias else inputs
