"""`fit` with every option, a step at a time by PyTorch: what it ends with, and what its history says of the way."""

import numpy as np
import pytest

from chainrule import SGD, Adam, AdamW, Cosine, Network, OnPlateau, StepDecay, WarmUp, fit
from chainrule.training.examples import balanced

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

N, BATCH, EPOCHS, SEED = 50, 12, 4, 3
STEPS = 5  # an epoch, the last of two examples
CLASS_WEIGHTS = np.array([0.5, 1.0, 2.5])


def problem():
    random = np.random.default_rng(0)
    labels = random.choice(3, N, p=[0.6, 0.3, 0.1])
    return random.normal(size=(N, 4)) + np.eye(3, 4)[labels], labels, random.random(N) + 0.1


def new_net():
    return Network.create([4, 6, 3], activation="tanh", seed=0, dtype="float64")


def parameters(net):
    return np.concatenate([a.ravel() for a in [*net.weights, *net.biases]])


def by_torch(optimizer, factor=lambda t: 1.0, decay=0.0, smoothing=0.0, clip=None, weights=None, class_weights=None):
    """Parameters in the end; each epoch's loss, accuracy, last learning rate, and mean norms of weight gradients."""
    x, labels, _ = problem()
    net = new_net()
    first, second = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)
    model = torch.nn.Sequential(first, torch.nn.Tanh(), second).double()
    with torch.no_grad():
        for layer, w, b in zip((first, second), net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
    made = optimizer(model.parameters(), decay)
    (group,), rows = made.param_groups, []
    lr, ones = group["lr"], np.ones(3)
    own = torch.tensor(
        (np.ones(N) if weights is None else weights) * (ones if class_weights is None else class_weights)[labels]
    )
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, 1, epoch]).permutation(N)  # as `fit` visits the examples
        total, correct, norms = 0.0, 0, np.zeros(2)
        for step in range(STEPS):
            at = order[step * BATCH : (step + 1) * BATCH]
            group["lr"] = lr * factor(epoch + step / STEPS)
            made.zero_grad()
            logits, target = model(torch.tensor(x[at])), torch.tensor(labels[at])
            each = torch.nn.functional.cross_entropy(
                logits, target, torch.tensor(ones if class_weights is None else class_weights), reduction="none",
                label_smoothing=smoothing,
            )  # fmt: skip
            each = each if weights is None else each * torch.tensor(weights[at])
            (each.sum() / own[at].sum()).backward()
            norms += [float(layer.weight.grad.norm()) for layer in (first, second)]
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            made.step()
            total += each.sum().item()
            correct += int((logits.argmax(1) == target).sum())
        rows.append((total / own.sum().item(), correct / N, group["lr"], norms / STEPS))
    arrays = [layer.weight for layer in (first, second)] + [layer.bias for layer in (first, second)]
    return np.concatenate([a.detach().numpy().ravel() for a in arrays]), *map(np.array, zip(*rows, strict=True))


def sgd(p, decay):
    return torch.optim.SGD(p, 0.3, weight_decay=decay)


def half_a_cosine(t, floor):
    return floor + (1 - floor) * (1 + np.cos(np.pi * t / EPOCHS)) / 2


