"""The output layer under property tests, from several threads, after fork, and beyond 2³¹ elements."""

import math
import os
import threading
from pathlib import Path

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import equations, softmax_cross_entropy
from chainrule.errors import InputError

FORMATS = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8, np.float32: 2.0**-24, np.float64: 1e-13}


@st.composite
def calls(draw, least=0, most=12):
    n, k, seed = draw(st.integers(least, most)), draw(st.integers(1, 80)), draw(st.integers(0, 2**32))
    dtype = draw(st.sampled_from(list(FORMATS)))
    random = np.random.default_rng(seed)
    step = draw(st.sampled_from([(1, 1), (1, 2), (3, 1), (-1, 1), (1, -1), (-2, -3)]))
    size = (n * abs(step[0]), k * abs(step[1]))
    spread = draw(st.sampled_from([0.1, 1.0, 5.0]))
    logits = random.normal(0, spread, size).astype(dtype)[:: step[0], :: step[1]]
    options = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "class_weights": draw(st.sampled_from([None, random.random(k) + 0.1])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "temperature": draw(st.sampled_from([1.0, 0.5, 2.0, 3.7])),
        "z_loss": draw(st.sampled_from([0.0, 1e-3])),
    }
    labels = random.integers(0, k, n)
    if draw(st.booleans()):
        options["ignore_index"] = draw(st.sampled_from([-100, 0]))
        labels[random.random(n) < 0.3] = options["ignore_index"]
    elif draw(st.booleans()):
        labels = random.dirichlet(np.ones(k), n).astype(dtype).reshape(n, k)
    return logits, labels, options, draw(st.sampled_from([1, 2]))


def check(call):
    logits, labels, options, threads = call
    loss, grad = softmax_cross_entropy(logits, labels, threads=threads, **options)
    given = labels if labels.ndim == 1 else labels.astype(np.float64)
    true_loss, true_grad = equations.softmax_cross_entropy(logits.astype(np.float64), given, **options)
    tolerance = 1.02 * FORMATS[logits.dtype.type]
    subnormal = 2.0**-25 if logits.dtype == np.float16 else 0.0
    for got, wanted in ((loss, true_loss), (grad, true_grad)):
        wanted = np.asarray(wanted)
        # what cancels in the equations in float64, which is in proportion to its terms
        atol = max(subnormal, 4e-15 * max(1.0, np.abs(wanted).max(initial=0.0)))
        np.testing.assert_allclose(np.asarray(got, np.float64), wanted, rtol=tolerance, atol=1.02 * atol)


@given(calls())
@settings(max_examples=300)
def test_any_call_equals_the_equations(call):
    check(call)


@pytest.mark.slow
@given(calls(least=500, most=1000))
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
def test_a_million_rows_equal_the_equations(call):
    check(call)


def many_rows(k=100, n=2000, seed=0):
    random = np.random.default_rng([k, seed])
    return random.normal(0, 3, (n, k)).astype(np.float32), random.integers(0, k, n)


def test_python_threads_at_once():
    cases = [many_rows(k, seed=seed) for seed in (0, 1) for k in (3, 10, 100, 500)]  # of a shape, two that differ
    expected = [softmax_cross_entropy(*case) for case in cases]
    wrong = []

    def work(i):
        for _ in range(20):
            loss, grad = softmax_cross_entropy(*cases[i])
            if loss != expected[i].loss or not np.array_equal(grad, expected[i].grad_logits):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning")
def test_a_forked_child_computes_the_same():
    case = many_rows()
    expected = softmax_cross_entropy(*case, threads=2)  # the parent's threads exist now
    child = os.fork()
    if child == 0:
        same = False
        try:
            result = softmax_cross_entropy(*case, threads=2)
            same = result.loss == expected.loss and np.array_equal(result.grad_logits, expected.grad_logits)
        finally:
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("rows", [1, 20_000])  # on this thread, and on others that are started while it flushes
def test_a_caller_that_flushes_subnormals_is_given_them_all_the_same(rows):
    """exp(−90) is 8e-40, below float32's normal numbers; the caller's own mode is left as it was."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")  # which flushes
    logits, labels = np.tile(np.float32([90.0, 0.0]), (rows, 1)), np.zeros(rows, dtype=np.int64)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        found = []

        def work():
            torch.set_flush_denormal(True)
            found.append(softmax_cross_entropy(logits, labels, reduction="none", threads=3))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        flushes = np.float32(1e-38) / np.float32(8) == 0
    finally:
        torch.set_flush_denormal(False)
    assert flushes
    exact = np.float32(float(mpmath.exp(-90)))
    assert exact > 0
    (result,) = found
    assert np.array_equal(result.loss, np.full(rows, exact))
    assert np.array_equal(result.grad_logits, np.tile([-exact, exact], (rows, 1)))


def memory():
    """Bytes that this process may use."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return physical if text == "max" else min(physical, int(text))


