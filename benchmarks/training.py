"""Speed of training with Adam, per step, and of prediction, side by side with the matrix products alone and with peers.

    python -m benchmarks.training [--threads 2 1] [--repeats 7] [--dtype float64] [--set x86-64-v3] [--json FILE]

Each contestant trains the same network on the same examples, an epoch at a time (five where a call sets up as well):
shuffling, gathering, forward, loss, backward and Adam, with ReLU. The products alone are NumPy's, into arrays that
exist: forward, and the gradients w.r.t. weights and, but for the first layer, w.r.t. inputs. Functions that compile
have done so before they are timed. NumPy in closed form writes into arrays that exist, where NumPy lets it. "busy": the
same epoch of ours while another process keeps one of the cores busy. Ratios are medians over the turns of the ratios in
a turn. Every number of threads has a process of its own, bound to as many cores. With `--set x86-64-v3` OpenBLAS is
held to its kernels for Haswell, which are of that set too. PyTorch's MKL takes AVX2 kernels on AMD processors: its
ratio says nothing about Intel's. Prediction is measured by prediction.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from benchmarks import prediction
from benchmarks.machine import blas, limit_threads, paired_ratio, peak_bytes_of, run_workers, take_turns, turns

NETWORKS = [  # widths, batch, examples
    ([64, 64, 10], 32, 32 * 45),
    ([784, 128, 10], 128, 128 * 40),
    ([784, 512, 256, 10], 256, 256 * 12),
    ([54, 64, 64, 7], 256, 256 * 60),
]
EPOCHS = 5  # of one call where a call also sets up: ours and scikit-learn's
REST = 0.1  # seconds between contestants: OpenBLAS's threads spin for 30 ms after their last product
PACKAGES = ("chainrule", "numpy", "torch", "jax", "scikit-learn", "keras", "onnxruntime")


def contestants(widths, batch, x, labels, threads):
    runs = {"products": products(widths, batch, x), "chainrule": ours(widths, batch, x, labels, threads)}
    for make in (by_numpy, by_jax, by_torch, by_sklearn, by_keras):
        try:
            runs |= make(widths, batch, x, labels, threads)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return runs


def ours(widths, batch, x, labels, threads):
    import chainrule

    net = chainrule.Network.create(widths, seed=0, dtype=x.dtype)
    return lambda: chainrule.fit(net, x, labels, epochs=EPOCHS, batch_size=batch, validation=0, threads=threads)


def products(widths, batch, x):
    import numpy as np

    random, steps = np.random.default_rng(0), len(x) // batch
    weights = [random.standard_normal((u, d), dtype=x.dtype) for d, u in pairwise(widths)]
    h = [random.standard_normal((batch, w), dtype=x.dtype) for w in widths]
    g = [random.standard_normal((batch, w), dtype=x.dtype) for w in widths]
    out, back, grads = [a.copy() for a in h], [a.copy() for a in g], [w.copy() for w in weights]

    def run():
        for _ in range(steps):
            for k, w in enumerate(weights):
                np.matmul(h[k], w.T, out=out[k + 1])
            for k in range(len(weights) - 1, -1, -1):
                np.matmul(g[k + 1].T, h[k], out=grads[k])
                if k:
                    np.matmul(g[k + 1], weights[k], out=back[k])

    return run


def _start(widths, dtype):
    import chainrule

    net = chainrule.Network.create(widths, seed=0, dtype=dtype)
    return net.weights, net.biases


def by_numpy(widths, batch, x, labels, threads):
    import numpy as np

    weights, biases = _start(widths, x.dtype)
    parameters = [*weights, *biases]
    grads, m, v, work = ([np.zeros_like(p) for p in parameters] for _ in range(4))
    h = [np.empty((batch, w), x.dtype) for w in widths]
    g = [np.empty((batch, w), x.dtype) for w in widths]
    random, rows, depth, t = np.random.default_rng(0), np.arange(batch), len(weights), 0

    def run():
        nonlocal t
        order = random.permutation(len(x))
        for begin in range(0, len(x), batch):
            at = order[begin : begin + batch]
            np.take(x, at, axis=0, out=h[0])
            y = labels[at]
            for k in range(depth):
                np.matmul(h[k], weights[k].T, out=h[k + 1])
                h[k + 1] += biases[k]
                if k < depth - 1:
                    np.maximum(h[k + 1], 0, out=h[k + 1])
            a = h[depth]
            a -= a.max(axis=1, keepdims=True)
            np.exp(a, out=a)
            a /= a.sum(axis=1, keepdims=True)
            np.log(a[rows, y]).mean()
            a[rows, y] -= 1
            a /= batch
            g[depth][...] = a
            for k in range(depth - 1, -1, -1):
                np.matmul(g[k + 1].T, h[k], out=grads[k])
                np.sum(g[k + 1], axis=0, out=grads[depth + k])
                if k:
                    np.matmul(g[k + 1], weights[k], out=g[k])
                    g[k] *= h[k] > 0
            t += 1
            for p, grad, mean, square, w in zip(parameters, grads, m, v, work, strict=True):
                mean *= 0.9
                np.multiply(grad, 0.1, out=w)
                mean += w
                square *= 0.999
                np.multiply(grad, grad, out=w)
                w *= 0.001
                square += w
                np.sqrt(square, out=w)
                w *= 1 / (1 - 0.999**t) ** 0.5
                w += 1e-8
                np.divide(mean, w, out=w)
                w *= 1e-3 / (1 - 0.9**t)
                p -= w

    return {"NumPy": run}


def by_jax(widths, batch, x, labels, threads):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", x.dtype == "float64")
    weights, biases = _start(widths, x.dtype)
    parameters = [(jnp.asarray(w.T), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]
    xs, ys, steps = jnp.asarray(x), jnp.asarray(labels), len(x) // batch

    def loss(p, h, y):
        for w, b in p[:-1]:
            h = jax.nn.relu(h @ w + b)
        a = jax.nn.log_softmax(h @ p[-1][0] + p[-1][1])
        return -jnp.take_along_axis(a, y[:, None], axis=1).mean()

    @jax.jit
    def epoch(p, m, v, t, key):
        order = jax.random.permutation(key, len(x)).reshape(steps, batch)

        def step(carry, at):
            p, m, v, t = carry
            value, g = jax.value_and_grad(loss)(p, xs[at], ys[at])
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            c1, c2 = 1 - 0.9**t, 1 - 0.999**t
            p = jax.tree.map(lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), p, m, v)
            return (p, m, v, t), value

        return jax.lax.scan(step, (p, m, v, t), order)

    state = [parameters, jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters), 0.0]
    key = [jax.random.key(0)]

    def run():
        key[0], now = jax.random.split(key[0])
        state[:], losses = epoch(*state, now)
        losses.block_until_ready()

    return {"JAX, one scan": run}


def by_torch(widths, batch, x, labels, threads):
    import torch

    torch.set_num_threads(threads)
    xs, ys = torch.from_numpy(x), torch.from_numpy(labels)

    def contestant(fused, gathered):
        layers = []
        for k, (d, u) in enumerate(pairwise(widths)):
            layers += [torch.nn.Linear(d, u), torch.nn.ReLU()] if k < len(widths) - 2 else [torch.nn.Linear(d, u)]
        model = torch.nn.Sequential(*layers)
        adam = torch.optim.Adam(model.parameters(), 1e-3, fused=fused)

        def run():
            order = torch.randperm(len(xs))
            if gathered:
                shuffled, targets = xs[order], ys[order]
            for begin in range(0, len(xs), batch):
                if gathered:
                    h, y = shuffled[begin : begin + batch], targets[begin : begin + batch]
                else:
                    at = order[begin : begin + batch]
                    h, y = xs[at], ys[at]
                adam.zero_grad()
                torch.nn.functional.cross_entropy(model(h), y).backward()
                adam.step()

        return run

    return {"PyTorch, fused Adam": contestant(True, True), "PyTorch eager": contestant(False, False)}


def by_sklearn(widths, batch, x, labels, threads):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)

    from chainrule.sklearn import MLPClassifier as Ours

    def contestant(kind):
        model = kind(tuple(widths[1:-1]), batch_size=batch, max_iter=EPOCHS, random_state=0)
        return lambda: model.fit(x, labels)

    return {"our MLPClassifier": contestant(Ours), "scikit-learn": contestant(MLPClassifier)}


def by_keras(widths, batch, x, labels, threads):
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.config.set_floatx(str(x.dtype))

    layers = [keras.layers.Dense(u, activation="relu") for u in widths[1:-1]] + [keras.layers.Dense(widths[-1])]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {"Keras on JAX": lambda: model.fit(x, labels, batch_size=batch, verbose=0)}


def measure(widths, batch, n, threads, options):
    import numpy as np

    random = np.random.default_rng(0)
    x = random.standard_normal((n, widths[0]), dtype=options.dtype)
    labels = random.integers(0, widths[-1], n)
    runs, steps = contestants(widths, batch, x, labels, threads), n // batch
    seconds = turns(runs, options.repeats, REST)
    for name in ("chainrule", "our MLPClassifier", "scikit-learn"):
        seconds[name] = [time / EPOCHS for time in seconds.get(name, [])]
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        beside = take_turns({"chainrule": runs["chainrule"]}, options.repeats, REST)["chainrule"] / EPOCHS
    finally:
        busy.kill()
        busy.wait()
    own = seconds["chainrule"]
    return {
        "widths": widths,
        "batch": batch,
        "threads": threads,
        "dtype": options.dtype,
        "microseconds": {name: 1e6 * statistics.median(times) / steps for name, times in seconds.items() if times},
        "ratio": paired_ratio(own, seconds["products"]),
        "peers": {
            name: paired_ratio(times, own)
            for name, times in seconds.items()
            if times and name not in ("products", "chainrule", "our MLPClassifier")
        },
        "face": paired_ratio(seconds["scikit-learn"], seconds["our MLPClassifier"])
        if seconds["scikit-learn"]
        else None,
        "busy": beside / statistics.median(own),
        "bytes beyond": peak_bytes_of(runs["chainrule"]),
    }


def worker(options):
    import chainrule

    print(json.dumps({"about": f"Chainrule: {chainrule.which_kernel()}; NumPy's BLAS: {blas()}"}), flush=True)
    for widths, batch, n in NETWORKS:
        print(json.dumps(measure(widths, batch, n, options.worker, options)), flush=True)
    for widths, _, _ in NETWORKS:
        for record in prediction.measure(widths, options.dtype, options.worker, options.repeats):
            print(json.dumps(record), flush=True)


def tell(record):
    times = record["microseconds"]
    peers = ", ".join(f"{name} {ratio:.1f}" for name, ratio in record["peers"].items())
    face = "" if record["face"] is None else f"{record['face']:.1f}"
    memory = "unknown" if record["bytes beyond"] is None else f"{record['bytes beyond'] / 2**20:.1f}"
    cells = [
        "-".join(map(str, record["widths"])),
        record["batch"],
        f"{times['products']:.1f}",
        f"{times['chainrule']:.1f}",
    ]
    cells += [f"{record['ratio']:.2f}", peers, face, f"{record['busy']:.1f}", memory]
    return f"| {' | '.join(map(str, cells))} |"


HEADER = """
{dtype}, Adam, {threads} thread(s), µs a step

| network | batch | products | Chainrule | ratio | peers / Chainrule | scikit-learn / face | busy | MiB beyond |
|---|---|---|---|---|---|---|---|---|"""


def told(record, before):
    """A record as a row, under a header where it is the first of its kind with its number of threads."""
    if "about" in record:
        return "\n" + record["about"]
    of_kind = [r for r in before if ("rows" in r) == ("rows" in record)]
    new = record["threads"] not in [r.get("threads") for r in of_kind]
    header, row = (prediction.HEADER, prediction.tell) if "rows" in record else (HEADER, tell)
    return (header.format(**record) + "\n" if new else "") + row(record)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--set", choices=("baseline", "x86-64-v3", "x86-64-v4"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/training.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        if options.set:
            os.environ["CHAINRULE_INSTRUCTION_SET"] = options.set
        if options.set == "x86-64-v3":
            os.environ["OPENBLAS_CORETYPE"] = "Haswell"
        return worker(options)
    run_workers("benchmarks.training", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
