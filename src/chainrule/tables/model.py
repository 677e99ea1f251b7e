"""A trained model with its table's schema: it reads, predicts, judges and explains files and data frames alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError, ModelFileError, TableError
from chainrule.explain import Explanation, Rows, explain
from chainrule.network import Model, load_model
from chainrule.network.network import Network
from chainrule.output.layer import softmax, softmax_cross_entropy
from chainrule.tables.attribution import Why, why
from chainrule.tables.cells import Form, numbers
from chainrule.tables.evaluation import Evaluation, evaluate
from chainrule.tables.reading import as_frame, read_table
from chainrule.tables.schema import Counts, Schema
from chainrule.tables.sparse import dense, logits_of
from chainrule.tables.text import Reading

__all__ = ["Judged", "TableModel", "labelled_rows", "load", "silent", "weights_of"]

Array = npt.NDArray[Any]
Say = Callable[[str], object]


def silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Judged:
    """Rows of a table as a model reads them.

    frame : the rows; x : their features (N, D), an array or `SparseFeatures`
    labels : (N,) where they were asked for; rows : the file's numbers
    """

    frame: Any
    x: Any
    labels: Any
    rows: Array


@dataclass(frozen=True)
class TableModel:
    """A network and what training learned of its table; `load` reads one from a file.

    A table is a path, a data frame of polars or pandas, or a table of Arrow. Its rows mean what they mean to the
    command: a row's answer is the same alone and beside others, from a file and from a frame.

    Examples
    --------
    >>> import polars as pl
    >>> from chainrule.tables import Column, Schema
    >>> schema = Schema("y", ["no", "yes"], [Column("x", "number", mean=1.0, scale=2.0)])
    >>> model = TableModel(Network([np.array([[1.0], [-1.0]])], [np.zeros(2)]), schema)
    >>> frame = pl.DataFrame({"x": [3.0, -5.0]})
    >>> model.predict(frame).tolist(), model.predict_proba(frame).round(3).tolist()
    (['no', 'yes'], [[0.881, 0.119], [0.002, 0.998]])
    """

    network: Network
    schema: Schema
    training: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def classes(self) -> list[Any]:
        """The K classes, in the order of the probabilities."""
        return self.schema.classes

    def read(self, table: Any, how: Reading | None = None, say: Say = silent) -> Any:
        """A file as the model's own table was read, or a data frame as one of polars."""
        if not isinstance(table, str | os.PathLike):
            return as_frame(table)
        known = self.schema.names or [*(c.name for c in self.schema.columns), self.schema.target]
        return read_table(table, replace(how or Reading(), known=known, target=self.schema.target), say)

    def judged(
        self, frame: Any, say: Say = silent, *, strict: bool = False, labelled: bool = False, rows: Array | None = None
    ) -> Judged:
        """Features of a data frame's rows, and their labels.

        Parameters
        ----------
        say : called with a line for each column and kind of cell that training did not know
        strict : whether there is an error instead
        labelled : whether only rows that have a class are of use
        rows : the numbers that messages call the rows by; 0, 1, … by default

        Raises
        ------
        TableError
            A column is missing, a row's class was not in training, or what `strict` refuses.
        """
        rows = np.arange(frame.height) if rows is None else rows
        labels = None
        if labelled:
            at, labels = labelled_rows(self.schema.labels(frame, rows), self.schema.target, say)
            if len(at) < frame.height:
                rows, frame = rows[at], frame[at.tolist()]
        counts = Counts()
        x = self.schema.features(frame, rows=rows, counts=counts, sparse=True)
        if strict and counts.lines():
            raise TableError(f"{'; '.join(counts.lines())}; --strict refuses them")
        for line in counts.lines():
            say(line)
        return Judged(frame, x, labels, rows)

    def weights(self, judged: Judged, say: Say = silent) -> Array | None:
        """What each row counts, (N,), where training had a column of weights and these rows have it too.

        Raises
        ------
        TableError
            A cell of it is no weight, or all are 0.
        """
        name = self.schema.apart.get("weight")
        if name is None:
            return None
        if name not in judged.frame.columns:
            say(f"the table has no column {name!r}, by which training weighed its rows: each row counts once")
            return None
        return weights_of(judged.frame[name], judged.rows)

    def logits(self, judged: Judged) -> Array:
        """The logits of every row, all finite; to the last bit those of the row alone.

        Raises
        ------
        TableError
            A number is so far away that the prediction is not finite: its row and column are named.
        """
        logits = logits_of(self.network, judged.x)  # what leaves its range is named
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            at = int(bad[0])
            column = self.schema.feature_names[int(np.abs(dense(judged.x[at : at + 1])[0]).argmax())]
            raise TableError(
                f"column {column!r}, row {judged.rows[at]}: is so far from training's numbers that the prediction is "
                "not finite"
            )
        return logits

    def predict(self, table: Any, *, say: Say = silent, strict: bool = False) -> Array:
        """The class of each row, (N,); raises as `judged` and `logits` do."""
        found = self.logits(self.judged(self.read(table, say=say), say, strict=strict)).argmax(axis=1)
        return np.asarray(np.asarray(self.classes)[found])

    def predict_proba(self, table: Any, *, say: Say = silent, strict: bool = False) -> Array:
        """The probability of each class for each row, (N, K); raises as `judged` and `logits` do."""
        return np.asarray(softmax(self.logits(self.judged(self.read(table, say=say), say, strict=strict))))

    def evaluate(
        self, table: Any, *, say: Say = silent, strict: bool = False, bootstrap: int = 1000, how: Reading | None = None
    ) -> Evaluation:
        """How well the classes of a table are predicted; rows without a class are left out, and counted. Where training
        weighed its rows by a column, these are weighed by it too."""
        judged = self.judged(self.read(table, how, say), say, strict=strict, labelled=True)
        if not len(judged.labels):
            raise TableError(f"column {self.schema.target!r}: no row has a class to be judged by")
        weights = self.weights(judged, say)
        return evaluate(
            self.logits(judged), judged.labels, self.classes, weights=weights,
            weighted="" if weights is None else self.schema.apart["weight"], bootstrap=bootstrap,
        )  # fmt: skip

    def explain(
        self, table: Any, row: int = 0, *, image: tuple[int, int] | None = None, say: Say = silent,
        how: Reading | None = None,
    ) -> Explanation:  # fmt: skip
        """The gradients of one row, counted from 0. A row without a class is explained as if its predicted one was it.

        Raises
        ------
        InputError
            There is no such row.
        """
        return self.explained(table, row, image=image, say=say, how=how)[0]

    def why(self, table: Any, row: int = 0, *, say: Say = silent) -> Why:
        """What each column adds to the logit of one row's class, against the training mean."""
        return self.explained(table, row, say=say)[1]

    def explained(
        self, table: Any, row: int | None, *, image: tuple[int, int] | None = None, say: Say = silent,
        how: Reading | None = None, rows: int = 0, checkpoints: Any = None,
    ) -> tuple[Explanation, Why]:  # fmt: skip
        """Both: the gradients of one row, by default of the one with the largest loss, and what each of its columns
        adds.

        rows : how many rows with a class travel in the page, drawn at random; all where the table has fewer
        checkpoints : as `chainrule.explain.explain`
        """
        frame = self.read(table, how, say)
        if row is None:
            labelled = self.judged(frame, silent, labelled=True)
            if not len(labelled.labels):
                raise TableError(f"{table}: no row has a class, expected some, of which the worst is explained")
            losses = softmax_cross_entropy(self.logits(labelled), labelled.labels, reduction="none").loss
            row = int(labelled.rows[int(losses.argmax())])
            say(f"row {row} has the largest loss")
        if not 0 <= row < frame.height:
            raise InputError(f"--row: got {row}, expected 0 to {frame.height - 1}, the rows of the table")
        judged = self.judged(frame[row : row + 1], say, rows=np.array([row]))
        logits = self.logits(judged)
        label, schema = -1, self.schema
        if schema.target in frame.columns:
            label = int(schema.labels(judged.frame, judged.rows)[0])
        if label < 0:
            label = int(logits[0].argmax())
            say(f"row {row} has no class in column {schema.target!r}: taken as {self.classes[label]!r}, as predicted")
        travelling = self._drawn(frame, rows) if rows else None
        found = explain(
            self.network, judged.x[0], label, image=image, schema=schema, row=row, rows=travelling,
            checkpoints=checkpoints,
        )  # fmt: skip
        return found, why(self.network, schema, judged.frame, judged.x[0])

    def _drawn(self, frame: Any, count: int) -> Rows:
        """So many of the rows that have a class, drawn without regard to anything, in a random order."""
        labelled = self.judged(frame, silent, labelled=True)
        if len(labelled.labels) < 2:
            raise TableError(f"--rows: the table has {len(labelled.labels)} rows with a class, expected at least 2")
        at = np.random.default_rng(0).permutation(len(labelled.labels))[:count]
        return Rows(
            dense(labelled.x[at]), labelled.labels[at], numbers=labelled.rows[at], of=len(labelled.labels)
        )  # fmt: skip


