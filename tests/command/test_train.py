"""`chainrule train`, run as a user runs it."""

import os
import re
import signal
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from command_line import DIGITS, small, train, write

from chainrule.command.cli import main

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from chainrule.command.jobs import explanation  # noqa: E402
from chainrule.training.splitting import VALIDATION, hold_out  # noqa: E402


def test_digits_to_965_of_a_held_out_fifth(tmp_path, capsys):
    """In the mean of five seeds: 98.0 % for other random numbers, give or take 0.3; a single one may be below."""
    accuracies = []
    for seed in range(5):
        assert train(tmp_path, DIGITS, "label", "--test", 0.2, "--seed", seed) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy"))
        accuracies.append(float(line.split()[2]))
    assert np.mean(accuracies) >= 0.965


def test_the_report_points_at_its_most_surprising_example(tmp_path, capsys):
    """Of the tenth held out for validation; the loss of every row says which it is."""
    table = small(tmp_path)
    report = tmp_path / "the report.html"
    options = ["--epochs", 3, "--report", report, "--seed", 4, "--validation", 0.1]
    assert train(tmp_path, table, "class", *options) == 0
    beside = tmp_path / "the report-explanation.html"
    assert f"its most surprising example, explained: {beside}" in capsys.readouterr().out
    told = re.search(r"The validation example that surprised the network most is row (\d+)", report.read_text())
    assert 'href="the%20report-explanation.html"' in report.read_text()
    row = int(told[1])
    held_out, _ = hold_out(np.array([r % 2 for r in range(90)]), 0.1, 4, VALIDATION)
    assert row == max(held_out, key=lambda r: explanation(tmp_path / "m.safetensors", table, r).loss)
    e = explanation(tmp_path / "m.safetensors", table, row)
    assert f'data-value="{e.gradient(*e.opening_weight())}"' in beside.read_text()


def test_a_large_network_has_no_page_that_nobody_asked_for(tmp_path, capsys, monkeypatch):
    table = small(tmp_path)
    monkeypatch.setattr("chainrule.command.training.LARGEST", 10)
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", tmp_path / "r.html") == 0
    assert not (tmp_path / "r-explanation.html").exists()
    assert "explained" not in capsys.readouterr().out
    text = (tmp_path / "r.html").read_text()
    row = re.search(r"surprised the network most is row (\d+)", text)[1]
    assert f"<code>chainrule explain MODEL TABLE --row {row}</code>" in text
    assert "r-explanation.html" not in text


def test_no_page_is_written_where_the_report_is_a_device(tmp_path, capsys):
    table = small(tmp_path)
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", os.devnull) == 0
    assert "explained" not in capsys.readouterr().out
    report = tmp_path / "r.html"
    taken = tmp_path / "r-explanation.html"
    taken.mkdir()
    assert train(tmp_path, table, "class", "--epochs", 1, "--report", report) == 1
    assert not report.exists()


def test_every_option_of_training_reaches_it(tmp_path, capsys):
    table = small(tmp_path)
    more = ["--schedule", "cosine", "--warm-up", 1, "--weight-decay", 1e-4, "--dropout", 0.1, "--label-smoothing", 0.05]
    more += ["--clip-norm", 5, "--balanced", "--threads", 1]
    assert train(tmp_path, table, "class", "--epochs", 3, "--report", tmp_path / "r.html", *more) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for shown in ("WarmUp(epochs=1.0, then=Cosine", "weight decay", "0.0001", "balanced", "label smoothing"):
        assert shown in page


def test_a_parquet_table_larger_than_its_memory(tmp_path, capsys):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    path, n = tmp_path / "t.parquet", 30_000
    random = np.random.default_rng(0)
    y = random.integers(0, 3, n)
    columns = {f"x{j}": random.normal(size=n) + (y == j) * 3 for j in range(12)}
    columns["kind"] = np.array(["a", "b", "c"])[random.integers(0, 3, n)]
    polars.DataFrame(columns | {"class": y}).write_parquet(path)
    assert path.stat().st_size > 2 * 2**20
    options = ["--epochs", 2, "--test", 0.2, "--memory", "1M", "--report", tmp_path / "r.html"]
    assert train(tmp_path, path, "class", *options) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy"))
    assert float(line.split()[2]) > 0.9
    frame = polars.read_parquet(path)
    frame.write_ipc(tmp_path / "t.arrow")
    assert train(tmp_path, tmp_path / "t.arrow", "class", "--memory", "1M") == 1
    assert "only text and .parquet files can be streamed (--memory)" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_file(tmp_path):
    table = small(tmp_path)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert train(tmp_path / name, table, "class", "--epochs", 5) == 0
        files.append((tmp_path / name / "m.safetensors").read_bytes())
    assert files[0] == files[1]


