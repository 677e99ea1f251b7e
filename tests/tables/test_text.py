"""Text files as people have them: each is read as a person would read it, or named with line, column and option."""

import bz2
import gc
import gzip
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.errors import TableError
from chainrule.tables import Reading, read_table

pl = pytest.importorskip("polars", reason="polars is not installed")

ROWS = [["name", "size", "y"], ["Zoë", "1,5", "a"], ["Bo", "2,25", "b"], ["Å", "3,0", "a"]]
PLAIN = [[cell.replace(",", ".") for cell in row] for row in ROWS]


def text(rows, sign=",", end="\n"):
    return "".join(sign.join(row) + end for row in rows)


def read(tmp_path, content, name="t.csv", how=None):
    path, said = tmp_path / name, []
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    frame = read_table(path, how, said.append)
    return [frame.columns, *map(list, frame.rows())], said


@pytest.mark.parametrize(
    ("content", "name", "rows", "said"),
    [
        (text(PLAIN), "t.csv", PLAIN, []),
        ("\n\n" + text(PLAIN) + "\n \n", "t.csv", PLAIN, []),  # blank first and last lines
        (text(PLAIN, end="\r\n"), "t.csv", PLAIN, []),
        (text(PLAIN, "\t"), "t.tsv", PLAIN, []),
        (text(PLAIN, "\t"), "t.txt", PLAIN, ["tabs between columns"]),
        (text(ROWS, ";"), "t.csv", ROWS, ["';' between columns"]),
        (text(ROWS, "|"), "t.dat", ROWS, ["'|' between columns"]),
        (text(ROWS, " "), "t.data", ROWS, ["' ' between columns"]),
        ("  name   size \t y\n Zoë  1,5\t  a\n Bo   2,25   b  \n Å 3,0 a", "t.data", ROWS, ["' ' between columns"]),
        (text(PLAIN).encode("utf-8-sig"), "t.csv", PLAIN, []),
        (text(PLAIN).encode("utf-16"), "t.csv", PLAIN, []),
        (text(PLAIN).encode("utf-16-le"), "t.csv", PLAIN, ["utf-16-le"]),
        (text(PLAIN).encode("utf-16-be"), "t.csv", PLAIN, ["utf-16-be"]),
        (text(PLAIN).encode("utf-32"), "t.csv", PLAIN, []),
        (text(PLAIN).encode("latin-1"), "t.csv", PLAIN, ["read as cp1252, in which it has 'Zoë,1.5,a'"]),
        (gzip.compress(text(PLAIN).encode(), mtime=0), "t.csv.gz", PLAIN, []),
        (gzip.compress(text(PLAIN).encode(), mtime=0), "t.csv", PLAIN, []),
        (bz2.compress(text(PLAIN).encode()), "t.csv.bz2", PLAIN, []),
        (lzma.compress(text(PLAIN).encode()), "t.tsv.xz", PLAIN, ["',' between columns"]),
        ("name, size, y\nZoë, 1.5, a\nBo, 2.25, b\nÅ, 3.0, a\n", "t.csv", PLAIN, []),
        (text([[*row, ""] for row in PLAIN]), "t.csv", PLAIN, []),  # a separator at each line's end
        (text([PLAIN[0], *([*row, ""] for row in PLAIN[1:])]), "t.csv", PLAIN, []),
        ("name,size,y\n\nZoë,1.5,a\nBo,2.25,b\n\n\nÅ,3.0,a\n", "t.csv", PLAIN, []),
        ("# made in May\n# name,size,y\nZoë,1.5,a\nBo,2.25,b\nÅ,3.0,a\n", "t.csv", PLAIN, ["1 line before"]),
        ("Sizes of May\n\n" + text(PLAIN), "t.csv", PLAIN, ["1 line before"]),
        ("sep=;\n" + text(ROWS, ";"), "t.csv", ROWS, []),
        ("'name','size','y'\n'Zoë','1,5','a'\n'Bo','2,25','b'\n'Å','3,0','a'\n", "t.csv", ROWS, []),
        ('name,size,y\n"Zoë","1,5",a\n"Bo","2,25",b\n"Å","3,0",a\n', "t.csv", ROWS, []),
        ('n,t\n1,"a ""b""\nc"\n2,d\n', "t.csv", [["n", "t"], ["1", 'a "b"\nc'], ["2", "d"]], []),
        ("x\n1\n\n3\n\n", "t.csv", [["x"], ["1"], [""], ["3"]], []),  # of one column, a missing value
    ],
)
def test_usual_files_are_read(tmp_path, content, name, rows, said):
    found, told = read(tmp_path, content, name)
    assert found == rows
    assert len(told) == len(said)
    for line, expected in zip(told, said, strict=True):
        assert expected in line


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.0,2.2,virginica\n", 3),
        ("5.1,3.5,setosa,\n4.9,3.0,setosa,\n6.0,2.2,virginica,\n", 3),
        ("M,S,1\nF,S,2\nM,T,1\nF,T,1\n", 3),
        ("vhigh,vhigh,2,low\nlow,vhigh,2,high\nvhigh,low,4,low\nlow,low,4,high\n", 4),
        ("1,14.2,1065\n1,13.2,1050\n2,12.3,520\n", 3),
        ("?,2.5,a\n3.0,2.6,b\n4.0,2.7,a\n", 3),
        ("3,2,a,b\n1,2,3\n4,5,6\n7,8,9\n", None),  # a cell is not there
    ],
)
def test_a_file_without_a_header(tmp_path, content, columns):
    if columns is None:
        with pytest.raises(TableError, match="line 2: has 3 fields, the others have 4: column 4"):
            read(tmp_path, content)
        return
    found, said = read(tmp_path, content)
    assert found[0] == [f"column_{i + 1}" for i in range(columns)]
    assert len(found) == 1 + content.count("\n")
    assert f"has no header: its columns are column_1 to column_{columns}" in said[-1]
    named, _ = read(tmp_path, content, how=Reading(header=True))
    assert len(named) == content.count("\n")


