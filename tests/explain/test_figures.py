"""Drawings, formulas and tables taken out of the page: as SVG, PNG and LaTeX, in light colours, with their numbers; and
exercises as links to hand out."""

import json
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from opened import Opened, close, taken

from chainrule import Network
from chainrule.explain import Rows, explain

SVG = "{http://www.w3.org/2000/svg}"
DARK = ("#f0a052", "#74b0f2", "#c3a6ee", "240, 160, 82", "116, 176, 242", "195, 166, 238", "232, 235, 240")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    random = np.random.default_rng(0)
    net = Network.create([64, 6, 5, 4], activation="relu", seed=1, dtype="float64")
    rows = Rows(random.normal(size=(30, 64)), random.integers(0, 4, 30))
    e = explain(net, random.normal(size=64), 2, row=17, rows=rows, classes=["a", "b_1 & c", "<d>", "e"])
    return e, e.to_html(tmp_path_factory.mktemp("figures") / "page.html")


def chunks(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(body),)
        yield body[:4], body[4:]
        at += 12 + size


def holds(numbers, e):
    """The rows of bars of hidden layer 1."""
    near = {"gradient of hidden layer 1": e.backward.grad_preactivations[0][0]}
    near |= {"output of hidden layer 1": e.forward.activations[1][0], "slope of hidden layer 1": e.derivatives[0]}
    for name, values in near.items():
        np.testing.assert_allclose(numbers[name], values, rtol=1e-12)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_drawing_is_taken_in_light_colours_with_its_numbers(browser, made, scheme):
    e, path = made
    with Opened(browser, path, color_scheme=scheme) as page:
        svg, name = taken(page, "then to hidden layer 1", "SVG")
        assert name == "then-to-hidden-layer-1.svg"
        assert not [colour for colour in DARK if colour in svg.decode()]
        root = ET.fromstring(svg)
        words = "".join(text.text for text in root.iter(f"{SVG}text"))
        assert "Each unit collects" in words
        assert root.find(f"{SVG}title").text == "then to hidden layer 1"
        holds(json.loads(root.find(f"{SVG}metadata").text)["numbers"], e)
        tall = [
            p.get("d") for p in root.iter(f"{SVG}path") if p.get("fill") in ("rgb(179, 86, 11)", "rgb(31, 95, 168)")
        ]
        drawn = page.tab.eval_on_selector_all(
            "[data-step='3'] path[class*=fill]", "all => all.map(path => path.getAttribute('d'))"
        )
        assert sorted(tall) == sorted(drawn)
        png, _ = taken(page, "then to hidden layer 1", "PNG")
        kinds = list(chunks(png))
        (said,) = (data for kind, data in kinds if kind == b"iTXt")
        holds(json.loads(said.partition(b"\0")[2].lstrip(b"\0"))["numbers"], e)
        wide, high = struct.unpack(">II", kinds[0][1][:8])
        assert (wide, high) == (2 * int(root.get("width")), 2 * int(root.get("height")))
        # what is seen stays as it was
        assert page.tab.locator("[data-step='3']").get_attribute("style") in (None, "")


def test_the_heat_map_of_a_dark_page_is_taken_in_light_colours(browser, made):
    e, path = made
    found = {}
    for scheme in ("light", "dark"):
        with Opened(browser, path, color_scheme=scheme) as page:
            svg, _ = taken(page, "and now talk to the weights", "SVG")
            numbers = json.loads(ET.fromstring(svg).find(f"{SVG}metadata").text)["numbers"]
            np.testing.assert_allclose(numbers["inputs"], e.x, rtol=1e-12)
            np.testing.assert_allclose(
                numbers["gradient of the units of layer 1"], e.backward.grad_preactivations[0][0], rtol=1e-12
            )
            found[scheme] = [one.get("href") for one in ET.fromstring(svg).iter(f"{SVG}image")]
    pixels = """async href => {
        const [image, pen] = [new Image(), document.createElement('canvas').getContext('2d')];
        image.src = href;
        await image.decode();
        pen.drawImage(image, 0, 0);
        return [...pen.getImageData(0, 0, image.width, image.height).data];
    }"""
    tab = browser.new_page()
    assert len(found["light"]) == len(found["dark"]) >= 3
    for light, dark in zip(found["light"], found["dark"], strict=True):
        one, other = (np.array(tab.evaluate(pixels, href)).reshape(-1, 4) for href in (light, dark))
        strong = one[:, 3] > 60  # a pale pixel's colour is rounded by its alpha
        np.testing.assert_array_equal(one[:, 3], other[:, 3])
        assert strong.any()
        assert np.abs(one[strong, :3].astype(int) - other[strong, :3]).max() <= 4
    tab.close()


