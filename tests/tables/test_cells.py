"""What a cell means does not depend on the cells beside it, or on the kind of file that it came in."""

import datetime
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.tables import Choices, Column, Form, Schema, cells, learn_schema, read_table

pl = pytest.importorskip("polars", reason="polars is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

WORDS = [
    "a",
    "b",
    "01",
    "1",
    "1.0",
    "x y",
    "NA",
    "?",
    "none",
    "True",
    "false",
    "1,5",
    "12 %",
    "2024-01-02",
    "é\n'\"",
    " a ",
]
DAYS = st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1))
MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
# a mere integer of 17 digits is another number as a float of pandas, which has no integers beside missing ones
COLUMNS = {
    "integer": st.integers(-(2**53), 2**53),
    "few": st.integers(0, 3),
    "float": st.floats(-1e30, 1e30),
    "single": st.floats(-(2.0**99), 2.0**99, width=32),
    "truth": st.booleans(),
    "day": DAYS,
    "moment": MOMENTS,
    "word": st.sampled_from(WORDS),
    "digits": st.sampled_from(["01", "02", "10", "007"]),
    "number as text": st.floats(-1e6, 1e6).map(lambda v: f"{v:.3f}"),
    "day as text": DAYS.map(lambda d: f"{d.month}/{d.day}/{d.year}"),
    "money": st.integers(-(10**7), 10**7).map(lambda v: f"${v / 100:,.2f}"),
    "clock": st.times(),
    "clock as text": st.times().map(lambda t: f"{t.hour}:{t.minute:02}"),
    "truth as text": st.sampled_from(["True", "False", "true"]),
}
TYPES = {"clock": pl.Time, "single": pl.Float32, "moment": pl.Datetime("us"), "day": pl.Date}