@pytest.mark.parametrize(
    "content",
    [
        "a,b,c\n1,2,3\n4,5,6\n",
        "0,1,y\n0.5,2,a\n0.7,3,b\n",  # as pandas numbers columns
        "1,2,3\n0.5,2,a\n0.7,3,b\n",
        "country,1990,2000\nPeru,21,26\nChad,6,8\n",
        "x,y\na,b\nc,d\n",
        "x,y\n1,a\n",
    ],
)
def test_a_header_is_one(tmp_path, content):
    target = "country" if "country" in content else None
    found, said = read(tmp_path, content, how=Reading(target=target))
    assert found[0] == content.split("\n")[0].split(",")
    assert said == []


def test_the_names_of_rows_as_r_writes_them(tmp_path):
    found, said = read(tmp_path, '"mpg","cyl"\n"Mazda",21,6\n"Fiat",32,4\n"Volvo",21,4\n')
    assert found[:2] == [["", "mpg", "cyl"], ["Mazda", "21", "6"]]
    assert "one name less" in said[0]


def test_two_columns_of_one_name_are_told_apart(tmp_path):
    found, said = read(tmp_path, "a,b,a,,\n1,2,3,4,5\n6,7,8,9,0\n")
    assert found[0] == ["a", "b", "a (2)", "", "column_5"]
    assert "two columns named 'a': the later is 'a (2)'" in said[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", r"line 3: has 3 fields, the header has 2: column 3 is '3'; --skip-broken .* --separator"),
        ("a,b\n1,2\n1\n3,4\n", "line 3: has 1 fields, the header has 2: column 2, 'b', is not there; --skip-broken"),
        ('a,b\n1,"2\n3,4\n', "line 2, column 2: a quotation mark .* never closed.*--skip-broken"),
        ('a,b\n1,2\nx,"2" 3\n', "line 3, column 2: text after a closing quotation mark .*--skip-broken"),
        ("город,y\nМосква,1\nКазань,2\n".encode("cp1251"), "not UTF-8, near line 1: byte 0xe3; say --encoding"),
        (b"a,b\n1,\x81\n", "not UTF-8, near line 2: byte 0x81; say --encoding"),
        (b"a\0\0\0,b\n1\x01\0,2\n\0\0\0\0\0", "holds zero bytes"),
        (b"PK\x03\x04 and more of it", "zip archive or a spreadsheet"),
        ("a;b,c;d\n1;2,3;4\n5;x,3;4\n", "could be separated by comma or semicolon; say --separator"),
        ("n,a,b,c\n1\n2\n3\n", "line 1: has 4 fields, all others have 1"),
        ("a,b\n1,2,3,4\n5,6,7,8\n9,8,7,6\n", "line 1: has 2 fields, all others have 4.*--no-header --skip-broken"),
    ],
)
def test_what_could_be_two_things_names_line_column_and_option(tmp_path, content, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, content, "t.txt")


