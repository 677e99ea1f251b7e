"""The views of a chain: text, Rich, LaTeX, MathML, JSON, and two chains side by side, each against the chain's data."""

import doctest
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from chainrule import Network
from chainrule.errors import InputError
from chainrule.explain import Chain, Factor, Finding, explain
from chainrule.explain.symbols import number
from chainrule.explain.views.terminal import print_chain

NASTY = "<img src=x onerror=alert(1)>"


def example(widths=(4, 8, 3), activation="tanh", seed=0, **options):
    net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
    return explain(net, np.random.default_rng(seed + 1).normal(size=widths[0]), 0, **options)


def names(widths):
    return {"feature_names": [NASTY] * widths[0], "classes": [NASTY, *"bcdefghij"[: widths[-1] - 1]]}


def test_the_guide_runs_as_written():
    guide = Path(__file__).parents[2] / "docs" / "pages.md"
    found = doctest.testfile(str(guide), module_relative=False, encoding="utf-8")
    assert found.attempted >= 9
    assert found.failed == 0


def test_the_data_is_frozen_and_keeps_its_names():
    chain = example().weight(1, 2, 3)
    assert [f.name for f in fields(Factor)][:7] == [
        "symbol", "meaning", "shape", "value", "finite_difference", "relative_error", "verdict",
    ]  # fmt: skip
    assert [f.name for f in fields(Finding)] == ["kind", "text", "evidence"]
    for record in (chain, chain.groups[0], chain.groups[0].factors[0], chain.paths[0]):
        with pytest.raises(FrozenInstanceError):
            record.symbol = "W"


def test_a_chain_as_json():
    for options in ({}, {"batch_size": 4}):
        chain = example(**options).weight(1, 2, 3)
        data = json.loads(json.dumps(chain.to_dict(), allow_nan=False))
        assert data["version"] == 2
        assert set(data) == {"version", *(f.name for f in fields(Chain))} - {"explanation"}
        for group, came in zip(chain.groups, data["groups"], strict=True):
            assert [f["symbol"] for f in came["factors"]] == [f.symbol for f in group.factors]
            for factor, f in zip(group.factors, came["factors"], strict=True):
                assert (f["value"], tuple(f["shape"])) == (factor.value, factor.shape)
        assert data["product"] == chain.product
        assert data["batch_size"] == chain.batch_size


def test_an_explanation_as_json():
    explanation = example(image=(2, 2))
    data = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert data["version"] == 2
    assert (data["widths"], data["activation"], data["image"]) == ([4, 8, 3], "tanh", [2, 2])
    assert data["grad_activations"][0] == explanation.backward.grad_activations[0][0].tolist()
    assert [f["kind"] for f in data["findings"]] == [f.kind for f in explanation.diagnosis()]
    assert json.loads(json.dumps(explanation.check().to_dict(), allow_nan=False))["ok"] is True


def told(number_):
    """A number that no other place has."""
    return replace(example((4, 8, 3)).weight(1, 2, 3), **number_)


def breaking():
    """An example that has findings, at a label that is not the first."""
    net = Network([np.array([[0.0], [-120.0], [-1.0]])], [np.zeros(3)])
    return explain(net, [1.0], 1, classes=["cat", "dog", "emu"])


def test_every_view_tells_the_findings_and_the_true_class():
    chain = breaking().weight(1, 2, 1)
    assert {f.kind for f in chain.findings} == {"float32 route breaks"}
    for text in (chain.to_text(), unescape(chain._repr_html_())):
        assert all(f.text in text for f in chain.findings)
    text = chain.to_text()
    assert text.startswith("True class: dog. Loss")
    assert [line.split()[0] for line in text.splitlines() if line.endswith("← ℓ")] == ["dog"]


def test_the_text_tells_three_ways_and_the_shares():
    chain = told({"product": 0.125, "from_backward": 0.25, "finite_difference": 0.375, "share": 0.0625})
    lines = chain.to_text().splitlines()
    (ways,) = [i for i, line in enumerate(lines) if line.startswith("product")]
    assert [line.split(":")[1].split()[0] for line in lines[ways : ways + 3]] == ["0.125", "0.25", "0.375"]
    assert "  together 6.25 % of the sum" in lines
    assert "6.25 % of the sum" in chain._repr_html_()
    group = max(chain.groups, key=lambda g: -min(g.gradient))
    named = f"  → ∂𝓛/∂{group.reached}: largest {number(max(group.gradient, key=abs))} "
    assert any(line.startswith(named) for line in lines)


