"""Digits in Flax: a training loop whose loss is Chainrule's.

    python examples/flax_digits.py [--epochs 30] [--seed 0]

Trains a 64-128-10 network on four fifths of digits.csv and prints the accuracy on the rest. Needs
`pip install 'chainrule[jax]' flax optax`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from chainrule.jax import softmax_cross_entropy_with_integer_labels  # was: from optax import ...

BATCH = 64


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.output = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.output(nnx.relu(self.hidden(x)))


@nnx.jit
def step(network: Network, optimizer: nnx.Optimizer, x: jax.Array, labels: jax.Array) -> jax.Array:
    def loss_of(network):
        return softmax_cross_entropy_with_integer_labels(network(x), labels).mean()

    loss, gradient = nnx.value_and_grad(loss_of)(network)
    optimizer.update(network, gradient)
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    table = np.loadtxt(Path(__file__).with_name("digits.csv"), delimiter=",", skiprows=1)
    random = np.random.default_rng(options.seed)
    random.shuffle(table)
    x, labels = jnp.asarray(table[:, :-1] / 16, jnp.float32), jnp.asarray(table[:, -1], jnp.int32)
    split = len(table) * 4 // 5

    network = Network(nnx.Rngs(options.seed))
    optimizer = nnx.Optimizer(network, optax.adam(2e-3), wrt=nnx.Param)
    for epoch in range(options.epochs):
        order = random.permutation(split)
        losses = [
            step(network, optimizer, x[order[i : i + BATCH]], labels[order[i : i + BATCH]])
            for i in range(0, split - BATCH + 1, BATCH)
        ]
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: mean loss {np.mean(losses):.4f}")
    print(f"accuracy: {np.mean(network(x[split:]).argmax(axis=1) == labels[split:]):.4f}")


if __name__ == "__main__":
    main()
