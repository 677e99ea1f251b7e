"""Functions, fractions and derivatives, Σ and its kin, brackets, matrices and cases."""

from __future__ import annotations

from chainrule.derive.people.atoms import Atoms
from chainrule.derive.people.cursor import rows_of, split, without_braces
from chainrule.derive.people.marks import after_d, apart, begins_d, bound_of, is_d, within_text
from chainrule.derive.people.scripts import items_of, letter_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Condition, Item, Name, Node, NotReadError, num
from chainrule.derive.people.words import FUNCTIONS, is_word_name, relation_in

__all__ = ["Operators"]

_MATRICES = {
    "matrix",
    "pmatrix",
    "bmatrix",
    "Bmatrix",
    "vmatrix",
    "array",
    "smallmatrix",
    "psmallmatrix",
    "bsmallmatrix",
}
_OTHERWISE = {
    "otherwise",
    "else",
    "o.w.",
    "ow",
    "otherwise.",
    "else.",
    "sonst",
    "altrimenti",
    "sinon",
    "caso contrário",
}


class Operators(Atoms):
    def bracket(self) -> Node:
        opened = self.peek()
        assert opened is not None
        after = self.peek(1)
        if opened.kind == "cmd" and opened.text == "{" and after is not None and after.text == "begin":
            self.at += 1  # \left\{ \begin{array} … \right. has no closing bracket
            _, inside = self.environment()
            if self.next_is("}") and self.tokens[self.at].kind == "cmd":
                self.at += 1
            if inside and inside[0].text == "{":
                inner = type(self)(inside)
                inner.group()
                inside = inside[inner.at :]
            return self.cases(inside)
        if after is not None and after.text == "begin" and opened.text in "([":
            inside = self.inside()
            return self.whole(inside)
        inside = self.inside()
        if opened.text in "[({" and relation_in(inside) is not None:
            parts = split(inside, ",")
            return Node("ind", (), tuple(self.condition(part) for part in parts if relation_in(part) is not None))
        parts = split(inside, ",", ";")
        if len(parts) > 1:
            cells = tuple(self.cell(part) for part in parts)
            return Node(
                "mat", tuple(c for c in cells if c is not None), (tuple(0 if c is not None else 1 for c in cells),)
            )
        return self.whole(inside)

    def cell(self, tokens: list[Token]) -> Node | None:
        tokens = [t for t in tokens if t.kind != "space"]
        if not tokens or all(t.text in ("dots", "vdots", "ddots", "quad") for t in tokens):
            return None
        return self.whole(tokens)

    def bars(self, kind: str) -> Node:
        opened = self.tokens[self.at]
        self.at += 1
        end = next((k for k in range(self.at, len(self.tokens)) if self.tokens[k].text == opened.text), None)
        if end is None:
            raise NotReadError("a bar is not closed")
        inside = self.tokens[self.at : end]
        self.at = end + 1
        if len(inside) == 1 and letter_of(inside[0]) is not None and inside[0].text.isupper() and kind == "abs":
            return Node("name", (), Name("|" + inside[0].text + "|"))
        node = Node(kind, (self.whole(inside),))
        if self.next_is("_"):
            self.at += 1
            self.group()
        return node

    # --- Functions --------------------------------------------------------------------------------------------------

    def function(self, written: str) -> Node:
        function = FUNCTIONS.get(written, written)
        primes = 0
        elements: tuple[Item, ...] = ()
        power: list[Token] = []
        while self.next_is("_", "^", "'", "prime"):
            mark = self.tokens[self.at].text
            self.at += 1
            if mark in ("'", "prime"):
                primes += 1
                continue
            inside = self.group()
            if mark == "^" and all(t.text in ("prime", "'") for t in inside):
                primes += len(inside)
            elif mark == "^":
                power = inside
            else:
                elements += items_of(inside, self.whole)
        if function == "log" and elements:
            if any(item.kind in ("number",) for item in elements):
                raise NotReadError("a logarithm to another base")
            elements = ()
        if function == "exp" and power and not self.next_is("(", "{", "["):
            return Node("fn", (self.whole(power),), ("exp", primes))
        argument = self.argument()
        node = Node("fn", (argument,), (function, primes))
        if elements:
            node = Node("elem", (node,), elements)
        return Node("pow", (node, self.whole(power))) if power else node

    def argument(self) -> Node:
        """A bracket, or the factor that follows, with what clearly belongs to it."""
        while (space := self.peek()) is not None and space.kind == "space":
            self.at += 1
        token = self.peek()
        if token is None or self.stops_argument(token):
            raise NotReadError("a function has no argument")
        if token.kind == "char" and token.text in "+-":
            self.at += 1
            inner = self.factor()
            return Node("neg", (inner,)) if token.text == "-" else inner
        if token.text in ("(", "[", "{") and not (token.kind == "char" and token.text == "{"):
            return self.bracket()
        if token.kind == "char" and token.text == "{" and self.at + 1 < len(self.tokens):
            start = self.at
            inside = self.inside()
            if not self.next_is("_", "^"):
                return self.whole(inside) if inside else self.argument()
            self.at = start
        if token.kind == "cmd" and token.text in ("sum", "prod"):
            return self.factor()
        node = self.factor()
        while node.op == "T" and (after := self.peek()) is not None and not self.stops_argument(after):
            if after.kind == "char" and after.text in "+-/*":
                break
            node = Node("mul", (node, self.factor()), ("",))
        if node.op == "num" and (after := self.peek()) is not None and letter_of(after) is not None:
            node = Node("mul", (node, self.factor()), ("",))
        return node

    def stops_argument(self, token: Token) -> bool:
        return token.text in (")", "]", "}", ",", "=", "&", "cdot", "times", "odot") and token.kind in ("char", "cmd")

    # --- Fractions and derivatives ----------------------------------------------------------------------------------

    def fraction(self, above: list[Token], below: list[Token]) -> Node:
        sign = 1
        below_first = without_braces(below)
        above = without_braces(above)
        if above and above[0].text == "-" and is_d(above[1:], below_first):
            above, sign = above[1:], -1
        mark = next((k for k, t in enumerate(below_first) if t.kind == "cmd" and t.text == "partial"), 0)
        if (
            mark and above and begins_d(above) == "∂" and not any(t.text in "+-" for t in below_first[:mark])
        ):  # ∂a / (a ∂z)
            inner = self.derivative(above, below_first[mark:])
            return Node("div", (inner, self.whole(below_first[:mark])))
        if is_d(above, below_first):
            node = self.derivative(above, below_first)
            return Node("neg", (node,)) if sign < 0 else node
        return Node("div", (self.whole(above), self.whole(below)))

    def derivative(self, above: list[Token], below: list[Token]) -> Node:
        above = after_d(above)
        if above and above[0].text == "^":
            inner = type(self)(above[1:])
            inner.group()
            above = above[1:][inner.at :]
        by = self.variables(below)
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
        if token is None or token.text in (")", "]", "}", "=", ","):
            raise NotReadError("nothing follows for ∂ to act on")
        if token.text in ("(", "[") or (token.kind == "cmd" and token.text == "{"):
            return Node("D", (self.scripted(self.bracket()), *by), "closed")
        negative = False
        while self.next_is("-", "+"):
            negative ^= self.tokens[self.at].text == "-"
            self.at += 1
        body = self.term()
        return Node("D", (Node("neg", (body,)) if negative else body, *by), "open")

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

    def differential(self, order: int) -> Node:
        r"""∂L of ∂L/∂z, a bare ∂ before a slash, or \partial_{z} with its variable below."""
        self.at += 1
        if self.next_is("_"):
            self.at += 1
            by = self.whole(self.group())
            return self.operator((by,))
        if self.next_is("^"):
            self.at += 1
            self.group()
        if self.next_is("/"):
            return Node("differential", (), order)
        token = self.peek()
        if token is None:
            raise NotReadError("∂ stands alone")
        what = self.factor()
        return Node("differential", (what,), order)

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
        what = self.factor()
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

    # --- Σ and its kin ----------------------------------------------------------------------------------------------

    def big(self, kind: str) -> Node:
        below: list[Token] = []
        above: list[Token] = []
        while self.next_is("_", "^"):
            mark = self.tokens[self.at].text
            self.at += 1
            if mark == "_":
                below = self.group()
            else:
                above = self.group()
        bound = bound_of(below, above, self.whole)
        while (token := self.peek()) is not None and token.kind == "space":
            self.at += 1
        if kind in ("max", "min"):
            if self.next_is("(", "{", "[") and not bound.letters:
                parts = split(self.inside(), ",")
                return Node(kind, tuple(self.whole(part) for part in parts), bound)
            return Node(kind, (self.argument(),), bound)
        negative = False
        token = self.peek()
        if "".join(t.text for t in below) in ("K", "N", "C", "Z") and not above:
            return self.name(Name("Σ" + below[0].text))
        if (
            (token is None or token.text in (")", "]", "}", "-", "+", "="))
            and kind == "sum"
            and below
            and len(bound.letters) <= 1
            and not above
            and (token is None or token.text not in "+-")
        ):
            return self.name(Name("Σ" + "".join(t.text for t in below)))  # a Σ that stands for a sum that was named
        while self.next_is("-", "+"):
            negative ^= self.tokens[self.at].text == "-"
            self.at += 1
        body = self.term()
        return Node(kind, (Node("neg", (body,)) if negative else body,), bound)

    # --- Braces with notes, matrices, cases -------------------------------------------------------------------------

    def brace(self) -> Node:
        node = self.whole(self.group())
        while self.next_is("_", "^"):
            self.at += 1
            note = self.group()
            if note and note[0].text == "=" and len(note) > 1:
                said = split(note[1:], "=")
                for part in said:
                    node = Node("claim", (node, self.whole(part)))
        return node

    def environment_node(self) -> Node:
        name, inside = self.environment()
        name = name.rstrip("*")
        if name in ("cases", "dcases", "rcases"):
            return self.cases(inside)
        if name in _MATRICES:
            if name == "array" and inside and inside[0].text == "{":
                inner = type(self)(inside)
                inner.group()
                inside = inside[inner.at :]
            rows = rows_of(inside)
            cells = [[self.cell(cell) for cell in row] for row in rows]
            kids = tuple(c for row in cells for c in row if c is not None)
            return Node("mat", kids, tuple(tuple(0 if c is not None else 1 for c in row) for row in cells))
        if name in ("aligned", "split", "gathered", "alignedat"):
            return self.whole([t for t in inside if t.text not in ("&", "\\")])
        raise NotReadError(f"the environment {name} is not read within a formula")

    def cases(self, inside: list[Token]) -> Node:
        values: list[Node] = []
        conditions: list[tuple[Condition, ...] | None] = []
        for row in rows_of(inside):
            value, said = (row[0], [t for cell in row[1:] for t in cell]) if len(row) > 1 else apart(row[0])
            value = [t for t in value if t.kind != "space"]
            while value and value[-1].text in ",.;":
                value = value[:-1]
            if not value:
                continue
            values.append(self.whole(value))
            conditions.append(self.conditions(said))
        if not values:
            raise NotReadError("cases without a value")
        return Node("cases", tuple(values), tuple(conditions))

    def conditions(self, said: list[Token]) -> tuple[Condition, ...] | None:
        """The conditions of a row of cases; None for otherwise."""
        tokens: list[Token] = []
        for token in said:
            if token.kind in ("text", "word"):
                if tokens and tokens[-1].text in ("=", "neq") and is_word_name(token.text):
                    tokens.append(token)
                    continue
                if token.text.strip().strip(".,;:").lower() in _OTHERWISE:
                    return None
                tokens += within_text(token)
            elif token.kind != "space":
                tokens.append(token)
        found = []
        for part in split(tokens, ",", "and", "wedge", ";"):
            while part and part[-1].text in ".,;":
                part = part[:-1]
            if relation_in(part) is not None:
                found.append(self.condition(part))
        if not found:
            letters = "".join(t.text for t in said).lower()
            if not said or "otherwise" in letters or "else" in letters or "other" in letters:
                return None
            raise NotReadError("the condition of a case is not read")
        return tuple(found)


del num
