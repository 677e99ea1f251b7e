"""How scikit-learn's face trains: as scikit-learn does, by the loop of `chainrule.training.run`, or by L-BFGS."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import validate_data

from chainrule.sklearn.targets import other_targets
from chainrule.training.engine import Engine, as_rows
from chainrule.training.examples import ROWS_AT_ONCE, Examples
from chainrule.training.history import FEW, EpochRecord, alike, dead, divergence
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.training.run import Epoch, Epochs, Observer
from chainrule.training.schedules import checked_factors

if TYPE_CHECKING:
    from chainrule.sklearn.classifier import MLPClassifier

__all__ = ["Data", "fit_lbfgs", "fit_stochastic"]

Array = npt.NDArray[Any]


class Data(NamedTuple):
    """X : (N, D), dense or of scipy.sparse; targets : 0 and 1, (N, outputs); weights : (N,), or None."""

    X: Any
    targets: Array
    weights: Array | None = None


class MLPRun(Epochs):
    """A run of an estimator's `fit`: it visits, judges and stops as scikit-learn does. What outlives the run, from the
    curves to how long there was no improvement, stands in the estimator."""

    def __init__(
        self,
        model: MLPClassifier,
        engine: Engine,
        train: Data,
        held_out: Data | None,
        observers: list[Observer],
        incremental: bool,
    ) -> None:
        dtype = engine.parameters.dtype
        examples = Examples(as_rows(train.X, dtype), model._targets(train.targets, dtype), train.weights)
        super().__init__(engine, examples, 1 if incremental else model.max_iter, observers)
        self.model, self.held_out, self.incremental = model, held_out, incremental
        self.order, self.shuffled = np.arange(len(train.targets)), 0
        self.before = len(model.loss_curve_)
        self.best = engine.parameters.copy()

    def visits(self, epoch: int) -> Iterator[tuple[Examples, Array]]:
        if self.model.shuffle and epoch == self.shuffled:
            self.shuffled += 1
            places = np.arange(len(self.order))
            self.model._random_state.shuffle(places)
            self.order = self.order[places]
        yield self.examples, self.order

    def rates_of(self, epoch: int) -> Array:
        model = self.model
        rate = float(model.learning_rate_init) * model._slowed
        if model.schedule is None:
            return np.full(self.steps, rate)
        losses = model.validation_loss_curve_ or model.loss_curve_
        if np.isnan(losses).any():
            losses = model.loss_curve_
        epoch += self.before if self.incremental else 0
        return rate * checked_factors(model.schedule, epoch, self.steps, model.max_iter, losses)

    def ended(self, found: Epoch) -> EpochRecord:
        model = self.model
        model.n_iter_ = self.epoch
        model.t_ += len(self.order)
        model.loss_ = found.loss
        model.loss_curve_.append(found.loss)
        if model.verbose:
            print(f"Iteration {self.epoch}, loss = {found.loss:.8f}")
        loss, score = self._validate()
        if model.verbose and model.early_stopping:
            print(f"Validation score: {model.validation_scores_[-1]:f}")
        if self.observers:
            model._keep(self.engine)  # a callback that asks the estimator sees the weights after this epoch
        if self._improved():
            self.best[:] = self.engine.parameters
        if model.solver == "sgd" and model.learning_rate == "invscaling":
            model._slowed = 1.0 / (model.t_ + 1) ** model.power_t
        return EpochRecord(
            self.epoch, model.max_iter, found.loss, found.accuracy, loss, score, found.examples_per_second, self.net
        )

    def _validate(self) -> tuple[float | None, float | None]:
        """The loss and the score of the validation examples, recorded; NaN in an epoch without any after some with."""
        model = self.model
        if model.validation_loss_curve_ is None:
            return None, None
        loss = score = float("nan")
        if self.held_out is not None:
            X, targets, weights = self.held_out
            model._keep(self.engine)
            logits = model._logits(X)
            loss = model._loss(logits, targets, weights)
            truth, found = (model._label_binarizer.inverse_transform(t) for t in (targets, model._decided(logits)))
            if callable(model.early_stopping_metric):
                score = _scored(model, X, truth)
            else:
                score = float(accuracy_score(truth, found, sample_weight=weights))
        model.validation_loss_curve_.append(loss)
        model.validation_scores_.append(score)
        return loss, score

    def _improved(self) -> bool:
        """Whether the epoch's weights are the best so far, by which early stopping goes."""
        model = self.model
        if not model.early_stopping:
            loss, best = model.loss_curve_[-1], model.best_loss_
            model._no_improvement = 0 if loss <= best - model.tol else model._no_improvement + 1
            model.best_loss_ = min(best, loss)
            return bool(loss < best)
        if model.early_stopping_metric == "loss":
            scores = [-loss for loss in model.validation_loss_curve_]
        else:
            scores = model.validation_scores_
        last, best = scores[-1], max((s for s in scores[:-1] if not np.isnan(s)), default=-np.inf)
        model._no_improvement = model._no_improvement + 1 if last < best + model.tol else 0
        model.best_validation_score_ = np.nanmax(model.validation_scores_)
        return bool(last > best)

    def enough(self) -> bool:
        model = self.model
        if model._no_improvement <= model.n_iter_no_change:
            return False
        adaptive = model.solver == "sgd" and model.learning_rate == "adaptive"
        if adaptive and model.learning_rate_init * model._slowed > 1e-6:
            model._slowed /= 5.0
            model._no_improvement = 0
            return False
        if model.verbose:
            print(f"No improvement by tol={model.tol} in {model.n_iter_no_change} epochs: stopping.")
        return True


