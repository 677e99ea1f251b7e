"""The state of the page in the fragment of its address: back and on, copied, opened again, embedded."""

import re

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
        """([start, step]) => document.querySelector('h1')?.innerText.startsWith(start + ' ')
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


def test_gradient_steps_are_in_the_link_each_on_its_example_and_back_takes_them_back(browser, made):
    e, path = made
    with Opened(browser, path) as page:
        page.choose(1, 2, 3)
        page.tab.fill("#lr", "0.3")
        for _ in range(2):
            page.tab.click("#take-step")
        page.tab.select_option("#label", "0")
        page.tab.fill('[data-input="4"]', "0.75")
        page.tab.keyboard.press("Enter")
        page.tab.fill("#lr", "0.05")
        page.tab.click("#take-step")
        page.tab.fill('[data-input="1"]', str(1 / 3))
        page.tab.keyboard.press("Enter")
        link = page.tab.locator("#link").input_value()
        seen = page.value("#gradient")
    net, x = explain(e.net, e.x, 2).net, e.x.copy()
    told = []
    for lr, label, change in ((0.3, 2, {}), (0.3, 2, {}), (0.05, 0, {4: 0.75}), (0, 0, {4: 0.75, 1: 1 / 3})):
        for feature, value in change.items():
            x[feature] = value
        forward = net.forward(x[None])
        backward = net.backward(forward, np.array([label]))
        told.append(backward.grad_weights[0][1, 2])
        net = Network(
            [w - lr * g for w, g in zip(net.weights, backward.grad_weights, strict=True)],
            [b - lr * g for b, g in zip(net.biases, backward.grad_biases, strict=True)],
            net.activation,
        )
    assert seen == pytest.approx(told[-1], rel=1e-12)
    with Opened(browser, path, fragment=link.partition("#")[2]) as page:
        assert page.value("#gradient") == seen
        page.tab.click("#reset")
        assert close(page.value("#gradient"), e.gradient(*e.opening_weight()))
        page.choose(1, 2, 3)
        page.tab.fill("#lr", "0.3")
        page.tab.click("#take-step")
        page.comes_to_show("#step-told", re.compile("fell"))
        assert page.value("#gradient") == pytest.approx(told[1], rel=1e-12)
        page.tab.go_back()
        page.comes_to_show("#step-told", "")
        assert page.value("#gradient") == pytest.approx(told[0], rel=1e-12)


def test_what_is_moved_beside_the_walk_is_in_the_link_too(browser, made, tmp_path):
    _, path = made
    with Opened(browser, path) as page:
        page.tab.get_by_role("tab", name="Two routes").click()
        page.tab.fill("#margin", "-95")
        page.tab.fill('[data-logit="1"]', "2.5")
        link = page.tab.locator("#link").input_value()
        seen = page.numbers("#float32"), page.numbers(".routes .both")
    with Opened(browser, path, fragment=link.partition("#")[2]) as page:
        assert (page.numbers("#float32"), page.numbers(".routes .both")) == seen
    wide = explain(Network.create([5, 500, 3], seed=0, dtype="float64"), np.ones(5), 0)
    with Opened(browser, wide.to_html(tmp_path / "wide.html")) as page:
        page.tab.locator(".folded").first.click()
        link = page.tab.locator("#link").input_value()
        seen = page.tab.locator(".folded").first.inner_text()
    with Opened(browser, page.path, fragment=link.partition("#")[2]) as page:
        assert page.tab.locator(".folded").first.inner_text() == seen


@pytest.mark.parametrize(
    "fragment",
    [
        "w=9,9,9",
        "w=1,1",
        "step=99&view=none&label=7",
        "x=99:1,a:b&letters=1",
        "row=3&w=1,0,1",
        "%",
        "embed=none",
        "taken=0.1*9999999",
        "taken=-1",
        "taken=0.1~9~1:1",
        "taken=x;0.1",
    ],
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
            tour, sums = (page.tab.locator(of).first.bounding_box() for of in (".tour", ".now .product, .now .sums"))
            assert tour["y"] >= sums["y"] + sums["height"] or tour["y"] + tour["height"] <= sums["y"], (
                "it covers no number"
            )
            page.tab.locator(".tour .go").click()
        assert page.tab.get_by_role("dialog").count() == 0
        assert page.tab.locator(".talk.now").count() == 0


def test_a_link_to_a_step_shows_it_and_leaves_the_page_around_alone(browser, made, tmp_path):
    _, path = made
    with Opened(browser, path, (1440, 700), "step=4") as page:
        box = page.tab.locator("[data-step='4']").bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 700 - page.tab.locator(".bar").bounding_box()["height"]
    around = tmp_path / "around.html"
    around.write_text(
        f'<body style="height: 4000px"><iframe src="{path.as_uri()}#step=4" width="1400" height="500"></iframe>'
    )
    tab = browser.new_page()
    tab.goto(around.as_uri())
    frame = tab.frames[1]
    frame.wait_for_selector("#app[data-live] .talk.now")
    assert frame.evaluate("scrollY") > 0
    tab.evaluate("scrollTo(0, 300)")
    frame.get_by_role("button", name="A step back").evaluate("button => button.click()")
    frame.wait_for_selector("[data-step='3'].now")
    assert tab.evaluate("scrollY") == 300
    tab.close()
