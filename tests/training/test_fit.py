"""Training: the optimizers against PyTorch's, the same bits twice, interruption, and what is refused."""

import csv
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from problems import blobs, new_net

from chainrule import SGD, Adam, AdamW, Cosine, Network, OnPlateau, StepDecay, WarmUp, fit
from chainrule.activations import ACTIVATIONS
from chainrule.errors import InputError, OutputFileError
from chainrule.training.splitting import hold_out

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


@pytest.mark.parametrize("given", [True, False])
def test_weights_count_in_validation(given):
    """As scikit-learn's metrics count them, given with the examples or taken from sample_weight."""
    random = np.random.default_rng(2)
    x, labels, w = random.normal(size=(200, 3)), random.integers(0, 3, 200), random.choice([0.0, 1.0, 5.0], 200)
    net = Network.create([3, 3], seed=0, dtype="float64")
    options = {"validation": (x, labels, w)} if given else {"validation": 0.5, "sample_weight": w}
    history = fit(net, x, labels, epochs=1, batch_size=200, optimizer=SGD(0.1), seed=3, **options)
    at = np.arange(200) if given else hold_out(labels, 0.5, 3)[0]
    p = net.predict_proba(x)[at]
    losses = -np.log(p[np.arange(len(at)), labels[at]])
    assert history.validation_loss[0] == pytest.approx(np.average(losses, weights=w[at]))
    right = p.argmax(axis=1) == labels[at]
    assert history.validation_accuracy[0] == pytest.approx(np.average(right, weights=w[at]))
    with pytest.raises(InputError, match="validation: the weights of its 200 examples are all 0"):
        fit(net, x, labels, validation=(x, labels, 0 * w))


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


@pytest.mark.parametrize(
    "options", [{"batch_size": 16}, {"batch_size": 16, "validation": 0, "dropout": 0.3}],
    ids=["validation", "order"],
)  # fmt: skip
def test_the_same_seed_gives_the_same_bits(options):
    x, labels = blobs()
    nets = [new_net() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        fit(net, x, labels, epochs=3, seed=seed, **options)
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
    still = fit(new_net(), x, labels, epochs=9, optimizer=SGD(1e-300), validation=0.3, patience=3)  # all epochs alike
    assert (still.best_epoch, len(still.loss)) == (1, 4)


def test_dropout_is_used_and_drops_by_the_seed():
    x, labels = np.ones((120, 4)), np.ones(120, int)  # all alike, and in one batch: their order is nothing
    nets = [new_net() for _ in range(3)]
    for net, dropout, seed in zip(nets, (0.0, 0.3, 0.3), (0, 0, 1), strict=True):
        options = {"optimizer": SGD(0.5), "epochs": 1, "batch_size": 120, "validation": 0}
        fit(net, x, labels, dropout=dropout, seed=seed, **options)
    for one, other in itertools.combinations(nets, 2):
        assert np.abs(one.weights[0] - other.weights[0]).max() > 1e-4


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
    seen.clear()
    fit(new_net(), x, labels, epochs=50, callbacks=[lambda record: record.epoch == 2, third])
    assert seen == [1, 2]  # whichever of them ends it, all are called


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
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["loss"].tolist() == history.loss
    assert list(zip(frame["gradient_norm_1"], frame["gradient_norm_2"], strict=True)) == [
        tuple(norms) for norms in history.gradient_norms
    ]
    assert {"epoch", "validation_loss", "learning_rate", "gradient_norm_1", "gradient_norm_2"} <= set(frame.columns)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert polars.DataFrame(history.columns()).height == 3


def test_history_is_json():
    x, labels = blobs()
    history = fit(new_net(), x, labels, epochs=2)
    assert json.loads(json.dumps(history.to_dict()))["loss"] == history.loss


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


def test_nan_goes_through_every_activation():
    x = np.zeros((2, 4))
    x[1, 2] = np.nan
    for name in ACTIVATIONS:
        logits = Network.create([4, 6, 3], activation=name, seed=0).forward(x).logits
        assert np.isfinite(logits[0]).all()
        assert np.isnan(logits[1]).all()
