"""The boosting objective against mpmath, and both libraries' own objectives against it."""

import pickle
from pathlib import Path

import naive
import numpy as np
import pytest

from chainrule.boosting import SoftmaxObjective, softmax_objective
from chainrule.errors import InputError

CLASSES = 10
xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed")


@pytest.fixture(scope="module")
def digits():
    table = np.loadtxt(Path(__file__).parent.parent / "examples/digits.csv", delimiter=",", skiprows=1)
    order = np.random.default_rng(0).permutation(len(table))
    x, y = table[order, :-1], table[order, -1].astype(int)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y)).astype(np.float32)
    return x[:1400], y[:1400], weights[:1400], x[1400:], y[1400:]


def xgboost_margins(digits, obj=None, weighted=False, **params):
    x, y, weights, x_test, _ = digits
    params = {"num_class": CLASSES, "max_depth": 4, "eta": 0.3, "nthread": 1, **params}
    data = xgboost.DMatrix(x, y, weight=weights if weighted else None)
    model = xgboost.train(params, data, num_boost_round=20, obj=obj)
    return model.predict(xgboost.DMatrix(x_test), output_margin=True)


def lightgbm_margins(digits, weighted=False, **params):
    x, y, weights, x_test, _ = digits
    params = {"num_class": CLASSES, "num_leaves": 15, "verbose": -1, "num_threads": 1, **params}
    data = lightgbm.Dataset(x, y, weight=weights if weighted else None)
    return lightgbm.train(params, data, num_boost_round=40).predict(x_test, raw_score=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])  # XGBoost's, and LightGBM's
def test_gradient_and_hessian_are_exact(dtype, order):
    predictions = np.array([[0, 20, 1], [0, 0, 0], [40, 0, -3]], dtype, order=order)
    labels, weights = np.array([1, 2, 0], np.float32), np.array([1.0, 0.5, 4.0])
    gradient, hessian = softmax_objective(labels, predictions, weights)
    assert gradient.dtype == hessian.dtype == dtype
    tolerance = float(4 * np.finfo(dtype).eps)
    for row in range(3):
        p = naive.softmax(predictions[row])
        for j in range(3):
            others = sum(p[i] for i in range(3) if i != j)
            wanted = -others if j == labels[row] else p[j]
            assert gradient[row, j] == pytest.approx(float(weights[row] * wanted), rel=tolerance, abs=0)
            assert hessian[row, j] == pytest.approx(float(weights[row] * p[j] * others), rel=tolerance, abs=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_xgboost_grows_its_own_trees(digits, weighted):
    """With XGBoost's factor, 2, and from where ours begins, the trees are those of multi:softprob."""
    built_in = xgboost_margins(digits, None, weighted, objective="multi:softprob", base_score=0.5)
    ours = xgboost_margins(digits, SoftmaxObjective(2), weighted, base_score=0.5)
    assert np.mean(np.abs(built_in - ours) < 1e-4) > 0.99


@pytest.mark.parametrize("weighted", [False, True])
def test_lightgbm_grows_its_own_trees(digits, weighted):
    """With LightGBM's factor, K/(K − 1), and from 0, the trees are those of multiclass."""
    built_in = lightgbm_margins(digits, weighted, objective="multiclass", boost_from_average=False)
    ours = lightgbm_margins(digits, weighted, objective=SoftmaxObjective(CLASSES / (CLASSES - 1)))
    assert np.mean(np.abs(built_in - ours) < 1e-4) > 0.99


def test_accuracy_matches_the_built_in_objectives(digits):
    def accuracy(margins):
        return np.mean(margins.argmax(axis=1) == digits[-1])

    xgboosts = accuracy(xgboost_margins(digits, objective="multi:softprob"))
    lightgbms = accuracy(lightgbm_margins(digits, objective="multiclass"))
    assert accuracy(xgboost_margins(digits, softmax_objective)) >= max(0.95, xgboosts - 0.01)
    assert accuracy(lightgbm_margins(digits, objective=softmax_objective)) >= max(0.95, lightgbms - 0.01)


def test_estimators(digits):
    x, y, weights, x_test, y_test = digits
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    model = xgboost.XGBClassifier(objective=softmax_objective, n_estimators=10, max_depth=4, n_jobs=1, base_score=0.5)
    by_train = xgboost.train(
        {"num_class": CLASSES, "max_depth": 4, "nthread": 1, "base_score": 0.5},
        xgboost.DMatrix(x, y, weight=weights),
        num_boost_round=10,
        obj=softmax_objective,
    )
    model.fit(x, y, sample_weight=weights)
    assert np.mean(model.predict(x_test) == y_test) > 0.93
    margins = model.predict(x_test, output_margin=True)
    np.testing.assert_allclose(margins, by_train.predict(xgboost.DMatrix(x_test), output_margin=True), rtol=1e-5)

    model = lightgbm.LGBMClassifier(objective=softmax_objective, n_estimators=10, num_leaves=15, n_jobs=1, verbose=-1)
    by_train = lightgbm.train(
        {"objective": softmax_objective, "num_class": CLASSES, "num_leaves": 15, "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(x, y, weight=weights),
        num_boost_round=10,
    )
    margins = model.fit(x, y, sample_weight=weights).predict(x_test, raw_score=True)
    assert np.mean(margins.argmax(axis=1) == y_test) > 0.93
    np.testing.assert_allclose(margins, by_train.predict(x_test, raw_score=True), rtol=1e-12)


def test_models_with_it_can_be_pickled():
    copy = pickle.loads(pickle.dumps(SoftmaxObjective(2.0)))
    assert repr(copy) == "SoftmaxObjective(hessian_factor=2.0)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], [0.5, 0.5]), r"y_pred: got shape \(2,\), expected \(N, K\)"),
        (([0.0], [[0.0, 1.0], [0.0, 1.0]]), r"y_true: got shape \(1,\), expected \(2,\)"),
        (([0.0, 2.0], [[0.0, 1.0], [0.0, 1.0]]), r"y_true: got 2.0 at index 1, expected whole numbers in \[0, 2\)"),
        (([0.0, 0.5], [[0.0, 1.0], [0.0, 1.0]]), r"y_true: got 0.5 at index 1"),
        (([0.0, np.nan], [[0.0, 1.0], [0.0, 1.0]]), r"y_true: got nan at index 1"),
        (([0.0, -1.0], [[0.0, 1.0], [0.0, 1.0]]), r"y_true: got -1.0 at index 1"),
        (([0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], [1.0]), r"sample_weight: got shape \(1,\), expected \(2,\)"),
        (([0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], [1.0, -1.0]), r"sample_weight: got -1.0 at index 1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        softmax_objective(*(np.array(a) for a in arguments))


def test_a_weight_of_zero_leaves_zero():
    gradient, hessian = softmax_objective(np.array([1.0]), np.array([[0.0, 3.0]]), np.array([0.0]))
    assert not gradient.any()
    assert not hessian.any()
    assert not np.signbit(gradient).any()


@pytest.mark.parametrize("factor", [0.0, -1.0, np.inf, np.nan, "2"])
def test_bad_factor(factor):
    with pytest.raises(InputError, match="hessian_factor"):
        SoftmaxObjective(factor)
