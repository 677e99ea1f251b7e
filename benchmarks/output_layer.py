"""Speed of the output layer: loss and gradient in float32, side by side with PyTorch and with a copy of the logits.

    python -m benchmarks.output_layer [--threads 2] [--repeats 9]

The contestants take turns within a run, so that a slow moment of the machine meets them all. Each is given the
same logits and labels and leaves the mean loss and its gradient w.r.t. the logits. Bytes: a copy reads and writes
4 N K each, and so does the gradient; PyTorch's logits are a leaf that requires its gradient.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

# before NumPy is loaded: this setting would make its matrix products slower, for every contestant
os.environ.pop("OPENBLAS_CORETYPE", None)

import numpy as np

import chainrule

SIZES = [(65536, 10), (65536, 100), (32768, 1000), (4096, 32000)]


def contestants(logits, labels, threads):
    import torch

    torch.set_num_threads(threads)
    target = torch.from_numpy(labels)
    leaf = torch.from_numpy(logits).requires_grad_()
    place, out, copy = logits.copy(), np.empty_like(logits), np.empty_like(logits)

    def by_torch():
        leaf.grad = None
        torch.nn.functional.cross_entropy(leaf, target).backward()

    def copied():
        # as torch copies: on as many threads as the others may use
        torch.from_numpy(copy).copy_(leaf.detach())

    return {
        "copy": copied,
        "chainrule, out=logits": lambda: chainrule.softmax_cross_entropy(place, labels, out=place, threads=threads),
        "chainrule, out=buffer": lambda: chainrule.softmax_cross_entropy(logits, labels, out=out, threads=threads),
        "PyTorch eager": by_torch,
    }


def measure(n, k, threads, repeats):
    random = np.random.default_rng(0)
    logits = random.standard_normal((n, k), dtype=np.float32)
    runs = contestants(logits, random.integers(0, k, n), threads)
    times = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            time.sleep(0.01)  # until the last one's threads have ceased to spin
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first two warm the caches and the page tables
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/output_layer.json"))
    options = parser.parse_args()
    import torch

    facts = {
        "processor": _processor(),
        "kernel": chainrule.which_kernel(),
        "threads": options.threads,
        "versions": f"Python {sys.version.split()[0]}, NumPy {np.__version__}, PyTorch {torch.__version__}, "
        f"chainrule {chainrule.__version__}",
    }
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n")
    print("| N × K | copy, ms | in place, ms | out of place, ms | PyTorch, ms | in place / copy | PyTorch / in place |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for n, k in SIZES:
        median = measure(n, k, options.threads, options.repeats)
        results.append({"n": n, "k": k, "seconds": median})
        copy, place, out, peer = median.values()
        cells = [f"{1e3 * t:.2f}" for t in (copy, place, out, peer)]
        print(f"| {n} × {k} | {' | '.join(cells)} | {place / copy:.2f} | {peer / place:.1f} |", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(facts | {"results": results}, indent=1))
    print(f"\nwritten to {options.json}")


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
