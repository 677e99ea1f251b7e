"""The scores of a model are those of its own per-example gradients, by torch.func; and of its logits as arrays."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from chainrule import Network, scores  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

N, WIDTHS = 13, [6, 8, 5, 4]


def problem(activation="tanh", dtype="float64", seed=0):
    net = Network.create(WIDTHS, activation=activation, seed=seed, dtype=dtype)
    random = np.random.default_rng(seed)
    for bias in net.biases:
        bias += 0.3 * random.normal(size=bias.shape).astype(dtype)
    return net, 2 * random.normal(size=(N, WIDTHS[0])).astype(dtype), np.arange(N) % WIDTHS[-1]


def by_torch(module, x, labels):
    """Each parameter's gradient of each example, by its name: (N, …)."""
    parameters = dict(module.named_parameters())

    def loss(parameters, row, label):
        logits = torch.func.functional_call(module, parameters, (row[None],))
        return torch.nn.functional.cross_entropy(logits, label[None])

    every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    grads = every({k: v.detach() for k, v in parameters.items()}, torch.as_tensor(x), torch.as_tensor(labels))
    return {name: grad.numpy() for name, grad in grads.items()}


def layers_of(grads):
    """(N, weights and biases) of each layer."""
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in grads))
    flat = {name: grad.reshape(len(grad), -1) for name, grad in grads.items()}
    return [np.hstack([g for name, g in flat.items() if name.rpartition(".")[0] == layer]) for layer in names]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_norms_of_every_layer_and_of_all(activation):
    net, x, labels = problem(activation)
    module = net.to_torch()
    layers = layers_of(by_torch(module, x, labels))
    norms = np.stack([np.linalg.norm(g, axis=1) for g in layers], axis=1)
    for model in (net, module):
        np.testing.assert_allclose(scores.gradient_norms(model, x, labels), norms, rtol=1e-11)
        np.testing.assert_allclose(scores.grand(model, x, labels), norms[:, -1], rtol=1e-11)
        everything = scores.grand(model, x=x, labels=labels, layers="all")
        np.testing.assert_allclose(everything, np.linalg.norm(np.hstack(layers), axis=1), rtol=1e-11)
    with pytest.raises(InputError, match="bias: got False with layers='all'"):
        scores.grand(net, x, labels, layers="all", bias=False)


def test_tracin_is_the_product_of_two_gradients_of_the_last_layer():
    net, x, labels = problem()
    last = layers_of(by_torch(net.to_torch(), x, labels))[-1]
    found = scores.tracin(net, x[:8], labels[:8], against=(x[8:], labels[8:]))
    np.testing.assert_allclose(found, last[:8] @ last[8:].T, rtol=1e-10, atol=1e-13)
    step = 1e-6  # and to first order, what a step on one example does to the loss of another
    before = net.backward(net.forward(x), labels, per_example=True).loss
    net.weights[-1] -= step * last[0, :-4].reshape(4, 5)
    net.biases[-1] -= step * last[0, -4:]
    after = net.backward(net.forward(x), labels, per_example=True).loss
    np.testing.assert_allclose((before - after)[8:] / step, found[0], rtol=1e-4, atol=1e-6)


def test_a_layer_without_biases_counts_none():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 5, bias=False), torch.nn.Tanh(), torch.nn.Linear(5, 4, bias=False)
    ).double()
    _, x, labels = problem()
    layers = layers_of(by_torch(module, x, labels))
    norms = np.stack([np.linalg.norm(g, axis=1) for g in layers], axis=1)
    np.testing.assert_allclose(scores.gradient_norms(module, x, labels), norms, rtol=1e-11)
    np.testing.assert_allclose(scores.grand(module, torch.as_tensor(x), labels), norms[:, -1], rtol=1e-11)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_last_layer_alone(dtype):
    """A Linear with the hidden units before it: the scores of its logits as arrays, in the layer's own numbers."""
    net, x, labels = problem()
    hidden = torch.as_tensor(net.forward(x).activations[-1]).to(getattr(torch, dtype))
    layer = net.to_torch()[-1].to(getattr(torch, dtype))
    logits = hidden.double() @ layer.weight.double().T + layer.bias.double()
    rtol = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(
        scores.grand(layer, hidden, torch.as_tensor(labels)), scores.grand(logits, labels, hidden), rtol=rtol
    )
    np.testing.assert_allclose(scores.gradnorm(layer, hidden), scores.gradnorm(logits, hidden), rtol=rtol)
    assert scores.badge(layer, hidden, 3).tolist() == scores.badge(logits, hidden.double(), 3).tolist()


def test_images_are_flattened_where_the_module_does():
    net, x, labels = problem()
    module = torch.nn.Sequential(torch.nn.Flatten(), *net.to_torch())
    images = x.reshape(N, 2, 3)
    np.testing.assert_allclose(scores.el2n(module, images, labels), scores.el2n(net, x, labels), rtol=1e-12)


def test_a_network_of_tensors_has_the_same_scores():
    net, x, labels = problem("relu", "float32")
    tensors = Network([torch.as_tensor(w) for w in net.weights], [torch.as_tensor(b) for b in net.biases], "relu")
    np.testing.assert_array_equal(scores.grand(tensors, x, labels), scores.grand(net, x, labels))


def test_many_rows_are_the_parts_together():
    net = Network.create([3, 4, 2], seed=0)
    x, labels = np.random.default_rng(1).normal(size=(9000, 3)).astype("float32"), np.arange(9000) % 2
    together = scores.grand(net, x, labels, layers="all")
    apart = [scores.grand(net, x[at], labels[at], layers="all") for at in (slice(5000), slice(5000, 9000))]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-6)
    assert scores.gradient_norms(net, x[:0], labels[:0]).shape == (0, 2)
    assert scores.el2n(net, x[:0], labels[:0]).shape == (0,)
    with pytest.raises(InputError, match=r"x: got shape \(9000, 2\), expected \(N, 3\)"):
        scores.el2n(net, x[:, 1:], labels)


@pytest.mark.parametrize("classes", [["a", "b", "c"], ["no", "yes"], [3, 7, 9]])
def test_a_classifier_of_scikit_learn_and_ours(classes):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    theirs = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    from chainrule.sklearn import MLPClassifier

    random = np.random.default_rng(2)
    x, y = random.normal(size=(40, 5)), np.array(classes)[random.integers(0, len(classes), 40)]
    for kind in (MLPClassifier, theirs.MLPClassifier):
        model = kind((6,), max_iter=20, random_state=0, n_iter_no_change=3, tol=1.0).fit(x, y)
        net, labels = Network.from_sklearn(model), np.searchsorted(model.classes_, y)
        forward = net.forward(x)
        assert np.array_equal(scores.grand(model, x, y), scores.grand(forward.logits, labels, forward.activations[-1]))
        np.testing.assert_allclose(scores.el2n(model, sparse.csr_matrix(x), y), scores.el2n(model, x, y), rtol=1e-12)
        p = model.predict_proba(x)
        e = p - (np.array(model.classes_) == y[:, None])
        np.testing.assert_allclose(scores.el2n(model, x, y), np.linalg.norm(e, axis=1), rtol=1e-9)
        with pytest.raises(InputError, match="labels: got 'other' at index 0, expected the classifier's classes"):
            scores.el2n(model, x[:1], ["other"])
