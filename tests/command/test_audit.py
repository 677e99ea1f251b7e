"""`chainrule audit`, run as a user runs it."""

import csv
import re

import numpy as np
import pytest
from command_line import DIGITS, write

from chainrule.command.cli import main

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from chainrule.command import audit as command  # noqa: E402

NASTY = "<script>alert(1)</script>"


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def clouds(tmp_path, wrong=(17, 40)):
    """Two clouds far apart, a column that tells nothing, rows without a class, and two that are called the other."""
    random, rows = np.random.default_rng(0), [[NASTY, "place", "kind"]]
    for n in range(80):
        kind = n % 2
        called = [NASTY, "b&b"][kind ^ (n in wrong)]
        rows.append([f"{random.normal() + 6 * kind:.3f}", ["Rome", "Oslo"][n % 3 == 0], "" if n in (3, 9) else called])
    return write(tmp_path / "clouds.csv", rows), rows[1:]


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_with_flipped_labels(tmp_path, seed):
    """Of 90 labels that are flipped, at least 80 are among the first 120."""
    random, rows = np.random.default_rng(seed), list(csv.reader(DIGITS.read_text().splitlines()))
    flipped = random.choice(len(rows) - 1, 90, replace=False)
    for n in flipped:
        rows[n + 1][-1] = str((int(rows[n + 1][-1]) + random.integers(1, 10)) % 10)
    table, ranking = write(tmp_path / "flipped.csv", rows), tmp_path / "ranking.csv"
    assert main(["audit", str(table), "--target", "label", "--seed", str(seed), "-o", str(ranking)]) == 0
    first = [int(row["row"]) for row in read(ranking)[:120]]
    assert np.isin(flipped, first).sum() >= 80


def test_the_ranking_is_of_the_files_rows(tmp_path, capsys):
    table, rows = clouds(tmp_path)
    assert main(["audit", str(table), "--target", "kind", "-o", str(tmp_path / "r.csv")]) == 0
    found = read(tmp_path / "r.csv")
    assert sorted(int(row["row"]) for row in found) == [n for n in range(80) if n not in (3, 9)]
    assert {int(row["row"]) for row in found[:2]} == {17, 40}
    for rank, row in enumerate(found):
        assert row["called"] == rows[int(row["row"])][2]
        assert {row["called"], row["suggested"]} == {NASTY, "b&b"}
        assert float(row["loss"]) == pytest.approx(-np.log(float(row["probability of called"])), rel=1e-9)
        p = float(row["probability of called"]) + float(row["probability of suggested"])
        assert p == pytest.approx(1, rel=1e-6)
        assert (row["probable error"] == "true") == (rank < 2)
    said = capsys.readouterr()
    assert "audited 78 rows" in said.out
    assert "probable label errors: 2;" in said.out
    assert "rows without a class are left out" in said.err
    assert re.search(r"row (17|40): called '.*' \(ŷ = .*\), the network says '.*' \(ŷ = ", said.out)


