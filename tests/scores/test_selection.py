"""BADGE's distances against the whole gradients, and its draws against k-means++ over them."""

import numpy as np
import pytest

from chainrule import Network, scores
from chainrule.errors import InputError

N, K, D = 40, 5, 7


def problem(dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    logits, hidden = 2 * random.normal(size=(N, K)), random.normal(size=(N, D))
    logits[7], hidden[7] = logits[3], hidden[3]  # a copy
    logits[8], hidden[8] = logits[3] + 1e-3, hidden[3] + 1e-3  # nearly one
    return logits.astype(dtype), hidden.astype(dtype)


def whole(logits, hidden, bias=True):
    """(N, K·D): each example's gradient under its predicted label."""
    a, h = logits.astype(float), hidden.astype(float)
    rows, top = np.arange(len(a)), a.argmax(axis=1)
    e = np.exp(a - a.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    e[rows, top] = 0
    e[rows, top] = -e.sum(axis=1)
    inputs = np.hstack([h, np.ones((len(h), 1))]) if bias else h
    return (e[:, :, None] * inputs[:, None, :]).reshape(len(a), -1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-4)])
def test_distances(dtype, rtol, bias):
    logits, hidden = problem(dtype)
    g = whole(logits, hidden, bias)
    found = scores.badge_distances(logits, hidden, range(N), bias=bias)
    truth = np.linalg.norm(g[:, None] - g[None], axis=2)
    np.testing.assert_allclose(found, truth, rtol=rtol, atol=1e-12)
    assert found[3, 7] == found[7, 3] == 0
    assert found[3, 8] == pytest.approx(truth[3, 8], rel=rtol)
    assert truth[3, 8] < 0.02 * np.linalg.norm(g[3])  # where the squares cancel


def test_draws_are_those_of_k_means_plus_plus():
    """The same random numbers over the whole gradients' distances give the same rows."""
    for seed in range(5):
        logits, hidden = problem(seed=seed)
        g, random = whole(logits, hidden), np.random.default_rng(seed)
        chosen = [int(np.linalg.norm(g, axis=1).argmax())]
        while len(chosen) < 12:
            squares = ((g[:, None] - g[chosen]) ** 2).sum(axis=2).min(axis=1)
            at = np.searchsorted(np.cumsum(squares), random.random() * squares.sum(), side="right")
            chosen.append(int(at))
        assert scores.badge(logits, hidden, 12, seed=seed).tolist() == chosen


def test_each_row_is_drawn_once_even_where_all_are_copies():
    logits, hidden = np.tile([[1.0, 0.0]], (6, 1)), np.ones((6, 3))
    assert sorted(scores.badge(logits, hidden, 6).tolist()) == list(range(6))
    logits, hidden = problem("float32")
    assert sorted(scores.badge(logits, hidden, N).tolist()) == list(range(N))
    sure = scores.badge([[800.0, 0.0], [800.0, 0.0]], [[1.0], [1.0]], 2)  # gradients that underflow to 0
    assert sorted(sure.tolist()) == [0, 1]


def test_lengths_of_any_size():
    """Gradients of 1e-40, and hidden units whose products leave float32."""
    logits, hidden = problem("float32")
    small = logits + np.float32(90) * np.eye(K, dtype="float32")[logits.argmax(axis=1)]
    g = whole(small, hidden)
    found, truth = scores.badge_distances(small, hidden, [0, 3]), np.linalg.norm(g[:, None] - g[[0, 3]], axis=2)
    assert np.max(truth) < 1e-36
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-7 * truth.max())
    found = scores.badge_distances(logits, hidden * np.float32(1e30), [0])
    np.testing.assert_allclose(found, scores.badge_distances(logits, hidden, [0], bias=False) * 1e30, rtol=1e-3)


def test_of_a_network():
    logits, hidden = problem()
    net = Network([np.eye(D), logits[:D].T], [np.zeros(D), np.zeros(K)], "identity")
    forward = net.forward(hidden)
    rows = scores.badge(net, hidden, 6, seed=3)
    assert rows.tolist() == scores.badge(forward.logits, forward.activations[1], 6, seed=3).tolist()
    assert rows.dtype == np.int64


def test_what_is_refused():
    logits, hidden = problem()
    for count, message in ((0, "count: got 0"), (N + 1, "count: got 41, expected an integer <= 40")):
        with pytest.raises(InputError, match=message):
            scores.badge(logits, hidden, count)
    with pytest.raises(InputError, match="seed: got -1"):
        scores.badge(logits, hidden, 1, seed=-1)
    with pytest.raises(InputError, match=r"rows: got 40, expected an integer in \[0, 40\)"):
        scores.badge_distances(logits, hidden, [40])
    hidden[5, 2] = np.inf
    with pytest.raises(InputError, match="row 5 has a gradient that is not finite"):
        scores.badge(logits, hidden, 1)
    hidden[5, 2], logits[6, 1] = 0.0, np.nan
    with pytest.raises(InputError, match="row 6 has a gradient that is not finite"):
        scores.badge(logits, hidden, 1)
    with pytest.raises(TypeError, match="got no count"):
        scores.badge(logits, hidden)
