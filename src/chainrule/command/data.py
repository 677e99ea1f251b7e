"""A table as examples: its schema is learned, its rows are split, and each is known by its number in the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import InputError
from chainrule.tables import Choices, Schema, learn_schema, learn_target, read_table
from chainrule.tables.parquet import ParquetTable, features_on_disk
from chainrule.training.splitting import TEST, VALIDATION, hold_out

__all__ = ["AnyPath", "Part", "Read", "Say", "labelled_rows", "read_streamed", "read_whole", "silent"]

AnyPath = str | os.PathLike[str]
Say = Callable[[str], object]
FOLDED = 1000  # rows: with fewer, those held out would be too few to say when to stop


class Part(NamedTuple):
    """Examples, and the row of the table that each came from."""

    x: Any
    labels: Any
    rows: Any

    def take(self, at: Any) -> Part:
        return Part(self.x[at], self.labels[at], self.rows[at])

    def first(self, count: int) -> Part:
        return self.take(slice(count))


class Read(NamedTuple):
    """What training has of a table: those for validation and for the test may be none."""

    schema: Schema
    training: Part
    validation: Part | None
    test: Part | None


def silent(line: str) -> None:
    """Say nothing."""


def read_whole(
    table: AnyPath, target: str, test: float, validation: float | None, seed: int, choices: Choices, say: Say
) -> Read:
    """Read a table. By default a tenth is for validation, or none where there are so few rows that folds are to say
    when to stop.

    The classes are the whole table's; all else is learned from what is not held out for the test.
    """
    frame = read_table(table)
    found = learn_target(frame, target, choices)
    rows, labels = labelled_rows(found.labels(frame), target, say)
    test_at, rest = _held_out(labels, test, seed, TEST, "--test")
    training_frame = frame[rows[rest].tolist()]
    schema = learn_schema(training_frame, found, choices, rows=rows[rest], say=say)
    training = Part(schema.features(training_frame, rows=rows[rest]), labels[rest], rows[rest])
    judged = None
    if len(test_at):
        at = rows[test_at]
        judged = Part(schema.features(frame[at.tolist()], rows=at), labels[test_at], at)
    default = 0.1 if len(training.labels) >= FOLDED else 0.0
    at, rest = _held_out(training.labels, validation, seed, VALIDATION, "--validation", default)
    return Read(schema, training.take(rest), training.take(at) if len(at) else None, judged)


def read_streamed(
    table: AnyPath,
    target: str,
    test: float,
    validation: float | None,
    seed: int,
    choices: Choices,
    say: Say,
    memory: int,
) -> Read:
    """The same, with the features in memory maps; the schema is that of all rows that have a class."""
    frame = ParquetTable(table)
    found = learn_target(frame, target, choices)
    rows, labels = labelled_rows(found.labels(frame), target, say)
    frame = frame.only(rows)
    schema = learn_schema(frame, found, choices, rows=rows, say=say)

    def read(frame: Any, rows: Any) -> Any:
        return schema.features(frame, rows=rows)

    features = features_on_disk(frame, read, len(schema.feature_names), "float32", memory)
    test_at, rest = _held_out(labels, test, seed, TEST, "--test")
    at, rest_of_rest = _held_out(labels[rest], validation, seed, VALIDATION, "--validation", 0.1)

    def part(chosen: Any) -> Part:
        mask = np.zeros(frame.height, dtype=bool)
        mask[chosen] = True
        return Part(features(mask), labels[chosen], rows[chosen])

    return Read(
        schema, part(rest[rest_of_rest]), part(rest[at]) if len(at) else None, part(test_at) if len(test_at) else None
    )


def labelled_rows(labels: Any, target: str, say: Say) -> tuple[Any, Any]:
    """The rows that have a class, and their labels; the others are counted."""
    rows = np.flatnonzero(labels >= 0)
    if len(rows) < len(labels):
        first = int(np.flatnonzero(labels < 0)[0])
        say(f"column {target!r}: {len(labels) - len(rows)} rows without a class are left out, first row {first}")
    return rows, labels[rows]


def _held_out(
    labels: Any, fraction: float | None, seed: int, purpose: int, option: str, default: float = 0.0
) -> tuple[Any, Any]:
    """Places of a fraction of each class, and of the others; among these is one of each class at least, where the
    fraction is no default."""
    n, k = len(labels), len(np.unique(labels))
    if fraction is None:
        fraction = default
    elif fraction and (left := n - max(1, round(n * fraction))) < k:
        raise InputError(
            f"{option}: got {fraction}, which leaves {left} of {n} rows to train on, expected at most "
            f"{1000 * (n - k) // n / 1000:g}: a row of each of the {k} classes trains"
        )
    return hold_out(labels, fraction, seed, purpose)
