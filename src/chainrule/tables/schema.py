"""What training learned of its table, as plain JSON that travels in the model file: prediction reads every later table,
of whatever kind of file, as training read its own."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.extras import require
from chainrule.errors import TableError
from chainrule.tables import cells
from chainrule.tables.cells import Form
from chainrule.tables.reading import as_frame
from chainrule.tables.sparse import SparseFeatures

__all__ = ["KINDS", "Column", "Counts", "Schema", "Target", "shown_value", "values_of"]

DENSE = 2**24  # elements of a matrix: of a larger one that is mostly 0, only the others are stored
SPARSE = 0.1  # of its elements are not 0
KINDS = ("number", "boolean", "date", "time", "duration", "category")
Rows = npt.NDArray[Any]


class Counts:
    """What is odd about a table's cells, counted for each column, with the first row and its cell."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int, Any]] = {}

    def add(self, column: str, what: str, where: Any, rows: Rows, cells: Any = None) -> None:
        """Count the rows of a mask; `rows` are the file's numbers of the rows at hand."""
        at = where.arg_true()
        if len(at) == 0:
            return
        count, row, cell = self._found.get(
            (column, what), (0, int(rows[at[0]]), None if cells is None else cells[at[0]])
        )
        self._found[column, what] = count + len(at), row, cell

    def lines(self) -> list[str]:
        """One line for each column and kind of oddity."""
        said = []
        for (column, what), (count, row, cell) in self._found.items():
            first = f"row {row}" if cell is None else f"{cell!r:.60} in row {row}"
            said.append(f"column {column!r}: {count} {'cell' if count == 1 else 'cells'} {what}, first {first}")
        return said


