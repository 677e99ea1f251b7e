"""The scikit-learn face against scikit-learn itself: its checks, its numbers, its tools."""

import pickle
import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib
import scipy.sparse
from sklearn import datasets
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule import Cosine
from chainrule.errors import NonFiniteError
from chainrule.network.network import Network
from chainrule.sklearn import MLPClassifier

# too few epochs on purpose; scikit-learn's own checks and SciPy's solver warn of that too
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# A larger penalty for lbfgs: without it probabilities underflow to 0, and the check that predict_log_proba is their
# logarithm wants −∞ there, where ours is finite on purpose.
@parametrize_with_checks(
    [
        MLPClassifier(max_iter=100),
        MLPClassifier(solver="lbfgs", max_iter=100, alpha=1.0, class_weight="balanced"),
    ]
)
@pytest.mark.filterwarnings("ignore")  # the checks throw at the estimator what it warns of
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    x, y = datasets.load_digits(return_X_y=True)
    return x / 16.0, y


def binary():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(x), y


def multilabel():
    x, y = datasets.make_multilabel_classification(n_samples=150, n_features=8, n_classes=4, random_state=0)
    return StandardScaler().fit_transform(x), y


def decided(probabilities, *, multilabel):
    """The rows that no difference as small as the bars below can make another class's; most are."""
    if multilabel:
        margins = np.abs(probabilities - 0.5).min(axis=1)
    else:
        margins = np.diff(np.sort(probabilities, axis=1)[:, -2:]).ravel()
    clear = margins > 1e-4
    assert clear.mean() > 0.95
    return clear


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "learning_rate_init": 0.05},
        {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate": "adaptive", "momentum": 0.0, "tol": 10.0, "n_iter_no_change": 1},
        {"activation": "tanh", "alpha": 0.1, "shuffle": False, "batch_size": 50},
        {"activation": "logistic", "early_stopping": True, "hidden_layer_sizes": (20, 10)},
    ],
    ids=str,
)
@pytest.mark.parametrize("data", ["digits", "binary", "multilabel"])
def test_training_equals_scikit_learn(request, data, options):
    x, y = (
        request.getfixturevalue("digits") if data == "digits" else {"binary": binary, "multilabel": multilabel}[data]()
    )
    x, y = x[:300], y[:300]
    options = {"hidden_layer_sizes": (16,), "random_state": 3, "max_iter": 8} | options
    ours, theirs = MLPClassifier(**options).fit(x, y), Theirs(**options).fit(x, y)
    assert ours.out_activation_ == theirs.out_activation_
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    # scikit-learn clips probabilities to float64's spacing: beside that, the losses are its own
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)
    clear = decided(theirs.predict_proba(x), multilabel=data == "multilabel")
    np.testing.assert_array_equal(ours.predict(x)[clear], theirs.predict(x)[clear])
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(ours.predict_log_proba(x), theirs.predict_log_proba(x), rtol=1e-5, atol=1e-7)
    if options.get("early_stopping"):
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    else:
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_)


