"""A network's answers beside the labels: losses, predictions, and who is taken for whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_integer, check_labels
from chainrule.errors import InputError
from chainrule.output.layer import softmax_cross_entropy
from chainrule.scores.last_layer import el2n

__all__ = ["confusion_matrix", "example_scores", "hardest"]


def hardest(logits: Any, labels: Any, count: int = 20) -> npt.NDArray[np.int64]:
    """The rows with the largest output gradients, largest first; often they are mislabelled.

    Parameters
    ----------
    logits, labels : as for `el2n`
    count : at most this many

    Examples
    --------
    >>> hardest([[9.0, 0.0], [0.0, 9.0], [1.0, 1.0]], [0, 0, 0], 2).tolist()
    [1, 2]
    """
    norms = el2n(logits, labels)
    return np.argsort(-norms, kind="stable")[: check_integer("count", count)]


def confusion_matrix(predicted: Any, labels: Any, k: int) -> npt.NDArray[np.int64]:
    """How many examples of each class (row) were predicted to be of each class (column), (K, K).

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    true = check_labels(labels, len(labels), k)
    cells = true * k + check_labels(predicted, len(true), k)
    return np.bincount(cells, minlength=k * k).reshape(k, k)


def example_scores(net: Any, x: Any, labels: Any, rows: Any = None) -> tuple[Any, Any, Any]:
    """The loss, the predicted class and its probability of each example, three arrays (N,), a few thousand at a time.

    Parameters
    ----------
    net : a Network of NumPy arrays
    x, labels : array (N, D), array (N,), int in [0, K)
    rows : the numbers that messages call the examples by; 0, 1, … by default

    Raises
    ------
    InputError
        An example is so far away that its logits are not finite: it is of no class, and its row is named.

    Examples
    --------
    >>> from chainrule import Network
    >>> net = Network([np.eye(2)], [np.zeros(2)])
    >>> losses, predicted, probabilities = example_scores(net, np.array([[2.0, 0.0]]), np.array([1]))
    >>> losses.round(4).tolist(), predicted.tolist(), probabilities.round(4).tolist()
    ([2.1269], [0], [0.8808])
    """
    n = len(labels)
    losses, predicted, probabilities = np.empty(n), np.empty(n, dtype=np.int64), np.empty(n)
    for start in range(0, n, 4096):
        at = slice(start, start + 4096)
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves its range is named
            logits = net.forward(x[at]).logits
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if bad.size:
            row = start + int(bad[0])
            raise InputError(
                f"x: row {row if rows is None else rows[row]} is so far from the other numbers that its prediction is "
                "not finite"
            )
        losses[at] = softmax_cross_entropy(logits, labels[at], reduction="none").loss
        predicted[at] = logits.argmax(axis=1)
        probabilities[at] = np.exp(-softmax_cross_entropy(logits, predicted[at], reduction="none").loss)
    return losses, predicted, probabilities
