"""The boosting objective against mpmath, and both libraries' own objectives against it."""

import pickle
from pathlib import Path

import naive
import numpy as np
import pytest

from chainrule.boosting import SoftmaxObjective, log_priors, softmax_metric, softmax_objective
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


@pytest.fixture(scope="module")
def uneven():
    """90, 7 and 3 %, a little told by the columns."""
    random = np.random.default_rng(0)
    y = random.choice(3, 3000, p=[0.9, 0.07, 0.03])
    x = random.normal(size=(3000, 4)) + 0.8 * y[:, None] * np.array([1.0, 0.0, 0.5, 0.0])
    return x[:2000], y[:2000], random.uniform(0.5, 2, 2000).astype(np.float32), x[2000:], y[2000:]


def true_loss(margins, y, weights=None):
    """By mpmath, or, for many rows, NumPy's logaddexp."""
    margins = np.asarray(margins, np.float64)
    losses = np.logaddexp.reduce(margins, axis=1) - margins[np.arange(len(y)), y]
    return np.average(losses, weights=weights)


def test_the_metric_is_the_loss_of_raw_predictions():
    predictions, labels, weights = np.array([[0, 20, 1], [0, 0, 0], [40, 0, -3]]), np.array([1, 2, 0]), [1.0, 0.5, 4.0]
    losses = [-naive.mp.log(naive.softmax(row)[label]) for row, label in zip(predictions, labels, strict=True)]
    plain, weighted = sum(losses) / 3, sum(w * loss for w, loss in zip(weights, losses, strict=True)) / 5.5
    for dtype, tolerance in ((np.float64, 1e-15), (np.float32, 1e-7)):
        given = predictions.astype(dtype)
        assert softmax_metric(labels, given) == pytest.approx(float(plain), rel=tolerance)
        assert softmax_metric(labels, given, sample_weight=weights) == pytest.approx(float(weighted), rel=tolerance)
    assert softmax_metric(labels, predictions.astype(float), sample_weight=np.zeros(3)) == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_both_libraries_record_the_true_loss(uneven, weighted):
    x, y, weights, x_test, y_test = uneven
    weights, record = weights if weighted else None, {}
    params = {"num_class": 3, "learning_rate": 0.3, "nthread": 1}
    data, test = xgboost.DMatrix(x, y, weight=weights), xgboost.DMatrix(x_test, y_test)
    model = xgboost.train(
        params, data, 10, obj=softmax_objective, custom_metric=softmax_metric, evals=[(data, "seen"), (test, "new")],
        evals_result=record, verbose_eval=False,
    )  # fmt: skip
    for name, part, truth, w in (("seen", data, y, weights), ("new", test, y_test, None)):
        wanted = true_loss(model.predict(part, output_margin=True), truth, w)
        assert record[name]["softmax_metric"][-1] == pytest.approx(wanted, abs=1e-6)  # six digits are kept

    params = {"objective": softmax_objective, "num_class": 3, "verbose": -1, "num_threads": 1, "metric": "None"}
    data = lightgbm.Dataset(x, y, weight=weights)
    model = lightgbm.train(
        params, data, 10, valid_sets=[data, lightgbm.Dataset(x_test, y_test, reference=data)], feval=softmax_metric,
        valid_names=["seen", "new"], callbacks=[lightgbm.record_evaluation(record)],
    )  # fmt: skip
    for name, part, truth, w in (("seen", x, y, weights), ("new", x_test, y_test, None)):
        assert list(record[name]) == ["softmax_metric"]
        assert record[name]["softmax_metric"][-1] == pytest.approx(true_loss(model.predict(part), truth, w), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_estimators_stop_by_the_true_loss(uneven, weighted):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    x, y, weights, x_test, y_test = uneven
    weights = weights if weighted else None
    options = {"objective": softmax_objective, "n_estimators": 60, "learning_rate": 0.4, "n_jobs": 1}
    model = xgboost.XGBClassifier(eval_metric=softmax_metric, early_stopping_rounds=5, **options)
    model.fit(x, y, sample_weight=weights, eval_set=[(x_test, y_test)], verbose=False)
    losses = [
        true_loss(model.predict(x_test, output_margin=True, iteration_range=(0, t)), y_test)
        for t in range(1, model.get_booster().num_boosted_rounds() + 1)
    ]
    assert model.best_iteration == np.argmin(losses)
    np.testing.assert_allclose(model.evals_result()["validation_0"]["softmax_metric"], losses, rtol=0, atol=1e-6)

    model = lightgbm.LGBMClassifier(metric="None", verbose=-1, **options)
    model.fit(
        x, y, sample_weight=weights, eval_X=(x_test,), eval_y=(y_test,), eval_metric=softmax_metric,
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
    )  # fmt: skip
    recorded = model.evals_result_["valid_0"]["softmax_metric"]
    whole = lightgbm.LGBMClassifier(verbose=-1, **options).fit(x, y, sample_weight=weights)  # the other forgets trees
    losses = [
        true_loss(whole.predict(x_test, raw_score=True, num_iteration=t), y_test) for t in range(1, len(recorded) + 1)
    ]
    assert model.best_iteration_ == 1 + np.argmin(losses)
    np.testing.assert_allclose(recorded, losses, rtol=1e-12)


def test_log_priors_are_the_best_constant():
    labels, weights = np.array([0, 0, 2, 1, 0]), np.array([1.0, 2.0, 0.5, 4.0, 1.0])
    np.testing.assert_allclose(log_priors(labels), np.log([0.6, 0.2, 0.2]), rtol=1e-15)
    found = log_priors(labels.astype(np.float32), sample_weight=weights)
    np.testing.assert_allclose(found, np.log(np.array([4.0, 4.0, 0.5]) / 8.5), rtol=1e-15)
    gradient, _ = softmax_objective(labels, np.tile(found, (5, 1)), sample_weight=weights)
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-15)
    for given, message in (
        (([0, 2],), "labels: got no examples of class 1, expected some of each of 3"),
        (([0, 1], 3), "labels: got no examples of class 2"),
        (([0, 1], 1), r"labels: got 1 at index 1, expected whole numbers in \[0, 1\)"),
        (([0, 1], None, [1.0, 0.0]), "labels: got no weight of class 1"),
        (([0, 1.5],), "labels: got 1.5 at index 1"),
        (([0, np.nan],), "labels: got nan at index 1"),
        ((["a"],), "labels: got dtype"),
        (([],), "labels: got no examples of class 0"),
        (([0, 1], 2.5), "num_class: got 2.5"),
        (([0, 1], None, [1.0]), "sample_weight: got shape"),
    ):
        with pytest.raises(InputError, match=message):
            log_priors(*given)


