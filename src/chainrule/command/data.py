"""A table as examples: its schema is learned, its rows are split, and each is known by its number in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from chainrule.boundary.processes import Processes
from chainrule.command.splits import Split, split_of
from chainrule.errors import InputError, TableError
from chainrule.tables import Choices, Reading, Schema, Target, learn_schema, learn_target, read_table
from chainrule.tables.cells import without
from chainrule.tables.model import TableModel, labelled_rows, silent, weights_of
from chainrule.tables.parquet import features_on_disk, open_streamed
from chainrule.tables.sparse import dense
from chainrule.training.splitting import TEST, VALIDATION

__all__ = ["AnyPath", "Part", "Read", "Say", "Table", "Wanted", "open_table", "read_streamed", "read_whole"]

AnyPath = str | os.PathLike[str]
Say = Callable[[str], object]
FOLDED = 1000  # rows: with fewer, those held out would be too few to say when to stop


class Part(NamedTuple):
    """Examples, the row of the table that each came from, and what each weighs."""

    x: Any
    labels: Any
    rows: Any
    weights: Any = None
    here: slice = slice(None)  # of several processes, the examples whose `x` is this one's
    head: Callable[[int], Part] | None = None  # reads the first ones of all

    def take(self, at: Any) -> Part:
        weights = None if self.weights is None else self.weights[at]
        return Part(self.x[at], self.labels[at], self.rows[at], weights)

    def first(self, count: int) -> Part:
        return self.take(slice(count)) if self.head is None else self.head(count)

    def own(self) -> tuple[Any, Any, Any]:
        """The examples, labels and weights of this process."""
        return self.x, self.labels[self.here], None if self.weights is None else self.weights[self.here]

    def mean(self, values: Any, what: str) -> float:
        """The mean of one number for each example, by the weights."""
        if self.weights is None:
            return float(np.mean(values))
        if not self.weights.sum() > 0:
            raise InputError(f"--weight: the {len(self.weights)} rows {what} all have the weight 0")
        return float(np.average(values, weights=self.weights))

    def shown(self) -> tuple[Any, Any, Any]:
        """The examples as matrices, their labels and rows, for a page."""
        return dense(self.x), self.labels, self.rows


class Read(NamedTuple):
    """What training has of a table: those for validation and for the test may be none.

    folds : gives pairs of places in `training`, held out and not, for so many folds
    """

    schema: Schema
    training: Part
    validation: Part | None
    test: Part | None
    folds: Callable[[int], Iterator[tuple[Any, Any]]]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a table.

    ids, ignore, keep, columns : names, or lists of names with commas between
    target : a name; where the file has no header, also a number, counted from 1, or from the end: -1
    time, group : columns that rows are held out by; weight : one that holds what a row counts
    """

    table: Any
    target: str
    choices: Choices = field(default_factory=Choices)
    reading: Reading = field(default_factory=Reading)
    ids: Sequence[str] = ()
    weight: str | None = None
    time: str | None = None
    group: str | None = None
    test: float = 0.0
    test_table: Any = None
    validation: float | None = None
    seed: int = 0

    def named(self, names: list[str]) -> Wanted:
        """The same, with the columns by the names that the table has."""
        choices = self.choices
        target = _numbered(self.target, names)
        if target not in names and all(re.fullmatch(r"column_\d+", name) for name in names):
            raise TableError(
                f"the table has no column {target!r}: no header; --target {len(names)} (or -1) is its last column, "
                "--header says that the first row names them"
            )
        roles = [name for name in (self.weight, self.time, self.group) if name is not None]
        apart = [_numbered(name, names) for name in (*listed(self.ids, names), *roles)]
        if target in apart:
            raise InputError(f"--target: {target!r} is also the id, weight, time or group")
        lists: dict[str, Any] = {
            name: [_numbered(n, names) for n in listed(getattr(choices, name), names)] for name in _LISTS
        }
        both = sorted(set(lists["columns"]) & set(lists["ignore"]))
        if both:
            raise InputError(f"--columns and --ignore: both name {both[0]!r}")
        lists["columns"] = [name for name in lists["columns"] if name != target]
        lists["apart"] = [name for name in apart if name not in lists["keep"]]
        for name in apart:
            if name not in names:
                raise TableError(f"the table has no column {name!r}; it has {', '.join(names)[:200]}")
        roles_named: dict[str, Any] = {
            role: None if (name := getattr(self, role)) is None else _numbered(name, names) for role in _ROLES
        }
        types = {_numbered(name, names): kind for name, kind in choices.types.items()}
        return replace(
            self, target=target, choices=replace(choices, types=types, **lists),
            **roles_named,
            ids=[_numbered(name, names) for name in listed(self.ids, names)],
        )  # fmt: skip

    @property
    def apart(self) -> dict[str, str]:
        """The columns that are no features, by what they are."""
        found = {role: name for role in _ROLES if (name := getattr(self, role)) is not None}
        return found | {"id" if i == 0 else f"id {i + 1}": name for i, name in enumerate(self.ids)}