def load(path: str | os.PathLike[str]) -> TableModel:
    """Read a model that `chainrule train` wrote, with its table's schema.

    Raises
    ------
    ModelFileError
        As `chainrule.network.load_model`; or the file holds no table's schema, or one that does not fit the network.

    Examples
    --------
    >>> load("nothing.safetensors")
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: nothing.safetensors: cannot be read: No such file or directory
    """
    model: Model = load_model(path)
    if model.schema is None:
        raise ModelFileError(f"{path}: holds a network without a table's schema; `chainrule train` writes both")
    try:
        schema = Schema.from_dict(model.schema)
    except TableError as error:
        raise ModelFileError(f"{path}: {error}") from error
    if len(schema.feature_names) != model.network.widths[0] or len(schema.classes) != model.network.widths[-1]:
        raise ModelFileError(f"{path}: its schema does not fit its network of widths {model.network.widths}")
    return TableModel(model.network, schema, model.training, model.version)


def labelled_rows(labels: Any, target: str, say: Say, cells: Any = None) -> tuple[Any, Any]:
    """The rows that have a class, and their labels; the others are counted. cells : the target's, for the message"""
    rows = np.flatnonzero(labels >= 0)
    if len(rows) < len(labels):
        first = int(np.flatnonzero(labels < 0)[0])
        word = "" if cells is None or cells[first] is None else str(cells[first]).strip()
        words = f": {word!r:.20} (--type {target}=text takes every word as a class)" if word.isalpha() else ""
        count = len(labels) - len(rows)
        what = "1 row without a class is" if count == 1 else f"{count} rows without a class are"
        say(f"column {target!r}: {what} left out, first row {first}{words}")
    return rows, labels[rows]


def weights_of(series: Any, rows: Any) -> Array:
    """What each row counts, (N,): a column's cells as numbers >= 0.

    Raises
    ------
    TableError
        A cell is no such number, or all are 0.
    """
    found = numbers(series, Form())
    bad = found.is_null() | ~found.is_finite().fill_null(False) | (found < 0).fill_null(False)
    if bad.any():
        at = bad.arg_true()[0]
        raise TableError(
            f"column {series.name!r}, row {rows[at]}: {series[at]!r:.40} is no weight, expected a number >= 0"
        )
    if not found.sum() > 0:
        raise TableError(f"column {series.name!r}: all weights are 0")
    return np.asarray(found.to_numpy())