def _scored(model: MLPClassifier, X: Any, y: Any) -> float:
    """A metric of the user's own, of the estimator as it is after the epoch."""
    score = model.early_stopping_metric(model, X, y)
    if not isinstance(score, int | float | np.number) or not np.isfinite(score):
        raise ValueError(
            f"early_stopping_metric: got {score!r:.60} from {model.early_stopping_metric!r:.60}, expected a number"
        )
    return float(score)


def fit_stochastic(model: MLPClassifier, data: Data, eval_set: Any, incremental: bool) -> None:
    """Train an estimator by steps of its optimizer."""
    if not hasattr(model, "loss_curve_"):  # a warm start after lbfgs
        model._begin_curves()
    if not model.early_stopping and model.best_loss_ is None:
        model.best_loss_ = np.inf
    if not incremental:
        model._slowed = 1.0  # each fit has an optimizer of its own rate
    held_out = None
    if eval_set is not None:
        held_out = _eval_set(model, eval_set)
    elif model.early_stopping:
        data, held_out = _split(model, data)
    n = len(data.targets)
    batch = min(200, n) if model.batch_size == "auto" else int(model.batch_size)
    if batch > n:
        warn(f"batch_size={batch} is larger than the {n} samples: one batch of all is used")
        batch = n
    engine = model._engine(
        _optimizer(model), batch, seed=_dropout_seed(model), dropout=float(model.dropout),
        clip_norm=0.0 if model.clip_norm is None else float(model.clip_norm), eps_inside=True, lr_in_velocity=True,
    )  # fmt: skip
    state, steps = model._optimizer_state
    if set(state) == set(engine.state):
        engine.steps = steps
        for name, buffer in engine.state.items():
            buffer[...] = state[name]
    if held_out is not None and model.validation_loss_curve_ is None:  # NaN for the epochs that had none
        model.validation_loss_curve_, model.validation_scores_ = ([np.nan] * len(model.loss_curve_) for _ in range(2))
    began = engine.parameters.copy()
    model.n_iter_ = 0
    with _progress(model) as bar:
        run = MLPRun(model, engine, data, held_out, [*bar, *(model.callbacks or [])], incremental)
        try:
            if run.train() == "epochs" and not incremental:
                warn(f"max_iter={model.max_iter} epochs are over before the training converged", ConvergenceWarning)
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
    model._optimizer_state = ({name: buffer.copy() for name, buffer in engine.state.items()}, engine.steps)
    if model.early_stopping:
        engine.parameters[:] = run.best
    model._keep(engine)
    _warn_of_divergence(model, engine, began, data)


