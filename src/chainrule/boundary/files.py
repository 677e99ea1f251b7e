"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows, where a file that is written cannot be told
    fcntl = None  # type: ignore[assignment]

import numpy as np

from chainrule.boundary.extras import require
from chainrule.errors import OutputFileError

__all__ = [
    "lock_folder", "open_tensors", "require_apart", "require_writable", "save_tensors", "sign", "temporary_folder",
    "write_atomically", "write_out",
]  # fmt: skip

UNSIGNED = "0" * 64


def require_writable(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be created there, so that a long job fails before it starts.

    Raises
    ------
    OutputFileError
        The folder is missing or not writable, or the path is itself a folder.

    Examples
    --------
    >>> require_writable("/no/such/folder/model.safetensors")
    Traceback (most recent call last):
    chainrule.errors.OutputFileError: /no/such/folder/model.safetensors: the folder /no/such/folder does not exist
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()  # the file behind a link is written, the link stays
    folder = target.parent
    if target.is_dir():
        raise OutputFileError(f"{target}: is a folder, expected the name of a file to write")
    if not folder.is_dir():
        raise OutputFileError(f"{target}: the folder {folder} does not exist")
    if target.exists() and not target.is_file():
        return target
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".chainrule-"):
            pass
    except OSError as error:
        raise OutputFileError(f"{target}: cannot write in {folder}: {error.strerror}") from error
    return target


def require_apart(**paths: str | os.PathLike[str] | None) -> None:
    """Refuse two names for one file, of what is read and what is written; the names are those of the arguments.

    Raises
    ------
    OutputFileError
        Two of them are the same file.

    Examples
    --------
    >>> require_apart(table="a.csv", output="./a.csv")
    Traceback (most recent call last):
    chainrule.errors.OutputFileError: output: is the same file as table, a.csv
    """
    seen: dict[str, str] = {}
    for name, path in paths.items():
        if path is None or (os.path.exists(path) and not os.path.isfile(path)):  # /dev/null may be named twice
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise OutputFileError(f"{name}: is the same file as {seen[real]}, {paths[seen[real]]}")
        seen[real] = name


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write `content` beside `path`, flush it to disk, then rename it into place.

    A reader sees the old file or the new one, never a part; a failure leaves the old one as it was. What a killed
    process left beside it is removed.

    Raises
    ------
    OutputFileError
        The disk is full, the folder is missing or not writable.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a.txt", "whole").read_text()
    'whole'
    """
    target = require_writable(path)
    data = content.encode() if isinstance(content, str) else content
    if target.exists() and not target.is_file():  # a device or a pipe is written to, never renamed over
        try:
            with open(target, "wb", buffering=0) as device:
                device.write(data)
        except OSError as error:
            raise OutputFileError(f"{target}: cannot be written: {error.strerror}") from error
        return target
    _remove_leftovers(target.parent)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".chainrule-{os.getpid()}-", suffix=".part")
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as it is written
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputFileError(f"{target}: cannot be written: {error.strerror}") from error
        raise
    return target


def _remove_leftovers(folder: Path) -> None:
    """Remove the parts of files that a process left when it was killed: nobody writes them, and no process that this
    one can see has their number."""
    if fcntl is None:
        return
    for part in folder.glob(".chainrule-*.part"):
        found = re.match(r"\.chainrule-(\d+)-", part.name)
        if found and _runs(int(found[1])):
            continue
        try:
            with open(part, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
        except OSError:
            continue  # it is written, or somebody else's


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def temporary_folder() -> tuple[Path, Any]:
    """A folder of one's own among the system's temporary files, and an open file that says that it is in use as long as
    it is open. What killed processes left there is removed.

    Examples
    --------
    >>> folder, used = temporary_folder()
    >>> folder.is_dir()
    True
    >>> used.close()
    >>> shutil.rmtree(folder)
    """
    if fcntl is not None:
        for sign_of_use in Path(tempfile.gettempdir()).glob("chainrule-*/used"):
            try:
                with open(sign_of_use, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(sign_of_use.parent, ignore_errors=True)
            except OSError:
                continue  # it is in use, or somebody else's
    folder = Path(tempfile.mkdtemp(prefix="chainrule-"))
    used = open(folder / "new", "wb")  # noqa: SIM115  # its name is another's business once it is locked
    if fcntl is not None:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(folder / "new", folder / "used")
    return folder, used


def lock_folder(folder: Path) -> int | None:
    """Keep a folder from every other run until the file descriptor that is returned is closed; None where there are no
    locks.

    Raises
    ------
    OutputFileError
        Another has it.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> held = lock_folder(folder)
    >>> try:
    ...     lock_folder(folder)
    ... except OutputFileError as error:
    ...     print(str(error).partition(": ")[2])
    another run is writing into it
    >>> os.close(held)
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise OutputFileError(f"{folder}: another run is writing into it") from error
        return None  # a file system without them
    return handle


