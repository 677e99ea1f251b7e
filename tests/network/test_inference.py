"""Logits and probabilities by the native kernels: their values, and the same bits whatever stands beside a row."""

from itertools import pairwise

import numpy as np
import pytest

from chainrule import Network
from chainrule.activations import ACTIVATIONS
from chainrule.errors import InputError

WIDTHS = [[5, 3], [1, 1, 2], [7, 20, 13, 4], [40, 200, 10], [3, 600, 33]]


def made(widths, activation, dtype, order="C"):
    random = np.random.default_rng(len(widths) + widths[0])
    weights = [np.array(random.normal(size=(u, d)) / d**0.5, dtype, order=order) for d, u in pairwise(widths)]
    return Network(weights, [random.normal(size=u).astype(dtype) for u in widths[1:]], activation)


def truth(net, x):
    """Logits by NumPy in float64, a layer at a time."""
    h = np.asarray(x, np.float64)
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        h = h @ w.astype(np.float64).T + b.astype(np.float64)
        if k < net.depth:
            h = ACTIVATIONS[net.activation].function(h)
    return h


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_and_probabilities_are_those_of_the_layers(widths, activation):
    x = np.random.default_rng(0).normal(size=(300, widths[0]))
    for dtype, tolerance in (("float64", 1e-13), ("float32", 2e-5)):
        net = made(widths, activation, dtype)
        given = x.astype(dtype)
        expected = truth(net, given)
        np.testing.assert_allclose(net.logits(given), expected, rtol=tolerance, atol=tolerance)
        e = np.exp(expected - expected.max(axis=1, keepdims=True))
        shares = e / e.sum(axis=1, keepdims=True)
        found = net.predict_proba(given)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, shares, rtol=20 * tolerance, atol=tolerance)
        margin = np.sort(expected, axis=1)[:, -2:] @ [-1, 1] if widths[-1] > 1 else np.ones(300)
        sure = margin > 1e-3
        assert (net.predict(given)[sure] == expected.argmax(axis=1)[sure]).all()


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_same_bits_alone_beside_others_and_on_any_number_of_threads(widths, dtype):
    x = np.random.default_rng(1).normal(size=(700, widths[0])).astype(dtype)
    for ask in ("logits", "predict_proba"):
        every = [getattr(made(widths, "tanh", dtype, order), ask)(x, threads=t) for order in "CF" for t in (1, 2, 5)]
        assert all(found.tobytes() == every[0].tobytes() for found in every)
        compute = getattr(made(widths, "tanh", dtype), ask)
        for begin, end in ((0, 1), (699, 700), (3, 16), (100, 400)):
            assert compute(x[begin:end]).tobytes() == every[0][begin:end].tobytes()


def test_inputs_and_weights_may_lie_in_any_order():
    net = made([7, 20, 13, 4], "relu", "float32")
    x = np.random.default_rng(2).normal(size=(90, 7)).astype("float32")
    expected = net.logits(x).tobytes()
    spread = np.zeros((180, 21), "float32")
    spread[::2, ::3] = x
    unaligned = np.frombuffer(b"0" + x.tobytes(), "float32", offset=1).reshape(x.shape)
    for same in (np.asfortranarray(x), x[::-1][::-1], spread[::2, ::3], unaligned):
        assert net.logits(same).tobytes() == expected
    turned = Network([w[::-1][::-1] for w in net.weights], [b[::-1][::-1] for b in net.biases], "relu")
    records = np.zeros(20, np.dtype([("skipped", "i1"), ("bias", "f4")]))
    records["bias"] = net.biases[0]
    packed = Network(net.weights, [records["bias"], *net.biases[1:]], "relu")
    assert turned.logits(x).tobytes() == packed.logits(x).tobytes() == expected


def test_weights_that_are_changed_in_place_are_the_ones_that_answer():
    net = Network.create([4, 8, 3], seed=0)
    x = np.ones((500, 4), "float32")
    before = net.logits(x)
    net.weights[1] *= 2
    np.testing.assert_allclose(net.logits(x), 2 * before, rtol=1e-6)


def test_no_rows_and_rows_that_are_not_finite():
    net = made([5, 3], "relu", "float64")
    assert net.logits(np.zeros((0, 5))).shape == (0, 3)
    x = np.zeros((40, 5))
    x[7, 2], x[9, 0] = np.nan, np.inf
    p = net.predict_proba(x)
    bad = ~np.isfinite(p).all(axis=1)
    assert np.flatnonzero(bad).tolist() == [7, 9]
    assert np.isnan(net.logits(x)[7]).all()


def test_what_does_not_fit_is_named():
    net = made([5, 3], "relu", "float64")
    with pytest.raises(InputError, match=r"^x: got shape \(2, 4\), expected \(N, 5\)"):
        net.logits(np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"^x: got dtype"):
        net.predict_proba([["a"] * 5])
    with pytest.raises(InputError, match=r"^threads: got 0"):
        net.predict(np.zeros((2, 5)), threads=0)


def test_networks_of_other_libraries_answer_in_their_own_arrays():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = made([5, 4, 3], "tanh", "float64")
    other = Network([torch.from_numpy(w) for w in net.weights], [torch.from_numpy(b) for b in net.biases], "tanh")
    x = np.random.default_rng(3).normal(size=(6, 5))
    found = other.predict_proba(torch.from_numpy(x))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), net.predict_proba(x), rtol=1e-13)


def test_inference_keeps_subnormal_probabilities_where_the_caller_flushes_them():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = Network([np.eye(2, dtype="float32")], [np.zeros(2, "float32")])
    torch.set_flush_denormal(True)
    try:
        found = net.predict_proba(np.array([[0.0, -100.0]], "float32"))
    finally:
        torch.set_flush_denormal(False)
    assert found[0, 1] == np.float32(np.exp(-100.0)) > 0  # 27 units of 2^-149


@pytest.mark.parametrize("use", ["forward", "logits", "predict_proba", "predict"])
@pytest.mark.parametrize(
    ("what", "layer", "array", "message"),
    [
        ("weights", 0, np.zeros((4, 3)), "weights: layer 1 has dtypes float64 and float32, expected one"),
        ("weights", 1, np.zeros((2, 5), "float32"), "weights: layer 2 takes 5 inputs, expected 4"),
        ("biases", 0, np.zeros(5, "float32"), r"biases: layer 1 has shape \(5,\), expected \(4,\)"),
    ],
)
def test_arrays_that_were_replaced_are_checked_again(use, what, layer, array, message):
    net = Network.create([3, 4, 2])
    getattr(net, what)[layer] = array
    with pytest.raises(InputError, match=message):
        getattr(net, use)(np.ones((2, 3), "float32"))


@pytest.mark.parametrize("use", ["forward", "logits", "predict_proba", "predict"])
def test_inputs_that_are_no_numbers(use):
    net = Network.create([3, 4, 2])
    with pytest.raises(InputError, match=r"x: got an array with masked elements, expected \(N, 3\) numbers"):
        getattr(net, use)(np.ma.array(np.ones((2, 3)), mask=np.eye(2, 3)))
    with pytest.raises(InputError, match=r"x: got .*list.*, expected \(N, 3\) numbers"):
        getattr(net, use)([[1.0, 2.0, 3.0], [1.0]])
