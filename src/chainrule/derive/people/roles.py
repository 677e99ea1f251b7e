"""Which roles a file's letters may have: what its equations show, else what the field usually writes."""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from chainrule.derive.people.affine import is_idle
from chainrule.derive.people.chains import Notes
from chainrule.derive.people.comparing import closed
from chainrule.derive.people.facts import Facts, free_bases
from chainrule.derive.people.reading import Definition, Reading, Role, Roles
from chainrule.derive.people.tagging import ARGUMENT
from chainrule.derive.people.tree import Bound, Item, Name, Node, walk

__all__ = ["USUAL", "definitions_in", "readings_of", "shorthands"]

# The usual letters of each role, with how usual they are.
_USUAL: dict[str, str] = {
    "a": (
        "z 1 Z 1 o .8 θ .5 a .75 A .4 x .35 s .5 f .5 u .4 net .9 logits 1 logit 1 η .3 h .2 v .3 O .7 S .3 "
        "F .3 scores .8 y .15 t .1 zed 1 in .3 q .1 ℓ .1 U .1 m .2 n .15 μ .1 ξ .3 φ .1 l .2"
    ),
    "p": (
        "ŷ 1.2 p .9 P .9 π .8 a .6 y .55 o .6 q .7 Q .6 s .5 S .5 σ .4 p̂ 1.1 Ŷ 1.1 h .25 z .2 A .5 O .3 probs 1 "
        "φ .2 ỹ .6 f .2 g .15 μ .4 out .5 softmax .5 x̂ .3 π̂ .8 r .1 Y .1 yhat 1.2 ρ .2 t̂ .5 k .05 ȳ .4 â .3 c "
        ".1 D .1 s̃ .2 w .1 e .1 u .1 θ .1 ν .1"
    ),
    "y": (
        "y 1 Y 1 t 1 T .9 p .45 q .35 d .3 τ .5 target 1 targets 1 r .3 label .7 ȳ .3 P .2 ỹ .5 c .2 l .25 k .1 "
        "q̂ .1 z .15 p̄ .2 s .1 δ .05 a .05 b .05 e .1 g .1"
    ),
    "L": (
        "L 1 𝓛 1.2 J 1 E .9 C .9 CE 1.2 H .6 loss 1.2 Loss 1.2 ℓ .6 l .7 NLL 1.2 XE 1 Cost 1 cost 1 ℒ 1 R .3 F .3 "
        "Q .2 l̄ .3 BCE 1.2 xent 1 D .2 err .7 S .1 G .2 W .05 φ .1 ξ .3 f .1 U .1 Err .7 error .7 crossentropy "
        "1.2 KL .4 D_KL .4"
    ),
    "W": (
        "W 1.2 w 1 U .9 V .8 θ .9 Θ 1 u .7 v .6 β .8 A .2 M .3 R .3 ω .8 W̃ .7 B .1 K .2 H .1 w̄ .5 Ω .5 Φ .1 "
        "a .1 w̃ .5"
    ),
    "b": "b 1.2 c .6 B .6 β .4 β_0 .5 w .1 θ .1 d .2 γ .2",
    "x": (
        "x 1 X 1 φ .8 v .4 Φ .7 h .35 a .3 ϕ .8 z .15 H .3 A .3 f .15 i .3 e .3 u .2 input .9 s .1 in .4 ψ .4 x̃ "
        ".8 x̊ .8 x̄ .7 o .1"
    ),
    "h": "h 1 a .8 H .9 A .8 o .3 z .3 r .2 s .2 y .3 x .2 g .1 out .6 v .3 hidden .9 u .2 ŷ .1 f .1 O .3 i .1 n .1",
    "δ": "δ 1 e .3 Δ .7 ε .3 δ̂ .5 g .2 ζ .2 d .2 G .35 dout 1.2 upstream 1.2 gradout 1.2 dy .5",
    "g": (
        "σ 1 f .9 g 1 φ .8 ReLU 1 ψ .6 h .3 act .9 s .4 S .5 θ .1 a .1 ρ .4 F .3 G .3 activation .9 Φ .3 τ .2 ϕ "
        ".8 Σ .1 τ̃ .1 softplus .5 sig .8 sigma 1"
    ),
    "label": (
        "ℓ .7 c .4 y .35 k .2 t .3 l .3 g .2 gt .4 true .6 label .6 yi .2 j .05 s .05 a .05 o .15 i .05 r .05 q "
        ".05"
    ),
    "count": (
        "K 1 C .9 N 1 m .9 M .8 n .8 B .8 |V| 1 D .6 d .5 V .4 k .3 c .2 L .2 H .3 T .4 J .2 |B| 1 S .2 q .15 J "
        ".2 p .1 P .15 R .1 s .05 r .05 G .1"
    ),
    "const": (
        "λ 1 α 1 η .9 C .45 c .5 β .4 γ .7 ε .8 T .6 τ .6 μ .4 ρ .5 κ .5 m .3 M .3 a .02 D .1 ν .3 k .15 A .05 Z "
        ".12 s .1 S .05 r .1 b .02 n .05 K .05 B .05"
    ),
    "jac": "J .9 𝐉 1 D .4 S .2 Dp .5 H .2 Jacobian 1 jac .9 G .3",
    "hess": "H .8 ∇² 1 Hess 1",
}  # fmt: skip
USUAL: dict[str, dict[str, float]] = {
    kind: {words[k]: float(words[k + 1]) for k in range(0, len(words), 2)}
    for kind, words in ((kind, text.split()) for kind, text in _USUAL.items())
}
# What a file shows of a letter, and what that says for and against each role.
_EVIDENCE: dict[str, dict[str, float]] = {
    "is softmax": {"p": 3, "a": -2, "y": -2, "L": -2, "x": -2, "W": -2},
    "in softmax": {"a": 2.5, "p": -2, "y": -2, "W": -1},
    "in exp": {"a": 1.5, "p": -1.5, "y": -1.5, "L": -1, "W": -1, "h": -0.5},
    "in log": {"p": 1.5, "a": -1, "y": -1, "x": -1, "h": -0.7, "W": -1},
    "in logistic": {"a": 1.5, "p": -1, "x": 0.3},
    "in tanh": {"a": 1.5, "p": -1, "x": 0.3}, "in relu": {"a": 1.5, "p": -1, "x": 0.3},
    "times log": {"y": 1.5, "p": -1, "a": -1, "const": -0.5, "count": -0.5, "L": -1},
    "over a name": {"y": 1, "p": -0.3},
    "below a name": {"p": 1, "y": -1.5, "a": -0.5, "const": 0.3},
    "below": {"p": 0.5, "y": -1, "count": 0.4, "const": 0.3, "a": -0.2, "x": -0.3, "W": -0.4},
    "1 less": {"p": 0.5, "y": 0.3, "h": 0.3, "a": -0.5, "x": -0.5, "W": -0.5},
    "by": {"y": -2.5, "L": -3, "count": -3, "g": -2, "label": -3, "δ": -2, "const": -0.6, "a": 0.3, "jac": -2,
        "hess": -2},
    "differentiated": {"y": -1.5, "x": -1.5, "W": -1.5, "b": -1.5, "count": -3, "const": -2, "label": -2, "L": 0.3,
        "g": -0.5},
    "differentiated bare": {"L": 1, "p": 0.1},
    "is a loss": {"L": 2, "g": -3, "p": -1, "a": -1, "y": -1, "W": -1},
    "conditional": {"p": 1},
    "primed": {"g": 2, "a": -1, "p": -1, "L": -1, "W": -1, "δ": -1},
    "compared": {"label": 0.8}, "moved": {"count": -3, "label": -3, "const": -1.5, "L": -1, "g": -1},
    "above a sum": {"count": 0.6, "L": -0.6, "p": -0.6, "a": -0.6, "W": -0.6},
    "is an output": {"p": 3, "g": -3, "a": -1, "h": 0.5},
}  # fmt: skip


