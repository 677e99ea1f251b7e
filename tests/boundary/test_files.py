"""Files are written whole or not at all, and nothing but a file is ever replaced."""

import os
import stat
import subprocess
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


@pytest.mark.skipif(sys.platform == "win32", reason="what is being written cannot be told there")
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    """A process is killed while it writes; another writes at the time; a third file is somebody's own."""
    code = (
        "import sys, os, time; from chainrule.boundary import files; "
        "os.fsync = lambda handle: (print('writing', flush=True), time.sleep(60)); "
        "files.write_atomically(sys.argv[1], b'half')"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
        for name in ("killed", "writes")
    ]
    try:
        for process in started:
            assert process.stdout.readline() == "writing\n"
        started[0].kill()
        started[0].wait()
        (tmp_path / ".chainrule-mine.txt").write_text("mine")
        (tmp_path / ".chainrule-older.part").write_text("of an older version")
        assert len(list(tmp_path.glob(".chainrule-*.part"))) == 3
        write_atomically(tmp_path / "whole", "whole")
        left = [path.name for path in tmp_path.glob(".chainrule-*.part")]
        assert len(left) == 1
        assert left[0].startswith(f".chainrule-{started[1].pid}-")
        assert (tmp_path / ".chainrule-mine.txt").read_text() == "mine"
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
