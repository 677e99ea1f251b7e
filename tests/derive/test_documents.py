"""Derivations in LaTeX: words escaped, formulas that fit, documents that compile."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest
from derivation_list import shown
from lecture_lines import (
    LECTURE,
    derivation,
    exp,
    hostile,
    line,
    minus,
    sides,
)

from chainrule.derive.syntax import (
    Sum,
)
from chainrule.derive.writing import documents, tex
from chainrule.derive.writing.tex import latex


def test_words_are_escaped_for_latex():
    assert tex.escape("50 % & é ê “x”") == r"50 \% \& \'{e} \^{e} ``x''"
    assert tex.escape("Σ_{i'} exp(a_{Li'})²") == r"$\Sigma_{i'}$ exp($a_{Li'}$)${}^2$"
    assert tex.escape(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert tex.escape("softmax(a)_i") == "softmax(a$)_i$"
    assert tex.escape("漢") == "[U+6F22]"
    assert tex.escape("a_L ŷ_1 x_train") == r"$a_L$ $\hat{y}_1$ x\_train"


@pytest.mark.parametrize("make", [documents.article, documents.beamer])
def test_the_documents(make):
    source = make([derivation(), hostile()])
    assert source.isascii()
    assert r"\input" not in source
    assert source.count(r"\begin{align*}") == source.count(r"\end{align*}") >= 2
    for _, node in LECTURE[9:12]:
        assert latex(node) in source
    if make is documents.beamer:
        assert r"\uncover<2->" in source
        assert source.count(r"\begin{frame}") == source.count(r"\end{frame}") >= 4


def test_a_long_formula_is_broken_between_terms_and_factors():
    def source(node):
        return documents.article([SimpleNamespace(name="", title="", intro="", lines=[line(node)])])

    assert r"\quad" not in source(LECTURE[12][1])
    assert source(Sum(tuple(sides(exp(k), exp("i")) for k in range(1, 9)))).count(r"\quad \fit{{}+\exp") >= 2
    factors = source(sides(*(minus(exp(k), exp("i")) for k in range(1, 9))))
    assert factors.count(r"\quad \fit{{}\cdot\left(") + factors.count(r"\quad \fit{{}\cdot \left(") >= 2


def written_by_tex(source, folder):
    """What pdflatex says of a document that it has made a PDF of."""
    (folder / "it.tex").write_text(source, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "it.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "it.pdf").exists()
    return done.stdout


needs_tex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("make", [documents.article, documents.beamer])
@pytest.mark.parametrize("numbers", [False, True], ids=["plain", "numbers"])
def test_every_derivation_compiles_and_nothing_overflows(make, numbers, tmp_path):
    said = written_by_tex(make(shown(None, numbers)), tmp_path)
    assert "Overfull" not in said, said[-3000:]


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("make", [documents.article, documents.beamer])
def test_hostile_words_compile(make, tmp_path):
    written_by_tex(make([hostile()]), tmp_path)