_LISTS, _ROLES = ("keep", "ignore", "columns"), ("weight", "time", "group")


def listed(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names, of which each may be several with commas between, unless a column has the whole as its name."""
    return [part for name in given for part in ([name] if name in names else name.split(","))]


def _numbered(name: str, names: Sequence[str]) -> str:
    if name not in names and re.fullmatch(r"-?\d+", name) and all(re.fullmatch(r"column_\d+", n) for n in names):
        place = int(name)
        if 1 <= abs(place) <= len(names):
            return names[place - 1 if place > 0 else place]
    return name


@dataclass(frozen=True)
class Table:
    """A table in memory, and its rows that have a class.

    rows : their numbers in the file; labels, weights : theirs
    """

    wanted: Wanted
    frame: Any
    target: Target
    rows: Any
    labels: Any
    weights: Any
    split: Split

    def read(self, training_at: Any, test_at: Any, say: Say, test: Part | None = None) -> Read:
        """Learn the schema of some of the rows, and make examples of them, and of others for the test."""
        wanted, rows, training_at = self.wanted, self.rows, np.sort(training_at)
        frame = self.frame[rows[training_at].tolist()]
        schema = learn_schema(frame, self.target, wanted.choices, rows=rows[training_at], say=say)
        schema = replace(schema, apart=wanted.apart)
        x = schema.features(frame, rows=rows[training_at], sparse=True)
        training = self._part(x, training_at)
        if len(test_at):
            at = rows[test_at]
            test = self._part(schema.features(self.frame[at.tolist()], rows=at, sparse=True), test_at)
        elif wanted.test_table is not None and test is None:
            test = read_test(wanted, schema, say)
        default = 0.1 if len(training.labels) >= FOLDED or self.split.times is not None else 0.0
        places = np.arange(len(self.labels))[training_at]
        held, rest = self.split.hold_out(places, wanted.validation, VALIDATION, "--validation", default)
        held, rest = (np.searchsorted(places, part) for part in (held, rest))

        def folds(count: int) -> Iterator[tuple[Any, Any]]:
            return self.split.folds(places[rest], count)

        return Read(schema, training.take(rest), training.take(held) if len(held) else None, test, folds)

    def _part(self, x: Any, at: Any) -> Part:
        return Part(x, self.labels[at], self.rows[at], None if self.weights is None else self.weights[at])


def open_table(wanted: Wanted, say: Say) -> Table:
    """Read a table whole. The classes are the whole table's; all else is learned from the rows that train."""
    frame = wanted.table
    if isinstance(frame, str | os.PathLike):
        frame = read_table(frame, replace(wanted.reading, target=wanted.target), say)
    wanted = wanted.named(list(frame.columns))
    frame = without(frame, wanted.choices.missing)
    target = learn_target(frame, wanted.target, wanted.choices)
    rows, labels = labelled_rows(target.labels(frame), target.name, say, frame[target.name])

    def column(name: str) -> Any:
        return frame[name][rows.tolist()]

    weights = None if wanted.weight is None else weights_of(column(wanted.weight), rows)
    split = split_of(column, labels, rows, wanted.seed, wanted.time, wanted.group, wanted.choices)
    return Table(wanted, frame, target, rows, labels, weights, split)


def read_whole(wanted: Wanted, say: Say) -> Read:
    """Read a table. By default a tenth is for validation, or none where there are so few rows that folds are to say
    when to stop."""
    table = open_table(wanted, say)
    test_at, rest = _for_the_test(table.wanted, table.split)
    return table.read(rest, test_at, say)


def read_streamed(wanted: Wanted, say: Say, memory: int, processes: Processes | None = None) -> Read:
    """The same, with the features in memory maps; the schema is that of all rows that have a class.

    Of several processes each learns some of the columns, and has an equal share of consecutive rows of each part.
    """
    try_together = (lambda work: work()) if processes is None else processes.together
    found = try_together(lambda: _learned(wanted, say, memory, processes))
    rank, size = (0, 1) if processes is None else (processes.rank, processes.size)

    def share(n: int) -> slice:
        return slice(rank * n // size, (rank + 1) * n // size)

    def own(chosen: Any) -> Part:
        here = share(len(chosen))
        whole, weights = found.part, None if found.weights is None else found.weights[chosen]
        head = None if size == 1 else lambda count: whole(chosen[:count])
        return Part(whole(chosen[here]).x, found.labels[chosen], found.rows[chosen], weights, here, head)

    def read() -> Read:
        test_at, rest = _for_the_test(found.wanted, found.split)
        at, rest = found.split.hold_out(rest, wanted.validation, VALIDATION, "--validation", 0.1)
        test = own(test_at) if len(test_at) else None
        if wanted.test_table is not None:
            test = read_test(found.wanted, found.schema, say)
            here = share(len(test.labels))
            test = test if size == 1 else test._replace(x=test.x[here], here=here, head=test.first)
        training, held_out = own(np.sort(rest)), own(np.sort(at)) if len(at) else None
        return Read(found.schema, training, held_out, test, lambda count: iter(()))

    made: Read = try_together(read)
    return made


class _Learned(NamedTuple):
    """A streamed table: its rows that have a class, and what makes examples of some of them."""

    wanted: Wanted
    schema: Schema
    split: Split
    rows: Any
    labels: Any
    weights: Any
    part: Callable[[Any], Part]


def _learned(wanted: Wanted, say: Say, memory: int, processes: Processes | None) -> _Learned:
    frame = open_streamed(wanted.table, replace(wanted.reading, target=wanted.target), say, memory)
    wanted = wanted.named(list(frame.columns))
    choices = wanted.choices
    found = learn_target(frame, wanted.target, choices)
    labels = found.labels(without(frame[wanted.target].to_frame(), choices.missing))
    rows, labels = labelled_rows(labels, found.name, say)
    frame = frame.only(rows)
    weights = None if wanted.weight is None else weights_of(frame[wanted.weight], rows)
    split = split_of(frame.__getitem__, labels, rows, wanted.seed, wanted.time, wanted.group, choices)
    learned = learn_schema(frame, found, choices, rows=rows, say=say, **_shared(processes))
    schema = replace(learned, apart=wanted.apart)

    def read(frame: Any, rows: Any) -> Any:
        return schema.features(frame, rows=rows)

    features = features_on_disk(frame, read, len(schema.feature_names), "float32", memory)

    def part(chosen: Any) -> Part:
        mask = np.zeros(frame.height, dtype=bool)
        mask[chosen] = True
        return Part(features(mask), labels[chosen], rows[chosen], None if weights is None else weights[chosen])

    return _Learned(wanted, schema, split, rows, labels, weights, part)


def _shared(processes: Processes | None) -> dict[str, Any]:
    """How `learn_schema` learns each column: each process some, all of them told what the others found."""
    if processes is None:
        return {}

    def each(learn: Callable[[str], Any], names: list[str]) -> list[Any]:
        mine = processes.together(lambda: [learn(name) for name in names[processes.rank :: processes.size]])
        of_ranks = processes.gather_objects(mine)
        return [of_ranks[i % processes.size][i // processes.size] for i in range(len(names))]

    return {"each": each}


def read_test(wanted: Wanted, schema: Schema, say: Say) -> Part:
    """The rows of the table that the model is judged on, `--test-table`."""
    model = TableModel(network=None, schema=schema)  # type: ignore[arg-type]  # nothing is predicted yet
    try:
        judged = model.judged(model.read(wanted.test_table, wanted.reading, silent), silent, labelled=True)
        weights = model.weights(judged, say) if len(judged.labels) else None
    except TableError as error:
        raise TableError(f"--test-table: {error}") from error
    if not len(judged.labels):
        raise TableError(f"--test-table: no row has a class in column {schema.target!r}")
    say(f"{wanted.test_table}: {len(judged.labels)} rows for the test")
    return Part(judged.x, judged.labels, judged.rows, weights)


def _for_the_test(wanted: Wanted, split: Split) -> tuple[Any, Any]:
    if wanted.test and wanted.test_table is not None:
        raise InputError("--test and --test-table: got both, expected one")
    return split.hold_out(np.arange(len(split.labels)), wanted.test, TEST, "--test")
