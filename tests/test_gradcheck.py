"""The gradient check passes what is right, and finds and locates what is wrong."""

import numpy as np
import pytest

from chainrule import Network, check_gradients, equations
from chainrule.errors import InputError
from chainrule.gradcheck import Difference, judge


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_true_gradients_pass(activation, seed):
    net = Network.create([6, 8, 5, 3], activation=activation, seed=seed)
    x = np.random.default_rng(seed).normal(size=(4, 6))
    report = check_gradients(net, x, [0, 1, 2, 0], seed=seed)
    assert report.ok, report.text()
    names = {(r.layer, r.quantity) for r in report.rows}
    assert {(3, "probabilities"), (3, "preactivations"), (2, "activations"), (1, "weights"), (1, "biases")} <= names
    assert {(0, "x")} <= names


def test_a_wrong_derivative_is_found_and_located(monkeypatch):
    right = equations.ACTIVATIONS["tanh"]
    wrong = right._replace(derivative=lambda a: right.derivative(a) * 1.001)
    monkeypatch.setitem(equations.ACTIVATIONS, "tanh", wrong)
    net = Network.create([6, 8, 5, 3], activation="tanh", seed=0)
    report = check_gradients(net, np.ones((2, 6)), [0, 1])
    assert not report.ok
    bad = {(r.layer, r.quantity) for r in report.rows if r.verdict == "wrong"}
    assert (2, "preactivations") in bad
    assert (3, "weights") not in bad
    assert (2, "activations") not in bad
    assert "wrong" in report.text()


def test_a_kink_is_called_a_kink():
    net = Network([np.array([[1.0]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], "relu")
    report = check_gradients(net, [[1e-6]], [0])
    assert report.ok, report.text()
    assert any(r.verdict == "kink" for r in report.rows)


def test_judging():
    assert judge(1.0, Difference(1.0 + 5e-8, False), 1.0)[1] == "good"
    assert judge(1.0, Difference(1.0 + 5e-5, False), 1.0)[1] == "usual"
    assert judge(1.0, Difference(1.01, False), 1.0)[1] == "wrong"
    assert judge(1.0, Difference(1.01, True), 1.0)[1] == "kink"
    assert judge(0.0, Difference(0.0, False), 0.0)[1] == "good"


def test_bad_input():
    net = Network.create([2, 2])
    with pytest.raises(InputError, match="no examples"):
        check_gradients(net, np.empty((0, 2)), [])
    with pytest.raises(InputError, match="labels"):
        check_gradients(net, [[0.0, 0.0]], [2])
