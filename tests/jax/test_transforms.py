"""The face for JAX under its transformations, alone and nested."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="Optax is not installed")

import jax.numpy as jnp  # noqa: E402

from chainrule.jax import softmax_cross_entropy, softmax_cross_entropy_with_integer_labels  # noqa: E402

K = 5
PAIRS = [
    (softmax_cross_entropy_with_integer_labels, optax.softmax_cross_entropy_with_integer_labels, "labels"),
    (softmax_cross_entropy, optax.softmax_cross_entropy, "targets"),
]


def x64(on):
    return jax.enable_x64(on) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(on)


@pytest.fixture(params=PAIRS, ids=[name for _, _, name in PAIRS])
def problem(request):
    """Our loss and Optax's, summed with weights, of float64 logits; all in float64."""
    ours, theirs, kind = request.param
    random = np.random.default_rng(0)
    logits, labels = 2 * random.normal(size=(4, K)), random.integers(0, K, 4)
    second = labels if kind == "labels" else random.uniform(size=(4, K))
    weights = random.normal(size=4)
    with x64(True):
        yield (
            lambda a: (weights * ours(a, jnp.asarray(second)) ** 2).sum(),
            lambda a: (weights * theirs(a, jnp.asarray(second)) ** 2).sum(),
            jnp.asarray(logits),
        )


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def differences(f, a, h=1e-6):
    """Central differences of f, a derivative along a last axis for each element of a."""
    steps = np.eye(a.size).reshape(a.size, *a.shape)
    return np.stack([(np.asarray(f(a + h * e)) - np.asarray(f(a - h * e))) / (2 * h) for e in steps], axis=-1)


