"""What a training run looked like: one page with pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.explain.raw import grey, span
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.pages.confusion import MATRIX, confused, listed
from chainrule.pages.doctor import Finding, diagnose
from chainrule.scores import confusion_matrix, el2n, example_scores, hardest
from chainrule.tables.schema import Schema
from chainrule.training.history import History
from chainrule.training.watching import Watch

__all__ = ["Seen", "write_report"]

HARDEST = 20  # examples that are listed


@dataclass(frozen=True)
class Seen:
    """What the report is told of a run, besides its network and history; all of it may be missing.

    unseen : logits (M, K) and labels (M,) of examples that training did not see
    watch : a callback of the run, which saw its units after each epoch
    features : the D inputs' names; alone, constants : as for `diagnose`
    rate : the learning rate; error : what ended training, where it left the range of numbers
    card : what a model's card says, by heading
    importance : by column, how much the loss rises when its values are shuffled, and the spread of that; `lacking` says
        why there is none
    ended : by what training ended, where its history does not know
    """

    unseen: tuple[Any, Any] | None = None
    watch: Watch | None = None
    features: Sequence[str] | None = None
    alone: Sequence[tuple[str, str]] | None = None
    constants: Sequence[tuple[str, float]] = ()
    rate: float | None = None
    error: str | None = None
    card: dict[str, str] = field(default_factory=dict)
    importance: Sequence[tuple[str, float, float]] = ()
    lacking: str = ""
    ended: str = ""


def write_report(
    path: str | os.PathLike[str],
    net: Network,
    history: History,
    train: tuple[Any, Any, Sequence[int]],
    *,
    classes: Sequence[Any],
    validation: tuple[Any, Any, Sequence[int]] | None = None,
    judged: tuple[Any, Any, Sequence[int]] | None = None,
    judged_name: str = "test",
    settings: dict[str, Any] | None = None,
    example: dict[str, Any] | None = None,
    schema: Schema | None = None,
    seen: Seen | None = None,
) -> Path:
    """Write the report of a training run, whole or not at all.

    First what is wrong with the run (`chainrule.pages.doctor`), with its evidence, and what was looked for and not
    found. Then curves of loss and accuracy, the gradient's norm at each layer, a confusion matrix whose cells list
    their examples, and the twenty examples with the largest output gradient ‖ŷ − e(ℓ)‖.

    Parameters
    ----------
    net, history : the trained network and what `fit` returned
    train : (x, labels, rows) that it was trained on; a row is an example's place in the table, counted from 0
    classes : the K names
    validation : (x, labels, rows) that told when to stop
    judged, judged_name : (x, labels, rows) of the confusion matrix and what they are; by default those for validation,
        and where there are none the training examples
    settings : what to print about the run
    example : part, row, loss, why and href of an example's explanation to point at; href may be None
    schema : what training learned of the table; images then show its own numbers
    seen : what else is known of the run

    Raises
    ------
    InputError
        A prediction is not finite; the row is named.
    OutputFileError
        The file cannot be written.
    """
    names, seen = [str(c) for c in classes], seen or Seen()
    parts = {"training": train}
    if validation is not None:
        parts["validation"] = validation
    if judged is not None:
        parts[judged_name] = judged
    else:
        judged_name, judged = list(parts.items())[-1]
    between = span(schema, train[0])

    def picture(x: Any) -> dict[str, Any] | None:
        return grey(x, schema, None, between)

    matrix = confusion_matrix(example_scores(net, *judged)[1], judged[1], len(names))
    pairs = confused(matrix)
    losses = {"training": history.loss, "validation": history.validation_loss}
    accuracies = {"training": history.accuracy, "validation": history.validation_accuracy}
    norms_by_layer = {f"layer {k + 1}": [n[k] for n in history.gradient_norms] for k in range(net.depth)}
    diagnosis = diagnose(
        net, history, train[0], train[1], unseen=seen.unseen, watch=seen.watch, names=seen.features,
        alone=seen.alone, constants=seen.constants, rate=seen.rate, error=seen.error,
    )  # fmt: skip
    most = max((rise for _, rise, _ in seen.importance), default=0.0)
    best = history.best_epoch or None
    page = html.render(
        "report.html.j2",
        findings=[(f, _curve(f)) for f in diagnosis.findings],
        quiet=diagnosis.quiet,
        learned=diagnosis.learned,
        card=seen.card,
        importance=[(c, r, s, max(0.0, r) / most if most > 0 else 0.0) for c, r, s in seen.importance],
        lacking=seen.lacking,
        ended=seen.ended,
        error=seen.error,
        charts=[
            ("Loss", html.line_chart({k: v for k, v in losses.items() if v}, logarithmic=True, best=best)),
            ("Accuracy", html.line_chart({k: v for k, v in accuracies.items() if v}, best=best)),
            (
                "Norm of the weights’ gradient ∇W at each layer",
                html.line_chart(norms_by_layer, logarithmic=True, best=best),
            ),
        ],
        matrix=matrix.tolist() if len(names) <= MATRIX else None,
        shares=(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).tolist(),
        pairs=pairs,
        cells=listed(net, judged, matrix, pairs, picture),
        classes=names,
        right=int(np.trace(matrix)),
        total=int(matrix.sum()),
        accuracy=float(np.trace(matrix) / max(matrix.sum(), 1)),
        judged_name=judged_name,
        hard=_hardest(net, parts, names, picture),
        history=history,
        settings=settings or {},
        example=example,
        script=html.part("report.js"),
    )
    return write_atomically(path, page)


def _curve(finding: Finding) -> dict[str, Any] | None:
    series = {name: values for name, values in finding.series.items() if values}
    return html.line_chart(series, logarithmic=finding.logarithmic) if series else None


def _hardest(
    net: Network, parts: dict[str, tuple[Any, Any, Sequence[int]]], classes: list[str], picture: Any
) -> list[dict[str, Any]]:
    """The examples with the largest output gradients, of all that training and validation saw and of the test."""
    found = []
    for part, (x, labels, rows) in parts.items():
        logits = net.logits(x)
        norms = el2n(logits, labels)
        losses = softmax_cross_entropy(logits, labels, reduction="none").loss
        found += [
            {
                "row": int(rows[i]),
                "part": part,
                "true": classes[labels[i]],
                "predicted": classes[int(logits[i].argmax())],
                "probability": float(np.exp(-losses[i])),
                "norm": float(norms[i]),
                "image": picture(x[i]),
            }
            for i in hardest(logits, labels, HARDEST)
        ]
    return sorted(found, key=lambda one: -one["norm"])[:HARDEST]
