"""The report and the scores behind it."""

import math

import jinja2
import numpy as np
import pytest

from chainrule import Adam, Network, fit
from chainrule.boundary import html
from chainrule.errors import InputError
from chainrule.explain import symbols
from chainrule.pages.report import write_report
from chainrule.scores import confusion_matrix, el2n, example_scores, hardest
from chainrule.training.history import History

NASTY = "<script>alert(1)</script>"


def test_scores_by_their_definition():
    logits = np.random.default_rng(0).normal(size=(30, 4))
    labels = np.arange(30) % 4
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    norms = np.linalg.norm(p - np.eye(4)[labels], axis=1)
    np.testing.assert_allclose(el2n(logits, labels), norms, rtol=1e-12)
    assert hardest(logits, labels, 5).tolist() == np.argsort(-norms)[:5].tolist()


def test_what_has_no_finite_prediction_is_of_no_class(tmp_path):
    """An input of 3e38 times a weight of 2 leaves float32: argmax would still name a class."""
    net = Network([np.array([[2, 0], [0, 2]], dtype="float32")], [np.zeros(2, dtype="float32")])
    x, labels = np.array([[1, 0], [3e38, 0]], dtype="float32"), np.array([0, 0])
    with pytest.raises(InputError, match="x: row 17 is so far from the other numbers"):
        example_scores(net, x, labels, [12, 17])
    with pytest.raises(InputError, match="x: row 17 is so far"):
        write_report(tmp_path / "r.html", net, History(), (x, labels, [12, 17]), classes=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_confusion_matrix_equals_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(1)
    true, predicted = random.integers(0, 5, 200), random.integers(0, 5, 200)
    assert confusion_matrix(predicted, true, 5).tolist() == metrics.confusion_matrix(true, predicted).tolist()


def test_the_report_finds_the_mislabelled_and_trusts_no_name(tmp_path):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 200)
    x = random.normal(size=(200, 64)) + 3 * labels[:, None]
    wrong = labels.copy()
    wrong[17] = 1 - wrong[17]
    net = Network.create([64, 4, 2], seed=0)
    history = fit(net, x, wrong, epochs=5, optimizer=Adam(0.01))
    path = write_report(
        tmp_path / "report.html", net, history, (x, wrong, range(1000, 1200)), classes=[NASTY, "b"],
        settings={NASTY: NASTY},
    )  # fmt: skip
    page = path.read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert page.index("<td>1017</td>") < page.index("<td>1000</td>" if "<td>1000</td>" in page else "</main>")
    assert page.split("‖ŷ − e(ℓ)‖</th>")[1].split("<td>")[1].startswith("1017")
    assert page.count("<polyline") == 2 * (2 + 2 + 2)  # each curve, and its key


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on 64 inputs and 3 classes, and the numbers behind it."""
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    random = np.random.default_rng(3)
    labels = random.integers(0, 3, 300)
    x = random.normal(size=(300, 64)) + 0.3 * labels[:, None]
    net = Network.create([64, 6, 3], seed=0)
    history = fit(net, x[:200], labels[:200], epochs=12, optimizer=Adam(0.01))
    path = write_report(
        tmp_path_factory.mktemp("report") / "report.html", net, history, (x[:200], labels[:200], range(200)),
        classes=[IMAGE, "b", "c"], judged=(x[200:], labels[200:], range(200, 300)), judged_name="test",
        example={"part": "validation", "row": 4, "loss": 2.5, "why": NASTY, "href": "report-explanation.html"},
    )  # fmt: skip
    return path, net, history, x[200:], labels[200:]


IMAGE = "<img src=x onerror=alert(1)>"


def opened(browser, path, width=1440, **options):
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab = context.new_page()
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("dialog", lambda dialog: (tab.said.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(path.as_uri())
    return tab


@pytest.mark.parametrize("script", [True, False])
def test_a_cell_of_the_confusion_matrix_lists_its_examples(browser, report, script):
    path, net, _, x, labels = report
    predicted, p = net.predict(x), net.predict_proba(x)
    i, j = next((i, j) for i in range(3) for j in range(3) if i != j and ((labels == i) & (predicted == j)).any())
    inside = np.flatnonzero((labels == i) & (predicted == j))
    tab = opened(browser, path, java_script_enabled=script)
    cell = tab.locator(f"#cell-{i}-{j}")
    assert not cell.is_visible()
    link = tab.locator(f'a[href="#cell-{i}-{j}"]')
    assert int(link.inner_text()) == len(inside)
    link.focus()
    tab.keyboard.press("Enter")
    assert cell.is_visible()
    order = inside[np.argsort(p[inside, i])][:12]
    listed = cell.locator("li")
    assert [line.split("\n")[0] for line in listed.all_inner_texts()] == [f"row {200 + n}" for n in order]
    assert listed.locator("svg").count() == len(order)
    shown = float(listed.first.locator(".num").first.get_attribute("data-value"))
    assert shown == pytest.approx(p[order[0], i], rel=1e-6)
    tab.context.close()


def test_a_curve_is_read_off_and_switched_off(browser, report):
    path, _, history, _, _ = report
    tab = opened(browser, path)
    chart = tab.locator("figure.chart").first
    slider = chart.locator("svg[role=slider]")
    slider.focus()
    for key, epoch in (
        ("Home", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("ArrowLeft", 1),
        ("End", 12),
        ("PageDown", 11),
    ):
        tab.keyboard.press(key)
        assert slider.get_attribute("aria-valuenow") == str(epoch)
        values = chart.locator(".reading .num").evaluate_all("all => all.map(e => Number(e.dataset.value))")
        assert values == [history.loss[epoch - 1], history.validation_loss[epoch - 1]]
    box = slider.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 70 / 650 + 1, box["y"] + box["height"] / 2)
    assert "Epoch 1: training" in chart.locator(".reading").inner_text()
    chart.get_by_role("button", name="training").click()
    assert chart.locator("svg[role=slider] polyline").first.is_hidden()
    assert chart.locator(".reading .num").count() == 1
    chart.get_by_role("button", name="training").click()
    assert chart.locator(".reading .num").count() == 2
    assert tab.said == []
    tab.context.close()


def test_numbers_that_are_none_have_their_symbols():
    for value, text in ((np.inf, "∞"), (-np.inf, "−∞"), (np.nan, "NaN"), (np.float32(-np.inf), "−∞"), (-0.0, "0")):
        assert html.number(value) == symbols.number(value) == text
        assert html.full(value) == text.replace("0", "−0.0")
    macro = """{% from "macros.html.j2" import num %}{{ num(value) }}"""
    for value, text in ((-math.inf, "−∞"), (math.nan, "NaN"), (-1.5e-7, "−1.5e−07")):
        environment = jinja2.Environment(loader=jinja2.PackageLoader("chainrule.pages"))
        environment.filters |= {"number": html.number, "full": html.full}
        assert f'title="{text}"' in environment.from_string(macro).render(value=value)


def test_a_single_epoch_is_drawn(tmp_path, browser):
    random = np.random.default_rng(5)
    x, labels = random.normal(size=(40, 4)), random.integers(0, 2, 40)
    net = Network.create([4, 2], seed=0)
    history = fit(net, x, labels, epochs=1)
    path = write_report(tmp_path / "r.html", net, history, (x, labels, range(40)), classes="ab")
    tab = opened(browser, path)
    for line in tab.locator("figure.chart > svg > polyline").all():
        assert line.bounding_box()["width"] > 100
    assert "Training took 1 epoch and" in tab.locator(".lead").inner_text()
    tab.locator("svg[role=slider]").first.focus()
    assert tab.locator(".reading .num").first.get_attribute("data-value") == str(history.loss[0])
    tab.context.close()


def test_a_tap_reads_the_epoch_under_it(browser, report):
    path, _, history, _, _ = report
    tab = opened(browser, path, 390, has_touch=True)
    slider = tab.locator("figure.chart svg[role=slider]").first
    x, y = slider.evaluate("""svg => {
        const [x, y] = svg.querySelector('polyline').getAttribute('points').split(' ')[4].split(',');
        const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
        return [at.x, at.y];
    }""")
    tab.touchscreen.tap(x, y)
    assert slider.get_attribute("aria-valuenow") == "5"
    shown = tab.locator("figure.chart .reading .num").first
    assert float(shown.get_attribute("data-value")) == history.loss[4]
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_says_what_it_means_and_asks_for_nothing(browser, report, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    path, net, _, x, labels = report
    for width in (1440, 768, 390):
        tab = opened(browser, path, width, color_scheme=scheme)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        accuracy = 100 * np.mean(net.predict(x) == labels)
        assert tab.locator("h1").inner_text() == f"{accuracy:.4g} % of the test examples are classified right"
        assert IMAGE in tab.locator(".confusion").inner_text()
        assert NASTY in tab.locator(".finding").inner_text()
        assert tab.locator(".finding a").get_attribute("href") == "report-explanation.html"
        tab.locator(".confusion a").first.click()
        for found in axe.Axe().run(tab).response["violations"]:
            nodes = [node["html"][:200] for node in found["nodes"]]
            assert found["impact"] not in ("serious", "critical"), f"{found['id']}: {nodes}"
        assert tab.said == []
        assert tab.asked == [path.as_uri()]
        tab.context.close()


def test_the_report_is_valid_html(report, faults):
    assert faults([report[0]]) == []


def test_many_classes_are_shown_by_their_most_confused_pairs(tmp_path):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    random = np.random.default_rng(4)
    labels = random.integers(0, 1000, 3000)
    x = random.normal(size=(3000, 64))
    net = Network.create([64, 1000], seed=0)
    history = fit(net, x, labels, epochs=1)
    classes = [f"class {i}" for i in range(1000)]
    path = write_report(tmp_path / "r.html", net, history, (x, labels, range(3000)), classes=classes)
    assert path.stat().st_size < 5e6
    page = path.read_text()
    matrix = confusion_matrix(net.predict(x), labels, 1000)
    np.fill_diagonal(matrix, 0)
    i, j = np.unravel_index(matrix.argmax(), matrix.shape)
    assert f'<th scope="row">class {i}</th><td>class {j}</td><td><a href="#cell-{i}-{j}">{matrix[i, j]}</a>' in page
    assert page.count('class="card cell"') == 30
