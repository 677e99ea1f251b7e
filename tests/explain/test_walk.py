"""The walk by layers in Chromium: every bar, cell and sum that it shows, against Python's numbers."""

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.explain import explain

NETWORKS = {  # widths, activation
    "digits": ([64, 40, 24, 10], "relu"),
    "table": ([5, 8, 3], "tanh"),
    "two": ([6, 4], "relu"),
    "thin": ([1, 1, 1, 2], "tanh"),
    "deep": ([16] * 11 + [4], "logistic"),
    "wide": ([30, 700, 40], "leaky_relu"),
}


def explained(name, label=0, scale=1.0, **options):
    widths, activation = NETWORKS[name]
    random = np.random.default_rng(3)
    net = Network.create(widths, activation=activation, seed=2, dtype="float64")
    for bias in net.biases:
        bias += random.normal(size=bias.shape) / 4
    net.weights[-1][...] *= scale
    return explain(net, random.normal(size=widths[0]), label, **options)


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")

    def opened(name, place=None, size=(1440, 900), fragment="", live=True, **options):
        e = explained(name, **options)
        path = (e.to_html if place is None else e.weight(*place).to_html)(folder / f"{name}{len(options)}{place}.html")
        return e, Opened(browser, path, size, fragment, java_script_enabled=live)

    return opened


def vectors(e):
    """What stands in each row of bars, by its name."""
    depth = e.net.depth
    deltas = [g[0] for g in e.backward.grad_preactivations]
    rows = {
        "probabilities": e.forward.probabilities[0],
        "gradient of the output layer": deltas[-1],
        "the true class": np.eye(e.net.widths[-1])[e.label],
    }
    for k in range(1, depth):
        blame = e.net.weights[k].T @ deltas[k]
        rows |= {
            f"output of hidden layer {k}": e.forward.activations[k][0],
            f"blame of hidden layer {k}": blame,
            f"slope of hidden layer {k}": e.derivatives[k - 1],
            f"gradient of hidden layer {k}": deltas[k - 1],
        }
    return rows


@pytest.mark.parametrize("name", ["digits", "table", "two", "thin"])
def test_every_bar_says_its_value_on_hover_and_focus(opened, name):
    e, page = opened(name)
    random = np.random.default_rng(5)
    with page:
        rows = page.tab.eval_on_selector_all("[data-row]", "all => all.map(one => one.dataset.row)")
        assert sorted(rows) == sorted([*vectors(e), "weights"])
        for row, values in vectors(e).items():
            for unit in random.integers(1, len(values) + 1, 3):
                told = page.tip(row, unit, len(values))
                assert any(close(number, values[unit - 1]) for number in told), (row, unit)
            bars = page.tab.locator(f'[data-row="{row}"] .bars')
            page.tab.mouse.move(0, 0)
            bars.focus()
            page.tab.keyboard.press("Home")
            largest = int(np.abs(values).argmax())
            said = page.tab.evaluate(
                "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).ariaLabel"
            )
            assert said.startswith((f"unit {largest + 1},", f"“class {largest + 1}”"))
            assert any(close(number, values[largest]) for number in page.numbers(f'[data-row="{row}"] .tip'))


@pytest.mark.parametrize("name", ["digits", "table", "two", "thin"])
def test_a_bar_is_as_long_as_its_number_on_one_scale(opened, name):
    e, page = opened(name)
    heights = """row => [...document.querySelectorAll(`[data-row="${row}"] path[class*=fill]`)].flatMap(path =>
        [...path.getAttribute('d').matchAll(/M([-\\d.]+) 50h[-\\d.]+v([-\\d.]+)/g)].map(([, x, v]) => [+x, -v]))"""
    rows = {row: values for row, values in vectors(e).items() if row.startswith(("gradient", "blame"))}
    top = max(1.0, *(np.abs(values).max() for values in rows.values()))
    with page:
        for row, values in rows.items():
            tall = 50 * values / top
            drawn = [height for _, height in sorted(page.tab.evaluate(heights, row))]
            np.testing.assert_allclose(drawn, tall[np.round(tall, 2) != 0], atol=0.006)