@dataclass(frozen=True)
class Column:
    """How one column becomes features.

    kind : "number", "boolean", "date" (days since 1970), "time" (hours since midnight), "duration" (hours) or
        "category"
    mean, scale : a number x becomes (x − mean)/scale; a missing one becomes 0, the mean. A scale of 0 stands for a
        constant: its feature is 0.
    missing : whether training saw missing values: then a further feature says where they are
    categories : one feature for each; a category not among them is 0 in all
    low, high : the least and the largest number of training
    form : how text writes the numbers or dates
    rare : categories that training saw and that share one feature, the last, with those that it did not see
    means : the mean of each of its features over the training rows
    note : what is odd about it
    """

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0
    missing: bool = False
    categories: list[str] = field(default_factory=list)
    low: float = 0.0
    high: float = 0.0
    form: Form = field(default_factory=Form)
    rare: list[str] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def constant(self) -> bool:
        """Whether training saw one number and no missing one: whatever a later table holds, the feature is 0."""
        return self.kind != "category" and self.scale == 0.0 and not self.missing

    @property
    def feature_names(self) -> list[str]:
        """The names of the features that this column becomes, in their order."""
        names = [f"{self.name}={c}" for c in self.categories] if self.kind == "category" else [self.name]
        if self.rare:
            names.append(f"{self.name} is rare")
        return [*names, f"{self.name} is missing"] if self.missing else names

    def fill(self, series: Any, into: npt.NDArray[Any], rows: Rows, counts: Counts) -> None:
        """Write the features of a column's cells, and count what training did not know."""
        found = values_of(series, self.kind, self.form)
        text = None if found.null_count() == 0 else cells.text(series)
        gone = found.is_null() if text is None else text.is_null()
        counts.add(self.name, "with no value", gone, rows)
        at = 0
        if self.kind == "category":
            codes, unseen = self.codes(found, gone)
            into[:] = 0
            at = len(self.categories) + bool(self.rare)
            placed = np.flatnonzero(codes >= 0)
            into[placed, codes[placed]] = 1
            counts.add(self.name, "of a category that training never saw", unseen, rows, found)
        else:
            what = {"date": "date", "time": "time of day", "duration": "duration"}.get(self.kind, "number")
            counts.add(self.name, f"no {what} as training's: taken as missing", found.is_null() & ~gone, rows, text)
            self._standardise(series, found, into[:, 0], rows, counts)
            at = 1
        if self.missing:
            into[:, at] = found.is_null().to_numpy()

    def slots(self, series: Any, dtype: str, rows: Rows, counts: Counts) -> tuple[list[Rows], list[Rows]]:
        """What `fill` writes, as elements of a sparse row: the features' places, −1 for none, and their values."""
        if self.kind != "category":
            full = np.empty((len(series), len(self.feature_names)), dtype=dtype)
            self.fill(series, full, rows, counts)
            return [np.full(len(series), j) for j in range(full.shape[1])], list(full.T)
        found = values_of(series, self.kind, self.form)
        gone = cells.text(series).is_null()
        codes, unseen = self.codes(found, gone)
        counts.add(self.name, "with no value", gone, rows)
        counts.add(self.name, "of a category that training never saw", unseen, rows, found)
        places = [codes]
        if self.missing:
            places.append(np.where(found.is_null().to_numpy(), len(self.feature_names) - 1, -1))
        return places, [np.ones(len(series), dtype=dtype) for _ in places]

    def codes(self, found: Any, gone: Any) -> tuple[npt.NDArray[np.int64], Any]:
        """The feature of each cell's category, (N,), −1 for none; and which cells have one that training never saw."""
        pl, n = require("polars", "cli"), len(self.categories)
        names, places = [*self.categories, *self.rare], [*range(n), *([n] * len(self.rare))]
        codes = found.replace_strict(names, places, default=-1, return_dtype=pl.Int64).fill_null(-1)
        unseen = ~gone & (codes < 0)
        return (codes.set(unseen, n) if self.rare else codes).to_numpy().copy(), unseen

    def _standardise(self, series: Any, found: Any, into: npt.NDArray[Any], rows: Rows, counts: Counts) -> None:
        infinite = found.is_infinite().fill_null(False)
        if infinite.any():
            row = rows[infinite.arg_true()[0]]
            raise TableError(f"column {self.name!r}, row {row}: is infinite, expected a finite number")
        width = self.high - self.low
        far = ((found < self.low - width) | (found > self.high + width)).fill_null(False)
        counts.add(self.name, f"far outside training's range ({_range(self)})", far, rows, series)
        if self.scale == 0.0:
            into[:] = 0.0
            return
        with np.errstate(over="ignore"):  # not polars, which multiplies by 1/scale: ∞ where that is subnormal
            into[:] = np.nan_to_num((found - self.mean).to_numpy() / self.scale, nan=0.0, posinf=np.inf, neginf=-np.inf)
        bad = np.flatnonzero(~np.isfinite(into))
        if bad.size:
            raise TableError(
                f"column {self.name!r}, row {rows[bad[0]]}: {series[int(bad[0])]!r} is too far from training's "
                f"numbers ({_range(self)}) for {into.dtype}"
            )


def _range(column: Column) -> str:
    return f"{shown_value(column, column.low, 10)} to {shown_value(column, column.high, 10)}"


def shown_value(column: Column, value: float, digits: int = 4) -> str:
    """A number of a column as the table would write it: a date, a time of day, a number."""
    if column.kind in ("time", "duration"):
        seconds = round(abs(value) * 3600)
        minutes = seconds // 60 if column.kind == "duration" else round(value * 60)
        shown = f"{'-' * (value < 0)}{minutes // 60}:{minutes % 60:02}"
        return shown + f":{seconds % 60:02}" * (column.kind == "duration")
    if column.kind == "date":
        return str(np.datetime64(round(value * 86_400), "s").astype("datetime64[D]"))
    return f"{value:.{digits}g}"


def values_of(series: Any, kind: str, form: Form) -> Any:
    """A column's cells as float64 numbers, or as names of categories; null where missing or not of the kind."""
    if kind == "category":
        return cells.category(series)
    if kind in ("time", "duration"):
        return cells.hours(series) if kind == "time" else cells.lengths(series, form)
    return cells.days(series, form) if kind == "date" else cells.numbers(series, form)


