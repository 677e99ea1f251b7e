"""Writes fixture.json, cancelling.json and training.json: what Python gives for small networks, for the page's tests.

.venv/bin/python web/tests/fixture.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import Network
from chainrule.equations import ACTIVATIONS
from chainrule.explain import Explanation, explain
from chainrule.explain.findings import story
from chainrule.explain.records import jsonable
from chainrule.explain.views.page_payload import facts
from chainrule.explain.views.page_training import BETAS, EPS, MOMENTUM
from chainrule.training import SGD, Adam, fit
from chainrule.training.engine import Engine

HERE = Path(__file__).parent


def cases() -> list[dict[str, Any]]:
    """One for each activation, and the ones at which ordinary formulas break."""
    found = []
    for seed, activation in enumerate(ACTIVATIONS):
        net = Network.create([5, 6, 4, 3], activation=activation, seed=seed, dtype="float64")
        random = np.random.default_rng(seed)
        for bias in net.biases:
            bias += random.normal(size=bias.shape) / 4
        found.append(case(explain(net, random.normal(size=5), seed % 3, batch_size=32 if seed == 1 else None)))
    for logits, label in (
        ([0.0, -120.0], 1),
        ([40.0, 0.0, -3.0], 0),
        ([0.0, -900.0, -1.0], 2),
        ([800.0, -800.0], 1),
        ([0.0], 0),
    ):
        net = Network([np.array(logits)[:, None]], [np.zeros(len(logits))])
        found.append(case(explain(net, [1.0], label)))
    dead = Network([-np.ones((4, 2)), np.ones((3, 4))], [np.zeros(4), np.zeros(3)], "relu")
    found.append(case(explain(dead, [1.0, 2.0], 0)))
    deep = Network.create([16] * 11 + [3], activation="logistic", seed=3, dtype="float64")
    found.append(case(explain(deep, np.random.default_rng(3).normal(size=16), 2)))
    return found


def cancelling() -> list[dict[str, Any]]:
    """Chains whose paths are open and cancel, of which only rounding tells the numbers apart: what is said of them."""
    second, rows = np.full((2, 3), 0.01), np.full((7, 3), 0.3)
    second[1, 2] = 3.0
    quiet = Network([np.full((3, 3), 0.01), second], [np.zeros(3), np.zeros(2)])
    alike = Network([rows, np.full((7, 7), 0.1), rows.T.copy()], [np.zeros(7), np.zeros(7), np.zeros(3)], "tanh")
    found = []
    for net, x, label, places in (
        (quiet, [0.01, 5.0, 0.0], 1, [(1, 1, 1), (1, 2, 2), (1, 1, None)]),
        (alike, [1.0, -2.0, 0.5], 0, [(1, 4, 2), (2, 1, 7), (1, 1, None)]),
    ):
        e = explain(net, x, label, batch_size=8)
        chains = [e.unit(k, unit) if source is None else e.weight(k, unit, source) for k, unit, source in places]
        assert all(chain.cancels for chain in chains)
        found.append({**given(e), "chains": [{"place": [c.layer, c.unit, c.input], "why": c.why} for c in chains]})
    return found


RULES = {"sgd": SGD(0.5), "momentum": SGD(0.1, MOMENTUM), "adam": Adam(0.02, BETAS, EPS)}


def training() -> list[dict[str, Any]]:
    """Two epochs of `fit`, step by step: by its own engine, in its own order, to its own last weights."""
    found = []
    for rule, optimizer in RULES.items():
        for activation, widths in (("relu", [4, 5, 4, 3]), ("tanh", [3, 4, 2])):
            random = np.random.default_rng(len(found))
            x, labels = random.normal(size=(20, widths[0])), random.integers(0, widths[-1], 20)
            net = Network.create(widths, activation=activation, seed=1, dtype="float64")
            case = {"rule": rule, "lr": optimizer.lr, "rules": {"momentum": MOMENTUM, "betas": BETAS, "eps": EPS}}
            case |= {"rows": x.tolist(), "labels": labels.tolist(), "place": [1, 2, 3]}
            case |= given(explain(net, x[0], int(labels[0])))
            engine = Engine(net.weights, net.biases, activation, optimizer, 8)
            steps = []
            for epoch in range(2):
                order = np.random.default_rng([0, 1, epoch]).permutation(20)
                for batch in np.split(order, [8, 16]):
                    now = Network([w.copy() for w in engine.weights], [b.copy() for b in engine.biases], activation)
                    each = now.backward(now.forward(x[batch]), labels[batch], per_example=True)
                    met = engine.run(x, labels, batch, optimizer.lr)
                    steps.append({
                        "batch": batch.tolist(), "losses": each.loss.tolist(), "loss": met.loss / len(batch),
                        "accuracy": met.correct / len(batch), "pulls": each.grad_weights[0][:, 1, 2].tolist(),
                        "parameters": [part.ravel().tolist() for part in (*engine.weights, *engine.biases)],
                    })  # fmt: skip
            fit(net, x, labels, optimizer=optimizer, epochs=2, batch_size=8, validation=0, seed=0)
            for ours, theirs in zip([*engine.weights, *engine.biases], [*net.weights, *net.biases], strict=True):
                np.testing.assert_array_equal(ours, theirs)
            found.append(case | {"steps": steps})
    return found


def given(e: Explanation) -> dict[str, Any]:
    """What the page is given of an explanation."""
    return {
        "widths": e.net.widths,
        "facts": facts(e.net.activation),
        "weights": [w.ravel().tolist() for w in e.net.weights],
        "biases": [b.tolist() for b in e.net.biases],
        "x": e.x.tolist(),
        "label": e.label,
        "features": e.feature_names,
        "classes": e.classes,
        "batchSize": e.batch_size,
    }


def case(e: Explanation) -> dict[str, Any]:
    """One explanation, and the chains to its strongest weights, to units and to a weight that may be a weak one."""
    chains = [e.weight(*e.strongest_weight(k)) for k in range(1, e.net.depth + 1)]
    chains += [e.unit(1, 1), e.unit(1, e.net.widths[1]), e.weight(1, min(2, e.net.widths[1]), 1)]
    return {
        **given(e),
        "loss": e.loss,
        "p": e.forward.probabilities[0].tolist(),
        "gradA": [g[0].tolist() for g in e.backward.grad_preactivations],
        "gradH": [g[0].tolist() for g in e.backward.grad_activations],
        "gradP": jsonable(e.backward.grad_probabilities[0].tolist()),
        "strongest": e.strongest_weight(),
        "step": jsonable(e.step(0.1)),
        "findings": [f.text for f in e.diagnosis()][:-1],
        "chains": [
            {
                "place": [chain.layer, chain.unit, chain.input],
                "product": chain.product,
                "verdict": chain.verdict,
                "difference": chain.finite_difference,
                "groups": [[g.heading, g.verdict, g.element, g.finite_difference] for g in chain.groups],
                "paths": [[p.units, p.product] for p in chain.paths],
                "count": chain.n_paths,
                "share": chain.share,
                "why": chain.why,
                "story": story(e, chain.layer, chain.unit, chain.input),
            }
            for chain in chains
        ],
    }


FILES = {"fixture.json": cases, "cancelling.json": cancelling, "training.json": training}

if __name__ == "__main__":
    for name, made in FILES.items():
        text = json.dumps(made(), ensure_ascii=False, indent=None, allow_nan=False)
        (HERE / name).write_text(text + "\n", encoding="utf-8")
