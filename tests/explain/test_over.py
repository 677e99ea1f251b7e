"""The walk through training: a slider over checkpoints, each against Python's numbers, and the files it comes of."""

import os

import numpy as np
import pytest
from opened import Opened, close

from chainrule import Network
from chainrule.boundary.files import lock_folder
from chainrule.command.cli import main
from chainrule.errors import InputError, ModelFileError
from chainrule.explain import Rows, explain
from chainrule.network import load_model


def nets(count=6):
    return [Network.create([6, 5, 4, 3], activation="tanh", seed=seed, dtype="float64") for seed in range(count)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    random = np.random.default_rng(0)
    x = random.normal(size=6)
    rows = Rows(random.normal(size=(20, 6)), random.integers(0, 3, 20))
    e = explain(nets()[-1], x, 2, checkpoints=nets(), rows=rows)
    return e, e.weight(1, 2, 3).to_html(tmp_path_factory.mktemp("over") / "page.html")


def test_the_slider_moves_the_walk_through_training(browser, made):
    e, path = made
    with Opened(browser, path) as page:
        assert page.tab.locator("#checkpoint-name").inner_text() == "the page’s weights"
        page.tab.locator("#checkpoint").focus()
        page.tab.keyboard.press("Home")
        for i, net in enumerate(nets()[:3]):
            want = explain(net, e.x, 2)
            page.comes_to_show("#checkpoint-name", f"checkpoint {i + 1}")
            assert close(page.value("#gradient"), want.gradient(1, 2, 3))
            assert close(page.value("#checkpoint-gradient"), want.gradient(1, 2, 3))
            assert close(page.value("#checkpoint-loss"), want.loss)
            norms = [float(np.linalg.norm(g)) for g in want.backward.grad_preactivations]
            assert page.numbers(".over figcaption") == pytest.approx(norms, rel=1e-12)
            page.tab.keyboard.press("ArrowRight")
        page.tab.wait_for_function("() => location.hash.includes('checkpoint=4')")
        page.tab.get_by_role("tab", name="Train").click()  # both travel in one page
        page.tab.wait_for_selector("#batch-gradient")
        page.tab.get_by_role("tab", name="The walk").click()
        page.tab.get_by_role("button", name="Back to the page’s weights").click()
        assert close(page.value("#gradient"), e.gradient(1, 2, 3))


def test_a_link_leads_to_a_checkpoint_and_one_that_is_not_there_to_the_page(browser, made):
    e, path = made
    with Opened(browser, path, fragment="checkpoint=2") as page:
        assert close(page.value("#gradient"), explain(nets()[1], e.x, 2).gradient(1, 2, 3))
    for wrong in ("checkpoint=7", "checkpoint=0", "checkpoint=x"):
        with Opened(browser, path, fragment=wrong) as page:
            assert close(page.value("#gradient"), e.gradient(1, 2, 3))


def test_what_is_asked_is_not_told_by_the_checkpoints(browser, made):
    with Opened(browser, made[1], fragment="checkpoint=2&predict") as page:
        assert page.tab.locator(".over [data-value]").count() == 0
        assert "loss" not in page.tab.locator("#checkpoint").get_attribute("aria-valuetext")


@pytest.mark.parametrize(("size", "scheme"), [((1440, 900), "dark"), ((390, 844), "light")])
def test_it_fits_and_reads(browser, made, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with Opened(browser, made[1], size, "checkpoint=3", color_scheme=scheme) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") == size[0]
        for found in axe.Axe().run(page.tab).response["violations"]:
            assert found["impact"] not in ("serious", "critical"), found["id"]


def test_without_javascript_every_checkpoint_is_told(browser, made):
    e, path = made
    with Opened(browser, path, java_script_enabled=False) as page:
        shown = page.numbers("[aria-labelledby=course-title] tbody")
    want = []
    for net in nets():
        one = explain(net, e.x, 2)
        want += [one.loss, one.gradient(1, 2, 3), *(np.linalg.norm(g) for g in one.backward.grad_preactivations)]
    assert shown == pytest.approx(want, rel=1e-12)


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    lines = [f"{random.normal() + i % 2:.3f},{random.normal():.3f},{'ab'[i % 2]}" for i in range(90)]
    path = tmp_path / "t.csv"
    path.write_text("x,y,class\n" + "\n".join(lines) + "\n")
    return path


def test_training_keeps_its_epochs_and_the_page_walks_through_them(table, tmp_path, capsys):
    model, page = tmp_path / "m.safetensors", tmp_path / "p.html"
    train = ["train", str(table), "--target", "class", "--hidden", "4", "--validation", "0.2", "--patience", "50"]
    train += ["-o", str(model), "--keep-checkpoints"]
    assert main([*train, "--epochs", "9"]) == 0
    folder = tmp_path / "m.checkpoints"
    assert f"every epoch's weights: {folder}" in capsys.readouterr().out
    assert main([*train, "--epochs", "5"]) == 0  # shorter: what the other left is gone
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [f"epoch-{epoch:04d}.safetensors" for epoch in range(6)]
    first, last = load_model(folder / kept[0]), load_model(folder / kept[-1])
    begun = Network.create(last.network.widths, seed=0)
    np.testing.assert_array_equal(first.network.weights[0], begun.weights[0])
    assert last.training["epoch"] == 5
    best = load_model(model)
    assert any(
        np.array_equal(load_model(folder / name).network.weights[0], best.network.weights[0]) for name in kept[1:]
    )
    command = ["explain", str(model), str(table), "--row", "3", "--checkpoints", str(folder)]
    assert main([*command, "-o", str(page)]) == 0
    assert "(6 checkpoints, " in capsys.readouterr().out
    assert '"epoch 0", "epoch 1"' in page.read_text(encoding="utf-8")
    assert main(command) == 1
    assert "without a page to put them into" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_before_training(table, tmp_path, capsys):
    (tmp_path / "m.checkpoints").write_text("in the way")
    model = tmp_path / "m.safetensors"
    assert main(["train", str(table), "--target", "class", "-o", str(model), "--keep-checkpoints"]) == 1
    assert "m.checkpoints: cannot be made a folder" in capsys.readouterr().err
    assert not model.exists()


def test_two_runs_do_not_write_into_one_folder(table, tmp_path, capsys):
    model, folder = tmp_path / "m.safetensors", tmp_path / "m.checkpoints"
    train = ["train", str(table), "--target", "class", "--epochs", "2", "-o", str(model), "--keep-checkpoints"]
    folder.mkdir()
    held = lock_folder(folder)
    assert main(train) == 1
    assert "m.checkpoints: another run is writing into it" in capsys.readouterr().err
    assert not model.exists()
    os.close(held)
    assert main(train) == 0
    assert len(list(folder.iterdir())) >= 3


def test_of_many_or_large_checkpoints_some_stay_first_and_last_among_them():
    x = np.zeros(6)
    many = explain(nets()[0], x, 0, checkpoints=nets(50)).checkpoints
    assert (len(many), many[0][0], many[-1][0]) == (24, "checkpoint 1", "checkpoint 50")
    large = [Network.create([600, 500, 3], seed=seed) for seed in range(5)]
    assert len(explain(large[0], np.zeros(600), 0, checkpoints=large).checkpoints) == 3


def test_bad_checkpoints_are_refused(tmp_path):
    net = nets()[0]
    (tmp_path / "epoch-1.safetensors").write_text("no model")
    (tmp_path / "epoch-2.safetensors").write_text("no model")
    for given, error, message in (
        ([net], InputError, "checkpoints: got 1, expected two"),
        (5, InputError, "checkpoints: got int"),
        ([net, Network.create([6, 3])], InputError, r"got \[6, 3\] with relu at index 1"),
        (tmp_path / "nowhere", InputError, "expected a folder of model files"),
        (tmp_path, ModelFileError, "epoch-1.safetensors"),
    ):
        with pytest.raises(error, match=message):
            explain(net, np.zeros(6), 0, checkpoints=given)
