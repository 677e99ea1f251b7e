"""The output layer's options in `python -m benchmarks.accuracy`: target probabilities, label smoothing, class weights,
temperature, z-loss, softcap and scale, alone and together, at random logits and where the gradient's two terms cancel.

A gradient's error counts beyond 2⁻⁷⁰ (float64: 2⁻⁹⁶) of the terms that cancel.
"""

from __future__ import annotations

import numpy as np

import chainrule
from benchmarks.truth import exact_with_options, ulps

SIZES = [(200, 2), (100, 10), (10, 200)]
QUICK = [(20, 2), (10, 10), (2, 200)]
OF_ALL = {"smoothing": 0.1, "temperature": 0.75, "z_loss": 0.01, "softcap": 5.0, "scale": 0.7}
EXCUSED = {"float64": 2.0**-96}

# Each case: what is given, and where. "optimum": where the gradient vanishes, but for rounding; "n units": targets that
# are n units in the last place larger than there.
CASES = {
    "targets": (("targets",), None),
    "targets, optimum": (("targets",), 0),
    "targets, 10 units from it": (("targets",), 10),
    "targets, 10⁶ units from it": (("targets",), 10**6),
    "targets, margin 100": (("targets",), "margin"),
    "smoothing": (("smoothing",), None),
    "smoothing, optimum": (("smoothing",), 0),
    "smoothing and class weights, optimum": (("smoothing", "weights"), 0),
    "class weights": (("weights",), None),
    "temperature": (("temperature",), None),
    "z-loss": (("z_loss",), None),
    "softcap": (("softcap",), None),
    "softcap, margin 100": (("softcap",), "margin"),
    "scale": (("scale",), None),
    "all": (("targets", "weights", *OF_ALL), None),
    "all, margin 100": (("targets", "weights", *OF_ALL), "margin"),
}


def make(kinds, place, random, n, k, form):
    """Logits, labels or targets, and the options: all float64 that the format holds exactly."""
    logits = form.round(random.normal(0.0, 3.0, (n, k)))
    labels = random.integers(0, k, n)
    options = {name: value for name, value in OF_ALL.items() if name in kinds}
    weights = form.round(random.uniform(0.3, 3.0, k)) if "weights" in kinds else np.ones(k)
    targets = form.round(random.dirichlet(np.ones(k), n)) if "targets" in kinds else None
    if place == "margin":
        logits[np.arange(n), labels] = form.round(logits[np.arange(n), labels] + 100)
    elif place is not None and targets is not None:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        optimum = form.round(exponentials / exponentials.sum(axis=1, keepdims=True))
        targets = form.round(optimum * (1 + place * 2.0 ** (1 - form.digits)))
    elif place is not None:
        smoothing = options["smoothing"]
        wanted = weights * ((1 - smoothing) * np.eye(k)[labels] + smoothing / k)
        logits = form.round(np.log(wanted / wanted.sum(axis=1, keepdims=True)))
    return logits, labels, targets, weights, options


# The contestants: from logits, labels, targets (or None), class weights and the other options to each row's loss and
# gradient.


def by_chainrule(logits, labels, targets, weights, smoothing=0.0, **options):
    return chainrule.softmax_cross_entropy(
        logits,
        labels if targets is None else targets,
        reduction="none",
        class_weights=None if (weights == 1).all() else weights,
        label_smoothing=smoothing,
        **options,
    )


def by_torch():
    import torch

    def run(logits, labels, targets, weights, smoothing=0.0, temperature=1.0, z_loss=0.0, softcap=None, scale=1.0):
        kind = getattr(torch, logits.dtype.name)

        def tensor(array):  # by way of float64: PyTorch does not know NumPy's bfloat16
            return torch.tensor(array.astype(np.float64)).to(kind)

        leaf = tensor(logits).requires_grad_()
        target = torch.tensor(labels) if targets is None else tensor(targets)
        scaled = leaf * scale
        scaled = (scaled if softcap is None else softcap * torch.tanh(scaled / softcap)) / temperature
        loss = torch.nn.functional.cross_entropy(
            scaled, target, weight=tensor(weights), label_smoothing=smoothing, reduction="none"
        )
        loss = loss + z_loss * scaled.logsumexp(dim=1) ** 2
        loss.sum().backward()
        return loss.detach().double().numpy(), leaf.grad.double().numpy()

    return run


def by_jax(cross_entropy=None):
    import jax

    jax.config.update("jax_enable_x64", True)
    cross_entropy = cross_entropy or (lambda row, pull: -(pull * jax.nn.log_softmax(row)).sum())

    def loss(row, pull, temperature, z_loss, softcap, scale):
        scaled = row * scale
        scaled = jax.numpy.where(softcap > 0, softcap * jax.numpy.tanh(scaled / softcap), scaled) / temperature
        return cross_entropy(scaled, pull) + z_loss * jax.nn.logsumexp(scaled) ** 2

    step = jax.jit(jax.vmap(jax.value_and_grad(loss), (0, 0, None, None, None, None)))

    def run(logits, labels, targets, weights, smoothing=0.0, temperature=1.0, z_loss=0.0, softcap=-1.0, scale=1.0):
        kind, k = logits.dtype.type, logits.shape[1]
        given = np.eye(k, dtype=kind)[labels] if targets is None else targets
        pull = weights.astype(kind) * (kind(1 - smoothing) * given + kind(smoothing / k))
        return step(logits, pull, kind(temperature), kind(z_loss), kind(softcap), kind(scale))

    return run


def by_optax():
    import optax

    return by_jax(optax.softmax_cross_entropy)


PEERS = {"PyTorch cross_entropy": by_torch, "JAX log_softmax": by_jax, "Optax softmax_cross_entropy": by_optax}


def contestants():
    """Chainrule and those peers that are installed."""
    found = {"Chainrule": by_chainrule}
    for name, make_peer in PEERS.items():
        try:
            found[name] = make_peer()
        except (ImportError, AttributeError) as error:
            print(f"{name} is left out: {error}")
    return found


def examine(case, seed, form, sizes, runs):
    """The largest errors in ULP, of the loss and of the gradient, of each contestant that knows the format."""
    kinds, place = CASES[case]
    worst = {name: np.zeros(2) for name in runs if name == "Chainrule" or form.dtype != np.float16}
    for n, k in sizes:
        given = make(kinds, place, np.random.default_rng([seed, k]), n, k, form)
        logits, labels, targets, weights, options = given
        q = np.eye(k)[labels] if targets is None else targets
        truth = exact_with_options(logits, q, weights, form, EXCUSED.get(form.dtype.name, 2.0**-70), **options)
        cast = logits.astype(form.dtype), labels, None if targets is None else targets.astype(form.dtype), weights
        for name in worst:
            loss, grad = (np.asarray(a).astype(np.float64) for a in runs[name](*cast, **options))
            errors = ulps(loss, truth.loss).max(), np.maximum(ulps(grad, truth.grad) - truth.excused, 0).max()
            worst[name] = np.maximum(worst[name], errors)
    return {name: errors.tolist() for name, errors in worst.items()}


def measure_options(formats, bars, quick):
    """A record for each case and format; Chainrule's are held to its bars for the loss and for the other classes."""
    runs, records = contestants(), []
    for seed, case in enumerate(CASES):
        for name, form in formats.items():
            errors = examine(case, seed, form, QUICK if quick else SIZES, runs)
            passed = errors["Chainrule"][0] <= bars[name]["loss"] and errors["Chainrule"][1] <= bars[name]["others"]
            records.append({"case": case, "format": name, "passed": passed, "errors": errors})
    return records
