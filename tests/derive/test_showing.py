"""How expressions are shown: every node in three notations, the lecture's lines."""

import xml.etree.ElementTree as ET

import pytest
from lecture_lines import (
    DELTA,
    LECTURE,
    LOG,
    LOSS,
    a,
    minus,
    number,
    sides,
    y,
)

from chainrule.derive.syntax import (
    Call,
    Cases,
    Comparison,
    Derivative,
    Element,
    Gradient,
    Indexed,
    Name,
    Negative,
    OneHot,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Transpose,
    Vector,
)
from chainrule.derive.writing import mathml, unicode
from chainrule.derive.writing.tex import latex
from chainrule.derive.writing.unicode import text

CORE = {
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mfrac",
    "msub",
    "msup",
    "munder",
    "munderover",
    "mover",
    "mtable",
    "mtr",
    "mtd",
    "mtext",
}

THIN = '<mo lspace="0" rspace="0.17em">'  # an operator that is spoken, and only keeps its sides apart
# Each node: its text, its LaTeX, its MathML inside <math>.
# fmt: off
NODES = [
    (number(2), "2", "2", "<mn>2</mn>"),
    (number("-1/2"), "−1/2", r"-\frac{1}{2}", "<mrow><mo>−</mo><mfrac><mn>1</mn><mn>2</mn></mfrac></mrow>"),
    (LOSS, "𝓛", r"\mathcal{L}(\theta)", "<mi>𝓛</mi>"),
    (Name("λ"), "λ", r"\lambda", "<mi>λ</mi>"),
    (Name("a_L"), "a_L", r"\mathbf{a}_L", "<msub><mi>𝐚</mi><mi>L</mi></msub>"),
    (Name("W_{k+1}"), "W_{k+1}", r"\mathbf{W}_{k+1}",
     "<msub><mi>𝐖</mi><mrow><mi>k</mi><mo>+</mo><mn>1</mn></mrow></msub>"),
    (y("ℓ"), "ŷ_ℓ", r"\hat{y}_\ell",
     '<msub><mover accent="true"><mi>y</mi><mo stretchy="false">^</mo></mover><mi>ℓ</mi></msub>'),
    (a("i'"), "a_{Li'}", "a_{Li'}", "<msub><mi>a</mi><mrow><mi>L</mi><msup><mi>i</mi><mo>′</mo></msup></mrow></msub>"),
    (Indexed("W_1", (1, 1)), "W_111", "W_{111}", "<msub><mi>W</mi><mrow><mn>1</mn><mn>1</mn><mn>1</mn></mrow></msub>"),
    (Indexed("W_1", (10, 2)), "W_{1,10,2}", "W_{1,10,2}",
     "<msub><mi>W</mi><mrow><mn>1</mn><mo>,</mo><mn>10</mn><mo>,</mo><mn>2</mn></mrow></msub>"),
    (Indexed("s", ("ℓ", "i")), "s_{ℓi}", r"s_{\ell i}", "<msub><mi>s</mi><mrow><mi>ℓ</mi><mi>i</mi></mrow></msub>"),
    (Element(Call("exp", Name("a")), ("i",)), "exp(a)_i", r"\exp(a)_i",
     "<msub><mrow><mi>exp</mi><mo>\u2061</mo><mrow><mo>(</mo><mi>a</mi><mo>)</mo></mrow></mrow><mi>i</mi></msub>"),
    (Call("softmax", Name("x")), "softmax(x)", r"\text{softmax}(x)",
     "<mrow><mi>softmax</mi><mo>\u2061</mo><mrow><mo>(</mo><mi>x</mi><mo>)</mo></mrow></mrow>"),
    (Call("log", Name("x")), "log x", r"\log x", f"<mrow><mi>log</mi>{THIN}\u2061</mo><mi>x</mi></mrow>"),
    (Call("g'", Name("x")), "g′(x)", "g'(x)",
     "<mrow><msup><mi>g</mi><mo>′</mo></msup><mo>\u2061</mo><mrow><mo>(</mo><mi>x</mi><mo>)</mo></mrow></mrow>"),
    (Call("log1p", Quotient(Name("x"), Name("y"))), "log1p(x/y)", r"\operatorname{log1p}\left( \frac{x}{y} \right)",
     "<mrow><mi>log1p</mi><mo>\u2061</mo><mrow><mo>(</mo><mfrac><mi>x</mi><mi>y</mi></mfrac><mo>)</mo></mrow></mrow>"),
    (Negative(Name("x")), "−x", "-x", "<mrow><mo>−</mo><mi>x</mi></mrow>"),
    (Sum((Name("x"), Name("y"), Negative(Name("z")), number(-1))), "x + y − z − 1", "x + y - z - 1",
     "<mrow><mi>x</mi><mo>+</mo><mi>y</mi><mo>−</mo><mi>z</mi><mo>−</mo><mn>1</mn></mrow>"),
    (Product((Name("x"), Name("y"), Name("z"), number(2)), ("", "·", "")), "x y · z · 2", r"x y \cdot z \cdot 2",
     f"<mrow><mi>x</mi>{THIN}\u2062</mo><mi>y</mi><mo>·</mo><mi>z</mi><mo>·</mo><mn>2</mn></mrow>"),
    (sides(Name("x"), Name("y"), sign="⊙"), "x ⊙ y", r"x \odot y", "<mrow><mi>x</mi><mo>⊙</mo><mi>y</mi></mrow>"),
    (Quotient(Name("x"), minus(Name("y"), Name("z"))), "x / (y − z)", r"\frac{x}{y - z}",
     "<mfrac><mi>x</mi><mrow><mi>y</mi><mo>−</mo><mi>z</mi></mrow></mfrac>"),
    (Power(Name("x"), number(2)), "x²", "x^2", "<msup><mi>x</mi><mn>2</mn></msup>"),
    (Power(Name("x"), minus(Name("γ"), number(1))), "x^{γ − 1}", r"x^{\gamma - 1}",
     "<msup><mi>x</mi><mrow><mi>γ</mi><mo>−</mo><mn>1</mn></mrow></msup>"),
    (SumOver("i'", Name("x")), "Σ_{i'} x", r"\sum_{i'} x",
     "<mrow><munder><mo>∑</mo><msup><mi>i</mi><mo>′</mo></msup></munder><mi>x</mi></mrow>"),
    (SumOver("j", Name("x"), without="ℓ"), "Σ_{j≠ℓ} x", r"\sum_{j \neq \ell} x",
     "<mrow><munder><mo>∑</mo><mrow><mi>j</mi><mo>≠</mo><mi>ℓ</mi></mrow></munder><mi>x</mi></mrow>"),
    (SumOver("j", Name("x"), limit="n"), "Σ_{j=1}^n x", r"\sum_{j=1}^n x",
     "<mrow><munderover><mo>∑</mo><mrow><mi>j</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>x</mi></mrow>"),
    (DELTA, "𝟙[ℓ=i]", r"\mathbb{1}_{(\ell=i)}",
     "<msub><mn>𝟙</mn><mrow><mo>(</mo><mi>ℓ</mi><mo>=</mo><mi>i</mi><mo>)</mo></mrow></msub>"),
    (OneHot("ℓ"), "e(ℓ)", r"\mathbf{e}(\ell)",
     "<mrow><mi>𝐞</mi><mo>\u2061</mo><mrow><mo>(</mo><mi>ℓ</mi><mo>)</mo></mrow></mrow>"),
    (Derivative(Name("x"), Name("y")), "∂x/∂y", r"\frac{\partial x}{\partial y}",
     "<mfrac><mrow><mo>∂</mo><mi>x</mi></mrow><mrow><mo>∂</mo><mi>y</mi></mrow></mfrac>"),
    (Derivative(Negative(Name("x")), Name("y"), follows=True), "∂/∂y [−x]",
     r"\frac{\partial}{\partial y} \left[ -x \right]",
     "<mrow><mfrac><mo>∂</mo><mrow><mo>∂</mo><mi>y</mi></mrow></mfrac>"
     "<mrow><mo>[</mo><mrow><mo>−</mo><mi>x</mi></mrow><mo>]</mo></mrow></mrow>"),
    (Gradient(LOSS, Name("a_L")), "∇_{a_L} 𝓛", r"\nabla_{\mathbf{a}_L} \mathcal{L}(\theta)",
     "<mrow><msub><mo>∇</mo><msub><mi>𝐚</mi><mi>L</mi></msub></msub><mi>𝓛</mi></mrow>"),
    (Vector((Name("x"), None, Name("y"))), "[x, …, y]ᵀ", r"\begin{bmatrix} x \\ \vdots \\ y \end{bmatrix}",
     "<mrow><mo>[</mo><mtable><mtr><mtd><mi>x</mi></mtd></mtr><mtr><mtd><mo>⋮</mo></mtd></mtr>"
     "<mtr><mtd><mi>y</mi></mtd></mtr></mtable><mo>]</mo></mrow>"),
    (Transpose(Vector((Name("x"), Name("y")))), "[x, y]", r"\begin{bmatrix} x \\ y \end{bmatrix}^\top",
     "<msup><mrow><mo>[</mo><mtable><mtr><mtd><mi>x</mi></mtd></mtr><mtr><mtd><mi>y</mi></mtd></mtr></mtable>"
     "<mo>]</mo></mrow><mi>⊤</mi></msup>"),
    (Transpose(Name("x")), "xᵀ", r"x^\top", "<msup><mi>x</mi><mi>⊤</mi></msup>"),
    (Comparison("i", "≠", 2), "i ≠ 2", r"i \neq 2", "<mrow><mi>i</mi><mo>≠</mo><mn>2</mn></mrow>"),
    (Cases((Name("x"), number(0)), (Comparison("i'", "=", "ℓ"),)), "x if i' = ℓ, and 0 otherwise",
     r"\begin{cases} x & \text{if } i' = \ell \\ 0 & \text{otherwise} \end{cases}",
     "<mrow><mo>{</mo><mtable><mtr><mtd><mi>x</mi></mtd><mtd><mtext>if\N{NO-BREAK SPACE}</mtext>"
     "<mrow><msup><mi>i</mi><mo>′</mo></msup><mo>=</mo><mi>ℓ</mi></mrow></mtd></mtr>"
     "<mtr><mtd><mn>0</mn></mtd><mtd><mtext>otherwise</mtext></mtd></mtr></mtable></mrow>"),
]
# fmt: on


