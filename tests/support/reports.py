"""What users of fused and last-layer losses reported, each as a small case that any loss can be put to.

A case is given a peer and raises AssertionError where the peer is wrong, or Missing where it has no such thing. The
truth is written by hand or computed in float64 by NumPy. `python -m benchmarks.reports` puts every peer to them.
"""

import numpy as np


class Missing(Exception):
    """The peer has no such option or function."""


CASES = {}


def case(report, complaint):
    def keep(function):
        CASES[function.__name__] = (report, complaint, function)
        return function

    return keep


def softmax(a):
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def losses_of(a, labels):
    rows = np.arange(len(a))
    largest = a.argmax(1)
    below = a - a[rows, largest][:, None]
    e = np.exp(below)
    e[rows, largest] = 0
    return np.log1p(e.sum(1)) - below[rows, labels]


def grads_of(a, labels):
    return softmax(a) - np.eye(a.shape[1])[labels]


def layer(n, d, k, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(k, d)) / np.sqrt(d), random.integers(0, k, n)


def near(came, right, tolerance):
    assert np.allclose(came, right, rtol=tolerance, atol=tolerance * np.abs(right).max())


# --- the last layer ---


@case("Liger-Kernel 968", "reduction none, uneven upstream gradients")
def uneven_upstream(peer):
    h, w, y = layer(8, 10, 15)
    upstream = np.arange(1.0, 9.0) / 4
    loss, (to_h, to_w) = peer.linear(h, w, y, reduction="none", upstream=upstream)
    delta = grads_of(h @ w.T, y) * upstream[:, None]
    near(loss, losses_of(h @ w.T, y), 1e-5)
    near(to_h, delta @ w, 1e-5)
    near(to_w, delta.T @ h, 1e-5)


@case("Liger-Kernel 1338", "compiled, a quarter of the rows ignored")
def compiled_with_ignored_rows(peer):
    h, w, y = layer(256, 32, 4096)
    counted = np.arange(256) % 4 > 0
    loss, _ = peer.linear(h, w, np.where(counted, y, -100), compiles=True)
    near(loss, losses_of(h @ w.T, y)[counted].mean(), 1e-4)


@case("Liger-Kernel 512", "float16 hidden units and weights diverge")
def float16_does_not_diverge(peer):
    h, w, y = layer(64, 64, 100)
    h = (h * 40).astype(np.float16).astype(float)
    w = (w * 40).astype(np.float16).astype(float)
    loss, grads = peer.linear(h, w, y, dtype="float16", loss_dtype="float32")
    near(loss, losses_of(h @ w.T, y).mean(), 1e-3)
    assert all(np.isfinite(grad).all() for grad in grads)


@case("Liger-Kernel 827, ml-cross-entropy 14", "the bfloat16 weight gradient is a sum in bfloat16")
def bfloat16_weight_gradient(peer):
    h, w, y = layer(8192, 128, 32)
    h, w = peer.rounded(h, "bfloat16"), peer.rounded(w, "bfloat16")
    _, (_, to_w) = peer.linear(h, w, y, dtype="bfloat16")
    right = grads_of(h @ w.T, y).T @ h / 8192
    assert np.abs(to_w - right).max() <= 2.0**-8 * np.abs(right).max()


@case("Liger-Kernel 1323, trl 6863", "a copy of the weights for each chunk")
def no_copies_of_weights(peer):
    assert peer.copies_of_weights(300, 8, 5000) <= peer.copies_of_weights(30, 8, 5000)


@case("Liger-Kernel 507", "the loss is 0 where no gradient is wanted")
def a_loss_without_gradient(peer):
    h, w, y = layer(4, 3, 5)
    loss, _ = peer.linear(h, w, y, wants=False)
    near(loss, losses_of(h @ w.T, y).mean(), 1e-5)


@case("Liger-Kernel 1082", "the importance ratio of GRPO is not part of the loss")
def importance_ratio(peer):
    h, w, y = layer(6, 4, 7)
    a = h @ w.T
    old, gain = losses_of(a, y) + 0.1, np.linspace(-1, 1, 6)
    ratio = np.exp(old - losses_of(a, y))
    _, (to_h, _) = peer.linear(h, w, y, reduction="none", ratio=(old, gain))
    near(to_h, (-ratio * gain)[:, None] * grads_of(a, y) @ w, 1e-4)


