"""The command line, run as a user runs it."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from command_line import DIGITS, small, train

from chainrule.command.cli import main
from chainrule.errors import OutputFileError

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from chainrule.command.jobs import explanation, predict  # noqa: E402
from chainrule.network import load_model, save_model  # noqa: E402


def test_the_whole_path(tmp_path, capsys):
    table = small(tmp_path, "<script>alert(1)</script>")
    assert train(tmp_path, table, "class", "--epochs", 20, "--report", tmp_path / "r.html", "--hidden", "8,4") == 0
    model = str(tmp_path / "m.safetensors")
    report = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in report
    assert re.search(r"epochs? and ended by the number of epochs that the folds chose;", report)
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
        told = capsys.readouterr().out
        if form == "text":  # what each column adds comes first
            told = told[told.index("True class") :]
        elif form == "json":
            chain_alone = {key: value for key, value in json.loads(told).items() if key != "prediction"}
            told = json.dumps(chain_alone, indent=1, ensure_ascii=False) + "\n"
        assert told == expected
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
    # by default, the weight with the largest gradient of layer 1
    assert main(["explain", str(model), str(table), "--row", "3"]) == 0
    all_of_them = explanation(model, table, 3)
    assert all_of_them.weight(*all_of_them.opening_weight()).to_text() in capsys.readouterr().out


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
        ("w,y\n,a\n,b\n", "y", "'w' has no values"),
        ("x,y\n1,NA\n2,?\n", "y", "no row has a class"),
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


def test_a_full_standard_output_fails(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1, "--validation", 0) == 0
    model = [str(tmp_path / "m.safetensors"), str(table)]
    buffered = [["explain", *model, "--row", "0"], ["--help"], ["predict", *model]]
    unbuffered = [["evaluate", *model], ["explain", *model, "--row", "0", "--format", "json"], ["--version"]]
    unbuffered += [["predict", *model], ["explain", *model, "--serve", "--port", "0"]]
    unbuffered += [["predict", *model, "-o", str(tmp_path / "p.csv")]]
    for at_once, commands in (("", buffered), ("1", unbuffered)):
        for arguments in commands:
            with open("/dev/full", "w") as full:
                done = subprocess.run(
                    [sys.executable, "-m", "chainrule", *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                    env=os.environ | {"PYTHONUNBUFFERED": at_once},
                )  # fmt: skip
            assert done.returncode == 1, arguments
            assert done.stderr.splitlines() == [
                "chainrule: error: standard output: cannot be written: No space left on device"
            ]


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself a Ctrl-C there")
@pytest.mark.parametrize("module", ["polars", "rich"])
@pytest.mark.parametrize("how", ["script", "-m"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(tmp_path, module, how):
    """Those that training needs: a module of that name sends the signal."""
    press = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / f"{module}.py").write_text(press)
    script = tmp_path / "chainrule"
    script.write_text("from chainrule.command.cli import run\nrun()\n")
    code = [str(script)] if how == "script" else ["-m", "chainrule"]
    listens = (
        "import signal, sys, runpy; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's & ignores
    )
    (tmp_path / "sitecustomize.py").write_text(listens)
    command = [sys.executable, *code, "train", str(small(tmp_path)), "--target", "class", "-o", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 130
    assert done.stderr.strip() in ("", "chainrule: interrupted; nothing was written")
    assert not (tmp_path / "m").exists()


def test_a_disk_that_fills_up_in_the_middle(tmp_path, capsys, monkeypatch):
    """Without a buffer a write may take a part, and only the next one fails."""
    from chainrule.boundary.files import write_out

    class Raw(io.RawIOBase):
        taken = b""

        def writable(self):
            return True

        def write(self, data):
            if len(self.taken) >= 10:
                raise OSError(28, "No space left on device")
            self.taken += bytes(data[:4])
            return 4

    raw = Raw()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
    with pytest.raises(OutputFileError, match=r"standard output: .* No space left"):
        write_out("0123456789abcdef")
    assert raw.taken == b"0123456789ab"
    monkeypatch.undo()


def test_what_training_did_not_know_is_counted(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1, "--validation", 0) == 0
    model, new = str(tmp_path / "m.safetensors"), tmp_path / "new.csv"
    new.write_text("x,colour\n0.5,red\nNA,green\n1,green\n1e6,blue\noops,?\n")
    capsys.readouterr()
    assert main(["predict", model, str(new)]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 6
    for expected in (
        "column 'x': 1 cell with no value, first row 1",
        "column 'x': 1 cell far outside training's range",
        "first '1e6' in row 3",
        "column 'x': 1 cell no number as training's: taken as missing, first 'oops' in row 4",
        "column 'colour': 2 cells of a category that training never saw, first 'green' in row 1",
        "column 'colour': 1 cell with no value, first row 4",
    ):
        assert expected in told.err
    assert main(["predict", model, str(new), "--strict"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "--strict refuses them" in told.err
    assert "'green' in row 1" in told.err
    assert main(["evaluate", model, str(table), "--strict"]) == 0
    assert capsys.readouterr().err == ""


def test_a_row_is_predicted_alike_alone_and_beside_others(tmp_path):
    """To the last bit, from whatever file; a product's rounding depends on its number of rows."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table, model = small(tmp_path), tmp_path / "m.safetensors"
    assert train(tmp_path, table, "class", "--epochs", 3, "--hidden", "64,32") == 0
    frame = polars.read_csv(table).sample(300, with_replacement=True, seed=1)
    frame.write_csv(tmp_path / "all.csv")
    told = predict(model, tmp_path / "all.csv").splitlines()
    frame.write_parquet(tmp_path / "all.parquet")
    assert predict(model, tmp_path / "all.parquet").splitlines() == told
    frame.reverse().write_csv(tmp_path / "reversed.csv")
    assert predict(model, tmp_path / "reversed.csv").splitlines() == [told[0], *told[:0:-1]]
    for row in range(0, 300, 37):
        frame[[row]].write_csv(tmp_path / "one.csv")
        assert predict(model, tmp_path / "one.csv").splitlines() == [told[0], told[row + 1]]


def test_a_prediction_that_is_not_finite_is_an_error(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1, "--validation", 0, "--activation", "identity") == 0
    model, new = tmp_path / "m.safetensors", tmp_path / "new.csv"
    loaded = load_model(model)
    loaded.network.weights[0] *= 1e20
    save_model(model, loaded.network, classes=loaded.classes, schema=loaded.schema)
    for value, message in (("1e200", "too far from training's numbers"), ("1e38", "the prediction is not finite")):
        new.write_text(f"colour,x,class\nred,1,a\nred,{value},a\n")
        capsys.readouterr()
        for command in (["predict"], ["evaluate"], ["explain", "--row", "1"]):
            assert main([command[0], str(model), str(new), *command[1:]]) == 1
            told = capsys.readouterr()
            assert told.out == ""
            assert "column 'x', row 1: " in told.err
            assert message in told.err
