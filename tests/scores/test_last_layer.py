"""Each score against the whole gradients, formed example by example from probabilities of 60 digits."""

import ml_dtypes
import naive
import numpy as np
import pytest

from chainrule import Network, scores
from chainrule.errors import InputError

N, K, D, M = 11, 4, 6, 5
random = np.random.default_rng(0)
LOGITS = 3 * random.normal(size=(N, K))
LOGITS[1] = [60.0, 0.0, -5.0, 1.0]  # sure of its label, far beyond what 1 − ŷ can tell
LOGITS[2] = [-60.0, 0.0, -5.0, 1.0]  # sure of another
LOGITS[3] = 0.25  # of nothing
LOGITS[4] = [2.0, 2.0 + 1e-12, -30.0, -31.0]  # of two alike
HIDDEN = random.normal(size=(N, D))
LABELS = np.arange(N) % K
LABELS[1:3] = 0
OTHER = random.normal(size=(M, K)), np.arange(M) % K, random.normal(size=(M, D))


def error(row, label):
    """ŷ − e(ℓ), at 60 digits."""
    return naive.loss_and_grad(row, label)[1]


def gradient(row, label, hidden, bias=True):
    """The gradient of one example w.r.t. the weights, element by element, and the biases: a list."""
    inputs = [naive.mp.mpf(float(h)) for h in hidden] + ([naive.mp.mpf(1)] if bias else [])
    return [e * h for e in error(row, label) for h in inputs]


def length(vector):
    return naive.mp.sqrt(naive.mp.fsum(v * v for v in vector))


def close(found, truth, rtol=1e-13):
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array(truth, dtype=object).astype(float), rtol=rtol)


def test_el2n():
    close(scores.el2n(LOGITS, LABELS), [length(error(a, ell)) for a, ell in zip(LOGITS, LABELS, strict=True)])


@pytest.mark.parametrize("bias", [True, False])
def test_grand(bias):
    truth = [length(gradient(*example, bias)) for example in zip(LOGITS, LABELS, HIDDEN, strict=True)]
    close(scores.grand(LOGITS, LABELS, HIDDEN, bias=bias), truth)
    assert np.array_equal(scores.grand(LOGITS, hidden=HIDDEN, labels=LABELS), scores.grand(LOGITS, LABELS, HIDDEN))


def test_margin():
    truth, alone = [], []
    for a, ell in zip(LOGITS, LABELS, strict=True):
        p = naive.softmax(a)
        truth.append(p[ell] - max(p[j] for j in range(K) if j != ell))
        first, second = sorted(p)[-1:-3:-1]
        alone.append(first - second)
        e = error(a, ell)  # the same, read off the gradient
        assert abs(truth[-1] - (1 + e[ell] - max(e[j] for j in range(K) if j != ell))) < 1e-40
    close(scores.margin(LOGITS, LABELS), truth)
    close(scores.margin(LOGITS), alone)
    assert scores.margin([[1.0], [-3.0]]).tolist() == [1.0, 1.0]  # no other class


def test_entropy_is_the_expected_loss():
    truth = [naive.mp.fsum(p * naive.loss_and_grad(a, k)[0] for k, p in enumerate(naive.softmax(a))) for a in LOGITS]
    close(scores.entropy(LOGITS), truth)


def test_gradnorm_is_that_of_uniform_targets():
    """K times the 1-norm of the mean over all labels of the gradients w.r.t. the weights."""
    truth = []
    for a, h in zip(LOGITS, HIDDEN, strict=True):
        every = zip(*(gradient(a, k, h, bias=False) for k in range(K)), strict=True)
        truth.append(naive.mp.fsum(abs(naive.mp.fsum(parts)) for parts in every))
    close(scores.gradnorm(LOGITS, HIDDEN), truth)


@pytest.mark.parametrize("bias", [True, False])
def test_expected_gradient_length(bias):
    truth = [
        naive.mp.fsum(p * length(gradient(a, k, h, bias)) for k, p in enumerate(naive.softmax(a)))
        for a, h in zip(LOGITS, HIDDEN, strict=True)
    ]
    close(scores.expected_gradient_length(LOGITS, HIDDEN, bias=bias), truth)


