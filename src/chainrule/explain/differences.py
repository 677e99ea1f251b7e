"""Central differences in float64 for the factors of a chain, and their verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.explain.model import Verdict
from chainrule.gradcheck import GOOD, USUAL, Difference, central_difference
from chainrule.network import Network

__all__ = ["KINKED", "STEP", "factor_difference", "judge", "loss_difference", "slope_differences"]

Array = npt.NDArray[np.float64]
STEP = 1e-3
KINK = 1e-8  # a pre-activation this close to 0 stands at the kink
KINKED = ("relu", "leaky_relu")  # the activations with a kink at 0
# A difference of numbers of size s, each right to its last bit, is off by about s · 2⁻⁵² / STEP. An error is judged
# relative to no less than this share of s, by which that much counts as good.
VISIBLE = 1e-5
TINY = 1e-298  # numbers not far above the smallest of float64 lose digits: nothing is judged relative to less


def judge(value: float, difference: Difference, floor: float) -> tuple[float, Verdict]:
    """Relative error and verdict: ≤ 1e-7 good, a kink where one lies within the steps, ≤ 1e-4 usual, else wrong.

    The error is relative to the larger of the two numbers, or to `floor` where both are smaller. What is not finite
    has left the range of float64 and is compared with nothing.

    Examples
    --------
    >>> judge(1.0, Difference(1.0, False), 0.0)
    (0.0, 'good')
    """
    if not (math.isfinite(value) and math.isfinite(difference.value)):
        return math.nan, "underflow"
    error = abs(value - difference.value) / max(abs(value), abs(difference.value), floor, TINY)
    if error <= GOOD:
        return error, "good"
    if difference.kink:
        return error, "kink"
    return error, "usual" if error <= USUAL else "wrong"


def factor_difference(
    value: float, function: Callable[[float], float], step: float = STEP
) -> tuple[float, float, Verdict]:
    """Of a number as a function of a move: the difference, its relative error, and the verdict on `value`."""
    if not (math.isfinite(value) and step > 0):
        return math.nan, *judge(value, Difference(math.nan, False), 0.0)
    difference = central_difference(lambda move: (function(move), []), step)
    error, verdict = judge(value, difference, VISIBLE * abs(function(0.0)) * STEP / step)
    return difference.value, error, verdict


def slope_differences(a: Array, slopes: Array, activation: str) -> tuple[int, float, float, Verdict]:
    """Of g′ at every unit of a layer: the place of the worst, its difference, relative error and verdict."""
    g = equations.ACTIVATIONS[activation].function
    h = STEP * np.maximum(1.0, np.abs(a) / 100)  # the tails fall like exp(a) however far out they are
    if activation in KINKED:  # short enough to stay on the unit's own side of the kink
        h = np.where(np.abs(a) > KINK, np.minimum(h, np.abs(a) / 4), h)
    differences = (8 * (g(a + h) - g(a - h)) - (g(a + 2 * h) - g(a - 2 * h))) / (12 * h)
    kinks = np.abs(a) <= KINK if activation in KINKED else np.zeros(a.shape, dtype=bool)
    # gelu's 1 + erf(a/√2) is right to 2⁻⁵² of 1, not of itself
    size = np.maximum(np.abs(g(a)), np.abs(a)) if activation == "gelu" else np.abs(g(a))
    floor = np.maximum(VISIBLE * size * STEP / h, TINY)
    errors = np.abs(slopes - differences) / np.maximum(np.maximum(np.abs(slopes), np.abs(differences)), floor)
    kinked = kinks & (errors > GOOD)
    away = np.where(kinked, -1.0, errors)
    worst = int(away.argmax()) if away.max() > USUAL or not kinked.any() else int(np.where(kinked, errors, -1).argmax())
    difference = Difference(float(differences[worst]), bool(kinks[worst]))
    error, verdict = judge(float(slopes[worst]), difference, float(floor[worst]))
    return worst, difference.value, error, verdict


def loss_difference(
    net: Network, preactivations: list[Any], label: int, layer: int, direction: Array
) -> tuple[Difference, float]:
    """Of the loss, when a_layer moves along `direction`, all before it held fixed; and the floor to judge it by."""
    a0 = preactivations[layer - 1][0]
    g = equations.ACTIVATIONS[net.activation].function

    def losses(moves: Array) -> tuple[Array, list[Array]]:
        a, hidden = a0 + moves[:, None] * direction, []
        for k in range(layer, net.depth):
            hidden.append(a)
            a = equations.preactivation(g(a), net.weights[k], net.biases[k])
        return np.asarray(equations.loss_from_logits(a, np.full(len(moves), label))), hidden

    kinked, longest = net.activation in KINKED, max(float(np.abs(direction).max()), 1.0)
    # Shorter steps where a kink lies within these, or where the loss bends so much that the difference of second order
    # is 1e-4 off: that of fourth order is then 1e-8 off.
    for step in (STEP / longest, STEP / longest / 10, STEP / longest / 100):
        moves = [step, -step, 2 * step, -2 * step, 0.0]
        found, hidden = losses(np.array(moves))
        by_move = {m: (float(found[i]), [a[i] for a in hidden]) for i, m in enumerate(moves)}
        difference = central_difference(by_move.__getitem__, step)
        # the loss is right relative to itself where it is small; where it is large, the logits' own rounding is in it
        size = (1 + float(np.abs(preactivations[-1]).max())) * min(float(found[-1]), 1.0)
        floor = VISIBLE * size * STEP / step
        bent = abs(float(found[0] - found[1]) / (2 * step) - difference.value)
        if not (kinked and difference.kink) and bent <= 1e-4 * max(abs(difference.value), floor):
            break
    return Difference(difference.value, kinked and difference.kink), floor
