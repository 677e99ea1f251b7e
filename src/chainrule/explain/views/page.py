"""The explanation as one HTML page that needs no network.

What it first shows is written here and reads in full without JavaScript; its script, templates/explain.js, is built
from web/ and takes over: it computes everything again in the page, for another weight, input or label.
"""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.explain.example import Example
from chainrule.explain.symbols import number, probability, unit_symbol, weight_symbol
from chainrule.explain.views.notebook import chain_mathml, symbol_mathml
from chainrule.explain.views.page_drawing import drawing
from chainrule.explain.views.page_payload import CLASSES, image_shape, payload
from chainrule.explain.views.text import value_text
from chainrule.notation import subscript

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


def page(explanation: Example, chain: Chain) -> str:
    """The page of one chain, as HTML."""
    e = explanation
    shape = image_shape(e)
    kept = json.loads(html.part("derivations.json"))  # of the factors, as chainrule/derive/writing/kept.py wrote them
    units = e.output_units()
    if len(units) > CLASSES:
        units.sort(key=lambda u: (u.unit - 1 != e.label, -u.probability))
    return html.render(
        "explanation.html.j2",
        e=e,
        chain=chain,
        given=probability(
            float(e.forward.probabilities[0, e.label]), -float(e.backward.grad_preactivations[-1][0, e.label]), 5
        ),
        units=units[:CLASSES],
        more_units=max(0, len(units) - CLASSES),
        formula=chain_mathml(chain),
        path_formula=_path_formula(e, chain),
        picture=drawing(e, chain),
        input_image=html.image(e.x.tolist(), shape),
        gradient_image=html.image(e.backward.grad_activations[0][0].tolist(), shape),
        value_text=value_text,
        largest=lambda values: max(values, key=abs),
        derivations={"style": kept["style"], "shown": [*kept["factors"], kept["activations"][e.net.activation]]},
        payload=payload(e, chain),
        script=html.part("explain.js"),
    )


def _path_formula(e: Example, chain: Chain) -> str:
    """The factors along the strongest path, each symbol over its number, as MathML; "" where there is none."""
    if not chain.paths:
        return ""
    depth, units = e.net.depth, chain.paths[0].units
    symbols = [] if e.batch_size is None else ["∂J/∂𝓛"]
    symbols.append(f"∂𝓛/∂{unit_symbol(depth, units[-1])}")
    for k in range(depth - 1, chain.layer - 1, -1):
        below, above = units[k - chain.layer], units[k - chain.layer + 1]
        hidden = f"h{subscript(k)},{subscript(below)}"
        symbols += [f"∂{unit_symbol(k + 1, above)}/∂{hidden}", f"∂{hidden}/∂{unit_symbol(k, below)}"]
    numbers = chain.paths[0].factors
    if chain.input is None:
        numbers = numbers[:-1]
    else:
        place = weight_symbol(chain.layer, chain.unit, chain.input)
        symbols.append(f"∂{unit_symbol(chain.layer, chain.unit)}/∂{place}")
    factors = "<mo>·</mo>".join(
        f"<munder>{symbol_mathml(symbol)}<mtext>{escape(number(value, 4))}</mtext></munder>"
        for symbol, value in zip(symbols, numbers, strict=True)
    )
    end = f"<mo>=</mo><mn>{number(chain.paths[0].product, 5)}</mn>"
    return f'<math display="block"><mrow>{factors}{end}</mrow></math>'
