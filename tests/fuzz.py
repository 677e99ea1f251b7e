"""Throws arguments at the binding, valid and not, and sees that it answers or raises: run it in the sanitized build.

    python tests/fuzz.py [--seconds 600] [--seed 0]        (make sanitize; make fuzz)

The binding is called past Python's checks, with random shapes, strides, dtypes, labels, options and arrays that do not
fit each other. What must not happen ends the process: a read or write outside an array, undefined behaviour, a crash.
The arrays lie in the middle of larger ones with guards around, whose bytes are compared after each call.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import time

import numpy as np

from chainrule._native import _kernels
from chainrule.activations import ACTIVATIONS

FORMATS = {"float32": np.float32, "float64": np.float64, "bfloat16": np.uint16, "float16": np.uint16}
OUTPUTS = ["gradient", "softmax", "log_softmax", "hessian_diagonal", "hessian_vector_product"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 1e-3, 1e30, 1e-300, np.inf, -np.inf, np.nan]
ALLOWED = (TypeError, ValueError, IndexError, OverflowError, RuntimeError)  # RuntimeError: nanobind's bad_cast


class Arrays:
    """Makes arrays of one call, and knows what lies around them."""

    def __init__(self, rng: np.random.Generator):
        self.rng, self.guards = rng, []

    def odd(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def matrix(self, n: int, k: int, dtype) -> np.ndarray:
        row_step, column_step = (int(self.rng.choice([1, 1, 1, 2, 3])) for _ in range(2))
        base = np.zeros((n * row_step + 2, k * column_step + 64), dtype)
        kind = self.rng.integers(4)
        if base.dtype == np.uint16:
            base[:] = self.rng.integers(0, 1 << 16, base.shape)
        elif kind == 0:
            base[:] = self.rng.choice(NUMBERS, base.shape)
        else:
            base[:] = self.rng.standard_normal(base.shape) * 10.0 ** float(self.rng.integers(-3, 4))
        if self.odd(0.2):
            base = np.asfortranarray(base)
        part = np.s_[1 : 1 + n * row_step : row_step, 32 : 32 + k * column_step : column_step]
        self.guards.append((base, part, base.copy()))
        view = base[part]
        if self.odd(0.1):
            view = view[::-1]
        if self.odd(0.1):
            view = view[:, ::-1]
        if self.odd(0.03):
            view = np.broadcast_to(view[:1], view.shape) if n else view
        if self.odd(0.03):
            view.flags.writeable = False
        if self.odd(0.03):
            view = np.frombuffer(b"x" + view.tobytes(), np.uint8)[1:].view(view.dtype).reshape(view.shape)
        return view

    def vector(self, n: int, dtype) -> np.ndarray:
        base = np.zeros(n + 32, dtype)
        part = np.s_[16 : 16 + n]
        self.guards.append((base, part, base.copy()))
        return base[part] if not self.odd(0.02) else base[part][::2]  # too short, and not contiguous

    def check(self) -> None:
        """Nothing outside the views may have changed; what is inside may."""
        for base, part, before in self.guards:
            outside = np.ones(base.shape, bool)
            outside[part] = False
            same = base.view(f"u{base.itemsize}") == before.view(f"u{base.itemsize}")
            assert same[outside].all(), "the binding wrote outside an array"


def call(rng: np.random.Generator) -> str:
    arrays = Arrays(rng)
    odd = arrays.odd
    form = str(rng.choice(list(FORMATS)))
    dtype = FORMATS[form] if not odd(0.02) else np.int32
    n = int(rng.choice([0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 130]))
    k = int(rng.choice([0, 1, 2, 3, 7, 8, 10, 15, 16, 17, 31, 48, 64, 100, 255, 256, 257, 511, 512, 513, 530, 1100]))
    output = str(rng.choice(OUTPUTS)) if not odd(0.02) else "nonsense"
    logits = arrays.matrix(n, k, dtype)
    result = logits if odd(0.3) else arrays.matrix(n + odd(0.02), k + odd(0.02), dtype)
    options: dict = {}
    if odd(0.8):
        labels = arrays.vector(n + odd(0.02), np.int64 if not odd(0.02) else np.int32)
        labels[:] = rng.integers(0, max(k, 1), labels.shape)
        if odd(0.1) and labels.size:
            labels[rng.integers(labels.size)] = rng.choice([-1, k, -100, 2**31 - 1, -(2**31)])
        options["labels"] = labels
    if odd(0.3):
        options["second"] = arrays.matrix(n, k + odd(0.02), dtype)
    if odd(0.2):
        options["class_weights"] = arrays.vector(k + odd(0.02), np.float64)
        options["class_weights"][:] = rng.choice([0.0, 1.0, 2.5, np.nan, -1.0])
    if odd(0.2):
        options["ignore_index"] = int(rng.choice([-100, 0, 1, -1]))
    numbers = (("label_smoothing", 0.2), ("temperature", 0.3), ("z_loss", 0.2), ("scale", 0.3))
    for name, share in (*numbers, ("softcap", 0.2), ("multiplier", 0.2)):
        if odd(share):
            options[name] = float(rng.choice([0.0, 0.1, 1.0, 7.0, -1.0, np.inf, np.nan]))
    for name in ("losses", "logsumexp", "log_likelihood", "entropy"):
        if odd(0.15):
            options[name] = arrays.vector(n + odd(0.02), np.float32 if odd(0.1) else dtype)
    if odd(0.15):
        options["probabilities"] = arrays.matrix(n, k, dtype)
    if odd(0.15):
        options["prediction"] = arrays.vector(n, np.int64)
    if odd(0.15):
        options["correct"] = arrays.vector(n, np.bool_)
    if odd(0.02):
        options["nonsense"] = 1
    return outcome_of(arrays, _kernels.run, form, output, logits, result, options, int(rng.integers(-2, 5)))


def outcome_of(arrays: Arrays, function, *arguments) -> str:
    try:
        function(*arguments)
    except ALLOWED as error:
        outcome = type(error).__name__
    else:
        outcome = "answered"
    arrays.check()
    return outcome


def call_product(rng: np.random.Generator) -> str:
    arrays, dtype = Arrays(rng), np.float32 if rng.random() < 0.5 else np.float64
    function = _kernels.multiply_float32 if (dtype == np.float32) != arrays.odd(0.02) else _kernels.multiply_float64
    m, n, k = (int(rng.choice([0, 1, 5, 16, 17, 33, 97, 200])) for _ in range(3))
    a, b = arrays.matrix(m, k, dtype), arrays.matrix(k + arrays.odd(0.02), n, dtype)
    return outcome_of(arrays, function, a, b, arrays.matrix(m, n, dtype), arrays.odd(0.5), int(rng.integers(-2, 5)))


def call_trainer(rng: np.random.Generator) -> str:
    arrays = Arrays(rng)
    odd = arrays.odd
    dtype = np.float32 if odd(0.5) else np.float64
    kind = _kernels.TrainerFloat32 if (dtype == np.float32) != odd(0.02) else _kernels.TrainerFloat64
    widths = [int(rng.choice([1, 2, 7, 16, 33, 70])) for _ in range(int(rng.integers(1, 5)))]
    count = sum((d + 1) * u for d, u in itertools.pairwise(widths))
    logistic, n = odd(0.3), int(rng.choice([0, 1, 5, 64, 300]))
    buffers = [arrays.vector(count + odd(0.01), dtype) if not odd(0.02) else None for _ in range(4)]
    options = {
        "batch_size": int(rng.choice([0, 1, 16, 300])),
        "logistic": logistic,
        "threads": int(rng.integers(-1, 4)),
    }
    options["activation"] = str(rng.choice([*ACTIVATIONS, "nonsense"]))
    for name in ("l2_weights", "dropout", "clip_norm", "label_smoothing", "decay", "beta1", "eps", "momentum"):
        if odd(0.15):
            options[name] = float(rng.choice([0.0, 0.5, 1.0, -1.0, np.inf, np.nan]))
    if odd(0.1):
        options["class_weights"] = [1.0] * (widths[-1] + odd(0.05))
    if odd(0.3):
        columns = rng.integers(0, widths[0] + odd(0.02), 3 * n)
        starts = np.sort(rng.integers(0, 3 * n + 1, n + 1)) if not odd(0.05) else rng.integers(-1, 3 * n + 9, n + 1)
        x = (rng.standard_normal(3 * n).astype(dtype), columns, starts)
    else:
        x = arrays.matrix(n, widths[0] + odd(0.02), dtype)
    labels = rng.integers(-odd(0.02), widths[-1] + odd(0.02), n + odd(0.02))
    targets = np.zeros((n, widths[-1] + odd(0.02)), dtype)
    if logistic != odd(0.02):
        labels = None
    else:
        targets = None
    order = rng.integers(-odd(0.02), n + odd(0.02), int(rng.choice([0, n, 2 * n]))) if n else np.zeros(0, np.int64)
    steps = -(-len(order) // max(options["batch_size"], 1)) + odd(0.02)
    weights = np.ones(n + odd(0.02)) if odd(0.2) else None

    def build_and_run():
        trainer = kind(widths, *buffers, options)
        trainer.run(x, labels, targets, weights, order, np.full(steps, 0.01), 0, np.zeros(1, np.uint8))

    return outcome_of(arrays, build_and_run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    end, seed = time.monotonic() + arguments.seconds, arguments.seed
    while time.monotonic() < end:
        try:
            with np.errstate(all="ignore"):
                one = (call, call, call_trainer, call_product)[seed % 4]
                counts[f"{one.__name__} {one(np.random.default_rng(seed))}"] += 1
        except BaseException:
            print(f"found with --seed {seed}")
            raise
        seed += 1
    print(f"{sum(counts.values())} calls, no finding: {dict(counts)}")
    for one in (call, call_trainer, call_product):
        assert counts[f"{one.__name__} answered"], "no call got as far as a kernel"


if __name__ == "__main__":
    main()
