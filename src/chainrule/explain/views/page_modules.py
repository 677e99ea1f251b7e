"""The page of any PyTorch classifier: the walk's output layer, then the gradient at every submodule's output, back to
the input. It reads in full without a script; templates/modules.js (web/src/modules.tsx) lets each bar be pointed at and
walked to, and figures be taken away."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.explain.symbols import number, probability
from chainrule.explain.views.page_walk import (
    BARS,
    CLASSES,
    DECADES,
    TERMS,
    WIDEST,
    bars,
    ends,
    largest_at,
    output_step,
    scale,
)  # fmt: skip

if TYPE_CHECKING:
    from chainrule.explain.modules import ModuleExplanation, ModuleRow

__all__ = ["modules_page", "write_modules_page"]

Array = npt.NDArray[np.float64]
CARRIED = 1024  # elements that the page carries of a gradient: its largest


def write_modules_page(path: str | os.PathLike[str], found: ModuleExplanation) -> Path:
    """Write the page, whole or not at all.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    return write_atomically(path, modules_page(found))


def modules_page(found: ModuleExplanation) -> str:
    """The page, as HTML."""
    units, label = found.output_units, found.label
    p, grad = np.array([u.probability for u in units]), np.array([u.grad_logit for u in units])
    classes = [u.name for u in units]
    flat = {name: np.concatenate([g.ravel() for g in parts]) for name, parts in found.gradients.items() if parts}
    vectors = [grad, *flat.values()]
    decades = any(0 < float(np.abs(v).max(initial=0.0)) < 1 / DECADES for v in vectors)
    length = scale(vectors, decades=decades)
    top, low, high = ends(vectors)
    reached = [row for row in reversed(found.rows) if row.name in flat]
    title, story = f"The gradient at every part of {found.name}", _story(found)
    told = {
        "title": title, "story": story, "findings": [finding.text for finding in found.findings],
        "output": {
            "p": p.tolist(), "grad": grad.tolist(), "loss": found.loss, "label": label, "classes": classes,
        },
        "parts": [_carried(found, row, flat[row.name]) for row in reached],
        "scale": {"log": decades, "top": top, "from": low, "to": high},
        "most": {"classes": CLASSES, "bars": BARS, "terms": TERMS},
    }  # fmt: skip
    kept = json.loads(html.part("derivations.json"))
    return html.render(
        "modules.html.j2", found=found, title=title, story=story,
        output=output_step(p, grad, label, classes, length),
        steps=[_step(found, row, flat[row.name], length) for row in reached],
        scale=f"a whole bar is 10^{high}, none 10^{low}" if decades else f"a whole bar is {number(top, 3)}",
        derivations={"style": kept["style"], "shown": [one for one in kept["factors"] if one["name"] in OUTPUT]},
        payload=json.dumps(told, ensure_ascii=False).replace("<", "\\u003c"), script=html.script("modules.js"),
    )  # fmt: skip


OUTPUT = ("loss", "gradient_wrt_probabilities", "softmax_jacobian", "gradient_wrt_logits")  # the first step's why


def _heading(row: ModuleRow) -> str:
    return "and back to the input" if row.kind == "input" else f"then to {row.name}"


def _words(found: ModuleExplanation, row: ModuleRow) -> str:
    """What it is: its kind, the shape of its output, how often it was called, its own parameters."""
    calls = len(found.gradients[row.name])
    told = ", ".join([row.kind, *filter(None, [" × ".join(map(str, row.shape))]), *[f"{calls} outputs"] * (calls > 1)])
    return f"{told}; {row.n_parameters:,} parameters of its own" if row.n_parameters else told


def _step(found: ModuleExplanation, row: ModuleRow, values: Array, length: Any) -> dict[str, Any]:
    """One submodule, for the template: its largest elements, in their order, as bars, and what there is more."""
    drawn = np.sort(largest_at(values, WIDEST))
    rest = np.delete(values, drawn)
    name = f"∂𝓛/∂{'x' if row.kind == 'input' else 'out'}"
    parts = found.gradients[row.name]
    return {
        "name": row.name, "heading": _heading(row), "words": _words(found, row),
        "rows": [bars(name, values[drawn], length, "gradient") | {"most": len(values)}] if len(values) else [],
        "more": len(rest), "above": float(np.abs(rest).max(initial=0.0)),
        "terms": [(place(parts, int(i)), float(values[i])) for i in largest_at(values, TERMS)],
        "norm": row.gradient_norm, "parameter_norm": row.parameter_norm,
    }  # fmt: skip


def _carried(found: ModuleExplanation, row: ModuleRow, values: Array) -> dict[str, Any]:
    """The same for the script."""
    largest = np.sort(largest_at(values, CARRIED))
    return {
        "name": row.name, "heading": _heading(row), "words": _words(found, row), "count": len(values),
        "norm": row.gradient_norm, "parameters": row.parameter_norm, "isInput": row.kind == "input",
        "values": values[largest].tolist(), "places": [place(found.gradients[row.name], int(i)) for i in largest],
    }  # fmt: skip


def place(parts: list[Array], at: int) -> str:
    """Where an element of all outputs one after another stands, counted from 1: [1, 3, 5], with its call if several."""
    for call, part in enumerate(parts, start=1):
        if at < part.size:
            where = ", ".join(str(int(i) + 1) for i in np.unravel_index(at, part.shape))
            return f"[{where}]" + (f" of output {call}" if len(parts) > 1 else "")
        at -= part.size
    raise IndexError(at)


def _story(found: ModuleExplanation) -> str:
    units, label = found.output_units, found.label
    guess = max(units, key=lambda u: u.probability)
    given = probability(guess.probability, sum(u.probability for u in units if u is not guess), 3)
    taken = "known as such" if guess.unit - 1 == label else f"taken for “{guess.name}”"
    said = f"This “{units[label].name}” is {taken}, with {given} (loss {number(found.loss, 4)})."
    reached = [row for row in found.rows if row.gradient_norm]
    if not reached:
        return f"{said} No gradient reaches any part."
    most = max(reached, key=lambda row: row.gradient_norm or 0.0)
    least = min(reached, key=lambda row: row.gradient_norm or 0.0)
    return (
        f"{said} The gradient is largest at the output of {most.name} (norm {number(most.gradient_norm or 0.0, 3)}) "
        f"and smallest at that of {least.name} ({number(least.gradient_norm or 0.0, 3)})."
    )
