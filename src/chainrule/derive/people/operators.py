"""Functions, Σ and its kin, brackets, matrices and cases."""

from __future__ import annotations

from dataclasses import replace

from chainrule.derive.people.brackets import Brackets
from chainrule.derive.people.cursor import rows_of, split
from chainrule.derive.people.marks import apart, bound_of, within_text
from chainrule.derive.people.scripts import items_of, letter_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node, NotReadError, names, walk
from chainrule.derive.people.words import FUNCTIONS, is_word_name, relation_in

__all__ = ["Operators"]

_MATRICES = {
    "matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "array", "smallmatrix", "psmallmatrix", "bsmallmatrix"
}  # fmt: skip
_OTHERWISE = {"otherwise", "else", "o.w", "ow", "sonst", "altrimenti", "sinon", "caso contrário"}


def _has_index_x(body: Node) -> bool:
    """Whether x, over which there is a sum, is an index or an argument here, as in Σ_x p(x): not one of the inputs."""
    given = [name for part in walk(body) if part.op == "app" for kid in part.kids for name in names(kid)]
    return any("x" in str((name.sub, name.sup)) for name in names(body)) or any(name.base == "x" for name in given)


class Operators(Brackets):
    def bracket(self) -> Node:
        opened = self.peek()
        assert opened is not None
        after = self.peek(1)
        inside = self.inside()
        if after is not None and after.text == "begin" and opened.text in "([":
            return self.whole(inside)
        if opened.text in "[({" and relation_in(inside) is not None:
            parts = split(inside, ",")
            return Node("ind", (), tuple(self.condition(part) for part in parts if relation_in(part) is not None))
        parts = split(inside, ",", ";")
        if len(parts) > 1:
            cells = tuple(self.cell(part) for part in parts)
            kids, row = tuple(c for c in cells if c is not None), tuple(int(c is None) for c in cells)
            return Node("alt", (Node("mat", kids, (row,)), Node("mat", kids, tuple((one,) for one in row))))
        return self.whole(inside)

    def without_columns(self, inside: list[Token]) -> list[Token]:
        """Without the {ll} of an array."""
        inner = type(self)(inside)
        return inside[len(inner.inside()) + 2 :] if inner.next_is("{") else inside

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
        if kind == "sum" and "axis" in "".join(t.text for t in below):  # of an array, as in code
            return Node("fn", (self.term(),), ("over samples", 0))
        if kind == "sum" and not below and self.next_is("{"):  # \\sum{j=1}^K
            start = self.at
            below = self.inside()
            if len(below) < 3 or letter_of(below[0]) is None or below[1].text not in ("=", "in"):
                self.at, below = start, []
            elif self.next_is("^"):
                self.at += 1
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
        shown = "".join(t.text for t in below)
        alone = token is None or token.text in (")", "]", "}", "=") or (token.text in (",", "&") and not below)
        if not above and (shown in ("K", "N", "C", "Z") or (kind == "sum" and alone and len(bound.letters) <= 1)):
            return self.name(Name("Σ" + shown))  # a Σ that stands for a sum that was named
        while self.next_is("-", "+"):
            negative ^= self.tokens[self.at].text == "-"
            self.at += 1
        body = self.term()
        body = Node("neg", (body,)) if negative else body
        over_inputs = bound.letters == ("x",) and not _has_index_x(body)
        bound = Bound(()) if over_inputs else bound  # Σ_x a δ and Σ_x (a − y) x_j, over all inputs
        node = Node(kind, (body,), bound)
        if kind == "sum" and (over_inputs or not below) and not above:
            return Node("alt", (node, Node("fn", (body,), ("over samples", 0))))
        return node

    def expectation(self) -> Node:
        """E_{j ∼ p}[f_j]: the sum of p_j f_j over j."""
        below = self.group() if self.next_is("_") and self.step() else []
        drawn, *by = split(below, "sim") if below else [[]]
        if len(drawn) != 1 or letter_of(drawn[0]) is None or len(by) != 1 or not by[0]:
            raise NotReadError("expectations are not read")
        letter = letter_of(drawn[0]) or ""
        weight = self.whole(by[0])
        if weight.op == "name" and Item("letter", letter) not in weight.data.sub:
            weight = Node("name", (), replace(weight.data, sub=(*weight.data.sub, Item("letter", letter))))
        if not self.next_is("[", "(", "{"):
            raise NotReadError("expectations are not read")
        return Node("sum", (Node("mul", (weight, self.bracket()), ("",)),), Bound((letter,)))

    def step(self) -> bool:
        self.at += 1
        return True

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
            rows = rows_of(self.without_columns(inside) if name == "array" else inside)
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
            first, *more = split(value, "=")  # ∂p_i/∂z_i = p_i (1 − p_i), if i = j
            node = self.whole(first) if first else self.whole(more.pop(0))
            for part in more:
                node = Node("claim", (node, self.whole(part)))
            values.append(node)
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