@pytest.mark.parametrize("widths", [(4, 8, 3), (1, 1, 1, 1), (40, 30, 20, 10), (5, 3)])
def test_the_text_holds_every_factor(widths):
    explanation = example(widths)
    chain = explanation.weight(1, 1, 1)
    text = chain.to_text()
    for group in chain.groups:
        assert f"\n{group.heading}\n" in text
        for factor in group.factors:
            assert f"  {factor.symbol} " in text
        assert f"→ ∂𝓛/∂{group.reached}: largest {number(max(group.gradient, key=abs))} " in text
    for value in (chain.product, chain.finite_difference, chain.loss):
        assert number(value) in text
    assert chain.why in text
    assert all(sentence in text for sentence in chain.conventions)
    assert explanation.unit(1, 1).to_text().count("the weight itself") == 0


def test_rich_prints_the_same_numbers(monkeypatch, capsys):
    rich = pytest.importorskip("rich.console", reason="Rich is not installed")
    chain = example((8, 8, 3), **names((8, 3))).weight(1, 2, 3)
    console = rich.Console(width=200, record=True, file=io.StringIO())
    console.print(chain)
    text = console.export_text()
    for value in (chain.product, chain.finite_difference, chain.paths[0].product):
        assert number(value) in text
    assert NASTY in text
    assert f"{number(100 * chain.paths[0].share, 3)} %" in text
    assert {f"{n}{mark}" for n, mark in ((NASTY, " ← ℓ"), ("b", ""))} <= set(map(str.strip, re.split("[│┃\n]", text)))
    console.print(breaking().weight(1, 2, 1))
    shown = " ".join(console.export_text().split())
    assert all(f"Finding: {f.text}" in shown for f in breaking().diagnosis() if f.kind != "largest gradient")
    print_chain(chain)  # not on a terminal: plain
    assert capsys.readouterr().out.rstrip("\n") == chain.to_text()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_chain(chain)
    assert "┃" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_chain(chain)
    assert capsys.readouterr().out.rstrip("\n") == chain.to_text()


def chains():
    for widths in ((4, 8, 3), (1, 1, 1, 1), (40, 30, 20, 12), (5, 3), (16, *[16] * 10, 10)):
        explanation = example(widths)
        yield explanation.weight(*explanation.strongest_weight(1))
        yield explanation.unit(1, 1)
    yield example(batch_size=3).weight(2, 1, 1)
    yield explain(Network([np.array([[0.0], [-1200.0]])], [np.zeros(2)]), [1.0], 1).weight(1, 2, 1)


