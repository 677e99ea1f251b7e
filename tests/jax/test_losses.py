"""The face for JAX against mpmath and Optax: values, gradients, options, dtypes, errors."""

import inspect
from contextlib import contextmanager

import ml_dtypes
import mpmath as mp
import naive
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="Optax is not installed")

import jax.numpy as jnp  # noqa: E402

import chainrule.jax as face  # noqa: E402
from chainrule.errors import InputError  # noqa: E402
from chainrule.jax import closed_form as in_jax_numpy  # noqa: E402
from chainrule.jax import losses, primitives  # noqa: E402

MARGINS = [5, 10, 17, 20, 40, 80, 100]
DIGITS = {"float32": (24, -149), "float64": (53, -1074), "bfloat16": (8, -133), "float16": (11, -24)}  # smallest: 2**b
INTS = face.softmax_cross_entropy_with_integer_labels
TARGETS = face.softmax_cross_entropy


def x64(on):
    return jax.enable_x64(on) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(on)


@contextmanager
def closed_form(monkeypatch):
    """What is compiled meanwhile does without the kernels."""
    monkeypatch.setattr(primitives.ffi, "registered", lambda: False)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture(params=["kernel", "closed form"])
def path(request, monkeypatch):
    """Both what the CPU runs and what the other platforms run."""
    if request.param == "kernel":
        yield
    else:
        with closed_form(monkeypatch):
            yield


def ulps(value, truth, format):
    """How far a number is from the truth, in units of the last place of the truth in that format."""
    digits, tiny = DIGITS[format]
    if not truth:
        return 0.0 if value == 0 else np.inf
    unit = mp.mpf(2) ** max(int(mp.floor(mp.log(abs(truth), 2))) + 1 - digits, tiny)
    return float(abs(mp.mpf(float(value)) - truth) / unit)


def confident_rows(margin, k, format):
    """Two rows whose label stands about `margin` above the largest of the others, one whose label is another."""
    random = np.random.default_rng([margin, k])
    logits, labels = random.normal(size=(3, k)), random.integers(0, k, 3)
    for row, label in zip(logits, labels, strict=True):
        row[label] = -np.inf
        row[label] = row.max() + margin
    labels[2] = (labels[2] + 1) % k
    return logits.astype(ml_dtypes.bfloat16 if format == "bfloat16" else format), labels


@pytest.mark.parametrize(
    ("format", "of_loss", "of_gradient"),
    [("float32", 0.51, 0.51), ("bfloat16", 0.51, 0.51), ("float16", 0.51, 0.51), ("float64", 4, 6)],
)
@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("margin", MARGINS)
def test_within_half_an_ulp(margin, k, format, of_loss, of_gradient):
    logits, labels = confident_rows(margin, k, format)
    with x64(format == "float64"):
        a, y = jnp.asarray(logits), jnp.asarray(labels)
        hot = jax.nn.one_hot(y, k, dtype=a.dtype)
        truth = [naive.loss_and_grad(row, label) for row, label in zip(logits, labels, strict=True)]
        for loss_of, second in ((INTS, y), (TARGETS, hot)):
            loss = np.asarray(loss_of(a, second))
            grad = np.asarray(jax.grad(lambda a, s=second, f=loss_of: f(a, s).sum())(a))
            assert loss.dtype == grad.dtype == logits.dtype
            for n, (true_loss, true_grad) in enumerate(truth):
                assert ulps(loss[n], true_loss, format) <= of_loss
                assert max(ulps(g, t, format) for g, t in zip(grad[n], true_grad, strict=True)) <= of_gradient
                if abs(true_grad[labels[n]]) > mp.mpf(2) ** (DIGITS[format][1] - 1):
                    assert loss[n] > 0
                    assert grad[n, labels[n]] < 0
            assert not np.signbit(grad[grad == 0]).any()


