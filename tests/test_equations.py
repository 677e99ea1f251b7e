"""The equations against plain loops at 60 and 100 digits, finite differences, and automatic differentiation."""

import functools
import itertools
import math

import exact_options
import naive
import numpy as np
import pytest
import shaped
from truths import FORMULAS

from chainrule import equations as eq
from chainrule.equations import exact, pairs

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


def test_log_softmax_equals_the_loops(array):
    for logits in LOGITS:
        truth = [float(naive.mp.log(p)) for p in naive.softmax(logits)]
        np.testing.assert_allclose(np.asarray(eq.log_softmax(array(logits))), truth, rtol=1e-13)


def test_a_batch_is_its_examples(array):
    logits, labels = np.random.default_rng(1).normal(size=(4, 5)), np.array([0, 3, 4, 1])
    a, ell = array(logits), array(labels)

    def smoothed(a, ell):
        return eq.grad_from_targets(a, eq.weighted_targets(ell, a, None, 0.1), 0.5, 0.01)

    for function in (eq.loss_from_logits, eq.grad_logits, eq.grad_logits_by_chain_rule, smoothed):
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


# Beside the lecture: target probabilities, class weights, smoothing, temperature, z-loss
WEIGHTS = [0.5, 2.0, 1.0, 0.25]
TARGETS = [0.1, 0.2, 0.7, 0.0]
ROWS = [[0.3, -1.0, 2.0, 0.5], [40.0, 0.0, 1.0, -3.0], [0.0, 0.0, 60.0, 0.0], [-300.0, 5.0, 200.0, 3e2]]
MIXES = list(itertools.product([0, 2, TARGETS], [None, WEIGHTS], [0.0, 0.1, 1.0], [1.0, 0.7], [0.0, 0.01]))


@functools.cache
def truth_of_mixes():
    """For each mix and row: loss, gradient, and by how much the larger of two products may leave it off."""
    found = []
    for given, weights, smoothing, temperature, z_loss in MIXES:
        hot = given if isinstance(given, list) else np.eye(4)[given]
        for row in ROWS:
            case = exact_options.truth(row, hot, weights or [1] * 4, smoothing, temperature, z_loss)
            loss, grad, terms = ([float(x) for x in np.atleast_1d(part)] for part in case)
            cancels = z_loss or smoothing or isinstance(given, list)
            found.append((loss[0], grad, np.multiply(terms, 1e-14 if cancels else 0)))
    return found


def test_every_option_equals_the_loops(array):
    truth, a = iter(truth_of_mixes()), array(np.array(ROWS))
    for given, weights, smoothing, temperature, z_loss in MIXES:
        labels = array(np.array([given] * len(ROWS)))
        w = None if weights is None else array(np.array(weights))
        q = eq.weighted_targets(labels, a, w, smoothing)
        losses, grads = (np.asarray(f(a, q, temperature, z_loss)) for f in (eq.loss_from_targets, eq.grad_from_targets))
        for loss, grad in zip(losses, grads, strict=True):
            true_loss, true_grad, off = next(truth)
            assert loss == pytest.approx(true_loss, rel=1e-13, abs=0)
            assert (np.abs(grad - true_grad) <= 1e-12 * np.abs(true_grad) + off).all()


def by_differences(function, row, i):
    """∂/∂a_i at 100 digits, of a function of numbers that mpmath computes with."""
    mp, h = exact_options.mp, exact_options.mp.mpf(10) ** -30
    moved = [[mp.mpf(a) + sign * h * (i == j) for j, a in enumerate(row)] for sign in (1, -1)]
    return (function(moved[0]) - function(moved[1])) / (2 * h)


def test_gradient_and_hessian_by_finite_differences(array):
    """Of the loss alone: nothing that was differentiated by hand takes part."""
    mp, row, q, temperature, z_loss = exact_options.mp, ROWS[0], TARGETS, 0.7, 0.01

    def loss(a):
        lse = mp.log(mp.fsum(mp.exp(x / mp.mpf(temperature)) for x in a))
        terms = (mp.mpf(t) * (lse - x / mp.mpf(temperature)) for t, x in zip(q, a, strict=True))
        return mp.fsum(terms) + mp.mpf(z_loss) * lse**2

    def of_label(a):
        return mp.log(mp.fsum(map(mp.exp, a))) - a[1]

    slopes = [float(by_differences(loss, row, i)) for i in range(4)]
    grad = eq.grad_from_targets(array(np.array(row)), array(np.array(q)), temperature, z_loss)
    np.testing.assert_allclose(np.asarray(grad), slopes, rtol=1e-13)
    slope_of = [functools.partial(by_differences, of_label, i=i) for i in range(4)]
    curvature = np.array([[float(by_differences(slope, row, j)) for j in range(4)] for slope in slope_of])
    a, vector = array(np.array(row)), np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(np.asarray(eq.hessian_diagonal(a)), np.diag(curvature), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(eq.hessian_product(a, array(vector))), curvature @ vector, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(eq.softmax_jacobian(a)), curvature, rtol=1e-12)


