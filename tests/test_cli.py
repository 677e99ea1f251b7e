"""The command line, run as a user runs it."""

import csv
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from chainrule import training
from chainrule.cli import main
from chainrule.errors import TableError

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from chainrule.examples import validation_rows  # noqa: E402
from chainrule.jobs import explanation  # noqa: E402
from chainrule.tables import learn_schema, read_table  # noqa: E402

DIGITS = Path(__file__).parents[1] / "examples" / "digits.csv"


def train(tmp_path, table=DIGITS, target="label", *more):
    return main(["train", str(table), "--target", target, "-o", str(tmp_path / "m.safetensors"), *map(str, more)])


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def small(tmp_path, name="x"):
    random = np.random.default_rng(0)
    rows = [[name, "colour", "class"]]
    rows += [[random.normal() + 3 * (i % 2), "red" if i % 3 else "blue", "ab"[i % 2]] for i in range(90)]
    return write(tmp_path / "small.csv", rows)


@pytest.mark.parametrize("seed", range(5))
def test_digits_to_965_of_a_held_out_fifth(tmp_path, capsys, seed):
    assert train(tmp_path, DIGITS, "label", "--test", 0.2, "--seed", seed) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy"))
    assert float(line.split()[2]) >= 0.965


def test_the_whole_path(tmp_path, capsys):
    table = small(tmp_path, "<script>alert(1)</script>")
    assert train(tmp_path, table, "class", "--epochs", 20, "--report", tmp_path / "r.html", "--hidden", "8,4") == 0
    model = str(tmp_path / "m.safetensors")
    assert "<script>alert" not in (tmp_path / "r.html").read_text()
    assert main(["predict", model, str(table), "-o", str(tmp_path / "p.csv")]) == 0
    with open(tmp_path / "p.csv") as file:
        rows = list(csv.DictReader(file))
    true = ["ab"[i % 2] for i in range(90)]
    accuracy = np.mean([r["prediction"] == t for r, t in zip(rows, true, strict=True)])
    for r in rows:
        p = [float(r["probability of a"]), float(r["probability of b"])]
        assert sum(p) == pytest.approx(1, abs=1e-6)
        assert "ab"[int(np.argmax(p))] == r["prediction"]
    capsys.readouterr()
    assert main(["evaluate", model, str(table)]) == 0
    assert f"accuracy: {accuracy:.4f}" in capsys.readouterr().out
    assert main(["check", model, str(table)]) == 0
    assert "agree with central differences" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert main(["explain", model, str(table), "--row", "3", "--weight", "1,2,1", "-o", str(page)]) == 0
    assert "W₁₂₁" in capsys.readouterr().out
    assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()
    assert main(["explain", model, str(table), "--row", "0", "--unit", "2,1"]) == 0


def test_the_report_points_at_its_most_surprising_example(tmp_path, capsys):
    """Of the tenth held out for validation; the loss of every row says which it is."""
    table = small(tmp_path)
    report = tmp_path / "the report.html"
    assert train(tmp_path, table, "class", "--epochs", 3, "--report", report, "--seed", 4) == 0
    beside = tmp_path / "the report-explanation.html"
    assert f"its most surprising example, explained: {beside}" in capsys.readouterr().out
    told = re.search(r"The validation example that surprised the network most is row (\d+)", report.read_text())
    assert 'href="the%20report-explanation.html"' in report.read_text()
    row = int(told[1])
    losses = [explanation(tmp_path / "m.safetensors", table, r).loss for r in range(90)]
    held_out = validation_rows(np.array([r % 2 for r in range(90)]), 0.1, 4)
    assert row == max(held_out, key=lambda r: losses[r])
    e = explanation(tmp_path / "m.safetensors", table, row)
    assert f'data-value="{e.gradient(*e.strongest_weight())}"' in beside.read_text()


def test_a_large_network_has_no_page_that_nobody_asked_for(tmp_path, capsys, monkeypatch):
    table = small(tmp_path)
    monkeypatch.setattr("chainrule.jobs.LARGEST", 10)
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", tmp_path / "r.html") == 0
    assert not (tmp_path / "r-explanation.html").exists()
    assert "explained" not in capsys.readouterr().out
    text = (tmp_path / "r.html").read_text()
    row = re.search(r"surprised the network most is row (\d+)", text)[1]
    assert f"<code>chainrule explain MODEL TABLE --row {row}</code>" in text
    assert "r-explanation.html" not in text


