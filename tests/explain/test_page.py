"""The explanation page in Chromium: what it shows and computes against Python, and how it is reached and read."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain

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
                return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !e.closest('.scroll, .unseen');
            }).map(e => e.outerHTML.slice(0, 200))""")
                == []
            )
            assert close(page.value("#backward"), e.gradient(*e.strongest_weight()))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_weight_and_unit_has_the_gradient_of_the_backward_pass(browser, pages, name):
    e, path = pages(name)
    random = np.random.default_rng(11)
    with Opened(browser, path) as page:
        for _ in range(10):
            layer = int(random.integers(1, e.net.depth + 1))
            unit, source = (int(random.integers(1, n + 1)) for n in (e.net.widths[layer], e.net.widths[layer - 1]))
            page.choose(layer, unit, source)
            want = e.net.backward(e.forward, [e.label]).grad_weights[layer - 1].reshape(-1, e.net.widths[layer - 1])
            want = float(want[unit - 1, source - 1])
            assert close(page.value("#backward"), want)
            # a sum over paths that cancel is right relative to what is summed
            chain = e.weight(layer, unit, source)
            assert abs(page.value("#product") - want) <= 1e-12 * abs(want) / max(chain.share_of_sizes or 1.0, 1e-3)
            assert page.tab.locator("#why").inner_text() == chain.why
            page.choose(layer, unit, None)
            assert close(page.value("#backward"), float(e.backward.grad_preactivations[layer - 1][0, unit - 1]))


CLICKABLE = """edge => {
    const line = edge.querySelector('.line'), at = line.getScreenCTM();
    for (let t = 0.03; t < 1; t += 0.01) {
        const p = new DOMPoint(line.x1.baseVal.value * (1 - t) + line.x2.baseVal.value * t,
                               line.y1.baseVal.value * (1 - t) + line.y2.baseVal.value * t).matrixTransform(at);
        if (document.elementFromPoint(p.x, p.y)?.closest('[data-weight]') === edge) return [p.x, p.y];
    }
    return null;
}"""


@pytest.mark.parametrize("name", ["digits", "mnist", "small", "deep"])
def test_clicking_ten_drawn_weights(browser, pages, name):
    e, path = pages(name)
    random = np.random.default_rng(5)
    with Opened(browser, path, (1440, 1400)) as page:
        drawn = page.tab.eval_on_selector_all("[data-weight]", "all => all.map(one => one.dataset.weight)")
        assert len(drawn) >= 50
        clicked = 0
        for place in random.permutation(drawn):
            edge = page.tab.query_selector(f'[data-weight="{place}"]')
            if edge is None:
                continue  # folded away for what was chosen before
            spot = edge.evaluate(CLICKABLE)
            if spot is None:
                continue  # wholly under other lines; it can be chosen by its numbers
            page.tab.mouse.click(*spot)
            layer, unit, source = map(int, place.split(","))
            assert close(page.value("#backward"), e.gradient(layer, unit, source))
            clicked += 1
            if clicked == 10:
                break
        assert clicked == 10


def test_clicking_units(browser, pages):
    e, path = pages("digits")
    with Opened(browser, path, (1440, 1400)) as page:
        for place in page.tab.eval_on_selector_all("[data-unit]", "all => all.map(one => one.dataset.unit)"):
            layer, unit = map(int, place.split(","))
            if layer == 0 or page.tab.locator(f'[data-unit="{place}"]').count() == 0:
                continue
            page.tab.locator(f'[data-unit="{place}"]').click()
            assert close(page.value("#backward"), float(e.backward.grad_preactivations[layer - 1][0, unit - 1]))
            assert page.tab.locator(f'[data-unit="{place}"]').get_attribute("aria-pressed") == "true"
        before = page.tab.locator("[data-unit]").count()
        page.tab.locator(".rest").first.click()
        assert page.tab.locator("[data-unit]").count() > before
        page.tab.locator(".fold").first.click()
        assert page.tab.locator("[data-unit]").count() == before