@pytest.mark.parametrize("data", [binary, multilabel])
def test_lbfgs_equals_scikit_learn(data):
    x, y = data()
    options = {"solver": "lbfgs", "hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 30, "alpha": 0.1}
    ours, theirs = MLPClassifier(**options).fit(x, y), Theirs(**options).fit(x, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    assert (ours.predict(x) == theirs.predict(x)).mean() > 0.99


def problems():
    for name in ("iris", "wine", "breast_cancer"):
        yield name, getattr(datasets, f"load_{name}")(return_X_y=True)
    for i, (classes, separation) in enumerate([(2, 1.0), (3, 0.8), (5, 1.5)]):
        made = datasets.make_classification(
            300, 12, n_informative=8, n_classes=classes, class_sep=separation, random_state=i
        )
        yield f"make_classification {i}", made


@pytest.mark.parametrize(("name", "data"), list(problems()), ids=[name for name, _ in problems()])
def test_as_good_as_scikit_learn(name, data):
    x, y = data
    scores, losses = {}, {}
    for kind in (MLPClassifier, Theirs):
        model = make_pipeline(StandardScaler(), kind((30,), max_iter=60, random_state=0))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        scores[kind], losses[kind] = [], []
        for train, test in folds.split(x, y):
            fitted = clone(model).fit(x[train], y[train])
            scores[kind].append(fitted.score(x[test], y[test]))
            losses[kind].append(log_loss(y[test], fitted.predict_proba(x[test])))
    error = np.std(scores[Theirs], ddof=1) / 5**0.5
    assert np.mean(scores[MLPClassifier]) >= np.mean(scores[Theirs]) - error
    assert np.mean(losses[MLPClassifier]) <= np.mean(losses[Theirs]) * 1.001


def test_digits_by_cross_validation(digits):
    ours, theirs = (
        cross_val_score(k((64,), max_iter=30, random_state=0), *digits, cv=5) for k in (MLPClassifier, Theirs)
    )
    assert ours.mean() >= theirs.mean() - theirs.std(ddof=1) / 5**0.5


def test_in_the_tools_of_scikit_learn(digits):
    x, y = digits[0][:400], digits[1][:400]
    pipeline = make_pipeline(StandardScaler().set_output(transform="default"), MLPClassifier((20,), random_state=0))
    grid = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=3, n_jobs=2).fit(x, y)
    assert grid.best_score_ > 0.85
    model = MLPClassifier((20,), learning_rate_init=0.01, max_iter=50, random_state=0)
    assert cross_val_score(model, x, y, cv=3).mean() > 0.85
    calibrated = CalibratedClassifierCV(model, cv=3).fit(x, y)
    np.testing.assert_allclose(calibrated.predict_proba(x).sum(axis=1), 1.0)


def test_pickled_joblibbed_and_cloned(digits, tmp_path):
    x, y = digits[0][:200], digits[1][:200]
    model = MLPClassifier((10,), max_iter=10, random_state=0, warm_start=True).fit(x, y)
    joblib.dump(model, tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model")):
        np.testing.assert_array_equal(copy.predict_proba(x), model.predict_proba(x))
        assert clone(model).fit(x, y).loss_ > copy.fit(x, y).loss_  # a clone starts anew, a copy goes on


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library, digits):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    x, y = digits[0][:200], digits[1][:200]
    frame = frames.DataFrame({f"p{j}": x[:, j] for j in range(64)})
    model = MLPClassifier((10,), max_iter=5, random_state=0).fit(frame, frames.Series(y))
    assert list(model.feature_names_in_) == [f"p{j}" for j in range(64)]
    np.testing.assert_array_equal(
        model.predict(frame), MLPClassifier((10,), max_iter=5, random_state=0).fit(x, y).predict(x)
    )


def test_sparse_input_equals_dense(digits):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x, y = digits[0][:200], digits[1][:200]
    options = {"hidden_layer_sizes": (10,), "max_iter": 5, "random_state": 0}
    dense, by_rows = MLPClassifier(**options).fit(x, y), MLPClassifier(**options).fit(sparse.csc_array(x), y)
    np.testing.assert_allclose(by_rows.loss_curve_, dense.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(by_rows.predict_proba(sparse.csr_array(x)), dense.predict_proba(x), rtol=1e-7)


def test_warm_start_keeps_the_optimizers_state(digits):
    x, y = digits[0][:256], digits[1][:256]
    options = {"hidden_layer_sizes": (10,), "random_state": 0, "shuffle": False, "batch_size": 64}
    whole = MLPClassifier(max_iter=8, **options).fit(x, y)
    halves = MLPClassifier(max_iter=4, warm_start=True, **options).fit(x, y).fit(x, y)
    np.testing.assert_array_equal(halves.coefs_[0], whole.coefs_[0])
    parts = MLPClassifier(**options)
    for _ in range(8):
        parts.partial_fit(x, y, classes=np.arange(10))
    np.testing.assert_array_equal(parts.coefs_[0], whole.coefs_[0])
    with pytest.raises(ValueError, match="hidden_layer_sizes cannot change"):
        halves.set_params(hidden_layer_sizes=(11,)).fit(x, y)


def test_what_may_change_between_two_fits(digits):
    x, y = digits[0][:256], digits[1][:256]
    model = MLPClassifier((10,), max_iter=3, warm_start=True, schedule=Cosine(), random_state=0).fit(x, y)
    before = model.coefs_[0].copy()
    assert abs(model.fit(x, y).coefs_[0] - before).max() > 1e-4  # the schedule begins anew
    before = model.coefs_[0].copy()
    assert abs(model.set_params(learning_rate_init=1e-12).fit(x, y).coefs_[0] - before).max() < 1e-9
    before = model.loss_
    model.set_params(learning_rate_init=0.01).fit(x.astype("float32"), y)
    assert model.coefs_[0].dtype == np.float64
    assert model.loss_ < before


def test_label_smoothing_of_logistic_outputs():
    x, y = binary()
    model = MLPClassifier((), alpha=0.0, label_smoothing=0.2, solver="lbfgs", max_iter=500, tol=1e-9, random_state=0)
    model.fit(x, y)
    # at the optimum the mean of what is predicted is the mean of the targets, 0.1 and 0.9
    assert model.predict_proba(x)[:, 1].mean() == pytest.approx((0.1 + 0.8 * y).mean(), abs=1e-5)


@pytest.mark.parametrize(("few", "many"), [(True, False), ("yes", "no"), (7, 3)])
def test_a_class_too_small_to_split_is_named_as_it_came(few, many):
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.array([few] + [many] * 39)
    with pytest.raises(ValueError, match=rf"too few members are: .*\b{few}\b"):
        MLPClassifier(early_stopping=True).fit(x, y)


@pytest.mark.parametrize("metric", ["score", "loss"])
def test_an_eval_set_stops_and_is_recorded(digits, metric):
    x, y = digits[0][:400], digits[1][:400]
    held_out = digits[0][400:600], digits[1][400:600]
    model = MLPClassifier(
        (30,), learning_rate_init=0.02, max_iter=200, random_state=0, early_stopping=True, early_stopping_metric=metric,
        n_iter_no_change=4,
    ).fit(x, y, eval_set=held_out)  # fmt: skip
    assert model.n_iter_ < 200
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    curve = model.validation_loss_curve_ if metric == "loss" else [-s for s in model.validation_scores_]
    best = int(np.argmin(curve))
    found = log_loss(held_out[1], model.predict_proba(held_out[0].astype(float)))
    assert found == pytest.approx(model.validation_loss_curve_[best], rel=1e-6)  # the best epoch's weights are kept


def test_callbacks_schedules_and_options(digits):
    x, y = digits[0], digits[1]
    seen = []
    model = MLPClassifier(
        (32,), solver="adamw", schedule=Cosine(), dropout=0.1, label_smoothing=0.05, clip_norm=1.0, activation="gelu",
        learning_rate_init=0.01, max_iter=30, random_state=0, tol=0.0, n_iter_no_change=np.inf,
        callbacks=[lambda record: seen.append(record.epoch)],
    ).fit(x[:1400], y[:1400])  # fmt: skip
    assert seen == list(range(1, 31))
    assert model.score(x[1400:], y[1400:]) > 0.9
    model.set_params(callbacks=[lambda record: record.epoch == 2]).fit(x, y)
    assert model.n_iter_ == 2


def test_activations_and_gradients(digits):
    x, y = digits[0][:50], digits[1][:50]
    model = MLPClassifier((12, 7), activation="tanh", max_iter=3, alpha=0.0, random_state=0).fit(x, y)
    layers = model.activations(x)
    assert [a.shape for a in layers] == [(50, 64), (50, 12), (50, 7), (50, 10)]
    np.testing.assert_allclose(layers[-1], model.predict_proba(x))
    coefs, intercepts = model.gradients(x, y)
    for k, i, j in ((0, 30, 4), (1, 3, 2), (2, 6, 9)):
        losses = []
        for h in (1e-6, -1e-6):
            moved = pickle.loads(pickle.dumps(model))
            moved.coefs_[k][i, j] += h
            losses.append(log_loss(y, moved.predict_proba(x), labels=np.arange(10)))
        assert coefs[k][i, j] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-9)
    assert [g.shape for g in intercepts] == [(12,), (7,), (10,)]
    x, y = binary()
    model = MLPClassifier((5,), max_iter=3, alpha=0.5, random_state=0).fit(x, y)
    coefs, _ = model.gradients(x, y)
    losses = []
    for h in (1e-6, -1e-6):
        moved = pickle.loads(pickle.dumps(model))
        moved.coefs_[0][2, 3] += h
        losses.append(log_loss(y, moved.predict_proba(x)))
    assert coefs[0][2, 3] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4)


