"""How derivations are shown: every node in three notations, the lecture's lines, brackets read back, documents."""

import html.parser
import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chainrule.derive import mathml, pages, tex, unicode
from chainrule.derive.syntax import (
    Call,
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
from chainrule.derive.tex import latex
from chainrule.derive.unicode import text

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
}
NASTY = "<script>alert(1)</script> & \\input{/etc/passwd} 100 % #1 $x$ ŷ_ℓ a_b^c ~ 漢"


def number(value):
    return Number(Fraction(value))


def minus(first, *others):
    return Sum((first, *map(Negative, others)))


def y(index):
    return Indexed("ŷ", (index,))


def a(index):
    return Indexed("a_L", (index,))


def exp(index):
    return Call("exp", a(index))


TOTAL = SumOver("i'", exp("i'"))
SOFT = Call("softmax", Name("a_L"))
FACTOR = Quotient(Negative(number(1)), y("ℓ"))
LOSS = Name("𝓛")
DELTA = Indicator("ℓ", "i")
LOG = Negative(Call("log", y("ℓ")))


def sides(*factors, sign=""):
    return Product(factors, (sign,) * (len(factors) - 1))


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


# --- The lecture's lines, in its order --------------------------------------------------------------------------------


def over(node):
    return Quotient(node, TOTAL)


