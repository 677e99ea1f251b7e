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

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.activations import ACTIVATIONS
from chainrule.boundary.extras import require
from chainrule.errors import NonFiniteError, shown
from chainrule.network.network import Network
from chainrule.output.layer import log_softmax, softmax, softmax_cross_entropy
from chainrule.training.engine import Began, Engine, as_rows, left_the_range
from chainrule.training.examples import ROWS_AT_ONCE, Examples, balanced
from chainrule.training.history import EpochRecord, alike, check_callbacks, dead, divergence
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.training.schedules import Schedule, check_schedule, checked_factors

require("sklearn", "sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.metrics import accuracy_score  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.preprocessing import LabelBinarizer  # noqa: E402
from sklearn.utils import check_random_state, column_or_1d  # noqa: E402
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions  # noqa: E402
from sklearn.utils.class_weight import compute_sample_weight  # noqa: E402
from sklearn.utils.metaestimators import available_if  # noqa: E402
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels  # noqa: E402
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted, validate_data  # noqa: E402

__all__ = ["MLPClassifier"]

Array = npt.NDArray[Any]
STOCHASTIC = ("sgd", "adam", "adamw")
FEW = 64  # examples, by which a network is seen to be dead


def _dense(y: Any) -> Any:
    return y.toarray() if hasattr(y, "toarray") else y


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
    activation : one of `chainrule.equations.ACTIVATIONS`
    class_weight : dict from class to weight, "balanced" or None; multiplies the sample weights, by which "balanced"
        counts. With several labels an example has the product of its labels' weights, and for weights of a label's
        absence too, class_weight is a list of a dict from 0 and 1 to weight for each label; "balanced" balances each
    dropout : fraction of hidden units dropped at each step
    label_smoothing : share of a label's target that is spread evenly over the classes, for logistic outputs over 0, 1
    clip_norm : largest norm of a step's gradient
    weight_decay : the decoupled decay of "adamw"
    schedule : multiplies the learning rate; one of `chainrule.training.schedules`
    early_stopping_metric : "score", or "loss" to stop on the validation loss
    callbacks : each is called with an `EpochRecord` after every epoch; training ends when one returns True
    progress : whether to draw a progress bar (chainrule[cli])

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

    Source: the lecture; X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, for the initial weights.
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
        "early_stopping_metric": [StrOptions({"score", "loss"})],
        "callbacks": ["array-like", None],
        "progress": ["boolean"],
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
        early_stopping_metric: str = "score",
        callbacks: Sequence[Callable[[EpochRecord], object]] | None = None,
        progress: bool = False,
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
            own = self._class_weights(y, targets, weights, incremental)
            weights = own if weights is None else weights * own
        self._random_state = check_random_state(self.random_state)
        widths = [X.shape[1], *sizes, targets.shape[1]]
        if first:
            self._initialize(widths, X.dtype)
        elif [c.shape for c in self.coefs_] != list(pairwise(widths)):
            raise ValueError(f"hidden_layer_sizes cannot change with warm_start or partial_fit, got {sizes}.")
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, targets, weights)
        else:
            self._fit_stochastic(X, targets, weights, eval_set, incremental)
        if not all(np.isfinite(a).all() for a in [*self.coefs_, *self.intercepts_]):
            raise ValueError("The weights became NaN or infinite: a smaller learning rate or scaled inputs may help.")
        return self

    def _hidden_sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = [given] if isinstance(given, Integral) else list(given)
        if not all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {shown(given)}, expected integers")
        return [int(size) for size in sizes]

    def _class_weights(self, y: Any, targets: Array, weights: Array | None, incremental: bool) -> Array:
        """What `class_weight` makes of each example, (N,)."""
        given, several = self.class_weight, self._label_binarizer.y_type_.startswith("multilabel")
        if isinstance(given, str):  # "balanced"
            softmax = self._label_binarizer.y_type_ == "multiclass"
            columns = [targets.argmax(axis=1)] if softmax else targets.T
            each = [balanced(column, int(column.max()) + 1, weights)[column] for column in columns]
            return np.asarray(np.prod(each, axis=0))
        for name, part in enumerate(given) if isinstance(given, list) else [("", given)]:
            where = f"class_weight[{name}]" if isinstance(given, list) else "class_weight"
            if not isinstance(part, dict):
                raise ValueError(f"{where}: got {shown(part)}, expected a dict from 0 and 1 to weight")
            for label, weight in part.items():
                if not isinstance(weight, int | float | np.number) or not 0 <= weight < np.inf:
                    raise ValueError(f"{where}: got {shown(weight)} for {label!r}, expected a finite number >= 0")
        if several:
            return self._label_weights(given, targets)
        if isinstance(given, list):
            raise ValueError("class_weight: got a list, expected a dict where an example has one class")
        here = set(unique_labels(y)) if incremental else given  # a part of the data need not have all classes
        return np.asarray(compute_sample_weight({c: weight for c, weight in given.items() if c in here}, y))

    def _label_weights(self, given: Any, targets: Array) -> Array:
        count = targets.shape[1]
        if isinstance(given, dict):
            other = [label for label in given if label not in self.classes_]
            if other:
                raise ValueError(f"class_weight: got the label {other[0]!r}, expected integers in [0, {count})")
            given = [{1: given.get(label, 1.0)} for label in range(count)]
        if len(given) != count:
            raise ValueError(f"class_weight: got {len(given)} dicts, expected {count}, one for each label")
        for label, part in enumerate(given):
            other = [value for value in part if value not in (0, 1)]
            if other:
                raise ValueError(f"class_weight[{label}]: got the key {other[0]!r}, expected 0 and 1")
        pairs = [np.array([part.get(0, 1.0), part.get(1, 1.0)]) for part in given]
        each = [pair[column] for pair, column in zip(pairs, targets.T, strict=True)]
        return np.asarray(np.prod(each, axis=0))

    def _check_targets(self, name: str, X: Any, y: Any) -> Array:
        """Other examples' y, of the kind and classes of those that were fitted, as 0 and 1."""
        if X.shape[0] != _num_samples(y):
            raise ValueError(f"{name}: got {_num_samples(y)} targets for {X.shape[0]} examples")
        other = np.setdiff1d(unique_labels(y), self.classes_)
        if other.size:
            raise ValueError(f"{name}: has the classes {other}, which training has not")
        kind = type_of_target(y)
        if kind.startswith("multilabel") != self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError(f"{name}: got {kind} y, expected {self._label_binarizer.y_type_}, as in training")
        return np.asarray(_dense(self._label_binarizer.transform(y)))

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
        return X, np.asarray(_dense(self._label_binarizer.transform(y))), y

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

    def _engine(self, optimizer: Optimizer, batch_size: int, **options: Any) -> Engine:
        return Engine(
            [c.T for c in self.coefs_], self.intercepts_, self.activation, optimizer, batch_size,
            logistic=self.out_activation_ == "logistic", l2_weights=float(self.alpha), l2_by_batch=True,
            label_smoothing=float(self.label_smoothing) if self.out_activation_ == "softmax" else 0.0,
            threads=_kernels.max_threads(), **options,
        )  # fmt: skip

    def _keep(self, engine: Engine) -> None:
        self.coefs_ = [np.ascontiguousarray(w.T) for w in engine.weights]
        self.intercepts_ = [b.copy() for b in engine.biases]

    def _targets(self, targets: Array, dtype: Any) -> Array:
        """As the engine takes them: the classes' numbers for a softmax, 0 and 1 for logistic outputs."""
        if self.out_activation_ == "softmax":
            return np.asarray(targets.argmax(axis=1), dtype=np.int64)
        smoothed = targets * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return np.ascontiguousarray(smoothed, dtype=dtype)

    def _fit_lbfgs(self, X: Any, targets: Array, weights: Array | None) -> None:
        from scipy.optimize import minimize

        n = X.shape[0]
        engine = self._engine(SGD(), n, dropout=float(self.dropout), seed=self._dropout_seed())
        rows, labels, order = as_rows(X, X.dtype), self._targets(targets, X.dtype), np.arange(n)

        def loss_and_gradient(parameters: Array) -> tuple[float, Array]:
            engine.parameters[:] = parameters
            engine.steps = 0  # the same units are dropped each time: the function must not change
            found = engine.run(rows, labels, order, 0.0, weights)
            loss = found.loss / (found.weight or n) if found.finite else np.inf
            return loss, engine.gradient.astype(np.float64)

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        start = engine.parameters.astype(np.float64)
        result = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
        if not result.success:
            warnings.warn(f"lbfgs did not converge: {result.message}", ConvergenceWarning, stacklevel=4)
        if not np.isfinite(result.fun):
            raise ValueError("The loss became NaN or infinite: scaled inputs may help.")
        self.n_iter_, self.loss_ = min(int(result.nit), self.max_iter), float(result.fun)
        engine.parameters[:] = result.x
        self._keep(engine)

    def _optimizer(self) -> Optimizer:
        if self.solver == "sgd":
            momentum = min(float(self.momentum), float(np.nextafter(1.0, 0.0)))
            return SGD(float(self.learning_rate_init), momentum, nesterov=bool(self.nesterovs_momentum and momentum))
        options = (float(self.learning_rate_init), (float(self.beta_1), float(self.beta_2)), float(self.epsilon))
        return Adam(*options) if self.solver == "adam" else AdamW(*options, weight_decay=float(self.weight_decay))

    def _fit_stochastic(self, X: Any, targets: Array, weights: Array | None, eval_set: Any, incremental: bool) -> None:
        if not hasattr(self, "loss_curve_"):  # a warm start after lbfgs
            self._begin_curves()
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        held_out = None
        if eval_set is not None:
            held_out = self._validation(eval_set)
        elif self.early_stopping:
            X, targets, weights, held_out = self._split(X, targets, weights)
        n, dtype = X.shape[0], X.dtype
        batch = min(200, n) if self.batch_size == "auto" else int(self.batch_size)
        if batch > n:
            warnings.warn(f"batch_size={batch} is larger than the {n} samples: one batch of all is used", stacklevel=4)
            batch = n
        engine = self._engine(
            self._optimizer(), batch, dropout=float(self.dropout), seed=self._dropout_seed(),
            clip_norm=0.0 if self.clip_norm is None else float(self.clip_norm), eps_inside=True, lr_in_velocity=True,
        )  # fmt: skip
        state, steps = self._optimizer_state
        if set(state) == set(engine.state):
            engine.steps = steps
            for name, buffer in engine.state.items():
                buffer[...] = state[name]
        rows, labels = as_rows(X, dtype), self._targets(targets, dtype)
        if held_out is not None and self.validation_loss_curve_ is None:  # NaN for the epochs that had none
            self.validation_loss_curve_, self.validation_scores_ = ([np.nan] * len(self.loss_curve_) for _ in range(2))
        best, order = engine.parameters.copy(), np.arange(n)
        began = best.copy()
        self.n_iter_ = 0
        with self._observers() as observers:
            try:
                for _ in range(1 if incremental else self.max_iter):
                    if self.shuffle:
                        places = np.arange(n)
                        self._random_state.shuffle(places)
                        order = order[places]
                    rates = self._rates(-(-n // batch), len(self.loss_curve_) if incremental else self.n_iter_)
                    started = time.perf_counter()
                    start = Began([buffer.copy() for buffer in engine.buffers], engine.steps, len(self.loss_curve_))
                    found = engine.run(rows, labels, order, rates, weights)
                    if not (found.finite and np.isfinite(engine.parameters).all()):
                        net = Network(engine.weights, engine.biases, self.activation)
                        blocks = [(Examples(rows, labels, weights), order)]
                        raise NonFiniteError(left_the_range(engine, net, start, blocks, rates))
                    seconds = time.perf_counter() - started
                    self.n_iter_ += 1
                    self.t_ += n
                    self.loss_ = found.loss / found.weight if found.weight else 0.0
                    self.loss_curve_.append(self.loss_)
                    if self.verbose:
                        print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                    if self._improved(engine, held_out):
                        best[:] = engine.parameters
                    if self.solver == "sgd" and self.learning_rate == "invscaling":
                        self._slowed = 1.0 / (self.t_ + 1) ** self.power_t
                    record = self._record(found.correct / n, n / max(seconds, 1e-9))
                    if any([observer(record) is True for observer in observers]):  # each of them is called
                        break
                    if self._no_improvement > self.n_iter_no_change and self._gives_up():
                        break
                    if not incremental and self.n_iter_ == self.max_iter:
                        warnings.warn(
                            f"max_iter={self.max_iter} epochs are over before the training converged",
                            ConvergenceWarning,
                            stacklevel=4,
                        )
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=4)
        self._optimizer_state = ({name: buffer.copy() for name, buffer in engine.state.items()}, engine.steps)
        if self.early_stopping:
            engine.parameters[:] = best
        self._keep(engine)
        self._warn_of_divergence(engine, began, X, targets, weights)

    def _warn_of_divergence(self, engine: Engine, began: Array, X: Any, targets: Array, weights: Array | None) -> None:
        """Say so where the fitted weights are finite and do far worse than those that training `began` with."""
        guess = np.log(self.n_outputs_) if self.out_activation_ == "softmax" else self.n_outputs_ * np.log(2.0)
        if not self.loss_curve_:
            return
        worse = self.loss_curve_[-1] > 2 * guess
        some, ended = slice(ROWS_AT_ONCE if worse else FEW), engine.parameters.copy()
        after = self._logits(X[some])
        if not (worse or alike(after)):
            return  # nearly always, and nearly at no cost
        engine.parameters[:] = began
        self._keep(engine)
        before = self._logits(X[some])
        engine.parameters[:] = ended
        self._keep(engine)
        weights = None if weights is None or not weights[some].any() else weights[some]
        losses = [self._loss(logits, targets[some], weights) for logits in (before, after)]
        if said := (divergence(float(guess), *losses) if worse else None) or dead(before, after):
            warnings.warn(said, ConvergenceWarning, stacklevel=6)

    def _dropout_seed(self) -> int:
        # only where it is needed: otherwise the random numbers are scikit-learn's
        return int(self._random_state.randint(2**31 - 1)) if self.dropout else 0

    def _rates(self, steps: int, epoch: int) -> Array:
        rate = float(self.learning_rate_init) * self._slowed
        if self.schedule is None:
            return np.full(steps, rate)
        losses = self.validation_loss_curve_ or self.loss_curve_
        if np.isnan(losses).any():
            losses = self.loss_curve_
        return rate * checked_factors(self.schedule, epoch + np.arange(steps) / steps, self.max_iter, losses)

    @contextmanager
    def _observers(self) -> Iterator[list[Callable[[EpochRecord], object]]]:
        if not self.progress:
            yield list(self.callbacks or [])
            return
        from chainrule.training.progress import progress_bar

        with progress_bar(self.max_iter) as bar:
            yield [bar, *(self.callbacks or [])]

    def _record(self, accuracy: float, speed: float) -> EpochRecord:
        loss, score = ((curve or [None])[-1] for curve in (self.validation_loss_curve_, self.validation_scores_))
        return EpochRecord(self.n_iter_, self.max_iter, self.loss_, accuracy, loss, score, speed)

    def _validation(self, eval_set: Any) -> tuple[Any, Array, Array | None]:
        if not isinstance(eval_set, tuple) or len(eval_set) != 2:
            raise ValueError(f"eval_set: got {type(eval_set).__name__}, expected a tuple (X, y)")
        X, y = validate_data(
            self, *eval_set, accept_sparse=["csr", "csc"], multi_output=True, dtype=self.coefs_[0].dtype, reset=False
        )
        return X, self._check_targets("eval_set", X, y), None

    def _split(self, X: Any, targets: Array, weights: Array | None) -> tuple[Any, Array, Array | None, Any]:
        # as scikit-learn does, but by the user's classes, which train_test_split names if it refuses them
        stratify = self._label_binarizer.inverse_transform(targets) if self.n_outputs_ == 1 else None
        arrays = [X, targets] if weights is None else [X, targets, weights]
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        train, held_out = parts[::2], parts[1::2]
        if held_out[0].shape[0] < 2:
            raise ValueError("The validation set is too small: increase validation_fraction or the number of samples.")
        none = [None] if weights is None else []
        return (*train, *none, (*held_out, *none))

    def _improved(self, engine: Engine, held_out: tuple[Any, Array, Array | None] | None) -> bool:
        """Record how the epoch did; True where its weights are the best so far, by which early stopping goes."""
        if held_out is not None:
            X, targets, weights = held_out
            self._keep(engine)
            logits = self._logits(X)
            self.validation_loss_curve_.append(self._loss(logits, targets, weights))
            truth, found = (self._label_binarizer.inverse_transform(t) for t in (targets, self._decided(logits)))
            self.validation_scores_.append(float(accuracy_score(truth, found, sample_weight=weights)))
        elif self.validation_loss_curve_ is not None:
            self.validation_loss_curve_.append(np.nan)
            self.validation_scores_.append(np.nan)
        if not self.early_stopping:
            better = self.loss_curve_[-1] < self.best_loss_
            self._no_improvement = 0 if self.loss_curve_[-1] <= self.best_loss_ - self.tol else self._no_improvement + 1
            self.best_loss_ = min(self.best_loss_, self.loss_curve_[-1])
            return bool(better)
        if self.early_stopping_metric == "loss":
            before = [-loss for loss in self.validation_loss_curve_]
        else:
            before = self.validation_scores_
        last, best = before[-1], max((b for b in before[:-1] if not np.isnan(b)), default=-np.inf)
        self._no_improvement = self._no_improvement + 1 if last < best + self.tol else 0
        self.best_validation_score_ = np.nanmax(self.validation_scores_)
        return bool(last > best)

    def _gives_up(self) -> bool:
        if self.solver == "sgd" and self.learning_rate == "adaptive" and self.learning_rate_init * self._slowed > 1e-6:
            self._slowed /= 5.0
            self._no_improvement = 0
            return False
        if self.verbose:
            print(f"No improvement by tol={self.tol} in {self.n_iter_no_change} epochs: stopping.")
        return True

    # --- what a fitted model tells ---

    def _hidden(self, X: Any) -> list[Any]:
        g, outputs = ACTIVATIONS[self.activation].function, [X]
        for coef, intercept in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            a = outputs[-1] @ coef
            a += intercept
            outputs.append(np.maximum(a, 0, out=a) if self.activation == "relu" else g(a))
        return outputs

    def _logits(self, X: Any) -> Array:
        logits = np.asarray(self._hidden(X)[-1] @ self.coefs_[-1])
        logits += self.intercepts_[-1]
        return logits

    def _probabilities(self, logits: Array) -> Array:
        if self.out_activation_ == "softmax":
            return np.asarray(softmax(logits))
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
        return validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)

    def predict(self, X: Any) -> Array:
        """The class of each row of X, (N,), or its labels, (N, labels)."""
        decided = self._decided(self._logits(self._fitted_input(X)))
        found = self._label_binarizer.inverse_transform(decided)
        return found if hasattr(found, "tocsr") else np.asarray(found)  # sparse where y was

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (N, classes)."""
        logits = self._logits(self._fitted_input(X))
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
        targets = self._check_targets("y", X, y)
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