@dataclass(frozen=True)
class Target:
    """The column that holds the classes, and how its cells name them.

    kind : "number", "boolean", "date" (its classes are named in ISO 8601), "category", "text" (every word as it
        stands, None and - too), or "sign" (+ and −, which is a missing value elsewhere)
    """

    name: str
    kind: str
    classes: list[Any]

    def labels(self, frame: Any, rows: Rows | None = None) -> npt.NDArray[np.int64]:
        """The class of each row as its index in `classes`, (N,); −1 where it is missing.

        Raises
        ------
        TableError
            The column is missing, or a row's class was not in training.
        """
        pl = require("polars", "cli")
        frame = as_frame(frame)
        if self.name not in frame.columns:
            raise TableError(no_target(self.name, frame.columns))
        series = frame[self.name]
        keys = keys_of(series, self.kind)
        names = [float(c) for c in self.classes] if self.kind in ("number", "boolean") else self.classes
        index = keys.replace_strict(names, list(range(len(names))), default=-1, return_dtype=pl.Int64)
        labels: npt.NDArray[np.int64] = index.fill_null(-1).to_numpy().copy()
        known = keys if self.kind == "text" else cells.text(series)
        strange = np.flatnonzero((labels < 0) & known.is_not_null().to_numpy())
        if strange.size:
            row = int(strange[0]) if rows is None else int(rows[strange[0]])
            came = series[int(strange[0])]
            raise TableError(f"column {self.name!r}, row {row}: {came!r} is none of the classes of training")
        return labels


def keys_of(series: Any, kind: str) -> Any:
    """A target's cells as what tells the classes apart."""
    if kind in ("number", "boolean"):
        return cells.numbers(series, Form())
    if kind == "text":
        found = series.cast(require("polars", "cli").String).str.strip_chars()
        return found.set((found == "").fill_null(False), None)
    if kind == "sign":
        found = cells.text(series)
        return found.fill_null(series.cast(found.dtype).str.strip_chars().replace_strict({"-": "-"}, default=None))
    if kind == "date":
        pl = require("polars", "cli")
        micros = (cells.days(series, Form()) * 86_400e6).round().cast(pl.Int64)
        return cells.text(micros.cast(pl.Datetime("us")))
    return cells.category(series)


