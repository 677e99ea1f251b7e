"""The estimator: its parameters, what it checks, and what it tells once it is fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.checks import check_threads
from chainrule.errors import shown
from chainrule.network.inference import infer
from chainrule.output import layer
from chainrule.output.layer import log_softmax, softmax_cross_entropy
from chainrule.sklearn.fitting import Data, fit_lbfgs, fit_stochastic
from chainrule.sklearn.targets import as_targets, class_weights, other_targets
from chainrule.training.engine import Engine, StepOptions, as_rows, check_sparse
from chainrule.training.history import EpochRecord, check_callbacks
from chainrule.training.optimizers import SGD, Optimizer
from chainrule.training.schedules import Schedule, check_schedule

__all__ = ["MLPClassifier"]

Array = npt.NDArray[Any]
STOCHASTIC = ("sgd", "adam", "adamw")


def _is_stochastic(estimator: Any) -> bool:
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(f"partial_fit takes single steps, which solver={estimator.solver!r} has none of")
    return True


class MLPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multi-layer perceptron with softmax output (logistic for two classes, and for several labels at once).

    Parameters
    ----------
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle,
    random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1,
    beta_2, epsilon, n_iter_no_change, max_fun
        As in `sklearn.neural_network.MLPClassifier`; `solver` may also be "adamw".
    activation : one of `chainrule.activations.ACTIVATIONS`
    class_weight : dict from class to weight, "balanced" or None; multiplies the sample weights, by which "balanced"
        counts. With several labels an example has the product of its labels' weights, and for weights of a label's
        absence too, class_weight is a list of a dict from 0 and 1 to weight for each label; "balanced" balances each
    dropout : fraction of hidden units dropped at each step
    label_smoothing : share of a label's target that is spread evenly over the classes, for logistic outputs over 0, 1
    clip_norm : largest norm of a step's gradient
    weight_decay : the decoupled decay of "adamw"
    schedule : multiplies the learning rate; one of `chainrule.training.schedules`
    early_stopping_metric : "score"; "loss" to stop on the validation loss; or a function of the estimator, which has
        the weights after the epoch, the validation X and y, as scikit-learn's scorers are: the larger, the better
    callbacks : each is called with an `EpochRecord` after every epoch, when the estimator has the weights after it;
        training ends when one returns True
    progress : whether to draw a progress bar (chainrule[cli])
    n_jobs : at most this many threads in `fit` and in predictions; None and -1 for as many as may be used, -2 for one
        less. `threadpoolctl`'s limits and joblib's hold for what may be used

    Attributes
    ----------
    coefs_, intercepts_, classes_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, n_iter_,
    t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As scikit-learn's.
    validation_loss_curve_ : the loss of the validation examples after each epoch; None where there are none

    Raises
    ------
    ValueError
        Bad input, or weights that left the range of numbers.

    Examples
    --------
    >>> x, y = np.array([[0.0, 1.0], [1.0, 0.0]] * 50), np.array(["b", "a"] * 50)
    >>> model = MLPClassifier((8,), learning_rate_init=0.05, max_iter=20, n_iter_no_change=3, tol=1.0, random_state=0)
    >>> model.fit(x, y).predict([[0.0, 1.0]]).tolist()
    ['b']

    Source: the lecture, sections 1 to 3; for the initial weights, X. Glorot and Y. Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [HasMethods("factors"), None],
        "early_stopping_metric": [StrOptions({"score", "loss"}), callable],
        "callbacks": ["array-like", None],
        "progress": ["boolean"],
        "n_jobs": [Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        weight_decay: float = 0.01,
        schedule: Schedule | None = None,
        early_stopping_metric: Any = "score",
        callbacks: Sequence[Callable[[EpochRecord], object]] | None = None,
        progress: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        for name, value in list(locals().items()):
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # --- fitting ---

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None) -> MLPClassifier:
        """Train on X (N, D), dense or sparse, and y (N,) or (N, labels).

        sample_weight : (N,), optional; eval_set : (X, y), whose loss and score are recorded after each epoch, and are
        what early stopping goes by instead of a split.
        """
        return self._fit(X, y, sample_weight, eval_set, incremental=False)

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch more, with the optimizer's state kept. The first call is given all the classes."""
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, None, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, incremental: bool) -> MLPClassifier:
        sizes = self._hidden_sizes()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        self._refuse_what_is_not_used(eval_set, incremental)
        X, targets, y = self._checked(X, y, incremental, first)
        if not first:
            X = X.astype(self.coefs_[0].dtype, copy=False)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            own = class_weights(self.class_weight, self._label_binarizer, y, targets, weights, incremental)
            weights = own if weights is None else weights * own
        self._random_state = check_random_state(self.random_state)
        widths = [X.shape[1], *sizes, targets.shape[1]]
        if first:
            self._initialize(widths, X.dtype)
        elif [c.shape for c in self.coefs_] != list(pairwise(widths)):
            raise ValueError(f"hidden_layer_sizes cannot change with warm_start or partial_fit, got {sizes}.")
        if self.solver == "lbfgs":
            fit_lbfgs(self, Data(X, targets, weights))
        else:
            fit_stochastic(self, Data(X, targets, weights), eval_set, incremental)
        if not all(np.isfinite(a).all() for a in [*self.coefs_, *self.intercepts_]):
            raise ValueError("The weights became NaN or infinite: a smaller learning rate or scaled inputs may help.")
        return self

    def _hidden_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = [given] if isinstance(given, Integral) else list(given)
        if not all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {shown(given)}, expected integers")
        return [int(size) for size in sizes]

    def _refuse_what_is_not_used(self, eval_set: Any, incremental: bool) -> None:
        if self.solver == "lbfgs":
            given = {"callbacks": self.callbacks or None, "clip_norm": self.clip_norm, "schedule": self.schedule}
            given |= {"eval_set": eval_set, "progress": self.progress or None}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"{name}: got {value!r:.60} with solver='lbfgs', which takes no steps of its own")
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight: got 'balanced' in partial_fit, which does not see all of y; give a dict")
        check_callbacks(() if self.callbacks is None else list(self.callbacks))
        if self.schedule is not None:
            check_schedule("schedule", self.schedule)

    def _checked(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array, Any]:
        check_sparse("X", X)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            if not incremental:
                self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            came = unique_labels(y)
            other = set(came) != set(self.classes_) if self.warm_start else np.setdiff1d(came, self.classes_).size
            if other:
                raise ValueError(f"y has the classes {came}, expected those of the earlier fit, {self.classes_}.")
        return X, as_targets(self._label_binarizer, y), y

    def _initialize(self, widths: list[int], dtype: Any) -> None:
        self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(widths), widths[-1]
        self.out_activation_ = "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"
        self.coefs_, self.intercepts_ = [], []
        for d, u in pairwise(widths):
            bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / (d + u))
            self.coefs_.append(self._random_state.uniform(-bound, bound, (d, u)).astype(dtype))
            self.intercepts_.append(self._random_state.uniform(-bound, bound, u).astype(dtype))
        self._optimizer_state: tuple[dict[str, Array], int] = ({}, 0)
        self._slowed, self._no_improvement = 1.0, 0  # what the learning rate has been multiplied by, and for how long
        if self.solver in STOCHASTIC:
            self._begin_curves()

    def _begin_curves(self) -> None:
        self.loss_curve_: list[float] = []
        self.best_loss_: Any = None if self.early_stopping else np.inf
        self.validation_scores_: Any = None
        self.validation_loss_curve_: Any = None
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None

    def _engine(self, optimizer: Optimizer, batch_size: int, *, seed: int = 0, **options: Any) -> Engine:
        logistic = self.out_activation_ == "logistic"
        step = StepOptions(
            logistic=logistic, label_smoothing=0.0 if logistic else float(self.label_smoothing),
            l2_weights=float(self.alpha), l2_by_batch=True, **options,
        )  # fmt: skip
        coefs = [c.T for c in self.coefs_]
        threads = self._threads()
        return Engine(coefs, self.intercepts_, self.activation, optimizer, batch_size, step, seed=seed, threads=threads)

    def _keep(self, engine: Engine) -> None:
        self.coefs_ = [np.ascontiguousarray(w.T) for w in engine.weights]
        self.intercepts_ = [b.copy() for b in engine.biases]

    def _targets(self, targets: Array, dtype: Any) -> Array:
        """As the engine takes them: the classes' numbers for a softmax, 0 and 1 for logistic outputs."""
        if self.out_activation_ == "softmax":
            return np.asarray(targets.argmax(axis=1), dtype=np.int64)
        smoothed = targets * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return np.ascontiguousarray(smoothed, dtype=dtype)

    # --- what a fitted model tells ---

    def _hidden(self, X: Any) -> list[Any]:
        g, outputs = ACTIVATIONS[self.activation].function, [X]
        for coef, intercept in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            a = outputs[-1] @ coef
            a += intercept
            outputs.append(np.maximum(a, 0, out=a) if self.activation == "relu" else g(a))
        return outputs

    def _logits(self, X: Any, *, softmax: bool = False) -> Array:
        """Or their softmax."""
        coefs, intercepts = [c.T for c in self.coefs_], self.intercepts_
        if issparse(X):
            first: Array = X @ self.coefs_[0] + intercepts[0]
            if len(coefs) == 1:
                return np.asarray(layer.softmax(first)) if softmax else first
            X, coefs, intercepts = ACTIVATIONS[self.activation].function(first), coefs[1:], intercepts[1:]
        x = np.asarray(X).astype(coefs[0].dtype, copy=False)
        return infer(coefs, intercepts, self.activation, x, softmax=softmax, threads=self._threads())

    def _threads(self) -> int:
        """`n_jobs` as scikit-learn counts: −1 for all, −2 for all but one."""
        most = check_threads(None)
        if self.n_jobs is None:
            return most
        return min(int(self.n_jobs), 1024) if self.n_jobs > 0 else max(1, most + 1 + int(self.n_jobs))

    def _probabilities(self, logits: Array) -> Array:
        if self.out_activation_ == "softmax":
            return np.asarray(layer.softmax(logits))
        return np.asarray(ACTIVATIONS["logistic"].function(logits))

    def _decided(self, logits: Array) -> Array:
        if self.out_activation_ == "softmax":
            return np.asarray(np.eye(self.n_outputs_, dtype=np.int64)[logits.argmax(axis=1)])
        return (logits > 0).astype(np.int64)

    def _loss(self, logits: Array, targets: Array, weights: Array | None) -> float:
        if self.out_activation_ == "softmax":
            losses = softmax_cross_entropy(logits, targets.argmax(axis=1), reduction="none").loss
        else:
            losses = np.logaddexp(0.0, np.where(targets > 0, -logits, logits)).sum(axis=1)
        return float(np.average(losses, weights=weights))

    def _fitted_input(self, X: Any) -> Any:
        check_is_fitted(self)
        check_sparse("X", X)
        return validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)

    def predict(self, X: Any) -> Array:
        """The class of each row of X, (N,), or its labels, (N, labels)."""
        decided = self._decided(self._logits(self._fitted_input(X)))
        found = self._label_binarizer.inverse_transform(decided)
        return found if hasattr(found, "tocsr") else np.asarray(found)  # sparse where y was

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (N, classes)."""
        X = self._fitted_input(X)
        if self.out_activation_ == "softmax":
            return self._logits(X, softmax=True)
        logits = self._logits(X)
        if self.n_outputs_ == 1:
            logits = np.hstack([-logits, logits])  # 1 − σ(a) = σ(−a), without the subtraction
        return self._probabilities(logits)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of the probability of each class, (N, classes), exact also where the probability underflows."""
        logits = self._logits(self._fitted_input(X))
        if self.out_activation_ == "softmax":
            return np.asarray(log_softmax(logits))
        if self.n_outputs_ == 1:
            logits = np.hstack([-logits, logits])
        return np.asarray(-np.logaddexp(0.0, -logits))

    def activations(self, X: Any) -> list[Any]:
        """The output of every layer, from X itself to the probabilities of the output units."""
        X = self._fitted_input(X)
        return [*self._hidden(X), self._probabilities(self._logits(X))]

    def gradients(self, X: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """The gradient of the mean loss, without the penalty, w.r.t. `coefs_` and `intercepts_`."""
        X = self._fitted_input(X)
        targets = other_targets(self._label_binarizer, "y", X, y)
        engine, dtype = self._engine(SGD(), X.shape[0]), self.coefs_[0].dtype
        engine.run(as_rows(X, dtype), self._targets(targets, dtype), np.arange(X.shape[0]), 0.0)
        penalty = float(self.alpha) / X.shape[0]
        parts = np.split(engine.gradient, np.cumsum([a.size for a in [*self.coefs_, *self.intercepts_]])[:-1])
        coefs = [g.reshape(c.shape) - penalty * c for g, c in zip(parts, self.coefs_, strict=False)]
        return coefs, [g.copy() for g in parts[len(coefs) :]]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags
