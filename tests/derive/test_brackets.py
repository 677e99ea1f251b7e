"""Brackets: what is written is read back, in every notation, and must mean the tree it came from."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lecture_lines import (
    TOTAL,
    minus,
    number,
    sides,
    y,
)

from chainrule.derive.syntax import (
    Call,
    Derivative,
    Element,
    Gradient,
    Indexed,
    Name,
    Negative,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    SumOver,
    Transpose,
)
from chainrule.derive.writing import mathml
from chainrule.derive.writing.tex import Tex, latex
from chainrule.derive.writing.unicode import Notation, text

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


@settings(max_examples=400)
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


@pytest.mark.parametrize("notation", [Tex, mathml.MathML])
def test_a_notation_draws_nothing_as_plain_text(notation):
    walks = {"draw", "terms", "factors"}
    assert {name for name in vars(Notation) if not name.startswith("_")} - walks <= vars(notation).keys()