@pytest.mark.parametrize("format", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("margin", [5, 20, 60])
def test_closed_form_is_near_and_never_zero(margin, format, monkeypatch):
    """In float64, where there is float64; and as a TPU computes it."""
    logits, labels = confident_rows(margin, 10, format)
    a, y = jnp.asarray(logits), jnp.asarray(labels)
    truth = [naive.loss_and_grad(row, label) for row, label in zip(logits, labels, strict=True)]
    for loss_of, second in ((INTS, y), (TARGETS, jax.nn.one_hot(y, 10, dtype=a.dtype))):
        with closed_form(monkeypatch):
            exact = jax.jit(jax.vmap(jax.value_and_grad(loss_of)))(a, second)
        for found, bar in ((exact, 0.51), (jax.jit(in_jax_numpy.loss_and_gradient)(a, second), 4)):
            loss, grad = map(np.asarray, found)
            for n, (true_loss, true_grad) in enumerate(truth):
                assert ulps(loss[n], true_loss, format) <= bar
                assert max(ulps(g, t, format) for g, t in zip(grad[n], true_grad, strict=True)) <= bar
                if format != "float16" or margin < 20:
                    assert loss[n] > 0
                    assert grad[n, labels[n]] < 0
            assert not np.signbit(grad[grad == 0]).any()


@pytest.mark.parametrize("k", [2, 10, 200])
@pytest.mark.parametrize("margin", [80, 88, 100])
def test_closed_form_keeps_what_xla_flushes(margin, k, monkeypatch):
    """Exponentials below float32's normal numbers, whose sum may be above."""
    logits, labels = confident_rows(margin, k, "float32")
    with closed_form(monkeypatch):
        exact = jax.jit(jax.vmap(jax.value_and_grad(INTS)))(logits, labels)
        share = np.asarray(jax.jit(losses.softmax)(logits))
    for found, bar in ((exact, 0.51), (jax.jit(in_jax_numpy.loss_and_gradient)(logits, labels), 4)):
        loss, grad = map(np.asarray, found)
        for n, label in enumerate(labels):
            true_loss, true_grad = naive.loss_and_grad(logits[n], label)
            assert ulps(loss[n], true_loss, "float32") <= bar
            assert max(ulps(g, t, "float32") for g, t in zip(grad[n], true_grad, strict=True)) <= bar
            assert ulps(share[n, label - 1], true_grad[label - 1], "float32") <= 4


def test_closed_form_of_logits_that_xla_computes_in_place(monkeypatch):
    """XLA takes the product that makes a logit into its difference from the largest, and leaves it unrounded there."""
    random = np.random.default_rng(0)
    a = random.normal(size=(40, 3)) + np.array([4.0, 0.0, 0.0])
    with x64(True), closed_form(monkeypatch):
        loss = np.asarray(jax.jit(lambda a: INTS(a * 10.3, jnp.zeros(40, int)))(jnp.asarray(a)))
    for came, row in zip(loss, a * 10.3, strict=True):
        assert came == pytest.approx(naive.loss_and_grad(row, 0)[0], rel=1e-12)
        assert came > 0


def test_a_masked_class_without_a_target(path):
    """It counts for nothing, in derivatives by targets too: those of the classes that are left, where 0 · ∞ would be
    NaN."""
    left, inf = [0, 2], np.inf
    a, b = np.array([0.3, -inf, 0.7], np.float32), np.array([0.2, -inf, -0.4], np.float32)
    q = np.asarray(jax.nn.softmax(b))

    def distil(student, teacher):
        return TARGETS(student, jax.nn.softmax(teacher))

    def twice(a):
        return distil(a, a)

    def derivatives(a, b, q):
        yield from jax.jvp(TARGETS, (a, q), (jnp.zeros_like(a), jnp.zeros_like(q)))
        for f, points in ((TARGETS, (a, q)), (distil, (a, b))):
            yield from jax.jacfwd(f, (0, 1))(*points)
            yield from jax.jacrev(f, (0, 1))(*points)
            yield from (block for row in jax.hessian(f, (0, 1))(*points) for block in row)
        yield jax.jacfwd(twice)(a)
        yield jax.hessian(twice)(a)

    for got, wanted in zip(derivatives(a, b, q), derivatives(a[left], b[left], q[left]), strict=True):
        kept = got[np.ix_(*[left] * got.ndim)] if got.ndim else got
        np.testing.assert_allclose(kept, wanted, rtol=1e-5, atol=1e-6)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"])
def test_signatures_are_optaxs(name):
    def parameters(module):
        return [(p.name, p.default, p.kind) for p in inspect.signature(getattr(module, name)).parameters.values()]

    theirs = parameters(optax)
    assert parameters(face)[: len(theirs)] == theirs
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for *_, kind in parameters(face)[len(theirs) :])


