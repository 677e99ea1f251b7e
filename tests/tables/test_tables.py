"""Tables in, features and classes out; the truth is computed here, by hand or by pandas."""

import datetime
import gzip

import numpy as np
import pytest

from chainrule.errors import TableError
from chainrule.tables import Counts, Schema, learn_schema, read_table

pl = pytest.importorskip("polars", reason="polars is not installed")

MIXED = pl.DataFrame(
    {
        "size": [1.0, 2.0, None, 5.0],
        "count": [1, 2, 3, 4],
        "kind": ["a", "b", None, "a"],
        "fits": [True, False, True, None],
        "day": [datetime.date(1970, 1, 2), datetime.date(1970, 1, 4), None, datetime.date(1970, 1, 6)],
        "constant": [7, 7, 7, 7],
        "y": ["no", "yes", "no", "maybe"],
    }
)


def test_features_of_every_kind():
    said = []
    schema = learn_schema(MIXED, "y", say=said.append)
    assert said == ["constant, so that it tells nothing: constant"]
    assert schema.classes == ["maybe", "no", "yes"]
    assert schema.labels(MIXED).tolist() == [1, 2, 1, 0]
    x = schema.features(MIXED)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    column = dict(zip(schema.feature_names, x.T, strict=True))
    size = np.array([1, 2, 8 / 3, 5])
    known = np.array([1, 2, 5])
    np.testing.assert_allclose(column["size"], (size - known.mean()) / known.std(), rtol=1e-6, atol=1e-7)
    assert column["size is missing"].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(column["count"], (np.arange(4) - 1.5) / np.arange(4).std(), rtol=1e-6)
    assert column["kind=a"].tolist() == [1, 0, 0, 1]
    assert column["kind=b"].tolist() == [0, 1, 0, 0]
    assert column["kind is missing"].tolist() == [0, 0, 1, 0]
    fits = np.array([1, 0, 1, 2 / 3])
    np.testing.assert_allclose(column["fits"], (fits - 2 / 3) / fits[:3].std(), rtol=1e-6, atol=1e-7)
    days = np.array([1, 3, 3, 5])
    np.testing.assert_allclose(column["day"], (days - 3) / days[[0, 1, 3]].std(), rtol=1e-6, atol=1e-7)
    assert column["constant"].tolist() == [0, 0, 0, 0]


def test_unseen_values_at_prediction():
    schema = learn_schema(MIXED, "y")
    new = MIXED.drop("y").with_columns(pl.lit("zebra").alias("kind"), pl.lit(None, dtype=pl.Float64).alias("size"))
    x = dict(zip(schema.feature_names, schema.features(new.with_columns(pl.lit(1).alias("extra"))).T, strict=True))
    assert not x["kind=a"].any()
    assert not x["kind=b"].any()
    assert not x["size"].any()
    assert x["size is missing"].all()
    with pytest.raises(TableError, match="row 0: 'never'"):
        schema.labels(MIXED.with_columns(pl.lit("never").alias("y")))
    with pytest.raises(TableError, match="no column 'day'"):
        schema.features(MIXED.drop("day"))
    counts = Counts()
    schema.features(MIXED.with_columns(pl.lit("x").alias("size")), counts=counts)
    assert "column 'size': 4 cells no number as training's: taken as missing, first 'x' in row 0" in (counts.lines())


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([3, 1, 3], [1, 3]),
        ([True, False, True], [False, True]),
        ([0.5, 2.5, 0.5], [0.5, 2.5]),
        (["b", "a", "b"], ["a", "b"]),
    ],
)
def test_classes_of_any_type(classes, expected):
    frame = pl.DataFrame({"x": [1, 2, 3], "y": classes})
    schema = learn_schema(frame, "y")
    assert schema.classes == expected
    assert schema.labels(frame).tolist() == [1, 0, 1] if classes[0] != 0.5 else [0, 1, 0]


def test_dates_as_classes():
    frame = pl.DataFrame({"x": [1, 2], "y": [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)]})
    schema = learn_schema(frame, "y")
    assert schema.classes == ["2020-01-01", "2021-01-01"]
    assert schema.labels(frame).tolist() == [0, 1]


