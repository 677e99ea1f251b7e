"""`chainrule tune`, and the importance of columns: what takes scikit-learn besides the command."""

import re

import numpy as np
import pytest
from command_line import write

from chainrule.command.cli import main

for module in ("polars", "rich", "safetensors", "jinja2"):
    pytest.importorskip(module, reason=f"{module} is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chainrule.command import tuning  # noqa: E402
from chainrule.command.training import train  # noqa: E402
from chainrule.tables import load  # noqa: E402


def rings(path, n=240):
    """A ring around another: no line tells them apart, and the column z says nothing."""
    random = np.random.default_rng(0)
    rows = [["x", "y", "z", "ring"]]
    for i in range(n):
        angle, radius = random.uniform(0, 2 * np.pi), [1.0, 2.5][i % 2] + 0.15 * random.normal()
        rows.append([radius * np.cos(angle), radius * np.sin(angle), random.normal(), ["inner", "outer"][i % 2]])
    return write(path, rows)


def test_a_search_finds_what_the_request_lacks(tmp_path, capsys, monkeypatch):
    """Asked for a network without hidden layers, it finds that some are needed, and writes the best model."""
    asked = []
    monkeypatch.setattr(tuning, "train", lambda request, *more: asked.append(request) or train(request, *more))
    path, model = rings(tmp_path / "t.csv"), tmp_path / "m.safetensors"
    command = ["tune", str(path), "--target", "ring", "--test", "0.25", "--hidden", "none", "--epochs", "40"]
    assert main([*command, "--trials", "8", "--seeds", "2", "-o", str(model)]) == 0
    told = capsys.readouterr().out
    rows = [line for line in told.splitlines() if re.match(r"(none|[\d,]+) +(default|[\d.e-]+) ", line)]
    losses = [float(re.split(r"\s{2,}", row)[-2]) if "own" not in row else float(row.split()[4]) for row in rows]
    assert len(rows) == 4
    assert losses == sorted(losses)
    assert "the request's own" in rows[-1]
    assert rows[0].split()[0] != "none"
    assert asked[0].seed == 0  # the test's rows are those that the search was kept from, whatever seed was best
    assert asked[0].start in (0, 1)
    widths = load(model).network.widths
    assert widths[1:-1] == [int(w) for w in rows[0].split()[0].split(",")]
    assert float(re.search(r"test accuracy: +(\S+)", told)[1]) > 0.9
    before = model.read_bytes()
    assert main([*command, "--trials", "8", "--seeds", "2", "-o", str(model)]) == 0
    assert model.read_bytes() == before  # the same seed finds the same
    assert main(["tune", str(path), "--target", "ring", "--validation", "0", "-o", str(model)]) == 1
    assert "expected rows to judge the settings by" in capsys.readouterr().err


def test_the_report_says_which_columns_matter(tmp_path):
    path, report = rings(tmp_path / "t.csv"), tmp_path / "r.html"
    command = ["train", str(path), "--target", "ring", "--epochs", "60", "--report", str(report)]
    assert main([*command, "-o", str(tmp_path / "m.safetensors")]) == 0
    page = report.read_text()
    section = page[page.index('id="importance"') :]
    rows = re.findall(r'<th scope="row">(\w)</th><td><span class="num" title="([^"]+)"', section)[:3]
    rises = {name: float(value.replace("−", "-")) for name, value in rows}
    assert list(rises)[-1] == "z"
    assert min(rises["x"], rises["y"]) > 20 * abs(rises["z"])
    card = page[page.index('id="card"') :]
    for text in ("one of 2 classes: inner (120), outer (120)", "3 columns (x, y, z)", "240 rows"):
        assert text in card
