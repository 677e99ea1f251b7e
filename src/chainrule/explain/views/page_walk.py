"""The walk as the page first shows it, all steps lit: for each a row of bars for every vector, and the sum that leads
to the weight. web/src/steps.tsx shows the same and lets it be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.activations import ACTIVATIONS
from chainrule.explain.example import Example
from chainrule.explain.symbols import number, weight_symbol
from chainrule.notation import subscript

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["BARS", "CLASSES", "DECADES", "ROWS", "TERMS", "bars", "ends", "largest_at", "output_step", "scale", "walk"]

Array = npt.NDArray[np.float64]
CLASSES = 20  # of more, only the label and the most probable have a bar of their own; listed in tables
BARS = 64  # of a layer that is too wide for the page: its largest
WIDEST = 312  # units that are drawn one by one, without a script that knows the page's width
ROWS = 100  # of the map; more inputs share a row
TERMS = 3  # of a sum that are told one by one
DECADES = 50  # a layer's gradients this much smaller than 1 have bars that count decades
SHADES = 8  # of the map as it is first drawn
STATIC = (33, 128)  # its rows and columns, at most
WIDE, HIGH = 1000, 100  # of a row of bars; it is stretched to its place


def walk(explanation: Example, chain: Chain) -> list[dict[str, Any]]:
    """The steps from the output layer to the weights of the chain's layer, for the template."""
    e, depth = explanation, explanation.net.depth
    deltas = [g[0] for g in e.backward.grad_preactivations]
    through = [g[0] for g in e.backward.grad_activations]
    length = scale([*deltas, *through[1:]], decades=any(0 < float(np.abs(d).max()) < 1 / DECADES for d in deltas))
    steps = [output_step(e.forward.probabilities[0], deltas[-1], e.label, e.classes, length, subscript(depth))]
    units = _looked_at(e, chain, deltas)
    for k in range(depth - 1, chain.layer - 1, -1):
        steps.append(_hidden(e, k, units, deltas, through[k], length))
    inputs = e.forward.activations[chain.layer - 1][0]
    value = 1.0 if chain.input is None else float(inputs[chain.input - 1])
    last = deltas[chain.layer - 1]
    order = np.arange(len(last)) if len(last) <= STATIC[1] else np.sort(largest_at(last, STATIC[1]))
    mean = "" if e.batch_size is None else f"1/{e.batch_size} × "
    steps.append({
        "kind": "weight", "heading": "and now talk to the weights", "layer": chain.layer,
        "formula": f"∇W{subscript(chain.layer)} 𝓛 = δ{subscript(chain.layer)} "
        + ("xᵀ" if chain.layer == 1 else f"h{subscript(chain.layer - 1)}ᵀ"),
        "map": _map(last[order], inputs), "product": chain.from_backward,
        "factors": f"{mean}{number(float(last[chain.unit - 1]), 4)} × {number(value, 4)}",
    })  # fmt: skip
    return steps


def output_step(
    p: Array, grad: Array, label: int, classes: Sequence[str], length: Any, low: str = ""
) -> dict[str, Any]:
    """The first step, of any classifier. low : its layer's number as a subscript, where it has one"""
    at = np.arange(len(p))
    if len(p) > CLASSES:
        at = np.unique([label, *np.argsort(-p, kind="stable")[:10]])
    shown = largest_at(grad, TERMS)
    between = "," if low else ""
    listed = [(f"δ{low}{between}{subscript(int(i) + 1)} “{classes[i]}”", float(grad[i])) for i in shown]
    return {
        "kind": "output", "heading": "Talk to the output layer", "formula": f"δ{low} = ∇a{low} 𝓛 = ŷ − e(ℓ)",
        "words": "What the network said minus what is true is the gradient.",
        "rows": [
            bars("ŷ", p[at], length, "forward"), bars("− e(ℓ)", (at == label) * 1.0, length, "truth"),
            bars(f"= δ{low}", grad[at], length, "gradient"),
        ],
        "classes": [(classes[int(i)], int(i) == label) for i in at], "folded": len(p) - len(at),
        "terms": [*listed, *_more(grad, shown)], "end": ("they sum to", 0.0),
    }  # fmt: skip


def _more(terms: Array, shown: npt.NDArray[np.int64]) -> list[tuple[str, float]]:
    """What a sum has beside the terms that are told one by one, if anything."""
    count = len(terms) - len(shown)
    return [(f"{count} more", float(np.delete(terms, shown).sum()))] if count else []


