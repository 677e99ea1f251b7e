"""What `evaluate` finds, held against scikit-learn's own metrics."""

import numpy as np
import pytest

from chainrule import softmax
from chainrule.errors import InputError
from chainrule.tables.evaluation import evaluate

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
calibration = pytest.importorskip("sklearn.calibration", reason="scikit-learn is not installed")

RANDOM = np.random.default_rng(0)


def problem(k, n=400, seed=0):
    random = np.random.default_rng(seed)
    labels = random.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    logits = random.normal(size=(n, k)) + 1.2 * np.eye(k)[labels]
    return logits, labels


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighed", [False, True])
def test_metrics_are_scikit_learns(k, dtype, weighed):
    logits, labels = problem(k)
    logits = logits.astype(dtype)
    w = RANDOM.choice([0.0, 0.5, 1.0, 7.0], len(labels)) if weighed else None
    by = {"sample_weight": w}
    found = evaluate(logits, labels, [f"class {i}" for i in range(k)], weights=w, bootstrap=0)
    p, predicted = softmax(logits.astype("float64")), logits.argmax(axis=1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted, **by))
    assert found.loss == pytest.approx(metrics.log_loss(labels, p, **by), rel=1e-5)
    shares = np.bincount(labels, w) / np.bincount(labels, w).sum()
    assert found.baseline == pytest.approx(shares.max())
    assert found.majority == f"class {shares.argmax()}"
    np.testing.assert_allclose(found.confusion, metrics.confusion_matrix(labels, predicted, **by))
    assert all(isinstance(c, float if weighed else int) for row in found.confusion for c in row)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted, **by)
    np.testing.assert_allclose([c.precision for c in found.of_class], precision)
    np.testing.assert_allclose([c.recall for c in found.of_class], recall)
    np.testing.assert_allclose([c.f1 for c in found.of_class], f1)
    assert [c.rows for c in found.of_class] == np.bincount(labels).tolist()
    assert found.macro_f1 == pytest.approx(f1.mean())
    if k == 2:
        assert found.roc_auc == pytest.approx(metrics.roc_auc_score(labels, p[:, 1], **by))
    else:
        assert found.roc_auc == pytest.approx(metrics.roc_auc_score(labels, p, multi_class="ovr", **by), rel=1e-4)
    for c in range(k):
        truth = metrics.roc_auc_score(labels == c, p[:, c], **by)
        assert found.of_class[c].roc_auc == pytest.approx(truth, rel=1e-4)


def test_a_weight_is_as_many_rows():
    """Calibration and intervals too: weights of 0, 1 and 2 are rows that are not there, there once, and twice."""
    logits, labels = problem(3, 300)
    w = np.arange(300) % 3
    found = evaluate(logits, labels, "abc", weights=w, bootstrap=400)
    many = evaluate(np.repeat(logits, w, axis=0), np.repeat(labels, w), "abc", bootstrap=400)
    for a, b in zip(found.calibration, many.calibration, strict=True):
        assert (a.predicted, a.observed) == pytest.approx((b.predicted, b.observed))
    assert found.calibration_error == pytest.approx(many.calibration_error)
    assert found.macro_f1 == pytest.approx(many.macro_f1)
    low, high = found.intervals["accuracy"]  # of 200 rows that count, 100 of them for two: wider than of 300
    assert low < found.accuracy < high
    assert high - low > np.subtract(*many.intervals["accuracy"][::-1])
    with pytest.raises(InputError, match="all 300 are 0"):
        evaluate(logits, labels, "abc", weights=0 * w)


def test_the_calibration_curve_is_scikit_learns():
    logits, labels = problem(2, 900)
    found = evaluate(logits, labels, ["no", "yes"], bootstrap=0)
    p = softmax(logits)[:, 1]
    true, mean = calibration.calibration_curve(labels, p, n_bins=10)
    np.testing.assert_allclose([b.observed for b in found.calibration], true)
    np.testing.assert_allclose([b.predicted for b in found.calibration], mean)
    assert sum(b.rows for b in found.calibration) == 900
    gaps = sum(b.rows * abs(b.observed - b.predicted) for b in found.calibration) / 900
    assert found.calibration_error == pytest.approx(gaps)


def test_ties_count_half():
    logits, labels = problem(2)
    logits = np.round(logits)  # whole numbers, whose differences are exact
    found = evaluate(logits, labels, ["no", "yes"], bootstrap=0)
    assert len(set(logits[:, 1] - logits[:, 0])) < 15
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_a_confident_row_keeps_its_rank():
    """Their probabilities are 1 both; the logits are not the same."""
    logits = np.array([[0.0, 40.0], [0.0, 60.0], [0.0, 50.0], [0.0, 70.0]])
    assert evaluate(logits, [0, 1, 0, 1], ["a", "b"], bootstrap=0).roc_auc == 1.0


def test_a_class_without_rows_has_no_numbers():
    found = evaluate(np.array([[1.0, 0, 0], [0, 1.0, 0]]), [0, 1], ["a", "b", "c"])
    c = found.of_class[2]
    assert (c.rows, c.precision, c.recall, c.f1, c.roc_auc) == (0, None, None, None, None)
    assert found.roc_auc == 1.0
    assert found.macro_f1 == 1.0
    assert evaluate(np.array([[1.0, 0.0]]), [0], ["a", "b"]).roc_auc is None
    for bad in ((np.zeros((0, 2)), [], ["a", "b"]), (np.zeros((2, 2)), [0, 1], ["a"])):
        with pytest.raises(InputError, match="logits: got shape"):
            evaluate(*bad)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 150 samples of a population whose accuracy and area are known, 95 of 100 or nearly."""
    logits, labels = problem(2, 20_000, seed=5)
    whole = evaluate(logits, labels, ["a", "b"], bootstrap=0)
    held = {"accuracy": 0, "loss": 0, "roc_auc": 0}
    for _ in range(150):
        at = RANDOM.choice(len(labels), 300, replace=False)
        found = evaluate(logits[at], labels[at], ["a", "b"], bootstrap=200, seed=int(at[0]))
        for name in held:
            low, high = found.intervals[name]
            assert low < getattr(found, name) < high
            held[name] += low <= getattr(whole, name) <= high
    for name, count in held.items():
        assert 132 <= count <= 150, name
    again = [evaluate(logits[:300], labels[:300], ["a", "b"], seed=3).intervals for _ in range(2)]
    assert again[0] == again[1]
