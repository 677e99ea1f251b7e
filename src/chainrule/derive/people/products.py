"""Sums and products: of numbers, of matrices, and the chain rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.derive.people.differentiating import Differentiating, TensorError
from chainrule.derive.people.tree import Node, NotReadError
from chainrule.derive.people.values import (
    MisfitError,
    Plain,
    Value,
    add,
    all_letters,
    contract,
    divide,
    elementwise,
    letters,
    matmul,
    plain,
    scalar,
    shape,
    total,
    transpose,
)
from chainrule.derive.people.world import Context

__all__ = ["Products"]


class Products(Differentiating):
    def _add(self, node: Node, at: Context) -> Value:
        parts: list[Value] = []
        eyes: list[Value] = []
        for kid in node.kids:
            sign = 1.0
            inner = kid
            while inner.op == "neg":
                sign, inner = -sign, inner.kids[0]
            factors = inner.kids if inner.op == "mul" else (inner,)
            others = [one for one in factors if not (one.op == "name" and self.is_eye(one.data))]
            if len(others) < len(factors):  # I, and 2 λ I
                times = [self.value(one, at) for one in others]
                if all(shape(one) is None for one in times):
                    eyes.append(self._product([scalar(sign), *times], [""] * len(times)))
                    continue
            parts.append(self.value(kid, at))
        whole = parts[0] if parts else scalar(0)
        for part in parts[1:]:
            whole = self._added(whole, part)
        for factor in eyes:
            size = shape(whole)
            if size is None or size[0] != size[1]:
                raise MisfitError("the unit matrix beside what is not a square matrix")
            whole = add(whole, elementwise(factor, plain(np.eye(size[0]), matrix=True)))
        return whole

    def _added(self, x: Value, y: Value) -> Value:
        a, b = shape(x), shape(y)
        if a is not None and b is not None and a != b:
            ones = [p != q and 1 in (p, q) for p, q in zip(a, b, strict=True)]
            if self.world.batch and sum(ones) == 1 and (a[0] == b[0] or a[1] == b[1]):  # a bias beside a batch
                wide = (max(a[0], b[0]), max(a[1], b[1]))
                unit = plain(np.ones(wide), matrix=True)
                return add(*(self._broadcast(v, wide, unit) for v in (x, y)))
        return add(x, y)

    @staticmethod
    def _broadcast(x: Value, wide: tuple[int, int], unit: Plain) -> Value:
        size = shape(x)
        assert size is not None
        if size == wide:
            return x
        if size[0] == 1:
            return matmul(plain(np.ones((wide[0], 1)), matrix=True), x)
        return matmul(x, plain(np.ones((1, wide[1])), matrix=True))

    def _mul(self, node: Node, at: Context) -> Value:
        kids, signs = list(node.kids), list(node.data or ("",) * (len(node.kids) - 1))
        keep = [k for k, kid in enumerate(kids) if not (kid.op == "name" and self.is_eye(kid.data))]
        if len(keep) < len(kids) and keep:
            signs = [signs[k - 1] for k in keep[1:]]
            kids = [kids[k] for k in keep]
        try:
            values = [self.value(kid, at) for kid in kids]
        except TensorError:
            return self._chain_rule(kids, signs, at)
        if self.reading["einstein"]:
            return self._einstein(node, values, signs)
        try:
            return self._over_all(kids, self._product(values, signs), at)
        except MisfitError:
            if not all(kid.op == "D" for kid in kids):
                raise
            return self._chain_rule(kids, signs, at)

    def _over_all(self, kids: Sequence[Node], product: Value, at: Context) -> Value:
        """∂J/∂a ∂a/∂b, where J is of all samples and b the same for each: the chain rule sums over them."""
        if "★" not in all_letters(product) or not all(kid.op == "D" and len(kid.kids) == 2 for kid in kids):
            return product
        of, by = ([all_letters(self.value(kid.kids[n], at)) for kid in kids] for n in (0, 1))
        one_each = all("★" in found for found in of) or all("★" in found for found in by)
        return product if one_each else contract(product, "★")

    def _chain_rule(self, kids: Sequence[Node], signs: Sequence[str], at: Context) -> Value:
        """∂L/∂Z ∂Z/∂W between matrices, from either end: each derivative leads on the one before it."""
        leads = [k.op == "D" and len(k.kids) == 2 and shape(self.value(k.kids[0], at)) is not None for k in kids]
        order = range(len(kids) - 1, -1, -1) if leads[0] else range(len(kids))
        whole: Value | None = None
        for k in order:
            if whole is not None and leads[k]:
                whole = self.linked(whole, kids[k].kids[0], kids[k].kids[1], at)
                continue
            value = self.value(kids[k], at)
            whole = value if whole is None else self._times(whole, value, signs[k - 1] if not leads[0] else "")
        assert whole is not None
        return whole

    def _chain(self, node: Node, at: Context) -> Value:
        return self._chain_rule(node.kids, [""] * (len(node.kids) - 1), at)

    def _einstein(self, node: Node, values: Sequence[Value], signs: Sequence[str]) -> Value:
        found = self._product(list(values), list(signs))
        counts: dict[str, int] = {}
        for value in values:
            for letter in letters(value):
                counts[letter] = counts.get(letter, 0) + 1
        for letter, count in counts.items():
            if count >= 2 and letter not in self.head and letter in letters(found):
                found = contract(found, letter)
        return found

    def _product(self, values: list[Value], signs: Sequence[str]) -> Value:
        if len(values) == 1:
            return values[0]
        if "⊙" in signs and len(set(signs)) > 1:
            try:
                return self._in_runs(values, signs)
            except MisfitError:
                pass
        found = values[0]
        for k, (sign, value) in enumerate(zip(signs, values[1:], strict=True)):
            try:
                found = self._times(found, value, sign)
            except MisfitError:
                if k + 2 >= len(values):
                    raise
                rest = self._product(values[k + 1 :], signs[k + 1 :])
                return self._times(found, rest, sign)
        return found

    def _in_runs(self, values: list[Value], signs: Sequence[str]) -> Value:
        runs: list[tuple[list[Value], list[str]]] = [([values[0]], [])]
        for sign, value in zip(signs, values[1:], strict=True):
            if sign == "⊙":
                runs.append(([value], []))
            else:
                runs[-1][0].append(value)
                runs[-1][1].append(sign)
        parts = [self._product(run, inner) for run, inner in runs]
        found = parts[0]
        for part in parts[1:]:
            found = elementwise(found, part)
        return found

    def _times(self, x: Value, y: Value, sign: str) -> Value:
        a, b = shape(x), shape(y)
        if sign == "⊙" and self.thin:
            raise MisfitError("a network of single units has no products entry by entry")
        if a is None or b is None or sign == "⊙":
            return elementwise(x, y)
        if sign == "⊗" and 1 not in a and 1 not in b:
            raise NotReadError("Kronecker's product of matrices")
        if sign == "⊗":
            return matmul(x if a[1] == 1 else transpose(x), y if b[0] == 1 else transpose(y))
        if sign == "*" and a == b:
            return elementwise(x, y)
        if a[1] == b[0] and not (a == b and 1 in a and a[0] == a[1]):
            return matmul(x, y)
        if a == b:
            if sign == "·" and self.reading["dot"] == "inner":
                return total(elementwise(x, y))
            return elementwise(x, y)
        return matmul(x, y)

    def _div(self, node: Node, at: Context) -> Value:
        above, below = (self.value(kid, at) for kid in node.kids)
        return divide(above, below)
