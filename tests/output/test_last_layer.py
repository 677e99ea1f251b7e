"""Cap, multiplier, temperature and z-loss, and what is told beside the loss: against mpmath, in every format."""

import ml_dtypes
import numpy as np
import pytest
from exact_options import BARS, mp, ulps
from shaped import truth

import chainrule
from chainrule import equations
from chainrule.errors import InputError

EXTRAS = ("logsumexp", "log_likelihood", "entropy", "prediction", "correct")
OPTIONS = {
    "softcap": {"softcap": 30.0},
    "low cap": {"softcap": 1.5, "scale": 7.25},
    "high cap": {"softcap": 1e6},
    "scale": {"scale": 0.3},
    "scale and temperature": {"scale": 7.25, "temperature": 0.75},
    "z-loss": {"z_loss": 0.01},
    "cap and z-loss": {"softcap": 30.0, "z_loss": 1e-4},
    "all": {"softcap": 20.0, "scale": 1.7, "temperature": 0.75, "z_loss": 0.01, "label_smoothing": 0.1},
}


def rows_of(k, dtype, random):
    """Ordinary logits, far ones, a margin of 100 and half of them masked."""
    logits = random.normal(size=(4, k)) * np.array([[3.0], [40.0], [3.0], [3.0]])
    logits[2, k // 2] += 100
    logits[3, : (k - 1) // 2] = -np.inf
    return logits.astype(dtype), random.integers((k - 1) // 2, k, 4)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("name", OPTIONS)
def test_exact_with_everything_told(name, dtype):
    options, bars = OPTIONS[name], BARS[dtype]
    smoothing = options.get("label_smoothing", 0.0)
    shape = {key: value for key, value in options.items() if key != "label_smoothing"}
    excuse = mp.mpf(2) ** (-96 if dtype == np.float64 else -70)
    for k in (2, 3, 17, 130):
        logits, labels = rows_of(k, dtype, np.random.default_rng(k))
        if smoothing:
            logits[3] = 0  # a masked class with a target has an infinite loss
        found = chainrule.softmax_cross_entropy(logits, labels, reduction="none", extras=EXTRAS, **options)
        for n, label in enumerate(labels):
            hot = [mp.mpf(int(j == label)) for j in range(k)]
            q = [h * (1 - mp.mpf(smoothing)) + mp.mpf(smoothing) / k for h in hot]
            loss, grad, terms, logsumexp, entropy = truth(logits[n], q, **shape)
            assert ulps(found.loss[n], loss, dtype, 0) <= bars[0]
            for came, right, size in zip(found.grad_logits[n], grad, terms, strict=True):
                assert ulps(came, right, dtype, size * excuse) <= bars[1]
            assert ulps(found.logsumexp[n], logsumexp, dtype, mp.mpf(2) ** -90) <= bars[1]
            assert ulps(found.entropy[n], entropy, dtype, 0) <= bars[1]
            likelihood = -truth(logits[n], hot, **shape | {"z_loss": 0.0})[0]
            assert ulps(found.log_likelihood[n], likelihood, dtype, 0) <= bars[0]
            assert found.prediction[n] == logits[n].argmax()
            assert found.correct[n] == (logits[n].argmax() == label)


@pytest.mark.parametrize("dtype", BARS)
def test_a_cap_leaves_minus_infinity_where_it_is(dtype):
    logits = np.array([[-np.inf, 1.0, 2.0], [3.0, -np.inf, -np.inf], [1.0, np.nan, 2.0], [np.inf, 0.0, 0.0]], dtype)
    found = chainrule.softmax_cross_entropy(logits, [1, 0, 0, 0], reduction="none", softcap=5.0, extras=EXTRAS)
    loss, grad = (np.asarray(x, np.float64) for x in (found.loss, found.grad_logits))
    assert grad[0, 0] == 0
    assert (loss[1], *grad[1]) == (0, 0, 0, 0)
    assert np.isnan(loss[2])
    assert np.isnan(grad[2]).all()
    assert loss[3] == pytest.approx(2 * np.exp(-5), rel=2e-2)  # 5 tanh(∞) = 5
    assert np.asarray(found.logsumexp, np.float64)[1] == pytest.approx(5 * np.tanh(0.6), rel=1e-2)
    assert found.correct.tolist() == [False, True, False, True]


def test_the_equations_say_the_same():
    random = np.random.default_rng(0)
    logits, labels, weights = random.normal(size=(6, 5)) * 3, np.array([0, 1, -1, 3, 4, 0]), random.random(5) + 0.5
    for shape in OPTIONS.values():
        for reduction in ("mean", "sum", "none"):
            options = {"reduction": reduction, "class_weights": weights, "ignore_index": -1, **shape}
            found = chainrule.softmax_cross_entropy(logits, labels, **options)
            loss, grad = equations.softmax_cross_entropy(logits, labels, **options)
            np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
            np.testing.assert_allclose(found.grad_logits, grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", BARS)
def test_the_last_layer_tells_what_its_logits_tell(dtype, reduction):
    random = np.random.default_rng(0)
    hidden, weight = (random.integers(-3, 4, shape).astype(dtype) for shape in ((9, 4), (40, 4)))
    labels = np.where(np.arange(9) == 4, -1, random.integers(0, 40, 9))
    options = {"softcap": 20.0, "scale": 0.7, "z_loss": 0.01, "ignore_index": -1, "reduction": reduction}
    wide = np.float64 if dtype == np.float64 else np.float32  # small integers: the product is exact
    logits = hidden.astype(wide) @ weight.astype(wide).T
    found = chainrule.linear_cross_entropy(hidden, weight, labels, extras=EXTRAS, chunk_bytes=8000, **options)
    right = chainrule.softmax_cross_entropy(logits, labels, extras=EXTRAS, **options)
    for name in ("loss", *EXTRAS):
        np.testing.assert_array_equal(getattr(found, name), getattr(right, name).astype(getattr(found, name).dtype))
    assert found.loss.dtype == dtype
    back = right.grad_logits.astype(np.float64) @ weight.astype(np.float64)
    np.testing.assert_allclose(found.grad_hidden.astype(np.float64), back, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_float32_loss_of_sixteen_bits(dtype):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(5, 7)).astype(dtype), random.integers(0, 7, 5)
    wide = chainrule.softmax_cross_entropy(logits.astype(np.float32), labels, reduction="none", extras=("entropy",))
    for function, given in (
        (chainrule.softmax_cross_entropy, (logits, labels)),
        (chainrule.linear_cross_entropy, (logits, np.eye(7, dtype=dtype), labels)),
    ):
        each = function(*given, reduction="none", loss_dtype="float32", extras=("entropy",))
        assert each.loss.dtype == each.entropy.dtype == np.float32
        np.testing.assert_array_equal(each.loss, wide.loss)
        np.testing.assert_array_equal(each.entropy, wide.entropy)
        mean = function(*given, loss_dtype=np.float32)
        assert mean.loss.dtype == np.float32
        assert mean.loss == pytest.approx(wide.loss.mean(), rel=1e-6)
        assert mean[1].dtype == dtype
        with pytest.raises(InputError, match="loss_dtype: got 'float16'"):
            function(*given, loss_dtype="float16")
    with pytest.raises(InputError, match=r"loss_dtype: got .*float32.* for float64"):
        chainrule.softmax_cross_entropy(logits.astype(np.float64), labels, loss_dtype=np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"softcap": 0.0}, "softcap: got 0.0, expected a finite number > 0"),
        ({"softcap": -30.0}, "softcap: got -30.0"),
        ({"softcap": float("nan")}, "softcap: got nan"),
        ({"scale": 0}, "scale: got 0, expected a finite number > 0"),
        ({"scale": float("inf")}, "scale: got inf"),
        ({"extras": ("variance",)}, "extras: got 'variance', expected one of"),
    ],
    ids=str,
)
def test_refused(options, message):
    with pytest.raises(InputError, match=message):
        chainrule.softmax_cross_entropy(np.zeros((2, 3)), [0, 1], **options)
    with pytest.raises(InputError, match=message):
        chainrule.linear_cross_entropy(np.zeros((2, 3)), np.zeros((4, 3)), [0, 1], **options)


@pytest.mark.parametrize("function", [chainrule.softmax, chainrule.log_softmax])
def test_probabilities_along_any_axis(function):
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    for axis in (-3, -1, 0, 1, 2):
        found = function(logits, axis=axis)
        shifted = np.exp(logits - logits.max(axis, keepdims=True))
        right = shifted / shifted.sum(axis, keepdims=True)
        np.testing.assert_allclose(found, right if function is chainrule.softmax else np.log(right), rtol=1e-13)
    np.testing.assert_array_equal(function(logits[0, 0]), function(logits[0])[0])
    np.testing.assert_array_equal(function([1, 2, 3]), function([[1.0, 2.0, 3.0]])[0])
    assert function(np.zeros((0, 3))).shape == (0, 3)
    for given, axis in ((np.zeros((2, 2)), 2), (np.zeros(3), -2), (np.float64(1), 0), (np.zeros(2), 0.5)):
        with pytest.raises(InputError, match="axis: got"):
            function(given, axis=axis)
    with pytest.raises(InputError, match="logits: got shape"):
        function(np.zeros((2, 0)))
