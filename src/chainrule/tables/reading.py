"""Files as polars data frames: text as the text that it is, other formats with the types that they have."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.boundary.extras import require
from chainrule.errors import TableError
from chainrule.tables.sources import Source
from chainrule.tables.text import Reading, TextTable, lay_out

__all__ = ["as_frame", "kind_of_file", "read_table", "reading", "refuse_kind", "say_broken"]

FOREIGN = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".ndjson", ".dta", ".sav", ".sas7bdat", ".arff", ".html")


def read_table(
    path: str | os.PathLike[str], how: Reading | None = None, say: Callable[[str], object] = lambda line: None
) -> Any:
    """Read a table as a polars DataFrame; its first bytes and the suffix say the format.

    Every column of a text file is text: what it means is decided once, in training (`learn_schema`).

    Parameters
    ----------
    path : a text file as .csv, .tsv, .txt or .data; .parquet; .arrow, .ipc or .feather; each also compressed by gzip,
        bzip2 or xz; or "-" for standard input
    how : what is known of a text file: its separator, header, encoding
    say : called with a line for each thing that was found out and is not plain

    Raises
    ------
    TableError
        The file is missing, empty, not of its format, in an encoding that has to be said, or has ragged rows or no
        rows. The message names line, column and the option that mends it.

    Examples
    --------
    >>> read_table("table.xlsx")
    Traceback (most recent call last):
    chainrule.errors.TableError: table.xlsx: unknown kind of table, expected text (.csv, .tsv, .txt, .data), .parquet, \
.arrow, .ipc or .feather
    """
    pl, how = require("polars", "cli"), how or Reading()
    refuse_kind(path)
    source = Source(path)
    with reading(path):
        if not source.head:
            raise TableError(f"{source.name}: the file is empty")
        kind = kind_of_file(source)
        if kind != "text":
            read = pl.read_parquet if kind == "parquet" else pl.read_ipc
            with source.reading(), source.open() as file:
                frame = read(io.BytesIO(file.read()) if source.packed or source.kept else path)
        else:
            table = TextTable(source, lay_out(source, how, say), how.skip_broken)
            parts = list(table.chunks())
            frame = pl.concat(parts) if parts else pl.DataFrame({name: [] for name in table.layout.names})
            say_broken(table, say)
    if frame.width and frame.height == 0:
        raise TableError(f"{source.name}: has a header but no rows")
    if frame.width == 0:
        raise TableError(f"{source.name}: has no columns")
    return frame


def refuse_kind(path: str | os.PathLike[str]) -> None:
    """Refuse what a suffix says to be no table that can be read."""
    if os.fspath(path).lower().endswith(FOREIGN):
        raise TableError(
            f"{path}: unknown kind of table, expected text (.csv, .tsv, .txt, .data), .parquet, .arrow, .ipc or "
            ".feather"
        )


def kind_of_file(source: Source) -> str:
    """parquet, ipc or text."""
    if source.head.startswith(b"PAR1") or source.suffix == ".parquet":
        return "parquet"
    if source.head.startswith((b"ARROW1", b"FEA1")) or source.suffix in (".arrow", ".ipc", ".feather"):
        return "ipc"
    if source.head.startswith(b"PK\x03\x04"):
        raise TableError(f"{source.name}: is a zip archive or a spreadsheet; unpack it, or save it as .csv")
    return "text"


def say_broken(table: TextTable, say: Callable[[str], object]) -> None:
    """Count the rows that were left out."""
    if table.left_out:
        count = len(table.left_out)
        say(f"{count} broken {'row is' if count == 1 else 'rows are'} left out, first {table.left_out[0]}")


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
