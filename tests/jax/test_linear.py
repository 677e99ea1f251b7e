"""`chainrule.jax.linear_cross_entropy` against Optax on logits that are stored, and training loops with the face."""

import os
import re
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="Optax is not installed")

import jax.numpy as jnp  # noqa: E402

from chainrule.errors import InputError  # noqa: E402
from chainrule.jax import linear_cross_entropy  # noqa: E402

N, D, K = 23, 6, 7
EXAMPLES = Path(__file__).parents[2] / "examples"


def x64(on):
    return jax.enable_x64(on) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(on)


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def layer(request):
    """hidden, weight and perhaps bias in float64, labels, and which examples count."""
    random = np.random.default_rng(0)
    with x64(True):
        parameters = [jnp.asarray(random.normal(size=shape)) for shape in ((N, D), (K, D), (K,))]
        yield parameters[: 3 if request.param else 2], jnp.asarray(random.integers(0, K, N)), jnp.arange(N) % 3 > 0


def plain(parameters, labels, where, reduction):
    logits = parameters[0] @ parameters[1].T + (parameters[2] if len(parameters) == 3 else 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    losses = losses if where is None else jnp.where(where, losses, 0)
    count = N if where is None else where.sum()
    return {"mean": losses.sum() / count, "sum": losses.sum(), "none": losses}[reduction]


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_optax(layer, reduction, masked, rows):
    parameters, labels, where = layer
    where = where if masked else None
    weights = jnp.cos(jnp.arange(N)) if reduction == "none" else 1.0

    def ours(*parameters):
        hidden, weight, *bias = parameters
        loss = linear_cross_entropy(
            hidden, weight, labels, *bias, where=where, reduction=reduction, chunk_bytes=rows * 8 * K
        )
        return (weights * loss).sum(), loss

    def theirs(*parameters):
        loss = plain(parameters, labels, where, reduction)
        return (weights * loss).sum(), loss

    every = tuple(range(len(parameters)))
    (grads, loss), (wanted, truth) = (jax.jit(jax.grad(f, every, has_aux=True))(*parameters) for f in (ours, theirs))
    np.testing.assert_allclose(loss, truth, rtol=1e-13)
    for g, t in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(g, t, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_higher_derivatives(layer, reduction):
    parameters, labels, where = layer
    every = tuple(range(len(parameters)))

    def ours(*parameters):
        hidden, weight, *bias = parameters
        options = {"where": where, "reduction": reduction, "chunk_bytes": 5 * 8 * K}
        return (linear_cross_entropy(hidden, weight, labels, *bias, **options) ** 2).sum()

    def theirs(*parameters):
        return (plain(parameters, labels, where, reduction) ** 2).sum()

    def both(transform):
        for ours_, theirs_ in zip(
            *(jax.tree.leaves(jax.jit(transform(f))(*parameters)) for f in (ours, theirs)), strict=True
        ):
            np.testing.assert_allclose(ours_, theirs_, rtol=1e-9, atol=1e-11)

    both(lambda f: jax.hessian(f, every))
    both(lambda f: jax.jacrev(jax.jacrev(f, 1), every))
    both(lambda f: lambda *p: jax.jvp(f, p, p)[1])
    # in a scan, whose second derivative is where JAX's custom rules get lost
    both(lambda f: jax.hessian(lambda *p: jax.lax.scan(lambda s, _: (s + f(*p), None), 0.0, None, length=2)[0], 1))


def test_only_what_is_asked_for_is_computed():
    """A frozen weight's product, (K, N) times (N, D), is not there."""
    h, w, y = jnp.ones((8, 4)), jnp.ones((16, 4)), jnp.zeros(8, int)

    def products(argument):
        step = jax.jit(jax.grad(lambda h, w: linear_cross_entropy(h, w, y), argument))
        return step.lower(h, w).as_text().count("dot_general")

    assert products((0, 1)) == 3
    assert products(0) == products(1) == 2


def test_the_logits_are_not_stored():
    n, d, k, chunk = 2048, 8, 4096, 1 << 20
    h, w, y = jnp.ones((n, d)), jnp.ones((k, d)), jnp.zeros(n, int)
    step = jax.jit(jax.value_and_grad(lambda h, w: linear_cross_entropy(h, w, y, chunk_bytes=chunk), (0, 1)))
    beside = step.lower(h, w).compile().memory_analysis().temp_size_in_bytes
    assert beside < 3 * chunk + 4 * (n * d + 2 * k * d) < 4 * n * k


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_confident_examples_keep_their_digits(dtype):
    hidden, weight = jnp.array([[20.0, 0.0], [40.0, 1.0]], dtype), jnp.eye(2, dtype=dtype)
    losses = linear_cross_entropy(hidden, weight, jnp.array([0, 0]), reduction="none")
    grad = jax.grad(lambda h: linear_cross_entropy(h, weight, jnp.array([0, 0]), reduction="sum"))(hidden)
    assert losses.dtype == grad.dtype == dtype
    tiny = float(jnp.finfo(dtype).smallest_subnormal)
    for n in range(2):
        loss, gradient = naive.loss_and_grad(np.asarray(hidden[n], np.float64), 0)
        assert float(losses[n]) == pytest.approx(float(loss), rel=float(jnp.finfo(dtype).eps), abs=tiny)
        assert np.asarray(grad[n], float) == pytest.approx(
            [float(g) for g in gradient], rel=float(jnp.finfo(dtype).eps), abs=tiny
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_16_bits_are_rounded_once(dtype):
    """The mean's gradients are those of float32 from the same numbers, rounded."""
    random = np.random.default_rng(2)
    parameters = [jnp.asarray(random.normal(size=shape), dtype) for shape in ((N, D), (K, D), (K,))]
    labels = jnp.asarray(random.integers(0, K, N))

    def loss(h, w, b):
        return linear_cross_entropy(h, w, labels, b, chunk_bytes=5 * 4 * K)

    grads = jax.grad(loss, (0, 1, 2))(*parameters)
    for g, t in zip(grads, jax.grad(loss, (0, 1, 2))(*(p.astype(jnp.float32) for p in parameters)), strict=True):
        assert g.dtype == dtype
        assert g.tolist() == t.astype(dtype).tolist()


def test_leading_axes_vmap_and_nothing_that_counts():
    random = np.random.default_rng(1)
    h, w = jnp.asarray(random.normal(size=(3, 4, D)), jnp.float32), jnp.asarray(random.normal(size=(K, D)), jnp.float32)
    y = jnp.asarray(random.integers(0, K, (3, 4)))
    each = linear_cross_entropy(h, w, y, reduction="none")
    assert each.shape == (3, 4)
    np.testing.assert_allclose(linear_cross_entropy(h, w, y), each.mean(), rtol=1e-6)
    mapped = jax.vmap(lambda h, y: linear_cross_entropy(h, w, y, chunk_bytes=1))(h, y)
    np.testing.assert_allclose(mapped, each.mean(axis=1), rtol=1e-6)
    grads = jax.vmap(jax.grad(lambda w, h, y: linear_cross_entropy(h, w, y)), (None, 0, 0))(w, h, y)
    np.testing.assert_allclose(
        grads.mean(axis=0), jax.grad(lambda w: linear_cross_entropy(h, w, y))(w), rtol=1e-5, atol=1e-7
    )
    nothing = jnp.zeros((3, 4), bool)
    value, grad = jax.value_and_grad(lambda h: linear_cross_entropy(h, w, y, where=nothing))(h * jnp.nan)
    assert value == 0
    assert not grad.any()
    assert linear_cross_entropy(h[:0], w, y[:0]) == 0
    assert np.isnan(linear_cross_entropy(h, w, y.at[0, 0].set(K)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((2, 3), (5, 4), (2,)), {}, r"weight: got shape \(5, 4\) and dtype float32, expected \(K, 3\) and float32"),
        (((2, 3), (0, 3), (2,)), {}, r"weight: got shape \(0, 3\), expected at least one class"),
        (((2, 3), (5, 3), (3,)), {}, r"labels: got shape \(3,\) and dtype int32, expected \(2,\) and integers"),
        (((2, 3), (5, 3), (2,), (4,)), {}, r"bias: got shape \(4,\) and dtype float32, expected \(5,\) and float32"),
        (((2, 3), (5, 3), (2,)), {"reduction": "max"}, "reduction: got 'max', expected one of"),
        (((2, 3), (5, 3), (2,)), {"chunk_bytes": 0}, "chunk_bytes: got 0, expected an integer >= 1"),
        (
            ((2, 3), (5, 3), (2,)),
            {"where": np.ones(3, bool)},
            r"where: got shape \(3,\) and dtype bool, expected \(2,\)",
        ),
    ],
)
def test_bad_input(arguments, options, message):
    arrays = [jnp.zeros(shape, jnp.int32 if i == 2 else jnp.float32) for i, shape in enumerate(arguments)]
    with pytest.raises(InputError, match=message):
        jax.jit(lambda *a: linear_cross_entropy(*a, **options)).trace(*arrays)


@pytest.mark.parametrize("library", ["flax", "equinox"])
def test_training_loops(library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    command = [sys.executable, EXAMPLES / f"{library}_digits.py", "--epochs", "20"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
    ).stdout
    assert float(re.search(r"accuracy: ([0-9.]+)", printed)[1]) >= 0.96


SHAPES = {
    "softcap": {"softcap": 3.0},
    "scale": {"scale": 1.7},
    "temperature": {"temperature": 0.6},
    "z-loss": {"z_loss": 0.1},
    "all": {"softcap": 3.0, "scale": 1.7, "temperature": 0.6, "z_loss": 0.1},
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", SHAPES)
def test_cap_multiplier_temperature_and_z_loss(name, reduction):
    """Values, gradients and second derivatives are those of JAX's own operations on stored logits."""
    random, shape = np.random.default_rng(0), SHAPES[name]
    hidden, weight, bias = (random.normal(size=s).astype(np.float32) for s in ((7, 4), (9, 4), (9,)))
    labels, where = random.integers(0, 9, 7), np.arange(7) != 3
    bias[5] = -np.inf
    labels = np.where(labels == 5, 0, labels)

    def mine(hidden, weight, bias):
        value = linear_cross_entropy(
            hidden, weight, labels, bias, where, reduction=reduction, chunk_bytes=3 * 9 * 4, **shape
        )
        return (value * jnp.arange(1.0, 1.0 + value.size).reshape(value.shape)).sum()

    def by_hand(hidden, weight, bias):
        a = hidden @ weight.T + bias
        z = a * shape.get("scale", 1.0)
        if "softcap" in shape:
            z = jnp.where(jnp.isneginf(a), a, 3.0 * jnp.tanh(z / 3.0))
        z = z / shape.get("temperature", 1.0)
        lse = jax.nn.logsumexp(z, axis=1)
        each = jnp.where(where, lse - z[jnp.arange(7), labels] + shape.get("z_loss", 0.0) * lse**2, 0)
        value = {"mean": each.sum() / where.sum(), "sum": each.sum(), "none": each}[reduction]
        return (value * jnp.arange(1.0, 1.0 + value.size).reshape(value.shape)).sum()

    args = hidden, weight, bias
    near = {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(mine(*args), by_hand(*args), rtol=1e-5)
    for got, wanted in zip(*(jax.jit(jax.grad(f, (0, 1, 2)))(*args) for f in (mine, by_hand)), strict=True):
        np.testing.assert_allclose(got, wanted, **near)

    def along(f):
        return jax.grad(lambda h: (jax.grad(f)(h, weight, bias) * np.cos(hidden)).sum())(hidden)

    np.testing.assert_allclose(along(mine), along(by_hand), rtol=1e-3, atol=1e-3)


def test_wrong_caps_are_refused():
    hidden, weight, labels = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32), np.zeros(2, int)
    for options in ({"softcap": 0.0}, {"scale": -1.0}, {"temperature": 0.0}, {"z_loss": -1.0}):
        with pytest.raises(InputError, match=f"{next(iter(options))}: got"):
            linear_cross_entropy(hidden, weight, labels, **options)


def test_the_slope_of_a_cap_keeps_its_digits():
    """1 − tanh²(x/c) is 8e-9 at x = 10 c, and 0 in float32."""
    hidden, eye = jnp.array([[10.0, -9.0, 8.0]], jnp.float32), jnp.eye(3, dtype=jnp.float32)
    grad = jax.grad(lambda h: linear_cross_entropy(h, eye, jnp.array([1]), softcap=1.0))(hidden)
    x = np.asarray(hidden, np.float64)[0]
    p = np.exp(np.tanh(x))
    wanted = (p / p.sum() - np.eye(3)[1]) / np.cosh(x) ** 2
    np.testing.assert_allclose(np.asarray(grad)[0], wanted, rtol=1e-5)