LECTURE = [
    ("∂𝓛/∂ŷ_i", Derivative(LOSS, y("i"))),
    ("∂(−log ŷ_ℓ)/∂ŷ_i", Derivative(LOG, y("i"))),
    ("−1/ŷ_ℓ", FACTOR),
    ("−𝟙[i=ℓ] / ŷ_ℓ", Negative(Quotient(Indicator("i", "ℓ"), y("ℓ")))),
    ("∇_ŷ 𝓛", Gradient(LOSS, Name("ŷ"))),
    (
        "−(1/ŷ_ℓ) [𝟙[ℓ=1], …, 𝟙[ℓ=K]]ᵀ",
        Negative(sides(Quotient(number(1), y("ℓ")), Vector((Indicator("ℓ", 1), None, Indicator("ℓ", "K"))))),
    ),
    ("−(1/ŷ_ℓ) e(ℓ)", Negative(sides(Quotient(number(1), y("ℓ")), OneHot("ℓ")))),
    ("exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'})", over(exp("ℓ"))),
    ("∂(−log ŷ_ℓ)/∂a_{Li}", Derivative(LOG, a("i"))),
    ("(−1/ŷ_ℓ) ∂ŷ_ℓ/∂a_{Li}", sides(FACTOR, Derivative(y("ℓ"), a("i")))),
    ("(−1/ŷ_ℓ) ∂ softmax(a_L)_ℓ / ∂a_{Li}", sides(FACTOR, Derivative(Element(SOFT, ("ℓ",)), a("i")))),
    (
        "(−1/ŷ_ℓ) ∂/∂a_{Li} [ exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'}) ]",
        sides(FACTOR, Derivative(over(exp("ℓ")), a("i"), follows=True)),
    ),
    (
        "(−1/ŷ_ℓ) ( ∂exp(a_{Lℓ})/∂a_{Li} / Σ_{i'} exp(a_{Li'})  −  "
        "exp(a_{Lℓ}) · ∂(Σ_{i'} exp(a_{Li'}))/∂a_{Li} / (Σ_{i'} exp(a_{Li'}))² )",
        sides(
            FACTOR,
            minus(
                over(Derivative(exp("ℓ"), a("i"))),
                Quotient(sides(exp("ℓ"), Derivative(TOTAL, a("i")), sign="·"), Power(TOTAL, number(2))),
            ),
        ),
    ),
    (
        "(−1/ŷ_ℓ) ( 𝟙[ℓ=i] exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'})  −  "
        "exp(a_{Lℓ})/Σ_{i'} exp(a_{Li'}) · exp(a_{Li})/Σ_{i'} exp(a_{Li'}) )",
        sides(FACTOR, minus(over(sides(DELTA, exp("ℓ"))), sides(over(exp("ℓ")), over(exp("i")), sign="·"))),
    ),
    (
        "(−1/ŷ_ℓ) ( 𝟙[ℓ=i] softmax(a_L)_ℓ − softmax(a_L)_ℓ softmax(a_L)_i )",
        sides(
            FACTOR,
            minus(sides(DELTA, Element(SOFT, ("ℓ",))), sides(Element(SOFT, ("ℓ",)), Element(SOFT, ("i",)))),
        ),
    ),
    ("(−1/ŷ_ℓ) ( 𝟙[ℓ=i] ŷ_ℓ − ŷ_ℓ ŷ_i )", sides(FACTOR, minus(sides(DELTA, y("ℓ")), sides(y("ℓ"), y("i"))))),
    ("−(𝟙[ℓ=i] − ŷ_i)", Negative(minus(DELTA, y("i")))),
    ("∇_{a_L} 𝓛", Gradient(LOSS, Name("a_L"))),
    (
        "[−(𝟙[ℓ=1] − ŷ_1), …, −(𝟙[ℓ=K] − ŷ_K)]ᵀ",
        Vector(tuple(None if k is None else Negative(minus(Indicator("ℓ", k), y(k))) for k in (1, None, "K"))),
    ),
    ("−(e(ℓ) − ŷ)", Negative(minus(OneHot("ℓ"), Name("ŷ")))),
    # the other way to write the same trees, the misprints, and sections 2 and 3
    ("𝟙[ℓ=i] exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'})", sides(DELTA, over(exp("ℓ")))),
    ("Σ_{i'} (exp(a_L)_{i'})²", SumOver("i'", Power(Element(Call("exp", Name("a_L")), ("i'",)), number(2)))),
    (
        "W_{k+1}ᵀ ∇_{a_{k+1}} 𝓛",
        sides(Transpose(Name("W_{k+1}")), Gradient(LOSS, Name("a_{k+1}"))),
    ),
    ("∇_{h_k} 𝓛 ⊙ g′(a_k)", sides(Gradient(LOSS, Name("h_k")), Call("g'", Name("a_k")), sign="⊙")),
    ("∇_{a_k} 𝓛 · h_{k−1}ᵀ", sides(Gradient(LOSS, Name("a_k")), Transpose(Name("h_{k−1}")), sign="·")),
    (
        "(∂𝓛/∂ŷ · ∂ŷ/∂a_3) · (∂a_3/∂h_2 · ∂h_2/∂a_2) · (∂a_1/∂W_111)",
        sides(
            sides(Derivative(LOSS, Name("ŷ")), Derivative(Name("ŷ"), Name("a_3")), sign="·"),
            sides(Derivative(Name("a_3"), Name("h_2")), Derivative(Name("h_2"), Name("a_2")), sign="·"),
            sides(Derivative(Name("a_1"), Indexed("W_1", (1, 1)))),
            sign="·",
        ),
    ),
]


@pytest.mark.parametrize(("line", "node"), LECTURE, ids=[row[0] for row in LECTURE])
def test_the_lectures_lines(line, node):
    assert text(node).replace(" ", "") == line.replace(" ", "")


# --- Brackets: what is written is read back, and must mean the tree it came from --------------------------------------

PRIME = 2**61 - 1  # values are integers modulo this: no rounding, and every function is a hash


def scramble(kind, *values):
    return hash((kind, *values)) % PRIME


