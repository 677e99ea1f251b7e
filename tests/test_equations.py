"""The equations against plain loops at 60 digits, finite differences, and automatic differentiation."""

import itertools
import math

import naive
import numpy as np
import pytest
from truths import FORMULAS

from chainrule import equations as eq

LOGITS = [np.array([2.0, 1.0, 0.1]), np.array([0.0, 40.0]), np.random.default_rng(0).normal(size=7)]


def libraries():
    yield "numpy", np.asarray
    yield from (("torch", _torch), ("jax", _jax), ("array_api_strict", _strict))


def _torch(values):
    return pytest.importorskip("torch", reason="PyTorch is not installed").tensor(values)


def _jax(values):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(values)


def _strict(values):
    return pytest.importorskip("array_api_strict", reason="array-api-strict is not installed").asarray(values)


@pytest.fixture(params=list(libraries()), ids=lambda p: p[0])
def array(request):
    return request.param[1]


@pytest.mark.parametrize("logits", LOGITS)
def test_output_units_equal_the_loops(array, logits):
    k = len(logits)
    for label in range(k):
        truth = [float(p) for p in naive.softmax(logits)]
        loss, grad = naive.loss_and_grad(logits, label)
        a = array(logits)
        p = eq.softmax(a)
        np.testing.assert_allclose(np.asarray(p), truth, rtol=1e-14)
        np.testing.assert_allclose(float(eq.loss_from_logits(a, label)), float(loss), rtol=1e-13)
        np.testing.assert_allclose(float(eq.cross_entropy(p, label)), -math.log(truth[label]), rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(np.asarray(eq.grad_logits(a, label)), [float(g) for g in grad], rtol=1e-13)
        vector = [-1 / truth[i] if i == label else 0.0 for i in range(k)]
        np.testing.assert_allclose(np.asarray(eq.grad_probabilities(p, label)), vector, rtol=1e-13)
        for i in range(k):
            np.testing.assert_allclose(float(eq.grad_probability(p, label, i)), vector[i], rtol=1e-13)
            np.testing.assert_allclose(float(eq.grad_logit(a, label, i)), float(grad[i]), rtol=1e-13)
        exact = naive.softmax(logits)
        jacobian = [[float(exact[i] * ((i == j) - exact[j])) for j in range(k)] for i in range(k)]
        np.testing.assert_allclose(np.asarray(eq.softmax_jacobian(a)), jacobian, rtol=1e-12)
        longer = np.asarray(eq.grad_logits_by_chain_rule(a, label))
        np.testing.assert_allclose(longer, [float(g) for g in grad], rtol=1e-12)


def test_a_batch_is_its_examples(array):
    logits, labels = np.random.default_rng(1).normal(size=(4, 5)), np.array([0, 3, 4, 1])
    a, ell = array(logits), array(labels)
    for function in (eq.loss_from_logits, eq.grad_logits, eq.grad_logits_by_chain_rule):
        together = np.asarray(function(a, ell))
        for n in range(4):
            alone = np.asarray(function(array(logits[n]), int(labels[n])))
            np.testing.assert_allclose(together[n], alone, rtol=1e-14)


def test_one_hot(array):
    like = array(np.zeros((2, 3)))
    assert np.asarray(eq.one_hot(array(np.array([2, 0])), like)).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_grad_probabilities_by_finite_differences():
    p, label, h = np.array([0.2, 0.5, 0.3]), 1, 1e-6
    for i in range(3):
        move = h * np.eye(3)[i]
        slope = (eq.cross_entropy(p + move, label) - eq.cross_entropy(p - move, label)) / (2 * h)
        assert abs(eq.grad_probabilities(p, label)[i] - slope) < 1e-8


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_and_derivatives(array, name):
    points = np.array([-30.0, -3.0, -0.5, 0.25, 1.0, 5.0, 30.0])
    activation = eq.ACTIVATIONS[name]
    values, slopes = (np.asarray(f(array(points))) for f in (activation.function, activation.derivative))
    truth = [float(FORMULAS[name](naive.mp.mpf(float(a)))) for a in points]
    true_slopes = [float(naive.mp.diff(FORMULAS[name], naive.mp.mpf(float(a)))) for a in points]
    np.testing.assert_allclose(values, truth, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(slopes, true_slopes, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_far_out(name, dtype):
    points = np.array([-1e4, 0.0, 1e4], dtype=dtype)
    values, slopes = eq.ACTIVATIONS[name].function(points), eq.ACTIVATIONS[name].derivative(points)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    assert values.dtype == slopes.dtype == dtype
    if eq.ACTIVATIONS[name].steepest is None:
        assert values[2] == 1e4
        assert slopes[2] == 1


def thin_and_wide():
    return [[1, 1, 1, 1], [3, 4, 3, 2]]


@pytest.mark.parametrize("widths", thin_and_wide())
def test_paths_equal_automatic_differentiation(widths):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    random = np.random.default_rng(3)
    weights = [random.normal(size=(u, d)) for d, u in itertools.pairwise(widths)]
    x, label = random.normal(size=widths[0]), widths[-1] - 1
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    h = torch.tensor(x)
    for w in tensors[:-1]:
        h = torch.tanh(w @ h)
    logits = tensors[-1] @ h
    # K = 1 has no gradient through softmax: there the loss is the logit itself
    loss = logits[0] if widths[-1] == 1 else torch.nn.functional.cross_entropy(logits[None], torch.tensor([label]))
    loss.backward()
    h, derivatives, inputs = x, [], [x]
    for w in weights[:-1]:
        derivatives.append(eq.ACTIVATIONS["tanh"].derivative(w @ h))
        h = np.tanh(w @ h)
        inputs.append(h)
    grad = np.ones(1) if widths[-1] == 1 else eq.grad_logits(weights[-1] @ h, label)
    for layer in (1, 2, 3):
        for unit, source in itertools.product(range(widths[layer]), range(widths[layer - 1])):
            truth = float(tensors[layer - 1].grad[unit, source])
            by_matrices = eq.sum_over_paths(weights, derivatives, grad, inputs[layer - 1], layer, unit, source)
            onward = itertools.product(*(range(width) for width in widths[layer + 1 :]))
            walked = sum(
                eq.path_product(weights, derivatives, grad, inputs[layer - 1], layer, [source, unit, *rest])
                for rest in onward
            )
            assert by_matrices == pytest.approx(truth, rel=1e-12)
            assert walked == pytest.approx(truth, rel=1e-12)


def test_gradient_equals_jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    logits = np.array([0.3, -1.0, 2.0])
    truth = jax.grad(lambda a: -jax.nn.log_softmax(a)[2])(logits)
    np.testing.assert_allclose(eq.grad_logits(logits, 2), truth, rtol=1e-13)
