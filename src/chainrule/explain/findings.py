"""Plain findings about an example, each with its evidence, and the sentence on why a gradient is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.activations import ACTIVATIONS
from chainrule.explain.example import Example
from chainrule.explain.raw import raw_text
from chainrule.explain.records import Finding, PathToLoss
from chainrule.explain.symbols import number, probability, unit_symbol, weight_symbol

__all__ = [
    "DEAD_SHARE", "DRIFT", "LARGE", "LARGE_ERROR", "LEARNED", "NAME", "SATURATED", "SATURATED_SHARE", "SMALL_ERROR",
    "WRONG_LABEL", "example_findings", "output_findings", "story", "why",
]  # fmt: skip

Array = npt.NDArray[np.float64]
WRONG_LABEL = 0.9  # another class's probability, above which the label is doubted
LEARNED = 0.999  # the label's own probability, above which there is little left to learn
DEAD_SHARE = 0.75  # of a layer's ReLUs with g′ = 0 on this example
SATURATED = 0.01  # g′ below this share of the activation's steepest
SATURATED_SHARE = 0.25  # of a layer's units that are saturated
DRIFT = 1e3  # ratio of ‖∂𝓛/∂a‖ between the first and the last layer
LARGE = 2.0  # times the root mean square of its layer
LARGE_ERROR, SMALL_ERROR = 0.5, 0.05  # of a probability
NAME = 30  # characters of a name in the story
SOME = 10  # classes that evidence lists: the first, with the label among them


def example_findings(e: Example) -> list[Finding]:
    """All but the largest gradient's."""
    logits = e.forward.logits[0]
    label, routes = _label_findings(logits, e.label, e.classes), _route_findings(logits, e.label)
    return [*label, *_unit_findings(e), *_drift_findings(e), *routes]


def output_findings(logits: Array, label: int, classes: Sequence[str]) -> list[Finding]:
    """Those that the output layer alone tells."""
    return [*_label_findings(logits, label, classes), *_route_findings(logits, label)]


def _label_findings(logits: Array, label: int, classes: Sequence[str]) -> list[Finding]:
    p = equations.softmax(logits)
    others = np.where(np.arange(len(p)) == label, -1.0, p)
    other = int(others.argmax())
    grad = equations.grad_logits(logits, label)
    norm = float(np.linalg.norm(grad))
    numbers = {"label": classes[label], "label_probability": float(p[label]), "output_gradient_norm": norm}
    if others[other] > WRONG_LABEL:
        likely = probability(p[other], -float(equations.grad_logits(logits, other)[other]), 4)
        text = (
            f"The label may be wrong: the network gives “{classes[other]}” the probability {likely} and "
            f"the label “{classes[label]}” {number(p[label], 3)}."
        )
        found = {"class": classes[other], "class_probability": float(p[other])}
        return [Finding("probable wrong label", text, numbers | found)]
    if p[label] > LEARNED:
        text = (
            f"There is little left to learn here: the label “{classes[label]}” has the probability "
            f"{probability(p[label], -float(grad[label]), 6)}, and ‖ŷ − e(ℓ)‖ is {number(norm, 3)}."
        )
        return [Finding("learned", text, numbers)]
    return []


def _unit_findings(e: Example) -> list[Finding]:
    found = []
    row = ACTIVATIONS[e.net.activation]
    for k, slopes in enumerate(e.derivatives, start=1):
        width = len(slopes)
        if row.kink is not None and row.kink[0] == 0:
            dead = np.flatnonzero(slopes == 0)
            if len(dead) >= DEAD_SHARE * width:
                closed = " No gradient passes to the layers before it." if len(dead) == width else ""
                text = f"{len(dead)} of the {width} ReLUs of hidden layer {k} are dead on this example (a ≤ 0).{closed}"
                evidence = {"layer": k, "dead": len(dead), "width": width, "units": (dead[:20] + 1).tolist()}
                found.append(Finding("dead units", text, evidence))
        elif row.steepest is not None:
            least = SATURATED * row.steepest
            flat = np.flatnonzero(slopes < least)
            if len(flat) >= SATURATED_SHARE * width:
                text = (
                    f"{len(flat)} of the {width} units of hidden layer {k} are saturated: g′ is below "
                    f"{number(least)} and lets almost no gradient through."
                )
                evidence = {"layer": k, "saturated": len(flat), "width": width, "units": (flat[:20] + 1).tolist()}
                evidence["largest_slope"] = float(slopes[flat].max())
                found.append(Finding("saturated units", text, evidence))
    return found


