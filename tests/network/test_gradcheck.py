"""The gradient check passes what is right at every scale, and finds and locates what is wrong."""

import itertools
from dataclasses import dataclass, fields
from typing import Any

import mpmath
import numpy as np
import pytest
from truths import FORMULAS

from chainrule import Network, check_gradients, equations
from chainrule.errors import InputError
from chainrule.network.differences import ChainDifferences, factor_difference, slope_differences
from chainrule.network.gradcheck import Difference, central_difference, judge

EVERYTHING = 10**6  # coordinates


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_true_gradients_pass(activation, seed):
    net = Network.create([6, 8, 5, 3], activation=activation, seed=seed)
    x = np.random.default_rng(seed).normal(size=(4, 6))
    report = check_gradients(net, x, [0, 1, 2, 0], seed=seed)
    assert {row.verdict for row in report.rows} == {"good"}, report.text()
    names = {(r.layer, r.quantity) for r in report.rows}
    assert {(3, "probabilities"), (3, "preactivations"), (2, "activations"), (1, "weights"), (1, "biases")} <= names
    assert {(0, "x")} <= names


def random_case(activation, seed, biases=(0, 1, None)):
    """A network of random widths, its weights scaled by 1e-6 to 1e6, with examples and labels."""
    random = np.random.default_rng([seed, *activation.encode()])
    widths = [int(n) for n in random.integers(1, 13, size=random.integers(2, 7))]
    net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
    scale = 10 ** random.uniform(-6, 6)
    size = random.choice([scale if b is None else b for b in biases])
    net = Network([w * scale for w in net.weights], [size * random.normal(size=len(b)) for b in net.biases], activation)
    x = random.normal(size=(int(random.integers(1, 6)), widths[0])) * 10 ** random.uniform(-3, 2)
    return net, x, random.integers(widths[-1], size=len(x)), random


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
def test_nothing_right_is_called_wrong_at_any_scale(activation):
    verdicts = []
    for seed in range(15):
        net, x, labels, _ = random_case(activation, seed)
        report = check_gradients(net, x, labels, coordinates=30, seed=seed)
        assert report.ok, f"{seed}\n{report.text()}"
        verdicts += [row.verdict for row in report.rows]
    assert set(verdicts) <= {"good", "kink", "underflow"}
    assert verdicts.count("good") > 0.9 * len(verdicts)
    assert "kink" not in verdicts or activation in ("relu", "leaky_relu")


@dataclass
class Tampered:
    """A backward pass of which every array can be replaced."""

    grad_probabilities: Any
    grad_preactivations: Any
    grad_activations: Any
    grad_weights: Any
    grad_biases: Any


def tamper(monkeypatch, change):
    right = Network.backward

    def backward(self, forward, labels, **options):
        found = right(self, forward, labels, **options)
        wrong = Tampered(**{f.name: getattr(found, f.name) for f in fields(Tampered)})
        change(self, forward, wrong)
        return wrong

    monkeypatch.setattr(Network, "backward", backward)


def visible(net, forward, found, name, k):
    """Where an element is not what is left of numbers that cancel, nor about to underflow."""
    grads = getattr(found, name)
    array = grads if name == "grad_probabilities" else grads[k]
    after, h = abs(found.grad_preactivations[k]), abs(forward.activations[k])
    sums = {
        "grad_weights": lambda: after.T @ h, "grad_biases": lambda: after.sum(axis=0),
        "grad_activations": lambda: after @ abs(net.weights[k]),
    }  # fmt: skip
    summed = sums[name]() if name in sums else 0.0
    return np.argwhere(np.isfinite(array) & (abs(array) > 1e-5 * summed) & (abs(array) > 1e-250))