def test_the_name_of_the_target_tells_the_header(tmp_path):
    """Of a title with separators and of a header above the header; a class of the target's name tells nothing."""
    for above in ("Sizes, May 2024\n\n", "who,,what\n", ",,\n", "name of it,mm,class\n"):
        for how in (Reading(target="y"), Reading(target="y", known=PLAIN[0])):
            assert read(tmp_path, above + text(PLAIN), how=how)[0] == PLAIN
    assert "1 line before" in read(tmp_path, "who,,what\n" + text(PLAIN), how=Reading(target="y"))[1][0]
    assert read(tmp_path, "\n\n" + text(PLAIN), how=Reading(target="y")) == (PLAIN, [])
    answers = [["n", "answer"], ["x", "n"], ["p", "y"], ["q", "y"], ["r", "n"]]
    assert read(tmp_path, text(answers), how=Reading(target="y"))[0] == answers


def test_what_is_said_decides(tmp_path):
    assert read(tmp_path, "a;b,c;d\n1;2,3;4\n", how=Reading(separator=";"))[0] == [["a", "b,c", "d"], ["1", "2,3", "4"]]
    assert read(tmp_path, "a;b,c;d\n1;2,3;4\n", how=Reading(separator=","))[0] == [["a;b", "c;d"], ["1;2", "3;4"]]
    assert read(tmp_path, "a,b\n1,2\n", how=Reading(header=False))[0] == [
        ["column_1", "column_2"],
        ["a", "b"],
        ["1", "2"],
    ]
    russian = "город,y\nМосква,1\nКазань,2\n"
    found = read(tmp_path, russian.encode("cp1251"), how=Reading(encoding="cp1251"))[0]
    assert found == [line.split(",") for line in russian.splitlines()]
    with pytest.raises(TableError, match="--encoding: got 'klingon'"):
        read(tmp_path, "a,b\n1,2\n", how=Reading(encoding="klingon"))
    with pytest.raises(TableError, match="is not ascii"):
        read(tmp_path, "a,b\n1,é\n", how=Reading(encoding="ascii"))
    broken = 'a,b\n1,2\n1,2,3\n4\n5,"6"7\n8,9\n'
    found, said = read(tmp_path, broken, how=Reading(skip_broken=True))
    assert found == [["a", "b"], ["1", "2"], ["8", "9"]]
    assert said[0].startswith("3 broken rows are left out, first ")
    assert "line 3: has 3 fields" in said[0]


def test_the_models_columns_tell_what_a_later_file_has(tmp_path):
    """Its own names are a header; without one, its columns stand in their order, with the target or without it."""
    how = Reading(known=["a", "b", "y"], target="y")
    assert read(tmp_path, "y,b,a\n1,2,3\n", how=how)[0][0] == ["y", "b", "a"]
    assert read(tmp_path, "1,2,x\n3,4,z\n", how=how)[0][0] == ["a", "b", "y"]
    assert read(tmp_path, "1,2\n3,4\n", how=how)[0][0] == ["a", "b"]
    with pytest.raises(TableError, match="has no header, and 4 columns, expected 3, as the model's table had, or 2"):
        read(tmp_path, "1,2,3,4\n5,6,7,8\n", how=how)


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(gzip.compress(text(PLAIN).encode()))

    monkeypatch.setattr(sys, "stdin", Stdin)
    frame = read_table("-")
    assert [frame.columns, *map(list, frame.rows())] == PLAIN


def test_a_long_file_is_read_whole(tmp_path):
    """More rows than a chunk has; the line of an error far down is right."""
    rows = [["a", "b"], *([str(i), f'"{i}\n"'] for i in range(45_000))]
    found, _ = read(tmp_path, text(rows))
    assert [row[0] for row in found[1:]] == [str(i) for i in range(45_000)]
    with pytest.raises(TableError, match=f"line {2 * 45_000 + 2}: has 3 fields"):
        read(tmp_path, text(rows) + "1,2,3\n")


