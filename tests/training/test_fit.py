"""Training: the optimizers against PyTorch's, the same bits twice, interruption, and what is refused."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from chainrule import SGD, Adam, AdamW, Cosine, Network, OnPlateau, StepDecay, WarmUp, fit
from chainrule.activations import ACTIVATIONS
from chainrule.errors import CheckpointError, DivergenceWarning, InputError, NonFiniteError, OutputFileError, TableError
from chainrule.training.examples import check_examples, split

OPTIMIZERS = {
    "sgd": (SGD(0.1), lambda t, p: t.optim.SGD(p, 0.1)),
    "momentum": (SGD(0.05, momentum=0.9), lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9)),
    "nesterov": (SGD(0.05, 0.9, nesterov=True), lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9, nesterov=True)),
    "adam": (Adam(0.01), lambda t, p: t.optim.Adam(p, 0.01)),
    "adamw": (AdamW(0.01, weight_decay=0.1), lambda t, p: t.optim.AdamW(p, 0.01, weight_decay=0.1)),
}


@pytest.fixture(scope="module")
def digits():
    with Path("examples/digits.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row.pop("label")) for row in rows])
    return np.array([[float(value) for value in row.values()] for row in rows], dtype="float32") / 16, labels


def blobs(n=120, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return random.normal(size=(n, 4)) + 2 * np.eye(3, 4)[labels], labels


def new_net(dtype="float64", seed=0):
    return Network.create([4, 6, 3], activation="tanh", seed=seed, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_equal_pytorch(name, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = OPTIMIZERS[name]
    start = np.random.default_rng(0).normal(size=50).astype(dtype)
    parameters, scratch = start.copy(), np.empty_like(start)
    state = ours.state(50, start.dtype)
    tensor = torch.nn.Parameter(torch.tensor(start))
    optimizer = theirs(torch, [tensor])
    for t in range(1, 11):
        gradient = np.random.default_rng(t).normal(size=50).astype(dtype)
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        ours.step(parameters, gradient.copy(), state, t, scratch)
        np.testing.assert_allclose(parameters, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_epoch_in_one_batch_equals_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, labels = blobs()
    net = new_net()
    layers = [torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)]
    model = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for layer, w, b in zip((layers[0], layers[2]), net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
    optimizer = OPTIMIZERS[name][1](torch, model.parameters())
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    history = fit(net, x, labels, optimizer=OPTIMIZERS[name][0], epochs=5, batch_size=500, validation=0)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
    np.testing.assert_allclose(net.weights[0], layers[0].weight.detach().numpy(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(net.biases[1], layers[2].bias.detach().numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 120, 1000])
def test_it_learns_and_the_history_is_true(batch_size):
    x, labels = blobs()
    net = new_net("float32")
    seen = []
    options = {"optimizer": Adam(0.03), "validation": (x, labels), "progress": seen.append}
    history = fit(net, x, labels, epochs=6, batch_size=batch_size, **options)
    assert history.loss[-1] < history.loss[0]
    assert [r.epoch for r in seen] == [1, 2, 3, 4, 5, 6]
    best = history.best_epoch
    assert history.validation_loss[best - 1] == min(history.validation_loss)
    # the kept weights give the best epoch's numbers, computed independently
    p = np.exp(net.forward(x).logits.astype(float))
    p /= p.sum(axis=1, keepdims=True)
    assert -np.log(p[np.arange(len(x)), labels]).mean() == pytest.approx(min(history.validation_loss), rel=1e-5)
    assert (p.argmax(axis=1) == labels).mean() == pytest.approx(history.validation_accuracy[best - 1])


def test_gradient_norms_are_those_of_the_steps():
    x, labels = blobs()
    net = new_net()
    backward = net.backward(net.forward(x), labels)
    history = fit(net, x, labels, epochs=1, batch_size=500, validation=0)
    np.testing.assert_allclose(
        history.gradient_norms[0], [np.linalg.norm(g) for g in backward.grad_weights], rtol=1e-10
    )


def test_balanced_classes_count_an_example_as_often_as_it_weighs():
    x, labels = blobs()
    times = np.random.default_rng(3).integers(0, 4, len(x)) * np.where(labels == 1, 5, 1)
    weighted, repeated = new_net(), new_net()
    options = {"class_weight": "balanced", "validation": 0, "batch_size": 10_000, "epochs": 20}
    fit(weighted, x, labels, sample_weight=times, **options)
    fit(repeated, np.repeat(x, times, axis=0), np.repeat(labels, times), **options)
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), rtol=1e-6)
    none = times * (labels != 2)  # a class whose examples weigh nothing
    weighted, removed = new_net(), new_net()
    fit(weighted, x, labels, sample_weight=none, **options)
    fit(removed, x[none > 0], labels[none > 0], sample_weight=none[none > 0], **options)
    np.testing.assert_allclose(weighted.predict_proba(x), removed.predict_proba(x), rtol=1e-6)


def test_the_same_seed_gives_the_same_bits():
    x, labels = blobs()
    nets = [new_net() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        fit(net, x, labels, epochs=3, batch_size=16, seed=seed)
    first, again, other = (b"".join(w.tobytes() for w in net.weights) for net in nets)
    assert first == again
    assert first != other


def test_early_stopping_keeps_the_best():
    x, labels = blobs(60)
    shuffled = np.random.default_rng(9).permutation(labels)
    net = Network.create([4, 64, 3], seed=0)
    history = fit(net, x, shuffled, epochs=500, batch_size=8, optimizer=Adam(0.01), validation=0.3, patience=5)
    assert history.stopped == "patience"
    assert len(history.loss) == history.best_epoch + 5


SCRIPT = """
import sys, numpy as np
from chainrule import Adam, Cosine, Network, WarmUp, fit
random = np.random.default_rng(0)
labels = random.integers(0, 3, 400)
x = random.normal(size=(400, 4)) + np.eye(3, 4)[labels]
net = Network.create([4, 16, 3], seed=0)
def progress(record):
    print(record.epoch, flush=True)
