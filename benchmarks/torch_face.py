"""The face for PyTorch beside PyTorch: forward and backward through autograd, float32, and a whole training step.

    python -m benchmarks.torch_face [--threads 2] [--repeats 9] [--json FILE]

The mean loss of leaves (N, K) and its gradient, by `F.cross_entropy` and by `chainrule.torch.cross_entropy`.
"computed": the logits are the output of another operation, as they are in a model; only then may `inplace` write over
them. The operation adds a scalar, which both contestants pay for. "peak" is how far resident memory rises above where
it stands with logits and labels there, and no block kept from the last call. The training step is that of a small
GPT-2-like model with AdamW, before and after `accelerate`. The import is that of `chainrule.torch` where `torch` is
there already, each in its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import limit_threads, peak_bytes_of, run_workers, take_turns

SIZES = [(32768, 1000), (4096, 32000), (1024, 128000), (65536, 10), (128, 1000), (1, 10)]
GPT2 = {"vocab_size": 50257, "n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 256}
BATCH, LENGTH = 8, 256
PACKAGES = ("chainrule", "numpy", "torch", "transformers")
IMPORT = "import time, torch; t = time.perf_counter(); import chainrule.torch; print(time.perf_counter() - t)"
# an installed package is compiled when it is installed
COMPILED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": tempfile.gettempdir() + "/chainrule-bytecode"}


def measure(n, k, threads, repeats):
    import torch

    from chainrule.torch import cross_entropy

    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((n, k), generator=generator)
    target = torch.randint(k, (n,), generator=generator)
    leaf = logits.clone().requires_grad_()
    one = torch.zeros((), requires_grad=True)

    def of_leaf(loss):
        def run():
            leaf.grad = None
            loss(leaf, target).backward()

        return run

    def of_computed(loss):
        def run():
            one.grad = None
            loss(logits + one, target).backward()

        return run

    def inplace(a, t):
        return cross_entropy(a, t, inplace=True)

    functional = torch.nn.functional
    runs = {
        "PyTorch": of_leaf(functional.cross_entropy),
        "Chainrule": of_leaf(cross_entropy),
        "PyTorch, computed": of_computed(functional.cross_entropy),
        "Chainrule, computed": of_computed(cross_entropy),
        "Chainrule, computed, inplace": of_computed(inplace),
    }
    seconds = take_turns(runs, repeats, awake=True)
    peak = {}
    for name, run in runs.items():
        leaf.grad = None
        peak[name] = _peak(run)
    return {"n": n, "k": k, "threads": threads, "seconds": seconds, "peak": peak}


def measure_step(threads, repeats):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from chainrule.torch import accelerate

    torch.set_num_threads(threads)
    tokens = torch.randint(GPT2["vocab_size"], (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    runs = {}
    for name, change in (("before", lambda model: model), ("after", accelerate)):
        torch.manual_seed(0)
        model = change(GPT2LMHeadModel(GPT2Config(**GPT2)).train())
        runs[name] = _step(model, torch.optim.AdamW(model.parameters()), tokens)
    seconds = take_turns(runs, repeats)
    return {
        "model": GPT2 | {"batch": [BATCH, LENGTH]},
        "threads": threads,
        "seconds": seconds,
        "peak": {name: _peak(run) for name, run in runs.items()},
    }


def _peak(run):
    from chainrule.torch import buffers

    buffers.release()
    return peak_bytes_of(run)


def _step(model, optimizer, tokens):
    def run():
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def measure_import(threads, repeats):
    command, given = [sys.executable, "-c", IMPORT], os.environ | COMPILED
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, env=given).stdout)
        for _ in range(repeats + 1)
    ]
    return {"import": statistics.median(times[1:]), "threads": threads}  # the first one compiles


def worker(options):
    for n, k in SIZES:
        print(json.dumps(measure(n, k, options.worker, options.repeats)), flush=True)
    print(json.dumps(measure_step(options.worker, min(options.repeats, 3))), flush=True)
    print(json.dumps(measure_import(options.worker, options.repeats)), flush=True)


def told(record, before):
    if "import" in record:
        return f"\nimport chainrule.torch beyond torch: {1e3 * record['import']:.0f} ms"
    seconds, peak = record["seconds"], record["peak"]
    if "model" in record:
        rows = [f"| {name} | {seconds[name]:.3f} s | {_mib(peak[name])} |" for name in seconds]
        return "\n".join(["\n| training step | time | peak |", "|---|---|---|", *rows])
    header = "\n| N × K | | time | PyTorch's / it | peak |\n|---|---|---|---|---|\n"
    rows = []
    for name in seconds:
        theirs = seconds["PyTorch, computed" if "computed" in name else "PyTorch"]
        size, time = f"{record['n']} × {record['k']}", f"{1e3 * seconds[name]:.2f} ms"
        rows.append(f"| {size} | {name} | {time} | {theirs / seconds[name]:.2f} | {_mib(peak[name])} |")
    return ("" if before else header) + "\n".join(rows)


def _mib(count):
    return "unknown" if count is None else f"{count / 2**20:.0f} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/torch_face.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        return worker(options)
    run_workers("benchmarks.torch_face", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