def test_a_schema_is_json_and_back():
    import json

    schema = learn_schema(MIXED, "y")
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert again.features(MIXED).tobytes() == schema.features(MIXED).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [{"name": "x", "kind": "eval"}]},
        {"columns": [{"name": 3, "kind": "number"}]},
        {"columns": [{"name": "x", "kind": "number", "scale": 0.0}]},
        {"columns": [{"name": "x", "kind": "number", "mean": "nan"}]},
        {"columns": [{"name": "x", "kind": "number", "unknown": 1}]},
        {"columns": 3},
        {"columns": [{"name": "x", "kind": "number", "form": {"decimal": ";"}}]},
        {"columns": [{"name": "x", "kind": "number", "form": {"date": "%s"}}]},
        {"classes": ["one"]},
        {"classes": [["no"], "yes", "maybe"]},
        {"classes": ["no", "no", "maybe"]},
        {"classes": [1, 2, 3]},
        {"target": None},
        {"target_kind": "list"},
    ],
)
def test_a_damaged_schema(change):
    with pytest.raises(TableError, match="the schema is damaged"):
        Schema.from_dict(learn_schema(MIXED, "y").to_dict() | change)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "arrow", "feather"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        MIXED.write_parquet(path)
    elif suffix in ("arrow", "feather"):
        MIXED.write_ipc(path)
    else:
        text = MIXED.write_csv().encode()
        path.write_bytes(gzip.compress(text) if suffix == "csv.gz" else text)
    frame = read_table(path)
    schema = learn_schema(frame, "y")
    assert schema == learn_schema(MIXED, "y")
    assert schema.features(frame).tobytes() == schema.features(MIXED).tobytes()


DAMAGED = bytearray(gzip.compress(b"a,b\n" + b"".join(b"%d,2\n" % (n * n) for n in range(999)), mtime=0))
DAMAGED[len(DAMAGED) // 2 : len(DAMAGED) // 2 + 20] = b"\xff" * 20
DAMAGED = bytes(DAMAGED)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv.gz", DAMAGED, "the compressed file is damaged"),
        ("t.csv.gz", DAMAGED[:-1], "compressed file"),
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"a,b\n", "no rows"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "line 3: has 3 fields, the header has 2"),
        ("t.csv", b"a,b\n1,2\n1\n3,4\n", "line 3: has 1 fields, the header has 2"),
        ("t.csv", b'a,b\n1,"2\n', "line 2"),
        ("t.csv", b"a,b\nx\xff\xfe,2\n", "UTF-8"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-20], "truncated"),
        ("t.parquet", b"PAR1 nothing", "cannot be read"),
        ("t.arrow", b"nothing at all", "cannot be read"),
        ("t.csv.gz", b"not gzip", "cannot be read"),
        ("t.xlsx", b"x", "unknown kind of table"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        learn_schema(read_table(path), "y")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(TableError, match="No such file"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"x": [1, 2], "lable": [0, 1]}, "no column 'label'; did you mean 'lable'"),
        ({"x": [1, 2], "label": [1, 1]}, "one class only"),
        ({"x": [1, 2], "label": [None, float("nan")]}, "no row has a class"),
        ({"x": [1, 2], "label": ["?", "NA"]}, "no row has a class"),
        ({"x": [None, None], "label": [1, 0]}, "'x' has no values"),
        ({"x": [float("nan"), None], "label": [1, 0]}, "'x' has no values"),
        ({"x": [1e308, -1e308], "label": [1, 0]}, "'x': its numbers, -1e.308 to 1e.308, are too far apart"),
        ({"x": [1.0, float("inf")], "label": [1, 0]}, "'x', row 1: is infinite"),
        ({"label": [1, 0]}, "no columns besides"),
        ({"x": [[1], [2]], "label": [1, 0]}, "'x': has type List"),
        (
            {"x": [f"n{i % 1001}" for i in range(1200)], "label": [i % 2 for i in range(1200)]},
            "of use: column 'x' holds texts of which most stand in a single row",
        ),
    ],
)
def test_tables_that_cannot_be_learned(frame, message):
    with pytest.raises(TableError, match=message):
        learn_schema(pl.DataFrame(frame), "label")