fit(net, x, labels, epochs=40, batch_size=8, optimizer=Adam(0.01), seed=3, checkpoint=sys.argv[1], progress=progress,
    schedule=WarmUp(2, Cosine(0.1)), weight_decay=1e-4, dropout=0.2, label_smoothing=0.1, clip_norm=1.0,
    sample_weight=random.random(400), class_weight="balanced")
net.save(sys.argv[2])
"""


def test_killed_and_resumed_gives_the_same_bits(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")

    def start(checkpoint, model):
        command = [sys.executable, "-c", SCRIPT, str(checkpoint), str(model)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole.safetensors", tmp_path / "whole.model.safetensors")
    whole.communicate()
    assert whole.returncode == 0
    kills = 0
    random = np.random.default_rng(7)
    while True:
        process = start(tmp_path / "killed.safetensors", tmp_path / "killed.model.safetensors")
        for _ in range(int(random.integers(1, 9))):  # let it come some epochs far, then kill it wherever it is
            if not process.stdout.readline():
                break
        process.kill()
        process.stdout.close()
        if process.wait() == 0:
            break
        kills += 1
        assert kills < 100
    assert kills >= 3
    killed, unkilled = (tmp_path / f"{n}.model.safetensors" for n in ("killed", "whole"))
    assert killed.read_bytes() == unkilled.read_bytes()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path = tmp_path / "run.safetensors"
    fit(new_net(), x, labels, epochs=2, checkpoint=path)
    before = path.read_bytes()
    for change, named in (
        ({"seed": 1}, "seed"),
        ({"batch_size": 5}, "batch_size"),
        ({"optimizer": SGD(0.1)}, "optimizer"),
        ({"validation": 0.5}, "examples"),
    ):
        with pytest.raises(CheckpointError, match=named):
            fit(new_net(), x, labels, epochs=2, checkpoint=path, **change)
    with pytest.raises(CheckpointError, match="initial weights"):
        fit(new_net(seed=1), x, labels, epochs=2, checkpoint=path)
    assert path.read_bytes() == before
    longer, straight = new_net(), new_net()
    assert len(fit(longer, x, labels, epochs=5, checkpoint=path).loss) == 5
    fit(straight, x, labels, epochs=5)
    assert longer.weights[0].tobytes() == straight.weights[0].tobytes()
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        fit(new_net(), x, labels, epochs=2, checkpoint=path)


def test_ctrl_c_keeps_the_best_weights(ctrl_c):
    x, labels = blobs()

    def interrupt(record):
        if record.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    net, three = new_net(), new_net()
    history = fit(net, x, labels, epochs=50, batch_size=16, progress=interrupt)
    assert history.stopped == "interrupted"
    assert len(history.loss) == 3
    assert signal.getsignal(signal.SIGINT) is handler
    fit(three, x, labels, epochs=3, batch_size=16)
    assert net.weights[0].tobytes() == three.weights[0].tobytes()


def test_a_second_ctrl_c_raises_and_so_does_a_callback_and_nothing_is_lost(ctrl_c):
    x, labels = blobs()

    def interrupt_twice(record):
        if record.epoch == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    def fail(record):
        if record.epoch == 2:
            raise ZeroDivisionError

    two = new_net()
    fit(two, x, labels, epochs=2)
    for callback, error in ((interrupt_twice, KeyboardInterrupt), (fail, ZeroDivisionError)):
        net = new_net()
        with pytest.raises(error):
            fit(net, x, labels, epochs=5, progress=callback)
        assert net.weights[0].tobytes() == two.weights[0].tobytes()


def steps_by_hand(net, x, labels, lr, batch_size, seed=0):
    """SGD a step at a time, by the network alone: yields after each update the batch's loss before it."""
    epoch = 0
    while True:
        order = np.random.default_rng([seed, 1, epoch]).permutation(len(x))  # as `fit` visits the examples
        for begin in range(0, len(x), batch_size):
            batch = order[begin : begin + batch_size]
            backward = net.backward(net.forward(x[batch]), labels[batch])
            for array, gradient in zip(
                [*net.weights, *net.biases], [*backward.grad_weights, *backward.grad_biases], strict=True
            ):
                array -= array.dtype.type(lr) * gradient
            yield float(backward.loss)
        epoch += 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("lr", [1e30, 1e6, 100.0, 30.0])
