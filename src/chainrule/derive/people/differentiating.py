"""Derivatives of trees: by a name, of a loss, and differentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.derive.people.names import Names
from chainrule.derive.people.tree import Name, Node, NotReadError
from chainrule.derive.people.values import (
    FLOAT,
    Dual,
    MisfitError,
    Plain,
    Value,
    all_letters,
    elementwise,
    neg,
    positional,
    primal,
    rename,
    scalar,
    shape,
    take,
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
        if len(by) == 1:
            return self.derived(what, by[0], at)
        inner = Node("D", (what, *by[1:]))
        return self.derived(inner, by[0], at)

    def _grad(self, node: Node, at: Context) -> Value:
        if len(node.kids) == 1:
            raise NotReadError("∇ does not say by what")
        what, by = node.kids
        if node.data == 2:
            return self.derived(Node("grad", (what, by), 1), by, at)
        return self.derived(what, by, at, gradient=True)

    def derived(self, what: Node, by: Node, at: Context, *, gradient: bool = False) -> Value:
        """∂ what / ∂ by."""
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
        names: dict[str, str] = {}
        open_axes: list[str] = []
        for axis, pick in zip(access.axes, access.picks, strict=True):
            there = directions.pop(axis, None)
            if there is None:
                continue
            if there not in all_letters(found):
                size = at.world.sizes.get(axis)
                if size is not None:
                    found = elementwise(found, Plain(np.ones(size, dtype=FLOAT), (there,)))
            if isinstance(pick, int):
                found = take(found, there, pick - 1)
            elif isinstance(pick, tuple):
                found = self.at_label(found, there, pick)
            elif pick is None:
                open_axes.append(there)
            else:
                names[there] = pick
        open_axes += directions.values()
        found = rename(found, names)
        for condition in access.conditions:
            self.assume(condition)
        return self._oriented(found, value, access, open_axes, turned, gradient)

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
        return at.node(("L",))

    def _errorof(self, node: Node, at: Context) -> Value:
        """δy: the derivative of the loss by y."""
        return self.derived(Node("loss"), node.kids[0], at, gradient=True)

    def _differential(self, node: Node, at: Context) -> Value:
        """dz: the change of z where the earliest of what the chain writes with a d moves in some direction."""
        if not node.kids:
            raise NotReadError("∂ stands alone")
        leaves = self.moved()
        Context.tags += 1
        tag = Context.tags
        moved = dict(at.overrides)
        for key in leaves:
            base = at.node(key)
            here = primal(base)
            axes = tuple(here.letters)
            moved[key] = Dual(tag, base, self.world.drawn(("moved", *key), axes))
        found = tangent(self.value(node.kids[0], Context(self.world, moved)), tag)
        if found is None:
            raise NotReadError("a differential of what does not move")
        return found
