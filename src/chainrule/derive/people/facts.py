"""What a file shows of its letters before any has a role: which are layers, samples, classes, how each is used."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from chainrule.derive.people.affine import (
    WEIGHTS,
    affine,
    direct,
    flat_items,
    free_bases,
    has_log,
    has_losslike,
    is_softmax,
    letters_in,
    open_letters,
    tagless,
)
from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.tree import Item, Name, Node, conditions_of, names, walk

__all__ = ["Facts", "facts_of", "flat_items", "free_bases", "letters_in", "open_letters", "tagged"]

_SAMPLED = ("x", "X", "φ", "y", "t", "ŷ", "p", "z", "a", "h", "L", "𝓛", "ℓ", "J", "o", "s", "f", "q")
_FUNCTIONS = ("σ", "φ", "ϕ", "f", "g", "h", "ψ", "act")
_COUNTS = {
    **dict.fromkeys(("N", "M", "m", "B"), "samples"), "n": "",
    **dict.fromkeys(("K", "C", "|V|", "k", "c", "J"), "classes"), "D": "inputs", "d": "inputs",
}  # fmt: skip


@dataclass
class Facts:
    """Counts of what was seen."""

    layer_letters: set[str] = field(default_factory=set)
    sample_letters: set[str] = field(default_factory=set)
    layer_numbers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # by base: tags of layers
    spelt_layers: set[str] = field(default_factory=set)  # o and h above W, z and b: output and hidden
    sup_layers: bool = False  # z^1 is layer 1, not a power
    sub_layers: bool = False  # z_1 is layer 1, not element 1
    bases: Counter[str] = field(default_factory=Counter)
    seen: dict[str, set[Name]] = field(default_factory=lambda: defaultdict(set))
    shapes: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # by base: how many indices it has
    hints: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    called: set[str] = field(default_factory=set)  # bases that stand before a bracket with one argument
    labels: set[str] = field(default_factory=set)  # bases that index something
    prose: str = ""
    summed: set[str] = field(default_factory=set)
    max_shift: int = 0
    min_shift: int = 0
    above: int = 0  # how many layers are above L: with L + 1, L is the last hidden one
    together: set[frozenset[str]] = field(default_factory=set)  # bases that stand in one chain
    equated: set[frozenset[str]] = field(default_factory=set)  # bases that a chain calls equal
    unusual: set[str] = field(default_factory=set)  # letters whose likeliest role the field rarely gives them
    counts: dict[str, str] = field(default_factory=dict)  # what a letter counts: samples or classes
    picking: set[str] = field(default_factory=set)  # letters below brackets
    decorated: set[tuple[str, str]] = field(default_factory=set)  # a base and the letter that it always and alone has
    edges: list[tuple[str, str, str, str]] = field(default_factory=list)  # out, weights, in, bias of an affine map
    activated: list[tuple[str, str]] = field(default_factory=list)  # h = g(a)
    transposed: set[str] = field(default_factory=set)
    order: Counter[str] = field(default_factory=Counter)  # of the factors of affine maps: Wx, WTx, xW or xWT
    zero_based: bool = False  # whether indices count from 0
    vectors: set[str] = field(default_factory=set)  # bases that stand behind a transposed one, with their indices
    listed: set[str] = field(default_factory=set)  # of these, those with an index: x_i is one vector of several
    differentiated_by: set[Name] = field(default_factory=set)
    told: dict[str, Counter[str]] = field(default_factory=dict)  # by base: roles that words beside it give
    likely: set[str] = field(default_factory=set)  # likelihoods: products, and what stands within a logarithm
    negated: set[str] = field(default_factory=set)  # their logarithms, and l where J = −l
    signs: bool = False  # whether targets stand beside the inputs within an exponential or a call: −y wᵀx
    whole: set[str] = field(default_factory=set)  # bases that the file defines as sums over samples
    put_in: set[str] = field(default_factory=set)  # bases that words say to be a number: with x = 1
    heads: set[str] = field(default_factory=set)  # bases that an equation begins with
    functions: set[str] = field(
        default_factory=set
    )  # bases of which the file says what they are of something: h(x) = …
    tags: frozenset[str] = frozenset()  # letters below vectors that tell them apart: u_o and v_c


def tagged(name: Name, facts: Facts) -> tuple[str, list[Item], int]:
    """A name without a network: itself with its tags, its indices, and its power."""
    tags, power = "", 1
    indices = [i for i in flat_items(name.sub) if i.kind in ("letter", "number", "name", "shifted", "condition")]
    words = "".join(str(i.value) for i in flat_items(name.sub) if i.kind == "word" or _is_tag(i, facts))
    indices = [i for i in indices if not _is_tag(i, facts)]
    for item in name.sup:
        inside = flat_items([item])
        one = inside[0] if len(inside) == 1 else None
        if one is not None and one.kind == "letter" and one.value in facts.summed:
            indices.append(one)
        elif item.kind == "number" and not (facts.sup_layers and item.value in facts.layer_numbers.get(name.base, ())):
            power = item.value
        else:
            tags += "".join(str(i.value) for i in inside)
    if len(indices) == 1 and indices[0].kind == "number" and (facts.sub_layers or _numbered(name.base, facts)):
        tags, indices = f"{tags}_{indices[0].value}", []
    tags += words + "'" * name.primes
    return name.base + ("|" + tags if tags else ""), indices, power


def _is_tag(item: Item, facts: Facts) -> bool:
    return (item.kind == "letter" and item.value in facts.tags) or (
        item.kind == "shifted" and item.value[0] in facts.tags
    )


def _numbered(base: str, facts: Facts) -> bool:
    """Whether a name never stands without a number below it: z_1 and z_2 are two names."""
    return all(len(name.sub) == 1 and name.sub[0].kind == "number" for name in facts.seen[base])


def facts_of(notes: Notes) -> Facts:
    facts = Facts(prose=(notes.prose + " " + " ".join(notes.headings)).lower(), told=notes.told)
    chains = [*notes.chains, *notes.inline]
    trees = [tree for chain in chains for tree in chain.trees]
    every = [name for tree in trees for name in names(tree)]
    every += [n for chain in chains for c in chain.conditions for side in (c.left, c.right) for n in names(side)]
    for name in every:
        facts.bases[name.base] += 1
        facts.seen[name.base].add(name)
    for tree in trees:
        _scan(tree, facts)
    _layers(every, facts)
    _samples(trees, facts)
    for name in every:
        facts.shapes[name.base].add(len([i for i in flat_items(name.sub) if i.kind in ("letter", "name", "number")]))
    for chain in chains:
        _definitions(chain, facts)
        _companions(chain, facts)
    _decorations(facts, free_bases(trees))
    for chain in chains:
        facts.heads |= {chain.head.base} if chain.head is not None else set()
        if chain.inline and chain.head is not None and [tree.op for tree in chain.trees[1:]] == ["num"]:
            facts.put_in.add(chain.head.base)
        facts.put_in |= {c.left.data.base for c in chain.conditions if c.left.op == "name" and c.right.op == "num"}
    facts.zero_based = any(
        item == Item("number", 0) for name in every if name.base not in ("W", "b", "w", "x", "h", "β", "θ", "a")
        for item in flat_items(name.sub)
    )  # fmt: skip
    _counted(trees, facts)
    return facts


def _companions(chain: Chain, facts: Facts) -> None:
    trees = chain.trees
    bases = sorted({name.base for tree in trees for name in names(tree)})
    facts.together |= {frozenset((a, b)) for k, a in enumerate(bases) for b in bases[:k]}
    tops = [tree.data.base for tree in trees if tree.op in ("name", "app")]
    facts.equated |= {frozenset((a, b)) for k, a in enumerate(tops) for b in tops[:k] if a != b}


def _counted(trees: list[Node], facts: Facts) -> None:
    """What letters above a Σ count."""
    for tree in trees:
        for part in walk(tree):
            if part.op in ("sum", "prod") and isinstance(part.data.upper, Node) and part.data.upper.op == "name":
                base = part.data.upper.data.base
                what = "samples" if set(part.data.letters) & facts.sample_letters else "classes"
                facts.counts.setdefault(base, what)
    for base in facts.bases:
        if base.startswith("|") and base != "|V|":
            facts.counts.setdefault(base, "samples")
    for base, what in _COUNTS.items():
        facts.counts.setdefault(
            base, what or ("samples" if "N" not in facts.bases and "m" not in facts.bases else "classes")
        )


def _decorations(facts: Facts, values: Counter[str]) -> None:
    """Letters that a base always has, and no other base: v_c of word2vec, h_t."""
    having: dict[str, set[str]] = defaultdict(set)
    for base, seen in facts.seen.items():
        for name in seen:
            for item in flat_items(name.sub):
                if item.kind == "letter":
                    having[str(item.value)].add(base)
    for letter, bases in having.items():
        if letter in facts.picking:
            continue
        base = next(iter(bases))
        always = all(name.sub and name.sub[-1] == Item("letter", letter) for name in facts.seen[base])
        if len(bases) == 1 and always and letter not in facts.summed and letter not in values:
            facts.decorated.add((base, letter))


def _layers(every: list[Name], facts: Facts) -> None:
    shifted: Counter[str] = Counter()
    above = {
        item.value for name in every if name.base in ("W", "b", "z", "a") for item in name.sup if item.kind == "letter"
    }
    facts.spelt_layers = {"o", "h"} if {"o", "h"} <= above else set()
    for name in every:
        for place in (name.sub[:1], name.sup):
            for item in flat_items(place):
                if item.kind == "shifted" and abs(item.value[1]) <= 2:
                    shifted[item.value[0]] += 1
                    facts.above = max(facts.above, item.value[1] if item.value[0] == "L" else 0)
                    facts.max_shift = max(facts.max_shift, item.value[1])
                    facts.min_shift = min(facts.min_shift, item.value[1])
        for item in flat_items(name.sup):
            if item.kind == "letter" and item.value in ("l", "ℓ", "L") and name.base not in ("e",):
                facts.layer_letters.add(item.value)
        for item in name.sup:
            if item.kind == "square":
                facts.layer_letters |= {i.value for i in item.value if i.kind == "letter"}
        if name.sub and name.sub[0] == Item("letter", "L"):
            facts.layer_letters.add("L")
    facts.layer_letters |= {letter for letter in shifted if letter not in facts.summed or letter in "lL"}
    raised = {(name.base, i.value) for name in every for i in name.sup if i.kind == "number"}
    squares = {n for base, n in raised if base in "WwΘ"} == {2} and not {"b", "δ", "z", "a"} & {b for b, _ in raised}
    for name in every:
        tags = [i.value for i in flat_items(name.sup) if i.kind == "number"]
        if squares and Item("number", 2) in name.sup:  # Σ W_ij², and no layer 2 beside another
            continue
        bracketed = any(item.kind in ("round", "square") for item in name.sup)
        if tags and (bracketed or name.base in ("W", "b", "δ", "Θ", "w")):
            facts.layer_numbers[name.base] |= set(tags)
            facts.sup_layers |= not bracketed
        if tags == [1]:
            facts.sup_layers = True
            facts.layer_numbers[name.base] |= {1}
        numbers = [i.value for i in name.sub if i.kind == "number"]
        if [i.kind for i in name.sub] == ["number", "letter"] and name.base in ("z", "a", "h", "δ"):  # z_{2,i}
            facts.sub_layers = True
            facts.layer_numbers[name.base] |= {numbers[0]}
        if numbers and name.base in ("W", "b", "U", "V", "Θ") and len(name.sub) == 1 and not name.sup:
            facts.sub_layers = True
            facts.layer_numbers[name.base] |= {numbers[0]}
    if facts.layer_letters & {"l", "L", "ℓ"}:
        used_as_power = any(
            name.sup and name.sup[0] == Item("number", 2) for name in every if name.base in ("y", "ŷ", "p")
        )
        facts.sup_layers |= not used_as_power and any(
            item.kind == "letter" and item.value in facts.layer_letters for name in every for item in name.sup
        )
    if facts.sub_layers or facts.sup_layers:
        for name in every:
            place = name.sub[:1] if facts.sub_layers else name.sup
            if len(place) == 1 and place[0].kind == "number" and name.base not in ("y", "ŷ", "p", "e"):
                facts.layer_numbers[name.base].add(place[0].value)


def _samples(trees: list[Node], facts: Facts) -> None:
    for tree in trees:
        for part in walk(tree):
            if not isinstance(part.data, Name):
                continue
            name = part.data
            for item in name.sup:
                if item.kind in ("round", "square") and len(item.value) == 1 and item.value[0].kind == "letter":
                    letter = item.value[0].value
                    if letter not in facts.layer_letters and name.base not in WEIGHTS and name.base != "b":
                        facts.sample_letters.add(letter)
            letters = [i.value for i in name.sub if i.kind == "letter"]
            if (
                len(letters) == 2
                and name.base in _SAMPLED
                and name.base not in ("J", "L", "𝓛", "ℓ")
                and letters[0] not in facts.layer_letters
                and "L" not in letters
            ):
                facts.hints[name.base]["two"] += 1
                if letters[0] in facts.summed or letters[0] in ("n", "m"):
                    facts.sample_letters.add(letters[0])
            if (
                len(letters) == 1
                and name.base in ("L", "𝓛", "J", "ℓ", "E", "l", "ξ", "C", "cost", "loss")
                and not name.sup
                and letters[0] not in facts.layer_letters
            ):
                facts.sample_letters.add(letters[0])
            for item in name.sub:
                if item.kind == "name" and item.value.op == "name" and item.value.data.base in ("y", "t", "c", "ℓ"):
                    facts.sample_letters |= {
                        i.value for i in flat_items(item.value.data.sub + item.value.data.sup) if i.kind == "letter"
                    }
        for part in walk(tree):
            if part.op == "mul":
                over = {kid.kids[1] for kid in part.kids if kid.op == "div"}
                for kid in part.kids:  # 1/m Σ_{i=1}^m, a mean
                    if kid.op == "sum" and kid.data.upper in over and kid.data.upper.op == "name":
                        facts.sample_letters |= set(kid.data.letters) if kid.data.upper.data.base in "nmNM" else set()
                for left, right in zip(part.kids, part.kids[1:], strict=False):
                    for of, by in ((left, right), (right, left)):  # w · x_i, x_i θ: of sample i
                        of, by = (one.kids[0] if one.op == "T" else one for one in (of, by))
                        bare = of.op == by.op == "name" and not of.data.sub + of.data.sup and of.data.base in WEIGHTS
                        if bare and by.data.base in ("x", "φ", "X") and len(by.data.sub) == 1:
                            facts.sample_letters |= {i.value for i in by.data.sub if i.kind == "letter"}
                    turned = left.op == "T" and left.kids[0].op == "name"
                    if turned and right.op == "name":
                        facts.vectors |= {right.data.base, left.kids[0].data.base}
                        facts.listed |= {n.base for n in (right.data, left.kids[0].data) if n.sub}
                    if turned and right.op == "name" and right.data.base in ("x", "φ", "X"):
                        facts.sample_letters |= {i.value for i in right.data.sub if i.kind == "letter"} - {"c", "o"}


def _scan(tree: Node, facts: Facts) -> None:
    hint = facts.hints

    def note(node: Node, word: str) -> None:
        for name in direct(node):
            hint[name.base][word] += 1

    for part in walk(tree):
        if part.op in ("fn", "app") and part.kids and part.kids[0].op in ("mul", "neg"):
            within = {name.base for name in names(part.kids[0])}
            facts.signs |= bool(within & {"y", "t"} and within & {"x", "φ", *WEIGHTS})
        if part.op == "fn":
            function = part.data[0]
            if function == "log" and part.kids[0].op in ("name", "app"):
                facts.likely.add(part.kids[0].data.base)
            note(part.kids[0], f"in {function}")
            if function == "exp":
                for kid in walk(part.kids[0]):
                    if kid.op == "name":
                        hint[kid.data.base]["within exp"] += 1
        elif part.op == "differential" and part.kids:
            note(part.kids[0], "moved")
        elif part.op in ("D", "grad"):
            for name in direct(part.kids[0]):
                hint[name.base]["differentiated"] += 1
                hint[name.base]["differentiated bare"] += part.op == "grad" or not name.sub
            for by in part.kids[1:]:
                for name in direct(by):
                    jacobian = part.data == "jacobian" and name.base in _FUNCTIONS  # J_φ(z)
                    hint[name.base]["primed" if jacobian else "by"] += 1
                    if not jacobian:
                        facts.differentiated_by.add(name)
        elif part.op in ("app", "appow"):
            plain = len(part.kids) == 1 and part.kids[0].op in ("name", "T", "app", "elem")
            if part.op == "app":
                hint[part.data.base]["before a bracket"] += 1
                less = part.kids[0].kids[1:] if part.kids[0].op == "add" else ()
                hint[part.data.base]["times 1 less"] += less == (Node("neg", (Node("name", (), part.data),)),)
                hint[part.data.base]["before several"] += len(part.kids) > 1 and all(
                    kid.op not in ("ind", "given") for kid in part.kids
                )
                if plain or part.data.primes:
                    facts.called.add(part.data.base)
                    if part.kids[0].op == "name":
                        hint[part.kids[0].data.base][f"argument of {part.data.base}"] += 1
                hint[part.data.base]["primed"] += part.data.primes > 0
                if any(kid.op == "ind" for kid in part.kids):
                    hint[part.data.base]["conditional"] += 1
        elif part.op == "mul":
            logs = [k for k, kid in enumerate(part.kids) if has_log(kid)]
            for k in logs[:1]:
                for kid in part.kids[:k]:
                    note(kid, "times log")
        elif part.op == "div":
            note(part.kids[1], "below")
            if part.kids[0].op == "name" and part.kids[1].op in ("name", "app"):
                hint[part.kids[0].data.base]["over a name"] += 1
                hint[part.kids[1].data.base]["below a name"] += 1
        elif part.op == "elem":
            facts.picking |= {item.value for item in flat_items(part.data) if item.kind == "letter"}
        elif part.op == "T":
            for name in direct(part.kids[0]):
                facts.transposed.add(name.base)
        elif part.op in ("sum", "prod", "max"):
            facts.summed |= set(part.data.letters)
            if isinstance(part.data.upper, Node):
                note(part.data.upper, "above a sum")
        if part.op == "add" and len(part.kids) == 2:
            one, other = part.kids
            if one.op == "num" and one.data == 1 and other.op == "neg":
                note(other.kids[0], "1 less")
                if other.kids[0].op == "app":  # 1 − σ(z)
                    hint[other.kids[0].data.base]["1 less"] += 1
        if isinstance(part.data, Name):
            for item in flat_items(part.data.sub):
                if item.kind == "name" and item.value.op == "name":
                    facts.labels.add(item.value.data.base)
                elif item.kind == "letter":
                    facts.labels.add(item.value)
        for condition in conditions_of(part):
            for side in (condition.left, condition.right):
                if isinstance(side, Node) and side.op == "name":
                    facts.hints[side.data.base]["compared"] += 1


def _order(node: Node, weights: str) -> str:
    """How an affine map without indices is written: Wx, WTx, xW or xWT."""
    product = next((part for part in walk(node) if part.op == "mul"), node)
    names_ = [(d[0], kid.op == "T") for kid in product.kids if (d := direct(kid))]
    if any(item.kind == "letter" for name, _ in names_ for item in name.sub) or len(weights) != 1 or weights.islower():
        return ""
    return "".join(("W" if name.base == weights else "x") + "T" * turned for name, turned in names_)


def _definitions(chain: Chain, facts: Facts) -> None:
    nodes = [side.node for side in chain.sides]
    for before, after in itertools.pairwise(nodes):
        if before is None or after is None:
            continue
        if before.op == "app" and before.data.base not in ("exp",):
            if len(before.kids) == 1 and before.kids[0].op in ("name", "neg") and before is nodes[0]:
                facts.functions.add(before.data.base)
            before = Node("name", (), before.data)
        if before.op != "name":
            continue
        left = tagless(before.data)
        if (after.op == "fn" and after.data[0] == "softmax") or is_softmax(after):
            facts.hints[before.data.base]["is softmax"] += 1
        called = after.op == "app" and after.data.base == "σ"
        if ((after.op == "fn" and after.data[0] == "logistic") or called) and affine(after.kids[0]) is not None:
            facts.hints[before.data.base]["is an output"] += 1
        if after.op == "fn" and after.data[0] in ("logistic", "tanh", "relu") and after.kids[0].op == "name":
            facts.activated.append((left, tagless(after.kids[0].data)))
        if after.op == "app" and len(after.kids) == 1 and after.kids[0].op == "name":
            facts.activated.append((left, tagless(after.kids[0].data)))
        for inner in [after, *after.kids[:1]] if after.op in ("fn", "app") else [after]:
            if inner.op in ("app", "fn"):
                continue
            edge = affine(inner)
            if edge is not None:
                facts.order[_order(inner, edge[0].split(":")[0])] += 1
            if edge is not None and (inner is after or after.op in ("fn", "app")):
                facts.edges.append((left, *edge))
        named = after.kids[0] if after.op in ("neg", "fn") and after.kids[0].op in ("name", "app") else None
        if after.op == "prod":
            facts.likely.add(before.data.base)
        elif named is not None and (after.op == "neg" or after.data[0] == "log"):
            facts.negated.add(named.data.base if after.op == "neg" else before.data.base)
        if has_losslike(after):
            facts.hints[before.data.base]["is a loss"] += 1
        sums = [part for part in walk(after) if part.op == "sum" and set(part.data.letters) & facts.sample_letters]
        if sums and after.op != "D" and not letters_in(Node("name", (), before.data)):
            facts.whole.add(before.data.base)
    for node in nodes:
        if node is None:
            continue
        for part in walk(node):
            calls = part.op == "fn" and part.data[0] in ("softmax", "logistic", "tanh", "relu")
            calls = calls or (part.op == "app" and part.data.base in _FUNCTIONS and len(part.kids) == 1)
            if calls and (edge := affine(part.kids[0])) is not None:
                facts.edges.append(("", *edge))
