"""The network drawn as the page first shows it; web/src/layout.ts draws it again when the reader changes something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.explain.example import Example

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["drawing"]

FEW = 12  # a layer of no more units is drawn whole
SHOWN = 9  # units of a wider one
LONG = 15  # characters of a name that are drawn
LEFT, TOP = 120.0, 44.0


def drawing(explanation: Example, chain: Chain) -> dict[str, Any]:
    """Nodes and edges for the template; wide layers are folded to their strongest units."""
    e, depth, widths = explanation, explanation.net.depth, explanation.net.widths
    path = _on_chain(chain)
    shown = [_shown(e, layer, path.get(layer)) for layer in range(depth + 1)]
    rows = [len(units) + (len(units) < width) for units, width in zip(shown, widths, strict=True)]
    gap = min(250.0, max(84.0, 720.0 / depth))
    # beside an output unit: its class's name, (ℓ) and its probability
    right = 104.0 + 6.6 * max(min(LONG, len(e.classes[unit])) for unit in shown[-1])
    height = TOP + max(5, *rows) * 36 + 10

    def at(layer: int, row: int) -> tuple[float, float]:
        return LEFT + gap * layer, TOP + (height - TOP - 10) * (row + 0.5) / rows[layer]

    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for layer, units in enumerate(shown):
        gradient = e.backward.grad_activations[0][0] if layer == 0 else e.backward.grad_preactivations[layer - 1][0]
        largest = float(np.abs(gradient[units]).max()) or 1.0
        for row, unit in enumerate(units):
            x, y = at(layer, row)
            value = float(gradient[unit])
            nodes.append({
                "layer": layer, "unit": unit + 1, "x": x, "y": y, "on_path": path.get(layer) == unit,
                "negative": value < 0, "opacity": round(0.55 * min(1.0, abs(value) / largest), 3),
            })  # fmt: skip
        if len(units) < widths[layer]:
            x, y = at(layer, len(units))
            nodes.append({"layer": layer, "unit": 0, "x": x, "y": y, "more": widths[layer] - len(units)})
        if layer:
            edges += _edges(e, chain, layer, (shown[layer - 1], units), at, path)
    edges.sort(key=lambda edge: (edge["on_path"], edge["thick"]))
    columns = [
        {"layer": layer, "x": at(layer, 0)[0], "shown": len(units), "of": widths[layer]}
        for layer, units in enumerate(shown)
    ]
    width = LEFT + gap * depth + right
    return {"width": width, "height": height, "nodes": nodes, "edges": edges, "columns": columns, "long": LONG}


def _on_chain(chain: Chain) -> dict[int, int]:
    """The unit of each layer, from 0, that is on the chain: the weight's input, then the strongest path."""
    units = {chain.layer: chain.unit - 1}
    if chain.paths:
        units = {chain.layer + i: unit - 1 for i, unit in enumerate(chain.paths[0].units)}
    return units if chain.input is None else units | {chain.layer - 1: chain.input - 1}


def _shown(e: Example, layer: int, needed: int | None) -> list[int]:
    """The strongest units by |∂𝓛/∂a|, inputs by |x ∂𝓛/∂x|, and the one that is on the chain."""
    if layer:
        strength = np.abs(e.backward.grad_preactivations[layer - 1][0])
    else:
        strength = np.abs(e.backward.grad_activations[0][0] * e.x)
    most = len(strength) if len(strength) <= FEW else SHOWN
    order = [int(i) for i in np.argsort(-strength, kind="stable")[:most]]
    if needed is not None and needed not in order:
        order[-1] = needed
    return sorted(order)


def _edges(
    e: Example, chain: Chain, layer: int, shown: tuple[list[int], list[int]], at: Any, path: dict[int, int]
) -> list[dict[str, Any]]:
    sources, units = shown
    delta: npt.NDArray[np.float64] = e.backward.grad_preactivations[layer - 1][0]
    values = np.outer(delta[units], e.forward.activations[layer - 1][0][sources])
    largest = float(np.abs(values).max()) or 1.0
    edges = []
    for row, unit in enumerate(units):
        for place, source in enumerate(sources):
            (x1, y1), (x2, y2) = at(layer - 1, place), at(layer, row)
            on_path = path.get(layer) == unit and path.get(layer - 1) == source
            value = float(values[row, place])
            edges.append({
                "x1": x1, "y1": y1, "x2": x2, "y2": y2, "negative": value < 0, "on_path": on_path,
                "thick": round(0.4 + 5 * abs(value) / largest, 2),
                "chosen": on_path and layer == chain.layer and chain.input is not None,
            })  # fmt: skip
    return edges
