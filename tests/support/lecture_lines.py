"""The lecture's lines as trees, in its order, and a derivation made of them; for the tests of how they are shown."""

from fractions import Fraction
from types import SimpleNamespace

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


def line(right, left=None, rule="algebra", note="", proof="K = 2, 3, 4 symbolically", value="−0.2424"):
    return SimpleNamespace(left=left, right=right, rule=rule, note=note, proof=proof, value=value)


def derivation(name="gradient_wrt_logits"):
    nodes = [node for _, node in LECTURE[9:20]]
    lines = [line(nodes[0], Derivative(LOG, a("i")), "chain rule", "ŷ_ℓ depends on every a_{Li}")]
    lines += [line(node) for node in nodes[1:8]]
    lines += [line(nodes[9], Gradient(LOSS, Name("a_L")), "collecting into a vector", value=None), line(nodes[10])]
    return SimpleNamespace(name=name, title="Gradient w.r.t. a_L", intro="Element by element.", lines=lines)


def hostile():
    lines = [line(Name("x"), Name("y"), NASTY, NASTY, NASTY, NASTY)]
    return SimpleNamespace(name=NASTY, title=NASTY, intro=NASTY, lines=lines)