def test_a_confident_model_keeps_its_digits():
    x = np.array([[-1.0], [0.0], [1.0]] * 10)
    y = np.array([0, 1, 2] * 10)
    model = MLPClassifier((8,), max_iter=3, random_state=0).fit(x, y)
    model.coefs_[-1] *= 1e5
    log_probabilities = model.predict_log_proba(x)
    assert np.isfinite(log_probabilities).all()
    assert log_probabilities.min() < -1000


def test_what_cannot_be_trained_says_why():
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    with_nan = x.copy()
    with_nan[3, 1] = np.nan
    for bad, match in (
        (lambda: MLPClassifier().fit(with_nan, y), "NaN"),
        (lambda: MLPClassifier(hidden_layer_sizes=(0,)).fit(x, y), "must be > 0"),
        (lambda: MLPClassifier(solver="rmsprop").fit(x, y), "solver"),
        (lambda: MLPClassifier(schedule="cosine").fit(x, y), "schedule"),
        (lambda: MLPClassifier(dropout=1.0).fit(x, y), "dropout"),
        (lambda: MLPClassifier(solver="lbfgs", clip_norm=1.0).fit(x, y), "clip_norm: got 1.0 with solver='lbfgs'"),
        (lambda: MLPClassifier(solver="lbfgs").fit(x, y, eval_set=(x, y)), "eval_set: got"),
        (lambda: MLPClassifier(solver="lbfgs").fit(x * 1e200, y), "NaN or infinite"),
        (lambda: MLPClassifier(class_weight="balanced").partial_fit(x, y, classes=[0, 1, 2]), "class_weight"),
        (lambda: MLPClassifier().fit(x, y, sample_weight=-np.ones(30)), "[Nn]egative"),
        (lambda: MLPClassifier(max_iter=1).fit(x, y).gradients(x, y + 5), "y: has the classes"),
        (lambda: MLPClassifier(early_stopping=True).partial_fit(x, y, classes=[0, 1, 2]), "early_stopping"),
        (lambda: MLPClassifier().fit(x, y, eval_set=x), "eval_set: got ndarray"),
        (lambda: MLPClassifier().fit(x, y, eval_set=(x, y + 1)), "eval_set: has the classes"),
        (lambda: MLPClassifier(learning_rate_init=1e300, solver="sgd").fit(x * 1e9, y), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=match):
            bad()
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(x, y, classes=[0, 1, 2])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_rate_that_diverges_is_said(classes):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 4)), random.integers(0, classes, 300)
    model = MLPClassifier((8,), activation="tanh", learning_rate_init=1e6, max_iter=5, random_state=0, tol=1e300)
    model.set_params(n_iter_no_change=2)
    with pytest.warns(ConvergenceWarning, match="training diverged: the weights that are kept have a loss of") as said:
        model.fit(x, y)
    assert len(said) == 1
    assert said[0].filename == __file__
    told = float(re.search(r"a loss of (\S+),", str(said[0].message))[1])
    chance = model.predict_log_proba(x)[np.arange(300), y]
    assert told == pytest.approx(-chance.mean(), rel=1e-5)
    heavy = MLPClassifier((8,), alpha=1e6, max_iter=3, n_iter_no_change=1, tol=1e300, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heavy.fit(x, y)  # the penalty is large, the loss is not
    assert heavy.loss_ > 2 * np.log(classes)


@pytest.mark.parametrize("rate", [1e30, 1e6, 100.0])
@pytest.mark.parametrize("incremental", [False, True])
def test_a_loss_out_of_range_names_the_update_and_the_layer(rate, incremental):
    """The update whose next batch has an infinite loss, by steps of the network alone; as `fit` names it."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(600, 8)).astype("float32"), random.integers(0, 3, 600)
    options = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0, "shuffle": False, "batch_size": 32, "max_iter": 9}
    model = MLPClassifier((16,), learning_rate_init=1e-30, random_state=0, **options)
    model.partial_fit(x[:0:-1], y[:0:-1], classes=[0, 1, 2])  # an epoch of 19 steps that change nothing
    net = Network([c.T.copy() for c in model.coefs_], [b.copy() for b in model.intercepts_])
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):
        while not losses or np.isfinite(losses[-1]):
            at = slice(len(losses) % 19 * 32, len(losses) % 19 * 32 + 32)
            backward = net.backward(net.forward(x[at]), y[at])
            losses.append(float(backward.loss))
            for array, gradient in zip(
                [*net.weights, *net.biases], [*backward.grad_weights, *backward.grad_biases], strict=True
            ):
                array -= np.float32(rate) * gradient
    step = len(losses) - 1
    model.set_params(learning_rate_init=rate)
    if not incremental:
        model = MLPClassifier((16,), learning_rate_init=rate, random_state=0, **options)
    step, epoch = step + 19 * incremental, (step - 1) // 19 + 1 + incremental
    train = model.partial_fit if incremental else model.fit
    where = rf"by the update of step {step} \(epoch {epoch}\): first out of range: .*layer 2"
    with pytest.raises(NonFiniteError, match=f"training: the loss became NaN or infinite {where}"):
        [train(x, y) for _ in range(9)]


def test_a_network_that_is_dead_is_said():
    """A step that is too long puts every ReLU below 0: the loss is no more than a guess's, all rows have one answer."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, (200, 6)).astype("float32")
    y = np.arange(200) % 10 < 3
    model = MLPClassifier((8,), solver="sgd", momentum=0.0, max_iter=1, batch_size=200, warm_start=True)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model.fit(x, y)
    model.coefs_ = [np.full((6, 8), 0.1, dtype="float32"), np.ones((8, 1), dtype="float32")]
    model.intercepts_ = [np.zeros(8, dtype="float32"), np.zeros(1, dtype="float32")]
    model.set_params(learning_rate_init=1.0)
    with pytest.warns(ConvergenceWarning) as said:
        model.fit(x, y)
    assert (model.activations(x)[1] == 0).all()
    assert [str(one.message)[:41] for one in said][1:] == ["training diverged: the network is dead: i"]
    assert said[1].filename == __file__


def test_the_edges():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)), random.integers(0, 3, 40)
    x[:, 1] = 2.0  # a column that does not vary
    y[0], y[1:] = 3, y[1:] % 3  # a class with one example
    for data in (x, x[:, :1]):
        model = MLPClassifier((1,), max_iter=5, random_state=0).fit(data, y)
        assert np.isfinite(model.predict_proba(data)).all()
    with pytest.warns(UserWarning, match="larger than the 40 samples"):
        MLPClassifier((1,), max_iter=1, batch_size=64).fit(x, y)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        MLPClassifier((4,), max_iter=2).fit(x, y)


