"""CSV, Parquet and Arrow in; features, classes and a schema out.

Polars reads the tables and turns columns into features. What was learned of the training table (the schema) is
plain JSON, so that it travels in the model file and prediction does to a new table what training did.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import TableError
from chainrule.extras import require

__all__ = ["Column", "Schema", "learn_schema", "read_table"]

MAX_CATEGORIES = 1000
KINDS = ("number", "boolean", "date", "category")
MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "?")  # in a CSV's column of numbers, in any case of letters


def read_table(path: str | os.PathLike[str]) -> Any:
    """Read a table as a polars DataFrame; the suffix says the format.

    Parameters
    ----------
    path : .csv, .csv.gz, .parquet, or .arrow, .ipc, .feather. In a CSV's column of numbers an empty field, NA, NaN,
        null, none, - and ? are missing values.

    Raises
    ------
    TableError
        The file is missing, empty, not of its format, not UTF-8, or has ragged rows or no rows.

    Examples
    --------
    >>> read_table("table.xlsx")
    Traceback (most recent call last):
    chainrule.errors.TableError: table.xlsx: unknown kind of table, expected .csv, .csv.gz, .parquet, .arrow, \
.ipc or .feather
    """
    pl = require("polars", "cli")
    name = Path(path).name.lower()
    readers: dict[str, Any] = {
        ".csv": lambda: pl.read_csv(path, try_parse_dates=True, infer_schema_length=None),
        ".csv.gz": lambda: pl.read_csv(path, try_parse_dates=True, infer_schema_length=None),
        ".parquet": lambda: pl.read_parquet(path),
        ".arrow": lambda: pl.read_ipc(path),
        ".ipc": lambda: pl.read_ipc(path),
        ".feather": lambda: pl.read_ipc(path),
    }
    reader = next((read for suffix, read in readers.items() if name.endswith(suffix)), None)
    if reader is None:
        raise TableError(f"{path}: unknown kind of table, expected .csv, .csv.gz, .parquet, .arrow, .ipc or .feather")
    try:
        if os.stat(path).st_size == 0:
            raise TableError(f"{path}: the file is empty")
        if ".csv" in name:
            _check_csv(path)
        frame = reader()
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pl.exceptions.NoDataError as error:
        raise TableError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}: cannot be read: {_first_line(error)}") from error
    if ".csv" in name:
        frame = frame.with_columns([_as_numbers(pl, series) for series in frame if series.dtype == pl.String])
    if frame.width and frame.height == 0:
        raise TableError(f"{path}: has a header but no rows")
    if frame.width == 0:
        raise TableError(f"{path}: has no columns")
    return frame


def _check_csv(path: str | os.PathLike[str]) -> None:
    """Refuse what Polars would mend in silence or complain of at length, and name the line."""
    opener = gzip.open if os.fspath(path).lower().endswith(".gz") else open
    line = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            line = reader.line_num
            twice = [name for i, name in enumerate(header) if name in header[:i]]
            if twice:
                raise TableError(f"{path}: has two columns named {twice[0]!r}")
            for row in reader:
                line = reader.line_num
                if len(row) != len(header) and (row or len(header) > 1):
                    raise TableError(f"{path}, line {line}: has {len(row)} fields, the header has {len(header)}")
    except UnicodeDecodeError as error:
        where = f"near line {line + 1}: byte 0x{error.object[error.start]:02x}"
        raise TableError(f"{path}: the text is not UTF-8, {where}") from error
    except csv.Error as error:
        raise TableError(f"{path}, line {line + 1}: {error}") from error
    except EOFError as error:
        raise TableError(f"{path}: the compressed file is truncated") from error


def _as_numbers(pl: Any, series: Any) -> Any:
    """A CSV's column of text as numbers where it holds nothing but numbers and words for a missing one."""
    stripped = series.str.strip_chars().str.to_lowercase()
    numbers = series.set(stripped.is_in(MISSING), None).str.strip_chars().cast(pl.Float64, strict=False)
    lost = numbers.null_count() - (series.is_null() | stripped.is_in(MISSING)).sum()
    return series if lost or numbers.null_count() == len(numbers) else numbers


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@dataclass(frozen=True)
class Column:
    """How one column becomes features.

    kind : "number", "boolean", "date" (days since 1970) or "category"
    mean, scale : a number x becomes (x − mean)/scale; a missing one becomes 0, the mean
    missing : whether training saw missing values: then a further feature says where they are
    categories : one feature for each; a category not among them is 0 in all
    """

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0
    missing: bool = False
    categories: list[str] = field(default_factory=list)

    @property
    def feature_names(self) -> list[str]:
        """The names of the features that this column becomes, in their order."""
        names = [f"{self.name}={c}" for c in self.categories] if self.kind == "category" else [self.name]
        return [*names, f"{self.name} is missing"] if self.missing else names


