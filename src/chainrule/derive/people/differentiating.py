"""Derivatives of trees: by a name, of a loss, and differentials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.derive.people.facts import flat_items
from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.names import Names
from chainrule.derive.people.reading import Role
from chainrule.derive.people.tree import Item, Name, Node, NotReadError, transform, walk
from chainrule.derive.people.values import (
    FLOAT,
    Dual,
    MisfitError,
    Plain,
    Value,
    add,
    all_letters,
    apply,
    contract,
    elementwise,
    letters,
    neg,
    positional,
    primal,
    scalar,
    shape,
    tangent,
    to_letters,
    transpose,
)
from chainrule.derive.people.world import Context, differentiated

__all__ = ["Differentiating", "TensorError"]


class TensorError(MisfitError):
    """A derivative that has more dimensions than a matrix: nothing that can be compared."""


class Differentiating(Names):
    def _D(self, node: Node, at: Context) -> Value:
        what, *by = node.kids
        if node.data == "jacobian" and by[0].op == "name" and self.is_function(by[0].data):  # J_f(x)
            return self.derived(Node("app", (what,), by[0].data), what, at)
        if len(by) == 1:
            found = self.derived(what, by[0], at)
            loss = what.op in ("name", "app") and self.reading.kind(what.data.base) == "L"
            return self._of_each(found, by[0]) if loss and self.written_d() else found
        inner = Node("D", (what, *by[1:]))
        return self.derived(inner, by[0], at)

    def _prime(self, node: Node, at: Context) -> Value:
        """(e^{z_i})': by that by which the chain's first side is differentiated, or by the one name within it."""
        by = next((part.kids[1] for side in self.sides for part in walk(side) if part.op == "D"), None)
        inside = {part for part in walk(node) if part.op == "name"}
        by = inside.pop() if by is None and len(inside) == 1 else by
        if by is None:
            raise NotReadError("a prime that does not say by what")
        return self.derived(node.kids[0], by, at)

    def _grad(self, node: Node, at: Context) -> Value:
        if len(node.kids) == 1:
            inner = node.kids[0]
            if inner.op in ("app", "fn") and len(inner.kids) == 1 and inner.kids[0].op == "name":  # ∇²f(z)
                return self._grad(node.with_kids((inner, inner.kids[0])), at)
            told = [p.kids[0].kids[0] for p in walk(self.sides[0]) if p.op == "grad" and p.kids[0].op == "app"]
            if told and len(told[0].kids) == 0 and told[0].op == "name":  # ∇f(z) = ∇ log(1 + e^z)
                return self._grad(node.with_kids((inner, told[0])), at)
            raise NotReadError("∇ does not say by what")
        what, by = node.kids
        if node.data == 2:
            return self.derived(Node("grad", (what, by), 1), by, at)
        return self.derived(what, by, at, gradient=True)

    def derived(self, what: Node, by: Node, at: Context, *, gradient: bool = False) -> Value:
        """∂ what / ∂ by."""
        if by.op in ("mul", "fn", "pow") or (by.op == "app" and self.is_function(by.data)):
            if any(part == by for part in walk(what)):
                return self._by_part(what, by, at)
            by = self._node_like(by, at)
        found, value, access, open_axes, turned = self._with_axes(what, by, at)
        return self._oriented(found, value, access, open_axes, turned, gradient)

    def _by_part(self, what: Node, by: Node, at: Context) -> Value:
        """∂ log σ(z) / ∂ σ(z): by an expression, wherever it stands in another."""
        value = self.value(by, at)
        if shape(value) is not None:
            raise NotReadError("a derivative by what is no name")
        Context.tags += 1
        tag = Context.tags
        held = Node("held", (), Dual(tag, value, _ones_like(value)))
        found = tangent(self.value(transform(what, lambda part: held if part == by else None), at), tag)
        return found if found is not None else scalar(0)

    def _held(self, node: Node, at: Context) -> Value:
        """A value in the place of what it is the value of."""
        found: Value = node.data
        return found

    def _node_like(self, by: Node, at: Context) -> Node:
        """A name for the node of the network that an expression is: w x + b for the logits."""
        value = primal(self.value(by, at))
        letters_ = [n for n in value.letters if n != "★"]
        self.reading.roles.setdefault("a\u0302", Role("a"))
        for base in ("a\u0302", self.probabilities(), *self.reading.roles):
            role = self.reading.roles.get(base)
            if role is None or role.kind not in ("a", "h", "p") or len(letters_) > 2:
                continue
            name = Name(base, tuple(Item("letter", n) for n in letters_))
            try:
                other = primal(self.name(name, at))
            except (NotReadError, MisfitError):
                continue
            if set(other.letters) == set(value.letters) and other.matrix == value.matrix:
                order = [other.letters.index(n) for n in value.letters]
                tail = [len(order), len(order) + 1] if value.matrix else []
                data = other.data.transpose(order + tail)
                if data.shape == value.data.shape and np.allclose(data, value.data, rtol=1e-12, atol=0):
                    return Node("name", (), name)
        raise NotReadError("a derivative by what is no name")

    def linked(self, above: Value, what: Node, by: Node, at: Context) -> Value:
        """The derivative by `what` led on to one by `by`: summed over all entries of `what`, however many axes it and
        `by` have. A chain rule between matrices means this whatever its layout is.

        Raises
        ------
        MisfitError
            `above` has not the entries of `what`.
        """
        found, value, access, open_axes, turned = self._with_axes(what, by, at)
        size = shape(value)
        if size is None or shape(above) not in (size, size[::-1]):
            shown = ["a number" if one is None else f"{one[0]}×{one[1]}" for one in (shape(above), size)]
            raise MisfitError(f"in a chain rule {shown[1]} stands behind {shown[0]}")
        before = to_letters(above if shape(above) == size else transpose(above), "∂out", "∂out'")
        product = elementwise(before, to_letters(found, "∂out", "∂out'"))
        for letter in ("∂out", "∂out'"):
            product = contract(product, letter) if letter in letters(product) else product
        return self._oriented(product, scalar(0), access, open_axes, turned, False)

    def _with_axes(self, what: Node, by: Node, at: Context) -> tuple[Value, Value, Any, list[str], bool]:
        """∂ what / ∂ by with an axis for each of what `by` leaves open, beside what it needs to be laid out."""
        turned = False
        while by.op in ("T", "app"):
            turned ^= by.op == "T"
            by = Node("name", (), by.data) if by.op == "app" else by.kids[0]
        if by.op == "elem" and by.kids[0].op in ("name", "app"):
            inner: Name = by.kids[0].data
            by = Node("name", (), Name(inner.base, (*inner.sub, *by.data), inner.sup))
        if by.op != "name":
            raise NotReadError("a derivative by what is no name")
        access = self.accessed(by.data)
        if access.power != 1:
            raise NotReadError("a derivative by a power")
        if access.key[0] == "def":
            self.def_value(access.key[1], at)
        varied, tag, directions = differentiated(at, access.key)
        directions = dict(directions)
        value = self.value(what, varied)
        found = tangent(value, tag)
        if found is None:
            self.require_known(access, what)
            found = elementwise(neg(scalar(0)), value)
        places: list[tuple[str, Any]] = []
        for axis, pick in zip(access.axes, access.picks, strict=True):
            there = directions.pop(axis, None)
            if there is None:
                continue
            places.append((there, pick))
            size = at.world.sizes.get(axis)
            if size is not None and there not in all_letters(found):
                found = elementwise(found, Plain(np.ones(size, dtype=FLOAT), (there,)))
        found, open_axes = self.taken(found, places, access)
        return found, value, access, [*open_axes, *directions.values()], turned

    def _oriented(
        self, found: Value, what: Value, access: Any, open_axes: list[str], turned: bool, gradient: bool
    ) -> Value:
        """The derivative's rows and columns, by the layout that the reading has."""
        if not open_axes:
            return found
        size = shape(what)
        if size is None:
            row, column = self.placed(access, open_axes)
            found = positional(found, row, column)
            flip = self.reading["gradient"] == "transposed" and not gradient
            return transpose(found) if flip ^ turned else found
        if len(open_axes) > 1 or 1 not in size:
            raise TensorError("a derivative with more than two dimensions")
        there = to_letters(found, "∂out", "∂out")
        rows, columns = ("∂out", open_axes[0]) if self.reading["jacobian"] == "numerator" else (open_axes[0], "∂out")
        return positional(there, rows, columns)

    def _loss(self, node: Node, at: Context) -> Value:
        if self.reading["network"] == "own":
            return self.own_loss(at)
        return at.node(("L",))

    def _errorof(self, node: Node, at: Context) -> Value:
        """δy: the derivative of the loss by y."""
        loss = next((base for base, role in self.reading.roles.items() if role.kind == "L"), "")
        what = Node("name", (), Name(loss)) if loss and self.reading["network"] == "own" else Node("loss")
        return self.derived(what, node.kids[0], at, gradient=True)

    def _differential(self, node: Node, at: Context) -> Value:
        """dz: the change of z where the earliest of what the chain writes with a d moves in some direction."""
        if not node.kids:
            raise NotReadError("∂ stands alone")
        if node.data == "partial" and self.sides[0].op == "D":
            raise NotReadError("∂ stands before what is differentiated by nothing")
        how = self.reading["differentials"]
        if how != "changes":
            return self._of_each(self._errorof(node, at), node.kids[0])
        leaves = self.moved()
        Context.tags += 1
        tag = Context.tags
        moved = dict(at.overrides)
        for key in leaves:
            base = self.def_value(key[1], at) if key[0] == "def" else at.node(key)
            here = primal(base)
            axes = tuple(here.letters)
            change = Plain(self.world.weights(("moved", *key), here.data.shape), axes, here.matrix)
            moved[key] = Dual(tag, base, change)
        found = tangent(self.value(node.kids[0], Context(self.world, moved)), tag)
        if found is None:
            raise NotReadError("a differential of what does not move")
        return found

    def _of_each(self, error: Value, by: Node) -> Value:
        """The derivative of each sample's loss, from that of their mean, where a file means that: of what is there for
        each sample."""
        if self.reading["differentials"] != "of each sample" or by.op != "name" or not self.world.batch:
            return error
        whole = self.accessed(by.data).key[0] in ("a", "h") and self.reading["mean"]
        return elementwise(scalar(self.world.sizes["#N"]), error) if whole else error

    def _as_defined(self, name: Name, argument: Node, at: Context) -> Value:
        """σ(z), or its slope, where the file says what σ(x) is."""
        function = self.reading.functions[name.base]
        picks = flat_items(name.sub)
        if function.letters and not picks and argument.op == "name" and argument.data.sub:  # S(z_k) for S(z)_k
            picks, argument = flat_items(argument.data.sub), Node("name", (), replace(argument.data, sub=()))
        value, tags = self.value(argument, at), []
        for _ in range(name.primes):
            Context.tags += 1
            tags.append(Context.tags)
            value = Dual(tags[-1], value, _ones_like(value))
        held = Node("held", (), value)

        def given(part: Node) -> Node | None:
            if part.op != "name" or part.data.base != function.argument:
                return None
            return Node("elem", (held,), part.data.sub) if part.data.sub else held

        found: Value | None = self.value(transform(function.node, given), at)
        for tag in reversed(tags):
            found = tangent(found, tag) if found is not None else None
        found = found if found is not None else scalar(0)
        if not function.letters:
            return found
        if picks:
            return self.picked(found, function.letters[0], picks[0])
        return positional(found, function.letters[0], None)

    def _of_several(self, parts: list[Value]) -> Value:
        """Some smooth function of several numbers."""
        if self.reading["network"] != "own":
            raise NotReadError("a function of several things")
        whole: Value = scalar(0)
        product: Value = scalar(0.3)
        for k, part in enumerate(parts):
            whole = add(whole, elementwise(scalar(0.4 + 0.3 * k), part))
            product = elementwise(product, part)
        return add(apply(whole, functions_of("any")), product)


def _ones_like(x: Value) -> Plain:
    here = primal(x)
    return Plain(np.ones_like(here.data), here.letters, here.matrix)
