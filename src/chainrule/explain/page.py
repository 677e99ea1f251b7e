"""The explanation as one HTML page that needs no network and no JavaScript."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import html
from chainrule.explain.chain import Chain, Explanation
from chainrule.explain.text import value_text
from chainrule.files import write_atomically

__all__ = ["page", "write_page"]

SHOWN = 7  # units of a layer that are drawn
GAP = 220  # between two layers, in the picture's units


def write_page(path: str | os.PathLike[str], explanation: Explanation, chain: Chain) -> Path:
    """Write the page of one chain, whole or not at all.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    return write_atomically(path, page(explanation, chain))


def page(explanation: Explanation, chain: Chain) -> str:
    """The page of one chain, as HTML."""
    gradient = explanation.backward.grad_activations[0][0]
    if chain.input is None:
        where = f"The pre-activation of unit {chain.unit} in layer {chain.layer}"
    else:
        source = f"input “{explanation.feature_names[chain.input - 1]}”"
        if chain.layer > 1:
            source = f"unit {chain.input} of layer {chain.layer - 1}"
        where = f"The weight leads from {source} to unit {chain.unit} of layer {chain.layer}"
    return html.render(
        "explanation.html.j2",
        chain=chain,
        units=explanation.output_units(),
        where=where,
        picture=_picture(explanation, chain),
        input_image=html.pixels(explanation.x.tolist()),
        gradient_image=html.pixels(gradient.tolist()),
        value_text=value_text,
        largest=lambda values: max(values, key=abs),
    )


def _picture(explanation: Explanation, chain: Chain) -> dict[str, Any]:
    """Nodes and edges of the network, wide layers folded to the units with the largest gradients."""
    depth = explanation.net.depth
    grads = [g[0] for g in explanation.backward.grad_activations[:1]]
    grads += [g[0] for g in explanation.backward.grad_preactivations]
    path = {chain.layer: chain.unit - 1}
    if chain.input is not None:
        path[chain.layer - 1] = chain.input - 1
    if chain.paths:
        path |= {chain.layer + i: unit - 1 for i, unit in enumerate(chain.paths[0].units)}
    shown = []
    for layer, grad in enumerate(grads):
        order = [int(i) for i in np.argsort(-np.abs(grad), kind="stable")[:SHOWN]]
        if layer in path and path[layer] not in order:
            order[-1] = path[layer]
        shown.append(sorted(order))
    width, height = GAP * (depth + 1), 50 * SHOWN + 60
    at = {}
    nodes, edges = [], []
    for layer, units in enumerate(shown):
        for i, unit in enumerate(units):
            place = GAP / 2 + GAP * layer, 30 + (height - 60) * (i + 0.5) / len(units)
            at[layer, unit] = place
            name = explanation.feature_names[unit] if layer == 0 else f"unit {unit + 1}"
            title = explanation.classes[unit] if layer == depth else name
            text = title if layer in (0, depth) else str(unit + 1)
            chosen = path.get(layer) == unit
            nodes.append({"x": place[0], "y": place[1], "title": title, "text": text[:14], "chosen": chosen})
    for layer in range(1, depth + 1):
        grad = explanation.backward.grad_weights[layer - 1][0]
        largest = float(np.abs(grad).max()) or 1.0
        for unit in shown[layer]:
            for source in shown[layer - 1]:
                (x1, y1), (x2, y2) = at[layer - 1, source], at[layer, unit]
                value = float(grad[unit, source])
                chosen = path.get(layer) == unit and path.get(layer - 1) == source
                thick = round(0.3 + 5 * abs(value) / largest, 2)
                edge = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "thick": thick, "negative": value < 0}
                edges.append(edge | {"chosen": chosen})
    widths = explanation.net.widths
    headings = ["inputs", *(f"hidden layer {k}" for k in range(1, depth)), "output layer"]
    columns = [
        {"x": GAP / 2 + GAP * k, "text": f"{h} ({len(shown[k])} of {w})" if w > SHOWN else h}
        for k, (h, w) in enumerate(zip(headings, widths, strict=True))
    ]
    return {"width": width, "height": height, "nodes": nodes, "edges": edges, "columns": columns}