@case("Liger-Kernel 1294", "65,536 rows and more")
def many_rows(peer):
    h, w, y = layer(70000, 2, 3)
    loss, (to_h, _) = peer.linear(h, w, y)
    near(loss, losses_of(h @ w.T, y).mean(), 1e-5)
    near(to_h[-1], (grads_of(h @ w.T, y) @ w / 70000)[-1], 1e-4)


@case("ml-cross-entropy 52", "a negative loss with a bias")
def a_bias(peer):
    h, w, y = layer(50, 4, 6)
    b = np.full(6, -30.0)
    b[y[0]] = 30.0
    loss, _ = peer.linear(h, w, np.full(50, y[0]), bias=b, reduction="none")
    assert (loss >= 0).all()
    assert np.abs(loss - losses_of(h @ w.T + b, np.full(50, y[0]))).max() < 1e-6


@case("unsloth 9331", "LoRA on the last layer does not train")
def low_rank_weights(peer):
    h, w, y = layer(8, 6, 9)
    a, b, _ = layer(2, 6, 9, seed=1)
    b = b[:, :2]
    _, (_, to_w) = peer.linear(h, w + b @ a, y)
    right = grads_of(h @ (w + b @ a).T, y).T @ h / 8
    near(b.T @ to_w, b.T @ right, 1e-4)
    near(to_w @ a.T, right @ a.T, 1e-4)


@case("unsloth 8261", "accumulated gradients are not those of the whole batch")
def accumulated_gradients(peer):
    h, w, y = layer(8, 4, 5)
    y[:5] = -100
    y[6] = -100
    total = sum(peer.linear(h[i], w, y[i], reduction="sum")[1][1] for i in (slice(0, 6), slice(6, 8)))
    counted = y != -100
    near(total / counted.sum(), grads_of(h @ w.T, np.abs(y) % 5)[counted].T @ h[counted] / counted.sum(), 1e-5)


@case("trl 3368, 4544", "weights of no elements (ZeRO-3)")
def weights_that_are_not_there(peer):
    try:
        peer.linear(np.zeros((3, 4)), np.zeros((0,)), np.zeros(3, int))
    except Missing:
        raise
    except Exception as error:
        named = "weight" in str(error)
    else:
        named = False
    assert named


# --- the loss of logits ---


@case("Liger-Kernel 272, 343; unsloth 5002, ms-swift 10129", "backward overwrites logits that something else reads")
def logits_that_others_read(peer):
    a, y = np.random.default_rng(0).normal(size=(4, 5)), np.arange(4)
    _, (grad,) = peer.logits(a, y, beside=True)
    near(grad, grads_of(a, y) / 4 + np.exp(a), 1e-5)


@case("Megatron-LM 1594, 1750", "the logits are changed")
def logits_are_left_alone(peer):
    a = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    assert np.array_equal(peer.logits(a, np.arange(4), gives_input=True), a)


@case("Liger-Kernel 1329, 1419", "confident rows in bfloat16")
def confident_bfloat16(peer):
    a = np.array([[12.0, 0.0, 1.0], [0.0, 20.0, 0.0]])
    loss, (grad,) = peer.logits(a, np.array([0, 1]), dtype="bfloat16", reduction="none")
    right = np.log1p(np.array([np.exp(-12.0) + np.exp(-11.0), 2 * np.exp(-20.0)]))
    assert np.abs(loss / right - 1).max() <= 2.0**-8
    near(grad[0, 0], -right[0], 2.0**-7)
    assert grad[1, 1] < 0


@case("ml-cross-entropy 55, verl 2656", "a log-probability above 0")
def likelihoods_below_one(peer):
    random = np.random.default_rng(0)
    a = random.normal(size=(500, 20)) * 20
    for dtype in ("float32", "bfloat16"):
        loss, _ = peer.logits(a, a.argmax(1), dtype=dtype, reduction="none")
        assert (loss >= 0).all()


