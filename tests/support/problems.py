"""What the tests of training train: three clouds of points, and a small network."""

import numpy as np

from chainrule import Network


def blobs(n=120, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return random.normal(size=(n, 4)) + 2 * np.eye(3, 4)[labels], labels


def new_net(dtype="float64", seed=0):
    return Network.create([4, 6, 3], activation="tanh", seed=seed, dtype=dtype)
