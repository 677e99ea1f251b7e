"""Networks from PyTorch and scikit-learn: the same probabilities as their own, and clear refusals."""

import sys

import numpy as np
import pytest

from chainrule import Network
from chainrule.equations import ACTIVATIONS
from chainrule.errors import InputError
from chainrule.explain import explain

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

MODULES = {
    "identity": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid,
    "gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus,
}  # fmt: skip


def softmax(logits):
    return torch.softmax(logits, dim=1).detach().numpy()


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_torch_there_and_back(activation):
    torch.manual_seed(0)
    g = MODULES[activation]
    module = nn.Sequential(nn.Linear(5, 7), g(), nn.Linear(7, 4), g(), nn.Linear(4, 3)).double()
    x = np.random.default_rng(0).normal(size=(6, 5))
    net = Network.from_torch(module)
    assert net.activation == activation
    # PyTorch's softplus is its argument itself above 20: off by 2e-9 there, and these are below
    np.testing.assert_allclose(net.predict_proba(x), softmax(module(torch.tensor(x))), rtol=1e-12)
    back = net.to_torch()
    np.testing.assert_allclose(softmax(back(torch.tensor(x))), net.predict_proba(x), rtol=1e-12)
    with torch.no_grad():
        back[0].weight += 1
    np.testing.assert_array_equal(net.weights[0], module[0].weight.detach().numpy())


def test_what_is_left_out_of_a_torch_module():
    torch.manual_seed(0)
    linear = nn.Linear(4, 3, bias=False)
    hidden = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.ReLU())
    x = torch.randn(5, 2, 3)
    for last, probabilities in (
        ([], lambda y: torch.softmax(y, dim=1)),
        ([nn.Softmax(dim=1)], lambda y: y),
        ([nn.LogSoftmax(dim=-1)], torch.exp),
    ):
        module = nn.Sequential(nn.Flatten(), hidden, linear, *last).eval()
        net = Network.from_torch(module)
        assert net.weights[0].dtype == np.float32
        expected = probabilities(module(x)).detach().numpy()
        np.testing.assert_allclose(net.predict_proba(x.reshape(5, -1).numpy()), expected, rtol=1e-5)
        explanation = explain(module, x[0], 2)
        assert explanation.forward.probabilities[0] == pytest.approx(expected[0], rel=1e-5)
    half = Network.from_torch(nn.Sequential(nn.Linear(6, 3)).bfloat16())
    assert half.weights[0].dtype == np.float32


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)], "layer 1 is BatchNorm1d"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)], "'relu', 'tanh'"),
        ([nn.Linear(2, 3), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)], "'identity', 'tanh'"),
        ([nn.Linear(2, 3), nn.ReLU()], "ends with the activation 'relu'"),
        ([nn.Linear(2, 3), nn.LeakyReLU(0.2), nn.Linear(3, 2)], "negative_slope=0.01"),
        ([nn.Linear(2, 3), nn.GELU("tanh"), nn.Linear(3, 2)], "approximate='none'"),
        ([nn.Linear(2, 3), nn.Softmax(dim=0)], "dim=1"),
        ([nn.Linear(2, 3), nn.Softmax(dim=1), nn.Linear(3, 2)], "after Softmax"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.ReLU(), nn.Linear(3, 2)], "one activation after a Linear"),
        ([nn.Linear(2, 3), nn.Flatten(), nn.Linear(3, 2)], "before the first Linear"),
        ([nn.ReLU()], "one activation after a Linear"),
        ([], "no Linear layer"),
    ],
)
def test_modules_that_are_refused(layers, message):
    with pytest.raises(InputError, match=message):
        Network.from_torch(nn.Sequential(*layers))


def test_other_things_are_refused():
    for bad in (nn.Conv2d(1, 1, 1), nn.TransformerEncoderLayer(4, 2), "a model"):
        with pytest.raises(InputError, match="expected a Sequential of Linear layers"):
            Network.from_torch(bad)
    with pytest.raises(InputError, match="net: got str, expected a Network"):
        explain("model", [1.0], 0)
    with pytest.raises(InputError, match=r"chainrule\.torch\.explain"):
        explain(nn.Conv2d(1, 1, 1), [1.0], 0)


def digits(k):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(90, 4))
    return x, np.array(["cat", "dog", "emu"])[(x @ rng.normal(size=(4, k))).argmax(axis=1)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("library", ["sklearn.neural_network", "chainrule.sklearn"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("k", [2, 3])
def test_sklearn(library, activation, k):
    import importlib

    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_label_of_sklearn_is_one_of_its_classes():
    sklearn = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    x, y = digits(3)
    numbers = {"cat": 3, "dog": 1, "emu": 2}
    classifier = sklearn.MLPClassifier((5,), max_iter=5).fit(x, [numbers[name] for name in y])
    assert explain(classifier, x[0], 3).label == 2
    with pytest.raises(InputError, match="label: got 0"):
        explain(classifier, x[0], 0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_that_are_refused():
    sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    assert sklearn.__version__
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


def test_a_network_of_torch_arrays():
    net = Network.create([3, 4, 2], seed=0)
    other = Network(*([torch.tensor(a, requires_grad=True) for a in side] for side in (net.weights, net.biases)))
    x = np.ones(3)
    assert explain(other, torch.ones(3), 1).loss == explain(net, x, 1).loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_an_onnx_runtime_gives_the_same_numbers(activation, dtype, tmp_path):
    onnx = pytest.importorskip("onnx.reference", reason="onnx is not installed") and sys.modules["onnx"]
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = Network.create([5, 7, 4, 3], activation=activation, seed=1, dtype=dtype)
    path = net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    if dtype == "float64" and activation in ("gelu", "softplus"):  # for which the runtime has no kernels
        session = onnx.reference.ReferenceEvaluator(str(path))
    else:
        session = runtime.InferenceSession(str(path))
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(dtype)
    logits, probabilities = session.run(["logits", "probabilities"], {"x": x})
    # the reference evaluator's Erf is float32
    tolerance = 1e-12 if dtype == "float64" and activation != "gelu" else 2e-5
    np.testing.assert_allclose(logits, net.forward(x).logits, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(probabilities, net.predict_proba(x), rtol=tolerance)