@pytest.mark.parametrize("name", [f.name for f in fields(Tampered)])
@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
def test_one_element_off_by_one_per_cent_is_wrong_at_every_scale(activation, name, monkeypatch):
    hit = 0
    for seed in range(6):
        net, x, labels, random = random_case(activation, seed, biases=(1, None))
        place = []

        def change(net, forward, found, random=random, place=place):
            k = int(random.integers(net.depth))
            places = visible(net, forward, found, name, k)
            if len(places):
                index = tuple(random.choice(places))
                array = found.grad_probabilities if name == "grad_probabilities" else getattr(found, name)[k]
                array = array.copy()
                array[index] *= 1.01
                setattr(
                    found, name, array if name == "grad_probabilities" else replaced(getattr(found, name), k, array)
                )
                place.append(((net.depth if name == "grad_probabilities" else k + 1) - ("activations" in name and
                    "pre" not in name), index))  # fmt: skip

        with monkeypatch.context() as patch:
            tamper(patch, change)
            report = check_gradients(net, x, labels, coordinates=EVERYTHING, seed=seed)
        if place:
            hit += 1
            assert [(r.layer, r.worst) for r in report.rows if r.verdict == "wrong"] == place, (
                f"{seed}\n{report.text()}"
            )
    assert hit >= 3


def replaced(arrays, k, array):
    return [*arrays[:k], array, *arrays[k + 1 :]]


def transposed(net, forward, found):
    found.grad_activations = [g @ w.T for g, w in zip(found.grad_preactivations, net.weights, strict=True)]


def without_slope(net, forward, found):
    found.grad_preactivations = [*found.grad_activations[1:], found.grad_preactivations[-1]]


def without_input(net, forward, found):
    found.grad_weights = [
        np.repeat(b[:, None], w.shape[1], 1) for b, w in zip(found.grad_biases, net.weights, strict=True)
    ]


def without_mean(net, forward, found):
    found.grad_preactivations = [g * len(forward.logits) for g in found.grad_preactivations]


def without_mean_of_weights(net, forward, found):
    found.grad_weights = [g * len(forward.logits) for g in found.grad_weights]