def test_tables_formulas_and_bars_are_latex(browser, made):
    e, path = made
    with Opened(browser, path, fragment="view=tables") as page:
        text, name = taken(page, "The chain in matrices", "LaTeX")
        assert name == "the-chain-in-matrices.tex"
        text = text.decode()
        assert text.count(r"\frac{\partial") >= 5
        assert r"\mathcal{L}" in text
        table = taken(page, "The output units", "LaTeX")[0].decode()
        assert r"b\_1 \& c" in table
        for unit in e.output_units():
            assert f"{unit.logit:.5g}".rstrip("0") in table.replace("$-$", "-")
        for written in (text, table):
            assert written.isascii()
            assert written.count("{") == written.count("}")
            assert written.count("$") % 2 == 0
    with Opened(browser, path) as page:
        bars = taken(page, "then to hidden layer 2", "LaTeX")[0].decode()
        numbers = re.findall(r"^  (\d+) &(.*) \\\\$", bars, re.M)
        assert [int(unit) for unit, _ in numbers] == [1, 2, 3, 4, 5]
        last = [
            float(re.sub(r"\$|\\cdot 10\^\{(.*)\}", lambda m: f"e{m[1]}" if m[1] else "", row.split("&")[-1]))
            for _, row in numbers
        ]
        np.testing.assert_allclose(last, e.backward.grad_preactivations[1][0], rtol=1e-12)


LETTERS = ["a", "b_1 & c%$#{}~^\\\\", "<d> ≥ α | é", "e-5 −3 “x”"]  # as names of classes


def test_latex_compiles_every_kind(browser, tmp_path):
    """Every part of every view in one document, with names that LaTeX would take for commands."""
    latex = shutil.which("pdflatex") or pytest.skip("pdflatex is not installed")
    random = np.random.default_rng(0)
    nets = [Network.create([64, 6, 5, 4], activation="tanh", seed=seed, dtype="float64") for seed in (1, 2)]
    rows = Rows(random.normal(size=(30, 64)), random.integers(0, 4, 30))
    x = random.normal(size=64)
    path = explain(nets[0], x, 2, row=17, rows=rows, classes=LETTERS, checkpoints=nets).to_html(tmp_path / "p.html")
    found = {}
    for fragment in ("", "view=routes", "view=train&train=3:8:0.05:adam:1:new", "view=tables"):
        with Opened(browser, path, fragment=fragment) as page:
            if "train=" in fragment:
                page.comes_to_show("#at", "3 of 3")
            for title in page.tab.locator("#figure option").all_inner_texts():
                found[title] = taken(page, title, "LaTeX")[0].decode()
    assert len(found) >= 18
    for title, text in found.items():
        assert re.search(r"\d\.\d", text), title  # numbers in each
    assert "factors, over all paths & $" in found["Checked three ways"]
    assert r"$\hat{y}_{\ell }$" in found["The first route breaks, in the float32 that networks train in"]
    whole = "\n\\clearpage\n".join(found.values())
    assert "é" in whole
    assert whole.replace("é", "").isascii()
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{amsmath,amssymb}\begin{document}"
    (tmp_path / "all.tex").write_text(f"{head}\n{whole}\n\\end{{document}}\n", encoding="utf-8")
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")


def test_curves_and_pulls_of_a_training_are_taken_too(browser, made):
    with Opened(browser, made[1], fragment="view=train&train=4:8:0.05:adam:1:new") as page:
        page.comes_to_show("#at", "4 of 4")
        loss = page.value("#train-loss")
        svg, _ = taken(page, "Loss", "SVG")
        numbers = json.loads(ET.fromstring(svg).find(f"{SVG}metadata").text)["numbers"]
        assert close(numbers["this batch"][-1], loss)
        assert len(numbers["held out"]) == 4
        pulls = page.tab.eval_on_selector_all("[data-pull]", "all => all.map(one => +one.dataset.pull)")
        svg, _ = taken(page, "One batch: 8 pulls and their mean", "SVG")
        shown = json.loads(ET.fromstring(svg).find(f"{SVG}metadata").text)["numbers"]["shown"]
        assert set(pulls) <= set(shown)


def test_what_is_hidden_is_not_taken_away(browser, made):
    with Opened(browser, made[1], fragment="predict") as page:
        svg, _ = taken(page, "then to hidden layer 1", "SVG")
        said = json.loads(ET.fromstring(svg).find(f"{SVG}metadata").text)["numbers"]
        assert not {"gradient of hidden layer 1", "blame of hidden layer 1", "slope of hidden layer 1"} & set(said)
        weights = json.loads(
            ET.fromstring(taken(page, "and now talk to the weights", "SVG")[0]).find(f"{SVG}metadata").text
        )["numbers"]
        assert "gradient of the units of layer 1" not in weights


def test_an_exercise_is_a_link_to_hand_out(browser, made):
    e, path = made
    with Opened(browser, path, fragment="w=1,2,3&exercise=5") as page:
        link = page.tab.locator("#hand-out").input_value()
        asked = page.tab.eval_on_selector_all("[data-answer]", "all => all.map(one => one.dataset.of)")
    address, _, fragment = link.partition("#")
    assert address == path.as_uri()
    with Opened(browser, path, fragment=fragment) as page:
        assert page.tab.eval_on_selector_all("[data-answer]", "all => all.map(one => one.dataset.of)") == asked
        assert page.tab.locator("[role=tablist], #goto, #figure").count() == 0
        page.tab.fill('[data-of="product"]', f"{e.gradient(1, 2, 3):.6g}")
        page.tab.get_by_role("button", name="Mark").click()
        assert f"1 of {len(asked)} right" in page.tab.locator(".exercise").inner_text()