needs_memory = pytest.mark.skipif(memory() < 12 << 30, reason="needs 12 GiB of memory")


@pytest.mark.slow
@needs_memory
def test_more_than_two_to_the_31_elements():
    """Rows at the two ends, and around element 2³¹, have the values that they have by themselves."""
    k = 1 << 16
    n = (1 << 15) + 3
    logits = np.zeros((n, k), np.float16)  # 4.3 GB; the gradient overwrites it
    random = np.random.default_rng(0)
    rows = [0, 1, (1 << 15) - 1, 1 << 15, n - 1]
    some = random.normal(0, 3, (len(rows), k)).astype(np.float16)
    logits[rows] = some
    labels = random.integers(0, k, n)
    loss, grad = softmax_cross_entropy(logits, labels, reduction="none", out=logits)
    alone = softmax_cross_entropy(some, labels[rows], reduction="none")
    np.testing.assert_array_equal(loss[rows], alone.loss)
    np.testing.assert_array_equal(grad[rows], alone.grad_logits)
    np.testing.assert_allclose(loss[2 : (1 << 15) - 1].astype(float), np.log(k), rtol=2.0**-11)


@pytest.mark.slow
@needs_memory
def test_a_single_row_of_many_columns_in_a_wide_array():
    """A stride that takes an offset beyond 2³¹ elements."""
    wide = np.zeros((2, (1 << 31) + 8), np.float16)[:, :: 1 << 20]
    wide[1] = np.random.default_rng(0).normal(size=wide.shape[1])
    labels = np.array([0, wide.shape[1] - 1])
    loss, grad = softmax_cross_entropy(wide, labels, reduction="none")
    alone = softmax_cross_entropy(np.ascontiguousarray(wide), labels, reduction="none")
    np.testing.assert_array_equal(loss, alone.loss)
    np.testing.assert_array_equal(grad, alone.grad_logits)


@pytest.mark.parametrize("payload", [1, 0x7A2, 0xFFF, 0x123456789])  # 0x7A2 is R's NA
def test_a_nan_with_any_payload_gives_nan(payload):
    logits = np.zeros((1, 4))
    logits.view(np.uint64)[0, 1] = 0x7FF8000000000000 | payload
    for other in (0.0, 40.0):
        logits[0, 2] = other
        assert np.isnan(chainrule.softmax(logits)).all()
        assert np.isnan(chainrule.log_softmax(logits)).all()
        assert np.isnan(chainrule.hessian_diagonal(logits)).all()
        assert np.isnan(chainrule.hessian_vector_product(logits, np.ones((1, 4)))).all()
        for smoothing in (0.0, 0.1):
            loss, grad = softmax_cross_entropy(logits, [0], label_smoothing=smoothing)
            assert np.isnan(loss)
            assert np.isnan(grad).all()


def test_out_may_not_lie_in_labels_targets_or_weights():
    logits, out = np.zeros((64, 100)), np.zeros((64, 100))
    labels, weights = out.reshape(-1)[:64].view(np.int64), out.reshape(-1)[:100]
    for arguments in ({"labels": labels}, {"labels": out}, {"labels": np.arange(64), "class_weights": weights}):
        with pytest.raises(InputError, match="out: overlaps an input"):
            softmax_cross_entropy(logits, out=out, **arguments)
    assert not out.any()


@pytest.mark.parametrize("form", ["float32", "float64"])
def test_a_masked_label_loses_infinitely_and_hides_nothing_else(form):
    logits = np.array([[-np.inf, 0.0, 1.0]], form)
    for options in ({"extras": ("prediction",)}, {"label_smoothing": 0.1}, {"z_loss": 0.1}):
        loss, grad = softmax_cross_entropy(logits, [0], **options)
        assert loss == np.inf
        assert np.isfinite(grad).all()
    found = softmax_cross_entropy(logits, [0], extras=("logsumexp", "entropy", "log_likelihood"))
    p = 1 / (1 + math.e)
    assert found.logsumexp[0] == pytest.approx(math.log1p(math.e), rel=1e-7)
    assert found.entropy[0] == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p), rel=1e-7)
    assert found.log_likelihood[0] == -np.inf
    far = softmax_cross_entropy([[1.7e308, -1.7e308]], [1], extras=("logsumexp", "entropy"))
    assert (far.logsumexp[0], far.entropy[0]) == (1.7e308, 0.0)