def _drift_findings(e: Example) -> list[Finding]:
    norms = [float(np.linalg.norm(g[0])) for g in e.backward.grad_preactivations]
    first, last = norms[0], norms[-1]
    if len(norms) < 2 or last == 0 or 1 / DRIFT <= first / last <= DRIFT:
        return []
    ratio = first / last
    kind = "vanishing gradient" if ratio < 1 else "exploding gradient"
    how = "shrinks" if ratio < 1 else "grows"
    text = (
        f"The gradient {how} on its way back: ‖∂𝓛/∂a‖ is {number(last, 3)} at the output layer and {number(first, 3)} "
        f"at layer 1, {number(ratio, 3)} times as much."
    )
    weights = [float(n[0]) ** 0.5 for n in e.backward.squared_norms()]
    evidence = {"ratio": ratio, "preactivation_norms": norms, "weight_norms": weights}
    return [Finding(kind, text, evidence)]


def _route_findings(logits: Array, label: int) -> list[Finding]:
    """Where the ordinary ways to ∂𝓛/∂a_L break in float32, with the numbers that float32 really gives."""
    exact = equations.grad_logits(logits, label)
    with np.errstate(all="ignore"):
        single = logits.astype(np.float32)
        p = equations.softmax(single)
        by_probability = np.float32(-1) / p[label]
        row = p[label] * (np.eye(1, len(p), label, dtype=np.float32)[0] - p)
        product = by_probability * row
        fused = p.copy()
        fused[label] -= np.float32(1)
    shown = list(range(len(p))) if len(p) <= SOME else sorted({*range(SOME - 1), label})
    found = []
    if not np.isfinite(product).all():
        ell, first, then = (number(float(v), 3) for v in (p[label], by_probability, product[label]))
        text = (
            f"Through the probabilities, float32 breaks: the label's ŷ is {ell}, −1/ŷ is {first}, and times its row of "
            f"the Jacobian, {number(float(row[label]), 3)} at the label, that is {then}. "
            f"Nobody computes it so: ŷ − e(ℓ), both factors as one, is {number(float(exact[label]))} at the label."
        )
        evidence: dict[str, Any] = {
            "logits": single[shown].tolist(), "probability": float(p[label]),
            "grad_probability": float(by_probability), "jacobian_row": row[shown].tolist(),
            "product": product[shown].tolist(), "fused": fused[shown].tolist(),
            "exact": exact[shown].tolist(), "classes": [i + 1 for i in shown],
        }  # fmt: skip
        found.append(Finding("float32 route breaks", text, evidence))
    if fused[label] == 0 and exact[label] != 0:
        text = (
            f"In float32 an ordinary implementation rounds this example's gradient at the label to zero: softmax is 1, "
            f"and 1 − 1 = 0, where −(1 − ŷ) is {number(float(exact[label]), 6)}."
        )
        evidence = {"ordinary": float(fused[label]), "exact": float(exact[label]), "probability": float(p[label])}
        found.append(Finding("rounded to zero", text, evidence))
    return found


def story(e: Example, layer: int, unit: int, source: int | None) -> str:
    r"""What happened, in words: the class that was taken for another, both factors, and which way a step moves.

    Examples
    --------
    >>> from chainrule import Network
    >>> e = Example(Network([np.array([[1.0], [-1.0]])], [np.zeros(2)]), [2.0], 1)
    >>> print(story(e, 1, 1, 1).replace(". ", ".\n"))
    This “class 2” is taken for “class 1”, with 0.982 (loss 4.018).
    Its input x1 is 2, and unit 1 pushes the loss up (+0.982): the gradient is their product.
    It is positive, so a gradient step lowers this weight.
    """
    p, logits = e.forward.probabilities[0], e.forward.logits[0]
    guess = int(p.argmax())
    given = probability(float(p[guess]), -float(equations.grad_logits(logits, guess)[guess]), 3)
    true, loss = _cut(e.classes[e.label]), number(e.loss, 4)
    taken = "known as such" if guess == e.label else f"taken for “{_cut(e.classes[guess])}”"
    own = float(e.backward.grad_preactivations[layer - 1][0, unit - 1])
    pushes = f"pushes the loss up (+{number(own, 3)})" if own > 0 else f"pulls the loss down ({number(own, 3)})"
    part = f"unit {unit} {pushes if own else 'has no part in the loss (0)'}"
    value = 1.0 if source is None else float(e.forward.activations[layer - 1][0, source - 1])
    if source is None:
        middle, what = f"Its {part}: that is the gradient", "its bias"
    else:
        before = raw_text(e.schema, e.x, source - 1) if layer == 1 else ""
        told = number(value, 4) if not before else f"{before}, standardised {number(value, 4)}"
        middle = f"Its input {_cut(e.input_name(layer, source))} is {told}, and {part}: the gradient is their product"
        what = "this weight"
    gradient = own * value
    if gradient == 0:
        moves = f"It is 0, so a gradient step leaves {what} as it is"
    else:
        sign, way = ("positive", "lowers") if gradient > 0 else ("negative", "raises")
        moves = f"It is {sign}, so a gradient step {way} {what}"
    return f"This “{true}” is {taken}, with {given} (loss {loss}). {middle}. {moves}."


