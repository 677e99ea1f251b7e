"""The output layer against references at 60 digits, and what it does with bad input."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import cross_entropy, log_softmax, softmax, softmax_cross_entropy, softmax_jacobian
from chainrule.errors import InputError

MARGINS = [5, 10, 17, 20, 40, 80]


def rows_with_margin(margin, k, dtype, n=3):
    """The label's logit stands `margin` above the largest of the others."""
    random = np.random.default_rng([margin, k])
    logits = random.normal(size=(n, k)).astype(dtype)
    labels = random.integers(0, k, n)
    for row, label in zip(logits, labels, strict=True):
        row[label] = -np.inf
        row[label] = row.max() + dtype(margin)
    return logits, labels


@pytest.mark.parametrize(("dtype", "bar"), [(np.float32, 0.51), (np.float64, 6.0)])
@pytest.mark.parametrize("k", [2, 3, 10, 1000])
@pytest.mark.parametrize("margin", MARGINS)
def test_loss_and_gradient_within_half_an_ulp(margin, k, dtype, bar):
    logits, labels = rows_with_margin(margin, k, dtype)
    wrong_label = (labels + 1) % k
    for label in (labels, wrong_label):
        loss, grad = softmax_cross_entropy(logits, label, reduction="none")
        for n in range(len(logits)):
            true_loss, true_grad = naive.loss_and_grad(logits[n], label[n])
            assert naive.ulps(loss[n], true_loss, dtype) <= bar
            assert max(naive.ulps(g, t, dtype) for g, t in zip(grad[n], true_grad, strict=True)) <= bar
            assert loss[n] > 0
            assert grad[n, label[n]] < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_and_its_logarithm(dtype):
    logits, _ = rows_with_margin(20, 10, dtype)
    probabilities, logarithms = softmax(logits), log_softmax(logits)
    for row, p, log_p in zip(logits, probabilities, logarithms, strict=True):
        truth = naive.softmax(row)
        assert max(naive.ulps(a, t, dtype) for a, t in zip(p, truth, strict=True)) <= 4
        assert max(naive.ulps(a, naive.mp.log(t), dtype) for a, t in zip(log_p, truth, strict=True)) <= 4


def test_softmax_jacobian_keeps_its_tails():
    jacobian = softmax_jacobian(np.array([[0.0, 40.0, 1.0]]))[0]
    p = naive.softmax([0.0, 40.0, 1.0])
    for i in range(3):
        for j in range(3):
            truth = p[i] * ((i == j) - p[j])
            assert abs(jacobian[i, j] - float(truth)) <= 1e-14 * abs(float(truth))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_equal_pytorch(reduction, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(7, 5)).astype(dtype), random.integers(0, 5, 7)
    tensor = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    truth = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels), reduction=reduction)
    truth.sum().backward()
    loss, grad = softmax_cross_entropy(logits, labels, reduction=reduction)
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, truth.detach().numpy(), rtol=tolerance)
    np.testing.assert_allclose(grad, tensor.grad.numpy(), rtol=tolerance, atol=tolerance / 100)
    assert loss.dtype == grad.dtype == dtype


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_probabilities(reduction):
    p, labels = np.array([[0.25, 0.75], [0.5, 0.5]]), [0, 1]
    loss, grad = cross_entropy(p, labels, reduction=reduction)
    each, share = -np.log([0.25, 0.5]), 0.5 if reduction == "mean" else 1.0
    np.testing.assert_allclose(loss, {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction], rtol=1e-15)
    np.testing.assert_allclose(grad, [[-4 * share, 0], [0, -2 * share]], rtol=1e-15)


def test_cross_entropy_of_probability_zero_is_infinite():
    loss, grad = cross_entropy([[0.0, 1.0]], [0])
    assert loss == np.inf
    assert grad.tolist() == [[-np.inf, 0.0]]


@given(st.integers(1, 9), st.integers(1, 40), st.sampled_from(["float32", "float64"]), st.integers(0, 2**32 - 1))
def test_threads_batch_split_and_place_change_no_bit(n, k, dtype, seed):
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(n, k)) * 10).astype(dtype)
    labels = random.integers(0, k, n)
    whole = softmax_cross_entropy(logits, labels, reduction="none", threads=1)
    apart = [softmax_cross_entropy(logits[i : i + 1], labels[i : i + 1], reduction="none") for i in range(n)]
    assert whole.grad_logits.tobytes() == np.concatenate([a.grad_logits for a in apart]).tobytes()
    assert whole.loss.tobytes() == np.concatenate([a.loss for a in apart]).tobytes()
    place = logits.copy()
    assert softmax_cross_entropy(place, labels, reduction="none", out=place, threads=2).grad_logits is place
    assert place.tobytes() == whole.grad_logits.tobytes()
    strided = np.asfortranarray(logits)[::-1]
    backwards = softmax_cross_entropy(strided, labels[::-1], reduction="none")
    assert backwards.grad_logits[::-1].tobytes() == whole.grad_logits.tobytes()