@pytest.mark.parametrize("bias", [True, False])
def test_tracin(bias):
    mine = np.array([gradient(*each, bias) for each in zip(LOGITS, LABELS, HIDDEN, strict=True)])
    others = np.array([gradient(*each, bias) for each in zip(*OTHER, strict=True)])
    truth = (mine @ others.T).astype(float)
    scale = np.abs(truth).max() * 1e-14
    found = scores.tracin(LOGITS, LABELS, HIDDEN, against=OTHER, bias=bias)
    np.testing.assert_allclose(found, truth, rtol=1e-12, atol=scale)
    for reduction, of in (("sum", np.sum), ("mean", np.mean)):
        found = scores.tracin(LOGITS, LABELS, HIDDEN, against=OTHER, bias=bias, reduction=reduction)
        np.testing.assert_allclose(found, of(truth, axis=1), rtol=1e-12, atol=5 * scale)
    itself = scores.tracin(LOGITS, LABELS, HIDDEN, bias=bias)
    np.testing.assert_allclose(np.diag(itself), scores.grand(LOGITS, LABELS, HIDDEN, bias=bias) ** 2, rtol=1e-12)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_narrower_numbers_are_taken_as_they_are(name):
    """The scores of numbers of 16 or 32 bits are those of the same numbers in float64."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    a, h = LOGITS.astype(dtype), HIDDEN.astype(dtype)
    wide = a.astype(float), h.astype(float)
    assert np.array_equal(scores.el2n(a, LABELS), scores.el2n(wide[0], LABELS))
    assert np.array_equal(scores.margin(a), scores.margin(wide[0]))
    np.testing.assert_allclose(scores.grand(a, LABELS, h), scores.grand(wide[0], LABELS, wide[1]), rtol=1e-15)
    np.testing.assert_allclose(scores.gradnorm(a, h), scores.gradnorm(*wide), rtol=1e-15)


def test_no_square_leaves_the_range():
    """‖e‖ = √2 exp(−400), whose square is below all numbers; ‖h‖ = 5e200, whose square is above."""
    np.testing.assert_allclose(scores.el2n([[400.0, 0.0]], [0]), np.sqrt(2) * np.exp(-400.0), rtol=1e-12)
    far = scores.grand([[400.0, 0.0]], [0], [[3e200, 4e200]])
    np.testing.assert_allclose(far, np.sqrt(2) * np.exp(-400.0) * 5e200, rtol=1e-12)


def test_masked_classes_and_nan():
    masked = scores.el2n([[0.0, -np.inf, 0.0], [np.nan, 0.0, 0.0]], [0, 0])
    assert masked[0] == pytest.approx(np.sqrt(0.5))
    assert np.isnan(masked[1])
    assert scores.margin([[0.0, -np.inf, 0.0], [1.0, -np.inf, -np.inf]]).tolist() == [0.0, 1.0]
    assert scores.margin([[0.0, -np.inf]], [1]).tolist() == [-1.0]
    assert scores.entropy([[0.0, -np.inf, 0.0]]).tolist() == pytest.approx([np.log(2)])
    assert np.isnan(scores.entropy([[np.nan, 0.0]])).all()


def test_no_examples():
    a, h, none = np.empty((0, K)), np.empty((0, D)), np.empty(0, int)
    assert scores.el2n(a, none).shape == scores.grand(a, none, h).shape == scores.margin(a).shape == (0,)
    assert scores.gradnorm(a, h).shape == scores.expected_gradient_length(a, h).shape == (0,)
    assert scores.tracin(a, none, h, against=OTHER).shape == (0, M)
    assert scores.tracin(LOGITS, LABELS, HIDDEN, against=(a, none, h), reduction="mean").tolist() == [0.0] * N


class Tree:
    """A model that has no gradients."""

    def predict(self, x):
        """Nothing."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.el2n(LOGITS, LABELS + 1), r"labels: got 4 at index 3, expected integers in \[0, 4\)"),
        (lambda: scores.el2n(LOGITS[0], [0]), r"logits: got shape \(4,\), expected rank 2"),
        (
            lambda: scores.el2n(Tree(), [0]),
            "logits: got Tree, expected an array, a Network, an MLPClassifier or a PyTorch module",
        ),
        (lambda: scores.grand(LOGITS, LABELS, HIDDEN[1:]), r"hidden: got shape \(10, 6\), expected \(11, D\)"),
        (lambda: scores.grand(LOGITS, LABELS, HIDDEN, layers="all"), "layers: got 'all' with logits"),
        (lambda: scores.grand(LOGITS, LABELS, HIDDEN, layers="first"), "layers: got 'first', expected one of"),
        (lambda: scores.tracin(LOGITS, LABELS, HIDDEN, against=OTHER[0]), "against: got ndarray, expected a tuple"),
        (
            lambda: scores.tracin(LOGITS, LABELS, HIDDEN, against=(*OTHER[:2], OTHER[2][:, 1:])),
            "against: got 4 classes and 5 hidden units, expected 4 and 6",
        ),
        (lambda: scores.gradient_norms(LOGITS, HIDDEN, LABELS), "model: got ndarray, expected a Network"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.el2n(LOGITS), "got no labels, expected labels after the first argument"),
        (lambda: scores.grand(LOGITS, LABELS), "got no hidden, expected labels, hidden"),
        (lambda: scores.el2n(LOGITS, LABELS, HIDDEN), "got 2 arguments after the first, expected labels"),
        (lambda: scores.el2n(LOGITS, label=LABELS), "got an argument 'label', expected labels"),
        (lambda: scores.el2n(LOGITS, LABELS, labels=LABELS), "got another 'labels'"),
    ],
)
def test_other_arguments_are_a_type_error(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_label_errors_by_their_definition():
    p = np.array([naive.softmax(a) for a in LOGITS]).astype(float)
    found = scores.label_errors(LOGITS, LABELS)
    losses = [float(naive.loss_and_grad(a, ell)[0]) for a, ell in zip(LOGITS, LABELS, strict=True)]
    np.testing.assert_allclose(found.losses, losses, rtol=1e-13)
    assert found.order.tolist() == np.argsort(-np.array(losses), kind="stable").tolist()
    for n, ell in enumerate(LABELS):
        others = [p[n, j] if j != ell else -1 for j in range(K)]
        best = int(np.argmax(others))
        usual = np.mean([p[m, best] for m in range(N) if LABELS[m] == best])
        assert found.suggested[n] == best
        assert found.suggested_probabilities[n] == pytest.approx(p[n, best], rel=1e-12)
        assert found.probabilities[n] == pytest.approx(p[n, ell], rel=1e-12)
        assert found.probable[n] == (p[n, best] > p[n, ell] and p[n, best] >= usual)
    assert found.probable.any()
    assert not found.probable.all()
    with pytest.raises(InputError, match="logits: row 1 has no probabilities"):
        scores.label_errors([[0.0, 1.0], [np.nan, 0.0]], [0, 1])
    with pytest.raises(InputError, match="logits: got Network, expected an array"):
        scores.label_errors(Network.create([2, 2]), [0])
    with pytest.raises(InputError, match="at least two classes"):
        scores.label_errors([[0.0]], [0])
