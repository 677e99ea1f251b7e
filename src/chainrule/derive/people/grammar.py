"""Tokens to a tree. What could mean two things stays as it is written, or becomes `alt` with both."""

from __future__ import annotations

from chainrule.derive.people.atoms import Atoms
from chainrule.derive.people.scripts import letter_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Node, NotReadError

__all__ = ["parse"]

_MOST_NESTED = 60
_TIMES = {"cdot": "·", "times": "×", "*": "*", "odot": "⊙", "circ": "⊙", "otimes": "⊗"}
_STOPS = {")", "]", "}", ",", ";", "=", "|", "&"}
_STOP_COMMANDS = {
    "}", "\\", "end", "implies", "neq", "le", "ge", "in", "to", "approx", "|", "propto", "rangle", "over", "gets",
    "forall", "ll", "gg", "sim",
}  # fmt: skip


def parse(tokens: list[Token]) -> Node:
    """The tree of an expression's tokens.

    Raises
    ------
    NotReadError
        Something in it is not read.

    Examples
    --------
    >>> from chainrule.derive.people.tokens import tokens
    >>> parse(tokens("p_i - 1", {})).op
    'add'
    """
    depth = 0
    for token in tokens:
        depth += (token.text in "{([") - (token.text in "})]") if token.kind == "char" else 0
        if depth > _MOST_NESTED:
            raise NotReadError("too many brackets stand within each other")
    reader = Grammar(tokens)
    try:
        tree = reader.sum()
    except RecursionError:
        raise NotReadError("too much is nested") from None
    if reader.at < len(reader.tokens):
        left = reader.tokens[reader.at]
        shown = f"\\{left.text}" if left.kind == "cmd" else left.text
        raise NotReadError(f"{shown} is not expected here")
    return tree


class Grammar(Atoms):
    """Sums and products of what its bases read."""

    def whole(self, tokens: list[Token]) -> Node:
        return parse(tokens)

    def sum(self) -> Node:
        terms: list[Node] = []
        sign = 1
        over = None
        first = True
        while True:
            token = self.peek()
            if token is not None and token.kind == "char" and token.text in "+-":
                self.at += 1
                sign = -sign if token.text == "-" else sign
                first = False
                continue
            if token is not None and token.kind == "cmd" and token.text in ("pm", "mp"):
                raise NotReadError("± is not read")
            if self.stops(token):
                if token is not None and token.kind == "cmd" and token.text == "over" and terms:
                    self.at += 1
                    over = _added(terms)
                    terms, sign, first = [], 1, True
                    continue
                break
            if terms and sign == 1 and first:
                break
            if token is not None and token.kind == "cmd" and token.text == "dots" and terms:
                self.at += 1
                terms.append(Node("dots"))
                sign, first = 1, True
                continue
            term = self.term()
            terms.append(Node("neg", (term,)) if sign < 0 else term)
            sign, first = 1, True
        if not terms:
            token = self.peek()
            raise NotReadError(f"nothing stands before {token.text}" if token else "the formula ends too early")
        result = _added(terms)
        return result if over is None else Node("div", (over, result))

    def stops(self, token: Token | None) -> bool:
        if token is None:
            return True
        if token.kind == "char":
            return token.text in _STOPS and not (token.text == "|" and self.opens_bar())
        return token.kind == "cmd" and token.text in _STOP_COMMANDS and not (token.text == "|" and self.opens_bar())

    def term(self) -> Node:
        """Factors side by side, or with a sign of multiplication or a slash between."""
        factors: list[Node] = []
        signs: list[str] = []
        sign: str | None = None
        while True:
            token = self.peek()
            if self.stops(token) or (token is not None and token.kind == "char" and token.text in "+-" and not sign):
                break
            assert token is not None
            if token.kind == "space":
                self.at += 1
                continue
            if token.kind == "cmd" and token.text == "frobenius" and factors and not sign:
                self.at += 1
                before = factors[0] if len(factors) == 1 else Node("mul", tuple(factors), tuple(signs))
                return Node("inner", (before, self.term()))
            if token.kind in ("char", "cmd") and token.text in _TIMES:
                if not factors:
                    raise NotReadError(f"nothing stands before {token.text}")
                sign = _TIMES[token.text]
                self.at += 1
                continue
            if token.kind == "char" and token.text == "/":
                if not factors:
                    raise NotReadError("nothing stands before /")
                sign = "/"
                self.at += 1
                continue
            negative = False
            while sign and (token := self.peek()) is not None and token.kind == "char" and token.text in "+-":
                negative ^= token.text == "-"
                self.at += 1
            factor = self.factor()
            if factor.op == "D":
                self.skip_point()
            if negative:
                factor = Node("neg", (factor,))
            if sign == "/":
                factors[-1] = self.divided(factors[-1], factor)
            else:
                if factors:
                    signs.append(sign or "")
                factors.append(factor)
            sign = None
        if sign is not None:
            raise NotReadError(f"nothing stands after {sign}")
        if not factors:
            raise NotReadError("a factor is missing")
        return factors[0] if len(factors) == 1 else Node("mul", tuple(factors), tuple(signs))

    def skip_point(self) -> None:
        """(z) behind a derivative: where it is taken, which is everywhere."""
        if not self.next_is("("):
            return
        start = self.at
        inside = self.inside()
        letters = [t for t in inside if letter_of(t) is not None]
        fonts = all(t.text in "{}" or t.text in ("mathbf", "mathrm") for t in inside if letter_of(t) is None)
        if len(letters) != 1 or not fonts:
            self.at = start

    def divided(self, above: Node, below: Node) -> Node:
        """A fraction with a slash; ∂L/∂z is a derivative."""
        if above.op != "differential" or below.op != "differential":
            return Node("div", (above, below))
        return Node("D", (*above.kids, *below.kids)) if above.kids else self.operator(below.kids)


def _added(terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else Node("add", tuple(terms))
