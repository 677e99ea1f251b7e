"""Every gradient of the chain against central differences in float64, located and judged.

Each checked number z (a probability, a unit, a weight) is moved while everything before it is held fixed, and the move
is followed to the loss; see `chainrule.network.differences`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_integer, check_labels, check_positive
from chainrule.errors import InputError
from chainrule.network.differences import (
    STEP,
    VERDICTS,
    VISIBLE,
    ChainDifferences,
    Difference,
    Verdict,
    central_difference,
    judge,
    judge_each,
    worst,
)
from chainrule.network.network import Backward, Forward, Network

__all__ = [
    "Difference", "GradientReport", "GradientRow", "Verdict", "central_difference", "check_gradients", "judge",
]  # fmt: skip

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
# Of places in an array, as flat indices: the loss's differences, the floors to judge by, and what kinks can do.
Differences = Callable[[Places], tuple[Array, Array, Array]]
BLOCK = 1 << 22  # how many numbers are moved together at most


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
        wrong, unseen = (sum(row.verdict == v for row in self.rows) for v in ("wrong", "underflow"))
        total = sum(row.checked for row in self.rows)
        if wrong:
            lines.append(f"{wrong} of {len(self.rows)} arrays wrong")
        else:
            agree = f"{len(self.rows) - unseen} of {len(self.rows)}" if unseen else f"all {len(self.rows)}"
            lines.append(f"{agree} arrays agree with central differences ({total} coordinates)")
        if unseen:
            lines.append(f"{unseen} with numbers out of float64's range: there is nothing to compare these with")
        return "\n".join(lines)


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
    step : h, how far a pre-activation or logit is moved at a link; a probability by this share of itself
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
    with np.errstate(all="ignore"):  # what leaves the range of float64 is reported as such
        forward = net.forward(x)
        n = len(forward.logits)
        if n == 0:
            raise InputError("x: got no examples, expected at least one")
        label = check_labels(labels, n, net.widths[-1])
        backward = net.backward(forward, label)
        arrays = list(_arrays(net, forward, backward, label, step))
    random = np.random.default_rng(seed)
    rows = []
    for layer, quantity, gradient, differences in arrays:
        flat = np.abs(gradient).ravel()
        some = random.choice(flat.size, size=min(coordinates, flat.size), replace=False)
        places = np.union1d(flat.argmax(), some)
        at_once = max(1, BLOCK // (n * max(net.widths)))
        found = [differences(block) for block in np.split(places, range(at_once, len(places), at_once))]
        rows.append(_row(layer, quantity, gradient, places, *map(np.concatenate, zip(*found, strict=True))))
    return GradientReport(rows)


def _row(
    layer: int, quantity: str, gradient: Array, places: Any, found: Array, floors: Array, kinks: Any
) -> GradientRow:
    values = gradient.ravel()[places]
    errors, ranks = judge_each(values, found, floors, kinks)
    at = worst(errors, ranks)
    index = tuple(int(i) for i in np.unravel_index(places[at], gradient.shape))
    return GradientRow(
        layer, quantity, len(places), index, float(values[at]), float(found[at]), float(errors[at]),
        int(np.sum(ranks == VERDICTS.index("kink"))), VERDICTS[ranks[at]],
    )  # fmt: skip


def _arrays(
    net: Network, forward: Forward, backward: Backward, label: Any, step: float
) -> Iterator[tuple[int, str, Array, Differences]]:
    """(layer, name, gradient, the differences at places in it), from the loss backwards."""
    n = len(label)
    chain = ChainDifferences(net, forward.preactivations, label, step)

    def probabilities(places: Places) -> tuple[Array, Array, Array]:
        rows, classes = np.unravel_index(places, forward.probabilities.shape)
        p = np.where(classes == label[rows], forward.probabilities[rows, classes], 1.0)
        with np.errstate(all="ignore"):  # a step is a share of p: it may be small, and the logarithm ends at 0
            found = central_difference(lambda move: -np.log(p + move), step * p) / n
            floors = VISIBLE * np.abs(np.log(p)) * STEP / (step * p) / n
        other = classes != label[rows]
        return np.where(other, 0.0, found), np.where(other, 0.0, floors), np.zeros(len(places))

    yield net.depth, "probabilities", backward.grad_probabilities, probabilities
    grad_weights, grad_biases = backward.grad_weights, backward.grad_biases
    for k in range(net.depth, 0, -1):
        for layer, quantity, gradient in (
            (k, "preactivations", backward.grad_preactivations[k - 1]),
            (k, "weights", grad_weights[k - 1]),
            (k, "biases", grad_biases[k - 1]),
            (k - 1, "activations" if k > 1 else "x", backward.grad_activations[k - 1]),
        ):

            def moved(places: Places, k: int = k, name: str = quantity) -> tuple[Array, Array, Array]:
                return chain.along(k, _moves(name, places, forward.activations[k - 1], net.weights[k - 1]))

            yield layer, quantity, gradient, moved


def _moves(quantity: str, places: Places, h: Array, weights: Array) -> Array:
    """For each place, what a_k does when the number there is moved by 1: (places, N, units)."""
    moves, each = np.zeros((len(places), len(h), len(weights))), np.arange(len(places))
    if quantity == "preactivations":
        moves[each, *np.unravel_index(places, (len(h), len(weights)))] = 1.0
    elif quantity == "weights":
        unit, source = np.unravel_index(places, weights.shape)
        moves[each, :, unit] = h.T[source]
    elif quantity == "biases":
        moves[each, :, places] = 1.0
    else:
        example, source = np.unravel_index(places, h.shape)
        moves[each, example] = weights.T[source]
    return moves
