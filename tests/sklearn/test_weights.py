"""What examples and classes weigh: an example of weight w is w examples."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import scipy.sparse
from sklearn import datasets
from sklearn.datasets import make_multilabel_classification

from chainrule.sklearn import MLPClassifier

# too few epochs on purpose; scikit-learn's own checks and SciPy's solver warn of that too
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    x, y = datasets.load_digits(return_X_y=True)
    return x / 16.0, y


def test_weights_count_as_repetitions(digits):
    x, y = digits[0][:100], digits[1][:100]
    times = np.random.default_rng(0).integers(0, 3, 100)
    options = {"hidden_layer_sizes": (10,), "random_state": 0, "shuffle": False, "max_iter": 5, "batch_size": 1000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = MLPClassifier(**options).fit(x, y, sample_weight=times)
        repeated = MLPClassifier(**options).fit(np.repeat(x, times, axis=0), np.repeat(y, times))
        np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-7, atol=1e-9)
        balanced = MLPClassifier(class_weight="balanced", **options).fit(x, y)
        by_hand = MLPClassifier(**options).fit(x, y, sample_weight=(100 / (10 * np.bincount(y)))[y])
    np.testing.assert_allclose(balanced.coefs_[0], by_hand.coefs_[0], rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "labels", "sparse labels"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_an_example_of_weight_w_is_w_examples(solver, kind, class_weight):
    """Removed where w is 0, repeated elsewhere: what "balanced" counts as well."""
    random = np.random.default_rng(0)
    x, times = random.normal(size=(60, 4)), random.integers(0, 4, 60)
    y = random.integers(0, 3 if kind == "three classes" else 2, (60, 3) if "labels" in kind else 60)
    times[y[..., 0] == 1 if "labels" in kind else y == 1] *= 3  # not balanced
    made = scipy.sparse.csr_matrix if kind == "sparse labels" else np.asarray
    weighted, repeated = (
        MLPClassifier((6,), solver=solver, max_iter=40, shuffle=False, batch_size=200, class_weight=class_weight,
                      learning_rate_init=0.01, random_state=0, tol=0.0)
        for _ in range(2)
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a batch of 200 examples
        weighted.fit(x, made(y), sample_weight=times)
        repeated.fit(np.repeat(x, times, axis=0), made(np.repeat(y, times, axis=0)))
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_class_weights_of_several_labels(sparse):
    x, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    made = scipy.sparse.csr_matrix(y) if sparse else y

    def coefs(class_weight=None, sample_weight=None):
        model = MLPClassifier((5,), max_iter=5, random_state=0, class_weight=class_weight)
        return model.fit(x, made, sample_weight=sample_weight).coefs_[0]

    present = np.where(y[:, 0] == 1, 2.0, 1.0) * np.where(y[:, 2] == 1, 5.0, 1.0)
    np.testing.assert_array_equal(coefs({0: 2.0, 2: 5.0}), coefs(None, present))
    absent = present * np.where(y[:, 1] == 0, 0.5, 1.0)
    by_list = [{0: 1, 1: 2}, {0: 0.5}, {1: 5}]
    np.testing.assert_array_equal(coefs(by_list), coefs(None, absent))
    for bad, message in (
        ({3: 1.0}, "class_weight: got the label 3"),
        ({0: -1.0}, "class_weight: got -1.0 for 0"),
        ([{1: 2.0}], "class_weight: got 1 dicts, expected 3"),
        ([{1: 2.0}, {2: 1.0}, {}], r"class_weight\[1\]: got the key 2"),
        ([{1: 2.0}, {1: np.nan}, {}], r"class_weight\[1\]: got nan for 1"),
        ([1.0, 2.0, 3.0], r"class_weight\[0\]: got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            coefs(bad)
    with pytest.raises(ValueError, match="class_weight: got a list"):
        MLPClassifier(class_weight=[{0: 1.0}]).fit(x, y[:, 0])


def test_class_weights_of_labels_in_parts():
    x, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    by_class, by_sample = (MLPClassifier((5,), random_state=0, class_weight=w) for w in ({1: 3.0}, None))
    by_class.partial_fit(x, y, classes=[0, 1, 2])
    by_sample.partial_fit(x, y, np.where(y[:, 1] == 1, 3.0, 1.0), classes=[0, 1, 2])
    np.testing.assert_array_equal(by_class.coefs_[0], by_sample.coefs_[0])


def test_partial_fit_weighs_classes_that_a_part_has_not():
    X, y = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3
    weights, two = {0: 2.0, 2: 1.5}, y < 2
    by_class, by_sample = (MLPClassifier((5,), random_state=0, class_weight=w) for w in (weights, None))
    by_class.partial_fit(X[two], y[two], classes=[0, 1, 2])
    by_sample.partial_fit(X[two], y[two], np.where(y[two] == 0, 2.0, 1.0), classes=[0, 1, 2])
    np.testing.assert_array_equal(by_class.coefs_[0], by_sample.coefs_[0])