def test_many_rows_on_many_threads():
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(3000, 100)).astype(np.float32), random.integers(0, 100, 3000)
    results = [softmax_cross_entropy(logits, labels, threads=t) for t in (1, 2, 3, 7)]
    assert len({r.grad_logits.tobytes() for r in results}) == 1
    assert len({float(r.loss) for r in results}) == 1


def test_adding_a_constant_changes_no_bit():
    logits = np.random.default_rng(2).integers(-50, 50, (20, 30)).astype(np.float32)
    labels = np.arange(20)
    a, b = (softmax_cross_entropy(logits + np.float32(c), labels) for c in (0, 4096))
    assert a.grad_logits.tobytes() == b.grad_logits.tobytes()
    assert a.loss == b.loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    inf, nan = np.inf, np.nan
    logits = np.array([[0, -inf, 0], [-inf, 1, -inf], [0, nan, 0], [inf, 0, 0], [0, 0, -inf], [-inf] * 3], dtype)
    loss, grad = softmax_cross_entropy(logits, [0, 1, 0, 1, 2, 0], reduction="none")
    np.testing.assert_allclose(loss[:2], [np.log(2), 0], rtol=1e-7)
    assert grad[0].tolist() == [-0.5, 0.0, 0.5]
    assert grad[1].tolist() == [0.0, 0.0, 0.0]
    assert not np.signbit(grad[1]).any()
    assert np.isnan(loss[[2, 3, 5]]).all()
    assert np.isnan(grad[[2, 3, 5]]).all()
    assert loss[4] == inf
    assert grad[4].tolist() == [0.5, 0.5, -1.0]


def test_no_examples():
    for reduction, expected in (("mean", 0.0), ("sum", 0.0), ("none", [])):
        loss, grad = softmax_cross_entropy(np.empty((0, 3)), [], reduction=reduction)
        assert np.asarray(loss).tolist() == expected
        assert grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"labels: got 3 at index 1, expected integers in \[0, 3\)"),
        ([-1, 0], "labels: got -1 at index 0"),
        ([0.0, 1.0], "labels: got dtype float64"),
        ([0.0, np.nan], "NaN at index 1"),
        ([True, False], "labels: got dtype bool"),
        (["a", "b"], "labels: got dtype"),
        ([0], r"labels: got shape \(1,\), expected \(2,\)"),
        ([[0], [1]], "labels: got shape"),
        (np.array([0, 2**64 - 1], dtype=np.uint64), "labels: got 18446744073709551615"),
    ],
)
def test_bad_labels_leave_the_logits_untouched(labels, message):
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    with pytest.raises(InputError, match=message):
        softmax_cross_entropy(logits, labels, out=logits)
    assert logits.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros(3), "expected rank 2"),
        (np.zeros((2, 3, 1)), "expected rank 2"),
        (np.zeros((2, 0)), "at least one column of"),
        (np.zeros((2, 3), dtype=object), "logits: got dtype object"),
        (np.zeros((2, 3), dtype=np.int32), "logits: got dtype int32"),
        (np.zeros((2, 3), dtype=complex), "logits: got dtype complex128"),
        (np.zeros((2, 3), dtype=">f4"), "native byte order"),
        ("text", "logits: got shape"),
        ([[1.0], [1.0, 2.0]], "logits: got list"),
    ],
)
def test_bad_logits(logits, message):
    with pytest.raises(InputError, match=message):
        softmax_cross_entropy(logits, [0, 1])


def test_bad_out_is_refused_before_it_is_written():
    logits = np.zeros((2, 3), dtype=np.float32)
    read_only = np.zeros_like(logits)
    read_only.flags.writeable = False
    memory = np.zeros((3, 3), dtype=np.float32)
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (2, 3), (4, 4))
    cases = [np.zeros((2, 3)), np.zeros((3, 2), np.float32), [[0.0] * 3] * 2, read_only, overlapping]
    for out in cases:
        with pytest.raises(InputError, match="out: "):
            softmax_cross_entropy(logits, [0, 1], out=out)
    with pytest.raises(InputError, match="out: got list"):  # of the very dtype that float64 logits have
        softmax_cross_entropy(np.zeros((2, 3)), [0, 1], out=[[0.0] * 3] * 2)
    with pytest.raises(InputError, match="overlaps"):
        softmax_cross_entropy(memory[:2], [0, 1], out=memory[1:])
    assert not memory.any()


def test_other_bad_options():
    for option in ({"reduction": "avg"}, {"threads": 0}, {"threads": 1.5}):
        with pytest.raises(InputError, match=next(iter(option))):
            softmax_cross_entropy(np.zeros((2, 3)), [0, 1], **option)
    for outside in (1.5, -0.5):
        with pytest.raises(InputError, match=f"got {outside} at row 0, column 1"):
            cross_entropy([[0.5, outside]], [0])
    with pytest.raises(InputError, match="reduction: got 'avg'"):
        cross_entropy([[0.5, 0.5]], [0], reduction="avg")


def test_read_only_logits_are_taken():
    logits = np.zeros((1, 2))
    logits.flags.writeable = False
    assert softmax_cross_entropy(logits, [0]).grad_logits.tolist() == [[-0.5, 0.5]]
