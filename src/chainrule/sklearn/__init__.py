"""scikit-learn's `MLPClassifier`, by its name and signature, trained by Chainrule's engine: change one import.

    from chainrule.sklearn import MLPClassifier  # was: from sklearn.neural_network import MLPClassifier

From the same `random_state` it starts at the same weights and visits the examples in the same order, and its steps are
scikit-learn's to rounding. What differs, on purpose:

- a confident example's loss and gradient keep their digits, where scikit-learn's are 0 (it clips probabilities);
- `predict_log_proba` is computed from the logits, and is finite where the probability underflows;
- `warm_start=True` keeps the optimizer's moments and step count from one `fit` to the next;
- with sample weights, `loss_curve_` is the weighted mean over the epoch, not the mean of the batches' weighted means;
- `validation_scores_`, where there is an `eval_set`, are its scores.
"""

from chainrule.boundary.extras import require

require("sklearn", "sklearn")

from chainrule.sklearn.classifier import MLPClassifier  # noqa: E402

__all__ = ["MLPClassifier"]
