"""The pages' scripts: their types hold, their own tests pass, and the committed files are what web/ builds now."""

import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "chainrule" / "pages" / "templates"


def node_version():
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout if node else ""
    return int(re.match(r"v(\d+)|", said)[1] or 0)


by_node = pytest.mark.skipif(node_version() < 20 or shutil.which("npm") is None, reason="Node 20 is not installed")


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A copy of web/ with its packages, in a place of its own: what is there may be half built."""
    copy = tmp_path_factory.mktemp("copy") / "web"
    shutil.copytree(ROOT / "web", copy, ignore=shutil.ignore_patterns("node_modules"))
    run(copy, "npm", "ci", "--no-audit", "--no-fund")
    return copy


def run(folder, *command):
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"CI": "1"}
    )
    assert done.returncode == 0, done.stdout


@by_node
def test_the_types_hold(web):
    run(web, "npx", "tsc")


@by_node
def test_its_own_tests_pass(web):
    run(web, "npx", "vitest", "run")


@by_node
@pytest.mark.parametrize(
    ("script", "mode"),
    [("explain.js", "production"), ("training.js", "training"), ("modules.js", "modules"), ("report.js", "report")],
)
def test_the_committed_script_is_what_its_sources_build(web, tmp_path, script, mode):
    run(web, "npx", "vite", "build", "--mode", mode, "--outDir", str(tmp_path))
    assert (tmp_path / script).read_bytes() == (TEMPLATES / script).read_bytes(), "make web builds it again"


FILES = [("fixture.json", "cases"), ("cancelling.json", "cancelling"), ("training.json", "training")]


@pytest.mark.parametrize(("file", "made_by"), FILES)
def test_what_the_page_is_tested_with_is_what_python_gives(file, made_by):
    """To the digits that do not hang on how a machine sums: differences of losses are right to about 1e-11."""
    tests = ROOT / "web" / "tests"
    made = json.loads(json.dumps(runpy.run_path(str(tests / "fixture.py"))[made_by]()))
    kept = json.loads((tests / file).read_text(encoding="utf-8"))
    assert shape_of(made) == shape_of(kept), "web/tests/fixture.py writes it again"
    assert list(numbers_in(made)) == pytest.approx(list(numbers_in(kept)), rel=1e-7, abs=1e-11)


def shape_of(data):
    """All but the numbers that are not whole."""
    if isinstance(data, dict):
        return {name: shape_of(value) for name, value in data.items()}
    if isinstance(data, list):
        return [shape_of(value) for value in data]
    return float if isinstance(data, float) else data


def numbers_in(data):
    if isinstance(data, (dict, list)):
        for value in data.values() if isinstance(data, dict) else data:
            yield from numbers_in(value)
    elif isinstance(data, float):
        yield data
