"""The softmax objective for XGBoost's and LightGBM's own trees, the loss as a metric, and a start for both.

    from chainrule.boosting import log_priors, softmax_metric, softmax_objective

    xgboost.train({"num_class": 10}, data, obj=softmax_objective)            XGBClassifier(objective=softmax_objective)
    lightgbm.train({"objective": softmax_objective, "num_class": 10}, data)  LGBMClassifier(objective=softmax_objective)

Both libraries' `train` call an objective or a metric with the raw predictions and the data, which holds labels and
weights; both libraries' estimators call it with labels, raw predictions and perhaps weights. The data is told by its
`get_label`, and LightGBM's estimators by what they alone give by position: weights and groups, or None.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_integer, check_labels, check_logits, check_positive, check_sample_weight
from chainrule.errors import InputError
from chainrule.output.layer import hessian_diagonal, softmax_cross_entropy

__all__ = ["SoftmaxObjective", "log_priors", "softmax_metric", "softmax_objective"]

Array = npt.NDArray[Any]


class SoftmaxObjective:
    """Gradient and Hessian diagonal of w (−log ŷ_ℓ) w.r.t. the raw predictions, ŷ = softmax(predictions).

    gradient_i = w (ŷ_i − 𝟙[i=ℓ]),  hessian_i = c w ŷ_i (1 − ŷ_i). Neither is a difference of rounded numbers, so that
    a confident row keeps both.

    Parameters
    ----------
    hessian_factor : float > 0
        c: 1, the Hessian's own diagonal, unless told. XGBoost's built-in objective has 2, LightGBM's K/(K − 1), which
        make smaller steps.

    Raises
    ------
    InputError
        A factor that is no finite number > 0.

    Examples
    --------
    >>> gradient, hessian = SoftmaxObjective()(np.array([1.0]), np.array([[0.0, 0.0]]))
    >>> gradient.tolist(), hessian.tolist()
    ([[0.5, -0.5]], [[0.25, 0.25]])
    >>> SoftmaxObjective(hessian_factor=2)(np.array([1.0]), np.array([[0.0, 0.0]]))[1].tolist()
    [[0.5, 0.5]]

    Source: the lecture, section 1, and ∂(ŷ_i − 𝟙[i=ℓ])/∂a_i = ŷ_i (1 − ŷ_i).
    """

    def __init__(self, hessian_factor: float = 1.0) -> None:
        self.hessian_factor = check_positive("hessian_factor", hessian_factor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hessian_factor={self.hessian_factor})"

    def __call__(self, y_true: Any, y_pred: Any, *by_lightgbm: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Gradient and Hessian diagonal, (N, K) each, of the predictions' dtype.

        From a booster for two classes, without `num_class`, the predictions are (N,): ŷ = softmax([0, prediction]), and
        what is returned is (N,). XGBClassifier would not decide by their sign, and is refused.

        Parameters
        ----------
        y_true : array (N,) of whole numbers in [0, K); or, as both `train` functions call it, the predictions
        y_pred : array (N, K), the raw predictions; or the `DMatrix` or `Dataset` with labels and weights
        by_lightgbm : weights and groups, as LightGBM's estimators give them
        sample_weight : array (N,), finite and >= 0, optional

        Returns
        -------
        (gradient, hessian)

        Raises
        ------
        InputError
            Predictions that are not (N, K), labels that are no classes, or a bad weight.
        """
        call = _read(y_true, y_pred, by_lightgbm, sample_weight)
        gradient = softmax_cross_entropy(call.logits, call.labels, reduction="sum").grad_logits
        hessian = hessian_diagonal(call.logits)
        if self.hessian_factor != 1.0:
            hessian *= hessian.dtype.type(self.hessian_factor)
        if call.weights is not None:
            weights = call.weights.astype(gradient.dtype)[:, None]
            gradient *= weights
            hessian *= weights
            gradient += 0.0  # a weight of 0 leaves 0, not −0
        return (gradient[:, 1].copy(), hessian[:, 1].copy()) if call.two_classes else (gradient, hessian)


softmax_objective = SoftmaxObjective()
"""`SoftmaxObjective` with the Hessian's own diagonal."""