WEIGHTS = problem()[2]
CASES = {  # what `fit` is given, and what says the same to PyTorch
    "nothing": ({}, {}),
    "nesterov": (
        {"optimizer": SGD(0.1, 0.8, nesterov=True)},
        {"optimizer": lambda p, d: torch.optim.SGD(p, 0.1, 0.8, nesterov=True)},
    ),
    "adam": (
        {"optimizer": Adam(0.02, betas=(0.7, 0.9), eps=1e-3)},
        {"optimizer": lambda p, d: torch.optim.Adam(p, 0.02, (0.7, 0.9), 1e-3)},
    ),
    "adamw": (
        {"optimizer": AdamW(0.02, betas=(0.7, 0.9), weight_decay=0.3)},
        {"optimizer": lambda p, d: torch.optim.AdamW(p, 0.02, (0.7, 0.9), weight_decay=0.3)},
    ),
    "weight decay": ({"weight_decay": 0.05}, {"decay": 0.05}),
    "label smoothing": ({"label_smoothing": 0.2}, {"smoothing": 0.2}),
    "clipping": ({"clip_norm": 0.2}, {"clip": 0.2}),
    "sample weights": ({"sample_weight": WEIGHTS}, {"weights": WEIGHTS}),
    "class weights": ({"class_weight": CLASS_WEIGHTS}, {"class_weights": CLASS_WEIGHTS}),
    "a class's weight": ({"class_weight": {2: 2.5}}, {"class_weights": np.array([1.0, 1.0, 2.5])}),
    "balanced": ({"class_weight": "balanced"}, {"class_weights": N / 3 / np.bincount(problem()[1])}),
    "steps": ({"schedule": StepDecay(2, 0.3)}, {"factor": lambda t: 1.0 if t < 2 else 0.3}),
    "cosine": ({"schedule": Cosine(0.2)}, {"factor": lambda t: half_a_cosine(t, 0.2)}),
    "warm-up": (
        {"schedule": WarmUp(2, Cosine(0.1))},
        {"factor": lambda t: min((t + 1 / STEPS) / 2, 1.0) * half_a_cosine(t, 0.1)},
    ),
    "all": (
        {"weight_decay": 0.05, "clip_norm": 0.5, "sample_weight": WEIGHTS, "class_weight": CLASS_WEIGHTS,
         "label_smoothing": 0.1, "schedule": Cosine()},
        {"decay": 0.05, "clip": 0.5, "weights": WEIGHTS, "class_weights": CLASS_WEIGHTS, "smoothing": 0.1,
         "factor": lambda t: half_a_cosine(t, 0.0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_option_is_taken_as_pytorch_takes_it(name):
    ours, theirs = CASES[name]
    x, labels, _ = problem()
    net = new_net()
    options = {"optimizer": SGD(0.3), "epochs": EPOCHS, "batch_size": BATCH, "validation": 0, "seed": SEED} | ours
    history = fit(net, x, labels, **options)
    expected, loss, accuracy, rates, norms = by_torch(**({"optimizer": sgd} | theirs))
    np.testing.assert_allclose(parameters(net), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(history.loss, loss, rtol=1e-9)
    np.testing.assert_allclose(history.accuracy, accuracy, rtol=1e-12)
    np.testing.assert_allclose(history.learning_rate, rates, rtol=1e-12)
    np.testing.assert_allclose(history.gradient_norms, norms, rtol=1e-8)


@pytest.mark.parametrize("validation", [False, True])
def test_a_plateau_is_one_of_the_validation_loss_where_there_is_one(validation):
    random = np.random.default_rng(1)
    x, labels = random.normal(size=(60, 4)), random.integers(0, 3, 60)
    held_out = (random.normal(size=(60, 4)), random.integers(0, 3, 60)) if validation else 0
    options = {"optimizer": SGD(0.5), "epochs": 20, "batch_size": 6, "validation": held_out}
    history = fit(new_net(), x, labels, schedule=OnPlateau(0.5, 2), **options)
    losses = history.validation_loss if validation else history.loss
    rate, best, waited = 0.5, np.inf, 0
    for loss, found in zip(losses, history.learning_rate, strict=True):
        assert found == pytest.approx(rate, rel=1e-12)
        best, waited = min(best, loss), 0 if loss < best else waited + 1
        if waited == 2:
            rate, waited = rate / 2, 0
    assert rate < 0.5


def test_balanced_weights_are_the_classes_shares_of_the_weights():
    labels = np.array([0, 0, 0, 1, 3, 3])
    np.testing.assert_allclose(balanced(labels, 5), [6 / 9, 6 / 3, 0, 6 / 6, 0], rtol=1e-15)
    weights = np.array([1.0, 0, 0, 2, 4, 1])
    np.testing.assert_allclose(balanced(labels, 5, weights), [8 / 3, 8 / 6, 0, 8 / 15, 0], rtol=1e-15)