def test_no_page_is_written_where_the_report_is_a_device(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", os.devnull) == 0
    assert "explained" not in capsys.readouterr().out
    report = tmp_path / "r.html"
    taken = tmp_path / "r-explanation.html"
    taken.mkdir()
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", report) == 1
    assert not report.exists()


def test_a_chain_as_text_json_and_latex(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 2, "--hidden", "8,4") == 0
    model = tmp_path / "m.safetensors"
    chain = explanation(model, table, 3).weight(1, 2, 1)
    command = ["explain", str(model), str(table), "--row", "3", "--weight", "1,2,1", "--format"]
    for form, expected in (
        ("text", chain.to_text() + "\n"),
        ("json", json.dumps(chain.to_dict(), indent=1, ensure_ascii=False) + "\n"),
        ("latex", chain.to_latex()),
    ):
        capsys.readouterr()
        assert main([*command, form]) == 0
        assert capsys.readouterr().out == expected
    page = tmp_path / "page.html"
    assert main([*command, "json", "-o", str(page), "--image", "1x3"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["product"] == chain.product  # the page's line is not in it
    assert str(page) in told.err
    assert explanation(model, table, 3, (1, 3)).image == (1, 3)
    assert main([*command, "text", "--image", "2x3"]) == 1
    assert "image: got 2x3, 6 pixels, expected as many as inputs, 3" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*command, "text", "--image", "8"])
    assert "expected rows and columns, as 8x8" in capsys.readouterr().err
    # by default, the weight with the largest gradient of all layers
    assert main(["explain", str(model), str(table), "--row", "3"]) == 0
    all_of_them = explanation(model, table, 3)
    assert all_of_them.weight(*all_of_them.strongest_weight()).to_text() in capsys.readouterr().out


def test_every_option_of_training_reaches_it(tmp_path, capsys):
    table = small(tmp_path)
    more = ["--schedule", "cosine", "--warm-up", 1, "--weight-decay", 1e-4, "--dropout", 0.1, "--label-smoothing", 0.05]
    more += ["--clip-norm", 5, "--balanced", "--threads", 1]
    assert train(tmp_path, table, "class", "--epochs", 3, "--report", tmp_path / "r.html", *more) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for shown in ("WarmUp(epochs=1.0, then=Cosine", "weight decay", "0.0001", "balanced", "label smoothing"):
        assert shown in page


def test_a_parquet_table_larger_than_its_memory(tmp_path, capsys):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    path, n = tmp_path / "t.parquet", 30_000
    random = np.random.default_rng(0)
    y = random.integers(0, 3, n)
    columns = {f"x{j}": random.normal(size=n) + (y == j) * 3 for j in range(12)}
    columns["kind"] = np.array(["a", "b", "c"])[random.integers(0, 3, n)]
    polars.DataFrame(columns | {"class": y}).write_parquet(path)
    assert path.stat().st_size > 2 * 2**20
    options = ["--epochs", 2, "--test", 0.2, "--memory", "1M", "--report", tmp_path / "r.html"]
    assert train(tmp_path, path, "class", *options) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy"))
    assert float(line.split()[2]) > 0.9
    assert train(tmp_path, small(tmp_path), "class", "--memory", "1M") == 1
    assert "only a .parquet file can be streamed" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_file(tmp_path):
    table = small(tmp_path)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert train(tmp_path / name, table, "class", "--epochs", 5) == 0
        files.append((tmp_path / name / "m.safetensors").read_bytes())
    assert files[0] == files[1]


def test_check_fails_on_a_wrong_gradient(tmp_path, monkeypatch, capsys):
    from chainrule import equations

    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 2, "--activation", "tanh") == 0
    right = equations.ACTIVATIONS["tanh"]
    wrong = right._replace(derivative=lambda a: right.derivative(a) * 1.01)
    monkeypatch.setitem(equations.ACTIVATIONS, "tanh", wrong)
    assert main(["check", str(tmp_path / "m.safetensors"), str(table)]) == 1
    assert "wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("", "y", "is empty"),
        ("x,z\n1,2\n", "y", "no column 'y'"),
        ("x,y\n1,a\n2,a\n", "y", "one class only"),
        ("x,y\n1,a\n2,b,c\n", "y", "line 3: has 3 fields"),
        ("x,w,y\n1,,a\n2,,b\n", "y", "'w': has only missing values"),
        (b"x,y\n\xff\xfe,a\n2,b\n", "y", "UTF-8"),
    ],
)
def test_bad_tables_are_one_line_and_write_nothing(tmp_path, capsys, content, target, message):
    table = tmp_path / "t.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert train(tmp_path, table, target, "--report", tmp_path / "r.html") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("chainrule: error: ")
    assert message in error
    assert "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_bad_places_to_write_fail_before_training(tmp_path, capsys):
    assert train(tmp_path, DIGITS, "label", "--report", tmp_path / "none" / "r.html") == 1
    assert "does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["train", str(DIGITS), "--target", "label", "-o", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_no_permission(tmp_path, capsys, monkeypatch):
    import tempfile

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    assert train(tmp_path, small(tmp_path), "class") == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(tmp_path, capsys, monkeypatch):
    table = small(tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert train(tmp_path, table, "class", "--epochs", 1) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["small.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train", "t.csv"],
        ["train", "t.csv", "--target", "y", "--epochs", "0"],
        ["train", "t.csv", "--target", "y", "--lr", "nan"],
        ["train", "t.csv", "--target", "y", "--hidden", "3,x"],
        ["train", "t.csv", "--target", "y", "--validation", "1"],
        ["explain", "m", "t.csv", "--row", "-1"],
        ["explain", "m", "t.csv", "--row", "0", "--weight", "1,1"],
        ["explain", "m", "t.csv", "--row", "0", "--weight", "0,1,1"],
    ],
)
def test_bad_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: chainrule" in capsys.readouterr().err


