"""The softmax objective for XGBoost's and LightGBM's own trees: gradient and Hessian diagonal from the kernels.

    from chainrule.boosting import softmax_objective

    xgboost.train({"num_class": 10}, data, obj=softmax_objective)            XGBClassifier(objective=softmax_objective)
    lightgbm.train({"objective": softmax_objective, "num_class": 10}, data)  LGBMClassifier(objective=softmax_objective)

Both libraries' `train` call an objective with the raw predictions and the data, which holds labels and weights; both
libraries' estimators call it with labels, raw predictions and perhaps weights. The data is told by its `get_label`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.arrays import borrow
from chainrule.checks import check_logits, check_positive
from chainrule.errors import InputError
from chainrule.output import hessian_diagonal, softmax_cross_entropy

__all__ = ["SoftmaxObjective", "softmax_objective"]

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

    # LightGBM's estimators count these parameters to learn that weights are taken.
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Gradient and Hessian diagonal, (N, K) each, of the predictions' dtype.

        Parameters
        ----------
        y_true : array (N,) of whole numbers in [0, K); or, as both `train` functions call it, the predictions
        y_pred : array (N, K), the raw predictions; or the `DMatrix` or `Dataset` with labels and weights
        sample_weight : array (N,), finite and >= 0, optional

        Returns
        -------
        (gradient, hessian)

        Raises
        ------
        InputError
            Predictions that are not (N, K), labels that are no classes, or a bad weight.
        """
        predictions, labels = y_pred, y_true
        if hasattr(y_pred, "get_label"):
            predictions, labels, sample_weight = y_true, y_pred.get_label(), y_pred.get_weight()
        if np.ndim(predictions) != 2:
            shape = np.shape(predictions)
            raise InputError(f"y_pred: got shape {shape}, expected (N, K), K = num_class of the booster, at least 2")
        n, k = check_logits("y_pred", predictions).view.shape
        gradient = softmax_cross_entropy(predictions, _classes(labels, n, k), reduction="sum").grad_logits
        hessian = hessian_diagonal(predictions)
        if self.hessian_factor != 1.0:
            hessian *= hessian.dtype.type(self.hessian_factor)
        if sample_weight is not None and np.size(sample_weight):  # XGBoost's data without weights has none
            weights = _weights(sample_weight, n).astype(gradient.dtype)[:, None]
            gradient *= weights
            hessian *= weights
            gradient += 0.0  # a weight of 0 leaves 0, not −0
        return gradient, hessian


softmax_objective = SoftmaxObjective()
"""`SoftmaxObjective` with the Hessian's own diagonal."""


def _classes(labels: Any, n: int, k: int) -> Array:
    """The labels as integers: both libraries keep them as float32."""
    given = borrow("y_true", labels, f"({n},) whole numbers in [0, {k})").view
    if given.shape != (n,):
        raise InputError(f"y_true: got shape {given.shape}, expected ({n},), one label for each example")
    if given.dtype.kind not in "iufb":
        raise InputError(f"y_true: got dtype {given.dtype}, expected whole numbers in [0, {k})")
    wrong = ~((given >= 0) & (given < k) & (np.floor(given) == given))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(f"y_true: got {given[i]} at index {i}, expected whole numbers in [0, {k})")
    return given.astype(np.int64)


def _weights(sample_weight: Any, n: int) -> Array:
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n,):
        raise InputError(f"sample_weight: got shape {weights.shape}, expected ({n},)")
    wrong = ~((weights >= 0) & (weights < np.inf))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(f"sample_weight: got {weights[i]} at index {i}, expected finite numbers >= 0")
    return weights
