"""What the page carries of a network and its example, so that it can compute everything itself."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.explain import findings, paths
from chainrule.explain.example import Example
from chainrule.explain.raw import fields, image_shape
from chainrule.explain.records import WHOLE
from chainrule.explain.rows import HELD_OUT
from chainrule.explain.views import page_walk
from chainrule.explain.views.page_training import BETAS, EPS, MOMENTUM
from chainrule.network import differences

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["facts", "packed", "payload", "travelling"]


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
        "weights": packed([part for w, b in zip(e.net.weights, e.net.biases, strict=True) for part in (w, b)]),
    }
    if e.rows is not None:
        data["lesson"] = lesson(e)
    if e.checkpoints:
        data["course"] = course(e)
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def lesson(e: Example) -> dict[str, Any]:
    """The rows that travel, and what the page needs to know to train on them."""
    rows = e.rows
    assert rows is not None
    x = packed([rows.x.astype(np.float64)])
    return {
        "x": x, "labels": rows.labels.tolist(), "numbers": rows.numbers.tolist(), "of": rows.of, "every": HELD_OUT,
        "bytes": len(x["deflated"]), "gain": ACTIVATIONS[e.net.activation].gain,
        "rules": {"momentum": MOMENTUM, "betas": BETAS, "eps": EPS},
    }  # fmt: skip


def course(e: Example) -> dict[str, Any]:
    """The checkpoints that travel: their names, and all their weights one after another."""
    parts = [part for _, net in e.checkpoints for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    return {"names": [name for name, _ in e.checkpoints], "weights": packed(parts)}


def travelling(e: Example) -> str:
    """What a command says of the rows and checkpoints that a page holds, and how large they make it."""
    said = ""
    if e.rows is not None:
        said += f" ({len(e.rows.x)} of {e.rows.of} rows travel in it, {lesson(e)['bytes'] / 1000:.2g} KB)"
    if e.checkpoints:
        said += f" ({len(e.checkpoints)} checkpoints, {len(course(e)['weights']['deflated']) / 1e6:.2g} MB)"
    return said


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


def packed(parts: Sequence[Any]) -> dict[str, Any]:
    """Arrays one after another in the width that loses nothing, little-endian.

    The first bytes of all numbers stand together, then the second, and so on: signs and exponents are alike and
    deflate well, the rest of a weight is noise.
    """
    parts = [np.asarray(part).ravel() for part in parts]
    values = np.concatenate(parts)
    with np.errstate(over="ignore"):
        single = values.astype("<f4")
    dtype, stored = ("float32", single) if np.array_equal(single, values) else ("float64", values.astype("<f8"))
    planes = stored.view(np.uint8).reshape(len(stored), -1).T.tobytes()
    return {"dtype": dtype, "deflated": base64.b64encode(zlib.compress(planes, 9)).decode("ascii")}
