"""The face for JAX beside Optax, both jitted: the mean loss and its gradient, and what a call costs.

    python -m benchmarks.jax_face [--threads 2] [--repeats 9] [--json FILE]

"argument": the logits are an argument that the caller keeps, so that the gradient needs new memory. "given up": they
are donated, as logits within a jitted training step are; the gradient takes their place, and is the next call's logits.
At 1 × 10 the time is the cost of a call; the same kernel through `jax.pure_callback`, which copies, stands beside it.
The last layer's loss is that of (N, D) times (K, D), with the gradients w.r.t. both; "peak" is how far resident memory
rises.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.machine import limit_threads, peak_bytes_of, repeated, run_workers, take_turns

SIZES = [(1, 10), (65536, 10), (32768, 1000), (4096, 32000), (1024, 128000)]
LAYER = (4096, 512, 32000)
CALLS = 500  # of the smallest size, timed together
PACKAGES = ("chainrule", "numpy", "jax", "jaxlib", "optax")


def losses():
    import optax

    from chainrule.jax import softmax_cross_entropy_with_integer_labels

    return {
        "Optax": optax.softmax_cross_entropy_with_integer_labels,
        "Chainrule": softmax_cross_entropy_with_integer_labels,
    }


def contestants(n, k):
    import jax
    import jax.numpy as jnp
    import numpy as np

    random = np.random.default_rng(0)
    logits = jnp.asarray(random.standard_normal((n, k), dtype=np.float32))
    labels = jnp.asarray(random.integers(0, k, n))
    runs = {}
    for name, loss in losses().items():
        step = jax.value_and_grad(lambda a, loss=loss: loss(a, labels).mean())
        runs[f"{name}, argument"] = _kept(jax.jit(step), logits)
        runs[f"{name}, given up"] = _given_up(jax.jit(step, donate_argnums=0), logits + 0)
        runs[f"{name}, loss alone"] = _kept(jax.jit(lambda a, loss=loss: loss(a, labels).mean()), logits)
    if n == 1:
        runs["pure_callback"] = _kept(jax.jit(lambda a: _by_callback(a, labels)), logits)
    return runs


def _kept(step, logits):
    import jax

    return lambda: jax.block_until_ready(step(logits))


def _given_up(step, logits):
    import jax

    state = [logits]

    def run():
        state[0] = jax.block_until_ready(step(state[0]))[1]

    return run


def _by_callback(logits, labels):
    import jax
    import numpy as np

    import chainrule

    def on_host(a, y):
        return tuple(chainrule.softmax_cross_entropy(np.asarray(a), np.asarray(y), reduction="none"))

    types = jax.ShapeDtypeStruct(logits.shape[:1], logits.dtype), jax.ShapeDtypeStruct(logits.shape, logits.dtype)
    return jax.pure_callback(on_host, types, logits, labels)


def measure(n, k, threads, repeats):
    runs = contestants(n, k)
    calls = CALLS if n == 1 else 1
    together = {name: repeated(run, calls) for name, run in runs.items()}
    seconds = take_turns(together, repeats, awake=n > 1)
    return {"n": n, "k": k, "threads": threads, "seconds": {name: s / calls for name, s in seconds.items()}}


def measure_layer(threads, repeats):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from chainrule.jax import linear_cross_entropy

    n, d, k = LAYER
    random = np.random.default_rng(0)
    hidden = jnp.asarray(random.standard_normal((n, d), dtype=np.float32))
    weight = jnp.asarray(random.standard_normal((k, d), dtype=np.float32) / np.float32(np.sqrt(d)))
    labels = jnp.asarray(random.integers(0, k, n))

    def stored(h, w):
        return optax.softmax_cross_entropy_with_integer_labels(h @ w.T, labels).mean()

    steps = {"Optax": stored, "Chainrule": lambda h, w: linear_cross_entropy(h, w, labels)}
    runs = {}
    for name, loss in steps.items():
        step = jax.jit(jax.value_and_grad(loss, (0, 1)))
        runs[name] = lambda step=step: jax.block_until_ready(step(hidden, weight))
    seconds = take_turns(runs, min(repeats, 5))
    return {
        "layer": LAYER,
        "threads": threads,
        "seconds": seconds,
        "peak": {n: peak_bytes_of(r) for n, r in runs.items()},
    }


def worker(options):
    threads = options.worker
    for n, k in SIZES:
        print(json.dumps(measure(n, k, threads, options.repeats)), flush=True)
    print(json.dumps(measure_layer(threads, options.repeats)), flush=True)


def told(record, before):
    seconds = record["seconds"]
    if "layer" in record:
        n, d, k = record["layer"]
        cells = [f"{seconds['Optax']:.2f} s", f"{seconds['Chainrule']:.2f} s"]
        cells += ["unknown" if b is None else f"{b / 2**20:.0f} MiB" for b in record["peak"].values()]
        return (
            "\n| last layer | Optax | Chainrule | peak, Optax | peak, Chainrule |\n|---|---|---|---|---|\n"
            f"| {n} × {d} → {k} | {' | '.join(cells)} |"
        )
    unit, scale = ("µs", 1e6) if record["n"] == 1 else ("ms", 1e3)
    cells = []
    for way in ("argument", "given up", "loss alone"):
        theirs, ours = seconds[f"Optax, {way}"], seconds[f"Chainrule, {way}"]
        cells.append(f"{scale * theirs:.2f} {unit} | {scale * ours:.2f} {unit} | {theirs / ours:.2f}")
    row = f"| {record['n']} × {record['k']} | {' | '.join(cells)} |"
    if "pure_callback" in seconds:
        row += f"\nthrough pure_callback a call takes {1e6 * seconds['pure_callback']:.0f} µs"
    return row if before else HEADER.format(**record) + row


HEADER = """
float32, {threads} thread(s)

| N × K | Optax, argument | ours | ratio | Optax, given up | ours | ratio | Optax, loss alone | ours | ratio |
|---|---|---|---|---|---|---|---|---|---|
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/jax_face.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        return worker(options)
    run_workers("benchmarks.jax_face", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