def test_a_loss_out_of_range_names_the_update_and_the_layer(lr):
    """The update whose next batch has an infinite loss: its own batch's was finite."""
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(600, 8)).astype(np.float32), random.integers(0, 3, 600)
    by_hand, net, before = (Network.create([8, 16, 3], seed=0) for _ in range(3))
    losses = []
    for loss in steps_by_hand(by_hand, x, labels, lr, 32):
        losses.append(loss)
        if not np.isfinite(loss):
            break
    guilty = len(losses) - 1  # counted from 1: the one before the last
    assert guilty >= 1
    assert np.isfinite(losses[:-1]).all()
    where = rf"update of step {guilty} \(epoch {(guilty - 1) // 19 + 1}\): first out of range: .*layer 2"
    with pytest.raises(NonFiniteError, match=where):
        fit(net, x, labels, optimizer=SGD(lr), epochs=5, batch_size=32, validation=0)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()


def test_a_weight_that_hides_behind_a_relu_names_the_update():
    """A bias of −∞ makes its unit 0 and every later loss finite; the epoch's end finds it, and names the step."""
    x, labels = np.ones((64, 1), np.float32), np.zeros(64, np.int64)
    labels[::2] = 1
    weights = [np.ones((1, 1), np.float32), np.array([[1e19], [-1e19]], np.float32)]
    net = Network(weights, [np.zeros(1, np.float32), np.zeros(2, np.float32)], "relu")
    with pytest.raises(NonFiniteError, match=r"a weight became .* step 1 \(epoch 1\): first out of range: .* layer 1"):
        fit(net, x, labels, optimizer=SGD(1e20), epochs=1, batch_size=8, validation=0)


def test_what_is_infinite_before_training_is_blamed_on_no_step():
    x, labels = np.full((20, 2), 3e38, np.float32), np.arange(20) % 2
    net = Network([np.ones((2, 2), np.float32)], [np.zeros(2, np.float32)], "relu")
    with pytest.raises(NonFiniteError, match=r"before the first step: first out of range: .* of layer 1"):
        fit(net, x, labels, validation=0)