def exact_gradient(logits, targets):
    """grad_j = e_j (Q - q_j)/S - q_j (S - e_j)/S at 200 bits."""
    with mpmath.workprec(200):
        e = [mpmath.exp(mpmath.mpf(float(a)) - mpmath.mpf(float(max(logits)))) for a in logits]
        q = [mpmath.mpf(t) for t in targets]
        return [(e[j] * (sum(q) - q[j]) - q[j] * (sum(e) - e[j])) / sum(e) for j in range(len(e))]


@pytest.mark.parametrize("epsilon", [1e-3, 1e-10, 1e-20])
@pytest.mark.parametrize("margin", [40.0, 100.0])
def test_a_little_smoothing_keeps_its_digits(margin, epsilon):
    logits = np.array([[margin, 0.0, 1.0, -2.0]])
    smoothed = softmax_cross_entropy(logits, [0], label_smoothing=epsilon).grad_logits[0]
    with mpmath.workprec(200):
        share = mpmath.mpf(epsilon) / 4
        truth = exact_gradient(logits[0], [1 - 3 * share, share, share, share])
    given = softmax_cross_entropy(logits, np.array([[1.0, epsilon, 0.0, 0.0]])).grad_logits[0]
    for got, exact in ((smoothed, truth), (given, exact_gradient(logits[0], [1.0, epsilon, 0.0, 0.0]))):
        for g, t in zip(got, exact, strict=True):
            assert abs(g - t) <= 1e-14 * abs(t)


def test_what_a_tensor_does_not_hold_as_it_lies_is_no_out_and_float8_no_logits():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    lazy = torch.complex(torch.zeros(3, 4), torch.zeros(3, 4)).conj().imag  # its negative bit is set
    with pytest.raises(InputError, match=r"out: got Tensor .* cannot be written where it lies"):
        softmax_cross_entropy(torch.randn(3, 4), [0, 1, 2], out=lazy)
    with pytest.raises(InputError, match=r"logits: got a tensor of dtype torch\.float8_e5m2"):
        softmax_cross_entropy(torch.zeros(3, 4).to(torch.float8_e5m2), [0, 1, 2])


class Foreign:
    def __array__(self, dtype=None, copy=None):
        raise KeyError("broken")


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (Foreign(), "logits: got Foreign"),
        (np.ma.masked_array(np.zeros((3, 4)), mask=np.eye(3, 4)), "logits: got an array with masked elements"),
        (np.zeros((3, 4), ">f8"), "logits: got dtype float64 in foreign byte order"),
    ],
    ids=["foreign", "masked", "byte order"],
)
def test_arrays_that_cannot_be_read_are_named(logits, message):
    with pytest.raises(InputError, match=message):
        softmax_cross_entropy(logits, [0, 1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore_index": 2**63}, "ignore_index: got 9223372036854775808, expected an integer <="),
        ({"temperature": 10**400}, r"temperature: got 1000+… \(401 characters\), expected a number that float64 can"),
        ({"z_loss": 10**5000}, "z_loss: got int too long to write, expected a number that float64 can hold"),
        ({"label_smoothing": -(10**400)}, "label_smoothing: got -1000"),
        ({"ignore_index": 10**5000}, "ignore_index: got int too long to write, expected an integer <="),
        ({"reduction": "mean" * 999}, "reduction: got 'mean"),
        ({"threads": -(10**400)}, "threads: got -1000"),
        ({"class_weights": [10**5000] * 4}, "class_weights: got"),
        ({"class_weights": 10**5000}, "class_weights: got"),
        ({"labels": 10**5000}, "labels: got"),
        ({"temperature": "5"}, "temperature: got '5', expected a number"),
        ({"z_loss": True}, "z_loss: got True, expected a number"),
        ({"temperature": 1e-310}, "temperature: got 1e-310, expected at least"),
        ({"class_weights": [1e-310] * 4}, "class_weights: got 1e-310 at index 0"),
        ({"class_weights": [1e308] * 4}, r"class_weights: got 1e\+308 at index 0"),
        ({"extras": None}, "extras: got None"),
        ({"extras": [[1]]}, r"extras: got \[1\]"),
        ({"labels": np.zeros((1, 3, 4))}, r"labels: got shape \(1, 3, 4\)"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_options_out_of_range_are_named(change, message):
    with pytest.raises(InputError, match=message) as caught:
        softmax_cross_entropy(np.zeros((3, 4)), **({"labels": [0, 1, 2]} | change))
    assert len(str(caught.value)) < 200
