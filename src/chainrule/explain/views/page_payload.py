"""What the page carries of a network and its example, so that it can compute everything itself."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.explain import findings, paths
from chainrule.explain.example import Example
from chainrule.explain.raw import fields, image_shape
from chainrule.explain.records import WHOLE
from chainrule.explain.views import page_walk
from chainrule.network import differences

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["facts", "payload"]


def payload(explanation: Example, chain: Chain, links: dict[str, str]) -> str:
    """JSON to stand within `<script>`: no name can end it."""
    e = explanation
    data = {
        "widths": e.net.widths,
        "x": e.x.tolist(),
        "label": e.label,
        "features": e.feature_names,
        "classes": e.classes,
        "image": image_shape(len(e.x), e.schema, e.image),
        "fields": None if e.schema is None else fields(e.schema),
        "row": e.row,
        "links": links,
        "batch_size": e.batch_size,
        "place": {"layer": chain.layer, "unit": chain.unit, "input": chain.input},
        "facts": facts(e.net.activation),
        "weights": _packed(e),
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def facts(activation: str) -> dict[str, Any]:
    """What Python knows and the page is told: of the activation, and where findings, checks and drawing draw a line."""
    row = ACTIVATIONS[activation]
    bands = "WRONG_LABEL LEARNED DEAD_SHARE SATURATED SATURATED_SHARE DRIFT LARGE LARGE_ERROR SMALL_ERROR NAME"
    return {
        "activation": _told(row, "name kink straight steepest"),
        "findings": _told(findings, bands),
        "differences": _told(differences, "STEP VISIBLE TINY GOOD USUAL"),
        "most": {"paths": paths.MOST, "whole": WHOLE, **_told(page_walk, "CLASSES BARS ROWS TERMS DECADES")},
    }


def _told(of: Any, names: str) -> dict[str, Any]:
    return {name.lower(): getattr(of, name) for name in names.split()}


def _packed(e: Example) -> dict[str, Any]:
    """W₁, b₁, W₂, b₂ … in the width that loses nothing, little-endian.

    The first bytes of all numbers stand together, then the second, and so on: signs and exponents are alike and
    deflate well, the rest of a weight is noise.
    """
    parts = [part.ravel() for w, b in zip(e.net.weights, e.net.biases, strict=True) for part in (w, b)]
    values = np.concatenate(parts)
    with np.errstate(over="ignore"):
        single = values.astype("<f4")
    dtype, stored = ("float32", single) if np.array_equal(single, values) else ("float64", values.astype("<f8"))
    planes = stored.view(np.uint8).reshape(len(stored), -1).T.tobytes()
    return {"dtype": dtype, "deflated": base64.b64encode(zlib.compress(planes, 9)).decode("ascii")}
