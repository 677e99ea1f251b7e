"""What callbacks and metrics see, what verbose prints, how a warm start begins, and sparse matrices that are broken."""

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

from sklearn.metrics import make_scorer, recall_score  # noqa: E402
from sklearn.neural_network import MLPClassifier as Theirs  # noqa: E402

from chainrule import Network, fit  # noqa: E402
from chainrule.sklearn import MLPClassifier  # noqa: E402

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 6))
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def test_a_callback_sees_the_weights_after_its_epoch():
    """Those that as many epochs alone end with."""
    seen = []
    model = MLPClassifier((8,), max_iter=4, random_state=0)
    model.callbacks = [lambda record: seen.append((model.predict_proba(X), record.net.logits(X.astype(float))))]
    quiet(lambda: model.fit(X, Y))
    for epoch, (probabilities, logits) in enumerate(seen, start=1):
        alone = MLPClassifier((8,), max_iter=epoch, random_state=0)
        quiet(lambda alone=alone: alone.fit(X, Y))
        np.testing.assert_array_equal(probabilities, alone.predict_proba(X))
        np.testing.assert_allclose(
            logits - logits[:, :1], np.log(probabilities / probabilities[:, :1]), rtol=1e-9, atol=1e-9
        )
    net, before, shown = Network.create([6, 5, 3], seed=1), Network.create([6, 5, 3], seed=1), []
    fit(net, X, Y, epochs=3, validation=0, callbacks=[lambda record: shown.append(net.weights[0].copy())])
    for epochs, weights in enumerate(shown, start=1):
        alone = Network.create([6, 5, 3], seed=1)
        fit(alone, X, Y, epochs=epochs, validation=0)
        np.testing.assert_array_equal(weights, alone.weights[0])
    assert not np.array_equal(before.weights[0], shown[0])


def test_a_metric_of_ones_own_stops_training():
    scorer = make_scorer(recall_score, average="macro", zero_division=0.0)
    asked = []

    def metric(estimator, X, y):
        asked.append(scorer(estimator, X, y))
        return asked[-1]

    model = MLPClassifier((8,), max_iter=60, random_state=0, early_stopping=True, n_iter_no_change=3)
    model.learning_rate_init = 0.05
    model.early_stopping_metric = metric
    quiet(lambda: model.fit(X, Y))
    assert model.validation_scores_ == asked
    assert len(set(asked)) > 1  # of weights that change
    assert model.best_validation_score_ == max(asked)
    model.early_stopping_metric = lambda estimator, X, y: "good"
    with pytest.raises(ValueError, match="early_stopping_metric: got 'good'"):
        quiet(lambda: model.fit(X, Y))


def test_verbose_prints_what_scikit_learns_does(capsys):
    told = []
    for kind in (MLPClassifier, Theirs):
        model = kind((8,), max_iter=5, random_state=0, early_stopping=True, verbose=True)
        quiet(lambda model=model: model.fit(X, Y))
        told.append(
            [re.sub(r"\d\.\d+", lambda m: f"{float(m[0]):.4f}", line) for line in capsys.readouterr().out.splitlines()]
        )
    assert told[0] == told[1]
    assert sum("Validation score" in line for line in told[0]) == 5


@pytest.mark.parametrize("rate", ["adaptive", "invscaling", "constant"])
def test_a_warm_start_begins_with_its_own_rate(rate):
    """As scikit-learn's; without momentum, which ours keeps."""
    options = dict(solver="sgd", learning_rate=rate, learning_rate_init=0.5, momentum=0.0, nesterovs_momentum=False)
    options |= dict(max_iter=40, n_iter_no_change=1, tol=0.05, warm_start=True, random_state=0, batch_size=50)
    models = [MLPClassifier((5,), **options), Theirs((5,), **options)]
    for _ in range(3):
        for model in models:
            quiet(lambda model=model: model.fit(X, Y))
        np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-6)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda m: m.indices.__setitem__(3, 99), r"indices\[3\] is 99, expected 0 to 5"),
        (lambda m: m.indices.__setitem__(0, -1), r"indices\[0\] is -1"),
        (lambda m: m.indptr.__setitem__(5, 10**6), "indptr has 201 numbers, expected 201 that rise from 0"),
        (lambda m: m.indptr.__setitem__(200, 10**6), "indptr ends at 1000000, beyond its"),
        (lambda m: m.indptr.__setitem__(0, 1), "that rise from 0"),
    ],
)
def test_a_broken_sparse_matrix_is_a_named_error(broken, message):
    good = sparse.csr_matrix(np.where(X > 0.5, X, 0.0))
    model = MLPClassifier((5,), max_iter=2, random_state=0)
    quiet(lambda: model.fit(good, Y))
    bad = good.copy()
    broken(bad)
    for call in (
        lambda: model.fit(bad, Y),
        lambda: model.predict(bad),
        lambda: fit(Network.create([6, 3], seed=0), bad, Y, epochs=1),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            quiet(call)
        assert "sparse matrix is broken" in str(caught.value)


def test_broken_places_of_other_formats():
    coo = sparse.coo_matrix(np.where(X > 0.5, X, 0.0))
    coo.row[2] = 777
    with pytest.raises(ValueError, match=r"row\[2\] is 777, expected 0 to 199"):
        fit(Network.create([6, 3], seed=0), coo, Y, epochs=1)
    csc = sparse.csc_matrix(np.where(X > 0.5, X, 0.0))
    csc.indices[1] = 200
    with pytest.raises(ValueError, match=r"indices\[1\] is 200, expected 0 to 199"):
        MLPClassifier((5,), max_iter=2).fit(csc, Y)
