"""The explanation page in the hands of its readers: by touch, by keyboard, at the ends of float64, with odd names."""

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


def test_the_boxes_follow_what_is_clicked(opened):
    fields = "[...document.querySelectorAll('.chooser select, .chooser input')].map(e => e.value)"
    with opened(small()) as page:
        page.tab.fill(".chooser input[name=unit]", "2")  # and left
        page.tab.locator('[data-unit="1,7"]').click()
        assert page.tab.evaluate(fields) == ["1", "7", ""]
        page.tab.locator('[data-unit="0,3"]').click()
        assert page.tab.evaluate(fields) == ["1", "7", "3"]
        page.tab.click("#reset")
        assert page.tab.evaluate(fields) == [str(n) for n in small().strongest_weight()]


def test_a_slider_keeps_its_range_and_a_field_its_number(opened):
    with opened(small()) as page:
        slider, field = page.tab.locator("input[type=range]").first, page.tab.locator("[data-input]").first
        write(page, '[data-input="0"]', "16")
        for value in ("8", "5"):
            slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value)
            assert (slider.get_attribute("min"), slider.get_attribute("max")) == ("-3", "16")
        write(page, '[data-input="0"]', "sixteen")
        assert field.input_value() == "5"


def test_a_stroke_of_a_finger_has_no_gaps_and_does_not_scroll(opened):
    x = np.zeros(64)
    x[63] = 2.0
    e = small(x, widths=(64, 4, 3))
    with opened(e, size=(390, 844), has_touch=True, is_mobile=True) as page:
        page.tab.locator("#input-image").scroll_into_view_if_needed()
        box, before = page.tab.locator("#input-image").bounding_box(), page.tab.evaluate("scrollY")
        cdp = page.context.new_cdp_session(page.tab)
        for kind, column, row in (("touchStart", 0, 0), ("touchMove", 6, 3), ("touchEnd", None, None)):
            points = [] if row is None else [
                {"x": box["x"] + (column + 0.5) * box["width"] / 8, "y": box["y"] + (row + 0.5) * box["height"] / 8}
            ]  # fmt: skip
            cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert page.tab.evaluate("scrollY") == before
        cells = page.tab.eval_on_selector_all(
            "#input-image .fillplus", "all => all.map(e => [e.x.baseVal.value, e.y.baseVal.value])"
        )
        assert [7, 7] in cells
        line = sorted(cell for cell in cells if cell != [7, 7])
        assert [column for column, _ in line] == list(range(7))
        assert all(abs(row - column / 2) <= 0.5 for column, row in line)
        for column, row in line:
            x[8 * row + column] = 2.0
        assert close(page.value("#loss"), small(x, widths=(64, 4, 3)).loss)


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
            assert "has no gradient here" in page.tab.locator("#why").inner_text()
            assert "left the range of float64 in layer" in page.tab.locator(".finding").inner_text()
            assert page.tab.locator("#take-step").is_disabled()
            page.tab.click("#reset")
            assert page.tab.locator("#step-told").inner_text() == ""
            assert page.tab.locator(".finding").count() == 0
            assert page.tab.locator("#why").inner_text() == e.why()
            assert close(page.value("#loss"), e.loss)


def test_what_a_step_did_is_told_of_its_own_example_only(opened):
    with opened(small()) as page:
        page.tab.click("#take-step")
        assert page.tab.locator("#step-told").inner_text().startswith("The loss fell from")
        assert page.tab.locator("#step-told .num").count() == 3
        page.tab.select_option("#label", "1")
        assert page.tab.locator("#step-told").inner_text() == ""
        assert page.tab.locator(".losses").count() == 0


def test_what_is_asked_is_nowhere_told(opened):
    e = small((0.3217,), widths=(1, 1, 1, 2))
    chain = e.weight(1, 1, 1)
    read = """() => {
        const all = document.querySelector('#app').cloneNode(true);
        for (const title of all.querySelectorAll('title')) title.remove();  // of the drawing, where hovering is asking
        return all.textContent;
    }"""
    with opened(e, (1, 1, 1)) as page:
        numbers = [t.lstrip("−") for t in page.tab.locator(".tiles .num").all_inner_texts()]
        numbers = [number for number in numbers if len(number) > 3]  # no 1, which stands in every subscript
        assert len(numbers) >= 6
        assert all(page.tab.evaluate(read).count(number) > 1 for number in numbers[:2])
        page.tab.get_by_label("predict first").check()
        assert [number for number in numbers if number in page.tab.evaluate(read)] == []
        assert page.tab.locator("h1").inner_text() == "Why W₁₁₁ gets its gradient"
        page.tab.locator(".tiles .end .veil").click()
        assert close(page.value("#gradient"), chain.product)
        assert page.tab.locator("#why").inner_text() == chain.why
        page.tab.get_by_label("predict first").uncheck()
        page.tab.get_by_label("exercise").check()
        assert page.tab.locator("h1 .num, #output-units, #product").count() == 0