@st.composite
def tables(draw):
    n = draw(st.integers(12, 30))
    frame = {}
    for name in draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=5, unique=True)):
        values = draw(st.lists(st.one_of(COLUMNS[name], st.none()), min_size=n, max_size=n))
        frame[name] = pl.Series(name, values, dtype=TYPES.get(name))
    return pl.DataFrame(frame | {"y": ["no", "yes"] * (n // 2) + ["no"] * (n % 2)})


def ways(frame, folder):
    """The same rows in every kind of file and frame."""
    pandas = frame.to_pandas()
    frame.write_csv(folder / "t.csv")
    pandas.to_csv(folder / "p.csv", index=False)
    frame.write_parquet(folder / "t.parquet")
    frame.write_ipc(folder / "t.arrow")
    pandas.to_parquet(folder / "p.parquet")
    for name in ("t.csv", "p.csv", "t.parquet", "t.arrow", "p.parquet"):
        yield name, read_table(folder / name)
    yield "polars", frame
    yield "pandas", pandas
    if "single" not in frame.columns:  # as objects its numbers are float64, with digits that nobody wrote
        yield "pandas' objects", pandas.astype(object)
    yield "Arrow", frame.to_arrow()


@settings(max_examples=8)
@given(frame=tables(), random=st.randoms(use_true_random=False))
def test_a_row_means_the_same_everywhere(tmp_path_factory, frame, random):
    """Alone, beside any rows, in any order, from every kind of file; whatever kind the model was trained on."""
    folder = tmp_path_factory.mktemp("t")
    keep = [name for name in frame.columns if name != "y"]
    sources = dict(ways(frame, folder))
    n = frame.height
    for trained_on in ("t.csv", "t.parquet", "pandas"):
        try:
            schema = learn_schema(sources[trained_on], "y", Choices(keep=keep, dates="month-first", decimal="."))
        except ValueError:
            continue  # no column holds a value
        expected = schema.features(frame)
        for name, source in sources.items():
            assert schema.features(source).tobytes() == expected.tobytes(), name
            assert schema.labels(source).tolist() == [i % 2 for i in range(n - n % 2)] + [0] * (n % 2)
        text = sources["t.csv"]
        order = random.sample(range(n), n)
        assert schema.features(text[order]).tobytes() == expected[order].tobytes()
        for row in random.sample(range(n), 3):
            for source in (text, frame):
                assert schema.features(source[[row]]).tobytes() == expected[row].tobytes()


def test_another_row_changes_nothing(tmp_path):
    """Each of these would change what its column is taken for, if that were decided anew."""
    train = "zip,c,d,t,y\n" + "".join(
        f"{['01234', '90210', 'A1B2C'][i % 3]},{['1', '2', 'x'][i % 3]},{1 + i % 12}/{10 + i % 19}/2024,"
        f"{['true', 'false'][i % 2]},{'no' if i % 2 else 'yes'}\n"
        for i in range(60)
    )
    (tmp_path / "train.csv").write_text(train)
    schema = learn_schema(read_table(tmp_path / "train.csv"), "y", say=print)
    assert [c.kind for c in schema.columns] == ["category", "category", "date", "boolean"]
    row = "01234,1,4/10/2024,true\n"
    alone = _csv("zip,c,d,t\n" + row)
    for other in ("A1B2C,x,3/28/2024,false", "1,NA,NA,NA", "1.5,1.0,2024-02-02,1", ",,,", "$3,#,??,maybe"):
        beside = _csv("zip,c,d,t\n" + row + other + "\n")
        assert schema.features(beside)[0].tobytes() == schema.features(alone)[0].tobytes()
    named = dict(zip(schema.feature_names, schema.features(alone)[0], strict=True))
    assert (named["zip=01234"], named["zip=90210"], named["c=1"], named["c=x"]) == (1, 0, 1, 0)


def _csv(text):
    return pl.read_csv(io.StringIO(text), infer_schema=False)


@pytest.mark.parametrize(
    ("written", "form", "number"),
    [
        ("1234.5", Form(), 1234.5),
        (" +1e3 ", Form(), 1000.0),
        (".5", Form(), 0.5),
        ("−2", Form(), -2.0),
        ("1,234", Form(), None),
        ("12.5%", Form(), None),
        ("1_000", Form(), None),
        ("0x10", Form(), None),
        ("٣", Form(), None),
        ("true", Form(), 1.0),
        ("?", Form(), None),
        ("1,234.5", Form(thousands=","), 1234.5),
        ("1,234,567", Form(thousands=","), 1234567.0),
        ("12,34", Form(thousands=","), None),
        ("0,123", Form(thousands=","), None),
        ("1234567", Form(thousands=","), 1234567.0),
        ("1,5", Form(decimal=","), 1.5),
        ("1.5", Form(decimal=","), None),
        ("-1.234,5", Form(decimal=",", thousands="."), -1234.5),
        ("1.234", Form(decimal=",", thousands="."), 1234.0),
        ("1\u202f234,5", Form(decimal=",", thousands=" "), 1234.5),
        ("1'234.5", Form(thousands="'"), 1234.5),
        ("12.5%", Form(unit="%"), 12.5),
        ("12.5 %", Form(unit="%"), 12.5),
        ("12.5", Form(unit="%"), None),
        ("$12.50", Form(unit="$"), 12.5),
        ("-$12.50", Form(unit="$"), -12.5),
        ("$-12.50", Form(unit="$"), -12.5),
        ("($1,234.50)", Form(thousands=",", unit="$"), -1234.5),
        ("12,50 €", Form(decimal=",", unit="€"), 12.5),
        ("USD 12", Form(unit="USD"), 12.0),
        ("€12", Form(unit="$"), None),
        ("12.50", Form(unit="$"), 12.5),
    ],
)
def test_forms_of_numbers(written, form, number):
    assert cells.numbers(pl.Series(["x", written]), form).to_list() == [None, number]


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("written", "date", "moment"),
    [
        ("2024-03-04", "", datetime.datetime(2024, 3, 4, tzinfo=UTC)),
        ("2024-03-04T05:06", "", datetime.datetime(2024, 3, 4, 5, 6, tzinfo=UTC)),
        ("2024-03-04 05:06:07.125", "", datetime.datetime(2024, 3, 4, 5, 6, 7, 125_000, tzinfo=UTC)),
        ("2024-03-04T05:06:07Z", "", datetime.datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)),
        ("2024-03-04 05:06:07+05:30", "", datetime.datetime(2024, 3, 3, 23, 36, 7, tzinfo=UTC)),
        ("2024-03-04 05:06:07-0130", "", datetime.datetime(2024, 3, 4, 6, 36, 7, tzinfo=UTC)),
        ("2024-02-30", "", None),
        ("2024-02-03 25:00", "", None),
        ("24-02-03", "", None),
        ("4/3/2024", "%d/%m/%Y", datetime.datetime(2024, 3, 4, tzinfo=UTC)),
        ("4/3/2024", "%m/%d/%Y", datetime.datetime(2024, 4, 3, tzinfo=UTC)),
        ("13/3/2024", "%m/%d/%Y", None),
        ("3/13/2024 1:30 PM", "%m/%d/%Y", datetime.datetime(2024, 3, 13, 13, 30, tzinfo=UTC)),
        ("3/13/2024 12:30 am", "%m/%d/%Y", datetime.datetime(2024, 3, 13, 0, 30, tzinfo=UTC)),
        ("2024-03-04", "%m/%d/%Y", datetime.datetime(2024, 3, 4, tzinfo=UTC)),
        ("4.3.2024", "%d.%m.%Y", datetime.datetime(2024, 3, 4, tzinfo=UTC)),
        ("5-Mar-2024", "%d-%b-%Y", datetime.datetime(2024, 3, 5, tzinfo=UTC)),
        ("March 5, 2024", "%B %d, %Y", datetime.datetime(2024, 3, 5, tzinfo=UTC)),
        ("Mar 5 2024", "%b %d %Y", datetime.datetime(2024, 3, 5, tzinfo=UTC)),
        ("2024-03", "%Y-%m", datetime.datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024-13", "%Y-%m", None),
        ("Mar 2024", "%b %Y", datetime.datetime(2024, 3, 1, tzinfo=UTC)),
        ("3/2024", "%m/%Y", datetime.datetime(2024, 3, 1, tzinfo=UTC)),
    ],
)
def test_forms_of_dates(written, date, moment):
    found = cells.days(pl.Series(["x", written]), Form(date=date)).to_list()
    assert found == [None, None if moment is None else pytest.approx(moment.timestamp() / 86_400, abs=1e-9)]


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("8:30", 8.5),
        ("08:30:36", 8.51),
        ("23:59:59.9", 23 + 59 / 60 + 59.9 / 3600),
        ("12:15 am", 0.25),
        ("12:15 PM", 12.25),
        ("1:15 p.m.", 13.25),
        ("0:00", 0.0),
        ("24:00", None),
        ("8:60", None),
        ("13:00 PM", None),
        ("36:15", None),
        ("8", None),
    ],
)
def test_forms_of_times_of_day(written, hours):
    found = cells.hours(pl.Series(["x", written])).to_list()
    assert found == [None, None if hours is None else pytest.approx(hours, abs=1e-9)]


