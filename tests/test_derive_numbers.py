"""Derivations in numbers: each value against NumPy's, and the same from top to bottom."""

import dataclasses

import numpy as np
import pytest
from derivation_list import DERIVATIONS

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
