"""Which labels are probably wrong, by what networks that never saw them say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError
from chainrule.output.layer import softmax_cross_entropy
from chainrule.scores.sources import Floats, chunks, errors, model_of, outputs_of, wide

__all__ = ["LabelErrors", "label_errors"]

Rows = npt.NDArray[np.int64]


class LabelErrors(NamedTuple):
    """What `label_errors` found, of each example, (N,).

    order : the rows, the most probable error first
    losses : −log ŷ_ℓ, what they are ranked by
    probabilities : ŷ_ℓ, of the class that each has
    suggested : the most probable of the other classes
    suggested_probabilities : its ŷ
    probable : whether the suggested class is more probable than the label, and as probable as it is, on average, where
        it is the label
    """

    order: Rows
    losses: Floats
    probabilities: Floats
    suggested: Rows
    suggested_probabilities: Floats
    probable: npt.NDArray[np.bool_]


def label_errors(logits: Any, labels: Any) -> LabelErrors:
    """Rank examples as probable label errors, by the logits of networks that were not trained on them.

    A network that has learned an example says of it what it was told. The logits are therefore those of
    cross-validation: each row's from a network that was trained on other rows. `chainrule audit` does that for a table.

    Parameters
    ----------
    logits : array (N, K), float16, bfloat16, float32 or float64, of held-out examples, K >= 2; log-probabilities do too
    labels : array (N,), int in [0, K)

    Raises
    ------
    InputError
        A wrong shape, dtype or label, or a logit that is NaN.

    Examples
    --------
    >>> found = label_errors([[4.0, 0.0], [0.0, 5.0], [3.0, 0.0], [0.0, 4.0]], [0, 0, 0, 1])
    >>> found.order.tolist(), found.probable.tolist(), found.suggested[1]
    ([1, 2, 0, 3], [False, True, False, False], np.int64(1))

    Source: the rank is by the lecture's loss; `probable` is the rule of C. Northcutt et al., "Confident Learning", 2021
    (arXiv:1911.00068), section 3.1.
    """
    if model_of(logits) is not None:
        raise InputError(
            f"logits: got {type(logits).__name__}, expected an array (N, K), of networks that never saw the rows"
        )
    out = outputs_of(logits, (labels,), {}, ["labels"])
    n, k = out.logits.shape
    if k < 2:
        raise InputError(f"logits: got shape {(n, k)}, expected at least two classes")
    losses, probabilities, suggested, others = np.empty(n), np.empty(n), np.empty(n, np.int64), np.empty(n)
    sums, counts = np.zeros(k), np.bincount(out.labels, minlength=k)
    for at in chunks(n, k):
        a, label = wide(out.logits[at]), out.labels[at]
        rows, e = np.arange(len(a)), errors(a, label)
        bad = np.flatnonzero(np.isnan(e).any(axis=1))
        if bad.size:
            raise InputError(f"logits: row {at.start + bad[0]} has no probabilities, expected numbers, +∞ and NaN not")
        losses[at] = softmax_cross_entropy(a, label, reduction="none").loss
        probabilities[at] = np.exp(-losses[at])
        e[rows, label] = -1.0  # below all others
        suggested[at] = e.argmax(axis=1)
        others[at] = e[rows, suggested[at]]
    np.add.at(sums, out.labels, probabilities)
    usual = np.divide(sums, counts, out=np.ones(k), where=counts > 0)
    probable = (others > probabilities) & (others >= usual[suggested])
    return LabelErrors(np.argsort(-losses, kind="stable"), losses, probabilities, suggested, others, probable)