def test_the_page_shows_rows_as_the_table_has_them(tmp_path):
    table, rows = clouds(tmp_path)
    page = tmp_path / "audit.html"
    assert main(["audit", str(table), "--target", "kind", "--report", str(page), "--show", "3"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "2 of 78 rows probably have a wrong “kind”" in text
    shown = re.findall(r'<section class="card suspect" id="row-(\d+)".*?</section>', text, re.DOTALL)
    assert len(shown) == 3
    assert set(shown[:2]) == {"17", "40"}
    for n in shown[:2]:
        (section,) = re.findall(rf'id="row-{n}".*?</section>', text, re.DOTALL)
        assert f"<td>{rows[int(n)][0]}</td>" in section  # as written, not standardised
        assert f"<td>{rows[int(n)][1]}</td>" in section
        called = rows[int(n)][2].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"Row {n}: called “{called}”" in section
        assert "Probably wrong." in section
        walk = re.findall(r"‖∂𝓛/∂(\w+)‖ = <span [^>]*data-value=\"([^\"]+)\"", section)
        assert [symbol for symbol, _ in walk] == ["a₃", "h₂", "a₂", "h₁", "a₁", "x"]
        assert float(walk[0][1]) == pytest.approx(np.sqrt(2), rel=0.05)  # ‖ŷ − e(ℓ)‖ where the network is sure
        assert "<math" in section


def test_the_page_is_valid_html(tmp_path, faults):
    table, _ = clouds(tmp_path)
    assert main(["audit", str(table), "--target", "kind", "--report", str(tmp_path / "audit.html"), "--show", "2"]) == 0
    assert faults([tmp_path / "audit.html"]) == []


def test_no_row_is_judged_by_a_network_that_learned_it(tmp_path, capsys):
    """Labels by the toss of a coin: a network that had seen a row's would know it, one that had not cannot."""
    random = np.random.default_rng(3)
    rows = [[*(f"x{i}" for i in range(8)), "y"]]
    rows += [[*random.normal(size=8), "ab"[random.integers(2)]] for _ in range(300)]
    assert main(["audit", str(write(tmp_path / "t.csv", rows)), "--target", "y", "--folds", "3"]) == 0
    accuracy = float(re.search(r"accuracy: (\S+)", capsys.readouterr().out)[1])
    assert abs(accuracy - 0.5) < 0.12  # four standard deviations


def test_the_same_seed_gives_the_same_ranking(tmp_path):
    table, _ = clouds(tmp_path)
    for name in "ab":
        assert main(["audit", str(table), "--target", "kind", "--seed", "5", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_what_is_refused_writes_nothing(tmp_path, capsys, monkeypatch):
    table, _ = clouds(tmp_path)
    before, places = table.read_text(), ["-o", str(tmp_path / "r.csv"), "--report", str(tmp_path / "r.html")]
    for more, message in (
        (["--target", "no"], "has no column 'no'"),
        (["--target", "kind", "--folds", "79"], "--folds: got 79, expected 2 to 78, the rows that have a class"),
        (["--target", "kind", "-o", str(table)], "output: is the same file as table"),
        (["--target", "kind", "--report", str(tmp_path / "none" / "r.html")], "does not exist"),
    ):
        assert main(["audit", str(table), *places, *more]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    with pytest.raises(SystemExit, match="2"):
        main(["audit", str(table), "--target", "kind", "--folds", "1"])
    fit = command.fit

    def interrupted(*arguments, **options):
        history = fit(*arguments, **options | {"epochs": 1})
        history.stopped = "interrupted"
        return history

    monkeypatch.setattr(command, "fit", interrupted)
    assert main(["audit", str(table), "--target", "kind", *places]) == 130
    assert [p.name for p in tmp_path.iterdir()] == ["clouds.csv"]
    assert table.read_text() == before


def test_a_class_of_one_row_is_said(tmp_path, capsys):
    rows = [["x", "y"], *([str(n), "ab"[n % 2]] for n in range(12)), ["3.5", "c"]]
    assert main(["audit", str(write(tmp_path / "t.csv", rows)), "--target", "y", "--hidden", "none"]) == 0
    said = capsys.readouterr()
    assert "column 'y': 1 class has one row, which no other row tells of: 'c'" in said.err
    assert "audited 13 rows" in said.out


def test_the_ranking_holds_no_formulas(tmp_path):
    rows = [[round(float(i % 2 * 3 + i % 7 / 7), 3), ["=1+1", "-2"][i % 2]] for i in range(40)]
    table = write(tmp_path / "t.csv", [["x", "y"], *rows])
    assert main(["audit", str(table), "--target", "y", "--folds", "2", "-o", str(tmp_path / "r.csv")]) == 0
    assert {row["called"] for row in read(tmp_path / "r.csv")} == {"'=1+1", "-2"}


def test_rows_count_by_their_weight_and_are_named_by_their_ids(tmp_path, capsys):
    """A row of weight 0 is ranked, and nothing is learned from it."""
    random = np.random.default_rng(0)
    rows = [[f"{random.normal() + 5 * (n % 2):.3f}", "ab"[n % 2], f"n{n}", "=1+1", 1 + n % 2] for n in range(60)]
    # a second cloud of a's near the b's, which count for nothing
    rows += [[f"{random.normal() + 5:.3f}", "a", f"n{60 + n}", "x", 0] for n in range(60)]
    table, ranking = write(tmp_path / "t.csv", [["x", "kind", "name", "row", "many"], *rows]), tmp_path / "r.csv"
    command = ["audit", str(table), "--target", "kind", "--id", "name,row", "-o", str(ranking), "--hidden", "8"]
    assert main([*command, "--weight", "many"]) == 0
    found = read(ranking)
    assert list(found[0])[:4] == ["row", "name", "row (id)", "called"]
    assert all(row["name"] == f"n{row['row']}" for row in found)
    assert {row["row (id)"] for row in found} == {"'=1+1", "x"}
    none = [row for row in found if int(row["row"]) >= 60]
    assert sum(float(row["probability of suggested"]) > 0.5 for row in none) > 50
    counted = [row for row in found if int(row["row"]) < 60]
    right = sum((1 + int(row["row"]) % 2) * (float(row["probability of called"]) > 0.5) for row in counted) / 90
    assert f"accuracy: {right:.4f}" in capsys.readouterr().out
    assert main([*command, "--weight", "name"]) == 1