def test_the_kernels_run_on_the_cpu_and_not_elsewhere():
    a, y = jnp.zeros((2, 3)), jnp.array([0, 1])
    traced = jax.jit(jax.value_and_grad(lambda a: INTS(a, y).sum())).trace(a)
    assert "chainrule_loss_and_gradient" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "chainrule_loss_and_gradient" not in traced.lower(lowering_platforms=("cuda",)).as_text()
    q = jnp.ones((2, 3))
    traced = jax.jit(jax.value_and_grad(lambda a: TARGETS(a, q).sum())).trace(a)
    for platform, has_float64 in (("cpu", False), ("cuda", True), ("rocm", True), ("tpu", False)):
        assert ("xf64>" in traced.lower(lowering_platforms=(platform,)).as_text()) == has_float64


SHAPES = [
    ((5,), -1, None),
    ((4, 5), -1, None),
    ((2, 3, 5), -1, None),
    ((2, 5, 3), 1, None),
    ((5, 2), -2, None),
    ((2, 3, 4, 5), (1, 3), None),
    ((2, 3, 4, 5), (3, 1), None),
    ((0, 5), -1, None),
    ((4, 1), -1, None),
    ((4, 5), -1, "examples"),
    ((2, 5, 3), 1, "examples"),
    ((2, 3, 4, 5), (1, 3), "examples"),
    ((4, 5), -1, "classes"),
    ((2, 5, 3), 1, "classes"),
]