def fit_lbfgs(model: MLPClassifier, data: Data) -> None:
    """Train an estimator by SciPy's L-BFGS, on all examples at once."""
    from scipy.optimize import minimize

    n, dtype = len(data.targets), data.X.dtype
    engine = model._engine(SGD(), n, seed=_dropout_seed(model), dropout=float(model.dropout))
    rows, labels, order = as_rows(data.X, dtype), model._targets(data.targets, dtype), np.arange(n)

    def loss_and_gradient(parameters: Array) -> tuple[float, Array]:
        engine.parameters[:] = parameters
        engine.steps = 0  # the same units are dropped each time: the function must not change
        found = engine.run(rows, labels, order, 0.0, data.weights)
        loss = found.loss / (found.weight or n) if found.finite else np.inf
        return loss, engine.gradient.astype(np.float64)

    options = {"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol}
    start = engine.parameters.astype(np.float64)
    result = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
    if not result.success:
        warn(f"lbfgs did not converge: {result.message}", ConvergenceWarning)
    if not np.isfinite(result.fun):
        raise ValueError("The loss became NaN or infinite: scaled inputs may help.")
    model.n_iter_, model.loss_ = min(int(result.nit), model.max_iter), float(result.fun)
    engine.parameters[:] = result.x
    model._keep(engine)


def _optimizer(model: MLPClassifier) -> Optimizer:
    lr = float(model.learning_rate_init)
    if model.solver == "sgd":
        momentum = min(float(model.momentum), float(np.nextafter(1.0, 0.0)))
        return SGD(lr, momentum, nesterov=bool(model.nesterovs_momentum and momentum))
    options = (lr, (float(model.beta_1), float(model.beta_2)), float(model.epsilon))
    return Adam(*options) if model.solver == "adam" else AdamW(*options, weight_decay=float(model.weight_decay))


def _dropout_seed(model: MLPClassifier) -> int:
    # only where it is needed: otherwise the random numbers are scikit-learn's
    return int(model._random_state.randint(2**31 - 1)) if model.dropout else 0


def _progress(model: MLPClassifier) -> Any:
    if not model.progress:
        return nullcontext([])
    from chainrule.training.progress import progress_bar

    return progress_bar(model.max_iter)


def _eval_set(model: MLPClassifier, eval_set: Any) -> Data:
    if not isinstance(eval_set, tuple) or len(eval_set) != 2:
        raise ValueError(f"eval_set: got {type(eval_set).__name__}, expected a tuple (X, y)")
    dtype = model.coefs_[0].dtype
    X, y = validate_data(model, *eval_set, accept_sparse=["csr", "csc"], multi_output=True, dtype=dtype, reset=False)
    return Data(X, other_targets(model._label_binarizer, "eval_set", X, y))


def _split(model: MLPClassifier, data: Data) -> tuple[Data, Data]:
    # as scikit-learn does, but by the user's classes, which train_test_split names if it refuses them
    stratify = model._label_binarizer.inverse_transform(data.targets) if model.n_outputs_ == 1 else None
    parts = train_test_split(
        *(part for part in data if part is not None),
        random_state=model._random_state, test_size=model.validation_fraction, stratify=stratify,
    )  # fmt: skip
    train, held_out = Data(*parts[::2]), Data(*parts[1::2])
    if len(held_out.targets) < 2:
        raise ValueError("The validation set is too small: increase validation_fraction or the number of samples.")
    return train, held_out


def _warn_of_divergence(model: MLPClassifier, engine: Engine, began: Array, data: Data) -> None:
    """Say so where the fitted weights are finite and do far worse than those that training `began` with."""
    guess = np.log(model.n_outputs_) if model.out_activation_ == "softmax" else model.n_outputs_ * np.log(2.0)
    if not model.loss_curve_:
        return
    worse = model.loss_curve_[-1] > 2 * guess
    some, ended = slice(ROWS_AT_ONCE if worse else FEW), engine.parameters.copy()
    after = model._logits(data.X[some])
    if not (worse or alike(after)):
        return  # nearly always, and nearly at no cost
    engine.parameters[:] = began
    model._keep(engine)
    before = model._logits(data.X[some])
    engine.parameters[:] = ended
    model._keep(engine)
    weights = None if data.weights is None or not data.weights[some].any() else data.weights[some]
    losses = [model._loss(logits, data.targets[some], weights) for logits in (before, after)]
    if said := (divergence(float(guess), *losses) if worse else None) or dead(before, after):
        warn(said, ConvergenceWarning)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called the estimator, whatever stands between."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("chainrule", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
