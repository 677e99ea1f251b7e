"""`chainrule derive`, run as a user runs it, and derivations for the terminal."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from derivation_list import DERIVATIONS
from lecture_lines import LECTURE, derivation

from chainrule.command.cli import main
from chainrule.derive import RULES, derive
from chainrule.derive.lecture import read_line
from chainrule.derive.writing import terminal, unicode

STEPS = [
    r"\frac{\partial}{\partial a_{Li}} - \log \hat{y}_\ell"
    r"= \frac{-1}{\hat{y}_\ell} \frac{\partial \hat{y}_\ell}{\partial a_{Li}}",
    r"= \mathbb{1}_{(\ell=i)} - \hat{y}_i",
    r"= -(\mathbb{1}_{(\ell=i)} - \hat{y}_i)",
]


def run(capsys, *arguments):
    """The exit code, and what was printed."""
    try:
        code = main(["derive", *map(str, arguments)])
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_screen():
    shown = list(terminal.screen(derivation(), width=90))
    assert len(shown) == 10
    assert shown[0].splitlines()[0] == "∂(−log ŷ_ℓ)/∂a_{Li}"
    columns = {row.index("−0.2424") for block in shown for row in block.splitlines() if "−0.2424" in row}
    assert len(columns) == 1
    assert all(len(row) <= 90 for block in shown for row in block.splitlines())
    wide = "\n".join(terminal.screen(derivation(), width=200)).replace(" ", "")
    at = 0
    for words, _ in LECTURE[9:17]:
        at = wide.index("=" + words.replace(" ", ""), at)
    assert list(terminal.screen(SimpleNamespace(name="", title="", intro="", lines=[]))) == []


def test_a_long_value_stands_below_its_line():
    long = derivation()
    long.lines[3].value = "[−0.3410, 0.2424, 0.0986]"
    rows = "\n".join(terminal.screen(long, width=90)).splitlines()
    assert "        [−0.3410, 0.2424, 0.0986]" in rows
    assert all(len(row) <= 90 for row in rows)


def test_the_list(capsys):
    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == list(DERIVATIONS)
    code, out, _ = run(capsys, "--list", "--format", "json")
    assert json.loads(out) == [{"name": name, "title": derive(name).title} for name in DERIVATIONS]


def test_the_lectures_lines_are_shown_in_order(capsys):
    _, out, _ = run(capsys, "gradient_wrt_logits", "--format", "json")
    found = [line["right"].replace(" ", "") for line in json.loads(out)["lines"]]
    assert found == [words.replace(" ", "") for words, _ in LECTURE[9:17] + LECTURE[18:20]]


def test_numbers_on_the_command_line(capsys):
    code, out, _ = run(capsys, "gradient_wrt_logits", "--numbers")
    assert code == 0
    assert out.count("[−0.3410, 0.2424, 0.0986]") == len(derive("gradient_wrt_logits").lines)
    code, out, _ = run(capsys, "gradient_wrt_logits", "--logits", "-1,2", "--label", "2", "--format", "json")
    data = json.loads(out)
    assert data["name"] == "gradient_wrt_logits"
    for line in data["lines"]:  # 1 / (1 + e³) either way
        assert line["value"] == pytest.approx([0.04742587317756678, -0.04742587317756678], rel=1e-12)
        assert line["rule"] in RULES
    read = read_line(data["lines"][0]["latex"])
    assert (unicode.text(read.left), unicode.text(read.rights[0])) == (
        data["lines"][0]["left"],
        data["lines"][0]["right"],
    )


@pytest.mark.parametrize(
    ("form", "begins"),
    [("text", "The loss"), ("json", "{\n"), ("latex", "\\documentclass[11pt"), ("beamer", "\\documentclass[asp"),
     ("html", "<!doctype html>")],
)  # fmt: skip
def test_every_format_is_printed_or_written(capsys, tmp_path, form, begins):
    code, out, _ = run(capsys, "loss", "--format", form)
    assert code == 0
    assert out.startswith(begins)
    target = tmp_path / "it"
    code, said, _ = run(capsys, "loss", "--format", form, "-o", target)
    assert (code, said) == (0, f"written: {target}\n")
    assert target.read_text(encoding="utf-8") == out
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    code, out, _ = run(capsys, "--format", form)
    assert out.count(derive("loss").title.replace("&", "&amp;")) >= 1


def test_check_of_ours(capsys):
    code, out, _ = run(capsys, "loss", "--check")
    assert code == 0
    assert out.count("follows: checked for K = 2, 3, 4 symbolically; K = 2, 5, 50 at 50 digits") == 4
    assert "All 4 lines follow. What was checked is strong evidence for every K, and not a proof." in out
    code, out, _ = run(capsys, "loss", "--check", "--format", "json")
    found = json.loads(out)
    assert [line["verdict"] for line in found] == ["follows"] * 4
    assert set(found[0]) == {"derivation", "line", "text", "verdict", "counterexample", "message"}


def test_a_check_that_fails_is_exit_code_1(capsys, monkeypatch):
    import dataclasses

    from chainrule.command import derive as command
    from chainrule.derive.syntax import Negative

    right = derive("loss")
    wrong = dataclasses.replace(right.lines[2], right=Negative(right.lines[2].right))
    broken = dataclasses.replace(right, lines=(*right.lines[:2], wrong, *right.lines[3:]))
    monkeypatch.setattr(command, "derive", lambda name: broken)
    code, out, _ = run(capsys, "loss", "--check")
    assert code == 1
    assert out.count("does not follow: at K = 2") == 1
    assert "1 of 4 lines do not follow." in out
    code, out, _ = run(capsys, "loss", "--check", "--format", "json")
    assert code == 1
    assert [line["verdict"] for line in json.loads(out)] == ["follows"] * 2 + ["does not follow", "follows"]
    assert json.loads(out)[2]["counterexample"]["K"] == 2


def test_somebody_elses_derivation(tmp_path, capsys):
    homework = tmp_path / "homework.tex"
    homework.write_text("\n".join(STEPS))
    code, out, _ = run(capsys, "--check", homework, "--format", "json")
    assert code == 1
    verdicts = json.loads(out)
    assert [verdict["verdict"] for verdict in verdicts] == ["follows", "does not follow", "follows"]
    assert verdicts[1]["counterexample"]["i"] >= 1
    assert set(verdicts[1]) == {"line", "text", "verdict", "message", "cause", "counterexample"}
    homework.write_text("\n".join([STEPS[0], STEPS[2]]))
    code, out, _ = run(capsys, "--check", homework)
    assert code == 0
    assert "line 2: follows" in out
    code, _, _ = run(capsys, "--check", homework, "-o", tmp_path / "verdicts.txt")
    assert code == 0
    assert (tmp_path / "verdicts.txt").read_text(encoding="utf-8") == out
    code, _, error = run(capsys, "--check", homework, "-o", homework)
    assert code == 1
    assert "is the same file as check" in error


HOSTILE = [
    (b"", 2, "the text is empty"),
    (b"\xff\xfe\xff", 2, "not UTF-8: byte 0 is 0xff"),
    (b"(" * 10**7, 2, "has more than 400000 bytes, expected at most 100000 characters"),
    ("é".encode() * 10**6, 2, "has more than 400000 bytes"),  # not cut inside of a letter and called bad UTF-8
    (b"x = " + b"(" * 90_000, 3, "the formula has 90004 characters"),
    (b"x = " + b"(" * 5_000 + b"y = 1", 3, "too many brackets"),
    (b"\\input{/etc/passwd} = 1", 3, "\\input is not a command that is read here"),
    (b"__import__('os').system('touch evaluated')", 2, "nothing in it is an equation"),
]


@pytest.mark.parametrize(("content", "exit_code", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_that_cannot_be_checked(tmp_path, capsys, monkeypatch, content, exit_code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "homework.tex").write_bytes(content)
    started = time.process_time()
    code, out, error = run(capsys, "--check", "homework.tex")
    assert time.process_time() - started < 5
    assert code == exit_code
    assert message in out + error
    assert "root:" not in out + error
    assert [path.name for path in tmp_path.iterdir()] == ["homework.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gradient_wrt_logit"], "expected a derivation: did you mean gradient_wrt_logits?"),
        (["__import__('os')"], "expected a derivation"),
        (["--check", "none.tex"], "--check: got 'none.tex', expected a file that can be read: No such file"),
        (["--check", "/dev/null"], "the text is empty"),
        (["--goal", "a = b"], "--let, --goal and --points: got one without --check FILE"),
        (["--check", "loss"], "to check ours of that name: chainrule derive loss --check"),
        (["loss", "--list"], "--list and NAME: got both, expected one"),
        (["--list", "--numbers"], "--list and --numbers: got both"),
        (["loss", "--step", "--check"], "--step and --check: got both"),
        (["loss", "--check", "--numbers"], "--check and --numbers: got both"),
        (["loss", "--step", "-o", "x"], "--step and --output: got both"),
        (["loss", "--step", "--format", "html"], "--format: got html with --step, expected text"),
        (["loss", "--check", "--format", "beamer"], "--format: got beamer with --check, expected text or json"),
        (["--list", "--format", "latex"], "--format: got latex with --list, expected text or json"),
        (["loss", "--format", "pdf"], "argument --format: invalid choice: 'pdf'"),
        (["loss", "--logits", "1"], "logits: got 1 of them, expected 2 to 10 numbers from −40 to 40"),
        (["loss", "--logits", "1,2,x"], "argument --logits: got 'x', expected numbers with commas between"),
        (["loss", "--logits", "1,nan"], "argument --logits: got 'nan', expected numbers with commas between"),
        (["loss", "--logits", "exit(1)"], "argument --logits: got 'exit(1)'"),
        (["loss", "--logits", "1,50"], "logits: got 50.0, expected 2 to 10 numbers from −40 to 40"),
        (["loss", "--label", "4"], "label: got 4, expected an integer from 1 to 3, the number of logits"),
        (["loss", "--label", "0"], "argument --label: got '0', expected an integer >= 1"),
        (["--label", "1"], "--logits and --label: got one without a NAME"),
    ],
)
def test_bad_usage_is_one_clear_error(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, error = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    code, _, error = run(capsys, "loss", "--format", "html", "-o", tmp_path / "none" / "it.html")
    assert code == 1
    assert "does not exist" in error
    code, _, error = run(capsys, "loss", "-o", tmp_path)
    assert code == 1
    assert "is a folder" in error


def test_step_without_a_terminal_waits_for_nobody():
    command = [sys.executable, "-m", "chainrule", "derive", "loss"]
    whole = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    steps = subprocess.run([*command, "--step"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert steps.stdout == whole


def test_step_waits_for_enter_and_ends_at_q():
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    controller, terminal_end = pty.openpty()
    command = [sys.executable, "-m", "chainrule", "derive", "loss", "--step"]
    process = subprocess.Popen(command, stdin=terminal_end, stdout=terminal_end, stderr=subprocess.STDOUT)
    os.close(terminal_end)
    seen = ""

    def until(words):
        nonlocal seen
        while words not in seen:
            seen += os.read(controller, 4096).decode()

    lines = [unicode.text(line.right) for line in derive("loss").lines]
    until(lines[0])
    assert lines[1] not in seen
    os.write(controller, b"\n")
    until(lines[1])
    assert lines[2] not in seen
    os.write(controller, b"q\n")
    assert process.wait(timeout=60) == 0
    assert lines[2] not in seen
    os.close(controller)


def test_the_guides_homework(tmp_path, capsys, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "derive.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", guide, re.DOTALL)
    homework = next(text for kind, text in blocks if kind == "latex")
    command, printed = next(text for kind, text in blocks if "homework.tex\nread as" in text).split("\n", 1)
    monkeypatch.chdir(tmp_path)
    Path("homework.tex").write_text(homework, encoding="utf-8")
    assert main(command.split()[2:]) == 1
    assert capsys.readouterr().out == printed
    assert main([*command.split()[2:], "--format", "json"]) == 1
    assert json.loads(next(text for kind, text in blocks if kind == "json")) in json.loads(capsys.readouterr().out)


def test_the_guides_python():
    guide = (Path(__file__).parents[2] / "docs" / "derive.md").read_text(encoding="utf-8")
    code = next(iter(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)))
    names = {}
    exec(code, names)
    assert names["derivation"].name == "gradient_wrt_logits"


def test_homework_in_the_names_of_a_derivation(tmp_path, capsys):
    homework = tmp_path / "homework.tex"
    homework.write_text(r"\frac{\partial \mathcal{L}}{\partial a_{Li}} = \hat{y}_i - q_i")
    assert run(capsys, "label_smoothing", "--check", homework)[0] == 0
    homework.write_text(homework.read_text().replace("_i - q_i", "_i + q_i"))
    assert run(capsys, "label_smoothing", "--check", homework)[0] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [["--list"], ["softmax_jacobian", "--step"], ["softmax_jacobian", "-o", "d.txt"]])
def test_a_full_standard_output_fails(tmp_path, options):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "chainrule", "derive", *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "chainrule: error: standard output: cannot be written: No space left on device\n"
