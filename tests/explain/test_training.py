"""Training in the page in Chromium: every step against `fit`, what travels, and how it is reached and read."""

import json
import re

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.command.cli import main
from chainrule.errors import InputError
from chainrule.explain import Rows, explain
from chainrule.explain.views import page_training
from chainrule.training import SGD, Adam, fit
from chainrule.training.engine import Engine

WIDTHS = [64, 12, 8, 4]
RULES = {"sgd": SGD(0.05), "momentum": SGD(0.05, 0.9), "adam": Adam(0.02)}


def explained(**options):
    random = np.random.default_rng(3)
    x = random.normal(size=(60, WIDTHS[0]))
    labels = (x[:, :4] + random.normal(size=(60, 4)) / 2).argmax(axis=1)
    net = Network.create(WIDTHS, activation="relu", seed=2, dtype="float64")
    rows = Rows(x, labels, numbers=np.arange(60) * 3, of=1797)
    return explain(net, x[0], int(labels[0]), rows=rows, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    e = explained()
    return e, e.weight(1, 3, 5).to_html(tmp_path_factory.mktemp("training") / "page.html")


def split(e):
    """The rows that are trained on, and those that are held out."""
    out = np.arange(60) % 5 == 4
    return (e.rows.x[~out], e.rows.labels[~out], e.rows.numbers[~out]), (e.rows.x[out], e.rows.labels[out])


def at_step(page, step):
    page.tab.fill("#cursor", str(step))
    page.comes_to_show("#at", re.compile(rf"^{step} of"))
    pulls = page.tab.eval_on_selector_all(
        ".pulls tbody tr", "all => all.map(r => [+r.dataset.rowNumber, +r.querySelector('[data-pull]').dataset.pull])"
    )
    ids = ("train-loss", "train-weight", "batch-gradient", "held-loss", "held-accuracy", "pull-sum", "pull-mean")
    return dict(pulls), {name: page.value(f"#{name}") for name in ids}


def near(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * float(np.abs(want).max() or 1))


@pytest.mark.parametrize("rule", RULES)
def test_every_step_is_that_of_fit(browser, made, rule):
    """All rows in a batch, so that an epoch of `fit` is a step."""
    e, path = made
    (x, labels, numbers), (held, truth) = split(e)
    nets, net = [e.net.astype("float64")], e.net.astype("float64")
    steps = 6

    def keep(record):
        nets.append(record.net.astype("float64"))

    fit(net, x, labels, optimizer=RULES[rule], epochs=steps - 1, batch_size=len(x), validation=0, callbacks=[keep])
    with Opened(browser, path, fragment=f"view=train&train={steps}:{len(x)}:{RULES[rule].lr}:{rule}:1:page") as page:
        page.comes_to_show("#at", "6 of 6")
        for step, before in enumerate(nets, start=1):
            pulls, told = at_step(page, step)
            each = before.backward(before.forward(x), labels, per_example=True)
            want = each.grad_weights[0][:, 2, 4]
            assert set(pulls) == set(numbers[want != 0])
            near([pulls[n] for n in numbers[want != 0]], want[want != 0])
            near([told["batch-gradient"], told["pull-sum"] / len(x), told["pull-mean"]], np.full(3, want.mean()))
            near([told["train-weight"]], before.weights[0][2, 4])
            near([told["train-loss"]], each.loss.mean())
            out = before.forward(held)
            near([told["held-loss"]], before.backward(out, truth).loss)
            near([told["held-accuracy"]], (out.probabilities.argmax(axis=1) == truth).mean())
        assert abs(nets[-1].weights[0][2, 4] - nets[0].weights[0][2, 4]) > 1e-3


def test_batches_are_steps_of_fits_engine_in_the_pages_order(browser, made):
    e, path = made
    (x, labels, numbers), _ = split(e)
    adam = Adam(0.02)
    engine = Engine(e.net.weights, e.net.biases, "relu", adam, 16)
    # the bias of an output unit, whose pull is never 0: all of a batch's rows are in the table
    with Opened(browser, path, fragment="b=3,2&view=train&train=7:16:0.02:adam:5:page") as page:
        page.comes_to_show("#at", "7 of 7")
        seen = []
        for step in range(1, 8):
            pulls, told = at_step(page, step)
            batch = np.searchsorted(numbers, sorted(pulls))
            seen.append(set(pulls))
            assert len(batch) == 16
            near([told["train-weight"]], engine.biases[2][1])
            found = engine.run(x, labels, batch, adam.lr)
            near([told["train-loss"]], found.loss / 16)
            at = engine.gradient.size - WIDTHS[-1] + 1
            near([told["batch-gradient"]], engine.gradient[at])
        assert set.union(*seen[:3]) == set(numbers), "an epoch has each row once"
        assert seen[0] != seen[3]


def test_play_step_restart_and_options_are_in_the_address(browser, made):
    _, path = made
    with Opened(browser, path, fragment="view=train") as page:
        page.tab.get_by_role("button", name="Step", exact=True).click()
        page.tab.get_by_role("button", name="▶ Play").click()
        page.comes_to_show("#at", re.compile(r"of ([4-9]|\d\d)"))
        page.tab.get_by_role("button", name="Pause").click()
        page.tab.select_option("#rule", "momentum")
        page.tab.fill("#rate", "0,05")
        page.tab.press("#rate", "Enter")
        page.tab.select_option("#batch", "16")
        page.tab.wait_for_function("() => /train=\\d+:16:0.05:momentum:1:new/.test(location.hash)")
        page.tab.fill("#rate", "-1")
        page.tab.press("#rate", "Enter")
        assert page.tab.locator("#rate").get_attribute("aria-invalid") == "true"
        steps = page.tab.locator("#at").inner_text()
        told = page.tab.locator("#batch-gradient").get_attribute("data-value")
        fragment = page.tab.evaluate("location.hash.slice(1)")
        page.tab.get_by_role("button", name="Restart").click()
        page.comes_to_show("#at", "1 of 1")
    with Opened(browser, path, fragment=fragment) as page:  # the same run again, from its address
        page.comes_to_show("#at", steps)
        assert page.tab.locator("#batch-gradient").get_attribute("data-value") == told


def test_an_example_of_the_batch_is_walked_with_the_weights_that_it_met(browser, made):
    _, path = made
    with Opened(browser, path, fragment="view=train&train=5:16:0.05:adam:1:new") as page:
        page.comes_to_show("#at", "5 of 5")
        pulls, _ = at_step(page, 4)
        first = next(iter(pulls))
        page.tab.get_by_role("button", name=f"Row {first}: walk its chain").click()
        page.tab.wait_for_selector("[data-row=weights]")
        assert close(page.value("#gradient"), pulls[first])


def test_another_weight_is_another_story_of_the_same_run(browser, made):
    _, path = made
    with Opened(browser, path, fragment="view=train&train=5:16:0.05:adam:1:new") as page:
        page.comes_to_show("#at", "5 of 5")
        loss, held = page.value("#train-loss"), page.value("#held-loss")
        page.choose(2, 3, 4)
        page.comes_to_show("h1", re.compile("W₂₃₄"))
        page.comes_to_show("#at", "5 of 5")
        assert (page.value("#train-loss"), page.value("#held-loss")) == (loss, held)


def test_training_is_hidden_while_one_predicts(browser, made):
    with Opened(browser, made[1], fragment="view=train&predict") as page:
        assert page.tab.locator("[data-pull], #batch-gradient").count() == 0
        assert "Training is hidden" in page.tab.locator("main").inner_text()


@pytest.mark.parametrize(("size", "scheme"), [((1440, 900), "light"), ((390, 844), "dark")])
def test_it_fits_reads_and_is_reached(browser, made, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    _, path = made
    with Opened(browser, path, size, "view=train&train=20:16:0.05:adam:1:new", color_scheme=scheme) as page:
        page.comes_to_show("#at", "20 of 20")
        assert page.tab.evaluate("document.documentElement.scrollWidth") == size[0]
        small = page.tab.evaluate("""() => [...document.querySelectorAll('#app *')].filter(e => e.checkVisibility()
            && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
            && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML.slice(0, 100))""")
        assert small == []
        for found in axe.Axe().run(page.tab).response["violations"]:
            nodes = [node["html"][:200] for node in found["nodes"]]
            assert found["impact"] not in ("serious", "critical"), f"{found['id']}: {nodes}"
        if size[0] == 1440:
            page.tab.locator("#cursor").focus()
            page.tab.keyboard.press("ArrowLeft")
            assert page.tab.locator("#at").inner_text() == "19 of 20"
            reached = set()
            for _ in range(12):
                page.tab.keyboard.press("Shift+Tab")
                reached.add(page.tab.evaluate("document.activeElement.id || document.activeElement.innerText"))
            assert {"▶ Play", "Step", "Restart", "batch", "rate", "rule", "from", "seed", "Train"} <= reached


def test_without_javascript_one_batch_reads_in_full(browser, made):
    e, path = made
    (x, labels, numbers), _ = split(e)
    each = e.net.backward(e.net.forward(x[:32]), labels[:32], per_example=True)
    with Opened(browser, path, java_script_enabled=False) as page:
        shown = page.tab.eval_on_selector_all(
            ".pulls tbody tr", "all => all.map(r => [r.cells[0].innerText, r.cells[5].firstChild.dataset.value])"
        )
        want = sorted(zip(each.grad_weights[0][:, 2, 4], numbers[:32], strict=True), key=lambda one: -one[0])
        near([float(value) for _, value in shown], np.array([value for value, _ in want]))
        assert {int(number) for number, _ in shown} == set(numbers[:32])
        assert "60 of 1797 rows travel in this page" in page.tab.locator("main").inner_text()


def test_no_row_travels_unless_it_is_asked_for(tmp_path):
    """And a page without rows is no larger than the explanation page of 29 November 2026 was."""
    before = {"digits": ([64, 64, 10], 273_536), "mnist": ([784, 128, 10], 772_454)}
    for name, (widths, bytes_) in before.items():
        net = Network.create(widths, activation="relu", seed=3)
        page = explain(net, np.random.default_rng(7).normal(size=widths[0]), 0).to_html(tmp_path / f"{name}.html")
        assert page.stat().st_size <= bytes_
        payload = json.loads(re.search(r'id="network">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])
        assert "lesson" not in payload


def test_rows_travel_by_the_command_which_says_how_large_they_are(tmp_path, capsys):
    table, model, page = tmp_path / "t.csv", str(tmp_path / "m.safetensors"), tmp_path / "p.html"
    random = np.random.default_rng(0)
    lines = [f"{random.normal():.3f},{random.normal():.3f},{'ab'[i % 2]}" for i in range(90)]
    table.write_text("x,y,class\n" + "\n".join([*lines, "1,2,"]) + "\n")
    assert main(["train", str(table), "--target", "class", "--epochs", "2", "--hidden", "4", "-o", model]) == 0
    command = ["explain", model, str(table), "--row", "3"]
    assert main([*command, "--rows", "60", "-o", str(page)]) == 0
    assert "(60 of 90 rows travel in it, " in capsys.readouterr().out
    assert main([*command, "--rows", "60"]) == 1
    assert "--rows: got 60 without a page" in capsys.readouterr().err
    for wrong in (["--rows", "49"], ["--rows", "201"], ["--rows", "60", "--private"]):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "-o", str(page), *wrong])
        assert stopped.value.code == 2
    assert main([*command, "--private", "-o", str(page)]) == 0
    assert '"lesson"' not in page.read_text(encoding="utf-8")
    assert main(["explain", model, str(table), "--serve", "--rows", "60"]) == 1


def test_the_pages_rules_are_those_of_training():
    assert (Adam().betas, Adam().eps) == (page_training.BETAS, page_training.EPS)


def test_bad_rows_are_refused():
    net, x = Network.create([2, 3]), [0.0, 1.0]
    good = np.zeros((4, 2))
    for make, message in (
        (lambda: Rows(good[:1], [0]), r"rows: got x of shape \(1, 2\), expected 2 to 200 rows"),
        (lambda: Rows(np.zeros((201, 2)), [0] * 201), "201"),
        (lambda: Rows([[np.nan, 1.0]] * 3, [0] * 3), "no finite numbers"),
        (lambda: Rows(good, [0] * 4, numbers=[1]), "got 1 numbers, expected 4"),
        (lambda: explain(net, x, 0, rows=Rows(good, [0, 1, 2, 3])), r"rows: labels: got 3 at index 3"),
        (lambda: explain(net, x, 0, rows=Rows(good, [0, 1])), r"rows: labels: got shape \(2,\)"),
        (lambda: explain(net, x, 0, rows=Rows(np.zeros((4, 3)), [0] * 4)), r"expected \(4, 2\)"),
    ):
        with pytest.raises(InputError, match=message):
            make()