def test_quotation_marks_within_words_are_of_the_word(tmp_path):
    found, _ = read(tmp_path, 'size,what,n\n5" pipe,a"b"c,1\n6" pipe,"x, ""y""",2\nx,y",3\n')
    assert found[1:] == [['5" pipe', 'a"b"c', "1"], ['6" pipe', 'x, "y"', "2"], ["x", 'y"', "3"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_cell_is_read_as_the_csv_module_reads_it(tmp_path, end):
    """Cells of hypothesis' kind, in chunks of a few rows: the module is the truth."""
    import csv
    import random

    from chainrule.tables.sources import Source
    from chainrule.tables.text import TextTable, lay_out

    draw = random.Random(1)
    cells = ["a", "1", "", " x", "x ", 'say ""hi""', "p,q", "line\nbreak", "'", 'd"e', "é", "  ", "0", "-", "=1"]
    for _ in range(40):
        rows = [["h1", "h2", "h3"]]
        for _ in range(draw.randint(2, 12)):
            row = [draw.choice(cells) for _ in range(3)]
            rows.append([f'"{c}"' if any(s in c for s in (",", "\n", '""')) else c for c in row])
        content = text(rows, end=end)
        (tmp_path / "t.csv").write_bytes(content.encode())
        expected = [row for row in csv.reader(io.StringIO(content, newline=""), skipinitialspace=True) if row]
        source = Source(tmp_path / "t.csv")
        table = TextTable(source, lay_out(source, Reading(header=True, separator=","), print))
        frames = list(table.chunks(2))
        found = [[c or "" for c in row] for frame in frames for row in frame.rows()]
        blank = [row for row in expected[1:] if any(c.strip() for c in row) or len(row) == 3]
        assert [[c.strip() for c in row] for row in found] == [[c.strip() for c in row] for row in blank]


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is in use cannot be told on Windows")
def test_what_a_killed_run_laid_down_is_removed_by_the_next(tmp_path):
    from chainrule.tables.parquet import open_streamed

    (tmp_path / "t.csv").write_text(text([["x", "y"], *([str(i), "a"] for i in range(500))]))
    code = (
        "import os, sys; from chainrule.tables import Reading; from chainrule.tables.parquet import open_streamed\n"
        "table = open_streamed(sys.argv[1], Reading(), print, 1 << 20); os.kill(os.getpid(), 9)"
    )
    place = tmp_path / "temporary"
    place.mkdir()
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.csv")], env=os.environ | {"TMPDIR": str(place)}, check=False
    )
    assert killed.returncode == -9
    (left,) = place.glob("chainrule-*")
    assert list(left.glob("*.parquet"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(place))
        table = open_streamed(tmp_path / "t.csv", Reading(), print, 1 << 20)
        other = open_streamed(tmp_path / "t.csv", Reading(), print, 1 << 20)  # which is in use stays
        assert not left.exists()
        assert table["x"].to_list() == other["x"].to_list() == [str(i) for i in range(500)]
        del table, other
    gc.collect()
    assert list(place.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc that tells what is resident")
def test_what_is_laid_down_on_the_disk_does_not_stay_in_memory(tmp_path):
    """12 MB of features, and the text that they come from, within a few MB of pages; and they are the right ones."""
    import numpy as np

    from chainrule.tables.parquet import features_on_disk, open_streamed

    n, memory = 100_000, 4 << 20
    x = np.round(np.random.default_rng(0).normal(size=(n, 30)), 2)
    pl.DataFrame({f"x{j}": x[:, j] for j in range(30)}).write_csv(tmp_path / "t.csv", separator=";")
    said, pages = [], []
    table = open_streamed(tmp_path / "t.csv", Reading(), said.append, memory)
    assert "';' between columns" in said[0]
    assert table.height == n

    def resident():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(status["RssFile"].split()[0])

    def features(frame, rows):
        pages.append(resident())
        return frame.cast(pl.Float32).to_numpy()

    before = resident()
    mapped = features_on_disk(table, features, 30, "float32", memory)(np.ones(n, dtype=bool))
    assert max(*pages, resident()) - before < 7_000_000
    for begin in range(0, n, 50_000):
        np.testing.assert_array_equal(mapped[begin : begin + 100], x[begin : begin + 100].astype("float32"))
