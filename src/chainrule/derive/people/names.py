"""The values of names under a reading, and what a name before a bracket is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.derive.people.facts import flat_items, tagged
from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.indices import Indices
from chainrule.derive.people.reading import Access, Role
from chainrule.derive.people.tree import Condition, Item, Name, Node, NotReadError, names
from chainrule.derive.people.values import (
    FLOAT,
    MisfitError,
    Plain,
    Value,
    add,
    apply,
    contract,
    elementwise,
    letters,
    neg,
    plain,
    positional,
    power,
    primal,
    rename,
    scalar,
    shape,
    take,
    to_letters,
)
from chainrule.derive.people.world import Context

__all__ = ["Names"]


class Names(Indices):
    def is_eye(self, name: Name) -> bool:
        indices = [i for i in flat_items(name.sub) if i.kind in ("letter", "number")]
        return self.reading.kind(name.base) == "eye" and len(indices) < 2

    def name(self, name: Name, at: Context) -> Value:
        kind = self.reading.kind(name.base)
        if kind == "ones" and (name.sub or name.base != "𝟙"):
            single = self.world.batch and self.reading["units"] == "one output"
            size = self.world.sizes["#N" if single else f"#{self.reading.layers}"]
            return plain(np.ones((size, 1)), matrix=True)
        if kind == "ones":
            return scalar(1)
        if kind == "count":
            return power(scalar(self.count(name.base)), float(_power(name)))
        if kind == "const":
            return power(at.node(("const", name.base, *name.sub)), float(_power(name)))
        if kind == "kron" or (kind == "eye" and len(flat_items(name.sub)) >= 2):
            items = [
                one for i in flat_items(name.sub)
                for one in ([Item("letter", c) for c in i.value] if i.kind == "word" and len(i.value) == 2 else [i])
            ]  # fmt: skip
            if len(items) != 2:
                raise NotReadError("Kronecker's δ has two indices")
            left, right = (_as_node(item) for item in items)
            return self.condition(Condition(left, "=", right), at)
        if kind == "unit":
            return self._unit_vector(name)
        if kind == "label":
            raise MisfitError(f"{name.base} is the true class, and no number")
        if kind == "g":
            raise MisfitError(f"{name.base} is a function, and stands without an argument")
        if (
            name.primes and kind in ("h", "p") and self.accessed(name).key[1] > 0
        ):  # a'^{(l)}: the activation's slope there
            access = self.accessed(name)
            below = at.node(("a", access.key[1]))
            own = "logistic" if kind == "p" and self.reading["output"] == "logistic" else self.reading["activation"]
            return self.picked_of(apply(below, functions_of(own, name.primes)), access)
        if kind == "L" and self.reading["network"] == "own":
            return self.own_loss(at)
        access = self.accessed(name)
        value = self.def_value(access.key[1], at) if access.key[0] == "def" else at.node(access.key)
        if kind == "L" and name.base in self.reading.facts.likely | self.reading.facts.negated:
            value = neg(value)
            value = apply(value, functions_of("exp")) if name.base in self.reading.facts.likely else value
        return self.picked_of(value, access)

    def picked_of(self, value: Value, access: Access) -> Value:
        value, open_axes = self.taken(value, zip(access.axes, access.picks, strict=True), access)
        if access.key[0] == "def":
            rest = sorted(n for n in letters(value) if n.startswith("@"))
            if len(rest) > 2:
                raise MisfitError("more than two dimensions")
            if len(rest) == 2:
                value = positional(value, rest[0], rest[1])
            elif rest and access.picks and None not in access.picks:
                rows = self.reading["vectors"] == "rows"
                value = positional(value, *((None, rest[0]) if rows else (rest[0], None)))
            elif rest:  # an odd place of the definition's own letters is a row
                count = len(self.reading.definitions[access.key[1]].letters)
                value = positional(value, *((None, rest[0]) if int(rest[0][1:]) == count + 1 else (rest[0], None)))
        elif open_axes:
            row, column = self.placed(access, open_axes)
            value = positional(value, row, column)
        return power(value, float(access.power)) if access.power != 1 else value

    def taken(self, value: Value, places: Iterable[tuple[str, Any]], access: Access) -> tuple[Value, list[str]]:
        """What an access picks from each axis; and the axes that it leaves open."""
        names: dict[str, str] = {}
        open_axes: list[str] = []
        for axis, pick in places:
            if isinstance(pick, int):
                value = take(value, axis, pick - 1)
            elif isinstance(pick, tuple):
                value = self.at_label(value, axis, pick)
            elif pick is None:
                open_axes.append(axis)
            else:
                names[axis] = pick
        for condition in access.conditions:
            self.assume(condition)
        return rename(value, names), open_axes

    def placed(self, access: Access, axes: list[str]) -> tuple[str | None, str | None]:
        """Which of the open axes are rows, and which columns."""
        if len(axes) == 2:
            if access.batch and self.reading["samples"] == "columns":
                return axes[1], axes[0]
            return axes[0], axes[1]
        if access.key[0] == "W":
            if access.flat or self.reading["weights"] == "in×out":
                return axes[0], None
            return (None, axes[0]) if len(access.axes) == 1 else (axes[0], None)
        if access.key[0] == "b" and self.world.batch:
            return (None, axes[0]) if self.reading["samples"] == "rows" else (axes[0], None)
        if "#N" in "".join(axes):
            return (axes[0], None) if self.reading["samples"] == "rows" else (None, axes[0])
        if access.key[0] == "free" and len(access.axes) > 1 and self.reading[f"row {access.key[1].split('|')[0]}"]:
            return None, axes[0]  # x_i is a row of X
        return (axes[0], None) if self.reading["vectors"] == "columns" else (None, axes[0])

    def at_label(self, value: Value, axis: str, pick: tuple[Any, ...]) -> Value:
        """The element of the true class."""
        if not self.world.batch:
            return take(value, axis, int(self.world.labels[0]))
        return (
            take(value, axis, self.world.labels, along=pick[1] if len(pick) > 1 else "★")
            if "#N" not in letters(value)
            else take(value, axis, self.world.labels, along="#N")
        )

    def picked(self, value: Value, axis: str, item: Item) -> Value:
        if item.kind == "number":
            return take(value, axis, item.value - 1)
        if item.kind == "name" and item.value.op == "name" and self.reading.is_label(item.value.data.base):
            return self.at_label(value, axis, ("label",))
        if item.kind == "letter" and self.reading.is_label(item.value):
            return self.at_label(value, axis, ("label",))
        if item.kind == "letter":
            return rename(value, {axis: item.value})
        raise NotReadError("an index is not read")

    def _unit_vector(self, name: Name) -> Value:
        items = flat_items(name.sub + name.sup)
        if len(items) != 1:
            raise NotReadError("a unit vector has one index")
        size = self.world.sizes[f"#{self.reading.layers}"]
        value: Value = Plain(np.eye(size, dtype=FLOAT), ("∂u", "∂e"))
        value = self.picked(value, "∂e", items[0])
        columns = self.reading["vectors"] == "columns"
        return positional(value, *(("∂u", None) if columns else (None, "∂u")))

    def def_value(self, base: str, at: Context) -> Value:
        """The value of a name that the file defines, with the letters of its definition as axes @0, @1 …"""
        key = ("def", base)
        if key in at.overrides:
            return at.overrides[key]
        if key not in at.known:
            definition = self.reading.definitions[base]
            scopes, self.scopes = self.scopes, []
            depth = self._depth
            if depth > 8:
                raise NotReadError(f"{base} is defined by itself")
            self._depth = depth + 1
            try:
                value = self.value(self.prepared(definition.node), at)
            finally:
                self.scopes = scopes
                self._depth = depth
            renamed = {letter: f"@{k}" for k, letter in enumerate(definition.letters)}
            value = rename(value, renamed)
            count = len(definition.letters)
            at.known[key] = to_letters(value, f"@{count}", f"@{count + 1}")
        return at.known[key]

    def is_asked(self, key: str) -> bool:
        """Whether a file that says nothing of its loss has the loss's derivative by a name."""
        facts = self.reading.facts
        base = key.split("|")[0]
        if base in self.written_d():
            return True
        return facts.hints[base]["by"] > 0 and any(tagged(n, facts)[0] == key for n in facts.differentiated_by)

    def own_loss(self, at: Context) -> Value:
        """Some smooth function of all that the file defines and of nothing else is made."""
        key = ("own loss",)
        if key not in at.known:
            reading = self.reading
            above = {tagged(n, reading.facts)[0] for d in reading.definitions.values() for n in names(d.node)}
            asked = [b for b in reading.definitions if self.is_asked(b)]
            tops: list[tuple[Any, ...]] = [
                ("def", b)
                for b in (asked or reading.definitions)
                if not (any(self.made_of(other, {b}) for other in asked if other != b) if asked else b in above)
            ]
            free = [
                self.accessed(name).key
                for base, role in reading.roles.items()
                if role.kind == "free" and (reading.facts.hints[base]["by"] or base in self.written_d())
                for name in sorted(reading.facts.seen[base], key=str)
                if tagged(name, reading.facts)[0] not in above
            ]
            whole: Value = scalar(0)
            for top in dict.fromkeys([*tops, *free]):
                value = self.def_value(top[1], at) if top[0] == "def" else at.node(top)
                if shape(value) is not None:
                    value = to_letters(value, "∂r", "∂c")
                for factor, function in ((0.7, "tanh"), (0.3, "any")):
                    here = primal(value)
                    size = here.data.shape
                    weights = self.world.weights((factor, *top), size)
                    term: Value = elementwise(Plain(weights, here.letters), value)
                    for letter in here.letters:
                        term = contract(term, letter)
                    whole = add(whole, apply(term, functions_of(function)))
            at.known[key] = whole
        return at.known[key]

    def is_function(self, name: Name) -> bool:
        kind = self.reading.kind(name.base)
        return kind == "g" or (name.primes > 0 and not kind)

    def is_own_function(self, node: Node) -> bool:
        """a(z), or a'(z), where a is a layer's output: the activation itself."""
        kind = self.reading.kind
        if kind(node.data.base) != "h" or len(node.kids) != 1 or node.data.sub or node.data.sup:
            return False
        inner = node.kids[0]
        affine = inner.op == "add" and any(kind(n.base) == "W" for n in names(inner))  # not h (1 − h)
        return node.data.primes > 0 or affine or (inner.op == "name" and kind(inner.data.base) == "a")

    def call(self, name: Name, x: Value) -> Value:
        function = self.reading[f"function {name.base}"]
        if self.reading["network"] == "own" and not function:
            found = self.any_function(name, x)
        else:
            found = apply(x, functions_of(function or self.reading["activation"], name.primes))
        for item in name.sup:
            if item.kind == "number":
                found = power(found, float(item.value))
        return found

    def any_function(self, name: Name, x: Value) -> Value:
        """A smooth function of which the file says nothing: another one for each name."""
        inner, outer = (scalar(v) for v in self.world.weights(("function", name.base, *name.sub), (2,)))
        found = elementwise(outer, apply(elementwise(inner, x), functions_of("any", name.primes)))
        return elementwise(power(inner, float(name.primes)), found)

    def is_likelihood(self, node: Node) -> bool:
        """𝓛(θ | t, z): of the parameters, given the data."""
        known = node.data.base in self.reading.facts.likely
        return self.reading.kind(node.data.base) == "L" and any(kid.op == "given" for kid in node.kids) and not known

    def drops_arguments(self, node: Node) -> bool:
        """L(y, ŷ) and J(θ): a name that says what it depends on."""
        kind = self.reading.kind(node.data.base)
        if kind in ("", "L"):
            return kind == "L"
        plain = all(kid.op in ("name", "T", "given", "alt") or (kid.op == "mat" and not kid.kids) for kid in node.kids)
        if not plain:
            return False
        if len(node.kids) > 1:
            return kind in ("p", "a", "h", "def", "g")
        inner = node.kids[0]
        arg = self.reading.kind(inner.data.base) if inner.op == "name" else ""
        if inner.op == "name" and inner.data.sub and inner.data.sub == node.data.sub:
            return True  # y_i(z_i)
        if inner.op != "name" or inner.data.sub or arg in ("const", "count", "y", "δ"):
            return False
        return kind in ("p", "a", "h", "def") and bool(arg or inner.data.base in ("x", "X", "θ", "w", "W", "Θ"))

    def of_sample(self, node: Node) -> Name:
        """A name whose argument says of which sample it is: h(x^{(i)}) is h of sample i."""
        name: Name = node.data
        items = [i for kid in node.kids for n in names(kid) for i in flat_items(n.sub + n.sup)]
        samples = [i for i in items if i.kind == "letter" and i.value in self.reading.facts.sample_letters]
        known = any(i in flat_items(name.sub + name.sup) for i in samples)
        if not samples or known or self.reading.kind(name.base) not in ("p", "a", "h"):
            return name
        return replace(name, sup=(*name.sup, Item("round", (samples[0],))))

    def is_bare_index(self, name: Name) -> bool:
        return (
            not name.sub
            and not name.sup
            and name.base not in self.reading.roles
            and name.base in self.reading.facts.labels
        )

    def is_probability_of(self, node: Node) -> bool:
        """P(k | x), P(y | x)."""
        if len(node.kids) < 2 or node.kids[0].op != "name" or self.reading.kind(node.data.base) not in ("", "p"):
            return False
        return node.data.base in ("P", "p", "Pr", "q")

    def probabilities(self) -> str:
        """The letter that stands for the probabilities; "p̂" where the file has none."""
        found = next((base for base, role in self.reading.roles.items() if role.kind == "p"), None)
        if found is None:
            found = "p̂"
            self.reading.roles[found] = Role("p")
        self.reading.roles.get(found)  # noted as asked for
        return found

    def probability(self, node: Node, at: Context) -> Value:
        base = self.probabilities()
        first = node.kids[0]
        told = [kid.kids[0] if kid.op == "given" else kid for kid in node.kids]
        samples = [
            i for kid in told if kid.op == "name" for i in flat_items(kid.data.sub + kid.data.sup)
            if i.kind == "letter" and i.value in self.reading.facts.sample_letters
        ]  # fmt: skip
        sup = (Item("round", tuple(samples[:1])),) if samples and self.world.batch else ()
        of_target = first.op == "name" and self.reading.kind(first.data.base) == "y"
        if of_target and self.reading["units"] == "one output":
            y = self.name(first.data, at)  # p(y | x) = p^y (1 − p)^{1 − y}
            p = self.name(Name(base, first.data.sub if self.world.batch else (), sup), at)
            log = functions_of("log")
            less = [add(scalar(1), neg(v)) for v in (y, p)]
            whole = add(elementwise(y, apply(p, log)), elementwise(less[0], apply(less[1], log)))
            return apply(whole, functions_of("exp"))
        index = self._index(first.data[0].right) if first.op == "ind" else self._index(first)
        if first.op == "ind" and index in (0, 1) and self.reading["units"] == "one output":  # P(y = 1 | x)
            p = self.name(Name(base, (), sup), at)
            return p if index else add(scalar(1), neg(p))
        if first.op == "ind" and isinstance(index, tuple):
            index = self._index(first.data[0].left) if not isinstance(self._index(first.data[0].left), tuple) else index
        if first.op == "ind" and index is None and first.data[0].right.op == "name":
            index = next((i.value for i in first.data[0].right.data.sub if i.kind == "letter"), None)
        if index is None and of_target:  # p(y_i | x), of class i
            index = next((i.value for i in self._unit_items(first.data)), None)
        if isinstance(index, str):
            return self.name(Name(base, (Item("letter", index),), sup), at)
        if isinstance(index, int):
            return self.name(Name(base, (Item("number", index),), sup), at)
        if isinstance(index, tuple):
            access = self.accessed(Name(base, (), sup))
            return self.picked_of(at.node(access.key), access._replace(picks=(*access.picks[:-1], index)))
        raise NotReadError("a probability is not read")

    def class_letter(self, x: Value) -> str:
        """The letter over which a softmax of elements is taken."""
        found = [n for n in letters(x) if n != "★" and n not in self.reading.facts.sample_letters]
        if not found:
            raise NotReadError("a softmax of a number")
        size = self.world.sizes[f"#{self.reading.layers}"]
        here = primal(x)
        fitting = [n for n in found if here.data.shape[here.letters.index(n)] == size]
        return (fitting or found)[0]

    def require_known(self, access: Access, what: Node) -> None:
        """A derivative by what does not matter is 0 of a free node, and suspicious of what the file itself defines, or
        of a node of the network: nobody writes ∂z/∂a who does not mean that z depends on a."""
        while what.op in ("T", "elem"):
            what = what.kids[0]
        made = what.op in ("name", "app") and self.reading.kind(what.data.base) in ("a", "h", "p", "L")
        if made and access.key[0] in ("a", "h", "W", "b") and self.reading["network"] == "layers":
            raise MisfitError(f"{what.data.base} does not depend on what it is differentiated by")
        if access.key[0] in ("def", "const") or self.reading["network"] == "own":
            raise NotReadError("a derivative by something on which nothing here is known to depend")


def _as_node(item: Item) -> Node:
    if item.kind == "number":
        return Node("num", (), float(item.value))
    if item.kind == "name":
        found: Node = item.value
        return found
    return Node("name", (), Name(str(item.value)))


def _power(name: Name) -> int:
    return next((i.value for i in name.sup if i.kind == "number"), 1)
