"""The engine against what it must equal: Network and Optimizer, PyTorch's autograd, and finite differences."""

import threading

import numpy as np
import pytest

from chainrule import SGD, Adam, AdamW, Network
from chainrule.activations import ACTIVATIONS
from chainrule.training.engine import Engine, StepOptions, as_rows

OPTIMIZERS = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.05, momentum=0.9),
    "nesterov": SGD(0.05, 0.9, nesterov=True),
    "adam": Adam(0.01),
    "adamw": AdamW(0.01, weight_decay=0.1),
}


def problem(n=40, d=7, k=5, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)).astype(dtype), random.integers(0, k, n), random


def flat(weights, biases):
    return np.concatenate([a.ravel() for a in [*weights, *biases]])


def engine_of(net, optimizer, batch_size, seed=0, threads=1, **options):
    layers = net.weights, net.biases, net.activation
    return Engine(*layers, optimizer, batch_size, StepOptions(**options), seed=seed, threads=threads)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_steps_equal_network_and_optimizer(activation, optimizer, dtype, tolerance):
    x, labels, random = problem(dtype=dtype)
    x[0, 0] = 30.0  # far into the activations' tails
    net = Network.create([7, 18, 9, 5], activation=activation, dtype=dtype, seed=1)
    engine, chosen = engine_of(net, OPTIMIZERS[optimizer], 16), OPTIMIZERS[optimizer]
    shapes = [*net.weights, *net.biases]
    parameters, scratch = flat(net.weights, net.biases), np.empty(sum(a.size for a in shapes), dtype)
    state, losses = chosen.state(parameters.size, dtype), 0.0
    order = random.permutation(40)
    norms = np.zeros(3)
    for t, begin in enumerate((0, 16, 32), start=1):
        ends = np.cumsum([a.size for a in shapes])
        views = [parameters[end - a.size : end].reshape(a.shape) for a, end in zip(shapes, ends, strict=True)]
        batch = order[begin : begin + 16]
        truth = Network(views[:3], views[3:], activation)
        backward = truth.backward(truth.forward(x[batch]), labels[batch])
        losses += float(backward.loss) * len(batch)
        norms += [np.linalg.norm(g) for g in backward.grad_weights]
        chosen.step(parameters, flat(backward.grad_weights, backward.grad_biases), state, t, scratch)
    found = engine.run(x, labels, order, chosen.lr)
    np.testing.assert_allclose(flat(engine.weights, engine.biases), parameters, rtol=tolerance, atol=tolerance)
    assert found.loss == pytest.approx(losses, rel=max(tolerance, 1e-12))
    np.testing.assert_allclose(found.norms, norms, rtol=10 * tolerance)
    assert (found.steps, found.weight, found.finite) == (3, 40.0, True)


