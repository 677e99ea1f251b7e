"""The walk where colours are lost, under a finger, sorted, folded and long: against Python's numbers."""

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain


def explained(widths, activation="relu"):
    random = np.random.default_rng(3)
    net = Network.create(widths, activation=activation, seed=2, dtype="float64")
    for bias in net.biases:
        bias += random.normal(size=bias.shape) / 4
    return explain(net, random.normal(size=widths[0]), 0)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    e = explained([12, 8, 7, 4])
    return e, e.to_html(tmp_path_factory.mktemp("ways") / "page.html")


# Of each cell of the map, how many different pixels it has but for those at its rim.
PATTERNS = """([rows, columns]) => {
    const canvas = document.querySelector('canvas.whole');
    const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const found = [];
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
        const seen = new Set(), [wide, high] = [canvas.width / columns, canvas.height / rows];
        for (let y = Math.ceil(row * high + 1); y < (row + 1) * high - 1; y++)
            for (let x = Math.ceil(column * wide + 1); x < (column + 1) * wide - 1; x++)
                seen.add(pixels[y * canvas.width + x]);
        found.push(seen.size);
    }
    return found;
}"""


@pytest.mark.parametrize("lost", [{"media": "print"}, {"forced_colors": "active"}])
def test_where_colours_are_lost_what_is_below_0_is_hatched(browser, deep, lost):
    e, path = deep
    cells = e.backward.grad_weights[0].reshape(8, 12).T
    assert {-1, 0, 1} == set(np.sign(cells).ravel())
    with Opened(browser, path) as page:
        page.tab.emulate_media(**lost)
        page.tab.wait_for_function("() => document.querySelector('canvas.whole').width > 100")
        patterns = np.array(page.tab.evaluate(PATTERNS, [12, 8])).reshape(12, 8)
        np.testing.assert_array_equal(patterns > 1, cells < 0)
        page.tab.emulate_media(media="screen", forced_colors="none")
        page.tab.wait_for_function(
            "() => document.querySelector('canvas.whole').width === 8"
        )  # a pixel for each weight again


def test_it_is_drawn_anew_before_the_printer_takes_it(browser, deep):
    _, path = deep
    with Opened(browser, path) as page:
        page.tab.evaluate("""() => {
            window.seen = [];
            for (const when of ["beforeprint", "afterprint"]) window.addEventListener(when, () =>
                window.seen.push(document.querySelector('canvas.whole').width > 100));
        }""")
        page.tab.pdf()
        assert page.tab.evaluate("window.seen") == [True, False]


def test_without_javascript_too(browser, deep):
    _, path = deep
    with Opened(browser, path, java_script_enabled=False) as page:
        fill = "path => getComputedStyle(path).fill"
        for lost, hatched in (({"media": "screen"}, False), ({"media": "print"}, True)):
            page.tab.emulate_media(**lost)
            assert ("#hatch" in page.tab.eval_on_selector(".map svg > .fillminus", fill)) == hatched
            assert "#hatch" not in page.tab.eval_on_selector(".map svg > .fillplus", fill)


def test_units_by_the_size_of_their_gradients_in_every_row_and_in_a_link(browser, deep):
    e, path = deep
    orders = {k: np.argsort(-np.abs(e.backward.grad_preactivations[k - 1][0]), kind="stable") for k in (1, 2)}
    with Opened(browser, path) as page:
        page.tab.click("#sort")
        assert page.tab.get_attribute("#sort", "aria-pressed") == "true"
        fragment = page.tab.evaluate("location.hash.slice(1)")
    with Opened(browser, path, (1440, 1300), fragment) as page:
        for k, order in orders.items():
            through = e.net.weights[k].T @ e.backward.grad_preactivations[k][0]
            for place, unit in enumerate(order):
                told = page.tip(f"gradient of hidden layer {k}", place + 1, len(order))
                assert any(close(number, through[unit]) for number in told)
        box = page.tab.locator(".cells .whole").bounding_box()
        page.tab.mouse.move(box["x"] + box["width"] * 2.5 / 8, box["y"] + box["height"] * 4.5 / 12)
        assert page.numbers(".map .tip")[-1] == pytest.approx(e.gradient(1, int(orders[1][2]) + 1, 5), rel=1e-12)
        page.tab.check("text=predict first")
        assert page.tab.locator("#sort").count() == 0
        first = pytest.approx(e.forward.activations[1][0, 0], rel=1e-12)
        assert page.tip("output of hidden layer 1", 1, 8)[0] == first, "no order gives it away"


