"""Every option of the output layer, its extras and its Hessian, in every format and kind of array."""

import itertools
import math

import array_api_strict
import jax.numpy as jnp
import ml_dtypes
import mpmath as mp
import naive
import numpy as np
import pytest
import torch

import chainrule
from chainrule import equations, hessian_diagonal, hessian_vector_product, softmax_cross_entropy
from chainrule.errors import InputError
from chainrule.output.options import LossOptions, loss_into

FORMATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
# half an ULP at 1, and what float64 leaves of the equations
NEAR = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 1e-13}


def case(n=9, k=6, form="float64", seed=0):
    random = np.random.default_rng([seed, k])
    logits = random.normal(0, 3, (n, k)).astype(FORMATS[form])
    return logits, random.integers(0, k, n), random.random(k) + 0.1, random.dirichlet(np.ones(k), n)


def assert_near(got, wanted, form):
    """Half an ULP of the format, also where it is subnormal, and what cancels in the equations in float64."""
    got = np.asarray(got, np.float64)
    atol = 2.0**-25 if form == "float16" else 1e-15 * max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=1.02 * NEAR[form], atol=1.02 * atol)


COMBINATIONS = list(
    itertools.product(["mean", "sum", "none"], [False, True], [0.0, 0.2, 1.0], [None, 2, -100], [1.0, 0.7], [0.0, 0.01])
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("k", [1, 6, 60])
def test_every_combination_equals_the_equations(k, form):
    logits, labels, weights, _ = case(9, k, form)
    for reduction, weighted, smoothing, ignore, temperature, z_loss in COMBINATIONS:
        here = np.where(np.arange(9) % 4 == 1, ignore, labels) if ignore is not None else labels
        if ignore is not None and ignore >= k:
            continue
        options = {
            "reduction": reduction,
            "class_weights": weights if weighted else None,
            "label_smoothing": smoothing,
            "ignore_index": ignore,
            "temperature": temperature,
            "z_loss": z_loss,
        }
        loss, grad = softmax_cross_entropy(logits, here, **options)
        true_loss, true_grad = equations.softmax_cross_entropy(logits.astype(np.float64), here, **options)
        assert loss.dtype == grad.dtype == logits.dtype
        assert_near(loss, true_loss, form)
        assert_near(grad, true_grad, form)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("target", ["labels", "probabilities"])
def test_what_pytorch_has_equals_pytorch(reduction, weighted, smoothing, target):
    logits, labels, weights, targets = case(40, 7)
    leaf = torch.tensor(logits, requires_grad=True)
    if target == "labels":
        labels[::5] = -100
    given = labels if target == "labels" else targets
    expected = torch.nn.functional.cross_entropy(
        leaf,
        torch.tensor(given),
        weight=torch.tensor(weights) if weighted else None,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    expected.sum().backward()
    loss, grad = softmax_cross_entropy(
        logits,
        given,
        reduction=reduction,
        class_weights=weights if weighted else None,
        label_smoothing=smoothing,
        ignore_index=-100 if target == "labels" else None,
    )
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(grad, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_target_probabilities_with_every_option(form, reduction):
    logits, _, weights, targets = case(9, 6, form)
    targets = targets.astype(FORMATS[form])
    for w, smoothing, temperature, z_loss in itertools.product([None, weights], [0.0, 0.4], [1.0, 3.0], [0.0, 0.1]):
        options = {
            "reduction": reduction,
            "class_weights": w,
            "label_smoothing": smoothing,
            "temperature": temperature,
            "z_loss": z_loss,
        }
        loss, grad = softmax_cross_entropy(logits, targets, **options)
        true_loss, true_grad = equations.softmax_cross_entropy(
            *(x.astype(np.float64) for x in (logits, targets)), **options
        )
        assert_near(loss, true_loss, form)
        assert_near(grad, true_grad, form)


def test_nothing_counted_is_zero():
    logits, labels, _, _ = case()
    # the z-loss is of every counted example, and a mean over weights of 0 is 0 all the same
    for options in ({"ignore_index": 3}, {"class_weights": np.zeros(6)}, {"class_weights": np.zeros(6), "z_loss": 0.1}):
        loss, grad = softmax_cross_entropy(logits, np.full_like(labels, 3), **options)
        assert loss == 0.0
        assert not grad.any()
        assert not np.signbit(grad).any()


def test_an_ignored_row_is_zero_even_where_its_logits_are_not_numbers():
    logits, labels, _, _ = case()
    logits[2], labels[2] = np.nan, -1
    for options in ({}, {"label_smoothing": 0.1}, {"extras": ("entropy",)}):
        loss, grad = softmax_cross_entropy(logits, labels, ignore_index=-1, reduction="none", **options)
        assert loss[2] == 0.0
        assert not grad[2].any()
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("form", FORMATS)
def test_extras(form):
    logits, labels, _, _ = case(30, 8, form)
    logits[4, 3:] = -np.inf
    logits[5] = logits[5, 0]
    labels[4] = 0
    result = softmax_cross_entropy(logits, labels, extras=chainrule.output.EXTRAS)
    assert set(result.extras) == set(chainrule.output.EXTRAS)
    for n in range(30):
        p = naive.softmax(logits[n].astype(np.float64))
        entropy = -mp.fsum(q * mp.log(q) for q in p if q)
        lse = mp.log(mp.fsum(mp.exp(float(a)) for a in logits[n]))
        assert_near(result.probabilities[n], [float(q) for q in p], form)
        assert_near(result.entropy[n], float(entropy), form)
        assert_near(result.logsumexp[n], float(lse), form)
        assert_near(result.log_likelihood[n], float(mp.log(p[labels[n]])), form)
    np.testing.assert_array_equal(result.prediction, logits.astype(np.float64).argmax(axis=1))
    np.testing.assert_array_equal(result.correct, logits.astype(np.float64).argmax(axis=1) == labels)
    plain = softmax_cross_entropy(logits, labels)
    assert_near(result.loss, float(plain.loss), form)
    assert_near(result.grad_logits, plain.grad_logits.astype(np.float64), form)
    with pytest.raises(AttributeError, match="extras=\\('entropy',\\)"):
        _ = plain.entropy


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_no_row_whose_loss_is_nan_is_correct(form, reduction):
    """Whatever argmax makes of it: a NaN, ∞ or nothing but −∞ is of no class."""
    nan, inf = math.nan, math.inf
    rows = [[nan, 1, 2], [1, nan, 3], [1, 2, nan], [inf, 0, 1], [0, inf, inf], [-inf] * 3, [0, 1, 2], [2, -inf, 0]]
    logits = np.array(rows, dtype=FORMATS[form])
    for label in range(3):
        one_hot = np.eye(3, dtype=FORMATS[form])[[label] * len(rows)]
        for labels in ([label] * len(rows), one_hot):
            found = softmax_cross_entropy(logits, labels, reduction=reduction, extras=("correct",))
            assert found.correct.tolist() == [False] * 6 + [label == 2, label == 0]


def test_extras_of_an_ignored_row_and_of_targets():
    logits, labels, _, targets = case()
    labels[3] = -100
    result = softmax_cross_entropy(
        logits, labels, ignore_index=-100, extras=("log_likelihood", "correct", "prediction")
    )
    assert result.log_likelihood[3] == 0.0
    assert not result.correct[3]
    assert result.prediction[3] == logits[3].argmax()
    soft = softmax_cross_entropy(logits, targets, extras=("log_likelihood", "correct"))
    log_p = torch.log_softmax(torch.tensor(logits), 1).numpy()
    np.testing.assert_allclose(soft.log_likelihood, (targets * log_p).sum(1), rtol=1e-13)
    np.testing.assert_array_equal(soft.correct, targets.argmax(1) == logits.argmax(1))


@pytest.mark.parametrize(("form", "bar"), [("float16", 0.51), ("bfloat16", 0.51), ("float32", 0.51), ("float64", 8)])
def test_hessian_keeps_its_tails(form, bar):
    logits = np.array([[0.0, 30.0, 1.0], [0.5, 0.5, 0.5], [-3.0, 2.0, 8.0]]).astype(FORMATS[form])
    vector = np.array([[1.0, -2.0, 3.0], [1.0, 1.0, 2.0], [0.0, 4.0, -1.0]]).astype(FORMATS[form])
    diagonal, product = hessian_diagonal(logits), hessian_vector_product(logits, vector)
    digits, tiny = {"float16": (11, -24), "bfloat16": (8, -133), "float32": (24, -149), "float64": (53, -1074)}[form]
    for n in range(3):
        p = naive.softmax(logits[n].astype(np.float64))
        v = [mp.mpf(float(x)) for x in vector[n]]
        mean = mp.fsum(q * x for q, x in zip(p, v, strict=True))
        for j in range(3):
            exact = p[j] * mp.fsum(q for i, q in enumerate(p) if i != j), p[j] * (v[j] - mean)
            for got, truth in zip((diagonal[n, j], product[n, j]), exact, strict=True):
                unit = mp.mpf(2) ** max(mp.floor(mp.log(abs(truth), 2)) + 1 - digits, tiny) if truth else 1
                assert abs(mp.mpf(float(got)) - truth) / unit <= bar


# Kinds of arrays


def strided(array):
    wide = np.zeros((2 * array.shape[0], 3 * array.shape[1]), array.dtype)
    wide[::2, ::3] = array
    return wide[::2, ::3]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "negative rows": lambda a: a[::-1].copy()[::-1],
    "negative columns": lambda a: a[:, ::-1].copy()[:, ::-1],
    "strided": strided,
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("k", [6, 100])
def test_layout_changes_no_bit(form, layout, k):
    logits, labels, weights, targets = case(9, k, form)
    arranged = LAYOUTS[layout](logits)
    arranged.flags.writeable = False
    assert arranged.flags.aligned == (layout != "unaligned")
    np.testing.assert_array_equal(arranged, logits)
    for options in ({}, {"class_weights": weights, "z_loss": 0.1, "extras": ("probabilities",)}):
        for given in (labels, targets.astype(FORMATS[form])):
            expected, result = (
                softmax_cross_entropy(a, given, reduction="none", **options) for a in (logits, arranged)
            )
            np.testing.assert_array_equal(result.loss, expected.loss)
            np.testing.assert_array_equal(result.grad_logits, expected.grad_logits)
    if layout == "unaligned":
        odd = LAYOUTS[layout](labels[:, None])[:, 0]
        np.testing.assert_array_equal(
            softmax_cross_entropy(logits, odd).grad_logits, softmax_cross_entropy(logits, labels).grad_logits
        )
    else:
        out = LAYOUTS[layout](np.zeros_like(logits))
        assert softmax_cross_entropy(logits, labels, out=out).grad_logits is out
        np.testing.assert_array_equal(out, softmax_cross_entropy(logits, labels).grad_logits)


@pytest.mark.parametrize("form", FORMATS)
def test_pytorch_in_and_out_without_a_copy(form):
    logits, labels, _, _ = case(9, 6, form)
    expected = softmax_cross_entropy(logits, labels)
    tensor = torch.tensor(logits.astype(np.float64)).to(getattr(torch, form))
    loss, grad = softmax_cross_entropy(tensor, torch.tensor(labels))
    assert (loss.dtype, grad.dtype, loss.shape) == (tensor.dtype, tensor.dtype, ())
    np.testing.assert_array_equal(grad.double().numpy(), expected.grad_logits.astype(np.float64))
    address = tensor.data_ptr()
    place = softmax_cross_entropy(tensor, torch.tensor(labels), out=tensor).grad_logits
    assert place is tensor
    assert tensor.data_ptr() == address
    assert torch.equal(tensor, grad)
    assert chainrule.boundary.arrays.borrow("logits", tensor, "").view.ctypes.data == address


@pytest.mark.parametrize("form", ["float16", "bfloat16", "float32"])
def test_jax_in_and_out(form):
    logits, labels, _, _ = case(9, 6, form)
    array = jnp.asarray(logits)
    loss, grad = softmax_cross_entropy(array, jnp.asarray(labels))
    assert isinstance(grad, type(array))
    assert (loss.dtype, grad.dtype) == (array.dtype, array.dtype)
    np.testing.assert_array_equal(np.asarray(grad), softmax_cross_entropy(logits, labels).grad_logits)
    assert chainrule.boundary.arrays.borrow("logits", array, "").view.ctypes.data == array.unsafe_buffer_pointer()
    with pytest.raises(InputError, match="out: got a read-only array"):
        softmax_cross_entropy(array, labels, out=array)


def test_anything_with_dlpack():
    logits, labels, _, _ = case()
    array = array_api_strict.asarray(logits)
    loss, grad = softmax_cross_entropy(array, labels)
    assert type(grad) is type(array)
    np.testing.assert_array_equal(np.asarray(grad), softmax_cross_entropy(logits, labels).grad_logits)
    assert float(loss) == softmax_cross_entropy(logits, labels).loss


# Bad input

BAD = [
    ({"class_weights": np.ones(5)}, r"class_weights: got shape \(5,\), expected \(6,\)"),
    ({"class_weights": np.array([1, 1, -1, 1, 1, 1.0])}, "class_weights: got -1.0 at index 2, expected finite"),
    ({"class_weights": np.array([1, 1, np.nan, 1, 1, 1.0])}, "class_weights: got nan at index 2"),
    ({"class_weights": np.array(list("abcdef"))}, "class_weights: got"),
    ({"label_smoothing": 1.5}, r"label_smoothing: got 1.5, expected a fraction in \[0, 1\]"),
    ({"label_smoothing": float("nan")}, "label_smoothing: got nan"),
    ({"label_smoothing": "much"}, "label_smoothing: got 'much', expected a number"),
    ({"ignore_index": 1.0}, "ignore_index: got 1.0, expected an integer"),
    ({"ignore_index": True}, "ignore_index: got True"),
    ({"temperature": 0.0}, "temperature: got 0.0, expected a finite number > 0"),
    ({"temperature": -1}, "temperature: got -1"),
    ({"temperature": float("inf")}, "temperature: got inf"),
    ({"z_loss": -0.1}, "z_loss: got -0.1, expected a finite number >= 0"),
    ({"threads": 0}, "threads: got 0, expected an integer >= 1"),
    ({"threads": 1.5}, "threads: got 1.5"),
    ({"reduction": "max"}, "reduction: got 'max', expected one of 'mean', 'sum', 'none'"),
    ({"extras": "entropy"}, "extras: got 'entropy', expected a sequence of names"),
    ({"extras": ("entropie",)}, "extras: got 'entropie', expected one of 'probabilities'"),
    ({"labels": np.full((9, 6), -0.1)}, "labels: got -0.1 at row 0, column 0, expected finite numbers >= 0"),
    ({"labels": np.full((9, 6), np.inf)}, "labels: got inf at row 0, column 0"),
    ({"labels": np.ones((9, 5))}, r"labels: got shape \(9, 5\), expected \(9,\) integers or \(9, 6\) target"),
    ({"labels": np.full((9, 6), 1 / 6), "ignore_index": 0}, "ignore_index: got 0 with class probabilities as labels"),
    ({"labels": np.full(9, -100)}, r"labels: got -100 at index 0, expected integers in \[0, 6\)"),
    ({"labels": np.full(9, 7), "ignore_index": 2}, r"labels: got 7 at index 0, .* or ignore_index=2"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_options_leave_the_logits_untouched(change, message):
    logits, labels, _, _ = case()
    before = logits.copy()
    arguments = {"labels": labels} | change
    with pytest.raises(InputError, match=message):
        softmax_cross_entropy(logits, arguments.pop("labels"), out=logits, **arguments)
    np.testing.assert_array_equal(logits, before)


def test_targets_of_a_narrower_format_are_widened_and_of_a_wider_one_refused():
    logits, _, _, targets = case(form="float32")
    narrow = targets.astype(np.float16)
    found, expected = (softmax_cross_entropy(logits, given) for given in (narrow, narrow.astype(np.float32)))
    np.testing.assert_array_equal(found.grad_logits, expected.grad_logits)
    with pytest.raises(InputError, match="labels: got target probabilities of dtype float64, expected float32"):
        softmax_cross_entropy(logits, targets)


def test_hessian_product_wants_a_vector_like_the_logits():
    logits, _, _, _ = case()
    for vector in (logits[:, :3], logits.astype(np.float32)):
        with pytest.raises(InputError, match="vector: got shape"):
            hessian_vector_product(logits, vector)


@pytest.mark.parametrize("of_targets", [False, True], ids=["labels", "targets"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_record_serves_many_calls_and_parts_of_them(reduction, of_targets):
    """Two parts, written into the caller's memory, are the whole: a mean divides by what counts in all of it."""
    logits, labels, weights, targets = case()
    labels[2], given = 7, targets.astype("float32") if of_targets else labels
    kept = LossOptions.checked(reduction, None if of_targets else 7, 0.1, 0.7, 0.01)
    options, grad, total = kept.of(given, logits.shape, "float64", weights), np.full_like(logits, np.nan), 0.0
    for rows in (slice(0, 4), slice(4, 9)):
        total += loss_into(logits[rows], grad[rows], options.rows(rows), "float64", 1)
    wanted = {"label_smoothing": 0.1, "temperature": 0.7, "z_loss": 0.01, "class_weights": weights}
    exact = given.astype("float64") if of_targets else given
    wanted |= {"reduction": reduction, "ignore_index": kept.ignore_index}
    true_loss, true_grad = equations.softmax_cross_entropy(logits, exact, **wanted)
    assert_near(options.reduced(total), true_loss, "float64")
    assert_near(grad, true_grad, "float64")
    assert (kept.labels, kept.targets, kept.class_weights) == (None, None, None)
    loss_into(logits, logits, options, "float64", 1, factor=2.0)
    np.testing.assert_array_equal(logits, 2 * grad)


def test_the_record_is_frozen_and_knows_its_names():
    options = LossOptions.checked()
    with pytest.raises(AttributeError):
        options.reduction = "sum"
    with pytest.raises(TypeError, match="smoothing"):
        LossOptions(smoothing=0.1)