@pytest.mark.parametrize("name", ["digits", "table", "two", "thin"])
def test_the_sums_lead_to_the_number_in_the_title(opened, name):
    e, page = opened(name)
    random = np.random.default_rng(1)
    with page:
        for _ in range(4):
            layer = int(random.integers(1, e.net.depth + 1))
            unit, source = (int(random.integers(1, n + 1)) for n in (e.net.widths[layer], e.net.widths[layer - 1]))
            page.choose(layer, unit, source)
            chain = e.weight(layer, unit, source)
            assert close(page.value("#gradient"), chain.from_backward)
            assert page.value("#product") == page.value("#gradient")
            assert page.tab.locator("#product").inner_text() == page.tab.locator("#gradient").inner_text()
            looked_at = unit
            for k in range(layer, e.net.depth):
                step = page.tab.locator(f"[data-step='{e.net.depth - k + 1}'] .sums")
                numbers = step.locator("[data-value]").evaluate_all("all => all.map(e => Number(e.dataset.value))")
                terms = e.net.weights[k][:, looked_at - 1] * e.backward.grad_preactivations[k][0]
                *parts, total, slope, delta = numbers
                more = step.get_by_text(" more").count()  # the others' sum, where there are others
                assert more == (len(parts) < len(terms))
                order = np.argsort(-np.abs(terms), kind="stable")[: len(parts) - more]
                np.testing.assert_allclose(parts[: len(order)], terms[order], rtol=1e-12)
                assert sum(parts) == pytest.approx(terms.sum(), abs=1e-13)
                assert total == pytest.approx(terms.sum(), abs=1e-13)
                assert close(slope, float(e.derivatives[k - 1][looked_at - 1]))
                assert delta == pytest.approx(e.backward.grad_preactivations[k - 1][0, looked_at - 1], rel=1e-12)
                looked_at = int(order[0]) + 1
                assert f"unit {looked_at}" if k + 1 < e.net.depth else True


def test_a_cell_of_the_map_chooses_its_weight_and_the_last_row_the_biases(opened):
    e, page = opened("digits", size=(1440, 1300))
    widths, random = e.net.widths, np.random.default_rng(4)
    with page:
        for layer in (1, 2, 3):
            page.choose(layer, 1, 1)
            box = page.tab.locator(".cells .whole").bounding_box()
            for unit, source in zip(
                random.integers(1, widths[layer] + 1, 3), random.integers(1, widths[layer - 1] + 1, 3), strict=True
            ):
                x = box["x"] + box["width"] * (unit - 0.5) / widths[layer]
                y = box["y"] + box["height"] * (source - 0.5) / widths[layer - 1]
                page.tab.mouse.move(x, y)
                own, value = (
                    e.backward.grad_preactivations[layer - 1][0, unit - 1],
                    e.forward.activations[layer - 1][0, source - 1],
                )
                assert page.numbers(".map .tip") == pytest.approx([own, value, own * value], rel=1e-12)
                page.tab.mouse.click(x, y)
                assert close(page.value("#gradient"), e.gradient(layer, int(unit), int(source)))
            page.tab.mouse.click(box["x"] + box["width"] * 2.5 / widths[layer], box["y"] + box["height"] + 10)
            want = e.backward.grad_biases[layer - 1].reshape(-1, widths[layer])[0, 2]
            assert close(page.value("#gradient"), want)
            assert page.tab.locator("h1").inner_text().startswith(f"Why b{'₀₁₂₃'[layer]},₃ gets")


def test_the_map_by_the_keyboard(opened):
    e, page = opened("table", (1, 2, 3))
    with page:
        grid = page.tab.get_by_role("grid")
        grid.focus()
        name = "document.getElementById('map-cell').ariaLabel"
        assert page.tab.evaluate(name).startswith("W₁₂₃")
        for key in ("ArrowRight", "ArrowDown", "Enter"):
            page.tab.keyboard.press(key)
        assert page.tab.locator("h1").inner_text().startswith("Why W₁₃₄")
        page.tab.keyboard.press("Home")
        page.tab.keyboard.press("Enter")
        assert close(page.value("#gradient"), e.gradient(*e.strongest_weight(1)))
        page.tab.keyboard.press("End")
        page.tab.keyboard.press("Enter")
        assert close(page.value("#gradient"), float(e.backward.grad_preactivations[0][0, -1]))


