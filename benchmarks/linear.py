"""The last layer with its loss, 4096 × 768 → 50257: a part of `python -m benchmarks.output_layer`.

Both Chainrule and the three matrix products alone write into arrays that exist: the gradients w.r.t. hidden units and
weights, and the products the logits too. The peers hold the same arrays, as leaves that require their gradients.
"""

from __future__ import annotations

import tracemalloc

from benchmarks.machine import take_turns

N, D, K = 4096, 768, 50257


def measure(threads, repeats=3):
    import numpy as np
    import torch

    import chainrule

    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    hidden = random.standard_normal((N, D), dtype=np.float32)
    weight = 0.05 * random.standard_normal((K, D), dtype=np.float32)
    labels = random.integers(0, K, N)

    logits, grad_hidden, grad_weight = np.empty((N, K), np.float32), np.empty_like(hidden), np.empty_like(weight)

    def ours():
        out = grad_hidden, grad_weight, None
        return chainrule.linear_cross_entropy(hidden, weight, labels, out=out, threads=threads)

    def with_all():
        told = "logsumexp", "log_likelihood", "entropy", "prediction", "correct"
        options = {"softcap": 30.0, "z_loss": 1e-4, "extras": told, "threads": threads}
        return chainrule.linear_cross_entropy(hidden, weight, labels, out=(grad_hidden, grad_weight, None), **options)

    tracemalloc.start()  # NumPy tells it of every array
    ours()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    def products():
        np.matmul(hidden, weight.T, out=logits)
        np.matmul(logits, weight, out=grad_hidden)
        np.matmul(logits.T, hidden, out=grad_weight)

    leaves = [torch.from_numpy(array).requires_grad_() for array in (hidden, weight)]
    target = torch.from_numpy(labels)

    def by_torch(loss):
        def run():
            for leaf in leaves:
                leaf.grad = None
            loss(*leaves, target).backward()

        return run

    functional = torch.nn.functional
    runs = {
        "three products": products,
        "linear_cross_entropy": ours,
        "the same with a cap, a z-loss and all extras": with_all,
        "F.linear + F.cross_entropy": by_torch(lambda h, w, t: functional.cross_entropy(functional.linear(h, w), t)),
    }
    if hasattr(functional, "linear_cross_entropy"):
        options = torch.nn.LinearCrossEntropyOptions()
        chunked = by_torch(lambda h, w, t: functional.linear_cross_entropy(h, w, t, options=options))
        runs["F.linear_cross_entropy, chunked"] = chunked
    return {
        "linear": [N, D, K],
        "threads": threads,
        "seconds": take_turns(runs, repeats),
        "beyond": peak,
    }


def tell(record):
    n, d, k = record["linear"]
    alone = record["seconds"]["three products"]
    lines = [f"\nlinear_cross_entropy, {n} × {d} → {k}, float32, {record['threads']} threads\n"]
    lines += ["| contestant | s | of the three products |", "|---|---|---|"]
    lines += [f"| {name} | {time:.2f} | {time / alone:.2f} |" for name, time in record["seconds"].items()]
    lines.append(f"\nlinear_cross_entropy's arrays beyond inputs and outputs: {record['beyond'] / 2**20:.1f} MiB")
    return "\n".join(lines)
