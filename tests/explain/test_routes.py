"""Two routes, seen: the Jacobian, both products and float32's own numbers, against NumPy's."""

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network, equations
from chainrule.explain import explain


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    net = Network.create([6, 5, 4], activation="tanh", seed=1, dtype="float64")
    e = explain(net, np.random.default_rng(0).normal(size=6), 2)
    return e, e.to_html(tmp_path_factory.mktemp("routes") / "page.html")


def bars(page, row, count):
    """What the bars of a row say, one after the other, when they are walked through."""
    place = page.tab.locator(f'[data-row="{row}"] .bars')
    place.focus()
    page.tab.keyboard.press("Home")
    for _ in range(count):
        page.tab.keyboard.press("ArrowLeft")
    found = []
    for _ in range(count):
        found += page.numbers(f'[data-row="{row}"] .tip')
        page.tab.keyboard.press("ArrowRight")
    return np.array(found)


def shows(page, logits, label):
    J, p = equations.softmax_jacobian(logits), equations.softmax(logits)
    np.testing.assert_allclose(page.numbers("#jacobian"), J.ravel(), rtol=1e-12)
    assert close(page.value("#by-probability"), -1 / p[label])
    k = len(p)
    exact = equations.grad_logits(logits, label)
    np.testing.assert_allclose(bars(page, "the label's row of the Jacobian", k), J[label], rtol=1e-12)
    np.testing.assert_allclose(bars(page, "gradient by the first route", k), -J[label] / p[label], rtol=1e-12)
    np.testing.assert_allclose(bars(page, "gradient by the second route", k), exact, rtol=1e-12)
    np.testing.assert_allclose(bars(page, "probabilities of the logits", k), p, rtol=1e-12)


def test_both_routes_and_the_logits_as_handles(browser, made):
    e, path = made
    with Opened(browser, path, fragment="view=routes") as page:
        shows(page, e.forward.logits[0], e.label)
        handle = page.tab.locator("[data-logit='0']")
        handle.evaluate("h => { h.value = '2.5'; h.dispatchEvent(new Event('input', {bubbles: true})); }")
        moved = e.forward.logits[0].copy()
        moved[0] = 2.5
        shows(page, moved, e.label)
        handle.focus()
        page.tab.keyboard.press("ArrowDown")
        assert float(handle.input_value()) < 2.5
        page.tab.click("#logits-reset")
        shows(page, e.forward.logits[0], e.label)


@pytest.mark.parametrize("margin", [-120, -95, -60, 0, 16, 17, 30])
def test_float32s_own_numbers(browser, made, margin):
    """As NumPy gives them in float32; at 0 and −120 the first route is −∞, then not a number."""
    logits = np.array([0, margin], dtype=np.float32)
    with np.errstate(all="ignore"):
        e = np.exp(logits - logits.max())
        p = e / e.sum(dtype=np.float32)
        by, row = np.float32(-1) / p[1], p[1] * (np.float32(1) - p[1])
        want = {"p": p[1], "by": by, "row": row, "first": by * row, "usual": p[1] - np.float32(1)}
    truth = float(-1 / (1 + np.exp(np.float64(margin))))
    with Opened(browser, made[1], fragment="view=routes") as page:
        page.tab.locator("#margin").evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(margin)
        )
        for name, value in want.items():
            _, single = page.numbers(f'#float32 [data-of="{name}"]')
            np.testing.assert_allclose(single, value, rtol=3e-7, err_msg=name)
        assert page.numbers('#float32 [data-of="first"]')[0] == pytest.approx(truth, rel=1e-12)
        assert page.numbers('#float32 [data-of="kept"]')[1] == pytest.approx(truth, rel=6e-8)
        if margin == -120:
            assert (want["by"], bool(np.isnan(want["first"]))) == (-np.inf, True)
            said = page.tab.locator(".margin svg").get_attribute("aria-label")
            zones = {part.split(" ")[0]: part for part in said.partition(": ")[2].split(", ")}
            assert set(zones) == {"NaN", "−∞", "0"}


def test_many_classes_are_the_most_probable_and_the_label(browser, tmp_path):
    net = Network.create([4, 300], seed=0, dtype="float64")
    e = explain(net, [1.0, -2.0, 0.5, 3.0], 7)
    with Opened(browser, e.to_html(tmp_path / "page.html"), (390, 844), "view=routes") as page:
        assert "11 of the 300 classes" in page.tab.locator(".routes").inner_text()
        p = e.forward.probabilities[0]
        shown = np.sort([7, *np.argsort(-p)[:10]])
        J = equations.softmax_jacobian(e.forward.logits[0])[np.ix_(shown, shown)]
        np.testing.assert_allclose(page.numbers("#jacobian"), J.ravel(), rtol=1e-11, atol=1e-18)


def test_where_the_first_route_breaks_in_float64_the_page_says_so(browser, tmp_path):
    net = Network([np.array([[1000.0], [0.0]])], [np.zeros(2)])
    path = explain(net, [1.0], 1).to_html(tmp_path / "broken.html")
    with Opened(browser, path, fragment="view=routes") as page:
        assert page.value("#by-probability") == -np.inf
        assert "has no value here, in float64 too" in page.tab.locator("#routes-agree").inner_text()
        page.tab.get_by_role("tab", name="The walk").click()
        assert page.value("#gradient") == 1.0  # ŷ₁ − 0, times x


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_the_names_of_classes_are_whole(browser, tmp_path, width):
    net = Network.create([3, 2], seed=0, dtype="float64")
    e = explain(net, np.ones(3), 1, classes=["died", "survived"])
    with Opened(browser, e.to_html(tmp_path / "page.html"), (width, 900), "view=routes") as page:
        cut = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"
        assert page.tab.eval_on_selector_all("#jacobian th, .classes span, .handles label", cut) == []
        box = page.tab.locator("#jacobian").locator("..").bounding_box()
        assert page.tab.locator("#jacobian").bounding_box()["width"] <= box["width"] + 1
