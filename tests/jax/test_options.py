"""Cap, multiplier, temperature, z-loss and extras in JAX: against mpmath, and under its transformations."""

import ml_dtypes
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp  # noqa: E402
from exact_options import BARS, case, mp, ulps  # noqa: E402
from shaped import truth  # noqa: E402

import chainrule.jax as face  # noqa: E402
from chainrule.errors import InputError  # noqa: E402
from chainrule.jax import primitives  # noqa: E402

INTS, TARGETS = face.softmax_cross_entropy_with_integer_labels, face.softmax_cross_entropy
ALL = {"softcap": 30.0, "scale": 0.7, "temperature": 0.8, "z_loss": 1e-3}
OPTIONS = {name: {name: value} for name, value in ALL.items()} | {"all": ALL}
EXTRAS = ("logsumexp", "log_likelihood", "entropy", "prediction", "correct")
LOGITS = 3 * np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
LABELS = np.array([1, 4, 0])
SOFT = np.random.default_rng(1).dirichlet(np.ones(5), 3).astype(np.float32)


def x64(on):
    return jax.enable_x64(on) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(on)


@pytest.fixture(params=["kernel", "closed form"])
def path(request, monkeypatch):
    """Both what the CPU runs and what the other platforms run."""
    if request.param == "closed form":
        monkeypatch.setattr(primitives.ffi, "registered", lambda: False)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


@pytest.mark.parametrize(
    ("dtype", "path"),
    [*((dtype, "kernel") for dtype in BARS), (np.float32, "closed form"), (np.float64, "closed form")],
    indirect=["path"],
    ids=lambda value: value if isinstance(value, str) else np.dtype(value).name,
)
def test_within_the_bars(dtype, path):
    """Loss, gradient and extras: float32 and narrower half a unit, float64 four and six."""
    if path == "kernel":
        cases = [(2, "all"), (200, "all"), *((10, name) for name in OPTIONS if dtype is np.float32)]
    else:
        cases = [(10, "all"), (10, "softcap")] if dtype is np.float32 else [(10, "all")]
    random = np.random.default_rng(0)
    with x64(dtype is np.float64):
        for k, name in cases:
            options = OPTIONS[name]
            rows = (random.normal(size=(3, k)) * 5).astype(dtype)
            labels, soft = random.integers(0, k, 3), random.dirichlet(np.ones(k), 3).astype(dtype)
            for function, given in ((INTS, jnp.asarray(labels)), (TARGETS, jnp.asarray(soft))):
                if path != "kernel" and (function is INTS) != (name == "softcap"):
                    continue  # with a z-loss labels are targets there

                def loss(a, function=function, given=given, options=options):
                    found = function(a, given, extras=EXTRAS[:3], **options)
                    return found.loss.sum(), found

                grad, found = jax.jit(jax.grad(loss, has_aux=True))(jnp.asarray(rows))
                for n in range(3):
                    q = [float(x) for x in soft[n]] if function is TARGETS else [int(j == labels[n]) for j in range(k)]
                    true, of_logits, terms, lse, entropy = truth(rows[n], q, **options)
                    if function is TARGETS:
                        log_likelihood = None
                    else:
                        log_likelihood = -truth(rows[n], q, **options | {"z_loss": 0.0})[0]
                    exact = [(found.loss, true), (found.logsumexp, lse), (found.entropy, entropy)]
                    exact += [] if log_likelihood is None else [(found.log_likelihood, log_likelihood)]
                    for came, right in exact:
                        assert ulps(came[n], right, dtype, 0) <= BARS[dtype][0], (name, k)
                    excuse = mp.mpf(2) ** (-96 if dtype is np.float64 else -70)
                    for came, right, size in zip(np.asarray(grad[n]), of_logits, terms, strict=True):
                        assert ulps(came, right, dtype, size * excuse) <= BARS[dtype][1], (name, k)