def test_the_hessian_keeps_its_tails(array):
    """ŷ = (1, e⁻⁴⁰), within rounding: 1 − ŷ would be 0."""
    p, a = naive.softmax([40.0, 0.0]), array(np.array([40.0, 0.0]))
    size = float(p[0] * p[1])
    np.testing.assert_allclose(np.asarray(eq.hessian_diagonal(a)), [size, size], rtol=1e-14)
    product = eq.hessian_product(a, array(np.array([1.0, 3.0])))
    np.testing.assert_allclose(np.asarray(product), [-2 * size, 2 * size], rtol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignore_index", [None, 0, -100])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_is_reduced_as_the_loops_reduce_it(array, reduction, ignore_index, weighted):
    labels, weights = [0, 2, 3, 1], WEIGHTS if weighted else [1.0] * 4
    if ignore_index is not None:
        labels[0] = ignore_index
    counted = [label != ignore_index for label in labels]
    losses, grads, divisor = [], [], sum(weights[i] for i, counts in zip(labels, counted, strict=True) if counts)
    for row, label, counts in zip(ROWS, labels, counted, strict=True):
        loss, grad = naive.loss_and_grad(row, label) if counts else (0, [0] * 4)
        losses.append(float(loss) * weights[label] if counts else 0.0)
        grads.append([float(g) * weights[label] if counts else 0.0 for g in grad])
    scale = 1 / divisor if reduction == "mean" else 1.0
    loss, grad = eq.softmax_cross_entropy(
        array(np.array(ROWS)),
        array(np.array(labels)),
        reduction=reduction,
        ignore_index=ignore_index,
        class_weights=array(np.array(weights)) if weighted else None,
    )
    wanted = losses if reduction == "none" else sum(losses) * scale
    np.testing.assert_allclose(np.asarray(loss), wanted, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(grad), np.array(grads) * scale, rtol=1e-12)


def test_nothing_counted_is_zero_and_a_mean_over_targets_divides_by_n(array):
    a = array(np.array([[np.nan, 1.0], [0.0, 1.0]]))
    loss, grad = eq.softmax_cross_entropy(a, array(np.array([7, 7])), ignore_index=7, label_smoothing=0.1)
    assert float(loss) == 0
    assert not np.asarray(grad).any()
    a, q = array(np.zeros((2, 2))), array(np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert float(eq.softmax_cross_entropy(a, q)[0]) == pytest.approx(3 * math.log(2) / 2, rel=1e-15)


def test_special_values(array):
    """−∞ masks a class exactly, in the targets' equations too; NaN or +∞ makes its row NaN and no other."""
    inf, nan = np.inf, np.nan
    a = array(np.array([[0.0, -inf, 0.0], [0.0, nan, 0.0]]))
    q = array(np.array([[1.0, 0.0, 0.0]] * 2))
    for loss, grad in (
        (eq.loss_from_logits(a, 0), eq.grad_logits(a, 0)),
        (eq.loss_from_targets(a, q), eq.grad_from_targets(a, q)),
    ):
        np.testing.assert_allclose(np.asarray(loss), [math.log(2), nan], rtol=1e-15)
        np.testing.assert_array_equal(np.asarray(grad), [[-0.5, 0.0, 0.5], [nan] * 3])
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        assert np.isnan(np.asarray(eq.grad_logits(array(np.array([inf, 0.0])), 1))).all()
        assert np.isnan(float(eq.loss_from_logits(array(np.array([inf, 0.0])), 1)))


@pytest.mark.parametrize("epsilon", [1e-3, 1e-20])
def test_a_target_of_nearly_one_keeps_what_it_lacks(array, epsilon):
    """ŷ_0 Q − q_0 = ŷ_0 (Q − q_0) − q_0 (1 − ŷ_0), where Q rounds to q_0 and ŷ_0 to 1."""
    mp, row, q = exact_options.mp, [100.0, 0.0, 1.0, -2.0], [1.0, epsilon, 0.0, 0.0]
    p = naive.softmax(row)
    truth = [float(p[j] * mp.fsum(map(mp.mpf, q)) - mp.mpf(q[j])) for j in range(4)]
    grad = np.asarray(eq.grad_from_targets(array(np.array(row)), array(np.array(q))))
    np.testing.assert_allclose(grad, truth, rtol=1e-13)


@pytest.mark.parametrize("t", [0.0, 1.0, 0.3])
def test_binary_losses_equal_the_loops_and_finite_differences(array, t):
    mp, points = exact_options.mp, [-800.0, -40.0, -1.5, 0.0, 0.25, 3.0, 40.0, 800.0]

    def loss(point):
        return mp.mpf(t) * mp.log1p(mp.exp(-point[0])) + (1 - mp.mpf(t)) * mp.log1p(mp.exp(point[0]))

    a, given = array(np.array(points)), array(np.full(8, t))
    with mp.workdps(800):  # e⁻⁸⁰⁰ beside 1
        losses = [float(loss([mp.mpf(x)])) for x in points]
        slopes = [float(1 / (1 + mp.exp(-mp.mpf(x))) - mp.mpf(t)) for x in points]
    np.testing.assert_allclose(np.asarray(eq.binary_loss(a, given)), losses, rtol=1e-14)
    np.testing.assert_allclose(np.asarray(eq.grad_binary(a, given)), slopes, rtol=1e-14)
    certain = array(np.array([np.inf, -np.inf])), array(np.array([1.0, 0.0]))
    assert np.asarray(eq.binary_loss(*certain)).tolist() == [0, 0]
    assert float(eq.multilabel_loss(a, given)) == pytest.approx(sum(losses), rel=1e-14)
    for i in range(1, 7):
        assert float(by_differences(loss, points[i : i + 1], 0)) == pytest.approx(slopes[i], rel=1e-14, abs=0)
        curvature = by_differences(lambda b: by_differences(loss, b, 0), points[i : i + 1], 0)
        assert float(eq.hessian_binary(a)[i]) == pytest.approx(float(curvature), rel=1e-14, abs=0)


def test_the_equations_are_traced():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    logits, labels = np.array(ROWS), np.array([0, 2, 3, 1])
    options = {"label_smoothing": 0.1, "z_loss": 0.01, "temperature": 0.7}
    traced = jax.jit(lambda a, y: eq.softmax_cross_entropy(a, y, **options))(logits, labels)
    for got, wanted in zip(traced, eq.softmax_cross_entropy(logits, labels, **options), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(eq.softmax_jacobian)(logits[0]), eq.softmax_jacobian(logits[0]), rtol=1e-12)


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


@pytest.mark.parametrize("name", ["targets", "targets, optimum", "targets, 10 units", "targets, margin 100"])
def test_pairs_keep_what_cancels(name):
    """Loss and gradient with all options, in float64: beyond 2⁻⁹⁶ of the terms that cancel, within 4 and 6 units."""
    options = {"temperature": 0.75, "softcap": 8.0, "scale": 1.3}
    a, q, _ = exact_options.case(name, 10, np.float64, np.random.default_rng(0))
    if "margin" not in name:
        capped, _ = eq.capped_logits(a, options["softcap"], options["scale"])
        q = exact_options.softmax(capped / options["temperature"]) * (1 + 10 * ("units" in name) * 2.0**-52)
    for shape, z_loss in (({}, 0.0), (options, 0.0), (options, 0.01)):
        loss, grad = exact.loss_and_gradient(exact.row_of(a, **shape), pairs.pair(q), z_loss)
        for row, targets, came, found in zip(a, q, loss, grad, strict=True):
            true, right, terms, *_ = shaped.truth(row, targets.tolist(), z_loss=z_loss, **shape)
            assert exact_options.ulps(came, true, np.float64, 0) <= 4
            for x, wanted, size in zip(found, right, terms, strict=True):
                assert exact_options.ulps(x, wanted, np.float64, size * exact_options.mp.mpf(2) ** -96) <= 6


def test_gradient_equals_jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    logits = np.array([0.3, -1.0, 2.0])
    truth = jax.grad(lambda a: -jax.nn.log_softmax(a)[2])(logits)
    np.testing.assert_allclose(eq.grad_logits(logits, 2), truth, rtol=1e-13)
