"""Every gradient of the chain against central differences in float64, located and judged.

Each checked number z (a probability, a unit, a weight) is moved by ±h while everything before it is held fixed,
and the rest of the network is computed again. The difference is of fourth order, so that its own error is below
the band that it judges by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.checks import check_integer, check_labels, check_positive
from chainrule.errors import InputError
from chainrule.network import Backward, Network

__all__ = [
    "Difference",
    "GradientReport",
    "GradientRow",
    "Verdict",
    "central_difference",
    "check_gradients",
    "judge",
]

Verdict = Literal["good", "usual", "kink", "wrong"]
Array = npt.NDArray[np.float64]
GOOD, USUAL = 1e-7, 1e-4


@dataclass(frozen=True)
class Difference:
    """A central difference, and whether a kink of the activation lies within its steps."""

    value: float
    kink: bool


@dataclass(frozen=True)
class GradientRow:
    """One array of the chain: its worst coordinate among those checked."""

    layer: int
    quantity: str
    checked: int
    worst: tuple[int, ...]
    gradient: float
    finite_difference: float
    relative_error: float
    kinks: int
    verdict: Verdict


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found, a row for each array of each layer, from the loss backwards."""

    rows: list[GradientRow]

    @property
    def ok(self) -> bool:
        """No gradient is wrong."""
        return all(row.verdict != "wrong" for row in self.rows)

    def text(self) -> str:
        """A table for the terminal."""
        head = f"{'layer':>5}  {'gradient w.r.t.':<16}{'checked':>8}{'kinks':>6}  {'worst at':<14}"
        lines = [head + f"{'backward':>14}{'difference':>14}{'rel. error':>12}  verdict"]
        for row in self.rows:
            place = ",".join(map(str, row.worst))
            lines.append(
                f"{row.layer:>5}  {row.quantity:<16}{row.checked:>8}{row.kinks:>6}  {place:<14}"
                f"{row.gradient:>14.6g}{row.finite_difference:>14.6g}{row.relative_error:>12.1e}  {row.verdict}"
            )
        wrong = [row for row in self.rows if row.verdict == "wrong"]
        total = sum(row.checked for row in self.rows)
        lines.append(
            f"{len(wrong)} of {len(self.rows)} arrays wrong"
            if wrong
            else f"all {len(self.rows)} arrays agree with central differences ({total} coordinates)"
        )
        return "\n".join(lines)


def judge(gradient: float, difference: Difference, scale: float) -> tuple[float, Verdict]:
    """Relative error and verdict: ≤ 1e-7 good, ≤ 1e-4 usual only at kinks and where numbers are tiny, else wrong.

    The error is relative to the larger of the two numbers, or to 1e-5 of `scale` (the largest gradient of its
    array) where both are smaller: a difference of losses cannot see less.

    Examples
    --------
    >>> judge(1.0, Difference(1.0, False), 1.0)
    (0.0, 'good')
    """
    floor = max(abs(gradient), abs(difference.value), 1e-5 * scale, 1e-9)
    error = abs(gradient - difference.value) / floor
    if error <= GOOD:
        return error, "good"
    if difference.kink:
        return error, "kink"
    return error, "usual" if error <= USUAL else "wrong"


def central_difference(loss: Callable[[float], tuple[float, list[Array]]], step: float) -> Difference:
    """(8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h, for a loss as a function of the move.

    `loss` also returns the hidden pre-activations; where one changes its sign between the moves, an activation
    with a kink at 0 has no derivative to compare with.

    Examples
    --------
    >>> round(central_difference(lambda move: ((2 + move) ** 3, []), 1e-3).value, 9)
    12.0

    Source: B. Fornberg, "Generation of Finite Difference Formulas", 1988.
    """
    (f1, a1), (b1, c1), (f2, a2), (b2, c2) = loss(step), loss(-step), loss(2 * step), loss(-2 * step)
    kink = any(
        bool(np.any((np.sign(p) != np.sign(q)) | (np.sign(r) != np.sign(s)) | (np.sign(r) != np.sign(p))))
        for p, q, r, s in zip(a1, c1, a2, c2, strict=True)
    )
    return Difference((8 * (f1 - b1) - (f2 - b2)) / (12 * step), kink)


