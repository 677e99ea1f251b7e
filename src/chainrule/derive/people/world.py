"""A network with numbers in it, under a reading: what each of its nodes is, also where some of them are set by hand.

∂A/∂B is an intervention: B is overridden, everything that depends on it is computed anew, and A is looked at. One rule
gives ∂L/∂p, ∂p/∂z, ∂L/∂W, δ, and derivatives within each other.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.reading import Reading
from chainrule.derive.people.tree import NotReadError
from chainrule.derive.people.values import (
    FLOAT,
    Dual,
    Plain,
    Value,
    add,
    apply,
    contract,
    divide,
    elementwise,
    neg,
    rename,
    scalar,
    tangent,
)

__all__ = ["Context", "World", "derivative", "differentiated"]

Key = tuple[Any, ...]


class World:
    """Sizes and numbers, drawn from a hash: different from one another, and not known to the file's author."""

    def __init__(self, reading: Reading, seed: int, *, batch: bool, square: bool = False) -> None:
        self.reading = reading
        self.batch = batch
        self.seed = seed
        self.random = np.random.default_rng(seed)
        count = reading.layers + 2
        low = 3 if reading.layers <= 3 else 2
        sizes = self.random.permutation(np.arange(low, low + max(count + 1, 5)))[:count]
        if square:
            sizes[:] = 3
        if reading["network"] == "own":
            sizes = np.full(6, 3 + seed % 3)
        self.sizes: dict[str, int] = {f"#{k}": int(sizes[k]) for k in range(len(sizes) - 1)}
        self.sizes["#N"] = int(sizes[-1]) if not square else 4
        self.dots: int | None = None
        self.free: dict[Key, Plain] = {}
        classes = self.sizes[f"#{reading.layers}"]
        count_n = self.sizes["#N"]
        self.labels = self.random.integers(0, classes, size=count_n)
        if batch and count_n > 1 and len(set(self.labels.tolist())) == 1:
            self.labels[0] = (self.labels[0] + 1) % classes

    def drawn(self, key: Key, axes: tuple[str, ...], low: float = -1.2, high: float = 1.2) -> Plain:
        """Numbers of a free node, the same at every call."""
        if key not in self.free:
            shape = tuple(self.sizes[a] for a in axes)
            self.free[key] = Plain(_uniform(f"{self.seed} {key}", shape, low, high), axes)
        return self.free[key]

    def weights(self, key: Key, size: tuple[int, ...]) -> Any:
        """Numbers of some shape, the same at every call."""
        return _uniform(f"{self.seed} {key}", size, 0.2, 1.1)


@functools.lru_cache(maxsize=2048)  # a search makes the same world again for every reading
def _uniform(text: str, shape: tuple[int, ...], low: float, high: float) -> Any:
    """Numbers of some shape, drawn from a hash of the text."""
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    data = np.asarray(random.uniform(low, high, size=shape), dtype=FLOAT)
    data.flags.writeable = False
    return data