@pytest.mark.parametrize(
    ("written", "minutes", "hours"),
    [
        ("36:15", False, 36.25),
        ("36:15", True, 36.25 / 60),
        ("1:02:15", True, 1 + 2 / 60 + 15 / 3600),
        ("100:00:00", False, 100),
        ("36:15.6", False, 36.26 / 60),
        ("-0:30", False, -0.5),
        ("−1:00:00,9", False, -1 - 0.9 / 3600),
        ("1 days 12:15:00", False, 36.25),
        ("2 days, 3:04:05", False, 51 + 4 / 60 + 5 / 3600),
        ("3d 00:00", False, 72),
        ("-1 days 12:15:00", False, -36.25),
        ("-1 day, 23:45:00", False, -0.25),
        ("-2 days +23:59:58.5", False, -24 - 1.5 / 3600),
        ("0 days +00:15:00", False, 0.25),
        ("36:60", False, None),
        ("36", False, None),
        ("1:2:3", False, None),
    ],
)
def test_forms_of_durations(written, minutes, hours):
    found = cells.lengths(pl.Series(["x", written]), cells.Form(minutes=minutes)).to_list()
    assert found == [None, None if hours is None else pytest.approx(hours, abs=1e-9)]


def test_a_duration_is_the_same_as_its_text_and_as_pandas_writes_it():
    from datetime import timedelta

    lengths = [
        timedelta(hours=36, minutes=15),
        timedelta(seconds=-5.5),
        timedelta(),
        timedelta(days=3, seconds=10),
        timedelta(days=-2, seconds=1),
        None,
    ]
    series = pl.Series(lengths)
    hours = [None if t is None else t.total_seconds() / 3600 for t in lengths]
    assert cells.text(series).to_list() == ["36:15:00", "-0:00:05.5", "0:00:00", "72:00:10", "-47:59:59", None]
    for column in (
        series,
        cells.text(series),
        pl.Series([None if t is None else str(t) for t in lengths]),
        pl.Series([None if t is None else str(pd.Timedelta(t)) for t in lengths]),
    ):
        for found, truth in zip(cells.lengths(column, cells.Form()).to_list(), hours, strict=True):
            assert found == (None if truth is None else pytest.approx(truth, abs=1e-12))
    assert cells.lengths(series, cells.Form()).null_count() == 1