def write_out(text: str) -> None:
    """Print text, all of it or an error: where Python does not buffer, print() takes part of it for the whole.

    Raises
    ------
    OutputFileError
        The disk behind standard output is full. A closed pipe stays a BrokenPipeError.
    """
    try:
        sys.stdout.flush()
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None:
            sys.stdout.write(text)
            return
        left = memoryview(text.encode(sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"))
        while left:
            left = left[stream.write(left) or 0 :]
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFileError(f"standard output: cannot be written: {error.strerror}") from error


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, Any], description: dict[str, Any]) -> Path:
    """Write named arrays and a JSON description as one `.safetensors` file, whole or not at all."""
    library = require("safetensors.numpy", "cli")
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = {"chainrule": json.dumps({"sha256": UNSIGNED} | description)}  # of more keys the order would be random
    return write_atomically(path, sign(library.save(arrays, metadata=metadata)))


def sign(data: bytes) -> bytes:
    """The bytes of a `.safetensors` file with their digest in its description: the SHA-256 of all of them, the digest's
    own place being full of zeros.

    Raises
    ------
    ValueError
        There is no such place.
    """
    # of a description within the header's JSON the quotation marks are escaped once, of texts in it three times
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    found = re.search(rb'\\"sha256\\": ?\\"([0-9a-f]{64})\\"', header)
    if found is None:
        raise ValueError("has no digest of its own bytes")
    begin, end = data[: 8 + found.start(1)], data[8 + found.end(1) :]
    return begin + hashlib.sha256(begin + UNSIGNED.encode() + end).hexdigest().encode() + end


class _Tensor(NamedTuple):
    """An array as a `.safetensors` file has it."""

    shape: list[int]
    dtype: str
    data: bytes

    def array(self) -> Any:
        return np.frombuffer(bytearray(self.data), dtype=self.dtype).reshape(self.shape)


def open_tensors(path: str | os.PathLike[str], error: type[Exception]) -> tuple[dict[str, _Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`: its arrays and the description, once its digest is that of its bytes.

    The header's declared size is held against the file's before anything is read by it. The file is read whole:
    safetensors' own reader would open the path again, where another file may stand by then.
    """
    safetensors = require("safetensors", "cli")
    try:
        data = Path(path).read_bytes()
    except OSError as reason:
        raise error(f"{path}: cannot be read: {reason.strerror}") from reason
    # only after the file has failed as what it should be: these bytes may also begin a good header
    foreign = ""
    if data[:2] == b"PK" or (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05"):
        foreign = "looks like a pickle or a zip archive, which could run code; "
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header > len(data) - 8:
        raise error(
            f"{path}: {foreign}not a .safetensors file, or truncated: "
            f"declares a header of {header} bytes in a file of {len(data)}"
        )
    try:
        arrays = {
            name: _Tensor(part["shape"], _NAMES.get(part["dtype"], part["dtype"]), part["data"])
            for name, part in safetensors.deserialize(data)
        }
        metadata = json.loads(data[8 : 8 + header]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, RecursionError) as reason:
        raise error(f"{path}: {foreign}damaged, truncated or not a .safetensors file: {reason}") from reason
    if "chainrule" not in metadata:
        raise error(f"{path}: is a .safetensors file, but not Chainrule's: its description is missing")
    try:
        description = json.loads(metadata["chainrule"])
    except (ValueError, RecursionError) as reason:
        raise error(f"{path}: its description is not JSON") from reason
    if not isinstance(description, dict):
        raise error(f"{path}: its description is not a JSON object")
    try:
        sound = sign(data) == data
    except ValueError as reason:
        raise error(f"{path}: {reason}: it is altered, or of an older version of Chainrule") from reason
    if not sound:
        raise error(f"{path}: is damaged or altered: its bytes do not have the digest that it states")
    return arrays, description


_NAMES = {"F32": "float32", "F64": "float64", "I64": "int64", "U8": "uint8"}  # safetensors' dtypes that we write