def test_a_row_that_is_not_there(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1) == 0
    assert main(["explain", str(tmp_path / "m.safetensors"), str(table), "--row", "90"]) == 1
    assert "--row: got 90, expected 0 to 89" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    command = [sys.executable, "-m", "chainrule", "evaluate", "none", "none.csv"]
    plain, debug = (subprocess.run([*command, *more], capture_output=True, text=True) for more in ([], ["--debug"]))
    assert plain.returncode == 1
    assert "Traceback" not in plain.stderr
    assert len(plain.stderr.splitlines()) == 1
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "explain", "check"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "TABLE" in capsys.readouterr().out


def test_no_file_is_written_over_what_is_read(tmp_path, capsys):
    table, model = small(tmp_path), str(tmp_path / "m.safetensors")
    before = table.read_bytes()
    assert main(["train", str(table), "--target", "class", "--epochs", "1", "-o", str(table)]) == 1
    assert "output: is the same file as table" in capsys.readouterr().err
    same = ["-o", model, "--report", str(tmp_path / "." / "m.safetensors")]
    assert main(["train", str(table), "--target", "class", "--epochs", "1", *same]) == 1
    assert train(tmp_path, table, "class", "--epochs", 1) == 0
    for command in (["predict"], ["explain", "--row", "0"]):
        for over in (model, str(table)):
            assert main([command[0], model, str(table), *command[1:], "-o", over]) == 1
    assert table.read_bytes() == before


def test_an_untrained_model_replaces_no_other(tmp_path, capsys, monkeypatch):
    model = tmp_path / "m.safetensors"
    model.write_text("older")
    flag = threading.Event()
    flag.set()  # Ctrl-C before the first epoch is over

    @contextmanager
    def interrupted(stopped):
        stopped[0] = 1
        yield flag

    monkeypatch.setattr(training, "_interrupt_flag", interrupted)
    assert train(tmp_path, small(tmp_path), "class") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert model.read_text() == "older"


def test_words_for_missing_numbers(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b,c,y\n1,x,nan,0\nNA,nan,2,1\n 3,y,?,0\n")
    frame = read_table(table)
    assert frame["a"].to_list() == [1.0, None, 3.0]
    assert frame["b"].to_list() == ["x", "nan", "y"]
    assert frame["c"].to_list() == [None, 2.0, None]
    table.write_text("a,y\ninf,0\n2,1\nnan,1\n")
    with pytest.raises(TableError, match="column 'a', row 0: is infinite"):
        learn_schema(read_table(table), "y")