@pytest.mark.parametrize("validation", [0.1, 0])
def test_a_rate_that_diverges_is_said(validation):
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(600, 8)), random.integers(0, 3, 600)
    net = Network.create([8, 16, 3], activation="tanh", dtype="float64", seed=0)
    with pytest.warns(DivergenceWarning, match="training diverged: the weights that are kept have a loss of") as said:
        history = fit(net, x, labels, optimizer=SGD(1e6), epochs=5, batch_size=32, validation=validation)
    assert history.diverged == str(said[0].message)
    assert "diverged" in history.to_dict()["diverged"]
    assert said[0].filename == __file__
    told = float(re.search(r"loss of (\S+),", history.diverged)[1])
    wanted = history.validation_loss[history.best_epoch - 1] if validation else log_loss(net, x, labels)
    assert told == pytest.approx(wanted, rel=1e-5)
    began = Network.create([8, 16, 3], activation="tanh", dtype="float64", seed=0)
    if not validation:
        assert f"one of {log_loss(began, x, labels):.6g}, and" in history.diverged


@pytest.mark.parametrize("validation", [0, 0.1])
def test_a_network_that_is_dead_is_said(validation):
    """A step that is too long puts every ReLU below 0: the loss is no more than a guess's, the same for all rows."""
    random = np.random.default_rng(0)
    x = random.uniform(0.5, 1.5, (200, 6))
    labels = (np.arange(200) % 10 >= 3).astype(int)
    net = Network([np.full((8, 6), 0.1), np.outer([1.0, -1.0], np.ones(8))], [np.zeros(8), np.zeros(2)])
    with pytest.warns(DivergenceWarning, match="training diverged: the network is dead"):
        history = fit(net, x, labels, optimizer=SGD(1.0), epochs=1, batch_size=200, validation=validation)
    assert (net.forward(x).activations[1] == 0).all()
    assert (net.predict_proba(x) == net.predict_proba(x[:1])).all()
    assert log_loss(net, x, labels) < np.log(2)
    assert "dead" in history.diverged


def log_loss(net, x, labels):
    logits = net.forward(x).preactivations[-1]
    return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(x)), labels]))


def test_noise_and_unfinished_training_do_not_diverge():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(200, 8)), random.integers(0, 3, 200)
    for inputs, options in (
        (x, {"optimizer": Adam(0.05), "epochs": 40}),  # learns the noise by heart
        (x, {"optimizer": SGD(1e-9), "epochs": 1}),
        (x * 1000, {"optimizer": Adam(1e-4), "epochs": 1}),  # starts at a loss of hundreds, and lowers it
    ):
        for validation in (0.2, 0):
            net = Network.create([8, 32, 3], dtype="float64", seed=0)
            assert fit(net, inputs, labels, validation=validation, **options).diverged is None
    for inputs in (x * 0, x[:1]):  # examples that are all alike have one answer
        net = Network.create([8, 32, 3], dtype="float64", seed=0)
        assert fit(net, inputs, labels[: len(inputs)], validation=0).diverged is None


def test_a_validation_loss_that_is_never_finite_is_said():
    x, labels = blobs()
    net, before = (Network.create([4, 6, 3], activation="identity", seed=0) for _ in range(2))
    with pytest.warns(DivergenceWarning, match="no epoch had a finite validation loss"):
        history = fit(net, x, labels, validation=(np.full((3, 4), 3e38), [0, 1, 2]), epochs=2)
    assert history.best_epoch == 0
    assert history.validation_accuracy == [0.0, 0.0]  # what is of no class is right by no chance
    assert net.weights[0].tobytes() == before.weights[0].tobytes()


@dataclasses.dataclass(frozen=True)
class Lion(Adam):
    def native_options(self):
        return {"rule": "lion"}


@dataclasses.dataclass(frozen=True)
class Halved(SGD):
    def step(self, parameters, gradient, state, t, scratch):
        parameters -= self.lr / 2 * gradient


class Own:
    lr = 0.1

    def state(self, n, dtype):
        return {}

    def step(self, parameters, gradient, state, t, scratch):
        parameters -= self.lr * gradient

    def native_options(self):
        return {"rule": "sgd"}


@dataclasses.dataclass(frozen=True)
class Quick(AdamW):
    lr: float = 0.01


