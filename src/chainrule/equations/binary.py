"""Beyond the lecture: logistic output units, one for each label that holds or does not: binary and multilabel."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401  # in the examples

from chainrule.activations import ACTIVATIONS, array_namespace

__all__ = ["binary_loss", "grad_binary", "hessian_binary", "multilabel_loss"]

_logistic, _softplus = ACTIVATIONS["logistic"], ACTIVATIONS["softplus"].function


def binary_loss(logits: Any, targets: Any) -> Any:
    """−t log σ(a) − (1−t) log(1 − σ(a)) of each logit, as t softplus(−a) + (1−t) softplus(a): no term is negative.

    Parameters
    ----------
    logits : array (...): one a for each label that may or may not hold
    targets : array (...) of the same dtype, t in [0, 1]; smoothed with ε they are (1−ε) t + ε/2

    Examples
    --------
    >>> binary_loss(np.array([0.0, 40.0]), np.array([0.0, 1.0])).tolist()
    [0.6931471805599453, 4.248354255291589e-18]

    Source: the lecture, section 1, for two classes with the logits a and 0.
    """
    return _both(targets, _softplus(-logits), _softplus(logits))


def multilabel_loss(logits: Any, targets: Any) -> Any:
    """The sum of the labels' binary losses, (...), for logits and targets (..., K); its gradient is `grad_binary`.

    Examples
    --------
    >>> float(multilabel_loss(np.array([0.0, 0.0]), np.array([0.0, 1.0])))
    1.3862943611198906

    Source: labels that are independent given the logits: their likelihoods multiply.
    """
    return array_namespace(logits).sum(binary_loss(logits, targets), axis=-1)


def grad_binary(logits: Any, targets: Any) -> Any:
    """∂𝓛/∂a = σ(a) − t of each logit, as (1−t) σ(a) − t σ(−a): exact where t is 0 or 1.

    Examples
    --------
    >>> grad_binary(np.array([0.0, 40.0]), np.array([0.0, 1.0])).tolist()
    [0.5, -4.248354255291589e-18]

    Source: the lecture, section 1, for two classes with the logits a and 0: −(𝟙[ℓ=1] − ŷ_1).
    """
    return _both(targets, -_logistic.function(-logits), _logistic.function(logits))


def hessian_binary(logits: Any) -> Any:
    """∂²𝓛/∂a² = σ(a) (1 − σ(a)) of each logit, (...), the same for every target; the labels do not mix.

    Examples
    --------
    >>> hessian_binary(np.array([0.0, 40.0])).tolist()
    [0.25, 4.248354255291589e-18]

    Source: the lecture, section 1, differentiated once more.
    """
    return _logistic.derivative(logits)


def _both(targets: Any, holds: Any, fails: Any) -> Any:
    """t holds + (1−t) fails; what has no weight adds nothing, even where it is infinite."""
    xp = array_namespace(targets)
    return targets * xp.where(targets == 0, 0, holds) + (1 - targets) * xp.where(targets == 1, 0, fails)
