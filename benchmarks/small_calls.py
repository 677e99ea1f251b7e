"""What a call on few rows costs, beside the kernel alone and beside peers: float32, the mean loss and its gradient.

    python -m benchmarks.small_calls [--threads 1] [--repeats 9] [--json FILE]

NumPy: `chainrule.softmax_cross_entropy` beside the native kernel, called with arguments that are made already. PyTorch:
forward and backward of a leaf through autograd, eager and compiled, beside `F.cross_entropy`. JAX: value and gradient
under `jit`, beside Optax. Times are medians of runs of many calls; the contestants of a size take turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.jax_face import losses
from benchmarks.machine import limit_threads, repeated, run_workers, take_turns

SIZES = [(1, 10), (32, 10), (128, 10), (32, 100), (128, 1000)]
SECONDS = 0.02  # a run's, about
PACKAGES = ("chainrule", "numpy", "torch", "jax", "jaxlib", "optax")


def by_numpy(logits, labels):
    import numpy as np

    import chainrule
    from chainrule._native import _kernels

    grad, given = np.empty_like(logits), {"labels": labels, "scale": 1.0 / len(labels)}
    return {
        "kernel": lambda: _kernels.run("float32", "gradient", logits, grad, given, 1),
        "NumPy": lambda: chainrule.softmax_cross_entropy(logits, labels),
    }


def by_torch(logits, labels):
    import torch

    from chainrule.torch import cross_entropy

    torch._dynamo.reset()
    target, runs = torch.from_numpy(labels), {}
    for name, loss in (("F.cross_entropy", torch.nn.functional.cross_entropy), ("PyTorch", cross_entropy)):
        runs[name] = _through_autograd(loss, logits, target)
        runs[f"{name}, compiled"] = _through_autograd(torch.compile(loss, dynamic=False), logits, target)
    return runs


def _through_autograd(loss, logits, target):
    import torch

    leaf = torch.from_numpy(logits.copy()).requires_grad_()

    def run():
        leaf.grad = None
        loss(leaf, target).backward()

    return run


def by_jax(logits, labels):
    import jax
    import jax.numpy as jnp

    a, label, runs = jnp.asarray(logits), jnp.asarray(labels), {}
    for name, loss in losses().items():
        step = jax.jit(jax.value_and_grad(lambda a, label, loss=loss: loss(a, label).mean()))
        runs["JAX" if name == "Chainrule" else name] = lambda step=step: jax.block_until_ready(step(a, label))
    return runs


def measure(n, k, threads, repeats):
    import numpy as np

    random = np.random.default_rng(0)
    logits, labels = random.standard_normal((n, k), dtype=np.float32), random.integers(0, k, n)
    runs = by_numpy(logits, labels) | by_torch(logits, labels) | by_jax(logits, labels)
    once = take_turns(runs, 3, rest=0.0)
    calls = {name: max(1, round(SECONDS / seconds)) for name, seconds in once.items()}
    seconds = take_turns({name: repeated(run, calls[name]) for name, run in runs.items()}, repeats)
    return {"n": n, "k": k, "threads": threads, "seconds": {name: s / calls[name] for name, s in seconds.items()}}


def worker(options):
    import torch

    torch.set_num_threads(options.worker)
    for n, k in SIZES:
        print(json.dumps(measure(n, k, options.worker, options.repeats)), flush=True)


PAIRS = (
    ("NumPy", "kernel"), ("PyTorch", "F.cross_entropy"), ("PyTorch, compiled", "F.cross_entropy, compiled"),
    ("JAX", "Optax"),
)  # fmt: skip


def told(record, before):
    seconds, cells = record["seconds"], []
    for ours, theirs in PAIRS:
        peer, own = seconds[theirs], seconds[ours]
        cells += [f"{1e6 * peer:.1f}", f"{1e6 * own:.1f}", f"{own / peer:.2f}"]
    row = f"| {record['n']} × {record['k']} | {' | '.join(cells)} |"
    header = f"\nfloat32, {record['threads']} thread(s), µs for a call\n\n| N × K |"
    header += "".join(f" {theirs} | {ours} | ratio |" for ours, theirs in PAIRS) + "\n|" + "---|" * 13 + "\n"
    return row if before else header + row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/small_calls.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        return worker(options)
    run_workers("benchmarks.small_calls", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
