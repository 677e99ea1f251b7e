"""The loss with a multiplier, a cap, a temperature and a z-loss by mpmath, and what is told beside it."""

from exact_options import mp


def truth(logits, targets, *, temperature=1.0, z_loss=0.0, softcap=None, scale=1.0):
    """Of one row: the loss, its gradient, the size of the terms that cancel in it, logsumexp and entropy."""
    a, s, t = [mp.mpf(float(x)) for x in logits], mp.mpf(scale), mp.mpf(temperature)
    z, slopes = [s * x for x in a], [s / t] * len(a)
    if softcap is not None:
        c = mp.mpf(softcap)
        slopes = [0 if mp.isinf(x) else s / t / mp.cosh(x / c) ** 2 for x in z]
        z = [x if mp.isinf(x) else c * mp.tanh(x / c) for x in z]
    z = [x / t for x in z]
    top = max(z)
    e = [mp.exp(x - top) for x in z]
    total = mp.fsum(e)
    others = mp.fsum(sorted(e)[:-1])
    logsumexp = top + mp.log1p(others)
    q = [mp.mpf(x) for x in targets]
    pull = mp.fsum(q) + 2 * mp.mpf(z_loss) * logsumexp
    loss = mp.fsum(w * ((top - x) + mp.log1p(others)) for w, x in zip(q, z, strict=True) if w)
    p = [x / total for x in e]
    terms = [x * pull * slope for x, slope in zip(p, slopes, strict=True)]
    grad = [x - w * slope for x, w, slope in zip(terms, q, slopes, strict=True)]
    entropy = mp.log1p(others) + mp.fsum(x * (top - y) for x, y in zip(p, z, strict=True) if x)
    return loss + mp.mpf(z_loss) * logsumexp**2, grad, [abs(x) for x in terms], logsumexp, entropy