def test_derivatives_by_finite_differences(problem):
    ours, _, a = problem
    f = jax.jit(ours)
    gradient, hessian = jax.jit(jax.grad(ours)), jax.jit(jax.hessian(ours))
    np.testing.assert_allclose(np.ravel(gradient(a)), differences(f, a), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(np.reshape(hessian(a), (4, K, -1)), differences(gradient, a), rtol=1e-6, atol=1e-8)
    third = jax.jit(jax.jacfwd(jax.hessian(ours)))
    np.testing.assert_allclose(np.reshape(third(a), (4, K, 4, K, -1)), differences(hessian, a), rtol=1e-6, atol=1e-7)


def test_derivatives_are_optaxs(problem):
    ours, theirs, a = problem
    v = jnp.cos(a)
    for f in (
        jax.grad,
        jax.hessian,
        lambda f: jax.jacrev(jax.jacfwd(f)),
        lambda f: jax.jacrev(jax.jacrev(f)),
        lambda f: jax.jacfwd(jax.jacfwd(f)),
        lambda f: lambda a: jax.jvp(f, (a,), (v,))[1],
        lambda f: lambda a: jax.jvp(jax.grad(f), (a,), (v,))[1],
        lambda f: lambda a: jax.grad(lambda a: jnp.vdot(jax.grad(f)(a), v))(a),
        lambda f: jax.grad(lambda a: (jax.hessian(f)(a) ** 2).sum()),
        lambda f: lambda a: jax.linearize(f, a)[1](v),
        lambda f: jax.grad(jax.checkpoint(f)),
    ):
        close(jax.jit(f(ours))(a), jax.jit(f(theirs))(a))
    close(jax.grad(ours)(a), jax.grad(theirs)(a))
    close(jax.hessian(ours)(a), jax.hessian(theirs)(a))


@pytest.mark.parametrize("f", [lambda f: f, jax.grad, jax.hessian], ids=["value", "grad", "hessian"])
def test_in_scan(problem, f):
    """JAX forgets a custom_jvp's rule in a scan that is differentiated twice: ours is none."""
    ours, theirs, a = problem

    def summed(loss):
        return lambda a: jax.lax.scan(lambda s, x: (s + loss(x), None), 0.0, jnp.stack([a, 2 * a]))[0]

    close(jax.jit(f(summed(ours)))(a), jax.jit(f(summed(theirs)))(a))


def test_in_while_and_cond():
    a, y = jnp.ones((2, 3)), jnp.array([0, 2])

    def step(i, a):
        return a - jax.grad(lambda a: softmax_cross_entropy_with_integer_labels(a, y).sum())(a)

    result = jax.jit(lambda a: jax.lax.fori_loop(0, 3, step, a))(a)
    np.testing.assert_allclose(result, step(2, step(1, step(0, a))), rtol=1e-6)
    either = jax.jit(lambda flag: jax.lax.cond(flag, lambda: step(0, a), lambda: a))
    np.testing.assert_allclose(either(True), step(0, a), rtol=1e-6)


def test_vmap_over_everything():
    random = np.random.default_rng(1)
    logits, labels = jnp.asarray(random.normal(size=(3, 4, K)), jnp.float32), jnp.asarray(random.integers(0, K, (3, 4)))
    loss = softmax_cross_entropy_with_integer_labels
    whole, grads = loss(logits, labels), jax.grad(lambda a: loss(a, labels).sum())(logits)

    def summed(a, y):
        return loss(a, y).sum()

    for axes in ((0, 0), (1, 1), (2, None)):
        moved = [jnp.moveaxis(x, 0, i) if i is not None else x for x, i in zip((logits, labels), axes, strict=True)]
        if axes == (2, None):
            moved = [jnp.moveaxis(logits, 0, 2), labels[0]]
        truth = whole if axes != (2, None) else loss(logits, jnp.broadcast_to(labels[0], labels.shape))
        assert jax.vmap(loss, axes)(*moved).tolist() == truth.tolist()
    assert jax.vmap(jax.vmap(loss))(logits, labels).tolist() == whole.tolist()
    assert jax.vmap(jax.grad(summed))(logits, labels).tolist() == grads.tolist()
    assert jax.vmap(loss, (None, 0))(logits[0], labels).shape == (3, 4)
    per_example = jax.jit(jax.vmap(jax.hessian(loss)))(logits[0], labels[0])
    p = jax.nn.softmax(logits[0])
    np.testing.assert_allclose(per_example, p[:, :, None] * (jnp.eye(K) - p[:, None, :]), atol=1e-6)


def test_without_jit_and_with_checks(problem):
    """As one debugs: op by op, with a look for NaN and for leaked tracers."""
    ours, theirs, a = problem
    wanted = jax.grad(theirs)(a)
    with jax.disable_jit():
        np.testing.assert_allclose(jax.grad(ours)(a), wanted, rtol=1e-10, atol=1e-12)
    with jax.debug_nans(True), jax.checking_leaks():
        np.testing.assert_allclose(jax.jit(jax.grad(ours))(a), wanted, rtol=1e-10, atol=1e-12)


def test_exported():
    from jax import export

    a, labels = jnp.asarray(np.random.default_rng(0).normal(size=(4, K)), jnp.float32), jnp.array([0, 1, 2, 4])
    function = jax.jit(jax.grad(lambda a: softmax_cross_entropy_with_integer_labels(a, labels).sum()))
    known = export.DisabledSafetyCheck.custom_call("chainrule_loss_and_gradient")
    exported = export.export(function, disabled_checks=[known])(jax.ShapeDtypeStruct(a.shape, a.dtype))
    again = export.deserialize(exported.serialize())
    assert np.array_equal(again.call(a), function(a))
    with pytest.raises(ValueError, match="chainrule_loss"):
        export.export(function)(jax.ShapeDtypeStruct(a.shape, a.dtype))


def test_hessian_keeps_its_tails():
    hessian = jax.hessian(lambda a: softmax_cross_entropy_with_integer_labels(a, jnp.array(1)))(jnp.array([0.0, 40.0]))
    np.testing.assert_allclose(hessian, 4.248354255291589e-18 * np.array([[1, -1], [-1, 1]]), rtol=1e-6)


def test_many_threads_at_once():
    loss = softmax_cross_entropy_with_integer_labels
    y = jnp.arange(3000) % 100
    step = jax.jit(jax.value_and_grad(lambda a: loss(a, y).sum()))
    logits = [jax.random.normal(jax.random.key(i), (3000, 100)) for i in range(4)]
    alone = [np.asarray(step(a)[1]).tobytes() for a in logits]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert [np.asarray(g).tobytes() for _, g in pool.map(step, logits)] == alone


def run(code, *flags):
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shard_map_over_four_devices():
    run(
        """
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        from chainrule.jax import linear_cross_entropy, softmax_cross_entropy_with_integer_labels as loss

        assert len(jax.devices()) == 4
        mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
        a, y = 3 * jax.random.normal(jax.random.key(0), (8, 5)), jnp.arange(8) % 5
        w = jax.random.normal(jax.random.key(1), (5, 5))
        total = lambda a: loss(a, y).sum()
        for check in (True, False):
            def sharded(f, ins, outs):
                return jax.shard_map(f, mesh=mesh, in_specs=ins, out_specs=outs, check_vma=check)
            every = sharded(loss, (P("x"), P("x")), P("x"))
            summed = sharded(lambda a, y: jax.lax.psum(loss(a, y).sum(), "x"), (P("x"), P("x")), P())
            inside = sharded(jax.grad(lambda a, y: loss(a, y).sum()), (P("x"), P("x")), P("x"))
            assert every(a, y).tolist() == jax.jit(every)(a, y).tolist() == loss(a, y).tolist()
            assert inside(a, y).tolist() == jax.grad(total)(a).tolist()
            assert jax.grad(summed)(a, y).tolist() == jax.grad(total)(a).tolist()
            np.testing.assert_allclose(jax.jit(jax.hessian(summed))(a, y), jax.hessian(total)(a), atol=1e-7)
            linear = sharded(
                lambda h, w, y: jax.lax.pmean(linear_cross_entropy(h, w, y), "x"), (P("x"), P(), P("x")), P()
            )
            for i in (0, 1):
                np.testing.assert_allclose(
                    jax.jit(jax.grad(linear, i))(a, w, y), jax.grad(linear_cross_entropy, i)(a, w, y), atol=1e-6
                )
        # and where XLA shares the work out by itself
        there = jax.device_put((a, y), NamedSharding(mesh, P("x")))
        assert jax.jit(jax.grad(lambda a, y: loss(a, y).sum()))(*there).tolist() == jax.grad(total)(a).tolist()
        """,
        "--xla_force_host_platform_device_count=4",
    )


@pytest.mark.parametrize("held", [True, False])
def test_python_may_end_while_work_is_in_flight(held):
    """XLA's threads must not be in a kernel of a process that has gone: that may end it with an abort, or never."""
    run(
        f"""
        import jax, jax.numpy as jnp
        from chainrule.jax import softmax_cross_entropy_with_integer_labels as loss

        y = jnp.zeros(2048, int)
        step = jax.jit(lambda a: 3 * jax.grad(lambda a: loss(a, y).sum())(a))
        a = jax.random.normal(jax.random.key(0), (2048, 4000))
        for _ in range(4):
            a = step(a)
        a = a if {held} else None
        """
    )


def test_threads_that_start_in_xla_do_not_flush():
    """XLA's threads flush subnormal numbers. Ours, which are started from one of them here, must not inherit that."""
    run(
        """
        import jax, jax.numpy as jnp, numpy as np
        import chainrule
        from chainrule.jax import softmax_cross_entropy_with_integer_labels as loss

        logits = np.tile(np.array([0.0, 100.0], np.float32), (40000, 1))
        y = jnp.ones(40000, int)
        through = np.asarray(jax.jit(jax.grad(lambda a: loss(a, y).sum()))(jnp.asarray(logits)))
        straight = chainrule.softmax_cross_entropy(logits, np.ones(40000, int), reduction="sum").grad_logits
        assert straight.all()
        assert through.tobytes() == straight.tobytes()
        """
    )
