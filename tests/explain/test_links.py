"""The state of the page in the fragment of its address: back and on, copied, opened again, embedded."""

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    net = Network.create([6, 5, 4, 3], activation="tanh", seed=1, dtype="float64")
    e = explain(net, np.random.default_rng(0).normal(size=6), 2, row=17)
    return e, e.to_html(tmp_path_factory.mktemp("links") / "page.html")


def title(page):
    return page.tab.locator("h1").inner_text().split(" gets ")[0]


def comes_to(page, symbol, step=None):
    """The browser goes back by itself: what is shown follows."""
    page.tab.wait_for_function(
        """([start, step]) => document.querySelector('h1').innerText.startsWith(start + ' ')
            && document.querySelector('.talk.now')?.dataset.step == step""",
        arg=[symbol, step],
    )


def test_back_undoes_each_choice_and_forward_does_it_again(browser, made):
    e, path = made
    with Opened(browser, path) as page:
        first = title(page)
        page.choose(1, 2, 3)
        comes_to(page, "Why W₁₂₃")
        page.choose(2, 1, 0)
        comes_to(page, "Why b₂,₁")
        page.tab.get_by_role("button", name="A step on").click()
        comes_to(page, "Why b₂,₁", "1")
        page.tab.get_by_role("tab", name="Two routes").click()
        page.tab.wait_for_selector("#jacobian")
        page.tab.get_by_role("tab", name="The walk").click()
        page.tab.wait_for_selector("[data-row=weights]")
        page.tab.go_back()
        page.tab.wait_for_selector("#jacobian")
        page.tab.go_back()
        comes_to(page, "Why b₂,₁", "1")
        page.tab.go_back()
        comes_to(page, "Why b₂,₁")
        page.tab.go_back()
        comes_to(page, "Why W₁₂₃")
        assert close(page.value("#gradient"), e.gradient(1, 2, 3))
        page.tab.go_back()
        comes_to(page, first)
        page.tab.go_forward()
        comes_to(page, "Why W₁₂₃")


def test_a_copied_link_opens_what_was_seen(browser, made):
    e, path = made
    with Opened(browser, path) as page:
        page.choose(1, 2, 3)
        page.tab.select_option("#label", "0")
        page.tab.fill('[data-input="4"]', "0.75")
        page.tab.keyboard.press("Enter")
        page.tab.select_option("#notation", label="p, z, a, W")
        page.tab.get_by_role("button", name="A step on").click()
        link = page.tab.locator("#link").input_value()
        page.tab.click("#copy-link")
        page.tab.get_by_text("copied").wait_for()
        seen = page.tab.locator("#app h1").inner_text(), page.tab.locator("#story").inner_text()
    address, _, fragment = link.partition("#")
    assert address == path.as_uri()
    x = e.x.copy()
    x[4] = 0.75
    want = explain(e.net, x, 0)
    with Opened(browser, path, fragment=fragment) as page:
        assert (page.tab.locator("#app h1").inner_text(), page.tab.locator("#story").inner_text()) == seen
        assert close(page.value("#gradient"), want.gradient(1, 2, 3))
        assert page.tab.locator(".talk.now").get_attribute("data-step") == "1"
        assert page.tab.locator("#notation").input_value() == "p, z, a, W"
        assert "row=17" in fragment


@pytest.mark.parametrize(
    "fragment",
    ["w=9,9,9", "w=1,1", "step=99&view=none&label=7", "x=99:1,a:b&letters=1", "row=3&w=1,0,1", "%", "embed=none"],
)
def test_what_is_not_there_is_left_as_it_was(browser, made, fragment):
    e, path = made
    with Opened(browser, path, fragment=fragment) as page:
        assert close(page.value("#gradient"), e.gradient(*e.opening_weight()))
        assert close(page.value("#loss"), e.loss)


def test_embedded_it_goes_without_what_a_teacher_hides(browser, made):
    _, path = made
    parts = {
        "title": "h1", "tabs": "[role=tablist]", "example": "#label", "bar": ".bar", "tools": "#goto",
        "derivations": ".derivations-kept",
    }  # fmt: skip
    for hidden in (["title", "tools"], ["tabs", "example", "bar", "derivations"]):
        with Opened(browser, path, fragment=f"embed={','.join(hidden)}&predict") as page:
            for part, selector in parts.items():
                shown = page.tab.locator(selector).count() > 0 and page.tab.locator(selector).first.is_visible()
                assert shown == (part not in hidden), part
            assert page.tab.locator(".asked").count() == 4
            page.tab.get_by_role("button", name="Show step 1").click()
            assert "embed=" in page.tab.evaluate("location.hash")
    with Opened(browser, path, fragment="embed") as page:
        assert page.tab.locator("[role=tablist], #goto, #label").count() == 0
        assert page.tab.locator(".talk").count() == 4


def test_the_tour_says_the_lectures_sentence_in_three_steps(browser, made):
    _, path = made
    with Opened(browser, path) as page:
        page.tab.get_by_role("button", name="A first look").click()
        for step, words in (
            ("1", "talk to the output layer"),
            ("2", "to each hidden layer before it"),
            ("4", "to the weight"),
        ):
            assert words in page.tab.get_by_role("dialog").inner_text()
            assert page.tab.locator(".talk.now").get_attribute("data-step") == step
            page.tab.locator(".tour .go").click()
        assert page.tab.get_by_role("dialog").count() == 0
        assert page.tab.locator(".talk.now").count() == 0
