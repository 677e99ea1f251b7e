"""Rows a second that 1 and 2 processes train on, a thread each, and what gloo takes for the sums between them.

    python -m benchmarks.several_processes [--rows 4096] [--repeats 7] [--json FILE]

Each process has `--rows` rows of a batch, so that two do twice the work of one in a step: weak scaling. The turns of
one and of two alternate, each in a group of its own that lives through all of them; a turn is an epoch of some steps
after one that is not counted, and medians over the turns are given. "waiting" is the share of the time in which the
step had nothing to do but to wait for the other process's sums. A sum alone is timed between two processes that do
nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import facts

NETWORKS = [([784, 512, 256, 10], 5), ([54, 64, 64, 7], 40)]  # widths, and steps a turn
SUMS = [16 << 10, 256 << 10, 16 << 20]  # bytes


def serve(rank, file, pipe, rows):
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cores[rank % len(cores)]])
    import numpy as np
    import torch
    import torch.distributed as distributed

    import chainrule
    from chainrule.boundary.processes import Processes

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    groups = {1: distributed.new_group([0]), 2: distributed.group.WORLD}

    data = {}

    def train(n, widths, steps):
        processes, random, began = Processes(groups[n]), np.random.default_rng(rank), []
        if widths[0] not in data:
            data[widths[0]] = random.random((rows * steps, widths[0]), dtype="float32")
        x = data[widths[0]]
        labels = random.integers(0, widths[-1], len(x))

        def watch(record):
            began.append((time.perf_counter(), processes.waited))

        net = chainrule.Network.create(widths, seed=0)
        chainrule.fit(
            net, x, labels, epochs=2, batch_size=rows * n, validation=0, threads=1, progress=watch, group=processes
        )
        (first, waited), (last, in_all) = began
        return rows * n * steps / (last - first), (in_all - waited) / (last - first)

    def add(n, size):
        summed, times = torch.zeros(size // 4), []
        for _ in range(21):
            started = time.perf_counter()
            distributed.all_reduce(summed, group=groups[n])
            times.append(time.perf_counter() - started)
        return (statistics.median(times),)

    while (work := pipe.recv()) is not None:
        kind, n, *arguments = work
        pipe.send({"train": train, "add": add}[kind](n, *arguments))
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096, help="of a batch, for each process")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", default="build/several_processes.json")
    options = parser.parse_args()
    import multiprocessing

    context, pipes = multiprocessing.get_context("spawn"), []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            ours, theirs = context.Pipe()
            arguments = (rank, f"{folder}/store", theirs, options.rows)
            context.Process(target=serve, args=arguments, daemon=True).start()
            pipes.append(ours)

        def run(n, *work):
            for pipe in pipes[:n]:
                pipe.send((work[0], n, *work[1:]))
            return next(iter([pipe.recv() for pipe in pipes[:n]]))

        about, results = facts("chainrule", "numpy", "torch"), []
        print("\n".join(f"{name}: {value}" for name, value in about.items()))
        print(
            f"load before: {os.getloadavg()[0]:.1f}\n\n| network | 1 process, rows/s | 2 processes | ratio | waiting |"
        )
        print("|---|---|---|---|---|")
        for widths, steps in NETWORKS:
            turns = [[run(n, "train", widths, steps) for n in (1, 2)] for _ in range(options.repeats)]
            one, two = (statistics.median(turn[i][0] for turn in turns) for i in (0, 1))
            ratio = statistics.median(turn[1][0] / turn[0][0] for turn in turns)
            waiting = statistics.median(turn[1][1] for turn in turns)
            name = "-".join(map(str, widths))
            print(f"| {name} | {one:,.0f} | {two:,.0f} | {ratio:.2f} | {waiting:.0%} |", flush=True)
            results.append({"network": name, "one": one, "two": two, "ratio": ratio, "waiting": waiting})
        print("\n| sum of two | time |\n|---|---|")
        for size in SUMS:
            (seconds,) = run(2, "add", size)
            print(f"| {size >> 10} KB | {seconds * 1e3:.2f} ms |", flush=True)
            results.append({"bytes": size, "seconds": seconds})
        for pipe in pipes:
            pipe.send(None)
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | {"load": os.getloadavg()[0], "results": results}, indent=1))
    print(f"\nwritten to {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
