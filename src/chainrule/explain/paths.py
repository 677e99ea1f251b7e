"""The strongest paths from a weight to the loss, found without walking all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.explain.records import PathToLoss

__all__ = ["MOST", "Paths", "rounding", "strongest_paths"]

Array = npt.NDArray[np.float64]
MOST = 5  # paths that are told
CHUNK = 2**20  # numbers looked at together


class Paths(NamedTuple):
    """How many paths there are, the strongest, their share of the sum, and of the sum of sizes."""

    n_paths: int
    strongest: list[PathToLoss]
    share: float
    share_of_sizes: float


def strongest_paths(
    weights: Sequence[Array],
    derivatives: Sequence[Array],
    logit_grad: Array,
    layer: int,
    unit: int,
    input_value: float,
    *,
    scale: float = 1.0,
    count: int = MOST,
) -> Paths:
    """The `count` paths of largest |product| from a weight of `layer` into `unit` (from 0) to the loss.

    All paths through a unit go on alike, so that the best `count` of all are among the best `count` to each unit of
    each layer: W_1 … W_L are walked once, a layer at a time.

    Parameters
    ----------
    weights : W_1 … W_L, each (U, D)
    derivatives : g′(a_1) … g′(a_{L−1}), each (U,)
    logit_grad : ∇_{a_L} 𝓛, (K,)
    input_value : what the path begins with: the weight's input, or 1 for a unit
    scale : what every path is multiplied by at its end: the 1/N of a mean

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> found = strongest_paths([2 * one, 3 * one], [np.array([0.5])], np.array([0.25]), 1, 0, 4.0)
    >>> found.strongest[0].product, found.strongest[0].factors
    (1.5, [0.25, 3.0, 0.5, 4.0])

    Source: the lecture, "The chain, for one weight".
    """
    depth = len(weights)
    best = np.zeros((len(weights[layer - 1]), 1))
    best[unit] = input_value
    total = sizes = best[:, 0]  # of all paths so far to each unit: their sum, and the sum of their sizes
    sizes = np.abs(sizes)
    behind: list[Any] = []  # for each layer walked: which unit and which of its best, (width, count) each
    n_paths = math.prod(len(w) for w in weights[layer:])
    for k in range(layer, depth):
        w, slope = weights[k], derivatives[k - 1]
        total, sizes = w @ (total * slope), np.abs(w) @ np.abs(sizes * slope)
        reached = np.flatnonzero((best != 0).any(axis=1) & (slope != 0))
        if reached.size == 0:
            return Paths(n_paths, [], 0.0, 0.0)
        best, units, places = _step(w[:, reached], (best * slope[:, None])[reached], count)
        behind.append((reached[units], places))
    ends = best * logit_grad[:, None] * scale
    order = np.argsort(-np.abs(ends), axis=None, kind="stable")[:count]
    sum_, size = float(total @ logit_grad) * scale, float(sizes @ np.abs(logit_grad)) * abs(scale)
    found = []
    for flat in order:
        at, place = (int(i) for i in np.unravel_index(flat, ends.shape))
        product = float(ends[at, place])
        if product == 0:
            continue
        walk = [at]
        for units, places in reversed(behind):
            walk.insert(0, int(units[walk[0], place]))
            place = int(places[walk[1], place])
        numbers = _factors(weights, derivatives, logit_grad, layer, walk, input_value, scale)
        found.append(PathToLoss([u + 1 for u in walk], product, product / sum_ if sum_ else 0.0, numbers))
    together = sum(path.product for path in found)
    share_of_sizes = sum(abs(path.product) for path in found) / size if size else 0.0
    return Paths(n_paths, found, together / sum_ if sum_ else 0.0, share_of_sizes)


def rounding(weights: Sequence[Array], derivatives: Sequence[Array], gradients: Sequence[Array]) -> list[Array]:
    """What rounding may have left in each ∂𝓛/∂a_1 … ∂𝓛/∂a_L, for any order of summation: a size for every unit.

    A gradient that is no larger is 0 or nothing but rounding: the paths through its unit, where any is open, cancel.
    The sum of the sizes of all paths would not do as a measure: with every layer it outgrows even a gradient in which
    nothing cancels. Hence layer by layer: each sum rounds by its terms' sizes; from the layer above, the errors of
    gradients that are right add up as squares do, and those of gradients that are rounding may all be alike.

    Parameters
    ----------
    weights : W_1 … W_L, each (U, D)
    derivatives : g′(a_1) … g′(a_{L−1}), each (U,)
    gradients : ∂𝓛/∂a_1 … ∂𝓛/∂a_L, each (U,)

    Examples
    --------
    >>> weights, slope = [np.ones((1, 1)), np.ones((2, 1))], [np.ones(1)]
    >>> left = rounding(weights, slope, [np.array([1e-20]), np.array([0.3, -0.3])])
    >>> bool(1e-20 < left[0][0] < 1e-14)
    True
    """
    eps = float(np.finfo(np.float64).eps)
    found = [8 * eps * np.abs(gradients[-1])]
    for w, slope, above in zip(reversed(weights[1:]), reversed(derivatives), reversed(gradients[1:]), strict=True):
        size, left = np.abs(w), found[0]
        nothing = np.abs(above) <= left
        sums = (len(w) + 8) * eps * np.abs(above)
        alike, apart = (
            size.T @ (np.where(nothing, left, 0.0) + sums),
            (size * size).T @ np.where(nothing, 0.0, left) ** 2,
        )
        found.insert(0, np.abs(slope) * (alike + np.sqrt(apart)))
    return found


def _step(w: Array, best: Array, count: int) -> tuple[Array, Any, Any]:
    """To each unit above: the best `count` products, and which unit below and which of its best each came by."""
    width, kept = best.shape
    keep = min(count, width * kept)
    products = np.empty((len(w), keep))
    chosen = np.empty((len(w), keep), dtype=np.int64)
    rows = max(1, CHUNK // (width * kept))
    for begin in range(0, len(w), rows):
        steps = (w[begin : begin + rows, :, None] * best[None]).reshape(-1, width * kept)
        sizes = -np.abs(steps)
        at = np.argpartition(sizes, keep - 1, axis=1)[:, :keep]
        chosen[begin : begin + rows] = at
        products[begin : begin + rows] = np.take_along_axis(steps, at, axis=1)
    return products, chosen // kept, chosen % kept


def _factors(
    weights: Sequence[Array], derivatives: Sequence[Array], logit_grad: Array, layer: int, walk: list[int],
    input_value: float, scale: float,
) -> list[float]:  # fmt: skip
    numbers = [float(logit_grad[walk[-1]])]
    for k in range(len(weights) - 1, layer - 1, -1):
        below, above = walk[k - layer], walk[k - layer + 1]
        numbers += [float(weights[k][above, below]), float(derivatives[k - 1][below])]
    return ([] if scale == 1.0 else [scale]) + [*numbers, input_value]
