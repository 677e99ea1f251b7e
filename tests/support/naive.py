"""Slow references that share nothing with the source: scalar loops in plain Python, at 60 digits."""

import mpmath as mp

mp.mp.dps = 60


def softmax(row):
    e = [mp.exp(mp.mpf(float(a))) for a in row]
    total = mp.fsum(e)
    return [x / total for x in e]


def loss_and_grad(row, label):
    """−log ŷ_ℓ and ŷ − e(ℓ), for one example."""
    p = softmax(row)
    others = mp.fsum(q for j, q in enumerate(p) if j != label)
    loss = -mp.log1p(-others) if others < 0.5 else -mp.log(p[label])
    return loss, [-others if j == label else q for j, q in enumerate(p)]


def ulps(value, truth, dtype):
    """|value − truth| in units of the last place of the truth, as rounded to `dtype`."""
    import numpy as np

    unit = np.spacing(np.abs(dtype(float(truth))))
    return float(abs(mp.mpf(float(value)) - truth) / mp.mpf(float(unit)))
