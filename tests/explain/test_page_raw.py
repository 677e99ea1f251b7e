"""The page in its table's own units: what is drawn, slid, chosen and typed, against what the schema makes of it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from opened import Opened, close

from chainrule.command.cli import main
from chainrule.command.jobs import explanation
from chainrule.explain import explain
from chainrule.explain.findings import story
from chainrule.explain.raw import image_shape, raw_values
from chainrule.network import load_model
from chainrule.tables import Schema
from chainrule.tables.schema import Column

DIGITS = Path(__file__).parents[2] / "examples" / "digits.csv"
# ideal strokes on an 8 × 8 image, in pixels: column, row
STROKES = {
    "0": [(3.9, 1), (2.2, 2.4), (2, 4.4), (2.6, 6.3), (3.9, 7), (5.4, 6.2), (5.8, 4.2), (5.4, 2), (3.9, 1)],
    "1": [(4.3, 0.6), (4.3, 7.4)],
    "7": [(1.6, 1), (5.8, 1), (4, 4.2), (3.3, 7.4)],
    "4": [(3.6, 0.7), (1.6, 4.6), (6, 4.6), (4.6, 3), (4.6, 7.4)],
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    model = folder / "digits.safetensors"
    assert main(["train", str(DIGITS), "--target", "label", "--test", "0.2", "--seed", "0", "-o", str(model)]) == 0
    page = folder / "page.html"
    assert main(["explain", str(model), str(DIGITS), "--row", "worst", "-o", str(page)]) == 0
    return model, page


def passengers(n=300):
    """A table with every kind of column: numbers, a date, yes and no, categories, and what is missing."""
    random = np.random.default_rng(0)
    age = [None if random.random() < 0.2 else round(float(a), 1) for a in random.uniform(1, 80, n)]
    fare = np.round(random.lognormal(3, 1, n), 2)
    sex = random.choice(["female", "male"], n)
    port = random.choice(["Cherbourg", "Queenstown", "Southampton"], n)
    return {
        "age": age, "fare": fare.tolist(), "sex": sex.tolist(), "port": port.tolist(),
        "boarded": [f"1912-04-{d:02d}" for d in random.integers(1, 28, n)],
        "crew": random.choice(["true", "false"], n).tolist(),
        "fate": ["survived" if s == "female" or f > 60 else "died" for s, f in zip(sex, fare, strict=True)],
    }  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    path, model = folder / "t.csv", folder / "m.safetensors"
    pl.DataFrame(passengers()).write_csv(path)
    assert main(["train", str(path), "--target", "fate", "--hidden", "8", "--epochs", "4", "-o", str(model)]) == 0
    return model, path, folder


def schema_of(model):
    loaded = load_model(model)
    return loaded.network, Schema.from_dict(loaded.schema)


def test_the_demos_page_opens_on_layer_1_of_the_row_with_the_largest_loss(browser, digits):
    model, path = digits
    net, schema = schema_of(model)
    frame = pl.read_csv(DIGITS)
    x, labels = schema.features(frame), schema.labels(frame)
    p = net.predict_proba(x)[np.arange(len(x)), labels]
    row = int(p.argmin())
    e = explanation(model, DIGITS, row)
    with Opened(browser, path) as page:
        assert f"row {row}" in page.tab.locator(".crumbs").inner_text()
        assert page.tab.locator("h1").inner_text().startswith("Why W₁")
        assert close(page.value("#gradient"), e.gradient(*e.opening_weight()))
        assert "little left to learn" not in page.tab.locator("#app").inner_text()
        raw = np.array(page.tab.locator("#input-image").get_attribute("data-raw").split(), dtype=float)
        assert raw.tolist() == [float(v) for v in frame.drop("label").row(row)]


def test_what_is_drawn_is_raw_and_ideal_strokes_are_read_right(browser, digits):
    model, path = digits
    net, schema = schema_of(model)
    names = [c.name for c in schema.columns]
    place = explanation(model, DIGITS, None).opening_weight()
    with Opened(browser, path) as page:
        image, read = page.tab.locator("#input-image"), {}
        for digit, points in STROKES.items():
            page.tab.click("#clear")
            box = image.bounding_box()
            at = [(box["x"] + x * box["width"] / 8, box["y"] + y * box["height"] / 8) for x, y in points]
            page.tab.mouse.move(*at[0])
            page.tab.mouse.down()
            for spot in at[1:]:
                page.tab.mouse.move(*spot, steps=8)
            page.tab.mouse.up()
            raw = np.array(image.get_attribute("data-raw").split(), dtype=float)
            assert raw.min() == 0
            assert raw.max() == 16
            x = schema.features(pl.DataFrame({name: [v] for name, v in zip(names, raw, strict=True)}))
            label = int(page.tab.locator("#label").input_value())
            e = explain(net, x[0], label, schema=schema)
            assert close(page.value("#loss"), e.loss)
            read[digit] = str(schema.classes[int(e.forward.probabilities[0].argmax())])
            assert page.tab.locator("#story").inner_text() == story(e, *place)
        assert sum(digit == found for digit, found in read.items()) >= 3, read


def test_every_kind_of_column_is_changed_in_its_own_units(browser, table):
    model, path, folder = table
    net, schema = schema_of(model)
    row = passengers()
    row = {name: values[4] for name, values in row.items()}
    e = explanation(model, path, 4)
    place = e.opening_weight()
    fate = row.pop("fate")
    names = schema.feature_names
    with Opened(browser, e.to_html(folder / "page.html")) as page:

        def shows(**changed):
            row.update(changed)
            x = schema.features(pl.DataFrame({name: [value] for name, value in row.items()}, strict=False))
            want = explain(net, x[0], fate, schema=schema)
            assert close(page.value("#loss"), want.loss)
            assert close(page.value("#gradient"), want.gradient(*place))
            assert page.tab.locator("#story").inner_text() == story(want, *place)

        def field(name):
            return f'[data-input="{names.index(name)}"]'

        assert page.tab.locator(field("fare")).input_value() == f"{row['fare']:g}"
        assert page.tab.locator(field("boarded")).input_value() == row["boarded"]
        for name in ("sex", "port"):
            assert page.tab.get_by_role("radio", name=f"{name}: {row[name]}").is_checked()
        shows()
        for name, value in (("fare", 151.55), ("age", 25.0), ("boarded", "1912-04-20")):
            page.tab.fill(field(name), str(value))
            page.tab.keyboard.press("Enter")
            shows(**{name: value})
        for name, value in (("sex", "male"), ("port", "Cherbourg"), ("sex", "female")):
            page.tab.get_by_role("radio", name=f"{name}: {value}").check()
            shows(**{name: value})
        crew = page.tab.get_by_role("checkbox", name="crew")
        (crew.uncheck if crew.is_checked() else crew.check)()
        shows(crew="false" if row["crew"] == "true" else "true")
        page.tab.get_by_role("checkbox", name="age not known").check()
        shows(age=None)
        slider = page.tab.locator(f".feature:has({field('fare')}) input[type=range]")
        fares = next(column for column in schema.columns if column.name == "fare")
        assert (float(slider.get_attribute("min")), float(slider.get_attribute("max"))) == (fares.low, fares.high)
        slider.evaluate("e => { e.value = '20'; e.dispatchEvent(new Event('input', {bubbles: true})); }")
        shows(fare=float(page.tab.locator(field("fare")).input_value()))
        # the table is the map's row header: each feature beside its row
        box = page.tab.locator(".cells .whole").bounding_box()
        each = box["height"] / len(names)
        for i, feature in enumerate(page.tab.locator(".features.beside .feature").all()):
            beside = feature.bounding_box()
            assert beside["y"] + beside["height"] / 2 == pytest.approx(box["y"] + each * (i + 0.5), abs=3)


def test_raw_values_are_those_of_the_table(table):
    model, path, _ = table
    _, schema = schema_of(model)
    frame = pl.read_csv(path)
    for row, x in enumerate(schema.features(frame)[:40]):
        raw = dict(zip(schema.feature_names, raw_values(schema, x), strict=True))
        assert raw["fare"] == frame["fare"][row]
        if frame["age"][row] is not None:
            assert raw["age"] == frame["age"][row]
        assert np.datetime64("1970-01-01") + np.timedelta64(int(raw["boarded"]), "D") == np.datetime64(
            frame["boarded"][row]
        )


def test_a_schema_of_other_features_is_refused(table):
    model, _, _ = table
    net, schema = schema_of(model)
    with pytest.raises(ValueError, match=r"schema: got one of \d+ features, expected 3, as in x"):
        explain(type(net).create([3, 2], seed=0), [1.0, 2.0, 3.0], 0, schema=schema)


def test_64_columns_are_an_image_only_where_all_are_numbers():
    numbers = [Column(f"c{i}", "number") for i in range(64)]
    for columns, shape in (
        (numbers, (8, 8)),
        ([*numbers[:63], Column("sex", "category", categories=["female"])], None),
        ([*numbers[:62], Column("age", "number", missing=True)], None),
    ):
        schema = Schema("fate", ["died", "survived"], columns)
        assert len(schema.feature_names) == 64
        assert image_shape(64, schema, None) == shape
        assert image_shape(64, schema, (4, 16)) == (4, 16)
    assert image_shape(64, None, None) == (8, 8)
    assert image_shape(65, None, None) is None