@pytest.mark.parametrize("optimizer", [Lion(), Halved(), Own(), Adam])
def test_an_optimizer_whose_step_would_not_be_taken_is_refused(optimizer):
    x, labels = blobs()
    net, before = new_net(), new_net()
    with pytest.raises(InputError, match=r"optimizer: got .*, expected SGD, Adam or AdamW"):
        fit(net, x, labels, optimizer=optimizer)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()


def test_a_subclass_with_the_same_rule_is_taken():
    x, labels = blobs()
    ours, plain = new_net(), new_net()
    fit(ours, x, labels, optimizer=Quick(), epochs=2)
    fit(plain, x, labels, optimizer=AdamW(0.01), epochs=2)
    assert ours.weights[0].tobytes() == plain.weights[0].tobytes()


def test_bad_input_changes_nothing(tmp_path):
    x, labels = blobs()
    with_nan = x.copy()
    with_nan[3, 2] = np.nan
    cases = [
        ({"x": with_nan}, InputError, "x: got nan at row 3, column 2"),
        ({"x": x[:0], "labels": []}, InputError, "no examples"),
        ({"labels": labels + 1}, InputError, "labels: got 3"),
        ({"labels": labels[:-1]}, InputError, "labels: got shape"),
        ({"epochs": 0}, InputError, "epochs: got 0"),
        ({"batch_size": 2.5}, InputError, "batch_size: got 2.5"),
        ({"validation": 1.0}, InputError, "validation: got 1.0"),
        ({"patience": 3, "validation": 0}, InputError, "patience"),
        ({"optimizer": "adam"}, InputError, "optimizer: got 'adam'"),
        ({"schedule": "cosine"}, InputError, "schedule: got 'cosine'"),
        ({"weight_decay": -1}, InputError, "weight_decay: got -1"),
        ({"dropout": 1.0}, InputError, "dropout: got 1.0"),
        ({"label_smoothing": 2}, InputError, "label_smoothing: got 2"),
        ({"clip_norm": 0}, InputError, "clip_norm: got 0"),
        ({"sample_weight": np.ones(3)}, InputError, "sample_weight: got shape"),
        ({"sample_weight": -np.ones(120)}, InputError, "sample_weight: got -1.0 at index 0"),
        ({"class_weight": "even"}, InputError, "class_weight: got 'even'"),
        ({"class_weight": {7: 1.0}}, InputError, "class_weight: got the class 7"),
        ({"class_weight": [1.0, 2.0]}, InputError, "class_weight: got shape"),
        ({"threads": 0}, InputError, "threads: got 0"),
        ({"memory": 5, "validation": 0}, InputError, "memory: got 5 bytes"),
        ({"memory": 10**6}, InputError, "validation: got 0.1 with memory"),
        ({"seed": -1}, InputError, "seed"),
        ({"checkpoint": tmp_path / "no" / "folder"}, OutputFileError, "does not exist"),
    ]
    for change, error, message in cases:
        net, before = new_net(), new_net()
        with pytest.raises(error, match=message):
            fit(net, **({"x": x, "labels": labels} | change))
        assert net.weights[0].tobytes() == before.weights[0].tobytes()
    for bad in (lambda: Adam(-1), lambda: SGD(0.1, 1.0), lambda: SGD(nesterov=True), lambda: Adam(betas=(0.9, 1.0))):
        with pytest.raises(InputError):
            bad()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": WarmUp(1, Cosine())},
        {"schedule": StepDecay(8, 0.3), "weight_decay": 1e-4},
        {"schedule": OnPlateau(0.5, 3), "class_weight": "balanced"},
        {"dropout": 0.2, "label_smoothing": 0.05},
        {"clip_norm": 1.0, "sample_weight": 0.5 + np.random.default_rng(5).random(1797)},
    ],
    ids=lambda options: " ".join(options),
)
def test_every_option_learns_the_digits(digits, name, options):
    x, labels = digits
    test = np.arange(len(x)) % 5 == 0
    weights = options.get("sample_weight")
    if weights is not None:
        options = options | {"sample_weight": weights[~test]}
    lr = {"sgd": 0.5, "momentum": 0.05, "nesterov": 0.05, "adam": 0.003, "adamw": 0.003}[name]
    optimizer = dataclasses.replace(OPTIMIZERS[name][0], lr=lr)
    net = Network.create([64, 64, 10], seed=0)
    fit(net, x[~test], labels[~test], optimizer=optimizer, epochs=25, batch_size=32, **options)
    assert (net.predict(x[test]) == labels[test]).mean() >= 0.95