def test_sparse_multilabel_targets():
    X, Y = make_multilabel_classification(150, 8, n_classes=4, random_state=0)
    sparse_y = scipy.sparse.csr_matrix(Y)
    ours = MLPClassifier((5,), max_iter=30, random_state=0).fit(X, sparse_y)
    theirs = Theirs((5,), max_iter=30, random_state=0).fit(X, sparse_y)
    assert scipy.sparse.issparse(ours.predict(X))
    clear = decided(theirs.predict_proba(X), multilabel=True)
    np.testing.assert_array_equal(ours.predict(X).toarray()[clear], theirs.predict(X).toarray()[clear])
    assert ours.score(X[clear], sparse_y[clear]) == theirs.score(X[clear], sparse_y[clear])


def test_what_the_face_refuses_by_name():
    X, Y = make_multilabel_classification(60, 8, n_classes=4, random_state=0)
    y = Y[:, 0]
    for options, message in (
        ({"class_weight": {0: -1}}, "class_weight: got -1 for 0"),
        ({"class_weight": {0: np.nan}}, "class_weight: got nan"),
        ({"class_weight": {0: "a"}}, "class_weight: got 'a'"),
        ({"hidden_layer_sizes": (5.9,)}, r"hidden_layer_sizes must be > 0, got \(5.9,\)"),
        ({"hidden_layer_sizes": (5, "a")}, "hidden_layer_sizes must be > 0"),
        ({"callbacks": ["a"]}, "callbacks: got"),
        ({"schedule": Cosine}, "schedule: got <class"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**options).fit(X, y)
    model = MLPClassifier((5,), max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="y: got binary y, expected multilabel-indicator"):
        model.gradients(X, y)
    with pytest.raises(ValueError, match="y: got 5 targets for 60 examples"):
        model.gradients(X, Y[:5])
    with pytest.raises(ValueError, match="eval_set: got binary y"):
        MLPClassifier((5,), max_iter=2).fit(X, Y, eval_set=(X, y))


def test_curves_stay_in_step_over_warm_starts():
    X, Y = make_multilabel_classification(60, 8, n_classes=4, random_state=0)
    model = MLPClassifier((5,), max_iter=3, warm_start=True)
    for eval_set in (None, (X, Y), None):
        model.fit(X, Y, eval_set=eval_set)
    assert len(model.loss_curve_) == 9
    assert np.isnan(model.validation_loss_curve_).tolist() == [True] * 3 + [False] * 3 + [True] * 3
    model = MLPClassifier((5,), max_iter=3, warm_start=True, early_stopping=True).fit(X, Y)
    assert len(model.set_params(early_stopping=False).fit(X, Y).loss_curve_) == 6
    model = MLPClassifier((5,), max_iter=3, warm_start=True, solver="lbfgs").fit(X, Y)
    assert len(model.set_params(solver="adam").fit(X, Y).loss_curve_) == 3


def test_accuracy_of_logistic_outputs():
    X, Y = make_multilabel_classification(64, 8, n_classes=3, random_state=0)
    for y in (Y[:, 0], Y):
        seen, start = [], MLPClassifier((5,), max_iter=1, random_state=0, learning_rate_init=1e-12).fit(X, y)
        start.set_params(callbacks=[lambda record, seen=seen: seen.append(record.accuracy)], warm_start=True).fit(X, y)
        assert seen == [start.score(X, y)]


def test_n_jobs_is_how_many_threads_and_changes_no_bit(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(700, 300)), random.integers(0, 3, 700)
    models = {}
    for n_jobs, threads in ((None, 4), (-1, 4), (-2, 3), (-9, 1), (1, 1), (2, 2), (7, 7)):
        models[n_jobs] = MLPClassifier((200,), batch_size=350, max_iter=2, random_state=0, n_jobs=n_jobs, tol=1.0).fit(
            x, y
        )
        assert models[n_jobs]._threads() == threads
    for model in models.values():
        assert model.coefs_[0].tobytes() == models[1].coefs_[0].tobytes()
        assert model.predict_proba(x).tobytes() == models[1].predict_proba(x).tobytes()
    for bad in (0, 1.5, "all"):
        with pytest.raises(ValueError, match="n_jobs"):
            MLPClassifier(n_jobs=bad).fit(x, y)


@pytest.mark.parametrize("hidden", [(), (5,), (7, 6)])
def test_sparse_and_dense_rows_get_the_same_logits(hidden):
    random = np.random.default_rng(1)
    x = np.where(random.uniform(size=(90, 12)) < 0.2, random.normal(size=(90, 12)), 0.0)
    model = MLPClassifier(hidden, activation="tanh", max_iter=3, tol=1.0).fit(x, random.integers(0, 3, 90))
    dense = model.predict_log_proba(x)
    for sparse in (scipy.sparse.csr_array(x), scipy.sparse.csc_array(x)):
        np.testing.assert_allclose(model.predict_log_proba(sparse), dense, rtol=1e-12)
