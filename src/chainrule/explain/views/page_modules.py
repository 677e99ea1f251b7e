"""The page of any PyTorch classifier: the output layer, then the gradient at every submodule's output, back to the
input. It reads in full without a script; templates/modules.js lets each bar be pointed at and walked to."""

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
from chainrule.explain.views.page_walk import CLASSES, DECADES, TERMS, bars, ends, largest_at, scale

if TYPE_CHECKING:
    from chainrule.explain.modules import ModuleExplanation

__all__ = ["modules_page", "write_modules_page"]

Array = npt.NDArray[np.float64]
SHOWN = 312  # elements that are drawn one by one
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
    units = found.output_units
    grad = np.array([u.grad_logit for u in units])
    flat = {name: np.concatenate([g.ravel() for g in parts]) for name, parts in found.gradients.items() if parts}
    vectors = [grad, *flat.values()]
    decades = any(0 < float(np.abs(v).max(initial=0.0)) < 1 / DECADES for v in vectors)
    length = scale(vectors, decades=decades)
    top, low, high = ends(vectors)
    steps = [_step(found, row, flat[row.name], length) for row in reversed(found.rows) if row.name in flat]
    told = json.dumps(
        {
            "scale": {"log": decades, "top": top, "from": low, "to": high},
            "steps": [{"name": s["name"], "places": s.pop("places"), "values": s.pop("values")} for s in steps],
        },
        ensure_ascii=False,
    )
    return html.render(
        "modules.html.j2", found=found, output=_output(found, grad, length), steps=steps, story=_story(found),
        scale=f"a whole bar is 10^{high}, none 10^{low}" if decades else f"a whole bar is {number(top, 3)}",
        payload=told.replace("<", "\\u003c"), script=html.script("modules.js"),
    )  # fmt: skip


def _output(found: ModuleExplanation, grad: Array, length: Any) -> dict[str, Any]:
    units, label = found.output_units, found.label
    p = np.array([u.probability for u in units])
    at = np.arange(len(p))
    if len(p) > CLASSES:
        at = np.unique([label, *np.argsort(-p, kind="stable")[:10]])
    shown = largest_at(grad, TERMS)
    rest = [(f"{len(p) - len(shown)} more", float(np.delete(grad, shown).sum()))] if len(p) > len(shown) else []
    return {
        "rows": [
            bars("ŷ", p[at], length, "forward"), bars("− e(ℓ)", (at == label) * 1.0, length, "truth"),
            bars("= ŷ − e(ℓ)", grad[at], length, "gradient"),
        ],
        "classes": [(units[i].name, int(i) == label) for i in at], "folded": len(p) - len(at),
        "terms": [*((f"“{units[i].name}”", float(grad[i])) for i in shown), *rest],
    }  # fmt: skip


def _step(found: ModuleExplanation, row: Any, values: Array, length: Any) -> dict[str, Any]:
    """One submodule: its largest elements, in their order, as bars, and what there is more."""
    parts = found.gradients[row.name]
    drawn = np.sort(largest_at(values, SHOWN))
    carried = np.sort(largest_at(values, CARRIED))
    rest = np.delete(values, drawn)
    largest = largest_at(values, TERMS)
    return {
        "name": row.name, "kind": row.kind, "shape": " × ".join(map(str, row.shape)), "count": len(values),
        "n_parameters": row.n_parameters, "norm": row.gradient_norm, "parameter_norm": row.parameter_norm,
        "calls": len(parts), "bars": bars(row.name, values[drawn], length, "gradient"), "more": len(rest),
        "above": float(np.abs(rest).max(initial=0.0)),
        "terms": [(place(parts, int(i)), float(values[i])) for i in largest],
        "places": [place(parts, int(i)) for i in carried], "values": values[carried].tolist(),
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
