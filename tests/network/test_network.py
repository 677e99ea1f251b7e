"""The network's gradients against PyTorch's automatic differentiation."""

import numpy as np
import pytest
from truths import MODULES

from chainrule import Network, equations
from chainrule.errors import InputError


def network(activation, dtype="float64"):
    net = Network.create([5, 7, 6, 4], activation=activation, seed=1, dtype=dtype)
    for bias in net.biases:
        bias += np.linspace(-0.3, 0.4, len(bias)).astype(dtype)
    return net, np.random.default_rng(2).normal(size=(9, 5)), np.arange(9) % 4


def torch_gradients(net, x, labels, activation, rows=slice(None)):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weights = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in net.weights]
    biases = [torch.tensor(b, dtype=torch.float64, requires_grad=True) for b in net.biases]
    h = torch.tensor(x[rows], requires_grad=True)
    kept, first = [], h
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        a = h @ w.T + b
        a.retain_grad()
        kept.append(a)
        h = getattr(torch.nn, MODULES[activation])()(a) if k < len(weights) - 1 else a
    loss = torch.nn.functional.cross_entropy(h, torch.tensor(labels[rows]))
    loss.backward()
    return loss.item(), [w.grad for w in weights], [b.grad for b in biases], [a.grad for a in kept], first.grad


@pytest.mark.parametrize("activation", MODULES)
def test_backward_equals_pytorch(activation):
    net, x, labels = network(activation)
    loss, weights, biases, preactivations, first = torch_gradients(net, x, labels, activation)
    forward = net.forward(x)
    backward = net.backward(forward, labels)
    assert float(backward.loss) == pytest.approx(loss, rel=1e-13)
    pairs = [
        *zip(backward.grad_weights, weights, strict=True),
        *zip(backward.grad_biases, biases, strict=True),
        *zip(backward.grad_preactivations, preactivations, strict=True),
        (backward.grad_activations[0], first),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)
    # the longer route: through the probabilities
    jacobian = equations.softmax_jacobian(forward.logits)
    through = np.einsum("ni,nij->nj", backward.grad_probabilities, jacobian)
    np.testing.assert_allclose(through, backward.grad_preactivations[-1], rtol=1e-11, atol=1e-14)


def test_per_example_gradients():
    net, x, labels = network("tanh")
    backward = net.backward(net.forward(x), labels, per_example=True)
    for n in range(len(x)):
        loss, weights, biases, _, _ = torch_gradients(net, x, labels, "tanh", slice(n, n + 1))
        assert backward.loss[n] == pytest.approx(loss, rel=1e-12)
        for k in range(3):
            np.testing.assert_allclose(backward.grad_weights[k][n], weights[k].numpy(), rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(backward.grad_biases[k][n], biases[k].numpy(), rtol=1e-11, atol=1e-14)
            formed = float((weights[k] ** 2).sum())
            assert backward.squared_norms()[k][n] == pytest.approx(formed, rel=1e-11)
    with pytest.raises(InputError, match="per_example=True"):
        net.backward(net.forward(x), labels).squared_norms()


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("per_example", [False, True])
def test_other_libraries_give_the_same(library, per_example):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "jax":
        module.config.update("jax_enable_x64", True)
    make = module.tensor if library == "torch" else module.numpy.asarray
    net, x, labels = network("gelu")
    other = Network([make(w) for w in net.weights], [make(b) for b in net.biases], "gelu")
    truth = net.backward(net.forward(x), labels, per_example=per_example)
    forward = other.forward(make(x))
    result = other.backward(forward, labels, per_example=per_example)
    np.testing.assert_allclose(np.asarray(result.loss), truth.loss, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(result.grad_probabilities), truth.grad_probabilities, rtol=1e-12)
    for a, b in zip(result.grad_weights + result.grad_biases, truth.grad_weights + truth.grad_biases, strict=True):
        assert type(a) is type(forward.logits)
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-11, atol=1e-14)
    assert np.asarray(other.predict(make(x))).tolist() == net.predict(x).tolist()


def test_predictions():
    net, x, _ = network("relu", "float32")
    probabilities = net.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert net.predict(x).tolist() == probabilities.argmax(axis=1).tolist()
    assert net.n_parameters == 5 * 7 + 7 + 7 * 6 + 6 + 6 * 4 + 4


def test_the_seed_decides_the_weights():
    first, again, other = (Network.create([3, 4, 2], seed=s) for s in (5, 5, 6))
    assert first.weights[0].tobytes() == again.weights[0].tobytes()
    assert first.weights[0].tobytes() != other.weights[0].tobytes()


@pytest.mark.parametrize("activation", MODULES)
def test_the_weights_begin_with_the_variance_of_their_activation(activation):
    wide = Network.create([400, 300, 200], activation=activation, seed=0)
    hidden = {"identity": 1, "tanh": 1, "logistic": 1}.get(activation, 2)
    assert wide.weights[0].std() == pytest.approx((hidden / 400) ** 0.5, rel=0.02)
    assert wide.weights[1].std() == pytest.approx((1 / 300) ** 0.5, rel=0.02)
    assert not any(bias.any() for bias in wide.biases)


def test_no_examples():
    net, _, _ = network("relu")
    backward = net.backward(net.forward(np.empty((0, 5))), [])
    assert float(backward.loss) == 0
    assert all(not g.any() for g in backward.grad_weights)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(5), r"x: got shape \(5,\), expected \(N, 5\)"),
        (np.zeros((2, 4)), r"x: got shape \(2, 4\)"),
        (np.zeros((2, 5), dtype=object), "x: got dtype object"),
        (np.zeros((2, 5), dtype=complex), "x: got dtype complex128"),
    ],
)
def test_bad_x(x, message):
    with pytest.raises(InputError, match=message):
        network("relu")[0].forward(x)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], [], "0 layers"),
        ([np.zeros((2, 3))], [], "1 layers and 0 biases"),
        ([np.zeros((2, 3))], [np.zeros(3)], "biases: layer 1"),
        ([np.zeros(3)], [np.zeros(3)], r"layer 1 has shape \(3,\)"),
        ([np.zeros((2, 3)), np.zeros((2, 3))], [np.zeros(2), np.zeros(2)], "layer 2 takes 3 inputs, expected 2"),
        ([np.zeros((2, 3), np.float32)], [np.zeros(2)], "one floating dtype"),
        ([np.zeros((2, 3)), np.zeros((1, 2), np.float32)], [np.zeros(2), np.zeros(1)], "one floating dtype"),
        ([np.zeros((2, 3), int)], [np.zeros(2, int)], "one floating dtype"),
        ([np.zeros((2, 0))], [np.zeros(2)], "none of them 0"),
        ([[[1.0]]], [np.zeros(1)], "expected arrays"),
        ([np.zeros((1, 1))], [[0.0]], "expected arrays"),
    ],
)
def test_bad_layers(weights, biases, message):
    with pytest.raises(InputError, match=message):
        Network(weights, biases)


def test_bad_options():
    with pytest.raises(InputError, match="activation"):
        Network.create([2, 2], activation="swish")
    for widths in ([3], [3, 0], [3, 2.5], [3, -1]):
        with pytest.raises(InputError, match="widths"):
            Network.create(widths)
    for option in ({"seed": -1}, {"seed": 1.5}, {"dtype": "float16"}, {"dtype": "int32"}):
        with pytest.raises(InputError, match=f"^{next(iter(option))}: got"):
            Network.create([2, 2], **option)
