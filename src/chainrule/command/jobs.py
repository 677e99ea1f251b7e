"""What is done with a model that was written, by path: predictions, verdicts and explanations of a table's rows."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.boundary.extras import require
from chainrule.command.data import AnyPath, Say, labelled_rows, silent
from chainrule.errors import InputError, ModelFileError, TableError
from chainrule.explain import Explanation, explain
from chainrule.network import Model, load_model
from chainrule.network.gradcheck import GradientReport, check_gradients
from chainrule.network.network import Network
from chainrule.output.layer import softmax, softmax_cross_entropy
from chainrule.pages.gallery import Gallery
from chainrule.scores import confusion_matrix
from chainrule.tables import Counts, Schema, read_table

__all__ = ["check", "evaluate", "explanation", "gallery", "predict"]


@dataclass(frozen=True)
class _Judge:
    """A model with a table as the model reads it: only rows that have a class where `labelled`."""

    net: Network
    schema: Schema
    x: Any
    labels: Any
    rows: Any

    def logits(self) -> Any:
        """The logits of every row, all finite; to the last bit those of the row alone."""
        logits = self.net.logits(self.x)  # what leaves its range is named
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            at = int(bad[0])
            column = self.schema.feature_names[int(np.abs(self.x[at]).argmax())]
            raise TableError(
                f"column {column!r}, row {self.rows[at]}: is so far from training's numbers that the prediction is "
                "not finite"
            )
        return logits


def _judge(
    model: AnyPath, table: AnyPath, say: Say, strict: bool, *, labelled: bool = False, rows: slice = slice(None)
) -> _Judge:
    net, schema = _model(model)
    frame = read_table(table)
    numbers = np.arange(frame.height)[rows]
    frame = frame[rows]
    labels = None
    if labelled:
        at, labels = labelled_rows(schema.labels(frame, numbers), schema.target, say)
        if len(at) < frame.height:
            numbers, frame = numbers[at], frame[at.tolist()]
    counts = Counts()
    x = schema.features(frame, rows=numbers, counts=counts)
    if strict and counts.lines():
        raise TableError(f"{table}: {'; '.join(counts.lines())}; --strict refuses them")
    for line in counts.lines():
        say(line)
    return _Judge(net, schema, x, labels, numbers)


def predict(model: AnyPath, table: AnyPath, say: Say = silent, strict: bool = False) -> str:
    """CSV text: for each row the predicted class, then the probability of each class.

    `say` is called with a line for each column and kind of cell that training did not know; with `strict` there is an
    error instead.
    """
    pl = require("polars", "cli")
    judge = _judge(model, table, say, strict)
    logits, names = judge.logits(), judge.schema.classes
    probabilities = softmax(logits)
    columns = {"prediction": [names[i] for i in logits.argmax(axis=1)]}
    columns |= {f"probability of {c}": probabilities[:, i] for i, c in enumerate(names)}
    text = io.StringIO()
    pl.DataFrame(columns).write_csv(text)
    return text.getvalue()


def evaluate(model: AnyPath, table: AnyPath, say: Say = silent, strict: bool = False) -> str:
    """Loss, accuracy and confusion matrix, as text; rows without a class are left out, and counted."""
    judge = _judge(model, table, say, strict, labelled=True)
    if not len(judge.labels):
        raise TableError(f"{table}: no row has a class to be judged by")
    logits, labels, schema = judge.logits(), judge.labels, judge.schema
    matrix = confusion_matrix(logits.argmax(axis=1), labels, len(schema.classes))
    names = [str(c) for c in schema.classes]
    wide = max(len(n) for n in [*names, str(matrix.max())]) + 2
    lines = [
        f"rows:     {len(labels)}",
        f"loss:     {float(softmax_cross_entropy(logits, labels).loss):.6f}",
        f"accuracy: {float(np.trace(matrix)) / len(labels):.4f}",
        "confusion matrix (a row for the true class, a column for the predicted):",
        " " * wide + "".join(f"{n:>{wide}}" for n in names),
    ]
    lines += [f"{n:>{wide}}" + "".join(f"{c:>{wide}}" for c in row) for n, row in zip(names, matrix, strict=True)]
    return "\n".join(lines)


def explanation(
    model: AnyPath, table: AnyPath, row: int | None, image: tuple[int, int] | None = None, say: Say = silent
) -> Explanation:
    """The explanation of one row of a table, counted from 0, or of the one with the largest loss where row is None.

    image : (rows, columns), where its features are pixels
    """
    if row is None:
        return gallery(model, table, image, say).worst()
    height = read_table(table).height
    if row >= height:
        raise InputError(f"--row: got {row}, expected 0 to {height - 1}, the rows of {table}")
    judge = _judge(model, table, say, False, labelled=True, rows=slice(row, row + 1))
    if not len(judge.labels):
        raise InputError(f"--row: got {row}, which has no class in column {judge.schema.target!r}")
    judge.logits()
    return explain(judge.net, judge.x[0], int(judge.labels[0]), image=image, schema=judge.schema, row=row)


def gallery(model: AnyPath, table: AnyPath, image: tuple[int, int] | None = None, say: Say = silent) -> Gallery:
    """All rows of a table that have a class, sorted by loss, each to be explained."""
    judge = _judge(model, table, say, False, labelled=True)
    if not len(judge.labels):
        raise TableError(f"{table}: no row has a class, expected some to show")
    judge.logits()
    names, classes = judge.schema.feature_names, judge.schema.classes
    return Gallery(judge.net, judge.x, judge.labels, names, classes, image, judge.rows, judge.schema)


def check(model: AnyPath, table: AnyPath, rows: int, say: Say = silent) -> GradientReport:
    """Every gradient of the chain on a table's first rows, against finite differences."""
    judge = _judge(model, table, say, False, labelled=True, rows=slice(rows))
    return check_gradients(judge.net, judge.x, judge.labels)


def _model(path: AnyPath) -> tuple[Network, Schema]:
    model: Model = load_model(path)
    if model.schema is None:
        raise ModelFileError(f"{path}: holds a network without a table's schema; `chainrule train` writes both")
    try:
        schema = Schema.from_dict(model.schema)
    except TableError as error:
        raise ModelFileError(f"{path}: {error}") from error
    if len(schema.feature_names) != model.network.widths[0] or len(schema.classes) != model.network.widths[-1]:
        raise ModelFileError(f"{path}: its schema does not fit its network of widths {model.network.widths}")
    return model.network, schema