class Context:
    """The nodes of a world, some of them overridden."""

    tags = 0

    def __init__(self, world: World, overrides: Mapping[Key, Value] | None = None) -> None:
        self.world = world
        self.reading = world.reading
        self.overrides = dict(overrides or {})
        self.known: dict[Key, Value] = {}
        self.varied: dict[Key, tuple[Context, int, dict[str, str]]] = {}

    def node(self, key: Key) -> Value:
        if key in self.overrides:
            return self.overrides[key]
        if key not in self.known:
            self.known[key] = self._node(key)
        return self.known[key]

    def units(self, layer: int) -> tuple[str, ...]:
        mode = self.reading["units"]
        if mode == "one each" or (mode == "one output" and layer == self.reading.layers):
            return ()
        return (f"#{layer}",)

    def sample(self) -> tuple[str, ...]:
        return ("#N",) if self.world.batch else ()

    def _node(self, key: Key) -> Value:
        reading, world, last = self.reading, self.world, self.reading.layers
        kind = key[0]
        if kind == "h" and key[1] == 0:
            return world.drawn(key, (*self.sample(), *self.units(0)))
        if kind == "W":
            return world.drawn(key, (*self.units(key[1]), *self.units(key[1] - 1)))
        if kind == "b":
            return world.drawn(key, self.units(key[1]))
        if kind == "a":
            k = key[1]
            product = elementwise(self.node(("W", k)), self.node(("h", k - 1)))
            for unit in self.units(k - 1):
                product = contract(product, unit)
            return add(product, self.node(("b", k))) if reading["biases"] else product
        if kind == "h":
            return self._output(self.node(("a", last))) if key[1] == last else self._activated(self.node(("a", key[1])))
        if kind == "y":
            return self._targets()
        if kind == "l":
            return self._loss()
        if kind == "L":
            if not world.batch:
                return self.node(("l",))
            whole = contract(self.node(("l",)), "#N")
            return divide(whole, scalar(world.sizes["#N"])) if reading["mean"] else whole
        if kind == "δ":
            return derivative(self, ("L",), ("a", key[1]))
        if kind == "free":
            drawn = world.drawn(key[:3], tuple(f"#{k}" for k in range(key[2])), 0.3, 1.4)
            if key[3] < 0:  # 1 or −1 each
                return Plain(np.where(drawn.data > drawn.data.mean(), 1, -1).astype(FLOAT), drawn.letters)
            if key[3] and key[2]:  # summing to 1 along an axis
                return Plain(drawn.data / drawn.data.sum(axis=-int(key[3]), keepdims=True), drawn.letters)
            return drawn
        if kind == "const":
            return world.drawn(key, (), 0.5, 1.7)
        raise NotReadError(f"{kind} has no value")

    def _activated(self, x: Value) -> Value:
        return apply(x, functions_of(self.reading["activation"]))

    def _output(self, x: Value) -> Value:
        kind = self.reading["output"]
        if kind == "softmax":
            units = self.units(self.reading.layers)
            if not units:
                return apply(x, functions_of("logistic"))
            return softmax(x, units[0])
        return apply(x, functions_of(self.reading["activation"] if kind == "activation" else kind))

    def _targets(self) -> Plain:
        world, last = self.world, self.reading.layers
        units = self.units(last)
        key, axes = ("y",), (*self.sample(), *units)
        if self.reading["targets"] == "one-hot" and units:
            if key not in world.free:
                classes = np.eye(world.sizes[f"#{last}"], dtype=FLOAT)
                world.free[key] = Plain(classes[world.labels if world.batch else world.labels[0]], axes)
            return world.free[key]
        drawn = world.drawn(key, axes, 0.1, 0.9)
        if self.reading["loss"] == "signs" and self.reading["targets"] == "one-hot":
            return Plain(np.where(drawn.data < 0.5, -1, 1).astype(FLOAT), axes)
        if (
            units
            and self.reading["loss"] not in ("binary", "squares", "half squares", "any")
            and self.reading["output"] == "softmax"
        ):
            if ("y", 1) not in world.free:
                world.free["y", 1] = Plain(drawn.data / drawn.data.sum(axis=-1, keepdims=True), axes)
            return world.free["y", 1]
        return drawn

    def _loss(self) -> Value:
        kind, last = self.reading["loss"], self.reading.layers
        p, units = self.node(("h", last)), self.units(last)
        y = self.node(("y",))
        if kind == "cross entropy" and (not units or self.reading["output"] == "logistic"):
            kind = "binary"
        if kind == "signs":
            each = apply(neg(elementwise(y, self.node(("a", last)))), functions_of("softplus"))
        elif kind == "cross entropy":
            each = neg(elementwise(y, apply(p, functions_of("log"))))
        elif kind == "binary":
            one = scalar(1)
            less = [add(one, neg(v)) for v in (y, p)]
            each = neg(
                add(
                    elementwise(y, apply(p, functions_of("log"))),
                    elementwise(less[0], apply(less[1], functions_of("log"))),
                )
            )
        elif kind in ("squares", "half squares"):
            gap = add(p, neg(y))
            each = elementwise(gap, gap)
            each = elementwise(scalar(0.5), each) if kind == "half squares" else each
        else:  # any loss: no sum of one function for each output
            weights = self.world.drawn(("loss", 1), units, 0.4, 1.6)
            shift = self.world.drawn(("loss", 2), units)
            each = apply(add(elementwise(weights, p), shift), functions_of("any"))
            whole = contract(elementwise(shift, p), units[0]) if units else elementwise(shift, p)
            each = add(each, elementwise(each, elementwise(whole, whole)))
        return contract(each, units[0]) if units else each


def softmax(x: Value, letter: str) -> Value:
    exponentials = apply(x, functions_of("exp"))
    return divide(exponentials, contract(exponentials, letter))


def differentiated(context: Context, key: Key) -> tuple[Context, int, dict[str, str]]:
    """The context in which a node varies, the change's tag, and for each axis of the node the direction's letter."""
    if key in context.varied:
        return context.varied[key]
    base = context.node(key)
    Context.tags += 1
    tag = Context.tags
    here = base
    while isinstance(here, Dual):
        here = here.value
    change: Value = scalar(1)
    directions: dict[str, str] = {}
    for axis, size in zip(here.letters, here.data.shape, strict=False):
        directions[axis] = f"∂{tag}{axis}"
        change = elementwise(change, Plain(np.eye(size, dtype=FLOAT), (axis, directions[axis])))
    if here.matrix:
        raise NotReadError("a derivative by what is written as a matrix")
    varied = Context(context.world, {**context.overrides, key: Dual(tag, base, change)})
    context.varied[key] = (varied, tag, directions)
    return context.varied[key]


def derivative(context: Context, of: Key, by: Key) -> Value:
    """∂ of / ∂ by, between nodes: the letters of `by` are its own axes."""
    varied, tag, directions = differentiated(context, by)
    found = tangent(varied.node(of), tag)
    if found is None:
        raise NotReadError("a derivative by what does not matter")
    return rename(found, {there: axis for axis, there in directions.items()})
