"""The report and the scores behind it."""

import numpy as np
import pytest

from chainrule import Adam, Network, fit
from chainrule.report import write_report
from chainrule.scores import confusion_matrix, hardest, output_gradient_norms

NASTY = "<script>alert(1)</script>"


def test_scores_by_their_definition():
    logits = np.random.default_rng(0).normal(size=(30, 4))
    labels = np.arange(30) % 4
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    norms = np.linalg.norm(p - np.eye(4)[labels], axis=1)
    np.testing.assert_allclose(output_gradient_norms(logits, labels), norms, rtol=1e-12)
    assert hardest(logits, labels, 5).tolist() == np.argsort(-norms)[:5].tolist()


def test_confusion_matrix_equals_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(1)
    true, predicted = random.integers(0, 5, 200), random.integers(0, 5, 200)
    assert confusion_matrix(predicted, true, 5).tolist() == metrics.confusion_matrix(true, predicted).tolist()


def test_the_report_finds_the_mislabelled_and_trusts_no_name(tmp_path):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 200)
    x = random.normal(size=(200, 64)) + 3 * labels[:, None]
    wrong = labels.copy()
    wrong[17] = 1 - wrong[17]
    net = Network.create([64, 4, 2], seed=0)
    history = fit(net, x, wrong, epochs=5, optimizer=Adam(0.01))
    path = write_report(
        tmp_path / "report.html", net, history, (x, wrong), classes=[NASTY, "b"], rows=range(1000, 1200),
        settings={NASTY: NASTY},
    )  # fmt: skip
    page = path.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.index("<td>1017</td>") < page.index("<td>1000</td>" if "<td>1000</td>" in page else "</main>")
    assert page.split("‖ŷ − e(ℓ)‖</th>")[1].split("<td>")[1].startswith("1017")
    assert page.count("<polyline") == 2 + 2 + 2
    assert "http" not in page