def test_an_untrained_model_replaces_no_other(tmp_path, capsys, monkeypatch):
    model = tmp_path / "m.safetensors"
    model.write_text("older")

    @contextmanager
    def interrupted(stopped):  # Ctrl-C before the first epoch is over
        stopped[0] = 1
        yield

    monkeypatch.setattr(sys.modules["chainrule.training.fit"], "stopping", interrupted)
    assert train(tmp_path, small(tmp_path), "class") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert model.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.safetensors", "small.csv"]


def interrupting(monkeypatch, epoch):
    """Ctrl-C at the end of an epoch, as a user's: a signal to the process."""
    from chainrule.command import fitting as training

    fit = training.fit

    def interrupted(*arguments, **options):
        def press(record):
            if record.epoch == epoch:
                signal.raise_signal(signal.SIGINT)

        return fit(*arguments, **options | {"progress": press})

    monkeypatch.setattr(training, "fit", interrupted)


@pytest.mark.parametrize("validation", [[], ["--validation", 0.1]])
def test_ctrl_c_keeps_the_model_that_stands_there(tmp_path, capsys, monkeypatch, ctrl_c, validation):
    model = tmp_path / "m.safetensors"
    model.write_text("older")
    interrupting(monkeypatch, 4)
    report = tmp_path / "r.html"
    assert train(tmp_path, small(tmp_path), "class", "--report", report, *validation) == 130
    unfinished = tmp_path / "m.unfinished.safetensors"
    said = capsys.readouterr().out
    assert f"unfinished model: {unfinished}; {model} is as it was" in said
    assert "stopped by Ctrl-C" in said
    assert "folds" not in said  # the first of them was not over
    assert model.read_text() == "older"
    assert not report.exists()
    assert main(["evaluate", str(unfinished), str(tmp_path / "small.csv")]) == 0


def test_training_goes_on_until_validation_stops_improving(tmp_path, capsys):
    """In folds or with rows of its own; the limit is named when it was what ended training."""
    random = np.random.default_rng(1)
    x = random.normal(size=(120, 4))
    y = (x[:, 0] * x[:, 1] + 0.1 * random.normal(size=120) > 0).astype(int)  # no line tells these classes apart
    table = write(tmp_path / "t.csv", [["a", "b", "c", "d", "y"], *np.column_stack([x, y]).tolist()])
    for options in ([], ["--validation", 0.3]):
        assert train(tmp_path, table, "y", *options) == 0
        told = capsys.readouterr().out
        assert 10 < int(re.search(r"trained (\d+) epochs", told)[1]) < 1000
        assert "limit" not in told
        assert train(tmp_path, table, "y", "--epochs", 5, *options) == 0
        assert "trained 5 epochs" in (told := capsys.readouterr().out)
        assert "the limit (--epochs), while validation improved" in told
    assert train(tmp_path, table, "y", "--validation", 0) == 0
    assert "trained 30 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [2, 3, 90])
def test_as_many_folds_are_told_as_there_were(tmp_path, capsys, monkeypatch, rows):
    """Each row is held out once; of the folds whose training diverged the number is said."""
    from chainrule.command import fitting as training

    fit, seen = training.fit, []

    def counted(net, x, labels, *, validation, **options):
        history = fit(net, x, labels, validation=validation, **options)
        if validation:
            seen.append((len(validation[1]), history.diverged is not None))
        return history

    monkeypatch.setattr(training, "fit", counted)
    text = small(tmp_path).read_text().splitlines(keepends=True)
    (tmp_path / "few.csv").write_text("".join(text[: rows + 1]))
    for more, diverge in (((), False), (("--lr", 1e6, "--activation", "tanh"), True)):
        seen.clear()
        assert train(tmp_path, tmp_path / "few.csv", "class", "--epochs", 3, *more) == 0
        told = capsys.readouterr()
        assert sum(held_out for held_out, _ in seen) == rows
        assert f"(of {len(seen)} folds;" in told.out
        diverged = sum(diverged for _, diverged in seen)
        line = f"training diverged in {diverged} of the {len(seen)} folds that chose the number of epochs"
        assert (line in told.err) == (diverged > 0)
        assert diverge == (diverged > 0) or rows == 2