def shows(page, e, place=None):
    """The page's numbers are those of an explanation."""
    chain = e.weight(*(place or e.strongest_weight()))
    assert close(page.value("#loss"), e.loss)
    assert close(page.value("#backward"), chain.from_backward)
    logits = page.tab.eval_on_selector_all(
        "#output-units tbody tr td:nth-child(2) .num", "all => all.map(one => Number(one.dataset.value))"
    )
    np.testing.assert_allclose(logits, e.forward.logits[0], rtol=1e-12)


@pytest.mark.parametrize("name", ["digits", "small"])
def test_a_changed_input_and_label_give_what_python_gives(browser, pages, name):
    e, path = pages(name)
    place = e.strongest_weight()
    x = e.x.copy()
    with Opened(browser, path) as page:
        shows(page, e)
        if name == "digits":
            page.tab.locator("summary", has_text="sliders").click()
        first = int(page.tab.locator("[data-input]").first.get_attribute("data-input"))
        for index, text, value in ((first, "1.75", 1.75), (first, "−0,5", -0.5)):
            page.tab.fill(f'[data-input="{index}"]', text)
            page.tab.keyboard.press("Enter")
            x[index] = value
            shows(page, explain(e.net, x, e.label, classes=e.classes), place)
        page.tab.fill(f'[data-input="{first}"]', "not a number")
        page.tab.keyboard.press("Enter")
        slider = page.tab.locator("input[type=range]").nth(1)
        slider.evaluate("(e) => { e.value = '0.125'; e.dispatchEvent(new Event('input', {bubbles: true})); }")
        index = int(page.tab.locator("[data-input]").nth(1).get_attribute("data-input"))
        x[index] = float(slider.input_value())
        shows(page, explain(e.net, x, e.label, classes=e.classes), place)
        page.tab.select_option("#label", "2")
        shows(page, explain(e.net, x, 2, classes=e.classes), place)
        page.tab.click("#reset")
        shows(page, e)


def test_drawing_on_the_image(browser, pages):
    e, path = pages("digits")
    x = e.x.copy()
    with Opened(browser, path) as page:
        box = page.tab.locator("#input-image").bounding_box()
        for i in (0, 1, 2):  # pixels of the first row, in one stroke
            spot = box["x"] + (i + 0.5) * box["width"] / 8, box["y"] + box["height"] / 16
            page.tab.mouse.move(*spot)
            if i == 0:
                page.tab.mouse.down()
        page.tab.mouse.up()
        x[:3] = e.x.max()
        shows(page, explain(e.net, x, e.label), e.strongest_weight())
        page.tab.locator("label", has_text="wipe out").click()
        page.tab.mouse.click(box["x"] + 2.5 * box["width"] / 8, box["y"] + box["height"] / 16)
        x[2] = e.x.min()
        shows(page, explain(e.net, x, e.label), e.strongest_weight())


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


@pytest.mark.parametrize("name", ["digits", "deep", "thin"])
def test_the_keyboard_walks_through_every_group_in_order(browser, pages, name):
    e, path = pages(name)
    widest = [(layer, 1, 1) for layer in (1, e.net.depth)]
    with Opened(browser, path) as page:
        for place in widest:
            page.choose(*place)
            page.tab.locator("h1").click()
            headings, factors = [], 0
            while page.tab.locator(".tile.now").count() or not factors:
                page.tab.keyboard.press("ArrowRight")
                now = page.tab.locator(".tile.now").evaluate("e => e.closest('[data-group]').dataset.group")
                headings += [] if headings[-1:] == [now] else [now]
                factors += 1
                said = page.tab.locator("#said").text_content()
                assert said.startswith(f"Step {factors} of ")
                assert now in said
                if page.tab.locator(".later").count() == 0:
                    break
            assert headings == [group.heading for group in e.weight(*place).groups]
            for _ in range(factors):
                page.tab.keyboard.press("ArrowLeft")
            assert page.tab.locator(".tile.now").count() == 0


def test_play_walks_by_itself(browser, pages):
    _, path = pages("thin")
    with Opened(browser, path) as page:
        page.tab.clock.install()
        page.choose(1, 1, 1)
        page.tab.get_by_role("button", name="Play").click()
        seen = set()
        for _ in range(20):
            page.tab.clock.run_for(800)
            seen |= set(page.tab.eval_on_selector_all(".tile.now", "all => all.map(e => e.dataset.place)"))
        assert seen == {"loss", "softmax", "edges-3", "units-2", "edges-2", "units-1", "weight"}
        assert page.tab.get_by_role("button", name="Play").count() == 1  # it has come to its end


