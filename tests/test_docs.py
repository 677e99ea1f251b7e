"""What README and docs show runs as they show it, and what they name is there."""

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule.command import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(path):
    titles = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_its_python_runs_as_written(name, monkeypatch):
    """Block after block; a number or shape in a comment behind print(…) is what it prints."""
    monkeypatch.chdir(ROOT)
    names = {}
    found = blocks(ROOT / name, "python")
    assert found
    for block in found:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(block, names)
        for shown in re.findall(r"^print\(.*\)  # ([\d(][^\n]*)$", block, re.MULTILINE):
            assert shown in printed.getvalue().splitlines()
    assert names["history"].columns()["loss"][-1] < names["history"].columns()["loss"][0] / 2


def test_the_guide_to_scores_runs_and_says_what_is_so(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    names = {}
    for block in blocks(ROOT / "docs/scores.md", "python"):
        exec(block, names)
    learning, pruning, errors = capsys.readouterr().out.splitlines()
    by_badge, by_chance = map(float, re.findall(r"0\.\d+", learning))
    assert by_badge > by_chance > 0.8
    everything, harder, easier = map(float, re.findall(r"0\.\d+", pruning))
    assert harder > everything - 0.02
    assert harder > easier + 0.05
    assert int(errors.split()[0]) >= 75
    norms = np.sqrt(sum(np.square(norm) for norm in names["per_layer"]))
    assert norms.max() > 1 > norms.min()  # some are clipped
    mean = names["net"].backward(names["net"].forward(names["x"][names["pool"]]), names["labels"][names["pool"]])
    for found, expected in zip(names["weighted"].weights, mean.grad_weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_readmes_numbers_are_looked_for():
    (block,) = blocks(ROOT / "README.md", "python")
    assert len(re.findall(r"^print\(.*\)  # [\d(]", block, re.MULTILINE)) == 2


def test_the_readmes_error_is_the_error():
    with pytest.raises(chainrule.ChainruleError) as refused:
        chainrule.softmax_cross_entropy([[0.0] * 10] * 4, [0, 1, 2, 10])
    assert f"`{refused.value}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_of_pages_md():
    """docs/lecture.md is collected by pytest itself."""
    failed, tried = doctest.testfile(str(ROOT / "docs/pages.md"), module_relative=False, encoding="utf-8")
    assert tried
    assert not failed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_its_command_lines_are_understood(path):
    lines = [line for block in blocks(path, "console") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:2] == ["$", "chainrule"]:
            cli.parser(cli.COMMANDS).parse_args(words[2:])  # ends the process where it does not understand


def test_the_command_lines_of_the_readme_name_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (actions,) = cli.parser(cli.COMMANDS)._subparsers._group_actions
    assert set(re.findall(r"^\$ chainrule (\w+)", text, re.MULTILINE)) == set(actions.choices)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_it_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if not target.startswith("http"):
            assert (path.parent / file).exists(), target
            assert not anchor or anchor in anchors(path.parent / file if file else path), target
    for file in re.findall(r"\b(?:tests|examples|benchmarks|docs|web)/[\w/]+\.\w+", text):
        assert (ROOT / file).exists(), file
    for module in re.findall(r"python\s+-m\s+(benchmarks\.\w+)", text):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for file, chosen in re.findall(r"(tests/\w+\.py) -k (\w+)", text):
        assert chosen in (ROOT / file).read_text(encoding="utf-8"), f"{file} -k {chosen}"


def test_the_version_is_one():
    assert f"\nversion: {chainrule.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == chainrule.__version__
