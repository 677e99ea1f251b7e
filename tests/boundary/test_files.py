"""Files are written whole or not at all, and nothing but a file is ever replaced."""

import os
import stat
import sys

import pytest

from chainrule.boundary.files import require_writable, write_atomically
from chainrule.errors import OutputFileError


def test_an_old_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert write_atomically(path, "new").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no umask")
def test_the_mode_is_the_umasks(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(OutputFileError, match="is a folder"):
        require_writable(tmp_path)
    with pytest.raises(OutputFileError, match="does not exist"):
        write_atomically(tmp_path / "none" / "a", "x")
