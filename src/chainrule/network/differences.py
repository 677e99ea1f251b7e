"""Central differences in float64, and the verdicts that they give: for `check_gradients` and for `explain`.

A loss's own difference sees little: through four layers with weights of 1e-6 a gradient is so small that no step moves
the loss by its last bit, and with weights of 1e6 no step is short enough. So a move is followed link by link: through
each layer it is what that layer makes of it, and through each g and the loss it is taken by a difference of that link
alone, with a step that suits that link. Nothing of the backward pass is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.activations import ACTIVATIONS, Activation
from chainrule.network.network import Network

__all__ = [
    "STEP", "VERDICTS", "VISIBLE", "ChainDifferences", "Difference", "Verdict", "central_difference",
    "factor_difference", "judge", "judge_each", "slope_differences", "worst",
]  # fmt: skip

Array = npt.NDArray[np.float64]
Verdict = Literal["good", "kink", "usual", "underflow", "wrong"]
VERDICTS: tuple[Verdict, ...] = ("good", "kink", "usual", "underflow", "wrong")  # from the least to the most telling
GOOD, USUAL = 1e-7, 1e-4
STEP = 1e-3
# A difference of numbers of size s, each right to its last bit, is off by about s · 2⁻⁵² / STEP. An error is judged
# relative to no less than this share of s, by which that much counts as good.
VISIBLE = 1e-5
TINY = 1e-298  # the same for what float64 loses below 2e-308, and a library may make 0


@dataclass(frozen=True)
class Difference:
    """A central difference, and whether a kink of the activation lies within its steps."""

    value: float
    kink: bool


def judge(value: float, difference: Difference, floor: float) -> tuple[float, Verdict]:
    """Relative error and verdict: ≤ 1e-7 good, a kink where one lies within the steps, ≤ 1e-4 usual, else wrong.

    The error is relative to the larger of the two numbers, or to `floor` where both are smaller. A difference that is
    not finite has left the range of float64: there is nothing to compare with, which is called underflow.

    Examples
    --------
    >>> judge(1.0, Difference(1.0, False), 0.0)
    (0.0, 'good')
    """
    kink = math.inf if difference.kink else 0.0
    errors, ranks = judge_each(np.array([value]), np.array([difference.value]), floor, kink)
    return float(errors[0]), VERDICTS[ranks[0]]


def judge_each(values: Array, differences: Array, floors: Any, kinks: Any) -> tuple[Array, npt.NDArray[np.intp]]:
    """Relative errors, and verdicts as places in `VERDICTS`; `kinks`: how far off a kink can make each difference."""
    with np.errstate(all="ignore"):
        off = np.abs(values - differences)
        size = np.maximum(np.maximum(np.abs(values), np.abs(differences)), np.maximum(floors, TINY))
        errors = np.where(np.isfinite(values) & np.isfinite(differences), off / size, math.nan)
        tests: dict[Verdict, Any] = {
            "underflow": ~np.isfinite(differences),
            "good": errors <= GOOD,
            "kink": (kinks > 0) & (off <= kinks + USUAL * size),
            "usual": errors <= USUAL,
        }
    ranks = np.select(list(tests.values()), [VERDICTS.index(v) for v in tests], VERDICTS.index("wrong"))
    return errors, ranks


def worst(errors: Array, ranks: npt.NDArray[np.intp]) -> int:
    """The place of the worst of what `judge_each` gave."""
    return int(np.lexsort((np.nan_to_num(errors), ranks))[-1])


def central_difference(function: Callable[[Any], Any], step: Any) -> Any:
    """(8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h, for f of a move or of an array of moves.

    Examples
    --------
    >>> round(central_difference(lambda move: (2 + move) ** 3, 1e-3), 9)
    12.0

    Source: B. Fornberg, "Generation of Finite Difference Formulas", 1988.
    """
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def factor_difference(
    value: float, function: Callable[[float], float], step: float = STEP
) -> tuple[float, float, Verdict]:
    """Of a number as a function of a move: the difference, its relative error, and the verdict on `value`."""
    if not (math.isfinite(value) and step > 0):
        return math.nan, *judge(value, Difference(math.nan, False), 0.0)
    difference = float(central_difference(function, step))
    return difference, *judge(value, Difference(difference, False), VISIBLE * abs(function(0.0)) * STEP / step)


def slope_differences(a: Array, activation: str, step: float = STEP) -> tuple[Array, Array, Array]:
    """Of g′ at each pre-activation: the difference, the floor to judge by, and how far off a kink there can make it."""
    row = ACTIVATIONS[activation]
    g = _beside_its_limit(a, row)
    size = np.abs(a)
    # Straight parts take a long step, which stays on a's own side of a kink. Tails fall like exp(−|a|), however far
    # out; that of gelu faster, like exp(−a²/2), until it is straight.
    straight = size > max(row.straight, TINY)
    h = np.where(straight, size / 16, step * np.maximum(1.0, size / 100))
    here = g(np.zeros_like(a))
    jump = np.abs(g(h) + g(-h) - 2 * here) / (2 * h)
    kinks = np.where(straight | (row.kink is None), 0.0, jump)
    return central_difference(g, h), VISIBLE * np.abs(here) * (STEP / h) + TINY, kinks


def _beside_its_limit(a: Array, row: Activation) -> Callable[[Array], Array]:
    """A move ↦ g(a + move), less its limit where g is all but there, so that what is left keeps its digits."""
    g, tail = row.function, row.tail
    if tail is None:
        return lambda move: np.asarray(g(a + move))
    side, out = np.where(a > 0, 1.0, -1.0), np.abs(a) > 2
    return lambda move: np.where(out, tail(a + move, side), g(a + move))


class ChainDifferences:
    """The links from pre-activations to the loss, and the differences of that loss along moves of any layer.

    The loss is the mean over examples; everything before the layer that moves is held fixed.
    """

    def __init__(self, net: Network, preactivations: list[Array], labels: Any, step: float = STEP) -> None:
        self._weights, self._step = net.weights, step
        self._at_label = equations.one_hot(np.asarray(labels), preactivations[-1]) > 0
        with np.errstate(all="ignore"):
            self.slopes = [slope_differences(a, net.activation, step) for a in preactivations[:-1]]
            self._others = np.where(self._at_label, 0.0, equations.softmax(preactivations[-1]))

    def along(self, layer: int, moves: Array) -> tuple[Array, Array, Array]:
        """Of the loss when a_layer moves along `moves`, (..., N, U): the differences, floors, and kinks, each (...).

        Floors are what `VISIBLE` makes of the sizes that are summed, as errors that know nothing of each other; kinks
        are how far off those on the way can make the difference.
        """
        with np.errstate(all="ignore"):
            moved, floor, jump = moves, np.zeros_like(moves), np.zeros_like(moves)
            lost = np.abs(moved).sum(axis=(-2, -1))
            for (slope, unsure, kink), weights in zip(self.slopes[layer - 1 :], self._weights[layer:], strict=True):
                jump = (np.abs(slope) + kink) * jump + kink * np.abs(moved)
                jump = jump @ np.abs(weights).T if jump.any() else np.zeros((*moved.shape[:-1], len(weights)))
                floor, moved = np.hypot(slope * floor, unsure * moved), slope * moved
                floor = _spread(weights, np.hypot(floor, VISIBLE * moved)) + TINY
                moved = equations.preactivation(moved, weights, 0.0)  # in a move the bias takes no part
                lost += np.abs(moved).sum(axis=(-2, -1))
            rates, unsure = self._loss(moved, floor)
            jumps = np.sum(self._others * (jump + self._own(jump)), axis=(-2, -1))
            n = moves.shape[-2]
            floors = np.sqrt(np.sum(np.square(unsure), axis=-1)) + TINY * lost
            return rates.sum(axis=-1) / n, floors / n, jumps / n

    def _own(self, logits: Array) -> Array:
        """What stands at the label of each example, (..., N, 1)."""
        return np.asarray(np.where(self._at_label, logits, 0.0).sum(axis=-1, keepdims=True))

    def _loss(self, moved: Array, floor: Array) -> tuple[Array, Array]:
        """Of each example's loss along a move of the logits: the difference, and its floor.

        𝓛(a + move) − 𝓛(a) = log(1 + Σ_{j≠ℓ} ŷ_j (exp(move_j − move_ℓ) − 1)), which keeps its digits however small.
        """
        own = self._own(moved)
        apart = moved - own
        unsure = np.hypot(np.hypot(floor, self._own(floor)), VISIBLE * np.maximum(np.abs(moved), np.abs(own)))
        step = self._step / np.maximum(np.abs(apart).max(axis=-1), 1e-300)
        rates = central_difference(
            lambda h: np.log1p(np.sum(self._others * np.expm1(h[..., None] * apart), axis=-1)), step
        )
        return rates, np.sqrt(np.sum(np.square(self._others * unsure), axis=-1))


def _spread(weights: Array, floor: Array) -> Array:
    """√(Σ_j (W_ij floor_j)²) for each unit i, without squaring what is far from 1."""
    units, wide = floor.max(axis=-1, keepdims=True), np.abs(weights).max()
    units, wide = np.where(units > 0, units, 1.0), wide if wide > 0 else 1.0
    return np.asarray(wide * units * np.sqrt(np.square(floor / units) @ np.square(weights / wide).T))