def check_gradients(
    net: Network, x: Any, labels: Any, *, coordinates: int = 8, step: float = 1e-3, seed: int = 0
) -> GradientReport:
    """Hold every gradient of the chain against central differences, in float64.

    Parameters
    ----------
    net : a network of NumPy arrays; a float64 copy of it is checked
    x : array (N, D), with N >= 1
    labels : array (N,), int in [0, K)
    coordinates : how many coordinates of each array, always with the one of largest gradient
    step : h, relative to the size of the number that is moved (at least 1)
    seed : chooses the coordinates

    Returns
    -------
    GradientReport
        For each layer: ŷ (moved alone: it leaves the simplex), a_k, h_k, W_k, b_k.

    Raises
    ------
    InputError
        Bad input, as in `Network.forward` and `backward`; no examples.

    Examples
    --------
    >>> net = Network.create([4, 5, 3], activation="tanh", seed=0)
    >>> check_gradients(net, [[0.1, 0.2, 0.3, 0.4]], [2]).ok
    True

    Source: the lecture, sections 1 to 3; the bands are those of A. Karpathy, CS231n notes, "Gradient checks".
    """
    if not isinstance(net.weights[0], np.ndarray):
        raise InputError("net: got arrays of another library, expected a network of NumPy arrays")
    coordinates, step = check_integer("coordinates", coordinates), check_positive("step", step)
    net = net.astype("float64")
    forward = net.forward(x)
    n = len(forward.logits)
    if n == 0:
        raise InputError("x: got no examples, expected at least one")
    label = check_labels(labels, n, net.widths[-1])
    backward = net.backward(forward, label)
    checker = _Checker(net, [h.copy() for h in forward.activations], forward.probabilities.copy(), label)
    random = np.random.default_rng(seed)
    kinked = net.activation in ("relu", "leaky_relu")
    rows = []
    for layer, quantity, gradient, values, loss in checker.quantities(forward.preactivations, backward):
        flat = np.abs(gradient).ravel()
        some = random.choice(flat.size, size=min(coordinates, flat.size), replace=False)
        rows.append(_row(layer, quantity, gradient, values, loss, {int(flat.argmax()), *map(int, some)}, step, kinked))
    return GradientReport(rows)


def _row(
    layer: int,
    quantity: str,
    gradient: Array,
    values: Array,
    loss: Callable[[], tuple[float, list[Array]]],
    places: set[int],
    step: float,
    kinked: bool,
) -> GradientRow:
    scale = float(np.abs(gradient).max())
    judged = []
    for place in sorted(places):
        index = tuple(int(i) for i in np.unravel_index(place, gradient.shape))
        kept = float(values[index])
        # a probability may be smaller than any fixed step, and the logarithm ends at 0
        size = step * (kept if quantity == "probabilities" else max(1.0, abs(kept)))

        def moved(move: float, index: tuple[int, ...] = index, kept: float = kept) -> tuple[float, list[Array]]:
            values[index] = kept + move
            try:
                return loss()
            finally:
                values[index] = kept

        difference = central_difference(moved, size) if size > 0 else Difference(0.0, False)
        if not kinked:
            difference = Difference(difference.value, False)
        judged.append((judge(float(gradient[index]), difference, scale), index, difference))
    order = ("good", "kink", "usual", "wrong")
    (error, verdict), index, difference = max(judged, key=lambda item: (order.index(item[0][1]), item[0][0]))
    kinks = sum(item[0][1] == "kink" for item in judged)
    return GradientRow(
        layer, quantity, len(judged), index, float(gradient[index]), difference.value, error, kinks, verdict
    )


class _Checker:
    """The chain's arrays, and for each the loss as computed from it onwards."""

    def __init__(self, net: Network, activations: list[Array], probabilities: Array, labels: Any) -> None:
        self.net, self.activations, self.probabilities, self.labels = net, activations, probabilities, labels

    def quantities(self, preactivations: list[Array], backward: Backward) -> Any:
        """(layer, name, gradient, the array to move, the mean loss from it), from the loss backwards."""
        yield (
            self.net.depth,
            "probabilities",
            backward.grad_probabilities,
            self.probabilities,
            self._from_probabilities,
        )
        grad_weights, grad_biases = backward.grad_weights, backward.grad_biases
        for k in range(self.net.depth, 0, -1):
            a = preactivations[k - 1].copy()
            yield (
                k,
                "preactivations",
                backward.grad_preactivations[k - 1],
                a,
                lambda a=a, k=k: self._from(a, k),
            )
            for name, gradient, values in (
                ("weights", grad_weights[k - 1], self.net.weights[k - 1]),
                ("biases", grad_biases[k - 1], self.net.biases[k - 1]),
                ("activations" if k > 1 else "x", backward.grad_activations[k - 1], self.activations[k - 1]),
            ):
                layer = k if name in ("weights", "biases") else k - 1
                yield layer, name, gradient, values, lambda k=k: self._through(k)

    def _from_probabilities(self) -> tuple[float, list[Array]]:
        return float(np.mean(equations.cross_entropy(self.probabilities, self.labels))), []

    def _through(self, k: int) -> tuple[float, list[Array]]:
        h = self.activations[k - 1]
        return self._from(equations.preactivation(h, self.net.weights[k - 1], self.net.biases[k - 1]), k)

    def _from(self, a: Array, k: int) -> tuple[float, list[Array]]:
        g, hidden = equations.ACTIVATIONS[self.net.activation].function, []
        for j in range(k, self.net.depth):
            hidden.append(a.copy())
            a = equations.preactivation(g(a), self.net.weights[j], self.net.biases[j])
        return float(np.mean(equations.loss_from_logits(a, self.labels))), hidden