@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
def test_terms_that_cancel_without_the_kernel(dtype, monkeypatch):
    """As GPUs compute it, with `jax_enable_x64` for float64 alone: random targets, near convergence, far from it, and
    smoothed and weighted ones at their optimum."""
    monkeypatch.setattr(primitives.ffi, "registered", lambda: False)
    differentiated = jax.jit(jax.vmap(jax.value_and_grad(lambda a, q: TARGETS(a, q))))
    places = ("targets", "targets, optimum", "targets, 10 units", "targets, 10⁶ units", "targets, margin 100")
    excuse = mp.mpf(2) ** (-96 if dtype is np.float64 else -70)
    for k in {np.float32: (2, 10, 200), np.float64: (2, 200)}.get(dtype, (10,)):
        for name in (*places, "weighted smoothing, optimum"):
            rows, given, options = case(name, k, dtype, np.random.default_rng(k))
            if options:
                given = options["class_weights"] * (0.9 * np.eye(k)[given] + 0.1 / k)
            rows, given = rows[:3], given[:3].astype(dtype)
            with x64(dtype is np.float64):
                losses, grads = map(np.asarray, differentiated(jnp.asarray(rows), jnp.asarray(given)))
            assert losses.dtype == grads.dtype == dtype
            for row, q, loss, grad in zip(rows, given, losses, grads, strict=True):
                true, of_logits, terms, *_ = truth(row, [float(x) for x in q])
                assert ulps(loss, true, dtype, 0) <= BARS[dtype][0], (name, k)
                for came, right, size in zip(grad, of_logits, terms, strict=True):
                    assert ulps(came, right, dtype, size * excuse) <= BARS[dtype][1], (name, k)
            assert not np.signbit(grads[grads == 0]).any()


def by_hand(a, given, softcap=None, scale=1.0, temperature=1.0, z_loss=0.0):
    """By JAX's own operations."""
    z = a * scale
    z = (z if softcap is None else softcap * jnp.tanh(z / softcap)) / temperature
    q = jax.nn.one_hot(given, a.shape[-1], dtype=a.dtype) if given.ndim < a.ndim else given
    logs, lse = jax.nn.log_softmax(z), jax.nn.logsumexp(z, axis=-1)
    each = (q * logs).sum(-1)
    return -each + z_loss * lse**2, lse, each, -(jnp.exp(logs) * logs).sum(-1)