@dataclass(frozen=True)
class Schema:
    """What training learned of its table."""

    target: str
    classes: list[Any]
    columns: list[Column]

    @property
    def feature_names(self) -> list[str]:
        """One name for each of the D features."""
        return [name for column in self.columns for name in column.feature_names]

    def features(self, frame: Any, dtype: str = "float32") -> npt.NDArray[Any]:
        """The features of a table, (N, D), C-contiguous.

        Raises
        ------
        TableError
            A column is missing or of another type than in training, or holds an infinite number.
        """
        pl = require("polars", "cli")
        lacking = [c.name for c in self.columns if c.name not in frame.columns]
        if lacking:
            raise TableError(
                f"the table has no column {', '.join(map(repr, lacking[:5]))}, which the model was trained on"
            )
        result = np.empty((frame.height, len(self.feature_names)), dtype=dtype)
        at = 0
        for column in self.columns:
            series = _typed(pl, frame[column.name], column.kind)
            if column.kind == "category":
                for category in column.categories:
                    result[:, at] = (series == category).fill_null(False).to_numpy()
                    at += 1
            else:
                values = ((series - column.mean) / column.scale).fill_null(0.0)
                result[:, at] = values.to_numpy()
                at += 1
            if column.missing:
                result[:, at] = series.is_null().to_numpy()
                at += 1
        return result

    def labels(self, frame: Any) -> npt.NDArray[np.int64]:
        """The class of each row as its index in `classes`, (N,).

        Raises
        ------
        TableError
            The target column is missing, or a row's class was not in training.
        """
        if self.target not in frame.columns:
            raise TableError(_no_target(self.target, frame.columns))
        index = {_class_key(c): i for i, c in enumerate(self.classes)}
        labels = [index.get(_class_key(_plain(v)), -1) for v in frame[self.target].to_list()]
        result = np.array(labels, dtype=np.int64)
        if (result < 0).any():
            row = int(np.flatnonzero(result < 0)[0])
            raise TableError(
                f"column {self.target!r}, row {row}: {frame[self.target][row]!r} is none of the classes of training"
            )
        return result

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
            columns = [Column(**c) for c in data["columns"]]
            schema = cls(data["target"], list(data["classes"]), columns)
            for c in columns:
                texts = [c.name, *c.categories]
                sound = all(isinstance(t, str) for t in texts) and c.kind in KINDS and isinstance(c.missing, bool)
                if not sound or not math.isfinite(c.mean) or not math.isfinite(c.scale) or c.scale <= 0:
                    raise ValueError(f"column {c.name!r:.60}")
            if not isinstance(schema.target, str) or len(schema.classes) < 2:
                raise ValueError("its target or classes")
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"the schema is damaged: {error}") from error
        return schema


