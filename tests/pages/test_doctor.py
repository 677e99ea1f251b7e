"""Runs in which something known is wrong, and runs in which nothing is."""

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest

from chainrule import SGD, Adam, Network, fit
from chainrule.errors import DivergenceWarning, NonFiniteError
from chainrule.pages.doctor import diagnose
from chainrule.pages.inputs import told_by_thresholds
from chainrule.training.watching import Watch, silent_units

RANDOM = np.random.default_rng(0)


def classes(n=600, k=4, d=12, away=2.0, seed=0):
    """k clouds around centers that lie `away` apart in every direction, standardised."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    x = random.normal(size=(n, d)) + away * random.normal(size=(k, d))[labels]
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"), labels


def run(x, labels, hidden=(32, 16), optimizer=None, epochs=25, activation="relu", weights=None, **options):
    """Trained on three quarters, judged by the rest; what the doctor says, and the history."""
    n = len(labels) * 3 // 4
    net = Network.create([x.shape[1], *hidden, int(labels.max()) + 1], activation=activation, seed=0)
    for array in [*net.weights, *net.biases] if weights is not None else []:
        array[...] = weights
    optimizer = optimizer or Adam(1e-3)
    watch, error = Watch(x[:n][:512]), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        try:
            history = fit(
                net, x[:n], labels[:n], optimizer=optimizer, epochs=epochs, batch_size=32,
                validation=(x[n:], labels[n:]), callbacks=[watch], **options,
            )  # fmt: skip
        except NonFiniteError as caught:
            history, error = caught.history, str(caught)
    unseen = (net.logits(x[n:]), labels[n:])
    return diagnose(
        net, history, x[:n], labels[:n], unseen=unseen, watch=watch, rate=optimizer.lr, error=error
    ), history  # fmt: skip


def kinds(diagnosis):
    return [finding.kind for finding in diagnosis.findings]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"optimizer": Adam(1000.0)}, ("diverged", "rate too high")),
        ({"optimizer": Adam(1.0)}, ("diverged", "rate too high")),
        ({"optimizer": SGD(1e4)}, "diverged"),
        ({"optimizer": Adam(1e-7)}, "rate too low"),
        ({"weights": 0.0}, "alike"),
        ({"weights": 0.0, "activation": "tanh"}, "alike"),
        ({"weights": 0.1}, "alike"),
        ({"hidden": (24,) * 8, "activation": "logistic"}, "vanishing"),
    ],
)
def test_what_is_wrong_with_training_comes_first(options, first):
    diagnosis, history = run(*classes(), **options)
    assert kinds(diagnosis)[0] in ((first,) if isinstance(first, str) else first)
    finding = diagnosis.findings[0]
    assert finding.grave
    assert finding.remedy
    if first == "rate too low":
        assert finding.flag == "--lr 0.001"
        assert f"In {len(history.loss)} epochs" in finding.text
        assert not diagnosis.learned  # nothing is said of labels
    if first == "diverged":
        assert finding.flag == f"--lr {options['optimizer'].lr / 10:.2g}"


def test_shuffled_labels_are_no_better_than_chance():
    x, labels = classes()
    for seed in range(3):
        diagnosis, _ = run(x, np.random.default_rng(seed).permutation(labels))
        assert kinds(diagnosis) == ["chance"]
        assert not diagnosis.learned
    assert "chance" not in kinds(run(x, labels)[0])


def test_classes_of_unequal_shares_are_no_chance():
    """95 of 100 are of one class: their share alone is right as often, and the network knows more."""
    x, labels = classes(n=2000, k=2, d=6, away=1.0, seed=3)
    few = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:50]])
    few = np.random.default_rng(0).permutation(few)
    assert kinds(run(x[few], labels[few])[0]) == []
    assert kinds(run(x[few], np.random.default_rng(1).permutation(labels[few]))[0]) == ["chance"]


def test_inputs_that_are_wrong():
    x, labels = classes()
    constant = x.copy()
    constant[:, 3] = 1e9
    diagnosis, _ = run(constant, labels)
    assert kinds(diagnosis)[0] == "wild scale"
    assert "“input 4” has a wild scale" in diagnosis.findings[0].title
    assert "1e+09" in diagnosis.findings[0].text
    outlier = x.copy()
    outlier[7, 5] = 3e5
    diagnosis, _ = run(outlier, labels)
    assert "“input 6” has a wild scale" in [f.title for f in diagnosis.findings]
    leaked = np.column_stack([x, labels + 0.01 * RANDOM.random(len(labels))]).astype("float32")
    diagnosis, _ = run(leaked, labels)
    assert kinds(diagnosis) == ["leak"]
    assert "“input 13” alone tells the class" in diagnosis.findings[0].title
    assert not diagnosis.findings[0].grave
    named = diagnose(Network.create([2, 2], seed=0), run(x, labels)[1], x[:, :2], labels % 2, constants=[("c", 1e9)])
    assert "“c” has a wild scale" in [f.title for f in named.findings]


def test_dead_and_saturated_units_are_counted_by_epoch():
    x, labels = classes()
    net, watch = Network.create([12, 32, 4], seed=0), Watch(x[:300])
    net.biases[0][:20] = -100.0  # no row wakes these
    history = fit(net, x, labels, epochs=6, validation=0, callbacks=[watch])
    found = diagnose(net, history, x, labels, watch=watch)
    dead = next(f for f in found.findings if f.kind == "dead")
    assert dead.title == "20 of 32 units in hidden layer 1 are dead"
    assert dead.series == {"hidden layer 1": [100 * 20 / 32] * 6}
    assert "20 were so after epoch 1; half were by epoch 1" in dead.text
    assert not dead.grave
    net = Network(
        [np.array([[50.0], [0.1], [-50.0]]), np.ones((2, 3))], [np.array([60.0, 0, 60.0]), np.zeros(2)], "tanh"
    )
    assert silent_units(net, np.array([[0.5], [-0.5]])) == ([0], [2])
    saturated = diagnose(net, run(x, labels)[1], np.array([[0.5], [-0.5]] * 20), np.array([0, 1] * 20))
    assert "2 of 3 units in hidden layer 1 are saturated" in [f.title for f in saturated.findings]


def test_overfitting_has_its_gap():
    random = np.random.default_rng(1)
    x = random.normal(size=(400, 60)).astype("float32")
    labels = ((x[:, 0] + x[:, 1] + 0.3 * random.normal(size=400)) > 0).astype(int)
    diagnosis, _ = run(x, labels, epochs=60, hidden=(64,))
    assert kinds(diagnosis) == ["overfitting"]
    assert not diagnosis.findings[0].grave
    seen, new = (float(v) for v in re.findall(r"([\d.]+) % of", diagnosis.findings[0].text))
    assert seen - new >= 15


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epochs": 3},
        {"epochs": 150, "patience": 30},
        {"activation": "tanh"},
        {"activation": "logistic", "hidden": (24,), "epochs": 60},
        {"hidden": ()},
        {"hidden": (128, 64), "dropout": 0.2},
        {"optimizer": Adam(3e-3)},
        {"optimizer": SGD(0.01, momentum=0.9)},
        {"weight_decay": 5e-3},
    ],
)
def test_nothing_is_found_where_nothing_is_wrong(options, seed):
    diagnosis, _ = run(*classes(seed=seed), **options)
    assert kinds(diagnosis) == []
    names = [quiet.name for quiet in diagnosis.quiet]
    for expected in ("a rate too high", "a rate too low", "no better than chance", "a wild scale", "overfitting"):
        assert expected in names
    assert all(quiet.measured for quiet in diagnosis.quiet)
    right = next(q.measured for q in diagnosis.quiet if q.name == "no better than chance")
    assert re.match(r"[\d.]+ % of the new rows right; the commonest class is [\d.]+ %", right)


def test_thresholds_tell_by_hand():
    assert told_by_thresholds(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])) == 1.0
    assert told_by_thresholds(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1])) == 0.75
    assert told_by_thresholds(np.array([5.0, 5.0, 5.0]), np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_updates_are_those_of_the_last_step():
    """‖ΔW‖/‖W‖ of one step, for each optimizer: an epoch of a single batch is one step."""
    x, labels = classes(n=40)
    for optimizer in (SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, 0.9, nesterov=True), Adam(0.01)):
        net = Network.create([12, 8, 4], seed=0, dtype="float64")
        seen = [[w.copy() for w in net.weights]]
        watch = [lambda record, seen=seen: seen.append([w.copy() for w in record.net.weights])]
        history = fit(net, x, labels, optimizer=optimizer, epochs=4, batch_size=40, validation=0, callbacks=watch)
        for epoch, (before, after) in enumerate(pairwise(seen)):
            moved = [np.linalg.norm(b - a) / np.linalg.norm(b) for a, b in zip(before, after, strict=True)]
            np.testing.assert_allclose(history.updates[epoch], moved, rtol=1e-6)
