"""What sums and products are made of: names with their scripts, functions, fractions, Σ, brackets, matrices."""

from __future__ import annotations

from dataclasses import replace

from chainrule.derive.people.cursor import split, without_braces
from chainrule.derive.people.scripts import NUMBERED, items_of, letter_of
from chainrule.derive.people.slopes import Slopes
from chainrule.derive.people.symbols import loss_word
from chainrule.derive.people.tokens import WORDS, Token
from chainrule.derive.people.tree import Item, Name, Node, NotReadError, num
from chainrule.derive.people.words import (
    ACCENTS,
    FUNCTIONS,
    is_tag,
    is_word_name,
    relation_in,
    unicode_base,
    without_transpose,
)

__all__ = ["Atoms"]


class Atoms(Slopes):
    def opens_bar(self) -> bool:
        """Whether the bar here is the first of two, as in |V|."""
        token = self.peek()
        if token is None or self.next_is("_", "^", ahead=1):
            return False
        after = self.tokens[self.at + 1 :]
        return any(t.text == token.text and t.kind == token.kind for t in after)

    # --- One factor -------------------------------------------------------------------------------------------------

    def factor(self) -> Node:
        return self.scripted(self.bare())

    def bare(self) -> Node:
        token = self.peek()
        if token is None:
            raise NotReadError("the formula ends too early")
        if token.kind == "num":
            self.at += 1
            if token.text == "1" and self.next_is("{", "[", "(", "_") and (found := self.indicator()) is not None:
                return found
            transposed = self.next_is("^") and without_transpose(type(self)(self.tokens[self.at + 1 :]).group())[1]
            if token.text == "1" and (self.next_is("_") or transposed):
                return self.name(Name("𝟙"))
            return num(float(token.text))
        if token.kind in ("text", "word"):
            self.at += 1
            return self.word(token.text.strip())
        if token.kind == "char":
            if token.text in "([":
                return self.bracket()
            if token.text == "{":
                inside = self.inside()
                if not inside:
                    return self.bare() if self.peek() is not None and not self.next_is("_", "^") else num(1.0)
                if sum((t.text in "([") - (t.text in ")]") for t in inside if t.kind == "char"):  # {[ … }]
                    self.tokens, self.at = [*inside, *self.tokens[self.at :]], 0
                    return self.bare()
                if len(inside) == 1 and inside[0].kind in ("text", "word"):
                    return self.word(inside[0].text)
                return self.named(self.whole(inside))
            if token.text == "|":
                return self.bars("abs")
            if token.text == "D" and (hessian := self.second_derivative()) is not None:
                return hessian
            if token.text in "dD" and self.begins_differential():
                return self.differential()
            if token.text == "d" and self.moves():
                self.at += 1
                return Node("differential", (self.factor(),))
        letter = letter_of(token)
        if letter == "Σ" and self.sums():
            self.at += 1
            return self.big("sum")
        if letter is not None:
            self.at += 1
            return self.name(Name(letter))
        if token.kind == "cmd":
            return self.command(token)
        raise NotReadError(f"{token.text} is not expected here")

    def named(self, node: Node) -> Node:
        """A name in braces of its own with the scripts and the bracket that stand behind them: {h_θ}(x), {y_i}^2."""
        if node.op != "name" or not isinstance(node.data, Name):
            return node
        squared = node.data.sup and self.next_is("^")
        return node if squared else self.name(node.data)

    def sums(self) -> bool:
        """Whether a capital sigma here is a Σ: no factor stands before it, and what it sums behind it."""
        before, after = self.tokens[self.at - 1] if self.at else None, self.peek(1)
        behind = [t.text for t in self.tokens[max(0, self.at - 6) : self.at]]  # ∇_θ Σ
        alone = before is None or before.text in ("+", "-", "=", "(", "[", "{", "frac") or "nabla" in behind
        return alone and after is not None and (letter_of(after) is not None or after.kind == "cmd")

    def second_derivative(self) -> Node | None:
        """D²f(x): the Hessian of a function of one thing."""
        start = self.at
        if self.next_is("^", ahead=1):
            self.at += 2
            squared = "".join(t.text for t in self.group() if t.text not in "{}") == "2"
            after = self.peek()
            if squared and after is not None and letter_of(after) is not None:
                what = self.factor()
                if what.op == "app" and len(what.kids) == 1 and what.kids[0].op == "name":
                    return Node("grad", (what,), 2)
        self.at = start
        return None

    def command(self, token: Token) -> Node:
        name = token.text
        self.at += 1
        if name == "frac":
            return self.fraction(self.group(), self.group())
        if name in ("pdv", "dv", "fdv"):
            return self.physics()
        if name in ("sum", "prod", "max", "min", "bigvee"):
            return self.big(name)
        if name == "Pr":
            return self.name(Name("P"))
        if name in ("exp", "log", "tanh", "sin", "cos", "cosh", "sinh"):
            return self.function(name)
        if name in ("operatorname", "mathrm", "mathbf", "mathcal", "mathbb", "operatorname*"):
            return self.font(name)
        if name in ACCENTS:
            return self.accent(name)
        if name == "partial":
            self.at -= 1
            return self.differential()
        if name == "nabla":
            return self.nabla()
        if name == "begin":
            self.at -= 1
            return self.environment_node()
        if name in ("boxed", "fbox"):
            return self.whole(self.group())
        if name in ("underbrace", "overbrace", "underline", "underbracket"):
            return self.brace()
        if name == "sqrt":
            if self.next_is("["):
                raise NotReadError("a root other than the square root")
            return Node("pow", (self.whole(self.group()), num(0.5)))
        if name == "{":
            self.at -= 1
            return self.bracket()
        if name == "|":
            self.at -= 1
            return self.bars("norm")
        if name == "langle":
            end = next((k for k in range(self.at, len(self.tokens)) if self.tokens[k].text == "rangle"), None)
            if end is None:
                raise NotReadError("⟨ is not closed")
            inside = self.tokens[self.at : end]
            self.at = end + 1
            parts = split(inside, ",")
            if len(parts) != 2:
                raise NotReadError("⟨ ⟩ holds two factors")
            return Node("inner", tuple(self.whole(part) for part in parts))
        if name in ("dots", "vdots", "ddots"):
            raise NotReadError("dots stand for something that is not written")
        word = loss_word(name)
        if name in FUNCTIONS or WORDS.fullmatch(word):  # \\softmax, \\Loss: macros that are defined elsewhere
            return self.word(word)
        raise NotReadError(f"\\{name} is not a command that is read here")

    def word(self, text: str) -> Node:
        text = loss_word(text.strip().strip("."))
        if text in ("max", "min"):
            return self.big(text)
        if text in FUNCTIONS:
            return self.function(text)
        if not (is_word_name(text) or self.next_is("_", "^")):
            raise NotReadError(f"the words “{text}” stand within a formula")
        return self.name(Name({"yhat": "ŷ", "y_hat": "ŷ"}.get(text, text)))

    def font(self, command: str) -> Node:
        inside = without_braces(self.group())
        letters = "".join(t.text for t in inside)
        joined = "_-" if command == "operatorname" else "-" if command == "mathrm" else ""
        plain = all(
            t.kind in ("char", "text", "word", "num") and (t.text.isalnum() or t.text in joined) for t in inside
        )
        if (command == "mathbb" and letters in ("1", "I")) or (command in ("mathbf", "mathrm") and letters == "1"):
            found = self.indicator()
            return found if found is not None else self.name(Name("𝟙" if letters == "1" else "I"))
        if command == "mathbb" and len(inside) == 1:
            if letters == "E":
                return self.expectation()
            return self.name(Name("ℝ" if letters == "R" else letters, bold=True))
        if command == "mathcal":
            if letters in FUNCTIONS:
                return self.word(letters)
            return self.name(Name({"L": "𝓛"}.get(letters, letters + "\u0331")))
        if command in ("mathrm", "operatorname") and letters in ("d", "D") and self.after_d():
            self.at -= 1  # ∂'s upright twin
            self.tokens = [*self.tokens[: self.at], Token("char", "d", inside[0].at), *self.tokens[self.at + 1 :]]
            return self.differential()
        if plain and len(letters) > 1:
            return self.word(letters)
        if len(inside) == 1 and inside[0].kind == "cmd" and inside[0].text in ("log", "exp", "tanh", "max", "sum"):
            self.at -= 1
            return self.command(inside[0])
        if len(inside) == 1 and (letter := letter_of(inside[0])) is not None:
            return self.name(Name(letter, bold=command == "mathbf"))
        if not inside:
            return num(1.0)
        node = self.whole(inside)
        if node.op == "app" and self.next_is("_", "^"):
            return self.scripted(node)
        if node.op == "name" and command == "mathbf":
            node = replace(node, data=replace(node.data, bold=True))
        return self.named(node)

    def moves(self) -> bool:
        """Whether a d here is that of a differential, dz: a letter follows at once."""
        after = self.peek(1)
        before = self.tokens[self.at - 1] if self.at else None
        transposed = (
            before is not None and before.text in ("T", "top") and self.at > 1 and self.tokens[self.at - 2].text == "^"
        )
        if after is None or (
            before is not None and not transposed and (letter_of(before) is not None or before.text in "_^")
        ):
            return False
        return (letter_of(after) is not None and after.at == self.tokens[self.at].at + 1) or after.text in (
            "mathbf",
            "hat",
        )

    def after_d(self) -> bool:
        after = self.peek()
        return after is not None and (letter_of(after) is not None or after.kind == "cmd" or after.text in "({")

    def accent(self, command: str) -> Node:
        inner = self.whole(self.group())
        if inner.op != "name":
            raise NotReadError("an accent over more than a name")
        base = unicode_base(inner.data.base + ACCENTS[command])
        return self.named(Node("name", (), replace(inner.data, base=base)))

    # --- Names and their scripts ------------------------------------------------------------------------------------

    def name(self, name: Name) -> Node:
        """A name with the scripts that follow it, and the bracket after it."""
        if name.base in ("𝟙", "I") and self.next_is("_") and (found := self.indicator()) is not None:
            return found
        sub: list[Item] = list(name.sub)
        sup: list[Item] = list(name.sup)
        digit, letter = self.peek(), self.tokens[self.at - 1] if self.at else None
        if (
            digit is not None
            and letter is not None
            and digit.kind == "num"
            and digit.text.isdigit()
            and digit.at == letter.at + 1
            and letter.text in "WbBzZaAhHdD"
        ):
            sup.append(Item("round", (Item("number", int(digit.text)),)))  # W2, as in code
            self.at += 1
        primes = name.primes
        transposed = False
        power: list[Node] = []
        while (token := self.peek()) is not None and token.kind in ("char", "cmd"):
            if token.text == "{" and token.kind == "char" and name.base == "δ" and not sub:  # \delta{ik}
                sub += items_of(self.inside(), self.whole)
            elif token.text == "{" and token.kind == "char" and name.base in "σφ" and not (sub or sup):  # \sigma{z}
                argument = Node("app", (self.whole(self.inside()),), replace(name, primes=primes))
                return argument
            elif token.text == "{" and token.kind == "char" and self.next_is("_", "^", ahead=1):  # \theta{_k}
                inside = self.inside()
                self.tokens = [*inside, *self.tokens[self.at :]]
                self.at = 0
            elif token.text == "'" or token.text == "prime":
                self.at += 1
                primes += 1
            elif token.text == "_":
                self.at += 1
                below = self.group()
                sub += items_of(below, self.whole)
                after, last = self.peek(), self.tokens[self.at - 1]
                if (  # δ_ij and w_ij, as in plain text
                    after is not None and after.kind == "char" and after.at == last.at + 1
                    and (after.text.isalpha() if name.base in ("δ", "𝟙", "I") else {after.text, last.text} <= NUMBERED)
                    and not self.next_is("_", "^", "(", ahead=1)
                ):  # fmt: skip
                    sub += items_of(self.group(), self.whole)
            elif token.text == "^":
                self.at += 1
                tokens = self.group()
                while tokens and tokens[0].text in ("prime", "'"):
                    primes += 1
                    tokens = tokens[1:]
                if not tokens:
                    continue
                tokens, is_t = without_transpose(tokens)
                transposed |= is_t
                if name.base == "e" and tokens and not sub:
                    return Node("fn", (self.whole(tokens),), ("exp", 0))
                if is_tag(tokens):
                    sup += items_of(tokens, self.whole)
                elif tokens:
                    power.append(self.whole(tokens))
            else:
                break
        base = name.base
        if primes and base in "WVUXYZBxyzwbuvt" and not self.next_is("("):
            base, primes = base + "'" * primes, 0
        if base == "𝟙" and transposed and not sub:  # 1ᵀ e^z: of all
            sub.append(Item("word", "all"))
        complete = Name(base, tuple(sub), tuple(sup), primes, name.bold)
        if self.next_is("[") and not transposed and not sup and (layer := self.layer_in_brackets()) is not None:
            return self.name(Name(base, tuple(sub), (layer,), primes, name.bold))  # Z[1], as in code
        if self.next_is("[") and not transposed and not power and (picked := self.in_square_brackets()) is not None:
            complete = Name(base, (*complete.sub, *picked), complete.sup, complete.primes, complete.bold)
        if self.next_is("(") and not transposed and not power:
            return self.applied(complete)
        if name.base in ("I", "δ") and self.next_is("[") and (found := self.indicator()) is not None:
            return found
        node: Node = Node("name", (), complete)
        for exponent in power:
            node = Node("pow", (node, exponent))
        return Node("T", (node,)) if transposed else node

    def applied(self, name: Name) -> Node:
        """A name before a bracket: a call, a product, or a name with what it depends on."""
        start = self.at
        if name.base in ("I", "𝟙", "1") and (found := self.indicator()) is not None:
            return found
        inside = without_braces(self.inside())
        if inside and inside[0].text in ("mathbf", "mathrm") and any(t.text == "," for t in without_braces(inside[1:])):
            inside = without_braces(inside[1:])  # H(\\mathbf{y, p})
        args: list[Node] = []
        given = False
        for part in split(inside, ",", ";", "|", "mid"):
            given = given or (bool(args) and bool(part) and self._after_bar(inside, part))
            if not part or all(t.kind == "space" for t in part):
                continue
            k = relation_in(part)
            if k is not None:
                args.append(Node("ind", (), (self.condition(part),)))
            elif any(t.text == "dots" for t in part):
                args.append(Node("name", (), Name("…")))
            elif part[0].text == "cdot" and len(part) == 1:
                args.append(Node("name", (), Name("·")))
            else:
                args.append(Node("given", (self.whole(part),)) if given else self.whole(part))
        if not args:
            raise NotReadError("a bracket is empty")
        if name.base == "prod" and len(args) > 1:  # prod(∂J/∂o, ∂o/∂W), the chain rule with whatever it transposes
            return Node("chain", tuple(args))
        if (
            name.base in ("J", "𝐉", "D")
            and len(name.sub) == 1
            and len(args) == 1
            and args[0].op == "name"
            and (name.sub[0].kind in ("letter", "name") or name.sub[0].value in FUNCTIONS)
        ):
            item = name.sub[0]
            if item.kind == "word":
                return Node("D", (Node("fn", (args[0],), (FUNCTIONS[item.value], 0)), args[0]))
            return Node(
                "D", (args[0], Node("name", (), Name(item.value)) if item.kind == "letter" else item.value), "jacobian"
            )
        of = name.sub[0].value if name.base in ("J", "𝐉") and [i.kind for i in name.sub] == ["word"] else ""
        if of in FUNCTIONS and len(args) == 1 and args[0].op == "name":  # J_{softmax}(z)
            return Node("D", (Node("fn", (args[0],), (FUNCTIONS[of], 0)), args[0]))
        if len(args) == 1 and args[0].op != "ind" and self.next_is("^"):
            self.at = start
            bracket = self.scripted(self.bracket())
            return Node("appow", (bracket,), name)
        return Node("app", tuple(args), name)

    @staticmethod
    def _after_bar(inside: list[Token], part: list[Token]) -> bool:
        k = next((k for k, token in enumerate(inside) if token is part[0]), 0)
        return k > 0 and inside[k - 1].text == "|"

    def scripted(self, node: Node) -> Node:
        """A node that is no bare name with the scripts and bars that follow it."""
        while (token := self.peek()) is not None and token.kind in ("char", "cmd"):
            if token.text == "|" and self.next_is("_", ahead=1):
                self.at += 2
                if any(t.text in ("dots", ",") for t in self.group()):
                    raise NotReadError("a bar that says for which indices it holds")
                continue
            if token.text == "_":
                self.at += 1
                node = Node("elem", (node,), items_of(self.group(), self.whole))
            elif token.text == "^":
                self.at += 1
                inside = self.group()
                if inside and all(
                    t.text in ("'", "prime") for t in inside
                ):  # (…)^{'}, where ^\prime may be a transpose
                    prime = Node("prime", (node,))
                    node = prime if inside[0].text == "'" else Node("alt", (Node("T", (node,)), prime))
                    continue
                tokens, transposed = without_transpose(inside, bracket=node.op != "name" or bool(node.data.sub))
                if node.op == "name" and is_tag(tokens) and tokens[0].kind != "num":  # {y_i}^*
                    sup = (*node.data.sup, *items_of(tokens, self.whole))
                    node = replace(node, data=replace(node.data, sup=sup))
                    tokens = []
                node = Node("pow", (node, self.whole(tokens))) if tokens else node
                node = Node("T", (node,)) if transposed else node
            elif token.text in ("'", "prime"):
                self.at += 1
                if node.op == "name" and self.next_is("("):  # (g)'(z)
                    return self.name(replace(node.data, primes=node.data.primes + 1))
                node = Node("prime", (node,))
            else:
                break
        return node
