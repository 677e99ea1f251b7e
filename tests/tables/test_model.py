"""A model with its schema, on data frames and files; what each column adds to a prediction."""

import io

import numpy as np
import pytest
from command_line import small, train

import chainrule
from chainrule import Network
from chainrule.errors import InputError, ModelFileError, TableError
from chainrule.tables import Column, Schema, TableModel, learn_schema, load
from chainrule.tables.attribution import attribute, why

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")

import polars as pl  # noqa: E402

from chainrule.command import jobs  # noqa: E402


@pytest.fixture
def model(tmp_path):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 5, "--hidden", "8,4") == 0
    return tmp_path / "m.safetensors", table


def test_frames_are_answered_as_the_command_answers_files(model):
    path, table = model
    loaded = chainrule.load(path)
    told = pl.read_csv(io.StringIO(jobs.predict(path, table)))
    frames = pl.read_csv(table), pd.read_csv(table), pl.read_csv(table).to_arrow(), table
    for frame in frames:
        assert loaded.predict(frame).tolist() == told["prediction"].to_list()
        p = loaded.predict_proba(frame)
        for i, name in enumerate("ab"):
            np.testing.assert_array_equal(p[:, i], told[f"probability of {name}"].cast(pl.Float32).to_numpy())
        assert loaded.evaluate(frame, bootstrap=0) == jobs.evaluate(path, table, bootstrap=0)
        e, of_command = loaded.explain(frame, 7), jobs.explanation(path, table, 7)
        assert e.weight(1, 2, 1).to_dict() == of_command.weight(1, 2, 1).to_dict()
        assert loaded.why(frame, 7) == jobs.explained(path, table, 7)[1]
    for row in (0, 41, 89):
        assert loaded.predict_proba(frames[1].iloc[[row]]).tobytes() == loaded.predict_proba(table)[row].tobytes()
    assert loaded.classes == ["a", "b"]
    with pytest.raises(InputError, match="--row: got 90, expected 0 to 89"):
        loaded.explain(frames[0], 90)
    with pytest.raises(TableError, match="--strict refuses"):
        loaded.predict(pd.DataFrame({"x": [1.0], "colour": ["green"]}), strict=True)
    said = []
    loaded.predict(pd.DataFrame({"x": [1.0], "colour": ["green"]}), say=said.append)
    assert "of a category that training never saw" in said[0]


def test_a_row_without_a_class_is_explained(model):
    path, table = model
    loaded, frame = load(path), pl.read_csv(table).drop("class")
    said = []
    e = loaded.explain(frame, 3, say=said.append)
    assert e.classes[e.label] == loaded.predict(frame)[3]
    missing = pl.read_csv(table).with_columns(pl.lit("?").alias("class"))
    assert loaded.explain(missing, 3, say=said.append).label == e.label
    assert said[-1].startswith("row 3 has no class in column 'class'")


def test_what_is_no_model_of_a_table_is_refused(tmp_path):
    Network.create([2, 2], seed=0).save(tmp_path / "n.safetensors")
    with pytest.raises(ModelFileError, match="without a table's schema"):
        load(tmp_path / "n.safetensors")


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "identity"])
def test_what_columns_add_sums_to_the_difference(activation):
    random = np.random.default_rng(0)
    net = Network.create([7, 16, 9, 4], activation=activation, seed=1)
    for _ in range(5):
        x, base = random.normal(size=(2, 7)) * 3
        for c in range(4):
            logits = net.astype("float64").forward(np.stack([x, base])).logits[:, c]
            assert attribute(net, x, base, c).sum() == pytest.approx(logits[0] - logits[1], abs=1e-12)
    assert not attribute(net, base, base, 0).any()
    same = x.copy()
    same[2] = base[2]
    assert attribute(net, same, base, 0)[2] == 0.0  # what does not move adds nothing


def test_what_columns_add_by_mathematics():
    """A linear network's: w (x − mean). For a smooth one the path's integral, by a hundred thousand steps."""
    random = np.random.default_rng(1)
    linear = Network([random.normal(size=(3, 5))], [random.normal(size=3)])
    x, base = random.normal(size=(2, 5))
    np.testing.assert_allclose(attribute(linear, x, base, 1), linear.weights[0][1] * (x - base), rtol=1e-12)
    w1, w2 = random.normal(size=(6, 5)), random.normal(size=(2, 6))
    net = Network([w1, w2], [np.zeros(6), np.zeros(2)], "tanh")
    t = (np.arange(100_000) + 0.5) / 100_000
    inside = (base + t[:, None] * (x - base)) @ w1.T
    expected = ((w2[0] * (1 - np.tanh(inside) ** 2)) @ w1).mean(axis=0) * (x - base)
    np.testing.assert_allclose(attribute(net, x, base, 0), expected, rtol=1e-4, atol=1e-6)


