"""The explanation page in the hands of its readers: by touch, at the ends of float64, with odd names."""

import re

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain


def small(x=(0.5, -1.0, 2.0, 0.1), label=0, activation="tanh", widths=(4, 8, 3), **options):
    return explain(Network.create(list(widths), activation=activation, seed=0), x, label, **options)


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of an explanation, at the place if one is told."""
    return lambda e, place=None, **options: Opened(
        browser, (e if place is None else e.weight(*place)).to_html(tmp_path / "page.html"), **options
    )


def write(page, selector, text):
    page.tab.fill(selector, text)
    page.tab.keyboard.press("Enter")


def slide(slider, value):
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))


def test_a_changed_input_and_label_give_what_python_gives(opened):
    e, place = small(), (1, 3, 2)
    x = e.x.copy()

    def shows(label):
        want = small(x, label)
        assert close(page.value("#loss"), want.loss)
        assert close(page.value("#gradient"), want.gradient(*place))

    with opened(e, place) as page:
        for text, value in (("1.75", 1.75), ("−0,5", -0.5)):
            write(page, '[data-input="0"]', text)
            x[0] = value
            shows(0)
        write(page, '[data-input="0"]', "not a number")
        assert page.tab.locator('[data-input="0"]').input_value() == "-0.5"
        slide(page.tab.locator(".feature input[type=range]").nth(1), 0.125)
        x[1] = float(page.tab.locator('[data-input="1"]').input_value())
        assert x[1] == pytest.approx(0.125, abs=0.01)
        shows(0)
        page.tab.select_option("#label", "2")
        shows(2)
        page.tab.click("#reset")
        x = e.x.copy()
        shows(0)


def test_a_slider_is_as_wide_as_the_example_is_large_and_keeps_its_range(opened):
    with opened(small((0.5, -1000.0, 2.0, 0.1))) as page:
        ranges = "all => all.map(e => [Number(e.min), Number(e.max)])"
        found = page.tab.eval_on_selector_all(".feature input[type=range]", ranges)
        for value, (low, high) in zip((0.5, -1000.0, 2.0, 0.1), found, strict=True):
            assert low == -high
            assert abs(value) <= high <= 4 * abs(value)
        write(page, '[data-input="0"]', "16")
        slider, field = page.tab.locator(".feature input[type=range]").first, page.tab.locator("[data-input]").first
        for value in ("8", "5"):
            slide(slider, value)
            assert float(slider.get_attribute("max")) == 16
        write(page, '[data-input="0"]', "sixteen")
        assert field.input_value() == "5"


@pytest.mark.parametrize("size", [(1440, 900), (768, 1024), (390, 844)])
def test_what_a_hand_is_on_stays_where_it_is(opened, size):
    """While the words above it grow and shrink with every stroke; the class it is taken for changes on the way."""
    widths = (64, 20, 12, 10)
    e = small(
        np.random.default_rng(0).random(64),
        widths=widths,
        activation="relu",
        classes=["a name of many words"[: 3 + i] for i in range(10)],
    )
    e.net.weights[-1][...] *= 6
    with opened(explain(e.net, e.x, 0, classes=e.classes), size=size) as page:
        image = page.tab.locator("#input-image")
        page.tab.locator("#clear").scroll_into_view_if_needed()
        page.tab.click("#clear")
        box, stories = image.bounding_box(), set()
        page.tab.mouse.move(box["x"] + 20, box["y"] + 20)
        page.tab.mouse.down()
        for x, y in np.random.default_rng(1).random((25, 2)):
            page.tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            now = image.bounding_box()
            assert now == pytest.approx(box, abs=0.6)
            stories.add(page.tab.locator("#story").text_content())
        page.tab.mouse.up()
        assert image.bounding_box() == pytest.approx(box, abs=0.6)
        assert len(stories) > 3


def test_a_stroke_of_a_finger_has_no_gaps_and_does_not_scroll(opened):
    x = np.zeros(64)
    x[63] = 2.0
    with opened(small(x, widths=(64, 4, 3)), size=(390, 844), has_touch=True, is_mobile=True) as page:
        page.tab.locator("#input-image").scroll_into_view_if_needed()
        box, before = page.tab.locator("#input-image").bounding_box(), page.tab.evaluate("scrollY")
        cdp = page.context.new_cdp_session(page.tab)
        for kind, column, row in (("touchStart", 0, 0), ("touchMove", 6, 3), ("touchEnd", None, None)):
            points = [] if row is None else [
                {"x": box["x"] + (column + 0.5) * box["width"] / 8, "y": box["y"] + (row + 0.5) * box["height"] / 8}
            ]  # fmt: skip
            cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert page.tab.evaluate("scrollY") == before
        raw = np.array(page.tab.locator("#input-image").get_attribute("data-raw").split(), dtype=float)
        drawn = raw.reshape(8, 8)[:, :7]
        line = [(column, round(column / 2)) for column in range(7)]
        assert all(drawn[row, column] >= 1 for column, row in line if column % 2 == 0)
        assert all(drawn[:, column].sum() >= 2 for column in range(7))
        assert raw[63] == 2.0
        assert drawn[5:].sum() == 0
        assert close(page.value("#loss"), small(raw, widths=(64, 4, 3)).loss)


def test_beyond_float64_it_says_so_and_reset_brings_it_back(opened):
    e = small(activation="identity")
    with opened(e) as page:
        for leave in ("step", "input"):
            if leave == "step":
                page.tab.fill("#lr", "1e300")
                page.tab.click("#take-step")
                assert "left the range of float64" in page.tab.locator("#step-told").inner_text()
            else:
                for i in range(4):
                    write(page, f'[data-input="{i}"]', "−1.7e308" if i % 2 else "1.7e308")
            assert "There is no gradient here" in page.tab.locator("#story").inner_text()
            assert "left the range of float64 in layer" in page.tab.locator(".finding").inner_text()
            assert page.tab.locator("#take-step").is_disabled()
            page.tab.click("#reset")
            assert page.tab.locator("#step-told").inner_text() == ""
            assert page.tab.locator(".finding").count() == 0
            assert page.tab.locator("#why").inner_text() == e.weight(*e.opening_weight()).why
            assert close(page.value("#loss"), e.loss)


def test_what_a_step_did_is_told_of_its_own_example_only(opened):
    with opened(small()) as page:
        page.tab.click("#take-step")
        assert page.tab.locator("#step-told").inner_text().startswith("The loss fell from")
        assert page.tab.locator("#step-told .num").count() == 3
        page.tab.select_option("#label", "1")
        assert page.tab.locator("#step-told").inner_text() == ""
        assert page.tab.locator(".losses").count() == 0


def test_two_losses_that_are_told_are_told_apart(opened):
    e = small()
    e.net.weights[-1][...] *= 40
    with opened(explain(e.net, e.x, int(e.net.predict(e.x[None])[0]))) as page:
        page.tab.fill("#lr", "1e-7")
        page.tab.click("#take-step")
        told = page.tab.locator("#step-told").inner_text()
        before, after = page.numbers("#step-told")[:2]
        if before == after:
            assert told.startswith("The loss stayed at")
        else:
            texts = page.tab.locator("#step-told .num").all_inner_texts()[:2]
            assert texts[0] != texts[1]


def test_the_mean_of_a_batch_is_in_the_sentence_as_in_the_number(opened):
    e = small(batch_size=32)
    for chain in (e.weight(*e.strongest_weight()), e.unit(1, 2)):
        with opened(chain) as page:
            page.tab.select_option("#label", "2")
            want = small(batch_size=32, label=2)
            want = want.weight(*e.strongest_weight()) if chain.input else want.unit(1, 2)
            why = page.tab.locator("#why").inner_text()
            assert why == want.why
            assert f"gradient {want.product:.3g} = 1/32 × ".replace("-", "−") in why
            assert close(page.value("#gradient"), want.product)


def test_a_browser_that_cannot_unpack_keeps_the_page_as_it_was_written(browser, tmp_path):
    e = small()
    path = e.to_html(tmp_path / "page.html")
    context, said = browser.new_context(), []
    context.add_init_script("delete window.DecompressionStream")
    tab = context.new_page()
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    tab.wait_for_selector("#static")
    assert "cannot run" in tab.locator("#static").inner_text()
    assert tab.locator("#why").inner_text() == e.weight(*e.opening_weight()).why
    assert tab.locator("#output-units tbody tr").count() == 3
    assert said == []
    context.close()


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("width", [1440, 390])
def test_long_blank_and_right_to_left_names(opened, live, width):
    """Each is whole somewhere: cut where there is no room, it is told on hover, and in full in a sum or a table."""
    long = "a name of five hundred characters " * 15
    e = small(feature_names=["", long, "שלום", "🙂🙂"], classes=[" ", long, "مرحبا"])
    with opened(e, size=(width, 900), java_script_enabled=live) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") == width
        titles = page.tab.eval_on_selector_all(".classes span", "all => all.map(e => e.title)")
        assert titles == ["class 1", long, "مرحبا"]
        inside = """() => [...document.querySelectorAll('.classes span')].every(span => {
            const [box, all] = [span.getBoundingClientRect(), span.parentElement.getBoundingClientRect()];
            return box.left >= all.left - 1 && box.right <= all.right + 1;
        })"""
        assert page.tab.evaluate(inside)
        assert page.tab.locator("#story").inner_text().startswith("This “class 1” is taken for")
        if live:
            assert page.tab.get_by_role("slider", name="x1").count() == 1
            whole = "[...document.querySelectorAll('#app [title]')].map(e => e.title)"
            assert {long, "שלום", "🙂🙂"} <= set(page.tab.evaluate(whole))


def test_every_number_is_there_in_full_on_hover(opened):
    x = np.random.default_rng(0).normal(size=12)
    with opened(small(x, widths=(12, 6, 11)), (1, 1, 1)) as page:
        for view in ("The walk", "Two routes", "Tables and checks"):
            page.tab.get_by_role("tab", name=view).click()
            numbers = page.tab.eval_on_selector_all(".num[title]", "all => all.map(e => [e.title, e.innerText])")
            assert len(numbers) > 12
            for title, text in numbers:
                plain = re.sub("^1\u00a0−\u00a0", "", text).replace("−", "-").replace("∞", "inf")
                full = float(title.replace("−", "-").replace("∞", "inf").replace("Infinity", "inf"))
                assert full == pytest.approx(float(plain), rel=0.05, nan_ok=True)
        assert "and 10 zeros" in page.tab.locator(".group-table").first.inner_text()
        page.choose(2, 1, 0)
        assert page.tab.title() == "Why b₂,₁ gets its gradient"
