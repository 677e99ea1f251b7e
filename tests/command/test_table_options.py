"""What one says of a table to `train`, `predict`, `evaluate` and `info`; the truth is read off the tables by hand."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from command_line import small, train, write

from chainrule.command.cli import main

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

import polars as pl  # noqa: E402

from chainrule.command.data import Wanted, read_whole  # noqa: E402
from chainrule.command.fitting import temperature  # noqa: E402
from chainrule.tables import Choices, load  # noqa: E402

RANDOM = np.random.default_rng(0)


def table(path, n=120, **more):
    """Two clouds, with an id, a day, a group of ten rows, a weight and a time of day."""
    random = np.random.default_rng(1)
    rows = [["id", "x", "when", "place", "w", "clock", "kind", *more, "class"]]
    for i in range(n):
        k = i % 3 == 0
        rows.append([
            f"n{i * 7 % 1000}", round(random.normal() + 3 * k, 3), f"2024-{1 + i // 28 % 12:02}-{1 + i % 28:02}",
            i // 10, [1, 2][k], f"{6 + i % 12}:{i % 60:02}", ["-999", "red", "blue"][i % 3 if i % 5 else 0],
            *(m[i] for m in more.values()), "=yes" if k else "-no",
        ])  # fmt: skip
    return write(path, rows), rows


def kinds(path):
    return {c.name: c.kind for c in load(path).schema.columns}


@pytest.fixture
def trained(tmp_path):
    path, rows = table(tmp_path / "t.csv")
    options = ("--epochs", 4, "--id", "id", "--ignore", "place,w", "--missing", -999)
    assert train(tmp_path, path, "class", *options) == 0
    return tmp_path / "m.safetensors", path, rows


def test_columns_have_roles_and_types(tmp_path, capsys):
    path, _ = table(tmp_path / "t.csv")
    assert train(tmp_path, path, "class", "--epochs", 1, "--columns", "x,kind", "--columns", "clock") == 0
    model = tmp_path / "m.safetensors"
    assert kinds(model) == {"x": "number", "kind": "category", "clock": "time"}
    assert (
        train(
            tmp_path,
            path,
            "class",
            "--epochs",
            1,
            "--ignore",
            "id,when",
            "--type",
            "place=category",
            "--type",
            "w=text",
        )
        == 0
    )
    assert kinds(model) == {"x": "number", "place": "category", "w": "category", "clock": "time", "kind": "category"}
    assert (
        train(tmp_path, path, "class", "--epochs", 1, "--ignore", "id", "--type", "when=category", "--type", "x=number")
        == 0
    )
    assert kinds(model)["when"] == "category"
    capsys.readouterr()
    for options, message in (
        (("--columns", "x", "--ignore", "x"), "--columns and --ignore: both name 'x'"),
        (("--columns", "y"), "no column 'y' to use"),
        (
            ("--type", "kind=number", "--ignore", "id"),
            "column 'kind': --type says number, which its values cannot be read as",
        ),
        (("--type", "y=number"), "no column 'y' to give a type"),
        (("--id", "class"), "--target: 'class' is also the id, weight, time or group"),
        (("--weight", "kind"), "is no weight, expected a number >= 0"),
        (("--time", "kind"), "column 'kind': holds text"),
        (("--time", "when", "--group", "place"), "--time and --group: got both"),
        (("--test", 0.2, "--test-table", tmp_path / "o.csv"), "--test and --test-table: got both"),
        (("--test-table", path), "test-table: is the same file as table"),
        (("--cv", 3, "--memory", "1M"), "--cv and --memory: got both"),
        (("--cv", 3, "--time", "when"), "--cv and --time: got both"),
        (("--calibrate", "--validation", 0), "--calibrate: there are no validation rows"),
    ):
        if "kind=number" in options:
            rows = [["kind", "z", "class"], *([w, i, "ab"[i % 2]] for i, w in enumerate(["red", "blue"] * 20))]
            assert train(tmp_path, write(tmp_path / "k.csv", rows), "class", "--type", "kind=number") == 1
        else:
            assert train(tmp_path, path, "class", "--epochs", 1, *options) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(tmp_path, path, "class", "--type", "x=colour")


def test_the_schema_is_shown_before_training_and_by_info(trained, capsys):
    model, path, _ = trained
    again = "--id", "id", "--ignore", "place,w", "--missing", -999
    assert train(model.parent, path, "class", "--epochs", 4, *again) == 0
    told = capsys.readouterr().out
    line = {row.split()[0]: row for row in told.splitlines() if row.strip()}
    assert re.search(r"id +left out +0 +the id, no feature", line["id"])
    assert re.search(r"x +number +1 +-\d", line["x"])
    assert re.search(r"when +date +1 +2024-01-01 to 2024-05-08", line["when"])
    assert re.search(r"clock +time +1 +6:00 to 17:59", line["clock"])
    assert re.search(r"kind +category +3 +2: blue, red +.*47 % missing", line["kind"])
    assert "ignored" in line["place"]
    assert told.index("taken for") < told.index("trained 4 epochs")
    assert main(["train", str(path), "--target", "class", "--dry-run", "-o", str(model.with_name("no"))]) == 0
    assert "taken for" in capsys.readouterr().out
    assert not model.with_name("no").exists()
    assert main(["info", str(model)]) == 0
    told = capsys.readouterr().out
    assert line["clock"] in told
    assert "a classifier of 'class', 2 classes" in told
    assert main(["info", str(model), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["classes"] == ["-no", "=yes"]
    assert data["missing"] == ["-999"]
    assert data["columns"][0]["name"] == "class"
    assert data["training"]["rows"] == 120


def test_predictions_stand_beside_ids_and_input_in_every_format(trained, tmp_path, capsys):
    model, path, rows = trained
    out = {}
    for form in ("csv", "tsv", "jsonl", "parquet", "arrow"):
        target = tmp_path / f"p.{form}"
        assert main(["predict", str(model), str(path), "-o", str(target)]) == 0
        if form in ("csv", "tsv"):
            out[form] = pl.read_csv(target, separator="," if form == "csv" else "\t")
        else:
            out[form] = {"jsonl": pl.read_ndjson, "parquet": pl.read_parquet, "arrow": pl.read_ipc}[form](target)
    names = ["id", "prediction", "probability of -no", "probability of =yes"]
    for form, frame in out.items():
        assert frame.columns == names
        assert frame["id"].to_list() == [row[0] for row in rows[1:]]
        expected = (
            ["'" + p for p in out["parquet"]["prediction"]] if form in ("csv", "tsv") else out["parquet"]["prediction"]
        )
        assert frame["prediction"].to_list() == list(expected)  # no spreadsheet takes it for a formula
        np.testing.assert_allclose(frame["probability of -no"], out["parquet"]["probability of -no"], rtol=1e-6)
    assert set(out["parquet"]["prediction"]) <= {"-no", "=yes"}
    capsys.readouterr()
    assert main(["predict", str(model), str(path), "--with-input", "--format", "jsonl"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert list(first)[:8] == rows[0]
    assert first["class"] == "=yes"
    assert main(["predict", str(model), str(path), "--id", "place,when"]) == 0
    assert capsys.readouterr().out.startswith("place,when,prediction,")
    assert main(["predict", str(model), str(path), "--id", "nobody"]) == 1
    assert "no column 'nobody' (--id)" in capsys.readouterr().err
    assert main(["predict", str(model), str(path), "--format", "parquet"]) == 1
    assert "expected a file to write (-o)" in capsys.readouterr().err


def test_only_formulas_are_escaped(tmp_path, capsys):
    rows = [
        ["t", "x", "=y"],
        *([f, i, "ab"[i % 2]] for i, f in enumerate(["=1+1", "-5", "+2.5e3", "@x", "a=b", "-x"] * 6)),
    ]
    path = write(tmp_path / "t.csv", rows)
    assert train(tmp_path, path, "=y", "--epochs", 1, "--keep", "x") == 0
    capsys.readouterr()
    model = str(tmp_path / "m.safetensors")
    assert main(["predict", model, str(path), "--with-input"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split(",")[:4] == ["t", "x", "'=y", "prediction"]
    found = [row["t"] for row in csv.DictReader(io.StringIO(told))][:6]
    assert found == ["'=1+1", "-5", "+2.5e3", "'@x", "a=b", "'-x"]
    more = {"long": [timedelta(hours=30, minutes=2)] * 2, "t": ["@x", "="], "x": [1, 2]}
    pl.DataFrame(more).write_parquet(tmp_path / "n.parquet")
    assert main(["predict", model, str(tmp_path / "n.parquet"), "--with-input"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("30:02:00,'@x,1,")
    pl.DataFrame(more | {"long": [[1], [2]]}).write_parquet(tmp_path / "n.parquet")
    assert main(["predict", model, str(tmp_path / "n.parquet"), "--with-input"]) == 1
    assert "column 'long': holds List(Int64), which is no text; --format parquet keeps it" in capsys.readouterr().err


def test_standard_input_and_files_without_header(tmp_path, capsys, monkeypatch):
    text = "".join(f"{RANDOM.normal() + 3 * (i % 2):.3f} {i % 5} {'ab'[i % 2]}\n" for i in range(80))
    (tmp_path / "t.data").write_text(text)
    model = str(tmp_path / "m.safetensors")
    for target in ("3", "-1", "column_3"):
        assert train(tmp_path, tmp_path / "t.data", target, "--epochs", 3) == 0
    assert load(model).schema.names == ["column_1", "column_2", "column_3"]
    capsys.readouterr()
    assert main(["predict", model, str(tmp_path / "t.data")]) == 0
    told = capsys.readouterr().out
    without = "".join(line.rsplit(" ", 1)[0] + "\n" for line in text.splitlines())
    for piped in (without.encode(), gzip.compress(without.encode())):
        command = [sys.executable, "-m", "chainrule", "predict", model, "-"]
        done = subprocess.run(command, input=piped, capture_output=True)
        assert done.returncode == 0
        assert done.stdout.decode() == told
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "explain", model, "-", "--row", "3"],
        input=text.encode(),
        capture_output=True,
    )
    assert done.returncode == 0
    assert "column_1" in done.stdout.decode()


def parts(path, target="class", **options):
    wanted = Wanted(path, target, **options)
    return read_whole(wanted, lambda line: None)


def test_the_latest_rows_and_whole_groups_are_held_out(tmp_path):
    path, rows = table(tmp_path / "t.csv")
    read = parts(path, time="when", test=0.25, validation=0.2, choices=Choices(ignore=["id"]))
    days = [row[2] for row in rows[1:]]
    latest = {
        name: [days[r] for r in part.rows]
        for name, part in read._asdict().items()
        if name in ("training", "validation", "test")
    }
    assert max(latest["training"]) < min(latest["validation"])
    assert max(latest["validation"]) < min(latest["test"])
    assert 25 <= len(latest["test"]) <= 40
    assert "when" not in read.schema.feature_names
    for seed in range(3):
        read = parts(path, group="place", test=0.25, validation=0.2, seed=seed, choices=Choices(ignore=["id"]))
        groups = [{rows[1 + r][3] for r in part.rows} for part in (read.training, read.validation, read.test)]
        assert sum(map(len, groups)) == 12
        assert len(set.union(*groups)) == 12
        assert groups[2]
    read = parts(path, group="place", validation=0.0, choices=Choices(ignore=["id"]))
    for held, rest in read.folds(4):
        assert not {rows[1 + r][3] for r in held} & {rows[1 + r][3] for r in rest}
    assert sorted(np.concatenate([held for held, _ in read.folds(4)]).tolist()) == list(range(120))


def test_a_weight_counts_as_so_many_rows(tmp_path):
    """0 is as if the row were not there."""
    random = np.random.default_rng(3)
    rows = [
        ["x", "z", "w", "y"],
        *([round(random.normal(), 3), round(random.normal(), 3), [1, 0][i % 4 == 0], "ab"[i % 2]] for i in range(100)),
    ]
    path = write(tmp_path / "t.csv", rows)
    options = ("--weight", "w", "--epochs", 3, "--validation", 0, "--hidden", "4")
    assert train(tmp_path, path, "y", *options) == 0
    whole = load(tmp_path / "m.safetensors")
    assert [c.name for c in whole.schema.columns] == ["x", "z"]
    assert whole.schema.apart == {"weight": "w"}
    rows[1:] = [[*row[:3], "b" if row[2] == 0 else row[3]] for row in rows[1:]]  # the class of rows that count nothing
    write(path, rows)
    assert train(tmp_path, path, "y", *options) == 0
    for a, b in zip(whole.network.weights, load(tmp_path / "m.safetensors").network.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("validation", [("--validation", 0.3), ()])  # rows that are held out, or folds
def test_a_weight_counts_wherever_rows_judge(tmp_path, capsys, validation):
    """Rows of weight 0, whose class is wrong, change neither when training stops nor what is said of the model."""
    random = np.random.default_rng(5)
    rows = [["x", "w", "y"]]
    for i in range(400):
        k, none = i % 2, i % 5 == 0
        rows.append([round(random.normal() + 4 * k, 3), 0 if none else 1 + i % 3, "ab"[k ^ none]])
    path, command = write(tmp_path / "t.csv", rows), ("--weight", "w", "--test", 0.25, "--epochs", 40, "--cv", 3)
    assert train(tmp_path, path, "y", *command, *validation) == 0
    told = capsys.readouterr().out
    shares = [float(v) for v in re.findall(r"(?:validation|test) accuracy: +([\d.]+)", told)]
    assert len(shares) == 3
    assert min(shares) > 0.9  # 8 in 10 without weights
    assert main(["evaluate", str(tmp_path / "m.safetensors"), str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    logits = load(tmp_path / "m.safetensors").predict_proba(path)
    right = np.array([row[2] for row in rows[1:]]) == np.array(["a", "b"])[logits.argmax(axis=1)]
    w = np.array([row[1] for row in rows[1:]])
    assert found["accuracy"] == pytest.approx(np.average(right, weights=w))
    assert found["weighted"] == "w"
    assert sum(map(sum, found["confusion"])) == w.sum()
    write(tmp_path / "o.csv", [[row[0], row[2]] for row in rows])
    assert main(["evaluate", str(tmp_path / "m.safetensors"), str(tmp_path / "o.csv"), "--bootstrap", "0"]) == 0
    out, err = capsys.readouterr()
    assert "no column 'w', by which training weighed its rows: each row counts once" in err
    assert f"accuracy: {right.mean():.4f}" in out


def test_another_table_judges_and_folds_do(tmp_path, capsys):
    path, rows = table(tmp_path / "t.csv", 240)
    other = write(tmp_path / "o.csv", [rows[0], *rows[1:61]])
    options = ("--epochs", 5, "--ignore", "id", "--test-table", other)
    assert train(tmp_path, path, "class", *options) == 0
    told = capsys.readouterr()
    accuracy = re.search(r"test accuracy: +(\S+)", told.out)[1]
    assert (
        main(["evaluate", str(tmp_path / "m.safetensors"), str(other), "--json", "-o", str(tmp_path / "e.json")]) == 0
    )
    data = json.loads((tmp_path / "e.json").read_text())
    assert data["rows"] == 60
    assert f"{data['accuracy']:.4f}" == accuracy
    assert data["baseline"] == pytest.approx(40 / 60)
    assert set(data["intervals"]) == {"accuracy", "loss", "roc_auc"}
    capsys.readouterr()
    assert train(tmp_path, path, "class", "--epochs", 5, "--ignore", "id", "--cv", 4) == 0
    told = re.search(r"cross-validation accuracy: (\S+) ± (\S+) \(4 folds: (.*?);", capsys.readouterr().out)
    folds = [float(v) for v in told[3].split(",")]
    assert len(folds) == 4
    assert float(told[1]) == pytest.approx(np.mean(folds), abs=1e-4)
    assert float(told[2]) == pytest.approx(np.std(folds, ddof=1), abs=2e-4)


def test_the_temperature_is_the_best_one(tmp_path, capsys):
    """By SciPy's minimiser where there is one, else by a fine grid."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500)
    logits = 3 * (random.normal(size=(500, 3)) + np.eye(3)[labels])
    grid = np.exp(np.linspace(-1, 3, 4001))

    def loss(t):
        a = logits / t
        return float(np.mean(np.log(np.exp(a).sum(axis=1)) - a[np.arange(500), labels]))

    best = min(grid, key=loss)
    assert temperature(logits, labels) == pytest.approx(best, rel=2e-3)
    path, _ = table(tmp_path / "t.csv")
    assert train(tmp_path, path, "class", "--epochs", 40, "--ignore", "id", "--calibrate") == 0
    told = capsys.readouterr().err
    t = float(re.search(r"calibrated on 120 rows .* divided by (\S+)", told)[1])
    calibrated = load(tmp_path / "m.safetensors").network
    assert train(tmp_path, path, "class", "--epochs", 40, "--ignore", "id") == 0
    plain = load(tmp_path / "m.safetensors").network
    np.testing.assert_allclose(plain.weights[-1], calibrated.weights[-1] * t, rtol=1e-3)
    np.testing.assert_array_equal(plain.weights[0], calibrated.weights[0])


