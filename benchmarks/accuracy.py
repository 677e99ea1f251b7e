"""Accuracy of the output layer: the largest errors in ULP against MPFR at 200 bits, side by side with peers.

    python -m benchmarks.accuracy [--quick] [--json FILE]

Measured are the loss, the gradient of the true class, the gradients of the other classes, and the gradient w.r.t. the
probabilities; then the loss and the gradient with every option (accuracy_options.py). A logit as it is in the format
counts as exact, so its rounding is nobody's error. Ends with 1 if Chainrule misses a bar or one of the properties in
the last table.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import chainrule
from benchmarks.accuracy_options import measure_options
from benchmarks.truth import FORMATS, exact_reciprocals, exact_rows, nearest, rounds_to_zero, ulps

SIZES = [(1000, 2), (1000, 3), (1000, 10), (8, 1000), (2, 128000)]
WIDEST = (1, 262144)  # for one case
QUICK = [(60, 2), (60, 3), (60, 10), (2, 1000)]
FOR_PEERS = 1000  # classes at most

QUANTITIES = ("loss", "true", "others", "probabilities")
HALF = dict.fromkeys(QUANTITIES, 0.51)
BARS = {name: HALF for name in FORMATS} | {"float64": dict.fromkeys(QUANTITIES, 6.0) | {"loss": 4.0}}
COUNTS = ("rows", "wrong", "zero")
PROPERTIES = {
    "never zero": "loss > 0 and true-class gradient < 0 wherever the exact value rounds to non-zero",
    "no −0.0": "no zero has a sign",
    "sum": "a row's |Σg| ≤ ε Σ|g| + K · smallest subnormal, ε = 1 ULP at 1, or the bar for gradients; Σ is exact",
    "shift": "a constant whose addition to every logit is exact changes no bit",
    "threads": "the number of threads changes no bit",
    "batch": "neither a row's place in the batch, nor the batch's split, nor the strides change a bit",
}


# The cases: a maker gives float64 logits that the format holds exactly, and labels.


def normal(deviation, label="random", offset=0.0):
    def make(random, n, k, form):
        logits = form.round(offset + form.round(random.normal(0.0, deviation, (n, k))))
        return logits, logits.argmax(axis=1) if label == "argmax" else random.integers(0, k, n)

    return make


def margin(lead):
    def make(random, n, k, form):
        logits, labels = -random.random((n, k)), random.integers(0, k, n)
        logits[np.arange(n), labels] = lead
        return form.round(logits), labels

    return make


def ties(at=None, every=False):
    """All equal, or a third of the classes; the largest stand at N(0, 1) or at a given height."""

    def make(random, n, k, form):
        height = random.normal(size=(n, 1)) if at is None else at
        equal = every | (random.random((n, k)) < 1 / 3)
        logits = np.where(equal, height, height - (5 if at is None else at) * random.random((n, k)))
        return form.round(logits), random.integers(0, k, n)

    return make


def subnormal(random, n, k, form):
    return np.ldexp(random.integers(-100, 101, (n, k)).astype(float), form.tiny), random.integers(0, k, n)


def masked(label):
    def make(random, n, k, form):
        logits, hidden = form.round(random.normal(size=(n, k))), random.random((n, k)).argsort(axis=1) < k // 2
        chance = np.where(hidden == (label == "masked"), random.random((n, k)), -1.0)
        return np.where(hidden, -np.inf, logits), chance.argmax(axis=1)

    return make


def beyond(random, n, k, form):
    largest = np.ldexp(1.0 - 2.0**-form.digits, form.top)
    logits, labels = (0.6 + 0.3 * random.random((n, k))) * largest, random.integers(0, k, n)
    logits[np.arange(n), labels] = -0.8 * largest
    return form.round(logits), labels


class Case(NamedTuple):
    name: str
    make: Callable
    formats: tuple[str, ...] = tuple(FORMATS)
    compared: bool = False  # with peers
    sizes: tuple = ()  # beside SIZES


WIDE_RANGE = ("float32", "float64", "bfloat16")  # the formats that hold 1e30
# a larger lead leaves nothing of the loss in the format
MARGINS = {5: 4, 10: 4, 17: 4, 20: 3, 40: 3, 80: 3, 100: 2}
CASES = [
    Case("N(0, 1), random label", normal(1)),
    Case("N(0, 1), label = argmax", normal(1, "argmax")),
    Case("N(0, 10²), random label", normal(10), compared=True, sizes=(WIDEST,)),
    Case("N(0, 10²), label = argmax", normal(10, "argmax"), compared=True),
    Case("N(0, 100²), random label", normal(100)),
    Case("N(0, 100²), label = argmax", normal(100, "argmax")),
    *(Case(f"margin {m}", margin(m), tuple(FORMATS)[:formats], compared=True) for m, formats in MARGINS.items()),
    *(Case(f"margin {m}", margin(m), ("float64",), compared=True) for m in (300, 700)),
    Case("all equal", ties(every=True)),
    Case("several largest", ties()),
    Case("all equal, 1e30", ties(1e30, every=True), WIDE_RANGE),
    Case("several largest, 1e30", ties(1e30), WIDE_RANGE),
    Case("N(0, 1) + 1e4", normal(1, offset=1e4)),
    Case("N(0, 1) + 1e30", normal(1, offset=1e30), WIDE_RANGE),
    Case("subnormal logits", subnormal),
    Case("half masked by −∞", masked("kept")),
    Case("half masked, the label too", masked("masked")),
    Case("loss beyond the format", beyond),
]


# The contestants: from logits and labels to each row's loss and gradient.


def by_chainrule(logits, labels, **options):
    return chainrule.softmax_cross_entropy(logits, labels, reduction="none", **options)


def by_torch():
    import torch

    def run(logits, labels):
        # by way of float64: PyTorch does not know NumPy's bfloat16
        leaf = torch.tensor(logits.astype(np.float64)).to(getattr(torch, logits.dtype.name)).requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels), reduction="none")
        loss.sum().backward()
        return loss.detach().double().numpy(), leaf.grad.double().numpy()

    return run


def by_jax(loss=None):
    import jax

    jax.config.update("jax_enable_x64", True)
    step = jax.jit(jax.vmap(jax.value_and_grad(loss or (lambda row, label: -jax.nn.log_softmax(row)[label]))))
    return lambda logits, labels: step(logits, labels)


def by_optax():
    import optax

    return by_jax(optax.softmax_cross_entropy_with_integer_labels)


def by_scipy():
    from scipy.special import log_softmax, softmax

    def run(logits, labels):
        rows = np.arange(len(labels))
        loss, grad = -log_softmax(logits, axis=1)[rows, labels], softmax(logits, axis=1)
        grad[rows, labels] -= 1
        return loss, grad

    return run


def by_sklearn():
    from sklearn._loss import HalfMultinomialLoss

    def run(logits, labels):
        loss = HalfMultinomialLoss(n_classes=logits.shape[1])
        return loss.loss_gradient(labels.astype(logits.dtype), np.ascontiguousarray(logits))

    return run


BOTH = ("float32", "float64")
PEERS = {  # distribution: name, maker, formats
    "torch": ("PyTorch cross_entropy", by_torch, WIDE_RANGE),
    "jax": ("JAX log_softmax", by_jax, WIDE_RANGE),
    "optax": ("Optax softmax_cross_entropy", by_optax, WIDE_RANGE),
    "scipy": ("SciPy log_softmax, softmax − one-hot", by_scipy, BOTH),
    "scikit-learn": ("scikit-learn HalfMultinomialLoss", by_sklearn, BOTH),
}


def find_peers():
    peers, versions = {}, {"chainrule": chainrule.__version__, "numpy": np.__version__}
    for distribution, (name, make, formats) in PEERS.items():
        try:
            peers[name] = (make(), formats)
            versions[distribution] = importlib.metadata.version(distribution)
        except (ImportError, AttributeError) as error:
            print(f"{name} is left out: {error}")
    return peers, versions


# Measuring: a record holds the largest errors, and counts.


def measure(loss, grad, labels, truth):
    loss, grad = (np.asarray(array).astype(np.float64) for array in (loss, grad))
    rows = np.arange(len(labels))
    of_loss, others = ulps(loss, truth.loss), ulps(grad, truth.probabilities)
    others[rows, labels] = 0.0
    vanished = (loss == 0) & ~rounds_to_zero(truth.loss)
    errors = of_loss.max(), ulps(grad[rows, labels], truth.grad_true).max(), others.max()
    counts = len(labels), int((of_loss > 1).sum()), int(vanished.sum())
    return dict(zip((*QUANTITIES[:3], *COUNTS), (*map(float, errors), *counts), strict=True))


def measure_probabilities(labels, truth, form):
    rows, given = np.arange(len(labels)), nearest(truth.probabilities, form)
    _, grad = chainrule.cross_entropy(given.astype(form.dtype), labels, reduction="none")
    exact = exact_reciprocals(given[rows, labels], form)
    grad = grad.astype(np.float64)
    error = float(ulps(grad[rows, labels], exact).max())
    return {"probabilities": error, "no −0.0": int((np.signbit(grad) & (grad == 0)).any(axis=1).sum())}


def violations(loss, grad, labels, truth, form):
    """How many rows lack each property that one row can show."""
    loss, grad = loss.astype(np.float64), grad.astype(np.float64)
    true = grad[np.arange(len(labels)), labels]
    zero = (~rounds_to_zero(truth.loss) & ~(loss > 0)) | (~rounds_to_zero(truth.grad_true) & ~(true < 0))
    signed = (np.signbit(loss) & (loss == 0)) | (np.signbit(grad) & (grad == 0)).any(axis=1)
    # what is rounded among the subnormals is off by more than ε of itself
    slack = grad.shape[1] * 2.0**form.tiny
    epsilon = 2.0 ** (1 - form.digits) * max(1.0, BARS[form.dtype.name]["others"])
    unequal = [abs(math.fsum(g)) > epsilon * math.fsum(np.abs(g)) + slack for g in grad]
    return {"never zero": int(zero.sum()), "no −0.0": int(signed.sum()), "sum": sum(unequal)}


def merge(records):
    merged = {}
    for record in records:
        for key, value in record.items():
            merged[key] = max(merged.get(key, 0.0), value) if key in QUANTITIES else merged.get(key, 0) + value
    return merged


def examine(case, seed, form, sizes, peers):
    """One case in one format: a record of each contestant, merged over the sizes, and Chainrule's for each K."""
    records, by_k = {}, {}
    for n, k in sizes:
        logits, labels = case.make(np.random.default_rng([seed, k]), n, k, form)
        truth, logits = exact_rows(logits, labels, form), logits.astype(form.dtype)
        loss, grad = by_chainrule(logits, labels)
        ours = [measure(loss, grad, labels, truth), violations(loss, grad, labels, truth, form)]
        by_k[k] = merge([*ours, measure_probabilities(labels, truth, form)])
        for name, run in peers.items() if k <= FOR_PEERS else ():
            records.setdefault(name, []).append(measure(*run(logits, labels), labels, truth))
    return merge(by_k.values()), by_k, {name: merge(record) for name, record in records.items()}