_LOSS_WORD = re.compile("loss|cost|entropy|objective", re.IGNORECASE)
_SHORT = (Node("shorthand"),)  # the key of what is defined by nothing but its use


def definitions_in(notes: Notes) -> dict[str, Definition]:
    """The first equation in which a name stands alone on the left, and not on the right."""
    found: dict[str, Definition] = {}
    for where, chains in (("inline", notes.inline), ("display", notes.chains)):
        for n, chain in enumerate(chains):
            for k, (before, after) in enumerate(itertools.pairwise(chain.sides)):
                left = before.node
                if k > 0 or left is None or after.node is None or not after.joined:
                    break
                if left.op not in ("name", "app") or (
                    left.op == "app" and any(kid.op not in ("name", "mat", "alt", "T", "given") for kid in left.kids)
                ):
                    continue
                name: Name = left.data
                items = [i for i in (*name.sub, *name.sup)]
                letters = [i.value for i in items if i.kind == "letter"]
                numbers = [str(i.value) for i in items if i.kind == "number"]
                if len(letters) + len(numbers) < len(items) or len(set(letters)) < len(letters) or len(numbers) > 1:
                    continue
                key = name.base + "".join(f"_{n}" for n in numbers)
                if key in found or (numbers and name.base not in ("δ", "g", "e", "d", "Δ")):
                    continue
                if any(
                    isinstance(part.data, Name) and (part.data == name if numbers else part.data.base == name.base)
                    for part in walk(after.node)
                ):
                    continue
                if not is_idle(after.node):
                    found[key] = Definition(tuple(letters), closed(after.node), (where, n, after.node))
    return found


