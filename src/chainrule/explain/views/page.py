"""The explanation as one HTML page that needs no network.

What it first shows is written here and reads in full without JavaScript; its script, templates/explain.js, is built
from web/ and takes over: it computes everything again in the page, for another weight, input or label. Where rows
or checkpoints travel in the page, templates/training.js takes its place, which can train too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.explain.example import Example
from chainrule.explain.findings import story
from chainrule.explain.raw import grey, image_shape
from chainrule.explain.views.notebook import chain_mathml
from chainrule.explain.views.page_payload import payload
from chainrule.explain.views.page_training import batch, course
from chainrule.explain.views.page_walk import CLASSES, walk
from chainrule.explain.views.text import value_text

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["page", "write_page"]


def write_page(path: str | os.PathLike[str], explanation: Example, chain: Chain) -> Path:
    """Write the page of one chain, whole or not at all.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    return write_atomically(path, page(explanation, chain))


def page(explanation: Example, chain: Chain, links: dict[str, str] | None = None) -> str:
    """The page of one chain, as HTML.

    Parameters
    ----------
    links : addresses of the list of all rows, of the row before and the row after, by the names list, earlier, later
    """
    e = explanation
    shape = image_shape(len(e.x), e.schema, e.image)
    kept = json.loads(html.part("derivations.json"))  # of the factors, as chainrule/derive/writing/kept.py wrote them
    units = e.output_units()
    if len(units) > CLASSES:
        units.sort(key=lambda u: (u.unit - 1 != e.label, -u.probability))
    return html.render(
        "explanation.html.j2",
        e=e,
        chain=chain,
        story=story(e, chain.layer, chain.unit, chain.input),
        links=links or {},
        units=units[:CLASSES],
        more_units=max(0, len(units) - CLASSES),
        formula=chain_mathml(chain),
        steps=walk(e, chain),
        batch=batch(e, chain),
        course=course(e, chain),
        input_image=shape and grey(e.x, e.schema, shape),
        gradient_image=shape and html.image(e.backward.grad_activations[0][0].tolist(), shape),
        value_text=value_text,
        largest=lambda values: max(values, key=abs),
        derivations={"style": kept["style"], "shown": [*kept["factors"], kept["activations"][e.net.activation]]},
        payload=payload(e, chain, links or {}),
        script=html.script("training.js" if e.rows is not None or e.checkpoints else "explain.js"),
    )
