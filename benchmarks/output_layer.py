"""Speed and memory of the output layer: loss and gradient, side by side with a copy of the logits and with peers.

    python -m benchmarks.output_layer [--threads 2 1] [--formats float32 bfloat16 float64] [--repeats 9] [--json FILE]

Each contestant is given the same logits and labels and leaves the mean loss and its gradient w.r.t. the logits. Bytes:
the copy (numpy.copyto between arrays that exist, as many threads as the others have) reads N K numbers and writes as
many, and so does the gradient. PyTorch's logits are a leaf that requires its gradient; compiled and jitted functions
are compiled before they are timed; scikit-learn and NumPy write into arrays that exist. Each contestant runs once more
right before it is timed, so that its threads are awake, and the copy's threads have a core each. Every number of
threads has a process of its own, bound to that many cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import linear
from benchmarks.machine import limit_threads, peak_bytes_of, run_workers, take_turns

SIZES = [(65536, 10), (65536, 100), (32768, 1000), (4096, 32000), (1024, 128000)]
PACKAGES = ("chainrule", "numpy", "torch", "jax", "scikit-learn")


def contestants(logits, labels, threads):
    """Name to a function that runs once. Ours and the copy are there for every format."""
    import numpy as np

    import chainrule

    place, out, copy = logits.copy(), np.empty_like(logits), np.empty_like(logits)
    bounds = np.linspace(0, len(logits), threads + 1).astype(int)
    cores = iter(sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [])
    pool = ThreadPoolExecutor(threads, initializer=lambda: _pin(next(cores, None)))

    def copied():
        parts = [slice(*bounds[i : i + 2]) for i in range(threads)]
        list(pool.map(lambda part: np.copyto(copy[part], logits[part]), parts))

    runs = {
        "copy": copied if threads > 1 else lambda: np.copyto(copy, logits),
        "in place": lambda: chainrule.softmax_cross_entropy(place, labels, out=place, threads=threads),
        "out of place": lambda: chainrule.softmax_cross_entropy(logits, labels, out=out, threads=threads),
    }
    for make in (by_torch, by_compiled_torch, by_jax, by_sklearn, by_numpy):
        try:
            runs |= make(logits, labels, threads)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return runs


def _pin(core):
    """A thread of the copy keeps to a core of its own, or Linux may wake two on one."""
    if core is not None:
        os.sched_setaffinity(threading.get_native_id(), {core})


def by_torch(logits, labels, threads):
    import torch

    torch.set_num_threads(threads)
    target = torch.from_numpy(labels)
    leaf = _as_torch(logits).requires_grad_()

    def run():
        leaf.grad = None
        torch.nn.functional.cross_entropy(leaf, target).backward()

    return {"PyTorch": run}


def by_compiled_torch(logits, labels, threads):
    import torch

    target = torch.from_numpy(labels)
    leaf = _as_torch(logits).requires_grad_()
    torch._dynamo.reset()
    loss = torch.compile(torch.nn.functional.cross_entropy, dynamic=False)

    def run():
        leaf.grad = None
        loss(leaf, target).backward()

    return {"torch.compile": run}


def _as_torch(logits):
    import torch

    if logits.dtype.name == "bfloat16":
        return torch.from_numpy(logits.view("int16").copy()).view(torch.bfloat16)
    return torch.from_numpy(logits.copy())


def by_jax(logits, labels, threads):
    import jax

    jax.config.update("jax_enable_x64", True)

    def loss(a, label):
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(a), label[:, None], axis=1).mean()

    step, a, label = jax.jit(jax.value_and_grad(loss)), jax.numpy.asarray(logits), jax.numpy.asarray(labels)
    return {"JAX": lambda: jax.block_until_ready(step(a, label))}


def by_sklearn(logits, labels, threads):
    import numpy as np
    from sklearn._loss import HalfMultinomialLoss

    if logits.dtype.itemsize == 2:
        return {}
    loss, y = HalfMultinomialLoss(n_classes=logits.shape[1]), labels.astype(logits.dtype)
    losses, gradient = np.empty(len(y), logits.dtype), np.empty_like(logits)

    def run():
        loss.loss_gradient(y, logits, loss_out=losses, gradient_out=gradient, n_threads=threads)
        losses.mean()

    return {"scikit-learn": run}


def by_numpy(logits, labels, threads):
    import numpy as np

    if logits.dtype.itemsize == 2:
        return {}
    rows, gradient, n = np.arange(len(labels)), np.empty_like(logits), len(labels)

    def run():
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=gradient)
        chosen = gradient[rows, labels]
        np.exp(gradient, out=gradient)
        total = gradient.sum(axis=1)
        (np.log(total) - chosen).mean()
        gradient[...] *= (1 / (n * total))[:, None]
        gradient[rows, labels] -= 1 / n

    return {"NumPy": run}


def measure(n, k, form, threads, repeats):
    import ml_dtypes
    import numpy as np

    import chainrule

    random = np.random.default_rng(0)
    dtype = ml_dtypes.bfloat16 if form == "bfloat16" else np.dtype(form)
    logits, labels = random.standard_normal((n, k), dtype=np.float32).astype(dtype), random.integers(0, k, n)
    seconds = take_turns(contestants(logits, labels, threads), repeats, awake=True)
    beyond = peak_bytes_of(lambda: chainrule.softmax_cross_entropy(logits, labels, out=logits, threads=threads))
    return {"n": n, "k": k, "format": form, "threads": threads, "seconds": seconds, "bytes beyond": beyond}


def worker(options):
    """One number of threads; one line of JSON for each size and format, and one for the last layer."""
    threads = options.worker
    for form in options.formats:
        for n, k in SIZES:
            print(json.dumps(measure(n, k, form, threads, options.repeats)), flush=True)
    if threads == max(options.threads):
        print(json.dumps(linear.measure(threads)), flush=True)


def tell(record):
    if "linear" in record:
        return linear.tell(record)
    seconds, bar = dict(record["seconds"]), record["threads"] * record["k"] * 8 + (1 << 20)
    copy, place, out = (seconds.pop(name) for name in ("copy", "in place", "out of place"))
    peers = ", ".join(f"{name} {time / place:.1f}" for name, time in seconds.items())
    beyond = record["bytes beyond"]
    memory = "unknown" if beyond is None else f"{beyond / 2**20:.2f} of {bar / 2**20:.2f}"
    cells = [f"{record['n']} × {record['k']}", f"{1e3 * copy:.2f}", f"{1e3 * place:.2f}", f"{1e3 * out:.2f}"]
    return f"| {' | '.join([*cells, f'{place / copy:.2f}', f'{out / copy:.2f}', peers, memory])} |"


HEADER = """
{format}, {threads} thread(s)

| N × K | copy, ms | in place, ms | out of place, ms | in place / copy | out / copy | peers / in place | MiB beyond |
|---|---|---|---|---|---|---|---|"""


def told(record, before):
    """A record as a row, under a header where it is the first of its format and number of threads."""
    key = record.get("format"), record["threads"]
    new = "linear" not in record and key not in [(r.get("format"), r["threads"]) for r in before]
    return (HEADER.format(**record) + "\n" if new else "") + tell(record)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--formats", nargs="+", default=["float32", "bfloat16", "float64"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/output_layer.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        return worker(options)
    run_workers("benchmarks.output_layer", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