def test_a_factor_and_its_place_light_each_other(browser, pages):
    _, path = pages("digits")
    with Opened(browser, path, (1440, 1600)) as page:
        page.choose(1, 1, 1)
        page.tab.hover('.tile[data-place="units-1"]')
        lit = page.tab.eval_on_selector_all(".unit.lit", "all => all.map(e => e.dataset.unit)")
        assert lit
        assert all(unit.startswith("1,") for unit in lit)
        page.tab.hover('.tile[data-place="edges-2"]')
        lit = page.tab.eval_on_selector_all(".edge.lit", "all => all.map(e => e.dataset.weight)")
        assert lit
        assert all(weight.startswith("2,") for weight in lit)
        page.tab.hover('[data-unit="1,1"]')
        assert page.tab.locator('.tile.lit[data-place="units-1"]').count() == 1
        page.tab.hover("h1")
        assert page.tab.locator(".tile.lit").count() == 0


def test_a_derivation_is_one_click_away(browser, pages):
    _, path = pages("digits")
    with Opened(browser, path) as page:
        page.choose(1, 1, 1)
        page.tab.get_by_role("button", name="Derivation: hidden layer 1").click()
        panel = page.tab.locator("#factor")
        assert "gradient wrt hidden" in panel.inner_text()
        assert panel.locator("details[open] math").count() > 3


def test_predict_first_hides_the_numbers_until_asked(browser, pages):
    e, path = pages("thin")
    with Opened(browser, path) as page:
        page.choose(1, 1, 1)
        page.tab.get_by_label("predict first").check()
        assert page.tab.locator(".tiles .num").count() == 0
        assert page.tab.locator("#product, #backward, #difference").count() == 0
        tile = page.tab.locator('.tile[data-place="units-1"]')
        assert "hidden" in tile.get_attribute("aria-label")
        tile.click()
        assert float(tile.locator(".num").get_attribute("data-value")) == pytest.approx(e.derivatives[0][0], rel=1e-12)


def test_the_exercise_marks_answers_and_its_seed_fixes_the_blanks(browser, pages):
    e, path = pages("deep")
    with Opened(browser, path) as page:
        page.choose(1, *e.strongest_weight(1)[1:])
        values = page.tab.eval_on_selector_all(".tiles .num", "all => all.map(one => Number(one.dataset.value))")
        page.tab.get_by_label("exercise").check()

        def blanks():
            return page.tab.eval_on_selector_all("[data-answer]", "all => all.map(one => Number(one.dataset.answer))")

        asked = blanks()
        assert len(values) - 1 in asked  # the product
        for i in asked[:-1]:
            page.tab.fill(f'[data-answer="{i}"]', f"{values[i]:.4g}".replace(".", ","))
        page.tab.fill(f'[data-answer="{asked[-1]}"]', f"{values[asked[-1]] * 1.02:.6g}")
        page.tab.get_by_role("button", name="Mark").click()
        assert f"{len(asked) - 1} of {len(asked)} right" in page.tab.locator(".exercise").inner_text()
        assert page.tab.locator(".exercise .wrong").count() == 1
        by_seed = {}
        for seed in (2, 3, 4, 2, 3, 4):
            page.tab.fill(".exercise input[type=number]", str(seed))
            assert by_seed.setdefault(seed, blanks()) == blanks()
        assert len(set(map(tuple, by_seed.values()))) > 1


def test_where_the_first_route_breaks_in_float64_the_product_still_stands(browser, tmp_path):
    net = Network([np.array([[1000.0], [0.0]])], [np.zeros(2)])
    path = explain(net, [1.0], 1).to_html(tmp_path / "broken.html")
    with Opened(browser, path) as page:
        assert page.tab.locator('.tile[data-place="loss"]').inner_text().endswith("−∞")
        assert float(page.tab.locator(".tiles .end .num").last.get_attribute("data-value")) == 1.0  # ŷ₁ − 0, times x
        assert "−∞ · 0 has no value" in page.tab.locator("#broken").inner_text()
        page.tab.get_by_label("output layer as one factor").check()
        assert page.tab.locator("#broken").count() == 0


