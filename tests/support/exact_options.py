"""The loss and gradient with every option by mpmath at 100 digits, and cases where their terms cancel."""

import ml_dtypes
import mpmath
import numpy as np

BARS = {np.float16: (0.51, 0.51), ml_dtypes.bfloat16: (0.51, 0.51), np.float32: (0.51, 0.51), np.float64: (4.0, 6.0)}
mp = mpmath.mp.clone()
mp.dps = 100


def truth(logits, given, weights, smoothing, temperature, z_loss):
    """Loss, gradient, and the size of each of its terms, of one row."""
    k = len(logits)
    z = [mp.mpf(float(a)) / mp.mpf(temperature) for a in logits]
    largest = max(z)
    e = [mp.exp(v - largest) for v in z]
    total = mp.fsum(e)
    lse = largest + mp.log(total)
    kept = 1 - mp.mpf(smoothing)
    q = [mp.mpf(float(w)) * (kept * mp.mpf(float(g)) + (1 - kept) / k) for g, w in zip(given, weights, strict=True)]
    pull = mp.fsum(q) + 2 * mp.mpf(z_loss) * lse
    loss = mp.fsum(t * (lse - v) for t, v in zip(q, z, strict=True) if t) + mp.mpf(z_loss) * lse**2
    terms = [v / total * pull / mp.mpf(temperature) for v in e]
    return loss, [t - v / mp.mpf(temperature) for t, v in zip(terms, q, strict=True)], [abs(t) for t in terms]


def ulps(found, true, dtype, excused):
    """How many units in the last place of `true` a number is off, beyond the error that is excused."""
    info = ml_dtypes.finfo(dtype)
    exponent = max(mp.frexp(true)[1] - 1 if true else -(10**6), int(info.minexp))
    unit = mp.mpf(2) ** (exponent - int(info.nmant))
    return float(max(mp.mpf(0), abs(mp.mpf(float(found)) - true) - excused) / unit)


def softmax(logits):
    wide = np.asarray(logits, np.float64)
    e = np.exp(wide - wide.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def case(name, k, dtype, rng):
    """Logits, labels or targets, and options: random, at an optimum, 10 and 10⁶ units in the last place beside it."""
    n = 3 if k == 200 else 8
    logits = (rng.normal(size=(n, k)) * 3).astype(dtype)
    labels, options = rng.integers(0, k, n), {}
    kind, _, place = name.partition(", ")
    if kind in ("targets", "all"):
        labels = rng.dirichlet(np.ones(k), n).astype(dtype)
    if kind in ("smoothing", "weighted smoothing", "all"):
        options["label_smoothing"] = 0.1
    if kind in ("weighted smoothing", "all"):
        options["class_weights"] = rng.uniform(0.3, 3, k).astype(np.float32).astype(np.float64)
    if kind in ("z-loss", "all"):
        options["z_loss"] = 0.01
    if kind in ("temperature", "all"):
        options["temperature"] = 0.75
    if place == "margin 100":
        logits[np.arange(n), rng.integers(0, k, n)] += 100
    elif place and kind == "targets":
        labels = softmax(logits).astype(dtype)
        units = {"optimum": 0, "10 units": 10, "10⁶ units": 10**6}[place]
        labels = (labels.astype(np.float64) * (1 + units * float(ml_dtypes.finfo(dtype).eps))).astype(dtype)
    elif place:
        q = np.full((n, k), 0.1 / k)
        q[np.arange(n), labels] += 0.9
        q *= options.get("class_weights", 1.0)
        logits = np.log(q / q.sum(1, keepdims=True)).astype(dtype)
    return logits, labels, options