MISTAKES = {
    transposed: "activations", without_slope: "preactivations", without_input: "weights",
    without_mean: "preactivations", without_mean_of_weights: "weights",
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "silu", "softplus", "leaky_relu"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_mistakes_are_wrong_at_every_scale(mistake, activation, scale, monkeypatch):
    net = Network.create([5, 5, 5, 5, 5], activation=activation, seed=1, dtype="float64")
    random = np.random.default_rng(2)
    net = Network([w * scale for w in net.weights], [random.normal(size=5) for _ in net.biases], activation)
    x, labels = random.normal(size=(3, 5)), [0, 3, 1]
    assert check_gradients(net, x, labels, coordinates=EVERYTHING).ok
    tamper(monkeypatch, mistake)
    wrong = {r.quantity for r in check_gradients(net, x, labels, coordinates=EVERYTHING).rows if r.verdict == "wrong"}
    assert wrong - {"x"} == {MISTAKES[mistake]}


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
def test_the_differences_are_the_losss_derivatives(activation):
    """Against the whole loss at 600 digits: nothing is followed link by link there."""
    for seed, scale in enumerate((1e-6, 0.1, 1.0, 10.0, 1e6)):
        widths = [3, 4, 2, 3]
        net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
        random = np.random.default_rng(seed)
        net = Network([w * scale for w in net.weights], [random.normal(size=len(b)) for b in net.biases], activation)
        x, labels = random.normal(size=(2, 3)), [2, 0]
        forward = net.forward(x)
        chain = ChainDifferences(net, forward.preactivations, labels)
        for layer in (1, 2, 3):
            moves = random.normal(size=(2, widths[layer]))
            found, floor, kinks = chain.along(layer, moves)
            truth = float(whole(net, forward.preactivations[layer - 1], labels, layer, moves))
            assert abs(found - truth) <= 1e-7 * max(abs(truth), floor), (scale, layer)
            assert kinks == 0


def whole(net, preactivations, labels, layer, moves):
    """The derivative of the mean loss along `moves` of a layer, as a difference at 600 digits."""
    m = mpmath.mpf
    g = FORMULAS[net.activation]

    def loss(step):
        total = m(0)
        for row, move, label in zip(preactivations, moves, labels, strict=True):
            a = [m(float(v)) + step * m(float(d)) for v, d in zip(row, move, strict=True)]
            for w, b in zip(net.weights[layer:], net.biases[layer:], strict=True):
                h = [g(v) for v in a]
                a = [
                    m(float(c)) + sum(m(float(v)) * u for v, u in zip(r, h, strict=True))
                    for r, c in zip(w, b, strict=True)
                ]
            top = max(a)
            total += top + mpmath.log(sum(mpmath.exp(v - top) for v in a)) - a[label]
        return total / len(labels)

    with mpmath.workdps(600):
        h = m(10) ** -150
        return (loss(h) - loss(-h)) / (2 * h)


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
def test_slopes_keep_their_digits_in_the_tails(activation):
    a = np.array(
        [-1e6, -700.0, -300.0, -37.0, -20.0, -6.0, -4.1, -1.0, -1e-9, 1e-9, 0.3, 3.9, 4.1, 9.0, 36.0, 800.0, 1e6]
    )
    found, floor, kinks = slope_differences(a, activation)
    assert not kinks.any()
    with mpmath.workdps(600):
        truth = [
            float(mpmath.diff(FORMULAS[activation], mpmath.mpf(v), h=mpmath.mpf(10) ** -150)) for v in map(float, a)
        ]
    # a few are below what float64 holds; all others have eight digits
    np.testing.assert_allclose(found, truth, rtol=1e-8, atol=1e-300)
    assert np.all(floor <= np.maximum(2e-3 * np.abs(truth), 1e-290))


def test_a_wrong_derivative_is_found_and_located(monkeypatch):
    right = equations.ACTIVATIONS["tanh"]
    wrong = right._replace(derivative=lambda a: right.derivative(a) * 1.001)
    monkeypatch.setitem(equations.ACTIVATIONS, "tanh", wrong)
    net = Network.create([6, 8, 5, 3], activation="tanh", seed=0)
    report = check_gradients(net, np.ones((2, 6)), [0, 1])
    assert not report.ok
    bad = {(r.layer, r.quantity) for r in report.rows if r.verdict == "wrong"}
    assert {(2, "preactivations"), (2, "weights"), (1, "activations"), (1, "weights"), (0, "x")} <= bad
    assert (3, "weights") not in bad
    assert (2, "activations") not in bad
    wrong = sum(r.verdict == "wrong" for r in report.rows)
    assert report.text().splitlines()[-1] == f"{wrong} of {len(report.rows)} arrays wrong"


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_kink_is_called_a_kink(activation, scale):
    net = Network([np.array([[scale]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], activation)
    report = check_gradients(net, [[0.0]], [0])
    assert report.ok, report.text()
    verdicts = {(r.layer, r.quantity): (r.verdict, r.kinks) for r in report.rows}
    assert verdicts[1, "preactivations"] == verdicts[1, "biases"] == verdicts[0, "x"] == ("kink", 1)
    assert verdicts[1, "activations"] == verdicts[2, "weights"] == ("good", 0)
    # on its own side of the kink, however near, there is a derivative to compare with
    for near in (1e-6, -1e-6, 1e-200, -1e-200):
        assert {r.verdict for r in check_gradients(net, [[near]], [0]).rows} == {"good"}


def test_a_kink_excuses_no_more_than_it_can_do(monkeypatch):
    net = Network([np.array([[1.0], [2.0]]), np.array([[1.0, 1.0], [-1.0, 0.5]])], [np.zeros(2), np.zeros(2)])
    net.biases[0][1] = 0.5  # the first unit stands at its kink, the second does not
    assert check_gradients(net, [[0.0]], [0]).ok
    right = net.backward(net.forward([[0.0]]), [0]).grad_preactivations[0][0]

    def change(net, forward, found):
        found.grad_preactivations[0][0] = [5.0, right[1]]

    tamper(monkeypatch, change)
    (wrong,) = (r for r in check_gradients(net, [[0.0]], [0]).rows if r.verdict == "wrong" and "pre" in r.quantity)
    assert (wrong.layer, wrong.quantity, wrong.worst) == (1, "preactivations", (0, 0))


def test_saturation_is_no_mistake_and_underflow_is_said():
    net = Network([np.array([[0.0], [-1200.0]])], [np.zeros(2)])  # ŷ₂ is 0 in float64, and ∂𝓛/∂ŷ₂ is −∞
    report = check_gradients(net, [[1.0]], [1])
    assert report.ok
    verdicts = {r.quantity: r.verdict for r in report.rows}
    assert verdicts.pop("probabilities") == "underflow"
    assert "4 of 5 arrays agree" in report.text()
    assert "1 with numbers out of float64's range" in report.text()
    assert set(verdicts.values()) == {"good"}
    saturated = Network([np.array([[50.0]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], "tanh")
    report = check_gradients(saturated, [[1.0]], [0])
    assert {r.verdict for r in report.rows} == {"good"}
    (slope,) = (r for r in report.rows if (r.layer, r.quantity) == (1, "preactivations"))
    assert slope.gradient == pytest.approx(-4 * np.exp(-100) * 2 / (1 + np.exp(2)), rel=1e-12, abs=0)
    assert slope.finite_difference == pytest.approx(slope.gradient, rel=1e-9, abs=0)
    deep = Network([np.full((1, 1), 1e200)] * 2 + [np.array([[1.0], [0.0]])], [np.zeros(1)] * 2 + [np.zeros(2)], "relu")
    assert "underflow" in {r.verdict for r in check_gradients(deep, [[1.0]], [0]).rows}  # the logits are ∞


def test_blocks_change_nothing(monkeypatch):
    net, x, labels, _ = random_case("tanh", 3)
    together = check_gradients(net, x, labels, coordinates=EVERYTHING)
    monkeypatch.setattr("chainrule.network.gradcheck.BLOCK", 1)
    for one, other in itertools.zip_longest(
        together.rows, check_gradients(net, x, labels, coordinates=EVERYTHING).rows
    ):
        assert (one.layer, one.quantity, one.checked) == (other.layer, other.quantity, other.checked)
        assert one.verdict == other.verdict == "good"


def test_the_largest_gradient_is_always_among_the_coordinates(monkeypatch):
    net, x, labels, _ = random_case("tanh", 3)

    def change(net, forward, found):
        largest = np.unravel_index(np.abs(found.grad_weights[0]).argmax(), found.grad_weights[0].shape)
        found.grad_weights = replaced(found.grad_weights, 0, found.grad_weights[0].copy())
        found.grad_weights[0][largest] *= 1.01

    tamper(monkeypatch, change)
    for seed in range(5):
        report = check_gradients(net, x, labels, coordinates=1, seed=seed)
        assert [(r.layer, r.quantity) for r in report.rows if r.verdict == "wrong"] == [(1, "weights")]


def test_judging():
    for off, verdict in ((9e-8, "good"), (1.1e-7, "usual"), (9e-5, "usual"), (1.1e-4, "wrong")):
        assert judge(1.0, Difference(1.0 + off, False), 1.0)[1] == verdict
    assert judge(1.0, Difference(2.0, False), 0.0) == judge(2.0, Difference(1.0, False), 0.0) == (0.5, "wrong")
    assert judge(1.0, Difference(1.01, False), 1.0)[1] == "wrong"
    assert judge(1.0, Difference(1.01, True), 1.0)[1] == "kink"
    assert judge(0.0, Difference(0.0, False), 0.0)[1] == "good"
    assert judge(np.inf, Difference(-np.inf, False), 0.0)[1] == "underflow"
    assert judge(1.0, Difference(np.nan, False), 0.0)[1] == "underflow"
    assert judge(np.nan, Difference(1.0, False), 0.0)[1] == "wrong"
    assert judge(np.inf, Difference(1.0, False), 0.0)[1] == "wrong"
    assert judge(np.nan, Difference(1.0, True), 0.0)[1] == "wrong"
    assert judge(1e-9, Difference(2e-9, False), 1.0) == (1e-9, "good")


def test_differences_of_fourth_order():
    assert central_difference(lambda move: (1 + move) ** 4, 0.1) == pytest.approx(4, rel=1e-13)
    assert factor_difference(4.0, lambda move: (1 + move) ** 4)[2] == "good"
    assert factor_difference(4.001, lambda move: (1 + move) ** 4)[2] == "wrong"


def test_bad_input():
    net = Network.create([2, 2])
    with pytest.raises(InputError, match="no examples"):
        check_gradients(net, np.empty((0, 2)), [])
    with pytest.raises(InputError, match="labels"):
        check_gradients(net, [[0.0, 0.0]], [2])
    for option in ({"coordinates": 0}, {"step": 0.0}, {"step": "small"}):
        with pytest.raises(InputError, match=f"^{next(iter(option))}: got"):
            check_gradients(net, [[0.0, 0.0]], [1], **option)


def test_arrays_of_another_library_are_refused():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    other = Network([torch.zeros(2, 2)], [torch.zeros(2)])
    with pytest.raises(InputError, match="net: got arrays of another library"):
        check_gradients(other, torch.zeros(1, 2), [1])