def shorthands(facts: Facts, known: Mapping[str, Definition], trees: list[Node]) -> dict[str, Definition]:
    """Σ, Σ_C, or the S of e^{z_i}/S as names that the file does not define: the sum over all classes of what it
    exponentiates."""
    logits = max(facts.hints, key=lambda base: facts.hints[base]["within exp"], default="")
    if not logits or not facts.hints[logits]["within exp"]:
        return {}
    each = Node("fn", (Node("name", (), Name(logits, (Item("letter", "∂s"),))),), ("exp", 0))
    whole = Definition((), Node("sum", (each,), Bound(("∂s",))), _SHORT)
    below = {
        part.kids[1].data.base
        for tree in trees
        for part in walk(tree)
        if part.op == "div" and part.kids[1].op == "name"
        and part.kids[0].op == "fn" and part.kids[0].data == ("exp", 0)
        and part.kids[0].kids[0].op == "name" and part.kids[0].kids[0].data.base == logits
    }  # fmt: skip
    plain = {base for base in below if not any(name.sub or name.primes for name in facts.seen[base])}
    return {base: whole for base in facts.seen if (base.startswith("Σ") or base in plain) and base not in known}


def _numbered(facts: Facts) -> dict[str, int]:
    """The layers of letters that only their weights' numbers tell: a = x W_1 + b_1."""
    return {
        out: int(weight.split(":")[1])
        for out, weight, _, _ in facts.edges
        if out and ":" not in out and weight.split(":")[-1].isdigit()
    }


def _levels(facts: Facts) -> dict[str, int]:
    """For untagged letters in affine maps and activations: how many layers of weights lie below them."""
    into: dict[str, tuple[str, int]] = {}
    weights: dict[str, str] = {}
    outs = set()
    for out, weight, source, bias in facts.edges:
        if ":" in out + weight + source:
            continue
        name = out or f"softmax of {weight}"
        into.setdefault(name, (source, 1))
        weights.setdefault(weight, name)
        if bias and ":" not in bias:
            weights.setdefault(bias, name)
        outs.add(name)
    for left, argument in facts.activated:
        if ":" not in left + argument and left != argument:
            into.setdefault(left, (argument, 0))

    direct = _numbered(facts)

    def level(name: str, depth: int = 0) -> int:
        if name in direct:
            return direct[name]
        if name not in into or depth > 8:
            return 0
        source, step = into[name]
        return level(source, depth + 1) + step

    found = {name: level(name) for name in {*direct, *into, *(source for source, _ in into.values())}}
    return {**found, **{weight: found.get(out, 1) for weight, out in weights.items()}}