@case("unsloth 10616", "a cap over padding of −∞")
def a_cap_over_padding(peer):
    a = np.random.default_rng(0).normal(size=(2, 32000)) * 10
    a[:, 31990:] = -np.inf
    loss, (grad,) = peer.logits(a, np.array([1, 2]), softcap=30.0)
    with np.errstate(invalid="ignore"):
        capped = np.where(np.isinf(a), a, 30 * np.tanh(a / 30))
    near(loss, losses_of(capped, np.array([1, 2])).mean(), 1e-5)
    assert not grad[:, 31990:].any()


@case("OLMo-core 702", "a z-loss that is off adds something")
def a_z_loss_that_is_off(peer):
    a, y = np.random.default_rng(0).normal(size=(4, 5)) + 50, np.arange(4)
    assert peer.logits(a, y, z_loss=0.0)[0] == peer.logits(a, y)[0]
    lse = 50 + np.log(np.exp(a - 50).sum(1))
    near(peer.logits(a, y, z_loss=0.01)[0], losses_of(a, y).mean() + 0.01 * (lse**2).mean(), 1e-5)


@case("pytorch 11752, 195829, optax 1792, mlx 4188", "three equal logits at 1e8")
def equal_logits(peer):
    loss, (grad,) = peer.logits(np.full((1, 3), 1e8), np.array([0]))
    near(loss, np.log(3), 1e-6)
    near(grad, [[-2 / 3, 1 / 3, 1 / 3]], 1e-6)


@case("pytorch 75181, 70348, 116349", "every row ignored")
def all_ignored(peer):
    loss, (grad,) = peer.logits(np.ones((2, 3)), np.array([-100, -100]))
    assert loss == 0
    assert not grad.any()


@case("pytorch 71367, 17350", "not the same bits twice")
def the_same_bits(peer):
    h, w, y = layer(300, 16, 1000)
    first, second = (peer.linear(h, w, y) for _ in range(2))
    assert first[0] == second[0]
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@case("pytorch 69339, 72056, 91383, 73205", "weights, smoothing and ignored rows together")
def weights_smoothing_and_ignored(peer):
    random = np.random.default_rng(0)
    a, y, w = random.normal(size=(5, 4)), np.array([0, 1, -100, 3, 2]), random.random(4) + 0.5
    loss, _ = peer.logits(a, y, weight=w, label_smoothing=0.2)
    log_p = np.log(softmax(a))
    counted = y != -100
    each = [
        -(0.8 * w[t] * row[t] + 0.2 / 4 * (w * row).sum()) for row, t in zip(log_p[counted], y[counted], strict=True)
    ]
    near(loss, np.sum(each) / w[y[counted]].sum(), 1e-5)


@case("pytorch 113708, scipy 19521", "digits of log_softmax are lost")
def digits_of_log_softmax(peer):
    loss, (grad,) = peer.logits(np.array([[0.0, 20.0]]), np.array([1]), reduction="none")
    near(loss, [np.log1p(np.exp(-20.0))], 1e-6)
    near(grad, [[np.exp(-20.0), -np.exp(-20.0)]], 1e-6)


@case("tensorflow 60314", "targets that are all 0")
def targets_of_nothing(peer):
    loss, (grad,) = peer.logits(np.ones((2, 3)), np.zeros((2, 3)))
    assert loss == 0
    assert not grad.any()


@case("optax 1762", "a masked class in soft targets")
def a_masked_class(peer):
    a, q = np.array([[1.0, -np.inf, 2.0]]), np.array([[0.25, 0.0, 0.75]])
    loss, (grad,) = peer.logits(a, q)
    p = softmax(a)
    near(loss, -(0.25 * np.log(p[0, 0]) + 0.75 * np.log(p[0, 2])), 1e-6)
    near(grad, p - q, 1e-6)


@case("Modalities 464, optax 1020", "the loss of bfloat16 logits is bfloat16")
def a_float32_loss(peer):
    a, y = np.arange(12.0).reshape(3, 4) / 4, np.array([0, 1, 2])
    loss, _ = peer.logits(a, y, dtype="bfloat16", loss_dtype="float32", reduction="none")
    near(loss, losses_of(a, y), 1e-6)
