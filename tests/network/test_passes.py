"""Sums and norms of per-example gradients against the gradients themselves, formed by loops."""

import numpy as np
import pytest

from chainrule import Network, equations
from chainrule.errors import InputError

N, WIDTHS = 9, [5, 7, 6, 4]


def problem(library="numpy", dtype="float64"):
    net = Network.create(WIDTHS, activation="gelu", seed=1, dtype=dtype)
    for bias in net.biases:
        bias += np.linspace(-0.3, 0.4, len(bias)).astype(dtype)
    x = np.random.default_rng(2).normal(size=(N, 5)).astype(dtype)
    if library == "numpy":
        return net, net.forward(x), lambda a: a
    package = {"torch": "torch", "jax.numpy": "jax", "array_api_strict": "array-api-strict"}[library]
    shown = {"torch": "PyTorch", "jax": "JAX"}.get(package, package)
    xp = pytest.importorskip(library, reason=f"{shown} is not installed")
    if library == "torch":
        pytest.importorskip("array_api_compat", reason="PyTorch is not installed")
    if package == "jax":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    net = Network([xp.asarray(w) for w in net.weights], [xp.asarray(b) for b in net.biases], "gelu")
    return net, net.forward(xp.asarray(x)), xp.asarray


def truth(net, forward, labels):
    """Each example's gradients alone: for each layer [(W, b) of each example], from passes over one row each."""
    x = np.asarray(forward.activations[0])
    plain = Network([np.asarray(w) for w in net.weights], [np.asarray(b) for b in net.biases], net.activation)
    each = [plain.backward(plain.forward(x[n : n + 1]), labels[n : n + 1]) for n in range(len(x))]
    return [[(b.grad_weights[k], b.grad_biases[k]) for b in each] for k in range(net.depth)]


LIBRARIES = ["numpy", "torch", "jax.numpy", "array_api_strict"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_norms_and_sums(library):
    net, forward, array = problem(library)
    labels = np.arange(N) % 4
    layers = truth(net, forward, labels)
    backward = net.backward(forward, labels, per_example=True, to_input=False)
    squares = [[(w * w).sum() + (b * b).sum() for w, b in layer] for layer in layers]
    for found, square in zip(backward.norms(), squares, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.sqrt(square), rtol=1e-12)
    pairs = zip(backward.grad_preactivations, forward.activations, squares, strict=True)
    for grad, inputs, square in pairs:  # and as the equation says it
        norms = equations.grad_norms_per_example(grad, inputs)
        np.testing.assert_allclose(np.asarray(norms), np.sqrt(square), rtol=1e-12)
    only = [np.sqrt([(w * w).sum() for w, _ in layer]) for layer in layers]
    for found, expected in zip(backward.norms([False] * 3), only, strict=True):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12)
    for found, expected in zip(backward.squared_norms(), only, strict=True):
        np.testing.assert_allclose(np.asarray(found), expected**2, rtol=1e-12)

    def agree(found, factors):
        for k, layer in enumerate(layers):
            for part in (0, 1):
                expected = sum(f * grads[part] for f, grads in zip(factors, layer, strict=True))
                np.testing.assert_allclose(np.asarray(found[part][k]), expected, rtol=1e-11, atol=1e-13)

    factors = np.array([1.0, -2.0, 0.0, 0.5, 3.0, 1.0, 1.0, -1.0, 0.25])
    agree(backward.weighted_sum(factors), factors)
    agree(backward.weighted_sum(array(factors)), factors)
    lengths = np.sqrt(np.sum(squares, axis=0))
    bound = float(np.median(lengths))
    assert (lengths > bound).any()
    agree(backward.clipped_sum(bound), np.minimum(1, bound / lengths))
    agree(backward.clipped_sum(1e9), np.ones(N))


def test_no_square_leaves_float32():
    """Gradients of 1e-30 and inputs of 1e25, whose squares float32 does not have."""
    net = Network([np.diag([1e-24, 1e-24]).astype("float32")], [np.zeros(2, "float32")])
    x = np.array([[7e25, 0.0], [0.0, 0.0], [1e25, 1e25]], dtype="float32")
    backward = net.backward(net.forward(x), [0, 0, 1], per_example=True)
    e = np.array([np.exp(-70.0), 0.5, 0.5]) * np.sqrt(2)
    np.testing.assert_allclose(backward.norms()[0], e * np.hypot(np.linalg.norm(x.astype(float), axis=1), 1), rtol=1e-5)


def test_to_input_false_leaves_out_the_gradient_of_x_alone():
    net, forward, _ = problem()
    labels = np.arange(N) % 4
    short, whole = (net.backward(forward, labels, to_input=far) for far in (False, True))
    assert short.grad_activations[0] is None
    for mine, theirs in zip(short.grad_activations[1:], whole.grad_activations[1:], strict=True):
        assert np.array_equal(mine, theirs)
    for mine, theirs in zip(short.grad_weights, whole.grad_weights, strict=True):
        assert np.array_equal(mine, theirs)


def test_what_is_refused():
    net, forward, _ = problem()
    mean = net.backward(forward, np.arange(N) % 4)
    each = net.backward(forward, np.arange(N) % 4, per_example=True)
    for call in (mean.norms, mean.squared_norms, lambda: mean.weighted_sum([1] * N), lambda: mean.clipped_sum(1.0)):
        with pytest.raises(InputError, match=r"got the gradient of a mean loss, expected backward\(per_example=True\)"):
            call()
    with pytest.raises(InputError, match=r"weights: got shape \(3,\), expected \(9,\)"):
        each.weighted_sum([1, 2, 3])
    with pytest.raises(InputError, match="weights: got nan at index 2, expected finite numbers"):
        each.weighted_sum([1, 2, np.nan, *[0] * 6])
    with pytest.raises(InputError, match="bound: got 0, expected a finite number > 0"):
        each.clipped_sum(0)
    with pytest.raises(InputError, match="biases: got 1 layers, expected 3"):
        each.norms([True])
    narrow, forward, _ = problem(dtype="float32")
    with pytest.raises(InputError, match="weights: got 1e\\+200, expected finite numbers of dtype float32"):
        narrow.backward(forward, np.arange(N) % 4, per_example=True).weighted_sum([1e200] * N)
