"""The pages' scripts: their types hold, their own tests pass, and the committed files are what web/ builds now."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "chainrule" / "templates"


def node_version():
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout if node else ""
    return int(re.match(r"v(\d+)|", said)[1] or 0)


pytestmark = pytest.mark.skipif(node_version() < 20 or shutil.which("npm") is None, reason="Node 20 is not installed")


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


def test_the_types_hold(web):
    run(web, "npx", "tsc")


def test_its_own_tests_pass(web):
    run(web, "npx", "vitest", "run")


@pytest.mark.parametrize(("script", "mode"), [("explain.js", "production"), ("report.js", "report")])
def test_the_committed_script_is_what_its_sources_build(web, tmp_path, script, mode):
    run(web, "npx", "vite", "build", "--mode", mode, "--outDir", str(tmp_path))
    assert (tmp_path / script).read_bytes() == (TEMPLATES / script).read_bytes(), "make web builds it again"