def test_a_finger_drags_to_a_unit_and_steps_to_a_weight(browser, deep):
    e, path = deep
    with Opened(browser, path, (390, 844), "w=1,3,5&step=3", has_touch=True, is_mobile=True) as page:
        knob = page.tab.locator(".knob input")
        assert knob.bounding_box()["height"] >= 28
        box, bars = (
            knob.bounding_box(),
            page.tab.locator('[data-row="gradient of hidden layer 1"] .bars').bounding_box(),
        )
        for unit in (1, 8, 6):
            knob.evaluate(
                "(e, at) => { e.value = at; e.dispatchEvent(new Event('input', { bubbles: true })); }", unit - 1
            )
            assert f"unit {unit} of layer 1" in page.tab.locator(".sums").inner_text()
            thumb = box["x"] + 14 + (box["width"] - 28) * (unit - 1) / 7
            assert thumb == pytest.approx(bars["x"] + bars["width"] * (unit - 0.5) / 8, abs=1.5), "below its bar"
        page.tab.get_by_role("button", name="A step on").tap()
        where = [1, 6, 5]
        for name, at, by in (
            ("unit before", 1, -1),
            ("input after", 2, 1),
            ("unit after", 1, 1),
            ("input before", 2, -1),
        ):
            where[at] += by
            page.tab.get_by_role("button", name=f"The {name}").tap()
            assert close(page.value("#gradient"), e.gradient(*where))
        for _ in range(8):
            page.tab.get_by_role("button", name="The input after").tap()
        assert close(page.value("#gradient"), e.backward.grad_biases[0].ravel()[5]), (
            "the biases are below the last input"
        )
        assert page.tab.get_by_role("button", name="The input after").is_disabled()


def test_what_shares_a_row_of_the_map_is_there_singly(browser, tmp_path):
    e = explained([230, 6, 3], "tanh")
    with Opened(browser, e.to_html(tmp_path / "page.html"), fragment="w=1,2,31") as page:
        each = 3  # 230 inputs in 100 rows at most
        row = '[data-row="the chosen row of the map, singly"]'
        for place, source in enumerate((31, 32, 33)):
            told = page.tip("the chosen row of the map, singly", place + 1, each)
            want = [e.backward.grad_preactivations[0][0, 1], e.x[source - 1], e.gradient(1, 2, source)]
            assert told == pytest.approx(want, rel=1e-12)
        page.tab.locator(f"{row} .bars").click(position={"x": 1, "y": 10})
        assert close(page.value("#gradient"), e.gradient(1, 2, 31))
        page.tab.keyboard.press("End")
        page.tab.keyboard.press("Enter")
        assert close(page.value("#gradient"), e.gradient(1, 2, 33))


def test_home_goes_to_the_largest_of_what_is_shown(browser, tmp_path):
    e = explained([10, 700, 3])
    delta = e.backward.grad_preactivations[0][0]
    shown = np.argsort(-np.abs(delta), kind="stable")[:64]
    h = e.forward.activations[1][0]
    assert h.argmax() not in shown, "the largest output is folded away"
    with Opened(browser, e.to_html(tmp_path / "page.html")) as page:
        for row, values in (("output of hidden layer 1", h), ("gradient of hidden layer 1", delta)):
            page.tab.locator(f'[data-row="{row}"] .bars').focus()
            page.tab.keyboard.press("Home")
            said = page.tab.evaluate(
                "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).ariaLabel"
            )
            assert said.startswith(f"unit {shown[np.abs(values[shown]).argmax()] + 1},")


def test_of_many_lanes_the_one_that_is_walked_to_is_in_sight(browser, tmp_path):
    e = explained([4] * 17 + [3], "tanh")
    with Opened(browser, e.to_html(tmp_path / "page.html"), fragment="w=1,2,3") as page:
        for key, steps in (("ArrowRight", 17), ("ArrowLeft", 17)):
            for _ in range(steps):
                page.tab.keyboard.press(key)
                lanes = page.tab.locator(".lanes").bounding_box()
                box = page.tab.locator(".lane.now").bounding_box()
                assert lanes["y"] - 1 <= box["y"]
                assert box["y"] + box["height"] <= lanes["y"] + lanes["height"] + 1
