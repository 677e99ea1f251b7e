"""Which examples to ask labels for: those whose gradients, under the predicted labels, are long and point apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_index, check_integer
from chainrule.errors import InputError
from chainrule.scores.sources import Array, Floats, Outputs, chunks, errors, outputs_of, row_norms, wide

__all__ = ["badge", "badge_distances"]


def badge(source: Any, /, *given: Any, seed: int = 0, bias: bool | None = None, **named: Any) -> npt.NDArray[np.int64]:
    """Examples to ask labels for next, `count` rows: k-means++ over the gradients of the last layer.

    An example's gradient is that of its predicted label, g = (ŷ − e(argmax ŷ)) (h, 1)ᵀ. The first is the one with the
    longest gradient; each next is drawn with a probability in proportion to its squared distance from the nearest that
    was drawn. `badge(logits, hidden, count)`, or `badge(model, x, count)`. A draw takes the time of one product with h
    and one with ŷ; the (N, K·D) gradients are never formed.

    Parameters
    ----------
    source : logits, array (N, K), float16, bfloat16, float32 or float64; or a model: a Network, a fitted MLPClassifier
        or a PyTorch module
    *given, **named : after logits hidden, array (N, D), the last layer's inputs h, and count, int in [1, N]; after a
        model x, what it takes, (N, D), and count
    seed : int >= 0
    bias : whether the biases' gradients count; by default where the layer has some, and for arrays

    Returns
    -------
    array (count,), int64
        Different rows, in the order in which they were drawn.

    Raises
    ------
    InputError
        A wrong shape, dtype, count or seed, or a gradient that is not finite.
    TypeError
        Other arguments than these.

    Examples
    --------
    >>> logits, hidden = [[0.1, 0.0], [0.1, 0.0], [0.0, 0.1]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    >>> badge(logits, hidden, 2).tolist()  # the second is the first once more
    [0, 2]

    Source: J. Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", 2020
    (arXiv:1906.03671); the first as in the authors' code.
    """
    out = outputs_of(source, given, named, ["hidden", "count"], bias)
    n = len(out.logits)
    count = check_integer("count", out.named["count"], maximum=max(n, 1))
    random = np.random.default_rng(check_integer("seed", seed, minimum=0))
    gradients = _Gradients(out)
    chosen = [int(gradients.squares.argmax())]
    nearest = gradients.squared_distances(chosen[0])
    while len(chosen) < count:
        sums = np.cumsum(nearest)
        if sums[-1] > 0:
            at = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        else:  # all others are copies of those that were drawn
            left = np.setdiff1d(np.arange(n), chosen)
            at = int(left[random.integers(len(left))])
        chosen.append(at)
        np.minimum(nearest, gradients.squared_distances(at), out=nearest)
    return np.asarray(chosen, dtype=np.int64)


def badge_distances(source: Any, /, *given: Any, bias: bool | None = None, **named: Any) -> Floats:
    """‖g_n − g_m‖ of each example and each of some rows, (N, M), g being the gradients that `badge` goes by.

    `badge_distances(logits, hidden, rows)`, or `badge_distances(model, x, rows)`.

    Parameters
    ----------
    source, bias : as for `badge`
    *given, **named : the same, with rows, a sequence of M ints in [0, N), in count's place

    Raises
    ------
    InputError, TypeError
        As `badge`.

    Examples
    --------
    >>> badge_distances([[0.0, 0.0], [0.0, 0.0]], [[0.0], [2.0]], [0]).round(4).tolist()
    [[0.0], [1.4142]]

    Source: as for `badge`.
    """
    out = outputs_of(source, given, named, ["hidden", "rows"], bias)
    chosen = [check_index("rows", row, len(out.logits)) for row in out.named["rows"]]
    gradients = _Gradients(out)
    columns = [np.sqrt(gradients.squared_distances(row)) * gradients.unit for row in chosen]
    return np.stack(columns, axis=1) if columns else np.empty((len(out.logits), 0))


class _Gradients:
    """g = e (h, 1)ᵀ of N examples as its factors: each row of e over its largest element, in the wider dtype of logits
    and hidden units, so that none underflows; `sizes`, these elements over the largest of all, `unit`; and h.

    squares : ‖g‖², (N,), over unit²
    """

    def __init__(self, out: Outputs) -> None:
        (n, k), self.bias, self.hidden = out.logits.shape, float(out.bias), out.hidden
        self.e = np.empty((n, k), np.result_type(out.logits, out.hidden))
        lengths, largest = np.empty(n), np.empty(n)
        for at in chunks(n, k):
            e = errors(out.logits[at], out.logits[at].argmax(axis=1))
            largest[at] = np.abs(e).max(axis=1)
            e /= np.where(largest[at] > 0, largest[at], 1.0)[:, None]
            lengths[at], self.e[at] = np.sqrt(np.vecdot(e, e)), e
        self.unit = float(np.nanmax(largest, initial=0.0)) or 1.0
        self.sizes = largest / self.unit
        self.inputs = np.hypot(row_norms(out.hidden), self.bias)  # ‖(h, 1)‖
        with np.errstate(over="ignore", invalid="ignore"):
            self.squares = (lengths * self.sizes * self.inputs) ** 2
        bad = np.flatnonzero(~np.isfinite(self.squares))
        if bad.size:
            raise InputError(f"logits or hidden: row {bad[0]} has a gradient that is not finite")

    def squared_distances(self, row: int) -> Floats:
        """‖g_n − g_row‖² over unit²: ‖g_n‖² + ‖g_row‖² − 2 (e·e′)(h·h′ + 1), but by the differences of e and of h where
        that cancels."""
        alike = (self.e @ self.e[row]) * self.sizes * self.sizes[row]
        size = self.inputs[row] or 1.0
        inputs = self.hidden @ (self.hidden[row] / self.hidden.dtype.type(size))  # within the range of the dtype
        both = self.squares + self.squares[row]
        found = both - 2.0 * alike * (inputs * size + self.bias)
        near = np.flatnonzero(found <= np.finfo(self.e.dtype).eps ** 0.25 * both)
        for at in chunks(len(near), self.e.shape[1] + self.hidden.shape[1]):
            found[near[at]] = self._by_differences(near[at], row)
        return np.asarray(np.maximum(found, 0.0))

    def _by_differences(self, rows: Array, row: int) -> Floats:
        """The same: ‖Δe‖² ‖(h, 1)‖² + ‖e′‖² ‖Δh‖² + 2 (Δe·e′)((h, 1)·(Δh, 0))."""
        e, h = wide(self.e[row]) * self.sizes[row], wide(self.hidden[rows])
        by_e, by_h = wide(self.e[rows]) * self.sizes[rows, None] - e, h - wide(self.hidden[row])
        alone = np.vecdot(by_e, by_e) * self.inputs[rows] ** 2 + (e @ e) * np.vecdot(by_h, by_h)
        return np.asarray(alone + 2.0 * (by_e @ e) * np.vecdot(h, by_h))
