"""Files as polars data frames: CSV as the text that it is, other formats with the types that they have."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.boundary.extras import require
from chainrule.errors import TableError

__all__ = ["as_frame", "read_table", "reading"]


def read_table(path: str | os.PathLike[str]) -> Any:
    """Read a table as a polars DataFrame; the suffix says the format.

    Every column of a CSV is text: what it means is decided once, in training (`learn_schema`).

    Parameters
    ----------
    path : .csv, .csv.gz, .parquet, or .arrow, .ipc, .feather

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
        ".csv": _read_csv,
        ".csv.gz": _read_csv,
        ".parquet": pl.read_parquet,
        ".arrow": pl.read_ipc,
        ".ipc": pl.read_ipc,
        ".feather": pl.read_ipc,
    }
    reader = next((read for suffix, read in readers.items() if name.endswith(suffix)), None)
    if reader is None:
        raise TableError(f"{path}: unknown kind of table, expected .csv, .csv.gz, .parquet, .arrow, .ipc or .feather")
    with reading(path):
        if os.stat(path).st_size == 0:
            raise TableError(f"{path}: the file is empty")
        frame = reader(path)
    if frame.width and frame.height == 0:
        raise TableError(f"{path}: has a header but no rows")
    if frame.width == 0:
        raise TableError(f"{path}: has no columns")
    return frame


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """What goes wrong while a file is read, said of it."""
    exceptions = require("polars", "cli").exceptions
    try:
        yield
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except exceptions.NoDataError as error:
        raise TableError(f"{path}: the file is empty") from error
    except exceptions.PolarsError as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise TableError(f"{path}: cannot be read: {words[0]}") from error


def as_frame(table: Any) -> Any:
    """A polars DataFrame of a data frame of pandas or polars or a table of Arrow; a ParquetTable as it is.

    Raises
    ------
    TableError
        `table` is none of these, or has two columns of the same name.
    """
    pl = require("polars", "cli")
    if isinstance(table, pl.DataFrame) or hasattr(table, "slices"):
        return table
    if hasattr(table, "to_records") and hasattr(table, "iloc"):  # pandas, whose columns of objects may mix types
        names = [str(name) for name in table.columns]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise TableError(f"the data frame has two columns named {twice[0]!r}")
        return pl.DataFrame([_of_pandas(pl, name, table.iloc[:, i]) for i, name in enumerate(names)])
    if not hasattr(table, "__arrow_c_stream__"):
        raise TableError(f"table: got {type(table).__name__}, expected a data frame of polars or pandas, or Arrow's")
    return pl.DataFrame(table)


def _of_pandas(pl: Any, name: str, column: Any) -> Any:
    if str(column.dtype) != "object":
        return pl.from_pandas(column).alias(name)
    missing = column.isna().tolist()
    texts = [None if gone else str(v) for v, gone in zip(column.tolist(), missing, strict=True)]
    return pl.Series(name, texts, dtype=pl.String)


def _read_csv(path: str | os.PathLike[str]) -> Any:
    pl = require("polars", "cli")
    data = Path(path).read_bytes()
    if os.fspath(path).lower().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except EOFError as error:
            raise TableError(f"{path}: the compressed file is truncated") from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise TableError(f"{path}: cannot be read: the compressed file is damaged, or none: {error}") from error
    _check_csv(path, data)
    return pl.read_csv(data, infer_schema=False)


def _check_csv(path: str | os.PathLike[str], data: bytes) -> None:
    """Refuse what Polars would mend in silence or complain of at length, and name the line."""
    line = 0
    try:
        with io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="") as file:
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
