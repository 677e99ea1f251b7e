"""What training takes a column for, what it says of it, and what it refuses; each expectation is read off the table."""

import datetime

import numpy as np
import pytest

from chainrule.errors import TableError
from chainrule.tables import Choices, Form, learn_schema, learn_target

pl = pytest.importorskip("polars", reason="polars is not installed")

N = 60
RANDOM = np.random.default_rng(0)
SIZES = RANDOM.normal(0, 1e3, N).round(2)
BIG = [int(v) for v in RANDOM.integers(-2_000_000, 2_000_000, N)]
DATES = [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(d)) for d in RANDOM.integers(0, 365, N)]
Y = ["a", "b", "c"] * (N // 3)


def learn(values, choices=None, rows=None, **more):
    said = []
    frame = pl.DataFrame({"x": values, **more, "y": Y})
    return learn_schema(frame, "y", choices, rows=rows, say=said.append), said, frame


def standardised(values):
    known = np.array([v for v in values if v is not None], dtype=float)
    return np.array([0.0 if v is None else (v - known.mean()) / known.std() for v in values])


@pytest.mark.parametrize(
    ("written", "numbers", "form", "said"),
    [
        ([f"{v:,.2f}" for v in SIZES], SIZES, Form(thousands=","), "',' between thousands"),
        ([f"{v:.2f}".replace(".", ",") for v in SIZES], SIZES, Form(decimal=","), "a decimal comma"),
        (
            [f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in SIZES],
            SIZES,
            Form(decimal=",", thousands="."),
            "a decimal comma, '.' between thousands",
        ),
        ([f"{v:,}" for v in BIG], BIG, Form(thousands=","), "',' between thousands"),
        ([f"{v:,}".replace(",", " ") for v in BIG], BIG, Form(thousands=" "), "' ' between thousands"),
        ([f"{v}%" for v in SIZES], SIZES, Form(unit="%"), "unit %"),
        ([f"${v:.2f}" for v in SIZES], SIZES, Form(unit="$"), "unit $"),
        ([f"{v:,.2f} €" for v in SIZES], SIZES, Form(thousands=",", unit="€"), "unit €, ',' between thousands"),
        (
            [f"(${-v:,.2f})" if v < 0 else f"${v:,.2f}" for v in SIZES],
            SIZES,
            Form(thousands=",", unit="$"),
            "unit $, ',' between thousands, parentheses for a minus",
        ),
        ([f"{d.day}.{d.month}.{d.year}" for d in DATES], DATES, Form(date="%d.%m.%Y"), "dates as day.month.year"),
        ([f"{d:%m/%d/%Y}" for d in DATES], DATES, Form(date="%m/%d/%Y"), "dates as month/day/year"),
        ([f"{d:%d/%m/%Y 10:30}" for d in DATES], DATES, Form(date="%d/%m/%Y"), "dates as day/month/year"),
        ([f"{d:%d-%b-%Y}" for d in DATES], DATES, Form(date="%d-%b-%Y"), "dates as day-month-year"),
    ],
)
def test_usual_forms_are_read_and_said(written, numbers, form, said):
    if isinstance(numbers[0], datetime.date):
        numbers = [d.toordinal() for d in numbers]
    schema, lines, frame = learn(written)
    assert schema.columns[0].form == form
    assert said in lines[0]
    assert repr(written[0]) in lines[0]
    assert len(lines) == 1
    np.testing.assert_allclose(schema.features(frame)[:, 0], standardised(numbers), rtol=1e-5, atol=1e-5)
    # one word and one word for a missing value change nothing but for their own cells
    some = [*written[:7], "oops", *written[8:20], "NA", *written[21:]]
    schema, lines, frame = learn(some, rows=np.arange(N) + 100)
    assert schema.columns[0].form == form
    assert f"1 of {N} cells is no" in lines[1]
    assert "first 'oops' in row 107" in lines[1]
    expected = standardised([None if i in (7, 20) else v for i, v in enumerate(numbers)])
    np.testing.assert_allclose(schema.features(frame)[:, 0], expected, rtol=1e-5, atol=1e-5)
    assert schema.features(frame)[:, 1].tolist() == [float(i in (7, 20)) for i in range(N)]


@pytest.mark.parametrize(
    ("negative", "said"),
    [
        ("({})", "numbers with parentheses for a minus"),
        ("−{}", "numbers with − for a minus"),
    ],
)
def test_signs_of_another_form_are_said(negative, said):
    written = [str(v) if v > 0 else negative.format(-v) for v in SIZES]
    first = next(i for i, v in enumerate(SIZES) if v < 0)
    schema, lines, frame = learn(["oops", *written[1:]])
    assert lines[0] == f"column 'x': {said}: {written[first]!r} is {SIZES[first]:.10g}"
    assert [line for line in lines if "'oops'" in line] == lines[1:]
    expected = standardised([None, *SIZES[1:]])
    np.testing.assert_allclose(schema.features(frame)[:, 0], expected, rtol=1e-5, atol=1e-5)
    commas = [f"{v:.2f}".replace(".", ",") if v > 0 else negative.format(f"{-v:.2f}".replace(".", ",")) for v in SIZES]
    lines = learn(commas)[1]
    assert [line.split(": ")[1] for line in lines] == [said.replace("with ", "with a decimal comma, ")]
    assert learn([str(v) for v in SIZES])[1] == []
    assert learn([d.isoformat() for d in DATES])[1] == []


def test_a_comma_that_could_be_either_is_asked_about():
    written = [f"{1 + i % 9},{(i * 37) % 900 + 100}" for i in range(N)]
    with pytest.raises(TableError, match=r"'x': '1,100' could be 1100 or 1.1; say --decimal . or --decimal ,"):
        learn(written)
    for decimal, scale in ((".", 1000), (",", 1)):
        schema, _, frame = learn(written, Choices(decimal=decimal))
        numbers = [scale * float(w.replace(",", ".")) for w in written]
        np.testing.assert_allclose(schema.features(frame)[:, 0], standardised(numbers), rtol=1e-5, atol=1e-5)
        assert schema.columns[0].high == pytest.approx(max(numbers))
    # a plain 1.234 is what it looks like, but not beside a column with decimal commas
    points = [w.replace(",", ".") for w in written]
    assert learn(points)[0].columns[0].form == Form()
    commas = [f"{v:.2f}".replace(".", ",") for v in SIZES]
    with pytest.raises(TableError, match=r"column 'x': '1.100' could be a thousand .* column 'z' has decimal commas"):
        learn(points, z=commas)
    assert learn(points, Choices(decimal=","), z=commas)[0].columns[0].high > 1000


def test_a_date_that_could_be_either_is_asked_about():
    written = [f"{1 + i % 12:02}/{1 + i % 11:02}/2024" for i in range(N)]
    with pytest.raises(TableError, match="--dates day-first or --dates month-first"):
        learn(written)
    for order, form in (("day-first", "%d/%m/%Y"), ("month-first", "%m/%d/%Y")):
        schema, _, frame = learn(written, Choices(dates=order))
        days = [datetime.datetime.strptime(w, form).toordinal() for w in written]
        np.testing.assert_allclose(schema.features(frame)[:, 0], standardised(days), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("word", ["NA", "?", "", "null", "None", "N/A", "nan", "-"])
def test_words_for_a_missing_value_in_every_kind_of_column(word):
    columns = {
        "number": [str(v) for v in SIZES],
        "truth": ["True", "False"] * (N // 2),
        "date": [str(d) for d in DATES],
        "kind": ["p", "q", "r", "s"] * (N // 4),
    }
    frame = pl.DataFrame({name: [word, *values[1:]] for name, values in columns.items()} | {"y": [*Y[:-1], word]})
    schema = learn_schema(frame, "y")
    assert [c.kind for c in schema.columns] == ["number", "boolean", "date", "category"]
    assert all(c.missing for c in schema.columns)
    x = dict(zip(schema.feature_names, schema.features(frame).T, strict=True))
    for name in columns:
        assert x[f"{name} is missing"].tolist() == [1.0] + [0.0] * (N - 1)
    assert schema.labels(frame).tolist() == [0, 1, 2] * (N // 3 - 1) + [0, 1, -1]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (list(range(N)), "numbers the rows"),
        ([str(i) for i in range(1, N + 1)], "numbers the rows"),
        ([7 * i % 1009 for i in range(N)], "whole numbers that are all different"),
        ([str(10**16 + i) for i in range(N)], "whole numbers that are all different"),
        ([f"id_{i * 7919 % 1000:03}" for i in range(N)], "texts that are all different"),
        ([f"{i:04}" for i in range(N)], "texts that are all different"),
    ],
)
def test_columns_that_name_the_rows_are_left_out(values, reason):
    schema, said, _ = learn(values, size=SIZES)
    assert [c.name for c in schema.columns] == ["size"]
    assert any("column 'x'" in line and reason in line and "left out (--keep 'x'" in line for line in said)
    kept = learn(values, Choices(keep=["x"]), size=SIZES)[0]
    assert [c.name for c in kept.columns] == ["x", "size"]
    assert [c.name for c in learn(values, Choices(ignore=["size"], keep=["x"]), size=SIZES)[0].columns] == ["x"]


def test_an_index_of_pandas_is_left_out():
    for name in ("", "Unnamed: 0", "__index_level_0__"):
        for index in ([5, 5, 7, 9], [5.0, None, 7.0, 9.0], ["5.0", "", "7.0", "9.0"]):
            frame = pl.DataFrame({name: index, "size": [1.5, 2.5, 1.0, 0.0], "y": ["a", "b", "a", "b"]})
            assert learn_schema(frame, "y").feature_names == ["size"]
    for index in ([float(v) for v in range(N)], [f"{v}.0" for v in range(N)], ["", *(f"{v}.0" for v in range(1, N))]):
        schema, said, _ = learn(index, size=SIZES)
        assert [c.name for c in schema.columns] == ["size"]
        assert any("column 'x': numbers the rows: left out" in line for line in said)


def test_one_stray_word_among_few_values():
    """A date stays one; numbers and a word may be categories, which is said."""
    days = [f"2024-01-{1 + v % 9:02}" for v in range(N - 1)]
    schema, said, _ = learn(["soon", *days])
    assert schema.columns[0].kind == "date"
    assert any("1 of 60 cells is no date, first 'soon' in row 0" in line for line in said)
    schema, said, _ = learn(["x", *(str(v % 9) for v in range(N - 1))])
    assert schema.columns[0].kind == "category"
    assert any("'x': taken as categories (--type x=number)" in line for line in said)


def test_quantities_stay():
    """All different, but no names of rows: with a sign, a point, a unit; or few."""
    mixed = [7 * v % N for v in range(N)]
    for values in (BIG, [f"{v}.0" for v in mixed], [float(v) for v in mixed], [f"${v}" for v in range(N)]):
        assert [c.name for c in learn(values, size=SIZES)[0].columns] == ["x", "size"]


def test_what_is_alone_is_used_and_said():
    schema, said, _ = learn([str(i) for i in range(N)])
    assert schema.feature_names == ["x"]
    assert said == ["column 'x': numbers the rows: used, since no other column is left"]
    schema, said, _ = learn([str(i) for i in range(N)], z=[f"id_{i}" for i in range(N)], same=["k"] * N)
    assert schema.feature_names == ["x"]
    assert said == [
        "column 'x': numbers the rows: used, since no other column is left",
        "column 'z': holds texts that are all different: left out (--keep 'z' uses it)",
        "column 'same': is constant: left out (--keep 'same' uses it)",
    ]
    assert learn([str(i) for i in range(N)], Choices(keep=["x"]))[1] == []
    with pytest.raises(TableError, match="no columns besides the target 'y' that are of use: column 'x' holds texts"):
        learn([f"id_{i}" for i in range(N)])
    with pytest.raises(TableError, match="no column 'z' to keep or ignore; it has x"):
        learn(SIZES, Choices(keep=["z"]))


@pytest.mark.parametrize(
    "values",
    [
        [f"{v} {'kg' if i % 2 else 'lbs'}" for i, v in enumerate(SIZES)],
        [f"{v}{'$' if i % 2 else '€'}" for i, v in enumerate(SIZES)],
        [str(v) if i % 4 else f"about {i}" for i, v in enumerate(SIZES)],
    ],
)
def test_numbers_that_cannot_be_read_are_refused(values):
    with pytest.raises(TableError, match=r"column 'x': text with \d+ categories in 60 rows .* --ignore 'x'"):
        learn(values, size=SIZES)


def test_texts_with_about_one_a_row_are_left_out():
    for values in (
        [f"comment {i * 7 % 50}" for i in range(N)],
        [f"{1 + i * 7 % 50} Elm St., flat 3" for i in range(N)],
    ):
        schema, said, _ = learn(values, size=SIZES)
        assert schema.feature_names == ["size"]
        assert said == ["column 'x': holds texts of which most stand in a single row: left out (--keep 'x' uses it)"]
        assert len(learn(values, Choices(keep=["x"]), size=SIZES)[0].feature_names) == 51


def test_letters_behind_all_numbers_are_a_unit():
    schema, said, frame = learn([f"{v} kg" for v in SIZES])
    x = schema.features(frame)
    assert said == [f"column 'x': numbers with unit kg: '{SIZES[0]} kg' is {SIZES[0]:.10g}"]
    np.testing.assert_allclose(x[:, 0], (np.array(SIZES) - np.mean(SIZES)) / np.std(SIZES), rtol=1e-5)
    assert schema.columns[0].form.unit == "kg"
    assert learn([f"{i % 9}th" for i in range(N)])[0].columns[0].kind == "category"  # few are ranks


def test_durations_are_read_and_said():
    two = [f"{20 + i}:{i * 7 % 60:02}" for i in range(N)]
    schema, said, frame = learn(two)
    x = schema.features(frame)
    assert said == ["column 'x': durations as hours: '20:00' is 20"]
    hours = np.array([20 + i + i * 7 % 60 / 60 for i in range(N)])
    np.testing.assert_allclose(x[:, 0], (hours - hours.mean()) / hours.std(), rtol=1e-5)
    three = [f"{50 + i}:{i:02}" if i < 10 else f"1:{i - 10:02}:{i:02}" for i in range(N)]  # of a race
    schema, said, frame = learn(three)
    x = schema.features(frame)
    assert said == ["column 'x': durations as hours: '50:00' is 0.8333"]
    assert (np.diff(x[:, 0]) > 0).all()
    assert schema.columns[0].kind == "duration"
    assert learn(["8:30", "9:15"] * (N // 2), Choices(types={"x": "duration"}))[0].columns[0].high == 9.25
    with pytest.raises(TableError, match="--type says duration, which its values cannot be read as"):
        learn(["p", "q"] * (N // 2), Choices(types={"x": "duration"}))


@pytest.mark.parametrize("word", [-999, 9999])
def test_what_may_stand_for_a_missing_value_is_said(word):
    values = [word if i % 6 == 0 else 20 + i % 31 for i in range(N)]
    schema, said, _ = learn(values)
    assert said == [
        f"column 'x': {word} in 10 of 60 rows is far from the others; if it stands for a missing value, say "
        f"--missing={word}"
    ]
    assert schema.columns[0].note == f"{word} in 10 rows: missing?"
    assert learn(values, Choices(missing=[str(word)]))[1] == []
    assert learn([99 if i % 6 == 0 else i % 90 for i in range(N)])[1] == []  # one of many
    assert learn([v + 0.5 for v in [*range(59), 999]])[1] == []  # and a single one may be anything


def test_a_share_that_is_nearly_all_is_not_all():
    n = 60_000
    told = np.arange(n) // 7 % 2
    told[0] = 1
    frame = pl.DataFrame({"x": told, "z": RANDOM.normal(size=n), "y": ["ab"[i // 7 % 2] for i in range(n)]})
    said = []
    schema = learn_schema(frame, "y", say=said.append)
    assert "tells the class alone in 99.99 % of the rows" in said[0]  # of every sixth row, 9,999 of 10,000
    assert schema.columns[0].note == "tells the class alone in 99.99 %"


def test_what_keeps_numbers_from_being_numbers_is_named():
    values = [str(v) if i % 4 else f"about {i}" for i, v in enumerate(SIZES)]
    with pytest.raises(TableError, match="45 of them numbers and 15 not, first 'about 0' in row 0"):
        learn(values)


def test_a_column_that_tells_the_class_is_said():
    words = {"a": "alive", "b": "dead", "c": "unknown"}
    told = [words[y] for y in Y]
    above = [{"a": 0.0, "b": 5.0, "c": 9.0}[y] + RANDOM.random() for y in Y]
    for values in (told, above):
        schema, said, _ = learn(values, size=SIZES)
        assert said == [
            "column 'x': tells the class alone in 100 % of the rows; if it is known only afterwards, leave it out: "
            "--ignore 'x'"
        ]
        assert "x" in [c.name for c in schema.columns]
        for more in ({}, {"same": [1.5] * N}):  # where it is alone, there is nothing to leave it out for
            schema, said, _ = learn(values, **more)
            assert said[len(more) :] == [
                "column 'x': tells the class alone in 100 % of the rows, and no other column is used: make sure that "
                "it is known before the class is"
            ]
    assert learn(RANDOM.permutation(told), size=SIZES)[1] == []  # and one that does not is not
    assert learn(RANDOM.permutation(above), size=SIZES)[1] == []
    rare = pl.DataFrame({"x": RANDOM.normal(size=200), "k": ["p", "q"] * 100, "y": ["a"] * 199 + ["b"]})
    said = []
    learn_schema(rare, "y", say=said.append)
    assert said == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([round(1.37 * i, 3) for i in range(400)], "holds 400 different numbers in 400 rows, from 0 to 546.63"),
        ([str(1.5 * (i % 150)) for i in range(400)], "holds 150 different numbers"),
        ([i % 250 for i in range(1000)], "holds 250 different numbers in 1000 rows"),
        ([i % 25 / 2 for i in range(100)], "holds 25 different numbers"),
        ([f"name {i % 90}" for i in range(100)], "has 90 classes in 100 rows"),
    ],
)
def test_a_quantity_is_no_target(values, message):
    frame = pl.DataFrame({"y": values})
    with pytest.raises(TableError, match=message) as caught:
        learn_target(frame, "y")
    assert "--as-classes" in str(caught.value)
    assert len(learn_target(frame, "y", Choices(as_classes=True)).classes) == len(set(values))


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (["1", "2", "1", "NA"], [1, 2], [0, 1, 0, -1]),
        ([1.0, 2.0, 1.0, float("nan")], [1, 2], [0, 1, 0, -1]),
        (["01", "02", "01", None], ["01", "02"], [0, 1, 0, -1]),
        (["True", "false", "TRUE", "?"], [False, True], [1, 0, 1, -1]),
        (["1.5", "x", "1.50", "x"], ["1.5", "1.50", "x"], [0, 2, 1, 2]),
        ([10**17, 10**17 + 1, None, 10**17], ["100000000000000000", "100000000000000001"], [0, 1, -1, 0]),
        (["2024-01-02", "2024-01-01T00:00:00", "2024-01-01", ""], ["2024-01-01", "2024-01-02"], [1, 0, 0, -1]),
        (["+", "-", " - ", "?"], ["+", "-"], [0, 1, 1, -1]),
    ],
)
def test_classes_of_every_kind(values, classes, labels):
    frame = pl.DataFrame({"y": values}, strict=False)
    target = learn_target(frame, "y")
    assert target.classes == classes
    assert target.labels(frame).tolist() == labels
    with pytest.raises(TableError, match="column 'y', row 7: 'other' is none of the classes"):
        target.labels(pl.DataFrame({"y": ["other"]}), rows=np.array([7]))


def test_every_word_is_a_class_where_one_says_so():
    frame = pl.DataFrame({"x": [1.5, 2.5, 3.5, 4.5], "y": ["None", "Some", " none", ""]})
    target = learn_target(frame, "y", Choices(types={"y": "text"}))
    assert target.classes == ["None", "Some", "none"]
    assert target.labels(frame).tolist() == [0, 1, 2, -1]
    with pytest.raises(TableError, match="one class only"):
        learn_target(frame, "y")
    with pytest.raises(TableError, match="column 'y', row 0: 'NA' is none of the classes"):
        target.labels(pl.DataFrame({"y": ["NA"]}))
