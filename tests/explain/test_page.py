"""The explanation page in Chromium: what it shows and computes against Python, and how it is reached and read."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain
from chainrule.explain.findings import story

ROOT = Path(__file__).parents[2]
NASTY = "<img src=x onerror=alert(1)>"
SIZES = [(1440, 900), (768, 1024), (390, 844)]
MEGABYTE = 1_000_000
NETWORKS = {  # widths, activation, the most bytes of its page
    "digits": ([64, 64, 10], "relu", 2 * MEGABYTE),
    "mnist": ([784, 128, 10], "relu", 2 * MEGABYTE),
    "small": ([4, 8, 3], "tanh", 2 * MEGABYTE),
    "deep": ([16] * 11 + [4], "gelu", 2 * MEGABYTE),
    "thin": ([1, 1, 1, 1], "tanh", 2 * MEGABYTE),
    "wide": ([2000, 512, 1000], "relu", 8 * MEGABYTE),
}


def explained(name, label=0, **options):
    widths, activation, _ = NETWORKS[name]
    random = np.random.default_rng(7)
    net = Network.create(widths, activation=activation, seed=3)
    for bias in net.biases:
        bias += random.normal(size=bias.shape) / 4
    x = random.normal(size=widths[0])
    if name == "small":
        options = {"feature_names": [NASTY, "b", "c", "d"], "classes": ["x", NASTY, "</script>"]} | options
    return explain(net, x, label, **options)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of each network, made once."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(name):
        if name not in made:
            made[name] = explained(name), explained(name).to_html(folder / f"{name}.html")
        return made[name]

    return page


@pytest.mark.parametrize("name", NETWORKS)
def test_it_opens_without_an_error_fits_and_is_small(browser, pages, name):
    e, path = pages(name)
    assert path.stat().st_size < NETWORKS[name][2]
    for size in SIZES:
        with Opened(browser, path, size) as page:
            assert page.tab.evaluate("document.documentElement.scrollWidth") == size[0]
            # what is wider than its card can be scrolled there
            assert (
                page.tab.evaluate("""() => [...document.querySelectorAll('#app *')].filter(e => {
                const box = e.getBoundingClientRect();
                return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)
                    && !e.closest('.scroll, .unseen, svg');
            }).map(e => e.outerHTML.slice(0, 200))""")
                == []
            )
            assert close(page.value("#gradient"), e.gradient(*e.opening_weight()))
            small = page.tab.evaluate("""() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
                && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
                && !e.closest('math, sup, sub, script, style')
                && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML.slice(0, 100))""")
            assert small == []


@pytest.mark.parametrize("name", NETWORKS)
def test_any_weight_and_unit_has_the_gradient_of_the_backward_pass(browser, pages, name):
    e, path = pages(name)
    random = np.random.default_rng(11)
    with Opened(browser, path) as page:
        for _ in range(2 if name == "wide" else 5):
            layer = int(random.integers(1, e.net.depth + 1))
            unit, source = (int(random.integers(1, n + 1)) for n in (e.net.widths[layer], e.net.widths[layer - 1]))
            page.choose(layer, unit, source)
            want = e.net.backward(e.forward, [e.label]).grad_weights[layer - 1].reshape(-1, e.net.widths[layer - 1])
            want = float(want[unit - 1, source - 1])
            assert close(page.value("#gradient"), want)
            chain = e.weight(layer, unit, source)
            assert page.tab.locator("#why").inner_text() == chain.why
            assert page.tab.locator("#story").inner_text() == story(e, layer, unit, source)
            for other, symbol in ((None, "a"), (0, "b")):
                page.choose(layer, unit, other)
                assert close(page.value("#gradient"), float(e.backward.grad_preactivations[layer - 1][0, unit - 1]))
                assert page.tab.locator("h1").inner_text().startswith(f"Why {symbol}")
        page.choose(1, 1, 1)
        page.tab.get_by_role("tab", name="Tables and checks").click()
        chain = e.weight(1, 1, 1)
        assert close(page.value("#backward"), chain.from_backward)
        # a sum over paths that cancel is right relative to what is summed
        assert abs(page.value("#factors") - chain.product) <= 1e-12 * abs(chain.product) / max(
            chain.share_of_sizes or 1.0, 1e-3
        )
        for refused in ("0,1,1", f"{e.net.depth + 1},1,1", f"1,{e.net.widths[1] + 1},1", "1,1,999999", "one", "1"):
            page.tab.fill("#goto", refused)
            page.tab.press("#goto", "Enter")
            assert f"There is no {refused}" in page.tab.locator("#goto-help").inner_text()
            assert page.tab.locator("h1").inner_text().startswith("Why W₁₁₁")


def test_a_step_lowers_the_loss_as_python_says(browser, pages):
    e, path = pages("digits")
    with Opened(browser, path) as page:
        page.tab.fill("#lr", "0.01")
        page.tab.click("#take-step")
        step = e.step(0.01)
        assert close(page.value("#loss"), step.true_loss, 1e-10)
        assert step.true_loss < e.loss
        told = page.tab.locator("#step-told").inner_text()
        for number in (e.loss, step.predicted_loss, step.true_loss):
            assert f"{number:.5g}" in told
        page.tab.click("#take-step")
        assert page.value("#loss") < step.true_loss
        page.tab.fill("#lr", "-1")
        assert page.tab.locator("#take-step").is_disabled()
        page.tab.click("#reset")
        assert close(page.value("#loss"), e.loss)


def test_a_derivation_is_one_click_away(browser, pages):
    _, path = pages("digits")
    with Opened(browser, path) as page:
        page.tab.get_by_role("button", name="Derivation: then to hidden layer 1").click()
        shown = page.tab.get_by_role("dialog")
        assert "The gradient w.r.t. the hidden units" in shown.inner_text()
        assert shown.locator("math").count() > 3
        page.tab.keyboard.press("Escape")
        assert shown.count() == 0


def test_another_notation_everywhere(browser, pages):
    _, path = pages("digits")
    with Opened(browser, path) as page:
        page.choose(1, 1, 1)
        page.tab.select_option("#notation", label="p, s, x, w")
        for view in ("The walk", "Two routes", "Tables and checks"):
            page.tab.get_by_role("tab", name=view).click()
            shown = (
                page.tab.locator("#app").inner_text().replace("ŷ, a, h, W (the lecture)", "").replace("ŷ, z, h, W", "")
            )
            shown = shown.replace("w₁₁₁", "")
            assert "ŷ" not in shown.replace("ŷ is e(ℓ)", ""), view
            assert "W₁" not in shown, view
            letters = set(page.tab.eval_on_selector_all("#app math mi", "all => all.map(one => one.textContent)"))
            assert {"p", "s"} <= letters
            assert not {"y", "a", "h", "W"} & letters
        page.tab.get_by_role("tab", name="The walk").click()
        assert "w₁₁₁ has the gradient" in page.tab.locator("#why").inner_text()
        page.tab.get_by_role("button", name="Derivation: then to hidden layer 1").click()
        letters = page.tab.eval_on_selector_all("dialog math mi", "all => all.map(one => one.textContent)")
        assert {"s", "w"} <= set(letters)
        assert not {"a", "h", "W"} & set(letters)


def test_names_are_text(browser, pages):
    _, path = pages("small")
    with Opened(browser, path) as page:  # a dialog would be in `said`
        assert NASTY in page.tab.locator("#label").inner_text()
        assert "</script>" in page.tab.locator(".classes").inner_text()
        assert page.tab.locator("img").count() == 0
    with Opened(browser, path, java_script_enabled=False) as page:
        assert NASTY in page.tab.locator("#output-units").inner_text()
        assert page.tab.locator("img").count() == 0


def test_without_javascript_the_chain_and_its_numbers_read_in_full(browser, pages):
    e, path = pages("deep")
    chain = e.weight(*e.strongest_weight(1))
    path = chain.to_html(path.with_name("static.html"))
    with Opened(browser, path, java_script_enabled=False) as page:
        shown = page.tab.locator("main").inner_text()
        assert chain.why in shown
        for group in chain.groups:
            assert group.heading in shown
            for factor in group.factors:
                assert factor.meaning in shown
        values = page.tab.eval_on_selector_all("[data-value]", "all => all.map(one => Number(one.dataset.value))")
        for value in (chain.product, chain.from_backward, chain.finite_difference, e.loss):
            assert any(close(value, shown_value, 1e-15) for shown_value in values)
        assert page.tab.evaluate("document.querySelectorAll('math').length") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, pages, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    everything = ["", "view=routes", "view=tables", "exercise=1&step=2"]
    for name, size, fragments in (
        ("digits", SIZES[0], everything), ("small", SIZES[0], ["exercise=1&step=2"]), ("deep", SIZES[0], [""]),
        ("digits", SIZES[2], ["step=2", "step=3", "view=routes"]),
    ):  # fmt: skip
        for fragment in fragments:
            with Opened(browser, pages(name)[1], size, fragment, color_scheme=scheme) as page:
                for found in axe.Axe().run(page.tab).response["violations"]:
                    nodes = [node["html"][:200] for node in found["nodes"]]
                    assert found["impact"] not in ("serious", "critical"), f"{name} {fragment} {found['id']}: {nodes}"


def test_everything_that_can_be_clicked_is_reached_by_the_keyboard(browser, pages):
    _, path = pages("small")
    with Opened(browser, path) as page:
        reached = set()
        for _ in range(70):
            page.tab.keyboard.press("Tab")
            reached.add(
                page.tab.evaluate("""() => {
                const e = document.activeElement;
                return e.id || e.closest('[data-row]')?.dataset.row || e.innerText;
            }""")
            )
        assert {"gradient of the output layer", "blame of hidden layer 1", "weights", "The walk", "Play"} <= reached
        assert {"label", "lr", "take-step", "reset", "notation", "goto", "link", "copy-link", "scale"} <= reached


def test_in_print_every_step_is_there(browser, pages):
    _, path = pages("deep")
    with Opened(browser, path) as page:
        assert page.tab.locator(".talk").count() == 1
        page.tab.emulate_media(media="print")
        page.tab.wait_for_selector(".stack")
        assert page.tab.locator(".talk").count() == 12
        assert not page.tab.locator(".bar").is_visible()


def test_it_is_valid_html(pages, faults):
    assert faults([pages(name)[1] for name in ("digits", "small", "thin")]) == []


SCRIPTS = ("explain.js", "training.js", "modules.js", "report.js")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_committed_scripts_are_built_from_their_source(script):
    """The hash of all that they are built from, as web/vite.config.ts computes it, stands in their first line."""
    web, digest = ROOT / "web", hashlib.sha256()
    sources = sorted(f"src/{path.name}" for path in (web / "src").iterdir())
    for name in ["package-lock.json", "vite.config.ts", *sources]:
        digest.update(f"{name}\n".encode() + (web / name).read_bytes())
    committed = (ROOT / "src/chainrule/pages/templates" / script).read_text(encoding="utf-8")
    assert f"sources {digest.hexdigest()}." in committed.partition("\n")[0], "run `make web`"