def meaning(node):
    """The value of a tree."""
    match node:
        case Number(value):
            return value.numerator * pow(value.denominator, -1, PRIME) % PRIME
        case Name() | Indexed():
            return sum(ord(c) * 131**k for k, c in enumerate(repr(node).replace("_{i}", "_i"))) % PRIME
        case Call(function, argument):
            return scramble(len(function), meaning(argument))
        case Negative(operand):
            return -meaning(operand) % PRIME
        case Sum(terms):
            return sum(map(meaning, terms)) % PRIME
        case Product(factors, signs):
            values = list(map(meaning, factors))
            if signs[0] == "⊙":
                return (sum(values) + len(values) - 1) % PRIME  # associative, and not a product
            return values[0] * meaning(Product(factors[1:], signs[1:] or ("",))) % PRIME if values[1:] else values[0]
        case Quotient(above, below):
            divisor = meaning(below)
            assume(divisor != 0)
            return meaning(above) * pow(divisor, -1, PRIME) % PRIME
        case Power(base, exponent):
            return scramble(101, meaning(base), meaning(exponent))
        case SumOver(_, body):
            return scramble(102, meaning(body))
        case Derivative(operand, variable):
            return scramble(103, meaning(operand), meaning(variable))
        case Gradient(operand, variable):
            return scramble(104, meaning(operand), meaning(variable))
        case Transpose(operand):
            return scramble(105, meaning(operand))
    raise AssertionError(node)