def test_a_callback_ends_training_and_sees_each_epoch():
    x, labels = blobs()
    seen = []

    def third(record):
        seen.append(record.epoch)
        return record.epoch == 3

    history = fit(new_net(), x, labels, epochs=50, callbacks=[third])
    assert (seen, history.stopped, len(history.loss)) == ([1, 2, 3], "callback", 3)


def test_schedules_set_the_learning_rate():
    x, labels = blobs()
    options = {"epochs": 4, "batch_size": 60, "validation": 0, "optimizer": SGD(0.1)}
    history = fit(new_net(), x, labels, schedule=StepDecay(2, 0.5), **options)
    np.testing.assert_allclose(history.learning_rate, [0.1, 0.1, 0.05, 0.05])
    history = fit(new_net(), x, labels, schedule=WarmUp(2, Cosine()), **options)
    t = np.array([0.5, 1.5, 2.5, 3.5])  # the second and last step of each epoch
    np.testing.assert_allclose(
        history.learning_rate, 0.1 * np.minimum((t + 0.5) / 2, 1) * (1 + np.cos(np.pi * t / 4)) / 2
    )


def test_validation_is_stratified():
    labels = np.repeat([0, 1, 2], [100, 20, 1])
    x = np.arange(121.0)[:, None] * np.ones((1, 4))
    net = new_net()
    train, held_out = split(net, check_examples(net, "x", x, labels), 0.2, seed=0)
    assert np.bincount(held_out.labels, minlength=3).tolist() in ([20, 4, 0], [19, 4, 1], [20, 3, 1])
    both = np.concatenate([train.x[:, 0], held_out.x[:, 0]])
    assert sorted(both) == list(range(121))
    np.testing.assert_array_equal(held_out.labels, labels[held_out.x[:, 0].astype(int)])