def test_under_transformations(path):
    """Values and derivatives up to the third, by both modes, batched, in float64."""

    def derivatives(f):
        def found(a, q):
            hessian = jax.jacfwd(jax.grad(f))
            batched = jax.vmap(jax.grad(f))(jnp.stack([a, a**2]), jnp.stack([q, q]))
            moved = jax.jvp(lambda a: f(a, q), (a,), (a**2,))
            third = jax.jvp(lambda a: hessian(a, q), (a,), (a**2,))[1]
            to_targets = jax.jacfwd(jax.grad(f, 1))(a, q) if q.ndim == a.ndim else ()
            return jax.grad(f)(a, q), hessian(a, q), batched, moved, third, to_targets

        return jax.jit(found)

    with x64(True):
        a = jnp.asarray(LOGITS, jnp.float64)
        for function, given in ((INTS, jnp.asarray(LABELS)), (TARGETS, jnp.asarray(SOFT, jnp.float64))):

            def mine(a, q, function=function):
                found = function(a, q, extras=EXTRAS[:3], **ALL)
                return sum((i + 1) * value.sum() for i, value in enumerate(found[:4]))

            def theirs(a, q):
                return sum((i + 1) * value.sum() for i, value in enumerate(by_hand(a, q, **ALL)))

            pairs = zip(*(jax.tree.leaves(derivatives(f)(a, given)) for f in (mine, theirs)), strict=True)
            for got, want in pairs:
                np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_extras_of_masked_examples_and_of_other_axes(path):
    where = jnp.array([True, False, True])
    found = INTS(LOGITS, LABELS, where=where, extras=EXTRAS)
    for value in found:
        assert not value[1]
    plain = INTS(LOGITS.T, LABELS, axis=0, extras=EXTRAS)
    assert all(np.array_equal(np.asarray(a)[[0, 2]], np.asarray(b)[[0, 2]]) for a, b in zip(found, plain, strict=True))
    assert plain.prediction.tolist() == LOGITS.argmax(1).tolist()
    assert plain.correct.tolist() == (LOGITS.argmax(1) == LABELS).tolist()
    assert TARGETS(LOGITS, SOFT, extras=EXTRAS).correct.tolist() == (LOGITS.argmax(1) == SOFT.argmax(1)).tolist()
    capped = INTS(np.array([[1.0, -np.inf, 2.0]], np.float32), np.array([0]), softcap=2.0, extras=("entropy",))
    assert np.isfinite(capped.loss)
    assert np.isfinite(capped.entropy)
    assert capped.prediction is None
    wrong = INTS(LOGITS, np.array([1, 9, -1]), z_loss=0.1, extras=EXTRAS)
    assert np.isnan(wrong.loss).tolist() == np.isnan(wrong.log_likelihood).tolist() == [False, True, True]
    assert not wrong.correct[1:].any()
    assert np.isfinite(wrong.entropy).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_extras_of_the_last_layer(reduction):
    random = np.random.default_rng(0)
    hidden, weight = (random.normal(size=shape).astype(np.float32) for shape in ((7, 3), (5, 3)))
    labels, where = random.integers(0, 5, 7), np.arange(7) != 2

    def mine(h, w):
        options = ALL | {"extras": EXTRAS, "reduction": reduction, "chunk_bytes": 60}
        return face.linear_cross_entropy(h, w, labels, where=where, **options)

    def theirs(h, w):
        found = INTS(h @ w.T, labels, where=where, extras=EXTRAS, **ALL)
        scale = {"mean": 1 / 6, "sum": 1.0, "none": None}[reduction]
        return found if scale is None else found._replace(loss=found.loss.sum() * scale)

    def total(f):
        return lambda h, w: sum(value.sum() for value in f(h, w)[:4])

    for got, want in zip(mine(hidden, weight), theirs(hidden, weight), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for f in (jax.grad, lambda f, i: jax.jit(jax.grad(f, i))):
        for i in (0, 1):
            pair = [f(total(g), i)(hidden, weight) for g in (mine, theirs)]
            np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_float32_loss_of_sixteen_bits(dtype):
    logits = jnp.asarray(LOGITS, dtype)
    found = INTS(logits, LABELS, loss_dtype=jnp.float32, extras=("entropy",))
    right = INTS(logits.astype(jnp.float32), LABELS, extras=("entropy",))
    assert found.loss.dtype == found.entropy.dtype == jnp.float32
    assert np.array_equal(found.loss, right.loss)
    assert TARGETS(logits, jnp.asarray(SOFT, dtype), loss_dtype="float32").dtype == jnp.float32
    grad = jax.grad(lambda a: INTS(a, LABELS, loss_dtype=jnp.float32).mean())(logits)
    assert grad.dtype == dtype
    hidden, weight = jnp.ones((3, 2), dtype), jnp.ones((5, 2), dtype)
    assert face.linear_cross_entropy(hidden, weight, LABELS, loss_dtype=jnp.float32).dtype == jnp.float32
    assert face.linear_cross_entropy(hidden, weight, LABELS).dtype == dtype


def test_what_is_wrong_is_named():
    for options in ({"softcap": 0.0}, {"scale": -1.0}, {"temperature": 0.0}, {"z_loss": -1.0}):
        for function, given in ((INTS, LABELS), (TARGETS, SOFT)):
            with pytest.raises(InputError, match=f"{next(iter(options))}: got"):
                function(LOGITS, given, **options)
    with pytest.raises(InputError, match="extras: got 'probabilities', expected one of"):
        INTS(LOGITS, LABELS, extras=("probabilities",))
    with pytest.raises(InputError, match="loss_dtype: got"):
        INTS(LOGITS, LABELS, loss_dtype=ml_dtypes.bfloat16)


def test_without_options_nothing_changes():
    plain = INTS(LOGITS, LABELS)
    assert np.array_equal(INTS(LOGITS, LABELS, extras=("entropy",)).loss, plain)
    assert np.array_equal(INTS(LOGITS, LABELS, temperature=1.0, z_loss=0.0, softcap=None, scale=1.0), plain)
