"""Networks from scikit-learn's estimators: the same probabilities as their own, and clear refusals."""

import importlib

import numpy as np
import pytest

from chainrule import Network
from chainrule.errors import InputError
from chainrule.explain import explain

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def digits(k):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(90, 4))
    return x, np.array(["cat", "dog", "emu"])[(x @ rng.normal(size=(4, k))).argmax(axis=1)]


@pytest.mark.parametrize("library", ["sklearn.neural_network", "chainrule.sklearn"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("k", [2, 3])
def test_sklearn(library, activation, k):
    classifier = importlib.import_module(library).MLPClassifier((6, 5), activation=activation, max_iter=20)
    x, y = digits(k)
    classifier.fit(x, y)
    net = Network.from_sklearn(classifier)
    assert net.widths == [4, 6, 5, k]
    np.testing.assert_allclose(net.predict_proba(x), classifier.predict_proba(x), rtol=1e-11)
    explanation = explain(classifier, x[0], y[0])
    assert explanation.classes == classifier.classes_.tolist()
    assert explanation.output_units()[explanation.label].name == y[0]
    truth = -np.log(classifier.predict_proba(x[:1])[0, list(classifier.classes_).index(y[0])])
    assert explanation.loss == pytest.approx(truth, rel=1e-9)
    assert explanation.check()
    with pytest.raises(InputError, match="label: got 'cow', expected one of the classifier's classes_"):
        explain(classifier, x[0], "cow")


def test_a_label_of_sklearn_is_one_of_its_classes():
    x, y = digits(3)
    numbers = {"cat": 3, "dog": 1, "emu": 2}
    classifier = MLPClassifier((5,), max_iter=5).fit(x, [numbers[name] for name in y])
    assert explain(classifier, x[0], 3).label == 2
    with pytest.raises(InputError, match="label: got 0"):
        explain(classifier, x[0], 0)


def test_estimators_that_are_refused():
    x, y = digits(3)
    with pytest.raises(InputError, match="not fitted"):
        Network.from_sklearn(MLPClassifier())
    with pytest.raises(InputError, match="got LogisticRegression, expected scikit-learn's MLPClassifier"):
        Network.from_sklearn(LogisticRegression())
    with pytest.raises(InputError, match="got MLPRegressor"):
        Network.from_sklearn(MLPRegressor())
    several = MLPClassifier((4,), max_iter=3).fit(x, np.stack([y == "cat", y == "dog"], axis=1).astype(int))
    with pytest.raises(InputError, match="2 labels that are each true or false"):
        Network.from_sklearn(several)
    names = explain(MLPClassifier((4,), max_iter=3).fit(x, y), x[0], y[0])
    assert names.feature_names == ["x1", "x2", "x3", "x4"]
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    framed = MLPClassifier((4,), max_iter=3).fit(pd.DataFrame(x, columns=list("abcd")), y)
    assert explain(framed, x[0], y[0]).feature_names == list("abcd")