def test_an_exercise_asks_for_nothing_that_has_no_value(opened):
    e = explain(Network([np.array([[1000.0], [0.0]])], [np.zeros(2)]), [1.0], 1)
    with opened(e) as page:
        page.tab.get_by_label("exercise").check()
        for seed in range(6):
            page.tab.fill(".exercise input[type=number]", str(seed))
            assert "0" not in page.tab.eval_on_selector_all("[data-answer]", "all => all.map(e => e.dataset.answer)")


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
    assert tab.locator("#why").inner_text() == e.why()
    assert tab.locator("#output-units tbody tr").count() == 3
    assert said == []
    context.close()


def test_the_arrow_keys_scroll_what_does_not_fit(opened):
    e = small(np.ones(4), widths=(4, 5, 5, 5, 5, 3))
    with opened(e, (1, 1, 1), size=(390, 844)) as page:
        box = page.tab.get_by_role("group", name="The chain in matrices")
        box.focus()
        page.tab.keyboard.press("ArrowRight")
        page.tab.wait_for_function("e => e.scrollLeft > 0", arg=box.element_handle())
        assert page.tab.locator(".tile.now").count() == 0
        page.tab.locator("h1").click()
        page.tab.keyboard.press("ArrowRight")
        assert page.tab.locator(".tile.now").count() == 1


BESIDE = """() => [...document.querySelectorAll('.network .unit > text:not(.inside)')].map(text => {
    const [box, all] = [text.getBoundingClientRect(), text.closest('svg').getBoundingClientRect()];
    const number = text.querySelector('tspan')?.getBoundingClientRect();
    return [box.left >= all.left - 1 && box.right <= all.right + 1, !number || number.right > box.right - 2];
})"""


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("width", [1440, 390])
def test_long_blank_and_right_to_left_names(opened, live, width):
    long = "a name of five hundred characters " * 15
    e = small(feature_names=["", long, "שלום", "🙂🙂"], classes=[" ", long, "مرحبا"])
    with opened(e, size=(width, 900), java_script_enabled=live) as page:
        # each within the drawing, and the probability at the end of its line
        assert page.tab.evaluate(BESIDE) == [[True, True]] * 7
        assert "“class 1”" in page.tab.locator("#why").inner_text()
        if live:
            assert page.tab.evaluate("document.documentElement.scrollWidth") == width
            names = page.tab.eval_on_selector_all("#output-units button", "all => all.map(e => e.innerText.trim())")
            assert names == ["class 1 (ℓ)", long.strip(), "مرحبا"]
            assert page.tab.get_by_role("slider", name="x1").count() == 1


def test_a_sign_is_not_told_by_colour_alone(opened):
    dashes = "all => [...new Set(all.map(e => getComputedStyle(e).strokeDasharray))]"
    with opened(small()) as page:
        assert page.tab.eval_on_selector_all(".edge.plus .line", dashes) == ["none"]
        (dashed,) = page.tab.eval_on_selector_all(".edge.minus .line", dashes)
        assert dashed != "none"


def test_every_number_is_there_in_full_on_hover_and_zeros_are_called_so(opened):
    x = np.random.default_rng(0).normal(size=12)
    with opened(small(x, widths=(12, 6, 11)), (1, 1, 1)) as page:
        numbers = page.tab.eval_on_selector_all(".num", "all => all.map(e => [e.title, e.innerText])")
        assert len(numbers) > 50
        for title, text in numbers:
            full, short = (float(t.replace("−", "-")) for t in (title, re.sub("^1\u00a0−\u00a0", "", text)))
            assert full == pytest.approx(short, rel=0.05)
        assert "and 10 zeros" in page.tab.locator(".group-table").first.inner_text()
        output = page.tab.locator('[data-unit="2,1"] title').text_content()
        assert re.search(r"gradient −?0\.\d{10,}, probability 0\.\d{10,}", output)
        page.tab.get_by_label("output layer as one factor").check()
        assert page.tab.title() == "Why W₁₁₁ gets its gradient"
        page.choose(2, 1, None)
        assert page.tab.title() == "Why a₂,₁ gets its gradient"