@pytest.mark.parametrize(("node", "plain", "source", "inner"), NODES, ids=[row[1] for row in NODES])
def test_every_node_in_three_notations(node, plain, source, inner):
    assert text(node) == plain
    assert latex(node) == source
    assert mathml.mathml(node) == f'<math display="block" alttext="{plain}">{inner}</math>'


def test_no_node_is_forgotten():
    kinds = {kind for name, kind in vars(unicode.s).items() if name in unicode.s.__all__ and isinstance(kind, type)}
    assert kinds - {unicode.s.Node} == {type(row[0]) for row in NODES}
    with pytest.raises(TypeError, match="not a node"):
        text("x")
    with pytest.raises(ValueError, match="signs"):
        text(Product((Name("x"), Name("y")), ("?",)))


@pytest.mark.parametrize(("line", "node"), LECTURE, ids=[row[0] for row in LECTURE])
def test_the_lectures_lines(line, node):
    assert text(node).replace(" ", "") == line.replace(" ", "")


def test_mathml_is_well_formed_and_core():
    for node in [row[0] for row in NODES] + [node for _, node in LECTURE]:
        root = ET.fromstring(mathml.mathml(node))
        assert {element.tag for element in root.iter()} <= CORE
        assert root.attrib == {"display": "block", "alttext": text(node)}
        sizes = {"mfrac": 2, "msub": 2, "msup": 2, "mover": 2, "munder": 2, "munderover": 3}
        for element in root.iter():
            assert len(element) == sizes.get(element.tag, len(element))
            assert not len(element) or not (element.text or "").strip()
    both = ET.fromstring(mathml.equation(LOSS, LOG))
    assert both.attrib["alttext"] == "𝓛 = −log ŷ_ℓ"
    assert ET.fromstring(mathml.mathml(Name('<"&'))).attrib["alttext"] == '<"&'
