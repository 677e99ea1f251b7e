"""Lines of LaTeX are read as the lecture means them; what cannot be read is an error that says why."""

from fractions import Fraction

import pytest

from chainrule.derive.lecture import UnreadableError, read_expression, read_line
from chainrule.derive.syntax import (
    Call,
    Cases,
    Comparison,
    Derivative,
    Element,
    Gradient,
    Indexed,
    Indicator,
    Name,
    Negative,
    Number,
    OneHot,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Transpose,
    Vector,
)

# --- Reading ---

A_LI, Y_L, A_L = Indexed("a_L", ("i",)), Indexed("ŷ", ("ℓ",)), Name("a_L")
TOTAL = SumOver("i'", Element(Call("exp", A_L), ("i'",)))
ONE = Number(Fraction(1))


@pytest.mark.parametrize(
    ("latex", "node"),
    [
        (r"a_{Li}", A_LI),
        (r"a_{L,i}", A_LI),
        (r"\mathbf{a}_{L,i'}", Indexed("a_L", ("i'",))),
        (r"a_{L\ell}", Indexed("a_L", ("ℓ",))),
        (r"a_{L1}", Indexed("a_L", (1,))),
        (r"\mathbf{a}_L", A_L),
        (r"W_{111}", Indexed("W_1", (1, 1))),
        (r"W_{k+1,ij}", Indexed("W_{k+1}", ("i", "j"))),
        (r"h_{k-1,j}", Indexed("h_{k−1}", ("j",))),
        (r"\mathbf{h}_{L-1}", Name("h_{L−1}")),
        (r"a_3", Name("a_3")),
        (r"\hat y_\ell", Y_L),
        (r"\hat{\mathbf{y}}", Name("ŷ")),
        (r"\mathbf{\hat{y}}_K", Indexed("ŷ", ("K",))),
        (r"\lambda", Name("λ")),
        (r"\mathcal{L}(\theta)", Name("𝓛")),
        (r"\mathcal{L}", Name("𝓛")),
        (r"\mathbb{1}_{(\ell=i)}", Indicator("ℓ", "i")),
        (r"\mathbb{1}[\ell = i]", Indicator("ℓ", "i")),
        (r"\mathbb{1}_{[i=K]}", Indicator("i", "K")),
        (r"\mathbb{1}_{\{i' = 1\}}", None),
        (r"\mathbf{e}(\ell)", OneHot("ℓ")),
        (r"\mathbf{e}(\ell)_i", Element(OneHot("ℓ"), ("i",))),
        (r"\mathbf{e}_\ell^\top", Transpose(OneHot("ℓ"))),
        (r"\exp(a_{Li})", Call("exp", A_LI)),
        (r"e^{a_{Li}}", Call("exp", A_LI)),
        (r"\exp(\mathbf{a}_L)_i", Element(Call("exp", A_L), ("i",))),
        (r"\mathrm{softmax}(\mathbf{a}_L)_\ell", Element(Call("softmax", A_L), ("ℓ",))),
        (r"\operatorname{softmax}\left(\mathbf{a}_L\right)_\ell", Element(Call("softmax", A_L), ("ℓ",))),
        (r"\sum_{i'} \exp(\mathbf{a}_L)_{i'}", TOTAL),
        (r"\sum_{i'=1}^{K} \exp(\mathbf{a}_L)_{i'}", TOTAL),
        (r"\sum_{j \neq \ell} \hat{y}_j", SumOver("j", Indexed("ŷ", ("j",)), "ℓ")),
        (r"\left[ \sum_{i'} \exp(\mathbf{a}_L)_{i'} \right]^2", Power(TOTAL, Number(Fraction(2)))),
        (r"\log \hat{y}_\ell", Call("log", Y_L)),
        (r"\ln(\hat{y}_\ell)", Call("log", Y_L)),
        (r"\log \sum_j e^{a_{Lj}}", Call("log", SumOver("j", Call("exp", Indexed("a_L", ("j",)))))),
        (r"\sigma'(a)", Call("σ'", Name("a"))),
        (r"g'(\mathbf{a}_k)", Call("g'", Name("a_k"))),
        (r"\tanh^2(a)", Power(Call("tanh", Name("a")), Number(Fraction(2)))),
        (r"W_{k+1}^T \nabla_{\mathbf{a}_{k+1}} \mathcal{L}",
         Product((Transpose(Name("W_{k+1}")), Gradient(Name("𝓛"), Name("a_{k+1}"))), ("",))),
        (r"\nabla_{h_k} \mathcal{L} \odot g'(a_k)",
         Product((Gradient(Name("𝓛"), Name("h_k")), Call("g'", Name("a_k"))), ("⊙",))),
        (r"\frac{-1}{\hat{y}_\ell} \cdot 2", Product((Quotient(Negative(ONE), Y_L), Number(Fraction(2))), ("·",))),
        (r"1/\hat{y}_\ell - 0.5", Sum((Quotient(ONE, Y_L), Negative(Number(Fraction(1, 2)))))),
        (r"\frac{\partial \hat{y}_\ell}{\partial a_{Li}}", Derivative(Y_L, A_LI)),
        (r"\frac{\partial}{\partial a_{Li}} \hat{y}_\ell", Derivative(Y_L, A_LI, True)),
        (r"\frac{\partial}{\partial a_{Li}} - \log \hat{y}_\ell", Derivative(Negative(Call("log", Y_L)), A_LI, True)),
        (r"\frac{\partial - \log \hat{y}_\ell}{\partial a_{Li}}", Derivative(Negative(Call("log", Y_L)), A_LI)),
        (r"\frac{\partial^2 \mathcal{L}}{\partial a_{Li} \partial a_{Lj}}",
         Derivative(Derivative(Name("𝓛"), Indexed("a_L", ("j",))), A_LI)),
        (r"\frac{\partial}{\partial a_{Li}} \hat{y}_\ell + \frac{\partial}{\partial a_{Li}} \hat{y}_i",
         Sum((Derivative(Y_L, A_LI, True), Derivative(Indexed("ŷ", ("i",)), A_LI, True)))),
        (r"[\hat{y}_1, \ldots, \hat{y}_K]^\top", Vector((Indexed("ŷ", (1,)), None, Indexed("ŷ", ("K",))))),
        (r"\begin{pmatrix} \hat{y}_1 \\ \vdots \\ \hat{y}_K \end{pmatrix}",
         Vector((Indexed("ŷ", (1,)), None, Indexed("ŷ", ("K",))))),
        (r"\begin{cases} -1/\hat{y}_\ell & \text{if } i = \ell \\ 0 & \text{otherwise} \end{cases}",
         Cases((Negative(Quotient(ONE, Y_L)), Number(Fraction(0))), (Comparison("i", "=", "ℓ"),))),
        (r"\begin{cases} 1 & a > 0 \\ 0 & \text{if} \; a < 0 \\ \end{cases}",
         Cases((ONE, Number(Fraction(0))),
               (Comparison(Name("a"), ">", Number(Fraction(0))), Comparison(Name("a"), "<", Number(Fraction(0)))))),
        (r"\operatorname{diag}(\hat{\mathbf{y}})", Call("diag", Name("ŷ"))),
        (r"\text{leaky\_relu}(a)", Call("leaky_relu", Name("a"))),
    ],
)  # fmt: skip
def test_the_lectures_notation_is_read(latex, node):
    read = read_expression(latex)
    assert read == (Indicator("i'", 1) if node is None else node)
    spaced = read_expression(rf"\left( \, {latex} \; \right) \quad")
    assert spaced == read


