"""What chainrule[cli] promises, with what it brings and nothing more."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.activations import ACTIVATIONS

ROOT = Path(__file__).parents[2]
# None in sys.modules is how Python says that a module is not to be found.
ALONE = """
import importlib.util, json, sys
others = ["sympy", "mpmath", "gmpy2", "scipy", "sklearn", "torch", "jax", "onnx", "pandas", "ml_dtypes"]
others += ["array_api_compat", "pyarrow", "matplotlib"]
sys.modules.update(dict.fromkeys(others))
"""
PAGES = """
import numpy as np
from pathlib import Path
from chainrule import Network
from chainrule.activations import ACTIVATIONS
from chainrule.explain import explain
for activation in ACTIVATIONS:
    explanation = explain(Network.create([3, 4, 2], activation=activation, seed=0), [1.0, -2.0, 0.5], 0)
    explanation.to_html(Path(sys.argv[1]) / f"{activation}.html")
    shown = [explanation, explanation.weight(1, 1, 1), explanation.compare(explanation)]
    assert all("<math" in one._repr_html_() for one in shown)
assert "chainrule.derive" not in sys.modules
"""
COMMANDS = """
from chainrule.command.cli import main
model, table = sys.argv[1] + "/model.safetensors", sys.argv[2]
options = ["--target", "label", "--epochs", "2", "--seed", "0", "-o", model]
for command in (
    ["train", table, *options, "--report", sys.argv[1] + "/report.html"],
    ["explain", model, table, "--row", "0", "-o", sys.argv[1] + "/explanation.html"],
    ["explain", model, table, "--row", "0"],
):
    assert main(command) == 0, command
assert "chainrule.derive" not in sys.modules
"""


def alone(code, *arguments):
    done = subprocess.run([sys.executable, "-c", ALONE + code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def wanted(activation):
    """The derivations that the page's script asks for."""
    source = (ROOT / "web" / "src" / "chain.ts").read_text(encoding="utf-8")
    names = [
        name
        for listed in re.findall(r"derivations: \[(.+?)\]", source)
        for name in re.findall(r'["`](.+?)["`]', listed)
    ]
    assert len(names) > 8
    return [name.replace("${net.activation.name}", activation) for name in names]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    alone(PAGES, folder)
    return folder


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_derivation_stands_in_the_page(written, activation):
    page = (written / f"{activation}.html").read_text(encoding="utf-8")
    kept = json.loads((ROOT / "src/chainrule/pages/templates/derivations.json").read_text(encoding="utf-8"))
    titles = {one["name"]: one["title"] for one in [*kept["factors"], *kept["activations"].values()]}
    for name in wanted(activation):
        _, found, rest = page.partition(f'<summary>{titles[name]}</summary><div id="derivation-{name}">')
        assert found, name
        assert rest.partition("</details></div>")[0].count("<math") >= 2, name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    alone(COMMANDS, folder, ROOT / "examples" / "digits.csv")
    return folder


def test_the_commands_need_no_other_extra(made):
    page = (made / "explanation.html").read_text(encoding="utf-8")
    assert all(f'id="derivation-{name}"' in page for name in wanted("relu"))


@pytest.mark.parametrize("page", ["report", "report-explanation", "explanation"])
def test_their_pages_say_nothing_in_the_console(browser, made, page):
    said, tab = [], browser.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: said.append(request.url))
    path = made / f"{page}.html"
    tab.goto(path.as_uri())
    if page != "report":
        tab.wait_for_selector("#app[data-live]")
        derivations = tab.locator("details:has(> [id^=derivation-])").all()
        assert len(derivations) >= len(wanted("relu"))
        for one in derivations:
            one.locator("summary").first.click()
            assert one.locator("math").first.is_visible()
    assert said == [path.as_uri()]
    tab.close()