@dataclass(frozen=True)
class Schema:
    """What training learned of its table.

    missing : words that stand for a missing value besides those that always do
    names : all columns of the table, in their order; those of a file without a header are these
    left_out : for each column that is no feature, why
    apart : the columns that say something else of a row, by what that is: "id", "weight", "time", "group"
    """

    target: str
    classes: list[Any]
    columns: list[Column]
    target_kind: str = "category"
    missing: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    apart: dict[str, str] = field(default_factory=dict)

    @property
    def feature_names(self) -> list[str]:
        """One name for each of the D features."""
        return [name for column in self.columns for name in column.feature_names]

    def features(
        self, table: Any, dtype: str = "float32", *, rows: Rows | None = None, counts: Counts | None = None,
        sparse: bool = False,
    ) -> Any:  # fmt: skip
        """The features of a table, (N, D), C-contiguous: each row's from its own cells alone.

        Parameters
        ----------
        table : a data frame of polars or pandas, or a table of Arrow
        sparse : whether they may be `SparseFeatures`, as they then are where they are many and nearly all 0
        rows : the numbers that messages call its rows by; 0, 1, … by default
        counts : counts the missing values, unseen categories, and what else training did not know

        Raises
        ------
        TableError
            A column is missing, or holds lists or an infinite number, or one that leaves the range of `dtype`.
        """
        frame = cells.without(as_frame(table), self.missing)
        lacking = [c.name for c in self.columns if c.name not in frame.columns and not c.constant]
        if lacking:
            raise TableError(
                f"the table has no column {', '.join(map(repr, lacking[:5]))}, which the model was trained on"
            )
        rows = np.arange(frame.height) if rows is None else rows
        counts = Counts() if counts is None else counts
        wide = len(self.feature_names)
        if sparse and frame.height * wide > DENSE and self._elements() < SPARSE * wide:
            return self._sparse(frame, dtype, rows, counts)
        result = np.empty((frame.height, wide), dtype=dtype)
        at = 0
        for column in self.columns:
            wide = len(column.feature_names)
            if column.constant:
                result[:, at] = 0.0
            else:
                column.fill(frame[column.name], result[:, at : at + wide], rows, counts)
            at += wide
        return result

    def _elements(self) -> int:
        return sum(1 if c.kind == "category" else len(c.feature_names) for c in self.columns)

    def _sparse(self, frame: Any, dtype: str, rows: Rows, counts: Counts) -> SparseFeatures:
        places: list[Rows] = []
        values: list[Rows] = []
        at = 0
        for column in self.columns:
            if not column.constant:
                own, found = column.slots(frame[column.name], dtype, rows, counts)
                places += [np.where(place < 0, -1, place + at) for place in own]
                values += found
            at += len(column.feature_names)
        return SparseFeatures.of_slots(places, values, at)

    def labels(self, table: Any, rows: Rows | None = None) -> npt.NDArray[np.int64]:
        """The class of each row as its index in `classes`, (N,); −1 where it is missing. See `Target.labels`."""
        target = Target(self.target, self.target_kind, self.classes)
        return target.labels(cells.without(as_frame(table), self.missing), rows)

    def means(self) -> npt.NDArray[np.float64]:
        """The mean of each feature over the training rows, (D,)."""
        return np.array([m for c in self.columns for m in (c.means or [0.0] * len(c.feature_names))], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Schema:
        """The schema that `to_dict` described.

        Raises
        ------
        TableError
            The data is not a schema's.

        Examples
        --------
        >>> Schema.from_dict({"target": "y"})
        Traceback (most recent call last):
        chainrule.errors.TableError: the schema is damaged: 'columns'
        """
        try:
            columns = [Column(**c | {"form": Form(**c["form"])}) for c in data["columns"]]
            more = {name: data.get(name, type(empty)()) for name, empty in _MORE.items()}
            schema = cls(data["target"], list(data["classes"]), columns, data["target_kind"], **more)
            for c in columns:
                texts = [c.name, c.note, *c.categories, *c.rare]
                sound = all(isinstance(t, str) for t in texts) and c.kind in KINDS and isinstance(c.missing, bool)
                sound &= len(c.means) in (0, len(c.feature_names))
                if not sound or not all(map(math.isfinite, (c.mean, c.scale, c.low, c.high, *c.means))) or c.scale < 0:
                    raise ValueError(f"column {c.name!r:.60}")
            for name, empty in _MORE.items():
                value = more[name]
                texts = [*value, *value.values()] if isinstance(value, dict) else value
                if type(value) is not type(empty) or not all(isinstance(t, str) for t in texts):
                    raise ValueError(f"its {name}")
            if (
                not isinstance(schema.target, str)
                or schema.target_kind not in (*KINDS, "text", "sign")
                or len(schema.classes) < 2
            ):
                raise ValueError("its target or classes")
            of_kind = {"number": int | float, "boolean": bool}.get(schema.target_kind, str)
            if not all(isinstance(c, of_kind) for c in schema.classes) or len(set(schema.classes)) < len(
                schema.classes
            ):
                raise ValueError("its classes")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"the schema is damaged: {error}") from error
        return schema


_MORE: dict[str, Any] = {"missing": [], "names": [], "left_out": {}, "apart": {}}


def no_target(target: str, columns: list[str]) -> str:
    """The message for a table without its target."""
    close = difflib.get_close_matches(target, columns, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; its columns are {', '.join(columns)[:200]}"
    return f"the table has no column {target!r}{hint}"