def readings_of(notes: Notes, facts: Facts, said: Mapping[str, Role]) -> Iterator[tuple[Reading, float]]:
    """Readings of a file, the most usual first, each with what speaks against it."""
    bases = free_bases(notes.trees)
    values = set(bases)
    for base, hint in facts.hints.items():  # 1{y = k}: a label may stand in conditions alone
        if (
            hint["compared"]
            and base not in bases
            and (base in ("y", "t", "c_", "ℓ", "Y", "g") or any(n.sub or n.sup for n in facts.seen[base]))
        ):
            bases[base] += 1
    definitions = definitions_in(notes)
    definitions |= shorthands(facts, definitions, notes.trees)
    levels = _levels(facts)
    numbers = {
        n
        for base, found in facts.layer_numbers.items()
        for n in found
        if base not in ("δ", "Δ") or len(facts.layer_numbers) == 1
    }
    tagged_depth, middle = _depth(facts, numbers)
    candidates: list[tuple[str, list[tuple[Role, float]]]] = []
    for base in bases:
        if base in said:
            candidates.append((base, [(said[base], 0.0)]))
            continue
        if not bases[base] and base not in definitions:  # nothing but p(y | x)
            continue
        choices = _choices(base, facts, definitions, bases, values)
        if choices:
            candidates.append((base, choices))
    kinds = {choices[0][0].kind for base, choices in candidates if base not in definitions or choices[0][0].kind == "x"}
    has_both = {"h", "x"} <= kinds
    tagged_depth = max(tagged_depth, 2 if facts.spelt_layers else 0)
    depth = max(tagged_depth, max(levels.values(), default=0), 2 if has_both and not tagged_depth else 1)
    top = max([*levels.values(), *([tagged_depth] if _numbered(facts) else [])], default=0)
    placed = []
    for base, choices in candidates:
        level = levels.get(base)
        if level is not None and not facts.layer_numbers.get(base):
            offset = level - top
            choices = [
                (role._replace(layer=offset), cost)
                if role.kind in ("a", "h", "W", "b") and role.layer is None and (level > 0 or role.kind == "h")
                else (role, cost)
                for role, cost in choices
            ]
        placed.append((base, choices))
    for roles, cost in _combinations(placed, facts):
        kinds = {role.kind for role in roles.values()}
        fixed: dict[str, Any] = {} if "y" in kinds else {"targets": "one-hot"}
        fixed |= {} if "b" in kinds else {"biases": False}
        yield Reading(Roles(roles), facts, depth, middle, fixed, definitions), cost


def _depth(facts: Facts, numbers: set[int]) -> tuple[int, int]:
    """How many layers the tags ask for, and which of them is the layer l."""
    depth = max(numbers, default=0)
    middle = 2
    letters = facts.layer_letters
    last = any(letter.isupper() for letter in letters)
    if any(not letter.isupper() for letter in letters):
        middle = max(2, 1 - facts.min_shift)
        depth = max(depth, middle + max(facts.max_shift, 0) + 1)
    if last:
        depth = max(depth, 2 - facts.min_shift + facts.above if all(map(str.isupper, letters)) else middle + 2)
    return min(depth, 6), middle


def _is_target(base: str) -> bool:
    return any(USUAL[kind].get(base, 0) >= 0.3 for kind in ("y", "label"))