def test_sparse_input_equals_dense():
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x, labels = blobs()
    x = np.where(np.abs(x) < 1.0, 0.0, x)
    options = {"epochs": 5, "batch_size": 16, "validation": 0.25, "optimizer": Adam(0.01)}
    dense, sparse = new_net(), new_net()
    expected = fit(dense, x, labels, **options)
    history = fit(sparse, scipy_sparse.csr_array(x), labels, **options)
    np.testing.assert_allclose(sparse.weights[0], dense.weights[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-10)
    bad = scipy_sparse.csr_array(np.where(np.arange(480).reshape(120, 4) == 21, np.inf, x))
    with pytest.raises(InputError, match="x: got inf at row 5, column 1"):
        fit(new_net(), bad, labels)


def test_a_memory_map_is_streamed_within_its_bound(tmp_path):
    n, memory = 40_000, 1 << 20
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    mapped = np.memmap(tmp_path / "x.npy", dtype="float32", mode="w+", shape=(n, 32))
    mapped[:] = random.normal(size=(n, 32)) + 2 * np.eye(3, 32)[labels]
    mapped.flush()
    x = np.memmap(tmp_path / "x.npy", dtype="float32", mode="r", shape=(n, 32))
    assert x.nbytes > 4 * memory
    net = Network.create([32, 16, 3], seed=0)
    tracemalloc.start()
    history = fit(net, x, labels, epochs=2, batch_size=64, validation=0, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory + 2 * labels.nbytes + (1 << 18)  # the labels and their check are no part of it
    assert history.accuracy[-1] > 0.8
    again = Network.create([32, 16, 3], seed=0)
    fit(again, x, labels, epochs=2, batch_size=64, validation=0, memory=memory)
    assert again.weights[0].tobytes() == net.weights[0].tobytes()
    mapped[7, 3] = np.nan
    with pytest.raises(InputError, match="x: got nan at row 7, column 3"):
        fit(net, x, labels, epochs=1, validation=0, memory=memory)


def test_a_parquet_file_is_streamed(tmp_path):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    n, memory = 60_000, 2 << 20
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    x = (random.normal(size=(n, 20)) + 2 * np.eye(3, 20)[labels]).astype("float32")
    path = tmp_path / "x.parquet"
    columns = {f"x{j}": x[:, j] for j in range(20)}
    polars.DataFrame(columns | {"y": labels}).write_parquet(path, row_group_size=5000)
    assert path.stat().st_size > 2 * memory
    from_file, from_map = (Network.create([20, 8, 3], seed=0) for _ in range(2))
    fit(from_file, path, "y", epochs=1, validation=0, memory=memory)
    mapped = np.memmap(tmp_path / "x.raw", dtype="float32", mode="w+", shape=x.shape)
    mapped[:] = x
    fit(from_map, mapped, labels, epochs=1, validation=0, memory=memory)
    assert from_file.weights[0].tobytes() == from_map.weights[0].tobytes()
    with pytest.raises(InputError, match="x: got the path"):
        fit(from_file, path, labels, memory=memory)
    with pytest.raises(TableError, match="has no column 'z'"):
        fit(from_file, path, "z", memory=memory)
    polars.DataFrame({"a": ["text"] * 9, "y": [0, 1, 2] * 3}).write_parquet(path)
    with pytest.raises(TableError, match="column 'a': holds String"):
        fit(Network.create([1, 3]), path, "y", batch_size=2, validation=0, memory=memory)


def test_the_shapes_at_the_edge():
    random = np.random.default_rng(0)
    for n, d, widths, labels in ((1, 4, [5], [0]), (50, 1, [1, 1], None), (7, 3, [], None), (40, 2, [9], [0] * 40)):
        labels = random.integers(0, 3, n) if labels is None else np.array(labels)
        net = Network.create([d, *widths, 3], seed=0)
        x = random.normal(size=(n, d))
        x[:, 0] = 1.0  # a column that does not vary
        history = fit(net, x, labels, epochs=2, batch_size=100)
        assert np.isfinite(history.loss).all()


def test_history_as_columns():
    x, labels = blobs()
    history = fit(new_net(), x, labels, epochs=3)
    frame = pytest.importorskip("pandas", reason="pandas is not installed").DataFrame(history.columns())
    assert frame["loss"].tolist() == history.loss
    assert {"epoch", "validation_loss", "learning_rate", "gradient_norm_1", "gradient_norm_2"} <= set(frame.columns)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert polars.DataFrame(history.columns()).height == 3


def test_history_is_json():
    x, labels = blobs()
    history = fit(new_net(), x, labels, epochs=2)
    assert json.loads(json.dumps(history.to_dict()))["loss"] == history.loss


def mapped(path, array, order="C", mode="r"):
    np.memmap(path, dtype=array.dtype, mode="w+", shape=array.shape, order=order)[...] = array
    return np.memmap(path, dtype=array.dtype, mode=mode, shape=array.shape, order=order)


@pytest.mark.parametrize("memory", [None, 1 << 16])
def test_a_memory_map_is_checked_whole_before_anything_is_trained(tmp_path, memory):
    x, labels = blobs()
    bad = x.copy()
    bad[70, 2] = np.nan
    broken = mapped(tmp_path / "bad", bad)
    net, before = new_net(), new_net()
    with pytest.raises(InputError, match=r"^x: got nan at row 70, column 2"):
        fit(net, broken, labels, validation=0, memory=memory)
    with pytest.raises(InputError, match=r"^validation: x: got nan at row 70, column 2"):
        fit(net, x, labels, validation=(broken, labels), memory=memory)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()
    expected = new_net()
    fit(expected, x, labels, epochs=2, validation=0)
    columns = new_net()  # a map whose rows do not lie in one piece
    fit(columns, mapped(tmp_path / "f", x, "F"), labels, epochs=2, validation=0)
    assert columns.weights[0].tobytes() == expected.weights[0].tobytes()
    private = mapped(tmp_path / "c", x, mode="c")  # what its owner changed is not in the file, and stays
    private[0] += 1
    fit(new_net(), private, labels, epochs=1, validation=0, memory=memory)
    np.testing.assert_array_equal(private[0], x[0] + 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc that tells what is resident")
def test_what_has_been_read_of_a_map_does_not_stay_in_memory(tmp_path):
    n, memory = 200_000, 2 << 20
    x = mapped(tmp_path / "x", np.random.default_rng(0).normal(size=(n, 40)).astype("float32"))

    def resident():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(status["RssFile"].split()[0])

    net, labels = Network.create([40, 4, 2], seed=0), np.arange(n) % 2
    before, seen = resident(), []
    fit(net, x, labels, epochs=2, validation=(x, labels), memory=memory, progress=lambda _: seen.append(resident()))
    assert x.nbytes == 32_000_000
    assert max(seen) - before < 8_000_000


def test_options_that_fail_later_elsewhere_are_named_at_once():
    x, labels = blobs()

    class Wrong:
        def __init__(self, result):
            self.result = result

        def factors(self, t, epochs, losses):
            return self.result(t)

    cases = [
        ({"callbacks": None}, "callbacks: got None"),
        ({"callbacks": ["a"]}, "callbacks: got"),
        ({"progress": "a"}, "progress: got 'a'"),
        ({"optimizer": Adam}, "optimizer: got <class"),
        ({"schedule": Cosine}, "schedule: got <class"),
        ({"class_weight": {0: None}}, r"class_weight\[0\]: got None"),
        ({"class_weight": {True: 2.0}}, "class_weight: got the class True"),
        ({"validation": (x[:, :3], labels)}, r"validation: x: got shape \(120, 3\)"),
        ({"validation": (x, labels + 5)}, "validation: labels: got"),
        ({"validation": [x, labels]}, "validation: got list, expected a tuple"),
        ({"validation": ("a.parquet", "y")}, "validation: got a tuple of str and str"),
        ({"sample_weight": np.ones(120) * 1j}, "sample_weight: got"),
        ({"sample_weight": np.full(120, 1e308)}, r"sample_weight: got 1e\+308 at index 0"),
        ({"dropout": "0.1"}, "dropout: got '0.1'"),
        *(
            ({"schedule": Wrong(result)}, "schedule: got the factors")
            for result in (
                lambda t: t[:-1],
                lambda t: t[:, None],
                lambda t: None,
                lambda t: t * np.nan,
                lambda t: t - 9,
            )
        ),
    ]
    for change, message in cases:
        net, before = new_net(), new_net()
        with pytest.raises(InputError, match=message):
            fit(net, x, labels, **change)
        assert net.weights[0].tobytes() == before.weights[0].tobytes()
    with pytest.raises(InputError, match="then: got 'x'"):
        WarmUp(then="x")
    small = Network([w.astype("float32") for w in new_net().weights], [b.astype("float32") for b in new_net().biases])
    with pytest.raises(InputError, match=r"x: got 1e\+300 at row 3, column 1"):
        fit(small, np.where(np.arange(480).reshape(120, 4) == 13, 1e300, x), labels)
    fixed = new_net()
    fixed.weights[0].flags.writeable = False
    with pytest.raises(InputError, match="net: got read-only arrays"):
        fit(fixed, x, labels)


def test_a_checkpoint_towards_another_number_of_epochs(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path = tmp_path / "c.safetensors"
    fit(new_net(), x, labels, epochs=3, schedule=Cosine(), checkpoint=path)
    with pytest.raises(CheckpointError, match="learning rates went towards another number of epochs"):
        fit(new_net(), x, labels, epochs=6, schedule=Cosine(), checkpoint=path)


def test_what_a_callback_ended_stays_ended(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path, nets = tmp_path / "c.safetensors", [new_net(), new_net()]
    for net in nets:
        history = fit(net, x, labels, epochs=6, checkpoint=path, callbacks=[lambda record: record.epoch == 3])
        assert (len(history.loss), history.stopped) == (3, "callback")
    assert nets[0].weights[0].tobytes() == nets[1].weights[0].tobytes()


def test_nan_goes_through_every_activation():
    x = np.zeros((2, 4))
    x[1, 2] = np.nan
    for name in ACTIVATIONS:
        logits = Network.create([4, 6, 3], activation=name, seed=0).forward(x).logits
        assert np.isfinite(logits[0]).all()
        assert np.isnan(logits[1]).all()
