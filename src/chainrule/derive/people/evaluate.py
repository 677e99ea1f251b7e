"""The value of a side under a reading, in a world: every index letter at all of its values at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.matrices import diagonal, stack, trace
from chainrule.derive.people.products import Products
from chainrule.derive.people.tree import Item, Name, Node, NotReadError, names
from chainrule.derive.people.values import (
    FLOAT,
    MisfitError,
    Plain,
    Value,
    add,
    all_letters,
    apply,
    contract,
    divide,
    elementwise,
    letters,
    matmul,
    neg,
    plain,
    positional,
    power,
    primal,
    scalar,
    shape,
    to_letters,
    total,
    transpose,
)  # fmt: skip
from chainrule.derive.people.world import Context, softmax

__all__ = ["Evaluator"]

_HIDDEN_BY_ONE = ("T", "sum", "mat", "inner", "norm", "grad")  # what says that there is more than one unit


class Evaluator(Products):
    """Values of trees. `Names` and `Indices` say what a letter runs over, and what conditions and names are."""

    def value(self, node: Node, at: Context) -> Value:
        if self.thin and (node.op in _HIDDEN_BY_ONE or (node.op == "fn" and node.data[0] == "softmax")):
            raise MisfitError("a network of single units has no sums and no transposes")
        method = getattr(self, f"_{node.op}", None)
        if method is None:
            raise NotReadError(f"{node.op} is not read here")
        found: Value = method(node, at)
        return found

    def _num(self, node: Node, at: Context) -> Value:
        number = float(node.data)
        if 0 < abs(number) < 1e-5:  # too small to be seen: any number takes its place
            return self.world.drawn(("tiny", number), ())
        return scalar(number)

    def _alt(self, node: Node, at: Context) -> Value:
        return self.value(node.kids[self.choice if self.choice < len(node.kids) else 0], at)

    def _claim(self, node: Node, at: Context) -> Value:
        return self.value(node.kids[0], at)

    def _neg(self, node: Node, at: Context) -> Value:
        return neg(self.value(node.kids[0], at))

    def _pow(self, node: Node, at: Context) -> Value:
        base, exponent = node.kids
        if base.op == "norm" and exponent.op == "num" and exponent.data == 2:
            inner = self.value(base.kids[0], at)
            return total(elementwise(inner, inner))
        below = self.value(base, at)
        raised = self.value(exponent, at)
        size = shape(below)
        if size is not None and 1 not in size and base.op not in ("fn", "app"):
            raise NotReadError("a power of a matrix")
        number = primal(raised)
        if raised is number and number.data.ndim == 0 and base.op == "num":
            return self._num(Node("num", (), float(base.data) ** float(number.data)), at)
        if raised is number and number.data.ndim == 0:
            return power(below, float(number.data))
        return apply(elementwise(raised, apply(below, functions_of("log"))), functions_of("exp"))

    def _appow(self, node: Node, at: Context) -> Value:
        """σ(z)² and p(1 − p)²: a name before a bracket with an exponent."""
        inner = node.kids[0]
        name: Name = node.data
        if self.is_function(name):
            call = Node("app", (inner.kids[0],), name)
            return self.value(inner.with_kids((call, *inner.kids[1:])), at)
        if self.drops_arguments(Node("app", inner.kids[:1], name)):
            return self.value(inner.with_kids((Node("name", (), name), *inner.kids[1:])), at)
        return self._times(self.name(name, at), self.value(inner, at), "")

    # --- Functions --------------------------------------------------------------------------------------------------

    def _fn(self, node: Node, at: Context) -> Value:
        function, primes = node.data
        argument = node.kids[0]
        if function in ("softmax", "logsoftmax"):
            found = self._softmax(argument, at, primes)
            return apply(found, functions_of("log")) if function == "logsoftmax" else found
        x = self.value(argument, at)
        if function == "diag":
            return diagonal(x)
        if function == "trace":
            return trace(x)
        if function == "normalize" and 1 in (shape(x) or ()):
            return divide(x, total(x))
        if function == "over samples":
            return self._over_samples(x)
        if function == "logsumexp":
            exponentials = apply(x, functions_of("exp"))
            if shape(x) is not None:
                return apply(total(exponentials), functions_of("log"))
            return apply(contract(exponentials, self.class_letter(x)), functions_of("log"))
        return apply(x, functions_of(function, primes))

    def _softmax(self, argument: Node, at: Context, primes: int = 0) -> Value:
        if primes:  # of a vector, the slope is the Jacobian
            whole = Node("fn", (argument,), ("softmax", primes - 1))
            return self.derived(whole, argument, at)
        if argument.op == "name" and self.is_bare_index(argument.data):
            return self.name(Name(self.probabilities(), (Item("letter", argument.data.base),)), at)
        x = self.value(argument, at)
        size = shape(x)
        if size is None and argument.op == "name" and len(argument.data.sub) == 1 and not all_letters(x) - {"★"}:
            whole = Node("fn", (Node("name", (), replace(argument.data, sub=())),), ("softmax", 0))
            return self.value(Node("elem", (whole,), argument.data.sub), at)  # softmax(z_k), of one class k
        if size is None:
            return softmax(x, self.class_letter(x))
        if 1 in size:
            exponentials = apply(x, functions_of("exp"))
            return divide(exponentials, total(exponentials))
        rows = self.reading["samples"] == "rows"
        lettered = to_letters(x, "∂r", "∂c")
        return positional(softmax(lettered, "∂c" if rows else "∂r"), "∂r", "∂c")

    def _over_samples(self, x: Value) -> Value:
        """The sum over all samples of a batch, whose rows or columns they are."""
        size = shape(x)
        if size is None or not self.world.batch:
            raise NotReadError("a sum over samples, of which there are none")
        if self.reading["samples"] == "rows":
            return matmul(plain(np.ones((1, size[0])), matrix=True), x)
        return matmul(x, plain(np.ones((size[1], 1)), matrix=True))

    def _app(self, node: Node, at: Context) -> Value:
        name: Name = node.data
        if any(kid.op == "ind" for kid in node.kids) or self.is_probability_of(node):
            return self.probability(node, at)
        if self.is_likelihood(node):
            return apply(neg(self.name(name, at)), functions_of("exp"))
        if name.base == "e" and not name.sub and len(node.kids) == 1 and node.kids[0].op in ("name", "num"):
            given = node.kids[0]  # e(ℓ) and e(1)
            item = Item("letter", given.data.base) if given.op == "name" else Item("number", int(given.data))
            return self.name(Name("e", (item,)), at)
        if name.base in self.reading.functions and len(node.kids) == 1:
            return self._as_defined(name, node.kids[0], at)
        if self.is_function(name) or self.is_own_function(node):
            if len(node.kids) != 1:
                return self._of_several([self.value(kid, at) for kid in node.kids])
            if self.reading[f"function {name.base}"] == "softmax":
                return self._softmax(node.kids[0], at, name.primes)
            found = self.call(name, self.value(node.kids[0], at))
            return found
        if self.drops_arguments(node):
            return self.name(self.of_sample(node), at)
        inner = node.kids[0]
        if len(node.kids) != 1:
            raise NotReadError(f"{name.base} before a bracket of several things is not understood")
        kind = self.reading.kind(name.base)
        if kind in ("p", "y") and not name.sub and inner.op == "name":
            if self._index(inner) is not None and not isinstance(self._index(inner), int):
                return self.name(Name(name.base, (Item("letter", inner.data.base),), name.sup), at)  # π(k)
            if kind == "p" and inner.data.sub and self.reading.kind(inner.data.base) == "a":  # S(x_i) is S(x)_i
                return self.name(Name(name.base, inner.data.sub, name.sup), at)
        if kind in ("p", "h") and not name.sup and all(item.kind == "word" for item in name.sub):
            if any(self.reading.kind(n.base) == "W" for n in names(inner)):  # σ(x w)
                return self._output_of(name, inner, at)
            inputs = any(self.reading.kind(n.base) == "x" for n in names(inner))
            if inputs and name.base in self.reading.facts.called:  # h(y x), beside h(x)
                return self._of_input(name, inner, at)
        if name.base in self.reading.facts.functions and not any(n.base == name.base for n in names(inner)):
            raise MisfitError(f"{name.base} of something else than what the file says it is of")
        return self._times(self.name(name, at), self.value(node.kids[0], at), "")

    def _output_of(self, name: Name, argument: Node, at: Context) -> Value:
        """h(W x), where h is a layer's output: what a layer does."""
        layer = self.accessed(name).key[1]
        softmax_ = self.reading["output"] == "softmax" and layer == self.reading.layers
        if softmax_ and at.units(layer):
            return self._softmax(argument, at, name.primes)
        last = self.reading["output"] if layer == self.reading.layers else "activation"
        function = {"softmax": "logistic", "activation": self.reading["activation"]}.get(last, last)
        return apply(self.value(argument, at), functions_of(function, name.primes))

    def _of_input(self, name: Name, argument: Node, at: Context) -> Value:
        """h(y x), where h(x) is the output: of other inputs."""
        given = to_letters(self.value(argument, at), "#0", "#0")
        access = self.accessed(name)
        if ("#0" in all_letters(given)) != bool(at.units(0)) or name.primes or access.batch:
            raise NotReadError(f"{name.base} of something else")
        other = Context(at.world, {**at.overrides, ("h", 0): given})
        first = int(self.world.batch)  # without the axis of samples
        access = access._replace(axes=access.axes[first:], picks=access.picks[first:])
        return self.picked_of(other.node(access.key), access)

    def _inner(self, node: Node, at: Context) -> Value:
        return total(elementwise(*(self.value(kid, at) for kid in node.kids)))

    def _norm(self, node: Node, at: Context) -> Value:
        inner = self.value(node.kids[0], at)
        return power(total(elementwise(inner, inner)), 0.5)

    def _abs(self, node: Node, at: Context) -> Value:
        return apply(self.value(node.kids[0], at), functions_of("abs"))

    def _max(self, node: Node, at: Context) -> Value:
        if len(node.kids) == 2:
            x, y = (self.value(kid, at) for kid in node.kids)
            gap = add(x, neg(y))
            return add(y, apply(gap, functions_of("relu")))
        x = self.value(node.kids[0], at)
        if shape(x) is not None:
            x = to_letters(x, "∂m", "∂m")
            letter = "∂m"
        else:
            letter = node.data.letters[0] if node.data.letters else self.class_letter(x)
        here = primal(x)
        if letter not in here.letters:
            raise NotReadError("a maximum over nothing")
        axis = here.letters.index(letter)
        first = here.data == here.data.max(axis=axis, keepdims=True)
        return contract(elementwise(x, Plain(first.astype(FLOAT), here.letters)), letter)

    # --- Σ and its kin ----------------------------------------------------------------------------------------------

    def _sum(self, node: Node, at: Context) -> Value:
        return self._over(node, at, product=False)

    def _prod(self, node: Node, at: Context) -> Value:
        return self._over(node, at, product=True)

    def _over(self, node: Node, at: Context, *, product: bool) -> Value:
        bound = node.data
        body = node.kids[0]
        inner = self.bound_letters(bound) or self.unbound(body)
        self.scopes.append((set(inner), body, bound))
        try:
            value = self.value(body, at)
            for condition in self.bound_conditions(bound):
                factor = self.condition(condition, at)
                if product:
                    value = add(elementwise(value, factor), add(scalar(1), neg(factor)))
                else:
                    value = elementwise(value, factor)
            if not inner:
                if shape(value) is None and "★" in all_letters(value):
                    return contract(value, "★")
                if shape(value) is None:
                    raise NotReadError("a Σ without an index")
                return total(value)
            for letter in inner:
                if letter not in all_letters(value):
                    if shape(value) is not None and not self.uses(body, letter):
                        value = total(value)
                        continue
                    size = self.size_of(letter)
                    value = elementwise(value, Plain(np.ones(size, dtype=FLOAT), (letter,)))
                value = contract(value, letter, product=product)
            return value
        finally:
            self.scopes.pop()

    # --- Vectors and matrices ---------------------------------------------------------------------------------------

    def _given(self, node: Node, at: Context) -> Value:
        return self.value(node.kids[0], at)

    def _T(self, node: Node, at: Context) -> Value:
        kid = node.kids[0]
        value = self.value(kid, at)
        if kid.op == "name" and len(kid.data.sub) == 2 and shape(value) is None:  # (Wᵀ)_{ij}
            return self.name(replace(kid.data, sub=kid.data.sub[::-1]), at)
        return transpose(value)

    def _elem(self, node: Node, at: Context) -> Value:
        kid = node.kids[0]
        if kid.op == "fn" and kid.data[0] == "softmax" and kid.kids[0].op == "name":
            inner = self.accessed(kid.kids[0].data) if not self.is_bare_index(kid.kids[0].data) else None
            if inner is not None and all(isinstance(p, str) and p != "★" for p in inner.picks[-1:]):
                return self.value(kid, at)  # softmax(z_i)_i
        value = self.value(kid, at)
        items = [item for item in node.data if item.kind in ("letter", "number", "name", "round", "condition")]
        flat = [one for item in items for one in (item.value if item.kind == "round" else (item,))]
        size = shape(value)
        if size is None:
            if not flat:
                return value
            names = [item.value for item in flat if item.kind == "letter"]
            if len(names) == len(flat) <= 2 and set(names) <= all_letters(
                value
            ):  # the vector or matrix of these elements
                return positional(value, names[0], names[1] if len(names) > 1 else None)
            raise NotReadError("an element of a number")
        lettered = to_letters(value, "∂1", "∂2")
        axes = [a for a in ("∂1", "∂2") if a in letters(lettered)]
        if len(flat) > len(axes):
            raise MisfitError("more indices than dimensions")
        for item, axis in zip(flat, axes, strict=False):
            lettered = self.picked(lettered, axis, item)
        if len(flat) < len(axes):
            rows = self.reading["vectors"] == "rows"
            return positional(lettered, *((None, axes[len(flat)]) if rows else (axes[len(flat)], None)))
        return lettered

    def _mat(self, node: Node, at: Context) -> Value:
        if any(1 in row for row in node.data):
            raise NotReadError("dots stand in a matrix")
        kids = iter(node.kids)
        rows = [[self.value(next(kids), at) for _ in row] for row in node.data]
        if len({len(row) for row in rows}) > 1:
            raise MisfitError("rows of different lengths")
        if (
            len(rows) == 1
            and len(node.data) == 1
            and self.reading["vectors"] == "columns"
            and node.data
            and len(rows[0]) > 1
        ):
            return stack(rows)
        return stack(rows)

    def _name(self, node: Node, at: Context) -> Value:
        return self.name(node.data, at)