def test_the_sides_of_a_line():
    assert read_line("= a_3").left is None
    assert read_line("= a_3").continues
    assert not read_line("a_3").continues
    line = read_line("a_3 &= a_2 = a_1 \\\\")
    assert (line.left, line.rights) == (Name("a_3"), (Name("a_2"), Name("a_1")))


@pytest.mark.parametrize(
    ("latex", "said"),
    [
        (r"= \input{/etc/passwd}", r"\input is not a command"),
        (r"x + \foo", r"\foo is not a command"),
        (r"\frac{1}{", "the bracket { is not closed"),
        (r"(a_3", "the bracket ( is not closed"),
        (r"a_3 )", ") is not expected"),
        (r"a_3 \cdot", "nothing stands after"),
        (r"\frac{\partial}{\partial a_{Li}}", "nothing follows"),
        (r"\frac{\partial}{\partial 2} x", "with respect to a name"),
        (r"\sum_{i'}", "nothing follows"),
        (r"\sum x", "runs over one index"),
        (r"\sum_{j=2} \hat{y}_j", "Σ begins at 1"),
        (r"\nabla_{a_{Li}} \mathcal{L}", "grad is not of the lecture's notation"),
        (r"\hat{y}_{0}", "an index of 0"),
        (r"a_3 # b", "# is not expected"),
        (r"\begin{cases} 1 \end{cases}", "one otherwise at the end"),
        (r"\begin{cases} 1 & \text{otherwise} \end{cases}", "one otherwise at the end"),
        (r"\begin{cases} 1 & \text{if } a_3 = 2 a_2 \end{cases}", "compare indices"),
        (r"\begin{bmatrix} a_{L1} \\ \vdots \\ \hat{y}_K \end{bmatrix}", "does not continue"),
        (r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", "several rows and columns"),
        ("__import__('os')", "_ is not expected"),
        ("", "nothing is written"),
    ],
)
def test_what_cannot_be_read_is_an_error(latex, said):
    with pytest.raises(UnreadableError) as error:
        read_line(latex)
    assert said in str(error.value)