def _hidden(
    e: Example, k: int, units: dict[int, int], deltas: list[Array], through: Array, length: Any
) -> dict[str, Any]:
    low, high, unit = subscript(k), subscript(k + 1), units[k]
    grad, slopes, h = deltas[k - 1], e.derivatives[k - 1], e.forward.activations[k][0]
    row = ACTIVATIONS[e.net.activation]
    gates = row.kink is not None and row.kink[0] == 0
    at = np.arange(len(grad)) if len(grad) <= WIDEST else np.sort(largest_at(grad, BARS))
    terms = e.net.weights[k][:, unit - 1] * deltas[k]
    shown = largest_at(terms, TERMS)
    listed = [
        (f"{weight_symbol(k + 1, int(j) + 1, unit)} × δ{high},{subscript(int(j) + 1)}", float(terms[j])) for j in shown
    ]
    steepest = row.steepest or float(np.abs(slopes).max()) or 1.0
    largest = float(np.abs(h).max()) or 1.0
    open_ = int(np.count_nonzero(slopes))
    passes = f"it passes where the unit fired: {open_} of {len(grad)}" if gates else "the slope lets part of it through"
    return {
        "kind": "hidden", "heading": f"then to hidden layer {k}", "layer": k,
        "formula": f"δ{low} = (W{high}ᵀ δ{high}) ⊙ g′(a{low})",
        "words": f"Each unit collects the blame of all {len(deltas[k])} above; {passes}.",
        "rows": [
            bars(f"h{low}", np.abs(h[at]), lambda v: v / largest, "forward"),
            bars(f"W{high}ᵀ δ{high}", through[at], length, "gradient"),
            bars(f"⊙ g′(a{low})", np.abs(slopes[at]), lambda v: min(1.0, v / steepest), "forward"),
            bars(f"= δ{low}", grad[at], length, "gradient"),
        ],
        "folded": len(grad) - len(at), "whose": f"unit {unit} of layer {k}",
        "terms": [*listed, *_more(terms, shown)],
        "sum": float(through[unit - 1]), "slope": float(slopes[unit - 1]),
        "end": (f"δ{low},{subscript(unit)}", float(grad[unit - 1])),
    }  # fmt: skip


def _looked_at(e: Example, chain: Chain, deltas: list[Array]) -> dict[int, int]:
    """For each layer the unit whose sum is told: the chain's own, then the one of the largest term above it."""
    units = {chain.layer: chain.unit}
    for k in range(chain.layer, e.net.depth):
        units[k + 1] = int(np.abs(e.net.weights[k][:, units[k] - 1] * deltas[k]).argmax()) + 1
    return units


def largest_at(values: Array, count: int) -> npt.NDArray[np.int64]:
    return np.argsort(-np.abs(values), kind="stable")[:count]


def ends(vectors: list[Array]) -> tuple[float, int, int]:
    """What one scale for all of them must hold: the largest size, 1 at least; and the exponents below and above."""
    sizes = [float(np.abs(v).max(initial=0.0)) for v in vectors]
    top = max(1.0, *sizes)
    low = math.floor(math.log10(min((s for s in sizes if s > 0), default=1.0))) - 2
    return top, low, math.ceil(math.log10(top))


def scale(vectors: list[Array], *, decades: bool) -> Any:
    """value ↦ length of its bar, from −1 to 1: by size, or by the decades above the least."""
    top, low, high = ends(vectors)
    if not decades:
        return lambda v: v / top

    def length(v: float) -> float:
        return 0.0 if v == 0 else math.copysign(max(0.0, (math.log10(abs(v)) - low) / (high - low)), v)

    return length


def bars(name: str, values: Array, length: Any, look: str) -> dict[str, Any]:
    """A row of bars, for the template: a path for each colour, and what is said of it."""
    signed = look == "gradient"
    base = HIGH / 2 if signed else HIGH
    slot = WIDE / max(1, len(values))
    gap = min(0.18 * slot, 20)
    paths = {"fillplus": "", "fillminus": ""} if signed else {look: ""}
    for i, v in enumerate(values.tolist()):
        tall = round(base * length(v), 2)
        if tall:
            kind = ("fillminus" if tall < 0 else "fillplus") if signed else look
            paths[kind] += f"M{i * slot + gap / 2:.1f} {base:g}h{slot - gap:.1f}v{-tall:g}h{gap - slot:.1f}z"
    told = f"{len(values)} numbers from {number(float(values.min()), 3)} to {number(float(values.max()), 3)}"
    return {"name": name, "look": look, "paths": paths, "told": told, "base": base if signed else HIGH - 0.5}


def _map(delta: Array, inputs: Array) -> dict[str, Any]:
    """δ hᵀ in a few shades: the units with the largest gradients across, inputs down, some to a row, the bias last."""
    each = -(-len(inputs) // STATIC[0])
    rows = [chunk[np.abs(chunk).argmax()] for chunk in np.split(inputs, range(each, len(inputs), each))]
    cells = np.outer([*rows, 1.0], delta)
    largest = float(np.abs(cells).max()) or 1.0
    levels = np.rint(SHADES * np.sign(cells) * (np.abs(cells) / largest) ** 0.7).astype(int)
    paths: dict[int, str] = {}
    for (row, column), level in np.ndenumerate(levels):
        if level:
            paths[int(level)] = paths.get(int(level), "") + f"M{column} {row}h1v1h-1z"
    drawn = [{"negative": n < 0, "opacity": abs(n) / SHADES, "d": d} for n, d in paths.items()]
    return {"rows": len(rows) + 1, "columns": len(delta), "paths": drawn, "each": each}
