"""Derivations in numbers: each value against NumPy's, and the same from top to bottom."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from derivation_list import DERIVATIONS

import chainrule
from chainrule.derive import derive
from chainrule.derive.numbers import values, with_numbers
from chainrule.derive.syntax import Negative
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
