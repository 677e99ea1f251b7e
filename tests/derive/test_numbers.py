"""Derivations in numbers: each value against NumPy's, and the same from top to bottom."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from derivation_list import DERIVATIONS

import chainrule
from chainrule import equations
from chainrule.derive import derive
from chainrule.derive.checking.values import context, value_at
from chainrule.derive.lecture import read_expression
from chainrule.derive.numbers import values, with_numbers
from chainrule.derive.setting import Defined, Free
from chainrule.derive.syntax import Call, Negative, Node
from chainrule.errors import InputError


def flat(value):
    return [entry for part in value for entry in flat(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize(("logits", "label"), [(None, None), ([2.0, 1.0, 0.1], 3), ([-1, 2], 1), ([30, -3, 0, 5.5], 4)])
def test_the_output_layer_in_numbers(logits, label):
    a = np.array(logits or [2.0, 1.0, 0.1], dtype=np.longdouble)
    e = np.eye(len(a))[(label or 1) - 1]
    y = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
    loss = -(np.log(y) @ e)
    for value in values(derive("loss"), logits=logits, label=label):
        assert value == pytest.approx(float(loss), rel=1e-14)
    for value in values(derive("gradient_wrt_logits"), logits=logits, label=label):
        assert value == pytest.approx((y - e).astype(float).tolist(), rel=1e-14, abs=1e-18)


@pytest.mark.parametrize("name", DERIVATIONS)
def test_a_chain_has_the_same_value_from_top_to_bottom(name):
    derivation = with_numbers(derive(name))
    first = None
    for line, value in zip(derivation.lines, values(derive(name)), strict=True):
        if line.left is not None:
            first = flat(value), line.value
        assert flat(value) == pytest.approx(first[0], rel=1e-15)
        assert line.value == first[1]
    assert derivation.intro.startswith(f"{derive(name).intro} In numbers: ")


def test_a_line_that_is_wrong_has_another_value():
    right = derive("loss")
    wrong = dataclasses.replace(right.lines[2], right=Negative(right.lines[2].right))
    broken = dataclasses.replace(right, lines=(*right.lines[:2], wrong, *right.lines[3:]))
    with pytest.raises(InputError, match=r"line 3: is −0\.4170, and what it should equal 0\.4170"):
        with_numbers(broken)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"logits": [1.0]}, "logits: got 1 of them, expected 2 to 10 numbers from −40 to 40"),
        ({"logits": range(11)}, "logits: got 11 of them"),
        ({"logits": [1.0, float("nan")]}, "logits: got nan"),
        ({"logits": [1.0, 41]}, "logits: got 41.0"),
        ({"logits": [1.0, "x"]}, "logits: got"),
        ({"logits": 3}, "logits: got 3"),
        ({"label": 0}, "label: got 0, expected an integer from 1 to 3"),
        ({"label": 4}, "label: got 4"),
        ({"label": 1.5}, "label: got 1.5"),
        ({"label": True}, "label: got True"),
    ],
)
def test_a_point_that_cannot_be(point, message):
    with pytest.raises(InputError, match=message):
        with_numbers(derive("loss"), **point)


def test_values_as_they_are_written():
    shown = with_numbers(derive("gradient_wrt_logits"), logits=[30, 0, -1.5], label=1)
    assert shown.lines[-1].value == "[−1.145 · 10⁻¹³, 9.358 · 10⁻¹⁴, 2.088 · 10⁻¹⁴]"  # e⁻³⁰ + e⁻³¹·⁵, and each of them
    assert "a_L = [30, 0, −1.5], ℓ = 1." in shown.intro.replace("\N{NO-BREAK SPACE}", " ")
    assert "for each of i = 1, 2, 3." in shown.intro


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("label_smoothing", {"label_smoothing": 0.1}),
        ("temperature", {"temperature": 2.0}),
        ("z_loss", {"z_loss": 0.1}),
        ("target_probabilities", {}),
    ],
)
def test_the_variants_in_numbers_are_what_the_kernel_computes(name, options):
    logits, labels = np.array([[2.0, 1.0, 0.1]]), np.array([0])
    if name == "target_probabilities":
        labels = np.array([[0.8, 0.1, 0.1]])
    expected = chainrule.softmax_cross_entropy(logits, labels, **options).grad_logits[0]
    assert values(derive(name))[-1] == pytest.approx(expected.tolist(), rel=1e-13)


def test_a_wide_network_in_numbers():
    """The point is read from the introduction, as a reader would, and the gradient computed by NumPy."""
    derivation = with_numbers(derive("one_weight_wide"))
    point = derivation.intro.replace("\N{NO-BREAK SPACE}", " ").replace("−", "-")
    found = {name: np.array(json.loads(text)) for name, text in re.findall(r"(\w+) = (\[[-\d., \[\]]*\])", point)}
    label = int(re.search(r"ℓ = (\d)", point)[1])
    x, w1, w2, w3 = found["x"], found["W_1"], found["W_2"], found["W_3"]
    h1 = np.tanh(w1 @ x + found["b_1"])
    h2 = np.tanh(w2 @ h1 + found["b_2"])
    a3 = w3 @ h2 + found["b_3"]
    grad = np.exp(a3) / np.exp(a3).sum() - np.eye(len(a3))[label - 1]
    grad = (w2.T @ ((w3.T @ grad) * (1 - h2**2))) * (1 - h1**2)
    for value in values(derive("one_weight_wide")):
        assert np.array(value) == pytest.approx(np.outer(grad, x), rel=1e-13)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("tanh", 1 - math.tanh(0.5) ** 2), ("relu", 1.0), ("leaky_relu", 1.0), ("identity", 1.0),
     ("logistic", math.exp(-0.5) / (1 + math.exp(-0.5)) ** 2), ("softplus", 1 / (1 + math.exp(-0.5)))],
)  # fmt: skip
def test_slopes_in_numbers(name, slope):
    assert values(derive(f"derivative_of_{name}"))[-1] == pytest.approx(slope, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "point", "message"),
    [
        ("one_weight", {"logits": [1, 2]}, "logits: got some, but one_weight has no logits a_L"),
        ("softmax_jacobian", {"label": 2}, "label: got one, but softmax_jacobian has no label ℓ"),
    ],
)
def test_a_point_that_is_not_there(name, point, message):
    with pytest.raises(InputError, match=message):
        with_numbers(derive(name), **point)


# --- Against Network.backward, in float64 ---

FUNCTIONS = {name: {"logistic": "σ"}.get(name, name) for name in equations.ACTIVATIONS}


def network(widths, activation):
    """A random network and its backward pass for one example, with the label."""
    net = chainrule.Network.create(widths, activation=activation, seed=35, dtype="float64")
    random = np.random.default_rng(4)
    net = chainrule.Network(net.weights, [random.normal(size=b.shape) for b in net.biases], activation)
    forward = net.forward(random.normal(size=(1, widths[0])))
    return net, forward, net.backward(forward, [1])


def with_function(node, name):
    """An expression with a function for g."""
    if isinstance(node, tuple):
        return tuple(with_function(part, name) for part in node)
    if not isinstance(node, Node):
        return node
    parts = {one.name: with_function(getattr(node, one.name), name) for one in dataclasses.fields(node)}
    if isinstance(node, Call) and node.function.rstrip("'") == "g":
        parts["function"] = name + node.function[1:]
    return type(node)(**parts)


def rows(array):
    """Exact rows of numbers: a vector is a column."""
    return [[context().mpf(float(entry)) for entry in row] for row in np.atleast_2d(array.T).T]


def last_value(name, setting, function, point, classes, **at):
    defined = {
        s: dataclasses.replace(entry, expression=with_function(entry.expression, function))
        for s, entry in setting.defined.items()
    }
    setting = dataclasses.replace(setting, defined=defined)
    right = with_function(derive(name).lines[-1].right, function)
    return np.array(value_at(right, setting, classes, point, {"ℓ": 2, **at}), dtype=float)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
def test_the_last_lines_are_what_the_network_computes(activation, k):
    """Layer k of a network of three layers; for k = 1 the loss goes on from a_{k+1} through the last layer."""
    net, forward, backward = network([4, 3, 5, 6], activation)
    loss = r"-\log \text{softmax}(\mathbf{a}_{k+1})_\ell"
    if k == 1:
        loss = r"-\log \text{softmax}(\mathbf{W}_L g(\mathbf{a}_{k+1}) + \mathbf{b}_L)_\ell"
    widths = net.widths
    given = derive("gradient_wrt_hidden").setting
    above = widths[k + 1]
    free = {**given.free, "W_{k+1}": Free((above, "U")), "b_{k+1}": Free((above,))}
    setting = dataclasses.replace(
        given,
        free=free | {"W_L": Free(("K", above)), "b_L": Free(("K",))},
        defined={
            **given.defined,
            "a_{k+1}": dataclasses.replace(given.defined["a_{k+1}"], axes=(above,)),
            "𝓛": Defined(read_expression(loss)),
        },
        lengths={"D": widths[k - 1], "U": widths[k]},
    )
    point = {
        "h_{k−1}": rows(forward.activations[k - 1][0]),
        "W_k": rows(net.weights[k - 1]), "b_k": rows(net.biases[k - 1]),
        "W_{k+1}": rows(net.weights[k]), "b_{k+1}": rows(net.biases[k]),
        "W_L": rows(net.weights[-1]), "b_L": rows(net.biases[-1]),
    }  # fmt: skip
    for name, expected in {
        "gradient_wrt_hidden": backward.grad_activations[k][0],
        "gradient_wrt_preactivations": backward.grad_preactivations[k - 1][0],
        "gradient_wrt_weights": backward.grad_weights[k - 1],
        "gradient_wrt_biases": backward.grad_biases[k - 1],
    }.items():
        assert np.abs(expected).max() > 1e-4
        found = last_value(name, setting, FUNCTIONS[activation], point, widths[-1])
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-11, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_the_group_of_factors_repeated_is_the_networks_gradient(depth):
    """The derivation's step down, used for each hidden layer from the output layer's gradient on."""
    net, forward, backward = network([1] * depth + [3], "tanh")
    assert [line.rule for line in derive("one_weight_any_depth").lines][:2] == [
        "chain rule",
        "derivative of the activation",
    ]
    group = derive("one_weight_any_depth").lines[1].right.factors[1]
    setting = derive("one_weight_any_depth").setting
    setting = dataclasses.replace(
        setting,
        defined={**setting.defined, "h_k": Defined(with_function(setting.defined["h_k"].expression, "tanh"))},
    )
    product = (net.weights[-1].T @ backward.grad_preactivations[-1][0])[0]
    product *= 1 - forward.activations[-1][0, 0] ** 2  # of the output layer, which has several units
    for k in range(depth - 2, 0, -1):
        point = {
            "h_{k−1}": context().mpf(float(forward.activations[k - 1][0, 0])),
            "W_k": rows(net.weights[k - 1]),
            "b_k": context().mpf(float(net.biases[k - 1][0])),
            "W_{k+1}": rows(net.weights[k]),
        }
        product *= float(value_at(with_function(group, "tanh"), setting, 2, point, {}))
    assert abs(product) > 1e-6
    assert product * forward.activations[0][0, 0] == pytest.approx(backward.grad_weights[0][0, 0], rel=1e-12)


@pytest.mark.parametrize("activation", equations.ACTIVATIONS)
@pytest.mark.parametrize(("name", "widths"), [("one_weight", [1, 1, 1, 4]), ("one_weight_wide", [2, 2, 3, 4])])
def test_one_weight_is_what_the_network_computes(name, widths, activation):
    net, forward, backward = network(widths, activation)
    assert np.abs(backward.grad_weights[0]).max() > 1e-6
    x = rows(forward.activations[0][0])
    point = {f"W_{k}": rows(w) for k, w in enumerate(net.weights, start=1)}
    point |= {f"b_{k}": rows(b) for k, b in enumerate(net.biases, start=1)} | {"x": x}
    if name == "one_weight":
        point |= {symbol: point[symbol][0][0] for symbol in ("x", "b_1", "b_2")}
    setting, function = derive(name).setting, FUNCTIONS[activation]
    for (i, j), expected in np.ndenumerate(backward.grad_weights[0]):
        found = last_value(name, setting, function, point, widths[-1], i=i + 1, j=j + 1)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15)
