"""`chainrule tune`: widths, depth, rate, decay and dropout by scikit-learn's search with successive halving."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.boundary.extras import require
from chainrule.command.data import Read, Say
from chainrule.command.fitting import fitted, judged_on
from chainrule.command.request import Request
from chainrule.command.training import TrainingResult, train
from chainrule.errors import DivergenceWarning, InputError, NonFiniteError
from chainrule.network.network import Network
from chainrule.output.layer import softmax, softmax_cross_entropy
from chainrule.tables.model import silent
from chainrule.tables.sparse import logits_of
from chainrule.training.fit import fit

__all__ = ["SETTINGS", "tune"]

WIDTHS, DEPTHS = (16, 32, 64, 128, 256), (0, 1, 2, 3)
RATES, DECAYS = (1e-4, 1e-2), (1e-6, 1e-1)  # both by their logarithms
DROPOUTS = (0.0, 0.0, 0.1, 0.3, 0.5)
SETTINGS = ("hidden", "lr", "weight_decay", "dropout")
LEAST, MOST, FACTOR = 4, 108, 3  # epochs of a trial, and by how much fewer trials get more of them
FOLDS, FINAL = 3, 3  # of the search; settings that are trained whole


def tune(
    request: Request,
    trials: int = 30,
    seeds: int = 3,
    say: Say = silent,
    show: Callable[[list[str]], object] | None = None,
) -> tuple[TrainingResult, list[str]]:
    """Search settings, train the best of them whole with several seeds, write the best model.

    `trials` settings, the request's own among them, are trained for a few epochs in folds; the third with the least log
    loss goes on with three times as many, and so on. Of the last, the best three and the request's own are trained as
    `train` does, with each of `seeds` seeds; the least mean validation loss decides. The rows of `--test` stay out.

    Returns
    -------
    The result of `train` with the best settings and their best seed, and a table of the results as lines.

    Raises
    ------
    MissingExtraError
        scikit-learn is not installed.
    ChainruleError
        Whatever is wrong with the table or the options.

    Source: L. Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", 2018, section 2.
    """
    require("sklearn", "sklearn")
    if request.memory is not None:
        raise InputError("tune: got --memory, expected a table in memory")
    read = request.read(say)
    chosen = _searched(request, read, trials)
    own = {name: getattr(request, name) for name in SETTINGS}
    others = [settings for settings in chosen if settings != own]
    results = [_with_seeds(request, settings, seeds) for settings in [own, *others[:FINAL]]]
    results.sort(key=lambda found: found[1])
    settings, _, _, seed = results[0]
    best = replace(request, **settings, start=seed)  # split as before: the test's rows had no part in the choice
    lines = [
        f"{'hidden':<14} {'lr':>9} {'decay':>9} {'dropout':>7}   validation loss   accuracy  (mean of {seeds} seeds)"
    ]
    for found, loss, accuracy, _ in results:
        mark = " the request's own" if found == own else ""
        lines.append(_line(found) + f"   {loss:15.4f}   {accuracy:8.4f}{mark}")
    return train(best, silent, None, show), lines


def _line(settings: dict[str, Any]) -> str:
    hidden = ",".join(map(str, settings["hidden"])) or "none"
    numbers = ("lr", 9), ("weight_decay", 9), ("dropout", 7)
    cells = ("default" if settings[n] is None else f"{settings[n]:.3g}" for n, _ in numbers)
    return f"{hidden:<14} " + " ".join(f"{c:>{w}}" for c, (_, w) in zip(cells, numbers, strict=True))


def _searched(request: Request, read: Read, trials: int) -> list[dict[str, Any]]:
    """The settings that were left at last, the best first."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # it is still called experimental there
    from sklearn.model_selection import HalvingGridSearchCV

    training = read.training
    k, n = len(read.schema.classes), len(training.labels)

    class Trial(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A network of some settings, trained for so many epochs."""

        def __init__(self, settings: Any = None, epochs: int = LEAST) -> None:
            self.settings, self.epochs = settings, epochs

        def fit(self, places: Any, labels: Any) -> Trial:
            self.classes_ = np.arange(k)
            asked = replace(request, **self.settings)
            widths = [training.x.shape[1], *asked.hidden, k]
            self.net_ = Network.create(widths, activation=asked.activation, seed=asked.seed)
            rows = training.take(places[:, 0])
            options = asked.options(n) | {"optimizer": asked.rule(), "batch_size": asked.batch_size, "seed": asked.seed}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)
                try:
                    fit(
                        self.net_, rows.x, rows.labels, epochs=int(self.epochs), validation=0.0,
                        sample_weight=rows.weights, **options,
                    )  # fmt: skip
                except NonFiniteError:
                    self.net_ = None  # type: ignore[assignment]
            return self

        def predict_proba(self, places: Any) -> Any:
            return softmax(logits_of(self.net_, training.take(places[:, 0]).x))

    def score(trial: Any, places: Any, labels: Any) -> float:
        if trial.net_ is None:
            return -1e9
        part = training.take(places[:, 0])
        losses = softmax_cross_entropy(logits_of(trial.net_, part.x), labels, reduction="none").loss
        return -part.mean(losses, "of a fold")

    splits = list(read.folds(FOLDS)) if read.validation is None else [*read.folds(FOLDS)]
    search = HalvingGridSearchCV(
        Trial(), {"settings": _drawn(request, trials)}, resource="epochs", min_resources=LEAST,
        max_resources=min(MOST, request.limit) if request.limit >= LEAST else LEAST, factor=FACTOR, scoring=score,
        cv=[(others, held) for held, others in splits], refit=False, random_state=request.seed,
    )  # fmt: skip
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        search.fit(np.arange(n)[:, None], np.asarray(training.labels))
    found = search.cv_results_
    order = np.lexsort((-found["mean_test_score"], -found["iter"]))
    ordered: list[dict[str, Any]] = []
    for at in order:
        settings = found["params"][at]["settings"]
        if settings not in ordered:
            ordered.append(settings)
    return ordered


def _drawn(request: Request, trials: int) -> list[dict[str, Any]]:
    """The request's own settings, and others that are drawn by its seed."""
    random = np.random.default_rng([request.seed, 5])
    found = [{name: getattr(request, name) for name in SETTINGS}]
    for _ in range(trials - 1):
        depth, width = int(random.choice(DEPTHS)), int(random.choice(WIDTHS))
        rate, decay = (float(f"{np.exp(random.uniform(*np.log(of))):.3g}") for of in (RATES, DECAYS))
        hidden = [max(8, width // 2**i) for i in range(depth)]
        found.append(dict(zip(SETTINGS, (hidden, rate, decay, float(random.choice(DROPOUTS))), strict=True)))
    return found


def _with_seeds(request: Request, settings: dict[str, Any], seeds: int) -> tuple[dict[str, Any], float, float, int]:
    """The settings, their mean validation loss and accuracy over seeds, and the seed with the least loss."""
    losses, accuracies = [], []
    for seed in range(request.seed, request.seed + seeds):
        # the splits stay those of the request's seed, so that all are judged by the same rows
        asked = replace(request, **settings, start=seed, checkpoint=None, report=None)
        read = asked.read(silent)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)
                found = fitted(asked, read, silent, optimizer=asked.rule(), **asked.options(len(read.training.labels)))
        except NonFiniteError:
            losses.append(float("inf"))
            accuracies.append(0.0)
            continue
        if found.history.stopped == "interrupted":
            raise KeyboardInterrupt
        unseen = judged_on(found, read)
        if unseen is None:
            raise InputError("tune: got --validation 0, expected rows to judge the settings by")
        logits, part = unseen
        each = softmax_cross_entropy(logits, part.labels, reduction="none").loss
        losses.append(part.mean(each, "for validation"))
        accuracies.append(part.mean(np.asarray(logits).argmax(axis=1) == part.labels, "for validation"))
    return settings, float(np.mean(losses)), float(np.mean(accuracies)), request.seed + int(np.argmin(losses))
