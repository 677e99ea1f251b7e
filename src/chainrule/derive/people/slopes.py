"""Fractions that are derivatives and those that are not, ∂/∂z before what it acts on, d and ∇."""

from __future__ import annotations

from dataclasses import replace

from chainrule.derive.people.cursor import without_braces
from chainrule.derive.people.marks import after_d, begins_d, is_d
from chainrule.derive.people.operators import Operators
from chainrule.derive.people.scripts import letter_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Item, Name, Node, NotReadError

__all__ = ["Slopes"]


def _leads_on(factors: tuple[Node, ...]) -> bool:
    return any(one.op == "D" or (one.op == "alt" and one.kids[0].op == "D") for one in factors)


class Slopes(Operators):
    def fraction(self, above: list[Token], below: list[Token]) -> Node:
        below_first = without_braces(below)
        above = without_braces(above)
        if above and above[0].text == "-" and is_d(above[1:], below_first):
            return Node("neg", (self.derivative(above[1:], below_first),))
        mark = next((k for k, t in enumerate(below_first) if t.kind == "cmd" and t.text == "partial"), 0)
        if (
            mark and above and begins_d(above) == "∂" and not any(t.text in "+-" for t in below_first[:mark])
        ):  # ∂a / (a ∂z)
            inner = self.derivative(above, below_first[mark:])
            return Node("div", (inner, self.whole(below_first[:mark])))
        if is_d(above, below_first):
            return self.derivative(above, below_first)
        return Node("div", (self.whole(above), self.whole(below)))

    def derivative(self, above: list[Token], below: list[Token]) -> Node:
        above = after_d(above)
        order = ""
        if above and above[0].text == "^":
            inner = type(self)(above[1:])
            order = "".join(t.text for t in inner.group())
            above = above[1:][inner.at :]
        by = self.variables(below)
        if len(by) == 1 and order == "2" and by[0].op == "name" and by[0].data.sup[-1:] == (Item("number", 2),):
            by = (Node("name", (), replace(by[0].data, sup=by[0].data.sup[:-1])),) * 2
        if not above:
            return self.operator(by)
        return Node("D", (self.whole(above), *by))

    def variables(self, below: list[Token]) -> tuple[Node, ...]:
        """What stands after each ∂ below the line; a variable squared counts twice."""
        found: list[Node] = []
        parts: list[list[Token]] = []
        depth = 0
        k = 0
        mark = below[0].text
        while k < len(below):
            token = below[k]
            if (
                token.kind == "cmd"
                and token.text == "mathrm"
                and depth == 0
                and "".join(t.text for t in below[k + 1 : k + 4]) == "{d}"
            ):
                parts.append([])
                k += 4
                continue
            depth += (token.text in "{(") - (token.text in "})") if token.kind == "char" else 0
            if (
                depth == 0
                and token.text == mark
                and (token.kind == "cmd" or mark in ("d", "D"))
                and not (parts and not parts[-1])
            ):
                parts.append([])
            elif parts:
                parts[-1].append(token)
            k += 1
        for part in parts:
            node = self.whole(without_braces(part))
            times = 1
            if node.op == "pow" and node.kids[1].op == "num":
                node, times = node.kids[0], int(node.kids[1].data)
            found += [node] * times
        if not found:
            raise NotReadError("a derivative without a variable")
        return tuple(found)

    def operator(self, by: tuple[Node, ...]) -> Node:
        """∂/∂z before what it acts on: the bracket, or the rest of the term."""
        while self.next_is("cdot", "times") or ((token := self.peek()) is not None and token.kind == "space"):
            self.at += 1
        token = self.peek()
        if token is None:
            return Node("D", (Node("loss"), *by))  # ∂²/∂θ² = …
        if token.text in (")", "]", "}", "=", ","):
            raise NotReadError("nothing follows for ∂ to act on")
        if token.text in ("(", "[") or (token.kind == "cmd" and token.text == "{"):
            start = self.at
            near = Node("D", (self.scripted(self.bracket()), *by), "closed")
            if (after := self.peek()) is None or after.text not in ("log", "exp"):
                return near
            self.at = start
            body = self.term()  # ∂/∂θ (1 − y) log(1 − p)
            return Node("alt", (Node("D", (body, *by), "closed"), body.with_kids((near, *body.kids[1:]))))
        negative = False
        while self.next_is("-", "+"):
            negative ^= self.tokens[self.at].text == "-"
            self.at += 1
        body = self.term()
        wide = Node("D", (Node("neg", (body,)) if negative else body, *by), "open")
        if body.op != "mul" or not (_leads_on(body.kids[1:]) or body.kids[0].op == body.kids[1].op == "fn"):
            return wide
        near = Node("D", (Node("neg", body.kids[:1]) if negative else body.kids[0], *by))
        return Node("alt", (wide, body.with_kids((near, *body.kids[1:]))))  # ∂_z L ∂_w z

    def physics(self) -> Node:
        r"""\pdv{f}{x} and \dv{f}{x}."""
        if self.next_is("*"):
            self.at += 1
        order = 1
        if self.next_is("["):
            inside = self.inside()
            order = int(inside[0].text) if inside and inside[0].text.isdigit() else 1
        first = self.group()
        if not self.next_is("{"):
            return self.operator((self.whole(first),) * order)
        second = self.group()
        by: tuple[Node, ...] = (self.whole(second),) * order
        if self.next_is("{"):
            by = (*by, self.whole(self.group()))
        if not first:
            return self.operator(by)
        return Node("D", (self.whole(first), *by))

    def begins_differential(self) -> bool:
        """Whether a d here is that of dL/dz: a letter follows, and later in the term /d."""
        after = self.peek(1)
        mark, letter = self.peek(2), self.peek(3)
        if after is not None and after.text == "/" and mark is not None and mark.text == self.tokens[self.at].text:
            return letter is not None and letter_of(letter) is not None  # d/dh [ … ]
        if after is None or (letter_of(after) is None and after.text not in ("{", "hat", "mathbf", "mathcal", "text")):
            return False
        before = self.tokens[self.at - 1] if self.at else None
        if before is not None and before.text == "/":
            return True
        depth = 0
        for k in range(self.at + 1, len(self.tokens)):
            token = self.tokens[k]
            depth += (token.text in "{([") - (token.text in "})]") if token.kind == "char" else 0
            if depth < 0 or (depth == 0 and token.text in "+-="):
                return False
            if depth == 0 and token.text == "/" and k + 1 < len(self.tokens):
                return self.tokens[k + 1].text in ("d", "D", "mathrm")
        return False

    def differential(self) -> Node:
        r"""∂L of ∂L/∂z, a bare ∂ before a slash, or \partial_{z} with its variable below."""
        sign = self.tokens[self.at].text
        self.at += 1
        if self.next_is("_"):
            self.at += 1
            by = self.whole(self.group())
            return self.operator((by,))
        if self.next_is("^"):
            self.at += 1
            self.group()
        if self.next_is("/"):
            return Node("differential")
        if self.peek() is None:
            raise NotReadError("∂ stands alone")
        return Node("differential", (self.factor(),), sign)

    def nabla(self) -> Node:
        """∇_z L, ∇L, ∇²L: what follows, up to a sign of multiplication."""
        by: Node | None = None
        order = 1
        while self.next_is("_", "^"):
            mark = self.tokens[self.at].text
            self.at += 1
            inside = self.group()
            if mark == "_":
                by = self.whole(inside)
            else:
                order = 2 if "".join(t.text for t in inside) == "2" else 1
        while (token := self.peek()) is not None and token.kind == "space":
            self.at += 1
        if self.next_is("_") and by is None:
            self.at += 1
            by = self.whole(self.group())
        if by is not None and ((token := self.peek()) is None or token.text in ("=", "+", "-", ")", "]", ",")):
            return Node("grad", (Node("loss"), by), order)
        start = self.at
        what = self.factor()
        after = self.peek()
        if by is not None and after is not None and after.kind == "cmd" and after.text in ("log", "ln", "exp", "sum"):
            self.at = start  # ∇_w y log σ
            body = self.term()
            near = Node("mul", (Node("grad", (what, by), order), *body.kids[1:]), body.data)
            return Node("alt", (Node("grad", (body, by), order), near)) if body.op == "mul" else near
        if by is None and what.op == "name" and len(what.data.sub) == 1 and what.data.sub[0].kind == "name":  # ∇J_θ
            return Node("grad", (Node("name", (), Name(what.data.base)), what.data.sub[0].value), order)
        after = self.peek()
        if (
            by is None
            and what.op == "name"
            and what.data.base in ("w", "W", "θ", "b", "Θ", "u", "v")
            and after is not None
            and not self.stops_argument(after)
            and after.text not in "+-"
        ):
            return Node("grad", (self.factor(), what), order)  # ∇w ŷ
        return Node("grad", (what,) if by is None else (what, by), order)
