"""How well a table's classes are predicted: what one asks of a classifier, with intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_integer, check_labels, check_sample_weight
from chainrule.errors import InputError
from chainrule.output.layer import softmax, softmax_cross_entropy
from chainrule.scores import confusion_matrix

__all__ = ["Bin", "Evaluation", "OfClass", "evaluate"]

Array = npt.NDArray[Any]
BINS = 10
WORK = 3 * 10**7  # numbers that the bootstrap looks at: of larger tables it draws fewer samples
LEAST = 200  # samples


@dataclass(frozen=True)
class OfClass:
    """One class: its rows, and of those that are predicted to be it, and of its own, the shares that are right.

    precision, f1, roc_auc : None where no row is predicted to be of it, or all or none are of it
    """

    name: Any
    rows: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None


@dataclass(frozen=True)
class Bin:
    """Rows whose probability lies in [low, high): its mean, and the share that came true."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds. Where rows have weights, every share, mean and sum below is by them; `rows` are counted.

    baseline : the accuracy of always naming the most frequent class of these rows, `majority`
    loss : the log loss, the mean of −log ŷ_ℓ
    roc_auc : of two classes, the second against the first; of more, the mean of each against all others
    confusion : (K, K), a row for the true class, a column for the predicted; rows, or their weights
    calibration : by the probability of the second of two classes, or of the predicted of more
    intervals : of accuracy, loss and roc_auc, that the bootstrap's central 95 % of samples lie in
    weighted : the column of the weights, or ""
    """

    rows: int
    accuracy: float
    baseline: float
    majority: Any
    loss: float
    roc_auc: float | None
    macro_f1: float
    of_class: list[OfClass]
    confusion: list[list[float]]
    calibration: list[Bin]
    calibration_error: float
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    weighted: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        return asdict(self)

    def text(self) -> str:
        """The same as lines for a terminal."""
        names = [str(c.name) for c in self.of_class]
        lines = [
            f"rows:     {self.rows}{f', weighed by column {self.weighted!r}' if self.weighted else ''}",
            f"loss:     {self.loss:.6f}{self._interval('loss')}",
            f"accuracy: {self.accuracy:.4f}{self._interval('accuracy')}",
            f"baseline: {self.baseline:.4f}  (always {str(self.majority)!r:.40}, the most frequent class)",
        ]
        if self.roc_auc is not None:
            what = "" if len(names) == 2 else ", the mean of each class against the others"
            lines.append(f"ROC AUC:  {self.roc_auc:.4f}{self._interval('roc_auc')}{what}")
        wide = max(len("class"), *map(len, names))
        lines += ["", f"{'class':<{wide}}  {'rows':>7} {'precision':>9} {'recall':>8} {'F1':>8} {'ROC AUC':>8}"]
        for c, name in zip(self.of_class, names, strict=True):
            numbers = (_shown(v, w) for v, w in ((c.precision, 9), (c.recall, 8), (c.f1, 8), (c.roc_auc, 8)))
            lines.append(f"{name:<{wide}}  {c.rows:>7} {' '.join(numbers)}")
        lines += [f"{'mean':<{wide}}  {'':>7} {'':>9} {'':>8} {self.macro_f1:8.4f}", ""]
        cells = [[f"{c:.6g}" if self.weighted else str(c) for c in row] for row in self.confusion]
        wide = max(len(n) for n in [*names, *(c for row in cells for c in row)]) + 2
        lines.append("confusion matrix (a row for the true class, a column for the predicted):")
        lines.append(" " * wide + "".join(f"{n:>{wide}}" for n in names))
        for name, row in zip(names, cells, strict=True):
            lines.append(f"{name:>{wide}}" + "".join(f"{c:>{wide}}" for c in row))
        whose = f"of {names[1]!r:.40}" if len(names) == 2 else "of the predicted class"
        lines += ["", f"calibration, by the probability {whose} (mean gap {self.calibration_error:.4f}):"]
        lines.append(f"  {'probability':<13} {'rows':>6} {'predicted':>10} {'came true':>10}")
        for b in self.calibration:
            lines.append(f"  {b.low:.1f} to {b.high:.1f}{'':<4} {b.rows:>6} {b.predicted:>10.4f} {b.observed:>10.4f}")
        return "\n".join(lines)

    def _interval(self, name: str) -> str:
        if name not in self.intervals:
            return ""
        low, high = self.intervals[name]
        return f"  (95 % interval {low:.4f} to {high:.4f})"


def _shown(value: float | None, wide: int) -> str:
    return f"{'–':>{wide}}" if value is None else f"{value:{wide}.4f}"


def evaluate(
    logits: Any, labels: Any, classes: Sequence[Any], *, weights: Any = None, weighted: str = "",
    bootstrap: int = 1000, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """Judge logits by the true classes.

    Parameters
    ----------
    logits : array (N, K), float32 or float64, N >= 1
    labels : array (N,), int in [0, K)
    classes : the K names
    weights : array (N,), >= 0, what each row counts; 1 by default. weighted : what they are called
    bootstrap : samples of N rows, drawn with replacement, for the intervals; 0 for none. Of large tables fewer are
        drawn, at least 200.

    Raises
    ------
    InputError
        A wrong shape, label, weight or number of classes, or no rows, or none that counts.

    Examples
    --------
    >>> found = evaluate([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], [0, 1, 1], ["no", "yes"], bootstrap=0)
    >>> round(found.accuracy, 4), round(found.baseline, 4), found.majority, found.roc_auc
    (0.6667, 0.6667, 'yes', 1.0)

    Source: for the intervals, B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.
    """
    logits = np.asarray(logits)
    labels = check_labels(labels, len(logits), logits.shape[-1])
    n, k = logits.shape
    if n == 0 or k != len(classes):
        raise InputError(f"logits: got shape {logits.shape}, expected rows, and {len(classes)} classes")
    check_integer("bootstrap", bootstrap, minimum=0)
    w = np.ones(n) if weights is None else check_sample_weight(weights, n)
    total = float(w.sum())
    if not total > 0:
        raise InputError(f"weights: all {n} are 0, expected rows that count")
    predicted, probabilities = logits.argmax(axis=1), softmax(logits.astype(np.float64))
    losses = softmax_cross_entropy(logits, labels, reduction="none").loss.astype(np.float64)
    matrix = confusion_matrix(predicted, labels, k)
    rows = matrix.sum(axis=1)
    if weights is not None:
        matrix = np.bincount(labels * k + predicted, w, minlength=k * k).reshape(k, k)
    counts, right = matrix.sum(axis=1), np.diag(matrix)
    # ranks, not probabilities: those near 1 may be the same number where their logits are not
    scores = [logits[:, c] - _others(logits, c) for c in range(k)]
    areas = [_Area(scores[c], labels == c) for c in range(k)]
    auc = [area.of(w) for area in areas]
    of_class = []
    for c in range(k):
        named = float(matrix[:, c].sum())
        both = float(counts[c]) + named
        of_class.append(
            OfClass(
                classes[c], int(rows[c]), float(right[c]) / named if named else None,
                float(right[c]) / float(counts[c]) if counts[c] else None,
                2.0 * float(right[c]) / both if both else None, auc[c],
            )
        )  # fmt: skip
    f1 = [c.f1 for c in of_class if c.f1 is not None]
    at = probabilities[:, 1] if k == 2 else probabilities[np.arange(n), predicted]
    true = labels == 1 if k == 2 else predicted == labels
    bins = _bins(at, true, w)
    correct = (predicted == labels).astype(np.float64)
    found = Evaluation(
        n, float(w @ correct) / total, float(counts.max()) / total, classes[int(counts.argmax())],
        float(w @ losses) / total,
        _mean_area(auc, k), float(np.mean(f1)) if f1 else 0.0, of_class, matrix.tolist(), [b for b, _ in bins],
        sum(of_bin * abs(b.predicted - b.observed) for b, of_bin in bins) / total, weighted=weighted,
    )  # fmt: skip
    if bootstrap:

        def area(weights: Array) -> float | None:
            return _mean_area([a.of(weights) for a in areas], k) if found.roc_auc is not None else None

        found.intervals.update(_intervals(correct, losses, w, area, bootstrap, k, seed))
    return found


def _others(logits: Array, c: int) -> Array:
    """log Σ exp of the other classes' logits: what a class's logit stands against."""
    rest = np.delete(logits, c, axis=1).astype(np.float64)
    most = rest.max(axis=1, keepdims=True)
    return np.asarray(most[:, 0] + np.log(np.exp(rest - most).sum(axis=1)))


def _mean_area(auc: list[float | None], k: int) -> float | None:
    if k == 2:
        return auc[1]
    known = [a for a in auc if a is not None]
    return float(np.mean(known)) if known else None


class _Area:
    """The area below the ROC curve, for any weights of the rows: the chance that a row of the class has the higher
    score, ties counting half."""

    def __init__(self, scores: Array, of_it: Array) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.of_it = of_it[self.order].astype(np.float64)

    def of(self, weights: Array) -> float | None:
        w = weights[self.order]
        mine = np.add.reduceat(w * self.of_it, self.starts)
        other = np.add.reduceat(w * (1 - self.of_it), self.starts)
        below = np.cumsum(other) - other / 2
        total = float(mine.sum() * other.sum())
        return float(mine @ below) / total if total else None


def _bins(at: Array, true: Array, weights: Array) -> list[tuple[Bin, float]]:
    """The bins that count, and the weight of each."""
    places = np.minimum((at * BINS).astype(np.int64), BINS - 1)
    found = []
    for b in range(BINS):
        inside = places == b
        w = weights[inside]
        if total := float(w.sum()):
            shares = float(w @ at[inside]) / total, float(w @ true[inside]) / total
            found.append((Bin(b / BINS, (b + 1) / BINS, int(inside.sum()), *shares), total))
    return found


def _intervals(
    correct: Array, losses: Array, w: Array, area: Callable[[Array], float | None], samples: int, k: int, seed: int
) -> dict[str, tuple[float, float]]:
    n, random = len(correct), np.random.default_rng(seed)
    samples = max(min(samples, LEAST), min(samples, WORK // (n * k)))
    drawn: dict[str, list[float]] = {"accuracy": [], "loss": [], "roc_auc": []}
    for _ in range(samples):
        weights = w * np.bincount(random.integers(0, n, n), minlength=n)
        if not (total := float(weights.sum())):
            continue
        drawn["accuracy"].append(float(weights @ correct) / total)
        drawn["loss"].append(float(weights @ losses) / total)
        if (found := area(weights)) is not None:
            drawn["roc_auc"].append(found)
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in drawn.items()
        if values
    }
