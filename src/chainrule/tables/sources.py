"""Where a table's bytes come from: a file or standard input, as it is or compressed, and how its text is encoded."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from chainrule.errors import TableError

__all__ = ["Source", "encoding_of"]

STDIN = "-"
BLOCK = 1 << 20
PACKED: dict[str, tuple[bytes, Callable[..., Any]]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ", lzma.open),
}
MARKS = {  # the longer first: UTF-32's begins as UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Letters that an accent tells from ASCII's stand among those, and a capital does not follow a small letter.
FOREIGN = re.compile(r"(?!éé)[^\W\d_a-zA-Z]{2}|[a-z](?![a-zß-ÿœšžƒªº])[^\W\d_A-Z]")


class Source:
    """A table's bytes, which can be read again and again; "-" is standard input, kept in a temporary file.

    Raises
    ------
    TableError
        The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.name = path, "standard input" if os.fspath(path) == STDIN else os.fspath(path)
        self.kept: Any = None
        if os.fspath(path) == STDIN:
            self.kept = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the source
            weakref.finalize(self, self.kept.close)
            stream = getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())
            while block := stream.read(BLOCK):
                self.kept.write(block)
        with self.reading(), self._raw() as file:
            self.head = file.read(16)
        suffix = Path(self.name).suffix.lower()
        found = [of for of, (magic, _) in PACKED.items() if suffix == of or self.head.startswith(magic)]
        self.packed = found[0] if found else ""
        if self.packed:
            with self.reading(), self.open() as file:
                self.head = file.read(16)

    @property
    def suffix(self) -> str:
        """That of the name, in small letters, without a compressed file's own; "" for standard input."""
        path = Path(self.name)
        return Path(path.stem if path.suffix.lower() in PACKED else path.name).suffix.lower()

    def _raw(self) -> BinaryIO:
        if self.kept is None:
            return open(self.path, "rb")
        self.kept.seek(0)
        return os.fdopen(os.dup(self.kept.fileno()), "rb")  # of its own to close

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The bytes from their begin, unpacked."""
        with self._raw() as file:
            if not self.packed:
                yield file
                return
            with PACKED[self.packed][1](file) as unpacked:
                yield unpacked

    @contextmanager
    def text(self, encoding: str) -> Iterator[io.TextIOWrapper]:
        """The text from its begin, with its own ends of lines."""
        with self.reading(), self.open() as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            yield text

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong while the bytes are read, said of them."""
        try:
            yield
        except EOFError as error:
            raise TableError(f"{self.name}: the compressed file is truncated") from error
        except (zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
            raise TableError(
                f"{self.name}: cannot be read: the compressed file is damaged, or none: {error}"
            ) from error
        except OSError as error:
            raise TableError(f"{self.name}: cannot be read: {error.strerror or error}") from error


def encoding_of(source: Source, given: str | None) -> tuple[str, str]:
    """How the text is encoded, and a sentence where that is not plain.

    A mark at the beginning tells, and zero bytes tell UTF-16. What is no UTF-8 is Western text of one byte a letter
    (cp1252, of which Latin-1's letters are a part), if it looks like that.

    Raises
    ------
    TableError
        It is no text, or one in an encoding that has to be said.
    """
    name = source.name
    if given is not None:
        try:
            codecs.lookup(given)
        except LookupError as error:
            raise TableError(
                f"--encoding: got {given!r:.40}, expected an encoding's name, as cp1252 or utf-16"
            ) from error
    with source.reading(), source.open() as file:
        head = file.read(4096)
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return given or encoding, ""
    if given is not None:
        return given, ""
    if b"\0" in head:
        zeros = [head[at::2].count(0) * 2 / len(head) for at in (0, 1)]
        if max(zeros) > 0.4 and min(zeros) < 0.2 * max(zeros):
            encoding = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
            return encoding, f"{name}: read as {encoding}"
        raise TableError(f"{name}: holds zero bytes: no text; save it as .csv or .parquet")
    line, decoder = 1, codecs.getincrementaldecoder("utf-8")()
    with source.reading(), source.open() as file:
        while block := file.read(BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                return _western(source, line, error.object[error.start])
            line += block.count(b"\n")
    return "utf-8", ""


def _western(source: Source, line: int, byte: int) -> tuple[str, str]:
    where = f"{source.name}: the text is not UTF-8, near line {line}: byte 0x{byte:02x}"
    strange, words, example = 0, 0, ""
    try:
        with source.text("cp1252") as text:
            for words_of in text:
                if words_of.isascii():
                    continue
                for word in re.findall(r"\S*[^\x00-\x7f]\S*", words_of):
                    words, strange = words + 1, strange + bool(FOREIGN.search(word))
                    example = example or word
    except UnicodeDecodeError:
        strange, words = 1, 1
    if strange * 7 > words:
        raise TableError(f"{where}; say --encoding, as --encoding cp1251")
    return "cp1252", f"{where}: read as cp1252, in which it has {example!r:.40} (--encoding says another)"
