"""Accuracy of the output layer in float32 by margin: error in ULP against 60 digits, side by side with peers.

    python -m benchmarks.accuracy

A row's label stands `margin` above the largest other logit. For each contestant: the largest error over 20 rows of
K = 10 in the loss and in the true class's gradient, and how many of these 40 numbers are exactly 0.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np

import chainrule

MARGINS = [1, 5, 10, 17, 20, 40, 80]
ROWS, K = 20, 10


def rows(margin):
    random = np.random.default_rng(margin)
    logits = random.standard_normal((ROWS, K), dtype=np.float32)
    logits[:, 0] = logits[:, 1:].max(axis=1) + np.float32(margin)
    return logits, np.zeros(ROWS, dtype=np.int64)


def truth(row):
    """Loss and true-class gradient at 60 digits; the label is class 0."""
    with mp.workdps(60):
        others = mp.fsum(mp.exp(mp.mpf(float(a)) - mp.mpf(float(row[0]))) for a in row[1:])
        return mp.log1p(others), -others / (1 + others)


def by_chainrule(logits, labels):
    loss, grad = chainrule.softmax_cross_entropy(logits, labels, reduction="none")
    return loss, grad[:, 0]


def by_torch(logits, labels):
    import torch

    leaf = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels), reduction="none")
    loss.sum().backward()
    return loss.detach().numpy(), leaf.grad[:, 0].numpy()


def by_jax(logits, labels):
    import jax

    def loss(row, label):
        return -jax.nn.log_softmax(row)[label]

    values, grad = jax.vmap(jax.value_and_grad(loss))(logits, labels)
    return np.asarray(values), np.asarray(grad)[:, 0]


def main():
    import jax
    import torch

    print(
        f"chainrule {chainrule.__version__}, PyTorch {torch.__version__}, JAX {jax.__version__}, NumPy {np.__version__}"
    )
    print("\n| margin | Chainrule: ULP, zeros | PyTorch: ULP, zeros | JAX: ULP, zeros |\n|---|---|---|---|")
    for margin in MARGINS:
        logits, labels = rows(margin)
        cells = []
        for contestant in (by_chainrule, by_torch, by_jax):
            loss, grad = contestant(logits, labels)
            worst, zeros = 0.0, 0
            for row, *values in zip(logits, loss, grad, strict=True):
                for value, exact in zip(values, truth(row), strict=True):
                    unit = float(np.spacing(np.float32(abs(float(exact)))))
                    worst = max(worst, float(abs(mp.mpf(float(value)) - exact)) / unit)
                    zeros += value == 0
            cells.append(f"{worst:.3g}, {zeros} of {2 * ROWS}")
        print(f"| {margin} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