def test_why_speaks_of_columns_in_the_tables_own_units():
    frame = pl.DataFrame({
        "size": ["1,5", "2,5", "3,5", "4,5"] * 5, "kind": ["a", "b", "b", "b"] * 5,
        "when": ["8:30", "9:30", "10:30", "11:30"] * 5, "y": [0, 0, 1, 1] * 5,
    })  # fmt: skip
    schema = learn_schema(frame, "y")
    assert [c.kind for c in schema.columns] == ["number", "category", "time"]
    net = Network.create([len(schema.feature_names), 6, 2], activation="tanh", seed=0)
    x = schema.features(frame)
    np.testing.assert_allclose(x.mean(axis=0), schema.means(), atol=1e-6)  # the baseline is training's mean
    found = why(net, schema, frame[:1], x[0])
    parts = {p.column: p for p in found.parts}
    assert (parts["size"].value, parts["size"].mean) == ("1,5", "3")
    assert (parts["kind"].value, parts["kind"].mean) == ("a", "b 75 %")
    assert (parts["when"].value, parts["when"].mean) == ("8:30", "10:00")
    at_mean = net.astype("float64").forward(schema.means()[None]).logits[0]
    at_row = net.astype("float64").forward(x[:1].astype(float)).logits[0]
    c = schema.classes.index(found.name)
    assert sum(p.adds for p in found.parts) == pytest.approx(at_row[c] - at_mean[c], abs=1e-12)
    assert (found.logit, found.base) == (pytest.approx(at_row[c]), pytest.approx(at_mean[c]))
    assert [abs(p.adds) for p in found.parts] == sorted((abs(p.adds) for p in found.parts), reverse=True)
    assert "what each column adds to the logit" in found.text()


def test_features_that_are_mostly_nothing_are_the_same():
    random = np.random.default_rng(2)
    n = 3000
    frame = pl.DataFrame({
        "a": [f"v{v}" for v in random.integers(0, 400, n)],
        "b": [None if v == 7 else f"w{v}" for v in random.integers(0, 400, n)],
        "c": random.normal(size=n), "d": [None if v < 0.1 else v for v in random.random(n)],
        "y": random.integers(0, 2, n),
    })  # fmt: skip
    schema = learn_schema(frame, "y")
    import chainrule.tables.schema as module

    whole = schema.features(frame)
    before = module.DENSE
    module.DENSE = 1000
    try:
        found = schema.features(frame, sparse=True)
        model = TableModel(Network.create([whole.shape[1], 8, 2], seed=0), schema)
        assert (
            model.predict_proba(frame).tobytes()
            == model.predict_proba(frame[:1500]).tobytes() + model.predict_proba(frame[1500:]).tobytes()
        )
    finally:
        module.DENSE = before
    assert type(found).__name__ == "SparseFeatures"
    np.testing.assert_array_equal(found.dense(), whole)
    np.testing.assert_array_equal(found[np.array([5, 2, 2999])].dense(), whole[[5, 2, 2999]])
    np.testing.assert_array_equal(found[10:20].dense(), whole[10:20])
    net, other = Network.create([whole.shape[1], 8, 2], seed=0), Network.create([whole.shape[1], 8, 2], seed=0)
    for one, x in ((net, found), (other, whole)):
        chainrule.fit(one, x, frame["y"].to_numpy(), epochs=2, validation=0, batch_size=64)
    np.testing.assert_allclose(net.weights[0], other.weights[0], atol=1e-5)


def test_rare_categories_are_one():
    words = ["common"] * 30 + ["often"] * 20 + [f"rare {i}" for i in range(10)]
    frame = pl.DataFrame({"x": words, "z": np.random.default_rng(0).normal(size=60), "y": ["a", "b"] * 30})
    from chainrule.tables import Choices

    said = []
    schema = learn_schema(frame, "y", Choices(categories=2), say=said.append)
    assert schema.columns[0].feature_names == ["x=common", "x=often", "x is rare"]
    assert "of 12 categories the 2 most frequent are kept; the other 10, in 10 of 60 rows, are one" in said[0]
    x = schema.features(frame)[:, :3]
    assert x.sum(axis=0).tolist() == [30, 20, 10]
    new = pl.DataFrame({"x": ["rare 3", "never seen", None], "z": [0.0] * 3})
    from chainrule.tables import Counts

    counts = Counts()
    assert schema.features(new, counts=counts)[:, 2].tolist() == [1.0, 1.0, 0.0]
    assert any("1 cell of a category that training never saw, first 'never seen'" in line for line in counts.lines())
    again = Schema.from_dict(schema.to_dict())
    assert again == schema


def test_an_old_schema_without_the_new_fields_is_read():
    data = learn_schema(pl.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}), "y").to_dict()
    for name in ("missing", "names", "left_out", "apart"):
        del data[name]
    for column in data["columns"]:
        for name in ("rare", "means", "note"):
            del column[name]
    schema = Schema.from_dict(data)
    assert schema.columns[0] == Column("x", "number", 1.5, 0.5, low=1.0, high=2.0)
    assert schema.means().tolist() == [0.0]
