"""What one gradient step on an example would do."""

from __future__ import annotations

import heapq

import numpy as np

from chainrule.boundary.checks import check_integer, check_positive
from chainrule.explain.example import Example
from chainrule.explain.records import Move, Step
from chainrule.network.network import Network

__all__ = ["take_step"]


def take_step(e: Example, lr: float, count: int) -> Step:
    """θ ← θ − lr ∇𝓛: the loss to first order and in truth, and the weights that move most."""
    rate, count = check_positive("lr", lr), check_integer("count", count)
    deltas = [g[0] for g in e.backward.grad_preactivations]
    inputs = [h[0] for h in e.forward.activations]
    squared = sum(float(d @ d) * (float(h @ h) + 1.0) for d, h in zip(deltas, inputs, strict=True))
    moved = Network(
        [w - np.outer(rate * d, h) for w, d, h in zip(e.net.weights, deltas, inputs, strict=True)],
        [b - rate * d for b, d in zip(e.net.biases, deltas, strict=True)],
        e.net.activation,
    )
    forward = moved.forward(e.x[None])
    loss = float(moved.backward(forward, [e.label], per_example=True).loss[0])
    places: list[tuple[float, int, int, int]] = []
    for layer, (d, h) in enumerate(zip(deltas, inputs, strict=True), start=1):
        # of an outer product, the largest are among the largest of each side
        units, sources = (np.argsort(-np.abs(v), kind="stable")[:count] for v in (d, h))
        places += [(abs(float(d[u] * h[i])), layer, int(u), int(i)) for u in units for i in sources]
    moves = [
        Move(k, u + 1, i + 1, float(e.net.weights[k - 1][u, i]), float(moved.weights[k - 1][u, i]))
        for size, k, u, i in heapq.nlargest(count, places, key=lambda place: place[0])
        if size > 0
    ]
    return Step(rate, e.loss, e.loss - rate * squared, loss, squared, moves)