def test_another_notation_everywhere(browser, pages):
    _, path = pages("digits")
    with Opened(browser, path) as page:
        page.choose(1, 1, 1)
        page.tab.select_option("#notation", label="p, s, x, w")
        page.tab.get_by_role("button", name="Derivation: hidden layer 1").click()
        shown = page.tab.locator("#app").inner_text().replace("ŷ, a, h, W (the lecture)", "").replace("ŷ, z, h, W", "")
        assert "ŷ" not in shown
        assert "W₁" not in shown
        assert "w₁₁₁ has the gradient" in shown
        letters = page.tab.eval_on_selector_all("#app math mi", "all => all.map(one => one.textContent)")
        assert {"p", "s", "x", "w"} <= set(letters)
        assert not {"y", "a", "h", "W"} & set(letters)


def test_names_are_text(browser, pages):
    _, path = pages("small")
    with Opened(browser, path) as page:  # a dialog would be in `said`
        assert NASTY in page.tab.locator("#label").inner_text()
        assert "</script>" in page.tab.locator("#output-units").inner_text()
        assert page.tab.locator("img").count() == 0
    with Opened(browser, path, java_script_enabled=False) as page:
        assert NASTY in page.tab.locator("#output-units").inner_text()
        assert page.tab.locator("img").count() == 0


def test_without_javascript_the_chain_its_numbers_and_the_drawing_read_in_full(browser, pages):
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
        assert page.tab.locator(".network .unit.path").count() == e.net.depth + 1
        assert page.tab.locator(".network .edge.path").count() == e.net.depth
        assert page.tab.locator(".network .edge.chosen").count() == 1
        assert page.tab.evaluate("document.querySelectorAll('math').length") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, pages, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for name in ("digits", "small"):
        with Opened(browser, pages(name)[1], color_scheme=scheme) as page:
            page.choose(1, 1, 1)
            page.tab.get_by_label("exercise").check()
            page.tab.keyboard.press("ArrowRight")
            page.tab.locator("summary", has_text="sliders").first.click()
            for found in axe.Axe().run(page.tab).response["violations"]:
                nodes = [node["html"][:200] for node in found["nodes"]]
                assert found["impact"] not in ("serious", "critical"), f"{found['id']}: {nodes}"


def test_everything_that_can_be_clicked_is_reached_by_the_keyboard(browser, pages):
    _, path = pages("small")
    with Opened(browser, path) as page:
        reached = set()
        for _ in range(120):
            page.tab.keyboard.press("Tab")
            reached.add(
                page.tab.evaluate("""() => {
                const e = document.activeElement;
                return e.dataset.unit ?? e.dataset.place ?? e.id ?? e.tagName;
            }""")
            )
        assert {"0,4", "1,8", "2,3"} <= reached
        assert {"loss", "softmax", "label", "lr", "take-step", "reset", "notation"} <= reached
        page.tab.locator('[data-unit="1,3"]').focus()
        page.tab.keyboard.press("Enter")
        assert page.tab.locator("h1").inner_text().startswith("Why a₁,₃")


def test_it_is_valid_html(pages, faults):
    assert faults([pages(name)[1] for name in ("digits", "small", "thin")]) == []


SCRIPTS = ("explain.js", "report.js")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_committed_scripts_are_built_from_their_source(script):
    """The hash of all that they are built from, as web/vite.config.ts computes it, stands in their first line."""
    web, digest = ROOT / "web", hashlib.sha256()
    sources = sorted(f"src/{path.name}" for path in (web / "src").iterdir())
    for name in ["package-lock.json", "vite.config.ts", *sources]:
        digest.update(f"{name}\n".encode() + (web / name).read_bytes())
    committed = (ROOT / "src/chainrule/pages/templates" / script).read_text(encoding="utf-8")
    assert f"sources {digest.hexdigest()}." in committed.partition("\n")[0], "run `make web`"