def test_a_run_that_leaves_the_numbers_writes_its_report_and_no_model(tmp_path, capsys):
    report = tmp_path / "r.html"
    options = ("--lr", 1e8, "--optimizer", "sgd", "--activation", "identity", "--report", report)
    assert train(tmp_path, small(tmp_path), "class", *options) == 1
    assert f"report: {report}" in capsys.readouterr().err
    page = report.read_text()
    assert 'data-kind="diverged"' in page
    assert "no model was written" in page
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    "command", ["", "train", "tune", "audit", "info", "predict", "evaluate", "explain", "check", "derive"]
)
def test_help_fits_a_screen_and_shows_one_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= (24 if command else 30)
    assert max(map(len, lines)) <= 80
    assert sum("chainrule " in line and not line.startswith("usage") for line in lines) >= 1
    assert "\n".join(lines).count("Example") == 1
    if command:
        with pytest.raises(SystemExit):
            main([command, "--help-all"])
        assert "--debug" in capsys.readouterr().out


def test_a_name_where_there_is_no_header_is_told_how_columns_are_named(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("1.5,2,a\n2.5,3,b\n3.5,1,a\n4.5,2,b\n")
    assert train(tmp_path, tmp_path / "t.csv", "class") == 1
    assert "no header; --target 3 (or -1) is its last column, --header says" in capsys.readouterr().err
