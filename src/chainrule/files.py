"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import OutputFileError
from chainrule.extras import require

__all__ = ["open_tensors", "require_apart", "require_writable", "save_tensors", "write_atomically"]


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

    A reader sees the old file or the new one, never a part; a failure leaves the old one as it was.

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
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".chainrule-", suffix=".part")
    try:
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


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, Any], description: dict[str, Any]) -> Path:
    """Write named arrays and a JSON description as one `.safetensors` file, whole or not at all."""
    library = require("safetensors.numpy", "cli")
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return write_atomically(path, library.save(arrays, metadata={"chainrule": json.dumps(description)}))


def open_tensors(path: str | os.PathLike[str], error: type[Exception]) -> tuple[Any, dict[str, Any]]:
    """Open a file of `save_tensors`: an object with keys(), get_slice(name), get_tensor(name), and the description.

    Nothing is read beyond the header, whose declared size is held against the file's first.
    """
    safetensors = require("safetensors", "cli")
    try:
        with open(path, "rb") as raw:
            start, size = raw.read(8), os.fstat(raw.fileno()).st_size
    except OSError as reason:
        raise error(f"{path}: cannot be read: {reason.strerror}") from reason
    # only after the file has failed as what it should be: these bytes may also begin a good header
    foreign = ""
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        foreign = "looks like a pickle or a zip archive, which could run code; "
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > size - 8:
        raise error(
            f"{path}: {foreign}not a .safetensors file, or truncated: "
            f"declares a header of {header} bytes in a file of {size}"
        )
    try:
        file = safetensors.safe_open(os.fspath(path), framework="numpy")
        metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as reason:
        raise error(f"{path}: {foreign}damaged, truncated or not a .safetensors file: {reason}") from reason
    try:
        description = json.loads(metadata["chainrule"])
    except KeyError as reason:
        raise error(f"{path}: is a .safetensors file, but not Chainrule's: its description is missing") from reason
    except (ValueError, RecursionError) as reason:
        raise error(f"{path}: its description is not JSON") from reason
    if not isinstance(description, dict):
        raise error(f"{path}: its description is not a JSON object")
    return file, description