def test_latex_is_in_balance_and_holds_the_numbers():
    for chain in chains():
        latex = chain.to_latex()
        assert latex.count("{") == latex.count("}")
        assert sorted(re.findall(r"\\begin\{(.*?)\}", latex)) == sorted(re.findall(r"\\end\{(.*?)\}", latex))
        assert latex.count(r"\underbrace") == len(chain.groups)
        assert latex.count(r"\underset") == sum(len(group.factors) for group in chain.groups)
        assert latex.isascii()
    latex = example((1, 1, 1, 2)).weight(1, 1, 1)
    assert r"\operatorname{diag}\left[" in latex.to_latex()
    assert r"\operatorname{diag}\left[" not in example((5, 3)).weight(1, 1, 1).to_latex()
    assert r"-\infty" in list(chains())[-1].to_latex()
    value = latex.groups[-1].factors[0].value
    assert rf"\underset{{{value:.4g}}}{{\frac{{\partial a_{{1}}}}{{\partial W_{{111}}}}}}" in latex.to_latex()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    body = "\n".join(chain.to_latex() for chain in chains())
    document = (
        f"\\documentclass{{article}}\\usepackage{{amsmath,amssymb}}\\begin{{document}}\n{body}\\end{{document}}\n"
    )
    (tmp_path / "chain.tex").write_text(document, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "chain.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull \\vbox" not in run.stdout


def test_what_a_notebook_shows():
    explanation = example((4, 8, 3), **names((4, 3)))
    for chain in (explanation.weight(1, 2, 3), explanation.unit(2, 1)):
        shown = chain._repr_html_()
        root = ElementTree.fromstring(shown)
        assert len(root.findall("math")) == 1
        assert len(root.findall(".//mfrac")) == 1 + sum(len(g.factors) for g in chain.groups)
        assert number(chain.product, 12) in shown
        assert "http" not in shown
        assert "<img" not in shown
        assert len(shown) < 20_000
    shown = explanation._repr_html_()
    root = ElementTree.fromstring(shown)
    assert len(root.findall("table/tr")) == 1 + 3
    assert NASTY in "".join(root.itertext())
    assert "<img" not in shown
    many = example((4, 8, 300))._repr_html_()
    assert "… and 280 more classes" in many


def test_two_examples_side_by_side(tmp_path):
    net = Network.create([4, 8, 3], activation="tanh", seed=0, dtype="float64")
    random = np.random.default_rng(1)
    left, right = (explain(net, random.normal(size=4), label, **names((4, 3))) for label in (0, 2))
    compared = left.compare(right, names=("a", NASTY))
    place = left.strongest_weight()
    assert compared.left == left.weight(*place)
    assert compared.right == right.weight(*place)
    rows = {row.quantity: (row.left, row.right) for row in compared.rows}
    assert rows["loss 𝓛"] == (left.loss, right.loss)
    assert rows["label, counted from 1"] == (1, 3)
    assert rows[f"∂𝓛/∂{compared.left.symbol}"] == (compared.left.product, compared.right.product)
    for k in (1, 2):
        norms = [np.linalg.norm(e.backward.grad_preactivations[k - 1]) for e in (left, right)]
        assert rows[f"‖∂𝓛/∂a{'₀₁₂'[k]}‖"] == pytest.approx(norms)
    probabilities = [e.forward.probabilities[0] for e in (left, right)]
    assert rows["ŷ of the label"] == (probabilities[0][0], probabilities[1][2])
    for i, name in enumerate([NASTY, "b", "c"]):
        assert rows[f"ŷ of “{name}”"] == tuple(p[i] for p in probabilities)
        truth = [p[i] - (e.label == i) for p, e in zip(probabilities, (left, right), strict=True)]
        assert rows[f"∂𝓛/∂a of “{name}”"] == pytest.approx(truth, rel=1e-12)
    assert rows["its strongest path"] == (compared.left.paths[0].product, compared.right.paths[0].product)
    delta, source = (rows[name] for name in rows if name.startswith(("∂𝓛/∂a", "its input")) and "of" not in name)
    assert np.multiply(delta, source) == pytest.approx([compared.left.product, compared.right.product])
    text = compared.to_text()
    for value in (left.loss, right.loss, compared.left.product, compared.right.product):
        assert number(value) in text
    assert json.loads(json.dumps(compared.to_dict(), allow_nan=False))["right"]["loss"] == right.loss
    page = compared.to_html(tmp_path / "two.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "http" not in page
    assert page.count("<math") == 2
    ElementTree.fromstring(compared._repr_html_())


def test_two_checkpoints_side_by_side():
    net = Network.create([4, 8, 3], activation="tanh", seed=0, dtype="float64")
    later = Network([w * 1.5 for w in net.weights], net.biases, "tanh")
    x = np.ones(4)
    compared = explain(net, x, 1).compare(explain(later, x, 1), (1, 3))
    assert compared.left.input is None
    rows = {row.quantity: (row.left, row.right) for row in compared.rows}
    truth = [n.backward(n.forward(x[None]), [1]).grad_biases[0][2] for n in (net, later)]
    assert rows["∂𝓛/∂a₁,₃"] == pytest.approx(truth)


def test_what_cannot_be_compared():
    explanation = example()
    for other, message in (
        (example((4, 7, 3)), r"widths \[4, 7, 3\], expected \[4, 8, 3\]"),
        (example(batch_size=2), "batch_size=2, expected None"),
        (explanation.weight(1, 1, 1), "got Chain, expected an Explanation"),
    ):
        with pytest.raises(InputError, match=message):
            explanation.compare(other)
    for place in ((1,), 3, (1, 2, 3, 4), (9, 1, 1)):
        with pytest.raises(InputError, match=r"place: got|layer: got"):
            explanation.compare(example(seed=1), place)