def learn_schema(frame: Any, target: str) -> Schema:
    """Learn from a table how its columns become features and its target classes.

    Numbers and dates are standardised (missing ones become the mean), texts become one feature for each category.

    Parameters
    ----------
    frame : polars.DataFrame
    target : the name of the column that holds the classes

    Raises
    ------
    TableError
        No such column, fewer than two classes, a missing class, a column without values or of a kind that cannot
        be used, more than 1000 categories, no columns but the target.

    Examples
    --------
    >>> import polars as pl
    >>> schema = learn_schema(pl.DataFrame({"size": [1.0, 3.0], "kind": ["a", "b"], "y": [0, 1]}), "y")
    >>> schema.feature_names, schema.classes
    (['size', 'kind=a', 'kind=b'], [0, 1])
    """
    pl = require("polars", "cli")
    if target not in frame.columns:
        raise TableError(_no_target(target, frame.columns))
    missing = frame[target].is_null()
    if missing.any():
        rows = missing.arg_true()
        raise TableError(f"column {target!r}: {len(rows)} rows have no class, the first is row {rows[0]}")
    values = {_class_key(_plain(v)): _plain(v) for v in frame[target].unique().to_list()}
    if len(values) < 2:
        raise TableError(
            f"column {target!r}: has one class only ({next(iter(values.values()))!r}), expected at least two"
        )
    classes = sorted(values.values(), key=lambda v: (isinstance(v, str), v))
    columns = [_learn_column(pl, frame[name]) for name in frame.columns if name != target]
    if not columns:
        raise TableError(f"the table has no columns besides the target {target!r}")
    return Schema(target, classes, columns)


def _learn_column(pl: Any, series: Any) -> Column:
    kind = _kind(pl, series)
    typed = _typed(pl, series, kind)
    if typed.null_count() == len(typed):
        raise TableError(f"column {series.name!r}: has only missing values; remove it")
    missing = typed.null_count() > 0
    if kind == "category":
        categories = sorted(typed.drop_nulls().unique().to_list())
        if len(categories) > MAX_CATEGORIES:
            raise TableError(
                f"column {series.name!r}: has {len(categories)} categories, expected at most {MAX_CATEGORIES}; "
                "if it names the rows, remove it"
            )
        return Column(series.name, kind, missing=missing, categories=categories)
    mean, deviation = float(typed.mean()), float(typed.std(ddof=0))
    # a constant column's deviation may be a rounding error
    constant = deviation <= 1e-12 * max(abs(mean), 1e-300) or not math.isfinite(deviation)
    return Column(series.name, kind, mean, 1.0 if constant else deviation, missing)


def _kind(pl: Any, series: Any) -> str:
    dtype = series.dtype
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.Date, pl.Datetime):
        return "date"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return "category"
    raise TableError(f"column {series.name!r}: has type {dtype}, expected numbers, booleans, dates or text")


def _typed(pl: Any, series: Any, kind: str) -> Any:
    """The column as float64 numbers, or as text for categories, with nulls where values are missing."""
    if series.null_count() == len(series):
        return pl.Series(series.name, [None] * len(series), dtype=pl.String if kind == "category" else pl.Float64)
    came = _kind(pl, series)
    if came != kind and not (kind == "category") and not {came, kind} <= {"number", "boolean"}:
        raise TableError(f"column {series.name!r}: holds {series.dtype} (a {came}), expected a {kind} as in training")
    if kind == "category":
        return series.cast(pl.String)
    if kind == "date":
        return series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 86_400e6
    numbers = series.cast(pl.Float64)
    infinite = numbers.is_infinite().fill_null(False)
    if infinite.any():
        raise TableError(f"column {series.name!r}, row {infinite.arg_true()[0]}: is infinite, expected a finite number")
    return numbers.fill_nan(None)


def _plain(value: Any) -> Any:
    """A class as JSON can hold it."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _class_key(value: Any) -> Any:
    """Equal for what is the same class in CSV and Parquet: 1 and 1.0, but not True and 1."""
    return (type(value) is bool, isinstance(value, str), value)


def _no_target(target: str, columns: list[str]) -> str:
    close = difflib.get_close_matches(target, columns, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; its columns are {', '.join(columns)[:200]}"
    return f"the table has no column {target!r}{hint}"
