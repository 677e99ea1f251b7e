"""Text files as rows of cells: how they are written is found out where one meaning is sensible, and said; else the
error names line, column and the option that says it. The rows are parsed by Python's csv module."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from chainrule.boundary.extras import require
from chainrule.errors import TableError
from chainrule.tables.cells import MISSING
from chainrule.tables.sources import Source, encoding_of

__all__ = ["SEPARATORS", "Layout", "Reading", "TextTable", "column_names", "lay_out"]

SEPARATORS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}
SAMPLE = 300  # lines that are looked at
CHUNK = 20_000  # rows
HEADERS = 10  # lines that are looked at for the names that are known
AGREE = 0.9  # of the sample's lines have as many fields, where a character is the separator
NUMBER = re.compile(r"[+-]?[$€£]?\s?(?:\d[\d., ']*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")
csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Reading:
    """What a user may say of a text file, and what a model knows of it.

    separator : one character, or None to find it
    header : whether the first row names the columns; None to find out
    encoding : an encoding's name, or None to find it
    skip_broken : whether rows with too many or too few fields are left out, and counted
    known : the columns of the model's own table, in their order; those of a file without a header are these
    target : the column that holds the classes
    """

    separator: str | None = None
    header: bool | None = None
    encoding: str | None = None
    skip_broken: bool = False
    known: Sequence[str] = ()
    target: str | None = None


@dataclass(frozen=True)
class Layout:
    """How a text file is written.

    skip : lines before the header, or before the first row
    """

    encoding: str
    separator: str
    header: bool
    names: list[str]
    skip: int = 0
    quote: str = '"'


@dataclass
class TextTable:
    """A text file that is read a chunk of rows at a time, every column as text."""

    source: Source
    layout: Layout
    skip_broken: bool = False
    left_out: list[str] = field(default_factory=list)  # what is wrong with broken rows that are left out

    def chunks(self, rows: int = CHUNK) -> Iterator[Any]:
        """Data frames of at most so many rows, all of them text."""
        with self.source.text(self.layout.encoding) as text:
            lines = _Lines(text, self.layout)
            reader = self._rows(lines)
            while part := list(islice(reader, rows)):
                yield self._frame(part, lines)

    def _frame(self, part: list[list[str]], lines: _Lines) -> Any:
        """A data frame of rows: by Polars, which makes columns faster, where their lines mean the same to it."""
        pl, layout = require("polars", "cli"), self.layout
        names, written = layout.names, "".join(lines.kept)
        q, edge = re.escape(layout.quote), re.escape(layout.separator + layout.quote) + r"\r\n"
        plain = lines.plain and f"{layout.separator} " not in written
        plain = plain and re.search(rf"(?<![{edge}]){q}(?![{edge}])", "\n" + written) is None  # none within a word
        lines.kept, lines.plain = [], not lines.spaces
        if plain and len(names) > 1:
            try:
                frame = pl.read_csv(
                    written.encode(), has_header=False, separator=layout.separator, quote_char=layout.quote,
                    infer_schema=False, new_columns=names,
                )  # fmt: skip
                if frame.shape == (len(part), len(names)):
                    return frame
            except pl.exceptions.PolarsError:
                pass  # what the csv module reads all the same
        columns = zip(*part, strict=True)
        return pl.DataFrame({n: pl.Series(n, c, dtype=pl.String) for n, c in zip(names, columns, strict=True)})

    def _rows(self, lines: _Lines) -> Iterator[list[str]]:
        source, layout, n = self.source, self.layout, len(self.layout.names)
        self.left_out, pending, begun = [], 0, False
        reader = csv.reader(
            lines, delimiter=layout.separator, quotechar=layout.quote, skipinitialspace=True, strict=True
        )
        first = layout.header
        while True:
            begin, lines.first = lines.number + 1, ""
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._broken(_quoted(source.name, layout, lines, begin, error), lines)
                continue
            except UnicodeError as error:
                raise TableError(
                    f"{source.name}, near line {lines.number + 1}: is not {layout.encoding}; say --encoding"
                ) from error
            lines.plain &= len(row) == n
            if not row:  # a blank line; of a single column, a missing value, but before the first and after the last
                pending += n == 1 and begun
                continue
            if first:
                first, lines.kept, lines.plain = False, [], not lines.spaces
                continue
            if n == 1:
                yield from ([""] for _ in range(pending))
                pending, begun = 0, True
            if len(row) != n:
                while len(row) > n and not row[-1].strip():
                    row.pop()
                if len(row) != n:
                    self._broken(_ragged(source.name, begin, row, layout), lines)
                    continue
            yield row

    def _broken(self, what: str, lines: _Lines) -> None:
        if not self.skip_broken:
            raise TableError(what)
        self.left_out.append(what.partition("; ")[0])
        lines.plain = False


class _Lines:
    """The lines of a text, after those that are skipped, and the number and the text of the last one that was read."""

    def __init__(self, text: Any, layout: Layout) -> None:
        self.text = text
        self.number, self.last, self.spaces = 0, "", layout.separator == " "
        self.first = ""  # of the lines of the row that is read
        self.kept: list[str] = []  # those of the rows since the last chunk
        self.plain = not self.spaces  # whether each of them is a row as it stands
        for _ in range(layout.skip):
            self.text.readline()
            self.number += 1
        self.comment = True  # a mark of a comment before the header is no part of its first name

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = str(self.text.readline())
        if not line:
            raise StopIteration
        self.number += 1
        if self.comment and line.strip():
            line, self.comment = line.removeprefix("#"), False
        if self.spaces:
            line = line.replace("\t", " ").strip()
        elif not line.strip():
            line = "\n"
        self.last = line
        self.first = self.first or line
        self.kept.append(line)
        return line


def lay_out(source: Source, how: Reading, say: Callable[[str], object]) -> Layout:
    """How a text file is written, as far as `how` does not say it; what is not plain is said.

    Raises
    ------
    TableError
        It could be written in two ways, or its header or its names are of no use.
    """
    encoding, told = encoding_of(source, how.encoding)
    if told:
        say(told)
    try:
        with source.text(encoding) as text:
            sample = list(islice(text, SAMPLE))
    except UnicodeError as error:
        raise TableError(f"{source.name}: is not {encoding}; say --encoding: {error}") from error
    if not any(line.strip() for line in sample):
        raise TableError(f"{source.name}: the file is empty")
    hint = re.fullmatch(r'"?sep=(.)"?\s*', sample[0])  # as Excel has it
    begin = int(hint is not None)
    sample = sample[begin:]
    separator, share = _separator(source, sample, how.separator or (hint[1] if hint else None))
    plain = "\t" if source.suffix in (".tsv", ".tab") else ","
    if how.separator is None and separator != plain and share:
        word = next(name for name, sign in SEPARATORS.items() if sign == separator)
        say(
            f"{source.name}: read with {separator!r} between columns"
            if word != "tab"
            else f"{source.name}: read with tabs between columns"
        )
    skip = _titles(sample, separator, _skipped(sample, separator))
    skip = _named(sample, separator, skip, how)
    if skip:
        say(f"{source.name}: {skip} {'line' if skip == 1 else 'lines'} before the table left out")
    quote = _quote(sample[skip:], separator)
    rows = _parsed(sample[skip:], separator)
    if not rows:
        raise TableError(f"{source.name}: the file is empty")
    if len(rows) > 1 and all(len(row) == len(rows[0]) > 1 and not row[-1].strip() for row in rows):
        rows = [row[:-1] for row in rows]  # every line ends with a separator
    first = [name.strip() for name in rows[0]]
    first[0] = first[0].removeprefix("#").strip()
    wide = Counter(map(len, rows[1:])).most_common(1)[0][0] if len(rows) > 1 else len(first)
    header = _has_header(first, rows[1:], how) if how.header is None else how.header
    if not header:
        names = _without_header(source, len(first), wide, how)
        if how.header is None:
            say(f"{source.name}: has no header: its columns are {names[0]} to {names[-1]}")
        return Layout(encoding, separator, False, names, begin + skip, quote)
    trailing = len(first) < wide and all(not row[-1].strip() for row in rows[1:] if len(row) == wide)
    if len(first) + 1 == wide and not trailing:  # as R writes the names of rows
        agreeing = sum(len(row) == wide for row in rows[1:])
        if agreeing == len(rows) - 1 and agreeing > 1:
            say(f"{source.name}: the header has one name less than the rows have cells: the first column has none")
            first = ["", *first]
    agree = len(rows) > 2 and all(len(row) == wide for row in rows[1:])
    if agree and abs(len(first) - wide) > 1 and not trailing:
        raise TableError(
            f"{source.name}, line {begin + skip + 1}: has {len(first)} fields, all others have {wide}: no header; "
            "--no-header --skip-broken leaves it out and numbers the columns"
        )
    return Layout(encoding, separator, True, column_names(source.name, first, say), begin + skip, quote)


def column_names(source: str, names: list[str], say: Callable[[str], object]) -> list[str]:
    """The names of columns, of which no two are the same."""
    found: list[str] = []
    for at, name in enumerate(names):
        other, count = name, 1
        while other in found:
            count += 1
            other = f"{name} ({count})" if name else f"column_{at + 1}"
            if not name and count > 2:
                other += "_"
        if other != name and name:
            say(f"{source}: has two columns named {name!r}: the later is {other!r}")
        found.append(other)
    return found


def _separator(source: Source, sample: list[str], given: str | None) -> tuple[str, float]:
    if given is not None:
        return given, 0.0
    lines = [line for line in sample if line.strip()]
    shares: dict[str, float] = {}
    for sign in SEPARATORS.values():
        widths = Counter(len(_cut(row)) for row in _parsed(lines, sign))
        wide, count = max(widths.items(), key=lambda found: (found[1], found[0]), default=(1, 0))
        narrow = widths[wide - 1] if wide > 2 else 0  # a header without a name for the rows
        if wide > 1:
            shares[sign] = (count + (narrow == 1)) / sum(widths.values())
    best = max(shares.values(), default=0.0)
    if best < 0.5:
        return ",", 0.0
    good = [sign for sign, share in shares.items() if share >= min(best, AGREE)]
    good = [sign for sign in good if sign != " "] or good
    if len(good) > 1:
        full = [sign for sign in good if shares[sign] == best]
        good = full if best == 1.0 and len(full) < len(good) else good
    if len(good) == 1:
        return good[0], best
    # of a comma and another: the comma is a decimal one, or the suffix tells
    others = [sign for sign in good if sign != ","]
    if len(others) == 1:
        cells = [cell.strip() for row in _parsed(lines, others[0])[1:] for cell in row if "," in cell]
        if all(re.fullmatch(r"[+-]?[\d.]*,\d+", cell) for cell in cells):
            return others[0], best
    by_suffix = {".csv": ",", ".tsv": "\t", ".tab": "\t"}.get(source.suffix)
    if by_suffix in good:
        return str(by_suffix), best
    words = " or ".join(name for name, sign in SEPARATORS.items() if sign in good)
    raise TableError(f"{source.name}: its columns could be separated by {words}; say --separator {words.split()[0]}")


def _cut(row: list[str]) -> list[str]:
    return row[:-1] if len(row) > 1 and not row[-1].strip() else row


def _quote(lines: list[str], separator: str) -> str:
    """What stands around texts: an apostrophe where as many cells end as begin with one, and none has the other."""
    sign, found = re.escape(separator), 0
    for line in lines:
        begin, end = re.findall(rf"(?:^|{sign})\s*'", line), re.findall(rf"'\s*(?={sign}|$)", line.rstrip())
        if len(begin) != len(end) or '"' in line:
            return '"'
        found += len(begin)
    return "'" if found else '"'


def _parsed(lines: list[str], separator: str) -> list[list[str]]:
    quote = _quote(lines, separator)
    if separator == " ":
        lines = [line.replace("\t", " ").strip() for line in lines]
    lines = [line if line.strip() else "\n" for line in lines]
    rows = list(csv.reader(lines, delimiter=separator, quotechar=quote, skipinitialspace=True))
    return [row for row in rows if row]


def _skipped(sample: list[str], separator: str) -> int:
    """Comments before the table; the last of them may be its header."""
    count = next((i for i, line in enumerate(sample) if line.strip() and not line.startswith(("#", "%"))), 0)
    if not any(line.startswith(("#", "%")) for line in sample[:count]):
        return 0
    body = Counter(map(len, _parsed(sample[count:], separator))).most_common(1)
    last = max(i for i in range(count) if sample[i].strip())
    header = _parsed([sample[last].lstrip("#% ")], separator)
    return last if sample[last].startswith("#") and header and body and len(header[0]) == body[0][0] > 1 else count


def _titles(sample: list[str], separator: str, skip: int) -> int:
    """Lines before the table, with those that are no row of it: a single field, or numbers, where all rows agree on
    more fields."""
    while True:
        lines = [(at, line) for at, line in enumerate(sample[skip:], start=skip) if line.strip()]
        rows = _parsed([line for _, line in lines], separator)
        if len(rows) < 3 or len(rows) != len(lines):
            return skip
        widths = {len(_cut(row)) for row in rows[1:]}
        title = len(rows[0]) == 1 or any(NUMBER.fullmatch(cell.strip()) for cell in rows[0])
        more = min(widths) > len(rows[0]) + (len(rows[0]) > 1)
        if not (title and more and (len(widths) == 1 or len(rows[0]) == 1)):
            return skip
        skip = lines[0][0] + 1


def _named(sample: list[str], separator: str, skip: int, how: Reading) -> int:
    """Lines before the one that names the target, or every column that the model knows, where that is one of the next
    few: other headers, titles with separators in them."""
    known = {name for name in how.known if name.strip() and name != how.target}
    names = known or {name for name in (how.target,) if name is not None and not NUMBER.fullmatch(name)}
    if not names or how.header is False:
        return skip
    for at, line in enumerate(sample[skip : skip + HEADERS], start=skip):
        first = [cell.strip() for row in _parsed([line], separator) for cell in row]
        if not names <= set(first):
            continue
        rows = [row for row in _parsed(sample[at + 1 :], separator) if len(row) == len(first)]
        again = any(row[first.index(name)].strip() == name for row in rows for name in names)  # a class, and no name
        return at if rows and not again and any(map(str.strip, sample[skip:at])) else skip
    return skip


def _has_header(first: list[str], rest: list[list[str]], how: Reading) -> bool:
    """Whether the first row names the columns: it does unless it looks like the rows below it."""
    named = [name for name in (how.target, *how.known) if name is not None and not NUMBER.fullmatch(name)]
    if any(name in first for name in named if name.strip()):
        return True
    if not rest or "" in first:
        return bool(rest) or not how.known
    placed = 0 if how.known else 1  # numbers that count the columns name them, but where the names are known
    if placed and any(all(cell == str(i + begin) for i, cell in enumerate(first)) for begin in (0, 1)):
        return True
    again = 0
    for at, cell in enumerate(first):
        below = [row[at].strip() for row in rest if len(row) > at]
        known = [value for value in below if value.lower() not in MISSING]
        if not known:
            continue
        numbers = sum(NUMBER.fullmatch(value) is not None for value in known)
        if numbers >= AGREE * len(known) and NUMBER.fullmatch(cell) and not (placed and cell in (str(at), str(at + 1))):
            return False
        again += cell in below and numbers < AGREE * len(known)
    return again * 2 < len(first)


def _without_header(source: Source, width: int, wide: int, how: Reading) -> list[str]:
    known, n = list(how.known), max(width, wide)
    if known:
        without = [name for name in known if name != how.target]
        fitting = next((names for names in (known, without) if len(names) == n), None)
        if fitting is None:
            raise TableError(
                f"{source.name}: has no header, and {n} columns, expected {len(known)}, as the model's table had, or "
                f"{len(without)} without the target"
            )
        return fitting
    return [f"column_{i + 1}" for i in range(n)]


def _ragged(name: str, line: int, row: list[str], layout: Layout) -> str:
    n = len(layout.names)
    expected = f"the header has {n}" if layout.header else f"the others have {n}"
    if len(row) > n:
        where = f"column {n + 1} is {row[n].strip()!r:.40}"
    else:
        where = f"column {len(row) + 1}, {layout.names[len(row)]!r:.40}, is not there"
    return (
        f"{name}, line {line}: has {len(row)} fields, {expected}: {where}; --skip-broken leaves such rows out, "
        "--separator says what stands between columns"
    )


def _quoted(name: str, layout: Layout, lines: _Lines, begin: int, error: csv.Error) -> str:
    sign = re.escape(layout.separator)
    if lines.number > begin or "end of data" in str(error):
        what, line, text = "a quotation mark that opens there is never closed, or closed elsewhere", begin, lines.first
    else:
        what, line, text = f"text after a closing quotation mark ({error})", lines.number, lines.last
    q = re.escape(layout.quote)
    found = re.search(rf"(?:^|{sign})\s*{q}(?:[^{q}]|{q}{q})*(?:$|{q}(?!\s*(?:{sign}|$|{q}|\r|\n)))", text)
    column = text[: found.start() + 1].count(layout.separator) + 1 if found else 1
    return (
        f'{name}, line {line}, column {column}: {what}; write it as two marks (""), or --skip-broken leaves the row out'
    )