def bits(result):
    return [np.asarray(array).tobytes() for array in result]


def invariances(form):
    """How many of the trials lack each property that takes two runs to see."""
    random, broken = np.random.default_rng(0), dict.fromkeys(("shift", "threads", "batch"), 0)
    for n, k in [(3000, 2), (3000, 10), (500, 40), (100, 1000), (3, 128000)]:
        # multiples of one step, so few that their sums stay exact
        step = 2.0 ** (7 - form.digits)
        logits = step * random.integers(-(2 ** (form.digits - 4)), 2 ** (form.digits - 4), (n, k)).astype(np.float64)
        labels = random.integers(0, k, n)
        moved = [step * 2.0 ** (form.digits - 3) * sign + logits for sign in (-1, 1)]
        if any((form.round(other) != other).any() for other in moved):
            raise ArithmeticError("a shift is not exact")
        given = logits.astype(form.dtype)
        expected = bits(by_chainrule(given, labels))
        broken["shift"] += sum(bits(by_chainrule(other.astype(form.dtype), labels)) != expected for other in moved)
        broken["threads"] += sum(bits(by_chainrule(given, labels, threads=t)) != expected for t in (1, 2, 3))
        cuts = [0, 1, n // 3, n // 2 + 1, n]
        parts = [by_chainrule(given[a:b], labels[a:b]) for a, b in itertools.pairwise(cuts)]
        joined = [np.concatenate([part[i] for part in parts]) for i in range(2)]
        reverse = [array[::-1] for array in by_chainrule(given[::-1], labels[::-1])]
        columns = by_chainrule(np.asfortranarray(given), labels)
        broken["batch"] += sum(bits(result) != expected for result in (joined, reverse, columns))
    return broken


# The tables.


def number(value):
    if value < 100:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


def cell(record, bars):
    passed = all(record[quantity] <= bars[quantity] for quantity in QUANTITIES)
    return f"{' / '.join(number(record[quantity]) for quantity in QUANTITIES)} {'✓' if passed else '✗'}", passed


def accepted(form):
    try:
        by_chainrule(np.zeros((1, 2), form.dtype), np.zeros(1, np.int64))
        chainrule.cross_entropy(np.ones((1, 2), form.dtype), np.zeros(1, np.int64), reduction="none")
    except chainrule.InputError as error:
        print(f"{form.dtype.name} is left out: {error}")
        return False
    return True


def print_row(cells):
    print(f"| {' | '.join(cells)} |", flush=True)


def print_header(names):
    print_row(names)
    print_row(["---"] * len(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows, at most 1000 classes")
    parser.add_argument("--json", type=Path, help="where to write everything that was measured")
    options = parser.parse_args()
    start = time.perf_counter()
    peers, versions = find_peers()
    formats = {name: form for name, form in FORMATS.items() if accepted(form)}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"kernel: {chainrule.which_kernel()}")

    print(f"\nLargest errors of Chainrule in ULP: {' / '.join(QUANTITIES)}. Bars: ", end="")
    print("; ".join(f"{name} {' / '.join(f'{BARS[name][q]:g}' for q in QUANTITIES)}" for name in formats), end="\n\n")
    print_header(["case", *formats])
    results, all_passed = [], True
    broken = {name: dict.fromkeys(PROPERTIES, 0) for name in formats}
    for seed, case in enumerate(CASES):
        cells = [case.name]
        for name, form in formats.items():
            if name not in case.formats:
                cells.append("—")
                continue
            sizes = QUICK if options.quick else [*SIZES, *case.sizes]
            rivals = {peer: run for peer, (run, known) in peers.items() if case.compared and name in known}
            ours, by_k, theirs = examine(case, seed, form, sizes, rivals)
            text, passed = cell(ours, BARS[name])
            cells.append(text)
            all_passed &= passed
            for fault in ("never zero", "no −0.0", "sum"):
                broken[name][fault] += ours[fault]
            entry = {"case": case.name, "format": name, "passed": passed, "chainrule": ours}
            results.append(entry | {"chainrule_by_k": by_k, "peers": theirs})
        print_row(cells)

    compared = [entry for entry in results if entry["peers"]]
    for name in WIDE_RANGE:
        print(
            f"\nPeers in {name}, K ≤ {FOR_PEERS}: largest errors in ULP; how many losses are off by more than 1 ULP, "
        )
        print("and how many are exactly 0 though the exact value rounds to something else\n")
        print_header(["case", "contestant", "loss", "true class", "other classes", "> 1 ULP", "exactly 0"])
        for entry in (entry for entry in compared if entry["format"] == name):
            for contestant, record in ({"Chainrule": entry["chainrule"]} | entry["peers"]).items():
                shares = [f"{100 * record[count] / record['rows']:.3g} %" for count in ("wrong", "zero")]
                print_row([entry["case"], contestant, *(number(record[q]) for q in QUANTITIES[:3]), *shares])

    print("\nWith options, largest errors in ULP of the loss / of the gradient beyond what cancels\n")
    with_options = measure_options(formats, BARS, options.quick)
    print_header(["case", "format", *with_options[0]["errors"]])
    for entry in with_options:
        cells = [" / ".join(map(number, errors)) for errors in entry["errors"].values()]
        cells[0] += " ✓" if entry["passed"] else " ✗"
        print_row([entry["case"], entry["format"], *cells, *["—"] * (len(with_options[0]["errors"]) - len(cells))])
        all_passed &= entry["passed"]

    print("\nProperties of Chainrule: in how many rows, or trials, each is broken\n")
    print_header(["property", *formats])
    for name, form in formats.items():
        broken[name] |= invariances(form)
    for fault, meaning in PROPERTIES.items():
        print_row([f"{fault}: {meaning}", *(f"{broken[name][fault] or 'none ✓'}" for name in formats)])
    all_passed &= not any(count for faults in broken.values() for count in faults.values())
    print(f"\n{'every bar is met' if all_passed else 'MISSED'}; {time.perf_counter() - start:.0f} s")
    if options.json:
        facts = {"versions": versions, "kernel": chainrule.which_kernel(), "quick": options.quick, "bars": BARS}
        everything = facts | {"passed": all_passed, "results": results, "with options": with_options, "broken": broken}
        options.json.write_text(json.dumps(everything, indent=1, ensure_ascii=False))
        print(f"written to {options.json}")
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