def inputs(shape, axis, where):
    """Logits, labels, targets and what counts; a label's class always counts, or else the whole example does not."""
    random = np.random.default_rng(3)
    axes = tuple(i % len(shape) for i in (axis if isinstance(axis, tuple) else (axis,)))
    batch = tuple(n for i, n in enumerate(shape) if i not in axes)
    k = int(np.prod([shape[i] for i in axes]))
    labels = random.integers(0, k, batch)
    targets = random.uniform(size=shape).astype(np.float32)
    mask = None
    if where == "examples":
        mask = random.uniform(size=batch) < 0.6
    if where == "classes":
        last = (random.uniform(size=(*batch, k)) < 0.5) | (np.arange(k) == labels[..., None])
        last[0] = False
        mask = np.moveaxis(last, -1, axes[0])
    logits = (3 * random.normal(size=shape)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(targets), None if mask is None else jnp.asarray(mask)


@pytest.mark.parametrize(("shape", "axis", "where"), SHAPES)
def test_equals_optax(shape, axis, where, path):
    logits, labels, targets, mask = inputs(shape, axis, where)
    weights = jnp.arange(1.0, 1 + labels.size).reshape(labels.shape)

    def both(loss_of, second, mask):
        def weighted(a):
            loss = loss_of(a, second, axis, mask)
            return (weights * loss).sum(), loss

        grad, loss = jax.jit(jax.grad(weighted, has_aux=True))(logits)
        return loss, grad

    for ours, theirs, second in (
        (TARGETS, optax.softmax_cross_entropy, targets),
        (INTS, optax.softmax_cross_entropy_with_integer_labels, labels),
    ):
        if ours is INTS and isinstance(axis, tuple) and mask is not None:
            mask = mask.reshape(mask.shape[0], 1, mask.shape[1], 1)  # Optax takes no other
        (loss, grad), (truth, wanted) = both(ours, second, mask), both(theirs, second, mask)
        assert loss.shape == truth.shape
        np.testing.assert_allclose(loss, truth, rtol=2e-6, atol=1e-6)  # of Optax's rounding
        np.testing.assert_allclose(grad, wanted, rtol=2e-5, atol=2e-6)


def test_all_axes_and_the_targets_own_gradient(path):
    logits, _, targets, _ = inputs((4, 5), -1, None)
    for f in (TARGETS, optax.softmax_cross_entropy):
        assert f(logits, targets, axis=None).shape == ()
    np.testing.assert_allclose(
        TARGETS(logits, targets, axis=None), optax.softmax_cross_entropy(logits, targets, axis=None), rtol=1e-6
    )
    ours, theirs = (
        jax.grad(lambda q, f=f: f(logits, q).sum())(targets) for f in (TARGETS, optax.softmax_cross_entropy)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_labels_broadcast_as_optaxs_do():
    logits = inputs((4, 5), -1, None)[0]
    np.testing.assert_allclose(TARGETS(logits, jnp.eye(5)[2]), INTS(logits, jnp.array([2] * 4)), rtol=0)
    np.testing.assert_allclose(INTS(logits, jnp.array([2])), INTS(logits, jnp.array([2] * 4)), rtol=0)
    np.testing.assert_allclose(TARGETS(logits[:1], jnp.eye(5)), INTS(logits[:1].repeat(5, 0), jnp.arange(5)), rtol=0)
    mixed = TARGETS(logits.astype(jnp.bfloat16), jnp.eye(5)[:4])
    assert mixed.dtype == optax.softmax_cross_entropy(logits.astype(jnp.bfloat16), jnp.eye(5)[:4]).dtype == jnp.float32
    np.testing.assert_allclose(TARGETS(logits, jnp.eye(5, dtype=int)[:4]), INTS(logits, jnp.arange(4)), rtol=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32"])
def test_labels_of_every_integer_dtype(dtype):
    logits = inputs((4, 5), -1, None)[0]
    assert INTS(logits, jnp.arange(4).astype(dtype)).tolist() == INTS(logits, jnp.arange(4)).tolist()


def test_labels_out_of_range_are_nan_and_only_theirs(path):
    logits = jnp.zeros((5, 3))
    labels = jnp.array([0, -1, 3, 2, -100])
    loss, grad = INTS(logits, labels), jax.grad(lambda a: INTS(a, labels).sum())(logits)
    assert np.isnan(loss).tolist() == [False, True, True, False, True]
    assert np.isnan(grad).any(axis=1).tolist() == np.isnan(grad).all(axis=1).tolist() == np.isnan(loss).tolist()
    with x64(True):
        far = jnp.array([2**32, -(2**62), 0, 1, 2])  # no 32 bits are left of them by chance
        assert np.isnan(INTS(logits, far)).tolist() == [True, True, False, False, False]
        assert np.isnan(INTS(logits, jnp.full(5, 2**64 - 1, jnp.uint64))).all()
    assert np.isnan(INTS(logits, jnp.full(5, 2**32 - 1, jnp.uint32))).all()
    cut = np.array([0, 2**32, 2**63 + 1, 2**64 - 1, 2], "uint64")  # JAX's 32 bits of them would be 0, 1 and -1
    assert np.isnan(INTS(logits, cut)).tolist() == [False, True, True, True, False]
    cut = np.array([0, 2**32, -(2**63), 1 - 2**32, 2])
    assert np.isnan(INTS(logits, cut)).tolist() == [False, True, True, True, False]
    assert np.isnan(face.linear_cross_entropy(logits, jnp.eye(3), cut, reduction="none"))[1:4].all()


def test_strict_promotion_beside_64_bits(path):
    logits, labels = jnp.zeros((2, 4), "float32"), jnp.array([1, 3], "int32")
    with x64(True), jax.numpy_dtype_promotion("strict"):
        loss, grad = jax.value_and_grad(lambda a: INTS(a, labels).sum())(logits)
    np.testing.assert_allclose(float(loss), 2 * np.log(4), rtol=1e-6)
    np.testing.assert_allclose(grad, (np.full((2, 4), 0.25) - np.eye(4)[[1, 3]]), rtol=1e-6)


def test_what_counts_for_nothing_has_no_gradient_even_where_it_is_nan(path):
    logits, labels = jnp.array([[1.0, 2.0], [jnp.nan, 0.0], [0.0, 1.0]]), jnp.array([0, 1, -100])
    keep = jnp.array([True, False, False])
    for loss in (lambda a: INTS(a, labels, where=keep).sum(), lambda a: jnp.where(keep, INTS(a, labels), 0).sum()):
        value, grad = jax.value_and_grad(loss)(logits)
        assert float(value) == float(INTS(logits[0], labels[0]))
        assert grad[1:].tolist() == [[0, 0], [0, 0]]
        assert not np.signbit(grad[1:]).any()


def test_special_values(path):
    inf, nan = jnp.inf, jnp.nan
    logits = jnp.array([[0, -inf, 0], [-inf, 1, -inf], [0, nan, 0], [inf, 0, 0], [0, 0, -inf], [-inf] * 3])
    labels = jnp.array([0, 1, 0, 1, 2, 0])
    loss, grad = INTS(logits, labels), jax.grad(lambda a: INTS(a, labels).sum())(logits)
    np.testing.assert_allclose(loss[:2], [np.log(2), 0], rtol=1e-6)
    assert grad[0].tolist() == [-0.5, 0.0, 0.5]
    assert grad[1].tolist() == [0.0, 0.0, 0.0]
    assert not np.signbit(grad[1]).any()
    for bad in (2, 3, 5):
        assert np.isnan(loss[bad])
        assert np.isnan(grad[bad]).all()
    assert loss[4] == inf
    assert grad[4].tolist() == [0.5, 0.5, -1.0]
    # a class whose target is 0 counts for nothing; 0 times infinity would be NaN
    assert float(TARGETS(logits[0], jnp.array([1.0, 0.0, 0.0]))) == pytest.approx(np.log(2))


def test_what_differs_from_optax():
    """Each difference that the docs list, on both sides."""
    theirs = optax.softmax_cross_entropy_with_integer_labels
    logits = jnp.array([[1.0, 2.0, 3.0]])
    confident = jnp.array([[0.0, 20.0]])
    assert float(theirs(confident, jnp.array([1]))[0]) == 0
    assert float(INTS(confident, jnp.array([1]))[0]) > 0
    assert theirs(logits, jnp.array([-1])).tolist() == theirs(logits, jnp.array([2])).tolist()
    assert np.isnan(INTS(logits, jnp.array([-1]))).all()
    without = jnp.array([[True, True, False]])
    assert float(theirs(logits, jnp.array([2]), where=without)[0]) == pytest.approx(
        np.log(np.e + np.e**2) - 3, abs=1e-6
    )
    assert INTS(logits, jnp.array([2]), where=without).tolist() == [np.inf]
    masked, hot = jnp.array([[1.0, 2.0, -np.inf]]), jnp.array([[1.0, 0.0, 0.0]])
    assert np.isnan(optax.softmax_cross_entropy(masked, hot)).all()
    np.testing.assert_allclose(TARGETS(masked, hot), np.log1p(np.e), rtol=1e-6)


BAD = [
    ((jnp.zeros((2, 3), int), jnp.zeros(2, int)), {}, r"logits: got dtype int32, expected float16, bfloat16"),
    ((jnp.zeros((2, 3)), jnp.zeros(2)), {}, "labels: got dtype float32, expected integers"),
    ((jnp.zeros((2, 3)), jnp.zeros(3, int)), {}, r"labels: got shape \(3,\), expected \(2,\)"),
    ((jnp.zeros((2, 3)), jnp.zeros((2, 3), int)), {}, r"labels: got shape \(2, 3\), expected \(2,\)"),
    ((jnp.zeros((2, 0)), jnp.zeros(2, int)), {}, r"logits: got shape \(2, 0\), expected at least one class"),
    ((jnp.zeros(()), jnp.zeros((), int)), {}, r"logits: got shape \(\), expected at least one axis"),
    ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"axis": 2}, r"axis: got 2, expected an axis of logits of shape \(2, 3\)"),
    ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"axis": (0, -2)}, r"axis: got \(0, -2\), the same axis twice"),
    ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"where": jnp.ones(2)}, "where: got dtype float32, expected bool"),
    (
        (jnp.zeros((2, 3)), jnp.zeros(2, int)),
        {"where": jnp.ones(3, bool)},
        r"where: got shape \(3,\), expected \(2,\) or \(2, 3\)",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD)
def test_bad_input_is_refused_when_traced(arguments, options, message):
    with pytest.raises(InputError, match=message):
        INTS(*arguments, **options)
    with pytest.raises(InputError, match=message):
        jax.jit(lambda a, y: INTS(a, y, **options)).trace(*arguments)


def test_bad_targets():
    with pytest.raises(InputError, match=r"labels: got shape \(2, 4\), expected \(2, 3\), a target for each class"):
        TARGETS(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(InputError, match="labels: got dtype complex64"):
        TARGETS(jnp.zeros((2, 3)), jnp.zeros((2, 3), complex))


def test_a_refusal_is_told(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such version")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    with pytest.warns(RuntimeWarning, match=r"goes by jax.numpy, not by its kernels: no such version"):
        assert not primitives.ffi.registered.__wrapped__()
