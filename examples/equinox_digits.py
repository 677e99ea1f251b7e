"""Digits in Equinox: one `lax.scan` an epoch, with Chainrule's loss of the last layer, whose logits are never stored.

    python examples/equinox_digits.py [--epochs 30] [--seed 0]

Trains a 64-128-10 network on four fifths of digits.csv and prints the accuracy on the rest. Needs
`pip install 'chainrule[jax]' equinox optax`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule.jax import linear_cross_entropy

BATCH = 64


class Network(eqx.Module):
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        first, second = jax.random.split(key)
        self.hidden, self.output = eqx.nn.Linear(64, 128, key=first), eqx.nn.Linear(128, 10, key=second)

    def features(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(jax.vmap(self.hidden)(x))

    def predict(self, x: jax.Array) -> jax.Array:
        return jax.vmap(self.output)(self.features(x)).argmax(axis=1)


def loss_of(network: Network, x: jax.Array, labels: jax.Array) -> jax.Array:
    return linear_cross_entropy(network.features(x), network.output.weight, labels, network.output.bias)


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

    optimizer = optax.adam(2e-3)
    network = Network(jax.random.key(options.seed))
    state = optimizer.init(network)

    @eqx.filter_jit
    def epoch(network, state, batches):
        def step(carry, rows):
            network, state = carry
            loss, gradient = eqx.filter_value_and_grad(loss_of)(network, x[rows], labels[rows])
            updates, state = optimizer.update(gradient, state)
            return (eqx.apply_updates(network, updates), state), loss

        (network, state), losses = jax.lax.scan(step, (network, state), batches)
        return network, state, losses.mean()

    for i in range(options.epochs):
        batches = jnp.asarray(random.permutation(split)[: split // BATCH * BATCH].reshape(-1, BATCH))
        network, state, loss = epoch(network, state, batches)
        if (i + 1) % 10 == 0:
            print(f"epoch {i + 1}: mean loss {loss:.4f}")
    print(f"accuracy: {np.mean(network.predict(x[split:]) == labels[split:]):.4f}")


if __name__ == "__main__":
    main()
