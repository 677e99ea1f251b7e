"""One batch as the page first shows it, without a script: each example's gradient of the weight, sorted, and their
mean. web/src/train.tsx shows the same at every step of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.explain.example import Example
from chainrule.explain.rows import HELD_OUT

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["BATCH", "BETAS", "EPS", "MOMENTUM", "batch", "course"]

# What SGD with momentum and Adam take in the page: Adam's are those of chainrule.training, which no page may import.
MOMENTUM, BETAS, EPS = 0.9, (0.9, 0.999), 1e-8
BATCH = 32  # examples at first


def batch(explanation: Example, chain: Chain) -> dict[str, Any] | None:
    """The first rows that are trained on, by their gradients of the chain's weight at the network's own weights, for
    the template; None where no rows travel."""
    e, rows = explanation, explanation.rows
    if rows is None:
        return None
    at = np.array([i for i in range(len(rows.x)) if (i + 1) % HELD_OUT])[:BATCH]
    forward = e.net.forward(rows.x[at].astype(np.float64))
    backward = e.net.backward(forward, rows.labels[at], per_example=True)
    delta = backward.grad_preactivations[chain.layer - 1][:, chain.unit - 1]
    inputs = forward.activations[chain.layer - 1][:, chain.input - 1] if chain.input else np.ones(len(at))
    pulls = delta * inputs
    largest = float(np.abs(pulls).max()) or 1.0
    guesses = forward.probabilities.argmax(axis=1)
    order = np.argsort(-pulls, kind="stable")
    listed = [
        {
            "number": int(rows.numbers[at[i]]), "label": e.classes[rows.labels[at[i]]], "loss": float(backward.loss[i]),
            "taken": "" if guesses[i] == rows.labels[at[i]] else e.classes[guesses[i]], "pull": float(pulls[i]),
            "from": round(50 + 50 * min(0.0, float(pulls[i]) / largest), 3),
            "wide": round(50 * abs(float(pulls[i])) / largest, 3),
        }
        for i in order
    ]  # fmt: skip
    return {
        "rows": listed,
        "sum": float(pulls.sum()),
        "mean": float(pulls.mean()),
        "of": rows.of,
        "travel": len(rows.x),
    }


def course(explanation: Example, chain: Chain) -> list[dict[str, Any]]:
    """What each checkpoint says of the example: its loss, the gradient of the chain's weight, each layer's norm."""
    e, found = explanation, []
    for name, net in e.checkpoints:
        forward = net.forward(e.x[None])
        backward = net.backward(forward, [e.label], per_example=True)
        own = float(backward.grad_preactivations[chain.layer - 1][0, chain.unit - 1])
        value = float(forward.activations[chain.layer - 1][0, chain.input - 1]) if chain.input else 1.0
        norms = [float(np.linalg.norm(g)) for g in backward.grad_preactivations]
        found.append({"name": name, "loss": float(backward.loss[0]), "gradient": own * value, "norms": norms})
    return found