def test_words_that_stand_for_nothing_are_so_in_every_kind_of_column():
    frame = pl.DataFrame({"n": [1.0, -999.0, 3.0], "t": ["-999.0", "a", " X "], "d": ["5", "-999", "7"]})
    found = cells.without(frame, ["-999", "x"])
    assert found["n"].to_list() == [1.0, None, 3.0]
    assert found["t"].to_list() == [None, "a", None]
    assert found["d"].to_list() == ["5", None, "7"]


def test_numbers_far_away_are_constants_or_not():
    """16 digits tell each from the next, 26 do not; where they do, the features are those of 0, 1, 2, …"""
    n = 40
    expected = (np.arange(n) - np.arange(n).mean()) / np.arange(n).std()
    for digits, known in ((4 * 10**15, True), (10**25, False)):
        frame = pl.DataFrame({"x": [str(digits + i) for i in range(n)], "y": ["a", "b"] * (n // 2)})
        schema = learn_schema(frame, "y", Choices(keep=["x"]))
        x = schema.features(frame)[:, 0]
        np.testing.assert_allclose(x, expected if known else np.zeros(n), rtol=1e-6, atol=1e-6)
        assert known or schema.features(pl.DataFrame({"x": ["5"]}))[0, 0] == 0


@pytest.mark.parametrize("unit", [1e-310, 2.0**-1022, 1e-300, 1e300])
def test_numbers_of_every_size_are_standardised(unit):
    """As the same numbers are without the unit; where they are subnormal, to the digits that are left."""
    numbers = np.array([1.0, -1.0, 3.0, -2.0, 0.5] * 8)
    for values in (numbers, np.where(np.arange(40) == 7, np.nan, numbers)):
        frame = pl.DataFrame({"x": values * unit, "y": ["a", "b"] * 20}).with_columns(pl.col("x").fill_nan(None))
        expected = np.nan_to_num((values - np.nanmean(values)) / np.nanstd(values))
        np.testing.assert_allclose(learn_schema(frame, "y").features(frame)[:, 0], expected, rtol=1e-6)
    frame = pl.DataFrame({"x": [0.0, 5e-324] * 20, "y": ["a", "b"] * 20})  # the two have no number between them
    x = learn_schema(frame, "y").features(frame)[:, 0]
    assert len(set(x.tolist())) == 2


def test_a_number_that_leaves_the_range_is_named():
    schema = Schema("y", ["a", "b"], [Column("x", "number", high=1.0)])
    with pytest.raises(ValueError, match=r"column 'x', row 41: '1e200' is too far from training's numbers \(0 to 1\)"):
        schema.features(pl.DataFrame({"x": ["1", "1e200"]}), rows=np.array([40, 41]))
    with pytest.raises(ValueError, match="column 'x', row 0: is infinite"):
        schema.features(pl.DataFrame({"x": ["1e400"]}))
