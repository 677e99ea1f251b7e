"""Tables larger than memory: a Parquet file is read a column, or some rows, at a time, and its features are laid down
in a file that `fit` maps and streams. A text file is made one of Parquet first, some rows at a time."""

from __future__ import annotations

import glob
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.extras import require
from chainrule.boundary.files import temporary_folder
from chainrule.errors import TableError
from chainrule.tables.reading import kind_of_file, reading, refuse_kind, say_broken
from chainrule.tables.sources import Source
from chainrule.tables.text import Reading, TextTable, lay_out

__all__ = ["ParquetTable", "features_on_disk", "is_pattern", "numeric_examples", "open_streamed"]

Array = npt.NDArray[Any]


def is_pattern(path: Any) -> bool:
    """Does a path stand for several files, as shards/*.parquet does?"""
    return isinstance(path, str | os.PathLike) and glob.has_magic(os.fspath(path)) and not os.path.exists(path)


class ParquetTable:
    """A Parquet file, or several of one name pattern, not read whole: what `learn_schema` asks of a data frame, by the
    column.

    rows : the file's numbers of the rows that it consists of; all of them, until `only` takes some

    Raises
    ------
    TableError
        The file is missing, no Parquet, or has no rows.

    Examples
    --------
    >>> ParquetTable("table.csv")
    Traceback (most recent call last):
    chainrule.errors.TableError: table.csv: only a .parquet file can be streamed
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, pl = Path(path), require("polars", "cli")
        if self.path.suffix.lower() != ".parquet":
            raise TableError(f"{path}: only a .parquet file can be streamed")
        self._lazy = pl.scan_parquet(self.path, low_memory=True)
        with reading(path):
            self.columns = list(self._lazy.collect_schema().names())
            self.height = int(self._lazy.select(pl.len()).collect().item())
        if self.height == 0 or not self.columns:
            raise TableError(f"{path}: has no rows")
        self.rows: Array = np.arange(self.height)
        self._total = self.height
        self.source: Any = None  # of a text, whose end is that of the parts
        self.parts: list[Path] = []

    def only(self, rows: Array) -> ParquetTable:
        """The table of some of the rows, given by their rising numbers in the file."""
        other = copy(self)
        other.rows, other.height = rows, len(rows)
        return other

    def __getitem__(self, name: str) -> Any:
        """One column, whole."""
        column = self._lazy.select(name).collect().to_series()
        return column if self.height == self._total else column[self.rows]

    def slices(self, rows: int, mask: Array) -> Iterator[tuple[slice, Any]]:
        """Data frames of its rows, of at most so many consecutive ones of the file, and their places in the table; what
        has none of those that the mask has, (height,) bool, is passed by, and mostly not read."""
        pl, begin = require("polars", "cli"), 0
        for part in self.parts:
            frame = pl.read_parquet(part)
            for inside in range(0, frame.height, rows):
                count = min(rows, frame.height - inside)
                if mask[at := self._at(begin, count)].any():
                    yield at, frame.slice(inside, rows)[self.rows[at] - begin]
                begin += count
        for first in range(begin, self._total, rows):
            if mask[at := self._at(first, rows)].any():
                yield at, self._lazy.slice(first, rows).collect()[self.rows[at] - first]

    def _at(self, begin: int, count: int) -> slice:
        """Where rows of the file stand in the table."""
        return slice(*np.searchsorted(self.rows, (begin, begin + count)))


def features_on_disk(
    table: ParquetTable, features: Callable[[Any, Array], Array], width: int, dtype: str, memory: int
) -> Callable[[Array], np.memmap[Any, Any]]:
    """Turn a table into features, some rows at a time, within half of `memory` bytes; `features` is given a data frame
    and the file's numbers of its rows.

    Returns a function from a mask of rows, (N,) bool, to those rows' features: a memory map of a nameless file, which
    takes no place on the disk any more once nothing refers to it.
    """
    # float64 columns, their features, and what lies between; of a text, its cells
    rows = max(1, memory // 3 // max(width * 24, len(table.columns) * (80 if table.parts else 16)))
    at_once = max(1, memory // 8 // (width * np.dtype(dtype).itemsize))

    def chosen(mask: Array) -> np.memmap[Any, Any]:
        count = int(np.count_nonzero(mask))
        with tempfile.TemporaryFile() as file:
            mapped: np.memmap[Any, Any] = np.memmap(file, dtype=dtype, mode="w+", shape=(max(count, 1), width))
        to = 0
        for at, frame in table.slices(rows, mask):
            found = features(frame, table.rows[at])[mask[at]]
            for start in range(0, len(found), at_once):
                some = found[start : start + at_once]
                mapped[to : to + len(some)] = some
                to += len(some)
                _give_back(mapped)
        mapped.flush()
        return mapped[:count]  # type: ignore[return-value]  # a slice of a map is one

    return chosen


def _give_back(mapped: np.memmap[Any, Any]) -> None:
    """Write what stands in the pages of a map, and give them back: they are read again when they are wanted."""
    mapped.flush()
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def open_streamed(
    path: str | os.PathLike[str], how: Reading, say: Callable[[str], object], memory: int
) -> ParquetTable:
    """A Parquet file, or a text file, which is copied into Parquet files in a temporary folder, every column as text.

    Raises
    ------
    TableError
        As `read_table`; or the file is of another kind.
    """
    if is_pattern(path):
        if not sorted(glob.glob(os.fspath(path))):
            raise TableError(f"{path}: no file has such a name")
        return ParquetTable(path)
    refuse_kind(path)
    source = Source(path)
    with reading(path):
        if not source.head:
            raise TableError(f"{source.name}: the file is empty")
        kind = kind_of_file(source)
        if kind == "ipc" or (kind == "parquet" and (source.packed or source.kept)):
            raise TableError(f"{source.name}: only text and .parquet files can be streamed (--memory)")
        if kind == "parquet":
            return ParquetTable(path)
        text = TextTable(source, lay_out(source, how, say), how.skip_broken)
        folder, used = temporary_folder()
        weakref.finalize(source, _remove, folder, used)
        pl, rows = require("polars", "cli"), max(100, memory // 8 // (100 * len(text.layout.names)))
        waiting: list[Any] = []
        parts: list[Path] = []

        def write() -> None:
            if waiting:
                parts.append(folder / f"{len(parts):08}.parquet")
                pl.concat(waiting).write_parquet(parts[-1], compression="lz4")
                waiting.clear()

        for chunk in text.chunks(rows):
            waiting.append(chunk)
            if sum(frame.estimated_size() for frame in waiting) > memory // 16:
                write()
        write()
    if not parts:
        raise TableError(f"{source.name}: has a header but no rows")
    say_broken(text, say)
    table = ParquetTable(folder / "*.parquet")
    table.source, table.parts = source, parts
    return table


def _remove(folder: Path, used: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    used.close()


def numeric_examples(
    path: str | os.PathLike[str], target: str, dtype: str, memory: int
) -> tuple[np.memmap[Any, Any], Array]:
    """The examples of a Parquet file whose columns, but for the target, are numbers: taken as they are.

    Raises
    ------
    TableError
        A column is missing, no number, or holds missing values; they are named.
    """
    table = ParquetTable(path)
    if target not in table.columns:
        raise TableError(f"{path}: has no column {target!r}, its columns are {', '.join(table.columns)[:200]}")
    names = [name for name in table.columns if name != target]
    if not names:
        raise TableError(f"{path}: has no columns besides the target {target!r}")

    def features(frame: Any, rows: Array) -> Array:
        for name in names:
            series = frame[name]
            if not (series.dtype.is_numeric() or str(series.dtype) == "Boolean"):
                raise TableError(f"{path}, column {name!r}: holds {series.dtype}, expected numbers")
            if series.null_count():
                raise TableError(f"{path}, column {name!r}: has missing values; fill them, or use `chainrule train`")
        return np.column_stack([frame[name].to_numpy().astype(dtype) for name in names])

    column = table[target]
    if not column.dtype.is_integer() or column.null_count():
        came = f"{column.null_count()} missing values" if column.null_count() else str(column.dtype)
        raise TableError(f"{path}, column {target!r}: holds {came}, expected the class's number, an integer from 0")
    labels = column.to_numpy()
    everything = np.ones(table.height, dtype=bool)
    return features_on_disk(table, features, len(names), dtype, memory)(everything), labels