def softmax_metric(y_true: Any, y_pred: Any, *by_lightgbm: Any, sample_weight: Any = None) -> Any:
    """Mean of −log ŷ_ℓ, ŷ = softmax(predictions): what early stopping goes by beside `softmax_objective`.

    LightGBM's own multi_logloss takes the raw predictions of an objective that is not its own for probabilities.

    Parameters
    ----------
    y_true, y_pred, by_lightgbm, sample_weight : as for `SoftmaxObjective`

    Returns
    -------
    float; with its name and that lower is better, in the form that the caller wants, where LightGBM or `xgboost.train`
    calls

    Raises
    ------
    InputError
        As `SoftmaxObjective`.

    Examples
    --------
    >>> round(softmax_metric(np.array([1.0, 0.0]), np.array([[0.0, 0.0], [3.0, 3.0]])), 6)
    0.693147

    Source: the lecture, section 1.
    """
    call = _read(y_true, y_pred, by_lightgbm, sample_weight)
    losses = softmax_cross_entropy(call.logits, call.labels, reduction="none").loss
    weights = np.ones(len(losses)) if call.weights is None else call.weights
    total = weights.sum()
    value = float(weights @ losses.astype(np.float64) / total) if total else 0.0
    if hasattr(y_pred, "get_init_score") or by_lightgbm:  # LightGBM's Dataset, or its estimators
        return softmax_metric.__name__, value, False
    return (softmax_metric.__name__, value) if hasattr(y_pred, "get_label") else value


def log_priors(labels: Any, num_class: int | None = None, sample_weight: Any = None) -> Array:
    """Logarithms of the classes' shares: the constant raw predictions with the least loss, from which to start.

    XGBoost takes them as `base_score`, LightGBM as each row's `init_score`, which its `predict` does not add.

    Parameters
    ----------
    labels : array (N,) of whole numbers in [0, K)
    num_class : K; one more than the largest label by default
    sample_weight : array (N,), finite and >= 0, optional

    Returns
    -------
    array (K,), float64

    Raises
    ------
    InputError
        Labels that are no classes, a bad weight, or a class without an example: it has no logarithm.

    Examples
    --------
    >>> np.exp(log_priors([0, 0, 0, 1])).tolist()
    [0.75, 0.25]

    Source: Σ_n (softmax(a) − e(ℓ_n)) = 0 where softmax(a) is the classes' shares.
    """
    given = np.asarray(labels)
    k = num_class
    if k is None:
        k = int(given.max()) + 1 if given.size and given.dtype.kind in "iufb" and np.isfinite(given).all() else 1
    k = check_integer("num_class", k)
    classes = check_labels(given, len(given) if given.ndim else 0, k, whole=True)
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(classes))
    counts = np.bincount(classes, weights, minlength=k)
    if not counts.all():
        weight = "examples" if weights is None else "weight"
        raise InputError(f"labels: got no {weight} of class {int(np.argmin(counts))}, expected some of each of {k}")
    return np.asarray(np.log(counts / counts.sum()))


class _Call(NamedTuple):
    """What was asked: logits (N, K), labels (N,) int64, weights (N,) or None; whether the predictions were (N,)."""

    logits: Any
    labels: Array
    weights: Array | None
    two_classes: bool


def _read(y_true: Any, y_pred: Any, by_lightgbm: tuple[Any, ...], sample_weight: Any) -> _Call:
    predictions, labels, by_train = y_pred, y_true, hasattr(y_pred, "get_label")
    if by_train:
        predictions, labels, sample_weight = y_true, y_pred.get_label(), y_pred.get_weight()
    elif by_lightgbm:
        sample_weight = by_lightgbm[0]
    two_classes = bool(np.ndim(predictions) == 1 and (by_train or by_lightgbm))
    if two_classes:
        predictions = np.stack([np.zeros_like(predictions), predictions], axis=1)
    if np.ndim(predictions) != 2:
        shape = np.shape(predictions)
        raise InputError(f"y_pred: got shape {shape}, expected (N, K), K = num_class of the booster, at least 2")
    n, k = check_logits("y_pred", predictions).view.shape
    hint = ", the two classes of a booster without num_class" if two_classes else ""
    classes = check_labels(labels, n, k, name="y_true", whole=True, hint=hint)
    given = sample_weight is not None and np.size(sample_weight)  # XGBoost's data without weights has an empty array
    return _Call(predictions, classes, check_sample_weight(sample_weight, n) if given else None, two_classes)