def test_a_bar_that_is_clicked_is_the_unit_that_is_looked_at(opened):
    e, page = opened("digits", (1, 3, 5))
    with page:
        page.tab.locator('[data-row="gradient of hidden layer 2"] .bars').click(position={"x": 1, "y": 10})
        assert "unit 1 of layer 2" in page.tab.locator("[data-step='2'] .sums").inner_text()
        assert page.tab.locator("h1").inner_text().startswith("Why W₁₃₅")
        page.tab.locator('[data-row="gradient of hidden layer 1"] .bars').click(position={"x": 1, "y": 10})
        assert page.tab.locator("h1").inner_text().startswith("Why W₁₁₅")
        assert close(page.value("#gradient"), e.gradient(1, 1, 5))


def test_the_fan_has_a_line_for_each_term_that_counts_and_nothing_else_lights(opened):
    e, page = opened("digits", (1, 3, 5))
    terms = np.abs(e.net.weights[1][:, 2] * e.backward.grad_preactivations[1][0])
    with page:
        widths = page.tab.eval_on_selector_all(
            "[data-step='3'] .fan path", "all => all.map(p => parseFloat(p.style.strokeWidth))"
        )
        top = max(
            1.0, *(np.abs(values).max() for row, values in vectors(e).items() if row.startswith(("grad", "blame")))
        )
        np.testing.assert_allclose(sorted(widths), sorted(12 * terms[terms > terms.max() / 50] / top), rtol=1e-4)


@pytest.mark.parametrize("size", [(1440, 900), (768, 1024), (390, 844)])
@pytest.mark.parametrize("name", ["digits", "deep", "thin"])
def test_the_arrows_walk_the_steps_in_order_on_the_screen(opened, name, size):
    e, page = opened(name, size=size)
    place = e.opening_weight()
    count = e.net.depth - place[0] + 2
    with page:
        seen = []
        while len(seen) < 20:
            page.tab.keyboard.press("ArrowRight")
            now = page.tab.locator(".talk.now")
            box = now.locator("h2").bounding_box()
            assert 0 <= box["y"] < size[1] - 40, "the step is on the screen"
            said = page.tab.locator("#said").text_content()
            seen.append(now.get_attribute("data-step"))
            assert said.startswith(
                f"Step {seen[-1]} of {count}: {now.locator('h2').inner_text().strip().splitlines()[-1]}"
            )
            if page.tab.get_by_role("button", name="A step on").is_disabled():
                break
        narrow = size[0] < 900 or name == "deep"
        assert seen == [str(i) for i in range(2 if narrow else 1, count + 1)]
        assert close(page.value("#product"), e.gradient(*place))
        for _ in seen:
            page.tab.keyboard.press("ArrowLeft")
        page.tab.keyboard.press("Escape")
        assert page.tab.locator(".talk.now").count() == 0


def test_play_walks_by_itself_and_few_tab_stops_lead_to_it(opened):
    _, page = opened("digits")
    with page:
        page.tab.clock.install()
        stops = 0
        while page.tab.evaluate("document.activeElement.innerText") != "Play":
            page.tab.keyboard.press("Tab")
            stops += 1
            assert stops <= 8
        page.tab.keyboard.press("Enter")
        seen = set()
        for _ in range(20):
            page.tab.clock.run_for(800)
            seen |= set(page.tab.eval_on_selector_all(".talk.now", "all => all.map(e => e.dataset.step)"))
        assert seen == set("1234")
        assert page.tab.get_by_role("button", name="Play").count() == 1  # it has come to its end


def test_ten_layers_are_lanes_with_their_norms(opened):
    e, page = opened("deep")
    norms = [float(np.linalg.norm(g[0])) for g in reversed(e.backward.grad_preactivations)]
    with page:
        shown = page.numbers(".lane .norm")
        np.testing.assert_allclose(shown, norms, rtol=1e-12)
        page.tab.locator(".lane").nth(5).click()
        assert page.tab.locator(".pane h2").inner_text().strip().endswith("then to hidden layer 6")
        page.tab.locator(".lane").nth(5).press("ArrowDown")
        assert page.tab.locator(".pane h2").inner_text().strip().endswith("then to hidden layer 5")
        told = page.tip("gradient of hidden layer 5", 4, 16)
        assert any(close(number, e.backward.grad_preactivations[4][0, 3]) for number in told)
        assert page.tab.locator(".lanes").bounding_box()["height"] <= 12 * 40 + 1
        # where the gradients shrink, their bars count decades, and the legend says which
        assert page.tab.locator("#scale").inner_text() == "log"
        least = min(float(np.abs(g).max()) for g in e.backward.grad_preactivations)
        ends = page.tab.locator(".bar .scale sup").all_inner_texts()
        assert float(ends[1]) <= np.log10(least) - 1 < np.log10(least) <= float(ends[0])
        page.tab.locator("#scale").click()
        assert "a whole bar is 1" in page.tab.locator(".scale").inner_text()


