"""`MLPClassifier`: scikit-learn's classifier, in its own names and signatures, trained by Chainrule's engine.

What the estimator owes its host (parameters, fitted attributes, random draws, warnings) stands here; every step of
training is the engine's. The order of the random draws is scikit-learn's, so that the same `random_state` begins at
the same weights and visits the same batches.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.checks import check_threads
from chainrule.engine import Engine, Sparse, as_rows
from chainrule.equations import ACTIVATIONS
from chainrule.errors import NonFiniteError
from chainrule.extras import require
from chainrule.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.output import log_softmax, softmax
from chainrule.progress import progress_bar
from chainrule.training import EpochRecord

try:
    import scipy.optimize
    import scipy.sparse
    from sklearn.base import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        BaseEstimator,
        ClassifierMixin,
        _fit_context,
    )
    from sklearn.exceptions import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        ConvergenceWarning,
    )
    from sklearn.model_selection import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        train_test_split,
    )
    from sklearn.utils import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        check_random_state,
        column_or_1d,
        compute_class_weight,
    )
    from sklearn.utils._param_validation import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        HasMethods,
        Interval,
        Options,
        StrOptions,
    )
    from sklearn.utils.metaestimators import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        available_if,
    )
    from sklearn.utils.multiclass import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        _check_partial_fit_first_call,
        check_classification_targets,
        type_of_target,
        unique_labels,
    )
    from sklearn.utils.validation import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        _check_sample_weight,
        check_is_fitted,
        validate_data,
    )
except ModuleNotFoundError:
    require("sklearn", "sklearn")
    raise

__all__ = ["Gradients", "MLPClassifier"]

Array = npt.NDArray[Any]
SMALLEST_RATE = 1e-6  # below which an adaptive learning rate is not lowered further: training stops


class Gradients(NamedTuple):
    """The mean loss, and its gradients w.r.t. each of `coefs_` and `intercepts_`."""

    loss: float
    coefs: list[Array]
    intercepts: list[Array]


class _Examples(NamedTuple):
    """Rows as the engine reads them, what it is trained towards, and (N,) weights or None."""

    rows: Array | Sparse
    targets: Array
    weights: Array | None


class _HeldOut(NamedTuple):
    x: Any
    targets: Array
    weights: Array | None


def _solver_takes_steps(estimator: MLPClassifier) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs a solver that takes a step at a time (sgd, adam, adamw), not lbfgs")
    return True


class MLPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multi-layer perceptron for classification, as `sklearn.neural_network.MLPClassifier`, and what it lacks.

    Two classes have one logistic output, and so has each label of a multilabel problem; more classes have a softmax.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter,
    shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun : as scikit-learn's, with its defaults.
        `activation` may also be leaky_relu, gelu, silu or softplus, and `solver` adamw.
    weight_decay : of solver="adamw", float >= 0
    class_weight : None, "balanced", or a dict from class to weight (1 where it has none); multiplies sample weights
    dropout : the fraction of hidden units that is dropped at each step, in [0, 1)
    label_smoothing : in [0, 1]: a target is this much of the uniform distribution
    clip_norm : gradients of a larger norm, over all parameters, are scaled down to it; None for never
    schedule : None, or an object of `chainrule.schedules`, which multiplies the learning rate at each step
    early_stopping_metric : "score", as scikit-learn's, or "loss": that of the validation examples
    callbacks : functions of an EpochRecord, called after each epoch; one that returns True stops the training
    progress : draw a progress bar (needs chainrule[cli])

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, best_loss_, loss_curve_, n_iter_, t_, n_layers_, n_outputs_, out_activation_,
    validation_scores_, best_validation_score_, n_features_in_, feature_names_in_ : as scikit-learn's
    validation_loss_curve_ : the mean loss of the validation examples after each epoch; None without any

    Raises
    ------
    ValueError
        Input that scikit-learn refuses, or a loss that becomes NaN or infinite (NonFiniteError).

    Notes
    -----
    What differs from scikit-learn: `warm_start` keeps the optimizer's state; Adam's ε is added after the bias is
    corrected, as in its paper; the loss is exact where scikit-learn cuts probabilities off at the rounding unit, and
    `predict_log_proba` is finite; where examples have weights, the L2 penalty of a batch is divided by the weight that
    a batch has on average. With a `schedule`, SGD's learning rate stands outside its velocity.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((16,), solver="lbfgs", random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True

    Source: the lecture; X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
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
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
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
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        weight_decay: float = 0.01,
        class_weight: Any = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        schedule: Any = None,
        early_stopping_metric: str = "score",
        callbacks: Sequence[Callable[[EpochRecord], object]] | None = None,
        progress: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.weight_decay = weight_decay
        self.class_weight = class_weight
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.clip_norm = clip_norm
        self.schedule = schedule
        self.early_stopping_metric = early_stopping_metric
        self.callbacks = callbacks
        self.progress = progress

    # --- Training ------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator, unused-ignore]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: tuple[Any, Any] | None = None) -> MLPClassifier:
        """Train on X (n_samples, n_features), dense or scipy.sparse, and the classes or label indicators y.

        Parameters
        ----------
        X, y : the examples
        sample_weight : array (n_samples,), >= 0
        eval_set : (X, y) to compute `validation_loss_curve_` on, and to stop early by instead of a part of X

        Raises
        ------
        ValueError
            Input that scikit-learn refuses, or a loss that becomes NaN or infinite.
        """
        return self._fit(X, y, sample_weight, eval_set, incremental=False)

    @available_if(_solver_takes_steps)  # type: ignore[untyped-decorator, unused-ignore]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator, unused-ignore]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """Train for one epoch on X and y, from the weights and the optimizer's state that there are.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
        classes : every class that will come; needed in the first call

        Raises
        ------
        ValueError
            As `fit`, or no `classes` in the first call.
        """
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight='balanced' needs all examples at once: give partial_fit a dict")
        _check_partial_fit_first_call(self, classes)
        return self._fit(X, y, sample_weight, None, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, *, incremental: bool) -> MLPClassifier:
        sizes = self.hidden_layer_sizes
        hidden = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._check_examples(X, y, reset=first)
        if first:
            self._set_output(y, known=incremental)
        elif not incremental and set(unique_labels(y)) != set(self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the call before, {self.classes_}, got {unique_labels(y)}"
            )
        random = check_random_state(self.random_state)
        widths = [X.shape[1], *hidden, self.n_outputs_]
        if first:
            self._initialize(widths, random, X.dtype)
        elif widths != [len(w) for w in self.coefs_] + [self.n_outputs_]:
            raise ValueError(f"hidden_layer_sizes: got {hidden}, expected those of the call before, to go on from it")
        weights = self._weights(y, sample_weight, X)
        targets = self._targets(y)
        rows, held_out = np.arange(len(targets)), None
        if eval_set is not None:
            x_held_out, y_held_out = self._check_examples(*eval_set, reset=False)
            held_out = _HeldOut(x_held_out, self._targets(y_held_out), self._weights(y_held_out, None, x_held_out))
        elif self.early_stopping and self.solver != "lbfgs":
            rows, held_out = self._split(X, targets, weights, random)
        if held_out is not None and self.validation_loss_curve_ is None:
            self.validation_loss_curve_, self.validation_scores_, self.best_validation_score_ = [], [], -np.inf
        examples, l2 = self._examples(X, targets, weights, rows)
        with self._watchers() as watchers:
            if self.solver == "lbfgs":
                self._minimize(examples, rows, l2, held_out, watchers)
            else:
                self._descend(examples, rows, l2, held_out, watchers, random, incremental)
        if not all(np.isfinite(a).all() for a in [*self.coefs_, *self.intercepts_]):
            raise NonFiniteError(f"{self.solver}: some weights are NaN or infinite. {_ADVICE}")
        return self

    def _check_examples(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if y.ndim == 2 and not type_of_target(y).startswith("multilabel"):
            raise ValueError("y: got several columns of classes, expected one, or indicators (0 or 1) of labels")
        return X, y

    def _set_output(self, y: Any, *, known: bool) -> None:
        self._multilabel, self._sparse_labels = y.ndim == 2, scipy.sparse.issparse(y)
        if self._multilabel or not known:
            self.classes_ = unique_labels(y)
        several = not self._multilabel and len(self.classes_) > 2
        self.out_activation_ = "softmax" if several else "logistic"
        self.n_outputs_ = len(self.classes_) if several or self._multilabel else 1

    def _initialize(self, widths: list[int], random: np.random.RandomState, dtype: Any) -> None:
        self.coefs_, self.intercepts_ = [], []
        for inputs, units in pairwise(widths):
            bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / (inputs + units))
            self.coefs_.append(random.uniform(-bound, bound, (inputs, units)).astype(dtype, copy=False))
            self.intercepts_.append(random.uniform(-bound, bound, units).astype(dtype, copy=False))
        self.n_layers_, self.n_iter_, self.t_ = len(widths), 0, 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self._state: dict[str, Array] = {}
        self._steps, self._waited, self._best, self._slowed = 0, 0, -np.inf, 1.0

    def _targets(self, y: Any) -> Array:
        """What the engine is trained towards: labels (N,) for a softmax, targets (N, K) for logistic outputs."""
        if self._multilabel:
            if y.ndim != 2 or y.shape[1] != self.n_outputs_:
                raise ValueError(f"y: got shape {y.shape}, expected (n_samples, {self.n_outputs_}) label indicators")
            return np.ascontiguousarray(y.toarray() if scipy.sparse.issparse(y) else y, dtype=self.coefs_[0].dtype)
        if y.ndim != 1:
            raise ValueError(f"y: got shape {y.shape}, expected (n_samples,) classes")
        labels = np.searchsorted(self.classes_, y).clip(0, len(self.classes_) - 1)
        unknown = self.classes_[labels] != y
        if np.any(unknown):
            raise ValueError(f"y: got the class {y[unknown][0]!r}, expected one of classes_, {self.classes_}")
        return labels if self.out_activation_ == "softmax" else labels[:, None].astype(self.coefs_[0].dtype)

    def _weights(self, y: Any, sample_weight: Any, X: Any) -> Array | None:
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights is not None and (weights < 0).any():
            raise ValueError(f"sample_weight: got {weights.min()}, expected no negative weights")
        if self.class_weight is None:
            return weights
        if self._multilabel:
            raise ValueError(
                "class_weight: got one for a multilabel problem, expected None: an example has no one class"
            )
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        by_class = of_class[np.searchsorted(self.classes_, y).clip(0, len(self.classes_) - 1)]
        return np.asarray(by_class if weights is None else by_class * weights)

    def _split(
        self, X: Any, targets: Array, weights: Array | None, random: np.random.RandomState
    ) -> tuple[Array, _HeldOut]:
        strata = targets if self.n_outputs_ == 1 else None  # two classes only, as scikit-learn's
        rows, others = train_test_split(
            np.arange(len(targets)), random_state=random, test_size=self.validation_fraction, stratify=strata
        )
        if len(others) < 2:
            raise ValueError(f"validation_fraction: {len(others)} examples are held out, expected at least 2")
        return rows, _HeldOut(X[others], targets[others], None if weights is None else weights[others])

    def _examples(self, X: Any, targets: Array, weights: Array | None, rows: Array) -> tuple[_Examples, float]:
        """The examples as the engine takes them, and the L2 penalty, which the engine divides by a batch's size."""
        l2 = float(self.alpha)
        if weights is not None:
            total = weights[rows].sum()
            if not total > 0:
                raise ValueError("sample_weight: the weights of the training examples are all 0")
            # scikit-learn divides by the weights' sum: with weights of mean 1 that is their number
            weights, l2 = weights * (len(rows) / total), l2 * len(rows) / total
        if self.out_activation_ == "logistic" and self.label_smoothing:
            targets = (1 - self.label_smoothing) * targets + targets.dtype.type(self.label_smoothing / 2)
        return _Examples(as_rows(X, self._dtype), self._for_engine(targets), weights), l2

    @property
    def _dtype(self) -> Any:
        """float64 for L-BFGS, whose line search is lost in the rounding errors of float32."""
        return np.dtype(np.float64) if self.solver == "lbfgs" else self.coefs_[0].dtype

    def _for_engine(self, targets: Array) -> Array:
        return targets if targets.ndim == 1 else targets.astype(self._dtype, copy=False)

    def _engine(self, optimizer: Optimizer, batch_size: int, l2: float, **options: Any) -> Engine:
        logistic = self.out_activation_ == "logistic"
        return Engine(
            [coefs.T.astype(self._dtype, copy=False) for coefs in self.coefs_],
            self.intercepts_,
            self.activation,
            optimizer,
            batch_size,
            logistic=logistic,
            l2_weights=l2,
            l2_by_batch=True,
            label_smoothing=0.0 if logistic else float(self.label_smoothing),
            threads=check_threads(None),
            **options,
        )

    def _optimizer(self) -> Optimizer:
        if self.solver == "sgd":
            momentum = min(float(self.momentum), float(np.nextafter(1.0, 0.0)))  # scikit-learn lets it be 1
            return SGD(momentum=momentum, nesterov=bool(self.nesterovs_momentum) and momentum > 0)
        betas, eps = (float(self.beta_1), float(self.beta_2)), float(self.epsilon)
        if self.solver == "adam":
            return Adam(betas=betas, eps=eps)
        return AdamW(betas=betas, eps=eps, weight_decay=float(self.weight_decay))

    def _descend(
        self,
        examples: _Examples,
        rows: Array,
        l2: float,
        held_out: _HeldOut | None,
        watchers: list[Callable[[EpochRecord], object]],
        random: np.random.RandomState,
        incremental: bool,
    ) -> None:
        n = len(rows)
        if self.batch_size != "auto" and int(self.batch_size) > n:
            warnings.warn(f"batch_size: got {self.batch_size}, more than the {n} examples: clipped", stacklevel=4)
        batch_size = min(200 if self.batch_size == "auto" else int(self.batch_size), n)
        seed = int(random.randint(2**31)) if self.dropout else 0  # no draw where scikit-learn draws nothing
        clip_norm = float(self.clip_norm or 0.0)
        engine = self._engine(
            self._optimizer(), batch_size, l2, dropout=float(self.dropout), clip_norm=clip_norm, seed=seed
        )
        if self._state.keys() == engine.state.keys():
            for name, values in self._state.items():
                engine.state[name][...] = values
            engine.steps = self._steps
        self.coefs_, self.intercepts_ = [w.T for w in engine.weights], engine.biases
        best = engine.parameters.copy() if self.early_stopping else None
        times = np.arange(-(-n // batch_size)) * (batch_size / n)
        self.n_iter_ = 0
        try:
            for epoch in range(1 if incremental else self.max_iter):
                if self.shuffle:
                    rows = rows[random.permutation(n)]
                begun = time.perf_counter()
                found = engine.run(*examples[:2], rows, self._rates(times, incremental), examples.weights)
                if not found.finite:
                    step = f"epoch {epoch + 1}, step {found.steps + 1}"
                    raise NonFiniteError(f"{self.solver}: the loss is NaN or infinite at {step}. {_ADVICE}")
                self.t_ += n
                is_best, stop = self._end_epoch(
                    found.loss / found.weight, found.correct / n, n, begun, held_out, watchers
                )
                if is_best and best is not None:
                    best[...] = engine.parameters
                self._slow_down(engine)
                if stop or (self._waited > self.n_iter_no_change and not self._goes_on_slower(engine)):
                    break
            else:
                if not incremental:
                    warnings.warn(
                        f"{self.solver}: not converged after max_iter={self.max_iter} epochs",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            engine.parameters[...] = best
        self._state, self._steps = engine.state, engine.steps

    def _rates(self, times: Array, incremental: bool) -> float | Array:
        rate = self.learning_rate_init * self._slowed
        if self.schedule is None:
            return float(rate)
        past = len(self.loss_curve_) if incremental else self.n_iter_
        losses = self.loss_curve_ if self.validation_loss_curve_ is None else self.validation_loss_curve_
        return np.asarray(rate * self.schedule.factors(past + times, self.max_iter, losses))

    def _end_epoch(
        self,
        loss: float,
        accuracy: float,
        n: int,
        begun: float,
        held_out: _HeldOut | None,
        watchers: list[Callable[[EpochRecord], object]],
    ) -> tuple[bool, bool]:
        """Keep the epoch's numbers; is it the best so far, and does a callback want to stop?"""
        seconds = max(time.perf_counter() - begun, 1e-9)
        self.n_iter_ += 1
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        held_out_loss = score = None
        if held_out is not None:
            held_out_loss, score = self._judge(held_out)
            self.validation_loss_curve_.append(held_out_loss)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}, loss = {held_out_loss:.8f}")
        value = -loss
        if self.early_stopping and held_out_loss is not None:
            value = score if self.early_stopping_metric == "score" else -held_out_loss
        self._waited = self._waited + 1 if value < self._best + self.tol else 0
        is_best = value > self._best
        self._best = max(self._best, value)
        if not self.early_stopping:
            self.best_loss_ = min(self.best_loss_, loss)
        if score is not None and (is_best if self.early_stopping else score > self.best_validation_score_):
            self.best_validation_score_ = score
        if self.out_activation_ == "logistic":
            accuracy = float("nan")  # the engine does not count it
        record = EpochRecord(self.n_iter_, self.max_iter, loss, accuracy, held_out_loss, score, n / seconds)
        return is_best, any([watch(record) is True for watch in watchers])

    def _slow_down(self, engine: Engine) -> None:
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            self._set_slowed(engine, float((self.t_ + 1.0) ** -self.power_t))

    def _goes_on_slower(self, engine: Engine) -> bool:
        """At the end of the patience: lower an adaptive learning rate, or stop."""
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        if not adaptive or self.learning_rate_init * self._slowed <= SMALLEST_RATE:
            return False
        self._set_slowed(engine, self._slowed / 5)
        self._waited = 0
        return True

    def _set_slowed(self, engine: Engine, slowed: float) -> None:
        # scikit-learn's velocity has the learning rates in it; the engine's is multiplied by the rate of today
        if "velocity" in engine.state and slowed > 0:
            engine.state["velocity"] *= self._slowed / slowed
        self._slowed = slowed

    def _minimize(
        self,
        examples: _Examples,
        rows: Array,
        l2: float,
        held_out: _HeldOut | None,
        watchers: list[Callable[[EpochRecord], object]],
    ) -> None:
        for name in ("dropout", "clip_norm"):
            if getattr(self, name):
                raise ValueError(f"{name}: got {getattr(self, name)}, which solver='lbfgs' cannot have")
        n, dtype = len(rows), self.coefs_[0].dtype
        engine = self._engine(SGD(), n, l2)
        self.coefs_, self.intercepts_ = [w.T for w in engine.weights], engine.biases
        self.n_iter_, loss, accuracy, begun = 0, np.inf, 0.0, time.perf_counter()

        def loss_and_gradient(parameters: Array) -> tuple[float, Array]:
            nonlocal loss, accuracy
            engine.parameters[...] = parameters
            found = engine.run(*examples[:2], rows, 0.0, examples.weights)  # a step of length 0: the gradient alone
            loss = found.loss / found.weight if found.finite else np.inf
            accuracy = found.correct / n
            return loss, engine.gradient.copy()

        def iteration_ends(xk: Array) -> None:
            nonlocal begun
            _, stop = self._end_epoch(loss, accuracy, n, begun, held_out, watchers)
            begun = time.perf_counter()
            if stop:
                raise StopIteration

        found = scipy.optimize.minimize(
            loss_and_gradient,
            engine.parameters.copy(),
            method="L-BFGS-B",
            jac=True,
            callback=iteration_ends,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )
        engine.parameters[...] = found.x
        self.coefs_ = [c.astype(dtype, copy=False) for c in self.coefs_]
        self.intercepts_ = [b.astype(dtype, copy=False) for b in self.intercepts_]
        self.loss_, self.n_iter_ = float(found.fun), min(int(found.nit), self.max_iter)
        if found.status not in (0, 99):  # 99: a callback stopped it
            warnings.warn(f"lbfgs: not converged ({found.message})", ConvergenceWarning, stacklevel=4)

    @contextmanager
    def _watchers(self) -> Iterator[list[Callable[[EpochRecord], object]]]:
        callbacks = list(self.callbacks if self.callbacks is not None else ())
        if not self.progress:
            yield callbacks
            return
        with progress_bar(self.max_iter) as update:
            yield [update, *callbacks]

    def _judge(self, held_out: _HeldOut) -> tuple[float, float]:
        """The mean loss and the accuracy of the validation examples."""
        logits, targets = self._logits(held_out.x), held_out.targets
        if self.out_activation_ == "softmax":
            losses = -log_softmax(logits)[np.arange(len(targets)), targets]
            right = logits.argmax(axis=1) == targets
        else:
            losses = np.logaddexp(0, np.where(targets > 0, -logits, logits)).sum(axis=1)
            right = ((logits > 0) == (targets > 0)).all(axis=1)
        weights = held_out.weights
        return float(np.average(losses, weights=weights)), float(np.average(right, weights=weights))

    # --- Prediction ----------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The most probable class of each example, (n_samples,), or its label indicators, (n_samples, n_outputs)."""
        probabilities = self._probabilities(self._logits(self._check_x(X)))
        if self.out_activation_ == "softmax":
            return self.classes_[probabilities.argmax(axis=1)]
        yes = (probabilities > 0.5).astype(int)
        if self._multilabel:
            return scipy.sparse.csr_matrix(yes) if self._sparse_labels else yes
        return self.classes_[yes[:, 0] if len(self.classes_) > 1 else 0 * yes[:, 0]]

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`, (n_samples, n_classes)."""
        probabilities = self._probabilities(self._logits(self._check_x(X)))
        return np.hstack([1 - probabilities, probabilities]) if self.n_outputs_ == 1 else probabilities

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`, computed without forming it: finite where a probability rounds to 0."""
        logits = self._logits(self._check_x(X))
        if self.out_activation_ == "softmax":
            return np.asarray(log_softmax(logits))
        return np.asarray(-np.logaddexp(0, np.hstack([logits, -logits]) if self.n_outputs_ == 1 else -logits))

    def activations(self, X: Any) -> list[Array]:
        """Every layer's outputs, each (n_samples, units): the hidden layers', then the probabilities.

        Examples
        --------
        >>> X, y = [[0.0], [1.0], [2.0]], [0, 1, 2]
        >>> classifier = MLPClassifier((5, 4), solver="lbfgs", random_state=0).fit(X, y)
        >>> [h.shape for h in classifier.activations(X)]
        [(3, 5), (3, 4), (3, 3)]
        """
        outputs: list[Array] = []
        logits = self._logits(self._check_x(X), outputs)
        return [*outputs, self._probabilities(logits)]

    def gradients(self, X: Any, y: Any) -> Gradients:
        """The gradients of the mean loss of these examples, without penalty, dropout or weights.

        Parameters
        ----------
        X, y : as for `fit`

        Raises
        ------
        ValueError
            Input that scikit-learn refuses, or a class that is not in `classes_`.

        Examples
        --------
        >>> X, y = [[0.0], [1.0], [2.0]], [0, 1, 2]
        >>> classifier = MLPClassifier((5,), solver="lbfgs", random_state=0).fit(X, y)
        >>> [g.shape for g in classifier.gradients(X, y).coefs]
        [(1, 5), (5, 3)]

        Source: the lecture, sections 1 to 3.
        """
        check_is_fitted(self)
        X, y = self._check_examples(X, y, reset=False)
        targets, weights = self._targets(y), [coefs.T for coefs in self.coefs_]
        n, logistic = len(targets), self.out_activation_ == "logistic"
        engine = Engine(weights, self.intercepts_, self.activation, SGD(), n, logistic=logistic)
        found = engine.run(as_rows(X, weights[0].dtype), targets, np.arange(n), 0.0)
        views, at = [], 0
        for array in [*self.coefs_, *self.intercepts_]:
            views.append(engine.gradient[at : at + array.size].reshape(array.shape))
            at += array.size
        return Gradients(found.loss / n, views[: len(weights)], views[len(weights) :])

    def _check_x(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)

    def _logits(self, x: Any, outputs: list[Array] | None = None) -> Array:
        """a_L, (N, K); the hidden layers' outputs are added to `outputs`."""
        g = ACTIVATIONS[self.activation].function
        h = x.astype(self.coefs_[0].dtype, copy=False)
        for coefs, intercepts in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            a = h @ coefs
            a += intercepts
            h = np.maximum(a, 0, out=a) if self.activation == "relu" else g(a)
            if outputs is not None:
                outputs.append(h)
        return np.asarray(h @ self.coefs_[-1] + self.intercepts_[-1])

    def _probabilities(self, logits: Array) -> Array:
        return np.asarray(
            softmax(logits) if self.out_activation_ == "softmax" else ACTIVATIONS["logistic"].function(logits)
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags


_ADVICE = "Standardise X, or lower learning_rate_init."