class Reader:
    """Reads plain text as somebody would who knows no tree. An eager reader lets log, Σ and ∂/∂x take in all that
    they could, a shy one the least; what is clear means the same to both."""

    def __init__(self, words, eager):
        self.tokens = re.findall(r"∂/∂|∇_|Σ_i|exp|log|[a-cŷ](?:_[iℓ])?|\d+|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|\^|\S", words)
        self.eager = eager

    def next(self, *wanted):
        if self.tokens and (not wanted or self.tokens[0] in wanted):
            return self.tokens.pop(0)
        return None

    def sum(self):
        negative = self.next("−")
        total = -self.term() if negative else self.term()
        while sign := self.next("+", "−"):
            total += self.term() if sign == "+" else -self.term()
        return total % PRIME

    def term(self):
        total = self.dotted()
        while self.next("⊙"):
            total += self.dotted() + 1
        return total % PRIME

    def dotted(self):
        value = self.side()
        while sign := self.next("·", "/"):
            value = value * (self.side() if sign == "·" else pow(self.side(below=True), -1, PRIME)) % PRIME
        return value

    def side(self, below=False):
        value = self.factor(below)
        # beneath a slash one factor alone: x/y z is read by nobody in the same way as by everybody
        while not below and self.tokens and self.tokens[0] not in tuple(")]}+−·⊙/"):
            value = value * self.factor(below) % PRIME
        return value

    def factor(self, below):
        if self.next("∂/∂"):
            variable = self.postfix()
            operand = self.sum() if self.eager else self.factor(below)
            return scramble(103, operand, variable)
        if self.next("∂"):
            operand = self.postfix()
            assert (self.next("/"), self.next("∂")) == ("/", "∂")
            return scramble(103, operand, self.postfix())
        if self.next("∇_"):
            variable = self.postfix()
            return scramble(104, self.postfix(), variable)
        if self.next("Σ_i"):
            return scramble(102, self.term() if self.eager and not below else self.side())
        if self.tokens[0] == "log" and self.tokens[1] != "(":
            self.next()
            return scramble(3, self.term() if self.eager else self.postfix())
        return self.postfix()

    def postfix(self):
        token = self.next()
        if token in ("exp", "log"):
            value = scramble(3, self.postfix_bracket())
        elif token in ("(", "["):
            self.tokens.insert(0, token)
            value = self.postfix_bracket()
        elif token.isdecimal():
            value = int(token) % PRIME
        else:
            base, _, index = token.partition("_")
            value = meaning(Indexed(base, (index,)) if index else Name(base))
        while mark := self.next("ᵀ", "^") or (self.tokens and self.tokens[0][0] in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹" and self.next()):
            if mark == "ᵀ":
                value = scramble(105, value)
            elif mark == "^":
                if self.next("{"):
                    exponent = self.sum()
                    assert self.next("}")
                else:
                    exponent = self.postfix()
                value = scramble(101, value, exponent)
            else:
                digits = int(mark.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
                value = scramble(101, value, digits % PRIME)
        return value

    def postfix_bracket(self):
        closing = {"(": ")", "[": "]"}[self.next()]
        value = self.sum()
        assert self.next() == closing
        return value


def from_latex(source):
    """LaTeX as one line of text: fractions in brackets, commands as their letters."""
    for command, letter in {r"\left": "", r"\right": "", r"\,": "", r"\cdot": "·", r"\odot": "⊙",
                            r"^\top": "ᵀ", r"\sum": "Σ", r"\partial": "∂", r"\nabla_{a}": "∇_a", r"\exp": "exp",
                            r"\log": "log", r"\hat{y}": "ŷ", r"\ell": "ℓ", "-": "−"}.items():  # fmt: skip
        source = source.replace(command, letter)
    while found := re.search(r"\\frac\{", source):
        above, middle = braced(source, found.end())
        below, end = braced(source, middle + 1)
        source = source[: found.start()] + one_line(above, below) + source[end:]
    assert "\\" not in source
    return source


def braced(source, start):
    depth = 1
    for at in itertools.count(start):
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        if depth == 0:
            return source[start:at], at + 1


def one_line(above, below):
    above, below = above.strip(), below.strip()
    if not all(part.startswith("∂") and not part.startswith("∂/") for part in (above, below)):
        return f"(({above})/({below}))"
    # beneath the bar ∂ has all of the operand for its own
    return f"(∂({above[1:]})/{below})" if above[1:].strip() else f" ∂/{below} "


def from_mathml(element):
    parts = [from_mathml(child) for child in element]
    match element.tag:
        case "mfrac":
            return one_line(*parts)
        case "msup":
            return parts[0] + ("ᵀ" if parts[1] == "⊤" else f"^{{{parts[1]}}}")
        case "msub" | "munder":
            return "_".join(parts).replace("∑", "Σ")
        case "mover":
            return "ŷ"
    return (element.text or "").replace("\u2061", " ").replace("\u2062", " ") + "".join(parts)


def inner(children):
    several = st.lists(children, min_size=2, max_size=3).map(tuple)
    variable = st.sampled_from([Name("a"), Indexed("ŷ", ("i",))])
    return st.one_of(
        several.map(Sum),
        st.tuples(several, st.lists(st.sampled_from(["", "·"]), min_size=2, max_size=2)).map(
            lambda both: Product(both[0], tuple(both[1][: len(both[0]) - 1]))
        ),
        several.map(lambda factors: sides(*factors, sign="⊙")),
        st.builds(Quotient, children, children),
        st.builds(Power, children, children),
        st.builds(Negative, children),
        st.builds(Call, st.sampled_from(["exp", "log"]), children),
        st.builds(SumOver, st.just("i"), children),
        st.builds(Derivative, children, variable, st.booleans()),
        st.builds(Gradient, children, st.just(Name("a"))),
        st.builds(Transpose, children),
    )


LEAVES = st.sampled_from([Name("a"), Name("b"), y("i"), y("ℓ"), *map(number, (0, 2, "1/3", -1, "-5/2"))])


@settings(max_examples=400, deadline=None)
@given(st.recursive(LEAVES, inner, max_leaves=7))
def test_brackets_keep_the_meaning(node):
    value = meaning(node)
    math = from_mathml(ET.fromstring(mathml.mathml(node)))
    for written, eager in itertools.product((text(node), from_latex(latex(node)), math), (True, False)):
        reader = Reader(written, eager)
        assert reader.sum() == value, written
        assert not reader.tokens, written


X, Y, Z = map(Name, "xyz")


@pytest.mark.parametrize(
    ("node", "plain"),
    [
        (minus(X, minus(Y, Z)), "x − (y − z)"),
        (Sum((X, minus(Y, Z))), "x + y − z"),
        (Negative(Negative(X)), "−(−x)"),
        (sides(X, Negative(Y)), "x (−y)"),
        (Quotient(X, sides(Y, Z)), "x / (y z)"),
        (Quotient(Quotient(X, Y), Z), "(x/y)/z"),
        (Quotient(X, Quotient(Y, Z)), "x/(y/z)"),
        (sides(Quotient(X, Y), Z), "(x/y) z"),
        (Power(Negative(X), number(2)), "(−x)²"),
        (Negative(Power(X, number(2))), "−x²"),
        (Power(Quotient(X, Y), Z), "(x/y)^z"),
        (Power(TOTAL, number(2)), "(Σ_{i'} exp(a_{Li'}))²"),
        (sides(TOTAL, X), "(Σ_{i'} exp(a_{Li'})) x"),
        (SumOver("i", Sum((X, Y))), "Σ_i (x + y)"),
        (Sum((SumOver("i", X), Y)), "Σ_i x + y"),
        (sides(Call("log", X), Y), "(log x) y"),
        (Call("log", sides(X, Y)), "log(x y)"),
        (sides(X, Call("log", Y)), "x log y"),
        (Sum((Derivative(X, Z, follows=True), Y)), "(∂/∂z x) + y"),
        (sides(Name("W"), sides(X, Y, sign="⊙")), "W (x ⊙ y)"),
        (sides(sides(Name("W"), X), Y, sign="⊙"), "W x ⊙ y"),
        (Transpose(sides(X, Y)), "(x y)ᵀ"),
        (Element(sides(X, Y), ("i",)), "(x y)_i"),
    ],
)
def test_brackets_where_they_are_needed_and_only_there(node, plain):
    assert text(node) == plain


# --- Whole derivations ------------------------------------------------------------------------------------------------


def line(right, left=None, rule="algebra", note="", proof="K = 2, 3, 4 symbolically", value="−0.2424"):
    return SimpleNamespace(left=left, right=right, rule=rule, note=note, proof=proof, value=value)


def derivation(name="gradient_wrt_logits"):
    nodes = [node for _, node in LECTURE[9:20]]
    lines = [line(nodes[0], Derivative(LOG, a("i")), "chain rule", "ŷ_ℓ depends on every a_{Li}")]
    lines += [line(node) for node in nodes[1:8]]
    lines += [line(nodes[9], Gradient(LOSS, Name("a_L")), "collecting into a vector", value=None), line(nodes[10])]
    return SimpleNamespace(name=name, title="Gradient w.r.t. a_L", intro="Element by element.", lines=lines)


def hostile():
    lines = [line(X, Y, NASTY, NASTY, NASTY, NASTY)]
    return SimpleNamespace(name=NASTY, title=NASTY, intro=NASTY, lines=lines)


class Balanced(html.parser.HTMLParser):
    """Every tag closed in its turn, every id once."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.tags, self.links, self.words = [], [], [], [], ""
        self.feed(page)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes)
        assert not any(key.startswith("on") for key in named)
        assert tag != "p" or not {"p", "summary"} & set(self.open)
        self.tags.append((tag, named))
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []
        self.open += [tag] if tag not in self.VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def count(self, tag):
        return sum(t == tag for t, _ in self.tags)


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


def test_the_page():
    page = pages.html([derivation(), derivation(), hostile()])
    seen = Balanced(page)
    assert page.startswith("<!doctype html>\n")
    assert seen.count("script") == 0
    assert seen.count("math") == seen.count("details") == 21
    assert seen.count("h1") == 1
    assert len(seen.links) == 3
    assert NASTY in seen.words
    for formula in (line for one in (derivation(),) for line in one.lines):
        assert f'alttext="{unicode.equation(formula.left, formula.right)}"' in page
    for tag, attributes in seen.tags:
        if attributes.get("class") == "formula":  # it scrolls: it can be reached and has a name
            assert (tag, attributes["tabindex"], attributes["role"]) == ("div", "0", "group")
            assert attributes["aria-label"]
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_of_one_and_without_numbers():
    one = Balanced(pages.html([derivation()]))
    assert "−0.2424" in one.words
    assert one.count("nav") == one.count("h2") == 0
    assert "−0.2424" not in Balanced(pages.html([derivation()], numbers=False)).words
    assert Balanced(pages.html([])).count("math") == 0


def test_notebooks():
    fragment = Balanced(pages.notebook_html(derivation()))
    assert fragment.count("math") == 10
    assert fragment.count("html") == 0
    assert not fragment.ids
    assert NASTY in Balanced(pages.notebook_html(hostile())).words
    source = pages.notebook_latex(derivation())
    assert source.startswith(r"$$\begin{aligned} \frac{\partial \left( -\log \hat{y}_\ell \right)}")
    assert source.count("&=") == 10
    assert source.endswith(r"\end{aligned}$$")


def test_the_screen():
    shown = list(unicode.screen(derivation(), width=90))
    assert len(shown) == 10
    assert shown[0].splitlines()[0] == "∂(−log ŷ_ℓ)/∂a_{Li}"
    columns = {row.index("−0.2424") for block in shown for row in block.splitlines() if "−0.2424" in row}
    assert len(columns) == 1
    assert all(len(row) <= 90 for block in shown for row in block.splitlines())
    wide = "\n".join(unicode.screen(derivation(), width=200)).replace(" ", "")
    at = 0
    for words, _ in LECTURE[9:17]:
        at = wide.index("=" + words.replace(" ", ""), at)
    assert list(unicode.screen(SimpleNamespace(name="", title="", intro="", lines=[]))) == []


def test_words_are_escaped_for_latex():
    assert tex.escape("50 % & é ê “x”") == r"50 \% \& \'{e} \^{e} ``x''"
    assert tex.escape("Σ_{i'} exp(a_{Li'})²") == r"$\Sigma_{i'}$ exp($a_{Li'}$)${}^2$"
    assert tex.escape(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert tex.escape("漢") == "[U+6F22]"
    assert tex.escape("a_L ŷ_1 x_train") == r"$a_L$ $\hat{y}_1$ x\_train"


@pytest.mark.parametrize("make", [tex.article, tex.beamer])
def test_the_documents(make):
    source = make([derivation(), hostile()])
    assert source.isascii()
    assert r"\input" not in source
    assert source.count(r"\begin{align*}") == source.count(r"\end{align*}") >= 2
    for _, node in LECTURE[9:12]:
        assert latex(node) in source
    if make is tex.beamer:
        assert r"\uncover<2->" in source
        assert source.count(r"\begin{frame}") == source.count(r"\end{frame}") >= 4


def test_a_long_formula_is_broken_between_terms_and_factors():
    def source(node):
        return tex.article([SimpleNamespace(name="", title="", intro="", lines=[line(node)])])

    assert r"\quad" not in source(LECTURE[12][1])
    assert source(Sum(tuple(sides(exp(k), exp("i")) for k in range(1, 9)))).count(r"\quad \fit{{}+\exp") >= 2
    factors = source(sides(*(minus(exp(k), exp("i")) for k in range(1, 9))))
    assert factors.count(r"\quad \fit{{}\cdot\left(") + factors.count(r"\quad \fit{{}\cdot \left(") >= 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("make", [tex.article, tex.beamer])
@pytest.mark.parametrize("shown", [derivation, hostile])
def test_the_documents_compile_and_nothing_overflows(make, shown, tmp_path):
    (tmp_path / "it.tex").write_text(make([shown(), shown()]), encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "it.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "it.pdf").exists()
    # Words without a place to break may stand out; formulas may not.
    assert shown is hostile or "Overfull" not in done.stdout, done.stdout[-3000:]