def test_a_wide_layer_folds_says_so_and_opens(opened):
    e, page = opened("wide")
    delta = np.abs(e.backward.grad_preactivations[0][0])
    with page:
        row = '[data-row="gradient of hidden layer 1"]'
        button = page.tab.locator(f"{row} .folded")
        assert button.inner_text() == "+ 636 more"
        order = np.argsort(-delta, kind="stable")
        rest = delta[order[64:]]
        said = button.get_attribute("title")
        share, most = 100 * rest.sum() / delta.sum(), f"{rest.max():.2g}".replace("e-0", "e-")
        assert said.startswith(f"636 more: {share:.0f} % of the sum of sizes, none above {most}")
        assert f"64 bars; {said}" in page.tab.locator("[data-step='2'] .words").inner_text()
        bars = page.tab.locator(f"{row} .bars")
        bars.focus()
        page.tab.keyboard.press("Home")
        assert any(
            close(number, float(e.backward.grad_preactivations[0][0, order[0]]))
            for number in page.numbers(f"{row} .tip")
        )
        button.click()
        assert page.tab.locator(f"{row} .folded").inner_text() == "+ 572 more"
        assert page.tab.locator('[data-row="probabilities"] .folded').count() == 0
        classes = page.tab.locator(".classes span").all_inner_texts()
        assert len(classes) <= 13
        assert any("ℓ" in text for text in classes)


def test_many_inputs_share_rows_of_the_map(browser, tmp_path):
    net = Network.create([784, 12, 10], activation="relu", seed=0)
    x = np.random.default_rng(0).normal(size=784)
    e = explain(net, x, 2)
    with Opened(browser, e.to_html(tmp_path / "page.html"), (1440, 1200)) as page:
        box = page.tab.locator(".cells .whole").bounding_box()
        rows = 98  # of eight inputs
        for row, unit in ((0, 1), (40, 5), (97, 12)):
            page.tab.mouse.click(
                box["x"] + box["width"] * (unit - 0.5) / 12, box["y"] + box["height"] * (row + 0.5) / rows
            )
            source = 8 * row + int(np.abs(x[8 * row : 8 * row + 8]).argmax()) + 1
            assert close(page.value("#gradient"), e.gradient(1, unit, source))


@pytest.mark.parametrize("way", ["predict", "exercise=2"])
def test_what_is_asked_is_nowhere_told(opened, way):
    """Not in a text, a tip, a name for screen readers, a title or a drawing."""
    e, page = opened("table", (1, 3, 2), fragment=way)
    chain = e.weight(1, 3, 2)
    asked = [
        chain.product,
        float(e.backward.grad_preactivations[0][0, 2]),
        float((e.net.weights[1].T @ e.backward.grad_preactivations[1][0])[2]),
    ]
    told = """() => [...document.querySelectorAll('#app *')].flatMap(e => [
        e.title, e.ariaLabel, e.dataset?.value, e.dataset?.answer,
        ...[...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data)
    ]).filter(Boolean).join('\\n')"""
    with page:
        seen = [page.tab.evaluate(told)]
        for row in ("gradient of hidden layer 1", "blame of hidden layer 1", "weights"):
            place = page.tab.locator(f'[data-row="{row}"] :is(.bars, .cells)')
            place.hover()
            seen.append(page.tab.evaluate(told))
            place.focus()
            for key in ("Home", "ArrowRight", "ArrowLeft"):
                page.tab.keyboard.press(key)
                seen.append(page.tab.evaluate(told))
        given = page.numbers(".exercise") if way != "predict" else []
        everything = "\n".join(seen).replace("−", "-")
        for value in asked:
            if not any(close(value, number) for number in given):
                assert f"{value:.3g}" not in everything
                assert str(value) not in everything
        assert page.tab.locator(".plot.gradient path[class*=fill]").count() == 0
        assert page.tab.locator("h1").inner_text() == "Why W₁₃₂ gets its gradient"