def _choices(
    base: str, facts: Facts, definitions: Mapping[str, Definition], bases: Counter[str], values: set[str]
) -> list[tuple[Role, float]]:
    """The roles that a letter may have, best first, each with its distance from the best."""
    if base in ("𝟙", "1") or facts.told.get(base, Counter()).get("ones"):
        return [(Role("ones"), 0.0)]
    if base in ("…", "·"):
        return []
    if base.endswith(ARGUMENT):
        return [(Role("a"), 0.0)]
    if base.startswith("|"):
        return [(Role("count"), 0.0)]
    scores: dict[str, float] = {}
    for kind, table in USUAL.items():
        if base in table:
            scores[kind] = table[base]
    if len(base) > 3 and _LOSS_WORD.search(base):
        scores["L"] = 1.2
    hints = facts.hints.get(base, Counter())
    shapes = facts.shapes.get(base, {0})
    for kind in list(scores) or ["a", "p", "y"]:
        scores[kind] = scores.get(kind, 0.0) + sum(
            effect.get(kind, 0.0) * min(1.5, hints[word]) for word, effect in _EVIDENCE.items() if hints[word]
        )
    for kind, table in _EVIDENCE.items():
        if hints[kind]:
            for role, effect in table.items():
                if effect >= 1 and role not in scores:
                    scores[role] = effect * 0.6 - 0.8
    for kind, count in facts.told.get(base, Counter()).items():
        if kind in USUAL:
            scores[kind] = scores.get(kind, 0.0) + 1.2 + 0.2 * min(count, 3)
    if base in values:
        scores["label"] = scores.get("label", -9) - 2
    called = base in facts.called or (USUAL["g"].get(base, 0) >= 0.7 and 0 < bases[base] <= hints["before a bracket"])
    if "g" in scores:
        scores["g"] += 1.0 if called else -2.0
    if base in facts.labels and not any(n.sub or n.sup for n in facts.seen[base]):
        scores.pop("const", None)
        if not hints["by"] and (base in "ijklmn" or (base in "abcd" and not hints["compared"])):
            return []
        arguments = hints["compared"] + sum(count for word, count in hints.items() if word.startswith("argument of "))
        if not hints["by"] and 0 < bases[base] <= arguments and not _is_target(base):  # π(v), beside z_v
            return []
    if called and hints["before a bracket"] < bases[base]:
        scores["g"] = scores.get("g", 0.0) - 0.5 if "g" in scores else -9
    for out, weight, source, bias in facts.edges:
        for name, kind in ((out, "a"), (weight, "W"), (source, "x"), (source, "h"), (bias, "b")):
            if name.split(":")[0] == base and kind in scores:
                scores[kind] += 1.2
            elif name.split(":")[0] == base and kind in ("W", "b", "a") and name:
                scores[kind] = 0.8
    for left, argument in facts.activated:
        if left.split(":")[0] == base:
            scores["h"] = scores.get("h", 0.2) + 1.0
            scores["p"] = scores.get("p", 0.0) + 0.6
        if argument.split(":")[0] == base:
            scores["a"] = scores.get("a", 0.2) + 1.0
    if max(shapes) == 0 and base in "βγτλαη" and not hints["by"] and base not in facts.transposed | facts.vectors:
        for kind in ("W", "b"):  # a number rather than weights
            scores[kind] = scores.get(kind, -9) - 1.0
    if max(shapes) >= 2:
        effects = {"L": -4, "W": 0.6, "jac": 0.6, "hess": 0.5, "b": -1.5, "label": -2, "count": -3, "g": -1}
        for kind, effect in effects.items():
            scores[kind] = scores.get(kind, -3) + effect
    elif max(shapes) >= 1:
        for kind, effect in {"L": -0.8, "const": -1.5, "count": -1.5}.items():
            scores[kind] = scores.get(kind, -9) + effect
    two = any(
        sum(item.kind != "word" for item in n.sub) >= 2 and not n.sup and not _of_layer(n, facts)
        for n in facts.seen[base]
    )
    if base == "δ" and two and "L" not in {i.value for n in facts.seen[base] for i in n.sub}:
        return [(Role("kron"), 0.0)]
    if base == "I":
        return [(Role("eye"), 0.0)]
    if base in definitions and definitions[base].key == _SHORT:
        return [(Role("def"), 0.0)]
    indexed = hints["before a bracket"] or any(n.sub for n in facts.seen[base])
    if base == "e" and indexed and base not in definitions and not any(n.sup for n in facts.seen[base]):
        return [(Role("unit"), 0.0)]
    found = [
        (Role(kind, batch=_is_batch(base, kind, facts, bases)), score)
        for kind, score in scores.items()
        if kind not in ("jac", "hess") and score > -1
    ]
    if not hints["primed"] and (base in definitions or any(key.startswith(base + "_") for key in definitions)):
        usual = max((s for _, s in found), default=-1)
        losslike = any(role.kind == "L" for role, s in found if s > 0.5)
        found.append((Role("def"), usual - 0.4 if losslike else max(usual - 1.0, 0.15)))
    if len(base) == 1 and not found:
        found.append((Role("const"), 0.0))
    if not any(USUAL.get(role.kind, {}).get(base, 0) >= 0.5 for role, _ in found[:1]):
        facts.unusual.add(base)
    found.sort(key=lambda one: -one[1])
    best = found[0][1] if found else 0
    return [(role, best - score) for role, score in found[:4] if best - score < 2.5]


