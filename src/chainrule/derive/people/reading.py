"""A reading: what each letter of a file stands for, and the conventions of its writer; and what a name is under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from chainrule.derive.people.facts import Facts, flat_items, tagged
from chainrule.derive.people.tree import Condition, Item, Name, Node, NotReadError
from chainrule.derive.people.values import MisfitError

__all__ = ["CONVENTIONS", "Access", "Definition", "Function", "Reading", "Role", "Roles"]

# What may differ from writer to writer; the first is the usual.
CONVENTIONS: dict[str, tuple[Any, ...]] = {
    "vectors": ("columns", "rows"),
    "weights": ("out×in", "in×out"),
    "gradient": ("as the variable", "transposed"),
    "jacobian": ("numerator", "denominator"),
    "output": ("softmax", "logistic", "identity", "activation"),
    "units": ("many", "one output", "one each"),
    "activation": ("any", "logistic", "tanh", "relu", "identity"),
    "loss": ("cross entropy", "binary", "squares", "half squares", "signs", "any"),  # signs: log(1 + e^{−y z})
    "targets": ("sum to 1", "one-hot"),
    "label": ("",),  # a letter that stands for the true class
    "mean": (True, False),
    "samples": ("rows", "columns"),
    "two": ("sample first", "class first"),
    "counted": ("from inputs", "from 1"),  # whether layer 1 is the first with weights, or the inputs
    "dot": ("inner", "elementwise"),
    "einstein": (False, True),
    "biases": (True, False),
    "classes": (0,),  # how many, where a file writes them all out
    "batch": ("where it shows", "always", "never"),  # never: a capital is a vector, too
    # Whether the name of a single output stands for those of all samples; "all": that of any vector.
    "stacked": (False, True, "all"),
    "network": ("layers", "own"),  # own: nothing but what the file defines
    "differentials": ("changes", "gradients", "of each sample"),  # dW: a change of W, or ∂L/∂W; dZ of one sample's loss
}

_USUAL = {name: values[0] for name, values in CONVENTIONS.items()}


class Role(NamedTuple):
    """`kind`: a (pre-activation), h (a layer's output), p (probabilities), y (targets), L (loss), W, b, x, δ, g
    (activation), label, count, const, kron, eye, ones, unit, def, free (a tensor of its own). `layer`: None by its tag,
    or a number from the end: 0 is the output layer, −1 the one before; of a free one, its dimensions. `batch`: a matrix
    of all samples; of a free one, the axis from the end along which it sums to 1, or −1 where it is 1 or −1 each."""

    kind: str
    layer: int | None = None
    batch: int = False


class Definition(NamedTuple):
    """What the file says that a name is: its index letters, and the side that it equals."""

    letters: tuple[str, ...]
    node: Node
    key: tuple[Any, ...] = ()


class Function(NamedTuple):
    """What the file says that a function is: of which name, its value, and the letters that pick an element of it."""

    argument: str
    node: Node
    letters: tuple[str, ...] = ()


class Access(NamedTuple):
    """A name's node of the network, the axes of it with what picks from each (None: all of it), and a power."""

    key: tuple[Any, ...]
    axes: tuple[str, ...]
    picks: tuple[Any, ...]
    power: int = 1
    conditions: tuple[Condition, ...] = ()
    batch: bool = False
    flat: bool = False  # weights of one class, as a vector


class Roles(dict[str, Role]):
    """Roles by letter, which notes whom it was asked for: what was not asked does not matter to a result."""

    asked: dict[str, Role | None]

    def __init__(self, roles: Mapping[str, Role]) -> None:
        super().__init__(roles)
        self.asked = {}

    def get(self, base: str, default: Any = None) -> Any:
        found = super().get(base)
        self.asked[base] = found
        return default if found is None else found


@dataclass
class Reading:
    roles: Roles
    facts: Facts
    depth: int
    middle: int
    conventions: dict[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)  # without a network

    def __post_init__(self) -> None:
        self.roles = Roles(self.roles)
        self.forget()

    def forget(self) -> None:
        """Begin to note anew what is asked for."""
        self._known: dict[tuple[Name, bool], Access] = {}
        self.roles.asked = {}
        self.asked: dict[str, Any] = {}

    def __getitem__(self, convention: str) -> Any:
        found = self.conventions.get(convention, _USUAL.get(convention, ""))
        self.asked[convention] = found
        return found

    def said(self, conventions: tuple[str, ...], bases: tuple[str, ...]) -> tuple[Any, ...]:
        """What this reading says where another was asked, without its noticing."""
        own, roles = self.conventions, self.roles
        found = [own.get(name, _USUAL.get(name, "")) for name in conventions]
        return (*found, *[dict.get(roles, base) for base in bases])

    @property
    def layers(self) -> int:
        return max(1, self.depth - 1) if self["counted"] == "from 1" else self.depth

    def but(self, **conventions: Any) -> Reading:
        return replace(self, conventions={**self.conventions, **conventions})

    def kind(self, base: str) -> str:
        """The kind of a letter's role; "" of a letter that has none."""
        role = self.roles.get(base)
        return "" if role is None else str(role.kind)

    # --- What a name is -----------------------------------------------------------------------------------------------

    def access(self, name: Name, batch: bool) -> Access:
        """The node that a name stands for.

        Raises
        ------
        NotReadError, MisfitError
            Its letter has no role, or its scripts do not fit it.
        """
        known = self._known.get((name, batch))
        if known is None:
            known = self._access(name, batch)
            self._known[name, batch] = known
        return known

    def _access(self, name: Name, batch: bool) -> Access:
        role = self.roles.get(name.base)
        if role is None:
            raise NotReadError(f"{name.base} is not a name that is known here")
        if self["network"] == "own" and role.kind in ("def", "free"):
            return self._own(name, role)
        if role.kind == "def" and name.primes:
            raise NotReadError(f"the slope of {name.base}, which is defined here as a value")
        if role.kind == "def":
            return self._defined(name)
        layer, items = self.layer_of(name, role)
        kind = role.kind
        if kind == "p":
            kind, layer = "h", layer if self._tagged(name) else self.layers
        if kind in ("x",):
            kind, layer = "h", 0
        if kind in ("a", "h", "δ", "W", "b") and not 0 <= layer <= self.layers:
            raise MisfitError(f"there is no layer {layer}")
        if kind in ("a", "W", "b", "δ") and layer == 0:
            raise MisfitError("the inputs have no weights")
        key: tuple[Any, ...]
        if kind == "L":
            return self._loss(name, items, batch)
        if kind == "W":
            return self._weights(name, items, layer)
        if kind == "y":
            key, unit = ("y",), f"#{self.layers}"
        else:
            key, unit = (kind, layer), f"#{layer}"
        axes = () if self._no_units(layer if kind != "y" else self.layers) else (unit,)
        if kind != "b" and batch:
            axes = ("#N", *axes)
        return self._vector(name, items, key, axes, role)

    def _own(self, name: Name, role: Role) -> Access:
        key, items, power = tagged(name, self.facts)
        if key in self.definitions:
            axes = tuple(f"@{k}" for k in range(max(len(self.definitions[key].letters), len(items))))
            picks, conditions = self._picks(items, axes)
            return Access(("def", key), axes, picks, power, conditions)
        count = max(len(items), role.layer or 0)
        if any(
            item.kind == "letter" and item.value in self.facts.tags for item in flat_items(name.sub)
        ):  # u_o, one of u_k
            shown = max(len(tagged(other, self.facts)[1]) for other in self.facts.seen[name.base])
            count = max(len(items), count - shown + len(items))
        if count > 4 or count - len(items) > 2:
            raise NotReadError("more than two dimensions")
        axes = tuple(f"#{k}" for k in range(count))
        picks, conditions = self._picks(items, axes)
        return Access(("free", key, count, role.batch), axes, picks, power, conditions)

    def _no_units(self, layer: int) -> bool:
        return self["units"] == "one each" or (self["units"] == "one output" and layer == self.layers)

    def _defined(self, name: Name) -> Access:
        tags = [i for i in (*name.sub, *name.sup) if i.kind == "number"]
        numbered = f"{name.base}_{tags[0].value}" if tags else ""
        if numbered in self.definitions:
            name = Name(
                name.base,
                tuple(i for i in name.sub if i is not tags[0]),
                tuple(i for i in name.sup if i is not tags[0]),
            )
        base = numbered if numbered in self.definitions else name.base
        if base not in self.definitions:
            raise NotReadError(f"{name.base} is not defined with this index")
        definition = self.definitions[base]
        items = [i for i in (*name.sub, *name.sup) if i.kind in ("letter", "number", "name", "condition", "shifted")]
        power = 1
        if name.sup and name.sup[-1].kind == "number" and len(items) > len(definition.letters):
            power, items = name.sup[-1].value, items[:-1]
        items = [*flat_items(items)]
        axes = tuple(f"@{k}" for k in range(len(definition.letters)))
        if len(items) > len(axes):
            axes = axes + tuple(f"@{k}" for k in range(len(axes), len(items)))
        picks, conditions = self._picks(items, axes)
        return Access(("def", base), axes, picks, power, conditions)

    def layer_of(self, name: Name, role: Role) -> tuple[int, list[Item]]:
        """The layer that a name's tag says, and its other items, flat."""
        tag: Item | None = None
        rest: list[Item] = []
        layered = role.kind in ("a", "h", "W", "b", "δ") or (role.kind in ("p", "x") and self._tagged(name))
        for item in name.sup:
            inside = flat_items([item])
            one = inside[0] if len(inside) == 1 else None
            bracketed = item.kind in ("round", "square")
            if layered and tag is None and one is not None and self._is_layer(one, name, bracketed, sup=True):
                tag = one
            elif bracketed and one is not None and one.kind in ("letter", "number"):
                rest.append(Item("tag", one))
            else:
                rest += (
                    [Item("power", one)]
                    if one is not None and one.kind == "number"
                    else [Item("tag", one)]
                    if one is not None
                    else []
                )
        sub = list(name.sub)
        if layered and tag is None and sub:
            first = flat_items(sub[:1])
            if len(first) == 1 and self._is_layer(
                first[0], name, sub[0].kind in ("round", "square"), sup=False, count=len(sub)
            ):
                tag, sub = first[0], sub[1:]
        rest = [*flat_items(sub), *rest]
        if tag is None:
            layer = self.layers if role.layer is None else self.layers + role.layer
            if role.layer is None:
                layer = {"h": self.layers - 1, "x": 0}.get(role.kind, self.layers)
            return layer, rest
        return self._number_of(tag, role), rest

    def _tagged(self, name: Name) -> bool:
        return any(i.kind in ("round", "square") for i in name.sup) and name.base in self.facts.layer_numbers

    def _is_layer(self, item: Item, name: Name, bracketed: bool, *, sup: bool, count: int = 1) -> bool:
        facts = self.facts
        if item.kind == "shifted":
            return item.value[0] in facts.layer_letters
        if item.kind == "letter":
            if sup and item.value in facts.spelt_layers:
                return True
            return item.value in facts.layer_letters
        if item.kind == "number":
            if bracketed:
                return True
            if sup:
                return facts.sup_layers and item.value in facts.layer_numbers.get(name.base, ())
            if count == 3 and item.value in (1, 2, 3, 4):  # O_2[i,k]
                return True
            return facts.sub_layers and count == 1 and item.value in facts.layer_numbers.get(name.base, ())
        return False

    def _number_of(self, tag: Item, role: Role) -> int:
        shift = 0
        value = tag.value
        if tag.kind == "shifted":
            value, shift = tag.value
        if isinstance(value, int):
            number = int(value) + int(shift)
            return number - (self["counted"] == "from 1" and role.kind not in ("W", "b"))
        if value in ("o", "h") and value in self.facts.spelt_layers:
            return self.layers - int(value == "h")
        if self["counted"] == "from 1":  # W^{(l)} leads from layer l to the next
            shift += (role.kind in ("W", "b")) - value.islower()
        return int(self.layers - self.facts.above if value.isupper() else self.middle) + int(shift)

    def _loss(self, name: Name, items: list[Item], batch: bool) -> Access:
        power = next((i.value.value for i in items if i.kind == "power"), 1)
        letters = [i for i in items if i.kind in ("letter", "tag", "name")]
        letters = [i.value if i.kind == "tag" else i for i in letters]
        samples = [i for i in letters if i.kind == "letter" and i.value in self.facts.sample_letters]
        if batch and samples:
            return Access(("l",), ("#N",), (samples[0].value,), power)
        return Access(("L",), (), (), power)

    def _weights(self, name: Name, items: list[Item], layer: int) -> Access:
        axes: tuple[str, ...] = ()
        if self["units"] != "one each":
            axes = (f"#{layer - 1}",) if self._no_units(layer) else (f"#{layer}", f"#{layer - 1}")
        picked = [i.value if i.kind == "tag" else i for i in items if i.kind != "power"]
        picked = [i for i in picked if i.kind in ("letter", "number", "name", "condition", "shifted")]
        power = next((i.value.value for i in items if i.kind == "power"), 1)
        if len(axes) == 2 and self["weights"] == "in×out":
            axes = (axes[1], axes[0])
        flat = False
        if len(axes) == 2 and len(picked) == 1:
            unit = f"#{layer}"  # w_k: the weights of one output
            axes = (unit, f"#{layer - 1}")
            picks, conditions = self._picks(picked, axes[:1])
            return Access(("W", layer), axes, (*picks, None), power, conditions, flat=True)
        if len(picked) > len(axes):
            raise MisfitError(f"{name.base} has more indices than dimensions")
        picks, conditions = self._picks(picked, axes)
        return Access(("W", layer), axes, picks, power, conditions, flat=flat)

    def _vector(self, name: Name, items: list[Item], key: tuple[Any, ...], axes: tuple[str, ...], role: Role) -> Access:
        power = next((i.value.value for i in items if i.kind == "power"), 1)
        picked: list[Item] = []
        sample: Item | None = None
        units = [a for a in axes if a != "#N"]
        for item in items:
            if item.kind == "tag":
                if item.value is not None and item.value.kind in ("letter", "number"):
                    sample = item.value
            elif item.kind == "letter" and role.kind in ("x", "h") and (name.base, item.value) in self.facts.decorated:
                continue
            elif item.kind in ("letter", "number", "name", "condition", "shifted"):
                picked.append(item)
            elif item.kind == "word" and any(
                word in item.value for word in ("true", "label", "correct", "target", "gold")
            ):
                picked.append(Item("label", None))
        samples = self.facts.sample_letters
        batched = "#N" in axes and self["stacked"] == "all"
        if batched and sample is None and units and [item.kind for item in picked] == ["letter"]:
            sample = picked.pop()  # δ_i, a row of the matrix δ
        elif sample is None and len(picked) == 2:
            first = self["two"] == "sample first"
            sample = picked.pop(0 if first else 1)
        elif sample is None and len(picked) == 1 and picked[0].kind == "letter" and picked[0].value in samples:
            if picked[0].value not in self.unit_letters:
                sample = picked.pop()
        elif sample is not None and not units and picked:
            raise MisfitError(f"{name.base} has more indices than dimensions")
        if len(picked) > len(units):
            if picked and picked[0].kind == "letter" and not units and role.kind in ("a", "h", "p", "y", "x", "b", "δ"):
                raise MisfitError(f"{name.base} is a single number here, and has an index")
            raise MisfitError(f"{name.base} has more indices than dimensions")
        picks, conditions = self._picks(picked, tuple(units))
        if "#N" in axes:
            at: Any = None
            whole = role.batch and self["batch"] != "never"
            stacked = whole or batched or ((key[0] == "y" or (not units and key[0] in ("a", "h"))) and self["stacked"])
            if sample is not None:
                at = self._pick(sample)
            elif not stacked:
                at = "★"
            picks = (at, *picks)
            return Access(key, axes, picks, power, conditions, batch=stacked)
        return Access(key, axes, picks, power, conditions, batch=bool(role.batch))

    @property
    def unit_letters(self) -> frozenset[str]:
        """Letters that index units in this file although they may index samples elsewhere."""
        return frozenset()

    def _picks(self, items: list[Item], axes: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[Condition, ...]]:
        picks: list[Any] = []
        conditions: list[Condition] = []
        for item in items:
            if item.kind == "condition":
                one: Item = item.value.left
                picks.append(self._pick(one))
                right = item.value.right
                if right is not None and item.value.rel in ("=", "≠"):
                    left_node = Node("name", (), Name(str(one.value)))
                    conditions.append(Condition(left_node, item.value.rel, Node("name", (), Name(str(right.value)))))
            else:
                picks.append(self._pick(item))
        picks += [None] * (len(axes) - len(picks))
        return tuple(picks), tuple(conditions)

    def _pick(self, item: Item) -> Any:
        if item.kind == "label":
            return ("label",)
        if item.kind == "number":
            return int(item.value) + self.facts.zero_based
        if item.kind == "letter":
            if self.is_label(item.value):
                return ("label",)
            return str(item.value)
        if item.kind == "name" and item.value.op == "name":
            name: Name = item.value.data
            if self.is_label(name.base) or self.is_label(_written(name)):
                letters = [i.value for i in flat_items(name.sub + name.sup) if i.kind == "letter"]
                return ("label", *letters[:1])
            return _written(name)
        raise NotReadError("an index is not read")

    def is_label(self, letter: str) -> bool:
        """Whether a letter stands for the true class."""
        kind = self.kind(letter)
        if kind in ("label", "y"):
            return True
        if letter == "ℓ" and "ℓ" not in self.facts.layer_letters | self.facts.summed:
            return not kind
        return bool(letter) and letter == self["label"]


def _written(name: Name) -> str:
    return name.base + "".join(str(i.value) for i in name.sub)