def test_from_log_priors_the_trees_are_the_built_in_ones(uneven):
    """LightGBM's multiclass starts there itself; XGBoost's takes it as base_score. And it pays."""
    x, y, _, x_test, y_test = uneven
    start, plain = log_priors(y), {"verbose": -1, "num_threads": 1, "num_class": 3}
    built_in = lightgbm.train({"objective": "multiclass", **plain}, lightgbm.Dataset(x, y), 5)
    data = lightgbm.Dataset(x, y, init_score=np.tile(start, (len(y), 1)))
    ours = lightgbm.train({"objective": SoftmaxObjective(3 / 2), **plain}, data, 5)
    np.testing.assert_allclose(
        ours.predict(x_test) + start, built_in.predict(x_test, raw_score=True), rtol=1e-6, atol=1e-6
    )
    from_zero = lightgbm.train({"objective": softmax_objective, **plain}, lightgbm.Dataset(x, y), 5)
    assert true_loss(ours.predict(x_test) + start, y_test) < 0.7 * true_loss(from_zero.predict(x_test), y_test)

    params = {"num_class": 3, "nthread": 1, "eta": 0.1, "base_score": start.tolist()}
    data, test = xgboost.DMatrix(x, y), xgboost.DMatrix(x_test)
    built_in = xgboost.train({"objective": "multi:softprob", **params}, data, 5).predict(test, output_margin=True)
    ours = xgboost.train(params, data, 5, obj=SoftmaxObjective(2)).predict(test, output_margin=True)
    assert np.mean(np.abs(built_in - ours) < 1e-4) > 0.99
    from_zero = xgboost.train({**params, "base_score": 0.5}, data, 5, obj=SoftmaxObjective(2))
    assert true_loss(ours, y_test) < 0.7 * true_loss(from_zero.predict(test, output_margin=True), y_test)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes(uneven, weighted):
    """The trees are those of `binary` and `binary:logistic`, from 0."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    x, y, weights, x_test, _ = uneven
    y, weights = (y > 0).astype(int), weights if weighted else None
    plain, record = {"n_estimators": 15, "n_jobs": 1, "verbose": -1}, {}
    built_in = lightgbm.LGBMClassifier(objective="binary", boost_from_average=False, **plain)
    built_in.fit(x, y, sample_weight=weights)
    wanted = built_in.predict(x_test, raw_score=True)
    ours = lightgbm.LGBMClassifier(objective=softmax_objective, metric="None", **plain)
    ours.fit(
        x, y, sample_weight=weights, eval_X=(x,), eval_y=(y,), eval_sample_weight=[weights], eval_metric=softmax_metric,
        callbacks=[lightgbm.record_evaluation(record)],
    )  # fmt: skip
    found = ours.predict(x_test, raw_score=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    margins = ours.predict(x, raw_score=True)
    wanted = np.average(np.logaddexp(0, np.where(y == 1, -margins, margins)), weights=weights)
    recorded = record[next(iter(record))]["softmax_metric"][-1]
    assert recorded == pytest.approx(wanted, rel=1e-12)

    data, params = xgboost.DMatrix(x, y, weight=weights), {"nthread": 1, "base_score": 0.5}
    wanted = xgboost.train({"objective": "binary:logistic", **params}, data, 15)
    ours = xgboost.train({**params, "base_score": 0.0}, data, 15, obj=softmax_objective)
    margins = (model.predict(xgboost.DMatrix(x_test), output_margin=True) for model in (wanted, ours))
    assert np.mean(np.abs(np.subtract(*margins)) < 1e-4) > 0.99

    with pytest.raises(InputError, match=r"y_pred: got shape \(2000,\), expected \(N, K\), K = num_class"):
        xgboost.XGBClassifier(objective=softmax_objective).fit(x, y, sample_weight=weights)
    with pytest.raises(InputError, match=r"y_true: got 2.0 .* the two classes of a booster without num_class"):
        lightgbm.train({"objective": softmax_objective, "verbose": -1}, lightgbm.Dataset(x, np.arange(2000) % 3))


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
        (([0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], ["a", "b"]), "sample_weight: got dtype"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        softmax_objective(*(np.array(a) for a in arguments))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64"])
def test_labels_are_whole_numbers_of_any_dtype(dtype):
    predictions = np.array([[0.0, 1.0], [0.0, 1.0]])
    gradient, _ = softmax_objective(np.array([0, 1], dtype), predictions)
    p = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(gradient, [[-p, p], [1 - p, p - 1]], rtol=1e-14)


def test_a_weight_of_zero_leaves_zero():
    gradient, hessian = softmax_objective(np.array([1.0]), np.array([[0.0, 3.0]]), np.array([0.0]))
    assert not gradient.any()
    assert not hessian.any()
    assert not np.signbit(gradient).any()


@pytest.mark.parametrize("factor", [0.0, -1.0, np.inf, np.nan, "2"])
def test_bad_factor(factor):
    with pytest.raises(InputError, match="hessian_factor"):
        SoftmaxObjective(factor)