def by_torch(torch, net, x, labels, optimizer, batch, steps, sample_weight=None, clip=None, decay=0.0, **loss_options):
    """Parameters after some steps without shuffling, by PyTorch's modules, autograd and optimizers."""
    layers = []
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        linear = torch.nn.Linear(w.shape[1], w.shape[0]).to(torch.from_numpy(w).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()] if k < net.depth - 1 else [linear]
    model = torch.nn.Sequential(*layers)
    made = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=decay),
        "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=decay),
        "nesterov": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=decay),
        "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    }[optimizer](model.parameters())
    for step in range(steps):
        at = slice(step * batch, (step + 1) * batch)
        target = torch.from_numpy(labels[at])
        made.zero_grad()
        logits = model(torch.from_numpy(x[at]))
        if sample_weight is None:
            loss = torch.nn.functional.cross_entropy(logits, target, **loss_options)
        else:
            each = torch.nn.functional.cross_entropy(logits, target, reduction="none", **loss_options)
            w = torch.from_numpy(sample_weight[at])
            own = w if loss_options.get("weight") is None else w * loss_options["weight"][target]
            loss = (w * each).sum() / own.sum()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        made.step()
    return flat(
        [p.detach().numpy() for p in model.parameters()][::2], [p.detach().numpy() for p in model.parameters()][1::2]
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "options", ["", "decay", "class", "sample", "smooth", "clip", "decay class sample smooth clip"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-6)])
def test_ten_steps_equal_pytorch(optimizer, options, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if optimizer == "adamw" and "decay" in options:
        options = options.replace("decay", "")  # AdamW has its own
    x, labels, random = problem(n=120, dtype=dtype)
    net = Network.create([7, 12, 5], dtype=dtype, seed=3)
    class_weights, sample_weight = np.array([0.5, 1.0, 2.0, 0.0, 1.5]), random.random(120)
    ours, theirs = {}, {}
    if "decay" in options:
        ours, theirs = {"l2_weights": 0.03, "l2_biases": 0.03}, {"decay": 0.03}
    if "class" in options:
        ours["class_weights"] = class_weights.tolist()
        theirs["weight"] = torch.from_numpy(class_weights.astype(dtype))
    if "smooth" in options:
        ours["label_smoothing"] = theirs["label_smoothing"] = 0.2
    if "clip" in options:
        ours["clip_norm"] = theirs["clip"] = 0.1
    weights = sample_weight if "sample" in options else None
    if weights is not None:
        theirs["sample_weight"] = weights.astype(dtype)
    engine = engine_of(net, OPTIMIZERS[optimizer], 12, **ours)
    engine.run(x, labels, np.arange(120), OPTIMIZERS[optimizer].lr, weights)
    expected = by_torch(torch, net, x, labels, optimizer, 12, 10, **theirs)
    np.testing.assert_allclose(
        flat(engine.weights, engine.biases), expected, rtol=tolerance, atol=tolerance * abs(expected).max()
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("logistic", [False, True])
def test_the_gradient_with_dropout_equals_finite_differences(activation, logistic):
    x, labels, random = problem(n=30)
    targets = random.random((30, 5)) if logistic else labels
    net = Network.create([7, 11, 6, 5], activation=activation, dtype="float64", seed=2)

    options = {"dropout": 0.4, "seed": 5, "logistic": logistic, "l2_weights": 0.3, "l2_by_batch": True}

    def loss_at(parameters, options=options):
        engine = engine_of(net, SGD(), 30, **options)
        engine.parameters[:] = parameters
        found = engine.run(x, targets, np.arange(30), 0.0)
        return found.loss / 30, engine.gradient.copy()

    start = engine_of(net, SGD(), 30).parameters.copy()
    start[-22:] = 0.1 * random.normal(size=22)  # biases of 0 would stand at a kink where all units below are dropped
    loss, gradient = loss_at(start)
    assert loss != pytest.approx(loss_at(start, options | {"dropout": 0.0})[0], rel=1e-3)
    assert loss != pytest.approx(loss_at(start, options | {"seed": 6})[0], rel=1e-3)
    for i in random.choice(start.size, 60, replace=False):
        up, down = start.copy(), start.copy()
        up[i] += 1e-7
        down[i] -= 1e-7
        numeric = (loss_at(up)[0] - loss_at(down)[0]) / 2e-7
        assert gradient[i] == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def test_dropout_drops_its_share_and_keeps_the_mean():
    n, width = 2000, 50
    net = Network([np.ones((width, 1)), np.zeros((2, width))], [np.zeros(width), np.zeros(2)], "identity")
    engine = engine_of(net, SGD(), n, dropout=0.3)
    engine.run(np.ones((n, 1)), np.zeros(n, np.int64), np.arange(n), 0.0)
    # logits are 0, so a weight's gradient is -1/2 or 1/2 times the mean of its unit: 1 where nothing is lost
    means = -2 * engine.gradient[width : 3 * width].reshape(width, 2)[:, 0]
    sigma = np.sqrt(0.3 / 0.7 / n)
    assert abs(means.mean() - 1) < 4 * sigma / np.sqrt(width)
    assert 0.5 * sigma < means.std() < 1.5 * sigma


def test_logistic_outputs_equal_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, _, random = problem(n=24)
    x[0] *= 50  # margins at which sigmoid - 1 is 0
    targets = random.integers(0, 2, (24, 3)).astype(float)
    net = Network.create([7, 3], dtype="float64", seed=0)
    engine = engine_of(net, SGD(), 24, logistic=True)
    found = engine.run(x, targets, np.arange(24), 0.0)
    w = torch.from_numpy(net.weights[0]).requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(x) @ w.T, torch.from_numpy(targets), reduction="sum"
    )
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(engine.gradient[:21].reshape(7, 3).T, w.grad.numpy() / 24, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_takes_the_same_steps(dtype):
    """A batch large enough for several threads: the gradient is the network's, and the bits are those of one thread."""
    x, labels, random = problem(n=700, d=300, k=4, dtype=dtype)
    net = Network.create([300, 260, 4], dtype=dtype, activation="tanh", seed=0)
    order = random.permutation(700)
    backward = net.backward(net.forward(x[order[:512]]), labels[order[:512]])
    expected = flat([w.T for w in backward.grad_weights], backward.grad_biases)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    found = []
    for threads in (1, 2, 5):
        engine = engine_of(net, Adam(), 512, threads=threads)
        engine.run(x, labels, order[:512], 0.0)
        np.testing.assert_allclose(engine.gradient, expected, rtol=tolerance, atol=tolerance * abs(expected).max())
        engine = engine_of(net, Adam(), 512, threads=threads, dropout=0.2, clip_norm=1.0)
        passed = engine.run(x, labels, order, 1e-3)
        found.append((engine.parameters.tobytes(), passed))
    assert found[1:] == found[:1] * 2


def test_any_number_of_threads_takes_the_same_steps_of_sparse_logistic_and_weighted_examples():
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x, labels, random = problem(n=700, d=400, k=4)
    net = Network.create([400, 300, 4], dtype="float64", seed=0)
    targets, weights = np.eye(4)[labels], random.uniform(0, 2, 700)
    few = scipy_sparse.csr_array(np.where(random.uniform(size=x.shape) < 0.1, x, 0.0))
    for given in (as_rows(few, "float64"), x):
        for wanted, options in ((labels, {}), (targets, {"logistic": True})):
            found = []
            for threads in (1, 3):
                engine = engine_of(net, Adam(), 512, threads=threads, **options)
                passed = engine.run(given, wanted, np.arange(700), 1e-3, weights)
                found.append((engine.parameters.tobytes(), passed))
            assert found[0] == found[1]


@pytest.mark.parametrize("widths", [[1, 1, 2], [3, 2], [17, 31, 33, 16], [5, 1, 1, 3], [300, 20, 70]])
@pytest.mark.parametrize("n", [1, 5, 13])
def test_every_shape_of_product(widths, n):
    x, labels, _ = problem(n=n, d=widths[0], k=widths[-1])
    net = Network.create(widths, dtype="float64", activation="silu", seed=4)
    engine = engine_of(net, SGD(), n)
    engine.run(x, labels, np.arange(n), 0.0)
    backward = net.backward(net.forward(x), labels)
    expected = flat([w.T for w in backward.grad_weights], backward.grad_biases)
    np.testing.assert_allclose(engine.gradient, expected, rtol=1e-11, atol=1e-14)


def test_sparse_rows_equal_dense():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x, labels, random = problem(n=40)
    x *= random.random(x.shape) < 0.3
    net = Network.create([7, 9, 5], dtype="float64", seed=1)
    dense, by_rows = engine_of(net, Adam(), 16), engine_of(net, Adam(), 16)
    order = random.permutation(40)
    dense.run(x, labels, order, 0.01)
    by_rows.run(as_rows(sparse.coo_array(x), "float64"), labels, order, 0.01)
    np.testing.assert_allclose(by_rows.parameters, dense.parameters, rtol=1e-11, atol=1e-13)


def test_weights_of_nothing_and_a_loss_that_is_not_finite():
    x, labels, _ = problem()
    net = Network.create([7, 5], dtype="float64", seed=1)
    engine = engine_of(net, SGD(), 40)
    before = engine.parameters.copy()
    found = engine.run(x, labels, np.arange(40), 0.1, np.zeros(40))
    assert (found.loss, found.weight) == (0.0, 0.0)
    np.testing.assert_array_equal(engine.parameters, before)
    x[3, 2] = np.inf
    found = engine.run(x, labels, np.arange(40), 0.1)
    assert not found.finite
    np.testing.assert_array_equal(engine.parameters, before)


def test_the_binding_refuses_what_would_touch_foreign_memory():
    x, labels, _ = problem()
    net = Network.create([7, 5], dtype="float64", seed=1)
    engine = engine_of(net, SGD(), 16)
    order = np.arange(40)
    for bad in (
        lambda: engine.run(x[:, :6], labels, order, 0.1),
        lambda: engine.run(x.astype("float32"), labels, order, 0.1),
        lambda: engine.run(x, labels + 1, order, 0.1),
        lambda: engine.run(x, labels[:-1], order, 0.1),
        lambda: engine.run(x, labels, order + 1, 0.1),
        lambda: engine.run(x, labels, order, np.ones(2)),
        lambda: engine.run(x, np.zeros((40, 5)), order, 0.1),
        lambda: engine.run(x, labels, order, 0.1, np.ones(3)),
    ):
        with pytest.raises((ValueError, IndexError, RuntimeError, TypeError)):
            bad()


def test_two_python_threads_at_once():
    x, labels, _ = problem(n=2000)
    net = Network.create([7, 32, 5], dtype="float64", seed=1)
    engines = [engine_of(net, Adam(), 16) for _ in range(4)]
    workers = [threading.Thread(target=e.run, args=(x, labels, np.arange(2000), 0.01)) for e in engines]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({e.parameters.tobytes() for e in engines}) == 1
