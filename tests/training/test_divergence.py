"""Training that leaves the range of numbers, or goes nowhere, is named."""

import re

import numpy as np
import pytest
from problems import blobs

from chainrule import SGD, Adam, Network, fit
from chainrule.errors import DivergenceWarning, NonFiniteError
from chainrule.training.history import divergence


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
@pytest.mark.parametrize(
    ("lr", "batch_size"), [(1e30, 32), (1e6, 32), (100.0, 32), (30.0, 32), (1e30, 600), (1e6, 600)]
)
def test_a_loss_out_of_range_names_the_update_and_the_layer(lr, batch_size):
    """The update whose next batch has an infinite loss: its own batch's was finite."""
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(600, 8)).astype(np.float32), random.integers(0, 3, 600)
    by_hand, net, before = (Network.create([8, 16, 3], seed=0) for _ in range(3))
    losses = []
    for loss in steps_by_hand(by_hand, x, labels, lr, batch_size):
        losses.append(loss)
        if not np.isfinite(loss):
            break
    guilty = len(losses) - 1  # counted from 1: the one before the last
    assert guilty >= 1
    assert np.isfinite(losses[:-1]).all()
    epoch = (guilty - 1) // (19 if batch_size == 32 else 1) + 1
    where = rf"update of step {guilty} \(epoch {epoch}\): first out of range: .*layer 2"
    with pytest.raises(NonFiniteError, match=where):
        fit(net, x, labels, optimizer=SGD(lr), epochs=5, batch_size=batch_size, validation=0)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()


@pytest.mark.parametrize("batch_size", [8, 64])  # 64: the epoch's last step is its first
def test_a_weight_that_hides_behind_a_relu_names_the_update(batch_size):
    """A bias of −∞ makes its unit 0 and every later loss finite; the epoch's end finds it, and names the step."""
    x, labels = np.ones((64, 1), np.float32), np.zeros(64, np.int64)
    labels[::2] = 1
    weights = [np.ones((1, 1), np.float32), np.array([[1e19], [-1e19]], np.float32)]
    net = Network(weights, [np.zeros(1, np.float32), np.zeros(2, np.float32)], "relu")
    with pytest.raises(NonFiniteError, match=r"a weight became .* step 1 \(epoch 1\): first out of range: .* layer 1"):
        fit(net, x, labels, optimizer=SGD(1e20), epochs=1, batch_size=batch_size, validation=0)


def test_what_is_infinite_before_training_is_blamed_on_no_step():
    x, labels = np.full((20, 2), 3e38, np.float32), np.arange(20) % 2
    net = Network([np.ones((2, 2), np.float32)] * 2, [np.zeros(2, np.float32)] * 2, "relu")
    first = r"before the first step: first out of range: the pre-activations of layer 1;"  # layer 2's are infinite too
    with pytest.raises(NonFiniteError, match=first):
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


def test_what_is_twice_as_bad_as_a_guess_and_as_the_beginning_diverged():
    for guess, began, ended in ((1.0, 0.1, 1.9), (0.1, 1.0, 1.9), (1.0, 1.0, 2.0)):
        assert divergence(guess, began, ended) is None
    for guess, began in ((1.0, 0.1), (0.1, 1.0)):
        assert "have a loss of 2.1, those before" in divergence(guess, began, 2.1)


def test_a_validation_loss_that_is_never_finite_is_said():
    x, labels = blobs()
    net, before = (Network.create([4, 6, 3], activation="identity", seed=0) for _ in range(2))
    with pytest.warns(DivergenceWarning, match="no epoch had a finite validation loss"):
        history = fit(net, x, labels, validation=(np.full((3, 4), 3e38), [0, 1, 2]), epochs=2)
    assert history.best_epoch == 0
    assert history.validation_accuracy == [0.0, 0.0]  # what is of no class is right by no chance
    assert net.weights[0].tobytes() == before.weights[0].tobytes()
