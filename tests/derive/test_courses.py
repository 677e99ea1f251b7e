"""A small course, from nothing: marks for a folder, Gradescope's results, annotations; as the guide says."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from chainrule.command.cli import main

GUIDE = Path(__file__).parents[2] / "docs" / "courses.md"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The files that the guide shows, in its folder."""
    monkeypatch.chdir(tmp_path)
    Path("submissions").mkdir()
    for name, text in re.findall(
        r"`(submissions/\w+\.\w+)`:\n\n```latex\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    ):
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_guide_from_end_to_end(course, capsys):
    for block in blocks("console"):
        command, _, printed = block.partition("\n")
        main(shlex.split(command)[2:])
        assert capsys.readouterr().out == printed, command
    assert Path("marks.csv").read_text(encoding="utf-8") in blocks("csv")
    rows = list(csv.DictReader(Path("marks.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["points"] for row in rows] == ["10", "3.33", ""]
    assert [row["for a person"] for row in rows] == ["", "", "yes"]


def test_gradescope(course, capsys):
    assert (
        main(
            [
                "derive",
                "--check",
                "submissions/bob.tex",
                "--format",
                "gradescope",
                "--points",
                "5",
                "-o",
                "results.json",
            ]
        )
        == 1
    )
    data = json.loads(Path("results.json").read_text(encoding="utf-8"))
    assert data["score"] == 3.33
    assert [test["status"] for test in data["tests"]] == ["passed", "passed", "failed"]
    main(["derive", "--check", "submissions/cleo.tex", "--format", "gradescope", "-o", "results.json"])
    assert "score" not in json.loads(Path("results.json").read_text(encoding="utf-8"))  # for a person, not zero


def test_annotations(course, capsys):
    assert main(["derive", "--check", "submissions", "--format", "github"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^::error file=submissions/bob\.tex,line=3::does not follow: .*the sign", out, re.MULTILINE)
    assert "::notice file=submissions/cleo.tex" in out
