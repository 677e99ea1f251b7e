"""What a training run looked like: one page with pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import html
from chainrule.files import write_atomically
from chainrule.history import History
from chainrule.network import Network
from chainrule.scores import confusion_matrix, hardest, output_gradient_norms

__all__ = ["write_report"]


def write_report(
    path: str | os.PathLike[str],
    net: Network,
    history: History,
    train: tuple[Any, Any],
    *,
    classes: Sequence[Any],
    rows: Sequence[int],
    judged: tuple[Any, Any] | None = None,
    judged_name: str = "training",
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write the report of a training run, whole or not at all.

    Curves of loss and accuracy, the gradient's norm at each layer, a confusion matrix, and the twenty training
    examples with the largest output gradient ‖ŷ − e(ℓ)‖.

    Parameters
    ----------
    net, history : the trained network and what `fit` returned
    train : (x, labels) that it was trained on
    classes : the K names
    rows : for each training example its row in the table, counted from 0
    judged : (x, labels) of the confusion matrix; the training examples by default
    settings : what to print about the run

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    x, labels = train
    logits = net.forward(x).logits
    norms = output_gradient_norms(logits, labels)
    probabilities = net.predict_proba(x)
    hard = [
        {
            "row": int(rows[i]),
            "true": str(classes[labels[i]]),
            "predicted": str(classes[int(probabilities[i].argmax())]),
            "probability": float(probabilities[i, labels[i]]),
            "norm": float(norms[i]),
            "image": html.pixels(np.asarray(x[i], dtype=float).tolist()),
        }
        for i in hardest(logits, labels, 20)
    ]
    judged_x, judged_labels = train if judged is None else judged
    matrix = confusion_matrix(net.predict(judged_x), judged_labels, len(classes))
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
        matrix=matrix.tolist(),
        shares=(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).tolist(),
        classes=[str(c) for c in classes],
        accuracy=float(np.trace(matrix) / max(matrix.sum(), 1)),
        judged_name=judged_name,
        hard=hard,
        history=history,
        settings=settings or {},
    )
    return write_atomically(path, page)