def _of_layer(name: Name, facts: Facts) -> bool:
    """δ_{2,n}: of layer 2 and sample n."""
    return name.sub[0].kind == "number" and any(i.value in facts.sample_letters for i in name.sub[1:])


def _is_batch(base: str, kind: str, facts: Facts, bases: Counter[str]) -> bool:
    """Whether a capital is the batch of its small letter."""
    plain = base.strip("\u0302")
    if kind not in ("a", "h", "p", "y", "x", "δ") or not (base[0].isupper() or plain in ("Ŷ",)):
        return False
    layers = facts.layer_numbers.get(base, set())
    if base == "P" and facts.hints[base]["before a bracket"]:  # P(o | c)
        return False
    if base == "Δ":
        return True
    return not any(
        item.kind == "letter" or (item.kind == "number" and item.value not in layers)
        for name in facts.seen[base]
        if [one.kind for one in name.sub] != ["letter", "letter"]  # Y_{ij}, of sample i
        for item in name.sub
    )


def _combinations(
    candidates: list[tuple[str, list[tuple[Role, float]]]], facts: Facts
) -> Iterator[tuple[dict[str, Role], float]]:
    """Choices for all letters together, the cheapest first, without two letters for one thing."""
    start = tuple(0 for _ in candidates)
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, start)]
    seen = {start}
    given = 0
    tried = 0
    spare: list[tuple[dict[str, Role], float]] = []
    while heap and given < 60 and tried < 3000:
        cost, picks = heapq.heappop(heap)
        tried += 1
        roles = {base: choices[k][0] for (base, choices), k in zip(candidates, picks, strict=True)}
        clashes = _clashes(roles, facts)
        if clashes is not None:
            given += 1
            yield roles, cost + 0.5 * clashes
        elif len(spare) < 3:
            spare.append((roles, cost + 1.5))
        for n, (_, choices) in enumerate(candidates):
            if picks[n] + 1 < len(choices):
                more = (*picks[:n], picks[n] + 1, *picks[n + 1 :])
                if more not in seen:
                    seen.add(more)
                    heapq.heappush(heap, (cost - choices[picks[n]][1] + choices[picks[n] + 1][1], more))
    if not given:  # two letters for one thing all the same: what follows under this follows
        yield from spare


def _clashes(roles: Mapping[str, Role], facts: Facts) -> int | None:
    """How often two letters are one thing in different sections, and twice for biases without weights; None where two
    are in one formula. Two letters that the file calls equal are one thing."""
    found = 0
    seen: dict[tuple[str, int | None], list[str]] = {}
    for base, role in roles.items():
        if role.kind not in ("a", "p", "y", "x", "b", "δ", "h") or base.endswith(ARGUMENT):
            continue
        kind = "p" if role.kind == "h" and role.layer == 0 else role.kind
        others = seen.setdefault((kind, role.layer if kind != "p" else None), [])
        for other in others:
            if _stem(other) == _stem(base) or frozenset((other, base)) in facts.equated:
                continue
            if frozenset((other, base)) in facts.together:
                return None
            found += 1
        others.append(base)
    kinds = {role.kind for role in roles.values()}
    return found + 2 * ("b" in kinds and "W" not in kinds)


def _stem(base: str) -> str:
    return base.lower().strip("\u0302\u0303\u0304")
