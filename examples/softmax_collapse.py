"""Softmax collapse: the same network trained with the ordinary float32 gradient and with the exact one.

    python examples/softmax_collapse.py [--steps 4000] [--seeds 0 1] [-o softmax_collapse]

The task is (x + y) mod 113 from the two numbers' one-hot codes, 60 % of the pairs for training. Once the training
pairs are fitted their margins grow, float32's softmax - e(l) rounds to exactly 0 for more and more of them, and
training stops; that is what Prieto et al. ("Grokking at the Edge of Numerical Stability", ICLR 2025) call softmax
collapse. The network is 226-200-200-113, ReLU, without biases; full batches; Adam with beta 0.9 and 0.99, epsilon
1e-30, learning rate 1e-3, no weight decay; everything is float32. Both arms differ in one line: `gradient`.

Writes OUTPUT.json with the curves, and OUTPUT.png where Matplotlib is installed. Every run has one thread, and as
many run at once as there are cores.
"""

from __future__ import annotations

import os

# before NumPy is imported, also in the workers; the second would make matrix products slower for both arms
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.pop("OPENBLAS_CORETYPE", None)

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np

import chainrule

P = 113
SIZES = (2 * P, 200, 200, P)
EVERY = 250  # steps between two points of a curve


def ordinary(logits, labels, grad):
    """softmax - e(l) in float32, as it is usually computed; the mean loss."""
    np.subtract(logits, logits.max(axis=1, keepdims=True), out=logits)
    rows = np.arange(len(labels))
    shifted = logits[rows, labels]
    np.exp(logits, out=grad)
    total = grad.sum(axis=1, keepdims=True)
    grad /= total
    grad[rows, labels] -= 1
    grad /= np.float32(len(labels))
    return float(np.mean(np.log(total[:, 0]) - shifted))


def exact(logits, labels, grad):
    """The same by Chainrule."""
    return float(chainrule.softmax_cross_entropy(logits, labels, out=grad, threads=1).loss)


ARMS = {"ordinary": ordinary, "exact": exact}


def forward(weights, x, units):
    """Leaves the activations, and last the logits, in `units`, whose memory the next step uses again."""
    inputs = x
    for weight, out in zip(weights, units, strict=True):
        np.matmul(inputs, weight.T, out=out)
        inputs = np.maximum(out, 0, out=out) if out is not units[-1] else out
    return inputs


def train(task):
    """One curve: steps, mean training loss, rows whose true-class gradient is 0, training and test accuracy."""
    arm, seed, steps = task
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(P * P)
    a, b = pairs // P, pairs % P
    x, labels = np.zeros((P * P, 2 * P), np.float32), (a + b) % P
    x[np.arange(P * P), a] = x[np.arange(P * P), P + b] = 1
    split = round(0.6 * P * P)
    x_train, y_train, x_test, y_test = x[:split], labels[:split], x[split:], labels[split:]
    bounds = [1 / np.sqrt(n) for n in SIZES[:-1]]  # PyTorch's for a linear layer
    weights = [
        rng.uniform(-bound, bound, (m, n)).astype(np.float32)
        for bound, n, m in zip(bounds, SIZES, SIZES[1:], strict=False)
    ]
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    grad = np.empty((split, P), np.float32)
    units = [np.empty((split, n), np.float32) for n in SIZES[1:]]
    units_test = [np.empty((len(x_test), n), np.float32) for n in SIZES[1:]]
    curve = []
    for step in range(steps + 1):
        logits = forward(weights, x_train, units)
        fitted = float(np.mean(logits.argmax(axis=1) == y_train)) if step % EVERY == 0 else 0.0
        loss = ARMS[arm](logits, y_train, grad)
        if step % EVERY == 0:
            tested = float(np.mean(forward(weights, x_test, units_test).argmax(axis=1) == y_test))
            dead = float(np.mean(grad[np.arange(split), y_train] == 0))
            curve.append({"step": step, "loss": loss, "zero": dead, "train": fitted, "test": tested})
        delta = grad
        for layer in reversed(range(len(weights))):
            change = delta.T @ (units[layer - 1] if layer else x_train)
            if layer:
                delta = delta @ weights[layer]
                delta *= units[layer - 1] > 0
            first[layer] += np.float32(0.1) * (change - first[layer])
            second[layer] += np.float32(0.01) * (change * change - second[layer])
            m, v = first[layer] / np.float32(1 - 0.9 ** (step + 1)), second[layer] / np.float32(1 - 0.99 ** (step + 1))
            weights[layer] -= np.float32(1e-3) * m / (np.sqrt(v) + np.float32(1e-30))
    return {"arm": arm, "seed": seed, "curve": curve}


def plot(runs, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for run in runs:
        style = {
            "color": "tab:blue" if run["arm"] == "exact" else "tab:red",
            "label": f"{run['arm']}, seed {run['seed']}",
        }
        steps = [point["step"] for point in run["curve"]]
        left.plot(steps, [100 * point["test"] for point in run["curve"]], **style)
        right.plot(steps, [100 * point["zero"] for point in run["curve"]], **style)
    left.set(xlabel="step", ylabel="test accuracy, %", title="(x + y) mod 113, float32")
    right.set(xlabel="step", ylabel="training pairs, %", title="whose true-class gradient is exactly 0")
    left.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("-o", "--output", default="softmax_collapse")
    arguments = parser.parse_args()
    start = time.perf_counter()
    tasks = [(arm, seed, arguments.steps) for seed in arguments.seeds for arm in ARMS]
    runs = []
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for run in pool.imap(train, tasks):
            runs.append(run)
            last = run["curve"][-1]
            print(
                f"{run['arm']:8} seed {run['seed']}: step {last['step']}, loss {last['loss']:.3g}, zero gradients "
                f"{last['zero']:.1%}, train {last['train']:.1%}, test {last['test']:.1%}",
                flush=True,
            )
    outputs = [Path(f"{arguments.output}.json")]
    outputs[0].write_text(json.dumps({"steps": arguments.steps, "numpy": np.__version__, "runs": runs}, indent=1))
    try:
        plot(runs, f"{arguments.output}.png")
        outputs.append(Path(f"{arguments.output}.png"))
    except ImportError:
        print("No plot: pip install matplotlib")
    print(f"{time.perf_counter() - start:.0f} s; wrote {', '.join(map(str, outputs))}")


if __name__ == "__main__":
    main()
