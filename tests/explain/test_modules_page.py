"""The page of any PyTorch classifier in Chromium: every submodule's gradient, against autograd's numbers."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from opened import Opened, close, taken

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from classifiers import classifiers  # noqa: E402

from chainrule.torch import explain  # noqa: E402

MODELS = ("maxpool", "residual", "attention")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, all_ = tmp_path_factory.mktemp("modules"), classifiers()
    found = {
        name: explain(*all_[name], classes=["</script>", "b", "c", "d", "e"][: 5 if name == "maxpool" else 3])
        for name in MODELS
    }
    return {name: (one, one.to_html(folder / f"{name}.html")) for name, one in found.items()}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_every_submodule_is_there_with_its_numbers(browser, made, name, live):
    found, path = made[name]
    with Opened(browser, path, java_script_enabled=live) as page:
        sections = page.tab.locator("[data-module]")
        names = sections.evaluate_all("all => all.map(one => one.dataset.module)")
        assert names == [row.name for row in reversed(found.rows)]
        for i, row in enumerate(reversed(found.rows)):
            told = sections.nth(i).locator(".sums [data-value]").evaluate_all("all => all.map(e => +e.dataset.value)")
            flat = np.concatenate([g.ravel() for g in found.gradients[row.name]])
            largest = np.argsort(-np.abs(flat), kind="stable")[:3]
            want = [*flat[largest], np.linalg.norm(flat)]
            want += [] if row.parameter_norm is None else [row.parameter_norm]
            assert told == pytest.approx(want, rel=1e-12)
        first = page.numbers(".talk.output .sums")
        grad = np.array([unit.grad_logit for unit in found.output_units])
        assert first[:3] == pytest.approx(grad[np.argsort(-np.abs(grad), kind="stable")[:3]], rel=1e-12)
        assert close(first[-1], found.loss)


def test_a_bar_says_its_place_and_value_on_hover_and_by_the_keyboard(browser, made):
    found, path = made["maxpool"]
    gradient = found.gradients["5"][0].ravel()
    with Opened(browser, path) as page:
        for unit in (1, 4):
            assert any(close(number, gradient[unit - 1]) for number in page.tip("gradient at 5", unit, len(gradient)))
        bars = page.tab.locator('[data-row="gradient at 0"] .bars')
        page.tab.mouse.move(0, 0)
        bars.focus()
        page.tab.keyboard.press("Home")
        flat = found.gradients["0"][0]
        largest = np.unravel_index(np.abs(flat).argmax(), flat.shape)
        said = page.tab.evaluate(
            "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).ariaLabel"
        )
        assert said.startswith(f"[{', '.join(str(i + 1) for i in largest)}], ")
        assert any(close(number, flat[largest]) for number in page.numbers('[data-row="gradient at 0"] .tip'))


def test_the_output_layer_is_the_walks(browser, made):
    """Its bars tell their factors, its derivations are one click away, letters and scale can be chosen."""
    found, path = made["maxpool"]
    p, grad = ([getattr(unit, of) for unit in found.output_units] for of in ("probability", "grad_logit"))
    with Opened(browser, path) as page:
        for row, unit in (("probabilities", 2), ("gradient of the output layer", 4)):
            said = page.tip(row, unit, 5)
            assert close(said[0], p[unit - 1])
            assert close(said[-1], grad[unit - 1])
        page.tab.get_by_role("button", name="Derivation: Talk to the output layer").click()
        assert page.tab.locator("#derivation > details > summary").last.inner_text() == "The gradient w.r.t. the logits"
        page.tab.keyboard.press("Escape")
        page.tab.select_option("#notation", label="p, z, a, W")
        assert page.tab.locator(".talk.output .formula math").text_content().endswith("p−e(ℓ)")
        before = page.tab.locator("[data-row='gradient at 0'] path").first.get_attribute("d")
        page.tab.click("#scale")
        assert page.tab.locator("[data-row='gradient at 0'] path").first.get_attribute("d") != before


def test_it_is_walked_by_keys_to_the_input(browser, made):
    found, path = made["residual"]
    with Opened(browser, path) as page:
        for _ in range(len(found.rows) + 3):  # one for the output layer; past the end it stays
            page.tab.keyboard.press("ArrowRight")
        assert page.tab.locator(".now").get_attribute("data-module") == "x"
        told = page.tab.locator("#said").inner_text()
        assert told.startswith(f"Step {len(found.rows) + 1} of {len(found.rows) + 1}: and back to the input")
        box = page.tab.locator(".now").bounding_box()
        assert 0 <= box["y"] <= 900 - box["height"]
        page.tab.keyboard.press("Escape")
        assert page.tab.locator(".now").count() == 0


def test_figures_are_taken_away_with_their_places(browser, made):
    found, path = made["maxpool"]
    gradient = found.gradients["0"][0]
    with Opened(browser, path, color_scheme="dark") as page:
        svg, name = taken(page, "then to 0", "SVG")
        assert name == "then-to-0.svg"
        told = json.loads(ET.fromstring(svg).find("{http://www.w3.org/2000/svg}metadata").text)
        np.testing.assert_allclose(told["numbers"]["gradient at 0"], gradient.ravel(), rtol=1e-15)
        at = told["places"]["gradient at 0"]
        assert at[37] == f"[{', '.join(str(int(i) + 1) for i in np.unravel_index(37, gradient.shape))}]"
        assert taken(page, "Talk to the output layer", "PNG")[0][:4] == b"\x89PNG"
        table = taken(page, "then to 5", "LaTeX")[0].decode()
        rows = re.findall(r"^  \[1, (\d)\] & \$(.*)\$ \\\\$", table.partition("element &")[2], re.M)
        assert [int(unit) for unit, _ in rows] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([float(value) for _, value in rows], found.gradients["5"][0].ravel(), rtol=1e-15)


@pytest.mark.parametrize(("size", "scheme"), [((1440, 900), "light"), ((390, 844), "dark")])
def test_it_fits_and_reads(browser, made, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with Opened(browser, made["attention"][1], size, color_scheme=scheme) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") == size[0]
        for found in axe.Axe().run(page.tab).response["violations"]:
            nodes = [node["html"][:200] for node in found["nodes"]]
            assert found["impact"] not in ("serious", "critical"), f"{found['id']}: {nodes}"


def test_it_is_valid_html(made, faults):
    assert faults([made[name][1] for name in ("maxpool", "attention")]) == []