@pytest.mark.parametrize("seed", range(6))
def test_a_rare_class_is_split_by_no_chance(tmp_path, capsys, seed):
    """One row has the class "rare": it trains, and is not held out; rows without a class are dropped and counted."""
    rows = [["x", "y"]] + [[i * 37 % 60 / 7, "ab"[i % 2]] for i in range(60)]
    rows[17][1], rows[33][1], rows[40][1] = "NaN", "", "rare"
    table = write(tmp_path / "t.csv", rows)
    assert train(tmp_path, table, "y", "--test", 0.2, "--seed", seed, "--epochs", 2) == 0
    told = capsys.readouterr()
    assert "column 'y': 2 rows without a class are left out, first row 16" in told.err
    assert re.search(r"test accuracy: +\d", told.out)
    assert main(["evaluate", str(tmp_path / "m.safetensors"), str(table)]) == 0
    told = capsys.readouterr()
    assert "rows:     58" in told.out
    assert "2 rows without a class are left out, first row 16" in told.err
    rows[50][1] = "new"
    write(table, rows)
    assert main(["evaluate", str(tmp_path / "m.safetensors"), str(table)]) == 1
    assert "column 'y', row 49: 'new' is none of the classes" in capsys.readouterr().err


@pytest.mark.parametrize("memory", [(), ("--memory", "1M")])
def test_something_is_left_to_train_on(tmp_path, capsys, memory):
    """A row of each class, or the option that took it is named with what it may be; that much is then right."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    polars.DataFrame({"x": [i * 37 % 60 / 7 for i in range(60)], "y": list("abc") * 20}).write_parquet(
        table := tmp_path / "t.parquet"
    )
    for option in ("--test", "--validation"):
        for fraction, left in ((0.99, 1), (0.999, 0), (0.9999999, 0), (0.96, 2)):
            assert train(tmp_path, table, "y", option, fraction, *memory) == 1
            error = f"{option}: got {fraction}, which leaves {left} of 60 rows to train on, expected at most 0.95"
            assert error in capsys.readouterr().err
            assert not (tmp_path / "m.safetensors").exists()
    assert train(tmp_path, table, "y", "--test", 0.5, "--validation", 0.94, *memory) == 1
    assert "--validation: got 0.94, which leaves 2 of 30 rows" in capsys.readouterr().err
    assert train(tmp_path, table, "y", "--validation", 0.95, "--epochs", 1, *memory) == 0


def test_the_files_row_is_named_in_training(tmp_path, capsys):
    """Among those that are left when a fifth is held out, it has another number."""
    rows = [["x", "y"]] + [[i * 37 % 60 / 7, "ab"[i % 2]] for i in range(60)]
    rows[41][0] = "inf"
    table = write(tmp_path / "t.csv", rows)
    for seed in range(4):
        assert train(tmp_path, table, "y", "--test", 0.2, "--seed", seed) == 1
        assert "column 'x', row 40: is infinite" in capsys.readouterr().err


@pytest.mark.parametrize("validation", [(), ("--validation", 0.2)])
def test_a_rate_that_diverges_is_said_on_standard_error(tmp_path, capsys, validation):
    table, more = small(tmp_path), ("--activation", "tanh", "--epochs", 3, *validation)
    assert train(tmp_path, table, "class", "--lr", 1e6, *more) == 0
    told = capsys.readouterr()
    assert told.err.count("training diverged: the weights that are kept have a loss of") == 1
    assert "Warning" not in told.err
    assert "diverged" not in told.out
    assert train(tmp_path, table, "class", *more) == 0
    assert "diverged" not in capsys.readouterr().err
