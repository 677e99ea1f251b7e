"""What each example's gradient costs beside the mean gradient, and the scores of many examples beside a product.

    python -m benchmarks.per_example [--threads 1] [--repeats 15] [--json FILE]

First, for one batch: the gradient of the mean loss; each example's gradient norm at each layer, weights and biases
together; and the sum of the gradients clipped to norm 1 over all layers. Ours by `Network`, PyTorch's mean gradient by
autograd, JAX's under `jit`; the norms by BackPACK's BatchL2Grad, by Opacus's GradSampleModule, and by `vmap` of the
gradient in torch.func and JAX, where norms and sums come from the formed gradients; Opacus clips by its ghost
clipping, in its own two passes. A ratio is the median over the turns of the ratio to the library's own mean gradient in
the same turn. All compute in float32.

Then each function of `chainrule.scores` on 20,000 examples, 768 hidden units and 100 classes, beside one product of the
hidden units with the last layer's weights: time, and what memory it takes beside its arguments.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tracemalloc
import warnings
from pathlib import Path

from benchmarks.machine import limit_threads, paired_ratio, run_workers, turns

NETWORKS = [([64, 128, 64, 10], 256), ([784, 128, 10], 256), ([784, 512, 256, 10], 256), ([54, 64, 64, 7], 2048)]
N, K, D = 20_000, 100, 768
PACKAGES = ("chainrule", "numpy", "torch", "backpack-for-pytorch", "opacus", "jax")
WHATS = ("mean gradient", "norms", "clipped sum")


def ours(net, x, labels):
    def each():
        return net.backward(net.forward(x), labels, per_example=True, to_input=False)

    def mean():
        backward = net.backward(net.forward(x), labels, to_input=False)
        return backward.grad_weights, backward.grad_biases

    return {"mean gradient": mean, "norms": lambda: each().norms(), "clipped sum": lambda: each().clipped_sum(1.0)}


def by_torch(net, x, labels):
    import torch

    module, rows, target = net.to_torch(), torch.from_numpy(x), torch.from_numpy(labels)
    parameters = list(module.parameters())

    def mean():
        return torch.autograd.grad(torch.nn.functional.cross_entropy(module(rows), target), parameters)

    given = {name: p.detach() for name, p in module.named_parameters()}

    def loss(given, row, label):
        return torch.nn.functional.cross_entropy(torch.func.functional_call(module, given, (row[None],)), label[None])

    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def squares():
        formed = grads(given, rows, target)
        return formed, {name: g.flatten(1).square().sum(1) for name, g in formed.items()}

    def norms():
        found = squares()[1]
        return [(found[name] + found[name.replace("weight", "bias")]).sqrt() for name in found if "weight" in name]

    def clipped():
        formed, found = squares()
        factors = (1.0 / sum(found.values()).sqrt()).clamp(max=1.0)
        return [torch.einsum("n,n...->...", factors, g) for g in formed.values()]

    return {"PyTorch": {"mean gradient": mean}, "torch.func": {"norms": norms, "clipped sum": clipped}}


def by_backpack(net, x, labels):
    import torch
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    module, loss = extend(net.to_torch()), extend(torch.nn.CrossEntropyLoss(reduction="sum"))
    rows, target = torch.from_numpy(x), torch.from_numpy(labels)

    def norms():
        module.zero_grad()
        with backpack(BatchL2Grad()):
            loss(module(rows), target).backward()
        return [(m.weight.batch_l2 + m.bias.batch_l2).sqrt() for m in module if hasattr(m, "weight")]

    return {"BackPACK": {"norms": norms}}


def by_opacus(net, x, labels):
    import torch
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    rows, target = torch.from_numpy(x), torch.from_numpy(labels)
    formed = GradSampleModule(net.to_torch(), loss_reduction="sum")

    def norms():
        formed.zero_grad()
        torch.nn.functional.cross_entropy(formed(rows), target, reduction="sum").backward()
        layers = [m for m in formed._module if hasattr(m, "weight")]
        both = [(m.weight.grad_sample.flatten(1).square().sum(1), m.bias.grad_sample.square().sum(1)) for m in layers]
        return [(w + b).sqrt() for w, b in both]

    ghost = GradSampleModuleFastGradientClipping(
        net.to_torch(), max_grad_norm=1.0, use_ghost_clipping=True, loss_reduction="sum"
    )

    class Kept:  # what the loss asks of an optimizer
        """Gradients are set to zero, and kept."""

        loss_reduction = "sum"

        def zero_grad(self):
            ghost.zero_grad()

    criterion = DPLossFastGradientClipping(ghost, Kept(), torch.nn.CrossEntropyLoss(reduction="sum"), "sum")

    def clipped():
        ghost.zero_grad()
        criterion(ghost(rows), target).backward()
        return [p.grad for p in ghost.parameters()]

    return {"Opacus": {"norms": norms, "clipped sum": clipped}}


def by_jax(net, x, labels):
    import jax
    import jax.numpy as jnp

    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(net.weights, net.biases, strict=True)]
    rows, target = jnp.asarray(x), jnp.asarray(labels)

    def loss(layers, row, label):
        h = row
        for k, (w, b) in enumerate(layers):
            h = w @ h + b
            h = jax.nn.relu(h) if k < len(layers) - 1 else h
        return -jax.nn.log_softmax(h)[label]

    def mean_loss(layers, rows, target):
        return jax.vmap(loss, (None, 0, 0))(layers, rows, target).mean()

    each = jax.vmap(jax.grad(loss), (None, 0, 0))

    def squares(layers, rows, target):
        formed = each(layers, rows, target)
        return formed, [(w**2).sum((1, 2)) + (b**2).sum(1) for w, b in formed]

    def norms(layers, rows, target):
        return [jnp.sqrt(s) for s in squares(layers, rows, target)[1]]

    def clipped(layers, rows, target):
        formed, found = squares(layers, rows, target)
        factors = jnp.minimum(1.0, 1.0 / jnp.sqrt(sum(found)))
        return [(jnp.einsum("n,nij->ij", factors, w), jnp.einsum("n,ni->i", factors, b)) for w, b in formed]

    def ready(function):
        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(layers, rows, target))

    runs = {"mean gradient": ready(jax.grad(mean_loss)), "norms": ready(norms), "clipped sum": ready(clipped)}
    return {"JAX": runs}


def contestants(net, x, labels):
    found = {"Chainrule": ours(net, x, labels)}
    for make in (by_torch, by_backpack, by_opacus, by_jax):
        try:
            found |= make(net, x, labels)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def check(found):
    """All norms are the same."""
    import numpy as np

    truth = [np.asarray(part) for part in found["Chainrule"]["norms"]()]
    for who, runs in found.items():
        if "norms" in runs:
            for mine, part in zip(truth, runs["norms"](), strict=True):
                theirs = part.detach() if hasattr(part, "detach") else part
                np.testing.assert_allclose(np.asarray(theirs), mine, rtol=1e-3, atol=1e-5, err_msg=who)


def batch(widths, n, threads, repeats):
    import numpy as np

    import chainrule

    random, net = np.random.default_rng(0), chainrule.Network.create(widths, seed=0)
    x, labels = random.standard_normal((n, widths[0]), dtype=np.float32), random.integers(0, widths[-1], n)
    found = contestants(net, x, labels)
    check(found)
    times = turns({(who, what): run for who, runs in found.items() for what, run in runs.items()}, repeats)
    rows = []
    for (who, what), taken in times.items():
        own = times[who if who in ("Chainrule", "JAX") else "PyTorch", "mean gradient"]
        rows.append([who, what, statistics.median(taken), paired_ratio(taken, own)])
    return {"widths": widths, "n": n, "threads": threads, "rows": rows}


def all_scores(threads, repeats):
    import numpy as np

    from chainrule import scores

    random = np.random.default_rng(0)
    hidden = random.standard_normal((N, D), dtype=np.float32)
    weight = random.standard_normal((K, D), dtype=np.float32) / np.float32(D**0.5)
    logits, labels = hidden @ weight.T, random.integers(0, K, N)
    some = logits[:1000], labels[:1000], hidden[:1000]
    runs = {
        "one product, h Wᵀ": lambda: hidden @ weight.T,
        "el2n": lambda: scores.el2n(logits, labels),
        "grand": lambda: scores.grand(logits, labels, hidden),
        "margin": lambda: scores.margin(logits, labels),
        "entropy": lambda: scores.entropy(logits),
        "gradnorm": lambda: scores.gradnorm(logits, hidden),
        "expected_gradient_length": lambda: scores.expected_gradient_length(logits, hidden),
        "badge, 10 of them": lambda: scores.badge(logits, hidden, 10),
        "tracin, mean over 1,000 others": lambda: scores.tracin(logits, labels, hidden, against=some, reduction="mean"),
        "label_errors": lambda: scores.label_errors(logits, labels),
    }
    beside = {}
    for name, run in runs.items():
        tracemalloc.start()  # NumPy tells it of every array
        run()
        beside[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    times = turns(runs, repeats)
    product = times["one product, h Wᵀ"]
    rows = [[name, statistics.median(t), paired_ratio(t, product), beside[name]] for name, t in times.items()]
    return {"scores": rows, "threads": threads}


def worker(options):
    import torch

    warnings.filterwarnings("ignore")  # peers' own
    torch.set_num_threads(options.worker)
    for widths, n in NETWORKS:
        print(json.dumps(batch(widths, n, options.worker, options.repeats)), flush=True)
    print(json.dumps(all_scores(options.worker, options.repeats)), flush=True)


def told(record, before):
    if "scores" in record:
        lines = [f"\n{N:,} × {D} → {K}, float32, {record['threads']} thread(s)\n"]
        lines += ["| score | ms | of the product | MB beside its arguments |", "|---|---|---|---|"]
        lines += [f"| {name} | {1e3 * s:.1f} | {r:.1f} | {b / 1e6:.1f} |" for name, s, r, b in record["scores"]]
        return "\n".join(lines)
    name = "-".join(map(str, record["widths"]))
    lines = [f"\n{name}, a batch of {record['n']}, {record['threads']} thread(s): ms, and of its own mean gradient\n"]
    lines += [f"| | {' | '.join(WHATS)} |", "|---|---|---|---|"]
    for who in dict.fromkeys(row[0] for row in record["rows"]):
        cells = {what: f"{1e3 * s:.2f} ({r:.2f})" for w, what, s, r in record["rows"] if w == who}
        lines.append(f"| {who} | {' | '.join(cells.get(what, '') for what in WHATS)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/per_example.json"))
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        limit_threads(options.worker)
        return worker(options)
    run_workers("benchmarks.per_example", options.threads, PACKAGES, options.json, told)


if __name__ == "__main__":
    main()
