"""Which classes are taken for which, and the examples of each such pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy

__all__ = ["MATRIX", "confused", "listed"]

MATRIX = 30  # classes of which a matrix is shown; of more, the pairs that are mistaken most
PAIRS = 30
WRONG, RIGHT = 12, 6  # examples listed of a cell
IMAGES = 240  # drawn in all cells together; the mistakes come first


def confused(matrix: npt.NDArray[np.int64]) -> list[dict[str, int]]:
    """The pairs of classes that are mistaken most, the most frequent first."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = (np.unravel_index(i, wrong.shape) for i in order)
    return [{"true": int(i), "predicted": int(j), "count": int(wrong[i, j])} for i, j in pairs if wrong[i, j]]


def listed(
    net: Network, judged: tuple[Any, Any, Sequence[int]], matrix: npt.NDArray[np.int64], pairs: list[dict[str, int]],
    picture: Callable[[Any], Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """For each cell that the page shows its examples with the largest losses, in the table's order of cells.

    picture : an example ↦ its image for the template, or None
    """
    x, labels, rows = judged
    logits = net.logits(x)
    losses = softmax_cross_entropy(logits, labels, reduction="none").loss
    predicted = logits.argmax(axis=1)
    if len(matrix) <= MATRIX:
        places = [(int(i), int(j)) for i, j in np.argwhere(matrix)]
    else:
        places = [(pair["true"], pair["predicted"]) for pair in pairs]
    left = IMAGES
    cells = []
    for i, j in sorted(places, key=lambda place: place[0] == place[1]):
        inside = np.flatnonzero((labels == i) & (predicted == j))
        first = inside[np.argsort(-losses[inside], kind="stable")][: RIGHT if i == j else WRONG]
        examples = []
        for n in first:
            drawn = picture(x[n]) if left else None
            left -= drawn is not None
            other = np.exp(-float(softmax_cross_entropy(logits[[n]], np.array([j])).loss))
            examples.append({
                "row": int(rows[n]), "probability": float(np.exp(-losses[n])), "predicted_probability": float(other),
                "image": drawn,
            })  # fmt: skip
        cells.append({"true": i, "predicted": j, "examples": examples, "more": len(inside) - len(first)})
    return sorted(cells, key=lambda cell: (cell["true"], cell["predicted"]))
