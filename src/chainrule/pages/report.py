"""What a training run looked like: one page with pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.pages.confusion import MATRIX, confused, listed
from chainrule.scores import confusion_matrix, el2n, example_scores, hardest
from chainrule.training.history import History

__all__ = ["write_report"]


def write_report(
    path: str | os.PathLike[str],
    net: Network,
    history: History,
    train: tuple[Any, Any, Sequence[int]],
    *,
    classes: Sequence[Any],
    judged: tuple[Any, Any, Sequence[int]] | None = None,
    judged_name: str = "training",
    settings: dict[str, Any] | None = None,
    example: dict[str, Any] | None = None,
) -> Path:
    """Write the report of a training run, whole or not at all.

    Curves of loss and accuracy, the gradient's norm at each layer, a confusion matrix whose cells list their examples,
    and the twenty training examples with the largest output gradient ‖ŷ − e(ℓ)‖.

    Parameters
    ----------
    net, history : the trained network and what `fit` returned
    train : (x, labels, rows) that it was trained on; a row is an example's place in the table, counted from 0
    classes : the K names
    judged : (x, labels, rows) of the confusion matrix; the training examples by default
    settings : what to print about the run
    example : part, row, loss, why and href of an example's explanation to point at; href may be None

    Raises
    ------
    InputError
        A prediction is not finite; the row is named.
    OutputFileError
        The file cannot be written.
    """
    names = [str(c) for c in classes]
    judged = train if judged is None else judged
    matrix = confusion_matrix(example_scores(net, *judged)[1], judged[1], len(names))
    pairs = confused(matrix)
    losses = {"training": history.loss, "validation": history.validation_loss}
    accuracies = {"training": history.accuracy, "validation": history.validation_accuracy}
    norms_by_layer = {f"layer {k + 1}": [n[k] for n in history.gradient_norms] for k in range(net.depth)}
    page = html.render(
        "report.html.j2",
        charts=[
            ("Loss", html.line_chart({k: v for k, v in losses.items() if v}, logarithmic=True)),
            ("Accuracy", html.line_chart({k: v for k, v in accuracies.items() if v})),
            ("Norm of the weights’ gradient ∇W at each layer", html.line_chart(norms_by_layer, logarithmic=True)),
        ],
        matrix=matrix.tolist() if len(names) <= MATRIX else None,
        shares=(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).tolist(),
        pairs=pairs,
        cells=listed(net, judged, matrix, pairs),
        classes=names,
        right=int(np.trace(matrix)),
        total=int(matrix.sum()),
        accuracy=float(np.trace(matrix) / max(matrix.sum(), 1)),
        judged_name=judged_name,
        hard=_hardest(net, train, names),
        history=history,
        settings=settings or {},
        example=example,
        script=html.part("report.js"),
    )
    return write_atomically(path, page)


def _hardest(net: Network, train: tuple[Any, Any, Sequence[int]], classes: list[str]) -> list[dict[str, Any]]:
    """The training examples with the largest output gradients."""
    x, labels, rows = train
    logits = net.logits(x)
    norms = el2n(logits, labels)
    losses = softmax_cross_entropy(logits, labels, reduction="none").loss
    return [
        {
            "row": int(rows[i]),
            "true": classes[labels[i]],
            "predicted": classes[int(logits[i].argmax())],
            "probability": float(np.exp(-losses[i])),
            "norm": float(norms[i]),
            "image": html.image(np.asarray(x[i], dtype=float).tolist()),
        }
        for i in hardest(logits, labels, 20)
    ]