def _cut(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def why(e: Example, layer: int, unit: int, source: int | None, path: PathToLoss | None, *, cancels: bool) -> str:
    """One sentence: the gradient as a product of its unit's and its input, and which factors are large.

    Large is an error at the output of more than 0.5, and a number of more than twice the root mean square of its layer.
    """
    delta = e.backward.grad_preactivations[layer - 1][0]
    own = float(delta[unit - 1])
    a, h = unit_symbol(layer, unit), e.forward.activations[layer - 1][0]
    symbol = a if source is None else weight_symbol(layer, unit, source)
    value = 1.0 if source is None else float(h[source - 1])
    gradient = own * value * e.scale
    name = "" if source is None else e.input_name(layer, source)
    if value != 0 and path is not None and (cancels or gradient == 0):
        # of the true class, not of the strongest path: which of two that cancel is stronger may be rounding too
        error, size = _output_part(e, layer, unit, None), number(abs(path.product), 3)
        nothing = f"{symbol} has the gradient 0, but for rounding"
        return f"{nothing}: its paths are open and cancel, the largest ±{size}; {error}."
    if gradient == 0:
        return f"{symbol} has the gradient 0: {_why_nothing(e, layer, unit, value, name)}."
    parts = [_output_part(e, layer, unit, path)]
    if layer < e.net.depth and path is not None:
        parts.append(_path_part(e, layer, path))
    if layer < e.net.depth and (large := _times(own, delta)):
        parts.append(f"∂𝓛/∂{a} is {large} of its layer")
    if source is not None and (large := _times(value, h)):
        parts.append(f"its input is {large} of {'the inputs' if layer == 1 else 'its layer'}")
    mean = "" if e.batch_size is None else f"1/{e.batch_size} × "
    split = f" = {mean}{number(own, 3)}" if mean else ""
    if source is not None:
        split = f" = {mean}{number(own, 3)} (∂𝓛/∂{a}) × {number(value, 3)} (its input, {name})"
    return f"{symbol} has the gradient {number(gradient, 3)}{split}: {'; '.join(parts)}."


def _why_nothing(e: Example, layer: int, unit: int, value: float, name: str) -> str:
    if layer < e.net.depth and e.derivatives[layer - 1][unit - 1] == 0:
        return f"its unit is off on this example (a = {number(e.forward.preactivations[layer - 1][0, unit - 1], 3)})"
    if not e.backward.grad_preactivations[-1].any():
        return "ŷ is e(ℓ), and there is nothing left to learn"
    if layer == e.net.depth and e.backward.grad_preactivations[-1][0, unit - 1] == 0:
        return f"the network gives “{e.classes[unit - 1]}” the probability 0, which is right"
    return f"its input, {name}, is 0" if value == 0 else "no path from it to the loss is open"


def _output_part(e: Example, layer: int, unit: int, path: PathToLoss | None) -> str:
    """What the output layer says at the class that the strongest path ends in."""
    i = unit - 1 if layer == e.net.depth else (path.units[-1] - 1 if path is not None else e.label)
    p, target = float(e.forward.probabilities[0, i]), int(i == e.label)
    true, miss = "the true class " if target else "", abs(p - target)
    size = "a large error" if miss > LARGE_ERROR else "a small error" if miss < SMALL_ERROR else "an error"
    error = float(e.backward.grad_preactivations[-1][0, i])
    given = probability(p, -float(equations.grad_logits(e.forward.logits[0], i)[i]), 3)
    return (
        f"the network gives {true}“{e.classes[i]}” the probability {given} where {target} is right, "
        f"{size} of {number(error, 3)}"
    )


def _path_part(e: Example, layer: int, path: PathToLoss) -> str:
    """The largest weight on the strongest path, by its layer's root mean square, carries the error back."""
    walk, ratios = path.units, []
    for k in range(layer, e.net.depth):
        w = e.net.weights[k]
        below, above = walk[k - layer], walk[k - layer + 1]
        size = float(np.sqrt(np.mean(w * w)))
        ratios.append((abs(float(w[above - 1, below - 1])) / size if size else 0.0, k, above, below))
    ratio, k, above, below = max(ratios)
    weight = f"{weight_symbol(k + 1, above, below)} = {number(float(e.net.weights[k][above - 1, below - 1]), 3)}"
    large = f", {number(ratio, 2)} times the root mean square of its layer" if ratio > LARGE else ""
    return f"its strongest path back goes by {weight}{large}"


def _times(value: float, layer: Any) -> str:
    """ "3.1 times the root mean square" where it is large, else nothing."""
    size = float(np.sqrt(np.mean(layer * layer)))
    if size == 0 or abs(value) <= LARGE * size:
        return ""
    largest = " and the largest" if abs(value) == np.abs(layer).max() else ""
    return f"{number(abs(value) / size, 2)} times the root mean square{largest}"
