"""The page of any PyTorch classifier in Chromium: every submodule's gradient, against autograd's numbers."""

import numpy as np
import pytest
from opened import Opened, close

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