def test_predict_shows_a_step_when_it_is_asked(opened):
    e, page = opened("table", (1, 3, 2))
    with page:
        page.tab.get_by_label("predict first").check()
        page.tab.get_by_role("button", name="Show step 2").click()
        assert page.tab.locator("[data-step='2'] .sums [data-value]").count() > 3
        assert page.tab.locator("[data-step='3'] .asked").count() == 1
        assert page.tab.locator("#gradient").count() == 0
        page.tab.get_by_role("button", name="Show step 3").click()
        assert close(page.value("#gradient"), e.gradient(1, 3, 2))
        assert page.tab.locator("#why").count() == 0, "it tells of the first step too"
        page.tab.get_by_role("button", name="Show step 1").click()
        assert page.tab.locator("#why").count() == 1


@pytest.mark.parametrize("name", ["digits", "deep", "two"])
def test_the_exercise_marks_answers_and_its_seed_fixes_the_blanks(opened, name):
    e, page = opened(name)
    layer, unit, source = e.opening_weight()

    def answer(of):
        kind, *at = of.split(",")
        k, *i = (int(n) for n in at) if at else (0,)
        if kind == "product":
            return e.gradient(layer, unit, source)
        if kind == "gradP":
            return float(e.backward.grad_probabilities[0, k - 1])
        vector = {
            "delta": lambda: e.backward.grad_preactivations[k - 1][0], "slope": lambda: e.derivatives[k - 1],
            "gradH": lambda: e.net.weights[k].T @ e.backward.grad_preactivations[k][0],
        }[kind]()  # fmt: skip
        return float(vector[i[0] - 1])

    with page:
        page.tab.get_by_label("exercise: fill in").check()
        blanks = "all => all.map(one => one.dataset.of)"
        asked = page.tab.eval_on_selector_all("[data-answer]", blanks)
        assert asked[-1] == "product"
        for of in asked[:-1]:
            page.tab.fill(f'[data-of="{of}"]', f"{answer(of):.4g}".replace(".", ","))
        page.tab.fill('[data-of="product"]', f"{answer('product') * 1.02:.6g}")
        page.tab.get_by_role("button", name="Mark").click()
        assert f"{len(asked) - 1} of {len(asked)} right" in page.tab.locator(".exercise").inner_text()
        assert page.tab.locator(".exercise .wrong").count() == 1
        by_seed = {}
        for seed in (2, 3, 4, 2, 3, 4):
            page.tab.fill(".exercise input[type=number]", str(seed))
            found = page.tab.eval_on_selector_all("[data-answer]", blanks)
            assert by_seed.setdefault(seed, found) == found


def test_the_mean_of_a_batch_is_a_factor_of_the_end(opened):
    e, page = opened("table", (1, 3, 2), batch_size=32)
    with page:
        assert close(page.value("#product"), e.weight(1, 3, 2).product)
        assert page.tab.locator(".product").inner_text().startswith("1/32 × ")


def test_without_javascript_all_steps_are_lit(opened):
    e, page = opened("digits", live=False)
    layer, unit, source = e.opening_weight()
    chain = e.weight(layer, unit, source)
    with page:
        text = page.tab.locator("main").inner_text()
        for heading in (
            "Talk to the output layer",
            "then to hidden layer 2",
            "then to hidden layer 1",
            "and now talk to the weights",
        ):
            assert heading in text
        last = page.numbers(".talk.weight")
        assert close(last[-1], chain.product)
        *_, total, slope, delta = page.numbers(".talk:nth-of-type(3)")
        blame = e.net.weights[1].T @ e.backward.grad_preactivations[1][0]
        assert total == pytest.approx(blame[unit - 1], rel=1e-12)
        assert slope == pytest.approx(e.derivatives[0][unit - 1], rel=1e-12)
        assert delta == pytest.approx(e.backward.grad_preactivations[0][0, unit - 1], rel=1e-12)
        for row, values in (("h₂", e.forward.activations[2][0]), ("= δ₁", e.backward.grad_preactivations[0][0])):
            said = page.tab.locator(f'svg[aria-label^="{row}: "]').get_attribute("aria-label")
            assert f"{len(values)} numbers" in said
